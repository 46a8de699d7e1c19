//! What the door does as time passes: keys and fields whose time has come, and freeing in pieces.

use super::{Db, FreedLater};
use crate::keyspace::effects::{Class, Mark};
use crate::keyspace::entry::Entry;
use crate::keyspace::graveyard::{self, Graveyard};
use crate::keyspace::value::Value;
use std::collections::HashSet;

/// Redis: tells of a key that goes with its last fields by these. That of a hash of more fields,
/// whose time has come together, is told as that of a key.
const FIELDS_TOLD: usize = 1024;

/// A key and its database.
type Place = (usize, Box<[u8]>);

/// What readers have met after its time.
#[derive(Debug, Default)]
pub(super) struct Met {
    /// In the order in which they met it, with what had been recorded by then: its end comes
    /// before what the command did next.
    places: Vec<(Place, Mark)>,
    /// Those of them that are not as they were met any more: what is there now is another, even if
    /// its time has come, too.
    renewed: HashSet<Place>,
}

impl Db {
    /// Removes the key if its time has come; true when it did.
    #[inline]
    pub(super) fn drop_if_expired(&mut self, hash: u64, key: &[u8]) -> bool {
        let space = &self.spaces[self.current];
        if !space.has_deadlines() {
            return false;
        }
        let Some(entry) = space.find(hash, key) else { return false };
        if !entry.is_gone(self.now_ms) {
            return false;
        }
        let kept = self.keeps_expired;
        self.keeps_expired &= !self.writes_remove_expired;
        self.expire(self.current, key);
        self.keeps_expired = kept;
        true
    }

    /// Removes a key of the selected database if its time has come.
    pub fn expire_now(&mut self, key: &[u8]) {
        let hash = self.hash(key);
        self.drop_if_expired(hash, key);
    }

    pub(super) fn expire(&mut self, db: usize, key: &[u8]) {
        if self.keeps_expired {
            return;
        }
        let hash = self.limits.hash_key.hash(key);
        self.before_change(db, hash);
        let Some(entry) = self.spaces[db].remove(hash, key) else { return };
        let met = self.met_expired.get_mut();
        if !met.places.is_empty() {
            met.renewed.insert((db, key.into()));
        }
        let by_fields = entry.deadline_ms().is_none_or(|at| at > self.now_ms);
        let fields = entry.hash().map_or(0, |hash| hash.len());
        let removal = FreedLater::removal(self.freed_later.expired);
        match entry.hash() {
            Some(hash) if by_fields && hash.len() <= FIELDS_TOLD => {
                self.effects.record_fields_gone(db, key, hash.iter_all().map(|(field, ..)| field));
            }
            _ => self.effects.record(db, &[removal, key]),
        }
        self.bury(entry, self.freed_later.expired);
        self.effects.expired(db, key);
        if by_fields {
            self.counters.expired_fields += fields as u64;
            self.effects.event(db, key, Class::Hash, "hexpired");
            self.effects.event(db, key, Class::Generic, "del");
        } else {
            self.counters.expired += 1;
            self.effects.event(db, key, Class::Expired, "expired");
        }
    }

    /// Removes what readers met after its time; part of settling a command. True when there was
    /// something.
    #[inline]
    pub fn drop_met_expired(&mut self) -> bool {
        let any = !self.met_expired.get_mut().places.is_empty();
        if any {
            self.drop_all_met();
        }
        any
    }

    /// A reader has met a key after its time.
    #[cold]
    pub(super) fn meet(&self, key: &[u8]) {
        let at = self.effects.mark();
        self.met_expired.borrow_mut().places.push(((self.current, key.into()), at));
    }

    /// Readers met keys of databases that have been emptied, or are not where they were.
    pub(super) fn forget_met(&mut self, concerns: impl Fn(usize) -> bool) {
        let met = self.met_expired.get_mut();
        met.places.retain(|((db, _), _)| !concerns(*db));
        if met.places.is_empty() {
            met.renewed.clear();
        }
    }

    #[cold]
    fn drop_all_met(&mut self) {
        let Met { places: met, renewed } = std::mem::take(self.met_expired.get_mut());
        let end = self.effects.mark();
        let mut places = Vec::with_capacity(met.len());
        for (place, at) in met {
            if renewed.contains(&place) {
                continue;
            }
            let (db, key) = place;
            let hash = self.limits.hash_key.hash(&key);
            if self.spaces[db].find(hash, &key).is_some_and(|entry| entry.is_gone(self.now_ms)) {
                let before = self.effects.mark();
                self.expire(db, &key);
                places.push((at, self.effects.mark() - before));
            }
        }
        self.effects.move_back(end, &places);
    }

    /// Expires what has come due, at most `looks` keys; true when more is waiting.
    pub fn expire_due(&mut self, mut looks: usize) -> bool {
        for db in 0..self.spaces.len() {
            self.spaces[db].wheel.turn(self.now_ms);
            while looks > 0 && self.spaces[db].wheel.has_due() {
                let (key, left) = self.spaces[db].next_due(self.now_ms, looks);
                looks = left;
                let Some(key) = key else { continue };
                let hash = self.hash(&key);
                if !self.within(db, |db| db.drop_if_expired(hash, &key)) {
                    let fields = self.within(db, |db| db.expire_fields(&key, looks + 1));
                    looks -= fields.min(looks);
                    self.spaces[db].put_down_again(hash, self.now_ms);
                }
            }
            if self.spaces[db].wheel.has_due() {
                return true;
            }
        }
        false
    }

    /// When the wheel has to turn next (Unix ms).
    pub fn next_due_ms(&self) -> Option<i64> {
        self.spaces.iter().filter_map(|space| space.wheel.next_due_ms()).min()
    }

    /// Frees a removed entry: a large value later, in pieces, and one of many parts when that was
    /// asked for.
    pub(super) fn bury(&mut self, entry: Entry, later: bool) {
        let Some(value) = graveyard::content(entry) else { return };
        let Some(value) = self.keep_buried(value) else { return };
        if graveyard::is_large(&value) || (later && graveyard::is_worth_a_lot(&value)) {
            self.graveyard.push_value(value);
        }
    }

    /// Frees a value: a large one later, in pieces.
    pub fn bury_value(&mut self, value: Value) {
        let Some(value) = self.keep_buried(value) else { return };
        if graveyard::is_large(&value) {
            self.graveyard.push_value(value);
        }
    }

    /// Frees one bounded piece of what was removed; false when nothing is left.
    pub fn free_chunk(&mut self) -> bool {
        self.graveyard.free_chunk()
    }

    /// What waits to be freed.
    pub fn graveyard(&self) -> &Graveyard {
        &self.graveyard
    }
}

#[cfg(test)]
mod tests {
    use crate::keyspace::db::{Db, Ttl};
    use crate::keyspace::effects::listener;
    use crate::keyspace::entry::NewValue;
    use crate::types::limits::Limits;

    /// So many that to look through all of them for each would not end.
    #[test]
    fn what_is_written_over_what_was_met_stays_however_much_it_is() {
        const KEYS: i64 = 200_000;
        let mut db = Db::new(2, Limits::default(), 7);
        db.effects.listeners = listener::LOG;
        let keys: Vec<Vec<u8>> = (0..KEYS).map(|key| key.to_string().into_bytes()).collect();
        let put = |db: &mut Db, key: &[u8], ttl| db.put(key, NewValue::Int(1), ttl, "set");
        db.set_now_ms(1000);
        keys.iter().for_each(|key| put(&mut db, key, Ttl::At(2000)));
        db.set_now_ms(3000);
        assert!(!keys.iter().any(|key| db.contains(key)));
        // All but the first are written, their time passed already.
        keys[1..].iter().for_each(|key| put(&mut db, key, Ttl::At(2500)));
        assert!(db.drop_met_expired());
        assert_eq!(db.here().len() as i64, KEYS - 1);
        // One that is met after all went is not taken for one of those before.
        assert!(!db.contains(&keys[1]) && !db.contains(&keys[2]));
        put(&mut db, &keys[1], Ttl::Clear);
        db.flush(Some(0), false);
        put(&mut db, &keys[1], Ttl::At(2500));
        assert!(!db.contains(&keys[1]) && db.drop_met_expired());
        assert!(db.here().find(db.hash(&keys[1]), &keys[1]).is_none());
    }
}
