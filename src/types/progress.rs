//! How far a walk has come in a [`Table`](super::table::Table) that changes under it.
//!
//! The walk goes in the order of hashes; a *place* is the upper 48 bits of a hash, which no split,
//! merge or growth of the table moves. What lies before `next` has been handed out. Before
//! something changes at a place that lies ahead, the place is *met*: what is there is kept for
//! the walk, once, and the walk passes the place over later. So the walk gives everything as it
//! was when it began, and nothing that came since.
//!
//! Invariant: every met place is ahead of `next`. Met places lie in shards by their leading bits,
//! which are freed as the walk passes them: none of them grows so large that to enlarge it takes
//! long.

use super::table::PLACES;
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

/// Items for each of which a shard is made ready.
const ITEMS_PER_SHARD: usize = 1024;
const SHARD_BITS_MAX: u32 = 14;

type Shard = HashSet<u64, BuildHasherDefault<Mix>>;

/// Hashes a place, which is random already, save that a shard's places all begin alike.
#[derive(Clone, Debug, Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, place: u64) {
        self.0 = (self.0 ^ place).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// The state of one walk. See the module's text.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The first place that has not been handed out; `PLACES` at the end.
    next: u64,
    /// Made when the first place is met.
    shards: Vec<Shard>,
    shard_bits: u32,
}

impl Progress {
    /// At the start of a table with so many items.
    pub fn new(items: usize) -> Progress {
        let shard_bits = (items / ITEMS_PER_SHARD).next_power_of_two().ilog2().min(SHARD_BITS_MAX);
        Progress { next: 0, shards: Vec::new(), shard_bits }
    }

    /// Where the walk goes on.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Whether everything has been handed out.
    pub fn is_over(&self) -> bool {
        self.next >= PLACES
    }

    /// Something is about to change at a place. True when what is there must be kept for the
    /// walk: the first time, and only ahead of it.
    #[inline]
    pub fn meet(&mut self, place: u64) -> bool {
        if place < self.next {
            return false;
        }
        if self.shards.is_empty() {
            self.shards.resize_with(1 << self.shard_bits, Shard::default);
        }
        let shard = self.shard_of(place);
        self.shards.get_mut(shard).is_some_and(|shard| shard.insert(place))
    }

    /// Whether any place ahead has been met; true also when only such were that lie behind.
    #[inline]
    pub fn has_met_any(&self) -> bool {
        !self.shards.is_empty()
    }

    /// Whether the walk passes this place over.
    #[inline]
    pub fn has_met(&self, place: u64) -> bool {
        self.shards.get(self.shard_of(place)).is_some_and(|shard| shard.contains(&place))
    }

    /// Everything before `next` has been handed out; 0 says that the end was reached, as a scan
    /// does.
    pub fn advance(&mut self, next: u64) {
        let next = if next == 0 { PLACES } else { next };
        let passed = self.shard_of(self.next)..self.shard_of(next).min(self.shards.len());
        self.next = next;
        for shard in self.shards.get_mut(passed).into_iter().flatten() {
            *shard = Shard::default();
        }
        if self.is_over() {
            self.shards = Vec::new();
        }
    }

    fn shard_of(&self, place: u64) -> usize {
        (place >> (PLACES.ilog2() - self.shard_bits)) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_met_once_and_only_ahead() {
        for items in [0, 10, 5_000, 1 << 30] {
            let mut progress = Progress::new(items);
            let places: Vec<u64> = (0..600).map(|step| step * (PLACES / 600)).collect();
            assert!(places.iter().all(|place| progress.meet(*place)));
            assert!(places.iter().all(|place| !progress.meet(*place)));
            let middle = places[300];
            progress.advance(middle);
            assert_eq!(progress.next(), middle);
            assert!(places[300..].iter().all(|place| progress.has_met(*place)));
            assert!(!progress.meet(middle - 1) && progress.meet(middle + 1));
            progress.advance(0);
            assert!(progress.is_over() && !progress.meet(PLACES - 1));
            assert!(progress.shards.is_empty());
        }
    }
}
