//! Whole values, as they lie in their entries. Lists and streams give what is pending to a drain
//! while they are written, so that nothing of their length is ever in memory a second time.

use super::{GroupHead, Head, StreamFigures, Writer};
use crate::keyspace::entry::Entry;
use crate::keyspace::value::{List, Set, SortedSet, Stream};
use crate::rdb::{codes, Version};
use crate::types::hash::HashView;
use crate::types::list::Chunk;
use crate::types::set::Small;
use crate::types::stream::Group;
use std::convert::Infallible;

/// Takes what is pending from a writer, when it is enough.
pub type Drain<'a, E> = &'a mut dyn FnMut(&mut Writer) -> Result<(), E>;

/// Items of a few bytes that are written between two calls of a drain.
const DRAINED_ITEMS: usize = 1024;

impl Writer {
    /// The value of an entry behind `head`, whose key and deadline need not be the entry's; false,
    /// and nothing is written, while an edit holds the value.
    pub fn entry(&mut self, head: &Head<'_>, entry: &Entry) -> bool {
        let keep: Drain<'_, Infallible> = &mut |_| Ok(());
        matches!(self.drained_entry(head, entry, keep), Ok(true))
    }

    /// The same, with calls of `drain` in the midst of a long value. When one fails, the value
    /// has no end.
    pub fn drained_entry<E>(
        &mut self,
        head: &Head<'_>,
        entry: &Entry,
        drain: Drain<'_, E>,
    ) -> Result<bool, E> {
        if let Some(text) = entry.string() {
            self.text(head, text);
        } else if let Some(hash) = entry.hash() {
            self.hash(head, hash);
        } else if let Some(list) = entry.collection::<List>() {
            self.list(head, list, drain)?;
        } else if let Some(set) = entry.collection::<Set>() {
            self.set(head, set);
        } else if let Some(set) = entry.collection::<SortedSet>() {
            self.sorted_set(head, set);
        } else if let Some(stream) = entry.collection::<Stream>() {
            self.stream(head, stream, drain)?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// A whole list.
    fn list<E>(&mut self, head: &Head<'_>, list: &List, drain: Drain<'_, E>) -> Result<(), E> {
        self.begin_list(head, list.nodes().unwrap_or(1));
        for chunk in list.chunks() {
            match chunk {
                Chunk::Packed(pack) => self.list_packed(pack.as_bytes()),
                Chunk::Plain(text) => self.list_plain(text),
            }
            drain(self)?;
        }
        Ok(())
    }

    /// A whole set.
    pub fn set(&mut self, head: &Head<'_>, set: &Set) {
        match set.small() {
            Some(Small::Integers(integers)) => {
                self.open(codes::SET_INTSET, head);
                self.blob(integers.as_bytes());
            }
            Some(Small::Packed(pack)) if self.style().version >= Version::V11 => {
                self.open(codes::SET_LISTPACK, head);
                self.blob(pack.as_bytes());
            }
            _ => {
                self.begin_set(head, set.len());
                for item in set.iter() {
                    item.with_bytes(|member| self.member(member));
                }
            }
        }
    }

    /// A whole sorted set.
    pub fn sorted_set(&mut self, head: &Head<'_>, set: &SortedSet) {
        if let Some(pack) = set.listpack() {
            self.open(codes::ZSET_LISTPACK, head);
            return self.blob(pack.as_bytes());
        }
        self.begin_sorted_set(head, set.len());
        for (member, score) in set.range(0, set.len(), true) {
            member.with_bytes(|member| self.scored(member, score));
        }
    }

    /// A whole hash, fields included that are gone but not reclaimed.
    pub fn hash(&mut self, head: &Head<'_>, hash: HashView<'_>) {
        let soonest_ms = hash.next_deadline();
        let Some(pack) = hash.listpack() else {
            self.begin_hash(head, hash.len(), soonest_ms);
            for (field, value, deadline_ms) in hash.iter_all() {
                field.with_bytes(|field| {
                    value.with_bytes(|value| self.field(field, value, deadline_ms))
                });
            }
            return;
        };
        match soonest_ms {
            None => self.open(codes::HASH_LISTPACK, head),
            Some(soonest_ms) => {
                self.open(codes::HASH_LISTPACK_EX, head);
                self.time(soonest_ms);
            }
        }
        self.blob(pack.as_bytes());
    }

    /// A whole stream with its groups.
    fn stream<E>(
        &mut self,
        head: &Head<'_>,
        stream: &Stream,
        drain: Drain<'_, E>,
    ) -> Result<(), E> {
        self.begin_stream(head, stream.block_count());
        for (id, pack) in stream.blocks() {
            self.stream_block(id, pack.as_bytes());
            drain(self)?;
        }
        self.stream_figures(&StreamFigures {
            len: stream.len() as u64,
            last_id: stream.last_id(),
            first_id: stream.first_id(),
            max_deleted_id: stream.max_deleted_id(),
            entries_added: stream.entries_added(),
            groups: stream.group_count(),
        });
        stream.groups().try_for_each(|group| self.stream_group(group, drain))
    }

    fn stream_group<E>(&mut self, group: &Group, drain: Drain<'_, E>) -> Result<(), E> {
        self.group(&GroupHead {
            name: group.name(),
            last_id: group.last_id,
            entries_read: group.entries_read,
            pending: group.pending().len(),
        });
        for (at, (id, pending)) in group.pending().iter().enumerate() {
            self.pending_entry(id, pending.delivered_ms, pending.deliveries);
            if at % DRAINED_ITEMS == 0 {
                drain(self)?;
            }
        }
        self.consumers(group.consumer_count());
        for (_, consumer) in group.consumers() {
            let owned = consumer.pending();
            self.consumer(consumer.name(), consumer.seen_ms, consumer.active_ms, owned.len());
            for (at, (id, ())) in owned.iter().enumerate() {
                self.owned_entry(id);
                if at % DRAINED_ITEMS == 0 {
                    drain(self)?;
                }
            }
        }
        Ok(())
    }
}
