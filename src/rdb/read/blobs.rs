//! Values packed in the formats of today: listpacks and integer sets.

use super::{Reader, Result};
use crate::keyspace::value::{Hash, List, Set, SortedSet, Value};
use crate::rdb::codes;
use crate::types::compact::{Intset, Item, Listpack};
use std::io::Read;

impl<R: Read> Reader<R> {
    /// A string that must be a listpack.
    pub(super) fn listpack(&mut self, fault: &'static str) -> Result<Listpack> {
        let bytes = self.source.owned()?;
        self.checked_blobs += 1;
        match Listpack::from_bytes(bytes) {
            Some(pack) => Ok(pack),
            None => self.source.damaged(fault),
        }
    }

    /// A list of listpacks and large elements; empty parts are skipped.
    pub(super) fn packed_list(&mut self) -> Result<Option<Value>> {
        let mut list = List::new();
        for _ in 0..self.source.length()? {
            match self.source.length()? {
                codes::NODE_PACKED => {
                    list.append_packed(self.listpack("Listpack integrity check failed")?);
                }
                codes::NODE_PLAIN => {
                    let element = self.source.owned()?;
                    if element.is_empty() {
                        return self.source.damaged("Empty part of a list");
                    }
                    list.append_plain(element.into_boxed_slice());
                }
                _ => return self.source.damaged("Quicklist integrity check failed"),
            }
        }
        list.settle(&self.rules.limits);
        Ok((!list.is_empty()).then(|| Value::List(Box::new(list))))
    }

    pub(super) fn integers(&mut self) -> Result<Option<Value>> {
        let bytes = self.source.owned()?;
        self.checked_blobs += 1;
        let Some(integers) = Intset::from_bytes(bytes) else {
            return self.source.damaged("Intset integrity check failed");
        };
        if integers.is_empty() {
            return Ok(None);
        }
        Ok(Some(Value::Set(Box::new(Set::from_intset(integers, &self.rules.limits)))))
    }

    pub(super) fn packed_set(&mut self) -> Result<Option<Value>> {
        const FAULT: &str = "Set listpack integrity check failed";
        let pack = self.listpack(FAULT)?;
        if pack.is_empty() {
            return Ok(None);
        }
        match Set::from_listpack(pack, &self.rules.limits) {
            Some(set) => Ok(Some(Value::Set(Box::new(set)))),
            None => self.source.damaged(FAULT),
        }
    }

    pub(super) fn packed_sorted_set(&mut self) -> Result<Option<Value>> {
        let pack = self.listpack("Zset listpack integrity check failed")?;
        self.sorted_set_of(pack, "Zset listpack integrity check failed")
    }

    /// A sorted set from a listpack of members and scores.
    pub(super) fn sorted_set_of(
        &mut self,
        pack: Listpack,
        fault: &'static str,
    ) -> Result<Option<Value>> {
        if pack.is_empty() {
            return Ok(None);
        }
        let count = pack.len() / 2;
        let Some(mut set) = SortedSet::from_listpack(pack, &self.rules.limits) else {
            return self.source.damaged(fault);
        };
        set.expect(count, 0, &self.rules.limits);
        Ok(Some(Value::SortedSet(Box::new(set))))
    }

    pub(super) fn packed_hash(&mut self, dated: bool) -> Result<Option<Value>> {
        const FAULT: &str = "Hash listpack integrity check failed";
        let pack = self.listpack(FAULT)?;
        self.hash_of(&pack, dated, FAULT)
    }

    /// A hash from a listpack of fields, values and, when `dated`, deadlines.
    pub(super) fn hash_of(
        &mut self,
        pack: &Listpack,
        dated: bool,
        fault: &'static str,
    ) -> Result<Option<Value>> {
        if pack.is_empty() {
            return Ok(None);
        }
        match hash_from(pack, dated, &self.rules.limits) {
            Some(hash) => Ok(Some(Value::Hash(Box::new(hash)))),
            None => self.source.damaged(fault),
        }
    }
}

fn hash_from(pack: &Listpack, dated: bool, limits: &crate::types::limits::Limits) -> Option<Hash> {
    if !dated && pack.len() / 2 <= limits.hash_max_listpack_entries {
        if let Some(hash) = Hash::of_distinct(pack, limits) {
            return Some(hash);
        }
    }
    let mut hash = Hash::new();
    // Redis: only the number of fields counts here, not their length.
    hash.prepare(pack.len() / if dated { 3 } else { 2 }, 0, limits);
    if dated {
        hash.keep_deadlines();
    }
    let mut items = pack.iter();
    while let Some(field) = items.next() {
        let value = items.next()?;
        let deadline_ms = match dated {
            true => items.next()?.as_i64().filter(|&at| at != 0),
            false => None,
        };
        let add = |field: &[u8], value: &[u8]| hash.add_as_it_is(field, value, deadline_ms);
        if !with_both(field, value, add) {
            return None;
        }
    }
    Some(hash)
}

fn with_both<T>(one: Item<'_>, other: Item<'_>, read: impl FnOnce(&[u8], &[u8]) -> T) -> T {
    one.with_bytes(|one| other.with_bytes(|other| read(one, other)))
}
