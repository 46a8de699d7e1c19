//! Both encodings against an ordered map of (score, member) and a hash map beside it.

use super::*;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeSet, HashMap};

/// A total order on scores as integers in which -0 equals 0.
fn ordered(score: f64) -> i64 {
    let bits = (score + 0.0).to_bits() as i64;
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

#[derive(Default)]
struct Model {
    scores: HashMap<Vec<u8>, f64>,
    order: BTreeSet<(i64, Vec<u8>)>,
}

impl Model {
    fn put(&mut self, member: &[u8], score: f64) {
        if let Some(old) = self.scores.insert(member.to_vec(), score) {
            self.order.remove(&(ordered(old), member.to_vec()));
        }
        self.order.insert((ordered(score), member.to_vec()));
    }

    fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let score = self.scores.remove(member)?;
        self.order.remove(&(ordered(score), member.to_vec()));
        Some(score)
    }

    fn add(&mut self, member: &[u8], score: f64, rule: AddRule) -> Added {
        let Some(&old) = self.scores.get(member) else {
            if rule.only_present {
                return Added::Skipped;
            }
            self.put(member, score);
            return Added::New(score);
        };
        let new = if rule.increment { old + score } else { score };
        if rule.only_new {
            Added::Skipped
        } else if new.is_nan() {
            Added::NotANumber
        } else if rule.only_greater && new <= old || rule.only_less && new >= old {
            Added::Skipped
        } else if new == old {
            Added::Same(new)
        } else {
            self.put(member, new);
            Added::Updated(new)
        }
    }

    fn entries(&self) -> Vec<(Vec<u8>, f64)> {
        self.order.iter().map(|(_, name)| (name.clone(), self.scores[name])).collect()
    }
}

fn random_score(rng: &mut SmallRng, spread: i32) -> f64 {
    match rng.random_range(0..24) {
        0 => f64::INFINITY,
        1 => f64::NEG_INFINITY,
        2 => -0.0,
        3 => 0.0,
        4 => 5e-324,
        5 => -5e-324,
        6 => f64::MAX,
        7 => 4_611_686_018_427_387_904.0 * f64::from(rng.random_range(-2..3)),
        8..14 => f64::from(rng.random_range(-spread..=spread)) / 8.0,
        _ => f64::from(rng.random_range(-spread..=spread)),
    }
}

fn random_member(rng: &mut SmallRng, members: u32) -> Vec<u8> {
    match rng.random_range(0..members) {
        0 => Vec::new(),
        n if n % 5 == 0 => n.to_string().into_bytes(),
        n if n % 31 == 0 => format!("{n}{}", "x".repeat(60)).into_bytes(),
        n if n % 7 == 0 => vec![n as u8, 0, (n >> 8) as u8],
        n => format!("member:{n}").into_bytes(),
    }
}

fn listed(range: Range<'_>) -> Vec<(Vec<u8>, f64)> {
    range.map(|(item, score)| (item.to_vec(), score)).collect()
}

fn agree(set: &SortedSet, model: &Model, rng: &mut SmallRng) {
    set.check();
    let entries = model.entries();
    assert_eq!(set.len(), entries.len());
    assert_eq!(listed(set.iter()), entries);
    let mut scanned = Vec::new();
    let mut cursor = 0;
    loop {
        cursor = set.scan(cursor, 10, |name, score| scanned.push((name.to_vec(), score)));
        if cursor == 0 {
            break;
        }
    }
    scanned.sort_by(|a, b| (ordered(a.1), &a.0).cmp(&(ordered(b.1), &b.0)));
    assert_eq!(scanned, entries);
    for _ in 0..5 {
        let from = rng.random_range(0..=entries.len());
        let to = rng.random_range(from..=entries.len());
        assert_eq!(listed(set.range(from, to, false)), entries[from..to]);
        let mut back = listed(set.range(from, to, true));
        back.reverse();
        assert_eq!(back, entries[from..to]);
        let found = set.at(from).map(|(item, score)| (item.to_vec(), score));
        assert_eq!(found.as_ref(), entries.get(from));
        if let Some((member, score)) = found {
            assert_eq!(set.rank(&member), Some((from, score)));
        }
    }
}

fn agree_on_ranges(set: &SortedSet, model: &Model, rng: &mut SmallRng, spread: i32) {
    let entries = model.entries();
    let mut bound =
        || ScoreBound { score: random_score(rng, spread), exclusive: rng.random_bool(0.5) };
    let (min, max) = (bound(), bound());
    let inside: Vec<_> = entries
        .iter()
        .filter(|(_, score)| {
            let above = if min.exclusive { *score > min.score } else { *score >= min.score };
            let below = if max.exclusive { *score < max.score } else { *score <= max.score };
            above && below
        })
        .cloned()
        .collect();
    let (from, to) = set.ranks_by_score(&min, &max);
    assert_eq!(listed(set.range(from, to, false)), inside, "{min:?} {max:?}");
}

fn random_walk(limits: &Limits, seed: u64, members: u32, spread: i32, steps: usize) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let (mut set, mut model) = (SortedSet::new(), Model::default());
    for step in 0..steps {
        let shrinking = (step / (steps / 4)) % 2 == 1;
        let member = random_member(&mut rng, members);
        match rng.random_range(0..100) {
            0..=1 if shrinking => {
                let from = rng.random_range(0..=set.len());
                let to = rng.random_range(from..=set.len().min(from + members as usize / 8));
                for (name, _) in &model.entries()[from..to] {
                    model.remove(name);
                }
                assert_eq!(set.remove_ranks(from, to), to - from);
            }
            0..=59 if shrinking => assert_eq!(set.remove(&member), model.remove(&member)),
            0..=9 => assert_eq!(set.remove(&member), model.remove(&member)),
            10..=19 => assert_eq!(set.score(&member), model.scores.get(&member).copied()),
            _ => {
                let mut odds = || rng.random_ratio(1, 6);
                let mut rule = AddRule {
                    only_new: odds(),
                    only_present: odds(),
                    only_greater: odds(),
                    only_less: odds(),
                    increment: odds(),
                };
                rule.only_new &= !(rule.only_present || rule.only_greater || rule.only_less);
                rule.only_less &= !rule.only_greater;
                let mut score = random_score(&mut rng, spread);
                if set.listpack().is_some() && score == 0.0 {
                    score = 0.0;
                }
                let got = set.add(&member, score, rule, limits);
                assert_eq!(got, model.add(&member, score, rule));
            }
        }
        let packed = set.encoding() == "listpack";
        if packed {
            assert!(set.len() <= limits.zset_max_listpack_entries);
        }
        if step % (steps / 40) == 0 {
            agree(&set, &model, &mut rng);
            agree_on_ranges(&set, &model, &mut rng, spread);
            let copy = set.clone();
            agree(&copy, &model, &mut rng);
        }
    }
    while set.pop_chunk() {}
    assert!(set.is_empty());
}

#[test]
fn packed_sets_agree_with_the_model() {
    let limits = Limits {
        zset_max_listpack_entries: 400,
        zset_max_listpack_value: 100,
        ..Limits::default()
    };
    for seed in 0..4 {
        random_walk(&limits, seed, 40 + 60 * seed as u32, 20, 4000);
    }
}

#[test]
fn large_sets_agree_with_the_model() {
    let limits = Limits { zset_max_listpack_entries: 0, ..Limits::default() };
    random_walk(&limits, 10, 5000, 1_000_000, 40_000);
    random_walk(&limits, 11, 3000, 4, 20_000);
    random_walk(&limits, 12, 300, 100, 8000);
}

#[test]
fn sets_convert_in_the_middle_of_a_walk() {
    for seed in 20..28 {
        random_walk(&Limits::default(), seed, 400, 50, 2000);
    }
}

#[test]
fn conversion_comes_with_the_first_member_that_does_not_fit() {
    let limits = Limits::default();
    let mut set = SortedSet::new();
    for n in 0..128 {
        set.insert(format!("{n}").as_bytes(), 1.0, &limits);
    }
    assert_eq!(set.encoding(), "listpack");
    set.insert(b"0", 2.0, &limits);
    assert_eq!(set.encoding(), "listpack");
    set.insert(b"128", 1.0, &limits);
    assert_eq!(set.encoding(), "skiplist");
    set.remove(b"128");
    assert_eq!(set.encoding(), "skiplist");
    set.shrink_to_fit(&limits);
    assert_eq!(set.encoding(), "listpack");
    set.check();
    let mut set = SortedSet::new();
    set.insert(&[b'x'; 64], 1.0, &limits);
    assert_eq!(set.encoding(), "listpack");
    set.insert(&[b'x'; 65], 1.0, &limits);
    assert_eq!(set.encoding(), "skiplist");
    set.shrink_to_fit(&limits);
    assert_eq!(set.encoding(), "skiplist");
    assert_eq!(SortedSet::sized_for(129, 1, &limits).encoding(), "skiplist");
    assert_eq!(SortedSet::sized_for(128, 64, &limits).encoding(), "listpack");
}

#[test]
fn members_of_one_score_are_ranged_by_their_bytes() {
    let names = ["", "a", "aa", "b", "ba", "c", "d\0", "e", "\u{ff}"];
    let packed = Limits::default();
    let large = Limits { zset_max_listpack_entries: 0, ..Limits::default() };
    for limits in [packed, large] {
        let mut set = SortedSet::new();
        for name in names {
            set.insert(name.as_bytes(), 0.0, &limits);
        }
        let mut bounds = vec![LexBound::Lowest, LexBound::Highest];
        for name in names.iter().chain(&["0", "ab", "zz"]) {
            bounds.push(LexBound::Including(name.as_bytes()));
            bounds.push(LexBound::Excluding(name.as_bytes()));
        }
        for min in &bounds {
            for max in &bounds {
                let above = |name: &[u8]| match *min {
                    LexBound::Lowest => true,
                    LexBound::Highest => false,
                    LexBound::Including(min) => name >= min,
                    LexBound::Excluding(min) => name > min,
                };
                let below = |name: &[u8]| match *max {
                    LexBound::Lowest => false,
                    LexBound::Highest => true,
                    LexBound::Including(max) => name <= max,
                    LexBound::Excluding(max) => name < max,
                };
                let inside: Vec<Vec<u8>> = names
                    .iter()
                    .map(|name| name.as_bytes().to_vec())
                    .filter(|name| above(name) && below(name))
                    .collect();
                for (reverse, skipped) in [(false, 0), (true, 0), (false, 2), (true, 2)] {
                    let (from, to) = set.ranks_by_lex(min, max, reverse, skipped);
                    let got: Vec<Vec<u8>> =
                        set.range(from, to, false).map(|(item, _)| item.to_vec()).collect();
                    let left = match reverse {
                        true => &inside[..inside.len().saturating_sub(skipped)],
                        false => &inside[skipped.min(inside.len())..],
                    };
                    assert_eq!(got, left, "{min:?} {max:?}");
                }
            }
        }
    }
}

#[test]
fn foreign_listpacks_are_checked() {
    let build = |elements: &[&str]| {
        let mut pack = Listpack::new();
        elements.iter().for_each(|element| pack.push_back(element.as_bytes()));
        SortedSet::from_listpack(pack, &Limits::default())
    };
    let good = build(&["a", "1", "b", "1.5", "c", "inf"]).map(|set| set.score(b"b"));
    assert_eq!(good, Some(Some(1.5)));
    for bad in [
        &["a"][..],
        &["a", "1", "b"],
        &["a", "x"],
        &["a", "nan"],
        &["a", "1", "a", "2"],
        &["a", "1", "a", "1"],
    ] {
        assert!(build(bad).is_none(), "{bad:?}");
    }
    for unordered in [&["b", "1", "a", "1"][..], &["b", "2", "a", "1"]] {
        let set = build(unordered).expect("it is put in order");
        set.check();
        assert_eq!(set.rank(b"b").map(|(rank, _)| rank), Some(1));
    }
    // A payload may be far longer than any that this server would write.
    let mut long = Listpack::new();
    for number in (0..200_000).rev() {
        long.push_back(format!("member:{number}").as_bytes());
        long.push_back((number / 2).to_string().as_bytes());
    }
    let set = SortedSet::from_listpack(long, &Limits::default()).expect("it is put in order");
    assert_eq!(set.score(b"member:199999"), Some(99_999.0));
    assert_eq!(set.rank(b"member:199999").map(|(rank, _)| rank), Some(199_999));
}

#[test]
fn random_members_are_all_met() {
    let limits = Limits { zset_max_listpack_entries: 10, ..Limits::default() };
    let mut rng = SmallRng::seed_from_u64(5);
    for size in [5, 300] {
        let mut set = SortedSet::new();
        assert!(set.random(&mut rng).is_none());
        for n in 0..size {
            set.insert(format!("m{n}").as_bytes(), f64::from(n / 3), &limits);
        }
        let mut met = HashMap::new();
        for _ in 0..size * 40 {
            if let Some((item, score)) = set.random(&mut rng) {
                assert_eq!(set.score(&item.to_vec()), Some(score));
                *met.entry(item.to_vec()).or_insert(0) += 1;
            }
        }
        assert_eq!(met.len(), size as usize);
        assert!(met.values().all(|count| (10..120).contains(count)), "{met:?}");
    }
}

#[test]
fn gathered_members_come_out_in_order() {
    let limits = Limits::default();
    let mut rng = SmallRng::seed_from_u64(6);
    for size in [0, 1, 20, 1000] {
        let (mut gather, mut model) = (Gather::new(&limits), Model::default());
        for _ in 0..size {
            let member = random_member(&mut rng, 700);
            let score = f64::from(rng.random_range(-20..20));
            gather.put(&member, score, |old, new| old.max(new));
            let old = model.scores.get(&member).copied().unwrap_or(f64::NEG_INFINITY);
            model.put(&member, score.max(old));
        }
        assert_eq!(gather.len(), model.scores.len());
        let mut set = gather.finish();
        agree(&set, &model, &mut rng);
        set.shrink_to_fit(&limits);
        agree(&set, &model, &mut rng);
    }
}

#[test]
fn a_set_built_at_once_lives_on_as_any_other() {
    let limits = Limits::default();
    let mut rng = SmallRng::seed_from_u64(8);
    for size in [1, 62, 63, 64, 63 * 51, 63 * 51 + 1, 10_000] {
        let (mut gather, mut model) = (Gather::with_capacity(size, &limits), Model::default());
        for n in 0..size {
            let (member, score) = (format!("m{n:05}").into_bytes(), (n / 3) as f64);
            assert!(gather.add(&member, score));
            assert!(!gather.add(&member, score + 1.0));
            model.put(&member, score);
        }
        let mut set = gather.finish();
        agree(&set, &model, &mut rng);
        for _ in 0..size.min(2_000) {
            let member = format!("m{:05}", rng.random_range(0..size * 2)).into_bytes();
            if rng.random_bool(0.5) {
                assert_eq!(set.remove(&member), model.remove(&member));
            } else {
                set.insert(&member, 7.5, &limits);
                model.put(&member, 7.5);
            }
        }
        agree(&set, &model, &mut rng);
    }
}

#[test]
fn a_large_part_leaves_at_once_whatever_scores_tie() {
    let limits = Limits { zset_max_listpack_entries: 0, ..Limits::default() };
    let mut rng = SmallRng::seed_from_u64(9);
    for spread in [1, 3, 50, 1_000_000] {
        let (mut set, mut model) = (SortedSet::new(), Model::default());
        for _ in 0..5000 {
            let member = format!("m{}", rng.random_range(0..9000)).into_bytes();
            let score = rng.random_range(-spread..spread) as f64;
            set.insert(&member, score, &limits);
            model.put(&member, score);
        }
        while set.len() > 4 {
            let from = rng.random_range(0..set.len() / 2);
            let to = rng.random_range(from + set.len() / 4..=set.len());
            for (name, _) in &model.entries()[from..to] {
                model.remove(name);
            }
            assert_eq!(set.remove_ranks(from, to), to - from);
            agree(&set, &model, &mut rng);
        }
        set.insert(b"m1", 0.5, &limits);
        model.put(b"m1", 0.5);
        agree(&set, &model, &mut rng);
    }
}

#[test]
fn distinct_random_members_are_distinct() {
    let limits = Limits { zset_max_listpack_entries: 10, ..Limits::default() };
    let mut rng = SmallRng::seed_from_u64(5);
    for size in [0, 1, 10, 300] {
        let mut set = SortedSet::new();
        for n in 0..size {
            set.insert(format!("m{n}").as_bytes(), f64::from(n / 3), &limits);
        }
        for count in [0, 1, 5, 20, 200, 299, 300, 1000] {
            let mut met = HashMap::new();
            set.random_distinct(count, &mut rng, |item, score| {
                met.insert(item.to_vec(), score);
            });
            assert_eq!(met.len(), count.min(set.len()));
            assert!(met.iter().all(|(member, score)| set.score(member) == Some(*score)));
        }
    }
}
