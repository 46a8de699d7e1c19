//! Lists against a deque of byte strings, in both encodings and across their borders.

use super::*;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::VecDeque;

fn limits(size: i64, threshold: usize) -> Limits {
    Limits { list_max_listpack_size: size, list_packed_threshold: threshold, ..Limits::default() }
}

fn text(rng: &mut SmallRng) -> Vec<u8> {
    match rng.random_range(0..20) {
        0..8 => rng.random_range(0..30i64).to_string().into_bytes(),
        8..16 => format!("value:{}", rng.random_range(0..30)).into_bytes(),
        16..18 => vec![b'm'; rng.random_range(100..500)],
        18 => vec![b'l'; rng.random_range(3000..5000)],
        _ => vec![b'h'; rng.random_range(8000..9000)],
    }
}

fn texts<'a>(items: impl Iterator<Item = Item<'a>>) -> Vec<Vec<u8>> {
    items.map(|item| item.to_vec()).collect()
}

fn end(rng: &mut SmallRng) -> End {
    if rng.random() {
        End::Left
    } else {
        End::Right
    }
}

/// Copies of a list, with what they must go on to hold.
type Copies = VecDeque<(List, VecDeque<Vec<u8>>)>;

/// Keeps a copy of a few moments; those that go are as they were made.
fn keep_copy(copies: &mut Copies, pair: &Pair) {
    copies.push_back((pair.list.clone(), pair.model.clone()));
    if copies.len() > 3 {
        copies.pop_front().into_iter().for_each(|copy| check_copy(&copy));
    }
}

fn check_copy((list, model): &(List, VecDeque<Vec<u8>>)) {
    list.check();
    assert!(texts(list.iter()).iter().eq(model));
}

struct Pair {
    list: List,
    model: VecDeque<Vec<u8>>,
    limits: Limits,
}

impl Pair {
    fn step(&mut self, rng: &mut SmallRng, shrinking: bool) {
        let (list, model, limits) = (&mut self.list, &mut self.model, &self.limits);
        let t = text(rng);
        let index = rng.random_range(0..=model.len());
        match rng.random_range(if shrinking { 5 } else { 0 }..18) {
            0..3 => {
                let end = end(rng);
                list.push(end, &t, limits);
                match end {
                    End::Left => model.push_front(t),
                    End::Right => model.push_back(t),
                }
            }
            3 => {
                let many: Vec<_> = (0..rng.random_range(1..9)).map(|_| text(rng)).collect();
                list.push_all(End::Left, many.iter().map(|t| t.as_slice()), limits);
                many.into_iter().for_each(|t| model.push_front(t));
            }
            4 => {
                let many: Vec<_> = (0..rng.random_range(1..9)).map(|_| text(rng)).collect();
                list.push_all(End::Right, many.iter().map(|t| t.as_slice()), limits);
                model.extend(many);
            }
            5..7 => {
                let end = end(rng);
                let got = list.pop(end, limits, |item| item.to_vec());
                assert_eq!(
                    got,
                    if end == End::Left { model.pop_front() } else { model.pop_back() }
                );
            }
            7..9 => {
                let signed = index as i64 - rng.random_range(0..2) * model.len() as i64;
                let wanted = list.resolve(signed);
                assert_eq!(list.set(signed, &t, limits), wanted.is_some());
                if let Some(wanted) = wanted {
                    model[wanted] = t;
                }
            }
            9..12 if !shrinking => {
                let pivot = model.get(index).cloned().unwrap_or_default();
                let after = rng.random();
                let found = model.iter().position(|m| *m == pivot);
                assert_eq!(list.insert(&pivot, after, &t, limits), found.is_some());
                if let Some(found) = found {
                    model.insert(found + after as usize, t);
                }
            }
            12 => {
                let (from, most) = (end(rng), rng.random_range(1..5));
                let found = |m: &(usize, &Vec<u8>)| *m.1 == t;
                let mut gone: Vec<usize> = match from {
                    End::Left => model.iter().enumerate().filter(found).map(|m| m.0).collect(),
                    End::Right => {
                        model.iter().enumerate().rev().filter(found).map(|m| m.0).collect()
                    }
                };
                gone.truncate(most);
                assert_eq!(list.remove(&t, from, most, limits), gone.len());
                gone.sort_unstable();
                gone.into_iter().rev().for_each(|i| drop(model.remove(i)));
            }
            13 if rng.random_bool(0.2) => {
                let count = rng.random_range(0..=model.len());
                let gone = list.trim(index, count, limits);
                let kept: VecDeque<_> = model.iter().skip(index).take(count).cloned().collect();
                assert_eq!(gone, model.len() - kept.len());
                *model = kept;
            }
            14 => {
                let count = rng.random_range(0..6);
                list.remove_range(index, count, limits);
                let stop = (index + count).min(model.len());
                model.drain(index..stop);
            }
            15 => {
                let (from, to) = (end(rng), end(rng));
                let got = list.rotate(from, to, limits);
                let wanted = if from == End::Left { model.pop_front() } else { model.pop_back() };
                assert_eq!(got, wanted);
                match to {
                    End::Left => got.into_iter().for_each(|t| model.push_front(t)),
                    End::Right => model.extend(got),
                }
            }
            _ => self.compare(rng, index, &t),
        }
    }

    fn compare(&self, rng: &mut SmallRng, index: usize, t: &[u8]) {
        let (list, model) = (&self.list, &self.model);
        assert_eq!(list.get(index).map(|item| item.to_vec()).as_ref(), model.get(index));
        let count = rng.random_range(0..20);
        let forward: Vec<_> = model.iter().skip(index).take(count).cloned().collect();
        assert_eq!(texts(list.range(index, End::Right, count)), forward);
        let mut folded = Vec::new();
        let mut range = list.range(index, End::Right, count);
        folded.extend(range.next().map(|item| item.to_vec()));
        range.for_each(|item| folded.push(item.to_vec()));
        assert_eq!(folded, forward);
        if index < model.len() {
            let backward: Vec<_> =
                model.iter().take(index + 1).rev().take(count).cloned().collect();
            assert_eq!(texts(list.range(index, End::Left, count)), backward);
        }
        let most = rng.random_range(1..40);
        let found: Vec<_> = (0..model.len().min(most)).filter(|&i| model[i] == t).collect();
        assert!(list.positions(t, End::Left, most).eq(found));
        let start = model.len().saturating_sub(most);
        let found: Vec<_> = (start..model.len()).rev().filter(|&i| model[i] == t).collect();
        assert!(list.positions(t, End::Right, most).eq(found));
    }
}

#[test]
fn agrees_with_a_deque() {
    let bounds = [(-2, 0), (-1, 0), (-5, 0), (128, 0), (1, 0), (0, 0), (3, 0), (-2, 100), (5, 1)];
    for seed in 0..72 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let (size, threshold) = bounds[seed as usize % bounds.len()];
        let limits = limits(size, threshold);
        let mut pair = Pair { list: List::new(), model: VecDeque::new(), limits };
        let mut copies = Copies::new();
        for step in 0..700 {
            if rng.random_range(0..20) == 0 {
                keep_copy(&mut copies, &pair);
            }
            pair.step(&mut rng, step > 500);
            pair.list.check();
            assert_eq!(pair.list.len(), pair.model.len());
        }
        assert!(texts(pair.list.iter()).iter().eq(&pair.model));
        copies.iter().for_each(check_copy);
    }
}

#[test]
fn many_nodes_stay_in_order() {
    let limits = limits(2, 0);
    for seed in 0..4 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut pair = Pair { list: List::new(), model: VecDeque::new(), limits: limits.clone() };
        for number in 0..3000i64 {
            let t = number.to_string().into_bytes();
            pair.list.push(End::Right, &t, &pair.limits);
            pair.model.push_back(t);
        }
        let mut copies = Copies::new();
        for step in 0..3000 {
            if step % 300 == 0 {
                keep_copy(&mut copies, &pair);
            }
            let index = rng.random_range(0..pair.model.len());
            if step < 1500 {
                let (pivot, after) = (pair.model[index].clone(), rng.random());
                let index = pair.model.iter().position(|m| *m == pivot).unwrap();
                pair.list.insert(&pivot, after, b"x", &pair.limits);
                pair.model.insert(index + after as usize, b"x".to_vec());
            } else {
                pair.list.remove_range(index, 2, &pair.limits);
                let stop = (index + 2).min(pair.model.len());
                pair.model.drain(index..stop);
            }
            if step % 50 == 0 {
                pair.list.check();
                assert!(texts(pair.list.iter()).iter().eq(&pair.model));
            }
        }
        let removed = pair.list.remove(b"x", End::Right, usize::MAX, &pair.limits);
        let before = pair.model.len();
        pair.model.retain(|m| m != b"x");
        assert_eq!(removed, before - pair.model.len());
        pair.list.check();
        assert!(texts(pair.list.iter()).iter().eq(&pair.model));
        keep_copy(&mut copies, &pair);
        while pair.list.pop_chunk() {
            pair.list.check();
        }
        assert!(pair.list.is_empty());
        copies.iter().for_each(check_copy);
    }
}

#[test]
fn a_change_after_a_copy_takes_one_node_and_its_group_along() {
    let limits = limits(-2, 0);
    let mut list = List::new();
    for number in 0..200_000i64 {
        list.push(End::Right, format!("element:{number:07}").as_bytes(), &limits);
    }
    let blobs = |list: &List| -> Vec<*const u8> {
        let chunks = list.chunks().map(|chunk| match chunk {
            Chunk::Packed(pack) => pack.as_bytes().as_ptr(),
            Chunk::Plain(text) => text.as_ptr(),
        });
        chunks.collect()
    };
    let copy = list.clone();
    assert!(list.nodes() > Some(300), "more than one group");
    assert_eq!(blobs(&copy), blobs(&list), "nothing is copied");
    list.set(100_000, b"changed", &limits);
    list.push(End::Right, b"pushed", &limits);
    list.pop(End::Left, &limits, |_| ());
    let differing = blobs(&copy).iter().zip(blobs(&list)).filter(|(a, b)| **a != *b).count();
    assert_eq!(differing, 3, "one node for each change");
    assert!(copy.copy_bytes() < 1024, "{}", copy.copy_bytes());
}

#[test]
fn encodings_change_where_redis_changes_them() {
    let by_count = limits(10, 0);
    let mut list = List::new();
    let ten = ["a"; 10];
    list.push_all(End::Right, ten.iter().map(|t| t.as_bytes()), &by_count);
    assert_eq!((list.encoding(), list.nodes()), ("listpack", None));
    list.push(End::Right, b"a", &by_count);
    assert_eq!((list.encoding(), list.nodes()), ("quicklist", Some(2)));
    list.pop(End::Right, &by_count, |_| ());
    assert_eq!((list.encoding(), list.nodes()), ("quicklist", Some(1)));
    list.trim(0, 6, &by_count);
    assert_eq!(list.encoding(), "quicklist");
    list.pop(End::Left, &by_count, |_| ());
    assert_eq!((list.encoding(), list.len()), ("listpack", 5));

    let by_bytes = limits(-1, 0);
    let mut list = List::new();
    list.push(End::Right, &[b'x'; 4089], &by_bytes);
    assert_eq!(list.encoding(), "listpack", "framing does not count");
    list.push(End::Right, b"y", &by_bytes);
    assert_eq!(list.encoding(), "quicklist");
    list.pop(End::Left, &by_bytes, |_| ());
    assert_eq!(list.encoding(), "listpack");
    list.push(End::Right, &[b'x'; 5000], &by_bytes);
    assert!(matches!(list.chunks().last(), Some(Chunk::Plain(text)) if text.len() == 5000));
    list.set(1, b"small", &by_bytes);
    assert_eq!((list.encoding(), list.nodes()), ("quicklist", Some(2)), "nodes do not join here");
    assert_eq!(texts(list.iter()), [&b"y"[..], b"small"]);
}

#[test]
fn parts_make_the_list_again() {
    let limits = limits(-2, 0);
    for count in [0i64, 5, 5000] {
        let mut list = List::new();
        for number in 0..count {
            list.push(End::Right, format!("value:{number}").as_bytes(), &limits);
        }
        if count > 5 {
            list.push(End::Right, &[b'z'; 9000], &limits);
        }
        let mut copy = List::new();
        for chunk in list.chunks() {
            match chunk {
                Chunk::Packed(pack) => copy.append_packed(pack.clone()),
                Chunk::Plain(text) => copy.append_plain(text.into()),
            }
        }
        copy.settle(&limits);
        copy.check();
        assert_eq!(copy.encoding(), list.encoding());
        assert_eq!(texts(copy.iter()), texts(list.iter()));
    }
}

#[test]
fn a_million_short_elements_are_dense() {
    let limits = limits(-2, 0);
    let mut list = List::new();
    for number in 0..100_000 {
        list.push(End::Right, format!("element:{number:07}").as_bytes(), &limits);
    }
    assert_eq!(list.heap_bytes() / 100_000, 17);
}
