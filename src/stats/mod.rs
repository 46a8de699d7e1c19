//! Counters of the whole server and of each command.

use std::collections::BTreeMap;

/// What is counted of one command.
#[derive(Clone, Debug, Default)]
pub struct CommandStats {
    /// Runs.
    pub calls: u64,
    /// Nanoseconds of all runs.
    pub total_ns: u64,
    /// Refused before they ran.
    pub rejected: u64,
    /// Answered with an error.
    pub failed: u64,
}

/// Error codes counted at most; more are an attack or a bug, and are no longer told apart.
pub const ERROR_CODES_MAX: usize = 128;

/// Counters that INFO shows.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// By number of the command.
    pub commands: Vec<CommandStats>,
    /// Error replies by their code word.
    pub errors: BTreeMap<String, u64>,
    /// `total_error_replies`
    pub error_replies: u64,
    /// `total_commands_processed`
    pub commands_processed: u64,
    /// `total_connections_received`
    pub connections_received: u64,
    /// `rejected_connections`
    pub connections_rejected: u64,
    /// `total_net_input_bytes`
    pub net_in_bytes: u64,
    /// `total_net_output_bytes`
    pub net_out_bytes: u64,
    /// `total_reads_processed`
    pub reads: u64,
    /// `total_writes_processed`
    pub writes: u64,
    /// `unexpected_error_replies` and friends grow here.
    pub output_limit_disconnections: u64,
    /// `client_query_buffer_limit_disconnections`
    pub query_limit_disconnections: u64,
}

impl Stats {
    /// Counters for a table of `commands`.
    pub fn new(commands: usize) -> Stats {
        Stats { commands: vec![CommandStats::default(); commands], ..Stats::default() }
    }

    /// Counts an error reply by its code word.
    pub fn error(&mut self, code: &str) {
        self.error_replies += 1;
        if let Some(count) = self.errors.get_mut(code) {
            *count += 1;
        } else if self.errors.len() < ERROR_CODES_MAX {
            self.errors.insert(code.to_string(), 1);
        }
    }
}
