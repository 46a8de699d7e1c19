//! Going through a table piece by piece, in the order of the full hash.

use super::Table;

/// A cursor is the upper 48 bits of a hash: clients that keep cursors in a double or in a signed
/// integer stay exact.
const CURSOR_SHIFT: u32 = 16;

/// Buckets whose items are asked for ahead: as many items as a processor has requests under way.
const FETCHED: usize = 2;

/// How many places there are: every cursor is below.
pub const PLACES: u64 = 1 << (64 - CURSOR_SHIFT);

/// The place of a hash in the order of scans.
#[inline]
pub fn place_of(hash: u64) -> u64 {
    hash >> CURSOR_SHIFT
}

impl<T, const N: usize> Table<T, N> {
    /// Visits about `count` items from `cursor` on and returns the cursor to go on with; 0 at the
    /// end. A scan starts with 0; cursors are below 2^48.
    ///
    /// The cursor is a place in the order of hashes: what comes before it has been visited. Items
    /// with equal upper bits are visited together, so more than `count` can come. Only as many
    /// buckets are looked at as are needed. `fetch` asks the processor for what an item points at,
    /// some buckets before `rehash` needs it.
    pub fn scan<'a>(
        &'a self,
        cursor: u64,
        count: usize,
        fetch: impl Fn(&T),
        rehash: impl Fn(&T) -> u64,
        mut visit: impl FnMut(&'a T),
    ) -> u64 {
        self.scan_weighed(cursor, count, fetch, rehash, |_, item| {
            visit(item);
            1
        })
    }

    /// The same for who wants to know each item's place as well, and says of each how much of
    /// `count` it takes.
    pub fn scan_weighed<'a>(
        &'a self,
        cursor: u64,
        count: usize,
        fetch: impl Fn(&T),
        rehash: impl Fn(&T) -> u64,
        mut visit: impl FnMut(u64, &'a T) -> usize,
    ) -> u64 {
        if cursor >= PLACES {
            return 0;
        }
        let mut left = count.max(1);
        let mut from = cursor << CURSOR_SHIFT;
        let mut last = None;
        let mut batch: Vec<(u64, &'a T)> = Vec::new();
        while let Some(segment) = self.segments.get(self.segment_of(from)) {
            let first = segment.home(segment.tag(from));
            (first..first + FETCHED).for_each(|at| segment.items_in(at).for_each(&fetch));
            for home in first..segment.buckets.len() {
                segment.items_in(home + FETCHED).for_each(&fetch);
                let items = segment.items_of(home).map(|item| (rehash(item), item));
                batch.extend(items.filter(|&(hash, _)| hash >= from));
                batch.sort_unstable_by_key(|&(hash, _)| hash);
                for (hash, item) in batch.drain(..) {
                    let place = place_of(hash);
                    if left == 0 && last != Some(place) {
                        return place;
                    }
                    left = left.saturating_sub(visit(place, item));
                    last = Some(place);
                }
            }
            match after(segment.prefix, segment.depth) {
                Some(next) => from = next,
                None => return 0,
            }
        }
        0
    }
}

/// The first hash beyond a segment's range; `None` after the last one.
fn after(prefix: u64, depth: u8) -> Option<u64> {
    if depth == 0 {
        return None;
    }
    prefix.checked_add(1 << (64 - u32::from(depth)))
}
