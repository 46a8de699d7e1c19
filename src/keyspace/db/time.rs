//! What the door does as time passes: keys and fields whose time has come, and freeing in pieces.

use super::{Db, FreedLater};
use crate::keyspace::effects::{Class, Mark};
use crate::keyspace::entry::Entry;
use crate::keyspace::graveyard::{self, Graveyard};
use crate::keyspace::value::Value;

/// Redis: tells of a key that goes with its last fields by these. That of a hash of more fields,
/// whose time has come together, is told as that of a key.
const FIELDS_TOLD: usize = 1024;

/// A key that a reader has met after its time.
#[derive(Debug)]
pub(super) struct Met {
    pub(super) db: usize,
    key: Box<[u8]>,
    /// What had been recorded by then: its end comes before what the command did next.
    at: Mark,
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
        // What comes in its place is another, even if its time has come, too.
        self.forget_met(|met| met.db == db && *met.key == *key);
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
        let any = !self.met_expired.get_mut().is_empty();
        if any {
            self.drop_all_met();
        }
        any
    }

    /// A reader has met a key after its time.
    #[cold]
    pub(super) fn meet(&self, key: &[u8]) {
        let at = self.effects.mark();
        self.met_expired.borrow_mut().push(Met { db: self.current, key: key.into(), at });
    }

    /// Readers met keys that are not there any more, or not where they were.
    pub(super) fn forget_met(&mut self, is_gone: impl Fn(&Met) -> bool) {
        let met = self.met_expired.get_mut();
        if !met.is_empty() {
            met.retain(|met| !is_gone(met));
        }
    }

    #[cold]
    fn drop_all_met(&mut self) {
        let met = std::mem::take(self.met_expired.get_mut());
        let end = self.effects.mark();
        let mut places = Vec::with_capacity(met.len());
        for Met { db, key, at } in met {
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
