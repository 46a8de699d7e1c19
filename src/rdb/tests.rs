//! What is written comes back, for every type and encoding; what is torn or flipped does not.

use super::payload;
use super::read::{Item, Loaded, Reader, Rules};
use super::write::{Drain, Head, Style, Writer};
use super::{Reason, Version};
use crate::keyspace::ageing::Age;
use crate::keyspace::entry::{Entry, NewValue};
use crate::keyspace::value::{Hash, Kind, List, Set, SortedSet, Stream, Value};
use crate::types::hash::Deadline;
use crate::types::limits::Limits;
use crate::types::list::End;
use crate::types::sorted_set::AddRule;
use crate::types::stream::{Pending, StreamId};
use crate::types::thin::{Thin, ThinPair};
use crate::types::walk::{Fields, Part, Prelude, Scored, Texts};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::convert::Infallible;

fn rules() -> Rules {
    Rules { limits: Limits::default(), checksum: true }
}

/// A text of any length that may spell a number, be packable, or neither.
fn text(rng: &mut SmallRng, longest: usize) -> Vec<u8> {
    match rng.random_range(0..6) {
        0 => rng.random_range(-200..200).to_string().into_bytes(),
        1 => rng.random::<i64>().to_string().into_bytes(),
        2 => b"abc".repeat(rng.random_range(0..=longest / 3)),
        3 => Vec::new(),
        _ => (0..rng.random_range(0..=longest)).map(|_| rng.random()).collect(),
    }
}

fn list(rng: &mut SmallRng, count: usize) -> Value {
    let (mut list, limits) = (List::new(), Limits::default());
    for number in 0..count {
        let longest = if number % 400 == 7 { 20_000 } else { 40 };
        list.push(End::Right, &text(rng, longest), &limits);
    }
    Value::List(Box::new(list))
}

fn set(rng: &mut SmallRng, count: usize, numbers: bool) -> Value {
    let (mut set, limits) = (Set::new(), Limits::default());
    while set.len() < count {
        match numbers {
            true => set.add(rng.random::<i32>().to_string().as_bytes(), &limits),
            false => set.add(&text(rng, 30), &limits),
        };
    }
    Value::Set(Box::new(set))
}

fn sorted_set(rng: &mut SmallRng, count: usize) -> Value {
    let (mut set, limits) = (SortedSet::new(), Limits::default());
    let scores = [0.0, 1.5, -7.0, 1e300, f64::INFINITY, f64::NEG_INFINITY];
    while set.len() < count {
        set.insert(&text(rng, 30), scores[rng.random_range(0..6)] + 1.0, &limits);
    }
    Value::SortedSet(Box::new(set))
}

fn hash(rng: &mut SmallRng, count: usize, dated: bool) -> Value {
    let (mut hash, limits) = (Hash::new(), Limits::default());
    while hash.len() < count {
        let deadline = match dated && rng.random_range(0..3) > 0 {
            true => Deadline::At(rng.random_range(1..1 << 46)),
            false => Deadline::Clear,
        };
        hash.set(&text(rng, 30), &text(rng, 30), deadline, i64::MIN, &limits);
    }
    Value::Hash(Box::new(hash))
}

fn stream(rng: &mut SmallRng, count: u64) -> Value {
    let (mut stream, limits) = (Stream::new(), Limits::default());
    for number in 1..=count {
        let id = StreamId::new(1000 + number / 3, number);
        let pairs = [b"name".to_vec(), text(rng, 20), b"age".to_vec(), text(rng, 5)];
        let _ = stream.append(id, &pairs[..if number % 5 == 0 { 2 } else { 4 }], &limits);
    }
    for number in (1..=count).step_by(4) {
        stream.delete(StreamId::new(1000 + number / 3, number));
    }
    for name in [&b"first"[..], b"second"] {
        stream.create_group(name, StreamId::new(1003, 9), Some(9).filter(|_| name == b"first"));
        let Some(mut group) = stream.edit_group(name) else { continue };
        for consumer in [&b"alice"[..], b"bob", b"nobody"] {
            let Some(consumer) = group.create_consumer(consumer, 77) else { continue };
            // What version 10 has no place for.
            if let Some(one) = group.consumer_mut(consumer) {
                one.active_ms = 77;
            }
        }
        for number in 1..=count.min(30) {
            let name: &[u8] = if number % 2 == 0 { b"alice" } else { b"bob" };
            let Some(consumer) = group.find_consumer(name) else { continue };
            let pending = Pending { consumer, delivered_ms: number as i64, deliveries: number };
            group.assign(StreamId::new(1000 + number / 3, number), pending);
        }
    }
    Value::Stream(Box::new(stream))
}

/// One entry of every type in every encoding.
fn zoo(seed: u64) -> Vec<Entry> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let rng = &mut rng;
    let values = [
        list(rng, 3),
        list(rng, 3000),
        set(rng, 20, true),
        set(rng, 20, false),
        set(rng, 900, false),
        sorted_set(rng, 20),
        sorted_set(rng, 900),
        hash(rng, 20, false),
        hash(rng, 900, false),
        hash(rng, 20, true),
        hash(rng, 900, true),
        stream(rng, 350),
        stream(rng, 0),
        Value::Str((0..5000).map(|_| rng.random()).collect::<Vec<u8>>().into()),
        Value::Str(b"long and easily packed ".repeat(40_000).into()),
        Value::Str((0..600_000).map(|_| rng.random()).collect::<Vec<u8>>().into()),
        Value::Int(-3),
        Value::Int(i64::MIN),
    ];
    let entry = |(number, value): (usize, Value)| {
        let key = format!("key:{number}");
        let deadline_ms = (number % 3 == 1).then_some(1_800_000_000_000 + number as i64);
        Entry::new(key.as_bytes(), NewValue::Owned(value), deadline_ms, 0)
    };
    values.into_iter().enumerate().map(entry).collect()
}

/// Everything about a value that can be seen.
fn portrait(entry: &Entry) -> Vec<Vec<u8>> {
    let mut seen = vec![entry.key().to_vec(), format!("{:?}", entry.deadline_ms()).into_bytes()];
    seen.extend(entry.string().map(|text| text.to_vec()));
    if let Some(list) = entry.collection::<List>() {
        list.check();
        seen.extend(list.iter().map(|item| item.to_vec()));
    }
    let mut members = Vec::new();
    if let Some(set) = entry.collection::<Set>() {
        members.extend(set.iter().map(|item| item.to_vec()));
    }
    if let Some(set) = entry.collection::<SortedSet>() {
        set.check();
        seen.extend(
            set.iter().map(|(item, score)| [item.to_vec(), score.to_string().into()].concat()),
        );
    }
    if let Some(hash) = entry.hash() {
        hash.check();
        members.extend(hash.iter_all().map(|(field, value, deadline_ms)| {
            format!("{:?}", (field.to_vec(), value.to_vec(), deadline_ms)).into_bytes()
        }));
    }
    if let Some(stream) = entry.collection::<Stream>() {
        stream.check();
        seen.push(format!("{:?}", stream.blocks().collect::<Vec<_>>()).into_bytes());
        for group in stream.groups() {
            seen.push(format!("{group:?}").into_bytes());
        }
        let figures = (stream.len(), stream.last_id(), stream.first_id());
        seen.push(format!("{figures:?}").into_bytes());
        seen.push(format!("{:?}", (stream.max_deleted_id(), stream.entries_added())).into_bytes());
    }
    members.sort_unstable();
    seen.extend(members);
    seen.push(entry.encoding().as_bytes().to_vec());
    seen
}

fn file_of(entries: &[Entry], style: Style) -> Vec<u8> {
    let mut writer = Writer::new(style);
    writer.header();
    writer.aux(b"redis-bits", b"64");
    writer.function(b"#!lua name=lib\nredis.register_function('f', function() end)");
    writer.select(3, entries.len(), 1);
    let mut file = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        let age = [Age::Untold, Age::Idle(100_000), Age::Freq(200)][number % 3];
        let head = Head { key: Some(entry.key()), deadline_ms: entry.deadline_ms(), age };
        assert!(writer.entry(&head, entry));
        if number % 2 == 0 {
            file.extend(writer.take());
        }
    }
    file.extend(writer.finish());
    file
}

/// Gives one byte, then two, then three: whoever reads must ask again.
struct Trickle<'a>(&'a [u8], usize);

impl std::io::Read for Trickle<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.1 = self.1 % 3000 + 1;
        let count = self.1.min(into.len()).min(self.0.len());
        into[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}

/// Long elements of big values go out while they are written, and come back.
#[test]
fn long_elements_are_drained() {
    let mut rng = SmallRng::seed_from_u64(15);
    let chaos: Vec<u8> = (0..3 << 20).map(|_| rng.random()).collect();
    let members = [chaos, b"easily packed ".repeat(1 << 18), b"short".to_vec()];
    let (mut fields, mut texts) = (Fields::default(), Texts::default());
    let mut scored = Scored::default();
    let (mut hash, mut set, mut sorted) = (Hash::default(), Set::default(), SortedSet::default());
    let (limits, rule, soon) = (Limits::default(), AddRule::default(), 1_800_000_000_000);
    for (number, member) in members.iter().enumerate() {
        let (field, score) = (number.to_string().into_bytes(), number as f64);
        let at = (number == 1).then_some(soon);
        fields.push_pair(&ThinPair::stamped(&field, member, at));
        texts.push_thin(Thin::new(member).alias());
        scored.push(Thin::new(member).alias(), score);
        assert!(hash.add_new(&field, member, at, &limits) && set.add(member, &limits));
        sorted.add(member, score, rule, &limits);
    }
    let hash_prelude = Prelude::Hash { fields: 3, soonest_ms: Some(soon) };
    let values = [
        (Value::Hash(Box::new(hash)), hash_prelude, Part::Fields(fields)),
        (Value::Set(Box::new(set)), Prelude::Set { members: 3 }, Part::Members(texts)),
        (
            Value::SortedSet(Box::new(sorted)),
            Prelude::SortedSet { members: 3 },
            Part::Scored(scored),
        ),
    ];
    let mut writer = Writer::new(Style { version: Version::V12, ..Style::default() });
    let (mut file, mut longest, mut entries) = (Vec::new(), 0, Vec::new());
    let drain: Drain<'_, Infallible> = &mut |writer| {
        longest = longest.max(writer.pending().len());
        file.extend(writer.take());
        Ok(())
    };
    writer.header();
    for (value, prelude, part) in values {
        let entry = Entry::new(b"key", NewValue::Owned(value), None, 0);
        let head = Head { key: Some(entry.key()), ..Head::default() };
        writer.begin(&head, &prelude);
        assert_eq!(writer.part(&part, drain), Ok(()));
        assert_eq!(writer.end(drain), Ok(()));
        entries.push(entry);
    }
    assert_eq!(drain(&mut writer), Ok(()));
    assert!(longest < 100_000, "{longest} bytes at once");
    file.extend(writer.finish());
    let items = read_all(&file).expect("a whole file");
    for (item, entry) in items.iter().zip(&entries) {
        let Item::Key(Loaded { entry: loaded, .. }) = item else { panic!("no key") };
        assert!(portrait(loaded) == portrait(entry), "{}", entry.encoding());
    }
    assert!(file.len() < 12 << 20, "what can be packed is packed");
}

fn read_all(file: &[u8]) -> Result<Vec<Item>, super::Fault> {
    let mut reader = Reader::open(file, rules())?;
    let mut items = Vec::new();
    loop {
        let item = reader.next_item()?;
        let is_end = matches!(item, Item::End);
        items.push(item);
        if is_end {
            return Ok(items);
        }
    }
}

#[test]
fn files_come_back_for_every_type_and_encoding() {
    for (version, compress) in [(Version::V12, true), (Version::V10, false), (Version::V11, true)] {
        let entries = zoo(version as u64);
        let file = file_of(&entries, Style { version, compress, checksum: true });
        let behind = [&file[..], b"*1\r\n"].concat();
        let mut reader = Reader::open(Trickle(&behind, 0), rules()).expect("a header");
        assert_eq!(reader.version(), u32::from(version.number()));
        assert!(matches!(reader.next_item(), Ok(Item::Aux(name, _)) if name == b"redis-bits"));
        assert!(matches!(reader.next_item(), Ok(Item::Function(code)) if code.starts_with(b"#!")));
        assert!(matches!(reader.next_item(), Ok(Item::SelectDb(3))));
        assert!(matches!(reader.next_item(), Ok(Item::ResizeDb(18, 1))));
        for (number, entry) in entries.iter().enumerate() {
            let Ok(Item::Key(Loaded { entry: loaded, age, .. })) = reader.next_item() else {
                panic!("no key {number}")
            };
            assert!(portrait(&loaded) == portrait(entry), "key {number} of {version:?}");
            assert_eq!(age, [Age::Untold, Age::Idle(100_000), Age::Freq(200)][number % 3]);
        }
        assert!(matches!(reader.next_item(), Ok(Item::End)));
        assert_eq!(reader.offset(), file.len() as u64);
        let (mut input, mut rest) = reader.into_rest();
        std::io::Read::read_to_end(&mut input, &mut rest).expect("memory can be read");
        assert_eq!(rest, b"*1\r\n");
    }
}

#[test]
fn a_value_that_is_drained_is_the_same_value() {
    let mut drained = 0;
    for entry in zoo(9) {
        let head = Head { key: Some(entry.key()), ..Head::default() };
        let mut whole = Writer::new(Style::default());
        assert!(whole.entry(&head, &entry));
        let (mut writer, mut bytes) = (Writer::new(Style::default()), Vec::new());
        let went = writer.drained_entry(&head, &entry, &mut |writer| {
            drained += 1;
            bytes.extend(writer.take());
            Ok::<(), ()>(())
        });
        assert_eq!(went, Ok(true));
        bytes.extend(writer.take());
        assert!(bytes == whole.take(), "{}", entry.encoding());
        if entry.kind() == Kind::List {
            assert_eq!(writer.drained_entry(&head, &entry, &mut |_| Err(7)), Err(7));
        }
    }
    assert!(drained > 10, "{drained}");
}

#[test]
fn payloads_come_back_for_every_type_and_encoding() {
    for entry in zoo(5) {
        let payload = payload::pack(&entry, true).expect("nobody holds it");
        let body = payload::verified(&payload, true).expect("well made");
        let unpacked = payload::unpack(body, entry.key(), entry.deadline_ms(), rules());
        let loaded = unpacked.expect("well made").entry.expect("not empty");
        assert!(portrait(&loaded) == portrait(&entry), "{}", entry.encoding());
    }
}

#[test]
fn a_wrong_sum_is_told_unless_nobody_asks() {
    let entries = [Entry::new(b"k", NewValue::Int(5), None, 0)];
    let mut file = file_of(&entries, Style::default());
    let last = file.len() - 1;
    file[last] ^= 1;
    let fault = read_all(&file).expect_err("the sum is wrong");
    assert!(matches!(fault.reason, Reason::Checksum { .. }), "{fault}");
    assert_eq!(fault.offset, file.len() as u64);
    let unasked = Rules { checksum: false, ..rules() };
    let mut reader = Reader::open(&file[..], unasked).expect("a header");
    while !matches!(reader.next_item().expect("good but for the sum"), Item::End) {}
    let style = Style { checksum: false, ..Style::default() };
    assert!(file_of(&entries, style).ends_with(&[0; 8]));
    assert!(read_all(&file_of(&entries, style)).is_ok());
}

/// Small values of every encoding, so that every byte of them can be tried.
fn small_zoo() -> Vec<Entry> {
    let mut rng = SmallRng::seed_from_u64(11);
    let rng = &mut rng;
    let large = Limits { hash_max_listpack_entries: 0, ..Limits::default() };
    let mut table = Hash::new();
    table.set(b"field", b"value", Deadline::At(99), 0, &large);
    table.set(b"other", b"12", Deadline::Clear, 0, &large);
    let values = [
        list(rng, 5),
        set(rng, 5, true),
        set(rng, 5, false),
        sorted_set(rng, 5),
        hash(rng, 5, false),
        hash(rng, 5, true),
        Value::Hash(Box::new(table)),
        stream(rng, 12),
        Value::Str(b"abcd".repeat(30).into()),
    ];
    let entry = |(number, value): (usize, Value)| {
        Entry::new(format!("k{number}").as_bytes(), NewValue::Owned(value), Some(5), 0)
    };
    values.into_iter().enumerate().map(entry).collect()
}

#[test]
fn every_truncation_of_a_file_is_told() {
    let file = file_of(&small_zoo(), Style { version: Version::V12, ..Style::default() });
    for length in 0..file.len() {
        let fault = read_all(&file[..length]).expect_err("it is cut");
        assert!(fault.offset <= length as u64, "{fault} of {length}");
    }
}

#[test]
fn every_flipped_byte_of_a_file_is_told() {
    let file = file_of(&small_zoo(), Style { version: Version::V12, ..Style::default() });
    for at in 0..file.len() {
        for flip in [1, 0x80, 0xff] {
            let mut bad = file.clone();
            bad[at] ^= flip;
            // An old version has no sum; its values are the same.
            let is_version = (5..9).contains(&at);
            assert!(is_version || read_all(&bad).is_err(), "byte {at} of {}", file.len());
        }
    }
}

#[test]
fn every_flipped_byte_of_a_payload_is_told_or_harmless() {
    for entry in small_zoo() {
        let payload = payload::pack(&entry, true).expect("nobody holds it");
        let (body, version) = payload::verified(&payload, true).expect("well made");
        for at in 0..payload.len() {
            let mut bad = payload.clone();
            bad[at] ^= 0x11;
            assert!(payload::verified(&bad, true).is_none());
            assert!(payload::verified(&payload[..at], true).is_none());
        }
        for at in 0..body.len() {
            for flip in [1, 2, 0x10, 0x40, 0x80, 0xff] {
                let mut bad = body.to_vec();
                bad[at] ^= flip;
                // Without the sum only the value itself can tell.
                if let Ok(unpacked) = payload::unpack((&bad, version), b"k", None, rules()) {
                    unpacked.entry.iter().for_each(|entry| drop(portrait(entry)));
                }
            }
            assert!(payload::unpack((&body[..at], version), b"k", None, rules()).is_err());
        }
    }
}

/// How many payloads the next test makes: `REDOUBLE_FUZZ`, or few.
fn rounds() -> usize {
    std::env::var("REDOUBLE_FUZZ").ok().and_then(|count| count.parse().ok()).unwrap_or(5_000)
}

#[test]
fn mutated_payloads_are_refused_or_sound() {
    let bodies: Vec<(Vec<u8>, u32)> = small_zoo()
        .iter()
        .chain(&zoo(2)[..13])
        .filter_map(|entry| {
            let payload = payload::pack(entry, false)?;
            let (body, version) = payload::verified(&payload, true)?;
            (body.len() < 2_000).then(|| (body.to_vec(), version))
        })
        .collect();
    let mut rng = SmallRng::seed_from_u64(17);
    let mut sound = 0;
    for _ in 0..rounds() {
        let (body, version) = &bodies[rng.random_range(0..bodies.len())];
        let mut bad = body.clone();
        for _ in 0..rng.random_range(1..4) {
            let at = rng.random_range(0..bad.len());
            match rng.random_range(0..4) {
                0 => bad[at] = rng.random(),
                1 => bad[at] = [0, 1, 0x7f, 0x80, 0xfe, 0xff][rng.random_range(0..6)],
                2 => drop(bad.remove(at)),
                _ => bad.insert(at, rng.random()),
            }
        }
        if rng.random_range(0..8) == 0 {
            // Another type for the same bytes.
            bad[0] = rng.random_range(0..26);
        }
        let version = if rng.random_range(0..20) == 0 { 80 } else { *version };
        if let Ok(unpacked) = payload::unpack((&bad, version), b"k", None, rules()) {
            unpacked.entry.iter().for_each(|entry| drop(portrait(entry)));
            sound += 1;
        }
    }
    assert!(sound > 0);
}
