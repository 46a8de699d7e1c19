//! What a client waits for.

use crate::keyspace::value::Kind;
use crate::resp::out::{Done, Out};

/// A command that waits for a key.
#[derive(Debug)]
pub struct Blocked {
    /// Its words, as it will run again.
    pub argv: Vec<Vec<u8>>,
    /// What it waits for.
    pub keys: Vec<(usize, Box<[u8]>)>,
    /// When it gives up (Unix ms).
    pub until_ms: Option<i64>,
    /// What it answers then.
    pub on_timeout: fn(Out<'_>) -> Done,
    /// See [`crate::command::Waiting`].
    pub wakes_on_loss: bool,
    /// The type that it works on: a key that holds another one does not concern it.
    pub kind: Kind,
    /// Its number in the table of commands.
    pub command: usize,
    /// When it began (Unix ms).
    pub since_ms: i64,
    /// Its place among all that wait: the order of service.
    pub ticket: u64,
    /// What it waits for besides keys.
    pub awaits: Option<Awaited>,
}

impl Blocked {
    /// What WAIT and WAITAOF wait for.
    pub fn acks(&self) -> Option<Acks> {
        match self.awaits {
            Some(Awaited::Acks(acks)) => Some(acks),
            _ => None,
        }
    }

    /// What it waits for is under way already: nobody can take that back for it.
    pub fn is_firm(&self) -> bool {
        matches!(self.awaits, Some(Awaited::Freed(_) | Awaited::End))
    }
}

/// What commands wait for that wait for no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// WAIT and WAITAOF: others, or the disk, have the client's writes.
    Acks(Acks),
    /// FLUSHALL and FLUSHDB: all that they removed is freed, up to this mark of the graveyard.
    Freed(u64),
    /// SHUTDOWN: replicas have caught up.
    End,
}

/// What WAIT and WAITAOF wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acks {
    /// The offset of the last write of the client.
    pub offset: u64,
    /// Replicas that must have it.
    pub replicas: usize,
    /// It must be on the disk here, too.
    pub local: bool,
    /// It must be on the disk of the replicas.
    pub on_disk: bool,
}
