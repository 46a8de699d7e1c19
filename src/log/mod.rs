//! The log: one totally ordered stream of commands in their deterministic form.
//!
//! Invariant: what a reader receives, run from the start on an empty server, gives the same
//! dataset. Records are encoded once; readers (a test, the append-only file, the replication
//! backlog) receive the same bytes, save where a script has left one kind of them out.

pub mod aof;
mod ring;

use crate::keyspace::effects::Reach;
use crate::keyspace::records::{Record, Records};
use crate::resp::out::push_request;
pub use ring::Ring;

/// Receives the stream.
pub trait Reader: Send {
    /// The next bytes: whole commands, `SELECT` included where the database changes.
    fn receive(&mut self, encoded: &[u8]);

    /// What it is, `Reach::FILE` or `Reach::REPLICAS`: a script may write for one of them only.
    fn kind(&self) -> Reach;
}

/// The stream and its readers.
#[derive(Default)]
pub struct Log {
    readers: Vec<Box<dyn Reader>>,
    selected: Option<usize>,
    scratch: Vec<u8>,
    /// Bytes of the stream for replicas so far.
    pub offset: u64,
    /// The newest bytes of that stream, since the first replica came.
    pub ring: Option<Ring>,
    /// A replica: the stream for replicas is the primary's, passed on as it comes.
    pub relays: bool,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Log at {}", self.offset)
    }
}

impl Log {
    /// Whether anybody reads.
    pub fn is_read(&self) -> bool {
        !self.readers.is_empty() || (self.ring.is_some() && !self.relays)
    }

    /// The next record begins with a SELECT: somebody comes to read who does not know the
    /// database, or a file begins that must stand alone.
    pub fn select_anew(&mut self) {
        self.selected = None;
    }

    /// The database that the last record selected.
    pub fn selected(&self) -> Option<usize> {
        self.selected
    }

    /// Begins to keep the stream for replicas, from here on.
    pub fn keep(&mut self) {
        if self.ring.is_none() {
            self.ring = Some(Ring::new(self.offset));
        }
    }

    /// The stream for replicas goes on at another position: nothing of it is here yet.
    pub fn restart_at(&mut self, offset: u64) {
        self.offset = offset;
        self.selected = None;
        self.ring = Some(Ring::new(offset));
    }

    /// The stream for replicas turns out to begin at another position.
    pub fn shift(&mut self, begin: u64) {
        self.offset += begin;
        self.selected = None;
        if let Some(ring) = &mut self.ring {
            ring.shift(begin);
        }
    }

    /// Nothing of the stream for replicas is kept or counts any more.
    pub fn forget(&mut self) {
        self.offset = 0;
        self.selected = None;
        self.ring = None;
    }

    /// Appends to the stream for replicas what comes from no command: pings, questions, and on a
    /// replica the primary's own bytes.
    pub fn append_for_replicas(&mut self, encoded: &[u8]) {
        self.offset += encoded.len() as u64;
        if let Some(ring) = &mut self.ring {
            ring.append(encoded);
        }
    }

    /// Adds a reader, which receives everything from now on, beginning with a SELECT.
    pub fn attach(&mut self, reader: Box<dyn Reader>) {
        self.selected = None;
        self.readers.push(reader);
    }

    /// Removes the readers of a kind.
    pub fn detach(&mut self, kind: Reach) {
        self.readers.retain(|reader| reader.kind() != kind);
    }

    /// Appends records that belong together: several of them as one MULTI/EXEC block, with the
    /// SELECT inside, as Redis has it since 7.2.
    pub fn append(&mut self, records: &Records) {
        self.append_all(records.iter());
    }

    /// Appends records that have nothing to do with each other.
    pub fn append_each(&mut self, records: &Records) {
        records.iter().for_each(|record| self.append_all(std::iter::once(record)));
    }

    fn append_all<'a>(&mut self, records: impl Iterator<Item = Record<'a>> + Clone) {
        if records.clone().all(|record| record.reach == Reach::ALL) {
            return self.append_for(Reach::ALL, records);
        }
        let before = self.selected;
        let told = [Reach::FILE, Reach::REPLICAS].map(|kind| {
            self.selected = before;
            self.append_for(kind, records.clone().filter(|record| record.reach.includes(kind)));
            self.selected
        });
        // From here on both are told again unless they have heard the same.
        self.selected = told[0].filter(|_| told[0] == told[1]);
    }

    fn append_for<'a>(
        &mut self,
        kind: Reach,
        mut records: impl Iterator<Item = Record<'a>> + Clone,
    ) {
        let rest = records.clone();
        let Some(first) = records.next() else { return };
        let is_alone = records.next().is_none();
        if is_alone && (first.db.is_none() || self.selected == first.db) {
            return self.spread(kind, first.encoded);
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        if !is_alone {
            push_request(&mut scratch, &["MULTI"]);
        }
        for record in rest {
            self.select(record.db, &mut scratch);
            scratch.extend_from_slice(record.encoded);
        }
        if !is_alone {
            push_request(&mut scratch, &["EXEC"]);
        }
        self.spread(kind, &scratch);
        self.scratch = scratch;
    }

    fn spread(&mut self, kind: Reach, encoded: &[u8]) {
        // Redis: offsets count what replicas receive.
        if kind.includes(Reach::REPLICAS) && !self.relays {
            self.append_for_replicas(encoded);
        }
        for reader in self.readers.iter_mut().filter(|reader| kind.includes(reader.kind())) {
            reader.receive(encoded);
        }
    }

    fn select(&mut self, db: Option<usize>, scratch: &mut Vec<u8>) {
        let Some(number) = db.filter(|_| self.selected != db) else { return };
        push_request(scratch, &["SELECT", itoa::Buffer::new().format(number)]);
        self.selected = db;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::sync::Arc;

    struct Tape(Reach, Arc<Mutex<String>>);

    impl Reader for Tape {
        fn receive(&mut self, encoded: &[u8]) {
            let text = String::from_utf8_lossy(encoded);
            let words = text.split("\r\n").filter(|word| !word.starts_with(['$', '*']));
            self.1.lock().push_str(&words.collect::<Vec<_>>().join(" "));
        }

        fn kind(&self) -> Reach {
            self.0
        }
    }

    #[test]
    fn each_kind_of_reader_receives_what_is_for_it() {
        let (file, replicas) = (Arc::default(), Arc::default());
        let mut log = Log::default();
        log.attach(Box::new(Tape(Reach::FILE, Arc::clone(&file))));
        log.attach(Box::new(Tape(Reach::REPLICAS, Arc::clone(&replicas))));
        let records = |words: &[(&str, Reach)]| {
            let mut records = Records::default();
            words.iter().for_each(|(word, reach)| records.push(0, &[word], *reach));
            records
        };
        log.append(&records(&[("a", Reach::ALL)]));
        log.append(&records(&[
            ("b", Reach::FILE),
            ("c", Reach::REPLICAS),
            ("d", Reach::ALL),
            ("e", Reach::FILE),
        ]));
        log.append_each(&records(&[("f", Reach::ALL), ("g", Reach::ALL)]));
        assert_eq!(*file.lock(), "SELECT 0 a MULTI b d e EXEC f g ");
        assert_eq!(*replicas.lock(), "SELECT 0 a MULTI c d EXEC f g ");
        file.lock().clear();
        replicas.lock().clear();
        let mut away = Records::default();
        away.push(1, &["h"], Reach::REPLICAS);
        log.append(&away);
        let mut message = Records::default();
        message.push_anywhere(None, &["m"], Reach::REPLICAS);
        log.append(&message);
        log.append(&records(&[("i", Reach::ALL)]));
        log.append(&message);
        log.append(&records(&[("j", Reach::ALL)]));
        assert_eq!(*file.lock(), "SELECT 0 i j ");
        assert_eq!(*replicas.lock(), "SELECT 1 h m SELECT 0 i m j ");
    }
}
