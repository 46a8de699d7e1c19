//! Streams: entries in id order that are only ever added at the end, and the consumer groups
//! that read them.
//!
//! The entries are packed into blocks of about a hundred, in Redis's own bytes (`block`); an
//! ordered index of blocks (`ordered`) makes both ends and any id quick to reach. Groups (`group`)
//! know what was delivered to whom and not acknowledged.
//!
//! All of it is shared between copies of a stream until one of them changes ([`Shared`]): a copy
//! costs a look at each group and at each shelf of blocks, and a change afterwards a copy of what
//! is changed in bounded pieces.
//!
//! Invariant: `group_bytes` is what the groups hold, so that the size of a stream is O(1).

mod block;
mod entries;
mod group;
mod id;
mod ordered;
#[cfg(test)]
mod tests;
mod trie;

pub use block::{Entry, Fields};
pub use entries::{AppendError, Entries, Range, Seeker, Trim};
pub use group::{Consumer, ConsumerId, Group, Pending};
pub use id::{IdWish, StreamId};
pub use ordered::{Ordered, Place};

use crate::types::shared::{Roomy, Shared};
use std::ops::{Deref, DerefMut};

/// A stream with its groups. Its entries are reached by dereferencing.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    entries: Entries,
    /// Sorted by name.
    groups: Roomy<Shared<Group>>,
    group_bytes: usize,
}

/// One group opened for changes, with the entries beside it to read. Its size is taken into the
/// stream's when it is dropped.
pub struct GroupEdit<'a> {
    /// The stream's entries.
    pub entries: &'a Entries,
    group: &'a mut Group,
    group_bytes: &'a mut usize,
    before_bytes: usize,
}

impl Stream {
    /// A stream without entries and groups.
    pub fn new() -> Stream {
        Stream::default()
    }

    /// Sets the last id, as XSETID does; the caller has checked it.
    pub fn set_last_id(&mut self, id: StreamId) {
        self.entries.last_id = id;
    }

    /// Sets the number of entries ever added, as XSETID does.
    pub fn set_entries_added(&mut self, count: u64) {
        self.entries.entries_added = count;
    }

    /// Sets the largest deleted id, as XSETID does.
    pub fn set_max_deleted_id(&mut self, id: StreamId) {
        self.entries.max_deleted_id = id;
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries; such a stream is still a stream.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Number of groups.
    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// The groups in the order of their names.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = &Group> + '_ {
        self.groups.iter().map(|group| &**group)
    }

    /// The group called `name`.
    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.group_slot(name).ok().map(|slot| &*self.groups[slot])
    }

    /// The group called `name`, to be changed.
    pub fn edit_group(&mut self, name: &[u8]) -> Option<GroupEdit<'_>> {
        let slot = self.group_slot(name).ok()?;
        let group = self.groups[slot].open();
        let before_bytes = group.heap_bytes();
        let group_bytes = &mut self.group_bytes;
        Some(GroupEdit { entries: &self.entries, group, group_bytes, before_bytes })
    }

    /// Adds a group; false when the name is taken.
    pub fn create_group(
        &mut self,
        name: &[u8],
        last_id: StreamId,
        entries_read: Option<i64>,
    ) -> bool {
        let Err(slot) = self.group_slot(name) else { return false };
        let group = Group::new(name, last_id, entries_read);
        self.group_bytes += group.heap_bytes();
        self.groups.insert(slot, Shared::new(group));
        true
    }

    /// Takes a group out with all that it has pending; `None` when there is none of that name.
    pub fn remove_group(&mut self, name: &[u8]) -> Option<Group> {
        let slot = self.group_slot(name).ok()?;
        let group = self.groups.remove(slot);
        self.group_bytes -= group.heap_bytes();
        Some(group.into_value())
    }

    /// A stream that holds nothing but a removed group, to be freed in pieces.
    pub fn of_group(group: Group) -> Stream {
        let group_bytes = group.heap_bytes();
        Stream { groups: vec![Shared::new(group)].into(), group_bytes, ..Stream::default() }
    }

    /// OBJECT ENCODING's word.
    pub fn encoding(&self) -> &'static str {
        "stream"
    }

    /// Heap memory below the stream.
    pub fn heap_bytes(&self) -> usize {
        self.entries.heap_bytes()
            + self.group_bytes
            + self.groups.heap_bytes()
            + self.groups.len() * Shared::<Group>::OWN_BYTES
    }

    /// Heap memory that a copy takes for itself.
    pub fn copy_bytes(&self) -> usize {
        self.entries.copy_bytes() + self.groups.heap_bytes()
    }

    /// Frees a bounded piece; false when nothing is left. The stream is of no use afterwards.
    pub fn pop_chunk(&mut self) -> bool {
        if self.entries.pop_chunk() {
            return true;
        }
        let Some(last) = self.groups.last_mut() else { return false };
        let before_bytes = last.heap_bytes();
        let more = last.open().pop_chunk();
        self.group_bytes = self.group_bytes - before_bytes + last.heap_bytes();
        if !more {
            self.group_bytes -= last.heap_bytes();
            self.groups.pop();
        }
        true
    }

    /// Panics when an invariant is broken.
    pub fn check(&self) {
        self.entries.check();
        self.groups().for_each(Group::check);
        let bytes: usize = self.groups().map(Group::heap_bytes).sum();
        assert_eq!(bytes, self.group_bytes, "the size of the groups is right");
        assert!(self.groups.windows(2).all(|pair| pair[0].name() < pair[1].name()));
    }

    fn group_slot(&self, name: &[u8]) -> Result<usize, usize> {
        self.groups.binary_search_by(|group| group.name().cmp(name))
    }
}

impl Deref for Stream {
    type Target = Entries;

    fn deref(&self) -> &Entries {
        &self.entries
    }
}

impl DerefMut for Stream {
    fn deref_mut(&mut self) -> &mut Entries {
        &mut self.entries
    }
}

impl Deref for GroupEdit<'_> {
    type Target = Group;

    fn deref(&self) -> &Group {
        self.group
    }
}

impl DerefMut for GroupEdit<'_> {
    fn deref_mut(&mut self) -> &mut Group {
        self.group
    }
}

impl GroupEdit<'_> {
    /// The group has delivered everything up to `id`, the entry after those it had delivered.
    /// Keeps count of what was read as long as no gap makes that impossible.
    pub fn advance_to(&mut self, id: StreamId) {
        let entries = self.entries;
        match self.group.entries_read {
            Some(read) if entries.can_count_from(self.group.last_id) => {
                self.group.entries_read = Some(read.wrapping_add(1));
            }
            _ if entries.entries_added() > 0 => {
                self.group.entries_read = entries.entries_read_at(id);
            }
            _ => {}
        }
        self.group.last_id = id;
    }
}

impl Drop for GroupEdit<'_> {
    fn drop(&mut self) {
        *self.group_bytes = *self.group_bytes - self.before_bytes + self.group.heap_bytes();
    }
}
