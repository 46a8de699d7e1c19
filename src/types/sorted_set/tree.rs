//! A B+tree of (score, member), ordered by score, then by the member's bytes, that knows how many
//! entries lie below each child: rank, entry by rank and counting are O(log n).
//!
//! It holds members by reference only; who owns them (the member table) sees to it that a member
//! leaves the tree before it is freed. Everything an entry says about order is read from the
//! score first, so that members are looked at only where scores tie.
//!
//! How it stays full: an insert walks down once and makes room before it enters a full node. It
//! evens out with a sibling that has room, and splits only when none has. New keys at either end
//! of the tree open a fresh leaf instead, so sorted input leaves full nodes behind. A removal
//! merges a node that is less than half full with a sibling when both fit with room to spare.

use super::bulk;
use super::node::{Inner, Key, Leaf, Node, FAN, LEAF};
use crate::types::alloc;

/// What the tree keeps of a member: a small copyable reference to its bytes.
pub trait Member: Copy {
    /// Fills the unused places of a node.
    const EMPTY: Self;
    /// The member.
    fn bytes(&self) -> &[u8];
    /// Whether both refer to the very same bytes in memory.
    fn is(&self, other: &Self) -> bool;
    /// Asks the processor for the bytes.
    fn fetch(&self) {}
}

/// Members that a walk asks for ahead of their turns.
const STEPS: usize = 12;

/// How many nodes there are, for the running size.
#[derive(Default)]
struct Census {
    leaves: usize,
    inners: usize,
}

impl Census {
    fn count<M>(&mut self, node: &Node<M>) -> &mut usize {
        match node {
            Node::Leaf(_) => &mut self.leaves,
            Node::Inner(_) => &mut self.inners,
        }
    }
}

/// The ordered half of a large sorted set.
pub struct Tree<M> {
    root: Option<Node<M>>,
    len: usize,
    census: Census,
}

/// Which entry a removal starts from.
enum Target<'a, M> {
    Entry(f64, &'a M),
    Rank(usize),
}

impl<M: Member> Default for Tree<M> {
    fn default() -> Self {
        Tree { root: None, len: 0, census: Census::default() }
    }
}

impl<M: Member> Tree<M> {
    /// Entries.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Heap bytes of all nodes.
    pub fn heap_bytes(&self) -> usize {
        self.census.leaves * const { alloc::class(size_of::<Leaf<M>>()) }
            + self.census.inners * const { alloc::class(size_of::<Inner<M>>()) }
    }

    /// A tree of entries that come in order, each once: full nodes, one level after the other.
    pub fn from_sorted(entries: impl Iterator<Item = (f64, M)>) -> Self {
        let built = bulk::build(entries);
        let census = Census { leaves: built.leaves, inners: built.inners };
        Tree { root: built.root, len: built.entries, census }
    }

    /// Adds an entry that is not there yet.
    pub fn insert(&mut self, score: f64, member: M) {
        let key = Key { score, member };
        let census = &mut self.census;
        let mut node = roomy_root(&mut self.root, census);
        let (mut left_edge, mut right_edge) = (true, true);
        loop {
            match node {
                Node::Leaf(leaf) => {
                    let index = leaf.keys.lower(leaf.len(), score, member.bytes());
                    leaf.insert(index, key);
                    break;
                }
                Node::Inner(inner) => {
                    let mut index = inner.keys.route(inner.len(), score, member.bytes());
                    if inner.kid(index).len() == inner.kid(index).room() {
                        let left = left_edge && index == 0;
                        let right = right_edge && index + 1 == inner.len();
                        make_room(inner, index, &key, left, right, census);
                        index = inner.keys.route(inner.len(), score, member.bytes());
                    }
                    if index == 0 && key.is_below(&inner.keys.at(0)) {
                        inner.key_set(0, key);
                    }
                    left_edge &= index == 0;
                    right_edge &= index + 1 == inner.len();
                    inner.counts[index] += 1;
                    node = inner.kid_mut(index);
                }
            }
        }
        self.len += 1;
    }

    /// Takes out an entry that is there; `member` is the tree's own.
    pub fn remove(&mut self, score: f64, member: &M) {
        self.cut(Target::Entry(score, member), 1, &mut |_, _| ());
    }

    /// Takes out up to `count` entries from `rank` on, as far as they lie in one node, and shows
    /// them to `taken` in order. At least one when `rank` is there; returns how many.
    pub fn remove_at(&mut self, rank: usize, count: usize, mut taken: impl FnMut(f64, M)) -> usize {
        if rank >= self.len || count == 0 {
            return 0;
        }
        self.cut(Target::Rank(rank), count, &mut taken)
    }

    fn cut(
        &mut self,
        target: Target<'_, M>,
        count: usize,
        taken: &mut impl FnMut(f64, M),
    ) -> usize {
        let Some(mut root) = self.root.take() else { return 0 };
        let removed = cut(&mut root, target, count, taken, &mut self.census);
        self.len -= removed;
        loop {
            match root {
                Node::Inner(mut inner) if inner.len() == 1 => {
                    self.census.inners -= 1;
                    match inner.remove(0) {
                        Some(kid) => root = kid,
                        None => break,
                    }
                }
                _ if self.len == 0 => {
                    self.census = Census::default();
                    break;
                }
                root => {
                    self.root = Some(root);
                    break;
                }
            }
        }
        removed
    }

    /// Gives an entry that is there a new score; `member` is the tree's own.
    pub fn rescore(&mut self, old: f64, score: f64, member: M) {
        if !self.rescore_in_place(old, score, &member) {
            self.remove(old, &member);
            self.insert(score, member);
        }
    }

    fn rescore_in_place(&mut self, old: f64, score: f64, member: &M) -> bool {
        let Some(mut node) = self.root.as_mut() else { return false };
        loop {
            match node {
                Node::Leaf(leaf) => {
                    let index = leaf.keys.locate(leaf.len(), old, member);
                    return leaf.rescore(index, score);
                }
                Node::Inner(inner) => {
                    let index = inner.keys.route(inner.len(), old, member.bytes());
                    node = inner.kid_mut(index);
                }
            }
        }
    }

    /// The rank, from 0, of an entry that is there; `member` is the tree's own.
    #[inline]
    pub fn rank(&self, score: f64, member: &M) -> usize {
        let Some(mut node) = self.root.as_ref() else { return 0 };
        let mut rank = 0;
        loop {
            match node {
                Node::Leaf(leaf) => return rank + leaf.keys.locate(leaf.len(), score, member),
                Node::Inner(inner) => {
                    let index = inner.keys.route(inner.len(), score, member.bytes());
                    rank += inner.before(index);
                    node = inner.kid(index);
                }
            }
        }
    }

    /// How many entries fulfil `below`, which must hold for a prefix of the order.
    pub fn prefix(&self, below: impl Fn(f64, &M) -> bool) -> usize {
        let Some(mut node) = self.root.as_ref() else { return 0 };
        let mut rank = 0;
        loop {
            match node {
                Node::Leaf(leaf) => return rank + leaf.keys.prefix(leaf.len(), below),
                Node::Inner(inner) => {
                    let index = inner.keys.prefix(inner.len(), &below).saturating_sub(1);
                    rank += inner.before(index);
                    node = inner.kid(index);
                }
            }
        }
    }

    /// The entry of `rank`.
    pub fn at(&self, rank: usize) -> Option<(f64, &M)> {
        let (leaf, index) = self.leaf_at(rank)?;
        Some(leaf.keys.entry(index))
    }

    fn leaf_at(&self, rank: usize) -> Option<(&Leaf<M>, usize)> {
        if rank >= self.len {
            return None;
        }
        let mut node = self.root.as_ref()?;
        let mut rank = rank;
        loop {
            match node {
                Node::Leaf(leaf) => return Some((leaf, rank)),
                Node::Inner(inner) => {
                    let (index, rest) = inner.route_rank(rank);
                    rank = rest;
                    node = inner.kid(index);
                }
            }
        }
    }

    /// The entries of the ranks from `from` up to, not including, `to`; from the high end down
    /// when `reverse`.
    pub fn range(&self, from: usize, to: usize, reverse: bool) -> Range<'_, M> {
        let to = to.min(self.len);
        Range { tree: self, leaf: None, index: 0, from: from.min(to), to, reverse }
    }

    /// Panics when an invariant is broken.
    pub fn check(&self) {
        let mut census = Census::default();
        let entries = self.root.as_ref().map_or(0, |root| check(root, &mut census).0);
        assert_eq!(entries, self.len, "the count of the tree");
        assert_eq!(census.leaves, self.census.leaves, "the count of leaves");
        assert_eq!(census.inners, self.census.inners, "the count of inner nodes");
        let mut before: Option<Key<M>> = None;
        for (score, member) in self.range(0, self.len, false) {
            let key = Key { score, member: *member };
            assert!(!score.is_nan(), "a NaN got in");
            assert!(before.is_none_or(|before| before.is_below(&key)), "order");
            before = Some(key);
        }
    }
}

/// Entries and height below `node`; panics when its arrays do not fit together.
fn check<M: Member>(node: &Node<M>, census: &mut Census) -> (usize, usize) {
    *census.count(node) += 1;
    assert!(node.len() > 0, "an empty node");
    match node {
        Node::Leaf(leaf) => (leaf.len(), 0),
        Node::Inner(inner) => {
            let mut heights = None;
            for index in 0..inner.len() {
                let (entries, height) = check(inner.kid(index), census);
                assert_eq!(entries as u64, inner.counts[index], "the count of a subtree");
                assert_eq!(*heights.get_or_insert(height), height, "siblings of one height");
                let (first, key) = (inner.kid(index).first(), inner.keys.at(index));
                assert!(!first.is_below(&key) && !key.is_below(&first), "a separator");
            }
            assert!(inner.kids[inner.len()..].iter().all(Option::is_none), "a lost child");
            (inner.before(inner.len()), heights.unwrap_or(0) + 1)
        }
    }
}

/// The root, created when there is none, one level higher when it was full.
fn roomy_root<'a, M: Member>(
    root: &'a mut Option<Node<M>>,
    census: &mut Census,
) -> &'a mut Node<M> {
    let roomy = match root.take() {
        None => {
            census.leaves += 1;
            Node::Leaf(Box::new(Leaf::new()))
        }
        Some(full) if full.len() == full.room() => {
            let mut inner = Box::new(Inner::new());
            inner.insert(0, full.first(), full.entries(), full);
            census.inners += 1;
            Node::Inner(inner)
        }
        Some(roomy) => roomy,
    };
    root.insert(roomy)
}

/// Makes room for `key` in the full child `index` of a node that has a free place. `left` and
/// `right`: this child is the first or the last of its level.
fn make_room<M: Member>(
    inner: &mut Inner<M>,
    index: usize,
    key: &Key<M>,
    left: bool,
    right: bool,
    census: &mut Census,
) {
    let kid = inner.kid(index);
    let room = kid.room();
    let last = match kid {
        Node::Leaf(leaf) => leaf.keys.at(room - 1),
        Node::Inner(inner) => inner.keys.at(room - 1),
    };
    let (sibling, first) = (kid.sibling(), kid.first());
    let of_leaves = matches!(kid, Node::Leaf(_));
    if right && last.is_below(key) {
        *census.count(&sibling) += 1;
        inner.insert(index + 1, *key, 0, sibling);
        if !of_leaves {
            inner.shift_right(index, 1);
        }
        return;
    }
    if left && key.is_below(&first) {
        *census.count(&sibling) += 1;
        inner.insert(index, *key, 0, sibling);
        if !of_leaves {
            inner.shift_left(index, 1);
            inner.key_set(index, first);
        }
        return;
    }
    if let Some(pair) = emptier_sibling(inner, index) {
        let other = if pair == index { index + 1 } else { pair };
        if room - inner.kid(other).len() >= room / 8 {
            return inner.level(pair);
        }
    }
    *census.count(&sibling) += 1;
    inner.insert(index + 1, *key, 0, sibling);
    inner.shift_right(index, room / 2);
}

/// The left one of the pair that child `index` forms with its less filled neighbour.
fn emptier_sibling<M: Member>(inner: &Inner<M>, index: usize) -> Option<usize> {
    let before = index.checked_sub(1).map(|before| (inner.kid(before).len(), before));
    let after = (index + 1 < inner.len()).then(|| (inner.kid(index + 1).len(), index));
    match (before, after) {
        (Some(before), Some(after)) => Some(before.min(after).1),
        (before, after) => before.or(after).map(|(_, pair)| pair),
    }
}

/// Takes up to `count` entries from `target` on out of one leaf below `node`.
fn cut<M: Member>(
    node: &mut Node<M>,
    target: Target<'_, M>,
    count: usize,
    taken: &mut impl FnMut(f64, M),
    census: &mut Census,
) -> usize {
    let inner = match node {
        Node::Leaf(leaf) => {
            let from = match target {
                Target::Entry(score, member) => leaf.keys.locate(leaf.len(), score, member),
                Target::Rank(rank) => rank,
            };
            let to = leaf.len().min(from.saturating_add(count));
            for index in from..to {
                let key = leaf.keys.at(index);
                taken(key.score, key.member);
            }
            leaf.remove(from, to - from);
            return to - from;
        }
        Node::Inner(inner) => inner,
    };
    let (index, target) = match target {
        Target::Entry(score, member) => {
            (inner.keys.route(inner.len(), score, member.bytes()), target)
        }
        Target::Rank(rank) => {
            let (index, rest) = inner.route_rank(rank);
            (index, Target::Rank(rest))
        }
    };
    let removed = cut(inner.kid_mut(index), target, count, taken, census);
    inner.counts[index] -= removed as u64;
    if inner.kid(index).len() == 0 {
        if let Some(kid) = inner.remove(index) {
            *census.count(&kid) -= 1;
        }
        return removed;
    }
    let first = inner.kid(index).first();
    inner.key_set(index, first);
    if inner.kid(index).len() < inner.kid(index).room() / 2 {
        mend(inner, index, census);
    }
    removed
}

/// Merges the thin child `index` with a neighbour, or evens them out when it is very thin.
fn mend<M: Member>(inner: &mut Inner<M>, index: usize, census: &mut Census) {
    let Some(pair) = emptier_sibling(inner, index) else { return };
    let room = inner.kid(index).room();
    let right = inner.kid(pair + 1).len();
    if inner.kid(pair).len() + right <= room - room / 8 {
        inner.shift_left(pair, right);
        if let Some(kid) = inner.remove(pair + 1) {
            *census.count(&kid) -= 1;
        }
    } else if inner.kid(index).len() < room / 4 {
        inner.level(pair);
    }
}

/// Entries of a range of ranks, in order or in reverse.
pub struct Range<'a, M> {
    tree: &'a Tree<M>,
    leaf: Option<&'a Leaf<M>>,
    /// Place of the next entry within `leaf`.
    index: usize,
    from: usize,
    to: usize,
    reverse: bool,
}

impl<'a, M: Member> Iterator for Range<'a, M> {
    type Item = (f64, &'a M);

    #[inline]
    fn next(&mut self) -> Option<(f64, &'a M)> {
        if self.from >= self.to {
            return None;
        }
        let (leaf, index) = match self.leaf {
            Some(leaf) => (leaf, self.index),
            None => {
                let rank = if self.reverse { self.to - 1 } else { self.from };
                let (leaf, index) = self.tree.leaf_at(rank)?;
                (1..STEPS).for_each(|steps| self.fetch(leaf, index, steps));
                (leaf, index)
            }
        };
        self.fetch(leaf, index, STEPS);
        let entry = leaf.keys.entry(index);
        if self.reverse {
            self.to -= 1;
            self.leaf = (index > 0).then_some(leaf);
            self.index = index.wrapping_sub(1);
        } else {
            self.from += 1;
            self.leaf = (index + 1 < leaf.len()).then_some(leaf);
            self.index = index + 1;
        }
        Some(entry)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.to - self.from;
        (left, Some(left))
    }
}

impl<M: Member> Range<'_, M> {
    /// Asks for the member so many steps away, if its turn comes and it lies in the same leaf.
    #[inline]
    fn fetch(&self, leaf: &Leaf<M>, index: usize, steps: usize) {
        let coming = match self.reverse {
            true => index.checked_sub(steps),
            false => Some(index + steps).filter(|index| *index < leaf.len()),
        };
        if let Some(coming) = coming.filter(|_| self.to - self.from > steps) {
            leaf.keys.entry(coming).1.fetch();
        }
    }
}

impl<M: Member> ExactSizeIterator for Range<'_, M> {}

const _: () = assert!(LEAF == 63 && FAN == 51, "node sizes fill a block; see node.rs");

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};
    use std::collections::BTreeSet;

    type Name = &'static [u8];

    impl Member for Name {
        const EMPTY: Self = b"";
        fn bytes(&self) -> &[u8] {
            self
        }
        fn is(&self, other: &Self) -> bool {
            self.as_ptr() == other.as_ptr()
        }
    }

    fn names(count: usize) -> Vec<Name> {
        (0..count).map(|n| -> Name { format!("member:{n}").into_bytes().leak() }).collect()
    }

    /// A total order on scores as integers, so that a std set can be the model.
    fn ordered(score: f64) -> i64 {
        let bits = (score + 0.0).to_bits() as i64;
        bits ^ (((bits >> 63) as u64) >> 1) as i64
    }

    fn whole(range: Range<'_, Name>) -> Vec<(f64, Name)> {
        range.map(|(score, name)| (score, *name)).collect()
    }

    fn agree(tree: &Tree<Name>, model: &BTreeSet<(i64, Name)>, rng: &mut SmallRng) {
        tree.check();
        assert_eq!(tree.len(), model.len());
        let entries: Vec<(f64, Name)> = whole(tree.range(0, tree.len(), false));
        assert!(entries.iter().map(|(s, m)| (ordered(*s), *m)).eq(model.iter().copied()));
        let mut back = whole(tree.range(0, tree.len(), true));
        back.reverse();
        assert_eq!(entries, back);
        for _ in 0..20.min(entries.len()) {
            let rank = rng.random_range(0..entries.len());
            let (score, member) = entries[rank];
            assert_eq!(tree.rank(score, &member), rank);
            assert_eq!(tree.at(rank), Some((score, &member)));
            let below = entries.iter().filter(|entry| entry.0 < score).count();
            assert_eq!(tree.prefix(|other, _| other < score), below);
            let to = rng.random_range(rank..=entries.len());
            assert_eq!(whole(tree.range(rank, to, false)), entries[rank..to]);
        }
        assert_eq!(tree.at(entries.len()), None);
    }

    fn random_score(rng: &mut SmallRng, ties: i32) -> f64 {
        match rng.random_range(0..20) {
            0 => f64::INFINITY,
            1 => f64::NEG_INFINITY,
            2 => -0.0,
            3 => 0.0,
            4 => 5e-324,
            _ if ties > 0 => f64::from(rng.random_range(0..ties)),
            _ => rng.random_range(-1e6..1e6),
        }
    }

    #[test]
    fn random_steps_agree_with_a_set() {
        let names = names(6000);
        for (seed, ties) in [(1, 0), (2, 3), (3, 500), (4, 1)] {
            let mut rng = SmallRng::seed_from_u64(seed);
            let mut tree = Tree::default();
            let mut model = BTreeSet::new();
            let mut scores: Vec<Option<f64>> = vec![None; names.len()];
            for step in 0..30_000 {
                let growing = (step / 6000) % 2 == 0;
                let pick = rng.random_range(0..names.len());
                let (name, score) = (names[pick], random_score(&mut rng, ties));
                match scores[pick] {
                    None if growing || rng.random_ratio(1, 4) => {
                        tree.insert(score, name);
                        model.insert((ordered(score), name));
                        scores[pick] = Some(score);
                    }
                    Some(old) if growing => {
                        tree.rescore(old, score, name);
                        model.remove(&(ordered(old), name));
                        model.insert((ordered(score), name));
                        scores[pick] = Some(score);
                    }
                    Some(old) => {
                        tree.remove(old, &name);
                        model.remove(&(ordered(old), name));
                        scores[pick] = None;
                    }
                    None => {}
                }
                if step % 1000 == 0 {
                    agree(&tree, &model, &mut rng);
                }
            }
            while tree.len() > 0 {
                let rank = rng.random_range(0..tree.len());
                let expected = whole(tree.range(rank, rank + 100, false));
                let mut taken = Vec::new();
                let count = tree.remove_at(rank, 100, |score, name| taken.push((score, name)));
                assert!(count > 0 && count == taken.len());
                assert_eq!(taken, expected[..count]);
                tree.check();
            }
            assert_eq!(tree.heap_bytes(), 0);
        }
    }

    #[test]
    fn sorted_input_fills_the_nodes() {
        let names = names(20_000);
        let (mut up, mut down) = (Tree::default(), Tree::default());
        for (n, name) in names.iter().enumerate() {
            up.insert(n as f64, *name);
            down.insert(-(n as f64), *name);
        }
        up.check();
        down.check();
        for tree in [&up, &down] {
            assert!(tree.census.leaves <= names.len() / LEAF + 2, "{}", tree.census.leaves);
        }
    }

    #[test]
    fn a_tree_that_shrinks_gives_memory_back() {
        let names = names(20_000);
        let mut rng = SmallRng::seed_from_u64(9);
        let mut tree = Tree::default();
        let scores: Vec<f64> = names.iter().map(|_| rng.random()).collect();
        for (name, score) in names.iter().zip(&scores) {
            tree.insert(*score, *name);
        }
        assert!(tree.census.leaves <= names.len() * 5 / 4 / LEAF + 2, "{}", tree.census.leaves);
        for (name, score) in names.iter().zip(&scores).skip(1000) {
            tree.remove(*score, name);
        }
        tree.check();
        assert!(tree.census.leaves <= 1000 * 5 / 2 / LEAF + 2, "{}", tree.census.leaves);
    }
}
