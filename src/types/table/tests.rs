//! The table against std sets, its memory, and what scans and random draws promise.

use super::*;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::num::NonZeroU64;

type Item = NonZeroU64;

fn item(value: u64) -> Item {
    NonZeroU64::new(value).expect("tests use no zero")
}

/// A good hash (the finaliser of SplitMix64).
fn spread(item: &Item) -> u64 {
    let mut x = item.get().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl<const N: usize> Table<Item, N> {
    fn check(&self, hash: impl Fn(&Item) -> u64) {
        let mut bucket_bytes = 0;
        let mut covered = 0u128;
        for (number, segment) in self.segments.iter().enumerate() {
            segment.check(&hash);
            bucket_bytes += segment.buckets.heap_bytes();
            assert!(segment.depth <= self.depth);
            assert!(segment.buckets.len() <= self.widest);
            covered += 1 << (64 - segment.depth);
            let places = self.directory.iter().enumerate().filter(|&(at, _)| {
                let from = (at as u64) << (64 - u32::from(self.depth));
                segment.depth == 0 || (from ^ segment.prefix) >> (64 - segment.depth) == 0
            });
            assert!(places.into_iter().all(|(_, &pointed)| pointed as usize == number));
        }
        assert!(self.segments.is_empty() || covered == 1 << 64);
        let directory = if self.depth == 0 { 0 } else { 1 << self.depth };
        assert_eq!(self.directory.len(), directory);
        assert_eq!(bucket_bytes, self.bucket_bytes);
        let index_bytes = super::class(self.directory.capacity() * size_of::<u32>());
        assert_eq!(index_bytes + self.segments.heap_bytes(), self.index_bytes);
        assert_eq!(self.len, self.segments.iter().map(|s| s.len as usize).sum::<usize>());
    }
}

/// Random growth and shrinkage against a set; `range` bounds the values.
fn model<const N: usize>(seed: u64, steps: usize, range: u64, hash: fn(&Item) -> u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut table: Table<Item, N> = Table::new();
    let mut model = HashSet::new();
    let mut growing = true;
    for step in 0..steps {
        if step % (steps / 7) == 0 {
            growing = !growing || step == 0;
        }
        let value = item(rng.random_range(1..range));
        let there = model.contains(&value);
        assert_eq!(table.find(hash(&value), |x| *x == value).is_some(), there);
        assert_eq!(table.find_mut(hash(&value), |x| *x == value).is_some(), there);
        table.prefetch(hash(&value));
        if there && !rng.random_bool(if growing { 0.8 } else { 0.1 }) {
            assert_eq!(table.remove(hash(&value), |x| *x == value), Some(value));
            model.remove(&value);
        } else if !there && rng.random_bool(if growing { 0.9 } else { 0.1 }) {
            table.insert(hash(&value), value, hash);
            model.insert(value);
        }
        assert_eq!(table.len(), model.len());
        if step % (steps / 40) == 0 {
            table.check(hash);
            assert_eq!(table.iter().len(), model.len());
            assert_eq!(table.iter().copied().collect::<HashSet<_>>(), model);
        }
    }
    for value in model.drain() {
        assert_eq!(table.remove(hash(&value), |x| *x == value), Some(value));
    }
    table.check(hash);
    assert_eq!((table.len(), table.heap_bytes()), (0, 0));
}

#[test]
fn behaves_like_a_set() {
    model::<6>(1, 400, 12, spread);
    model::<6>(2, 4_000, 300, spread);
    model::<6>(3, 60_000, 6_000, spread);
    model::<7>(4, 60_000, 40_000, spread);
    model::<1>(5, 4_000, 600, spread);
    model::<8>(6, 4_000, 600, spread);
}

#[test]
fn a_table_of_known_size_is_filled_without_growing_much() {
    for count in [0, 1, 5, 100, 288, 289, 5_000, 100_000] {
        let mut table: Table<Item> = Table::with_capacity(count as usize);
        table.check(spread);
        let made = (table.heap_bytes(), table.segments.len());
        assert_eq!(made.0 == 0, count == 0);
        for value in 1..=count {
            table.insert(spread(&item(value)), item(value), spread);
        }
        table.check(spread);
        assert_eq!(table.len() as u64, count);
        if count > 0 {
            assert_eq!(table.segments.len(), made.1, "no segment split at {count}");
            assert!(table.heap_bytes() as f64 <= made.0 as f64 * 1.15, "{count}");
        }
        if count > 5_000 {
            assert!((table.heap_bytes() as f64) < 16.0 * count as f64, "{count}");
        }
        for value in 1..=count {
            assert!(table.remove(spread(&item(value)), |x| x.get() == value).is_some());
        }
        assert_eq!((table.len(), table.heap_bytes()), (0, if count == 0 { made.0 } else { 0 }));
    }
}

#[test]
fn a_table_of_known_size_takes_more_and_bad_hashes_too() {
    let mut table: Table<Item> = Table::with_capacity(300);
    let hash = |x: &Item| x.get() << 40;
    for value in 1..=5_000 {
        table.insert(hash(&item(value)), item(value), hash);
    }
    table.check(hash);
    assert_eq!(table.iter().count(), 5_000);
}

#[test]
fn a_table_is_widened_for_what_is_on_its_way() {
    for (first, count) in [(0, 10), (1, 1), (7, 3), (5_000, 40_000), (40_000, 40_000)] {
        let mut table: Table<Item> = Table::new();
        for value in 1..=first {
            table.insert(spread(&item(value)), item(value), spread);
        }
        table.widen(count, |_| (), spread);
        table.check(spread);
        assert_eq!(table.len() as u64, first);
        assert!(table.slots() >= count);
        let segments = table.segments.len();
        for value in first + 1..=count as u64 {
            table.insert(spread(&item(value)), item(value), spread);
        }
        table.check(spread);
        if first <= count as u64 {
            assert_eq!(table.segments.len(), segments);
        }
        for value in 1..=first.max(count as u64) {
            assert!(table.find(spread(&item(value)), |x| x.get() == value).is_some());
        }
    }
}

/// A client that deletes what it scans empties the table from one end to the other.
#[test]
fn items_that_go_in_the_order_of_their_hashes_give_their_memory_back() {
    let mut table: Table<Item> = Table::new();
    let mut items: Vec<Item> = (1..=20_000).map(item).collect();
    for &item in &items {
        table.insert(spread(&item), item, spread);
    }
    items.sort_by_key(spread);
    let full = table.heap_bytes();
    for (gone, item) in items.iter().enumerate() {
        assert_eq!(table.remove(spread(item), |x| x == item), Some(*item));
        if gone % 2_500 == 0 {
            table.check(spread);
            let left = 1.0 - gone as f64 / items.len() as f64;
            assert!(table.heap_bytes() as f64 <= (left + 0.2) * full as f64, "{gone}");
        }
    }
    assert_eq!(table.heap_bytes(), 0);
}

#[test]
fn a_sift_keeps_what_it_is_handed_back_and_little_memory() {
    for (count, one_in) in [(1, 1), (1, 2), (300, 2), (20_000, 1), (20_000, 3), (50_000, 1000)] {
        let mut table: Table<Item> = Table::new();
        (1..=count).map(item).for_each(|item| table.insert(spread(&item), item, spread));
        let (seen, mut gone) = (std::cell::Cell::new(0), 0);
        table.sift(
            |_| seen.set(seen.get() + 1),
            |item| {
                let stays = item.get() % one_in == 1;
                gone += u64::from(!stays);
                stays.then_some(item)
            },
        );
        table.check(spread);
        let stayed: HashSet<u64> = table.iter().map(|item| item.get()).collect();
        assert_eq!(stayed, (1..=count).filter(|value| value % one_in == 1).collect());
        assert_eq!((seen.get(), gone), (count, count - stayed.len() as u64));
        let bytes = table.heap_bytes();
        assert!(bytes <= 200 + 18 * stayed.len(), "{bytes} for {}", stayed.len());
        assert!(bytes == 0 || !stayed.is_empty());
        (1..=count).map(item).filter(|item| !stayed.contains(&item.get())).for_each(|item| {
            assert!(table.find(spread(&item), |x| *x == item).is_none());
            table.insert(spread(&item), item, spread);
        });
        table.check(spread);
        assert_eq!(table.len() as u64, count);
    }
}

#[test]
fn survives_hashes_that_are_no_good() {
    model::<6>(11, 6_000, 3_000, |_| 0);
    model::<6>(12, 6_000, 3_000, |_| u64::MAX);
    model::<6>(13, 6_000, 3_000, |x| x.get());
    model::<6>(14, 6_000, 3_000, |x| x.get() << 60);
    model::<6>(15, 6_000, 3_000, |x| ((x.get() % 3) << 62) | 5);
    model::<7>(16, 6_000, 3_000, |x| x.get() << 40);
}

#[test]
fn empty_owns_nothing_and_one_item_one_bucket() {
    let mut table: Table<Item> = Table::new();
    assert_eq!(table.heap_bytes(), 0);
    table.insert(spread(&item(9)), item(9), spread);
    assert_eq!(table.heap_bytes(), 64 + size_of::<Segment<Item, 6>>());
    assert_eq!(size_of::<buckets::Bucket<Item, 6>>(), 64);
    assert_eq!(size_of::<buckets::Bucket<(Item, u64), 7>>(), 128);
}

#[test]
fn an_item_costs_about_fourteen_bytes_at_any_count() {
    let mut table: Table<Item> = Table::new();
    let mut costs = Vec::new();
    for value in 1..=200_000 {
        table.insert(spread(&item(value)), item(value), spread);
        if value > 1_000 && value % 1_000 == 0 {
            costs.push(table.heap_bytes() as f64 / value as f64);
        }
    }
    let mean = costs.iter().sum::<f64>() / costs.len() as f64;
    assert!(mean < 14.2, "mean {mean}");
    assert!(costs.iter().all(|&cost| cost < 15.5), "{costs:?}");
}

#[test]
fn a_scan_returns_what_stays_whatever_changes_meanwhile() {
    for (seed, stays, comes, count) in
        [(1, 3, 40, 1), (2, 50, 2_000, 3), (3, 2_000, 30_000, 10), (4, 5_000, 200, 100)]
    {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut table: Table<Item> = Table::new();
        for value in 1..=stays {
            table.insert(spread(&item(value)), item(value), spread);
        }
        let mut guests = Vec::new();
        let mut seen = BTreeMap::new();
        let mut cursor = 0;
        let mut growing = true;
        loop {
            cursor =
                table.scan(cursor, count, |_| (), spread, |x| *seen.entry(*x).or_insert(0) += 1);
            assert!(cursor < 1 << 48);
            if cursor == 0 {
                break;
            }
            for _ in 0..comes as usize * count / stays as usize * 2 {
                if guests.is_empty() || growing && guests.len() < comes as usize {
                    let guest = item(rng.random_range(1 << 32..u64::MAX));
                    table.insert(spread(&guest), guest, spread);
                    guests.push(guest);
                } else {
                    let guest = guests.swap_remove(rng.random_range(0..guests.len()));
                    assert!(table.remove(spread(&guest), |x| *x == guest).is_some());
                }
            }
            growing = rng.random_bool(0.5);
        }
        table.check(spread);
        let missed = (1..=stays).filter(|&value| seen.get(&item(value)) != Some(&1));
        assert_eq!(missed.count(), 0, "every lasting item exactly once");
    }
}

#[test]
fn a_scan_goes_in_the_order_of_hashes_and_keeps_count() {
    let mut table: Table<Item> = Table::new();
    for value in 1..=3_000 {
        table.insert(spread(&item(value)), item(value), spread);
    }
    let mut hashes = Vec::new();
    let mut cursor = 0;
    loop {
        let before = hashes.len();
        cursor = table.scan(cursor, 7, |_| (), spread, |x| hashes.push(spread(x)));
        if cursor == 0 {
            break;
        }
        assert_eq!(hashes.len() - before, 7);
    }
    assert!(hashes.is_sorted());
    assert_eq!(hashes.len(), 3_000);
    assert_eq!(table.scan(u64::MAX, 7, |_| (), spread, |_| panic!("nothing is there")), 0);
    assert_eq!(table.scan((1 << 48) - 1, 7, |_| (), spread, |_| panic!("nothing is there")), 0);
}

#[test]
fn a_scan_keeps_equal_hashes_together_and_knows_the_last_hash() {
    let hash = |x: &Item| [0, 7 << 20, u64::MAX][(x.get() % 3) as usize];
    let mut table: Table<Item> = Table::new();
    for value in 1..=300 {
        table.insert(hash(&item(value)), item(value), hash);
    }
    let mut sizes = Vec::new();
    let mut cursor = 0;
    loop {
        let mut seen = 0;
        cursor = table.scan(cursor, 10, |_| (), hash, |_| seen += 1);
        sizes.push(seen);
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(sizes, [100, 100, 100]);
}

#[test]
fn random_is_uniform() {
    // Also on a table that has shrunk, whose segments differ in width.
    for (from, to, rounds) in [(1, 5, 20_000), (100, 100, 50_000), (9_000, 900, 200_000)] {
        let mut rng = SmallRng::seed_from_u64(to);
        let mut table: Table<Item> = Table::new();
        for value in 1..=from.max(to) {
            table.insert(spread(&item(value)), item(value), spread);
        }
        for value in to + 1..=from {
            table.remove(spread(&item(value)), |x| x.get() == value);
        }
        let mut counts: HashMap<Item, u64> = HashMap::new();
        for _ in 0..rounds {
            *counts.entry(*table.random(&mut rng).expect("not empty")).or_default() += 1;
        }
        let expected = rounds as f64 / to as f64;
        let chi: f64 = (1..=to)
            .map(|value| counts.get(&item(value)).map_or(0.0, |&n| n as f64) - expected)
            .map(|off| off * off / expected)
            .sum();
        // Mean to-1, deviation sqrt(2(to-1)): six deviations.
        let free = (to - 1) as f64;
        assert!(chi < free + 6.0 * (2.0 * free).sqrt(), "chi-square {chi} of {to}");
    }
}

#[test]
fn random_finds_the_last_items_of_a_sparse_table() {
    let mut rng = SmallRng::seed_from_u64(5);
    let mut table: Table<Item> = Table::new();
    for value in 1..=20_000 {
        table.insert(spread(&item(value)), item(value), spread);
    }
    let mut left: HashSet<Item> = (1..=20_000).map(item).collect();
    while let Some(value) = table.pop_random(&mut rng) {
        assert!(left.remove(&value));
        assert_eq!(table.len(), left.len());
    }
    assert!(left.is_empty() && table.random(&mut rng).is_none());
}

#[test]
fn a_table_is_freed_in_bounded_pieces() {
    let mut table: Table<Item> = Table::new();
    for value in 1..=50_000 {
        table.insert(spread(&item(value)), item(value), spread);
    }
    let copy = table.clone();
    let mut left: HashSet<Item> = (1..=50_000).map(item).collect();
    while let Some(piece) = table.pop_segment() {
        assert!(!piece.is_empty() && piece.len() <= LARGEST * 6);
        assert!(piece.iter().all(|value| left.remove(value)));
        assert_eq!(table.len(), left.len());
    }
    assert!(left.is_empty());
    assert_eq!(table.heap_bytes(), 0);
    copy.check(spread);
    assert_eq!(copy.len(), 50_000);
}

#[test]
fn a_half_freed_table_still_works() {
    let mut table: Table<Item> = Table::new();
    for value in 1..=5_000 {
        table.insert(spread(&item(value)), item(value), spread);
    }
    let gone: HashSet<Item> = table.pop_segment().into_iter().flatten().collect();
    table.check(spread);
    for &value in &gone {
        table.insert(spread(&value), value, spread);
    }
    table.check(spread);
    let mut left = 0;
    while let Some(piece) = table.pop_segment() {
        left += piece.len();
    }
    assert_eq!(left, 5_000);
}
