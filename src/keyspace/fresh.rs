//! Keys whose last change may not be on disk yet.
//!
//! With `appendfsync always` nobody is shown what a crash could still take back. Readers do not
//! wait for other clients' writes in general, only for those to the keys that they ask for: those
//! keys are remembered from the change until the log is known to be on disk up to its record. Keys
//! are remembered by their hashes, in two generations, so that forgetting costs nothing per key: a
//! reader may wait in vain for a key that collides, never the other way round.

use super::effects::{place_hash, Identity};
use crate::types::limits::HashKey;
use std::collections::HashSet;
use std::hash::BuildHasherDefault;

#[derive(Debug, Default)]
struct Generation {
    /// The log holds all their changes up to here.
    until: u64,
    keys: HashSet<u64, BuildHasherDefault<Identity>>,
    /// Whole databases changed.
    all: bool,
}

impl Generation {
    fn clear(&mut self) {
        self.until = 0;
        self.keys.clear();
        self.all = false;
    }
}

/// The keys.
#[derive(Debug)]
pub struct Fresh {
    hash_key: HashKey,
    recent: Generation,
    before: Generation,
}

impl Fresh {
    /// None yet; they are hashed with `hash_key`.
    pub fn new(hash_key: HashKey) -> Fresh {
        Fresh { hash_key, recent: Generation::default(), before: Generation::default() }
    }

    /// A key changed.
    pub fn add(&mut self, db: usize, key: &[u8]) {
        self.recent.keys.insert(place_hash(self.hash_key, db, key));
    }

    /// Databases changed as a whole.
    pub fn add_all(&mut self) {
        self.recent.all = true;
    }

    /// What changed is in the log up to `until`, and the log on disk up to `synced`.
    pub fn logged(&mut self, until: u64, synced: u64) {
        self.recent.until = until;
        if self.before.until <= synced {
            self.before.clear();
            std::mem::swap(&mut self.before, &mut self.recent);
        }
    }

    /// How far the log must be on disk before anybody is shown this key; 0 for nowhere.
    pub fn mark(&self, db: usize, key: &[u8]) -> u64 {
        let hash = place_hash(self.hash_key, db, key);
        let holds = |generation: &&Generation| generation.all || generation.keys.contains(&hash);
        let generations = [&self.recent, &self.before];
        generations.into_iter().filter(holds).map(|one| one.until).max().unwrap_or(0)
    }

    /// The same for all keys.
    pub fn mark_of_all(&self) -> u64 {
        self.recent.until.max(self.before.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_held_until_its_record_is_on_disk() {
        let mut fresh = Fresh::new(HashKey(1, 2));
        fresh.add(0, b"a");
        fresh.logged(10, 0);
        assert_eq!((fresh.mark(0, b"a"), fresh.mark(1, b"a"), fresh.mark_of_all()), (10, 0, 10));
        fresh.add(0, b"b");
        fresh.logged(20, 5);
        fresh.add(0, b"a");
        fresh.logged(30, 5);
        assert_eq!((fresh.mark(0, b"a"), fresh.mark(0, b"b")), (30, 30));
        // The first change is on disk, the second is not.
        fresh.add(0, b"c");
        fresh.logged(40, 15);
        assert_eq!((fresh.mark(0, b"a"), fresh.mark(0, b"b"), fresh.mark(0, b"c")), (40, 40, 40));
        fresh.add_all();
        fresh.logged(50, 40);
        assert_eq!(fresh.mark(7, b"other"), 50);
        fresh.add(0, b"d");
        fresh.logged(60, 55);
        assert_eq!((fresh.mark(7, b"other"), fresh.mark(0, b"d")), (0, 60));
    }
}
