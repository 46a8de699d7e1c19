//! Sorted sets: members with scores, in the order of score, then of the member's bytes.
//!
//! Two encodings. A small one, `packed`: one listpack of pairs. A large one, `large`, reported as
//! "skiplist" as Redis names its own: a table from member to score, and beside it a B+tree
//! (`tree`, of the nodes in `node`) that shares the members' bytes. Ranks are counted from 0; a
//! range of scores or members is first turned into a range of ranks, in O(log n), so counting
//! costs no walk and everything else iterates over ranks.
//!
//! Invariant: no score is NaN; the conversion to large happens when Redis does it and never goes
//! back by itself.

mod bounds;
mod bulk;
mod gather;
mod large;
mod node;
mod packed;
mod random;
#[cfg(test)]
mod tests;
mod tree;
mod walks;

pub use bounds::{LexBound, ScoreBound};
pub use gather::Gather;

use super::alloc;
use super::compact::{Item, Listpack};
use super::limits::Limits;
use super::thin::ThinRef;
use super::walk::Walked;
use large::Large;
use packed::Packed;
use std::fmt;

/// A sorted set.
#[derive(Clone)]
pub struct SortedSet(Encoding);

#[derive(Clone)]
enum Encoding {
    Packed(Packed),
    Large(Box<Large>),
}
use Encoding::{Large as Ordered, Packed as Small};

/// Under which conditions [`SortedSet::add`] changes something.
#[derive(Clone, Copy, Default, Debug)]
pub struct AddRule {
    /// Only members that are not there (NX).
    pub only_new: bool,
    /// Only members that are there (XX).
    pub only_present: bool,
    /// Present members only get a greater score (GT).
    pub only_greater: bool,
    /// Present members only get a smaller score (LT).
    pub only_less: bool,
    /// The score is added to the present one (INCR).
    pub increment: bool,
}

/// What [`SortedSet::add`] did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Added {
    /// A new member with this score.
    New(f64),
    /// A present member got this score.
    Updated(f64),
    /// A present member had this score already.
    Same(f64),
    /// The rule forbade it.
    Skipped,
    /// The sum would not be a number; nothing was changed.
    NotANumber,
}

impl AddRule {
    /// The score to store, if any, and what to report.
    #[inline]
    fn judge(&self, present: Option<f64>, score: f64) -> (Option<f64>, Added) {
        let Some(present) = present else {
            return match self.only_present {
                true => (None, Added::Skipped),
                false => (Some(score), Added::New(score)),
            };
        };
        if self.only_new {
            return (None, Added::Skipped);
        }
        let score = if self.increment { present + score } else { score };
        if score.is_nan() {
            return (None, Added::NotANumber);
        }
        if (self.only_less && score >= present) || (self.only_greater && score <= present) {
            return (None, Added::Skipped);
        }
        if score == present {
            return (None, Added::Same(score));
        }
        (Some(score), Added::Updated(score))
    }
}

impl fmt::Debug for SortedSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (member, score) in self.iter() {
            member.with_bytes(|name| map.entry(&name.escape_ascii().to_string(), &score));
        }
        map.finish()
    }
}

impl Default for SortedSet {
    fn default() -> Self {
        SortedSet::new()
    }
}

impl SortedSet {
    /// An empty sorted set, packed.
    pub fn new() -> Self {
        SortedSet(Small(Packed::default()))
    }

    /// An empty sorted set in the encoding that `members` of at most `longest` bytes will need.
    pub fn sized_for(members: usize, longest: usize, limits: &Limits) -> Self {
        let mut set = SortedSet::new();
        set.expect(members, longest, limits);
        set
    }

    /// Takes a foreign listpack of members and scores over, which need not be in order; `None` if
    /// a score is no number or a member is there twice.
    pub fn from_listpack(pack: Listpack, limits: &Limits) -> Option<Self> {
        Packed::adopt(pack, limits.hash_key).map(|packed| SortedSet(Small(packed)))
    }

    /// The listpack of the small encoding.
    pub fn listpack(&self) -> Option<&Listpack> {
        match &self.0 {
            Small(packed) => Some(packed.pack()),
            Ordered(_) => None,
        }
    }

    /// Changes to the large encoding when `members` more of at most `longest` bytes ask for it.
    pub fn expect(&mut self, members: usize, longest: usize, limits: &Limits) {
        let fits = members <= limits.zset_max_listpack_entries
            && longest <= limits.zset_max_listpack_value;
        if !fits {
            self.enlarge(limits);
        }
    }

    /// Goes back to the small encoding if all fits, as Redis does for a set it has just stored.
    pub fn shrink_to_fit(&mut self, limits: &Limits) {
        let Ordered(large) = &self.0 else { return };
        if large.len() > limits.zset_max_listpack_entries {
            return;
        }
        let entries = || large.tree().range(0, large.len(), false);
        let mut total = 0;
        for (_, member) in entries() {
            let bytes = member.as_bytes().len();
            if bytes > limits.zset_max_listpack_value {
                return;
            }
            total += bytes;
        }
        let mut packed = Packed::default();
        if packed.has_room(total) {
            entries().for_each(|(score, member)| packed.insert(member.as_bytes(), score));
            self.0 = Small(packed);
        }
    }

    fn enlarge(&mut self, limits: &Limits) {
        if let Small(packed) = &self.0 {
            let mut large = Box::new(Large::new(limits.hash_key));
            for (member, score) in packed.range(0, packed.len(), false) {
                member.with_bytes(|member| large.insert(member, score));
            }
            self.0 = Ordered(large);
        }
    }

    /// Asks the processor for a member's place in the table and returns the member's hash; `None`
    /// for a small sorted set.
    pub fn prefetch(&self, member: &[u8]) -> Option<u64> {
        match &self.0 {
            Small(_) => None,
            Ordered(large) => Some(large.prefetch(member)),
        }
    }

    /// The second step, when the place has come: asks for what lies there.
    pub fn prefetch_item(&self, hash: u64) {
        if let Ordered(large) = &self.0 {
            large.prefetch_item(hash);
        }
    }

    /// The set as something that can be walked; `None` for a small one.
    pub fn walked(&mut self) -> Option<&mut dyn Walked> {
        match &mut self.0 {
            Small(_) => None,
            Ordered(large) => Some(&mut **large),
        }
    }

    /// Members.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.0 {
            Small(packed) => packed.len(),
            Ordered(large) => large.len(),
        }
    }

    /// Whether there is no member.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// OBJECT ENCODING's word.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Small(_) => "listpack",
            Ordered(_) => "skiplist",
        }
    }

    /// Heap memory below the value. O(1).
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Small(packed) => packed.heap_bytes(),
            Ordered(large) => alloc::class(size_of::<Large>()) + large.heap_bytes(),
        }
    }

    /// Heap memory that a copy takes for itself: a long packed block is shared until it is changed.
    pub fn copy_bytes(&self) -> usize {
        match &self.0 {
            Small(packed) => packed.copy_bytes(),
            Ordered(_) => self.heap_bytes(),
        }
    }

    /// Adds `member`, or changes its score, under `rule`. `score` must not be NaN.
    pub fn add(&mut self, member: &[u8], score: f64, rule: AddRule, limits: &Limits) -> Added {
        if score.is_nan() {
            return Added::NotANumber;
        }
        let packed = match &mut self.0 {
            Ordered(large) => return large.change(member, |present| rule.judge(present, score)),
            Small(packed) => packed,
        };
        let found = packed.find(member);
        let (stored, outcome) = rule.judge(found.map(|(_, present)| present), score);
        let Some(stored) = stored else { return outcome };
        if let Some((pos, _)) = found {
            packed.remove(pos);
            packed.insert(member, stored);
            return outcome;
        }
        let fits = packed.len() < limits.zset_max_listpack_entries
            && member.len() <= limits.zset_max_listpack_value
            && packed.has_room(member.len());
        if fits {
            packed.insert(member, stored);
        } else {
            self.enlarge(limits);
            if let Ordered(large) = &mut self.0 {
                large.insert(member, stored);
            }
        }
        outcome
    }

    /// Adds `member` or gives it this score.
    pub fn insert(&mut self, member: &[u8], score: f64, limits: &Limits) -> Added {
        self.add(member, score, AddRule::default(), limits)
    }

    /// Takes `member` out; its score if it was there.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match &mut self.0 {
            Small(packed) => {
                let (pos, score) = packed.find(member)?;
                packed.remove(pos);
                Some(score)
            }
            Ordered(large) => large.remove(member),
        }
    }

    /// The score of `member`.
    #[inline]
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match &self.0 {
            Small(packed) => packed.find(member).map(|(_, score)| score),
            Ordered(large) => large.score(member),
        }
    }

    /// The rank of `member`, with its score.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        match &self.0 {
            Small(packed) => packed.rank(member),
            Ordered(large) => large.rank(member),
        }
    }

    /// The member of `rank`, with its score.
    pub fn at(&self, rank: usize) -> Option<(Item<'_>, f64)> {
        match &self.0 {
            Small(packed) => packed.at(rank),
            Ordered(_) => self.range(rank, rank.saturating_add(1), false).next(),
        }
    }

    /// Members and scores of the ranks from `from` up to, not including, `to`; from the high end
    /// down when `reverse`. Ranks beyond the end are left out.
    pub fn range(&self, from: usize, to: usize, reverse: bool) -> Range<'_> {
        match &self.0 {
            Small(packed) => Range(Either::Packed(packed.range(from, to, reverse))),
            Ordered(large) => Range(Either::Large(large.tree().range(from, to, reverse))),
        }
    }

    /// All members and scores in order.
    pub fn iter(&self) -> Range<'_> {
        self.range(0, self.len(), false)
    }

    /// The ranks, from and up to, of the members whose scores lie between `min` and `max`.
    pub fn ranks_by_score(&self, min: &ScoreBound, max: &ScoreBound) -> (usize, usize) {
        let (from, to) = match &self.0 {
            Small(packed) => (
                packed.prefix(|score| min.is_above(score)),
                packed.prefix(|score| max.admits(score)),
            ),
            Ordered(large) => (
                large.tree().prefix(|score, _| min.is_above(score)),
                large.tree().prefix(|score, _| max.admits(score)),
            ),
        };
        (from, to.max(from))
    }

    /// The ranks, from and up to, of the members between `min` and `max`, in a set where all
    /// scores are equal, without the first `skipped` ones. Where scores differ, any range may come
    /// out; `reverse` says from which end it is going to be read.
    pub fn ranks_by_lex(
        &self,
        min: &LexBound<'_>,
        max: &LexBound<'_>,
        reverse: bool,
        skipped: usize,
    ) -> (usize, usize) {
        let (Some((first, _)), Some((last, _))) = (self.at(0), self.at(self.len().wrapping_sub(1)))
        else {
            return (0, 0);
        };
        if min.excludes_all_up_to(max)
            || last.with_bytes(|name| min.is_above(name))
            || !first.with_bytes(|name| max.admits(name))
        {
            return (0, 0);
        }
        match &self.0 {
            Small(packed) => packed.lex_ranks(min, max, reverse, skipped),
            Ordered(large) => {
                let from = large.tree().prefix(|_, member| min.is_above(member.as_bytes()));
                let to = large.tree().prefix(|_, member| max.admits(member.as_bytes())).max(from);
                match reverse {
                    true => (from, to.saturating_sub(skipped).max(from)),
                    false => (from.saturating_add(skipped).min(to), to),
                }
            }
        }
    }

    /// Takes out the members of the ranks from `from` up to, not including, `to`; returns how
    /// many there were.
    pub fn remove_ranks(&mut self, from: usize, to: usize) -> usize {
        let to = to.min(self.len());
        if from >= to {
            return 0;
        }
        match &mut self.0 {
            Small(packed) => packed.remove_ranks(from, to),
            Ordered(large) => large.remove_ranks(from, to),
        }
    }

    /// Visits about `count` members from `cursor` on, in an order of its own; returns the next
    /// cursor, 0 at the end. A member that is there from the first call to the last is visited at
    /// least once. A packed set is visited whole.
    pub fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(&[u8], f64)) -> u64 {
        match &self.0 {
            Small(_) => {
                self.iter().for_each(|(item, score)| item.with_bytes(|name| visit(name, score)));
                0
            }
            Ordered(large) => large.scan(cursor, count, visit),
        }
    }

    /// Frees a bounded piece of a value that nobody will look at again; false when nothing is
    /// left.
    pub fn pop_chunk(&mut self) -> bool {
        match &mut self.0 {
            Small(packed) if packed.len() > 0 => {
                *packed = Packed::default();
                true
            }
            Small(_) => false,
            Ordered(large) => large.pop_chunk(),
        }
    }

    /// Panics when an invariant is broken.
    pub fn check(&self) {
        match &self.0 {
            Small(packed) => packed.check(),
            Ordered(large) => large.check(),
        }
    }
}

/// Members and scores of a range of ranks.
pub struct Range<'a>(Either<'a>);

enum Either<'a> {
    Packed(packed::PackedRange<'a>),
    Large(tree::Range<'a, ThinRef>),
}

impl<'a> Iterator for Range<'a> {
    type Item = (Item<'a>, f64);

    #[inline]
    fn next(&mut self) -> Option<(Item<'a>, f64)> {
        match &mut self.0 {
            Either::Packed(range) => range.next(),
            Either::Large(range) => {
                range.next().map(|(score, member)| (Item::Bytes(member.as_bytes()), score))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            Either::Packed(range) => range.size_hint(),
            Either::Large(range) => range.size_hint(),
        }
    }
}

impl ExactSizeIterator for Range<'_> {}
