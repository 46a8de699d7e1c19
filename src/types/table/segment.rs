//! One segment of a [`Table`](super::Table): up to 64 buckets that grow, shrink and split alone.
//!
//! An item's tag is made of the 16 bits of the hash that follow the segment's own prefix, so that
//! tags stand in hash order; `home = tag * buckets / 65536` is the bucket that it belongs to.
//! An item that finds its home full goes to one of the next three buckets (wrapping), and the home
//! remembers how many are away and how far, so that a miss nearly always ends in one cache line.
//! Because the home follows from the tag, a segment is rebuilt with another number of buckets
//! without looking at its items.
//!
//! A split takes the first bit of all tags away, so their last bit is unknown afterwards; `mask`
//! has zeros for unknown bits. Only when a tag has become too short does a split ask for the
//! hashes of the items, which costs a cache miss for each. Two halves merge without hashes too:
//! the bit that told them apart goes in front of the tag.

use super::buckets::{row_len_at_least, Row, LARGEST};

/// An item is at home or at most this many buckets further, unless the hashes are very uneven.
const REACH: usize = 3;

#[derive(Clone, Debug)]
pub(super) struct Segment<T, const N: usize> {
    pub(super) buckets: Row<T, N>,
    /// The first hash of this segment's range: `depth` bits, then zeros.
    pub(super) prefix: u64,
    pub(super) len: u32,
    /// How many leading bits of the hash all items here have in common.
    pub(super) depth: u8,
    /// The known bits of a tag; the others are zero in every tag.
    pub(super) mask: u16,
}

/// With so many unknown bits a tag is too short: with twelve bits, a bucket's six tags pretend to
/// be another one's in one search of 700.
const UNKNOWN_BITS_MAX: u32 = 4;

/// Where an item lies: bucket and slot.
pub(super) type Place = (usize, usize);

/// A list for items on their way. Few sizes, so that the allocator has a block at hand.
fn scratch<T>(len: u32) -> Vec<(u16, T)> {
    Vec::with_capacity(len.next_power_of_two() as usize)
}

impl<T, const N: usize> Segment<T, N> {
    pub(super) fn new(prefix: u64, depth: u8) -> Self {
        Segment { buckets: Row::new(), prefix, len: 0, depth, mask: u16::MAX }
    }

    /// Takes the items of the other half of the parent's range in.
    pub(super) fn merge(&mut self, mut other: Self) {
        let known = self.mask & other.mask;
        let longer = |tag: u16, high: bool| u16::from(high) << 15 | (tag & known) >> 1;
        let high = self.prefix > other.prefix;
        let mut items = self.drain();
        items.iter_mut().for_each(|(tag, _)| *tag = longer(*tag, high));
        items.extend(other.drain().into_iter().map(|(tag, item)| (longer(tag, !high), item)));
        self.prefix = self.prefix.min(other.prefix);
        self.depth -= 1;
        self.mask = longer(known, true);
        self.fill(items);
    }

    /// Keeps the lower half of the range, returns the upper half. `rehash` gives an item's hash.
    pub(super) fn split(&mut self, rehash: impl Fn(&T) -> u64) -> Self {
        let depth = self.depth;
        let is_short = self.mask.trailing_zeros() >= UNKNOWN_BITS_MAX;
        let mut low = scratch(self.len);
        let mut high = scratch(self.len);
        self.drain_to(|mut tag, item| {
            let mut next = 0;
            if is_short {
                let hash = rehash(&item) << depth;
                tag = (hash >> 48) as u16;
                next = (hash >> 47) as u16 & 1;
            }
            let half = if tag >> 15 == 0 { &mut low } else { &mut high };
            half.push((tag << 1 | next, item));
        });
        let mut upper = Segment::new(self.prefix | 1 << (63 - depth), depth + 1);
        self.mask = if is_short { u16::MAX } else { self.mask << 1 };
        upper.mask = self.mask;
        self.depth += 1;
        self.fill(low);
        upper.fill(high);
        upper
    }

    /// The 16 bits of `hash` that follow the prefix.
    #[inline(always)]
    pub(super) fn tag(&self, hash: u64) -> u16 {
        ((hash << self.depth) >> 48) as u16 & self.mask
    }

    #[inline(always)]
    pub(super) fn home(&self, tag: u16) -> usize {
        (tag as usize * self.buckets.len()) >> 16
    }

    pub(super) fn slots(&self) -> usize {
        self.buckets.len() * N
    }

    /// Heap memory of the buckets.
    pub(super) fn heap_bytes(&self) -> usize {
        self.buckets.heap_bytes()
    }

    #[inline(always)]
    pub(super) fn locate(&self, hash: u64, mut same: impl FnMut(&T) -> bool) -> Option<Place> {
        let tag = self.tag(hash);
        let home = self.home(tag);
        let bucket = self.buckets.get(home)?;
        if let Some(slot) = bucket.seek(tag, &mut same) {
            return Some((home, slot));
        }
        if bucket.away == 0 {
            return None;
        }
        self.locate_away(tag, home, &mut same)
    }

    #[cold]
    #[inline(never)]
    fn locate_away(
        &self,
        tag: u16,
        home: usize,
        same: &mut impl FnMut(&T) -> bool,
    ) -> Option<Place> {
        for at in self.neighbours(home) {
            if let Some(slot) = self.buckets.get(at)?.seek(tag, same) {
                return Some((at, slot));
            }
        }
        None
    }

    /// The buckets beside `home` that may hold its items, nearest first.
    fn neighbours(&self, home: usize) -> impl Iterator<Item = usize> {
        let buckets = self.buckets.len();
        let reach = self.buckets.get(home).map_or(0, |bucket| bucket.reach(buckets));
        (home + 1..=home + reach).map(move |at| if at >= buckets { at - buckets } else { at })
    }

    /// Puts an item near its home, or hands it back when the segment is too full for that.
    #[inline]
    pub(super) fn place(&mut self, tag: u16, mut item: T) -> Result<(), T> {
        let (buckets, home) = (self.buckets.len(), self.home(tag));
        let crowded = (self.len as usize + 1) * 10 > self.slots() * 9;
        if buckets == 0 || crowded && buckets > 1 {
            return Err(item);
        }
        for distance in 0..=REACH.min(buckets - 1) {
            let at = self.wrap(home + distance);
            match self.buckets[at].put(tag, item) {
                Err(back) => item = back,
                Ok(()) => {
                    self.count_placed(home, distance);
                    return Ok(());
                }
            }
        }
        if !self.make_way(home) {
            return Err(item);
        }
        self.place(tag, item)
    }

    /// Puts an item wherever there is room in the segment, or hands it back when it is full.
    pub(super) fn place_anywhere(&mut self, tag: u16, mut item: T) -> Result<(), T> {
        let home = self.home(tag);
        for distance in 0..self.buckets.len() {
            let at = self.wrap(home + distance);
            match self.buckets[at].put(tag, item) {
                Err(back) => item = back,
                Ok(()) => {
                    self.count_placed(home, distance);
                    return Ok(());
                }
            }
        }
        Err(item)
    }

    fn count_placed(&mut self, home: usize, distance: usize) {
        self.len += 1;
        if distance > 0 {
            self.buckets[home].note_away(distance, REACH);
        }
    }

    /// Makes a free slot within reach of `home`, by moving items that stay within their own reach
    /// (hopscotch hashing, Herlihy et al. 2008).
    #[cold]
    fn make_way(&mut self, home: usize) -> bool {
        let buckets = self.buckets.len();
        let is_free = |distance: &usize| self.buckets[self.wrap(home + distance)].has_room();
        let Some(mut free) = (REACH + 1..buckets).find(is_free) else { return false };
        while free > REACH {
            let hop = (free - REACH..free).find_map(|from| {
                let at = self.wrap(home + from);
                let fits = |&slot: &usize| {
                    let own = self.home(self.buckets[at].tags[slot]);
                    let gone = self.wrap(at + buckets - own);
                    gone + free - from <= REACH
                };
                Some((from, (0..N).find(fits)?))
            });
            let Some((from, slot)) = hop else { return false };
            self.hop(self.wrap(home + from), slot, self.wrap(home + free));
            free = from;
        }
        true
    }

    fn hop(&mut self, at: usize, slot: usize, to: usize) {
        let (buckets, tag) = (self.buckets.len(), self.buckets[at].tags[slot]);
        let own = self.home(tag);
        let Some(item) = self.buckets[at].take(slot) else { return };
        if self.buckets[to].put(tag, item).is_ok() {
            if at != own {
                self.buckets[own].note_back();
            }
            let distance = self.wrap(to + buckets - own);
            self.buckets[own].note_away(distance, REACH);
        }
    }

    /// `at` modulo the number of buckets, for `at` below twice that.
    #[inline(always)]
    fn wrap(&self, at: usize) -> usize {
        if at >= self.buckets.len() {
            at - self.buckets.len()
        } else {
            at
        }
    }

    /// Takes an item out, and brings one of the same home that is away into the free slot.
    pub(super) fn take(&mut self, (at, slot): Place) -> Option<T> {
        let tag = self.buckets[at].tags[slot];
        let item = self.buckets[at].take(slot)?;
        self.len -= 1;
        let home = self.home(tag);
        if at != home {
            self.buckets[home].note_back();
        } else if self.buckets[home].away != 0 {
            self.bring_home(home);
        }
        Some(item)
    }

    #[cold]
    fn bring_home(&mut self, home: usize) {
        let found = self.neighbours(home).find_map(|at| {
            let bucket = &self.buckets[at];
            let mut pairs = bucket.tags.iter().zip(&bucket.slots);
            let slot = pairs.position(|(&tag, item)| item.is_some() && self.home(tag) == home)?;
            Some((at, slot))
        });
        let Some((at, slot)) = found else { return };
        let tag = self.buckets[at].tags[slot];
        if let Some(item) = self.buckets[at].take(slot) {
            let put = self.buckets[home].put(tag, item);
            debug_assert!(put.is_ok(), "the slot was freed just now");
            self.buckets[home].note_back();
        }
    }

    pub(super) fn at(&self, (at, slot): Place) -> Option<&T> {
        self.buckets.get(at)?.slots[slot].as_ref()
    }

    #[inline]
    pub(super) fn at_mut(&mut self, (at, slot): Place) -> Option<&mut T> {
        self.buckets.get_mut(at)?.slots.get_mut(slot)?.as_mut()
    }

    /// The first item whose tag is right: nearly always the one that is sought.
    #[inline(always)]
    pub(super) fn candidate(&self, hash: u64) -> Option<&T> {
        let tag = self.tag(hash);
        let bucket = self.buckets.get(self.home(tag))?;
        let mask = bucket.matches(tag);
        bucket.slots.get(mask.trailing_zeros() as usize)?.as_ref()
    }

    /// Visits the items that have the tag of `hash`.
    pub(super) fn items_like<'a>(&'a self, hash: u64, mut visit: impl FnMut(&'a T)) {
        let tag = self.tag(hash);
        let home = self.home(tag);
        for at in std::iter::once(home).chain(self.neighbours(home)) {
            let Some(bucket) = self.buckets.get(at) else { continue };
            let pairs = bucket.tags.iter().zip(&bucket.slots);
            let alike = pairs.filter_map(|(own, item)| item.as_ref().filter(|_| *own == tag));
            alike.for_each(&mut visit);
        }
    }

    /// The items that belong to bucket `home`, wherever they are.
    pub(super) fn items_of(&self, home: usize) -> impl Iterator<Item = &T> {
        std::iter::once(home).chain(self.neighbours(home)).flat_map(move |at| {
            let bucket = &self.buckets[at];
            let pairs = bucket.tags.iter().zip(&bucket.slots);
            pairs.filter_map(move |(&tag, item)| item.as_ref().filter(|_| self.home(tag) == home))
        })
    }

    /// The items that lie in a bucket, if there is such a bucket.
    #[inline]
    pub(super) fn items_in(&self, bucket: usize) -> impl Iterator<Item = &T> {
        self.buckets.get(bucket).into_iter().flat_map(|bucket| bucket.slots.iter().flatten())
    }

    /// Empties the segment into a list of `(tag, item)`; its buckets stay.
    pub(super) fn drain(&mut self) -> Vec<(u16, T)> {
        let mut items = scratch(self.len);
        self.drain_to(|tag, item| items.push((tag, item)));
        items
    }

    /// Takes all items out, with their tags; the buckets stay.
    #[inline(always)]
    fn drain_to(&mut self, mut receive: impl FnMut(u16, T)) {
        for at in 0..self.buckets.len() {
            self.buckets[at].drain(&mut receive);
        }
        self.len = 0;
    }

    /// Lets every item pass through `keep`, which hands back those that stay; `fetch` sees them
    /// all before.
    pub(super) fn sift(&mut self, fetch: impl Fn(&T), mut keep: impl FnMut(T) -> Option<T>) {
        for at in 0..self.buckets.len() {
            self.buckets[at].slots.iter().flatten().for_each(&fetch);
        }
        let mut kept = scratch(self.len);
        self.drain_to(|tag, item| {
            if let Some(item) = keep(item) {
                kept.push((tag, item));
            }
        });
        self.fill(kept);
    }

    /// Moves all items into other buckets, at least `buckets` of them.
    pub(super) fn resize(&mut self, buckets: usize) {
        let items = self.drain();
        self.refill(buckets, items);
    }

    /// Moves all items into fewer buckets, at least `buckets` of them, unless their tags are so
    /// uneven that they do not fit; then all stays as it was.
    pub(super) fn shrink(&mut self, buckets: usize) {
        let before = self.buckets.len();
        let mut items = self.drain();
        self.buckets.resize(row_len_at_least(buckets));
        if let Err(item) = self.place_all(&mut items) {
            items.push(item);
            items.append(&mut self.drain());
            self.refill(before, items);
        }
    }

    /// Puts these items, with about a fifth more room, into a segment that has been drained.
    fn fill(&mut self, items: Vec<(u16, T)>) {
        debug_assert_eq!(self.len, 0);
        self.refill((items.len() * 6).div_ceil(N * 5), items);
    }

    fn refill(&mut self, buckets: usize, mut items: Vec<(u16, T)>) {
        let mut len = if buckets == 0 { 0 } else { row_len_at_least(buckets) };
        loop {
            self.buckets.resize(len);
            let Err(item) = self.place_all(&mut items) else { return };
            items.push(item);
            items.append(&mut self.drain());
            len = row_len_at_least(len + 1);
        }
    }

    /// Places items in empty buckets. Nearly all find room at home; the few others come after
    /// them, so that nobody has to make way for one who is at home.
    fn place_all(&mut self, items: &mut Vec<(u16, T)>) -> Result<(), (u16, T)> {
        let crowded = items.len() * 10 > self.slots() * 9;
        if !crowded {
            let mut homeless = scratch(items.len() as u32 / 8);
            for (tag, item) in items.drain(..) {
                let home = self.home(tag);
                match self.buckets[home].put(tag, item) {
                    Ok(()) => self.len += 1,
                    Err(item) => homeless.push((tag, item)),
                }
            }
            *items = homeless;
        }
        while let Some((tag, item)) = items.pop() {
            let placed = match self.place(tag, item) {
                Err(item) if self.buckets.len() >= LARGEST => self.place_anywhere(tag, item),
                placed => placed,
            };
            placed.map_err(|item| (tag, item))?;
        }
        Ok(())
    }

    /// Panics when an invariant is broken; `hash` gives the hash of an item.
    #[cfg(test)]
    pub(super) fn check(&self, hash: impl Fn(&T) -> u64) {
        let mut away = vec![0usize; self.buckets.len()];
        let mut len = 0;
        for at in 0..self.buckets.len() {
            let bucket = &self.buckets[at];
            for slot in 0..N {
                assert_eq!(bucket.slots[slot].is_some(), bucket.used >> slot & 1 == 1);
                let Some(item) = &bucket.slots[slot] else { continue };
                len += 1;
                let (hash, tag) = (hash(item), bucket.tags[slot]);
                assert_eq!(tag, self.tag(hash));
                assert!(self.depth == 0 || (hash ^ self.prefix) >> (64 - self.depth) == 0);
                let home = self.home(tag);
                if home != at {
                    away[home] += 1;
                    assert!(self.neighbours(home).any(|near| near == at), "beyond reach");
                }
            }
        }
        assert_eq!(len, self.len as usize);
        for (at, away) in away.into_iter().enumerate() {
            let many = super::buckets::MANY as usize;
            let noted = self.buckets[at].away as usize & many;
            assert!(noted == away || noted == many, "{noted} noted, {away} are away");
        }
    }
}
