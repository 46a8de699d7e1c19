//! The connection that prepares a server for a block, and asks it how far it has come.
//!
//! What tells how long to wait is what the server has done meanwhile, never the time alone: a busy
//! machine makes everything late, this connection's answers too. Only CLIENT LIST is asked while a
//! block runs: no monitor shows it, and no block compares how often it was called.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::patience::PATIENCE;
use crate::server::Ours;
use crate::session::run::Server;
use crate::wire::{request, Reply, Wire};

/// Time for something that is about to come.
pub const QUIET: Duration = Duration::from_millis(150);

/// As often a server answers others before it is said to have forgotten a reply: once a second, or
/// more slowly on a busy machine.
const TURNS: usize = 60;

/// As often a server answers others before it has surely read what was sent earlier.
pub const GLANCES: usize = 100;

pub struct Control {
    wire: Wire,
    /// Answers that did not come in their time: they come before the next one.
    owed: usize,
    /// How long the next reply is waited for before others are answered.
    turn: Duration,
    /// The server may be told to answer nobody for a while.
    pub pauses: bool,
    /// It is not asked while a reply is late.
    // Redis: it ends when somebody speaks while it loads in a transaction.
    pub is_silent: bool,
}

impl Control {
    pub fn connect(addr: SocketAddr) -> io::Result<Control> {
        let (wire, turn) = (Wire::connect_now(addr)?, Duration::from_secs(1));
        Ok(Control { wire, owed: 0, turn, pauses: false, is_silent: false })
    }

    /// Sends a request and waits for its reply.
    pub fn call<W: AsRef<[u8]>>(&mut self, words: &[W]) -> io::Result<Reply> {
        let reply = self.ask(words, PATIENCE)?;
        reply.ok_or_else(|| io::Error::new(io::ErrorKind::TimedOut, "the server stands still"))
    }

    /// The same, but not for longer than that.
    fn ask<W: AsRef<[u8]>>(&mut self, words: &[W], limit: Duration) -> io::Result<Option<Reply>> {
        self.wire.send(&request(words));
        self.owed += 1;
        let mut last = None;
        while self.owed > 0 {
            last = self.wire.wait(limit)?;
            if last.is_none() {
                break;
            }
            self.owed -= 1;
        }
        Ok(last)
    }

    /// What the server says of its clients, if it answers.
    fn list(&mut self) -> Option<String> {
        let limit = if self.pauses { QUIET } else { PATIENCE };
        match self.ask(&["CLIENT", "LIST"], limit) {
            Ok(Some(Reply::Bulk(list))) => Some(String::from_utf8_lossy(&list).into_owned()),
            _ => None,
        }
    }

    /// Waits until the server has read what was sent there: until the client is blocked, or has a
    /// reply, which is returned, or until neither has happened for long. A server that does not
    /// answer is not waited for.
    pub fn see_read(&mut self, wire: &mut Wire, glances: usize) -> io::Result<Option<Reply>> {
        let client = wire.local_addr()?;
        for _ in 0..glances {
            let Some(list) = self.list() else { break };
            let flags = line_of(&list, client).and_then(|line| line.split_once(" flags="));
            let flags = flags.and_then(|(_, after)| after.split(' ').next());
            if flags.is_some_and(|flags| flags.contains('b')) {
                return Ok(None);
            }
            if let Some(reply) = wire.wait(Duration::from_millis(1))? {
                return Ok(Some(reply));
            }
        }
        wire.wait(Duration::ZERO)
    }

    /// Waits until the server knows that this client has gone.
    pub fn wait_until_gone(&mut self, client: SocketAddr) -> io::Result<()> {
        let until = Instant::now() + PATIENCE;
        while self.list().is_some_and(|list| line_of(&list, client).is_some()) {
            if Instant::now() > until {
                return Err(io::Error::other("the server does not see that a client has gone"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// The next reply on another connection; an error with what the server says of its clients if
    /// it goes on answering others, but not this one, or if it has ended.
    pub fn await_reply(
        &mut self,
        wire: &mut Wire,
        mut has_ended: impl FnMut() -> bool,
    ) -> Result<Reply, String> {
        let until = Instant::now() + PATIENCE;
        let mut turns = 0;
        while turns < TURNS && Instant::now() < until {
            if let Some(reply) = wire.wait(self.turn).map_err(|e| e.to_string())? {
                return Ok(reply);
            }
            // A child that it has left behind may keep the connection.
            if has_ended() {
                return Err("no reply: the server has ended".into());
            }
            turns += usize::from(!self.is_silent && self.list().is_some());
        }
        let clients = self.list().unwrap_or_else(|| "it does not answer\n".into());
        Err(format!("no reply; the clients of the server:\n{clients}"))
    }
}

/// What the list says of one client.
fn line_of(list: &str, client: SocketAddr) -> Option<&str> {
    let addr = format!(" addr={client} ");
    list.lines().find(|line| line.contains(&addr))
}

#[test]
fn a_reply_that_does_not_come_is_waited_for_as_long_as_others_are_answered() {
    let server = Ours::start(&[]).unwrap();
    let mut control = Control::connect(server.addr()).unwrap();
    control.turn = Duration::from_millis(1);
    let mut waits = Wire::connect_now(server.addr()).unwrap();
    waits.send(&request(&["BLPOP", "q", "0"]));
    assert_eq!(control.see_read(&mut waits, usize::MAX).unwrap(), None);
    let why = control.await_reply(&mut waits, || false).unwrap_err();
    assert!(why.contains("cmd=blpop"), "{why}");
    let why = control.await_reply(&mut waits, || true).unwrap_err();
    assert!(why.contains("has ended"), "{why}");
    control.call(&["RPUSH", "q", "x"]).unwrap();
    let popped = Reply::Array(vec![Reply::Bulk(b"q".to_vec()), Reply::Bulk(b"x".to_vec())]);
    assert_eq!(control.await_reply(&mut waits, || false).unwrap(), popped);

    let gone = waits.local_addr().unwrap();
    drop(waits);
    control.wait_until_gone(gone).unwrap();
    assert_eq!(control.list().unwrap().lines().count(), 1);
}

#[test]
fn an_answer_that_was_not_waited_for_is_not_taken_for_the_next() {
    let mut server = Ours::start(&[]).unwrap();
    let mut control = Control::connect(server.addr()).unwrap();
    let paused = control.call(&["CLIENT", "PAUSE", "100000", "ALL"]).unwrap();
    assert_eq!(paused, Reply::Status(b"OK".to_vec()));
    assert!(control.ask(&["ECHO", "late"], Duration::from_millis(1)).unwrap().is_none());
    assert!(control.ask(&["ECHO", "later"], Duration::from_millis(1)).unwrap().is_none());
    server.advance(Duration::from_secs(100));
    assert_eq!(control.call(&["ECHO", "now"]).unwrap(), Reply::Bulk(b"now".to_vec()));
}
