//! Keys that come out of a file or from a primary: nobody wrote them just now, so there is
//! nothing to tell anyone.

use super::Db;
use crate::keyspace::ageing::Age;
use crate::keyspace::entry::Entry;

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

    /// Puts an entry into the selected database without effects, events or figures; its deadline
    /// may have passed. The entry comes back when its key is there and not to be overwritten.
    pub fn load(&mut self, entry: Entry, age: Age, overwrite: bool) -> Result<(), Entry> {
        let hash = self.limits.hash_key.hash(entry.key());
        let (current, now_ms) = (self.current, self.now_ms);
        entry.set_ageing(self.ageing.told(age, now_ms));
        self.before_change(current, hash);
        let space = &mut self.spaces[current];
        if space.find(hash, entry.key()).is_none() {
            space.insert(hash, entry, now_ms);
            return Ok(());
        }
        if !overwrite {
            return Err(entry);
        }
        if let Some(old) = space.replace(hash, entry, now_ms) {
            self.bury(old, self.freed_later.replaced);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::keyspace::ageing::Age;
    use crate::keyspace::db::Db;
    use crate::keyspace::effects::listener;
    use crate::keyspace::entry::{Entry, NewValue};
    use crate::types::limits::Limits;

    #[test]
    fn loaded_keys_are_there_and_nobody_was_told() {
        let mut db = Db::new(2, Limits::default(), 7);
        db.set_now_ms(1_000_000);
        db.effects.listeners = listener::LOG;
        let entry = |value, deadline_ms| Entry::new(b"key", NewValue::Int(value), deadline_ms, 0);
        assert!(db.load(entry(1, Some(2_000_000)), Age::Idle(100), false).is_ok());
        let refused = db.load(entry(2, None), Age::Untold, false);
        assert_eq!(refused.map_err(|entry| entry.key().to_vec()), Err(b"key".to_vec()));
        let bits = db.look(b"key").map_or(0, Entry::ageing);
        assert_eq!(db.ageing.idle_seconds(bits, db.now_ms()), 100);
        assert_eq!(db.here().with_deadline(), 1);
        assert!(db.load(entry(3, None), Age::Untold, true).is_ok());
        assert_eq!((db.here().len(), db.here().with_deadline()), (1, 0));
        assert!(db.effects.happened.is_empty() && db.effects.dirty == 0);
        db.here().check();
    }
}
