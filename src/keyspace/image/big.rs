//! The big values of which an image has still to hand out the elements.
//!
//! Such a value is not copied: a walk is opened on it ([`crate::types::walk`]), which keeps the
//! pre-images of what changes inside. Here stands where each of them is. It may get another key or
//! another database; when it would be freed, because its key is removed, overwritten, expired,
//! evicted or flushed, it is kept here until no walk needs it.
//!
//! Invariant: every open walk is on the value that its [`Source`] names, between any two units.

use crate::keyspace::entry::Entry;
use crate::keyspace::space::Space;
use crate::keyspace::value::{Kind, Value};
use crate::types::walk::{Part, Prelude, Remains, Tally, WalkId, Walked};
use std::collections::HashMap;

/// What is known of a big value before its parts.
#[derive(Clone, Debug)]
pub struct Heading {
    /// The index of its database when the image began.
    pub db: usize,
    /// Its key then.
    pub key: Box<[u8]>,
    /// Unix time in milliseconds from which the key is gone.
    pub deadline_ms: Option<i64>,
    /// The 24 ageing bits.
    pub ageing: u32,
    /// What the value is, and how many elements come.
    pub prelude: Prelude,
}

/// Where a value is.
#[derive(Debug)]
enum Source {
    /// At a key of a space.
    At { space: u64, hash: u64, key: Box<[u8]> },
    /// No key has it any more.
    Kept(u64),
}

#[derive(Debug)]
struct Big {
    heading: Heading,
    source: Source,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Bigs {
    open: HashMap<WalkId, Big>,
    kept: HashMap<u64, Value>,
    last_id: u64,
}

/// The spaces in which a value may be.
pub(super) struct Places<'a> {
    pub(super) spaces: &'a mut [Space],
    pub(super) kept: &'a mut [Space],
}

impl Places<'_> {
    pub(super) fn find(&mut self, number: u64) -> Option<&mut Space> {
        let mut all = self.spaces.iter_mut().chain(self.kept.iter_mut());
        all.find(|space| space.number() == number)
    }
}

/// Whether to copy the value at once would take long; not every such value can be walked.
pub(super) fn is_big(entry: &Entry, big_bytes: usize) -> bool {
    !entry.is_inline() && entry.copy_bytes() >= big_bytes
}

fn open_at(entry: &mut Entry, id: WalkId, tally: &Tally) -> Option<Prelude> {
    with_value(entry, |value| {
        value.open_walk(id, tally.clone());
        value.prelude()
    })
}

fn with_value<R>(entry: &mut Entry, act: impl FnOnce(&mut dyn Walked) -> R) -> Option<R> {
    let mut value = entry.take()?;
    let result = value.walked().map(act);
    let back = entry.put_back(value);
    debug_assert!(back.is_ok(), "it was there before");
    result
}

impl Bigs {
    /// Opens a walk on the value of a key; `None` when it is one that cannot be walked.
    pub(super) fn open(
        &mut self,
        space: &mut Space,
        db: usize,
        hash: u64,
        key: &[u8],
        tally: &Tally,
    ) -> Option<WalkId> {
        let number = space.number();
        let entry = space.find_mut(hash, key)?;
        let id = WalkId(self.last_id + 1);
        let prelude = open_at(entry, id, tally)?;
        self.last_id += 1;
        let (deadline_ms, ageing) = (entry.deadline_ms(), entry.ageing());
        let heading = Heading { db, key: key.into(), deadline_ms, ageing, prelude };
        let source = Source::At { space: number, hash, key: key.into() };
        self.open.insert(id, Big { heading, source });
        Some(id)
    }

    pub(super) fn heading(&self, id: WalkId) -> Option<&Heading> {
        self.open.get(&id).map(|big| &big.heading)
    }

    fn with<R>(
        &mut self,
        places: &mut Places<'_>,
        id: WalkId,
        act: impl FnOnce(&mut dyn Walked) -> R,
    ) -> Option<R> {
        let result = match &self.open.get(&id)?.source {
            Source::At { space, hash, key } => {
                let entry = places.find(*space).and_then(|space| space.find_mut(*hash, key));
                entry.and_then(|entry| with_value(entry, act))
            }
            Source::Kept(number) => {
                self.kept.get_mut(number).and_then(|value| value.walked().map(act))
            }
        };
        debug_assert!(result.is_some(), "a big value is not where it should be");
        result
    }

    /// The next part of a value.
    pub(super) fn next_part(
        &mut self,
        places: &mut Places<'_>,
        id: WalkId,
        bytes: usize,
    ) -> Option<Part> {
        self.with(places, id, |value| value.next_part(id, bytes)).flatten()
    }

    /// Ends a walk; gives out what it had saved, and the value if nobody needs it any more.
    pub(super) fn close(&mut self, places: &mut Places<'_>, id: WalkId) -> Remains {
        let ended = self.with(places, id, |value| (value.end_walk(id), value.walks().is_empty()));
        let (saved, is_last) = ended.unwrap_or_default();
        let mut remains = saved.unwrap_or_default();
        if let Some(Big { source: Source::Kept(number), .. }) = self.open.remove(&id) {
            let value = is_last.then(|| self.kept.remove(&number)).flatten();
            remains.add(value.map_or(Remains::default(), Remains::of));
        }
        remains
    }

    /// Keeps a value that would be freed, if a walk is open on it; otherwise gives it back.
    pub(super) fn keep(&mut self, mut value: Value) -> Option<Value> {
        let walks = value.walked().map_or(Vec::new(), |value| value.walks());
        if walks.is_empty() {
            return Some(value);
        }
        self.last_id += 1;
        for id in &walks {
            if let Some(big) = self.open.get_mut(id) {
                big.source = Source::Kept(self.last_id);
            }
        }
        self.kept.insert(self.last_id, value);
        None
    }

    /// A value has come to a key.
    pub(super) fn arrived(&mut self, space: &mut Space, hash: u64, key: &[u8]) {
        let number = space.number();
        let Some(entry) = space.find_mut(hash, key) else { return };
        if entry.is_inline() || entry.kind() == Kind::Int {
            return;
        }
        for id in with_value(entry, |value| value.walks()).unwrap_or_default() {
            if let Some(big) = self.open.get_mut(&id) {
                big.source = Source::At { space: number, hash, key: key.into() };
            }
        }
    }

    /// A space is about to be freed: takes out the values that are still needed.
    pub(super) fn rescue(&mut self, space: &mut Space) {
        let number = space.number();
        let here = |big: &Big| match &big.source {
            Source::At { space, hash, key } if *space == number => Some((*hash, key.clone())),
            _ => None,
        };
        for (hash, key) in self.open.values().filter_map(here).collect::<Vec<_>>() {
            // Two walks may be on one value.
            if let Some(value) = space.remove(hash, &key).and_then(|mut entry| entry.take()) {
                let back = self.keep(value);
                debug_assert!(back.is_none(), "a walk is open on it");
            }
        }
    }
}
