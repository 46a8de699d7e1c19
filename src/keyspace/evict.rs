//! Eviction: which key goes when memory is short.
//!
//! Exact least-recently-used order would cost a list through all keys. Redis's approximation costs
//! nothing per key: look at a few keys at random, remember the best candidates of all rounds in a
//! small pool, and evict the best of the pool. Because the pool keeps good candidates over many
//! rounds, five samples a round come close to the exact order.
//!
//! Keys with a deadline (the `volatile-*` policies) are sampled through the wheel of deadlines,
//! whose slots are their hashes: a slot whose key is gone, or lies ahead twice, only costs a look.
//! Where such slots are many, a part of them is swept away, which is done to each of them once; and
//! where most slots are those of hashes' fields, a stretch of them is searched. A key that is not
//! found by that is looked for again later: nobody waits until a large table has been read.
//!
//! Invariant: the pool holds names, not references; a name whose key has gone meanwhile is
//! skipped. Scores in one pool come from one policy: a change of policy empties it.

use super::db::{Db, FreedLater};
use super::effects::Class;
use super::entry::Entry;
use super::space::Space;
use crate::config::Policy;
use rand::Rng;

/// Candidates remembered.
const POOL_MAX: usize = 16;
/// Looks at the wheel for each key with a deadline that is wanted.
const LOOKS: usize = 8;
/// Chunks of the wheel that are swept when all looks meet stale slots.
const CHUNKS_SWEPT: usize = 16;
/// Slots in a row that are looked at when looks here and there find nothing.
const STRETCH: usize = 4096;
/// Deadlines from which their average is estimated.
const TTL_SAMPLES: usize = 20;

/// A key that may go.
#[derive(Debug)]
struct Candidate {
    /// The higher, the sooner it goes.
    score: u64,
    db: usize,
    key: Box<[u8]>,
}

/// The best candidates seen so far, the best last.
#[derive(Debug, Default)]
pub struct Pool {
    policy: Policy,
    candidates: Vec<Candidate>,
    /// Where random policies go on, so that databases take turns.
    next_db: usize,
}

impl Pool {
    fn offer(&mut self, score: u64, db: usize, key: &[u8]) {
        let full = self.candidates.len() >= POOL_MAX;
        if full && self.candidates.first().is_some_and(|worst| worst.score >= score) {
            return;
        }
        if self.candidates.iter().any(|known| known.db == db && *known.key == *key) {
            return;
        }
        if full {
            self.candidates.remove(0);
        }
        let at = self.candidates.partition_point(|known| known.score < score);
        self.candidates.insert(at, Candidate { score, db, key: key.into() });
    }
}

impl Db {
    /// Removes the key that `policy` likes least, as far as `samples` keys of each database tell.
    /// False when it has found none that it may remove.
    pub fn evict_one(&mut self, policy: Policy, samples: usize, pool: &mut Pool) -> bool {
        if pool.policy != policy {
            *pool = Pool { policy, ..Pool::default() };
        }
        let victim = match policy {
            Policy::NoEviction => None,
            Policy::AllkeysRandom | Policy::VolatileRandom => self.random_victim(pool),
            _ => self.best_victim(samples, pool),
        };
        let Some((db, key)) = victim else { return false };
        self.within(db, |here| {
            // Redis: evicted is also what has reached its deadline, so that it goes from a replica.
            let (hash, later) = (here.limits.hash_key.hash(&key), here.freed_later.evicted);
            if here.discard_present(hash, &key, Class::Evicted, "evicted", later) {
                here.counters.evicted += 1;
                here.effects.dirty -= 1;
                let removal = FreedLater::removal(here.freed_later.evicted);
                here.effects.record(db, &[removal, &key]);
            }
        });
        true
    }

    /// Whether there is a key that `policy` may remove, found or not.
    pub fn may_evict(&self, policy: Policy) -> bool {
        match policy {
            Policy::NoEviction => false,
            policy if policy.is_allkeys() => self.spaces.iter().any(|space| !space.is_empty()),
            _ => self.spaces.iter().any(|space| space.with_deadline() > 0),
        }
    }

    /// About how long the keys of a database that have a deadline still have (milliseconds).
    pub fn average_ttl_ms(&mut self, index: usize) -> u64 {
        let now_ms = self.wall_ms();
        let (space, rng) = (&mut self.spaces[index], &mut self.rng);
        let looks = (0..TTL_SAMPLES * LOOKS).filter_map(|_| look(space, rng));
        let mut found: Vec<u64> = looks.take(TTL_SAMPLES).collect();
        if found.is_empty() {
            found.extend(dated(space, now_ms, rng));
        }
        let left_ms = |hash: &u64| {
            let deadline_ms = space.entry_with_deadline(*hash).and_then(Entry::deadline_ms);
            i128::from((deadline_ms.unwrap_or(now_ms) - now_ms).max(0))
        };
        let sum: i128 = found.iter().map(left_ms).sum();
        u64::try_from(sum / found.len().max(1) as i128).unwrap_or(0)
    }

    fn random_victim(&mut self, pool: &mut Pool) -> Option<(usize, Box<[u8]>)> {
        let databases = self.databases();
        for step in 0..databases {
            let db = (pool.next_db + step) % databases;
            let (any, now_ms) = (pool.policy.is_allkeys(), self.wall_ms());
            let found = sample(&mut self.spaces[db], any, now_ms, &mut self.rng);
            if let Some(entry) = found {
                pool.next_db = (db + 1) % databases;
                return Some((db, entry.key().into()));
            }
        }
        None
    }

    fn best_victim(&mut self, samples: usize, pool: &mut Pool) -> Option<(usize, Box<[u8]>)> {
        // Each round either finds a candidate that is still there or empties the pool a little.
        for _ in 0..=POOL_MAX {
            self.fill(samples, pool);
            let candidate = pool.candidates.pop()?;
            let hash = self.limits.hash_key.hash(&candidate.key);
            let entry = self.spaces[candidate.db].find(hash, &candidate.key);
            let allowed = |entry: &Entry| pool.policy.is_allkeys() || entry.deadline_ms().is_some();
            if entry.is_some_and(allowed) {
                return Some((candidate.db, candidate.key));
            }
        }
        None
    }

    fn fill(&mut self, samples: usize, pool: &mut Pool) {
        let (policy, now_ms) = (pool.policy, self.wall_ms());
        for db in 0..self.spaces.len() {
            for _ in 0..samples {
                let (space, any) = (&mut self.spaces[db], policy.is_allkeys());
                let found = sample(space, any, now_ms, &mut self.rng);
                let Some(entry) = found else { break };
                let bits = entry.ageing();
                let score = match policy {
                    Policy::VolatileTtl => {
                        u64::MAX - entry.deadline_ms().unwrap_or(i64::MAX).unsigned_abs()
                    }
                    _ if policy.is_lfu() => 255 - u64::from(self.ageing.count(bits, now_ms)),
                    _ => u64::from(self.ageing.idle_seconds(bits, now_ms)),
                };
                pool.offer(score, db, entry.key());
            }
        }
    }
}

/// A key of a database at random; where not `any` will do, one with a deadline, if one is found
/// among a bounded number of slots.
fn sample<'a>(
    space: &'a mut Space,
    any: bool,
    now_ms: i64,
    rng: &mut impl Rng,
) -> Option<&'a Entry> {
    if any {
        return space.table.random(rng);
    }
    let hash = dated(space, now_ms, rng)?;
    space.entry_with_deadline(hash)
}

/// The hash of a key with a deadline.
fn dated(space: &mut Space, now_ms: i64, rng: &mut impl Rng) -> Option<u64> {
    if space.with_deadline() == 0 {
        return None;
    }
    let found = (0..LOOKS).find_map(|_| look(space, rng));
    if found.is_some() {
        return found;
    }
    for _ in 0..CHUNKS_SWEPT {
        if !space.has_stale() {
            break;
        }
        space.sweep_stale(now_ms);
    }
    let found = (0..LOOKS).find_map(|_| look(space, rng));
    if found.is_some() {
        return found;
    }
    let first = rng.random_range(0..space.wheel.len().max(1));
    let mut stretch = space.wheel.slots_from(first).chain(space.wheel.slots_from(0)).take(STRETCH);
    stretch.find(|hash| space.entry_with_deadline(*hash).is_some())
}

/// One look at a slot of the wheel: what is there, if it is the hash of a key with a deadline.
fn look(space: &Space, rng: &mut impl Rng) -> Option<u64> {
    let at = rng.random_range(0..space.wheel.len().max(1));
    let hash = space.wheel.slots_from(at).next()?;
    space.entry_with_deadline(hash).map(|_| hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::db::Ttl;
    use crate::types::limits::Limits;

    const NOW_MS: i64 = 1_700_000_000_000;
    const KEYS: usize = 1000;

    fn name(number: usize) -> Vec<u8> {
        format!("key:{number}").into_bytes()
    }

    /// Keys whose age falls with their number; every second one has a deadline, the later the
    /// higher its number.
    fn filled(is_lfu: bool) -> Db {
        let mut db = Db::new(2, Limits::default(), 7);
        db.ageing.is_lfu = is_lfu;
        (db.ageing.log_factor, db.ageing.decay_minutes) = (0, 0);
        for number in 0..KEYS {
            db.set_now_ms(NOW_MS + number as i64 * 1000);
            let ttl = match number % 2 {
                0 => Ttl::At(NOW_MS + 10_000_000 + number as i64 * 1000),
                _ => Ttl::Clear,
            };
            db.put_string(&name(number), b"value", ttl, "set");
            for _ in 0..number / 10 * usize::from(is_lfu) {
                db.read(&name(number));
            }
        }
        db.effects.happened.clear();
        db
    }

    /// The numbers of the keys that are gone after `count` evictions.
    fn evicted(db: &mut Db, policy: Policy, count: usize) -> Vec<usize> {
        let mut pool = Pool::default();
        for _ in 0..count {
            assert!(db.evict_one(policy, 5, &mut pool), "{policy:?}");
        }
        (0..KEYS).filter(|number| !db.contains(&name(*number))).collect()
    }

    fn average(numbers: &[usize]) -> usize {
        numbers.iter().sum::<usize>() / numbers.len().max(1)
    }

    #[test]
    fn volatile_policies_only_take_keys_with_a_deadline() {
        for policy in
            [Policy::VolatileLru, Policy::VolatileLfu, Policy::VolatileRandom, Policy::VolatileTtl]
        {
            let mut db = filled(policy.is_lfu());
            let gone = evicted(&mut db, policy, 500);
            assert_eq!(gone.len(), 500, "{policy:?}");
            assert!(gone.iter().all(|number| number % 2 == 0), "{policy:?}");
            assert!(!db.evict_one(policy, 5, &mut Pool::default()), "{policy:?}");
        }
    }

    #[test]
    fn old_keys_seldom_used_keys_and_early_deadlines_go_first() {
        for policy in [Policy::AllkeysLru, Policy::AllkeysLfu, Policy::VolatileTtl] {
            let mut db = filled(policy.is_lfu());
            let gone = evicted(&mut db, policy, 100);
            // Exact order would give an average of 50 (100 of those with a deadline).
            assert!(average(&gone) < 200, "{policy:?}: {}", average(&gone));
        }
        let mut db = filled(false);
        let random = average(&evicted(&mut db, Policy::AllkeysRandom, 100));
        assert!((350..650).contains(&random), "{random}");
    }

    #[test]
    fn everything_can_go_and_nothing_goes_without_a_policy() {
        let mut db = filled(false);
        assert!(!db.evict_one(Policy::NoEviction, 5, &mut Pool::default()));
        assert_eq!(evicted(&mut db, Policy::AllkeysLru, KEYS).len(), KEYS);
        assert_eq!((db.counters.evicted, db.space(0).len()), (KEYS as u64, 0));
        assert!(!db.evict_one(Policy::AllkeysRandom, 5, &mut Pool::default()));
    }

    #[test]
    fn names_in_the_pool_may_have_gone() {
        let mut db = filled(false);
        let mut pool = Pool::default();
        assert!(db.evict_one(Policy::AllkeysLru, 16, &mut pool));
        for number in 0..KEYS - 1 {
            db.remove(&name(number), "del");
        }
        assert!(db.evict_one(Policy::AllkeysLru, 16, &mut pool));
        assert!(db.space(0).is_empty());
    }

    /// One key with a deadline between many without, and in the wheel `stale` slots of others.
    fn among_stale(stale: usize) -> Db {
        let mut db = Db::new(1, Limits::default(), 7);
        db.set_now_ms(NOW_MS);
        (0..KEYS).for_each(|number| db.put_string(&name(number), b"v", Ttl::Clear, "set"));
        db.put_string(b"dated", b"v", Ttl::At(NOW_MS + 3_600_000), "set");
        for hash in 0..stale as u64 {
            db.spaces[0].wheel.insert(hash, NOW_MS + 30_000, NOW_MS);
        }
        db
    }

    #[test]
    fn stale_slots_are_swept_once() {
        let mut db = among_stale(4000);
        for _ in 0..10 {
            let hash = dated(&mut db.spaces[0], NOW_MS, &mut db.rng);
            assert_eq!(hash, Some(db.limits.hash_key.hash(b"dated")));
        }
        assert_eq!(db.spaces[0].wheel.len(), 1);
        assert_eq!(db.average_ttl_ms(0), 3_600_000);
        assert!(db.evict_one(Policy::VolatileTtl, 5, &mut Pool::default()));
        assert!(!db.evict_one(Policy::VolatileTtl, 5, &mut Pool::default()));
    }

    /// A walk through the table would find it each time.
    #[test]
    fn a_key_that_is_hard_to_find_is_not_looked_for_everywhere() {
        let mut db = among_stale(300_000);
        let rounds = 10;
        let found = (0..rounds).filter_map(|_| dated(&mut db.spaces[0], NOW_MS, &mut db.rng));
        assert!(found.count() < rounds);
        assert!(db.may_evict(Policy::VolatileRandom));
        assert!(db.spaces[0].wheel.len() > 300_000 - rounds * CHUNKS_SWEPT * 64);
    }

    /// A replica keeps what has reached its deadline until its primary says so; short of memory,
    /// it may not.
    #[test]
    fn what_has_reached_its_deadline_is_evicted_where_it_is_kept() {
        let mut db = filled(false);
        db.set_now_ms(NOW_MS + 100_000_000);
        db.keeps_expired = true;
        let before = db.space(0).len();
        let mut pool = Pool::default();
        for evicted in 1..=20 {
            assert!(db.evict_one(Policy::VolatileTtl, 5, &mut pool));
            assert_eq!(
                (db.space(0).len(), db.counters.evicted),
                (before - evicted, evicted as u64)
            );
        }
    }

    #[test]
    fn the_average_time_to_live_is_a_samples_average() {
        let mut db = Db::new(1, Limits::default(), 7);
        db.set_now_ms(NOW_MS);
        assert_eq!(db.average_ttl_ms(0), 0);
        for number in 0..100 {
            db.put_string(&name(number), b"v", Ttl::At(NOW_MS + 60_000), "set");
        }
        assert_eq!(db.average_ttl_ms(0), 60_000);
    }
}
