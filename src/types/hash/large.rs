//! A large hash: a table of field and value in one block each, deadlines stamped on the blocks.
//!
//! Invariant: `order` has exactly the pairs (deadline, reversed hash of the field) of all stamped
//! fields, so the fields whose time has come are found without a scan; `pair_bytes` is the heap
//! memory of all blocks. Reversed, because fields that die together then leave all parts of the
//! table alike: in the order of their hashes they would empty one part after another, and each
//! would shrink again and again, its last items all in one corner.

use crate::types::equal::same;
use crate::types::limits::HashKey;
use crate::types::table::{Element, Table};
use crate::types::thin::ThinPair;
use crate::types::walk::{Fields, Part, Prelude, Remains, Tally, WalkId, Walked};
use std::collections::BTreeSet;

/// Bytes that a deadline takes in the ordered set, on average.
const ORDER_BYTES: usize = 28;

#[derive(Clone, Debug)]
pub(super) struct Large {
    pub(super) table: Table<ThinPair>,
    pub(super) order: BTreeSet<(i64, u64)>,
    pair_bytes: usize,
    hash_key: HashKey,
}

impl Element for ThinPair {
    fn fetch(&self) {
        self.prefetch();
    }

    fn hash(&self, key: &HashKey) -> u64 {
        self.hash(key)
    }

    fn part() -> Part {
        Part::Fields(Fields::default())
    }

    fn copy_to(&self, part: &mut Part) {
        if let Part::Fields(fields) = part {
            fields.push_pair(self);
        }
    }

    fn bytes(&self) -> usize {
        let (field, value) = self.both();
        field.len() + value.len()
    }
}

impl Walked for Large {
    fn prelude(&self) -> Prelude {
        let soonest_ms = self.order.first().map(|&(at, _)| at);
        Prelude::Hash { fields: self.table.len(), soonest_ms }
    }

    fn open_walk(&mut self, id: WalkId, tally: Tally) {
        self.table.open_walk(id, self.hash_key, tally);
    }

    fn next_part(&mut self, id: WalkId, bytes: usize) -> Option<Part> {
        self.table.next_part(id, bytes)
    }

    fn end_walk(&mut self, id: WalkId) -> Option<Remains> {
        self.table.end_walk(id)
    }

    fn walks(&self) -> Vec<WalkId> {
        self.table.walks()
    }
}

impl Large {
    pub(super) fn new(hash_key: HashKey) -> Self {
        Large { table: Table::new(), order: BTreeSet::new(), pair_bytes: 0, hash_key }
    }

    pub(super) fn with_capacity(hash_key: HashKey, fields: usize) -> Self {
        Large { table: Table::with_capacity(fields), ..Large::new(hash_key) }
    }

    pub(super) fn hash(&self, field: &[u8]) -> u64 {
        self.hash_key.hash(field)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.table.heap_bytes() + self.pair_bytes + self.order.len() * ORDER_BYTES
    }

    pub(super) fn find(&self, field: &[u8]) -> Option<&ThinPair> {
        self.table.find(self.hash(field), |pair| same(pair.first(), field))
    }

    /// Replaces the pair of the same field or adds it; whether it was added.
    pub(super) fn put(&mut self, pair: ThinPair) -> bool {
        let hash = pair.hash(&self.hash_key);
        self.pair_bytes += pair.heap_bytes();
        let (stamp, mut before) = (pair.stamp(), None);
        let found = self.table.find_mut(hash, |there| same(there.first(), pair.first()));
        let added = found.is_none();
        match found {
            Some(there) => {
                before = there.stamp();
                self.pair_bytes -= there.heap_bytes();
                *there = pair;
            }
            None => {
                let hash_key = self.hash_key;
                self.table.insert(hash, pair, |pair| pair.hash(&hash_key));
            }
        }
        if before != stamp {
            self.forget(before, hash);
            self.order.extend(stamp.map(|at| (at, hash.reverse_bits())));
        }
        added
    }

    pub(super) fn remove(&mut self, field: &[u8]) -> Option<ThinPair> {
        let hash = self.hash(field);
        let pair = self.table.remove(hash, |pair| same(pair.first(), field))?;
        self.pair_bytes -= pair.heap_bytes();
        self.forget(pair.stamp(), hash);
        Some(pair)
    }

    /// Takes a deadline out of the order, unless another field has the same and the same hash.
    fn forget(&mut self, deadline: Option<i64>, hash: u64) {
        let Some(at) = deadline else { return };
        let hash_key = self.hash_key;
        let same = |pair: &ThinPair| pair.stamp() == Some(at) && pair.hash(&hash_key) == hash;
        if self.table.find(hash, same).is_none() {
            self.order.remove(&(at, hash.reverse_bits()));
        }
    }

    /// Takes out up to `max` fields whose time has come (a few more when hashes collide).
    pub(super) fn take_expired(&mut self, now_ms: i64, max: usize, out: &mut Vec<Vec<u8>>) {
        let hash_key = self.hash_key;
        while let Some(&(at, reversed)) = self.order.first() {
            if at > now_ms || out.len() >= max {
                return;
            }
            let hash = reversed.reverse_bits();
            self.order.pop_first();
            let same = |pair: &ThinPair| pair.stamp() == Some(at) && pair.hash(&hash_key) == hash;
            while let Some(pair) = self.table.remove(hash, same) {
                self.pair_bytes -= pair.heap_bytes();
                out.push(pair.first().to_vec());
            }
        }
    }

    /// Frees a bounded piece; false when there was nothing.
    pub(super) fn pop_chunk(&mut self) -> bool {
        let Some(pairs) = self.table.pop_segment() else { return false };
        self.pair_bytes -= pairs.iter().map(ThinPair::heap_bytes).sum::<usize>();
        for _ in 0..pairs.len() {
            self.order.pop_first();
        }
        true
    }

    pub(super) fn scan<'a>(
        &'a self,
        cursor: u64,
        count: usize,
        visit: impl FnMut(&'a ThinPair),
    ) -> u64 {
        self.table.scan(cursor, count, ThinPair::prefetch, |pair| pair.hash(&self.hash_key), visit)
    }

    pub(super) fn is_gone(pair: &ThinPair, now_ms: i64) -> bool {
        pair.stamp().is_some_and(|at| at <= now_ms)
    }

    pub(super) fn check(&self) {
        let bytes: usize = self.table.iter().map(ThinPair::heap_bytes).sum();
        assert_eq!(bytes, self.pair_bytes);
        assert_eq!(self.table.iter().count(), self.table.len());
        let stamps = self.table.iter().filter_map(|pair| pair.stamp().zip(Some(pair.first())));
        let order: BTreeSet<_> =
            stamps.map(|(at, field)| (at, self.hash(field).reverse_bits())).collect();
        assert_eq!(order, self.order);
        let found = |pair: &ThinPair| self.find(pair.first()).is_some();
        assert!(self.table.iter().all(found));
    }
}
