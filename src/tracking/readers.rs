//! Who has read which key.
//!
//! Invariant: `items` is the sum of the readers of all keys, and no key is without a reader.

use crate::client::ClientId;
use crate::types::limits::HashKey;
use crate::types::table::Table;
use rand::RngCore;
use std::collections::BTreeSet;

/// A key that somebody has read.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) key: Box<[u8]>,
    pub(super) by: BTreeSet<ClientId>,
}

/// Keys and their readers. Any key, and a random one, is found in one step however many there are.
#[derive(Debug)]
pub(super) struct Readers {
    table: Table<Box<Read>>,
    hash_key: HashKey,
    items: usize,
}

impl Readers {
    pub(super) fn new(hash_key: HashKey) -> Readers {
        Readers { table: Table::new(), hash_key, items: 0 }
    }

    /// Keys.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Readers of all keys, added up.
    pub(super) fn items(&self) -> usize {
        self.items
    }

    pub(super) fn add(&mut self, key: &[u8], reader: ClientId) {
        let (hash_key, hash) = (self.hash_key, self.hash_key.hash(key));
        if let Some(read) = self.table.find_mut(hash, |read| *read.key == *key) {
            self.items += usize::from(read.by.insert(reader));
            return;
        }
        let read = Box::new(Read { key: key.into(), by: BTreeSet::from([reader]) });
        self.table.insert(hash, read, |read| hash_key.hash(&read.key));
        self.items += 1;
    }

    /// Forgets a key, and says who has read it.
    pub(super) fn take(&mut self, key: &[u8]) -> Option<Read> {
        let read = self.table.remove(self.hash_key.hash(key), |read| *read.key == *key)?;
        self.items -= read.by.len();
        Some(*read)
    }

    /// The same for a random key.
    pub(super) fn take_any(&mut self, rng: &mut impl RngCore) -> Option<Read> {
        let read = self.table.pop_random(rng)?;
        self.items -= read.by.len();
        Some(*read)
    }

    pub(super) fn clear(&mut self) {
        *self = Readers::new(self.hash_key);
    }
}
