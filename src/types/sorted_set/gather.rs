//! A sorted set in the making: members come in any order, several times, and are put in order
//! once at the end. What unions, intersections and differences are built with.

use super::large::Large;
use super::{Ordered, SortedSet};
use crate::types::limits::Limits;

/// Collects members and scores.
pub struct Gather(Box<Large>);

impl Gather {
    /// Nothing yet.
    pub fn new(limits: &Limits) -> Gather {
        Gather(Box::new(Large::new(limits.hash_key)))
    }

    /// Nothing yet, with room for `members`: what the caller has at hand, not what a stranger
    /// announced.
    pub fn with_capacity(members: usize, limits: &Limits) -> Gather {
        Gather(Box::new(Large::with_capacity(limits.hash_key, members)))
    }

    /// Adds a member that should not be there yet; false, and nothing is changed, if it is.
    /// `score` must not be NaN.
    pub fn add(&mut self, member: &[u8], score: f64) -> bool {
        let before = self.len();
        self.put(member, score, |present, _| present);
        self.len() > before
    }

    /// Adds a member; one that is there gets what `merge` makes of its score and the new one,
    /// which must not be NaN.
    pub fn put(&mut self, member: &[u8], score: f64, merge: impl FnOnce(f64, f64) -> f64) {
        self.0.gather(member, score, merge);
    }

    /// Members so far.
    pub fn len(&self) -> usize {
        self.0.gathered()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sorted set, in the large encoding. Cheapest when members came in order, either way.
    pub fn finish(mut self) -> SortedSet {
        self.0.order();
        SortedSet(Ordered(self.0))
    }
}
