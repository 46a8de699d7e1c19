//! Streams against plain maps, seeded.

use super::{AppendError, Entries, IdWish, Stream, StreamId, Trim};
use crate::types::compact::Listpack;
use crate::types::limits::Limits;
use rand::{rngs::SmallRng, Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

type Model = BTreeMap<StreamId, Vec<Vec<u8>>>;

fn texts(entry: &super::Entry<'_>) -> Vec<Vec<u8>> {
    entry.fields().flat_map(|(field, value)| [field.to_vec(), value.to_vec()]).collect()
}

fn random_pairs(rng: &mut SmallRng) -> Vec<Vec<u8>> {
    let mut pairs = Vec::new();
    for index in 0..rng.random_range(1..4) {
        let field = if rng.random_range(0..4) == 0 { rng.random_range(0..100) } else { index };
        pairs.push(format!("{}{field}", ["", "field"][rng.random_range(0..2)]).into_bytes());
        pairs.push(match rng.random_range(0..4) {
            0 => rng.random_range(-70_000..70_000i64).to_string().into_bytes(),
            1 => vec![b'x'; rng.random_range(0..200)],
            _ => format!("v{}", rng.random_range(0..1000)).into_bytes(),
        });
    }
    pairs
}

fn same(stream: &Stream, model: &Model, rng: &mut SmallRng) {
    stream.check();
    assert_eq!(stream.len(), model.len());
    assert_eq!(stream.last_live_id(), model.keys().next_back().copied());
    let bound = |rng: &mut SmallRng| match rng.random_range(0..4) {
        0 => StreamId::MIN,
        1 => StreamId::MAX,
        _ => StreamId::new(rng.random_range(0..=stream.last_id().ms + 1), rng.random_range(0..3)),
    };
    let mut seeker = stream.seeker();
    for _ in 0..30 {
        let id = bound(rng);
        let known = model.keys().nth(rng.random_range(0..=model.len())).copied();
        let id = known.unwrap_or(id);
        assert_eq!(seeker.seek(id).map(|entry| texts(&entry)), model.get(&id).cloned());
    }
    let (a, b) = (bound(rng), bound(rng));
    let (start, end) = (a.min(b), a.max(b));
    let wanted: Vec<_> = model.range(start..=end).map(|(id, pairs)| (*id, pairs.clone())).collect();
    let got: Vec<_> = stream.range(start, end).map(|entry| (entry.id, texts(&entry))).collect();
    assert_eq!(got, wanted);
    let mut back: Vec<_> =
        stream.range_back(start, end).map(|entry| (entry.id, texts(&entry))).collect();
    back.reverse();
    assert_eq!(back, wanted);
    assert_eq!(stream.range(end, start).count(), usize::from(start == end && !wanted.is_empty()));
}

#[test]
fn entries_like_a_map() {
    for seed in 0..12 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let limits = Limits {
            stream_node_max_entries: [0, 1, 5, 100][seed as usize % 4],
            stream_node_max_bytes: [0, 200, 4096][seed as usize % 3],
            ..Limits::default()
        };
        let (mut stream, mut model) = (Stream::new(), Model::new());
        for step in 0..1500 {
            match rng.random_range(0..20) {
                0..=13 => {
                    let wish = match rng.random_range(0..3) {
                        0 => IdWish::Auto,
                        1 => IdWish::Ms(stream.last_id().ms + rng.random_range(0..2)),
                        _ => IdWish::Exact(StreamId::new(stream.last_id().ms + 1, 7)),
                    };
                    let id = stream.id_for(wish, step / 3).unwrap();
                    let pairs = random_pairs(&mut rng);
                    assert_eq!(stream.append(id, &pairs, &limits), Ok(()));
                    let again = stream.append(id, &pairs, &limits);
                    assert_eq!(again, Err(AppendError::NotAbove));
                    model.insert(id, pairs);
                }
                14..=17 => {
                    let ids: Vec<StreamId> = model.keys().copied().collect();
                    if !ids.is_empty() {
                        let id = ids[rng.random_range(0..ids.len())];
                        assert_eq!(stream.find(id).map(|entry| texts(&entry)), model.remove(&id));
                        assert!(stream.delete(id) && !stream.delete(id));
                        assert!(stream.find(id).is_none());
                        assert!(stream.max_deleted_id() >= id);
                    }
                }
                18 => {
                    let len = rng.random_range(0..=model.len());
                    let wanted = (model.len() - len) as u64;
                    assert_eq!(stream.trim(Trim::MaxLen(len as u64), false, 0), wanted);
                    while model.len() > len {
                        model.pop_first();
                    }
                }
                _ => {
                    let low = StreamId::new(rng.random_range(0..=stream.last_id().ms / 2), 1);
                    let kept = model.split_off(&low);
                    assert_eq!(stream.trim(Trim::MinId(low), false, 0), model.len() as u64);
                    model = kept;
                }
            }
            if step % 20 == 0 {
                same(&stream, &model, &mut rng);
            }
        }
        let copy = reload(&stream);
        same(&copy, &model, &mut rng);
        while stream.pop_chunk() {}
    }
}

fn reload(stream: &Stream) -> Stream {
    let mut copy = Stream::new();
    for (id, pack) in stream.blocks() {
        let pack = Listpack::from_bytes(pack.as_bytes().to_vec()).unwrap();
        assert!(copy.load_block(id, pack));
    }
    copy.load_figures(stream.last_id(), stream.max_deleted_id(), stream.entries_added());
    assert_eq!(copy.trie_nodes(), stream.trie_nodes());
    copy
}

#[test]
fn approximate_trims_take_whole_blocks() {
    let limits = Limits { stream_node_max_entries: 10, ..Limits::default() };
    let mut stream = Stream::new();
    for ms in 1..=100 {
        stream.append(StreamId::new(ms, 0), &["f", "v"], &limits).unwrap();
    }
    assert_eq!(stream.trim(Trim::MaxLen(85), true, 0), 10);
    assert_eq!(stream.trim(Trim::MaxLen(0), true, 25), 20);
    assert_eq!(stream.trim(Trim::MinId(StreamId::new(41, 0)), true, 5), 0);
    assert_eq!(stream.trim(Trim::MinId(StreamId::new(55, 0)), true, 0), 20);
    assert_eq!((stream.len(), stream.first_id()), (50, StreamId::new(51, 0)));
    stream.check();
}

#[test]
fn damaged_blocks_are_refused() {
    let mut stream = Stream::new();
    for ms in 1..=3 {
        stream.append(StreamId::new(ms, 0), &["f", "v"], &Limits::default()).unwrap();
    }
    stream.append(StreamId::new(4, 0), &["g", "v"], &Limits::default()).unwrap();
    stream.delete(StreamId::new(2, 0));
    let (id, pack) = stream.blocks().next().map(|(id, pack)| (id, pack.clone())).unwrap();
    let mut refused = 0;
    for at in 0..pack.as_bytes().len() {
        for bit in 0..8 {
            let mut bytes = pack.as_bytes().to_vec();
            bytes[at] ^= 1 << bit;
            let mut copy = Entries::default();
            match Listpack::from_bytes(bytes) {
                Some(pack) if copy.load_block(id, pack.clone()) => {
                    assert_eq!(copy.range(StreamId::MIN, StreamId::MAX).count(), 3);
                }
                _ => refused += 1,
            }
        }
    }
    assert!(refused > 100, "{refused}");
}

/// The nodes of a radix tree over keys of equal length, by their definition: leaves, forks, and
/// the chains between them.
fn trie_nodes(keys: &BTreeSet<[u8; 16]>) -> usize {
    fn below(keys: &[[u8; 16]], depth: usize) -> usize {
        let mut shared = depth;
        while shared < 16 && keys.iter().all(|key| key[shared] == keys[0][shared]) {
            shared += 1;
        }
        let chain = usize::from(shared > depth);
        if shared == 16 {
            return chain + 1;
        }
        let forks = keys.chunk_by(|a, b| a[shared] == b[shared]);
        chain + 1 + forks.map(|same| below(same, shared + 1)).sum::<usize>()
    }
    let keys: Vec<_> = keys.iter().copied().collect();
    if keys.is_empty() {
        1
    } else {
        below(&keys, 0)
    }
}

#[test]
fn trie_nodes_are_counted_as_blocks_come_and_go() {
    let limits = Limits { stream_node_max_entries: 1, ..Limits::default() };
    for seed in 0..20 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let (mut stream, mut keys) = (Stream::new(), BTreeSet::new());
        let steps = [2, 300, 70_000, 1 << 40];
        for _ in 0..400 {
            if rng.random_range(0..3) > 0 {
                let last = stream.last_id();
                let id = match rng.random_range(0..2) {
                    0 => StreamId::new(last.ms + rng.random_range(1..steps[seed as usize % 4]), 0),
                    _ => StreamId::new(last.ms, last.seq + rng.random_range(1..300)),
                };
                stream.append(id, &["f", "v"], &limits).unwrap();
                keys.insert(id.to_be_bytes());
            } else if rng.random_range(0..10) == 0 {
                let left = rng.random_range(0..=stream.len() as u64);
                stream.trim(Trim::MaxLen(left), false, 0);
                while keys.len() as u64 > left {
                    keys.pop_first();
                }
            } else if !keys.is_empty() {
                let key = *keys.iter().nth(rng.random_range(0..keys.len())).unwrap();
                keys.remove(&key);
                assert!(stream.delete(StreamId::from_be_bytes(key)));
            }
            assert_eq!(stream.trie_nodes(), trie_nodes(&keys), "seed {seed}");
        }
    }
}

#[test]
fn groups_are_part_of_the_size() {
    let mut stream = Stream::new();
    assert!(stream.create_group(b"b", StreamId::MIN, None));
    assert!(stream.create_group(b"a", StreamId::MIN, Some(0)));
    assert!(!stream.create_group(b"a", StreamId::MIN, None));
    let before = stream.heap_bytes();
    {
        let mut group = stream.edit_group(b"a").unwrap();
        let consumer = group.create_consumer(b"c", 1).unwrap();
        for ms in 0..1000 {
            let pending = super::Pending { consumer, delivered_ms: 1, deliveries: 1 };
            group.assign(StreamId::new(ms, 0), pending);
        }
    }
    stream.check();
    assert!(stream.heap_bytes() > before + 1000 * (40 + 16), "{}", stream.heap_bytes());
    assert!(stream.remove_group(b"a").is_some() && stream.remove_group(b"a").is_none());
    stream.check();
}

/// Everything about a stream.
fn describe(stream: &Stream) -> String {
    let mut text = format!(
        "{} {:?} {:?} {:?} {} {}\n",
        stream.len(),
        stream.first_id(),
        stream.last_id(),
        stream.max_deleted_id(),
        stream.entries_added(),
        stream.heap_bytes(),
    );
    for (id, pack) in stream.blocks() {
        text += &format!("{id:?} {pack:?}\n");
    }
    for group in stream.groups() {
        text += &format!("{:?} {:?} {:?}\n", group.name(), group.last_id, group.entries_read);
        text += &format!("{:?}\n", group.pending().iter().collect::<Vec<_>>());
        for (id, consumer) in group.consumers() {
            let owned: Vec<_> = consumer.pending().iter().map(|item| item.0).collect();
            let (seen, active) = (consumer.seen_ms, consumer.active_ms);
            text += &format!("{id:?} {:?} {seen} {active} {owned:?}\n", consumer.name());
        }
    }
    text
}

fn change(stream: &mut Stream, rng: &mut SmallRng, limits: &Limits, step: i64) {
    let name = [b"g0", b"g1", b"g2"][rng.random_range(0..3)];
    let who = format!("c{}", rng.random_range(0..5));
    match rng.random_range(0..100) {
        0..40 => {
            let id = stream.id_for(IdWish::Auto, step as u64).unwrap();
            stream.append(id, &["field", &step.to_string()], limits).unwrap();
        }
        40..48 => drop(stream.delete(StreamId::new(rng.random_range(0..=step as u64), 0))),
        48 => drop(stream.trim(Trim::MaxLen(rng.random_range(100..900)), rng.random(), 0)),
        49 => drop(stream.create_group(name, stream.last_id(), Some(step))),
        50 if rng.random_bool(0.2) => drop(stream.remove_group(name)),
        51 => stream.set_entries_added(step as u64 * 2),
        _ => {
            let entry = StreamId::new(rng.random_range(0..=step as u64), 0);
            let Some(mut group) = stream.edit_group(name) else { return };
            let Some(consumer) = group.find_consumer(who.as_bytes()) else {
                group.create_consumer(who.as_bytes(), step);
                return;
            };
            match rng.random_range(0..60) {
                0..40 => {
                    group.assign(
                        entry,
                        super::Pending { consumer, delivered_ms: step, deliveries: 1 },
                    );
                }
                40..50 => drop(group.acknowledge(entry)),
                50..55 => group.redeliver(entry, step),
                55..57 => group.consumer_mut(consumer).unwrap().seen_ms = step,
                57 => group.advance_to(entry),
                58 if rng.random_bool(0.2) => drop(group.remove_consumer(who.as_bytes())),
                _ => group.last_id = entry,
            }
        }
    }
}

#[test]
fn copies_stay_what_they_were() {
    let limits = Limits { stream_node_max_entries: 7, ..Limits::default() };
    for seed in 0..6 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let (mut stream, mut copies) = (Stream::new(), VecDeque::new());
        let is_same = |(copy, expected): (Stream, String)| {
            copy.check();
            assert!(describe(&copy) == expected, "seed {seed}");
        };
        for step in 0..4_000 {
            if rng.random_range(0..200) == 0 {
                let expected = describe(&stream);
                copies.push_back((stream.clone(), expected));
                if copies.len() > 5 {
                    copies.pop_front().into_iter().for_each(is_same);
                }
            }
            change(&mut stream, &mut rng, &limits, step);
            if step % 50 == 0 {
                stream.check();
            }
        }
        copies.push_back((stream.clone(), describe(&stream)));
        while stream.pop_chunk() {}
        assert_eq!((stream.group_count(), stream.block_count()), (0, 0));
        copies.into_iter().for_each(is_same);
    }
}
