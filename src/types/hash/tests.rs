//! Hashes against a plain model, in both encodings, with and without deadlines.

use super::*;
use crate::types::alloc::class;
use crate::types::oracle::Oracle;
use rand::{rngs::SmallRng, Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};

type Model = BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)>;

fn limits(entries: usize) -> Limits {
    Limits { hash_max_listpack_entries: entries, ..Limits::default() }
}

fn text(rng: &mut SmallRng, kinds: u32) -> Vec<u8> {
    match rng.random_range(0..4) {
        0 => rng.random_range(0..kinds).to_string().into_bytes(),
        1 => (rng.random::<i64>() >> rng.random_range(0..63)).to_string().into_bytes(),
        2 => vec![b'x'; rng.random_range(0..kinds.min(300)) as usize],
        _ => format!("field:{}", rng.random_range(0..kinds)).into_bytes(),
    }
}

fn field(rng: &mut SmallRng, kinds: u32) -> Vec<u8> {
    match rng.random_range(0..3) {
        0 => rng.random_range(0..kinds).to_string().into_bytes(),
        1 => vec![b'f'; rng.random_range(0..kinds.min(70)) as usize],
        _ => format!("field:{}", rng.random_range(0..kinds)).into_bytes(),
    }
}

fn contents(hash: &Hash, now_ms: i64) -> BTreeMap<Vec<u8>, Vec<u8>> {
    hash.view().iter(now_ms).map(|(field, value)| (field.to_vec(), value.to_vec())).collect()
}

fn live(model: &Model, now_ms: i64) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let is_live = |at: &Option<i64>| at.is_none_or(|at| at > now_ms);
    model
        .iter()
        .filter(|(_, (_, at))| is_live(at))
        .map(|(field, (value, _))| (field.clone(), value.clone()))
        .collect()
}

/// One random change on both; what they answer must be the same.
fn step(hash: &mut Hash, model: &mut Model, rng: &mut SmallRng, now_ms: i64, limits: &Limits) {
    let kinds = 60;
    let name = field(rng, kinds);
    let there = model.get(&name).filter(|(_, at)| at.is_none_or(|at| at > now_ms)).cloned();
    match rng.random_range(0..10) {
        0..5 => {
            let value = text(rng, 40);
            let deadline = match rng.random_range(0..4) {
                0 => Deadline::At(now_ms + rng.random_range(1..50)),
                1 => Deadline::Keep,
                _ => Deadline::Clear,
            };
            let fresh = hash.set(&name, &value, deadline, now_ms, limits);
            assert_eq!(fresh, there.is_none());
            let at = deadline.after(there.and_then(|(_, at)| at));
            model.insert(name, (value, at));
        }
        5 | 6 => {
            let at = rng.random_bool(0.7).then(|| now_ms + rng.random_range(1..50));
            assert_eq!(hash.set_deadline(&name, at, now_ms), there.is_some());
            if let Some((value, _)) = there {
                model.insert(name, (value, at));
            }
        }
        7 => {
            let gone = there.is_none() && model.contains_key(&name);
            assert_eq!(hash.remove(&name, now_ms), there.is_some());
            if there.is_some() || rng.random() {
                assert_eq!(hash.remove_gone(&name, now_ms), gone);
                model.remove(&name);
            }
        }
        8 => {
            let gone = hash.take_expired(now_ms, 3);
            assert!(gone.len() <= 3);
            for name in &gone {
                let (_, at) = model.remove(name).expect("taken fields were there");
                assert!(at.is_some_and(|at| at <= now_ms));
            }
            let any_left = model.values().any(|(_, at)| at.is_some_and(|at| at <= now_ms));
            assert!(gone.len() == 3 || !any_left);
        }
        _ => {
            let value = hash.view().get(&name, now_ms).map(|value| value.to_vec());
            assert_eq!(value, there.clone().map(|(value, _)| value));
            assert_eq!(hash.view().deadline(&name, now_ms), there.map(|(_, at)| at));
        }
    }
}

#[test]
fn both_encodings_follow_the_model() {
    for (seed, entries) in [(1, 0), (2, 4), (3, 40), (4, 100_000)] {
        let limits = limits(entries);
        let mut rng = SmallRng::seed_from_u64(seed);
        let (mut hash, mut model, mut now_ms) = (Hash::new(), Model::new(), 1_700_000_000_000);
        for round in 0..6_000 {
            step(&mut hash, &mut model, &mut rng, now_ms, &limits);
            now_ms += i64::from(rng.random_bool(0.2));
            let next = model.values().filter_map(|(_, at)| *at).min();
            assert_eq!(hash.view().next_deadline(), next);
            if round % 20 == 0 {
                hash.view().check();
                assert_eq!(hash.view().len(), model.len());
                assert_eq!(contents(&hash, now_ms), live(&model, now_ms));
                assert_eq!(hash.view().live_len(now_ms), live(&model, now_ms).len());
                let gone = !model.is_empty() && live(&model, now_ms).is_empty();
                assert_eq!(hash.view().is_gone(now_ms), gone);
            }
        }
        let packed = entries > 1000;
        assert_eq!(hash.view().encoding(), if packed { "listpackex" } else { "hashtable" });
    }
}

#[test]
fn the_encoding_changes_when_redis_changes_it() {
    let limits = limits(3);
    let mut hash = Hash::new();
    let set = |hash: &mut Hash, name: &str, value: &str| {
        hash.set(name.as_bytes(), value.as_bytes(), Deadline::Clear, 0, &limits)
    };
    for name in ["a", "b", "c"] {
        assert!(set(&mut hash, name, "1"));
    }
    let long = "x".repeat(64);
    assert!(!set(&mut hash, "a", &long));
    assert_eq!(hash.view().encoding(), "listpack");
    let mut longer = hash.clone();
    set(&mut longer, "a", &"x".repeat(65));
    assert_eq!((longer.view().encoding(), longer.view().len()), ("hashtable", 3));
    assert!(hash.set_deadline(b"b", Some(99), 0));
    assert_eq!(hash.view().encoding(), "listpackex");
    assert!(hash.set_deadline(b"b", None, 0));
    assert_eq!(hash.view().encoding(), "listpackex");
    set(&mut hash, "d", "1");
    assert_eq!(hash.view().encoding(), "hashtable");
    let mut guessed = Hash::new();
    guessed.prepare(4, 1, &limits);
    assert_eq!(guessed.view().encoding(), "hashtable");
}

#[test]
fn random_fields_cover_the_live_ones_evenly() {
    for entries in [0, 1000] {
        let (limits, mut rng) = (limits(entries), SmallRng::seed_from_u64(9));
        let mut hash = Hash::new();
        for at in 0..40i64 {
            let deadline = if at < 10 { Deadline::At(5) } else { Deadline::Clear };
            hash.set(format!("f{at}").as_bytes(), b"v", deadline, 0, &limits);
        }
        let mut counts: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        for _ in 0..3_000 {
            let (field, _) = hash.view().random(&mut rng, 5).expect("30 are live");
            *counts.entry(field.to_vec()).or_default() += 1;
        }
        hash.view().random_many(3_000, &mut rng, 5, |field, _| {
            *counts.entry(field.to_vec()).or_default() += 1;
            true
        });
        for _ in 0..300 {
            for wanted in [0, 3, 7, 20] {
                let mut seen = BTreeSet::new();
                hash.view().sample(wanted, &mut rng, 5, |field, _| {
                    assert!(seen.insert(field.to_vec()));
                    *counts.entry(field.to_vec()).or_default() += 1;
                });
                assert_eq!(seen.len(), wanted);
            }
        }
        assert_eq!(counts.len(), 30);
        assert!(counts.values().all(|&count| (400..600).contains(&count)), "{counts:?}");
        let mut all = 0;
        hash.view().sample(99, &mut rng, 5, |_, _| all += 1);
        assert_eq!(all, 30);
        assert!(hash.view().random(&mut rng, 5).is_some());
        assert_eq!(hash.take_expired(5, 100).len(), 10);
        assert_eq!(hash.view().len(), 30);
    }
}

#[test]
fn scans_return_every_field_that_stays() {
    for entries in [0, 10_000] {
        let (limits, mut rng) = (limits(entries), SmallRng::seed_from_u64(10));
        let mut hash = Hash::new();
        for at in 0..3_000 {
            let deadline = if at % 7 == 0 { Deadline::At(5) } else { Deadline::Clear };
            hash.set(format!("f{at}").as_bytes(), b"v", deadline, 0, &limits);
        }
        let (mut cursor, mut seen) = (0, BTreeSet::new());
        loop {
            cursor = hash.view().scan(cursor, 10, 5, |field, _| {
                seen.insert(field.to_vec());
            });
            hash.remove(format!("f{}", rng.random_range(0..3_000) / 10 * 10).as_bytes(), 5);
            hash.set(&rng.random::<u64>().to_le_bytes(), b"v", Deadline::Clear, 5, &limits);
            if cursor == 0 {
                break;
            }
        }
        for at in (0..3_000).filter(|at| at % 10 != 0) {
            assert_eq!(seen.contains(format!("f{at}").as_bytes()), at % 7 != 0, "{at}");
        }
    }
}

#[test]
fn memory_is_lean_counted_and_given_back_in_pieces() {
    assert_eq!(size_of::<Option<Hash>>(), 8);
    let limits = limits(512);
    let mut small = Hash::new();
    for at in 0..5 {
        let (name, value) = (format!("field{at}"), format!("value{at}{at}"));
        small.set(name.as_bytes(), value.as_bytes(), Deadline::Clear, 0, &limits);
    }
    // 65 bytes of texts, a byte for each of 10, a header of two and the block's length; in tests
    // the owners of such a block are counted already.
    assert_eq!(small.heap_bytes(), class(16 + 65 + 10 + 3));
    let mut large = Hash::new();
    for at in 0..100_000 {
        let (name, value) = (format!("field:{at:09}"), "123456");
        large.set(name.as_bytes(), value.as_bytes(), Deadline::Clear, 0, &limits);
    }
    assert!(large.heap_bytes() <= 48 * 100_000, "{}", large.heap_bytes() / 100_000);
    for at in 0..1_000 {
        assert!(large.set_deadline(format!("field:{at:09}").as_bytes(), Some(at + 1), 0));
    }
    large.view().check();
    let (mut left, mut pieces) = (large.view().len(), 0);
    while large.pop_chunk() {
        assert!(left - large.view().len() <= 500);
        (left, pieces) = (large.view().len(), pieces + 1);
    }
    assert!(large.is_empty() && pieces > 100);
    assert_eq!(large.heap_bytes(), Hash::new().heap_bytes());
}

#[test]
fn a_listpack_carries_the_small_form() {
    let limits = limits(512);
    let mut hash = Hash::new();
    hash.set(b"name", b"12", Deadline::Clear, 0, &limits);
    let texts = |hash: &Hash| -> Vec<Vec<u8>> {
        hash.view()
            .listpack()
            .iter()
            .flat_map(|list| list.iter().map(|item| item.to_vec()))
            .collect()
    };
    assert_eq!(texts(&hash), [b"name".to_vec(), b"12".to_vec()]);
    hash.set(b"7", b"soon", Deadline::At(1234), 0, &limits);
    let expected: [&[u8]; 6] = [b"7", b"soon", b"1234", b"name", b"12", b"0"];
    assert_eq!(texts(&hash), expected.map(<[u8]>::to_vec));
    hash.prepare(1000, 0, &limits);
    assert!(hash.view().listpack().is_none());
}

#[test]
fn the_small_order_is_the_genuine_servers() {
    let Some(mut oracle) = Oracle::start() else { return };
    oracle.call(&["HSET", "probe", "f", "v"]);
    let probe = oracle.call(&["HPEXPIRE", "probe", "9", "FIELDS", "1", "f"]);
    if probe != [Some(b"1".to_vec())] {
        return eprintln!("skipped: this server has no field deadlines");
    }
    let (limits, mut rng) = (limits(512), SmallRng::seed_from_u64(12));
    let base_ms = 4_000_000_000_000;
    for _ in 0..40 {
        oracle.call(&["DEL", "h"]);
        let mut hash = Hash::new();
        for _ in 0..60 {
            let name = format!("f{}", rng.random_range(0..8));
            let at = base_ms + rng.random_range(0..6);
            match rng.random_range(0..5) {
                0 | 1 => {
                    hash.set(name.as_bytes(), b"v", Deadline::Clear, 0, &limits);
                    oracle.call(&["HSET", "h", &name, "v"]);
                }
                2 => {
                    hash.set_deadline(name.as_bytes(), None, 0);
                    oracle.call(&["HPERSIST", "h", "FIELDS", "1", &name]);
                }
                3 => {
                    hash.remove(name.as_bytes(), 0);
                    oracle.call(&["HDEL", "h", &name]);
                }
                _ => {
                    hash.set_deadline(name.as_bytes(), Some(at), 0);
                    oracle.call(&["HPEXPIREAT", "h", &at.to_string(), "FIELDS", "1", &name]);
                }
            }
            let ours: Vec<_> = hash.view().iter(0).map(|(field, _)| Some(field.to_vec())).collect();
            assert_eq!(oracle.call(&["HKEYS", "h"]), ours);
        }
    }
}

/// Lengths in a packed block have 32 bits, and a directive may allow texts that are longer.
#[test]
fn what_no_packed_block_can_hold_makes_a_large_hash() {
    let limits = Limits { hash_max_listpack_value: usize::MAX, ..Limits::default() };
    let set = |hash: &mut Hash, field: &[u8], bytes: usize| {
        hash.set(field, &vec![b'x'; bytes], Deadline::Keep, 0, &limits)
    };
    let mut hash = Hash::new();
    assert!(set(&mut hash, b"short", 10) && set(&mut hash, b"a", PACKED_BYTES_MAX - 100));
    assert_eq!(hash.encoding(), "listpack");
    assert!(set(&mut hash, b"b", 100));
    assert_eq!((hash.encoding(), hash.len()), ("hashtable", 3));
    let mut hash = Hash::new();
    assert!(set(&mut hash, b"a", PACKED_BYTES_MAX + 1));
    assert_eq!((hash.encoding(), hash.len()), ("hashtable", 1));
    let mut hash = Hash::new();
    assert!(hash.add_new(&vec![b'f'; PACKED_BYTES_MAX], b"v", None, &limits));
    assert_eq!(hash.encoding(), "hashtable");
}
