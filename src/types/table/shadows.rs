//! Walks through a table that changes (see [`crate::types::walk`]).
//!
//! A walk goes in the order of hashes, as a scan does; [`Progress`] says how far it has come and
//! which places it has met. Every method of the table that changes an item, adds one or takes one
//! out calls `meet` first, so that who owns the table has nothing to think of. The walks outlive
//! the items: they stay when the table becomes empty.

use super::{place_of, Table};
use crate::types::limits::HashKey;
use crate::types::progress::Progress;
use crate::types::walk::{Open, Part, Remains, Saved, Tally, WalkId, ELEMENT_BYTES};

/// An item that walks can copy.
pub trait Element {
    /// Asks the processor for what it points at.
    fn fetch(&self);

    /// Its hash.
    fn hash(&self, key: &HashKey) -> u64;

    /// A part without elements.
    fn part() -> Part;

    /// Adds it to a part of the kind that `part` gives; what is long is lent.
    fn copy_to(&self, part: &mut Part);

    /// Its bytes in a part.
    fn bytes(&self) -> usize;
}

/// One walk.
#[derive(Debug)]
struct Shadow {
    progress: Progress,
    saved: Saved,
}

/// The open walks, and how to treat items.
#[derive(Debug)]
pub(super) struct Shadows<T> {
    open: Open<Shadow>,
    hash_key: HashKey,
    hash: fn(&T, &HashKey) -> u64,
    part: fn() -> Part,
    copy: fn(&T, &mut Part),
}

impl<T, const N: usize> Table<T, N> {
    /// The hash of an item, while walks are open.
    pub(super) fn hash_for_walks(&self, item: &T) -> Option<u64> {
        let shadows = self.shadows.as_ref()?;
        Some((shadows.hash)(item, &shadows.hash_key))
    }

    /// Something is about to change at the place of `hash`.
    #[cold]
    #[inline(never)]
    pub(super) fn meet(&mut self, hash: u64) {
        let Some(mut shadows) = self.shadows.take() else { return };
        let Shadows { open, hash_key, hash: rehash, part, copy } = &mut *shadows;
        for shadow in open.iter_mut() {
            if !shadow.progress.meet(place_of(hash)) {
                continue;
            }
            let saved = &mut shadow.saved;
            self.visit_place(
                hash,
                |item| rehash(item, hash_key),
                |item| saved.add(*part, |part| copy(item, part)),
            );
        }
        self.shadows = Some(shadows);
    }

    /// Ends a walk: [`Walked::end_walk`](crate::types::walk::Walked::end_walk).
    pub fn end_walk(&mut self, id: WalkId) -> Option<Remains> {
        let ended = self.shadows.as_mut()?.open.end(id);
        self.shadows.take_if(|shadows| shadows.open.is_empty());
        ended
    }

    /// The open walks.
    pub fn walks(&self) -> Vec<WalkId> {
        self.shadows.iter().flat_map(|shadows| shadows.open.ids()).collect()
    }
}

impl<T: Element, const N: usize> Table<T, N> {
    /// Begins a walk; `hash_key` is what makes the items' hashes.
    pub fn open_walk(&mut self, id: WalkId, hash_key: HashKey, tally: Tally) {
        let progress = Progress::new(self.len);
        let shadows = self.shadows.get_or_insert_with(|| {
            Box::new(Shadows {
                open: Open::default(),
                hash_key,
                hash: T::hash,
                part: T::part,
                copy: T::copy_to,
            })
        });
        shadows.open.begin(id, Shadow { progress, saved: Saved::new(tally) });
    }

    /// The next part of a walk: [`Walked::next_part`](crate::types::walk::Walked::next_part).
    pub fn next_part(&mut self, id: WalkId, bytes: usize) -> Option<Part> {
        let mut shadows = self.shadows.take()?;
        let found = shadows.open.one(id);
        let part = found.and_then(|shadow| shadow.next_part(self, shadows.hash_key, bytes));
        self.shadows = Some(shadows);
        part
    }
}

impl Shadow {
    fn next_part<T: Element, const N: usize>(
        &mut self,
        table: &Table<T, N>,
        hash_key: HashKey,
        bytes: usize,
    ) -> Option<Part> {
        if let Some(part) = self.saved.pop() {
            return Some(part);
        }
        if self.progress.is_over() {
            return None;
        }
        let mut part = T::part();
        let progress = &self.progress;
        let next = table.scan_weighed(
            progress.next(),
            bytes,
            T::fetch,
            |item| item.hash(&hash_key),
            |place, item| {
                if progress.has_met(place) {
                    return ELEMENT_BYTES;
                }
                item.copy_to(&mut part);
                ELEMENT_BYTES + item.bytes()
            },
        );
        self.progress.advance(next);
        Some(part)
    }
}
