//! The hash table of everything large: keys, members of sets, hashes and sorted sets.
//!
//! Extendible hashing (Fagin et al., 1979): a directory, indexed by the top bits of the 64-bit
//! hash, over segments of at most 64 buckets (see `segment`). A segment that is full splits alone,
//! so that no insertion ever costs more than moving some 400 items; two sparse halves merge, and
//! the directory halves when nothing needs its last bit. Segments also grow in small steps between
//! one bucket and 64, so that the load is above 0.8 at any number of items: an 8-byte item costs
//! about 14 bytes. The caller brings the hashes; equality is the caller's as well.
//!
//! Invariants: every segment's range of hashes (`prefix`, `depth`) is exactly the part of the
//! directory that points at it; segments lie densely in the slab, so that a random one is found
//! in one step; an empty table owns no memory, unless it was just made `with_capacity`.
//!
//! A scan goes in the order of the full hash, so its cursor is a place that no split, merge or
//! growth moves: what is there from start to end is returned once, whatever happens in between.

mod buckets;
mod scan;
mod segment;
mod shadows;
mod sized;
mod slab;
#[cfg(test)]
mod tests;

use super::alloc::class;
use super::thin;
pub use scan::{place_of, PLACES};
pub use shadows::Element;

use buckets::{row_len_at_least, LARGEST};
use segment::{Place, Segment};
use shadows::Shadows;
use slab::Slab;

/// A hash table for items of 8 bytes (`N` = 6) or 16 bytes (`N` = 7) that grows by splitting
/// small segments. `N` is the number of slots of a bucket.
#[derive(Debug)]
pub struct Table<T, const N: usize = 6> {
    /// Segment numbers by the top `depth` bits of a hash; empty when there is at most one segment.
    directory: Vec<u32>,
    segments: Slab<Segment<T, N>>,
    len: usize,
    bucket_bytes: usize,
    /// Of directory and slab: they change rarely, and are asked for with every change of an item.
    index_bytes: usize,
    /// The directory has `1 << depth` places.
    depth: u8,
    /// No segment has more buckets.
    widest: usize,
    /// Segments from this number on are empty because `pop_segment` took their items.
    popped: usize,
    /// Walks that are open, if any is.
    shadows: Option<Box<Shadows<T>>>,
}

/// A place in a table. Any change of the table may bring something else there, or nothing.
#[derive(Clone, Copy, Debug)]
pub struct Spot {
    number: usize,
    place: Place,
}

impl<T: Clone, const N: usize> Clone for Table<T, N> {
    fn clone(&self) -> Self {
        let (directory, segments) = (self.directory.clone(), self.segments.clone());
        let mut table = Table { directory, segments, shadows: None, ..*self };
        // Copies of lists have no room to spare.
        table.measure_index();
        table
    }
}

impl<T, const N: usize> Default for Table<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, const N: usize> Table<T, N> {
    /// An empty table, without allocation.
    pub const fn new() -> Self {
        Table {
            directory: Vec::new(),
            segments: Slab::new(),
            len: 0,
            bucket_bytes: 0,
            index_bytes: 0,
            depth: 0,
            widest: LARGEST,
            popped: usize::MAX,
            shadows: None,
        }
    }

    /// The number of items.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no item.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The table's own heap memory: directory, slab and buckets, not what items own.
    #[inline]
    pub fn heap_bytes(&self) -> usize {
        self.index_bytes + self.bucket_bytes
    }

    #[inline(always)]
    fn is_walked(&self) -> bool {
        self.shadows.is_some()
    }

    fn measure_index(&mut self) {
        self.index_bytes =
            class(self.directory.capacity() * size_of::<u32>()) + self.segments.heap_bytes();
    }

    /// The item with this hash that is the same as the sought one.
    #[inline]
    pub fn find(&self, hash: u64, same: impl FnMut(&T) -> bool) -> Option<&T> {
        let segment = self.segments.get(self.segment_of(hash))?;
        segment.at(segment.locate(hash, same)?)
    }

    /// As [`find`](Self::find), to change the item; its hash must stay.
    #[inline]
    pub fn find_mut(&mut self, hash: u64, same: impl FnMut(&T) -> bool) -> Option<&mut T> {
        let number = self.segment_of(hash);
        let place = self.segments.get(number)?.locate(hash, same)?;
        if self.is_walked() {
            self.meet(hash);
        }
        self.segments.at_mut(number)?.at_mut(place)
    }

    /// Visits the items whose place in a scan is that of `hash`.
    pub fn visit_place<'a>(
        &'a self,
        hash: u64,
        rehash: impl Fn(&T) -> u64,
        mut visit: impl FnMut(&'a T),
    ) {
        let Some(segment) = self.segments.get(self.segment_of(hash)) else { return };
        let place = place_of(hash);
        segment.items_like(hash, |item| {
            if place_of(rehash(item)) == place {
                visit(item);
            }
        });
    }

    /// Where the item that [`find`](Self::find) would find lies now.
    #[inline]
    pub fn spot(&self, hash: u64, same: impl FnMut(&T) -> bool) -> Option<Spot> {
        let number = self.segment_of(hash);
        let place = self.segments.get(number)?.locate(hash, same)?;
        Some(Spot { number, place })
    }

    /// The item at a spot: the same one as long as nothing was put in or taken out. Walks do not
    /// see that it is changed: only for tables that are never walked.
    #[inline]
    pub fn at_mut(&mut self, spot: Spot) -> Option<&mut T> {
        debug_assert!(!self.is_walked());
        self.segments.at_mut(spot.number)?.at_mut(spot.place)
    }

    /// Puts in an item that is not there yet: the caller knows. `rehash` gives an item's hash.
    pub fn insert(&mut self, hash: u64, item: T, rehash: impl Fn(&T) -> u64) {
        if self.segments.is_empty() {
            self.segments.push(Segment::new(0, 0));
            self.measure_index();
        }
        self.popped = usize::MAX;
        if self.is_walked() {
            self.meet(hash);
        }
        let mut item = item;
        loop {
            let number = self.segment_of(hash);
            let segment = &mut self.segments[number];
            let tag = segment.tag(hash);
            match segment.place(tag, item) {
                Ok(()) => break,
                Err(back) => item = back,
            }
            match self.make_room(number, &rehash) {
                Room::Made => {}
                Room::Anywhere => match self.segments[number].place_anywhere(tag, item) {
                    Ok(()) => break,
                    Err(back) => item = back,
                },
            }
        }
        self.len += 1;
    }

    /// Takes an item out.
    pub fn remove(&mut self, hash: u64, same: impl FnMut(&T) -> bool) -> Option<T> {
        let number = self.segment_of(hash);
        let place = self.segments.get(number)?.locate(hash, same)?;
        if self.is_walked() {
            self.meet(hash);
        }
        self.take(number, place)
    }

    /// Asks the processor for the bucket that `hash` belongs to.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        if let Some(segment) = self.segments.get(self.segment_of(hash)) {
            if let Some(bucket) = segment.buckets.get(segment.home(segment.tag(hash))) {
                thin::prefetch(bucket);
            }
        }
    }

    /// Asks the processor for the segment that `hash` belongs to, which
    /// [`prefetch`](Self::prefetch) has to read.
    #[inline]
    pub fn prefetch_segment(&self, hash: u64) {
        if let Some(segment) = self.segments.get(self.segment_of(hash)) {
            thin::prefetch(segment);
            thin::prefetch(&segment.mask);
        }
    }

    /// An item that is nearly always the one with this hash, if there is one: after
    /// [`prefetch`](Self::prefetch), to ask for the memory behind the item too.
    #[inline]
    pub fn candidate(&self, hash: u64) -> Option<&T> {
        self.segments.get(self.segment_of(hash))?.candidate(hash)
    }

    /// All items, in no order that means anything.
    pub fn iter(&self) -> Iter<'_, T, N> {
        let (segments, slots) = (self.segments.iter(), Default::default());
        Iter { segments, segment: None, bucket: 0, slots, left: self.len }
    }

    /// Every item with the same probability.
    pub fn random(&self, rng: &mut impl rand::RngCore) -> Option<&T> {
        let (number, place) = self.random_place(rng)?;
        self.segments[number].at(place)
    }

    /// Takes a random item out.
    pub fn pop_random(&mut self, rng: &mut impl rand::RngCore) -> Option<T> {
        let (number, place) = self.random_place(rng)?;
        if self.is_walked() {
            let item = self.segments[number].at(place);
            item.and_then(|item| self.hash_for_walks(item)).into_iter().for_each(|hash| {
                self.meet(hash);
            });
        }
        self.take(number, place)
    }

    /// Takes the items of one whole segment out, so that a large table is freed in bounded steps;
    /// `None` when the table is empty.
    pub fn pop_segment(&mut self) -> Option<Vec<T>> {
        self.popped = self.popped.min(self.segments.len());
        while self.len > 0 && self.popped > 0 {
            self.popped -= 1;
            let segment = &mut self.segments[self.popped];
            if segment.len == 0 {
                continue;
            }
            self.bucket_bytes -= segment.heap_bytes();
            let items: Vec<T> = segment.drain().into_iter().map(|(_, item)| item).collect();
            segment.buckets.resize(0);
            self.len -= items.len();
            return Some(items);
        }
        self.clear();
        None
    }

    /// Lets every item pass through `keep`, which hands back those that stay. `fetch` sees the
    /// items of a segment before, to ask for what lies behind them. For tables without walks.
    pub fn sift(&mut self, fetch: impl Fn(&T), mut keep: impl FnMut(T) -> Option<T>) {
        debug_assert!(!self.is_walked());
        (self.len, self.popped) = (0, usize::MAX);
        for number in 0..self.segments.len() {
            let segment = &mut self.segments[number];
            self.bucket_bytes -= segment.heap_bytes();
            segment.sift(&fetch, &mut keep);
            self.bucket_bytes += segment.heap_bytes();
            self.widest = self.widest.max(segment.buckets.len());
            self.len += segment.len as usize;
        }
        if self.len == 0 {
            return self.clear();
        }
        // Two that have merged may be one half of the next.
        let mut before = usize::MAX;
        while self.segments.len() < before {
            before = self.segments.len();
            let mut number = 0;
            while number < self.segments.len() {
                number += usize::from(!self.merge(number));
            }
        }
    }

    #[inline(always)]
    fn segment_of(&self, hash: u64) -> usize {
        if self.depth == 0 {
            return 0;
        }
        self.directory[(hash >> (64 - self.depth)) as usize] as usize
    }

    /// A uniformly random occupied place: a slot among as many as the widest segment has, in any
    /// segment, until one is occupied. After a bounded number of misses it counts instead.
    fn random_place(&self, rng: &mut impl rand::RngCore) -> Option<(usize, Place)> {
        if self.len == 0 {
            return None;
        }
        let widest = match self.segments.len() {
            1 => self.segments[0].slots(),
            _ => self.widest * N,
        };
        let places = (self.segments.len() * widest) as u128;
        for _ in 0..128 {
            let at = ((u128::from(rng.next_u64()) * places) >> 64) as usize;
            let (number, at) = (at / widest, at % widest);
            let place = (at / N, at % N);
            if self.segments[number].at(place).is_some() {
                return Some((number, place));
            }
        }
        self.nth_place(((u128::from(rng.next_u64()) * self.len as u128) >> 64) as usize)
    }

    #[cold]
    fn nth_place(&self, mut nth: usize) -> Option<(usize, Place)> {
        for (number, segment) in self.segments.iter().enumerate() {
            if nth >= segment.len as usize {
                nth -= segment.len as usize;
                continue;
            }
            let places = (0..segment.slots()).map(|at| (at / N, at % N));
            let place = places.filter(|&place| segment.at(place).is_some()).nth(nth)?;
            return Some((number, place));
        }
        None
    }

    fn take(&mut self, number: usize, place: Place) -> Option<T> {
        let item = self.segments[number].take(place)?;
        self.len -= 1;
        if self.len == 0 {
            self.clear();
        } else {
            self.tighten(number);
        }
        Some(item)
    }

    /// Gives all memory of a table without items back; walks go on.
    fn clear(&mut self) {
        *self = Table { shadows: self.shadows.take(), ..Self::new() };
    }
}

/// All items of a table; it knows how many are left.
#[derive(Clone, Debug)]
pub struct Iter<'a, T, const N: usize> {
    segments: slab::Iter<'a, Segment<T, N>>,
    segment: Option<&'a Segment<T, N>>,
    /// The next bucket of the segment.
    bucket: usize,
    slots: std::slice::Iter<'a, Option<T>>,
    left: usize,
}

impl<'a, T, const N: usize> Iterator for Iter<'a, T, N> {
    type Item = &'a T;

    #[inline]
    fn next(&mut self) -> Option<&'a T> {
        loop {
            if let Some(item) = self.slots.by_ref().flatten().next() {
                self.left -= 1;
                return Some(item);
            }
            match self.segment.and_then(|segment| segment.buckets.get(self.bucket)) {
                Some(bucket) => {
                    self.slots = bucket.slots.iter();
                    self.bucket += 1;
                }
                None => (self.segment, self.bucket) = (Some(self.segments.next()?), 0),
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T, const N: usize> ExactSizeIterator for Iter<'_, T, N> {}

/// What `make_room` has done.
enum Room {
    /// The segment, or the half that the hash now belongs to, has changed: try again.
    Made,
    /// The hashes are so uneven that the item may lie anywhere in its segment.
    Anywhere,
}

/// Growing and shrinking.
impl<T, const N: usize> Table<T, N> {
    fn make_room(&mut self, number: usize, rehash: &impl Fn(&T) -> u64) -> Room {
        let segment = &self.segments[number];
        let (buckets, len) = (segment.buckets.len(), segment.len as usize);
        if buckets < LARGEST {
            self.resize(number, buckets + 1);
            return Room::Made;
        }
        // With hashes that are worth the name, a place is missing only at a high load, and no
        // segment is much deeper than the others. Whatever the hashes, memory stays in proportion.
        let crowded = len * 2 >= segment.slots();
        let places = 1usize << segment.depth.min(48);
        if crowded && places <= 16 * self.segments.len() {
            self.split(number, rehash);
            return Room::Made;
        }
        if len * 4 >= segment.slots() * 3 {
            self.resize(number, buckets * 2);
            return Room::Made;
        }
        Room::Anywhere
    }

    fn resize(&mut self, number: usize, buckets: usize) {
        let segment = &mut self.segments[number];
        self.bucket_bytes -= segment.heap_bytes();
        segment.resize(buckets);
        self.bucket_bytes += segment.heap_bytes();
        self.widest = self.widest.max(segment.buckets.len());
    }

    /// Splits a segment into the halves of its range.
    fn split(&mut self, number: usize, rehash: &impl Fn(&T) -> u64) {
        let segment = &mut self.segments[number];
        let depth = segment.depth;
        self.bucket_bytes -= segment.heap_bytes();
        let upper = segment.split(rehash);
        self.bucket_bytes += segment.heap_bytes() + upper.heap_bytes();
        self.widest = self.widest.max(segment.buckets.len()).max(upper.buckets.len());
        let added = self.segments.len();
        self.segments.push(upper);
        if depth == self.depth {
            self.double_directory();
        }
        self.point_at(added);
        self.measure_index();
    }

    fn double_directory(&mut self) {
        if self.directory.is_empty() {
            self.directory.push(0);
        }
        self.directory = self.directory.iter().flat_map(|&number| [number; 2]).collect();
        self.depth += 1;
    }

    /// Makes the directory point at this segment over its whole range.
    fn point_at(&mut self, number: usize) {
        if self.depth == 0 {
            return;
        }
        let segment = &self.segments[number];
        let first = (segment.prefix >> (64 - self.depth)) as usize;
        let places = 1usize << (self.depth - segment.depth);
        self.directory[first..first + places].fill(number as u32);
    }

    /// Gives memory back after a removal, if the segment has become sparse.
    fn tighten(&mut self, number: usize) {
        let segment = &self.segments[number];
        let (len, slots) = (segment.len as usize, segment.slots());
        if len * 5 >= slots * 2 || segment.buckets.len() <= 1 && self.depth == 0 {
            return;
        }
        // Items that go in the order of their hashes (a client that deletes what it scans) leave
        // tags so uneven that shrinking fails: it is tried a few times on the way, not each time.
        if len & ((slots / 16).next_power_of_two() - 1) != 0 {
            return;
        }
        if self.depth > 0 && self.merge(number) {
            return;
        }
        let enough = row_len_at_least((len * 4).div_ceil(N * 3));
        if enough < self.segments[number].buckets.len() {
            let segment = &mut self.segments[number];
            self.bucket_bytes -= segment.heap_bytes();
            segment.shrink(enough);
            self.bucket_bytes += segment.heap_bytes();
        }
    }

    /// Merges a segment with the other half of its parent's range, if both are small.
    fn merge(&mut self, number: usize) -> bool {
        let segment = &self.segments[number];
        if segment.depth == 0 {
            return false;
        }
        let bit = 1 << (64 - segment.depth as u32);
        let buddy = self.segment_of(segment.prefix ^ bit);
        let other = &self.segments[buddy];
        let fits = (segment.len + other.len) as usize * 2 <= LARGEST * N;
        if other.depth != segment.depth || !fits {
            return false;
        }
        self.bucket_bytes -= segment.heap_bytes() + other.heap_bytes();
        let other = std::mem::replace(&mut self.segments[buddy], Segment::new(0, 0));
        let segment = &mut self.segments[number];
        segment.merge(other);
        self.bucket_bytes += segment.heap_bytes();
        self.widest = self.widest.max(segment.buckets.len());
        self.point_at(number);
        self.segments.swap_remove(buddy);
        if buddy < self.segments.len() {
            self.point_at(buddy);
        }
        self.halve_directory();
        self.measure_index();
        true
    }

    /// Halves the directory when no segment needs its last bit, and the slab when it is sparse.
    fn halve_directory(&mut self) {
        self.segments.tighten();
        // Looking at all segments is worth it only when the directory is far too large.
        while self.directory.len() > 8 * self.segments.len() || self.segments.len() == 1 {
            if self.depth == 0 || self.segments.iter().any(|s| s.depth == self.depth) {
                return;
            }
            self.depth -= 1;
            self.directory = self.directory.iter().step_by(2).copied().collect();
            if self.depth == 0 {
                self.directory = Vec::new();
            }
        }
    }
}
