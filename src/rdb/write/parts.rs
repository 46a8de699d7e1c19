//! Big values as a snapshot hands them out: a heading, then parts, then an end.

use super::{Drain, Head, Writer};
use crate::types::walk::{Part, Prelude};

impl Writer {
    /// The beginning of a big value.
    pub fn begin(&mut self, head: &Head<'_>, prelude: &Prelude) {
        match *prelude {
            Prelude::Hash { fields, soonest_ms } => self.begin_hash(head, fields, soonest_ms),
            Prelude::Set { members } => self.begin_set(head, members),
            Prelude::SortedSet { members } => self.begin_sorted_set(head, members),
            Prelude::Text { bytes } => self.begin_text(head, bytes),
        }
    }

    /// Some of its elements; calls `drain` in the midst of what is long.
    pub fn part<E>(&mut self, part: &Part, drain: Drain<'_, E>) -> Result<(), E> {
        match part {
            Part::Fields(fields) => {
                for (field, value, deadline_ms) in fields.iter() {
                    self.field_deadline(deadline_ms);
                    self.drained_string(field, drain)?;
                    self.drained_string(value, drain)?;
                }
            }
            Part::Members(members) => {
                for member in members.iter() {
                    self.drained_string(member, drain)?;
                }
            }
            Part::Scored(scored) => {
                for (member, score) in scored.iter() {
                    self.drained_string(member, drain)?;
                    self.score(score);
                }
            }
            Part::Bytes(bytes) => return self.text_part(bytes, drain),
        }
        Ok(())
    }

    /// All its elements have come.
    pub fn end<E>(&mut self, drain: Drain<'_, E>) -> Result<(), E> {
        self.end_text(drain)
    }
}
