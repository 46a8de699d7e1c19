//! The large encoding: a member table that owns the members and answers "which score", and a tree
//! of (score, reference to the member) that answers everything about order.
//!
//! Invariant: both hold the same members with the same scores, and every reference in the tree is
//! the alias of a member that the table still owns. So a member enters the table's slot first and
//! leaves the tree first.

use super::tree::{Member, Tree};
use super::walks::Walk;
use crate::types::equal::same;
use crate::types::limits::HashKey;
use crate::types::table::Table;
use crate::types::thin::{Thin, ThinRef};
use crate::types::walk::Open;

/// A member and its score: one slot of the table.
pub(super) type Slot = (Thin, f64);

pub(super) struct Large {
    pub(super) members: Table<Slot, 7>,
    pub(super) tree: Tree<ThinRef>,
    pub(super) hash_key: HashKey,
    pub(super) walks: Option<Box<Open<Walk>>>,
    /// Heap memory of the members.
    member_bytes: usize,
}

impl Member for ThinRef {
    const EMPTY: ThinRef = ThinRef::EMPTY;

    #[inline]
    fn bytes(&self) -> &[u8] {
        self.as_bytes()
    }

    #[inline]
    fn is(&self, other: &ThinRef) -> bool {
        self.same_block(other)
    }

    #[inline]
    fn fetch(&self) {
        self.prefetch();
    }
}

/// Entries that leave together: one leaf of the tree.
const BATCH: usize = 64;
/// From one in so many members on, a range goes by a walk over all of them.
const SIFTED_SHARE: usize = 4;

impl Large {
    pub fn new(hash_key: HashKey) -> Self {
        let (members, tree, walks) = (Table::new(), Tree::default(), None);
        Large { members, tree, hash_key, walks, member_bytes: 0 }
    }

    pub fn with_capacity(hash_key: HashKey, members: usize) -> Self {
        Large { members: Table::with_capacity(members), ..Large::new(hash_key) }
    }

    pub fn tree(&self) -> &Tree<ThinRef> {
        &self.tree
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    pub fn heap_bytes(&self) -> usize {
        self.members.heap_bytes() + self.tree.heap_bytes() + self.member_bytes
    }

    pub fn prefetch(&self, member: &[u8]) -> u64 {
        let hash = self.hash_key.hash(member);
        self.members.prefetch(hash);
        hash
    }

    pub fn prefetch_item(&self, hash: u64) {
        if let Some((member, _)) = self.members.candidate(hash) {
            member.prefetch();
        }
    }

    #[inline]
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        self.slot(member).map(|slot| slot.1)
    }

    #[inline]
    fn slot(&self, member: &[u8]) -> Option<&Slot> {
        let hash = self.hash_key.hash(member);
        self.members.find(hash, |slot| same(slot.0.as_bytes(), member))
    }

    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        let (member, score) = self.slot(member)?;
        Some((self.tree.rank(*score, &member.alias()), *score))
    }

    /// Lets `change` see the present score and say the new one, if there shall be one.
    pub fn change<R>(
        &mut self,
        member: &[u8],
        change: impl FnOnce(Option<f64>) -> (Option<f64>, R),
    ) -> R {
        let hash = self.hash_key.hash(member);
        if self.walks.is_some() {
            self.meet(hash);
        }
        let slot = self.members.find_mut(hash, |slot| same(slot.0.as_bytes(), member));
        match slot {
            Some(slot) => {
                let old = slot.1;
                let (new, outcome) = change(Some(old));
                if let Some(new) = new {
                    slot.1 = new;
                    let alias = slot.0.alias();
                    self.tree.rescore(old, new, alias);
                }
                outcome
            }
            None => {
                let (new, outcome) = change(None);
                if let Some(new) = new {
                    self.insert_hashed(hash, member, new);
                }
                outcome
            }
        }
    }

    /// Puts in a member that is not there.
    pub fn insert(&mut self, member: &[u8], score: f64) {
        let hash = self.hash_key.hash(member);
        if self.walks.is_some() {
            self.meet(hash);
        }
        self.insert_hashed(hash, member, score);
    }

    fn insert_hashed(&mut self, hash: u64, member: &[u8], score: f64) {
        let thin = Thin::hashed(member, hash);
        self.member_bytes += thin.heap_bytes();
        self.tree.insert(score, thin.alias());
        let key = self.hash_key;
        self.members.insert(hash, (thin, score), |slot| slot.0.hash(&key));
    }

    /// Sets the score of a member in the table alone: `merge` makes it of the present score and
    /// the given one. `order` must follow before anything else is asked.
    pub fn gather(&mut self, member: &[u8], score: f64, merge: impl FnOnce(f64, f64) -> f64) {
        let key = self.hash_key;
        let hash = key.hash(member);
        let slot = self.members.find_mut(hash, |slot| same(slot.0.as_bytes(), member));
        if let Some(slot) = slot {
            slot.1 = merge(slot.1, score);
        } else {
            let thin = Thin::hashed(member, hash);
            self.member_bytes += thin.heap_bytes();
            self.members.insert(hash, (thin, score), |slot| slot.0.hash(&key));
        }
    }

    /// Members in the table.
    pub fn gathered(&self) -> usize {
        self.members.len()
    }

    /// Builds the tree of what was gathered.
    pub fn order(&mut self) {
        let mut entries: Vec<(f64, ThinRef)> =
            self.members.iter().map(|(thin, score)| (*score, thin.alias())).collect();
        entries.sort_unstable_by(|(score, member), (other, name)| {
            let by_score = score.partial_cmp(other).unwrap_or(std::cmp::Ordering::Equal);
            by_score.then_with(|| member.as_bytes().cmp(name.as_bytes()))
        });
        self.tree = Tree::from_sorted(entries.into_iter());
    }

    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let hash = self.hash_key.hash(member);
        if self.walks.is_some() {
            self.meet(hash);
        }
        let (thin, score) = self.members.remove(hash, |slot| same(slot.0.as_bytes(), member))?;
        self.tree.remove(score, &thin.alias());
        self.member_bytes -= thin.heap_bytes();
        Some(score)
    }

    /// Takes out the members of the ranks from `from` up to, not including, `to`.
    pub fn remove_ranks(&mut self, from: usize, to: usize) -> usize {
        if (to - from) * SIFTED_SHARE >= self.len() && self.walks.is_none() {
            return self.sift_ranks(from, to);
        }
        let mut left = to - from;
        while left > 0 {
            let mut batch = [ThinRef::EMPTY; BATCH];
            let mut count = 0;
            self.tree.remove_at(from, left.min(BATCH), |_, member| {
                batch[count] = member;
                count += 1;
            });
            if count == 0 {
                break;
            }
            self.forget(&batch[..count]);
            left -= count;
        }
        to - from - left
    }

    /// The same where the range is a good part of all: a walk over the whole table, which finds
    /// those that go by their scores, costs less than to look for each of them.
    fn sift_ranks(&mut self, from: usize, to: usize) -> usize {
        let end = |rank: usize| {
            let (score, member) = self.tree.at(rank)?;
            Some((score, member.as_bytes().to_vec()))
        };
        let Some(((low, first), (high, last))) = end(from).zip(end(to - 1)) else { return 0 };
        // Members are looked at only where their scores tie with an end that has others beyond.
        let (below, above) = (from > 0, to < self.len());
        let mut left = to - from;
        while left > 0 {
            left -= self.tree.remove_at(from, left, |_, _| ());
        }
        let is_near = |score: f64| low <= score && score <= high;
        let fetch = |(member, score): &Slot| {
            if is_near(*score) {
                member.prefetch();
            }
        };
        let member_bytes = &mut self.member_bytes;
        self.members.sift(fetch, |(member, score)| {
            let stays = !is_near(score)
                || below && score == low && member.as_bytes() < first.as_slice()
                || above && score == high && member.as_bytes() > last.as_slice();
            if !stays {
                *member_bytes -= member.heap_bytes();
            }
            stays.then_some((member, score))
        });
        to - from
    }

    /// Takes members out of the table, which have left the tree.
    fn forget(&mut self, batch: &[ThinRef]) {
        let mut hashes = [0; BATCH];
        batch.iter().for_each(ThinRef::prefetch);
        for (hash, member) in hashes.iter_mut().zip(batch) {
            *hash = member.hash(&self.hash_key);
            self.members.prefetch(*hash);
        }
        for (hash, member) in hashes.iter().zip(batch) {
            if self.walks.is_some() {
                self.meet(*hash);
            }
            let is_it = |slot: &Slot| slot.0.alias().same_block(member);
            if let Some((thin, _)) = self.members.remove(*hash, is_it) {
                self.member_bytes -= thin.heap_bytes();
            }
        }
    }

    /// Visits about `count` members from `cursor` on; 0 is the first and the last cursor.
    pub fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(&[u8], f64)) -> u64 {
        let key = self.hash_key;
        let rehash = |slot: &Slot| slot.0.hash(&key);
        let fetch = |slot: &Slot| slot.0.prefetch();
        self.members.scan(cursor, count, fetch, rehash, |slot| visit(slot.0.as_bytes(), slot.1))
    }

    /// Frees a bounded piece; false when nothing was left. The tree goes first: its references do
    /// not look at members while leaves leave from the low end.
    pub fn pop_chunk(&mut self) -> bool {
        if self.tree.len() > 0 {
            for _ in 0..4 {
                self.tree.remove_at(0, BATCH, |_, _| ());
            }
            return true;
        }
        match self.members.pop_segment() {
            Some(slots) => {
                self.member_bytes -= slots.iter().map(|slot| slot.0.heap_bytes()).sum::<usize>();
                true
            }
            None => false,
        }
    }

    pub fn check(&self) {
        self.tree.check();
        assert_eq!(self.members.len(), self.tree.len(), "both halves hold the same members");
        let mut bytes = 0;
        for (thin, score) in self.members.iter() {
            bytes += thin.heap_bytes();
            let rank = self.tree.rank(*score, &thin.alias());
            let found = self.tree.at(rank).map(|(_, member)| member.as_bytes().as_ptr());
            assert_eq!(found, Some(thin.as_bytes().as_ptr()), "the tree shares the member");
        }
        assert_eq!(bytes, self.member_bytes, "the running size");
    }
}

impl Clone for Large {
    fn clone(&self) -> Large {
        let (key, mut member_bytes) = (self.hash_key, 0);
        let mut members: Table<Slot, 7> = Table::with_capacity(self.len());
        let mut source = self.tree.range(0, self.tree.len(), false);
        let (mut coming, mut ready) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
        // In the order of the tree the places in the table come at random: some are asked for
        // before the first of them is needed.
        let entries = std::iter::from_fn(|| {
            if ready.is_empty() {
                for (score, member) in source.by_ref().take(BATCH) {
                    let thin = member.owned();
                    let hash = thin.hash(&key);
                    members.prefetch(hash);
                    coming.push((hash, (thin, score)));
                }
                for (hash, slot) in coming.drain(..) {
                    ready.push((slot.1, slot.0.alias()));
                    member_bytes += slot.0.heap_bytes();
                    members.insert(hash, slot, |slot| slot.0.hash(&key));
                }
                ready.reverse();
            }
            ready.pop()
        });
        let tree = Tree::from_sorted(entries);
        Large { members, tree, hash_key: key, walks: None, member_bytes }
    }
}
