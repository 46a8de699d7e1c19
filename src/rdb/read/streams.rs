//! Streams: blocks, figures, and groups with what is pending.

use super::{Reader, Result};
use crate::keyspace::value::{Stream, Value};
use crate::rdb::codes;
use crate::types::stream::{Pending, StreamId};
use std::collections::HashMap;
use std::io::Read;

/// When and how often an entry was delivered, by id.
type Deliveries = HashMap<StreamId, (i64, u64)>;

impl<R: Read> Reader<R> {
    pub(super) fn stream(&mut self, kind: u8) -> Result<Value> {
        let mut stream = Stream::new();
        for _ in 0..self.source.length()? {
            let id = self.source.text()?.with_bytes(|bytes| bytes.try_into().ok());
            let Some(id) = id.map(StreamId::from_be_bytes) else {
                return self.source.damaged("Stream node key entry is not the size of a stream ID");
            };
            let pack = self.listpack("Stream listpack integrity check failed")?;
            if !stream.load_block(id, pack) {
                return self.source.damaged("Stream listpack integrity check failed");
            }
        }
        self.stream_figures(kind, &mut stream)?;
        for _ in 0..self.source.length()? {
            self.group(kind, &mut stream)?;
        }
        Ok(Value::Stream(Box::new(stream)))
    }

    fn id(&mut self) -> Result<StreamId> {
        Ok(StreamId::new(self.source.length()?, self.source.length()?))
    }

    fn stream_figures(&mut self, kind: u8, stream: &mut Stream) -> Result<()> {
        let len = self.source.length()?;
        let last_id = self.id()?;
        let (mut max_deleted_id, mut entries_added) = (StreamId::MIN, stream.len() as u64);
        if kind != codes::STREAM {
            // The first id is known from the blocks.
            self.id()?;
            max_deleted_id = self.id()?;
            entries_added = self.source.length()?;
        }
        if len > 0 && stream.block_count() == 0 {
            return self.source.damaged("Stream length inconsistent with rax entries");
        }
        stream.load_figures(last_id, max_deleted_id, entries_added);
        Ok(())
    }

    fn group(&mut self, kind: u8, stream: &mut Stream) -> Result<()> {
        let name = self.source.owned()?;
        let last_id = self.id()?;
        let entries_read = match kind {
            codes::STREAM => stream.entries_read_at(last_id),
            _ => Some(self.source.length()? as i64).filter(|&read| read != -1),
        };
        if !stream.create_group(&name, last_id, entries_read) {
            return self.source.damaged("Duplicated consumer group name");
        }
        let mut pending = Deliveries::new();
        for _ in 0..self.source.length()? {
            let id = StreamId::from_be_bytes(self.source.array()?);
            let delivery = (self.source.time()?, self.source.length()?);
            if pending.insert(id, delivery).is_some() {
                return self
                    .source
                    .damaged("Duplicated global PEL entry loading stream consumer group");
            }
        }
        for _ in 0..self.source.length()? {
            self.consumer(kind, stream, &name, &mut pending)?;
        }
        if !pending.is_empty() {
            return self.source.damaged("Stream CG PEL entry without consumer");
        }
        Ok(())
    }

    fn consumer(
        &mut self,
        kind: u8,
        stream: &mut Stream,
        group: &[u8],
        pending: &mut Deliveries,
    ) -> Result<()> {
        let name = self.source.owned()?;
        let seen_ms = self.source.time()?;
        // Redis: the best guess that older files allow.
        let active_ms = if kind == codes::STREAM_3 { self.source.time()? } else { seen_ms };
        let created = stream.edit_group(group).and_then(|mut group| {
            let id = group.create_consumer(&name, seen_ms)?;
            group.consumer_mut(id)?.active_ms = active_ms;
            Some(id)
        });
        let Some(consumer) = created else {
            return self.source.damaged("Duplicate stream consumer detected");
        };
        for _ in 0..self.source.length()? {
            let id = StreamId::from_be_bytes(self.source.array()?);
            let Some((delivered_ms, deliveries)) = pending.remove(&id) else {
                return self.source.damaged("Consumer entry not found in group global PEL");
            };
            if let Some(mut group) = stream.edit_group(group) {
                group.assign(id, Pending { consumer, delivered_ms, deliveries });
            }
        }
        Ok(())
    }
}
