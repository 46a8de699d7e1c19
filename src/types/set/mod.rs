//! Sets: integers in sorted order (`intset`), a few short members in order of arrival
//! (`listpack`), or a hash table of members (`hashtable`).
//!
//! A set only ever goes from the smaller encoding to the larger one, at the moments at which
//! Redis 7.2 and later does it. The exceptions are sets that Redis builds anew: the result of
//! SINTERSTORE ([`Set::settle_intersection`]) and what SPOP leaves ([`Set::pop_many`]).
//!
//! Invariant: no member twice; `member_bytes` is the heap memory of all members of the table.

mod random;
mod sift;
#[cfg(test)]
mod tests;

pub use sift::{sift, Wanted};

use super::ahead::Ahead;
use super::alloc::class;
use super::compact::{Intset, Item, Listpack};
use super::equal::same;
use super::limits::{all_differ, HashKey, Limits};
use super::number::parse_i64;
use super::shared::Sharable;
use super::table::{self, Element, Table};
use super::thin::Thin;
use super::walk::{Part, Prelude, Remains, Tally, Texts, WalkId, Walked};

/// A set of byte strings.
#[derive(Clone, Debug)]
pub struct Set(Repr);

#[derive(Clone, Debug)]
enum Repr {
    Integers(Intset),
    Packed(Listpack),
    Members(Box<Members>),
}

#[derive(Clone, Debug)]
struct Members {
    table: Table<Thin>,
    hash_key: HashKey,
    member_bytes: usize,
}

/// What a small set consists of, for those who write files.
#[derive(Clone, Copy, Debug)]
pub enum Small<'a> {
    /// An integer set in Redis's bytes.
    Integers(&'a Intset),
    /// A listpack in Redis's bytes.
    Packed(&'a Listpack),
}

impl Members {
    fn new(hash_key: HashKey) -> Box<Members> {
        Box::new(Members { table: Table::new(), hash_key, member_bytes: 0 })
    }

    fn contains(&self, member: &[u8]) -> bool {
        let hash = self.hash_key.hash(member);
        self.table.find(hash, |thin| same(thin.as_bytes(), member)).is_some()
    }

    fn add(&mut self, member: &[u8]) -> bool {
        let hash = self.hash_key.hash(member);
        if self.table.find(hash, |thin| same(thin.as_bytes(), member)).is_some() {
            return false;
        }
        self.insert(hash, member);
        true
    }

    /// Puts in a member that is not there.
    fn insert(&mut self, hash: u64, member: &[u8]) {
        let thin = Thin::hashed(member, hash);
        self.member_bytes += thin.heap_bytes();
        let key = self.hash_key;
        self.table.insert(hash, thin, |thin| thin.hash(&key));
    }

    fn remove(&mut self, member: &[u8]) -> bool {
        let hash = self.hash_key.hash(member);
        let removed = self.table.remove(hash, |thin| same(thin.as_bytes(), member));
        self.member_bytes -= removed.as_ref().map_or(0, Thin::heap_bytes);
        removed.is_some()
    }
}

impl Element for Thin {
    fn fetch(&self) {
        self.prefetch();
    }

    fn hash(&self, key: &HashKey) -> u64 {
        self.hash(key)
    }

    fn part() -> Part {
        Part::Members(Texts::default())
    }

    fn copy_to(&self, part: &mut Part) {
        if let Part::Members(members) = part {
            members.push_thin(self.alias());
        }
    }

    fn bytes(&self) -> usize {
        self.as_bytes().len()
    }
}

impl Walked for Members {
    fn prelude(&self) -> Prelude {
        Prelude::Set { members: self.table.len() }
    }

    fn open_walk(&mut self, id: WalkId, tally: Tally) {
        self.table.open_walk(id, self.hash_key, tally);
    }

    fn next_part(&mut self, id: WalkId, bytes: usize) -> Option<Part> {
        self.table.next_part(id, bytes)
    }

    fn end_walk(&mut self, id: WalkId) -> Option<Remains> {
        self.table.end_walk(id)
    }

    fn walks(&self) -> Vec<WalkId> {
        self.table.walks()
    }
}

impl Default for Set {
    fn default() -> Self {
        Set::new()
    }
}

impl Set {
    /// An empty set, as an intset: where results begin that may turn out to be integers.
    pub fn new() -> Set {
        Set(Repr::Integers(Intset::new()))
    }

    /// An empty set, as a listpack.
    pub fn packed() -> Set {
        Set(Repr::Packed(Listpack::new()))
    }

    /// An empty set in the encoding that suits `first` as one of about `count` members to come.
    pub fn for_member(first: &[u8], count: usize, limits: &Limits) -> Set {
        if parse_i64(first).is_some() && count <= intset_entries_max(limits) {
            Set::new()
        } else if count <= limits.set_max_listpack_entries {
            Set::packed()
        } else {
            Set(Repr::Members(Members::new(limits.hash_key)))
        }
    }

    /// An empty hash table with room for `count` members: what the caller has at hand, not what a
    /// stranger announced.
    pub fn with_capacity(count: usize, limits: &Limits) -> Set {
        let table = Table::with_capacity(count);
        let members = Members { table, hash_key: limits.hash_key, member_bytes: 0 };
        Set(Repr::Members(Box::new(members)))
    }

    /// A set from an intset that was read from a file.
    pub fn from_intset(integers: Intset, limits: &Limits) -> Set {
        let mut set = Set(Repr::Integers(integers));
        set.announce(set.len(), limits);
        set
    }

    /// A set from a listpack that was read from a file; `None` if a member is there twice.
    pub fn from_listpack(pack: Listpack, limits: &Limits) -> Option<Set> {
        if pack.len() <= limits.set_max_listpack_entries {
            let hash = |item: Item<'_>| item.with_bytes(|member| limits.hash_key.hash(member));
            if all_differ(pack.iter().map(hash).collect()) {
                return Some(Set(Repr::Packed(pack)));
            }
        }
        let mut seen = Members::new(limits.hash_key);
        let unique = pack.iter().all(|item| item.with_bytes(|member| seen.add(member)));
        if !unique {
            return None;
        }
        if pack.len() > limits.set_max_listpack_entries {
            return Some(Set(Repr::Members(seen)));
        }
        Some(Set(Repr::Packed(pack)))
    }

    /// The blob of a small set; `None` for a hash table.
    pub fn small(&self) -> Option<Small<'_>> {
        match &self.0 {
            Repr::Integers(integers) => Some(Small::Integers(integers)),
            Repr::Packed(pack) => Some(Small::Packed(pack)),
            Repr::Members(_) => None,
        }
    }

    /// The set as something that can be walked; `None` for a small one.
    pub fn walked(&mut self) -> Option<&mut dyn Walked> {
        match &mut self.0 {
            Repr::Integers(_) | Repr::Packed(_) => None,
            Repr::Members(members) => Some(&mut **members),
        }
    }

    /// The number of members.
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Integers(integers) => integers.len(),
            Repr::Packed(pack) => pack.len(),
            Repr::Members(members) => members.table.len(),
        }
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Heap memory below this value.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Repr::Integers(integers) => integers.heap_bytes(),
            Repr::Packed(pack) => pack.heap_bytes(),
            Repr::Members(members) => {
                class(size_of::<Members>()) + members.table.heap_bytes() + members.member_bytes
            }
        }
    }

    /// Heap memory that a copy takes for itself: a long packed block is shared until it is changed.
    pub fn copy_bytes(&self) -> usize {
        match &self.0 {
            Repr::Integers(integers) => integers.copy_bytes(),
            Repr::Packed(pack) => pack.copy_bytes(),
            Repr::Members(_) => self.heap_bytes(),
        }
    }

    /// OBJECT ENCODING's word.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Repr::Integers(_) => "intset",
            Repr::Packed(_) => "listpack",
            Repr::Members(_) => "hashtable",
        }
    }

    /// Whether `member` is in the set.
    pub fn contains(&self, member: &[u8]) -> bool {
        match &self.0 {
            Repr::Integers(integers) => parse_i64(member).is_some_and(|n| integers.contains(n)),
            Repr::Packed(pack) => pack.find(member, 0).is_some(),
            Repr::Members(members) => members.contains(member),
        }
    }

    /// Whether the item of another set is in this set.
    pub fn contains_item(&self, item: &Item<'_>) -> bool {
        match (&self.0, item) {
            (Repr::Integers(integers), Item::Int(number)) => integers.contains(*number),
            _ => item.with_bytes(|member| self.contains(member)),
        }
    }

    /// Asks the processor for a member's place in the table and returns the member's hash; `None`
    /// for a small set.
    pub fn prefetch(&self, member: &[u8]) -> Option<u64> {
        let Repr::Members(members) = &self.0 else { return None };
        let hash = members.hash_key.hash(member);
        members.table.prefetch(hash);
        Some(hash)
    }

    /// The second step, when the place has come: asks for what lies there.
    pub fn prefetch_item(&self, hash: u64) {
        if let Repr::Members(members) = &self.0 {
            members.table.candidate(hash).into_iter().for_each(Thin::prefetch);
        }
    }

    /// Says that about `count` members are about to be added: beyond the limits the set becomes
    /// a hash table at once.
    pub fn announce(&mut self, count: usize, limits: &Limits) {
        let beyond = match &self.0 {
            Repr::Integers(_) => count > intset_entries_max(limits),
            Repr::Packed(_) => count > limits.set_max_listpack_entries,
            Repr::Members(_) => false,
        };
        if beyond {
            self.hash(limits);
        }
    }

    /// Adds a member; false if it was there.
    pub fn add(&mut self, member: &[u8], limits: &Limits) -> bool {
        match &mut self.0 {
            Repr::Members(members) => members.add(member),
            Repr::Integers(integers) => match parse_i64(member) {
                Some(number) => {
                    let added = integers.insert(number);
                    if added && integers.len() > intset_entries_max(limits) {
                        self.hash(limits);
                    }
                    added
                }
                None => {
                    self.leave_integers(member, limits);
                    true
                }
            },
            Repr::Packed(pack) => {
                if pack.find(member, 0).is_some() {
                    return false;
                }
                let fits = pack.len() < limits.set_max_listpack_entries
                    && member.len() <= limits.set_max_listpack_value
                    && pack.has_room(member.len());
                if fits {
                    pack.push_back(member);
                } else {
                    self.hash(limits).add(member);
                }
                true
            }
        }
    }

    /// Adds the item of another set; false if it was there.
    pub fn add_item(&mut self, item: &Item<'_>, limits: &Limits) -> bool {
        item.with_bytes(|member| self.add(member, limits))
    }

    /// Removes a member; false if it was not there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match &mut self.0 {
            Repr::Integers(integers) => parse_i64(member).is_some_and(|n| integers.remove(n)),
            Repr::Packed(pack) => match pack.find(member, 0) {
                Some(pos) => {
                    pack.remove(pos);
                    true
                }
                None => false,
            },
            Repr::Members(members) => members.remove(member),
        }
    }

    /// All members: integers ascending, packed ones in order of arrival, others in no order.
    pub fn iter(&self) -> Iter<'_> {
        match &self.0 {
            Repr::Integers(integers) => Iter::Integers { integers, next: 0 },
            Repr::Packed(pack) => Iter::Packed { items: pack.iter(), left: pack.len() },
            Repr::Members(members) => {
                Iter::Members(Ahead::new(members.table.iter(), Thin::prefetch))
            }
        }
    }

    /// Visits about `count` members from `cursor` on, returns the cursor to go on with, 0 at the
    /// end. Small sets come whole. What stays from start to end of a scan is visited.
    pub fn scan<'a>(&'a self, cursor: u64, count: usize, mut visit: impl FnMut(Item<'a>)) -> u64 {
        match &self.0 {
            Repr::Members(members) => {
                let rehash = |thin: &Thin| thin.hash(&members.hash_key);
                members.table.scan(cursor, count, Thin::prefetch, rehash, |thin| {
                    visit(Item::Bytes(thin.as_bytes()));
                })
            }
            _ => {
                self.iter().for_each(visit);
                0
            }
        }
    }

    /// Frees a bounded number of members; false when the set is empty.
    pub fn pop_chunk(&mut self) -> bool {
        match &mut self.0 {
            Repr::Members(members) => match members.table.pop_segment() {
                Some(piece) => {
                    members.member_bytes -= piece.iter().map(Thin::heap_bytes).sum::<usize>();
                    true
                }
                None => false,
            },
            _ => {
                let any = !self.is_empty();
                *self = Set::new();
                any
            }
        }
    }

    /// Gives the result of an intersection the encoding that Redis gives it: an intset if all
    /// members are integers and few enough.
    pub fn settle_intersection(&mut self, limits: &Limits) {
        if matches!(self.0, Repr::Integers(_)) || self.len() > intset_entries_max(limits) {
            return;
        }
        let mut integers = Intset::new();
        for item in self.iter() {
            match item.as_i64() {
                Some(number) => integers.insert(number),
                None => return,
            };
        }
        self.0 = Repr::Integers(integers);
    }

    /// Adds a member that is no integer to an intset.
    fn leave_integers(&mut self, member: &[u8], limits: &Limits) {
        let Repr::Integers(integers) = &self.0 else { return };
        let digits = |number: Option<i64>| number.map_or(0, |n| Item::Int(n).text_bytes());
        let longest = digits(integers.min()).max(digits(integers.max())).max(member.len());
        let fits = integers.len() < limits.set_max_listpack_entries
            && longest <= limits.set_max_listpack_value
            && Listpack::new().has_room(integers.len() * 11 + member.len());
        if fits {
            let mut pack = Listpack::with_capacity(integers.byte_len() + member.len());
            integers.iter().for_each(|number| pack.push_back_int(number));
            pack.push_back(member);
            self.0 = Repr::Packed(pack);
        } else {
            self.hash(limits).add(member);
        }
    }

    /// Turns a small set into a hash table.
    fn hash(&mut self, limits: &Limits) -> &mut Members {
        if !matches!(self.0, Repr::Members(_)) {
            let mut members = Members::new(limits.hash_key);
            for item in self.iter() {
                item.with_bytes(|member| members.add(member));
            }
            self.0 = Repr::Members(members);
        }
        match &mut self.0 {
            Repr::Members(members) => members,
            _ => unreachable!("it was made a table above"),
        }
    }

    /// Panics when an invariant is broken.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        match &self.0 {
            Repr::Integers(integers) => integers.check(),
            Repr::Packed(pack) => pack.check(),
            Repr::Members(members) => {
                let bytes: usize = members.table.iter().map(Thin::heap_bytes).sum();
                assert_eq!(members.member_bytes, bytes);
                for thin in members.table.iter() {
                    let member = thin.as_bytes();
                    let found = members.table.find(members.hash_key.hash(member), |other| {
                        same(other.as_bytes(), member)
                    });
                    assert!(found.is_some_and(|other| std::ptr::eq(other, thin)), "twice");
                }
            }
        }
        assert_eq!(self.iter().count(), self.len());
    }
}

/// The members of a set.
#[derive(Clone)]
pub enum Iter<'a> {
    #[doc(hidden)]
    Integers { integers: &'a Intset, next: usize },
    #[doc(hidden)]
    Packed { items: super::compact::listpack::Iter<'a>, left: usize },
    #[doc(hidden)]
    Members(Ahead<'a, table::Iter<'a, Thin, 6>, Thin>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        match self {
            Iter::Integers { integers, next } => {
                let number = integers.get(*next)?;
                *next += 1;
                Some(Item::Int(number))
            }
            Iter::Packed { items, left } => {
                *left = left.saturating_sub(1);
                items.next()
            }
            Iter::Members(members) => members.next().map(|thin| Item::Bytes(thin.as_bytes())),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = match self {
            Iter::Integers { integers, next } => integers.len() - next,
            Iter::Packed { left, .. } => *left,
            Iter::Members(members) => members.len(),
        };
        (left, Some(left))
    }
}

impl ExactSizeIterator for Iter<'_> {}

/// Redis: an intset of more than 2^30 entries is refused whatever the configuration says.
fn intset_entries_max(limits: &Limits) -> usize {
    limits.set_max_intset_entries.min(1 << 30)
}
