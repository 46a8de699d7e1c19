//! The listpack: a list of short strings and integers in one block, readable from both ends.
//!
//! Redis's format to the byte: four bytes of total size, two of element count (65535: count
//! them), the entries, 0xFF. An entry is its encoding, its data, and the length of both, written
//! so that it can be read backwards (seven bits a byte, the last byte first). Canonical decimal
//! integers are stored as integers, in as few bytes as they need.
//!
//! A position is the byte offset of an entry. Every change makes other positions stale, save
//! those that the changing method returns.
//!
//! Invariant: the block is a valid listpack at all times (`valid` is the definition), so reading
//! needs no checks beyond the language's own.

use super::entry::Item;
use super::entry::{entry_end, item_at, valid, Encoded};
use super::{boxed, grow, resize, shrink};
use crate::types::alloc::class;
use crate::types::number::parse_i64;

pub(super) const HEADER_BYTES: usize = 6;
pub(super) const END: u8 = 0xFF;
pub(super) const COUNT_UNKNOWN: u16 = u16::MAX;
/// The largest listpack that any command may build: 1 GiB, as in Redis.
const SAFE_BYTES: usize = 1 << 30;

/// A packed list of strings and integers. See the module's text for positions.
#[derive(Clone)]
pub struct Listpack(Box<[u8]>);

impl Default for Listpack {
    fn default() -> Self {
        Listpack::new()
    }
}

impl PartialEq for Listpack {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Listpack {}

impl std::fmt::Debug for Listpack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Listpack {
    /// An empty listpack.
    pub fn new() -> Self {
        Listpack(boxed(vec![HEADER_BYTES as u8 + 1, 0, 0, 0, 0, 0, END]))
    }

    /// An empty listpack with room for `bytes` in all, for those who know what will come.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut pack = Listpack::new();
        grow(&mut pack.0, bytes);
        pack
    }

    /// Takes over foreign bytes; `None` unless they are one whole, well-formed listpack.
    pub fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        valid(&bytes).then(|| Listpack(boxed(bytes)))
    }

    /// The blob, as files carry it.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0[..self.byte_len()]
    }

    /// Bytes of the blob.
    #[inline]
    pub fn byte_len(&self) -> usize {
        u32::from_le_bytes([self.0[0], self.0[1], self.0[2], self.0[3]]) as usize
    }

    /// Elements. O(1) below 65535, else they are counted.
    #[inline]
    pub fn len(&self) -> usize {
        match self.header_count() {
            COUNT_UNKNOWN => self.iter().count(),
            count => count as usize,
        }
    }

    /// Whether there is no element.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.byte_len() == HEADER_BYTES + 1
    }

    /// Heap memory of the blob.
    #[inline]
    pub fn heap_bytes(&self) -> usize {
        class(self.0.len())
    }

    /// Makes room for `bytes` in all, for those who will push more than once.
    #[inline]
    pub fn reserve(&mut self, bytes: usize) {
        grow(&mut self.0, bytes);
    }

    /// Gives back the room that nothing fills.
    pub fn shrink_to_fit(&mut self) {
        let bytes = class(self.byte_len());
        if bytes < self.0.len() {
            resize(&mut self.0, bytes);
        }
    }

    /// Whether `bytes` more still make a listpack that Redis would build.
    #[inline]
    pub fn has_room(&self, bytes: usize) -> bool {
        self.byte_len().saturating_add(bytes) <= SAFE_BYTES
    }

    /// Bytes that `text` takes as an entry.
    #[inline]
    pub fn entry_bytes(text: &[u8]) -> usize {
        Encoded::new(text).bytes()
    }

    /// Appends an element.
    #[inline]
    pub fn push_back(&mut self, text: &[u8]) {
        self.splice(self.end(), 0, Encoded::new(text));
    }

    /// Appends an integer, which its text would become anyway.
    #[inline]
    pub fn push_back_int(&mut self, number: i64) {
        self.splice(self.end(), 0, Encoded::int(number));
    }

    /// Puts an element before all others.
    #[inline]
    pub fn push_front(&mut self, text: &[u8]) {
        self.splice(HEADER_BYTES, 0, Encoded::new(text));
    }

    /// Puts an element before the one at `pos`, which may also be `end()`; it is then at `pos`.
    #[inline]
    pub fn insert(&mut self, pos: usize, text: &[u8]) {
        self.splice(pos, 0, Encoded::new(text));
    }

    /// Exchanges the element at `pos`; the new one is at `pos`.
    #[inline]
    pub fn replace(&mut self, pos: usize, text: &[u8]) {
        let old_bytes = self.entry_end(pos) - pos;
        self.splice(pos, old_bytes, Encoded::new(text));
    }

    /// Exchanges the element at `pos` for an integer.
    #[inline]
    pub fn replace_int(&mut self, pos: usize, number: i64) {
        let old_bytes = self.entry_end(pos) - pos;
        self.splice(pos, old_bytes, Encoded::int(number));
    }

    /// Takes the element at `pos` out; the one after it, if any, is then at `pos`.
    #[inline]
    pub fn remove(&mut self, pos: usize) {
        self.remove_keeping_room(pos);
        let bytes = self.byte_len();
        shrink(&mut self.0, bytes);
    }

    /// The same, without giving memory back.
    #[inline]
    pub fn remove_keeping_room(&mut self, pos: usize) {
        let end = self.entry_end(pos);
        self.cut(pos, end, 1);
    }

    /// Takes out up to `count` elements from the one with index `index` on; returns how many.
    pub fn remove_range(&mut self, index: usize, count: usize) -> usize {
        match self.seek(index) {
            Some(pos) => self.remove_from(pos, count),
            None => 0,
        }
    }

    /// Takes out up to `count` elements from the one at `pos` on; returns how many.
    pub fn remove_from(&mut self, pos: usize, count: usize) -> usize {
        let (mut end, mut removed) = (pos, 0);
        while removed < count && self.0[end] != END {
            end = self.entry_end(end);
            removed += 1;
        }
        self.cut(pos, end, removed);
        let bytes = self.byte_len();
        shrink(&mut self.0, bytes);
        removed
    }

    /// Takes out the elements for which `unwanted` says so, in one pass; returns how many.
    pub fn remove_if(&mut self, mut unwanted: impl FnMut(&Item<'_>) -> bool) -> usize {
        let end = self.end();
        let (mut read, mut written, mut removed) = (HEADER_BYTES, HEADER_BYTES, 0);
        while read < end {
            let (item, next) = item_at(&self.0, read);
            if unwanted(&item) {
                removed += 1;
            } else {
                if written < read {
                    self.0.copy_within(read..next, written);
                }
                written += next - read;
            }
            read = next;
        }
        if removed > 0 {
            self.cut(written, end, removed);
            let bytes = self.byte_len();
            shrink(&mut self.0, bytes);
        }
        removed
    }

    /// Takes out every element, keeping no memory.
    pub fn clear(&mut self) {
        *self = Listpack::new();
    }

    /// Cuts the listpack before the element at `pos` (or `end()`); returns what was behind.
    pub fn split_off(&mut self, pos: usize) -> Listpack {
        let tail = &self.0[pos..self.end()];
        let mut pack = Listpack::with_capacity(HEADER_BYTES + 1 + tail.len());
        pack.append_entries(tail, 0);
        let count = pack.iter().count();
        pack.write_header(pack.byte_len(), count);
        let left = self.len() - count;
        self.0[pos] = END;
        self.write_header(pos + 1, left);
        shrink(&mut self.0, pos + 1);
        pack
    }

    /// Appends all elements of `other`.
    pub fn append(&mut self, other: &Listpack) {
        let count = self.len() + other.len();
        self.append_entries(&other.0[HEADER_BYTES..other.end()], count);
    }

    /// The element at `pos`.
    #[inline]
    pub fn get(&self, pos: usize) -> Item<'_> {
        item_at(&self.0, pos).0
    }

    /// The element at `pos` and the position behind it; `None` at `end()`.
    #[inline]
    pub fn read(&self, pos: usize) -> Option<(Item<'_>, usize)> {
        (self.0[pos] != END).then(|| item_at(&self.0, pos))
    }

    /// The integer at `pos` and the position behind it; `None` at `end()` and for other texts.
    #[inline]
    pub fn read_int(&self, pos: usize) -> Option<(i64, usize)> {
        match self.0[pos] {
            byte @ 0x00..=0x7F => Some((byte as i64, pos + 2)),
            END => None,
            _ => {
                let (item, next) = item_at(&self.0, pos);
                Some((item.as_i64()?, next))
            }
        }
    }

    /// The position `count` elements behind `pos`, at most `end()`.
    #[inline]
    pub fn skip(&self, mut pos: usize, count: usize) -> usize {
        for _ in 0..count {
            if self.0[pos] == END {
                break;
            }
            pos = self.entry_end(pos);
        }
        pos
    }

    /// The position of the first element.
    #[inline]
    pub fn first(&self) -> Option<usize> {
        (!self.is_empty()).then_some(HEADER_BYTES)
    }

    /// The position of the last element.
    #[inline]
    pub fn last(&self) -> Option<usize> {
        self.prev(self.end())
    }

    /// The position behind the last element, where `insert` appends.
    #[inline]
    pub fn end(&self) -> usize {
        self.byte_len() - 1
    }

    /// The position after `pos`.
    #[inline]
    pub fn next(&self, pos: usize) -> Option<usize> {
        let next = self.entry_end(pos);
        (self.0[next] != END).then_some(next)
    }

    /// The position before `pos`, which may also be `end()`.
    #[inline]
    pub fn prev(&self, pos: usize) -> Option<usize> {
        if pos <= HEADER_BYTES {
            return None;
        }
        let (mut at, mut length, mut shift) = (pos - 1, 0usize, 0);
        loop {
            let byte = self.0[at];
            length |= ((byte & 127) as usize) << shift;
            if byte & 128 == 0 {
                return Some(at - length);
            }
            shift += 7;
            at -= 1;
        }
    }

    /// The position of the element with this index, walked to from the nearer end.
    pub fn seek(&self, index: usize) -> Option<usize> {
        let count = self.header_count();
        if count != COUNT_UNKNOWN && index >= count as usize {
            return None;
        }
        if count != COUNT_UNKNOWN && index > count as usize / 2 {
            let mut pos = self.last()?;
            for _ in index + 1..count as usize {
                pos = self.prev(pos)?;
            }
            return Some(pos);
        }
        let mut pos = HEADER_BYTES;
        for _ in 0..index {
            if self.0[pos] == END {
                return None;
            }
            pos = self.entry_end(pos);
        }
        (self.0[pos] != END).then_some(pos)
    }

    /// The position of the first element equal to `text` among every `skip + 1`-th one: 0 looks
    /// at all, 1 at the fields of field and value pairs.
    #[inline]
    pub fn find(&self, text: &[u8], skip: usize) -> Option<usize> {
        self.find_from(HEADER_BYTES, text, skip)
    }

    /// `find`, from the element at `pos` (or `end()`) on.
    pub fn find_from(&self, pos: usize, text: &[u8], skip: usize) -> Option<usize> {
        let block = &self.0[..self.byte_len()];
        // Parsed on the first meeting with an integer, then kept.
        let mut wanted: Option<Option<i64>> = None;
        // Names in one collection often differ only at their ends, so the last byte is looked at
        // before the rest.
        let tail = text.last();
        let mut at = pos;
        loop {
            let byte = *block.get(at)?;
            let next = if byte & 0xC0 == 0x80 {
                let start = at + 1;
                let end = start + (byte & 0x3F) as usize;
                let found = &block[start..end];
                if found.len() == text.len() && found.last() == tail && found == text {
                    return Some(at);
                }
                end + 1
            } else if byte == END {
                return None;
            } else {
                let (item, next) = item_at(block, at);
                let same = match item {
                    Item::Bytes(bytes) => bytes == text,
                    Item::Int(number) => {
                        *wanted.get_or_insert_with(|| parse_i64(text)) == Some(number)
                    }
                };
                if same {
                    return Some(at);
                }
                next
            };
            at = next;
            for _ in 0..skip {
                at = match block[at] {
                    byte @ 0x80..=0xBF => at + 2 + (byte & 0x3F) as usize,
                    END => return None,
                    _ => entry_end(block, at),
                };
            }
        }
    }

    /// The elements from first to last.
    #[inline]
    pub fn iter(&self) -> Iter<'_> {
        self.iter_from(HEADER_BYTES)
    }

    /// The elements from the one at `pos` (or `end()`) to the last.
    #[inline]
    pub fn iter_from(&self, pos: usize) -> Iter<'_> {
        Iter { block: &self.0, at: pos }
    }

    /// The elements from last to first.
    #[inline]
    pub fn iter_rev(&self) -> IterRev<'_> {
        IterRev { pack: self, at: self.end() }
    }

    /// Panics unless the blob is well-formed.
    pub fn check(&self) {
        assert!(valid(self.as_bytes()), "malformed listpack");
        assert_eq!(class(self.0.len()), self.0.len(), "capacity is not an allocator class");
    }

    #[inline]
    fn header_count(&self) -> u16 {
        u16::from_le_bytes([self.0[4], self.0[5]])
    }

    #[inline]
    fn entry_end(&self, pos: usize) -> usize {
        entry_end(&self.0, pos)
    }

    #[inline]
    fn write_header(&mut self, bytes: usize, count: usize) {
        let count = u16::try_from(count).unwrap_or(COUNT_UNKNOWN);
        self.0[..4].copy_from_slice(&(bytes as u32).to_le_bytes());
        self.0[4..6].copy_from_slice(&count.to_le_bytes());
    }

    /// Writes `entry` over the `old_bytes` at `pos`: an insertion when there are none, else the
    /// exchange of one element.
    #[inline]
    fn splice(&mut self, pos: usize, old_bytes: usize, entry: Encoded<'_>) {
        let total = self.byte_len();
        let entry_bytes = entry.bytes();
        let new_total = total - old_bytes + entry_bytes;
        grow(&mut self.0, new_total);
        if pos + old_bytes + 1 == total {
            self.0[new_total - 1] = END;
        } else if old_bytes != entry_bytes {
            self.0.copy_within(pos + old_bytes..total, pos + entry_bytes);
        }
        entry.write(&mut self.0[pos..pos + entry_bytes]);
        self.0[..4].copy_from_slice(&(new_total as u32).to_le_bytes());
        if old_bytes == 0 {
            // 65535 stands for "unknown" and stays so until something is counted anew.
            let count = self.header_count().saturating_add(1);
            self.0[4..6].copy_from_slice(&count.to_le_bytes());
        } else if new_total < total {
            shrink(&mut self.0, new_total);
        }
    }

    fn cut(&mut self, start: usize, end: usize, removed: usize) {
        let total = self.byte_len();
        let new_total = total - (end - start);
        self.0.copy_within(end..total, start);
        self.0[..4].copy_from_slice(&(new_total as u32).to_le_bytes());
        let count = match self.header_count() {
            COUNT_UNKNOWN => self.iter().count(),
            count => count as usize - removed,
        };
        self.write_header(new_total, count);
    }

    fn append_entries(&mut self, entries: &[u8], count: usize) {
        let end = self.end();
        let new_total = end + entries.len() + 1;
        grow(&mut self.0, new_total);
        self.0[end..end + entries.len()].copy_from_slice(entries);
        self.0[new_total - 1] = END;
        self.write_header(new_total, count);
    }
}

/// Elements of a listpack from first to last.
#[derive(Clone)]
pub struct Iter<'a> {
    block: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        if self.block[self.at] == END {
            return None;
        }
        let (item, next) = item_at(self.block, self.at);
        self.at = next;
        Some(item)
    }
}

/// Elements of a listpack from last to first.
#[derive(Clone)]
pub struct IterRev<'a> {
    pack: &'a Listpack,
    at: usize,
}

impl<'a> Iterator for IterRev<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        self.at = self.pack.prev(self.at)?;
        Some(self.pack.get(self.at))
    }
}

#[cfg(test)]
#[path = "listpack_tests.rs"]
mod tests;
