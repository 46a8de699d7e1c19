//! The door: all that a handler sees of the data.
//!
//! Reads go through `&Db` and may meet keys whose time has come: they are hidden at once and
//! removed when the command settles. Writes go through `&mut Db`, which removes them on sight.
//!
//! Invariant: every change of the keyspace passes through a method of this file, of `db/`
//! or of `edit`, and leaves its effect in `effects`.

mod loading;
mod time;
mod writing;

use crate::error::{Error, Result};
use crate::keyspace::ageing::Ageing;
use crate::keyspace::effects::{Class, Effect, Effects};
use crate::keyspace::entry::Entry;
use crate::keyspace::graveyard::Graveyard;
use crate::keyspace::image::{Images, BIG_BYTES};
use crate::keyspace::space::Space;
use crate::keyspace::value::{with_collection, Collection, Kind, StrRef};
use crate::types::hash::HashView;
use crate::types::limits::Limits;
pub use loading::Loaded;
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
    /// `dump_payload_sanitizations`
    pub sanitized: u64,
}

/// `lazyfree-lazy-...`: what is freed later, although it could be freed at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct FreedLater {
    /// What DEL removes.
    pub deleted: bool,
    /// What others overwrite or remove.
    pub replaced: bool,
    /// What has expired.
    pub expired: bool,
    /// What was evicted.
    pub evicted: bool,
}

impl FreedLater {
    /// What the stream says of a removal that nobody asked for in these words.
    pub fn removal(lazily: bool) -> &'static [u8] {
        if lazily {
            b"UNLINK"
        } else {
            b"DEL"
        }
    }
}

/// What DUMP and RESTORE go by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Payloads {
    /// `rdbcompression`
    pub compress: bool,
    /// DEBUG SET-SKIP-CHECKSUM-VALIDATION: any checksum will do.
    pub any_sum: bool,
    /// `sanitize-dump-payload`: packed values count as checked in depth. They are in any case.
    pub deep: bool,
}

/// All databases, one of them selected.
#[derive(Debug)]
pub struct Db {
    pub(super) spaces: Vec<Space>,
    spaces_made: u64,
    /// Images of the data that are being taken.
    pub(super) images: Option<Box<Images>>,
    /// How many have ever begun.
    pub(super) images_begun: u64,
    /// Heap bytes from which an image walks a value instead of copying it.
    pub(super) big_bytes: usize,
    current: usize,
    now_us: i64,
    now_ms: i64,
    wall_ms: i64,
    time_stands: bool,
    /// Nanoseconds that have passed since `now_us`; below 1,000.
    rest_ns: u64,
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
    /// The log or the primary has run the present command already: no limit of this server stands
    /// in its way.
    pub obeys: bool,
    /// The present command may look at keys that it does not name.
    pub shows_all_keys: bool,
    /// Cleared inside EXEC and scripts, where no command waits for a key.
    pub may_wait: bool,
    /// A script runs the command: its replies must not depend on how the data happens to lie.
    pub inside_script: bool,
    /// A replica, or PAUSE: keys whose time has come are hidden but not removed.
    pub keeps_expired: bool,
    /// Nevertheless a write removes the key that it meets: the clients of a writable replica.
    pub writes_remove_expired: bool,
    /// Small integers count as shared objects: their age need not be known one by one.
    pub shares_integers: bool,
    /// `proto-max-bulk-len`: the longest string.
    pub string_bytes_max: usize,
    /// How DUMP writes and RESTORE reads.
    pub payloads: Payloads,
    /// When values go to the graveyard that are not too large to be freed at once.
    pub freed_later: FreedLater,
    met_expired: RefCell<time::Met>,
    hash_memo: Cell<(usize, usize, u64)>,
    pub(super) graveyard: Graveyard,
}

impl Db {
    /// `databases` empty databases; the seed makes all that is random.
    pub fn new(databases: usize, limits: Limits, seed: u64) -> Db {
        Db {
            spaces: (0..databases.max(1) as u64)
                .map(|number| Space::new(limits.hash_key, number))
                .collect(),
            spaces_made: databases.max(1) as u64,
            images: None,
            images_begun: 0,
            big_bytes: BIG_BYTES,
            current: 0,
            now_us: 0,
            now_ms: 0,
            wall_ms: 0,
            time_stands: false,
            rest_ns: 0,
            effects: Effects::new(limits.hash_key),
            limits,
            ageing: Ageing::default(),
            rng: SmallRng::seed_from_u64(seed),
            reader_rng: RefCell::new(SmallRng::seed_from_u64(!seed)),
            counters: Counters::default(),
            no_touch: false,
            obeys: false,
            shows_all_keys: true,
            inside_script: false,
            may_wait: true,
            keeps_expired: false,
            writes_remove_expired: false,
            shares_integers: true,
            string_bytes_max: 512 << 20,
            payloads: Payloads { compress: true, ..Payloads::default() },
            freed_later: FreedLater::default(),
            met_expired: RefCell::default(),
            hash_memo: Cell::new((0, 0, 0)),
            graveyard: Graveyard::default(),
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

    /// The time by which deadlines are judged: Unix time in milliseconds. It stands still while a
    /// command, script or EXEC runs, and before every deadline while those of others are obeyed
    /// ([`Db::stop_time`]).
    #[inline]
    pub fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// The same in microseconds.
    #[inline]
    pub fn now_us(&self) -> i64 {
        self.now_us
    }

    /// Sets the time for the commands that follow; only dispatch and cron do.
    #[inline]
    pub fn set_now_us(&mut self, now_us: i64) {
        self.wall_ms = now_us.div_euclid(1000);
        if !self.time_stands {
            (self.now_us, self.rest_ns) = (now_us, 0);
            self.now_ms = self.wall_ms;
        }
    }

    /// The same in milliseconds.
    pub fn set_now_ms(&mut self, now_ms: i64) {
        self.set_now_us(now_ms.saturating_mul(1000));
    }

    /// The time that people would say it is, in Unix milliseconds, also while what is due is not
    /// judged: what relative times are reckoned from, and what is written down as a moment.
    #[inline]
    pub fn wall_ms(&self) -> i64 {
        self.wall_ms
    }

    /// Lets time stand still before every deadline: commands of the past run again, or those of a
    /// primary, for which nothing has expired here before the primary says so.
    pub fn stop_time(&mut self) {
        (self.now_us, self.now_ms) = (0, 0);
        self.time_stands = true;
    }

    /// Lets time go on.
    pub fn resume_time(&mut self, now_ms: i64) {
        self.time_stands = false;
        self.set_now_ms(now_ms);
    }

    /// Lets time pass between two commands.
    #[inline]
    pub fn pass_ns(&mut self, ns: u64) {
        self.rest_ns += ns;
        if self.rest_ns >= 1000 && !self.time_stands {
            self.pass_whole_us();
        }
    }

    fn pass_whole_us(&mut self) {
        let passed_us = (self.rest_ns / 1000) as i64;
        self.rest_ns %= 1000;
        self.now_us = self.now_us.saturating_add(passed_us);
        self.now_ms = self.now_us.div_euclid(1000);
        self.wall_ms = self.now_ms;
    }

    /// Heap bytes of all databases and of what waits to be freed.
    pub fn heap_bytes(&self) -> usize {
        self.spaces.iter().map(Space::heap_bytes).sum::<usize>() + self.graveyard.heap_bytes()
    }

    /// Sets the figures for INFO back to 0.
    pub fn reset_statistics(&mut self) {
        self.counters = Counters::default();
        self.graveyard.freed_objects = 0;
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

    /// Asks for the place of a member in the large collection at the key with this hash, after
    /// [`Db::prefetch_entry`]; returns the member's hash. A guess by hash alone: it may look into
    /// another key's collection, which does no harm.
    pub fn prefetch_member(&self, db: usize, hash: u64, member: &[u8]) -> Option<u64> {
        let entry = self.spaces[db].table.candidate(hash)?;
        with_collection!(entry.kind(), T => entry.collection::<T>()?.prefetch(member), None)
    }

    /// The last step: asks for the member that lies at the place.
    pub fn prefetch_item(&self, db: usize, hash: u64, member_hash: u64) {
        let Some(entry) = self.spaces[db].table.candidate(hash) else { return };
        with_collection!(entry.kind(), T => {
            entry.collection::<T>().map_or((), |values| values.prefetch_item(member_hash))
        }, ());
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
            self.meet(key);
            return None;
        }
        (!entry.is_taken()).then_some(entry)
    }

    /// The same, deadline passed or not, as long as nobody has removed it.
    pub fn look_unremoved(&self, key: &[u8]) -> Option<&Entry> {
        self.here().find(self.hash(key), key).filter(|entry| !entry.is_taken())
    }

    #[inline]
    fn touch(&self, entry: &Entry) {
        if !self.no_touch {
            entry.set_ageing(self.ageing.touched(entry.ageing(), self.wall_ms));
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
        let found = self.inspect(key);
        if found.is_none() {
            self.effects.miss(self.current, key);
        }
        found
    }

    /// Like [`Db::probe`], for who asks about the entry itself: a miss is counted and not told.
    #[inline]
    pub fn inspect(&self, key: &[u8]) -> Option<&Entry> {
        let found = self.look(key);
        let counter = match found {
            Some(_) => &self.counters.hits,
            None => &self.counters.misses,
        };
        counter.set(counter.get() + 1);
        found
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
        // A database in which nearly everything has expired and must stay: the last try is taken.
        let (mut last, mut tries) = (None, 0);
        while tries < 100 {
            let entry = self.spaces[self.current].table.random(&mut self.rng)?;
            let key = entry.key().to_vec();
            if !entry.is_gone(self.now_ms) {
                return Some(key);
            }
            self.expire(self.current, &key);
            tries += i32::from(self.keeps_expired);
            last = Some(key);
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
            Entry::prefetch,
            |entry| hash_key.hash(entry.key()),
            |entry| {
                if !wanted(entry) {
                    return;
                }
                if entry.is_gone(now_ms) {
                    self.meet(entry.key());
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
        self.all_entries().filter(alive)
    }

    /// The same, and those whose time has come that nobody has removed.
    pub fn all_entries(&self) -> impl Iterator<Item = &Entry> {
        self.here().table.iter()
    }

    // ---- Whole databases ----

    /// Empties one database, or all; freeing happens later, in pieces, when `lazily`.
    pub fn flush(&mut self, index: Option<usize>, lazily: bool) -> usize {
        self.moment_is_over();
        self.forget_met(|db| index.is_none_or(|index| index == db));
        let (from, to) = index.map_or((0, self.spaces.len()), |index| (index, index + 1));
        let mut removed = 0;
        for index in from..to {
            let fresh = Space::new(self.limits.hash_key, self.spaces_made);
            self.spaces_made += 1;
            let old = std::mem::replace(&mut self.spaces[index], fresh);
            removed += old.len();
            self.abandon(old, lazily);
        }
        self.effects.dirty += removed as u64;
        self.effects.happened.push(Effect::Flushed(index));
        removed
    }

    fn abandon(&mut self, space: Space, lazily: bool) {
        let Some(space) = self.keep_flushed(space) else { return };
        if lazily {
            self.graveyard.push_space(space);
        }
    }

    /// Two databases change places.
    pub fn swap(&mut self, first: usize, second: usize) {
        self.moment_is_over();
        self.forget_met(|_| true);
        self.spaces.swap(first, second);
        self.effects.dirty += 1;
        self.effects.happened.push(Effect::Swapped(first, second));
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
