//! Data that changes at random, pictures of it, and images put together again: what tests of
//! snapshots compare.

use super::{Heading, Piece};
use crate::keyspace::ageing::Age;
use crate::keyspace::db::{Db, Loaded, Ttl};
use crate::keyspace::entry::{Entry, NewValue};
use crate::keyspace::value::{Hash, List, Set, SortedSet, Stream, Value};
use crate::types::compact::Item;
use crate::types::hash::Deadline;
use crate::types::limits::Limits;
use crate::types::list::End;
use crate::types::sorted_set::AddRule;
use crate::types::stream::{Pending, StreamId, Trim};
use crate::types::walk::{Part, Prelude};
use rand::rngs::SmallRng;
use rand::Rng;
use std::collections::BTreeMap;

/// All data: what is at each key of each database.
pub(crate) type Picture = BTreeMap<(usize, Vec<u8>), String>;

/// The elements of a value, each with all that belongs to it, in any order.
type Elements = Vec<Vec<Vec<u8>>>;

fn shown(deadline_ms: Option<i64>, mut elements: Elements) -> String {
    elements.sort();
    let element = |texts: &Vec<Vec<u8>>| {
        let texts: Vec<_> = texts.iter().map(|text| text.escape_ascii().to_string()).collect();
        texts.join(" ")
    };
    let elements: Vec<_> = elements.iter().map(element).collect();
    format!("until {deadline_ms:?}: {}", elements.join(", "))
}

fn plain(thing: impl std::fmt::Debug) -> Vec<u8> {
    format!("{thing:?}").into_bytes()
}

/// A small sorted set knows no negative zero: one that is small when it is read loses it.
fn plain_score(score: f64) -> Vec<u8> {
    plain(score + 0.0)
}

/// Everything about an entry that an image must have.
fn describe(entry: &Entry) -> String {
    let scored = |(member, score): (Item<'_>, f64)| vec![member.to_vec(), plain_score(score)];
    let elements = if let Some(text) = entry.string() {
        vec![vec![text.to_vec()]]
    } else if let Some(hash) = entry.hash() {
        let fields = hash.iter_all();
        fields.map(|(field, value, at)| vec![field.to_vec(), value.to_vec(), plain(at)]).collect()
    } else if let Some(set) = entry.collection::<Set>() {
        set.iter().map(|item| vec![item.to_vec()]).collect()
    } else if let Some(set) = entry.collection::<SortedSet>() {
        set.iter().map(scored).collect()
    } else if let Some(list) = entry.collection::<List>() {
        let numbered = list.iter().enumerate();
        numbered.map(|(at, item)| vec![at.to_be_bytes().to_vec(), item.to_vec()]).collect()
    } else if let Some(stream) = entry.collection::<Stream>() {
        describe_stream(stream)
    } else {
        panic!("a value that nobody can describe")
    };
    shown(entry.deadline_ms(), elements)
}

fn describe_stream(stream: &Stream) -> Elements {
    let figures = (stream.len(), stream.last_id(), stream.max_deleted_id(), stream.entries_added());
    let mut elements = vec![vec![plain(figures)]];
    for entry in stream.range(StreamId::MIN, StreamId::MAX) {
        let pairs = entry.fields().flat_map(|(field, value)| [field.to_vec(), value.to_vec()]);
        elements.push(std::iter::once(plain(entry.id)).chain(pairs).collect());
    }
    for group in stream.groups() {
        let name = group.name().to_vec();
        elements.push(vec![name.clone(), plain((group.last_id, group.entries_read))]);
        for (_, consumer) in group.consumers() {
            let about = plain((consumer.seen_ms, consumer.pending().len()));
            elements.push(vec![name.clone(), consumer.name().to_vec(), about]);
        }
        for (id, pending) in group.pending().iter() {
            let owner = group.consumer_name(pending.consumer).to_vec();
            let about = plain((id, pending.delivered_ms, pending.deliveries));
            elements.push(vec![name.clone(), owner, about]);
        }
    }
    elements
}

fn part_elements(part: &Part) -> Elements {
    match part {
        Part::Fields(fields) => fields
            .iter()
            .map(|(field, value, at)| vec![field.to_vec(), value.to_vec(), plain(at)])
            .collect(),
        Part::Members(members) => members.iter().map(|member| vec![member.to_vec()]).collect(),
        Part::Scored(scored) => {
            scored.iter().map(|(member, score)| vec![member.to_vec(), plain_score(score)]).collect()
        }
        Part::Bytes(_) => panic!("bytes are no elements"),
    }
}

/// A picture of all data as it is now.
pub(crate) fn picture(db: &Db) -> Picture {
    let of_space = |index: usize| {
        let entries = db.spaces[index].table.iter();
        entries.map(move |entry| ((index, entry.key().to_vec()), describe(entry)))
    };
    (0..db.databases()).flat_map(of_space).collect()
}

/// Panics when two pictures differ, and says where.
pub(crate) fn assert_same(seen: &Picture, expected: &Picture) {
    for (place, value) in expected {
        assert_eq!(seen.get(place), Some(value), "at {place:?}");
    }
    assert_eq!(seen.len(), expected.len(), "there is more than there should be");
}

/// Puts the pieces of an image together again.
#[derive(Default)]
pub(crate) struct Album {
    seen: Picture,
    begun: Option<(Box<Heading>, Elements)>,
    /// Whole values, which must stay what they are whatever happens to those they are copies of.
    held: Vec<(usize, Entry)>,
    /// Big values that were handed out.
    pub(crate) bigs: usize,
}

impl Album {
    pub(crate) fn add(&mut self, piece: Piece) {
        match (piece, &mut self.begun) {
            (Piece::Whole { db, entry }, None) => self.held.push((db, entry)),
            (Piece::Begin(heading), None) => self.begun = Some((heading, Elements::new())),
            (Piece::Part(Part::Bytes(bytes)), Some((_, elements))) => match elements.as_mut_slice()
            {
                [text] => text[0].extend(bytes),
                _ => elements.push(vec![bytes]),
            },
            (Piece::Part(part), Some((_, elements))) => {
                let more = part_elements(&part);
                assert_eq!(more.len(), part.elements());
                elements.extend(more);
            }
            (Piece::End, Some(_)) => {
                let (heading, elements) = self.begun.take().expect("it was there");
                match heading.prelude {
                    Prelude::Text { bytes } => assert_eq!(elements[0][0].len(), bytes),
                    prelude => assert_eq!(elements.len(), prelude.elements()),
                }
                self.bigs += 1;
                self.put(heading.db, heading.key.to_vec(), shown(heading.deadline_ms, elements));
            }
            (Piece::Past(_), _) => {}
            (piece, begun) => panic!("{piece:?} while {begun:?} is handed out"),
        }
    }

    fn put(&mut self, db: usize, key: Vec<u8>, value: String) {
        let before = self.seen.insert((db, key), value);
        assert!(before.is_none(), "handed out twice");
    }

    pub(crate) fn is_between_keys(&self) -> bool {
        self.begun.is_none()
    }

    /// What it shows when all pieces are there.
    pub(crate) fn shows(&mut self) -> &Picture {
        for (db, entry) in std::mem::take(&mut self.held) {
            self.put(db, entry.key().to_vec(), describe(&entry));
        }
        &self.seen
    }
}

/// Databases whose values change their encoding early, and are big soon; with an even seed most
/// stay packed however long they are.
pub(crate) fn databases(count: usize, seed: u64) -> Db {
    let (factor, value) = if seed.is_multiple_of(2) { (25, 1000) } else { (1, 64) };
    let limits = Limits {
        hash_max_listpack_entries: 8 * factor,
        hash_max_listpack_value: value,
        set_max_listpack_entries: 8 * factor,
        set_max_listpack_value: value,
        set_max_intset_entries: 16 * factor,
        zset_max_listpack_entries: 8 * factor,
        zset_max_listpack_value: value,
        list_max_listpack_size: 4 * factor as i64,
        stream_node_max_entries: 4,
        ..Limits::default()
    };
    let mut db = Db::new(count, limits, seed);
    db.set_now_ms(1_700_000_000_000);
    db.big_bytes = 700;
    db
}

/// Does something to one of `keys` keys, now and then to a whole database.
pub(crate) fn change(db: &mut Db, rng: &mut SmallRng, keys: u32) {
    db.select(rng.random_range(0..db.databases()));
    let name = |rng: &mut SmallRng| format!("key:{}", rng.random_range(0..keys)).into_bytes();
    let (key, other) = (name(rng), name(rng));
    match rng.random_range(0..100) {
        0..12 => change_key(db, rng, &key, &other),
        12..18 => change_string(db, rng, &key),
        18..38 => change_hash(db, rng, &key),
        38..55 => change_set(db, rng, &key),
        55..72 => change_sorted_set(db, rng, &key),
        72..82 => change_list(db, rng, &key),
        82..92 => change_stream(db, rng, &key),
        92 if rng.random_bool(0.1) => drop(db.flush(Some(db.current()), rng.random_bool(0.5))),
        93 if rng.random_bool(0.1) => drop(db.flush(None, rng.random_bool(0.5))),
        94 => db.swap(db.current(), rng.random_range(0..db.databases())),
        95 => while db.expire_due(16) {},
        96 => while db.free_chunk() {},
        97 => {
            let entry = Entry::new(&key, NewValue::Int(rng.random()), None, 0);
            drop(
                db.load(Loaded::new(entry, Age::Untold, db.limits.hash_key), rng.random_bool(0.5)),
            );
        }
        _ => {}
    }
    db.effects.happened.clear();
    db.effects.records.clear();
}

/// What can be done to a key whatever its value is.
fn change_key(db: &mut Db, rng: &mut SmallRng, key: &[u8], other: &[u8]) {
    let at = db.now_ms() + rng.random_range(-5..3_000);
    match rng.random_range(0..12) {
        0 | 1 => drop(db.remove(key, "del")),
        2 | 3 => drop(db.set_deadline(key, Some(at), "expire")),
        4 | 5 => drop(db.set_deadline(key, None, "persist")),
        6..9 => {
            if let Some(entry) = db.take(key) {
                let to = rng.random_range(0..db.databases());
                db.within(to, |db| db.place(other, entry));
            }
        }
        9 | 10 => {
            if let Some(copy) = db.look(key).and_then(Entry::copied) {
                db.place(other, copy);
            }
        }
        _ => {
            let value = NewValue::Owned(Value::Str(b"text".to_vec().into()));
            db.put(key, value, Ttl::Keep, "set");
        }
    }
}

/// Elements of which every fifth is a long one (see [`crate::types::thin`]), as are some values.
fn element(number: u8) -> String {
    match number % 5 {
        0 => format!("m{number:0>100}"),
        _ => format!("m{number}"),
    }
}

fn text(rng: &mut SmallRng) -> String {
    "v".repeat(rng.random_range(0..90))
}

fn change_string(db: &mut Db, rng: &mut SmallRng, key: &[u8]) {
    let (text, at) = (text(rng), db.now_ms() + rng.random_range(-5..3_000));
    match rng.random_range(0..3) {
        0 => db.put_string(key, text.as_bytes(), Ttl::Clear, "set"),
        1 => db.put_string(key, b"17", Ttl::At(at), "set"),
        _ => change_long_string(db, rng, key),
    }
}

/// What changes a string where it lies.
fn change_long_string(db: &mut Db, rng: &mut SmallRng, key: &[u8]) {
    const LONGEST: usize = 24 << 10;
    if db.look(key).is_none() && rng.random_bool(0.5) {
        let mut long = vec![rng.random_range(b'a'..=b'z'); rng.random_range(0..LONGEST)];
        if rng.random_bool(0.3) {
            rng.fill(&mut long[..]);
        }
        db.put(key, NewValue::Owned(Value::Str(long.into())), Ttl::Clear, "set");
        return;
    }
    let Ok(Some(mut text)) = db.take_string(key) else { return };
    for _ in 0..rng.random_range(1..4) {
        let from = rng.random_range(0..=text.len());
        let to = rng.random_range(from..=text.len().min(from + 6_000));
        match rng.random_range(0..20) {
            0..12 => text.at_mut(from..to).fill(rng.random_range(b'A'..=b'Z')),
            12..15 => text.push(b"more"),
            15 => text.reach(LONGEST.min(text.len() + 700)),
            16 => text.put(from, &[b'p'; 300]),
            17 => text.all_mut().reverse(),
            18 => text.all_mut().truncate(from),
            _ => {}
        }
    }
    match rng.random_bool(0.5) {
        true => db.put_quietly(key, text),
        false => db.return_string(key, text),
    }
}

fn change_hash(db: &mut Db, rng: &mut SmallRng, key: &[u8]) {
    let Ok(edit) = db.edit::<Hash>(key) else { return };
    let mut edit = edit.or_default();
    let now_ms = edit.now_ms();
    for _ in 0..rng.random_range(1..12) {
        let (text, at) = (text(rng), now_ms + rng.random_range(-5..3_000));
        let field = element(rng.random_range(0..60));
        let when = [Deadline::Clear, Deadline::Keep, Deadline::At(at)];
        let when = when[rng.random_range(0..3)];
        let (hash, limits, _) = edit.parts();
        match rng.random_range(0..10) {
            0..6 => drop(hash.set(field.as_bytes(), text.as_bytes(), when, now_ms, limits)),
            6 => drop(hash.set_deadline(field.as_bytes(), Some(at), now_ms)),
            7 => drop(hash.take_expired(now_ms, 3)),
            _ => drop(hash.remove(field.as_bytes(), now_ms)),
        }
    }
}

fn change_set(db: &mut Db, rng: &mut SmallRng, key: &[u8]) {
    let Ok(edit) = db.edit::<Set>(key) else { return };
    let mut edit = edit.or_default();
    let kind = rng.random_range(0..12);
    for _ in 0..rng.random_range(1..12) {
        let number = rng.random_range(0..90u8);
        let member = if kind % 4 == 0 { element(number) } else { number.to_string() };
        let (set, limits, random) = edit.parts();
        match kind {
            0..8 => drop(set.add(member.as_bytes(), limits)),
            8 | 9 => drop(set.remove(member.as_bytes())),
            _ => drop(set.pop_random(random)),
        }
    }
    if kind == 11 && edit.len() > 1 {
        let count = rng.random_range(1..edit.len());
        let (set, limits, random) = edit.parts();
        if let Some(old) = set.pop_many(count, limits, random, |_| ()) {
            edit.db().bury_value(Value::Set(Box::new(old)));
        }
    }
}

fn change_sorted_set(db: &mut Db, rng: &mut SmallRng, key: &[u8]) {
    let Ok(edit) = db.edit::<SortedSet>(key) else { return };
    let mut edit = edit.or_default();
    let kind = rng.random_range(0..10);
    for _ in 0..rng.random_range(1..12) {
        let member = element(rng.random_range(0..60));
        let scores = [-1.5, -0.0, 0.0, 3.0, f64::INFINITY, rng.random_range(-9.0..9.0)];
        let score = scores[rng.random_range(0..scores.len())];
        let rule = AddRule { only_greater: rng.random_bool(0.2), ..AddRule::default() };
        let (set, limits, _) = edit.parts();
        match kind {
            0..8 => drop(set.add(member.as_bytes(), score, rule, limits)),
            _ => drop(set.remove(member.as_bytes())),
        }
    }
    if kind == 9 {
        let from = rng.random_range(0..=edit.len());
        edit.remove_ranks(from, from + rng.random_range(0..20));
    }
}

fn change_list(db: &mut Db, rng: &mut SmallRng, key: &[u8]) {
    let Ok(edit) = db.edit::<List>(key) else { return };
    let mut edit = edit.or_default();
    for _ in 0..rng.random_range(1..6) {
        let text = text(rng);
        let end = if rng.random_bool(0.5) { End::Left } else { End::Right };
        let at = rng.random_range(0..=edit.len());
        let (list, limits, _) = edit.parts();
        match rng.random_range(0..10) {
            0..6 => list.push(end, text.as_bytes(), limits),
            6 => drop(list.set(at as i64, text.as_bytes(), limits)),
            7 => drop(list.insert(b"v", rng.random_bool(0.5), text.as_bytes(), limits)),
            8 => drop(list.remove(b"", end, 2, limits)),
            _ => list.remove_range(at, 3, limits),
        }
    }
}

fn change_stream(db: &mut Db, rng: &mut SmallRng, key: &[u8]) {
    let Ok(edit) = db.edit::<Stream>(key) else { return };
    let mut edit = edit.or_default();
    let now_ms = edit.now_ms();
    let group = [b'g', rng.random_range(0..3)];
    for _ in 0..rng.random_range(1..8) {
        let pairs = ["name".to_string(), text(rng)];
        let (stream, limits, _) = edit.parts();
        let last = stream.last_id();
        let some = StreamId::new(last.ms, rng.random_range(0..=last.seq));
        match rng.random_range(0..12) {
            0..6 => {
                let id = StreamId::new(last.ms.max(1), last.seq + 1);
                let _ = stream.append(id, &pairs, limits);
            }
            6 => drop(stream.delete(some)),
            7 => drop(stream.trim(Trim::MaxLen(rng.random_range(0..30)), false, 0)),
            8 => drop(stream.create_group(&group, some, None)),
            9 => drop(stream.remove_group(&group)),
            10 => {
                let Some(mut group) = stream.edit_group(&group) else { continue };
                let name = [rng.random_range(b'a'..b'd')];
                group.create_consumer(&name, now_ms);
                if let Some(consumer) = group.find_consumer(&name) {
                    group.assign(some, Pending { consumer, delivered_ms: now_ms, deliveries: 1 });
                }
            }
            _ => {
                let Some(mut group) = stream.edit_group(&group) else { continue };
                group.acknowledge(some);
                group.last_id = some;
            }
        }
    }
}
