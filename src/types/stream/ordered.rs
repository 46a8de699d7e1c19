//! A map from entry id to `V` in id order: short sorted arrays, on shelves.
//!
//! It serves as the index of blocks and as the lists of pending entries. Ids mostly arrive in
//! ascending order and leave from the front, so arrays fill to the brim (a B-tree of the standard
//! library would stay half empty), and neither end ever moves more than one array and its shelf.
//!
//! Shelves and arrays are shared between copies of the map ([`Shared`]): a copy of ten million
//! items costs a look at some six hundred shelves, and the first change on a shelf afterwards a
//! copy of its table and of one array.
//!
//! Invariant: no shelf and no array is empty, none holds more than `SHELF_RUNS` arrays or `MAX`
//! items, `low` of an array is not above its first id and above every id of the array before it,
//! and `low` of a shelf is that of its first array.

use super::id::StreamId;
use crate::types::shared::{Roomy, Shared};

/// Items of one array; a move within it is at most 2.5 KiB.
const MAX: usize = 64;
/// Arrays of one shelf; a move within it is at most 6 KiB. Tests fill many shelves.
const SHELF_RUNS: usize = if cfg!(test) { 16 } else { 256 };

/// An ordered map keyed by entry id.
#[derive(Clone, Debug)]
pub struct Ordered<V> {
    shelves: Roomy<Shelf<V>>,
    len: usize,
    /// Memory of the shelves' tables and of the arrays.
    run_bytes: usize,
}

type Runs<V> = Shared<Roomy<Run<V>>>;
type Items<V> = Shared<Roomy<(StreamId, V)>>;

#[derive(Clone, Debug)]
struct Shelf<V> {
    low: StreamId,
    runs: Runs<V>,
}

#[derive(Clone, Debug)]
struct Run<V> {
    low: StreamId,
    items: Items<V>,
}

/// Where an item stands; valid until the map changes.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    shelf: usize,
    run: usize,
    slot: usize,
}

impl<V> Default for Ordered<V> {
    fn default() -> Self {
        Ordered { shelves: Roomy::default(), len: 0, run_bytes: 0 }
    }
}

impl<V: Clone> Shelf<V> {
    /// Memory of the table, without the arrays.
    fn own_bytes(&self) -> usize {
        Runs::<V>::OWN_BYTES + self.runs.heap_bytes()
    }

    /// The only array that may hold `id`: the last whose `low` is not above it.
    fn run_of(&self, id: &StreamId) -> Option<usize> {
        match self.runs.last() {
            Some(last) if last.low <= *id => Some(self.runs.len() - 1),
            _ => self.runs.partition_point(|run| run.low <= *id).checked_sub(1),
        }
    }
}

impl<V: Clone> Run<V> {
    fn bytes(&self) -> usize {
        Items::<V>::OWN_BYTES + self.items.heap_bytes()
    }

    fn search(&self, id: &StreamId) -> Result<usize, usize> {
        self.items.binary_search_by(|item| item.0.cmp(id))
    }
}

impl<V: Clone> Ordered<V> {
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
        self.run_bytes + self.copy_bytes()
    }

    /// Memory that a copy takes for itself.
    pub fn copy_bytes(&self) -> usize {
        self.shelves.heap_bytes()
    }

    /// The item of `id`.
    pub fn find(&self, id: &StreamId) -> Option<&V> {
        let (shelf, run) = self.run_of(id)?;
        let run = &self.shelves[shelf].runs[run];
        Some(&run.items[run.search(id).ok()?].1)
    }

    /// The item of `id`, to be changed.
    pub fn find_mut(&mut self, id: &StreamId) -> Option<&mut V> {
        let (shelf, run) = self.run_of(id)?;
        let slot = self.shelves[shelf].runs[run].search(id).ok()?;
        Some(&mut self.open(shelf, run)[slot].1)
    }

    /// The item of the smallest id.
    pub fn first(&self) -> Option<(StreamId, &V)> {
        self.at(self.front()?)
    }

    /// The item of the largest id.
    pub fn last(&self) -> Option<(StreamId, &V)> {
        let run = self.shelves.last()?.runs.last()?;
        run.items.last().map(|(id, value)| (*id, value))
    }

    /// The item of the largest id, to be changed.
    pub fn last_mut(&mut self) -> Option<(StreamId, &mut V)> {
        let run = self.shelves.last_mut()?.runs.open().last_mut()?;
        run.items.open().last_mut().map(|(id, value)| (*id, value))
    }

    /// Puts `value` under `id`; gives back what was there.
    pub fn insert(&mut self, id: StreamId, value: V) -> Option<V> {
        let place = self.run_of(&id).or(if self.is_empty() { None } else { Some((0, 0)) });
        let Some((shelf, at)) = place else {
            self.push_run(id, value);
            return None;
        };
        let run = &self.shelves[shelf].runs[at];
        let slot = match run.search(&id) {
            Ok(slot) => {
                return Some(std::mem::replace(&mut self.open(shelf, at)[slot].1, value));
            }
            Err(slot) => slot,
        };
        if run.items.len() == MAX {
            let is_last =
                shelf + 1 == self.shelves.len() && at + 1 == self.shelves[shelf].runs.len();
            if is_last && slot == MAX {
                self.push_run(id, value);
                return None;
            }
            self.split(shelf, at);
            return self.insert(id, value);
        }
        let shelf = &mut self.shelves[shelf];
        shelf.low = shelf.low.min(id);
        let run = &mut shelf.runs.open()[at];
        let before = run.bytes();
        run.items.open().insert(slot, (id, value));
        run.low = run.low.min(id);
        self.run_bytes = self.run_bytes - before + run.bytes();
        self.len += 1;
        None
    }

    /// Takes the item of `id` out.
    pub fn remove(&mut self, id: &StreamId) -> Option<V> {
        let (shelf, run) = self.run_of(id)?;
        let slot = self.shelves[shelf].runs[run].search(id).ok()?;
        let (_, value) = self.open(shelf, run).remove(slot);
        self.len -= 1;
        self.mend(shelf, run);
        Some(value)
    }

    /// Takes the item of the smallest id out.
    pub fn pop_first(&mut self) -> Option<(StreamId, V)> {
        if self.is_empty() {
            return None;
        }
        let item = self.open(0, 0).remove(0);
        self.len -= 1;
        self.mend(0, 0);
        Some(item)
    }

    /// The items of the bounded piece at the front.
    pub fn first_run(&self) -> &[(StreamId, V)] {
        let run = self.shelves.first().and_then(|shelf| shelf.runs.first());
        run.map_or(&[], |run| &run.items)
    }

    /// Frees a bounded piece at the front; gives the number of its items.
    pub fn pop_run(&mut self) -> Option<usize> {
        let items = self.shelves.first()?.runs.first()?.items.len();
        self.len -= items;
        self.drop_run(0, 0);
        Some(items)
    }

    /// The last item whose id is not above `id`.
    pub fn floor(&self, id: &StreamId) -> Option<Place> {
        let (shelf, run) = self.run_of(id)?;
        match self.shelves[shelf].runs[run].search(id) {
            Ok(slot) => Some(Place { shelf, run, slot }),
            Err(slot) => self.before(Place { shelf, run, slot }),
        }
    }

    /// The first item whose id is not below `id`.
    pub fn ceiling(&self, id: &StreamId) -> Option<Place> {
        let Some((shelf, run)) = self.run_of(id) else { return self.front() };
        match self.shelves[shelf].runs[run].search(id) {
            Ok(slot) => Some(Place { shelf, run, slot }),
            Err(0) => Some(Place { shelf, run, slot: 0 }),
            Err(slot) => self.after(Place { shelf, run, slot: slot - 1 }),
        }
    }

    /// The place of the smallest id.
    pub fn front(&self) -> Option<Place> {
        (self.len > 0).then_some(Place { shelf: 0, run: 0, slot: 0 })
    }

    /// The place of the largest id.
    pub fn back(&self) -> Option<Place> {
        self.end_of(self.shelves.len().checked_sub(1)?)
    }

    /// The place after `place`.
    pub fn after(&self, place: Place) -> Option<Place> {
        let Place { shelf, run, slot } = place;
        let runs = &self.shelves.get(shelf)?.runs;
        if slot + 1 < runs.get(run)?.items.len() {
            return Some(Place { shelf, run, slot: slot + 1 });
        }
        if run + 1 < runs.len() {
            return Some(Place { shelf, run: run + 1, slot: 0 });
        }
        (shelf + 1 < self.shelves.len()).then_some(Place { shelf: shelf + 1, run: 0, slot: 0 })
    }

    /// The place before `place`.
    pub fn before(&self, place: Place) -> Option<Place> {
        let Place { shelf, run, slot } = place;
        if let Some(slot) = slot.checked_sub(1) {
            return Some(Place { shelf, run, slot });
        }
        if let Some(run) = run.checked_sub(1) {
            let slot = self.shelves.get(shelf)?.runs.get(run)?.items.len() - 1;
            return Some(Place { shelf, run, slot });
        }
        self.end_of(shelf.checked_sub(1)?)
    }

    /// What stands at `place`.
    pub fn at(&self, place: Place) -> Option<(StreamId, &V)> {
        let run = self.shelves.get(place.shelf)?.runs.get(place.run)?;
        run.items.get(place.slot).map(|(id, value)| (*id, value))
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
        let runs = self.shelves.iter().flat_map(|shelf| shelf.runs.iter());
        runs.flat_map(|run| run.items.iter().map(|(id, value)| (*id, value)))
    }

    /// Panics when the invariant is broken.
    pub fn check(&self) {
        let ids: Vec<StreamId> = self.iter().map(|(id, _)| id).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "ids ascend");
        assert_eq!(ids.len(), self.len, "the length is right");
        let (mut above, mut bytes) = (None, 0);
        for shelf in self.shelves.iter() {
            assert!(!shelf.runs.is_empty() && shelf.runs.len() <= SHELF_RUNS, "shelves hold some");
            assert_eq!(shelf.low, shelf.runs[0].low, "a shelf begins with its first array");
            bytes += shelf.own_bytes();
            for run in shelf.runs.iter() {
                assert!(!run.items.is_empty() && run.items.len() <= MAX, "arrays are not empty");
                assert!(run.low <= run.items[0].0 && above < Some(run.low), "low is a lower bound");
                above = run.items.last().map(|item| item.0);
                bytes += run.bytes();
            }
        }
        assert_eq!(bytes, self.run_bytes, "the size is right");
    }

    /// The only array that may hold `id`.
    fn run_of(&self, id: &StreamId) -> Option<(usize, usize)> {
        let shelf = match self.shelves.last() {
            Some(last) if last.low <= *id => self.shelves.len() - 1,
            _ => self.shelves.partition_point(|shelf| shelf.low <= *id).checked_sub(1)?,
        };
        Some((shelf, self.shelves[shelf].run_of(id)?))
    }

    fn end_of(&self, shelf: usize) -> Option<Place> {
        let runs = &self.shelves.get(shelf)?.runs;
        let run = runs.len().checked_sub(1)?;
        Some(Place { shelf, run, slot: runs.get(run)?.items.len().checked_sub(1)? })
    }

    fn open(&mut self, shelf: usize, run: usize) -> &mut Roomy<(StreamId, V)> {
        self.shelves[shelf].runs.open()[run].items.open()
    }

    fn push_run(&mut self, id: StreamId, value: V) {
        let (slots, runs) = if self.is_empty() { (1, 1) } else { (MAX, SHELF_RUNS) };
        if self.shelves.last().is_none_or(|shelf| shelf.runs.len() == SHELF_RUNS) {
            if self.is_empty() {
                self.shelves.reserve_exact(1);
            }
            let shelf = Shelf { low: id, runs: Shared::new(Roomy::with_room(runs)) };
            self.run_bytes += shelf.own_bytes();
            self.shelves.push(shelf);
        }
        let mut items = Roomy::with_room(slots);
        items.push((id, value));
        self.put_run(self.shelves.len() - 1, None, Run { low: id, items: Shared::new(items) });
        self.len += 1;
    }

    /// Puts an array on a shelf that has room for it, at its end or at an index.
    fn put_run(&mut self, shelf: usize, at: Option<usize>, run: Run<V>) {
        let shelf = &mut self.shelves[shelf];
        let before = shelf.own_bytes();
        self.run_bytes += run.bytes();
        let runs = shelf.runs.open();
        let at = at.unwrap_or(runs.len());
        runs.insert(at, run);
        self.run_bytes = self.run_bytes - before + shelf.own_bytes();
    }

    fn split(&mut self, shelf: usize, at: usize) {
        if self.shelves[shelf].runs.len() == SHELF_RUNS {
            return self.split_shelf(shelf);
        }
        let run = &mut self.shelves[shelf].runs.open()[at];
        let before = run.bytes();
        let items = run.items.open().split_off(MAX / 2);
        self.run_bytes = self.run_bytes - before + run.bytes();
        let upper = Run { low: items[0].0, items: Shared::new(items.into()) };
        self.put_run(shelf, Some(at + 1), upper);
    }

    fn split_shelf(&mut self, at: usize) {
        let shelf = &mut self.shelves[at];
        let before = shelf.own_bytes();
        let runs = shelf.runs.open().split_off(SHELF_RUNS / 2);
        let upper = Shelf { low: runs[0].low, runs: Shared::new(runs.into()) };
        self.run_bytes = self.run_bytes - before + shelf.own_bytes() + upper.own_bytes();
        self.shelves.insert(at + 1, upper);
    }

    /// Drops an array that became empty, and joins two that together fill less than half of one.
    fn mend(&mut self, shelf: usize, at: usize) {
        let runs = &self.shelves[shelf].runs;
        if runs[at].items.is_empty() {
            return self.drop_run(shelf, at);
        }
        if runs[at].items.len() > MAX / 4 {
            return;
        }
        let fits = |other: Option<&Run<V>>| {
            other.is_some_and(|other| other.items.len() + runs[at].items.len() <= MAX / 2)
        };
        let lower = if fits(runs.get(at + 1)) {
            at
        } else if at > 0 && fits(runs.get(at - 1)) {
            at - 1
        } else {
            return;
        };
        let runs = self.shelves[shelf].runs.open();
        let upper = runs.remove(lower + 1);
        let run = &mut runs[lower];
        self.run_bytes -= run.bytes() + upper.bytes();
        run.items.open().extend_from_slice(&upper.items);
        self.run_bytes += run.bytes();
        self.mend_shelf(shelf);
    }

    /// Drops an array, whose items no longer count.
    fn drop_run(&mut self, shelf: usize, at: usize) {
        let run = self.shelves[shelf].runs.open().remove(at);
        self.run_bytes -= run.bytes();
        self.mend_shelf(shelf);
    }

    /// Puts a shelf in order after one of its arrays went: none is empty, and two that together
    /// fill less than half of one become one.
    fn mend_shelf(&mut self, at: usize) {
        let shelf = &mut self.shelves[at];
        let Some(first) = shelf.runs.first() else {
            self.run_bytes -= shelf.own_bytes();
            self.shelves.remove(at);
            if self.shelves.capacity() > 4 * self.shelves.len() + 8 {
                let room = 2 * self.shelves.len();
                self.shelves.shrink_to(room);
            }
            return;
        };
        shelf.low = first.low;
        let here = shelf.runs.len();
        let joins = |other: Option<&Shelf<V>>| {
            other.is_some_and(|other| other.runs.len() + here <= SHELF_RUNS / 2)
        };
        let lower = if here > SHELF_RUNS / 4 {
            return;
        } else if joins(self.shelves.get(at + 1)) {
            at
        } else if at > 0 && joins(self.shelves.get(at - 1)) {
            at - 1
        } else {
            return;
        };
        let mut upper = self.shelves.remove(lower + 1);
        let lower = &mut self.shelves[lower];
        self.run_bytes -= lower.own_bytes() + upper.own_bytes();
        lower.runs.open().append(upper.runs.open());
        self.run_bytes += lower.own_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::super::id::StreamId;
    use super::Ordered;
    use rand::{rngs::SmallRng, Rng, SeedableRng};
    use std::collections::{BTreeMap, VecDeque};

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
            let mut copies = VecDeque::new();
            for step in 0..4000u32 {
                if rng.random_range(0..100) == 0 {
                    copies.push_back((ours.clone(), model.clone()));
                    if copies.len() > 5 {
                        copies
                            .pop_front()
                            .into_iter()
                            .for_each(|(ours, model)| same(&ours, &model));
                    }
                }
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
            copies.iter().for_each(|(ours, model)| same(ours, model));
            let tail = ours.iter_from(StreamId::new(spread / 2, 0)).count();
            assert_eq!(tail, model.range(StreamId::new(spread / 2, 0)..).count());
        }
    }

    #[test]
    fn a_change_after_a_copy_takes_one_array_and_its_shelf_along() {
        let mut ours = Ordered::default();
        (0..100_000).for_each(|ms| assert!(ours.insert(StreamId::new(ms, 0), ms).is_none()));
        let copy = ours.clone();
        assert!(copy.copy_bytes() < 8192, "{}", copy.copy_bytes());
        let arrays = |ours: &Ordered<u64>| -> Vec<*const (StreamId, u64)> {
            let runs = ours.shelves.iter().flat_map(|shelf| shelf.runs.iter());
            runs.map(|run| run.items.as_ptr()).collect()
        };
        assert_eq!(arrays(&copy), arrays(&ours), "nothing is copied");
        ours.remove(&StreamId::new(50_000, 0));
        ours.insert(StreamId::new(3, 0), 1);
        *ours.find_mut(&StreamId::new(99_000, 0)).unwrap() += 1;
        let pairs = arrays(&copy).into_iter().zip(arrays(&ours));
        assert_eq!(pairs.filter(|(a, b)| a != b).count(), 3, "one array for each change");
        assert!(copy.iter().map(|(_, value)| *value).eq(0..100_000));
        copy.check();
        ours.check();
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
        while let Some(items) = ours.pop_run() {
            freed += items;
        }
        assert_eq!((freed, ours.len()), (6400, 0));
        ours.check();
    }
}
