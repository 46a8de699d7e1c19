//! A small hash in one block: fields, values and, once a field has a deadline, deadlines.
//!
//! Two bytes of header (the count, and in its top bit whether deadlines are kept), then a cell
//! for each field, its value and its deadline. A cell is a length below 240 and as many bytes, or
//! 0xF0 + n and an integer in n bytes (0 to 8, little-endian), or 0xF9, four bytes of length and
//! the bytes. That is two to five bytes a pair less than a listpack; files get a listpack made
//! from it.
//!
//! Invariants: every text has exactly one form (an integer where that is shorter), so that cells
//! are compared as bytes; fields with deadlines come first, soonest first, then those without, in
//! the order in which Redis keeps them. // Redis: equal deadlines, last set first.

use crate::types::compact::Item;
use crate::types::number::parse_i64;
use smallvec::SmallVec;

/// Header of a hash without fields.
pub(super) const EMPTY: [u8; 2] = [0, 0];
const HEADER_BYTES: usize = 2;
const DATED: u16 = 1 << 15;
/// From here on the count is not kept but counted.
const UNCOUNTED: u16 = DATED - 1;
const INTEGER: u8 = 0xf0;
const LONG: u8 = 0xf9;

/// A cell, or several, on the way into a hash.
pub(super) type Cells = SmallVec<[u8; 96]>;

/// Appends the cell of a text.
pub(super) fn write_text(text: &[u8], out: &mut Cells) {
    if let Some(number) = parse_i64(text) {
        if integer_bytes(number) < text.len() {
            return write_integer(number, out);
        }
    }
    if text.len() < usize::from(INTEGER) {
        out.push(text.len() as u8);
    } else {
        out.push(LONG);
        out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    }
    out.extend_from_slice(text);
}

fn integer_bytes(number: i64) -> usize {
    if number == 0 {
        return 0;
    }
    let spare = if number < 0 { number.leading_ones() } else { number.leading_zeros() };
    (65 - spare as usize).div_ceil(8)
}

fn write_integer(number: i64, out: &mut Cells) {
    let bytes = integer_bytes(number);
    out.push(INTEGER + bytes as u8);
    out.extend_from_slice(&number.to_le_bytes()[..bytes]);
}

/// The end of the cell at `at`.
#[inline]
fn skip(bytes: &[u8], at: usize) -> usize {
    let tag = bytes[at];
    at + 1
        + match tag {
            ..INTEGER => usize::from(tag),
            INTEGER..LONG => usize::from(tag - INTEGER),
            _ => 4 + long_length(bytes, at),
        }
}

fn long_length(bytes: &[u8], at: usize) -> usize {
    let length = bytes[at + 1..at + 5].try_into().unwrap_or_default();
    u32::from_le_bytes(length) as usize
}

/// What the cell at `at` holds, and its end.
fn read(bytes: &[u8], at: usize) -> (Item<'_>, usize) {
    let end = skip(bytes, at);
    let item = match bytes[at] {
        ..INTEGER => Item::Bytes(&bytes[at + 1..end]),
        INTEGER..LONG => Item::Int(integer(&bytes[at + 1..end])),
        _ => Item::Bytes(&bytes[at + 5..end]),
    };
    (item, end)
}

fn integer(bytes: &[u8]) -> i64 {
    let fill = if bytes.last().is_some_and(|top| top & 0x80 != 0) { 0xff } else { 0 };
    let mut all = [fill; 8];
    all[..bytes.len()].copy_from_slice(bytes);
    i64::from_le_bytes(all)
}

/// Where a field stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub field: usize,
    pub value: usize,
    /// The end of the value; the deadline's cell, when deadlines are kept.
    pub behind: usize,
    pub end: usize,
    pub deadline: Option<i64>,
}

impl Place {
    pub(super) fn is_gone(&self, now_ms: i64) -> bool {
        self.deadline.is_some_and(|at| at <= now_ms)
    }
}

/// The reading side of the block.
#[derive(Clone, Copy)]
pub(super) struct Packed<'a>(pub &'a [u8]);

impl<'a> Packed<'a> {
    fn header(self) -> u16 {
        u16::from_le_bytes([self.0[0], self.0[1]])
    }

    pub(super) fn is_dated(self) -> bool {
        self.header() & DATED != 0
    }

    /// The header's two bytes for one field more, fewer, or another form.
    pub(super) fn header_after(self, added: isize, dated: bool) -> [u8; 2] {
        let count = (self.len() as isize + added).clamp(0, UNCOUNTED as isize) as u16;
        (count | if dated { DATED } else { 0 }).to_le_bytes()
    }

    pub(super) fn len(self) -> usize {
        match self.header() & !DATED {
            UNCOUNTED => self.places().count(),
            count => usize::from(count),
        }
    }

    /// The fields in their order.
    pub(super) fn places(self) -> impl Iterator<Item = Place> + 'a {
        let dated = self.is_dated();
        let mut at = HEADER_BYTES;
        std::iter::from_fn(move || {
            if at >= self.0.len() {
                return None;
            }
            let place = self.place(at, dated);
            at = place.end;
            Some(place)
        })
    }

    #[inline]
    fn place(self, field: usize, dated: bool) -> Place {
        let value = skip(self.0, field);
        let behind = skip(self.0, value);
        if !dated {
            return Place { field, value, behind, end: behind, deadline: None };
        }
        let end = skip(self.0, behind);
        let deadline = Some(integer(&self.0[behind + 1..end])).filter(|&at| at != 0);
        Place { field, value, behind, end, deadline }
    }

    /// The field whose cell is `cell`.
    #[inline]
    pub(super) fn find(self, cell: &[u8]) -> Option<Place> {
        let dated = self.is_dated();
        let mut at = HEADER_BYTES;
        while at < self.0.len() {
            if self.0[at..].starts_with(cell) {
                return Some(self.place(at, dated));
            }
            at = skip(self.0, skip(self.0, at));
            if dated {
                at = skip(self.0, at);
            }
        }
        None
    }

    /// Where a field with this deadline belongs.
    pub(super) fn slot(self, deadline: Option<i64>) -> usize {
        let Some(deadline) = deadline else { return self.0.len() };
        let later = |place: &Place| place.deadline.is_none_or(|at| at >= deadline);
        self.places().find(later).map_or(self.0.len(), |place| place.field)
    }

    pub(super) fn pair(self, place: &Place) -> (Item<'a>, Item<'a>) {
        (read(self.0, place.field).0, read(self.0, place.value).0)
    }

    pub(super) fn value(self, place: &Place) -> Item<'a> {
        read(self.0, place.value).0
    }

    /// The same fields with (still empty) cells for deadlines.
    pub(super) fn with_deadlines(self) -> Vec<u8> {
        let mut out = self.header_after(0, true).to_vec();
        out.reserve_exact(self.0.len() - HEADER_BYTES + self.len());
        for place in self.places() {
            out.extend_from_slice(&self.0[place.field..place.end]);
            out.push(INTEGER);
        }
        out
    }

    /// Panics when the block is not as the module says.
    pub(super) fn check(self) {
        let (mut count, mut last, mut end) = (0, Some(i64::MIN), HEADER_BYTES);
        for place in self.places() {
            let (field, value) = self.pair(&place);
            for (item, at) in [(field, place.field), (value, place.value)] {
                let mut cell = Cells::new();
                item.with_bytes(|text| write_text(text, &mut cell));
                assert_eq!(self.0[at..at + cell.len()], cell[..], "one form for each text");
            }
            assert!(self
                .find(&self.0[place.field..place.value])
                .is_some_and(|found| { found.field == place.field }));
            let order = |at: Option<i64>| at.unwrap_or(i64::MAX);
            assert!(order(last) <= order(place.deadline), "soonest first");
            (count, last, end) = (count + 1, place.deadline, place.end);
        }
        assert_eq!((count, end), (self.len(), self.0.len()));
    }
}

/// Appends a deadline's cell.
pub(super) fn write_deadline(deadline: Option<i64>, out: &mut Cells) {
    write_integer(deadline.unwrap_or(0), out);
}
