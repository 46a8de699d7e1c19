//! Values part by part: a head that says how many parts there will be, then the parts.
//!
//! The caller writes exactly as many parts as the head announced; a reader takes what follows for
//! the rest of the value otherwise.

use super::Writer;
use crate::keyspace::ageing::Age;
use crate::keyspace::value::StrRef;
use crate::rdb::codes;
use crate::rdb::Version;
use crate::types::stream::StreamId;

/// What stands before a value.
#[derive(Clone, Copy, Debug, Default)]
pub struct Head<'a> {
    /// The key; none in a payload.
    pub key: Option<&'a [u8]>,
    /// Unix time in milliseconds from which the key is gone.
    pub deadline_ms: Option<i64>,
    /// How long ago, or how often, the key was used, if the policy of eviction asks for it.
    pub age: Age,
}

/// What a file says about a stream besides its blocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct StreamFigures {
    /// Entries.
    pub len: u64,
    /// The largest id ever.
    pub last_id: StreamId,
    /// The smallest id that is there.
    pub first_id: StreamId,
    /// The largest id that was deleted.
    pub max_deleted_id: StreamId,
    /// Entries that were ever added.
    pub entries_added: u64,
    /// Groups that follow.
    pub groups: usize,
}

/// What a file says about a consumer group besides what is pending.
#[derive(Clone, Copy, Debug)]
pub struct GroupHead<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// The last id that was delivered.
    pub last_id: StreamId,
    /// Entries read, if it can be known.
    pub entries_read: Option<i64>,
    /// Pending entries that follow.
    pub pending: usize,
}

impl Writer {
    /// Deadline and age, the type, the key.
    pub(super) fn open(&mut self, kind: u8, head: &Head<'_>) {
        if let Some(key) = head.key {
            if let Some(deadline_ms) = head.deadline_ms {
                self.byte(codes::OP_EXPIRE_MS);
                self.time(deadline_ms);
            }
            match head.age {
                Age::Untold => {}
                Age::Idle(seconds) => {
                    self.byte(codes::OP_IDLE);
                    self.length(seconds);
                }
                Age::Freq(count) => {
                    self.byte(codes::OP_FREQ);
                    self.byte(count);
                }
            }
            self.byte(kind);
            self.string(key);
        } else {
            self.byte(kind);
        }
    }

    pub(super) fn time(&mut self, ms: i64) {
        self.raw(&ms.to_le_bytes());
    }

    fn id(&mut self, id: StreamId) {
        self.length(id.ms);
        self.length(id.seq);
    }

    /// A whole string.
    pub fn text(&mut self, head: &Head<'_>, text: StrRef<'_>) {
        self.open(codes::STRING, head);
        match text {
            StrRef::Int(number) => self.integer(number),
            StrRef::Bytes(bytes) => self.string(bytes),
            StrRef::Text(text) => self.string(text),
        }
    }

    /// A list of so many parts, each of them [`Writer::list_packed`] or [`Writer::list_plain`].
    pub fn begin_list(&mut self, head: &Head<'_>, parts: usize) {
        self.open(codes::LIST_QUICKLIST_2, head);
        self.length(parts as u64);
    }

    /// A part of a list: a listpack's bytes.
    pub fn list_packed(&mut self, listpack: &[u8]) {
        self.length(codes::NODE_PACKED);
        self.blob(listpack);
    }

    /// A part of a list: one large element.
    pub fn list_plain(&mut self, element: &[u8]) {
        self.length(codes::NODE_PLAIN);
        self.blob(element);
    }

    /// A set of so many [`Writer::member`]s.
    pub fn begin_set(&mut self, head: &Head<'_>, count: usize) {
        self.open(codes::SET, head);
        self.length(count as u64);
    }

    /// A member of a set.
    pub fn member(&mut self, member: &[u8]) {
        self.string(member);
    }

    /// A sorted set of so many [`Writer::scored`] members, in any order; a genuine server is
    /// quickest when the highest comes first.
    pub fn begin_sorted_set(&mut self, head: &Head<'_>, count: usize) {
        self.open(codes::ZSET_2, head);
        self.length(count as u64);
    }

    /// A member of a sorted set with its score.
    pub fn scored(&mut self, member: &[u8], score: f64) {
        self.string(member);
        self.score(score);
    }

    pub(super) fn score(&mut self, score: f64) {
        self.raw(&score.to_le_bytes());
    }

    /// A hash of so many [`Writer::field`]s. `soonest_ms` is the soonest deadline of a field, if
    /// any has one; only servers that know such deadlines (version 12) can read it then.
    pub fn begin_hash(&mut self, head: &Head<'_>, count: usize, soonest_ms: Option<i64>) {
        self.soonest_ms = soonest_ms;
        match soonest_ms {
            None => self.open(codes::HASH, head),
            Some(soonest_ms) => {
                self.open(codes::HASH_METADATA, head);
                self.time(soonest_ms);
            }
        }
        self.length(count as u64);
    }

    /// A field of a hash, its value, and the field's deadline.
    pub fn field(&mut self, field: &[u8], value: &[u8], deadline_ms: Option<i64>) {
        self.field_deadline(deadline_ms);
        self.string(field);
        self.string(value);
    }

    /// What stands before a field.
    pub(super) fn field_deadline(&mut self, deadline_ms: Option<i64>) {
        if let Some(soonest_ms) = self.soonest_ms {
            // 0 is for none, so that the soonest one is 1.
            let ahead = deadline_ms.map_or(0, |at| at.wrapping_sub(soonest_ms).wrapping_add(1));
            self.length(ahead as u64);
        }
    }

    /// A stream of so many [`Writer::stream_block`]s, after which come the
    /// [`Writer::stream_figures`] and the groups.
    pub fn begin_stream(&mut self, head: &Head<'_>, blocks: usize) {
        self.open(if self.tells_success() { codes::STREAM_3 } else { codes::STREAM_2 }, head);
        self.length(blocks as u64);
    }

    /// A block's id and its listpack's bytes.
    pub fn stream_block(&mut self, id: StreamId, listpack: &[u8]) {
        self.blob(&id.to_be_bytes());
        self.blob(listpack);
    }

    /// What is to be said about a stream after its blocks.
    pub fn stream_figures(&mut self, figures: &StreamFigures) {
        self.length(figures.len);
        self.id(figures.last_id);
        self.id(figures.first_id);
        self.id(figures.max_deleted_id);
        self.length(figures.entries_added);
        self.length(figures.groups as u64);
    }

    /// A group; its [`Writer::pending_entry`]s come next, then [`Writer::consumers`].
    pub fn group(&mut self, group: &GroupHead<'_>) {
        self.string(group.name);
        self.id(group.last_id);
        self.length(group.entries_read.unwrap_or(-1) as u64);
        self.length(group.pending as u64);
    }

    /// A pending entry of a group.
    pub fn pending_entry(&mut self, id: StreamId, delivered_ms: i64, deliveries: u64) {
        self.raw(&id.to_be_bytes());
        self.time(delivered_ms);
        self.length(deliveries);
    }

    /// How many [`Writer::consumer`]s the group has.
    pub fn consumers(&mut self, count: usize) {
        self.length(count as u64);
    }

    /// A consumer, with the number of [`Writer::owned_entry`]s that follow.
    pub fn consumer(&mut self, name: &[u8], seen_ms: i64, active_ms: i64, owned: usize) {
        self.string(name);
        self.time(seen_ms);
        if self.tells_success() {
            self.time(active_ms);
        }
        self.length(owned as u64);
    }

    /// The id of a pending entry that the consumer owns.
    pub fn owned_entry(&mut self, id: StreamId) {
        self.raw(&id.to_be_bytes());
    }

    /// Whether the version has a place for when consumers last succeeded.
    fn tells_success(&self) -> bool {
        self.style().version >= Version::V11
    }
}
