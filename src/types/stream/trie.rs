//! The nodes of the radix tree in which Redis keeps the blocks of a stream, for XINFO.
//!
//! The tree itself exists only as this figure: it follows from the keys and their order, so each
//! key that comes or goes changes it by what its neighbours say.
//!
//! Invariant: the nodes of a set of keys do not depend on the order in which they came.

use super::id::StreamId;
use super::ordered::{Ordered, Place};

fn wide(id: StreamId) -> u128 {
    u128::from_be_bytes(id.to_be_bytes())
}

/// Bytes at the beginning that two keys have in common.
fn shared(a: u128, b: u128) -> usize {
    ((a ^ b).leading_zeros() / 8) as usize
}

fn key_at<V: Clone>(keys: &Ordered<V>, place: Option<Place>) -> Option<u128> {
    place.and_then(|place| keys.at(place)).map(|item| wide(item.0))
}

/// The last key that is not above `bound`, and the one after it.
fn around<V: Clone>(keys: &Ordered<V>, bound: u128) -> (Option<u128>, Option<u128>) {
    let at = keys.floor(&StreamId::from_be_bytes(bound.to_be_bytes()));
    (key_at(keys, at), key_at(keys, at.and_then(|at| keys.after(at))))
}

/// What a key adds that shares `depth` bytes with a neighbour: a node for the key, one for what no
/// other key shares, and those by which a chain of single children splits. `low` to `high` are the
/// keys with the same first bytes, `outer` the next ones outside.
fn added(depth: usize, low: u128, high: u128, outer: [Option<u128>; 2]) -> usize {
    let added = own_nodes(depth);
    let fork = shared(low, high);
    if fork == depth {
        return added;
    }
    let [before, after] = outer;
    let before = before.map(|key| shared(key, low) + 1);
    let after = after.map(|key| shared(key, high) + 1);
    let chain_start = before.max(after).unwrap_or(0);
    added + usize::from(depth > chain_start) + usize::from(fork > depth + 1)
}

fn own_nodes(depth: usize) -> usize {
    1 + usize::from(depth < 15)
}

/// How many nodes the key `id`, which is not among `keys`, adds to their tree.
pub(super) fn nodes_of<V: Clone>(keys: &Ordered<V>, id: StreamId) -> usize {
    let key = wide(id);
    let neighbours = [keys.floor(&id), keys.ceiling(&id)].map(|place| key_at(keys, place));
    let depths = neighbours.into_iter().flatten().map(|other| shared(other, key).min(15));
    let Some(depth) = depths.max() else { return 2 };
    let mask = u128::MAX >> (8 * depth);
    let low_at = keys.ceiling(&StreamId::from_be_bytes((key & !mask).to_be_bytes()));
    let (high, after) = around(keys, key | mask);
    let (Some(low), Some(high)) = (key_at(keys, low_at), high) else { return own_nodes(depth) };
    let before = key_at(keys, low_at.and_then(|at| keys.before(at)));
    added(depth, low, high, [before, after])
}

/// What lies behind the keys at the front, by the depth that they share: found once for all that
/// are taken from there one after the other.
#[derive(Default)]
pub(super) struct Horizon([Option<Reach>; 16]);

/// The last key that is not above a bound, and the one after it.
struct Reach {
    bound: u128,
    high: u128,
    after: Option<u128>,
}

impl Horizon {
    /// How many nodes the key `id`, which was the first of `keys` a moment ago, has taken with it.
    pub(super) fn nodes_of_front<V: Clone>(&mut self, keys: &Ordered<V>, id: StreamId) -> usize {
        let key = wide(id);
        let Some((low, _)) = keys.first() else { return 2 };
        let low = wide(low);
        let depth = shared(low, key).min(15);
        let bound = key | u128::MAX >> (8 * depth);
        let known = &mut self.0[depth];
        if known.as_ref().is_none_or(|reach| reach.bound != bound) {
            let (high, after) = around(keys, bound);
            *known = high.map(|high| Reach { bound, high, after });
        }
        match known {
            Some(reach) => added(depth, low, reach.high, [None, reach.after]),
            None => own_nodes(depth),
        }
    }
}
