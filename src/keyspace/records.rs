//! The records of a unit on their way to the log: each is encoded once, when it is made, and is
//! copied from here to whoever reads the log.
//!
//! Invariant: what a record says stays where it was encoded; only its place among the others may
//! change.

use super::effects::{move_back, Reach};
use crate::resp::out::push_request;
use std::ops::Range;

/// Room that is kept for the next unit.
const SPARE_BYTES_MAX: usize = 256 << 10;
const SPARE_RECORDS_MAX: usize = 4096;

/// Where a record lies, and whom it concerns.
#[derive(Debug)]
struct Place {
    db: Option<usize>,
    reach: Reach,
    span: Range<usize>,
}

/// Records in their order.
#[derive(Debug, Default)]
pub struct Records {
    bytes: Vec<u8>,
    places: Vec<Place>,
}

/// One record for the log: a command in its deterministic form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The database it runs in, where that matters.
    pub db: Option<usize>,
    /// Who reads it.
    pub reach: Reach,
    /// The command as it goes over the wire.
    pub encoded: &'a [u8],
}

impl Records {
    /// Adds a record.
    pub fn push<B: AsRef<[u8]>>(&mut self, db: usize, argv: &[B], reach: Reach) {
        self.push_anywhere(Some(db), argv, reach);
    }

    /// The same for one that may run in any database.
    pub fn push_anywhere<B: AsRef<[u8]>>(&mut self, db: Option<usize>, argv: &[B], reach: Reach) {
        let start = self.bytes.len();
        push_request(&mut self.bytes, argv);
        self.places.push(Place { db, reach, span: start..self.bytes.len() });
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The records from the first on.
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> + Clone {
        self.places.iter().map(|Place { db, reach, span }| {
            let encoded = self.bytes.get(span.clone()).unwrap_or_default();
            Record { db: *db, reach: *reach, encoded }
        })
    }

    /// Keeps the first `len` only.
    pub fn truncate(&mut self, len: usize) {
        self.places.truncate(len);
        let ends = self.places.iter().map(|place| place.span.end);
        self.bytes.truncate(ends.max().unwrap_or(0));
    }

    /// Moves those from `end` on to their places before: pairs of an index and how many go there,
    /// indices in their order.
    pub fn move_back(&mut self, end: usize, places: impl Iterator<Item = (usize, usize)>) {
        move_back(&mut self.places, end, places);
    }

    /// Forgets all of them, and keeps room for a few.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(SPARE_BYTES_MAX);
        self.places.clear();
        self.places.shrink_to(SPARE_RECORDS_MAX);
    }

    /// The words of all of them.
    #[cfg(test)]
    pub fn words(&self) -> Vec<Vec<Vec<u8>>> {
        use crate::resp::reader::{read, Value};
        let words = |record: Record<'_>| match read(record.encoded) {
            Ok((Value::Array(words), _)) => words
                .into_iter()
                .map(|word| match word {
                    Value::Bulk(word) => word,
                    other => panic!("{other:?} is no word"),
                })
                .collect(),
            other => panic!("{other:?} is no command"),
        };
        self.iter().map(words).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_as_they_went_in() {
        let mut records = Records::default();
        records.push(0, &["SET", "a", ""], Reach::ALL);
        records.push(3, &["DEL", "\r\n"], Reach::FILE);
        records.push(3, &["PING"], Reach::REPLICAS);
        let seen: Vec<_> = records.iter().map(|record| (record.db, record.reach)).collect();
        let wanted = [(Some(0), Reach::ALL), (Some(3), Reach::FILE), (Some(3), Reach::REPLICAS)];
        assert_eq!(seen, wanted);
        assert_eq!(records.iter().nth(1).unwrap().encoded, b"*2\r\n$3\r\nDEL\r\n$2\r\n\r\n\r\n");
        records.truncate(2);
        assert_eq!(records.words()[1], [b"DEL".to_vec(), b"\r\n".to_vec()]);
        assert_eq!(records.len(), 2);
        records.push(0, &["x"], Reach::ALL);
        assert_eq!(records.words()[2], [b"x".to_vec()]);
        let lies = |records: &Records, at| records.iter().nth(at).map(|one| one.encoded.as_ptr());
        let moved = lies(&records, 2);
        records.move_back(2, [(0, 1)].into_iter());
        assert_eq!(lies(&records, 0), moved, "what it says is not copied");
        assert_eq!(
            records.words()[..2],
            [vec![b"x".to_vec()], ["SET", "a", ""].map(Vec::from).into()]
        );
        assert_eq!(records.iter().nth(2).unwrap().db, Some(3));
        records.truncate(1);
        assert_eq!(records.words(), [[b"x".to_vec()]]);
        records.clear();
        assert!(records.is_empty() && records.iter().next().is_none());
        records.push(1, &["y"], Reach::ALL);
        assert_eq!(records.words(), [[b"y".to_vec()]]);
    }
}
