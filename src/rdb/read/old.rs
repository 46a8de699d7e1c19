//! Values packed in the formats of yesterday: the ziplist (before Redis 7.0) and the zipmap
//! (before 2.6).
//!
//! A ziplist is four bytes of total size, four of the last entry's place, two of count (65535:
//! count them), the entries, 0xFF. An entry is the length of the one before (a byte, or 254 and
//! four bytes), its encoding, its data. A zipmap is a byte of count (254: count them) and pairs:
//! length and key, length, a byte that says how many spare bytes follow the value, value, spare
//! bytes; 0xFF ends it. All of them are little-endian, but for the lengths of strings in ziplists.

use super::{Reader, Result};
use crate::keyspace::value::{List, Value};
use crate::types::compact::{Item, Listpack};
use crate::types::list::End;
use std::io::Read;

const END: u8 = 0xff;

/// Shows `visit` every element; `None` when the bytes are not one whole ziplist or `visit` has
/// seen enough.
fn walk_ziplist(bytes: &[u8], mut visit: impl FnMut(Item<'_>) -> Option<()>) -> Option<()> {
    const HEADER_BYTES: usize = 10;
    let (&[a, b, c, d, e, f, g, h, i, j], _) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let (&last, _) = bytes.split_last()?;
    let size = u32::from_le_bytes([a, b, c, d]) as usize;
    let tail = u32::from_le_bytes([e, f, g, h]) as usize;
    let stated_count = u16::from_le_bytes([i, j]);
    if size != bytes.len() || size <= HEADER_BYTES || last != END {
        return None;
    }
    let (mut at, mut before, mut count) = (HEADER_BYTES, HEADER_BYTES, 0usize);
    while at < size - 1 {
        let (item, end) = ziplist_entry(&bytes[..size - 1], at, at - before)?;
        visit(item)?;
        (before, at) = (at, end);
        count += 1;
    }
    let is_counted = stated_count == u16::MAX || usize::from(stated_count) == count;
    (is_counted && tail == before).then_some(())
}

/// The entry at `at`, behind one of `before_bytes`, and its end.
fn ziplist_entry(bytes: &[u8], at: usize, before_bytes: usize) -> Option<(Item<'_>, usize)> {
    const LONG: u8 = 254;
    let (stated, at) = match *bytes.get(at)? {
        LONG => (u32::from_le_bytes(array(bytes, at + 1)?) as usize, at + 5),
        END => return None,
        short => (usize::from(short), at + 1),
    };
    if stated != before_bytes {
        return None;
    }
    let encoding = *bytes.get(at)?;
    let integer = |width: usize| -> Option<(Item<'_>, usize)> {
        let data = bytes.get(at + 1..at + 1 + width)?;
        let fill = if data.last()? & 0x80 != 0 { 0xff } else { 0 };
        let mut wide = [fill; 8];
        wide[..width].copy_from_slice(data);
        Some((Item::Int(i64::from_le_bytes(wide)), at + 1 + width))
    };
    let (start, length) = match encoding {
        0x00..=0x3f => (at + 1, usize::from(encoding)),
        0x40..=0x7f => {
            (at + 2, usize::from(encoding & 0x3f) << 8 | usize::from(*bytes.get(at + 1)?))
        }
        0x80 => (at + 5, u32::from_be_bytes(array(bytes, at + 1)?) as usize),
        0xc0 => return integer(2),
        0xd0 => return integer(4),
        0xe0 => return integer(8),
        0xf0 => return integer(3),
        0xfe => return integer(1),
        0xf1..=0xfd => return Some((Item::Int(i64::from(encoding & 0x0f) - 1), at + 1)),
        _ => return None,
    };
    let end = start.checked_add(length)?;
    Some((Item::Bytes(bytes.get(start..end)?), end))
}

fn array(bytes: &[u8], at: usize) -> Option<[u8; 4]> {
    bytes.get(at..at + 4)?.try_into().ok()
}

/// Shows `visit` every key and value; `None` when the bytes are not one whole zipmap or `visit`
/// has seen enough.
fn walk_zipmap(bytes: &[u8], mut visit: impl FnMut(&[u8], &[u8]) -> Option<()>) -> Option<()> {
    const UNCOUNTED: u8 = 254;
    let (&stated_count, _) = bytes.split_first()?;
    let (mut at, mut count) = (1, 0usize);
    while *bytes.get(at)? != END {
        let (key, behind) = zipmap_length(bytes, at)?;
        let key = behind..behind.checked_add(key)?;
        let (value, behind) = zipmap_length(bytes, key.end)?;
        let spare = usize::from(*bytes.get(behind)?);
        let value = behind + 1..(behind + 1).checked_add(value)?;
        at = value.end + spare;
        visit(bytes.get(key)?, bytes.get(value)?)?;
        count += 1;
    }
    let is_counted = stated_count >= UNCOUNTED || usize::from(stated_count) == count;
    // Redis: an empty one is damaged, not a key without fields.
    (is_counted && count > 0 && at + 1 == bytes.len()).then_some(())
}

/// A length of a zipmap, and where it ends.
fn zipmap_length(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    match *bytes.get(at)? {
        254 => Some((u32::from_le_bytes(array(bytes, at + 1)?) as usize, at + 5)),
        END => None,
        short => Some((usize::from(short), at + 1)),
    }
}

/// The elements of a ziplist as a listpack.
fn listpack_of(ziplist: &[u8]) -> Option<Listpack> {
    let mut pack = Listpack::with_capacity(ziplist.len());
    walk_ziplist(ziplist, |item| {
        match item {
            Item::Int(number) => pack.push_back_int(number),
            Item::Bytes(text) => pack.push_back(text),
        }
        pack.has_room(0).then_some(())
    })?;
    Some(pack)
}

impl<R: Read> Reader<R> {
    fn ziplist(&mut self, fault: &'static str) -> Result<Listpack> {
        let bytes = self.source.owned()?;
        match listpack_of(&bytes) {
            Some(pack) => Ok(pack),
            None => self.source.damaged(fault),
        }
    }

    /// A list that is one ziplist.
    pub(super) fn ziplist_list(&mut self) -> Result<Option<Value>> {
        let bytes = self.source.owned()?;
        let (mut list, limits) = (List::new(), &self.rules.limits);
        let walked = walk_ziplist(&bytes, |item| {
            item.with_bytes(|element| list.push(End::Right, element, limits));
            Some(())
        });
        match walked {
            None => self.source.damaged("List ziplist integrity check failed"),
            Some(()) => Ok((!list.is_empty()).then(|| Value::List(Box::new(list)))),
        }
    }

    /// A list of ziplists.
    pub(super) fn ziplists(&mut self) -> Result<Option<Value>> {
        let mut list = List::new();
        for _ in 0..self.source.length()? {
            list.append_packed(self.ziplist("Ziplist integrity check failed")?);
        }
        list.settle(&self.rules.limits);
        Ok((!list.is_empty()).then(|| Value::List(Box::new(list))))
    }

    pub(super) fn ziplist_sorted_set(&mut self) -> Result<Option<Value>> {
        const FAULT: &str = "Zset ziplist integrity check failed";
        let pack = self.ziplist(FAULT)?;
        self.sorted_set_of(pack, FAULT)
    }

    pub(super) fn ziplist_hash(&mut self) -> Result<Option<Value>> {
        const FAULT: &str = "Hash ziplist integrity check failed";
        let pack = self.ziplist(FAULT)?;
        self.hash_of(&pack, false, FAULT)
    }

    pub(super) fn zipmap(&mut self) -> Result<Option<Value>> {
        const FAULT: &str = "Zipmap integrity check failed";
        let bytes = self.source.owned()?;
        let (mut pack, mut longest) = (Listpack::new(), 0);
        let walked = walk_zipmap(&bytes, |key, value| {
            longest = longest.max(key.len()).max(value.len());
            pack.push_back(key);
            pack.push_back(value);
            pack.has_room(0).then_some(())
        });
        if walked.is_none() {
            return self.source.damaged(FAULT);
        }
        let hash = self.hash_of(&pack, false, FAULT)?;
        Ok(hash.map(|mut value| {
            if let Value::Hash(hash) = &mut value {
                hash.prepare(0, longest, &self.rules.limits);
            }
            value
        }))
    }
}
