//! A tree built at once from entries in order.
//!
//! Leaves are filled one after the other, then the level above them, up to a single root: each
//! entry is written once, and nothing is searched or moved.

use super::node::{Inner, Key, Leaf, Node, FAN, LEAF};
use super::tree::Member;

/// A finished tree and what it consists of.
pub(super) struct Built<M> {
    pub root: Option<Node<M>>,
    pub entries: usize,
    pub leaves: usize,
    pub inners: usize,
}

/// A node with its smallest entry and the number of entries below.
type Branch<M> = (Key<M>, u64, Node<M>);

/// Builds a tree of entries in ascending order, each there once.
pub(super) fn build<M: Member>(entries: impl Iterator<Item = (f64, M)>) -> Built<M> {
    let mut level = leaves(entries);
    let leaves = level.len();
    let entries = level.iter().map(|(_, count, _)| *count as usize).sum();
    let mut inners = 0;
    while level.len() > 1 {
        level = above(level);
        inners += level.len();
    }
    let root = level.pop().map(|(_, _, node)| node);
    Built { root, entries, leaves, inners }
}

fn leaves<M: Member>(entries: impl Iterator<Item = (f64, M)>) -> Vec<Branch<M>> {
    let mut level = Vec::with_capacity(entries.size_hint().0.div_ceil(LEAF));
    let mut leaf = Box::new(Leaf::new());
    for (score, member) in entries {
        if leaf.len() == LEAF {
            let full = std::mem::replace(&mut leaf, Box::new(Leaf::new()));
            level.push((full.keys.at(0), LEAF as u64, Node::Leaf(full)));
        }
        leaf.insert(leaf.len(), Key { score, member });
    }
    if leaf.len() > 0 {
        level.push((leaf.keys.at(0), leaf.len() as u64, Node::Leaf(leaf)));
    }
    level
}

/// The nodes above a level, all of them full but the last.
fn above<M: Member>(level: Vec<Branch<M>>) -> Vec<Branch<M>> {
    let mut upper = Vec::with_capacity(level.len().div_ceil(FAN));
    let mut branches = level.into_iter();
    while branches.len() > 0 {
        let mut inner = Box::new(Inner::new());
        let mut entries = 0;
        for (key, count, node) in branches.by_ref().take(FAN) {
            entries += count;
            inner.insert(inner.len(), key, count, node);
        }
        upper.push((inner.keys.at(0), entries, Node::Inner(inner)));
    }
    upper
}
