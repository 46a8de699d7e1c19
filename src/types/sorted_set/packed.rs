//! The small encoding: a listpack of member, score, member, score and so on, in order.
//!
//! Invariant: an even number of elements, each second one a number; pairs are ordered by score,
//! then by the member's bytes; no member twice. Scores that are whole numbers are stored as
//! integers (so -0 becomes 0), all others as their shortest text: Redis's own bytes.

use super::bounds::LexBound;
use crate::types::compact::{Item, Listpack};
use crate::types::limits::{all_differ, HashKey};
use crate::types::number;
use crate::types::shared::Sharable;
use std::cmp::Ordering::{self, Equal};

/// A packed sorted set.
#[derive(Clone, Default)]
pub(super) struct Packed(Listpack);

/// The score that an element of the listpack spells.
#[inline]
fn score_of(item: Item<'_>) -> f64 {
    match item {
        Item::Int(score) => score as f64,
        Item::Bytes(text) => number::parse_f64(text).unwrap_or(0.0),
    }
}

/// Hands the stored form of `score` to `write`.
fn with_text<R>(score: f64, write: impl FnOnce(&[u8]) -> R) -> R {
    if score == 0.0 {
        return write(b"0");
    }
    if score.abs() < 1e15 && score as i64 as f64 == score {
        return write(itoa::Buffer::new().format(score as i64).as_bytes());
    }
    let mut text = Vec::with_capacity(32);
    number::format_f64(score, &mut text);
    write(&text)
}

impl Packed {
    /// Takes a foreign listpack over, put in order where it is not.
    pub fn adopt(pack: Listpack, hash_key: HashKey) -> Option<Packed> {
        let (mut hashes, mut is_ordered) = (Vec::with_capacity(pack.len() / 2), true);
        let mut elements = pack.iter();
        let mut last: Option<(f64, Item<'_>)> = None;
        while let Some(member) = elements.next() {
            let score = match elements.next()? {
                Item::Int(score) => score as f64,
                Item::Bytes(text) => number::parse_f64(text).filter(|score| !score.is_nan())?,
            };
            hashes.push(member.with_bytes(|name| hash_key.hash(name)));
            is_ordered &= last.is_none_or(|(before, name)| {
                before < score
                    || before == score
                        && name.with_bytes(|name| member.with_bytes(|member| name < member))
            });
            last = Some((score, member));
        }
        if is_ordered && all_differ(hashes) {
            return Some(Packed(pack));
        }
        Packed::sorted(&pack)
    }

    /// A copy in order of a listpack that is in none; `None` if a member is there twice. The
    /// listpack may be of any length: this one is not bound by the limits of the encoding yet.
    fn sorted(pack: &Listpack) -> Option<Packed> {
        let mut entries = Vec::with_capacity(pack.len() / 2);
        let mut elements = pack.iter();
        while let (Some(member), Some(score)) = (elements.next(), elements.next()) {
            entries.push((member.to_vec(), score_of(score)));
        }
        entries.sort_unstable_by(|(name, _), (other, _)| name.cmp(other));
        if entries.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return None;
        }
        // Those of the same score stay in the order of their members.
        entries.sort_by(|(_, score), (_, other)| score.partial_cmp(other).unwrap_or(Equal));
        let mut packed = Listpack::with_capacity(pack.byte_len());
        for (member, score) in &entries {
            packed.push_back(member);
            with_text(*score, |text| packed.push_back(text));
        }
        Some(Packed(packed))
    }

    pub fn pack(&self) -> &Listpack {
        &self.0
    }

    pub fn len(&self) -> usize {
        self.0.len() / 2
    }

    pub fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }

    pub fn copy_bytes(&self) -> usize {
        self.0.copy_bytes()
    }

    /// Whether a member of `bytes` keeps the listpack within the size that Redis would build.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.0.has_room(bytes)
    }

    /// The position of `member` and its score.
    #[inline]
    pub fn find(&self, member: &[u8]) -> Option<(usize, f64)> {
        let pos = self.0.find(member, 1)?;
        let score = self.0.next(pos)?;
        Some((pos, score_of(self.0.get(score))))
    }

    /// Puts in a member that is not there.
    pub fn insert(&mut self, member: &[u8], score: f64) {
        let mut pos = self.0.first();
        let at = loop {
            let Some(here) = pos else { break self.0.end() };
            let Some(value) = self.0.next(here) else { break here };
            let order = score_of(self.0.get(value)).partial_cmp(&score);
            let above = match order {
                Some(Ordering::Less) => false,
                Some(Ordering::Greater) | None => true,
                Some(Equal) => self.0.get(here).with_bytes(|name| name > member),
            };
            if above {
                break here;
            }
            pos = self.0.next(value);
        };
        with_text(score, |text| self.0.insert(at, text));
        self.0.insert(at, member);
    }

    /// Takes out the member at `pos`.
    pub fn remove(&mut self, pos: usize) {
        self.0.remove_from(pos, 2);
    }

    /// Takes out the members of the ranks from `from` up to, not including, `to`.
    pub fn remove_ranks(&mut self, from: usize, to: usize) -> usize {
        self.0.remove_range(from * 2, (to - from) * 2) / 2
    }

    /// The rank of `member`, with its score.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        let mut range = self.range(0, self.len(), false);
        let rank = range.position(|(name, _)| name.equals(member))?;
        Some((rank, range.last_score))
    }

    pub fn at(&self, rank: usize) -> Option<(Item<'_>, f64)> {
        self.range(rank, rank + 1, false).next()
    }

    /// How many scores fulfil `below`, which holds for a prefix.
    pub fn prefix(&self, below: impl Fn(f64) -> bool) -> usize {
        self.range(0, self.len(), false).take_while(|(_, score)| below(*score)).count()
    }

    /// The ranks of the members from `min` to `max`, without the first `skipped` ones in the
    /// direction of reading. Where scores differ, the order of members means nothing; then the
    /// answer is what Redis's walk over a listpack finds: what it skips, it does not look at.
    pub fn lex_ranks(
        &self,
        min: &LexBound<'_>,
        max: &LexBound<'_>,
        reverse: bool,
        skipped: usize,
    ) -> (usize, usize) {
        let len = self.len();
        let low = |(name, _): &(Item<'_>, f64)| name.with_bytes(|name| min.is_above(name));
        let high = |(name, _): &(Item<'_>, f64)| !name.with_bytes(|name| max.admits(name));
        if reverse {
            let to = len - self.range(0, len, true).take_while(high).count();
            let to = to.saturating_sub(skipped);
            let inside = self.range(0, to, true).take_while(|entry| !low(entry)).count();
            (to - inside, to)
        } else {
            let from = self.range(0, len, false).take_while(low).count();
            let from = from.saturating_add(skipped).min(len);
            let inside = self.range(from, len, false).take_while(|entry| !high(entry)).count();
            (from, from + inside)
        }
    }

    pub fn range(&self, from: usize, to: usize, reverse: bool) -> PackedRange<'_> {
        let to = to.min(self.len());
        let start = if reverse { to.wrapping_sub(1) } else { from };
        let pos = if from < to { self.0.seek(start * 2) } else { None };
        let left = to.saturating_sub(from);
        PackedRange { pack: &self.0, pos, left, reverse, last_score: 0.0 }
    }

    pub fn check(&self) {
        self.0.check();
        let adopted = Packed::adopt(self.0.clone(), HashKey(1, 2));
        assert!(adopted.is_some_and(|same| same.0 == self.0), "a packed sorted set in order");
    }
}

/// Entries of a range of ranks, in order or in reverse.
pub(super) struct PackedRange<'a> {
    pack: &'a Listpack,
    pos: Option<usize>,
    left: usize,
    reverse: bool,
    last_score: f64,
}

impl<'a> Iterator for PackedRange<'a> {
    type Item = (Item<'a>, f64);

    fn next(&mut self) -> Option<(Item<'a>, f64)> {
        if self.left == 0 {
            return None;
        }
        let member = self.pos?;
        let value = self.pack.next(member)?;
        self.left -= 1;
        self.pos = if self.reverse {
            self.pack.prev(member).and_then(|value| self.pack.prev(value))
        } else {
            self.pack.next(value)
        };
        self.last_score = score_of(self.pack.get(value));
        Some((self.pack.get(member), self.last_score))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}
