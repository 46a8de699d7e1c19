//! A table for a known number of items: all its segments from the start, so that nothing splits
//! and next to nothing moves while it is filled.

use super::buckets::{Bucket, LARGEST};
use super::segment::Segment;
use super::Table;

/// Three quarters of a segment's slots: what it is made for on average. A few get more than that
/// and grow by themselves.
const fn items_per_segment<const N: usize>() -> usize {
    LARGEST * N * 3 / 4
}

impl<T, const N: usize> Table<T, N> {
    /// An empty table with room for `count` items. It takes memory for all of them at once, so
    /// `count` must be what the caller has at hand, not what a stranger announced.
    pub fn with_capacity(count: usize) -> Self {
        let mut table = Self::new();
        if count == 0 {
            return table;
        }
        let segments = count.div_ceil(items_per_segment::<N>()).next_power_of_two();
        let depth = segments.trailing_zeros() as u8;
        let mean = count.div_ceil(segments);
        // Hashes spread as dice do: one segment in six gets more than one deviation above the mean.
        let expected = if depth == 0 { mean } else { mean + mean.isqrt() };
        let buckets = (expected * 10).div_ceil(N * 9);
        for number in 0..segments {
            let prefix = if depth == 0 { 0 } else { (number as u64) << (64 - depth) };
            let mut segment = Segment::new(prefix, depth);
            segment.resize(buckets);
            table.bucket_bytes += segment.heap_bytes();
            table.widest = table.widest.max(segment.buckets.len());
            table.segments.push(segment);
        }
        table.depth = depth;
        if depth > 0 {
            table.directory = (0..segments as u32).collect();
        }
        table.measure_index();
        table
    }

    /// How many items have room before anything grows.
    pub fn slots(&self) -> usize {
        self.bucket_bytes / size_of::<Bucket<T, N>>() * N
    }

    /// Moves all items to where there is room for `count`, all at once; the same holds for `count`
    /// as above. `fetch` sees some items before `rehash` gives their hashes. For tables without
    /// walks.
    pub fn widen(&mut self, count: usize, fetch: impl Fn(&T), rehash: impl Fn(&T) -> u64) {
        debug_assert!(!self.is_walked());
        let mut wider = Self::with_capacity(count);
        while let Some(items) = self.pop_segment() {
            items.iter().for_each(&fetch);
            items.into_iter().for_each(|item| wider.insert(rehash(&item), item, &rehash));
        }
        *self = wider;
    }
}
