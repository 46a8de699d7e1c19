//! Deadlines of hash fields at the door.
//!
//! A hash is in the wheel under its key for the soonest deadline of its fields, as a key is for
//! its own. When it comes due, the fields whose time has come are taken out, a bounded number at a
//! time; a write that meets one before that takes it out first. Either way the log gets an HDEL
//! before anything else, so a replay never depends on its own clock.

use crate::keyspace::db::Db;
use crate::keyspace::edit::Edit;
use crate::keyspace::effects::Class;
use crate::types::hash::Hash;

impl Db {
    /// Takes out up to `max` fields whose time has come and removes the key with its last field;
    /// returns how many.
    pub(super) fn expire_fields(&mut self, key: &[u8], max: usize) -> usize {
        if self.keeps_expired {
            return 0;
        }
        let now_ms = self.now_ms();
        let Ok(edit) = self.edit::<Hash>(key) else { return 0 };
        let Some(mut hash) = edit.existing() else { return 0 };
        let gone = hash.take_expired(now_ms, max);
        hash.fields_gone(&gone);
        gone.len()
    }
}

impl Edit<'_, Hash> {
    /// Takes out those of the fields a command will touch whose time has come.
    pub fn drop_gone<'f>(&mut self, fields: impl IntoIterator<Item = &'f [u8]>) {
        let now_ms = self.now_ms();
        let due = self.exists() && self.view().next_deadline().is_some_and(|at| at <= now_ms);
        if !due || self.db().keeps_expired {
            return;
        }
        let gone: Vec<Vec<u8>> = fields
            .into_iter()
            .filter(|field| self.remove_gone(field, now_ms))
            .map(<[u8]>::to_vec)
            .collect();
        self.fields_gone(&gone);
    }

    fn fields_gone(&mut self, fields: &[Vec<u8>]) {
        if fields.is_empty() {
            return;
        }
        let key = self.key();
        let db = self.db();
        db.counters.expired_fields += fields.len() as u64;
        let (number, effects) = (db.current(), &mut db.effects);
        let mut record: Vec<&[u8]> = vec![b"HDEL", key];
        record.extend(fields.iter().map(Vec::as_slice));
        effects.record(number, &record);
        effects.modified(number, key);
        effects.event(number, key, Class::Hash, "hexpired");
    }
}
