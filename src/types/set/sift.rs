//! Members of one set by what other sets hold: intersections and differences.
//!
//! Members of large sets lie anywhere in memory. They are looked up in groups: the processor is
//! asked for all places of a group, then for all that lies there, and only then is anything
//! compared; a member is hashed once for all sets, which hash alike.

use super::{Repr, Set};
use crate::types::compact::Item;
use crate::types::equal::same;
use crate::types::limits::Limits;
use smallvec::SmallVec;

/// Members that are looked up together.
const GROUP: usize = 16;

/// A member and its hash; none is known, and none is needed, for a member of a small set.
pub type Hashed<'a> = (Item<'a>, Option<u64>);

/// What the other sets must do with a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All of them hold it.
    InAll,
    /// None of them holds it.
    InNone,
}

/// Visits the members of `first` that the others hold, or do not hold, until `visit` says no.
pub fn sift<'a>(
    first: &'a Set,
    others: &[&Set],
    wanted: Wanted,
    mut visit: impl FnMut(Hashed<'a>) -> bool,
) {
    let is_wanted = wanted == Wanted::InAll;
    let mut members = first.iter();
    let mut group: SmallVec<[Hashed<'a>; GROUP]> = SmallVec::new();
    loop {
        group.clear();
        group.extend(members.by_ref().take(GROUP).map(|item| (item, first.hash_of(&item))));
        if group.is_empty() {
            return;
        }
        for other in others {
            other.fetch(&group);
            group.retain(|member| other.holds(member) == is_wanted);
        }
        if !group.iter().all(|member| visit(*member)) {
            return;
        }
    }
}

impl Set {
    /// Adds the members of another set.
    pub fn add_all(&mut self, other: &Set, limits: &Limits) {
        let mut members = other.iter();
        let mut group: SmallVec<[Hashed<'_>; GROUP]> = SmallVec::new();
        loop {
            group.clear();
            group.extend(members.by_ref().take(GROUP).map(|item| (item, other.hash_of(&item))));
            if group.is_empty() {
                return;
            }
            self.fetch(&group);
            for member in &group {
                if !self.holds(member) {
                    self.add_new(member, limits);
                }
            }
        }
    }

    /// Adds a member that is known not to be there.
    pub fn add_new(&mut self, (item, hash): &Hashed<'_>, limits: &Limits) {
        match (&mut self.0, hash) {
            (Repr::Members(members), Some(hash)) => {
                item.with_bytes(|member| members.insert(*hash, member));
            }
            _ => {
                self.add_item(item, limits);
            }
        }
    }

    fn hash_of(&self, item: &Item<'_>) -> Option<u64> {
        match &self.0 {
            Repr::Members(members) => Some(item.with_bytes(|text| members.hash_key.hash(text))),
            _ => None,
        }
    }

    fn fetch(&self, group: &[Hashed<'_>]) {
        let Repr::Members(members) = &self.0 else { return };
        let table = &members.table;
        group.iter().filter_map(|member| member.1).for_each(|hash| table.prefetch(hash));
        group.iter().filter_map(|member| member.1).for_each(|hash| self.prefetch_item(hash));
    }

    fn holds(&self, (item, hash): &Hashed<'_>) -> bool {
        match (&self.0, hash) {
            (Repr::Members(members), Some(hash)) => item.with_bytes(|member| {
                members.table.find(*hash, |thin| same(thin.as_bytes(), member)).is_some()
            }),
            _ => self.contains_item(item),
        }
    }
}
