//! Random fields.

use super::large::Large;
use super::view::{HashView, Inside};
use crate::types::compact::Item;
use rand::{Rng, RngCore};
use std::collections::HashSet;

/// Misses (fields that are gone) after which a random pick looks at all fields instead.
const MISSES_MAX: usize = 1000;

impl<'a> HashView<'a> {
    /// A field that is not gone and its value, each with the same probability.
    pub fn random(self, rng: &mut impl RngCore, now_ms: i64) -> Option<(Item<'a>, Item<'a>)> {
        let large = match self.0 {
            Inside::Small(packed) => {
                let gone = packed.len() - self.live_len(now_ms);
                let live = packed.len() - gone;
                let index = if live == 0 { return None } else { rng.random_range(0..live) };
                let place = packed.places().nth(gone + index)?;
                return Some(packed.pair(&place));
            }
            Inside::Large(large) => large,
        };
        for _ in 0..MISSES_MAX {
            let pair = large.table.random(rng)?;
            if !Large::is_gone(pair, now_ms) {
                return Some((Item::Bytes(pair.first()), Item::Bytes(pair.second())));
            }
        }
        let live = self.live_len(now_ms);
        let index = if live == 0 { return None } else { rng.random_range(0..live) };
        self.iter(now_ms).nth(index)
    }

    /// `count` random fields with repetitions; none when all are gone.
    pub fn random_many(
        self,
        count: usize,
        rng: &mut impl RngCore,
        now_ms: i64,
        mut visit: impl FnMut(Item<'a>, Item<'a>) -> bool,
    ) {
        if matches!(self.0, Inside::Small(_)) && count > 2 {
            // One walk instead of one for each.
            let all: Vec<_> = self.iter(now_ms).collect();
            for _ in 0..if all.is_empty() { 0 } else { count } {
                let (field, value) = all[rng.random_range(0..all.len())];
                if !visit(field, value) {
                    return;
                }
            }
            return;
        }
        for _ in 0..count {
            let Some((field, value)) = self.random(rng, now_ms) else { return };
            if !visit(field, value) {
                return;
            }
        }
    }

    /// `count` different random fields, or all when there are fewer.
    pub fn sample(
        self,
        count: usize,
        rng: &mut impl RngCore,
        now_ms: i64,
        mut visit: impl FnMut(Item<'a>, Item<'a>),
    ) {
        let mut left = self.live_len(now_ms);
        if let (Inside::Large(large), true) = (self.0, count < left / 3) {
            let (mut seen, mut misses) = (HashSet::new(), 0);
            while seen.len() < count && misses < MISSES_MAX {
                let Some(pair) = large.table.random(rng) else { return };
                let fresh =
                    !Large::is_gone(pair, now_ms) && seen.insert(std::ptr::from_ref(pair).addr());
                if fresh {
                    visit(Item::Bytes(pair.first()), Item::Bytes(pair.second()));
                }
                misses = if fresh { 0 } else { misses + 1 };
            }
            return;
        }
        // Selection sampling (Knuth, 3.4.2 S): each field with the odds that are left.
        let mut wanted = count.min(left);
        for (field, value) in self.iter(now_ms) {
            if wanted == 0 {
                return;
            }
            if rng.random_range(0..left) < wanted {
                visit(field, value);
                wanted -= 1;
            }
            left -= 1;
        }
    }
}
