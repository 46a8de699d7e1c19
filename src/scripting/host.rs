//! What the Lua host needs from the server around it.

/// Whether a long script may go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Go on.
    Continue,
    /// Stop with the error that SCRIPT KILL leaves.
    Kill,
    /// Stop with this text (FUNCTION LOAD's time limit).
    Stop(&'static str),
}

/// Levels of `redis.log`, as Redis numbers them: 0 debug, 1 verbose, 2 notice, 3 warning.
pub type LogLevel = u8;

/// The server as a running script sees it.
pub trait Host {
    /// Runs one command and appends its reply as RESP of `protocol` (2 or 3). Errors before or
    /// in the command are replies too (`-CODE text`).
    fn call(&mut self, args: &[&[u8]], protocol: u8, reply: &mut Vec<u8>);

    /// Writes a line to the server's log, if the level asks for it.
    fn log(&mut self, level: LogLevel, text: &[u8]);

    /// Called every 100,000 instructions of a script.
    fn on_hook(&mut self) -> Verdict;

    /// Which of the following effects enter the log: bit 0 the AOF, bit 1 the replicas.
    fn set_replication(&mut self, bits: u8);

    /// Whether the user may run this command on its keys; None when there is no such command.
    fn is_allowed(&mut self, args: &[&[u8]]) -> Option<bool>;
}
