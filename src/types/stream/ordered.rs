//! A map from entry id to `V` in id order: a deque of short sorted arrays.
//!
//! It serves as the index of blocks and as the lists of pending entries. Ids mostly arrive in
//! ascending order and leave from the front, so arrays fill to the brim (a B-tree of the standard
//! library would stay half empty), and neither end ever moves more than one array.
//!
//! Invariant: no array is empty, none holds more than `MAX` items, and `low` of an array is not
//! above its first id and above every id of the array before it.

use super::id::StreamId;
use crate::types::alloc::class;
use std::collections::VecDeque;
use std::mem::size_of;

/// Items of one array; a move within it is at most 2.5 KiB.
const MAX: usize = 64;

/// An ordered map keyed by entry id.
#[derive(Clone, Debug)]
pub struct Ordered<V> {
    runs: VecDeque<Run<V>>,
    len: usize,
    run_bytes: usize,
}

#[derive(Clone, Debug)]
struct Run<V> {
    low: StreamId,
    items: Vec<(StreamId, V)>,
}

/// Where an item stands; valid until the map changes.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    run: usize,
    slot: usize,
}

impl<V> Default for Ordered<V> {
    fn default() -> Self {
        Ordered { runs: VecDeque::new(), len: 0, run_bytes: 0 }
    }
}

impl<V> Run<V> {
    fn bytes(&self) -> usize {
        class(self.items.capacity() * size_of::<(StreamId, V)>())
    }

    fn search(&self, id: &StreamId) -> Result<usize, usize> {
        self.items.binary_search_by(|item| item.0.cmp(id))
    }
}

impl<V> Ordered<V> {
    /// Number of items.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no items.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Memory of the arrays, without what the values themselves own.
    pub fn heap_bytes(&self) -> usize {
        self.run_bytes + class(self.runs.capacity() * size_of::<Run<V>>())
    }

    /// The item of `id`.
    pub fn find(&self, id: &StreamId) -> Option<&V> {
        let run = &self.runs[self.run_of(id)?];
        Some(&run.items[run.search(id).ok()?].1)
    }

    /// The item of `id`, to be changed.
    pub fn find_mut(&mut self, id: &StreamId) -> Option<&mut V> {
        let run = self.run_of(id)?;
        let run = &mut self.runs[run];
        let slot = run.search(id).ok()?;
        Some(&mut run.items[slot].1)
    }

    /// The item of the smallest id.
    pub fn first(&self) -> Option<(StreamId, &V)> {
        self.runs.front()?.items.first().map(|(id, value)| (*id, value))
    }

    /// The item of the largest id.
    pub fn last(&self) -> Option<(StreamId, &V)> {
        self.runs.back()?.items.last().map(|(id, value)| (*id, value))
    }

    /// The item of the largest id, to be changed.
    pub fn last_mut(&mut self) -> Option<(StreamId, &mut V)> {
        self.runs.back_mut()?.items.last_mut().map(|(id, value)| (*id, value))
    }

    /// Puts `value` under `id`; gives back what was there.
    pub fn insert(&mut self, id: StreamId, value: V) -> Option<V> {
        let Some(at) = self.run_of(&id).or(if self.runs.is_empty() { None } else { Some(0) })
        else {
            self.push_run(id, value);
            return None;
        };
        let slot = match self.runs[at].search(&id) {
            Ok(slot) => return Some(std::mem::replace(&mut self.runs[at].items[slot].1, value)),
            Err(slot) => slot,
        };
        if self.runs[at].items.len() == MAX {
            if at + 1 == self.runs.len() && slot == MAX {
                self.push_run(id, value);
                return None;
            }
            self.split(at);
            return self.insert(id, value);
        }
        let run = &mut self.runs[at];
        let before = run.bytes();
        run.items.insert(slot, (id, value));
        run.low = run.low.min(id);
        self.run_bytes = self.run_bytes - before + run.bytes();
        self.len += 1;
        None
    }

    /// Takes the item of `id` out.
    pub fn remove(&mut self, id: &StreamId) -> Option<V> {
        let at = self.run_of(id)?;
        let slot = self.runs[at].search(id).ok()?;
        let (_, value) = self.runs[at].items.remove(slot);
        self.len -= 1;
        self.mend(at);
        Some(value)
    }

    /// Takes out a bounded piece from the front, to be freed.
    pub fn pop_run(&mut self) -> Option<Vec<(StreamId, V)>> {
        let run = self.runs.pop_front()?;
        self.run_bytes -= run.bytes();
        self.len -= run.items.len();
        Some(run.items)
    }

    /// The last item whose id is not above `id`.
    pub fn floor(&self, id: &StreamId) -> Option<Place> {
        let run = self.run_of(id)?;
        match self.runs[run].search(id) {
            Ok(slot) => Some(Place { run, slot }),
            Err(slot) => self.before(Place { run, slot }),
        }
    }

    /// The first item whose id is not below `id`.
    pub fn ceiling(&self, id: &StreamId) -> Option<Place> {
        let Some(run) = self.run_of(id) else { return self.front() };
        let slot = self.runs[run].search(id).unwrap_or_else(|slot| slot);
        if slot < self.runs[run].items.len() {
            return Some(Place { run, slot });
        }
        (run + 1 < self.runs.len()).then_some(Place { run: run + 1, slot: 0 })
    }

    /// The place of the smallest id.
    pub fn front(&self) -> Option<Place> {
        (self.len > 0).then_some(Place { run: 0, slot: 0 })
    }

    /// The place of the largest id.
    pub fn back(&self) -> Option<Place> {
        let run = self.runs.len().checked_sub(1)?;
        Some(Place { run, slot: self.runs[run].items.len() - 1 })
    }

    /// The place after `place`.
    pub fn after(&self, place: Place) -> Option<Place> {
        if place.slot + 1 < self.runs.get(place.run)?.items.len() {
            return Some(Place { run: place.run, slot: place.slot + 1 });
        }
        (place.run + 1 < self.runs.len()).then_some(Place { run: place.run + 1, slot: 0 })
    }

    /// The place before `place`.
    pub fn before(&self, place: Place) -> Option<Place> {
        if let Some(slot) = place.slot.checked_sub(1) {
            return Some(Place { run: place.run, slot });
        }
        let run = place.run.checked_sub(1)?;
        Some(Place { run, slot: self.runs[run].items.len() - 1 })
    }

    /// What stands at `place`.
    pub fn at(&self, place: Place) -> Option<(StreamId, &V)> {
        self.runs.get(place.run)?.items.get(place.slot).map(|(id, value)| (*id, value))
    }

    /// All items from the first id not below `start`, in order.
    pub fn iter_from(&self, start: StreamId) -> impl Iterator<Item = (StreamId, &V)> + '_ {
        let mut place = self.ceiling(&start);
        std::iter::from_fn(move || {
            let here = place?;
            place = self.after(here);
            self.at(here)
        })
    }

    /// All items in order.
    pub fn iter(&self) -> impl Iterator<Item = (StreamId, &V)> + '_ {
        self.runs.iter().flat_map(|run| run.items.iter().map(|(id, value)| (*id, value)))
    }

    /// Panics when the invariant is broken.
    pub fn check(&self) {
        let ids: Vec<StreamId> = self.iter().map(|(id, _)| id).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "ids ascend");
        assert_eq!(ids.len(), self.len, "the length is right");
        assert_eq!(self.runs.iter().map(Run::bytes).sum::<usize>(), self.run_bytes);
        let mut above = None;
        for run in &self.runs {
            assert!(!run.items.is_empty() && run.items.len() <= MAX, "arrays are not empty");
            assert!(run.low <= run.items[0].0 && above < Some(run.low), "low is a lower bound");
            above = run.items.last().map(|item| item.0);
        }
    }

    /// The only array that may hold `id`: the last whose `low` is not above it.
    fn run_of(&self, id: &StreamId) -> Option<usize> {
        match self.runs.back() {
            Some(last) if last.low <= *id => Some(self.runs.len() - 1),
            _ => self.runs.partition_point(|run| run.low <= *id).checked_sub(1),
        }
    }

    fn push_run(&mut self, id: StreamId, value: V) {
        let slots = if self.runs.is_empty() { 1 } else { MAX };
        let mut items = Vec::with_capacity(slots);
        items.push((id, value));
        let run = Run { low: id, items };
        self.run_bytes += run.bytes();
        self.runs.push_back(run);
        self.len += 1;
    }

    fn split(&mut self, at: usize) {
        let run = &mut self.runs[at];
        let before = run.bytes();
        let items = run.items.split_off(MAX / 2);
        let upper = Run { low: items[0].0, items };
        self.run_bytes = self.run_bytes - before + run.bytes() + upper.bytes();
        self.runs.insert(at + 1, upper);
    }

    /// Drops an array that became empty, and joins two that together fill less than half of one.
    fn mend(&mut self, at: usize) {
        if self.runs[at].items.is_empty() {
            self.run_bytes -= self.runs[at].bytes();
            self.runs.remove(at);
            if self.runs.capacity() > 4 * self.runs.len() + 8 {
                self.runs.shrink_to(2 * self.runs.len());
            }
            return;
        }
        if self.runs[at].items.len() > MAX / 4 {
            return;
        }
        let fits = |other: Option<&Run<V>>| {
            other.is_some_and(|other| other.items.len() + self.runs[at].items.len() <= MAX / 2)
        };
        let lower = if fits(self.runs.get(at + 1)) {
            at
        } else if at > 0 && fits(self.runs.get(at - 1)) {
            at - 1
        } else {
            return;
        };
        let Some(upper) = self.runs.remove(lower + 1) else { return };
        let run = &mut self.runs[lower];
        self.run_bytes -= run.bytes() + upper.bytes();
        run.items.extend(upper.items);
        self.run_bytes += run.bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::super::id::StreamId;
    use super::Ordered;
    use rand::{rngs::SmallRng, Rng, SeedableRng};
    use std::collections::BTreeMap;

    fn same(ours: &Ordered<u32>, model: &BTreeMap<StreamId, u32>) {
        ours.check();
        assert!(ours.iter().eq(model.iter().map(|(id, value)| (*id, value))));
        assert_eq!(ours.first().map(|item| item.0), model.keys().next().copied());
        assert_eq!(ours.last().map(|item| item.0), model.keys().next_back().copied());
    }

    #[test]
    fn like_a_btree_map() {
        for seed in 0..20 {
            let mut rng = SmallRng::seed_from_u64(seed);
            let (mut ours, mut model) = (Ordered::default(), BTreeMap::new());
            let spread = [50, 1000, 5000][seed as usize % 3];
            for step in 0..4000u32 {
                let id = StreamId::new(rng.random_range(0..spread), rng.random_range(0..2));
                // The balance of growing and shrinking swings, so that arrays join and split.
                if rng.random_range(0..10) < if step / 1000 % 2 == 0 { 7 } else { 2 } {
                    assert_eq!(ours.insert(id, step), model.insert(id, step));
                } else {
                    assert_eq!(ours.remove(&id), model.remove(&id));
                }
                assert_eq!(ours.find(&id), model.get(&id));
                let probe = StreamId::new(rng.random_range(0..spread), 1);
                let place = |place: Option<_>| place.and_then(|place| ours.at(place));
                let floor = model.range(..=probe).next_back().map(|(id, value)| (*id, value));
                assert_eq!(place(ours.floor(&probe)), floor);
                let ceiling = model.range(probe..).next().map(|(id, value)| (*id, value));
                assert_eq!(place(ours.ceiling(&probe)), ceiling);
                if step % 100 == 0 {
                    same(&ours, &model);
                }
            }
            let tail = ours.iter_from(StreamId::new(spread / 2, 0)).count();
            assert_eq!(tail, model.range(StreamId::new(spread / 2, 0)..).count());
        }
    }

    #[test]
    fn ascending_ids_fill_every_array() {
        let mut ours = Ordered::default();
        for ms in 0..6400 {
            ours.insert(StreamId::new(ms, 0), ());
        }
        ours.check();
        assert!(ours.heap_bytes() <= 6400 * 16 + 6400 / 64 * 64, "{}", ours.heap_bytes());
        let mut freed = 0;
        while let Some(run) = ours.pop_run() {
            freed += run.len();
        }
        assert_eq!((freed, ours.len()), (6400, 0));
        ours.check();
    }
}
