//! Walks through big values: all elements as they were when the walk began, handed out in bounded
//! parts while the value goes on changing.
//!
//! A value that is too big to be copied at once implements [`Walked`] in its large encoding. While
//! a walk is open, every change inside the value first *meets* what it is about to change: what
//! the walk has not handed out yet is saved for it (as a [`Part`], not as a copy of the value),
//! and the walk passes the place over later. What the walk has behind it changes freely. A value
//! without a walk pays one branch for that. Neither a walk nor a change copies long elements: they
//! are lent ([`crate::types::thin`]), and stay as they are for whoever has them.
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

use super::thin::{ThinPair, ThinRef};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

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

    /// Begins a walk: from now on changes save for it what they change, and `tally` counts that.
    fn open_walk(&mut self, id: WalkId, tally: Tally);

    /// The next part, of about `bytes` (an element counts [`ELEMENT_BYTES`] besides its own); it
    /// may be empty. None when all has been handed out.
    fn next_part(&mut self, id: WalkId, bytes: usize) -> Option<Part>;

    /// Ends a walk, whether it has come to its end or not. What it had saved comes out, to be
    /// freed where nobody waits for that.
    fn end_walk(&mut self, id: WalkId) -> Option<Remains>;

    /// The walks that are open.
    fn walks(&self) -> Vec<WalkId>;
}

/// The walks that are open on a value, each with what it knows.
#[derive(Debug)]
pub struct Open<W>(Vec<(WalkId, W)>);

impl<W> Default for Open<W> {
    fn default() -> Self {
        Open(Vec::new())
    }
}

impl<W: Send + 'static> Open<W> {
    /// Begins one.
    pub fn begin(&mut self, id: WalkId, walk: W) {
        self.0.push((id, walk));
    }

    /// One of them.
    pub fn one(&mut self, id: WalkId) -> Option<&mut W> {
        self.0.iter_mut().find(|(other, _)| *other == id).map(|(_, walk)| walk)
    }

    /// All of them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut W> {
        self.0.iter_mut().map(|(_, walk)| walk)
    }

    /// Ends one: [`Walked::end_walk`].
    pub fn end(&mut self, id: WalkId) -> Option<Remains> {
        let at = self.0.iter().position(|(other, _)| *other == id)?;
        Some(Remains::of(self.0.swap_remove(at)))
    }

    /// Which they are.
    pub fn ids(&self) -> impl Iterator<Item = WalkId> + '_ {
        self.0.iter().map(|(id, _)| *id)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Bytes that changes have ever saved for somebody; all copies of one count together.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<AtomicU64>);

impl Tally {
    /// Counts some more.
    pub fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// All of them.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What nobody needs any more and what may take long to free: to be dropped where nobody waits
/// for that.
#[derive(Default)]
pub struct Remains(Vec<Box<dyn Send>>);

impl Remains {
    /// Those of one thing.
    pub fn of(thing: impl Send + 'static) -> Remains {
        Remains(vec![Box::new(thing)])
    }

    /// Adds others.
    pub fn add(&mut self, mut others: Remains) {
        self.0.append(&mut others.0);
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Remains {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the remains of {} things", self.0.len())
    }
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
    /// A string: its elements are its bytes, in their order.
    Text {
        /// Its length.
        bytes: usize,
    },
}

impl Prelude {
    /// How many elements come.
    pub fn elements(&self) -> usize {
        match *self {
            Prelude::Hash { fields, .. } => fields,
            Prelude::Set { members } | Prelude::SortedSet { members } => members,
            Prelude::Text { bytes } => bytes,
        }
    }
}

/// Some elements of a big value: copies of them, long ones lent.
#[derive(Clone, Debug)]
pub enum Part {
    /// Fields of a hash.
    Fields(Fields),
    /// Members of a set.
    Members(Texts),
    /// Members of a sorted set.
    Scored(Scored),
    /// The next bytes of a string.
    Bytes(Vec<u8>),
}

impl Part {
    /// How many elements it has.
    pub fn elements(&self) -> usize {
        match self {
            Part::Fields(fields) => fields.texts.len() / 2,
            Part::Members(members) => members.len(),
            Part::Scored(scored) => scored.members.len(),
            Part::Bytes(bytes) => bytes.len(),
        }
    }

    /// What it counts.
    pub fn bytes(&self) -> usize {
        match self {
            Part::Fields(fields) => fields.texts.bytes(),
            Part::Members(members) => members.bytes(),
            Part::Scored(scored) => scored.members.bytes(),
            Part::Bytes(bytes) => bytes.len(),
        }
    }
}

/// Byte strings one behind the other, in one block; those that are lent lie elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// Long ones by their numbers.
    lent: Vec<(usize, Bytes)>,
    lent_bytes: usize,
}

impl Texts {
    /// Adds a copy of one.
    pub fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len());
    }

    /// Adds one that its owner shares.
    pub fn push_lent(&mut self, text: Bytes) {
        self.lent_bytes += text.len();
        self.lent.push((self.ends.len(), text));
        self.ends.push(self.bytes.len());
    }

    /// Adds one: shares it if it is long.
    pub fn push_thin(&mut self, text: ThinRef) {
        match text.lend() {
            Some(lent) => self.push_lent(lent),
            None => self.push(text.as_bytes()),
        }
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
        let (mut from, mut lent) = (0, self.lent.iter().peekable());
        self.ends.iter().enumerate().map(move |(number, &end)| {
            let copied = &self.bytes[std::mem::replace(&mut from, end)..end];
            let lent = lent.next_if(|(at, _)| *at == number);
            lent.map_or(copied, |(_, text)| text)
        })
    }

    fn bytes(&self) -> usize {
        self.bytes.len() + self.lent_bytes + self.ends.len() * ELEMENT_BYTES
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

    /// Adds the field of a pair whose stamp is the deadline: shares it if it is long.
    pub fn push_pair(&mut self, pair: &ThinPair) {
        let (field, value) = pair.both();
        let Some(lent) = pair.lend() else { return self.push(field, value, pair.stamp()) };
        self.deadlines.extend(pair.stamp().map(|at| (self.texts.len() / 2, at)));
        self.texts.push_lent(lent.slice(..field.len()));
        self.texts.push_lent(lent.slice(field.len()..));
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
    /// Adds a member: shares it if it is long.
    pub fn push(&mut self, member: ThinRef, score: f64) {
        self.members.push_thin(member);
        self.scores.push(score);
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], f64)> {
        self.members.iter().zip(self.scores.iter().copied())
    }
}

/// What changes have saved for a walk, in parts of bounded size.
#[derive(Clone, Debug)]
pub struct Saved {
    parts: VecDeque<Part>,
    tally: Tally,
}

impl Saved {
    /// Nothing yet.
    pub fn new(tally: Tally) -> Saved {
        Saved { parts: VecDeque::new(), tally }
    }

    /// Lets `put` add an element to a part; `fresh` makes the next one.
    pub fn add(&mut self, fresh: impl FnOnce() -> Part, put: impl FnOnce(&mut Part)) {
        if self.parts.back().is_none_or(|part| part.bytes() >= SAVED_PART_BYTES) {
            self.parts.push_back(fresh());
        }
        if let Some(part) = self.parts.back_mut() {
            let before = part.bytes();
            put(part);
            self.tally.add(part.bytes() - before);
        }
    }

    /// Takes the oldest part.
    pub fn pop(&mut self) -> Option<Part> {
        self.parts.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::thin::Thin;

    #[test]
    fn parts_give_what_was_put_in() {
        let mut fields = Fields::default();
        fields.push(b"a", b"", None);
        fields.push(b"", b"value", Some(7));
        let long = "long".repeat(9_000);
        let pair = ThinPair::stamped(b"d", long.as_bytes(), Some(8));
        fields.push_pair(&pair);
        fields.push_pair(&ThinPair::new(b"c", b"3"));
        let expected: [(&[u8], &[u8], Option<i64>); 4] = [
            (b"a", b"", None),
            (b"", b"value", Some(7)),
            (b"d", long.as_bytes(), Some(8)),
            (b"c", b"3", None),
        ];
        assert!(fields.iter().eq(expected));
        let lent = fields.iter().nth(2).expect("it was put in").1.as_ptr();
        assert_eq!(lent, pair.second().as_ptr(), "a long one is not copied");
        assert_eq!(Part::Fields(fields).bytes(), 9 + long.len() + 8 * ELEMENT_BYTES);
        let (mut scored, mut texts) = (Scored::default(), Texts::default());
        let members = [&b"m"[..], b"", long.as_bytes(), b"n"].map(Thin::new);
        for (member, score) in members.iter().zip([-0.5, 2.0, 3.0, 4.0]) {
            scored.push(member.alias(), score);
            texts.push_thin(member.alias());
        }
        let expected = members.iter().map(Thin::as_bytes);
        assert!(texts.iter().eq(expected.clone()));
        assert!(scored.iter().eq(expected.zip([-0.5, 2.0, 3.0, 4.0])));
    }

    #[test]
    fn what_is_saved_comes_out_in_bounded_parts() {
        let (tally, mut bytes) = (Tally::default(), 0);
        let mut saved = Saved::new(tally.clone());
        for number in 0..5_000u32 {
            let put = |part: &mut Part| match part {
                Part::Members(members) => members.push(&number.to_be_bytes()),
                other => panic!("{other:?}"),
            };
            saved.add(|| Part::Members(Texts::default()), put);
            bytes += 4 + ELEMENT_BYTES as u64;
            assert_eq!(tally.bytes(), bytes);
        }
        let mut next = 0u32;
        while let Some(Part::Members(members)) = saved.pop() {
            assert!(Part::Members(members.clone()).bytes() < SAVED_PART_BYTES + 100);
            for member in members.iter() {
                assert_eq!(member, next.to_be_bytes());
                next += 1;
            }
        }
        assert_eq!((next, tally.bytes()), (5_000, bytes));
    }
}
