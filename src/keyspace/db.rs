//! The door: all that a handler sees of the data.
//!
//! Reads go through `&Db` and may meet keys whose time has come: they are hidden at once and
//! removed when the command settles. Writes go through `&mut Db`, which removes them on sight.
//!
//! Invariant: every change of the keyspace passes through a method of this file or of `edit`, and
//! leaves its effect in `effects`.

mod time;

use crate::error::{Error, Result};
use crate::keyspace::ageing::Ageing;
use crate::keyspace::edit::{Before, Edit};
use crate::keyspace::effects::{listener, Class, Effect, Effects};
use crate::keyspace::entry::{Entry, NewValue};
use crate::keyspace::space::Space;
use crate::keyspace::value::{Collection, Kind, StrRef, Value};
use crate::types::hash::HashView;
use crate::types::limits::Limits;
use rand::rngs::SmallRng;
use rand::SeedableRng;
use std::cell::{Cell, RefCell, RefMut};

/// What a write does to the key's deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ttl {
    /// The key has none afterwards.
    #[default]
    Clear,
    /// It stays as it was.
    Keep,
    /// Unix time in milliseconds.
    At(i64),
}

/// Figures that the door keeps for INFO.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// `keyspace_hits`
    pub hits: Cell<u64>,
    /// `keyspace_misses`
    pub misses: Cell<u64>,
    /// `expired_keys`
    pub expired: u64,
    /// `expired_subkeys`
    pub expired_fields: u64,
    /// `evicted_keys`
    pub evicted: u64,
    /// `lazyfreed_objects`
    pub lazyfreed: u64,
}

/// All databases, one of them selected.
#[derive(Debug)]
pub struct Db {
    pub(super) spaces: Vec<Space>,
    current: usize,
    now_ms: i64,
    /// Encoding thresholds.
    pub limits: Limits,
    /// What the running command does.
    pub effects: Effects,
    /// How keys age.
    pub ageing: Ageing,
    /// The one random source.
    pub rng: SmallRng,
    reader_rng: RefCell<SmallRng>,
    /// Figures for INFO.
    pub counters: Counters,
    /// Set while a client that asked for CLIENT NO-TOUCH runs.
    pub no_touch: bool,
    /// Cleared inside EXEC and scripts, where no command waits for a key.
    pub may_wait: bool,
    /// A script runs the command: its replies must not depend on how the data happens to lie.
    pub inside_script: bool,
    /// A replica, or PAUSE: keys whose time has come are hidden but not removed.
    pub keeps_expired: bool,
    /// Small integers count as shared objects: their age need not be known one by one.
    pub shares_integers: bool,
    /// `proto-max-bulk-len`: the longest string.
    pub string_bytes_max: usize,
    /// Values of at least this many elements are freed in pieces, later.
    pub lazyfree_from: usize,
    met_expired: RefCell<Vec<(usize, Box<[u8]>)>>,
    missed: RefCell<Vec<(usize, Box<[u8]>)>>,
    hash_memo: Cell<(usize, usize, u64)>,
    graveyard: Vec<Value>,
    abandoned: Vec<Space>,
}

impl Db {
    /// `databases` empty databases; the seed makes all that is random.
    pub fn new(databases: usize, limits: Limits, seed: u64) -> Db {
        Db {
            spaces: (0..databases.max(1)).map(|_| Space::new(limits.hash_key)).collect(),
            current: 0,
            now_ms: 0,
            limits,
            effects: Effects::default(),
            ageing: Ageing::default(),
            rng: SmallRng::seed_from_u64(seed),
            reader_rng: RefCell::new(SmallRng::seed_from_u64(!seed)),
            counters: Counters::default(),
            no_touch: false,
            inside_script: false,
            may_wait: true,
            keeps_expired: false,
            shares_integers: true,
            string_bytes_max: 512 << 20,
            lazyfree_from: 64,
            met_expired: RefCell::default(),
            missed: RefCell::default(),
            hash_memo: Cell::new((0, 0, 0)),
            graveyard: Vec::new(),
            abandoned: Vec::new(),
        }
    }

    // ---- Place and time ----

    /// Number of databases.
    pub fn databases(&self) -> usize {
        self.spaces.len()
    }

    /// The selected database.
    #[inline]
    pub fn current(&self) -> usize {
        self.current
    }

    /// Selects a database for the commands that follow.
    #[inline]
    pub fn select(&mut self, index: usize) {
        debug_assert!(index < self.spaces.len());
        self.current = index;
    }

    /// Runs `work` with another database selected.
    pub fn within<R>(&mut self, index: usize, work: impl FnOnce(&mut Db) -> R) -> R {
        let before = std::mem::replace(&mut self.current, index);
        let result = work(self);
        self.current = before;
        result
    }

    /// A database as a whole.
    pub fn space(&self, index: usize) -> &Space {
        &self.spaces[index]
    }

    /// The selected database as a whole.
    #[inline]
    pub fn here(&self) -> &Space {
        &self.spaces[self.current]
    }

    /// Unix time in milliseconds; stands still while a command, script or EXEC runs.
    #[inline]
    pub fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// Sets the time for the commands that follow; only dispatch and cron do.
    #[inline]
    pub fn set_now_ms(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
    }

    /// Heap bytes of all databases and of what waits to be freed.
    pub fn heap_bytes(&self) -> usize {
        let waiting: usize = self.graveyard.iter().map(Value::heap_bytes).sum();
        self.spaces.iter().chain(&self.abandoned).map(Space::heap_bytes).sum::<usize>() + waiting
    }

    // ---- Reading ----

    /// The random source of commands that only read.
    pub fn reader_rng(&self) -> RefMut<'_, SmallRng> {
        self.reader_rng.borrow_mut()
    }

    /// The hash of a key in every table of this server.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        let (at, len, hash) = self.hash_memo.get();
        if at == key.as_ptr() as usize && len == key.len() {
            return hash;
        }
        self.limits.hash_key.hash(key)
    }

    /// Hashes a key ahead of its command and touches its place in the table.
    #[inline]
    pub fn prefetch(&self, db: usize, key: &[u8]) -> u64 {
        let hash = self.limits.hash_key.hash(key);
        self.spaces[db].table.prefetch(hash);
        hash
    }

    /// Asks the processor for the entry with this hash, after [`Db::prefetch`] has brought its
    /// place.
    #[inline]
    pub fn prefetch_entry(&self, db: usize, hash: u64) {
        if let Some(entry) = self.spaces[db].table.candidate(hash) {
            entry.prefetch();
        }
    }

    /// Remembers the hash of one argument while its command runs; the argument must not move or
    /// change meanwhile. An empty slice forgets.
    #[inline]
    pub fn memorize_hash(&self, key: &[u8], hash: u64) {
        self.hash_memo.set((key.as_ptr() as usize, key.len(), hash));
    }

    /// Forgets the remembered hash.
    #[inline]
    pub fn forget_hash(&self) {
        self.hash_memo.set((0, 0, 0));
    }

    /// The entry at a key, as nobody's access: no statistics, no ageing.
    #[inline]
    pub fn look(&self, key: &[u8]) -> Option<&Entry> {
        let entry = self.here().find(self.hash(key), key)?;
        if entry.is_gone(self.now_ms) {
            self.met_expired.borrow_mut().push((self.current, key.into()));
            return None;
        }
        (!entry.is_taken()).then_some(entry)
    }

    #[inline]
    fn touch(&self, entry: &Entry) {
        if !self.no_touch {
            entry.set_ageing(self.ageing.touched(entry.ageing(), self.now_ms));
        }
    }

    /// The entry at a key for a reader: counts a hit or a miss and ages the key.
    #[inline]
    pub fn read(&self, key: &[u8]) -> Option<&Entry> {
        let entry = self.probe(key)?;
        self.touch(entry);
        Some(entry)
    }

    /// Like [`Db::read`], for who only asks about the key: it does not age.
    #[inline]
    pub fn probe(&self, key: &[u8]) -> Option<&Entry> {
        match self.look(key) {
            Some(entry) => {
                self.counters.hits.set(self.counters.hits.get() + 1);
                Some(entry)
            }
            None => {
                self.counters.misses.set(self.counters.misses.get() + 1);
                if self.effects.hears(Class::KeyMiss as u32) {
                    self.missed.borrow_mut().push((self.current, key.into()));
                }
                None
            }
        }
    }

    /// The collection at a key (hashes: [`Db::hash_at`]); `None` when the key is absent, WRONGTYPE
    /// when it holds another type.
    #[inline]
    pub fn get<T: Collection>(&self, key: &[u8]) -> Result<Option<&T>> {
        let Some(entry) = self.read(key) else { return Ok(None) };
        entry.collection::<T>().map(Some).ok_or(Error::WrongType)
    }

    /// The hash at a key; as [`Db::get`].
    #[inline]
    pub fn hash_at(&self, key: &[u8]) -> Result<Option<HashView<'_>>> {
        let Some(entry) = self.read(key) else { return Ok(None) };
        entry.hash().map(Some).ok_or(Error::WrongType)
    }

    /// Like [`Db::hash_at`], on behalf of a write: no statistics.
    pub fn peek_hash(&self, key: &[u8]) -> Result<Option<HashView<'_>>> {
        let Some(entry) = self.look(key) else { return Ok(None) };
        entry.hash().map(Some).ok_or(Error::WrongType)
    }

    /// The string at a key.
    #[inline]
    pub fn string(&self, key: &[u8]) -> Result<Option<StrRef<'_>>> {
        let Some(entry) = self.read(key) else { return Ok(None) };
        entry.string().map(Some).ok_or(Error::WrongType)
    }

    /// Like [`Db::get`], on behalf of a write: no statistics.
    pub fn peek<T: Collection>(&self, key: &[u8]) -> Result<Option<&T>> {
        let Some(entry) = self.look(key) else { return Ok(None) };
        entry.collection::<T>().map(Some).ok_or(Error::WrongType)
    }

    /// Like [`Db::string`], on behalf of a write: no statistics.
    pub fn peek_string(&self, key: &[u8]) -> Result<Option<StrRef<'_>>> {
        let Some(entry) = self.look(key) else { return Ok(None) };
        self.touch(entry);
        entry.string().map(Some).ok_or(Error::WrongType)
    }

    /// Whether the key is there.
    #[inline]
    pub fn contains(&self, key: &[u8]) -> bool {
        self.look(key).is_some()
    }

    /// Whether the key of a database is there, asked by nobody who meets it: one whose time has
    /// come stays where it is.
    pub fn is_alive(&self, index: usize, key: &[u8]) -> bool {
        let entry = self.spaces[index].find(self.hash(key), key);
        entry.is_some_and(|entry| entry.deadline_ms().is_none_or(|at| at > self.now_ms))
    }

    /// The type of the value at a key.
    pub fn kind(&self, key: &[u8]) -> Option<Kind> {
        self.look(key).map(Entry::kind)
    }

    /// A key of the selected database, each with the same chance.
    pub fn random_key(&mut self) -> Option<Vec<u8>> {
        let space = &self.spaces[self.current];
        // A database in which nearly everything has expired: the last try is taken as it is.
        let mut last = None;
        for _ in 0..100 {
            let entry = space.table.random(&mut self.rng)?;
            last = Some(entry.key().to_vec());
            if !entry.is_gone(self.now_ms) {
                return last;
            }
        }
        last.filter(|_| self.keeps_expired)
    }

    /// Walks the selected database in hash order from `cursor`, looking at about `count` entries;
    /// returns the next cursor, 0 at the end. Expired entries are left out.
    /// Only entries that `wanted` lets through are looked at closely.
    pub fn scan<'a>(
        &'a self,
        cursor: u64,
        count: usize,
        wanted: impl Fn(&Entry) -> bool,
        mut visit: impl FnMut(&'a Entry),
    ) -> u64 {
        let hash_key = self.limits.hash_key;
        let now_ms = self.now_ms;
        self.here().table.scan(
            cursor,
            count,
            |entry| hash_key.hash(entry.key()),
            |entry| {
                if !wanted(entry) {
                    return;
                }
                if entry.is_gone(now_ms) {
                    self.met_expired.borrow_mut().push((self.current, entry.key().into()));
                } else {
                    visit(entry);
                }
            },
        )
    }

    /// All living entries of the selected database, in no order that means anything.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        let now_ms = self.now_ms;
        let alive = move |entry: &&Entry| !entry.is_gone(now_ms);
        self.here().table.iter().filter(alive)
    }

    // ---- Writing ----

    /// Opens the collection at a key for change.
    pub fn edit<'a, T: Collection>(&'a mut self, key: &'a [u8]) -> Result<Edit<'a, T>> {
        let hash = self.hash(key);
        let now_ms = self.now_ms;
        let Some(entry) = self.spaces[self.current].find_mut(hash, key) else {
            return Ok(Edit::vacant(self, key, hash));
        };
        if entry.is_gone(now_ms) {
            self.expire(self.current, key);
            return Ok(Edit::vacant(self, key, hash));
        }
        if entry.kind() != T::KIND {
            return Err(Error::WrongType);
        }
        if !self.no_touch {
            entry.set_ageing(self.ageing.touched(entry.ageing(), now_ms));
        }
        let is_inline = entry.is_inline();
        match entry.take().and_then(T::from_value) {
            Some(value) => Ok(Edit::occupied(self, key, hash, value, is_inline)),
            None => Ok(Edit::vacant(self, key, hash)),
        }
    }

    /// Stores a value at a key, whatever was there, and raises `event` in the value's class.
    pub fn put(&mut self, key: &[u8], value: NewValue<'_>, ttl: Ttl, event: &'static str) {
        let class = match &value {
            NewValue::Owned(value) => class_of(value.kind()),
            _ => Class::String,
        };
        self.put_new_as(key, value, ttl, class, event);
    }

    fn put_new_as(
        &mut self,
        key: &[u8],
        value: NewValue<'_>,
        ttl: Ttl,
        class: Class,
        event: &'static str,
    ) {
        self.store(key, value, ttl);
        self.effects.dirty += 1;
        self.effects.modified(self.current, key);
        self.effects.event(self.current, key, class, event);
    }

    /// Stores a string at a key; one that spells an integer is kept as such.
    #[inline]
    pub fn put_string(&mut self, key: &[u8], bytes: &[u8], ttl: Ttl, event: &'static str) {
        let value = match crate::types::number::parse_i64(bytes) {
            Some(number) if bytes.len() <= 20 => NewValue::Int(number),
            _ => NewValue::Bytes(bytes),
        };
        self.put(key, value, ttl, event);
    }

    fn store(&mut self, key: &[u8], value: NewValue<'_>, ttl: Ttl) {
        let hash = self.hash(key);
        self.drop_if_expired(hash, key);
        let (current, now_ms) = (self.current, self.now_ms);
        let space = &mut self.spaces[current];
        if let Some(entry) = space.find_mut(hash, key) {
            let before_ms = entry.deadline_ms();
            let deadline_ms = match ttl {
                Ttl::Clear => None,
                Ttl::Keep => before_ms,
                Ttl::At(at) => Some(at),
            };
            let ageing = match self.no_touch {
                true => entry.ageing(),
                false => self.ageing.touched(entry.ageing(), now_ms),
            };
            let before_bytes = entry.heap_bytes();
            let value = match value {
                // A taken buffer goes back where it was.
                NewValue::Owned(value) if before_ms == deadline_ms && entry.is_taken() => {
                    match entry.put_back(value) {
                        Ok(()) => {
                            entry.set_ageing(ageing);
                            let after_bytes = entry.heap_bytes();
                            space.resized(before_bytes, after_bytes);
                            return;
                        }
                        Err(value) => NewValue::Owned(value),
                    }
                }
                value => value,
            };
            if entry.overwrite(&value, deadline_ms) {
                entry.set_ageing(ageing);
                space.deadline_changed(hash, before_ms, deadline_ms, now_ms);
                return;
            }
            let entry = Entry::new(key, value, deadline_ms, ageing);
            if let Some(old) = space.replace(hash, entry, now_ms) {
                self.bury(old);
            }
            return;
        }
        let deadline_ms = match ttl {
            Ttl::At(at) => Some(at),
            _ => None,
        };
        let entry = Entry::new(key, value, deadline_ms, self.ageing.fresh(now_ms));
        space.insert(hash, entry, now_ms);
        self.effects.event(current, key, Class::New, "new");
    }

    /// Removes a key and raises `event` (class generic); false when it was not there.
    pub fn remove(&mut self, key: &[u8], event: &'static str) -> bool {
        self.remove_as(key, Class::Generic, event)
    }

    /// Removes a key and raises an event of any class.
    pub fn remove_as(&mut self, key: &[u8], class: Class, event: &'static str) -> bool {
        let hash = self.hash(key);
        if self.drop_if_expired(hash, key) {
            return false;
        }
        let Some(entry) = self.spaces[self.current].remove(hash, key) else { return false };
        self.bury(entry);
        self.effects.dirty += 1;
        self.effects.modified(self.current, key);
        self.effects.event(self.current, key, class, event);
        true
    }

    /// Takes the bytes of the string at a key out of their entry, to be put back changed; a string
    /// without a buffer of its own comes as a copy.
    pub fn take_string(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let hash = self.hash(key);
        self.drop_if_expired(hash, key);
        let space = &mut self.spaces[self.current];
        let Some(entry) = space.find_mut(hash, key) else { return Ok(None) };
        if !entry.kind().is_string() {
            return Err(Error::WrongType);
        }
        let before_bytes = entry.heap_bytes();
        let value = entry.take();
        let after_bytes = entry.heap_bytes();
        space.resized(before_bytes, after_bytes);
        Ok(value.map(|value| match value {
            Value::Str(bytes) => bytes,
            Value::Int(number) => itoa::Buffer::new().format(number).as_bytes().to_vec(),
            _ => Vec::new(),
        }))
    }

    /// Gives back what [`Db::take_string`] took, unchanged. Redis: the string has a buffer of its
    /// own from then on, which OBJECT ENCODING shows.
    pub fn return_string(&mut self, key: &[u8], bytes: Vec<u8>) {
        self.store(key, NewValue::Owned(Value::Str(bytes)), Ttl::Keep);
    }

    /// Stores a string, which keeps its deadline, as one change without an event.
    pub fn put_quietly(&mut self, key: &[u8], bytes: Vec<u8>) {
        self.store(key, NewValue::Owned(Value::Str(bytes)), Ttl::Keep);
        self.effects.dirty += 1;
        self.effects.modified(self.current, key);
    }

    /// Raises an event that no other method does.
    pub fn raise(&mut self, key: &[u8], class: Class, event: &'static str) {
        self.effects.event(self.current, key, class, event);
    }

    /// Takes an entry out of the keyspace to be placed somewhere else; raises nothing and counts
    /// nothing.
    pub fn take(&mut self, key: &[u8]) -> Option<Entry> {
        let hash = self.hash(key);
        self.drop_if_expired(hash, key);
        let entry = self.spaces[self.current].remove(hash, key)?;
        self.effects.modified(self.current, key);
        Some(entry)
    }

    /// Puts a taken or copied entry at a key, with its deadline, whatever was there. Its caller
    /// raises the events, in their order.
    pub fn place(&mut self, key: &[u8], entry: Entry) {
        let hash = self.hash(key);
        let (current, now_ms) = (self.current, self.now_ms);
        self.drop_if_expired(hash, key);
        if let Some(old) = self.spaces[current].remove(hash, key) {
            self.bury(old);
        }
        // Redis: also when it takes the place of another.
        self.effects.event(current, key, Class::New, "new");
        let deadline_ms = entry.deadline_ms();
        self.spaces[current].insert(hash, entry.rebuilt(key, deadline_ms), now_ms);
        self.effects.dirty += 1;
        self.effects.modified(current, key);
    }

    /// Sets or clears the deadline of a key that is there; false when it is not. Raises `event`.
    pub fn set_deadline(&mut self, key: &[u8], at: Option<i64>, event: &'static str) -> bool {
        let hash = self.hash(key);
        self.drop_if_expired(hash, key);
        let (current, now_ms) = (self.current, self.now_ms);
        let space = &mut self.spaces[current];
        let Some(entry) = space.find_mut(hash, key) else { return false };
        let before_ms = entry.deadline_ms();
        if at.is_some_and(|at| entry.move_deadline(at)) {
            space.deadline_changed(hash, before_ms, at, now_ms);
        } else if before_ms != at {
            let before_bytes = entry.heap_bytes();
            let old = std::mem::replace(entry, Entry::new(b"", NewValue::Int(0), None, 0));
            *entry = old.rebuilt(key, at);
            let after_bytes = entry.heap_bytes();
            space.resized(before_bytes, after_bytes);
            space.deadline_changed(hash, before_ms, at, now_ms);
        }
        self.effects.dirty += 1;
        self.effects.modified(current, key);
        self.effects.event(current, key, Class::Generic, event);
        true
    }

    /// States the form in which the command enters the log, instead of its own words; may be
    /// called several times for several records.
    pub fn replay_as<B: AsRef<[u8]>>(&mut self, argv: &[B]) {
        self.effects.form_stated = true;
        self.effects.record(self.current, argv);
    }

    /// The command changed nothing that a replay would have to repeat.
    pub fn replay_nothing(&mut self) {
        self.effects.form_stated = true;
    }

    /// Whether anybody reads the log: saves building a form that nobody needs.
    pub fn is_logged(&self) -> bool {
        self.effects.hears(listener::LOG)
    }

    // ---- Whole databases ----

    /// Empties one database, or all; freeing happens later, in pieces, when `lazily`.
    pub fn flush(&mut self, index: Option<usize>, lazily: bool) -> usize {
        let (from, to) = index.map_or((0, self.spaces.len()), |index| (index, index + 1));
        let mut removed = 0;
        for space in &mut self.spaces[from..to] {
            let old = std::mem::replace(space, Space::new(self.limits.hash_key));
            removed += old.len();
            if lazily && !old.is_empty() {
                self.abandoned.push(old);
            }
        }
        self.effects.dirty += removed as u64;
        self.effects.happened.push(Effect::Flushed(index));
        removed
    }

    /// Two databases change places.
    pub fn swap(&mut self, first: usize, second: usize) {
        self.spaces.swap(first, second);
        self.effects.dirty += 1;
        self.effects.happened.push(Effect::Swapped(first, second));
    }

    // ---- For `edit` ----

    pub(super) fn close_edit<T: Collection>(
        &mut self,
        hash: u64,
        key: &[u8],
        value: Box<T>,
        before: Before,
    ) {
        let due_ms = value.due_ms();
        let value = T::into_value(value);
        let after_bytes = value.heap_bytes();
        let now_ms = self.now_ms;
        let space = &mut self.spaces[self.current];
        if let Some(entry) = space.find_mut(hash, key) {
            // The kind is the one it was taken as, so it always fits back.
            match entry.put_back(value) {
                Ok(()) => {
                    space.resized(before.bytes, after_bytes);
                    space.fields_due_changed(hash, before.due_ms, due_ms, now_ms);
                }
                Err(value) => {
                    let (deadline_ms, ageing) = (entry.deadline_ms(), entry.ageing());
                    let (before_bytes, before_ms) = (entry.heap_bytes(), entry.fields_due_ms());
                    *entry = Entry::new(key, NewValue::Owned(value), deadline_ms, ageing);
                    let after_bytes = entry.heap_bytes();
                    space.resized(before_bytes, after_bytes);
                    space.fields_due_changed(hash, before_ms, due_ms, now_ms);
                }
            }
        } else {
            let ageing = self.ageing.fresh(self.now_ms);
            space.insert(hash, Entry::new(key, NewValue::Owned(value), None, ageing), self.now_ms);
        }
    }

    pub(super) fn close_emptied(&mut self, hash: u64, key: &[u8], value: Value, before: Before) {
        let now_ms = self.now_ms;
        let space = &mut self.spaces[self.current];
        // The value is outside its entry: its figures are counted there, and leave with it.
        space.resized(before.bytes, 0);
        space.fields_due_changed(hash, before.due_ms, None, now_ms);
        if space.remove(hash, key).is_none() {
            return;
        }
        self.bury_value(value);
        self.effects.event(self.current, key, Class::Generic, "del");
    }
}

/// The class of events of a type's commands.
pub fn class_of(kind: Kind) -> Class {
    match kind {
        Kind::Int | Kind::Inline | Kind::Raw => Class::String,
        Kind::List => Class::List,
        Kind::Set => Class::Set,
        Kind::SortedSet => Class::SortedSet,
        Kind::Hash => Class::Hash,
        Kind::Stream => Class::Stream,
    }
}
