//! Random members: drawn, drawn without repetition, taken out.

use super::super::compact::{Item, Listpack};
use super::super::limits::Limits;
use super::{Repr, Set};
use rand::{Rng, RngCore};
use std::collections::HashSet;

/// SPOP leaves a new set behind when it takes more than this many times what stays.
const REBUILD_RATIO: usize = 5;

impl Set {
    /// Every member with the same probability; `None` if there is none.
    pub fn random(&self, rng: &mut impl RngCore) -> Option<Item<'_>> {
        match &self.0 {
            Repr::Members(members) => {
                members.table.random(rng).map(|thin| Item::Bytes(thin.as_bytes()))
            }
            _ if self.is_empty() => None,
            Repr::Integers(integers) => {
                integers.get(rng.random_range(0..integers.len())).map(Item::Int)
            }
            Repr::Packed(pack) => {
                let pos = pack.seek(rng.random_range(0..pack.len()))?;
                pack.read(pos).map(|(item, _)| item)
            }
        }
    }

    /// Visits `count` different members (all, if there are not as many), every choice with the
    /// same probability. The order is not random when a large part of the set is chosen.
    pub fn random_distinct(
        &self,
        count: usize,
        rng: &mut impl RngCore,
        mut visit: impl FnMut(Item<'_>),
    ) {
        let len = self.len();
        match &self.0 {
            Repr::Members(members) if count < len / 3 => {
                let mut chosen = HashSet::with_capacity(count);
                while chosen.len() < count {
                    let Some(thin) = members.table.random(rng) else { return };
                    if chosen.insert(std::ptr::from_ref(thin) as usize) {
                        visit(Item::Bytes(thin.as_bytes()));
                    }
                }
            }
            _ => {
                let mut draw = Draw::new(count, len);
                self.iter().filter(|_| draw.chooses(rng)).for_each(visit);
            }
        }
    }

    /// Takes a random member out.
    pub fn pop_random(&mut self, rng: &mut impl RngCore) -> Option<Vec<u8>> {
        if self.is_empty() {
            return None;
        }
        match &mut self.0 {
            Repr::Members(members) => {
                let thin = members.table.pop_random(rng)?;
                members.member_bytes -= thin.heap_bytes();
                Some(thin.as_bytes().to_vec())
            }
            Repr::Integers(integers) => {
                let index = rng.random_range(0..integers.len());
                integers.remove_at(index).map(|number| Item::Int(number).to_vec())
            }
            Repr::Packed(pack) => {
                let pos = pack.seek(rng.random_range(0..pack.len()))?;
                let member = pack.get(pos).to_vec();
                pack.remove(pos);
                Some(member)
            }
        }
    }

    /// Takes `count` random members out, fewer than there are, and visits them.
    ///
    /// Redis: when only a few stay, they move into a new set, which is a listpack again if it was
    /// a hash table and they fit. The old set comes back: to free a large one takes long, and it
    /// may be walked.
    #[must_use = "it is to be buried"]
    pub fn pop_many(
        &mut self,
        count: usize,
        limits: &Limits,
        rng: &mut impl RngCore,
        mut visit: impl FnMut(Item<'_>),
    ) -> Option<Set> {
        let stay = self.len().saturating_sub(count);
        if let Repr::Packed(pack) = &mut self.0 {
            let mut draw = Draw::new(count, pack.len());
            pack.remove_if(|item| {
                let chosen = draw.chooses(rng);
                if chosen {
                    visit(*item);
                }
                chosen
            });
            return None;
        }
        if stay * REBUILD_RATIO > count {
            for _ in 0..count {
                let Some(member) = self.pop_random(rng) else { break };
                visit(Item::Bytes(&member));
            }
            return None;
        }
        let mut rest = match &self.0 {
            Repr::Integers(_) => Set::new(),
            _ => Set(Repr::Packed(Listpack::new())),
        };
        let mut draw = Draw::new(stay, self.len());
        for item in self.iter() {
            if draw.chooses(rng) {
                rest.add_item(&item, limits);
            } else {
                visit(item);
            }
        }
        Some(std::mem::replace(self, rest))
    }
}

/// Selection sampling (Knuth, TAOCP 2, 3.4.2 S): `wanted` of `left` in one pass.
struct Draw {
    wanted: usize,
    left: usize,
}

impl Draw {
    fn new(wanted: usize, left: usize) -> Draw {
        Draw { wanted: wanted.min(left), left }
    }

    fn chooses(&mut self, rng: &mut impl RngCore) -> bool {
        let chosen = self.wanted > 0
            && (self.wanted == self.left || rng.random_range(0..self.left) < self.wanted);
        self.wanted -= usize::from(chosen);
        self.left = self.left.saturating_sub(1);
        chosen
    }
}
