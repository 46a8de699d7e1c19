//! An open collection: the guard that does sizes, effects and the removal of what got empty.
//!
//! The value is outside its entry while the guard lives, so that the rest of the door stays
//! reachable through [`Edit::parts`]; dropping the guard puts it back or removes the key.

use crate::keyspace::db::Db;
use crate::keyspace::effects::Class;
use crate::keyspace::value::Collection;
use crate::types::alloc;
use crate::types::limits::Limits;
use crate::types::table::Spot;
use rand::rngs::SmallRng;
use std::ops::{Deref, DerefMut};

/// The collection at a key, open for change. A vacant one is created on first `or_default`.
pub struct Edit<'a, T: Collection> {
    db: &'a mut Db,
    key: &'a [u8],
    hash: u64,
    value: Option<Box<T>>,
    before: Before,
    /// Where the key was found; none for a new one.
    spot: Option<Spot>,
    /// The key is new and nobody has been told.
    unannounced: bool,
}

/// What the database has counted of a value; nothing for a vacant one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Before {
    pub(super) bytes: usize,
    pub(super) due_ms: Option<i64>,
}

impl<'a, T: Collection> Edit<'a, T> {
    pub(super) fn vacant(db: &'a mut Db, key: &'a [u8], hash: u64) -> Self {
        Edit {
            db,
            key,
            hash,
            value: None,
            before: Before::default(),
            spot: None,
            unannounced: true,
        }
    }

    /// `is_copy` says that the entry still has the value, and counts it.
    pub(super) fn occupied(
        db: &'a mut Db,
        key: &'a [u8],
        hash: u64,
        spot: Spot,
        value: Box<T>,
        is_copy: bool,
    ) -> Self {
        let before = match is_copy {
            true => Before::default(),
            false => Before { bytes: boxed_bytes(&*value), due_ms: value.due_ms() },
        };
        let value = Some(value);
        Edit { db, key, hash, value, before, spot: Some(spot), unannounced: false }
    }

    /// The key.
    pub fn key(&self) -> &'a [u8] {
        self.key
    }

    /// Whether the key was there.
    pub fn exists(&self) -> bool {
        self.value.is_some()
    }

    /// The guard, if the key was there.
    pub fn existing(self) -> Option<Self> {
        self.value.is_some().then_some(self)
    }

    /// The guard, with an empty value if the key was not there. One that is still empty when the
    /// guard is dropped leaves no key.
    pub fn or_default(self) -> Self {
        self.or_insert_with(T::default)
    }

    /// The guard, with `make`'s value if the key was not there.
    pub fn or_insert_with(mut self, make: impl FnOnce() -> T) -> Self {
        if self.value.is_none() {
            self.value = Some(Box::new(make()));
        }
        self
    }

    /// The value, the thresholds and the random source at once.
    pub fn parts(&mut self) -> (&mut T, &Limits, &mut SmallRng) {
        let value = self.value.get_or_insert_with(Box::default);
        (value, &self.db.limits, &mut self.db.rng)
    }

    /// Unix time in milliseconds.
    pub fn now_ms(&self) -> i64 {
        self.db.now_ms()
    }

    /// The value changed: wakes watchers and waiters, counts one change, raises an event of the
    /// type's class. Returns the value.
    pub fn changed(&mut self, event: &'static str) -> &mut T {
        self.changed_times(1, event)
    }

    /// The same for several changes that make one event.
    pub fn changed_times(&mut self, times: usize, event: &'static str) -> &mut T {
        self.changed_silently(times);
        let db = self.db.current();
        self.db.effects.event(db, self.key, T::CLASS, event);
        self.value.get_or_insert_with(Box::default)
    }

    /// Counts changes and wakes watchers, without an event of its own.
    pub fn changed_silently(&mut self, times: usize) {
        self.announce();
        let db = self.db.current();
        self.db.effects.dirty += times as u64;
        // Redis: what joins others is no news to those who wait, who do so for want of anything.
        match self.spot.is_none() || matches!(T::CLASS, Class::Stream) {
            true => self.db.effects.modified(db, self.key),
            false => self.db.effects.modified_quietly(db, self.key),
        }
    }

    /// A new key's first event is that it is new.
    fn announce(&mut self) {
        if std::mem::take(&mut self.unannounced) {
            let db = self.db.current();
            self.db.effects.event(db, self.key, Class::New, "new");
        }
    }

    /// States the form in which the command enters the log ([`Db::replay_as`]).
    pub fn replay_as<B: AsRef<[u8]>>(&mut self, argv: &[B]) {
        self.db.replay_as(argv);
    }

    /// The rest of the door; this key is invisible there while the guard lives.
    pub fn db(&mut self) -> &mut Db {
        self.db
    }
}

/// What a value counts for.
#[inline]
pub(super) fn boxed_bytes<T: Collection>(value: &T) -> usize {
    alloc::class(std::mem::size_of::<T>()) + value.heap_bytes()
}

impl<T: Collection> Deref for Edit<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        match &self.value {
            Some(value) => value,
            None => unreachable!("an edit is read only after `existing` or `or_default`"),
        }
    }
}

impl<T: Collection> DerefMut for Edit<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.get_or_insert_with(Box::default)
    }
}

impl<T: Collection> Drop for Edit<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let Some(value) = self.value.take() else { return };
        self.db.after_change();
        match self.spot {
            None if value.is_empty() => {}
            None => {
                self.announce();
                self.db.close_new(self.hash, self.key, value);
            }
            Some(_) if value.is_empty() => {
                self.db.close_emptied(self.hash, self.key, T::into_value(value), self.before);
            }
            Some(spot) => self.db.close_edit(self.hash, self.key, spot, value, self.before),
        }
    }
}
