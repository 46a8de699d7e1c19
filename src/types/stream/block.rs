//! One block of a stream: a listpack in the layout of Redis, which its files carry as it is.
//!
//! ```text
//! live | deleted | field count | field 1 .. field N | 0        the master entry
//! flags | ms | seq | [field count |] .. fields and values .. | elements     for every entry
//! ```
//!
//! `ms` and `seq` are the distance to the block's own id, which its key in the index holds. An
//! entry with the fields of the master states its values only. The last element counts the others
//! of its entry, so that the block can be read backwards; the master's 0 ends that walk.
//!
//! Invariant: live and deleted are the entries without and with the deleted flag, and every entry
//! has the number of elements that it states.

use super::id::StreamId;
use crate::types::compact::{Item, Listpack};
use crate::types::shared::Shared;

const DELETED: i64 = 1;
const SAME_FIELDS: i64 = 2;
/// Flags, ms and seq.
const FIXED_ELEMENTS: i64 = 3;

/// A packed run of entries, shared between copies of the stream.
#[derive(Clone, Debug)]
pub struct Block(Shared<Listpack>);

/// One entry, borrowed from its block.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its id.
    pub id: StreamId,
    pack: &'a Listpack,
    flags: i64,
    flags_at: usize,
    field_count: usize,
    /// The master's first field, for an entry with the same fields.
    master_fields_at: usize,
    data_at: usize,
}

/// Fields and values of an entry, in the order in which they were added.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    pack: &'a Listpack,
    left: usize,
    /// Where the next field is, when fields are not among the values.
    fields_at: Option<usize>,
    data_at: usize,
}

/// Walks the entries of one block, deleted ones included.
#[derive(Clone, Debug)]
pub(super) struct Walk<'a> {
    pack: &'a Listpack,
    block_id: StreamId,
    master_field_count: usize,
    master_fields_at: usize,
    at: usize,
}

fn int(pack: &Listpack, pos: usize) -> Option<(i64, usize)> {
    pack.read_int(pos)
}

impl Block {
    /// A block without entries, whose master has the fields of `pairs`, with room for `bytes`.
    pub(super) fn new<B: AsRef<[u8]>>(pairs: &[B], bytes: usize) -> Block {
        let mut pack = Listpack::with_capacity(bytes);
        pack.extend(|master| {
            master.push_int(0);
            master.push_int(0);
            master.push_int((pairs.len() / 2) as i64);
            for field in pairs.iter().step_by(2) {
                master.push(field.as_ref());
            }
            master.push_int(0);
        });
        Block(Shared::new(pack))
    }

    /// Takes over a foreign listpack; `None` unless it keeps the invariant.
    pub(super) fn from_pack(pack: Listpack) -> Option<Block> {
        let block = Block(Shared::new(pack));
        block.is_valid().then_some(block)
    }

    /// The listpack, as files carry it.
    pub fn pack(&self) -> &Listpack {
        &self.0
    }

    /// Entries that are not deleted.
    pub(super) fn live(&self) -> u64 {
        self.counts().0 as u64
    }

    /// Entries with and without the deleted flag.
    pub(super) fn total(&self) -> u64 {
        let (live, deleted) = self.counts();
        live.saturating_add(deleted) as u64
    }

    fn counts(&self) -> (i64, i64) {
        let Some((live, next)) = self.0.first().and_then(|at| int(&self.0, at)) else {
            return (0, 0);
        };
        (live, int(&self.0, next).map_or(0, |(deleted, _)| deleted))
    }

    fn set_counts(&mut self, live: i64, deleted: i64) {
        let pack = self.0.open();
        let Some(at) = pack.first() else { return };
        pack.replace_int(at, live);
        if let Some(at) = pack.next(at) {
            pack.replace_int(at, deleted);
        }
    }

    /// Appends an entry; the caller knows that `id` is above all others.
    pub(super) fn push<B: AsRef<[u8]>>(&mut self, block_id: StreamId, id: StreamId, pairs: &[B]) {
        let Some(first) = self.0.first() else { return };
        let Some((live, deleted_at)) = int(&self.0, first) else { return };
        let same = self.same_fields(deleted_at, pairs);
        let pack = self.0.open();
        pack.replace_int(first, live + 1);
        let count = (pairs.len() / 2) as i64;
        pack.extend(|entry| {
            entry.push_int(if same { SAME_FIELDS } else { 0 });
            entry.push_int(id.ms.wrapping_sub(block_id.ms) as i64);
            entry.push_int(id.seq.wrapping_sub(block_id.seq) as i64);
            if same {
                for value in pairs.iter().skip(1).step_by(2) {
                    entry.push(value.as_ref());
                }
                entry.push_int(FIXED_ELEMENTS + count);
            } else {
                entry.push_int(count);
                for text in pairs {
                    entry.push(text.as_ref());
                }
                entry.push_int(FIXED_ELEMENTS + 1 + 2 * count);
            }
        });
    }

    /// Gives back spare memory: nothing will be appended any more.
    pub(super) fn close(&mut self) {
        self.0.open().shrink_to_fit();
    }

    fn same_fields<B: AsRef<[u8]>>(&self, deleted_at: usize, pairs: &[B]) -> bool {
        let count_at = self.0.skip(deleted_at, 1);
        let Some((count, mut at)) = int(&self.0, count_at) else { return false };
        if count != (pairs.len() / 2) as i64 {
            return false;
        }
        for field in pairs.iter().step_by(2) {
            match self.0.read(at) {
                Some((item, next)) if item.equals(field.as_ref()) => at = next,
                _ => return false,
            }
        }
        true
    }

    /// Flags an entry, whose position `Entry::position` gave, as deleted.
    pub(super) fn mark_deleted(&mut self, position: usize) {
        let Some((flags, _)) = int(&self.0, position) else { return };
        if flags & DELETED == 0 {
            // One digit stays one digit: no other position moves.
            self.0.open().replace_int(position, flags | DELETED);
            let (live, deleted) = self.counts();
            self.set_counts(live - 1, deleted + 1);
        }
    }

    /// A walk that stands before the first entry.
    pub(super) fn walk(&self, block_id: StreamId) -> Walk<'_> {
        let pack = &self.0;
        let count_at = pack.skip(pack.first().unwrap_or(pack.end()), 2);
        let (count, fields_at) = int(pack, count_at).unwrap_or((0, pack.end()));
        let count = count as usize;
        let at = pack.skip(fields_at, count.saturating_add(1));
        Walk { pack, block_id, master_field_count: count, master_fields_at: fields_at, at }
    }

    /// The largest id in the block, deleted or not.
    pub(super) fn last_id(&self, block_id: StreamId) -> StreamId {
        let mut walk = self.walk(block_id);
        walk.seek_end();
        walk.step_back().map_or(StreamId::MIN, |entry| entry.id)
    }

    /// Heap memory of the block.
    pub(super) fn heap_bytes(&self) -> usize {
        Shared::<Listpack>::OWN_BYTES + self.0.heap_bytes()
    }

    /// Whether the elements are those of a block, with ids that ascend from the block's own.
    fn is_valid(&self) -> bool {
        self.validate().is_some()
    }

    fn validate(&self) -> Option<()> {
        let pack = &self.0;
        // Counted once: a long listpack does not know its length.
        let elements_max = pack.len();
        let (live, at) = int(pack, pack.first()?)?;
        let (deleted, at) = int(pack, at)?;
        let (field_count, at) = int(pack, at)?;
        let master_count =
            usize::try_from(field_count).ok().filter(|&count| count <= elements_max)?;
        let (zero, mut at) = int(pack, pack.skip(at, master_count))?;
        let (mut live_seen, mut deleted_seen) = (0, 0);
        while at != pack.end() {
            let (flags, next) = int(pack, at)?;
            let next = int(pack, int(pack, next)?.1)?.1;
            let (elements, data_at, data) = if flags & SAME_FIELDS != 0 {
                (FIXED_ELEMENTS + field_count, next, master_count)
            } else {
                let (count, next) = int(pack, next)?;
                let data = usize::try_from(count).ok().filter(|&count| count <= elements_max)?;
                (FIXED_ELEMENTS + 1 + 2 * count, next, 2 * data)
            };
            let (stated, end) = int(pack, pack.skip(data_at, data))?;
            if stated != elements {
                return None;
            }
            if flags & DELETED != 0 {
                deleted_seen += 1;
            } else {
                live_seen += 1;
            }
            at = end;
        }
        (zero == 0 && (live, deleted) == (live_seen, deleted_seen)).then_some(())
    }

    /// Panics when the invariant is broken; gives the number of live entries.
    pub(super) fn check(&self, block_id: StreamId) -> u64 {
        self.0.check();
        assert!(self.is_valid(), "elements are those of a block");
        let mut walk = self.walk(block_id);
        let mut before = None;
        while let Some(entry) = walk.step() {
            assert!(before < Some(entry.id), "ids ascend");
            assert!(entry.id >= block_id, "ids are not below the block's");
            before = Some(entry.id);
        }
        self.live()
    }
}

impl<'a> Walk<'a> {
    /// Steps over the next entry.
    #[inline]
    pub(super) fn step(&mut self) -> Option<Entry<'a>> {
        let entry = self.entry_at(self.at)?;
        let data = entry.field_count * if entry.flags & SAME_FIELDS != 0 { 1 } else { 2 };
        self.at = self.pack.skip(entry.data_at, data + 1);
        Some(entry)
    }

    /// Stands behind the last entry.
    pub(super) fn seek_end(&mut self) {
        self.at = self.pack.end();
    }

    /// Steps back over the entry before.
    pub(super) fn step_back(&mut self) -> Option<Entry<'a>> {
        let mut at = self.pack.prev(self.at)?;
        let (elements, _) = int(self.pack, at)?;
        if elements == 0 {
            return None;
        }
        for _ in 0..elements {
            at = self.pack.prev(at)?;
        }
        self.at = at;
        self.entry_at(at)
    }

    #[inline]
    fn entry_at(&self, at: usize) -> Option<Entry<'a>> {
        let (flags, next) = int(self.pack, at)?;
        let (ms, next) = int(self.pack, next)?;
        let (seq, mut data_at) = int(self.pack, next)?;
        let mut field_count = self.master_field_count;
        if flags & SAME_FIELDS == 0 {
            let (count, next) = int(self.pack, data_at)?;
            (field_count, data_at) = (count as usize, next);
        }
        let id = StreamId {
            ms: self.block_id.ms.wrapping_add(ms as u64),
            seq: self.block_id.seq.wrapping_add(seq as u64),
        };
        let master_fields_at = self.master_fields_at;
        let pack = self.pack;
        Some(Entry { id, pack, flags, flags_at: at, field_count, master_fields_at, data_at })
    }
}

impl<'a> Entry<'a> {
    /// Number of fields.
    pub fn field_count(&self) -> usize {
        self.field_count
    }

    /// Its fields and values.
    pub fn fields(&self) -> Fields<'a> {
        let same = self.flags & SAME_FIELDS != 0;
        Fields {
            pack: self.pack,
            left: self.field_count,
            fields_at: same.then_some(self.master_fields_at),
            data_at: self.data_at,
        }
    }

    /// Whether it was deleted and only its place is left.
    pub(super) fn is_deleted(&self) -> bool {
        self.flags & DELETED != 0
    }

    /// Where it starts in its block.
    pub(super) fn position(&self) -> usize {
        self.flags_at
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (Item<'a>, Item<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let field = match self.fields_at {
            Some(at) => {
                let (field, next) = self.pack.read(at)?;
                self.fields_at = Some(next);
                field
            }
            None => {
                let (field, next) = self.pack.read(self.data_at)?;
                self.data_at = next;
                field
            }
        };
        let (value, next) = self.pack.read(self.data_at)?;
        self.data_at = next;
        Some((field, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Fields<'_> {}
