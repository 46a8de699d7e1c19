//! Keys that come out of a file or from a primary: nobody wrote them just now, so there is
//! nothing to tell anyone.

use super::Db;
use crate::keyspace::ageing::Age;
use crate::keyspace::entry::Entry;
use crate::types::limits::HashKey;

/// A key with its value, from somewhere else.
#[derive(Debug)]
pub struct Loaded {
    /// The key, its value and its deadline, which may have passed.
    pub entry: Entry,
    /// How long ago, or how often, it was used, where that was told.
    pub age: Age,
    /// The key's: who is ahead of the table makes it, when the key has just been written.
    hash: u64,
}

impl Loaded {
    /// For databases whose tables have this key.
    pub fn new(entry: Entry, age: Age, hash_key: HashKey) -> Loaded {
        let hash = hash_key.hash(entry.key());
        Loaded { entry, age, hash }
    }
}

impl Db {
    /// Takes the databases of another door, which were filled where nobody saw them, in place of
    /// its own.
    pub fn adopt(&mut self, mut other: Db) {
        self.flush(None, true);
        for (mine, mut loaded) in self.spaces.iter_mut().zip(other.spaces.drain(..)) {
            loaded.set_number(mine.number());
            *mine = loaded;
        }
    }

    /// A database that nobody sees is being filled, and will have so many keys: makes room for
    /// them, in proportion to what has come, since it may never be so many.
    pub fn make_room(&mut self, index: usize, keys: usize) {
        self.spaces[index].make_room(keys);
    }

    /// Asks the processor for the place of a key that is about to be loaded.
    #[inline]
    pub fn prefetch_loaded(&self, index: usize, loaded: &Loaded) {
        self.spaces[index].table.prefetch(loaded.hash);
    }

    /// The step before it: asks for the entry, and for what tells where its place is.
    #[inline]
    pub fn prefetch_way(&self, index: usize, loaded: &Loaded) {
        loaded.entry.prefetch();
        self.spaces[index].table.prefetch_segment(loaded.hash);
    }

    /// Puts an entry into the selected database without effects, events or figures; its deadline
    /// may have passed. The entry comes back when its key is there and not to be overwritten.
    pub fn load(&mut self, loaded: Loaded, overwrite: bool) -> Result<(), Entry> {
        let Loaded { entry, age, hash } = loaded;
        debug_assert_eq!(hash, self.limits.hash_key.hash(entry.key()));
        let (current, wall_ms) = (self.current, self.wall_ms);
        entry.set_ageing(self.ageing.told(age, wall_ms));
        self.before_change(current, hash);
        let space = &mut self.spaces[current];
        if space.find(hash, entry.key()).is_none() {
            space.insert(hash, entry, wall_ms);
            return Ok(());
        }
        if !overwrite {
            return Err(entry);
        }
        if let Some(old) = space.replace(hash, entry, wall_ms) {
            self.bury(old, self.freed_later.replaced);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::keyspace::ageing::Age;
    use crate::keyspace::db::{Db, Loaded};
    use crate::keyspace::effects::listener;
    use crate::keyspace::entry::{Entry, NewValue};
    use crate::types::limits::Limits;

    #[test]
    fn loaded_keys_are_there_and_nobody_was_told() {
        let mut db = Db::new(2, Limits::default(), 7);
        db.set_now_ms(1_000_000);
        db.effects.listeners = listener::LOG;
        let hash_key = db.limits.hash_key;
        let loaded = |value, deadline_ms, age| {
            let entry = Entry::new(b"key", NewValue::Int(value), deadline_ms, 0);
            Loaded::new(entry, age, hash_key)
        };
        assert!(db.load(loaded(1, Some(2_000_000), Age::Idle(100)), false).is_ok());
        let refused = db.load(loaded(2, None, Age::Untold), false);
        assert_eq!(refused.map_err(|entry| entry.key().to_vec()), Err(b"key".to_vec()));
        let bits = db.look(b"key").map_or(0, Entry::ageing);
        assert_eq!(db.ageing.idle_seconds(bits, db.now_ms()), 100);
        assert_eq!(db.here().with_deadline(), 1);
        assert!(db.load(loaded(3, None, Age::Untold), true).is_ok());
        assert_eq!((db.here().len(), db.here().with_deadline()), (1, 0));
        assert!(db.effects.happened.is_empty() && db.effects.dirty == 0);
        db.here().check();
    }

    #[test]
    fn room_is_made_for_what_has_come_and_a_little_more() {
        let mut db = Db::new(1, Limits::default(), 7);
        for number in 0..10_000 {
            db.make_room(0, usize::MAX);
            let key = format!("key:{number}");
            let entry = Entry::new(key.as_bytes(), NewValue::Int(number), None, 0);
            let loaded = Loaded::new(entry, Age::Untold, db.limits.hash_key);
            assert!(db.load(loaded, false).is_ok());
            let (keys, bytes) = (db.here().len(), db.here().overhead_bytes());
            assert!(bytes <= 4096 + keys * 200, "{bytes} for {keys} keys");
        }
        assert_eq!(db.here().len(), 10_000);
        db.here().check();
    }
}
