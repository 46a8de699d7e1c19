//! Big values as a snapshot hands them out: a heading, then parts.

use super::{Head, Writer};
use crate::types::walk::{Part, Prelude};

impl Writer {
    /// The beginning of a big value.
    pub fn begin(&mut self, head: &Head<'_>, prelude: &Prelude) {
        match *prelude {
            Prelude::Hash { fields, soonest_ms } => self.begin_hash(head, fields, soonest_ms),
            Prelude::Set { members } => self.begin_set(head, members),
            Prelude::SortedSet { members } => self.begin_sorted_set(head, members),
        }
    }

    /// Some of its elements.
    pub fn part(&mut self, part: &Part) {
        match part {
            Part::Fields(fields) => {
                for (field, value, deadline_ms) in fields.iter() {
                    self.field(field, value, deadline_ms);
                }
            }
            Part::Members(members) => members.iter().for_each(|member| self.member(member)),
            Part::Scored(scored) => {
                scored.iter().for_each(|(member, score)| self.scored(member, score));
            }
        }
    }
}
