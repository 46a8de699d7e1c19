//! Deadlines of hash fields at the door.
//!
//! A hash is in the wheel under its key for the soonest deadline of its fields, as a key is for
//! its own. When it comes due, the fields whose time has come are taken out, a bounded number at a
//! time; a write that meets one before that takes it out first. Either way the log gets an HDEL
//! before anything else, so a replay never depends on its own clock.

use crate::keyspace::db::Db;
use crate::keyspace::edit::Edit;
use crate::keyspace::effects::{listener, Class, Effects};
use crate::types::compact::Item;
use crate::types::hash::Hash;
use std::borrow::Cow;

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
        effects.record_fields_gone(number, key, fields.iter().map(|field| Item::Bytes(field)));
        effects.expired(number, key);
        effects.event(number, key, Class::Hash, "hexpired");
    }
}

impl Effects {
    /// A record of fields whose time has come.
    pub(super) fn record_fields_gone<'f>(
        &mut self,
        db: usize,
        key: &[u8],
        fields: impl Iterator<Item = Item<'f>>,
    ) {
        if !self.hears(listener::LOG) {
            return;
        }
        let mut words: Vec<Cow<'_, [u8]>> = vec![Cow::Borrowed(b"HDEL"), Cow::Borrowed(key)];
        words.extend(fields.map(|field| match field {
            Item::Bytes(bytes) => Cow::Borrowed(bytes),
            number => Cow::Owned(number.with_bytes(<[u8]>::to_vec)),
        }));
        self.record(db, &words);
    }
}

#[cfg(test)]
mod tests {
    use crate::keyspace::db::Db;
    use crate::keyspace::effects::listener;
    use crate::types::hash::{Deadline, Hash};
    use crate::types::limits::Limits;
    use rand::{rngs::SmallRng, Rng, SeedableRng};

    const KEYS: [&[u8]; 4] = [b"a", b"b", b"longer key", b"d"];

    fn change(db: &mut Db, rng: &mut SmallRng) {
        let key = KEYS[rng.random_range(0..KEYS.len())];
        let field = format!("f{}", rng.random_range(0..12));
        let now_ms = db.now_ms();
        let at = now_ms + rng.random_range(1..200);
        match rng.random_range(0..10) {
            0..5 => {
                let mut edit = db.edit::<Hash>(key).expect("a hash").or_default();
                edit.drop_gone([field.as_bytes()]);
                let value = "v".repeat(rng.random_range(0..70));
                let deadline = [Deadline::Clear, Deadline::Keep, Deadline::At(at)];
                let deadline = deadline[rng.random_range(0..3)];
                let (hash, limits, _) = edit.parts();
                hash.set(field.as_bytes(), value.as_bytes(), deadline, now_ms, limits);
                edit.changed("hset");
            }
            5 | 6 => {
                if let Some(mut edit) = db.edit::<Hash>(key).expect("a hash").existing() {
                    edit.set_deadline(field.as_bytes(), Some(at), now_ms);
                }
            }
            7 => {
                if let Some(mut edit) = db.edit::<Hash>(key).expect("a hash").existing() {
                    edit.remove(field.as_bytes(), now_ms);
                }
            }
            8 => drop(db.remove(key, "del")),
            _ => {
                if let Some(entry) = db.take(key) {
                    db.place(KEYS[rng.random_range(0..KEYS.len())], entry);
                }
            }
        }
    }

    /// Fields go on time and nothing but them, and the figures stay those of the entries,
    /// wherever a hash lies.
    #[test]
    fn figures_follow_the_hashes_and_fields_go_on_time() {
        for entries in [3, 512] {
            let limits = Limits { hash_max_listpack_entries: entries, ..Limits::default() };
            let mut db = Db::new(1, limits, 1);
            db.effects.listeners = listener::LOG;
            let mut rng = SmallRng::seed_from_u64(entries as u64);
            let mut now_ms = 1_700_000_000_000;
            for step in 0..8_000 {
                db.set_now_ms(now_ms);
                change(&mut db, &mut rng);
                now_ms += rng.random_range(0..20);
                if step % 16 == 0 {
                    db.set_now_ms(now_ms);
                    while db.expire_due(64) {}
                    for entry in db.here().table.iter() {
                        entry.hash().expect("a hash").check();
                        // The wheel may be one of its ticks late.
                        assert!(entry.fields_due_ms().is_none_or(|at| at > now_ms - 40));
                    }
                }
                db.here().check();
            }
            assert!(db.counters.expired_fields > 500);
            let records = db.effects.records.words();
            assert!(records.iter().all(|words| words[0] == b"HDEL" || words[0] == b"DEL"));
        }
    }
}
