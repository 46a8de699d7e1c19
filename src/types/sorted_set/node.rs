//! The nodes of the sorted set's tree: leaves of (score, member) entries, inner nodes of children
//! with the smallest entry and the number of entries below each.
//!
//! Invariant: arrays are filled from the front up to `len`, in order; `keys[i]` of an inner node
//! is exactly the smallest entry below `kids[i]`, so a separator never outlives its member.
//! Node sizes are chosen to fill a block of the allocator: 1016 and 2048 bytes.

use super::tree::Member;

/// Entries of a leaf.
pub(super) const LEAF: usize = 63;
/// Children of an inner node.
pub(super) const FAN: usize = 51;
/// Scores on one cache line.
const LINE: usize = 8;

/// One entry of the sorted set, and what separates two subtrees.
#[derive(Clone, Copy)]
pub(super) struct Key<M> {
    pub score: f64,
    pub member: M,
}

/// Scores and members in two flat arrays: a search reads scores only, unless they tie.
pub(super) struct Keys<M, const N: usize> {
    scores: [f64; N],
    members: [M; N],
}

impl<M: Member, const N: usize> Keys<M, N> {
    fn new() -> Self {
        Keys { scores: [0.0; N], members: [M::EMPTY; N] }
    }

    #[inline]
    pub fn at(&self, index: usize) -> Key<M> {
        Key { score: self.scores[index], member: self.members[index] }
    }

    /// The entry at `index`, its member borrowed from the node.
    #[inline]
    pub fn entry(&self, index: usize) -> (f64, &M) {
        (self.scores[index], &self.members[index])
    }

    #[inline]
    fn put(&mut self, index: usize, key: Key<M>) {
        self.scores[index] = key.score;
        self.members[index] = key.member;
    }

    /// Makes `count` free places at `index`, moving the rest of the first `len` up.
    #[inline]
    fn open(&mut self, len: usize, index: usize, count: usize) {
        self.scores.copy_within(index..len, index + count);
        self.members.copy_within(index..len, index + count);
    }

    /// Closes `count` places at `index`, moving the rest of the first `len` down.
    #[inline]
    fn close(&mut self, len: usize, index: usize, count: usize) {
        self.scores.copy_within(index + count..len, index);
        self.members.copy_within(index + count..len, index);
    }

    fn copy_from(&mut self, index: usize, other: &Self, from: usize, count: usize) {
        self.scores[index..index + count].copy_from_slice(&other.scores[from..from + count]);
        self.members[index..index + count].copy_from_slice(&other.members[from..from + count]);
    }

    /// How many of the first `len` scores are below `score`: one probe of each cache line, which
    /// the processor fetches side by side, then the one line where the answer lies.
    #[inline]
    fn below(&self, len: usize, score: f64) -> usize {
        let scores = &self.scores[..len];
        let mut lines = 0;
        for head in scores.iter().step_by(LINE) {
            lines += usize::from(*head < score);
        }
        if lines == 0 {
            return 0;
        }
        let from = (lines - 1) * LINE;
        let mut count = 0;
        for other in &scores[from..len.min(from + LINE)] {
            count += usize::from(*other < score);
        }
        from + count
    }

    /// Where the scores equal to `score` lie among the first `len`.
    #[inline]
    fn ties(&self, len: usize, score: f64) -> (usize, usize) {
        let from = self.below(len, score);
        if from == len || self.scores[from] != score {
            return (from, from);
        }
        if from + 1 == len || self.scores[from + 1] != score {
            return (from, from + 1);
        }
        if self.scores[len - 1] == score {
            return (from, len);
        }
        let run = self.scores[from..len].iter().take_while(|other| **other == score).count();
        (from, from + run)
    }

    /// How many of the first `len` keys are below (`score`, `member`).
    #[inline]
    pub fn lower(&self, len: usize, score: f64, member: &[u8]) -> usize {
        let (from, to) = self.ties(len, score);
        from + self.members[from..to].partition_point(|other| other.bytes() < member)
    }

    /// The last of the first `len` keys that is not above (`score`, `member`), or the first key.
    #[inline]
    pub fn route(&self, len: usize, score: f64, member: &[u8]) -> usize {
        let (from, to) = self.ties(len, score);
        let upper = from + self.members[from..to].partition_point(|other| other.bytes() <= member);
        upper.saturating_sub(1)
    }

    /// The place of a key that is there. Members are looked at only in a long run of equal scores:
    /// else the reference itself tells.
    #[inline]
    pub fn locate(&self, len: usize, score: f64, member: &M) -> usize {
        let (from, to) = self.ties(len, score);
        if to - from == 1 {
            return from;
        }
        let run = &self.members[from..to];
        match run.iter().position(|other| other.is(member)) {
            Some(place) => from + place,
            None => from + run.partition_point(|other| other.bytes() < member.bytes()),
        }
    }

    /// How many of the first `len` keys fulfil `below`, which holds for a prefix of them.
    pub fn prefix(&self, len: usize, below: impl Fn(f64, &M) -> bool) -> usize {
        let (mut from, mut to) = (0, len);
        while from < to {
            let middle = from.midpoint(to);
            if below(self.scores[middle], &self.members[middle]) {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        from
    }
}

pub(super) struct Leaf<M> {
    len: u16,
    pub keys: Keys<M, LEAF>,
}

impl<M: Member> Leaf<M> {
    pub fn new() -> Self {
        Leaf { len: 0, keys: Keys::new() }
    }

    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    pub fn insert(&mut self, index: usize, key: Key<M>) {
        self.keys.open(self.len(), index, 1);
        self.keys.put(index, key);
        self.len += 1;
    }

    pub fn remove(&mut self, index: usize, count: usize) {
        self.keys.close(self.len(), index, count);
        self.len -= count as u16;
    }

    /// Gives the entry at `index` another score, if its order stays; the ends of a leaf are left
    /// to the caller, who sees the neighbours.
    pub fn rescore(&mut self, index: usize, score: f64) -> bool {
        if index == 0 || index + 1 >= self.len() {
            return false;
        }
        let (before, after) = (self.keys.at(index - 1), self.keys.at(index + 1));
        let key = Key { score, member: self.keys.at(index).member };
        if !(before.is_below(&key) && key.is_below(&after)) {
            return false;
        }
        self.keys.put(index, key);
        true
    }
}

impl<M: Member> Key<M> {
    pub fn is_below(&self, other: &Key<M>) -> bool {
        self.score < other.score
            || (self.score == other.score && self.member.bytes() < other.member.bytes())
    }
}

pub(super) struct Inner<M> {
    len: u16,
    pub keys: Keys<M, FAN>,
    pub counts: [u64; FAN],
    pub kids: [Option<Node<M>>; FAN],
}

impl<M: Member> Inner<M> {
    pub fn new() -> Self {
        Inner { len: 0, keys: Keys::new(), counts: [0; FAN], kids: [const { None }; FAN] }
    }

    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    #[inline]
    pub fn kid(&self, index: usize) -> &Node<M> {
        match &self.kids[index] {
            Some(kid) => kid,
            None => unreachable!("an inner node is filled up to its length"),
        }
    }

    #[inline]
    pub fn kid_mut(&mut self, index: usize) -> &mut Node<M> {
        match &mut self.kids[index] {
            Some(kid) => kid,
            None => unreachable!("an inner node is filled up to its length"),
        }
    }

    /// The children `index` and `index + 1`.
    fn pair(&mut self, index: usize) -> (&mut Node<M>, &mut Node<M>) {
        match &mut self.kids[index..index + 2] {
            [Some(left), Some(right)] => (left, right),
            _ => unreachable!("an inner node is filled up to its length"),
        }
    }

    /// Puts `kid` with `count` entries from `key` on at `index`.
    pub fn insert(&mut self, index: usize, key: Key<M>, count: u64, kid: Node<M>) {
        let len = self.len();
        self.keys.open(len, index, 1);
        self.keys.put(index, key);
        self.counts.copy_within(index..len, index + 1);
        self.counts[index] = count;
        self.kids[index..=len].rotate_right(1);
        self.kids[index] = Some(kid);
        self.len += 1;
    }

    /// Takes the child at `index` out.
    pub fn remove(&mut self, index: usize) -> Option<Node<M>> {
        let len = self.len();
        let kid = self.kids[index].take();
        self.keys.close(len, index, 1);
        self.counts.copy_within(index + 1..len, index);
        self.kids[index..len].rotate_left(1);
        self.len -= 1;
        kid
    }

    #[inline]
    pub fn key_set(&mut self, index: usize, key: Key<M>) {
        self.keys.put(index, key);
    }

    /// The child that holds the entry of `rank`, and the entry's rank within it.
    #[inline]
    pub fn route_rank(&self, rank: usize) -> (usize, usize) {
        let (mut index, mut rest) = (0, rank as u64);
        let last = self.len() - 1;
        while index < last && rest >= self.counts[index] {
            rest -= self.counts[index];
            index += 1;
        }
        (index, rest as usize)
    }

    /// Entries below the children before `index`.
    #[inline]
    pub fn before(&self, index: usize) -> usize {
        self.counts[..index].iter().sum::<u64>() as usize
    }

    /// Evens out the children `index` and `index + 1`.
    pub fn level(&mut self, index: usize) {
        let (left, right) = self.pair(index);
        let (here, there) = (left.len(), right.len());
        let half = (here + there) / 2;
        if here < half {
            self.shift_left(index, half - here);
        } else {
            self.shift_right(index, here - half);
        }
    }

    /// Moves the first `count` of child `index + 1` to the end of child `index`.
    pub fn shift_left(&mut self, index: usize, count: usize) {
        let (left, right) = self.pair(index);
        let entries = match (left, right) {
            (Node::Leaf(left), Node::Leaf(right)) => {
                let here = left.len();
                left.keys.copy_from(here, &right.keys, 0, count);
                left.len += count as u16;
                right.remove(0, count);
                count as u64
            }
            (Node::Inner(left), Node::Inner(right)) => {
                let (here, there) = (left.len(), right.len());
                left.keys.copy_from(here, &right.keys, 0, count);
                left.counts[here..here + count].copy_from_slice(&right.counts[..count]);
                left.kids[here..here + count].swap_with_slice(&mut right.kids[..count]);
                right.keys.close(there, 0, count);
                right.counts.copy_within(count..there, 0);
                right.kids[..there].rotate_left(count);
                left.len += count as u16;
                right.len -= count as u16;
                left.counts[here..here + count].iter().sum()
            }
            _ => unreachable!("siblings are of one height"),
        };
        self.moved(index, entries, 0);
    }

    /// Moves the last `count` of child `index` to the front of child `index + 1`.
    pub fn shift_right(&mut self, index: usize, count: usize) {
        let (left, right) = self.pair(index);
        let entries = match (left, right) {
            (Node::Leaf(left), Node::Leaf(right)) => {
                let from = left.len() - count;
                right.keys.open(right.len(), 0, count);
                right.keys.copy_from(0, &left.keys, from, count);
                right.len += count as u16;
                left.len -= count as u16;
                count as u64
            }
            (Node::Inner(left), Node::Inner(right)) => {
                let (from, there) = (left.len() - count, right.len());
                right.keys.open(there, 0, count);
                right.keys.copy_from(0, &left.keys, from, count);
                right.counts.copy_within(0..there, count);
                right.counts[..count].copy_from_slice(&left.counts[from..from + count]);
                right.kids[..there + count].rotate_right(count);
                right.kids[..count].swap_with_slice(&mut left.kids[from..from + count]);
                right.len += count as u16;
                left.len -= count as u16;
                right.counts[..count].iter().sum()
            }
            _ => unreachable!("siblings are of one height"),
        };
        self.moved(index, 0, entries);
    }

    /// Settles counts and the separator after entries went between `index` and `index + 1`.
    fn moved(&mut self, index: usize, to_left: u64, to_right: u64) {
        self.counts[index] = self.counts[index] + to_left - to_right;
        self.counts[index + 1] = self.counts[index + 1] + to_right - to_left;
        let right = self.kid(index + 1);
        if right.len() > 0 {
            let key = right.first();
            self.keys.put(index + 1, key);
        }
    }
}

pub(super) enum Node<M> {
    Leaf(Box<Leaf<M>>),
    Inner(Box<Inner<M>>),
}

impl<M: Member> Node<M> {
    /// Filled places: entries of a leaf, children of an inner node.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Node::Leaf(leaf) => leaf.len(),
            Node::Inner(inner) => inner.len(),
        }
    }

    /// Places.
    pub fn room(&self) -> usize {
        match self {
            Node::Leaf(_) => LEAF,
            Node::Inner(_) => FAN,
        }
    }

    /// The smallest entry below.
    #[inline]
    pub fn first(&self) -> Key<M> {
        match self {
            Node::Leaf(leaf) => leaf.keys.at(0),
            Node::Inner(inner) => inner.keys.at(0),
        }
    }

    /// Entries below.
    pub fn entries(&self) -> u64 {
        match self {
            Node::Leaf(leaf) => u64::from(leaf.len),
            Node::Inner(inner) => inner.counts[..inner.len()].iter().sum(),
        }
    }

    /// An empty node of the same kind.
    pub fn sibling(&self) -> Node<M> {
        match self {
            Node::Leaf(_) => Node::Leaf(Box::new(Leaf::new())),
            Node::Inner(_) => Node::Inner(Box::new(Inner::new())),
        }
    }
}
