//! What a command did to the keyspace, recorded at the door and settled once, after the command.
//!
//! Invariant: when nobody listens, recording costs one branch. Nothing here acts: `dispatch`
//! settles WATCH, waiters, keyspace events, tracking and the log from what is recorded.

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

/// One record for the log: a command in its deterministic form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The database it runs in.
    pub db: usize,
    /// The command.
    pub argv: Vec<Vec<u8>>,
}

/// The recorder.
#[derive(Debug, Default)]
pub struct Effects {
    /// Bits of [`listener`], and of [`Class`] where somebody subscribed to that class.
    pub listeners: u32,
    /// What happened since the last settling, in order.
    pub happened: Vec<Effect>,
    /// Changes since the start; Redis's `dirty`.
    pub dirty: u64,
    /// Records that stand before, or instead of, the command's own form.
    pub records: Vec<Record>,
    /// The command has stated its own form with `replay_as` or `replay_nothing`.
    pub form_stated: bool,
}

impl Effects {
    /// Whether `bit` (of [`listener`] or a [`Class`]) has somebody who listens.
    #[inline]
    pub fn hears(&self, bits: u32) -> bool {
        self.listeners & bits != 0
    }

    /// The value at a key changed.
    #[inline]
    pub fn modified(&mut self, db: usize, key: &[u8]) {
        if self.hears(listener::WATCHES | listener::WAITERS | listener::TRACKING) {
            self.happened.push(Effect::Modified { db, key: key.into() });
        }
    }

    /// An event of a class; costs one branch when nobody listens.
    #[inline]
    pub fn event(&mut self, db: usize, key: &[u8], class: Class, name: &'static str) {
        if self.hears(class as u32) {
            self.happened.push(Effect::Event { db, key: key.into(), class, name });
        }
    }

    /// A record for the log, which the command's own form follows.
    pub fn record<B: AsRef<[u8]>>(&mut self, db: usize, argv: &[B]) {
        if self.hears(listener::LOG) {
            let argv = argv.iter().map(|arg| arg.as_ref().to_vec()).collect();
            self.records.push(Record { db, argv });
        }
    }
}
