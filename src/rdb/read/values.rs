//! Values: strings and collections whose parts stand one by one.

use super::{module_name, Reader, Result};
use crate::keyspace::entry::{Entry, NewValue, INLINE_BYTES_MAX};
use crate::keyspace::value::{Hash, List, Set, SortedSet, Value};
use crate::rdb::codes;
use crate::rdb::fault::Reason;
use crate::rdb::source::{Form, Text};
use crate::types::list::End;
use crate::types::number::{parse_f64, parse_i64};
use crate::types::sorted_set::Gather;
use std::io::Read;

/// Where the deadlines of a hash's fields stand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deadlines {
    None,
    /// Before the field, absolute; 0 for none.
    First,
    /// Before the field, as the distance to this one, plus 1.
    FirstFrom(i64),
    /// After the value, absolute; -1 for none.
    Last,
}

impl<R: Read> Reader<R> {
    /// The value of this type that comes next, as an entry under the key that was read; `None`
    /// for a collection without members.
    pub(in crate::rdb) fn entry(
        &mut self,
        kind: u8,
        deadline_ms: Option<i64>,
    ) -> Result<Option<Entry>> {
        if kind == codes::STRING {
            return self.string_entry(deadline_ms).map(Some);
        }
        let Some(value) = self.collection(kind)? else { return Ok(None) };
        Ok(Some(Entry::new(&self.key, NewValue::Owned(value), deadline_ms, 0)))
    }

    fn string_entry(&mut self, deadline_ms: Option<i64>) -> Result<Entry> {
        let form = self.source.form()?;
        if let Form::Plain(length) | Form::Packed { length, .. } = form {
            if length > INLINE_BYTES_MAX as u64 {
                let text = Value::Str(self.source.body_owned(form)?.into());
                return Ok(Entry::new(&self.key, NewValue::Owned(text), deadline_ms, 0));
            }
        }
        let value = match self.source.body(form)? {
            Text::Int(number) => NewValue::Int(number),
            Text::Bytes(bytes) => match parse_i64(bytes) {
                Some(number) => NewValue::Int(number),
                None => NewValue::Bytes(bytes),
            },
        };
        Ok(Entry::new(&self.key, value, deadline_ms, 0))
    }

    fn collection(&mut self, kind: u8) -> Result<Option<Value>> {
        let is_valkeys = super::VALKEY.contains(&self.version);
        match kind {
            codes::LIST => self.list(),
            codes::SET => self.set(),
            codes::ZSET => self.sorted_set(|reader| reader.score_text()),
            codes::ZSET_2 => {
                self.sorted_set(|reader| reader.source.array().map(f64::from_le_bytes))
            }
            codes::HASH => self.hash(Deadlines::None),
            codes::HASH_2 if is_valkeys => self.hash(Deadlines::Last),
            codes::HASH_METADATA_PRE_GA => self.hash(Deadlines::First),
            codes::HASH_METADATA => {
                let soonest_ms = self.source.time()?;
                self.hash(Deadlines::FirstFrom(soonest_ms))
            }
            codes::LIST_QUICKLIST_2 => self.packed_list(),
            codes::SET_INTSET => self.integers(),
            codes::SET_LISTPACK => self.packed_set(),
            codes::ZSET_LISTPACK => self.packed_sorted_set(),
            codes::HASH_LISTPACK => self.packed_hash(false),
            codes::HASH_LISTPACK_EX_PRE_GA => self.packed_hash(true),
            codes::HASH_LISTPACK_EX => {
                // The soonest deadline stands among the others.
                self.source.time()?;
                self.packed_hash(true)
            }
            codes::HASH_ZIPMAP => self.zipmap(),
            codes::LIST_ZIPLIST => self.ziplist_list(),
            codes::LIST_QUICKLIST => self.ziplists(),
            codes::ZSET_ZIPLIST => self.ziplist_sorted_set(),
            codes::HASH_ZIPLIST => self.ziplist_hash(),
            codes::STREAM | codes::STREAM_2 | codes::STREAM_3 => self.stream(kind).map(Some),
            codes::MODULE_2 => {
                let name = module_name(self.source.length()?);
                Err(self.source.fault(Reason::Module(name)))
            }
            codes::MODULE_PRE_GA => self.source.damaged("pre-release module format not supported"),
            _ => Err(self.source.fault(Reason::Unknown(kind))),
        }
    }

    fn list(&mut self) -> Result<Option<Value>> {
        let count = self.source.length()?;
        let mut list = List::new();
        for _ in 0..count {
            let limits = &self.rules.limits;
            self.source.text()?.with_bytes(|element| list.push(End::Right, element, limits));
        }
        list.settle(&self.rules.limits);
        Ok((count > 0).then(|| Value::List(Box::new(list))))
    }

    fn set(&mut self) -> Result<Option<Value>> {
        let count = self.source.length()?;
        let mut set = Set::new();
        set.announce(usize::try_from(count).unwrap_or(usize::MAX), &self.rules.limits);
        for _ in 0..count {
            let limits = &self.rules.limits;
            if !self.source.text()?.with_bytes(|member| set.add(member, limits)) {
                return self.source.damaged("Duplicate set members detected");
            }
        }
        Ok((count > 0).then(|| Value::Set(Box::new(set))))
    }

    fn sorted_set(
        &mut self,
        mut score: impl FnMut(&mut Self) -> Result<f64>,
    ) -> Result<Option<Value>> {
        let count = self.source.length()?;
        let mut gather = Gather::new(&self.rules.limits);
        let (mut member, mut longest) = (Vec::new(), 0);
        for _ in 0..count {
            member.clear();
            self.source.text()?.with_bytes(|bytes| member.extend_from_slice(bytes));
            longest = longest.max(member.len());
            let score = score(self)?;
            if score.is_nan() {
                return self.source.damaged("Zset with NAN score detected");
            }
            let before = gather.len();
            gather.put(&member, score, |_, new| new);
            if gather.len() == before {
                return self.source.damaged("Duplicate zset fields detected");
            }
        }
        let mut set: SortedSet = gather.finish();
        set.shrink_to_fit(&self.rules.limits);
        Ok((count > 0).then(|| Value::SortedSet(Box::new(set))))
    }

    /// A score as files before version 8 have it: a length and digits, or one of three words.
    fn score_text(&mut self) -> Result<f64> {
        match self.source.byte()? {
            255 => Ok(f64::NEG_INFINITY),
            254 => Ok(f64::INFINITY),
            253 => Ok(f64::NAN),
            length => {
                let text = self.source.plain(u64::from(length))?;
                let score = parse_f64(text.trim_ascii());
                score.ok_or_else(|| {
                    self.source.fault(Reason::Damaged("a score that is no number".into()))
                })
            }
        }
    }

    fn hash(&mut self, deadlines: Deadlines) -> Result<Option<Value>> {
        let count = self.source.length()?;
        let mut hash = Hash::new();
        hash.prepare(usize::try_from(count).unwrap_or(usize::MAX), 0, &self.rules.limits);
        let mut field = Vec::new();
        for _ in 0..count {
            let mut deadline_ms = match deadlines {
                Deadlines::None | Deadlines::Last => None,
                Deadlines::First => {
                    self.source.length().map(|at| (at != 0).then_some(at as i64))?
                }
                Deadlines::FirstFrom(soonest_ms) => match self.source.length()? {
                    0 => None,
                    ahead => Some(soonest_ms.wrapping_add(ahead as i64).wrapping_sub(1)),
                },
            };
            field.clear();
            self.source.text()?.with_bytes(|bytes| field.extend_from_slice(bytes));
            let form = self.source.form()?;
            let mut value = Vec::new();
            if deadlines == Deadlines::Last {
                value = self.source.body_owned(form)?;
                deadline_ms = Some(self.source.time()?).filter(|&at| at != -1);
            }
            let text = match deadlines {
                Deadlines::Last => Text::Bytes(&value),
                _ => self.source.body(form)?,
            };
            let limits = &self.rules.limits;
            let is_new = text.with_bytes(|value| hash.add_new(&field, value, deadline_ms, limits));
            if !is_new {
                return self.source.damaged("Duplicate hash fields detected");
            }
        }
        Ok((count > 0).then(|| Value::Hash(Box::new(hash))))
    }
}
