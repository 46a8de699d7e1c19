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
//! Invariant: the blob is a valid listpack at all times (`valid` is the definition), so reading
//! needs no checks beyond the language's own.

mod room;

use super::blob::Blob;
use super::entry::Item;
use super::entry::{entry_end, item_at, valid, Encoded};
use crate::types::number::parse_i64;
use crate::types::shared::Sharable;

pub(super) const HEADER_BYTES: usize = 6;
pub(super) const END: u8 = 0xFF;
pub(super) const COUNT_UNKNOWN: u16 = u16::MAX;
/// The largest listpack that any command may build: 1 GiB, as in Redis.
const SAFE_BYTES: usize = 1 << 30;

/// A packed list of strings and integers. See the module's text for positions.
#[derive(Clone)]
pub struct Listpack(Blob);

impl Sharable for Listpack {
    fn copy_bytes(&self) -> usize {
        self.0.copy_bytes()
    }
}

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
        Listpack(Blob::new(vec![HEADER_BYTES as u8 + 1, 0, 0, 0, 0, 0, END]))
    }

    /// An empty listpack with room for `bytes` in all, for those who know what will come.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut pack = Listpack::new();
        pack.grow(bytes);
        pack
    }

    /// Takes over foreign bytes; `None` unless they are one whole, well-formed listpack.
    pub fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        valid(&bytes).then(|| Listpack(Blob::new(bytes)))
    }

    /// The blob, as files carry it.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        let blob = self.blob();
        &blob[..first_word(blob) as usize]
    }

    /// Bytes of the blob.
    #[inline]
    pub fn byte_len(&self) -> usize {
        first_word(self.blob()) as usize
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
        self.0.heap_bytes()
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

    /// Appends what `fill` pushes, at the cost of one change.
    #[inline]
    pub fn extend(&mut self, fill: impl FnOnce(&mut Appender<'_>)) {
        let at = self.end();
        let mut appender = Appender { pack: self, at, count: 0 };
        fill(&mut appender);
        let Appender { at, count, .. } = appender;
        // 65535 stands for "unknown" and stays so until something is counted anew.
        let count = self.header_count().saturating_add(count);
        let blob = self.blob_mut();
        blob[at] = END;
        blob[..4].copy_from_slice(&(at as u32 + 1).to_le_bytes());
        blob[4..HEADER_BYTES].copy_from_slice(&count.to_le_bytes());
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
        self.shrink();
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
        while removed < count && self.blob()[end] != END {
            end = self.entry_end(end);
            removed += 1;
        }
        self.cut(pos, end, removed);
        self.shrink();
        removed
    }

    /// Takes out the elements for which `unwanted` says so, in one pass; returns how many.
    pub fn remove_if(&mut self, mut unwanted: impl FnMut(&Item<'_>) -> bool) -> usize {
        let end = self.end();
        let (mut read, mut written, mut removed) = (HEADER_BYTES, HEADER_BYTES, 0);
        while read < end {
            let (item, next) = item_at(self.blob(), read);
            if unwanted(&item) {
                removed += 1;
            } else {
                if written < read {
                    self.blob_mut().copy_within(read..next, written);
                }
                written += next - read;
            }
            read = next;
        }
        if removed > 0 {
            self.cut(written, end, removed);
            self.shrink();
        }
        removed
    }

    /// Takes out every element, keeping no memory.
    pub fn clear(&mut self) {
        *self = Listpack::new();
    }

    /// Cuts the listpack before the element at `pos` (or `end()`); returns what was behind.
    pub fn split_off(&mut self, pos: usize) -> Listpack {
        let tail = &self.blob()[pos..self.end()];
        let mut pack = Listpack::with_capacity(HEADER_BYTES + 1 + tail.len());
        pack.append_entries(tail, 0);
        let count = pack.iter().count();
        pack.write_header(pack.byte_len(), count);
        let left = self.len() - count;
        self.blob_mut()[pos] = END;
        self.write_header(pos + 1, left);
        self.shrink();
        pack
    }

    /// Appends all elements of `other`.
    pub fn append(&mut self, other: &Listpack) {
        let count = self.len() + other.len();
        self.append_entries(&other.blob()[HEADER_BYTES..other.end()], count);
    }

    /// The element at `pos`.
    #[inline]
    pub fn get(&self, pos: usize) -> Item<'_> {
        item_at(self.blob(), pos).0
    }

    /// The element at `pos` and the position behind it; `None` at `end()`.
    #[inline]
    pub fn read(&self, pos: usize) -> Option<(Item<'_>, usize)> {
        (self.blob()[pos] != END).then(|| item_at(self.blob(), pos))
    }

    /// The integer at `pos` and the position behind it; `None` at `end()` and for other texts.
    #[inline]
    pub fn read_int(&self, pos: usize) -> Option<(i64, usize)> {
        match self.blob()[pos] {
            byte @ 0x00..=0x7F => Some((byte as i64, pos + 2)),
            END => None,
            _ => {
                let (item, next) = item_at(self.blob(), pos);
                Some((item.as_i64()?, next))
            }
        }
    }

    /// The position `count` elements behind `pos`, at most `end()`.
    #[inline]
    pub fn skip(&self, mut pos: usize, count: usize) -> usize {
        for _ in 0..count {
            if self.blob()[pos] == END {
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
        (self.blob()[next] != END).then_some(next)
    }

    /// The position before `pos`, which may also be `end()`.
    #[inline]
    pub fn prev(&self, pos: usize) -> Option<usize> {
        if pos <= HEADER_BYTES {
            return None;
        }
        let (mut at, mut length, mut shift) = (pos - 1, 0usize, 0);
        loop {
            let byte = self.blob()[at];
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
            if self.blob()[pos] == END {
                return None;
            }
            pos = self.entry_end(pos);
        }
        (self.blob()[pos] != END).then_some(pos)
    }

    /// The position of the first element equal to `text` among every `skip + 1`-th one: 0 looks
    /// at all, 1 at the fields of field and value pairs.
    #[inline]
    pub fn find(&self, text: &[u8], skip: usize) -> Option<usize> {
        self.find_from(HEADER_BYTES, text, skip)
    }

    /// `find`, from the element at `pos` (or `end()`) on.
    pub fn find_from(&self, pos: usize, text: &[u8], skip: usize) -> Option<usize> {
        let block = self.as_bytes();
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
        Iter { block: self.blob(), at: pos }
    }

    /// The elements from last to first.
    #[inline]
    pub fn iter_rev(&self) -> IterRev<'_> {
        IterRev { pack: self, at: self.end() }
    }

    /// Panics unless the blob is well-formed.
    pub fn check(&self) {
        assert!(valid(self.as_bytes()), "malformed listpack");
        assert_eq!(
            crate::types::alloc::class(self.0.len()),
            self.0.len(),
            "capacity is not an allocator class"
        );
    }

    #[inline]
    fn header_count(&self) -> u16 {
        let blob = self.blob();
        u16::from_le_bytes([blob[4], blob[5]])
    }

    #[inline]
    fn entry_end(&self, pos: usize) -> usize {
        entry_end(self.blob(), pos)
    }

    #[inline]
    fn write_header(&mut self, bytes: usize, count: usize) {
        let count = u16::try_from(count).unwrap_or(COUNT_UNKNOWN);
        let blob = self.blob_mut();
        blob[..4].copy_from_slice(&(bytes as u32).to_le_bytes());
        blob[4..6].copy_from_slice(&count.to_le_bytes());
    }

    /// Writes `entry` over the `old_bytes` at `pos`: an insertion when there are none, else the
    /// exchange of one element.
    #[inline]
    fn splice(&mut self, pos: usize, old_bytes: usize, entry: Encoded<'_>) {
        let total = self.byte_len();
        let entry_bytes = entry.bytes();
        let new_total = total - old_bytes + entry_bytes;
        self.grow(new_total);
        let blob = self.blob_mut();
        if pos + old_bytes + 1 == total {
            blob[new_total - 1] = END;
        } else if old_bytes != entry_bytes {
            blob.copy_within(pos + old_bytes..total, pos + entry_bytes);
        }
        entry.write(&mut blob[pos..pos + entry_bytes]);
        blob[..4].copy_from_slice(&(new_total as u32).to_le_bytes());
        if old_bytes == 0 {
            // 65535 stands for "unknown" and stays so until something is counted anew.
            let count = u16::from_le_bytes([blob[4], blob[5]]).saturating_add(1);
            blob[4..6].copy_from_slice(&count.to_le_bytes());
        } else if new_total < total {
            self.shrink();
        }
    }

    fn cut(&mut self, start: usize, end: usize, removed: usize) {
        let total = self.byte_len();
        let new_total = total - (end - start);
        if start != HEADER_BYTES || !self.cut_front(end - start) {
            self.blob_mut().copy_within(end..total, start);
        }
        let blob = self.blob_mut();
        blob[..4].copy_from_slice(&(new_total as u32).to_le_bytes());
        let count = match self.header_count() {
            COUNT_UNKNOWN => self.iter().count(),
            count => count as usize - removed,
        };
        self.write_header(new_total, count);
    }

    fn append_entries(&mut self, entries: &[u8], count: usize) {
        let end = self.end();
        let new_total = end + entries.len() + 1;
        self.grow(new_total);
        let blob = self.blob_mut();
        blob[end..end + entries.len()].copy_from_slice(entries);
        blob[new_total - 1] = END;
        self.write_header(new_total, count);
    }
}

/// The first four bytes as a number.
#[inline(always)]
fn first_word(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |word| u32::from_le_bytes(*word))
}

/// Pushes to the end of a listpack that is whole again afterwards: [`Listpack::extend`].
pub struct Appender<'a> {
    pack: &'a mut Listpack,
    at: usize,
    count: u16,
}

impl Appender<'_> {
    /// Appends an element.
    #[inline]
    pub fn push(&mut self, text: &[u8]) {
        self.write(&Encoded::new(text));
    }

    /// Appends an integer.
    #[inline]
    pub fn push_int(&mut self, number: i64) {
        self.write(&Encoded::int(number));
    }

    #[inline]
    fn write(&mut self, entry: &Encoded<'_>) {
        let end = self.at + entry.bytes();
        if end >= self.pack.blob().len() {
            // What has been written so far must move along.
            self.pack.blob_mut()[..4].copy_from_slice(&(self.at as u32).to_le_bytes());
            self.pack.grow(end + 1);
        }
        entry.write(&mut self.pack.blob_mut()[self.at..end]);
        (self.at, self.count) = (end, self.count.saturating_add(1));
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
