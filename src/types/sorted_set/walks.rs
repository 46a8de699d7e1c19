//! Walks through a large sorted set that changes (see [`crate::types::walk`]).
//!
//! A walk goes from the highest entry down, because that is the order in which files are read
//! quickest. How far it has come is an entry, so entries that come and go do not disturb it. A
//! member may change its score, and so go from behind the walk to ahead of it or the other way
//! round: members that were met are known by the places of their hashes, wherever they are, until
//! the walk ends.

use super::large::{Large, Slot};
use crate::types::progress::Progress;
use crate::types::table::place_of;
use crate::types::thin::{Thin, ThinRef};
use crate::types::walk::{
    Part, Prelude, Remains, Saved, Scored, Tally, WalkId, Walked, ELEMENT_BYTES,
};

/// A walk.
pub(super) struct Walk {
    /// It stays at its beginning: only the places matter.
    met: Progress,
    reached: Reached,
    saved: Saved,
}

enum Reached {
    Nothing,
    /// Entries that are not below this one have been handed out.
    Entry(f64, Thin),
    All,
}

/// Whether one entry comes before another.
fn is_below(score: f64, member: ThinRef, (other, name): (f64, ThinRef)) -> bool {
    let is_first = || !member.same_block(&name) && member.as_bytes() < name.as_bytes();
    score < other || score == other && is_first()
}

impl Walk {
    fn has_ahead(&self, score: f64, member: ThinRef) -> bool {
        match &self.reached {
            Reached::Nothing => true,
            Reached::Entry(reached, name) => is_below(score, member, (*reached, name.alias())),
            Reached::All => false,
        }
    }
}

fn fresh() -> Part {
    Part::Scored(Scored::default())
}

impl Large {
    /// The member with this hash is about to come, to go, or to change its score.
    #[cold]
    #[inline(never)]
    pub(super) fn meet(&mut self, hash: u64) {
        let (key, Some(walks)) = (self.hash_key, &mut self.walks) else { return };
        for walk in walks.iter_mut() {
            if !walk.met.meet(place_of(hash)) {
                continue;
            }
            let rehash = |slot: &Slot| slot.0.hash(&key);
            self.members.visit_place(hash, rehash, |(member, score)| {
                if walk.has_ahead(*score, member.alias()) {
                    walk.saved.add(fresh, |part| {
                        if let Part::Scored(scored) = part {
                            scored.push(member.alias(), *score);
                        }
                    });
                }
            });
        }
    }
}

impl Walked for Large {
    fn prelude(&self) -> Prelude {
        Prelude::SortedSet { members: self.len() }
    }

    fn open_walk(&mut self, id: WalkId, tally: Tally) {
        let (met, saved) = (Progress::new(self.len()), Saved::new(tally));
        let walk = Walk { met, reached: Reached::Nothing, saved };
        self.walks.get_or_insert_default().begin(id, walk);
    }

    fn next_part(&mut self, id: WalkId, bytes: usize) -> Option<Part> {
        let walk = self.walks.as_mut()?.one(id)?;
        if let Some(part) = walk.saved.pop() {
            return Some(part);
        }
        let to = match &walk.reached {
            Reached::Nothing => self.tree.len(),
            Reached::Entry(reached, name) => {
                let last = (*reached, name.alias());
                self.tree.prefix(|score, member| is_below(score, *member, last))
            }
            Reached::All => return None,
        };
        let (mut scored, mut taken, mut last) = (Scored::default(), 0, None);
        let mut entries = self.tree.range(0, to, true);
        while taken < bytes {
            let Some((score, member)) = entries.next() else {
                walk.reached = Reached::All;
                return Some(Part::Scored(scored));
            };
            let has_met = |walk: &Walk| walk.met.has_met(place_of(member.hash(&self.hash_key)));
            if !walk.met.has_met_any() || !has_met(walk) {
                scored.push(*member, score);
            }
            taken += ELEMENT_BYTES + member.as_bytes().len();
            last = Some((score, member));
        }
        if let Some((score, member)) = last {
            walk.reached = Reached::Entry(score, member.owned());
        }
        Some(Part::Scored(scored))
    }

    fn end_walk(&mut self, id: WalkId) -> Option<Remains> {
        let ended = self.walks.as_mut()?.end(id);
        self.walks.take_if(|walks| walks.is_empty());
        ended
    }

    fn walks(&self) -> Vec<WalkId> {
        self.walks.iter().flat_map(|walks| walks.ids()).collect()
    }
}
