//! The entries of a stream: an ordered index of packed blocks, and the figures about them.
//!
//! Invariant: `len` is the sum of the live entries of all blocks, `first_id` is the smallest live
//! id (`0-0` when there is none), no id is above `last_id`, and a block's key is not above its
//! first entry.

use super::block::{Block, Entry, Walk};
use super::group::Group;
use super::id::{IdWish, StreamId};
use super::ordered::{Ordered, Place};
use super::trie::{self, Horizon};
use crate::types::compact::Listpack;
use crate::types::limits::Limits;

/// Redis: no block may pass 1 GiB, whatever the thresholds say, nor may one entry's texts.
const BLOCK_BYTES_MAX: usize = 1 << 30;

/// The most that a new block may reserve before it has entries, as in Redis.
const PREALLOCATED_BYTES_MAX: usize = 4096;

/// Up to where a stream is cut off at its old end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trim {
    /// At most so many entries stay.
    MaxLen(u64),
    /// No entry with a smaller id stays.
    MinId(StreamId),
}

/// Why an entry was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendError {
    /// Its id is not above the last one.
    NotAbove,
    /// Its fields and values are too long to be packed.
    TooLarge,
}

/// Everything of a stream but its groups.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    blocks: Ordered<Block>,
    block_bytes: usize,
    trie_nodes: usize,
    len: u64,
    first_id: StreamId,
    pub(super) last_id: StreamId,
    pub(super) max_deleted_id: StreamId,
    pub(super) entries_added: u64,
}

/// Finds entries by id, cheaply when the ids ascend: it goes on in the block where it stands.
pub struct Seeker<'a> {
    entries: &'a Entries,
    walk: Option<Walk<'a>>,
    /// The ids of the block: from the first on, below the second.
    span: (StreamId, Option<StreamId>),
    ahead: Option<Entry<'a>>,
    asked: StreamId,
}

/// Live entries of a range of ids, in either direction.
#[derive(Clone, Debug)]
pub struct Range<'a> {
    entries: &'a Entries,
    start: StreamId,
    end: StreamId,
    backwards: bool,
    place: Option<Place>,
    walk: Option<Walk<'a>>,
}

impl Entries {
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there are no entries. A stream without entries is still a stream.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The smallest id; `0-0` without entries.
    pub fn first_id(&self) -> StreamId {
        self.first_id
    }

    /// The largest id that was ever added or set.
    pub fn last_id(&self) -> StreamId {
        self.last_id
    }

    /// The largest id that was deleted by name, not by trimming; `0-0` for none.
    pub fn max_deleted_id(&self) -> StreamId {
        self.max_deleted_id
    }

    /// How many entries were ever added.
    pub fn entries_added(&self) -> u64 {
        self.entries_added
    }

    /// The blocks with their keys, as files carry them.
    pub fn blocks(&self) -> impl Iterator<Item = (StreamId, &Listpack)> + '_ {
        self.blocks.iter().map(|(id, block)| (id, block.pack()))
    }

    /// Number of blocks, "radix-tree-keys" in Redis's words.
    pub fn block_count(&self) -> usize {
        self.blocks.len()
    }

    /// Nodes that Redis's radix tree over the blocks' keys would have.
    pub fn trie_nodes(&self) -> usize {
        self.trie_nodes.max(1)
    }

    /// The id that an entry added at `now_ms` would get; `None` when the ids are exhausted or,
    /// for a wished millisecond, its sequences are.
    pub fn id_for(&self, wish: IdWish, now_ms: u64) -> Option<StreamId> {
        match wish {
            IdWish::Auto if now_ms > self.last_id.ms => Some(StreamId::new(now_ms, 0)),
            IdWish::Auto => self.last_id.next(),
            IdWish::Ms(ms) if ms == self.last_id.ms => {
                Some(StreamId::new(ms, self.last_id.seq.checked_add(1)?))
            }
            IdWish::Ms(ms) => Some(StreamId::new(ms, 0)),
            IdWish::Exact(id) => Some(id),
        }
    }

    /// Adds an entry whose fields and values alternate in `pairs`.
    pub fn append<B: AsRef<[u8]>>(
        &mut self,
        id: StreamId,
        pairs: &[B],
        limits: &Limits,
    ) -> Result<(), AppendError> {
        if id <= self.last_id {
            return Err(AppendError::NotAbove);
        }
        let text_bytes: usize = pairs.iter().map(|text| text.as_ref().len()).sum();
        if text_bytes > BLOCK_BYTES_MAX {
            return Err(AppendError::TooLarge);
        }
        let has_room = self.blocks.last().is_some_and(|(_, block)| {
            let bytes_max = match limits.stream_node_max_bytes {
                0 => BLOCK_BYTES_MAX,
                bytes => bytes.min(BLOCK_BYTES_MAX),
            };
            let entries_max = limits.stream_node_max_entries as u64;
            block.pack().byte_len() + text_bytes < bytes_max
                && (entries_max == 0 || block.total() < entries_max)
        });
        if has_room {
            if let Some((block_id, block)) = self.blocks.last_mut() {
                let before = block.heap_bytes();
                block.push(block_id, id, pairs);
                self.block_bytes = self.block_bytes - before + block.heap_bytes();
            }
        } else {
            let mut block = Block::new(pairs, self.close_last_block());
            block.push(id, id, pairs);
            self.insert_block(id, block);
        }
        self.len += 1;
        self.entries_added = self.entries_added.wrapping_add(1);
        self.last_id = id;
        if self.len == 1 {
            self.first_id = id;
        }
        Ok(())
    }

    /// Deletes the entry `id`; false when there is none. Remembers it as a tombstone.
    pub fn delete(&mut self, id: StreamId) -> bool {
        let Some(entry) = self.find(id) else { return false };
        let position = entry.position();
        let Some((block_id, _)) = self.blocks.floor(&id).and_then(|at| self.blocks.at(at)) else {
            return false;
        };
        if self.blocks.find(&block_id).is_some_and(|block| block.live() <= 1) {
            self.remove_block(block_id);
        } else {
            self.mark_deleted(block_id, &[position]);
        }
        self.len -= 1;
        self.max_deleted_id = self.max_deleted_id.max(id);
        if id == self.first_id || self.len == 0 {
            self.first_id = self.smallest_live_id();
        }
        true
    }

    /// Cuts entries off at the old end and says how many: exactly, or with `whole_blocks` only as
    /// far as whole blocks go. Stops before a block with which it would pass `limit` entries
    /// (0 is no limit).
    pub fn trim(&mut self, goal: Trim, whole_blocks: bool, limit: u64) -> u64 {
        let (mut removed, mut horizon) = (0, Horizon::default());
        while let Some((block_id, block)) = self.blocks.first() {
            if matches!(goal, Trim::MaxLen(len) if self.len <= len) {
                break;
            }
            let live = block.live();
            if limit != 0 && removed + live > limit {
                break;
            }
            let whole = match goal {
                Trim::MaxLen(len) => self.len - live >= len,
                Trim::MinId(id) => block.last_id(block_id) < id,
            };
            if whole {
                self.remove_first_block(&mut horizon);
                self.len -= live;
                removed += live;
                continue;
            }
            if !whole_blocks {
                let (positions, kept) = self.positions_to_trim(block_id, goal);
                self.mark_deleted(block_id, &positions);
                self.len -= positions.len() as u64;
                removed += positions.len() as u64;
                if let Some(kept) = kept {
                    self.first_id = kept;
                    return removed;
                }
            }
            break;
        }
        if removed > 0 {
            self.first_id = self.smallest_live_id();
        }
        removed
    }

    /// The live entries of the first block that an exact trim takes, and the first that it leaves.
    /// Redis: it takes all when only deleted ones are above the goal, and then the block stays
    /// without any.
    fn positions_to_trim(&self, id: StreamId, goal: Trim) -> (Vec<usize>, Option<StreamId>) {
        let mut positions = Vec::new();
        let Some(block) = self.blocks.find(&id) else { return (positions, None) };
        let mut walk = block.walk(id);
        while let Some(entry) = walk.step() {
            if entry.is_deleted() {
                continue;
            }
            let kept = match goal {
                Trim::MaxLen(len) => self.len - positions.len() as u64 <= len,
                Trim::MinId(id) => entry.id >= id,
            };
            if kept {
                return (positions, Some(entry.id));
            }
            positions.push(entry.position());
        }
        (positions, None)
    }

    /// The id of the first place in the first block, be its entry deleted or not. What Redis
    /// writes to its log after an approximate MINID trim.
    pub fn first_place_id(&self) -> StreamId {
        let first = self.blocks.first();
        let entry = first.and_then(|(block_id, block)| block.walk(block_id).step());
        entry.map_or(StreamId::MAX, |entry| entry.id)
    }

    /// The entry `id`.
    pub fn find(&self, id: StreamId) -> Option<Entry<'_>> {
        self.seeker().seek(id)
    }

    /// A finder for several ids.
    pub fn seeker(&self) -> Seeker<'_> {
        let span = (StreamId::MIN, None);
        Seeker { entries: self, walk: None, span, ahead: None, asked: StreamId::MIN }
    }

    /// The largest id of a live entry.
    pub fn last_live_id(&self) -> Option<StreamId> {
        self.range_back(StreamId::MIN, StreamId::MAX).next().map(|entry| entry.id)
    }

    /// The entries from `start` to `end`, both included, ascending.
    pub fn range(&self, start: StreamId, end: StreamId) -> Range<'_> {
        let place = self.blocks.floor(&start).or_else(|| self.blocks.front());
        let mut range = Range { entries: self, start, end, backwards: false, place, walk: None };
        // Readers of what is new start near the end: enter the newest block from there.
        if let Some((block_id, block)) = self.blocks.last() {
            if start > block_id {
                let mut walk = block.walk(block_id);
                walk.seek_end();
                let mut entry_walk = walk.clone();
                while entry_walk.step_back().is_some_and(|entry| entry.id >= start) {
                    walk = entry_walk.clone();
                }
                range.walk = Some(walk);
            }
        }
        range
    }

    /// The entries from `end` to `start`, both included, descending.
    pub fn range_back(&self, start: StreamId, end: StreamId) -> Range<'_> {
        let place = self.blocks.floor(&end);
        Range { entries: self, start, end, backwards: true, place, walk: None }
    }

    /// Whether a reader that has read up to `id` can count on from there: nothing after it was
    /// trimmed away, and nothing deleted by name, as far as that is known.
    pub(super) fn can_count_from(&self, id: StreamId) -> bool {
        let has_tombstone =
            self.len > 0 && !self.max_deleted_id.is_zero() && id <= self.max_deleted_id;
        id >= self.first_id && !has_tombstone
    }

    /// How many entries had ever been added up to and including `id`; `None` when gaps make that
    /// unknowable.
    pub fn entries_read_at(&self, id: StreamId) -> Option<i64> {
        let added = self.entries_added as i64;
        if added == 0 {
            return Some(0);
        }
        if self.len == 0 && id <= self.last_id {
            return Some(added);
        }
        if !id.is_zero() && id < self.max_deleted_id {
            return None;
        }
        if id == self.last_id {
            return Some(added);
        }
        if id > self.last_id {
            return None;
        }
        if self.max_deleted_id.is_zero() || self.max_deleted_id < self.first_id {
            if id < self.first_id {
                return Some(added.wrapping_sub(self.len as i64));
            }
            if id == self.first_id {
                return Some(added.wrapping_sub(self.len as i64).wrapping_add(1));
            }
        }
        None
    }

    /// How many entries `group` has not read yet; `None` when gaps make that unknowable.
    pub fn lag(&self, group: &Group) -> Option<i64> {
        if self.entries_added == 0 || self.len == 0 {
            return Some(0);
        }
        if group.last_id < self.first_id && self.max_deleted_id < self.first_id {
            return Some(self.len as i64);
        }
        let read = match group.entries_read {
            Some(read) if self.can_count_from(group.last_id) => read,
            _ => self.entries_read_at(group.last_id)?,
        };
        Some((self.entries_added as i64).wrapping_sub(read))
    }

    /// Heap memory of the entries.
    pub fn heap_bytes(&self) -> usize {
        self.blocks.heap_bytes() + self.block_bytes
    }

    /// Heap memory that a copy takes for itself.
    pub(super) fn copy_bytes(&self) -> usize {
        self.blocks.copy_bytes()
    }

    /// Takes over a block from a file; false unless it is well-formed and above all others.
    pub fn load_block(&mut self, block_id: StreamId, pack: Listpack) -> bool {
        let Some(block) = Block::from_pack(pack) else { return false };
        let mut above = self.blocks.last().map(|(last, block)| block.last_id(last).max(last));
        let mut walk = block.walk(block_id);
        while let Some(entry) = walk.step() {
            if entry.id < block_id || above.is_some_and(|above| entry.id <= above) {
                return false;
            }
            above = Some(entry.id);
        }
        if self.blocks.last().is_some_and(|(last, _)| last >= block_id) {
            return false;
        }
        self.len = self.len.saturating_add(block.live());
        self.insert_block(block_id, block);
        true
    }

    /// Sets what a file says about the entries, after all blocks.
    pub fn load_figures(
        &mut self,
        last_id: StreamId,
        max_deleted_id: StreamId,
        entries_added: u64,
    ) {
        self.first_id = self.smallest_live_id();
        let top_id = self.blocks.last().map(|(id, block)| block.last_id(id));
        self.last_id = top_id.map_or(last_id, |top_id| last_id.max(top_id));
        self.max_deleted_id = max_deleted_id;
        self.entries_added = entries_added;
    }

    /// Frees a bounded piece; false when nothing is left. The entries are of no use afterwards.
    pub(super) fn pop_chunk(&mut self) -> bool {
        let blocks = self.blocks.first_run().iter();
        self.block_bytes -= blocks.map(|(_, block)| block.heap_bytes()).sum::<usize>();
        self.trie_nodes = 0;
        self.blocks.pop_run().is_some()
    }

    /// Panics when the invariant is broken.
    pub fn check(&self) {
        self.blocks.check();
        let (mut live, mut bytes, mut above) = (0, 0, None);
        for (block_id, block) in self.blocks.iter() {
            assert!(above < Some(block_id), "blocks do not overlap");
            live += block.check(block_id);
            bytes += block.heap_bytes();
            above = Some(block.last_id(block_id));
        }
        assert_eq!((live, bytes), (self.len, self.block_bytes), "length and size are right");
        assert!(above <= Some(self.last_id), "no id is above the last");
        assert_eq!(self.first_id, self.smallest_live_id(), "the first id is right");
    }

    fn smallest_live_id(&self) -> StreamId {
        self.range(StreamId::MIN, StreamId::MAX).next().map_or(StreamId::MIN, |entry| entry.id)
    }

    /// Shrinks the newest block, which is full; gives its size, by which the next one is made, so
    /// that it need not grow step by step.
    fn close_last_block(&mut self) -> usize {
        let Some((_, block)) = self.blocks.last_mut() else { return 0 };
        let before = block.heap_bytes();
        block.close();
        self.block_bytes = self.block_bytes - before + block.heap_bytes();
        block.pack().byte_len().min(PREALLOCATED_BYTES_MAX)
    }

    fn insert_block(&mut self, id: StreamId, block: Block) {
        self.trie_nodes += trie::nodes_of(&self.blocks, id);
        self.block_bytes += block.heap_bytes();
        self.blocks.insert(id, block);
    }

    fn remove_block(&mut self, id: StreamId) {
        let Some(block) = self.blocks.remove(&id) else { return };
        self.block_bytes -= block.heap_bytes();
        self.trie_nodes -= trie::nodes_of(&self.blocks, id);
    }

    /// The same for the block of the smallest id.
    fn remove_first_block(&mut self, horizon: &mut Horizon) {
        let Some((id, block)) = self.blocks.pop_first() else { return };
        self.block_bytes -= block.heap_bytes();
        self.trie_nodes -= horizon.nodes_of_front(&self.blocks, id);
    }

    /// Flags entries of one block as deleted.
    fn mark_deleted(&mut self, block_id: StreamId, positions: &[usize]) {
        let Some(block) = self.blocks.find_mut(&block_id) else { return };
        let before = block.heap_bytes();
        let mut end = block.pack().end();
        let mut grown = 0;
        for position in positions {
            block.mark_deleted(position + grown);
            // The counts before the entries may need a byte more or less.
            grown = grown.wrapping_add(block.pack().end().wrapping_sub(end));
            end = block.pack().end();
        }
        self.block_bytes = self.block_bytes - before + block.heap_bytes();
    }
}

impl<'a> Seeker<'a> {
    /// The entry `id`.
    pub fn seek(&mut self, id: StreamId) -> Option<Entry<'a>> {
        let (low, high) = self.span;
        let here = id >= low.max(self.asked) && high.is_none_or(|high| id < high);
        if self.walk.is_none() || !here {
            let blocks = &self.entries.blocks;
            let place = blocks.floor(&id)?;
            let (block_id, block) = blocks.at(place)?;
            let next = blocks.after(place).and_then(|place| blocks.at(place));
            self.span = (block_id, next.map(|(id, _)| id));
            let mut walk = block.walk(block_id);
            self.ahead = walk.step();
            self.walk = Some(walk);
        }
        self.asked = id;
        while self.ahead.is_some_and(|entry| entry.id < id) {
            self.ahead = self.walk.as_mut()?.step();
        }
        self.ahead.filter(|entry| entry.id == id && !entry.is_deleted())
    }
}

impl<'a> Iterator for Range<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        loop {
            if self.walk.is_none() {
                let (block_id, block) = self.entries.blocks.at(self.place?)?;
                let mut walk = block.walk(block_id);
                if self.backwards {
                    walk.seek_end();
                }
                self.walk = Some(walk);
            }
            let walk = self.walk.as_mut()?;
            let entry = if self.backwards { walk.step_back() } else { walk.step() };
            let Some(entry) = entry else {
                self.walk = None;
                self.place = if self.backwards {
                    self.entries.blocks.before(self.place?)
                } else {
                    self.entries.blocks.after(self.place?)
                };
                continue;
            };
            let past = if self.backwards { entry.id < self.start } else { entry.id > self.end };
            if past {
                self.place = None;
                self.walk = None;
                return None;
            }
            let short = if self.backwards { entry.id > self.end } else { entry.id < self.start };
            if !short && !entry.is_deleted() {
                return Some(entry);
            }
        }
    }
}
