//! Buckets, and the row of them that a segment owns.
//!
//! A bucket is one or two cache lines: a 16-bit tag for each slot, the slots, and two bytes about
//! them. A short row is one block. A longer one is made of chunks of eight buckets, so that a
//! segment grows by one more chunk: a table that grows frees nothing, and all its blocks are of
//! one size. (As one block for each segment they cost the allocator half as much again, because
//! all segments leave one size for the next at about the same time.)

use crate::types::alloc::class;
use std::ops::{Index, IndexMut};

/// Buckets of a segment that is about to split.
pub(super) const LARGEST: usize = 64;

/// Buckets of a chunk.
const CHUNK: usize = 8;

/// Lengths of rows that are one block.
const SHORT: [usize; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16];

/// In `Bucket::away`: the low five bits count items of this home that are elsewhere (31 stands for
/// "31 or more" until the next rebuild), the others say how far the farthest went.
const COUNT_BITS: u32 = 5;
pub(super) const MANY: u8 = 31;
/// The distance that stands for "anywhere in the segment".
const ANYWHERE: u8 = 7;

#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct Bucket<T, const N: usize> {
    pub(super) tags: [u16; N],
    pub(super) used: u8,
    pub(super) away: u8,
    pub(super) slots: [Option<T>; N],
}

impl<T, const N: usize> Bucket<T, N> {
    const FULL: u8 = {
        assert!(N >= 1 && N <= 8);
        (0xff_u16 >> (8 - N)) as u8
    };

    fn new() -> Self {
        Bucket { tags: [0; N], used: 0, away: 0, slots: [const { None }; N] }
    }

    /// Bit `i` is set when slot `i` holds an item with this tag.
    #[inline(always)]
    pub(super) fn matches(&self, tag: u16) -> u8 {
        let mut mask = 0;
        for (slot, &other) in self.tags.iter().enumerate() {
            mask |= u8::from(other == tag) << slot;
        }
        mask & self.used
    }

    #[inline(always)]
    pub(super) fn seek(&self, tag: u16, same: &mut impl FnMut(&T) -> bool) -> Option<usize> {
        let mut mask = self.matches(tag);
        while mask != 0 {
            let slot = mask.trailing_zeros() as usize;
            if self.slots[slot].as_ref().is_some_and(&mut *same) {
                return Some(slot);
            }
            mask &= mask - 1;
        }
        None
    }

    pub(super) fn put(&mut self, tag: u16, item: T) -> Result<(), T> {
        let free = !self.used & Self::FULL;
        if free == 0 {
            return Err(item);
        }
        let slot = free.trailing_zeros() as usize;
        self.tags[slot] = tag;
        self.slots[slot] = Some(item);
        self.used |= 1 << slot;
        Ok(())
    }

    pub(super) fn has_room(&self) -> bool {
        self.used != Self::FULL
    }

    pub(super) fn take(&mut self, slot: usize) -> Option<T> {
        self.used &= !(1 << slot);
        self.slots[slot].take()
    }

    /// Takes all items out, with their tags.
    #[inline(always)]
    pub(super) fn drain(&mut self, mut receive: impl FnMut(u16, T)) {
        while self.used != 0 {
            let slot = self.used.trailing_zeros() as usize;
            self.used &= self.used - 1;
            if let Some(item) = self.slots[slot].take() {
                receive(self.tags[slot], item);
            }
        }
        self.away = 0;
    }

    /// Counts an item of this home that now lies `distance` buckets further.
    pub(super) fn note_away(&mut self, distance: usize, reach: usize) {
        let distance = if distance > reach { ANYWHERE } else { distance as u8 };
        let far = (self.away >> COUNT_BITS).max(distance);
        let count = ((self.away & MANY) + 1).min(MANY);
        self.away = far << COUNT_BITS | count;
    }

    /// An item of this home that was away is not any more.
    pub(super) fn note_back(&mut self) {
        match self.away & MANY {
            MANY => {}
            1 => self.away = 0,
            _ => self.away -= 1,
        }
    }

    /// How many buckets after this one may hold items of this home.
    pub(super) fn reach(&self, buckets: usize) -> usize {
        match self.away >> COUNT_BITS {
            ANYWHERE => buckets - 1,
            far => far as usize,
        }
    }
}

/// The buckets of one segment.
#[derive(Clone, Debug)]
pub(super) struct Row<T, const N: usize> {
    blocks: Blocks<T, N>,
    len: u32,
}

type Chunk<T, const N: usize> = Box<[Bucket<T, N>; CHUNK]>;

#[derive(Clone, Debug)]
enum Blocks<T, const N: usize> {
    One(Box<[Bucket<T, N>]>),
    Chunks([Option<Chunk<T, N>>; LARGEST / CHUNK]),
}

/// The smallest length of a row that is not below `buckets`. Beyond [`LARGEST`] (only very uneven
/// hashes lead there) it doubles.
pub(super) fn row_len_at_least(buckets: usize) -> usize {
    if buckets > LARGEST {
        return buckets.next_power_of_two();
    }
    let short = SHORT.into_iter().find(|&len| len >= buckets);
    // The longer ones grow in larger steps: moving all items is what growth costs.
    let step = if buckets <= 48 { CHUNK } else { 2 * CHUNK };
    short.unwrap_or_else(|| buckets.next_multiple_of(step))
}

impl<T, const N: usize> Row<T, N> {
    pub(super) fn new() -> Self {
        Row { blocks: Blocks::One(Box::default()), len: 0 }
    }

    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    /// Gives a row without items another length, one of those of [`row_len_at_least`], or zero.
    pub(super) fn resize(&mut self, len: usize) {
        self.len = len as u32;
        if len <= SHORT[SHORT.len() - 1] || len > LARGEST {
            self.blocks = Blocks::One((0..len).map(|_| Bucket::new()).collect());
            return;
        }
        if let Blocks::One(_) = self.blocks {
            self.blocks = Blocks::Chunks(Default::default());
        }
        if let Blocks::Chunks(chunks) = &mut self.blocks {
            for (at, chunk) in chunks.iter_mut().enumerate() {
                if at * CHUNK >= len {
                    *chunk = None;
                } else if chunk.is_none() {
                    *chunk = Some(Box::new(std::array::from_fn(|_| Bucket::new())));
                }
            }
        }
    }

    /// Heap memory of the buckets.
    pub(super) fn heap_bytes(&self) -> usize {
        match &self.blocks {
            Blocks::One(block) => class(size_of_val(&**block)),
            Blocks::Chunks(_) => self.len() / CHUNK * class(size_of::<[Bucket<T, N>; CHUNK]>()),
        }
    }

    #[inline(always)]
    pub(super) fn get(&self, at: usize) -> Option<&Bucket<T, N>> {
        match &self.blocks {
            Blocks::Chunks(chunks) => Some(&chunks.get(at / CHUNK)?.as_ref()?[at % CHUNK]),
            Blocks::One(block) => block.get(at),
        }
    }

    #[inline(always)]
    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut Bucket<T, N>> {
        match &mut self.blocks {
            Blocks::Chunks(chunks) => Some(&mut chunks.get_mut(at / CHUNK)?.as_mut()?[at % CHUNK]),
            Blocks::One(block) => block.get_mut(at),
        }
    }
}

impl<T, const N: usize> Index<usize> for Row<T, N> {
    type Output = Bucket<T, N>;

    #[inline]
    fn index(&self, at: usize) -> &Bucket<T, N> {
        self.get(at).expect("within the row")
    }
}

impl<T, const N: usize> IndexMut<usize> for Row<T, N> {
    #[inline]
    fn index_mut(&mut self, at: usize) -> &mut Bucket<T, N> {
        self.get_mut(at).expect("within the row")
    }
}
