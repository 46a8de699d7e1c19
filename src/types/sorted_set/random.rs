//! Random members.

use super::SortedSet;
use crate::types::compact::Item;
use rand::seq::index;
use rand::Rng;

impl SortedSet {
    /// A member, each with the same probability.
    pub fn random(&self, rng: &mut impl Rng) -> Option<(Item<'_>, f64)> {
        match self.len() {
            0 => None,
            len => self.at(rng.random_range(0..len)),
        }
    }

    /// Visits `count` different members, each choice with the same probability; all of them, the
    /// highest first, when there are not more.
    pub fn random_distinct(
        &self,
        count: usize,
        rng: &mut impl Rng,
        mut visit: impl FnMut(Item<'_>, f64),
    ) {
        let len = self.len();
        if count >= len {
            return self.range(0, len, true).for_each(|(item, score)| visit(item, score));
        }
        let mut ranks = index::sample(rng, len, count).into_vec();
        // Where single steps cost a walk, or nearly all are chosen, one pass is cheaper.
        if self.listpack().is_none() && count < len / 8 {
            for rank in ranks {
                if let Some((item, score)) = self.at(rank) {
                    visit(item, score);
                }
            }
            return;
        }
        ranks.sort_unstable();
        let mut chosen = ranks.into_iter().peekable();
        for (rank, (item, score)) in self.iter().enumerate() {
            if chosen.next_if_eq(&rank).is_some() {
                visit(item, score);
            }
        }
    }
}
