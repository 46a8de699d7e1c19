//! Whole values, as they lie in their entries.

use super::{GroupHead, Head, StreamFigures, Writer};
use crate::keyspace::entry::Entry;
use crate::keyspace::value::{List, Set, SortedSet, Stream};
use crate::rdb::{codes, Version};
use crate::types::hash::HashView;
use crate::types::list::Chunk;
use crate::types::set::Small;

impl Writer {
    /// The value of an entry behind `head`, whose key and deadline need not be the entry's; false,
    /// and nothing is written, while an edit holds the value.
    pub fn entry(&mut self, head: &Head<'_>, entry: &Entry) -> bool {
        if let Some(text) = entry.string() {
            self.text(head, text);
        } else if let Some(hash) = entry.hash() {
            self.hash(head, hash);
        } else if let Some(list) = entry.collection::<List>() {
            self.list(head, list);
        } else if let Some(set) = entry.collection::<Set>() {
            self.set(head, set);
        } else if let Some(set) = entry.collection::<SortedSet>() {
            self.sorted_set(head, set);
        } else if let Some(stream) = entry.collection::<Stream>() {
            self.stream(head, stream);
        } else {
            return false;
        }
        true
    }

    /// A whole list.
    pub fn list(&mut self, head: &Head<'_>, list: &List) {
        self.begin_list(head, list.nodes().unwrap_or(1));
        for chunk in list.chunks() {
            match chunk {
                Chunk::Packed(pack) => self.list_packed(pack.as_bytes()),
                Chunk::Plain(text) => self.list_plain(text),
            }
        }
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
    pub fn stream(&mut self, head: &Head<'_>, stream: &Stream) {
        self.begin_stream(head, stream.block_count());
        for (id, pack) in stream.blocks() {
            self.stream_block(id, pack.as_bytes());
        }
        self.stream_figures(&StreamFigures {
            len: stream.len() as u64,
            last_id: stream.last_id(),
            first_id: stream.first_id(),
            max_deleted_id: stream.max_deleted_id(),
            entries_added: stream.entries_added(),
            groups: stream.group_count(),
        });
        for group in stream.groups() {
            self.group(&GroupHead {
                name: group.name(),
                last_id: group.last_id,
                entries_read: group.entries_read,
                pending: group.pending().len(),
            });
            for (id, pending) in group.pending().iter() {
                self.pending_entry(id, pending.delivered_ms, pending.deliveries);
            }
            self.consumers(group.consumer_count());
            for (_, consumer) in group.consumers() {
                let owned = consumer.pending();
                self.consumer(consumer.name(), consumer.seen_ms, consumer.active_ms, owned.len());
                owned.iter().for_each(|(id, ())| self.owned_entry(id));
            }
        }
    }
}
