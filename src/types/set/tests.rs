//! Sets against a std set, in every encoding, and at every limit.

use super::*;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeSet, HashMap};

fn limits() -> Limits {
    Limits {
        set_max_intset_entries: 12,
        set_max_listpack_entries: 8,
        set_max_listpack_value: 10,
        ..Limits::default()
    }
}

fn members(set: &Set) -> BTreeSet<Vec<u8>> {
    set.iter().map(|item| item.to_vec()).collect()
}

/// A member of some kind: small or huge integers, near-integers, short and long strings.
fn member(rng: &mut SmallRng, kinds: u32, range: i64) -> Vec<u8> {
    let number = rng.random_range(-range..range);
    match rng.random_range(0..kinds) {
        0 | 1 => number.to_string().into_bytes(),
        2 => (number << 40).to_string().into_bytes(),
        3 => format!("m{number}").into_bytes(),
        4 => format!("0{number}").into_bytes(),
        _ => format!("a longer member {number}").into_bytes(),
    }
}

#[test]
fn behaves_like_a_set_in_every_encoding() {
    let mut seen = BTreeSet::new();
    for seed in 0..120 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let (kinds, range) = (rng.random_range(1..=6), rng.random_range(1..200));
        let limits = if seed % 4 == 0 { Limits::default() } else { limits() };
        let (mut set, mut model) = (Set::new(), BTreeSet::new());
        for step in 0..400 {
            let member = member(&mut rng, kinds, range);
            assert_eq!(set.contains(&member), model.contains(&member));
            match rng.random_range(0..10) {
                0..=5 => assert_eq!(set.add(&member, &limits), model.insert(member)),
                6 | 7 => assert_eq!(set.remove(&member), model.remove(&member)),
                8 => match set.pop_random(&mut rng) {
                    Some(gone) => assert!(model.remove(&gone)),
                    None => assert!(model.is_empty()),
                },
                _ => match set.random(&mut rng) {
                    Some(item) => {
                        assert!(model.contains(&item.to_vec()) && set.contains_item(&item));
                    }
                    None => assert!(model.is_empty()),
                },
            }
            assert_eq!((set.len(), set.is_empty()), (model.len(), model.is_empty()));
            if step % 20 == 0 {
                set.check();
                assert_eq!(members(&set), model);
                assert_eq!(members(&set.clone()), model);
            }
            seen.insert(set.encoding());
        }
    }
    assert_eq!(seen.len(), 3);
}

#[test]
fn encodings_change_when_a_limit_is_crossed() {
    let limits = limits();
    let filled = |names: &[&str]| {
        let mut set = Set::for_member(names[0].as_bytes(), 1, &limits);
        for name in names {
            set.add(name.as_bytes(), &limits);
        }
        set.check();
        set.encoding()
    };
    let twelve = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"];
    assert_eq!(filled(&twelve), "intset");
    assert_eq!(filled(&[&twelve[..], &["13"]].concat()), "hashtable");
    assert_eq!(filled(&[&twelve[..7], &["x"]].concat()), "listpack");
    assert_eq!(filled(&[&twelve[..8], &["x"]].concat()), "hashtable");
    assert_eq!(filled(&["a", "1", "2", "3", "4", "5", "6", "7"]), "listpack");
    assert_eq!(filled(&["a", "1", "2", "3", "4", "5", "6", "7", "8"]), "hashtable");
    assert_eq!(filled(&["1", "tenletters"]), "listpack");
    assert_eq!(filled(&["1", "elevenchars"]), "hashtable");
    assert_eq!(filled(&["12345678901", "x"]), "hashtable");

    assert_eq!(Set::for_member(b"1", 12, &limits).encoding(), "intset");
    assert_eq!(Set::for_member(b"1", 13, &limits).encoding(), "hashtable");
    assert_eq!(Set::for_member(b"a", 8, &limits).encoding(), "listpack");
    assert_eq!(Set::for_member(b"a", 9, &limits).encoding(), "hashtable");
    let few = Limits { set_max_intset_entries: 2, ..Limits::default() };
    assert_eq!(Set::for_member(b"1", 3, &few).encoding(), "listpack");

    let mut announced = Set::packed();
    announced.announce(8, &limits);
    assert_eq!(announced.encoding(), "listpack");
    announced.announce(9, &limits);
    assert_eq!(announced.encoding(), "hashtable");
}

#[test]
fn an_intersection_of_integers_becomes_an_intset() {
    let limits = limits();
    let mut set = Set::packed();
    for number in 0..10 {
        set.add(number.to_string().as_bytes(), &limits);
    }
    assert_eq!(set.encoding(), "hashtable");
    let before = members(&set);
    set.settle_intersection(&limits);
    assert_eq!((set.encoding(), members(&set)), ("intset", before));
    set.add(b"x", &limits);
    set.settle_intersection(&limits);
    assert_eq!(set.encoding(), "hashtable");
}

#[test]
fn random_members_are_distinct_and_uniform() {
    let limits = limits();
    for (kind, len) in [("intset", 10usize), ("listpack", 8), ("hashtable", 40)] {
        let mut rng = SmallRng::seed_from_u64(len as u64);
        let mut set = Set::new();
        for number in 0..len {
            let prefix = if kind == "intset" { "" } else { "m" };
            set.add(format!("{prefix}{number}").as_bytes(), &limits);
        }
        assert_eq!(set.encoding(), kind);
        for count in [0, 1, 3, len / 2, len - 1, len, len + 5] {
            let mut counts: HashMap<Vec<u8>, f64> = HashMap::new();
            let rounds = 4_000;
            for _ in 0..rounds {
                let mut chosen = BTreeSet::new();
                set.random_distinct(count, &mut rng, |item| {
                    assert!(chosen.insert(item.to_vec()) && set.contains_item(&item));
                });
                assert_eq!(chosen.len(), count.min(len));
                chosen.into_iter().for_each(|name| *counts.entry(name).or_default() += 1.0);
            }
            // Each member is chosen with probability p: six deviations.
            let p = count.min(len) as f64 / len as f64;
            let (mean, slack) =
                (f64::from(rounds) * p, 6.0 * (f64::from(rounds) * p * (1.0 - p)).sqrt());
            let even = members(&set)
                .iter()
                .all(|name| (counts.get(name).copied().unwrap_or_default() - mean).abs() <= slack);
            assert!(even, "{kind} {count}: {counts:?}");
        }
    }
}

#[test]
fn popping_many_takes_what_it_shows_and_leaves_the_rest() {
    let mut left_as = BTreeSet::new();
    for seed in 0..200 {
        let limits = if seed % 2 == 0 { Limits::default() } else { limits() };
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut set = Set::new();
        let kinds = [1, 4, 6][seed as usize % 3];
        for _ in 0..rng.random_range(2..80) {
            let name = member(&mut rng, kinds, 40);
            set.add(&name, &limits);
        }
        if set.len() < 2 {
            continue;
        }
        let all = members(&set);
        let was = set.encoding();
        let count = rng.random_range(1..set.len());
        let mut gone = BTreeSet::new();
        let old = set.pop_many(count, &limits, &mut rng, |item| {
            assert!(gone.insert(item.to_vec()));
        });
        assert!(old.is_none_or(|old| members(&old) == all));
        set.check();
        assert_eq!(gone.len(), count);
        assert_eq!(&members(&set) | &gone, all);
        assert_eq!(set.len() + count, all.len());
        left_as.insert((was, set.encoding()));
    }
    let expected = [
        ("hashtable", "hashtable"),
        ("hashtable", "listpack"),
        ("intset", "intset"),
        ("listpack", "listpack"),
    ];
    assert_eq!(left_as, BTreeSet::from(expected));
}

#[test]
fn scans_visit_everything_and_chunks_free_everything() {
    for limits in [limits(), Limits::default()] {
        for len in [0, 5, 100, 20_000] {
            let mut set = Set::new();
            for number in 0..len {
                set.add(format!("m{number}").as_bytes(), &limits);
            }
            let (mut seen, mut cursor) = (BTreeSet::new(), 0);
            loop {
                cursor = set.scan(cursor, 10, |item| assert!(seen.insert(item.to_vec())));
                if cursor == 0 {
                    break;
                }
            }
            assert_eq!(seen, members(&set));
            let mut chunks = 0;
            while set.pop_chunk() {
                chunks += 1;
                assert!(set.len() + chunks * 384 >= len);
            }
            set.check();
            assert!(set.is_empty() && set.heap_bytes() < 200);
        }
    }
}

#[test]
fn files_give_sets_that_keep_the_limits() {
    let limits = limits();
    let mut pack = Listpack::new();
    let mut integers = Intset::new();
    for number in 0..8 {
        pack.push_back_int(number);
        integers.insert(number);
    }
    let set = Set::from_listpack(pack.clone(), &limits).expect("no member twice");
    assert_eq!((set.encoding(), set.len()), ("listpack", 8));
    assert!(matches!(set.small(), Some(Small::Packed(same)) if *same == pack));
    let set = Set::from_intset(integers.clone(), &limits);
    assert!(matches!(set.small(), Some(Small::Integers(same)) if *same == integers));
    pack.push_back(b"more");
    let set = Set::from_listpack(pack.clone(), &limits).expect("no member twice");
    assert_eq!((set.encoding(), set.len(), set.small().is_none()), ("hashtable", 9, true));
    (8..20).for_each(|number| assert!(integers.insert(number)));
    assert_eq!(Set::from_intset(integers, &limits).encoding(), "hashtable");
    pack.push_back(b"3");
    assert!(Set::from_listpack(pack, &limits).is_none());
}

#[test]
fn a_member_of_fifteen_bytes_costs_at_most_thirty_two() {
    let limits = Limits::default();
    let mut set = Set::new();
    for number in 0..100_000 {
        set.add(format!("member:{number:08}").as_bytes(), &limits);
    }
    set.check();
    assert!(set.heap_bytes() <= 32 * 100_000, "{}", set.heap_bytes());
}
