//! The log: one totally ordered stream of commands in their deterministic form.
//!
//! Invariant: what a reader receives, run from the start on an empty server, gives the same
//! dataset. Records are encoded once; readers (a test, the append-only file, the replication
//! backlog) receive the same bytes.

use crate::keyspace::effects::Record;
use crate::resp::out::push_request;

/// Receives the stream.
pub trait Reader: Send {
    /// The next bytes: whole commands, `SELECT` included where the database changes.
    fn receive(&mut self, encoded: &[u8]);
}

/// The stream and its readers.
#[derive(Default)]
pub struct Log {
    readers: Vec<Box<dyn Reader>>,
    selected: Option<usize>,
    scratch: Vec<u8>,
    /// Bytes written to the stream since the start.
    pub offset: u64,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Log at {}", self.offset)
    }
}

impl Log {
    /// Whether anybody reads.
    pub fn is_read(&self) -> bool {
        !self.readers.is_empty()
    }

    /// Adds a reader, which receives everything from now on, beginning with a SELECT.
    pub fn attach(&mut self, reader: Box<dyn Reader>) {
        self.selected = None;
        self.readers.push(reader);
    }

    /// Appends records; several of them as one MULTI/EXEC block.
    pub fn append(&mut self, records: &[Record]) {
        let Some(first) = records.first() else { return };
        self.scratch.clear();
        let mut scratch = std::mem::take(&mut self.scratch);
        self.select(first.db, &mut scratch);
        if records.len() > 1 {
            push_request(&mut scratch, &["MULTI"]);
        }
        for record in records {
            self.select(record.db, &mut scratch);
            push_request(&mut scratch, &record.argv);
        }
        if records.len() > 1 {
            push_request(&mut scratch, &["EXEC"]);
        }
        self.offset += scratch.len() as u64;
        for reader in &mut self.readers {
            reader.receive(&scratch);
        }
        self.scratch = scratch;
    }

    fn select(&mut self, db: usize, scratch: &mut Vec<u8>) {
        if self.selected != Some(db) {
            push_request(scratch, &["SELECT", itoa::Buffer::new().format(db)]);
            self.selected = Some(db);
        }
    }
}
