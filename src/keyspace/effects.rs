//! What a command did to the keyspace, recorded at the door and settled once, after the command.
//!
//! Invariant: when nobody listens, recording costs one branch. Nothing here acts: `settle` serves
//! WATCH, waiters, keyspace events, tracking and the log from what is recorded.

use super::fresh::Fresh;
use super::records::Records;
use crate::types::limits::HashKey;
use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// The class of a keyspace event: the letters of `notify-keyspace-events`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Class {
    /// `g`
    Generic = 1 << 2,
    /// `$`
    String = 1 << 3,
    /// `l`
    List = 1 << 4,
    /// `s`
    Set = 1 << 5,
    /// `h`
    Hash = 1 << 6,
    /// `z`
    SortedSet = 1 << 7,
    /// `x`
    Expired = 1 << 8,
    /// `e`
    Evicted = 1 << 9,
    /// `t`
    Stream = 1 << 10,
    /// `m`
    KeyMiss = 1 << 11,
    /// `d`
    Module = 1 << 13,
    /// `n`
    New = 1 << 14,
}

/// Who listens: bits of [`Effects::listeners`].
pub mod listener {
    /// Somebody watches a key.
    pub const WATCHES: u32 = 1 << 27;
    /// Somebody waits for a key.
    pub const WAITERS: u32 = 1 << 28;
    /// Somebody tracks keys.
    pub const TRACKING: u32 = 1 << 29;
    /// The log has a reader.
    pub const LOG: u32 = 1 << 30;
    /// Readers wait until what they are shown is on disk.
    pub const FRESH: u32 = 1 << 31;
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The value at a key changed, or came, or went.
    Modified {
        /// Number of the database.
        db: usize,
        /// The key.
        key: Box<[u8]>,
        /// Whether those who wait for the key look again.
        wakes: bool,
    },
    /// A key, or a field of the hash at it, has reached its deadline: nobody's change.
    Expired {
        /// Number of the database.
        db: usize,
        /// The key.
        key: Box<[u8]>,
    },
    /// Who waits for a key must look again, although its value did not change (a group went).
    Woken {
        /// Number of the database.
        db: usize,
        /// The key.
        key: Box<[u8]>,
    },
    /// A keyspace event.
    Event {
        /// Number of the database.
        db: usize,
        /// The key.
        key: Box<[u8]>,
        /// Its class.
        class: Class,
        /// Its name.
        name: &'static str,
    },
    /// A whole database was emptied or replaced; `None`: all of them.
    Flushed(Option<usize>),
    /// Two databases changed places.
    Swapped(usize, usize),
}

/// Which readers of the log a record is for; a script may choose (`redis.set_repl`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach(u8);

impl Reach {
    /// Nobody.
    pub const NONE: Reach = Reach(0);
    /// The append-only file.
    pub const FILE: Reach = Reach(1);
    /// The replicas.
    pub const REPLICAS: Reach = Reach(2);
    /// Everybody.
    pub const ALL: Reach = Reach(3);

    /// As scripts number it: 1 the file, 2 the replicas.
    pub fn of_bits(bits: u8) -> Reach {
        Reach(bits & Reach::ALL.0)
    }

    /// Whether a reader of this kind is reached.
    pub fn includes(self, kind: Reach) -> bool {
        self.0 & kind.0 != 0
    }
}

impl Default for Reach {
    fn default() -> Self {
        Reach::ALL
    }
}

/// The recorder.
#[derive(Debug)]
pub struct Effects {
    /// Bits of [`listener`], and of [`Class`] where somebody subscribed to that class.
    pub listeners: u32,
    /// A log is being replayed: nobody hears what happens, whoever comes or goes meanwhile.
    pub replays: bool,
    /// What happened since the last settling, in order.
    pub happened: Vec<Effect>,
    /// Changes since the start; Redis's `dirty`.
    pub dirty: u64,
    /// Records that stand before, or instead of, the command's own form.
    pub records: Records,
    /// The command has stated its own form with `replay_as` or `replay_nothing`.
    pub form_stated: bool,
    /// Who reads what the running command writes.
    pub reach: Reach,
    /// Keys somebody waits for.
    pub waited: Places,
    /// Keys whose changes may not be on disk.
    pub fresh: Fresh,
    /// Where readers found nothing, until it is reported.
    missed: RefCell<Vec<(usize, Box<[u8]>)>>,
}

/// A multiset of keys that forgets all but their hashes: it may take one key for another, which
/// only costs its asker a look elsewhere. Asking costs a few nanoseconds and allocates nothing, so
/// that ten thousand waiters do not burden a write to another key.
#[derive(Debug)]
pub struct Places {
    hash_key: HashKey,
    counts: HashMap<u64, u32, BuildHasherDefault<Identity>>,
}

impl Places {
    /// None yet; they are hashed with `hash_key`.
    pub fn new(hash_key: HashKey) -> Places {
        Places { hash_key, counts: HashMap::default() }
    }

    /// Adds a key once more.
    pub fn add(&mut self, db: usize, key: &[u8]) {
        *self.counts.entry(place_hash(self.hash_key, db, key)).or_default() += 1;
    }

    /// Takes a key out once.
    pub fn remove(&mut self, db: usize, key: &[u8]) {
        if let Entry::Occupied(mut count) = self.counts.entry(place_hash(self.hash_key, db, key)) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// Whether the key may be inside; never false for one that is.
    #[inline]
    pub fn may_hold(&self, db: usize, key: &[u8]) -> bool {
        self.counts.contains_key(&place_hash(self.hash_key, db, key))
    }
}

/// The hash of a key and the number of its database. Strangers choose the keys: that of the key
/// has to be one that they cannot foresee, since tables take it as it is.
#[inline]
pub(super) fn place_hash(hash_key: HashKey, db: usize, key: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
    hash_key.hash(key) ^ (db as u64).wrapping_mul(FACTOR)
}

/// Hashes a hash: it is one already.
#[derive(Debug, Default)]
pub struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash << 8 | u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// How much has been recorded: of what happened, and for the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    happened: usize,
    records: usize,
}

impl std::ops::Sub for Mark {
    type Output = Mark;

    fn sub(self, other: Mark) -> Mark {
        Mark {
            happened: self.happened.saturating_sub(other.happened),
            records: self.records.saturating_sub(other.records),
        }
    }
}

/// Moves what stands from `end` on to its places before: pairs of an index and how many go there,
/// indices in their order. What stands before the first of them is not touched.
pub(super) fn move_back<T>(
    list: &mut Vec<T>,
    end: usize,
    places: impl Iterator<Item = (usize, usize)>,
) {
    let mut places = places.peekable();
    let mut taken = places.peek().map_or(end, |(at, _)| *at);
    let mut moved = list.split_off(end.min(list.len())).into_iter();
    let mut rest = list.split_off(taken.min(list.len())).into_iter();
    for (at, count) in places {
        list.extend(rest.by_ref().take(at.saturating_sub(taken)));
        taken = taken.max(at);
        list.extend(moved.by_ref().take(count));
    }
    list.extend(rest.chain(moved));
}

impl Effects {
    /// Nothing has happened, and nobody listens. Keys are hashed with `hash_key`.
    pub fn new(hash_key: HashKey) -> Effects {
        Effects {
            listeners: 0,
            replays: false,
            happened: Vec::new(),
            dirty: 0,
            records: Records::default(),
            form_stated: false,
            reach: Reach::ALL,
            waited: Places::new(hash_key),
            fresh: Fresh::new(hash_key),
            missed: RefCell::default(),
        }
    }

    /// How much has been recorded so far.
    pub fn mark(&self) -> Mark {
        Mark { happened: self.happened.len(), records: self.records.len() }
    }

    /// Moves what was recorded after `end` to where it belongs: pairs of a mark and how much goes
    /// there, in the order in which it was recorded.
    pub fn move_back(&mut self, end: Mark, places: &[(Mark, Mark)]) {
        if places.iter().all(|(at, _)| *at == end) {
            return;
        }
        let events = places.iter().map(|(at, count)| (at.happened, count.happened));
        move_back(&mut self.happened, end.happened, events);
        let records = places.iter().map(|(at, count)| (at.records, count.records));
        self.records.move_back(end.records, records);
    }

    /// Whether `bit` (of [`listener`] or a [`Class`]) has somebody who listens.
    #[inline]
    pub fn hears(&self, bits: u32) -> bool {
        self.listeners & bits != 0
    }

    /// The value at a key changed.
    #[inline]
    pub fn modified(&mut self, db: usize, key: &[u8]) {
        self.note_fresh(db, key);
        if self.hears(listener::WATCHES | listener::TRACKING) || self.is_waited_for(db, key) {
            self.happened.push(Effect::Modified { db, key: key.into(), wakes: true });
        }
    }

    /// The same, but those who wait for the key are not told.
    pub fn modified_quietly(&mut self, db: usize, key: &[u8]) {
        self.note_fresh(db, key);
        if self.hears(listener::WATCHES | listener::TRACKING) {
            self.happened.push(Effect::Modified { db, key: key.into(), wakes: false });
        }
    }

    #[inline]
    fn note_fresh(&mut self, db: usize, key: &[u8]) {
        if self.hears(listener::FRESH) {
            self.fresh.add(db, key);
        }
    }

    /// Whether somebody may wait for the key.
    #[inline]
    pub fn is_waited_for(&self, db: usize, key: &[u8]) -> bool {
        self.hears(listener::WAITERS) && self.waited.may_hold(db, key)
    }

    /// A key, or a field of the hash at it, has reached its deadline.
    pub fn expired(&mut self, db: usize, key: &[u8]) {
        self.note_fresh(db, key);
        if self.hears(listener::WATCHES | listener::TRACKING) || self.is_waited_for(db, key) {
            self.happened.push(Effect::Expired { db, key: key.into() });
        }
    }

    /// Who waits for a key must look again.
    pub fn wake(&mut self, db: usize, key: &[u8]) {
        if self.hears(listener::WAITERS) {
            self.happened.push(Effect::Woken { db, key: key.into() });
        }
    }

    /// An event of a class; costs one branch when nobody listens.
    #[inline]
    pub fn event(&mut self, db: usize, key: &[u8], class: Class, name: &'static str) {
        if self.hears(class as u32) {
            self.report_missed();
            self.happened.push(Effect::Event { db, key: key.into(), class, name });
        }
    }

    /// Notes that a reader found nothing at a key.
    pub fn miss(&self, db: usize, key: &[u8]) {
        if self.hears(Class::KeyMiss as u32) {
            self.missed.borrow_mut().push((db, key.into()));
        }
    }

    /// Turns misses of readers into events; they come before what the command did next.
    pub fn report_missed(&mut self) {
        for (db, key) in std::mem::take(self.missed.get_mut()) {
            let (class, name) = (Class::KeyMiss, "keymiss");
            self.happened.push(Effect::Event { db, key, class, name });
        }
    }

    /// A record for the log, of what time or memory did: everybody reads it.
    pub fn record<B: AsRef<[u8]>>(&mut self, db: usize, argv: &[B]) {
        self.push_record(db, argv, Reach::ALL);
    }

    /// A record for the log, of what the running command did.
    pub fn record_own<B: AsRef<[u8]>>(&mut self, db: usize, argv: &[B]) {
        self.push_record(db, argv, self.reach);
    }

    /// A record of a message, which concerns replicas alone and no database.
    pub fn record_message<B: AsRef<[u8]>>(&mut self, argv: &[B]) {
        if self.reach.includes(Reach::REPLICAS) && self.hears(listener::LOG) {
            self.records.push_anywhere(None, argv, Reach::REPLICAS);
        }
    }

    fn push_record<B: AsRef<[u8]>>(&mut self, db: usize, argv: &[B], reach: Reach) {
        if self.hears(listener::LOG) && reach != Reach::NONE {
            self.records.push(db, argv, reach);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn what_was_met_earlier_is_told_earlier() {
        let mut list = vec!["a", "b", "c", "X", "Y", "Z"];
        move_back(&mut list, 3, [(0, 1), (2, 1), (2, 0), (3, 1)].into_iter());
        assert_eq!(list, ["X", "a", "b", "Y", "c", "Z"]);
        move_back(&mut list, 6, std::iter::empty());
        assert_eq!(list, ["X", "a", "b", "Y", "c", "Z"]);
        move_back(&mut list, 5, [(3, 0), (4, 1)].into_iter());
        assert_eq!(list, ["X", "a", "b", "Y", "Z", "c"]);
    }

    /// With a hash that anybody can calculate, all of these had one place: what the flipped bit of
    /// one half changes is taken back by that of the other half.
    #[test]
    fn strangers_cannot_make_keys_collide() {
        const HALVES: [[u64; 2]; 2] = [[0, 0], [1 << 63, 1 << 22]];
        let bytes = |half: u64| half.to_le_bytes();
        let key = |number: usize| -> Vec<u8> {
            (0..12).flat_map(|bit| HALVES[number >> bit & 1].into_iter().flat_map(bytes)).collect()
        };
        let mut places = Places::new(HashKey(3, 4));
        (0..2048).for_each(|number| places.add(0, &key(number)));
        assert_eq!(places.counts.len(), 2048);
        assert!((2048..4096).all(|number| !places.may_hold(0, &key(number))));
        // Nor are they anywhere near each other: they differ where tables look first.
        let ends: HashSet<u64> = places.counts.keys().map(|hash| hash & 0xFF).collect();
        assert_eq!(ends.len(), 256);
    }

    #[test]
    fn keys_are_held_as_often_as_they_were_added() {
        let mut places = Places::new(HashKey(1, 2));
        let keys: Vec<String> = (0..3000).map(|n| format!("key:{n}")).collect();
        for key in &keys {
            places.add(1, key.as_bytes());
            places.add(1, key.as_bytes());
        }
        for key in &keys {
            places.remove(1, key.as_bytes());
            assert!(places.may_hold(1, key.as_bytes()));
        }
        let strangers = (0..3000).filter(|n| places.may_hold(1, format!("other:{n}").as_bytes()));
        assert_eq!(strangers.count(), 0);
        assert!(!places.may_hold(0, b"key:1"));
        for key in &keys {
            places.remove(1, key.as_bytes());
            assert!(!places.may_hold(1, key.as_bytes()));
        }
    }
}
