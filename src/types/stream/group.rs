//! A consumer group: how far it has read, its consumers, and what is pending.
//!
//! What was delivered and not acknowledged is kept twice: the group's list says who owns an entry,
//! since when and after how many deliveries; each consumer has the ordered ids that it owns. So a
//! summary costs as much as there are consumers, and an acknowledgement two short searches,
//! however long the lists are.
//!
//! Lists and consumers are shared between copies of the group until one of them changes.
//!
//! Invariant: an id is in the set of exactly the consumer that the group's list names, and
//! `consumer_bytes` is what all consumers hold.

use super::id::StreamId;
use super::ordered::Ordered;
use crate::types::alloc::class;
use crate::types::shared::{Roomy, Sharable, Shared};

/// A consumer within its group, for as long as it is not deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsumerId(u32);

/// An entry that was delivered and not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Who has to acknowledge it.
    pub consumer: ConsumerId,
    /// Unix time of the last delivery in milliseconds.
    pub delivered_ms: i64,
    /// How often it was delivered.
    pub deliveries: u64,
}

/// One reader of a group.
#[derive(Clone, Debug)]
pub struct Consumer {
    name: Box<[u8]>,
    pending: Ordered<()>,
    /// Unix time in milliseconds of the last attempt to read, claim or be claimed for.
    pub seen_ms: i64,
    /// Unix time in milliseconds of the last success in that; -1 when there was none.
    pub active_ms: i64,
}

/// A consumer group.
#[derive(Clone, Debug)]
pub struct Group {
    name: Box<[u8]>,
    /// The last id that was delivered to any consumer.
    pub last_id: StreamId,
    /// The number of entries ever added up to `last_id`; `None` when it cannot be known.
    pub entries_read: Option<i64>,
    pending: Ordered<Pending>,
    consumers: Roomy<Option<Shared<Consumer>>>,
    vacant: Roomy<u32>,
    by_name: Roomy<ConsumerId>,
    consumer_bytes: usize,
}

impl Consumer {
    /// Its name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The ids that it has to acknowledge.
    pub fn pending(&self) -> &Ordered<()> {
        &self.pending
    }

    fn heap_bytes(&self) -> usize {
        Shared::<Consumer>::OWN_BYTES + class(self.name.len()) + self.pending.heap_bytes()
    }
}

impl Sharable for Consumer {
    fn copy_bytes(&self) -> usize {
        class(self.name.len()) + self.pending.copy_bytes()
    }
}

impl Sharable for Group {
    fn copy_bytes(&self) -> usize {
        class(self.name.len())
            + self.pending.copy_bytes()
            + self.consumers.heap_bytes()
            + self.vacant.heap_bytes()
            + self.by_name.heap_bytes()
    }
}

impl Group {
    /// A group without consumers.
    pub fn new(name: &[u8], last_id: StreamId, entries_read: Option<i64>) -> Group {
        Group {
            name: name.into(),
            last_id,
            entries_read,
            pending: Ordered::default(),
            consumers: Roomy::default(),
            vacant: Roomy::default(),
            by_name: Roomy::default(),
            consumer_bytes: 0,
        }
    }

    /// Its name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Everything that is pending, by id.
    pub fn pending(&self) -> &Ordered<Pending> {
        &self.pending
    }

    /// Number of consumers.
    pub fn consumer_count(&self) -> usize {
        self.by_name.len()
    }

    /// The consumers in the order of their names.
    pub fn consumers(&self) -> impl Iterator<Item = (ConsumerId, &Consumer)> + '_ {
        self.by_name.iter().filter_map(|&id| Some((id, self.consumer(id)?)))
    }

    /// The consumer called `name`.
    pub fn find_consumer(&self, name: &[u8]) -> Option<ConsumerId> {
        self.name_slot(name).ok().map(|slot| self.by_name[slot])
    }

    /// The consumer `id`; `None` when it was deleted.
    pub fn consumer(&self, id: ConsumerId) -> Option<&Consumer> {
        self.consumers.get(id.0 as usize)?.as_deref()
    }

    /// The consumer `id`, to change its times.
    pub fn consumer_mut(&mut self, id: ConsumerId) -> Option<&mut Consumer> {
        self.consumers.get_mut(id.0 as usize)?.as_mut().map(Shared::open)
    }

    /// The name of consumer `id`; empty when it was deleted.
    pub fn consumer_name(&self, id: ConsumerId) -> &[u8] {
        self.consumer(id).map_or(b"", Consumer::name)
    }

    /// Adds a consumer that was never active; `None` when the name is taken.
    pub fn create_consumer(&mut self, name: &[u8], now_ms: i64) -> Option<ConsumerId> {
        let slot = self.name_slot(name).err()?;
        let consumer = Shared::new(Consumer {
            name: name.into(),
            pending: Ordered::default(),
            seen_ms: now_ms,
            active_ms: -1,
        });
        self.consumer_bytes += consumer.heap_bytes();
        let id = match self.vacant.pop() {
            Some(vacant) => {
                self.consumers[vacant as usize] = Some(consumer);
                ConsumerId(vacant)
            }
            None => {
                self.consumers.push(Some(consumer));
                ConsumerId((self.consumers.len() - 1) as u32)
            }
        };
        self.by_name.insert(slot, id);
        Some(id)
    }

    /// Deletes a consumer with all that it has pending; gives the number of those.
    pub fn remove_consumer(&mut self, name: &[u8]) -> Option<usize> {
        let slot = self.name_slot(name).ok()?;
        let id = self.by_name.remove(slot);
        let consumer = self.consumers[id.0 as usize].take()?;
        self.vacant.push(id.0);
        self.consumer_bytes -= consumer.heap_bytes();
        for (entry, ()) in consumer.pending.iter() {
            self.pending.remove(&entry);
        }
        Some(consumer.pending.len())
    }

    /// Makes `entry` pending for `owner`, whoever had it before.
    pub fn assign(&mut self, entry: StreamId, owner: Pending) {
        let before = match self.pending.find_mut(&entry) {
            Some(pending) => Some(std::mem::replace(pending, owner).consumer),
            None => {
                self.pending.insert(entry, owner);
                None
            }
        };
        if before == Some(owner.consumer) {
            return;
        }
        if let Some(before) = before {
            self.change_set(before, |set| set.remove(&entry));
        }
        self.change_set(owner.consumer, |set| set.insert(entry, ()));
    }

    /// Takes `entry` off the lists; `None` when it was not pending.
    pub fn acknowledge(&mut self, entry: StreamId) -> Option<Pending> {
        let pending = self.pending.remove(&entry)?;
        self.change_set(pending.consumer, |set| set.remove(&entry));
        Some(pending)
    }

    /// The owner of a pending entry has received it once more.
    pub fn redeliver(&mut self, entry: StreamId, now_ms: i64) {
        if let Some(pending) = self.pending.find_mut(&entry) {
            pending.delivered_ms = now_ms;
            pending.deliveries = pending.deliveries.wrapping_add(1);
        }
    }

    /// Heap memory of the group.
    pub fn heap_bytes(&self) -> usize {
        class(self.name.len())
            + self.pending.heap_bytes()
            + self.consumer_bytes
            + self.consumers.heap_bytes()
            + self.vacant.heap_bytes()
            + self.by_name.heap_bytes()
    }

    /// Frees a bounded piece; false when nothing is left. The group is of no use afterwards.
    pub(super) fn pop_chunk(&mut self) -> bool {
        if self.pending.pop_run().is_some() {
            return true;
        }
        let Some(last) = self.consumers.last_mut() else { return false };
        let freed = last.as_mut().and_then(|consumer| {
            let before_bytes = consumer.heap_bytes();
            let freed = consumer.open().pending.pop_run();
            self.consumer_bytes = self.consumer_bytes - before_bytes + consumer.heap_bytes();
            freed
        });
        if freed.is_none() {
            let gone = self.consumers.pop().flatten();
            self.consumer_bytes -= gone.map_or(0, |consumer| consumer.heap_bytes());
        }
        true
    }

    /// Panics when the invariant is broken.
    pub fn check(&self) {
        self.pending.check();
        let mut owned = 0;
        let mut bytes = 0;
        for (id, consumer) in self.consumers() {
            consumer.pending.check();
            bytes += consumer.heap_bytes();
            owned += consumer.pending.len();
            for (entry, ()) in consumer.pending.iter() {
                assert_eq!(self.pending.find(&entry).map(|pending| pending.consumer), Some(id));
            }
        }
        assert_eq!(owned, self.pending.len(), "every pending entry has one owner");
        assert_eq!(bytes, self.consumer_bytes, "the size is right");
        let names: Vec<&[u8]> = self.consumers().map(|(_, consumer)| consumer.name()).collect();
        assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "names ascend");
        assert_eq!(self.consumers.len(), self.by_name.len() + self.vacant.len());
    }

    fn name_slot(&self, name: &[u8]) -> Result<usize, usize> {
        self.by_name.binary_search_by(|&id| self.consumer_name(id).cmp(name))
    }

    fn change_set<R>(&mut self, id: ConsumerId, change: impl FnOnce(&mut Ordered<()>) -> R) {
        let Some(Some(consumer)) = self.consumers.get_mut(id.0 as usize) else { return };
        let consumer = consumer.open();
        let before = consumer.pending.heap_bytes();
        change(&mut consumer.pending);
        self.consumer_bytes = self.consumer_bytes - before + consumer.pending.heap_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::super::id::StreamId;
    use super::{Group, Pending};
    use rand::{rngs::SmallRng, Rng, SeedableRng};
    use std::collections::BTreeMap;

    #[test]
    fn ownership_like_a_model() {
        let mut rng = SmallRng::seed_from_u64(7);
        let mut group = Group::new(b"g", StreamId::MIN, None);
        let mut model: BTreeMap<StreamId, (String, u64)> = BTreeMap::new();
        for step in 0..20_000u64 {
            let name = format!("c{}", rng.random_range(0..6));
            let entry = StreamId::new(rng.random_range(0..400), 0);
            match rng.random_range(0..100) {
                0 => {
                    let gone = model.values().filter(|value| value.0 == name).count();
                    let known = group.find_consumer(name.as_bytes()).is_some();
                    assert_eq!(group.remove_consumer(name.as_bytes()), known.then_some(gone));
                    model.retain(|_, value| value.0 != name);
                }
                1..=40 => {
                    let had = group.acknowledge(entry).map(|pending| pending.deliveries);
                    assert_eq!(had, model.remove(&entry).map(|value| value.1));
                }
                _ => {
                    let consumer = match group.find_consumer(name.as_bytes()) {
                        Some(consumer) => consumer,
                        None => group.create_consumer(name.as_bytes(), 5).unwrap(),
                    };
                    group.assign(entry, Pending { consumer, delivered_ms: 1, deliveries: step });
                    model.insert(entry, (name, step));
                }
            }
            if step % 500 == 0 {
                group.check();
                let ours = group.pending().iter().map(|(id, pending)| {
                    let owner = group.consumer_name(pending.consumer).to_vec();
                    (id, (String::from_utf8(owner).unwrap(), pending.deliveries))
                });
                assert!(ours.eq(model.clone()));
            }
        }
        while group.pop_chunk() {}
        assert!(group.pending().is_empty());
    }
}
