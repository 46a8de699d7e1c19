//! How one element of a listpack is written and read, and what a valid listpack is.

use super::listpack::{COUNT_UNKNOWN, END};
use crate::types::number::parse_i64;

/// One element, borrowed from its listpack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// Stored as an integer.
    Int(i64),
    /// Stored as bytes.
    Bytes(&'a [u8]),
}

impl Item<'_> {
    /// Appends the element's text to `out`.
    #[inline]
    pub fn write_to(&self, out: &mut Vec<u8>) {
        self.with_bytes(|bytes| out.extend_from_slice(bytes));
    }

    /// Runs `read` on the element's text, without allocating.
    #[inline]
    pub fn with_bytes<R>(&self, read: impl FnOnce(&[u8]) -> R) -> R {
        match *self {
            Item::Int(number) => read(itoa::Buffer::new().format(number).as_bytes()),
            Item::Bytes(bytes) => read(bytes),
        }
    }

    /// Whether the element's text is `text`.
    #[inline]
    pub fn equals(&self, text: &[u8]) -> bool {
        match *self {
            Item::Int(number) => parse_i64(text) == Some(number),
            Item::Bytes(bytes) => bytes == text,
        }
    }

    /// The element's text in a block of its own.
    pub fn to_vec(&self) -> Vec<u8> {
        self.with_bytes(|bytes| bytes.to_vec())
    }

    /// Bytes of the element's text.
    pub fn text_bytes(&self) -> usize {
        self.with_bytes(|bytes| bytes.len())
    }

    /// The integer that the text spells canonically, if it does.
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Item::Int(number) => Some(number),
            Item::Bytes(bytes) => parse_i64(bytes),
        }
    }
}

/// A text that many elements are compared with: its integer is found once.
#[derive(Clone, Copy)]
pub struct Needle<'a> {
    text: &'a [u8],
    number: Option<i64>,
}

impl<'a> Needle<'a> {
    /// Elements equal to `text` match.
    pub fn new(text: &'a [u8]) -> Self {
        Needle { text, number: parse_i64(text) }
    }

    /// Whether the element's text is the one looked for.
    #[inline]
    pub fn matches(&self, item: &Item<'_>) -> bool {
        match *item {
            Item::Int(number) => self.number == Some(number),
            Item::Bytes(bytes) => bytes == self.text,
        }
    }
}

/// How an element will be written.
pub(super) enum Encoded<'a> {
    Int(i64),
    Bytes(&'a [u8]),
}

impl<'a> Encoded<'a> {
    #[inline]
    pub(super) fn new(text: &'a [u8]) -> Self {
        match parse_i64(text) {
            Some(number) => Encoded::Int(number),
            None => Encoded::Bytes(text),
        }
    }

    #[inline]
    pub(super) fn int(number: i64) -> Self {
        Encoded::Int(number)
    }

    /// Bytes of encoding and data.
    #[inline]
    fn body_bytes(&self) -> usize {
        match *self {
            Encoded::Int(number) => int_bytes(number),
            Encoded::Bytes(text) => match text.len() {
                length @ 0..=63 => 1 + length,
                length @ 64..=4095 => 2 + length,
                length => 5 + length,
            },
        }
    }

    #[inline]
    pub(super) fn bytes(&self) -> usize {
        let body_bytes = self.body_bytes();
        body_bytes + backlen_bytes(body_bytes)
    }

    /// Fills `out`, which has exactly the right size.
    #[inline]
    pub(super) fn write(&self, out: &mut [u8]) {
        let body_bytes = self.body_bytes();
        match *self {
            Encoded::Int(number) => write_int(number, out),
            Encoded::Bytes(text) => {
                let start = match text.len() {
                    length @ 0..=63 => {
                        out[0] = 0x80 | length as u8;
                        1
                    }
                    length @ 64..=4095 => {
                        out[0] = 0xE0 | (length >> 8) as u8;
                        out[1] = length as u8;
                        2
                    }
                    length => {
                        out[0] = 0xF0;
                        out[1..5].copy_from_slice(&(length as u32).to_le_bytes());
                        5
                    }
                };
                out[start..start + text.len()].copy_from_slice(text);
            }
        }
        write_backlen(body_bytes, &mut out[body_bytes..]);
    }
}

#[inline]
fn int_bytes(number: i64) -> usize {
    match number {
        0..=127 => 1,
        -4096..=4095 => 2,
        -0x8000..=0x7FFF => 3,
        -0x80_0000..=0x7F_FFFF => 4,
        -0x8000_0000..=0x7FFF_FFFF => 5,
        _ => 9,
    }
}

#[inline]
fn write_int(number: i64, out: &mut [u8]) {
    let little = number.to_le_bytes();
    match int_bytes(number) {
        1 => out[0] = number as u8,
        2 => {
            out[0] = 0xC0 | ((number >> 8) & 0x1F) as u8;
            out[1] = number as u8;
        }
        bytes => {
            out[0] = match bytes {
                3 => 0xF1,
                4 => 0xF2,
                5 => 0xF3,
                _ => 0xF4,
            };
            out[1..bytes].copy_from_slice(&little[..bytes - 1]);
        }
    }
}

/// Bytes of the backwards length of an entry with a body of `body_bytes`. The limits are Redis's,
/// one short of what seven bits a byte could hold from two bytes on.
#[inline]
fn backlen_bytes(body_bytes: usize) -> usize {
    match body_bytes {
        0..=127 => 1,
        128..=16382 => 2,
        16383..=2097150 => 3,
        2097151..=268435454 => 4,
        _ => 5,
    }
}

#[inline]
fn write_backlen(body_bytes: usize, out: &mut [u8]) {
    let size = backlen_bytes(body_bytes);
    for (index, byte) in out[..size].iter_mut().enumerate() {
        let bits = (body_bytes >> (7 * (size - 1 - index))) as u8 & 127;
        *byte = if index == 0 { bits } else { bits | 128 };
    }
}

/// Where the data of the entry at `at` starts and ends.
#[inline]
fn body(block: &[u8], at: usize) -> (usize, usize) {
    let byte = block[at];
    match byte {
        0x00..=0x7F => (at, at + 1),
        0x80..=0xBF => (at + 1, at + 1 + (byte & 0x3F) as usize),
        0xC0..=0xDF => (at, at + 2),
        0xE0..=0xEF => {
            let length = ((byte & 0x0F) as usize) << 8 | block[at + 1] as usize;
            (at + 2, at + 2 + length)
        }
        0xF0 => {
            let length =
                u32::from_le_bytes([block[at + 1], block[at + 2], block[at + 3], block[at + 4]]);
            (at + 5, at + 5 + length as usize)
        }
        0xF1 => (at + 1, at + 3),
        0xF2 => (at + 1, at + 4),
        0xF3 => (at + 1, at + 5),
        _ => (at + 1, at + 9),
    }
}

#[inline]
pub(super) fn entry_end(block: &[u8], at: usize) -> usize {
    // Short texts and small numbers are nearly all there is; their backwards length is one byte.
    match block[at] {
        0x00..=0x7F => return at + 2,
        byte @ 0x80..=0xBF => return at + 2 + (byte & 0x3F) as usize,
        _ => {}
    }
    let end = body(block, at).1;
    end + backlen_bytes(end - at)
}

/// The element at `at`, and where the next entry starts.
#[inline]
pub(super) fn item_at(block: &[u8], at: usize) -> (Item<'_>, usize) {
    let (start, end) = body(block, at);
    let byte = block[at];
    let item = match byte {
        0x00..=0x7F => Item::Int(byte as i64),
        0x80..=0xBF | 0xE0..=0xF0 => Item::Bytes(&block[start..end]),
        0xC0..=0xDF => {
            let bits = ((byte & 0x1F) as u16) << 8 | block[at + 1] as u16;
            // Thirteen bits with a sign: up to the top of sixteen, and back with the sign.
            Item::Int(((bits << 3) as i16 >> 3) as i64)
        }
        _ => {
            let data = &block[start..end];
            let mut wide = if data[data.len() - 1] & 128 == 0 { [0; 8] } else { [0xFF; 8] };
            wide[..data.len()].copy_from_slice(data);
            Item::Int(i64::from_le_bytes(wide))
        }
    };
    (item, end + backlen_bytes(end - at))
}

/// Whether `block` is one whole listpack: its size as stated, every entry inside with a backwards
/// length that leads to its start, the count true or declared unknown.
pub(super) fn valid(block: &[u8]) -> bool {
    let [a, b, c, d, e, f, entries @ ..] = block else { return false };
    let stated_bytes = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
    let stated_count = u16::from_le_bytes([*e, *f]);
    let [entries @ .., END] = entries else { return false };
    if stated_bytes != block.len() || stated_bytes >= 1 << 31 {
        return false;
    }
    let (mut rest, mut count) = (entries, 0usize);
    while !rest.is_empty() {
        let Some(bytes) = valid_entry(rest) else { return false };
        rest = &rest[bytes..];
        count += 1;
    }
    stated_count == COUNT_UNKNOWN || stated_count as usize == count
}

/// The size of the entry that `bytes` start with, if it is whole and well-formed.
fn valid_entry(bytes: &[u8]) -> Option<usize> {
    let body_bytes = match *bytes.first()? {
        0x00..=0x7F => 1,
        byte @ 0x80..=0xBF => 1 + (byte & 0x3F) as usize,
        0xC0..=0xDF => 2,
        byte @ 0xE0..=0xEF => 2 + (((byte & 0x0F) as usize) << 8 | *bytes.get(1)? as usize),
        0xF0 => {
            let length: [u8; 4] = bytes.get(1..5)?.try_into().ok()?;
            5usize.checked_add(u32::from_le_bytes(length) as usize)?
        }
        0xF1 => 3,
        0xF2 => 4,
        0xF3 => 5,
        0xF4 => 9,
        0xF5..=0xFF => return None,
    };
    let backlen = bytes.get(body_bytes..body_bytes.checked_add(backlen_bytes(body_bytes))?)?;
    let mut expected = [0u8; 5];
    write_backlen(body_bytes, &mut expected);
    (backlen == &expected[..backlen.len()]).then_some(body_bytes + backlen.len())
}
