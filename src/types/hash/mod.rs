//! Hashes: fields with values, and for each field, if wanted, a deadline.
//!
//! Two encodings. Small: one packed block (`packed`), reported as "listpack", or "listpackex" once
//! a field has had a deadline. Large: a table (`large`), "hashtable". The change to large happens
//! when Redis does it and never goes back. A `Hash` is one pointer.
//!
//! A field is gone from the millisecond of its deadline on: every method that reads takes the
//! time and does not see it, although its memory is only given back by [`Hash::take_expired`].
//! Invariant: `len` counts such fields, as HLEN does; `live_len` does not.

mod large;
mod packed;
mod sample;
#[cfg(test)]
mod tests;
mod view;

pub use view::HashView;

use super::compact::Listpack;
use super::limits::{all_differ, Limits};
use super::thin::{Either, EitherMut, ThinOr, ThinPair};
use super::walk::Walked;
use large::Large;
use packed::{Cells, Packed};
use view::{find, Inside};

/// A hash. See the module's text.
#[derive(Clone, Debug)]
pub struct Hash(ThinOr<Large>);

/// What setting a value does to the field's deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// The field has none afterwards.
    Clear,
    /// It stays.
    Keep,
    /// Unix time in milliseconds from which the field is gone; not 0.
    At(i64),
}

/// No packed block is made longer than this by a command. Tests reach it, too.
const PACKED_BYTES_MAX: usize = if cfg!(test) { 1 << 20 } else { 1 << 30 };

impl Default for Hash {
    fn default() -> Self {
        Self::new()
    }
}

impl Hash {
    /// A hash without fields.
    pub fn new() -> Self {
        Hash(ThinOr::bytes(&packed::EMPTY))
    }

    /// A hash table without fields, with room for `count`: what the caller has at hand, not what a
    /// stranger announced.
    pub fn with_capacity(count: usize, limits: &Limits) -> Self {
        Hash(ThinOr::boxed(Box::new(Large::with_capacity(limits.hash_key, count))))
    }

    /// A small hash from the bytes that [`Hash::packed_bytes`] gave.
    pub fn from_packed(bytes: &[u8]) -> Self {
        Hash(ThinOr::bytes(bytes))
    }

    /// The block of a small hash, to be kept elsewhere.
    #[inline]
    pub fn packed_bytes(&self) -> Option<&[u8]> {
        match self.0.held() {
            Either::Bytes(bytes) => Some(bytes),
            Either::Boxed(_) => None,
        }
    }

    /// The reading side.
    #[inline]
    pub fn view(&self) -> HashView<'_> {
        HashView(match self.0.held() {
            Either::Bytes(bytes) => Inside::Small(Packed(bytes)),
            Either::Boxed(large) => Inside::Large(large),
        })
    }

    /// Asks the processor for a field's place in the table and returns the field's hash; `None`
    /// for a small hash.
    pub fn prefetch(&self, field: &[u8]) -> Option<u64> {
        let Either::Boxed(large) = self.0.held() else { return None };
        let hash = large.hash(field);
        large.table.prefetch(hash);
        Some(hash)
    }

    /// The second step, when the place has come: asks for what lies there.
    pub fn prefetch_item(&self, hash: u64) {
        if let Either::Boxed(large) = self.0.held() {
            large.table.candidate(hash).into_iter().for_each(ThinPair::prefetch);
        }
    }

    /// The hash as something that can be walked; `None` for a small one.
    pub fn walked(&mut self) -> Option<&mut dyn Walked> {
        match self.0.held_mut() {
            EitherMut::Bytes(_) => None,
            EitherMut::Boxed(large) => Some(large),
        }
    }

    /// Fields, as [`HashView::len`] counts them.
    pub fn len(&self) -> usize {
        self.view().len()
    }

    /// OBJECT ENCODING's word.
    pub fn encoding(&self) -> &'static str {
        self.view().encoding()
    }

    /// Whether there is no field at all.
    pub fn is_empty(&self) -> bool {
        self.view().is_empty()
    }

    /// Heap memory below the value, by allocator classes.
    pub fn heap_bytes(&self) -> usize {
        let large = if let Either::Boxed(large) = self.0.held() { large.heap_bytes() } else { 0 };
        self.0.heap_bytes() + large
    }

    /// Heap memory that a copy takes for itself: a long packed block is shared until it is changed.
    pub fn copy_bytes(&self) -> usize {
        self.heap_bytes() - self.0.heap_bytes() + self.0.copy_bytes()
    }

    /// Makes the hash large now if `pairs` fields, or a text of `longest` bytes, will not fit the
    /// small form. Redis: HSET guesses from its arguments before it looks at them.
    pub fn prepare(&mut self, pairs: usize, longest: usize, limits: &Limits) {
        if pairs > limits.hash_max_listpack_entries || longest > limits.hash_max_listpack_value {
            self.enlarge(limits);
        }
    }

    /// Makes the hash large now if this field will not fit the small form.
    fn make_room(&mut self, field: &[u8], value: &[u8], limits: &Limits) {
        self.prepare(0, field.len().max(value.len()), limits);
        let added = field.len().saturating_add(value.len());
        if matches!(self.0.held(), Either::Bytes(bytes)
            if bytes.len().saturating_add(added) > PACKED_BYTES_MAX)
        {
            self.enlarge(limits);
        }
    }

    /// Sets a field; whether it is a new one.
    pub fn set(
        &mut self,
        field: &[u8],
        value: &[u8],
        deadline: Deadline,
        now_ms: i64,
        limits: &Limits,
    ) -> bool {
        self.make_room(field, value, limits);
        let fresh = match self.0.held_mut() {
            EitherMut::Bytes(_) => self.set_packed(field, value, deadline, now_ms),
            EitherMut::Boxed(large) => {
                let live = large.find(field).filter(|pair| !Large::is_gone(pair, now_ms));
                let (fresh, before) = (live.is_none(), live.and_then(ThinPair::stamp));
                large.put(ThinPair::stamped(field, value, deadline.after(before)));
                return fresh;
            }
        };
        let too_many = |bytes| Packed(bytes).len() > limits.hash_max_listpack_entries;
        if matches!(self.0.held(), Either::Bytes(bytes) if too_many(bytes)) {
            self.enlarge(limits);
        }
        fresh
    }

    /// A small hash of a listpack of fields and values; `None` when a value is missing or it is
    /// not plain at once that all fields differ.
    pub fn of_distinct(pack: &Listpack, limits: &Limits) -> Option<Hash> {
        let mut bytes = Vec::with_capacity(pack.byte_len());
        bytes.extend_from_slice(&packed::EMPTY);
        let mut hashes = Vec::with_capacity(pack.len() / 2);
        let mut items = pack.iter();
        while let Some(field) = items.next() {
            let value = items.next()?;
            let mut cells = Cells::new();
            field.with_bytes(|field| packed::write_text(field, &mut cells));
            hashes.push(limits.hash_key.hash(&cells));
            value.with_bytes(|value| packed::write_text(value, &mut cells));
            bytes.extend_from_slice(&cells);
        }
        let header = Packed(&packed::EMPTY).header_after(hashes.len() as isize, false);
        bytes[..header.len()].copy_from_slice(&header);
        all_differ(hashes).then(|| Hash(ThinOr::bytes(&bytes)))
    }

    /// Adds a field that a file gives, in the encoding that suits it; false, and nothing changes,
    /// when it is there already.
    pub fn add_new(
        &mut self,
        field: &[u8],
        value: &[u8],
        deadline: Option<i64>,
        limits: &Limits,
    ) -> bool {
        self.make_room(field, value, limits);
        self.add_as_it_is(field, value, deadline)
    }

    /// Adds a field that a file gives, without a change of encoding; false, and nothing changes,
    /// when it is there already.
    pub fn add_as_it_is(&mut self, field: &[u8], value: &[u8], deadline: Option<i64>) -> bool {
        let bytes = match self.0.held_mut() {
            EitherMut::Bytes(bytes) => bytes,
            EitherMut::Boxed(large) => {
                return large.find(field).is_none()
                    && large.put(ThinPair::stamped(field, value, deadline));
            }
        };
        let mut cells = Cells::new();
        packed::write_text(field, &mut cells);
        if Packed(bytes).find(&cells).is_some() {
            return false;
        }
        packed::write_text(value, &mut cells);
        self.insert(cells, deadline);
        true
    }

    fn set_packed(&mut self, field: &[u8], value: &[u8], deadline: Deadline, now_ms: i64) -> bool {
        let Either::Bytes(bytes) = self.0.held() else { return false };
        let mut cells = Cells::new();
        packed::write_text(field, &mut cells);
        let found = Packed(bytes).find(&cells);
        let live = found.filter(|place| !place.is_gone(now_ms));
        let before = live.and_then(|place| place.deadline);
        let after = deadline.after(before);
        if let Some(place) = live.filter(|_| before == after) {
            let mut cell = Cells::new();
            packed::write_text(value, &mut cell);
            self.splice(place.value, place.behind - place.value, &cell);
            return false;
        }
        if let Some(place) = found {
            self.cut(&place);
        }
        packed::write_text(value, &mut cells);
        self.insert(cells, after);
        live.is_none()
    }

    /// Inserts the cells of a field and its value where its deadline belongs.
    fn insert(&mut self, mut cells: Cells, deadline: Option<i64>) {
        if deadline.is_some() {
            self.keep_deadlines();
        }
        let Either::Bytes(bytes) = self.0.held() else { return };
        let (packed, at) = (Packed(bytes), Packed(bytes).slot(deadline));
        if packed.is_dated() {
            packed::write_deadline(deadline, &mut cells);
        }
        let header = packed.header_after(1, packed.is_dated());
        self.splice(at, 0, &cells);
        self.splice(0, header.len(), &header);
    }

    /// Takes a field's cells out.
    fn cut(&mut self, place: &packed::Place) {
        let Either::Bytes(bytes) = self.0.held() else { return };
        let header = Packed(bytes).header_after(-1, Packed(bytes).is_dated());
        self.splice(place.field, place.end - place.field, &[]);
        self.splice(0, header.len(), &header);
    }

    /// Gives the small form room for deadlines, as Redis does before it looks for the fields.
    pub fn keep_deadlines(&mut self) {
        if let Either::Bytes(bytes) = self.0.held() {
            if !Packed(bytes).is_dated() {
                self.0 = ThinOr::bytes(&Packed(bytes).with_deadlines());
            }
        }
    }

    fn splice(&mut self, at: usize, old: usize, new: &[u8]) {
        if let Some(gap) = self.0.splice(at, old, new.len()) {
            gap.copy_from_slice(new);
        }
    }

    fn enlarge(&mut self, limits: &Limits) {
        let Either::Bytes(bytes) = self.0.held() else { return };
        let mut large = Large::new(limits.hash_key);
        for place in Packed(bytes).places() {
            let (field, value) = Packed(bytes).pair(&place);
            let mut put = |field: &[u8], value: &[u8]| {
                large.put(ThinPair::stamped(field, value, place.deadline))
            };
            field.with_bytes(|field| value.with_bytes(|value| put(field, value)));
        }
        self.0 = ThinOr::boxed(Box::new(large));
    }

    /// Gives a field that is there a deadline, or takes it away; false when there is no such
    /// field.
    pub fn set_deadline(&mut self, field: &[u8], deadline: Option<i64>, now_ms: i64) -> bool {
        let place = match self.0.held_mut() {
            EitherMut::Bytes(bytes) => {
                find(Packed(bytes), field).filter(|place| !place.is_gone(now_ms))
            }
            EitherMut::Boxed(large) => {
                let live = large.find(field).filter(|pair| !Large::is_gone(pair, now_ms));
                let Some(pair) = live else { return false };
                let pair = ThinPair::stamped(field, pair.second(), deadline);
                large.put(pair);
                return true;
            }
        };
        let (Some(place), Either::Bytes(bytes)) = (place, self.0.held()) else { return false };
        if place.deadline.is_some() || deadline.is_some() {
            let cells = Cells::from_slice(&bytes[place.field..place.behind]);
            self.cut(&place);
            self.insert(cells, deadline);
        }
        true
    }

    /// Removes a field; whether it was there. One that is gone is left to be reclaimed.
    pub fn remove(&mut self, field: &[u8], now_ms: i64) -> bool {
        self.remove_if(field, |deadline| deadline.is_none_or(|at| at > now_ms))
    }

    /// Removes a field that is gone but not yet reclaimed; whether there was one.
    pub fn remove_gone(&mut self, field: &[u8], now_ms: i64) -> bool {
        self.remove_if(field, |deadline| deadline.is_some_and(|at| at <= now_ms))
    }

    fn remove_if(&mut self, field: &[u8], wanted: impl Fn(Option<i64>) -> bool) -> bool {
        match self.0.held_mut() {
            EitherMut::Bytes(bytes) => {
                let place = find(Packed(bytes), field).filter(|place| wanted(place.deadline));
                place.is_some_and(|place| {
                    self.cut(&place);
                    true
                })
            }
            EitherMut::Boxed(large) => {
                large.find(field).is_some_and(|pair| wanted(pair.stamp()))
                    && large.remove(field).is_some()
            }
        }
    }

    /// Takes out up to about `max` fields that are gone, soonest first, and returns their names.
    /// The cost does not depend on the fields that stay.
    pub fn take_expired(&mut self, now_ms: i64, max: usize) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        match self.0.held_mut() {
            EitherMut::Bytes(bytes) => {
                let packed = Packed(bytes);
                let gone: Vec<_> =
                    packed.places().take_while(|place| place.is_gone(now_ms)).take(max).collect();
                let Some(last) = gone.last() else { return out };
                out.extend(gone.iter().map(|place| packed.pair(place).0.to_vec()));
                let header = packed.header_after(-(gone.len() as isize), true);
                self.splice(0, last.end, &header);
            }
            EitherMut::Boxed(large) => large.take_expired(now_ms, max, &mut out),
        }
        out
    }

    /// Frees a bounded piece; false when nothing was left.
    pub fn pop_chunk(&mut self) -> bool {
        match self.0.held_mut() {
            EitherMut::Boxed(large) => {
                if large.pop_chunk() {
                    return true;
                }
                *self = Hash::new();
                false
            }
            EitherMut::Bytes(_) => {
                let some = !self.is_empty();
                *self = Hash::new();
                some
            }
        }
    }
}

impl Deadline {
    fn after(self, before: Option<i64>) -> Option<i64> {
        match self {
            Deadline::Clear => None,
            Deadline::Keep => before,
            Deadline::At(at) => Some(at),
        }
    }
}
