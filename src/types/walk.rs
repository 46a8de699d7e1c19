//! Walks through big values: all elements as they were when the walk began, handed out in bounded
//! parts while the value goes on changing.
//!
//! A value that is too big to be copied at once implements [`Walked`] in its large encoding. While
//! a walk is open, every change inside the value first *meets* what it is about to change: what
//! the walk has not handed out yet is saved for it (as a [`Part`], not as a copy of the value),
//! and the walk passes the place over later. What the walk has behind it changes freely. A value
//! without a walk pays one branch for that.
//!
//! Walks belong to the value, wherever it goes: it may be renamed, moved to another database, or
//! lose all its elements meanwhile. A copy of the value has none. Who replaces a value as a whole
//! must not drop the old one: `Db::bury_value` takes it, and knows who still needs it.
//!
//! A type that joins: its large encoding implements [`Walked`], its line in `keyspace::value` says
//! `walked`, [`Prelude`] and [`Part`] get a variant each, and those who write files (`rdb`,
//! `append_only`) a way to write it; the model test of `keyspace::image` makes it.
//!
//! Invariant: handed out + saved + (elements ahead of the walk that were not met) = the elements
//! when the walk began. So their number, which [`Walked::prelude`] tells then, is exact, as files
//! need it.

use std::collections::VecDeque;

/// Which walk. No two walks ever have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WalkId(pub u64);

/// What counts for an element in a part besides its bytes.
pub const ELEMENT_BYTES: usize = 48;

/// Bytes of a part that is being saved after which the next one begins.
const SAVED_PART_BYTES: usize = 16 * 1024;

/// A value whose elements can be handed out in parts.
pub trait Walked {
    /// What files say of the value before its elements.
    fn prelude(&self) -> Prelude;

    /// Begins a walk: from now on changes save for it what they change.
    fn open_walk(&mut self, id: WalkId);

    /// The next part, of about `bytes` (an element counts [`ELEMENT_BYTES`] besides its own); it
    /// may be empty. None when all has been handed out.
    fn next_part(&mut self, id: WalkId, bytes: usize) -> Option<Part>;

    /// Ends a walk, whether it has come to its end or not.
    fn end_walk(&mut self, id: WalkId);

    /// Bytes that changes have saved for a walk, handed out or not.
    fn saved_bytes(&self, id: WalkId) -> usize;

    /// The walks that are open.
    fn walks(&self) -> Vec<WalkId>;
}

/// What files say of a big value before its elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prelude {
    /// A hash.
    Hash {
        /// Its fields, those included that are gone and not reclaimed.
        fields: usize,
        /// The soonest deadline of a field (Unix ms).
        soonest_ms: Option<i64>,
    },
    /// A set.
    Set {
        /// Its members.
        members: usize,
    },
    /// A sorted set.
    SortedSet {
        /// Its members.
        members: usize,
    },
}

impl Prelude {
    /// How many elements come.
    pub fn elements(&self) -> usize {
        match *self {
            Prelude::Hash { fields, .. } => fields,
            Prelude::Set { members } | Prelude::SortedSet { members } => members,
        }
    }
}

/// Some elements of a big value, copied.
#[derive(Clone, Debug)]
pub enum Part {
    /// Fields of a hash.
    Fields(Fields),
    /// Members of a set.
    Members(Texts),
    /// Members of a sorted set.
    Scored(Scored),
}

impl Part {
    /// How many elements it has.
    pub fn elements(&self) -> usize {
        match self {
            Part::Fields(fields) => fields.texts.len() / 2,
            Part::Members(members) => members.len(),
            Part::Scored(scored) => scored.members.len(),
        }
    }

    /// What it counts.
    pub fn bytes(&self) -> usize {
        match self {
            Part::Fields(fields) => fields.texts.bytes(),
            Part::Members(members) => members.bytes(),
            Part::Scored(scored) => scored.members.bytes(),
        }
    }
}

/// Byte strings one behind the other, in one block.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Texts {
    /// Adds one.
    pub fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len());
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// All of them, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut from = 0;
        self.ends.iter().map(move |&end| &self.bytes[std::mem::replace(&mut from, end)..end])
    }

    fn bytes(&self) -> usize {
        self.bytes.len() + self.ends.len() * ELEMENT_BYTES
    }
}

/// Fields of a hash with their values, and deadlines where they have one.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    /// Field and value in turns.
    texts: Texts,
    /// The number of a field, and when it is gone (Unix ms).
    deadlines: Vec<(usize, i64)>,
}

impl Fields {
    /// Adds a field.
    pub fn push(&mut self, field: &[u8], value: &[u8], deadline_ms: Option<i64>) {
        let number = self.texts.len() / 2;
        self.deadlines.extend(deadline_ms.map(|at| (number, at)));
        self.texts.push(field);
        self.texts.push(value);
    }

    /// All of them: field, value, deadline.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8], Option<i64>)> {
        let mut texts = self.texts.iter();
        let mut deadlines = self.deadlines.iter().peekable();
        let mut number = 0;
        std::iter::from_fn(move || {
            let pair = (texts.next()?, texts.next()?);
            let deadline = deadlines.next_if(|(at, _)| *at == number);
            number += 1;
            Some((pair.0, pair.1, deadline.map(|(_, at_ms)| *at_ms)))
        })
    }
}

/// Members of a sorted set with their scores.
#[derive(Clone, Debug, Default)]
pub struct Scored {
    members: Texts,
    scores: Vec<f64>,
}

impl Scored {
    /// Adds a member.
    pub fn push(&mut self, member: &[u8], score: f64) {
        self.members.push(member);
        self.scores.push(score);
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], f64)> {
        self.members.iter().zip(self.scores.iter().copied())
    }
}

/// What changes have saved for a walk, in parts of bounded size.
#[derive(Clone, Debug, Default)]
pub struct Saved {
    parts: VecDeque<Part>,
    /// Of the parts that are full or were handed out.
    full_bytes: usize,
}

impl Saved {
    /// The part that an element is to be added to; `fresh` makes the next one.
    pub fn room(&mut self, fresh: impl FnOnce() -> Part) -> Option<&mut Part> {
        let last_bytes = self.parts.back().map(Part::bytes);
        if last_bytes.is_none_or(|bytes| bytes >= SAVED_PART_BYTES) {
            self.full_bytes += last_bytes.unwrap_or(0);
            self.parts.push_back(fresh());
        }
        self.parts.back_mut()
    }

    /// Adds a part as it is.
    pub fn push(&mut self, part: Part) {
        self.full_bytes += self.parts.back().map_or(0, Part::bytes);
        self.parts.push_back(part);
    }

    /// Takes the oldest part.
    pub fn pop(&mut self) -> Option<Part> {
        let part = self.parts.pop_front()?;
        if self.parts.is_empty() {
            self.full_bytes += part.bytes();
        }
        Some(part)
    }

    /// Bytes that were ever saved.
    pub fn bytes(&self) -> usize {
        self.full_bytes + self.parts.back().map_or(0, Part::bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_give_what_was_put_in() {
        let mut fields = Fields::default();
        fields.push(b"a", b"", None);
        fields.push(b"", b"value", Some(7));
        fields.push(b"c", b"3", None);
        let expected: [(&[u8], &[u8], Option<i64>); 3] =
            [(b"a", b"", None), (b"", b"value", Some(7)), (b"c", b"3", None)];
        assert!(fields.iter().eq(expected));
        assert_eq!(Part::Fields(fields).bytes(), 8 + 6 * ELEMENT_BYTES);
        let mut scored = Scored::default();
        scored.push(b"m", -0.5);
        scored.push(b"", 2.0);
        assert!(scored.iter().eq([(&b"m"[..], -0.5), (b"", 2.0)]));
    }

    #[test]
    fn what_is_saved_comes_out_in_bounded_parts() {
        let (mut saved, mut bytes) = (Saved::default(), 0);
        let fresh = || Part::Members(Texts::default());
        for number in 0..5_000u32 {
            if let Some(Part::Members(members)) = saved.room(fresh) {
                members.push(&number.to_be_bytes());
            }
            bytes += 4 + ELEMENT_BYTES;
            assert_eq!(saved.bytes(), bytes);
        }
        let mut next = 0u32;
        while let Some(Part::Members(members)) = saved.pop() {
            assert!(Part::Members(members.clone()).bytes() < SAVED_PART_BYTES + 100);
            for member in members.iter() {
                assert_eq!(member, next.to_be_bytes());
                next += 1;
            }
            assert_eq!(saved.bytes(), bytes);
        }
        assert_eq!(next, 5_000);
    }
}
