//! Deadlines found by time: a hierarchical timing wheel of key hashes.
//!
//! A key with a deadline has at least one slot of 8 bytes, its hash, in a bucket that comes due
//! no later than the deadline. Level 0 turns in ticks of 16 ms, each further level 256 times
//! slower; when the hand reaches a bucket of a slower level, its hashes are put down again where
//! their keys' deadlines now say. So a key whose deadline moves into the future needs no work at
//! all: its old slot finds it not yet due and moves on. Slots of keys that are gone, or persist,
//! are dropped when they come due; when they outnumber the live ones, every insertion sweeps a
//! chunk of them, so that EXPIRE and PERSIST in turns cannot grow the wheel.
//!
//! Invariant: `len` counts all slots; the wheel never looks at a key itself, its caller does.

use std::collections::VecDeque;

/// Milliseconds of one tick.
pub const TICK_MS: i64 = 16;
const LEVELS: usize = 5;
const SLOTS: usize = 256;
const CHUNK: usize = 64;

#[derive(Debug, Default)]
struct Bucket {
    // Boxed, so that a bucket that grows does not copy its chunks.
    #[allow(clippy::vec_box)]
    full: Vec<Box<[u64; CHUNK]>>,
    open: Vec<u64>,
}

impl Bucket {
    fn push(&mut self, hash: u64) {
        self.open.push(hash);
        if self.open.len() == CHUNK {
            let open = std::mem::take(&mut self.open);
            if let Ok(full) = open.into_boxed_slice().try_into() {
                self.full.push(full);
            }
        }
    }
}

/// The wheel of one database.
#[derive(Debug, Default)]
pub struct Wheel {
    levels: [Option<Box<[Bucket; SLOTS]>>; LEVELS],
    /// The tick up to which all buckets of level 0 have come due.
    tick: i64,
    /// Hashes whose time has come, to be looked at.
    due: VecDeque<Vec<u64>>,
    /// Slots, those in `due` included.
    len: usize,
    /// The bucket that is being swept of stale slots, and its full chunks that are still to come.
    sweep: usize,
    unswept: usize,
}

impl Wheel {
    /// Slots, stale ones included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing to wait for.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Heap bytes, roughly: 8 a slot and the levels in use.
    pub fn heap_bytes(&self) -> usize {
        let levels = self.levels.iter().flatten().count();
        self.len * 8 + levels * SLOTS * std::mem::size_of::<Bucket>()
    }

    /// Puts a hash down for a deadline (Unix ms).
    pub fn insert(&mut self, hash: u64, deadline_ms: i64, now_ms: i64) {
        if self.len == 0 {
            self.tick = now_ms.div_euclid(TICK_MS);
        }
        self.len += 1;
        self.put_down(hash, deadline_ms);
    }

    fn put_down(&mut self, hash: u64, deadline_ms: i64) {
        let due_tick = deadline_ms.div_euclid(TICK_MS).saturating_add(1).max(self.tick + 1);
        let ahead = due_tick - self.tick;
        let level = (0..LEVELS).find(|level| ahead >> (8 * (level + 1)) == 0);
        // Beyond the slowest level a hash waits in the bucket that comes due last.
        let (level, due_tick) = match level {
            Some(level) => (level, due_tick),
            None => (LEVELS - 1, self.tick + ((255i64) << (8 * (LEVELS - 1)))),
        };
        let slot = (due_tick >> (8 * level)) as usize & (SLOTS - 1);
        let buckets = self.levels[level]
            .get_or_insert_with(|| Box::new(std::array::from_fn(|_| Bucket::default())));
        buckets[slot].push(hash);
    }

    /// Turns the wheel to `now_ms`: what has come due waits for [`Wheel::pop_due`].
    pub fn turn(&mut self, now_ms: i64) {
        let target = now_ms.div_euclid(TICK_MS);
        if self.len == 0 || target < self.tick {
            // An empty wheel, or a clock that was set back: everything is looked at anew.
            if self.len > 0 {
                self.all_due();
            }
            self.tick = target;
            return;
        }
        if target - self.tick > (SLOTS * SLOTS) as i64 {
            self.all_due();
            self.tick = target;
            return;
        }
        while self.tick < target {
            self.tick += 1;
            for level in 0..LEVELS {
                self.open_bucket(level, (self.tick >> (8 * level)) as usize & (SLOTS - 1));
                if self.tick & ((1 << (8 * (level + 1))) - 1) != 0 {
                    break;
                }
            }
        }
    }

    fn open_bucket(&mut self, level: usize, slot: usize) {
        let Some(buckets) = &mut self.levels[level] else { return };
        let bucket = std::mem::take(&mut buckets[slot]);
        self.due.extend(bucket.full.into_iter().map(|chunk| chunk.to_vec()));
        if !bucket.open.is_empty() {
            self.due.push_back(bucket.open);
        }
    }

    fn all_due(&mut self) {
        for level in 0..LEVELS {
            for slot in 0..SLOTS {
                self.open_bucket(level, slot);
            }
            self.levels[level] = None;
        }
    }

    /// The slots from the one with this number on, in an order that only an unchanged wheel keeps:
    /// for sampling. To come to the first costs a step a bucket, each further one next to nothing.
    pub fn slots_from(&self, mut number: usize) -> impl Iterator<Item = u64> + '_ {
        let due = self.due.iter().map(|chunk| (&[][..], &chunk[..]));
        let buckets = self.levels.iter().flatten().flat_map(|level| level.iter());
        let mut pieces = due.chain(buckets.map(|bucket| (&bucket.full[..], &bucket.open[..])));
        let first = pieces.find(|(full, open)| {
            let len = full.len() * CHUNK + open.len();
            let is_inside = number < len;
            number -= if is_inside { 0 } else { len };
            is_inside
        });
        let rest = pieces.flat_map(|piece| in_piece(piece, 0));
        first.into_iter().flat_map(move |piece| in_piece(piece, number)).chain(rest)
    }

    /// Whether hashes have come due.
    pub fn has_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// Takes a hash whose time may have come. The caller expires the key, or calls
    /// [`Wheel::insert`] again when its deadline lies ahead.
    pub fn pop_due(&mut self) -> Option<u64> {
        let chunk = self.due.front_mut()?;
        let hash = chunk.pop();
        if chunk.is_empty() {
            self.due.pop_front();
        }
        self.len -= hash.is_some() as usize;
        hash
    }

    /// Puts a hash down to be looked at again at once, after those that wait already.
    pub fn due_again(&mut self, hash: u64) {
        self.len += 1;
        self.due.push_back(vec![hash]);
    }

    /// Takes one chunk out to be checked, duplicates removed: the sweep of stale slots. The caller
    /// inserts again what is alive.
    pub fn sweep_chunk(&mut self) -> Vec<u64> {
        for _ in 0..=LEVELS * SLOTS {
            let mut chunk = self.unswept_chunk();
            if !chunk.is_empty() {
                self.len -= chunk.len();
                chunk.sort_unstable();
                chunk.dedup();
                return chunk;
            }
        }
        Vec::new()
    }

    /// The next full chunk of the bucket that is being swept, or else the open one of the bucket
    /// after it. What comes back into a bucket stands behind its chunks that are still to come.
    fn unswept_chunk(&mut self) -> Vec<u64> {
        if let Some(bucket) = bucket(&mut self.levels, self.sweep) {
            if let Some(last) = self.unswept.min(bucket.full.len()).checked_sub(1) {
                self.unswept = last;
                return bucket.full.swap_remove(last).to_vec();
            }
        }
        self.sweep = (self.sweep + 1) % (LEVELS * SLOTS);
        let Some(bucket) = bucket(&mut self.levels, self.sweep) else { return Vec::new() };
        self.unswept = bucket.full.len();
        std::mem::take(&mut bucket.open)
    }

    /// When the next bucket that holds anything is reached (Unix ms); `None` of an empty wheel.
    pub fn next_due_ms(&self) -> Option<i64> {
        if self.has_due() {
            return Some(self.tick * TICK_MS);
        }
        let reached = |level: usize, buckets: &[Bucket; SLOTS]| {
            let now = self.tick >> (8 * level);
            let mut ahead = (1..=SLOTS as i64).map(|ahead| now + ahead);
            let held = |turn: &i64| {
                let bucket = &buckets[*turn as usize & (SLOTS - 1)];
                !bucket.open.is_empty() || !bucket.full.is_empty()
            };
            ahead.find(held).map(|turn| turn << (8 * level))
        };
        let levels = self.levels.iter().enumerate();
        let ticks = levels.filter_map(|(level, buckets)| reached(level, buckets.as_ref()?));
        ticks.min().map(|tick| tick.saturating_mul(TICK_MS))
    }
}

/// The bucket with this number, counted through all levels.
fn bucket(levels: &mut [Option<Box<[Bucket; SLOTS]>>], number: usize) -> Option<&mut Bucket> {
    levels.get_mut(number / SLOTS)?.as_mut()?.get_mut(number % SLOTS)
}

/// The slots of full chunks and of an open one, from one of them on.
fn in_piece<'w>(
    (full, open): (&'w [Box<[u64; CHUNK]>], &'w [u64]),
    number: usize,
) -> impl Iterator<Item = u64> + 'w {
    let before = (number / CHUNK).min(full.len());
    let chunks = full.iter().skip(before).map(|chunk| &chunk[..]).chain([open]);
    chunks.flatten().copied().skip(number - before * CHUNK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{rngs::SmallRng, Rng, SeedableRng};
    use std::collections::HashMap;

    /// Who sleeps until the wheel says so misses nothing, however far ahead it is.
    #[test]
    fn the_next_turn_is_known() {
        let mut rng = SmallRng::seed_from_u64(5);
        let mut now_ms = 1_700_000_000_123;
        for round in 0..200u64 {
            let mut wheel = Wheel::default();
            assert_eq!(wheel.next_due_ms(), None);
            let mut ahead_ms = || {
                let most_ms = 1i64 << rng.random_range(5..34);
                rng.random_range(0..most_ms)
            };
            let mut deadlines: Vec<i64> = (0..4).map(|_| now_ms + ahead_ms()).collect();
            for (hash, deadline_ms) in deadlines.iter().enumerate() {
                wheel.insert(hash as u64, *deadline_ms, now_ms);
            }
            let mut wakes = 0;
            while let Some(next_ms) = wheel.next_due_ms() {
                let first_ms = *deadlines.iter().min().unwrap();
                assert!(next_ms <= first_ms + 2 * TICK_MS, "{round}: {next_ms} after {first_ms}");
                now_ms = now_ms.max(next_ms);
                wheel.turn(now_ms);
                let mut later = Vec::new();
                while let Some(hash) = wheel.pop_due() {
                    let deadline_ms = deadlines[hash as usize];
                    if deadline_ms <= now_ms {
                        deadlines[hash as usize] = i64::MAX / 2;
                    } else {
                        later.push((hash, deadline_ms));
                    }
                }
                for (hash, deadline_ms) in later {
                    wheel.insert(hash, deadline_ms, now_ms);
                }
                wakes += 1;
                assert!(wakes < 60, "{round}: wakes for nothing");
            }
            assert!(wheel.is_empty());
        }
    }

    /// Slots that are alive hold up nobody who sweeps for stale ones, however many of them are in
    /// one bucket.
    #[test]
    fn a_sweep_comes_to_every_bucket() {
        let mut wheel = Wheel::default();
        let (alive, stale) = (0..1000u64, 1000..10_000u64);
        alive.clone().for_each(|hash| wheel.insert(hash, 10_000_000, 1000));
        stale.for_each(|hash| wheel.insert(hash, 60_000, 1000));
        for _ in 0..200 {
            for hash in wheel.sweep_chunk() {
                if alive.contains(&hash) {
                    wheel.insert(hash, 10_000_000, 1000);
                }
            }
        }
        assert_eq!(wheel.len(), 1000);
    }

    /// Every slot can be reached, and what follows it.
    #[test]
    fn slots_are_numbered() {
        let mut wheel = Wheel::default();
        assert_eq!(wheel.slots_from(0).next(), None);
        for hash in 0..500 {
            wheel.insert(hash, 1000 + hash as i64 % 7 * 100_000, 1000);
        }
        wheel.turn(2000);
        assert!(wheel.has_due());
        let all: Vec<u64> = wheel.slots_from(0).collect();
        let mut sorted = all.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..500).collect::<Vec<_>>());
        for number in 0..=500 {
            assert_eq!(wheel.slots_from(number).collect::<Vec<_>>(), all[number..], "{number}");
        }
    }

    /// Deadlines come up no earlier than they are due and at most one tick late, whatever moves.
    #[test]
    fn deadlines_come_due_in_time() {
        for seed in 0..20 {
            let mut rng = SmallRng::seed_from_u64(seed);
            let (mut wheel, mut deadlines) = (Wheel::default(), HashMap::new());
            let mut now_ms = 1_700_000_000_000;
            for hash in 0..3000u64 {
                let deadline_ms =
                    now_ms + (1i64 << rng.random_range(0..36)) + rng.random_range(0..99);
                deadlines.insert(hash, deadline_ms);
                wheel.insert(hash, deadline_ms, now_ms);
            }
            while !deadlines.is_empty() {
                now_ms += 1i64 << rng.random_range(0..34);
                wheel.turn(now_ms);
                while let Some(hash) = wheel.pop_due() {
                    match deadlines.get(&hash) {
                        Some(&deadline_ms) if deadline_ms <= now_ms => {
                            deadlines.remove(&hash);
                        }
                        Some(&deadline_ms) => wheel.insert(hash, deadline_ms, now_ms),
                        None => panic!("{hash} came up twice"),
                    }
                }
                let late = deadlines.values().filter(|&&at| at < now_ms - 2 * TICK_MS).count();
                assert_eq!(late, 0, "seed {seed}");
            }
            assert_eq!(wheel.len(), 0);
        }
    }
}
