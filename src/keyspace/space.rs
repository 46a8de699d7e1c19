//! One numbered database: the table of its entries and the wheel of their deadlines.
//!
//! Invariant: `value_bytes` is the sum of the entries' heap bytes, `with_deadline` the number of
//! entries that carry one, and each of those has a slot in the wheel that comes due in time.

use crate::keyspace::entry::Entry;
use crate::keyspace::expire::Wheel;
use crate::types::equal::same;
use crate::types::limits::HashKey;
use crate::types::table::{Spot, Table};

/// One database.
#[derive(Debug)]
pub struct Space {
    pub(crate) table: Table<Entry, 6>,
    pub(crate) wheel: Wheel,
    with_deadline: usize,
    /// Hashes of which a field has a deadline.
    with_field_deadlines: usize,
    value_bytes: usize,
    hash_key: HashKey,
    number: u64,
}

impl Space {
    /// An empty database; allocates nothing. No two have the same `number`.
    pub fn new(hash_key: HashKey, number: u64) -> Space {
        Space {
            table: Table::new(),
            wheel: Wheel::default(),
            with_deadline: 0,
            with_field_deadlines: 0,
            value_bytes: 0,
            hash_key,
            number,
        }
    }

    /// Gives it the number of one that it takes the place of before anybody has seen that one.
    pub(crate) fn set_number(&mut self, number: u64) {
        self.number = number;
    }

    /// What tells it from every other one, whichever index it has.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Keys, those included whose time has come but that nobody has met yet.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Whether any key, or any field of a hash, has a deadline.
    #[inline]
    pub(crate) fn has_deadlines(&self) -> bool {
        self.with_deadline + self.with_field_deadlines > 0
    }

    /// Keys with a deadline.
    pub fn with_deadline(&self) -> usize {
        self.with_deadline
    }

    /// Hashes of which a field has a deadline.
    pub fn with_field_deadlines(&self) -> usize {
        self.with_field_deadlines
    }

    /// Heap bytes of everything in it.
    pub fn heap_bytes(&self) -> usize {
        self.value_bytes + self.table.heap_bytes() + self.wheel.heap_bytes()
    }

    /// Heap bytes of the table and the wheel alone.
    pub fn overhead_bytes(&self) -> usize {
        self.table.heap_bytes() + self.wheel.heap_bytes()
    }

    #[inline]
    pub(crate) fn find(&self, hash: u64, key: &[u8]) -> Option<&Entry> {
        self.table.find(hash, |entry| same(entry.key(), key))
    }

    #[inline]
    pub(crate) fn find_mut(&mut self, hash: u64, key: &[u8]) -> Option<&mut Entry> {
        self.table.find_mut(hash, |entry| same(entry.key(), key))
    }

    /// Where the entry of a key lies now.
    #[inline]
    pub(crate) fn spot(&self, hash: u64, key: &[u8]) -> Option<Spot> {
        self.table.spot(hash, |entry| same(entry.key(), key))
    }

    /// The entry of a key that was at `spot`; it is looked for if it has moved.
    #[inline]
    pub(crate) fn find_again(&mut self, spot: Spot, hash: u64, key: &[u8]) -> Option<&mut Entry> {
        if self.table.at_mut(spot).is_some_and(|entry| same(entry.key(), key)) {
            return self.table.at_mut(spot);
        }
        self.find_mut(hash, key)
    }

    /// Adds an entry whose key is not there.
    pub(crate) fn insert(&mut self, hash: u64, entry: Entry, now_ms: i64) {
        self.value_bytes += entry.heap_bytes();
        if let Some(deadline_ms) = entry.deadline_ms() {
            self.with_deadline += 1;
            self.remember(hash, deadline_ms, now_ms);
        }
        self.fields_due_changed(hash, None, entry.fields_due_ms(), now_ms);
        let hash_key = self.hash_key;
        self.table.insert(hash, entry, |entry| hash_key.hash(entry.key()));
    }

    /// Makes room for more keys that are on their way, so that segments need not split again and
    /// again; `announced` is how many there are said to be. What is reserved stays in proportion
    /// to what has come.
    pub(crate) fn make_room(&mut self, announced: usize) {
        const FROM_KEYS: usize = 4096;
        const AHEAD: usize = 8;
        let (keys, hash_key) = (self.len(), self.hash_key);
        let is_nearly_full = keys * 5 >= self.table.slots() * 4;
        if keys >= FROM_KEYS && is_nearly_full && announced > keys + keys / 4 {
            let count = announced.min(keys * AHEAD);
            self.table.widen(count, Entry::prefetch, |entry| hash_key.hash(entry.key()));
        }
    }

    pub(crate) fn remove(&mut self, hash: u64, key: &[u8]) -> Option<Entry> {
        let entry = self.table.remove(hash, |entry| same(entry.key(), key))?;
        self.value_bytes -= entry.heap_bytes();
        self.with_deadline -= entry.deadline_ms().is_some() as usize;
        self.with_field_deadlines -= entry.fields_due_ms().is_some() as usize;
        Some(entry)
    }

    /// A value has become larger or smaller where it lies.
    #[inline]
    pub(crate) fn resized(&mut self, before_bytes: usize, after_bytes: usize) {
        self.value_bytes = self.value_bytes + after_bytes - before_bytes;
    }

    /// Puts another entry in the place of the one with the same key, which is returned.
    pub(crate) fn replace(&mut self, hash: u64, entry: Entry, now_ms: i64) -> Option<Entry> {
        let slot = self.table.find_mut(hash, |old| same(old.key(), entry.key()))?;
        let (added, deadline_ms) = (entry.heap_bytes(), entry.deadline_ms());
        let fields_due_ms = entry.fields_due_ms();
        let old = std::mem::replace(slot, entry);
        self.value_bytes = self.value_bytes + added - old.heap_bytes();
        self.deadline_changed(hash, old.deadline_ms(), deadline_ms, now_ms);
        self.fields_due_changed(hash, old.fields_due_ms(), fields_due_ms, now_ms);
        Some(old)
    }

    /// Keeps count and wheel in step with a deadline that came, went or moved.
    #[inline]
    pub(crate) fn deadline_changed(
        &mut self,
        hash: u64,
        before_ms: Option<i64>,
        after_ms: Option<i64>,
        now_ms: i64,
    ) {
        if before_ms.is_none() && after_ms.is_none() {
            return;
        }
        self.with_deadline -= before_ms.is_some() as usize;
        self.with_deadline += after_ms.is_some() as usize;
        if let Some(after_ms) = after_ms {
            // The slot of an earlier deadline comes up before the new one and moves on then.
            if before_ms.is_none_or(|before_ms| after_ms < before_ms) {
                self.remember(hash, after_ms, now_ms);
            }
        }
    }

    /// The same for the soonest deadline of a hash's fields.
    #[inline]
    pub(crate) fn fields_due_changed(
        &mut self,
        hash: u64,
        before_ms: Option<i64>,
        after_ms: Option<i64>,
        now_ms: i64,
    ) {
        if before_ms == after_ms {
            return;
        }
        self.with_field_deadlines -= before_ms.is_some() as usize;
        self.with_field_deadlines += after_ms.is_some() as usize;
        if let Some(after_ms) = after_ms {
            if before_ms.is_none_or(|before_ms| after_ms < before_ms) {
                self.remember(hash, after_ms, now_ms);
            }
        }
    }

    fn remember(&mut self, hash: u64, deadline_ms: i64, now_ms: i64) {
        let alive = self.with_deadline + self.with_field_deadlines;
        if self.wheel.len() > 2 * alive + 4096 {
            self.sweep_stale(now_ms);
        }
        self.wheel.insert(hash, deadline_ms, now_ms);
    }

    /// Whether slots of the wheel are of keys that are gone, or lie there twice.
    pub(crate) fn has_stale(&self) -> bool {
        self.wheel.len() > self.with_deadline + self.with_field_deadlines
    }

    /// Looks at one chunk of the wheel: its stale slots are gone then.
    pub(crate) fn sweep_stale(&mut self, now_ms: i64) {
        for hash in self.wheel.sweep_chunk() {
            if let Some((_, due_ms)) = self.due_entry(hash) {
                self.wheel.insert(hash, due_ms, now_ms);
            }
        }
    }

    /// The entry with this hash that will be due.
    fn due_entry(&self, hash: u64) -> Option<(&Entry, i64)> {
        let hash_key = self.hash_key;
        let entry = self
            .table
            .find(hash, |entry| entry.due_ms().is_some() && hash_key.hash(entry.key()) == hash)?;
        entry.due_ms().map(|due_ms| (entry, due_ms))
    }

    /// The next key of which something is due, after at most `looks` looks at the wheel; the
    /// second figure is the number of looks left.
    pub(crate) fn next_due(&mut self, now_ms: i64, looks: usize) -> (Option<Box<[u8]>>, usize) {
        for left in (0..looks).rev() {
            let Some(hash) = self.wheel.pop_due() else { return (None, 0) };
            match self.due_entry(hash) {
                Some((entry, due_ms)) if due_ms <= now_ms => {
                    return (Some(entry.key().into()), left)
                }
                Some((_, due_ms)) => self.wheel.insert(hash, due_ms, now_ms),
                None => {}
            }
        }
        (None, 0)
    }

    /// Puts a key down again whose slot has been taken out of the wheel.
    pub(crate) fn put_down_again(&mut self, hash: u64, now_ms: i64) {
        match self.due_entry(hash).map(|(_, due_ms)| due_ms) {
            Some(due_ms) if due_ms <= now_ms => self.wheel.due_again(hash),
            Some(due_ms) => self.wheel.insert(hash, due_ms, now_ms),
            None => {}
        }
    }

    /// The key with this hash, if it has a deadline itself.
    pub(crate) fn entry_with_deadline(&self, hash: u64) -> Option<&Entry> {
        let hash_key = self.hash_key;
        self.table
            .find(hash, |entry| entry.deadline_ms().is_some() && hash_key.hash(entry.key()) == hash)
    }

    /// Panics when a figure is not the sum of the entries'.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        let sum = |figure: fn(&Entry) -> usize| self.table.iter().map(figure).sum::<usize>();
        assert_eq!(self.value_bytes, sum(Entry::heap_bytes));
        assert_eq!(self.with_deadline, sum(|entry| entry.deadline_ms().is_some() as usize));
        let dated = sum(|entry| entry.fields_due_ms().is_some() as usize);
        assert_eq!(self.with_field_deadlines, dated);
    }

    /// Takes a bounded number of entries out of an abandoned database; `None` when it is empty.
    pub(crate) fn pop_chunk(&mut self) -> Option<Vec<Entry>> {
        let entries = self.table.pop_segment()?;
        self.value_bytes -= entries.iter().map(Entry::heap_bytes).sum::<usize>();
        Some(entries)
    }
}
