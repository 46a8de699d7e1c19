//! Files of versions that nobody writes any more, made byte by byte from the format's description.

use super::read::{Item, Reader, Rules};
use crate::keyspace::entry::Entry;
use crate::keyspace::value::{List, Set, SortedSet, Stream};
use crate::types::compact::Listpack;
use crate::types::limits::Limits;
use crate::types::stream::StreamId;

/// A string behind its length of one byte.
fn string(text: &[u8]) -> Vec<u8> {
    let length = u8::try_from(text.len()).expect("a short text");
    match length {
        0..=63 => [&[length], text].concat(),
        _ => [&[0x40, length], text].concat(),
    }
}

fn file(magic: &[u8; 9], items: &[&[u8]]) -> Vec<u8> {
    let mut file = magic.to_vec();
    items.iter().for_each(|item| file.extend_from_slice(item));
    file.push(0xff);
    if magic > b"REDIS0004" {
        let sum = super::crc::checksum(&file);
        file.extend_from_slice(&sum.to_le_bytes());
    }
    file
}

/// A type, the key "k" and a value.
fn key(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind, 1, b'k'], value].concat()
}

fn read(file: &[u8], limits: &Limits) -> Vec<Item> {
    let rules = Rules { limits: limits.clone(), checksum: true };
    let mut reader = Reader::open(file, rules).expect("a header");
    let mut items = Vec::new();
    loop {
        match reader.next_item().expect("a good file") {
            Item::End => return items,
            item => items.push(item),
        }
    }
}

/// The only key of a file of this version with this value.
fn entry(magic: &[u8; 9], kind: u8, value: &[u8]) -> Entry {
    entry_within(magic, kind, value, &Limits::default())
}

fn entry_within(magic: &[u8; 9], kind: u8, value: &[u8], limits: &Limits) -> Entry {
    match read(&file(magic, &[&key(kind, value)]), limits).pop() {
        Some(Item::Key(loaded)) => loaded.entry,
        other => panic!("no key but {other:?}"),
    }
}

fn is_refused(magic: &[u8; 9], kind: u8, value: &[u8]) -> bool {
    let rules = Rules { limits: Limits::default(), checksum: false };
    let file = file(magic, &[&key(kind, value)]);
    let mut reader = Reader::open(&file[..], rules).expect("a header");
    reader.next_item().is_err()
}

fn elements(entry: &Entry) -> Vec<String> {
    let list = entry.collection::<List>().expect("a list");
    list.check();
    list.iter().map(|item| String::from_utf8_lossy(&item.to_vec()).into_owned()).collect()
}

fn scores(entry: &Entry) -> Vec<(String, f64)> {
    let set = entry.collection::<SortedSet>().expect("a sorted set");
    set.check();
    let name = |item: Vec<u8>| String::from_utf8_lossy(&item).into_owned();
    set.iter().map(|(member, score)| (name(member.to_vec()), score)).collect()
}

fn fields(entry: &Entry) -> Vec<(String, String, Option<i64>)> {
    let hash = entry.hash().expect("a hash");
    hash.check();
    let name = |item: Vec<u8>| String::from_utf8_lossy(&item).into_owned();
    let all = hash.iter_all();
    let mut all: Vec<_> =
        all.map(|(field, value, at)| (name(field.to_vec()), name(value.to_vec()), at)).collect();
    all.sort();
    all
}

fn pair(field: &str, value: &str) -> (String, String, Option<i64>) {
    (field.to_string(), value.to_string(), None)
}

/// A ziplist of entries that are encoding and data, each put behind the length of the one before.
fn ziplist(entries: &[&[u8]]) -> Vec<u8> {
    let (mut body, mut before, mut tail) = (Vec::new(), 0usize, 10usize);
    for entry in entries {
        tail = 10 + body.len();
        let start = body.len();
        match u8::try_from(before) {
            Ok(short) if short < 254 => body.push(short),
            _ => {
                body.push(254);
                body.extend_from_slice(&(before as u32).to_le_bytes());
            }
        }
        body.extend_from_slice(entry);
        before = body.len() - start;
    }
    let size = 10 + body.len() + 1;
    let mut list = (size as u32).to_le_bytes().to_vec();
    list.extend_from_slice(&(tail as u32).to_le_bytes());
    list.extend_from_slice(&(entries.len() as u16).to_le_bytes());
    list.extend_from_slice(&body);
    list.push(0xff);
    list
}

#[test]
fn version_1_has_plain_values_and_deadlines_in_seconds() {
    let set = [&[2][..], &string(b"7"), &string(b"b")].concat();
    // Scores are texts behind a length, or a byte for each infinity.
    let sorted =
        [&[3][..], &string(b"a"), b"\x031.5", &string(b"b"), b"\xff", &string(b"c"), b"\xfe"];
    let file = file(
        b"REDIS0001",
        &[
            b"\xfe\x00",
            &[0xfd, 0xd2, 0x02, 0x96, 0x49],
            &key(0, b"\x05hello"),
            b"\xfe\x03",
            &key(0, b"\xc1\x39\x30"),
            &key(1, b"\x02\x01a\xc0\xff"),
            &key(2, &set),
            &key(3, &sorted.concat()),
        ],
    );
    let mut items = read(&file, &Limits::default());
    assert!(matches!((&items[0], &items[2]), (Item::SelectDb(0), Item::SelectDb(3))));
    items.retain(|item| matches!(item, Item::Key(_)));
    let entries: Vec<Entry> = items
        .into_iter()
        .filter_map(|item| if let Item::Key(loaded) = item { Some(loaded.entry) } else { None })
        .collect();
    let texts: Vec<_> = entries.iter().filter_map(|entry| Some(entry.string()?.to_vec())).collect();
    assert_eq!(texts, [b"hello".to_vec(), b"12345".to_vec()]);
    assert_eq!(entries[0].deadline_ms(), Some(1_234_567_890_000));
    assert_eq!(elements(&entries[2]), ["a", "-1"]);
    assert!(entries[3].collection::<Set>().is_some_and(|set| set.contains(b"7") && set.len() == 2));
    let expected = [("b", f64::NEG_INFINITY), ("a", 1.5), ("c", f64::INFINITY)];
    assert_eq!(scores(&entries[4]), expected.map(|(name, score)| (name.to_string(), score)));
}

#[test]
fn zipmaps_become_hashes() {
    let zipmap = b"\x02\x01f\x05\x00value\x05field\x02\x03ab\0\0\0\xff";
    let expected = [pair("f", "value"), pair("field", "ab")];
    let entry = entry(b"REDIS0002", 9, &string(zipmap));
    assert_eq!((fields(&entry), entry.encoding()), (expected.to_vec(), "listpack"));
    // A count that is not known, and lengths of five bytes.
    let long = [&b"\xfe\xfe\x01\0\0\0f\xfe\x05\0\0\0\x00"[..], b"value\xff"].concat();
    let entry = self::entry(b"REDIS0003", 9, &string(&long));
    assert_eq!(fields(&entry), [pair("f", "value")]);
    let narrow = Limits { hash_max_listpack_value: 4, ..Limits::default() };
    assert_eq!(entry_within(b"REDIS0002", 9, &string(zipmap), &narrow).encoding(), "hashtable");
    let twice = b"\x02\x01f\x01\x00v\x01f\x01\x00w\xff";
    for bad in [&b"\x03\x01f\x01\x00v\xff"[..], b"\x01\x01f\x01\x00v", b"\x01\x01f\xff", twice] {
        assert!(is_refused(b"REDIS0002", 9, &string(bad)), "{bad:?}");
    }
    assert!(is_refused(b"REDIS0002", 9, b"\x02\x00\xff"));
}

#[test]
fn ziplists_hold_every_width_of_integer_and_length() {
    let long = [&[0x40 | 1, 44][..], &[b'x'; 300]].concat();
    let longer = [&[0x80, 0, 0, 1, 44][..], &[b'y'; 300]].concat();
    let list = ziplist(&[
        b"\x03abc",
        &[0xf1],
        &[0xfd],
        &[0xfe, 0x80],
        &[0xc0, 0x39, 0x30],
        &[0xf0, 0xff, 0xff, 0x7f],
        &[0xd0, 0, 0, 0, 0x80],
        &[0xe0, 1, 0, 0, 0, 0, 0, 0, 0x80],
        &long,
        &longer,
        b"\x01z",
    ]);
    let mut expected: Vec<String> =
        ["abc", "0", "12", "-128", "12345", "8388607", "-2147483648", "-9223372036854775807"]
            .map(String::from)
            .into();
    expected.extend(["x".repeat(300), "y".repeat(300), "z".to_string()]);
    let blob = [&[0x40 | (list.len() >> 8) as u8, list.len() as u8][..], &list].concat();
    assert_eq!(elements(&entry(b"REDIS0004", 10, &blob)), expected);
    let nodes = [&[3][..], &blob, &string(&ziplist(&[])), &blob].concat();
    let twice = [expected.clone(), expected].concat();
    assert_eq!(elements(&entry(b"REDIS0007", 14, &nodes)), twice);
}

#[test]
fn ziplists_become_hashes_and_sorted_sets() {
    let pairs = ziplist(&[b"\x01a", b"\x031.5", b"\x01b", &[0xf3]]);
    let entry = entry(b"REDIS0005", 12, &string(&pairs));
    assert_eq!(scores(&entry), [("a".to_string(), 1.5), ("b".to_string(), 2.0)]);
    assert_eq!(entry.encoding(), "listpack");
    let entry = self::entry(b"REDIS0006", 13, &string(&pairs));
    assert_eq!(
        (fields(&entry), entry.encoding()),
        (vec![pair("a", "1.5"), pair("b", "2")], "listpack")
    );
    let few = Limits { hash_max_listpack_entries: 1, ..Limits::default() };
    assert_eq!(entry_within(b"REDIS0006", 13, &string(&pairs), &few).encoding(), "hashtable");
    let few = Limits { zset_max_listpack_entries: 1, ..Limits::default() };
    assert_eq!(entry_within(b"REDIS0006", 12, &string(&pairs), &few).encoding(), "skiplist");
    let odd = ziplist(&[b"\x01a", b"\x031.5", b"\x01b"]);
    let twice = ziplist(&[b"\x01a", &[0xf3], b"\x01a", &[0xf4]]);
    for bad in [&odd, &twice] {
        assert!(is_refused(b"REDIS0006", 12, &string(bad)));
        assert!(is_refused(b"REDIS0006", 13, &string(bad)));
    }
}

#[test]
fn damaged_ziplists_are_refused() {
    let good = ziplist(&[b"\x01a", &[0xf3], b"\x02bc", &[0xc0, 1, 1]]);
    assert!(!is_refused(b"REDIS0006", 10, &string(&good)));
    // Size, last place, count, lengths of the entries before, encodings, the end.
    for at in [0, 1, 4, 5, 8, 10, 11, 13, 15, 16, 19, good.len() - 1] {
        for value in [0xff, good[at] ^ 0x81, good[at].wrapping_add(1)] {
            let mut bad = good.clone();
            bad[at] = value;
            let is_same = bad == good;
            assert!(is_same || is_refused(b"REDIS0006", 10, &string(&bad)), "{value} at {at}");
        }
    }
    for length in 0..good.len() {
        assert!(is_refused(b"REDIS0006", 10, &string(&good[..length])));
    }
}

#[test]
fn streams_of_redis_5_have_no_figures() {
    let mut block = Listpack::new();
    for number in [2, 0, 1] {
        block.push_back_int(number);
    }
    block.push_back(b"name");
    block.push_back_int(0);
    for (seq, value) in [(0, &b"x"[..]), (1, b"y")] {
        // Flags: the same fields as the master.
        for number in [2, 0, seq] {
            block.push_back_int(number);
        }
        block.push_back(value);
        block.push_back_int(4);
    }
    let id = |ms: u64, seq: u64| StreamId::new(ms, seq).to_be_bytes();
    let mut value = [&[1][..], &string(&id(5, 1)), &string(block.as_bytes())].concat();
    // Length, last id; one group with its last id; one pending entry; one consumer that owns it.
    value.extend_from_slice(&[2, 5, 2, 1]);
    value.extend_from_slice(b"\x01g\x05\x01\x01");
    value.extend_from_slice(&id(5, 1));
    value.extend_from_slice(&77i64.to_le_bytes());
    value.extend_from_slice(b"\x03\x01\x01c");
    value.extend_from_slice(&88i64.to_le_bytes());
    value.push(1);
    value.extend_from_slice(&id(5, 1));
    let entry = entry(b"REDIS0009", 15, &value);
    let stream = entry.collection::<Stream>().expect("a stream");
    stream.check();
    assert_eq!((stream.len(), stream.entries_added()), (2, 2));
    assert_eq!((stream.first_id(), stream.last_id()), (StreamId::new(5, 1), StreamId::new(5, 2)));
    let group = stream.group(b"g").expect("a group");
    assert_eq!((group.last_id, group.entries_read), (StreamId::new(5, 1), Some(1)));
    let (_, consumer) = group.consumers().next().expect("a consumer");
    assert_eq!((consumer.seen_ms, consumer.active_ms, consumer.pending().len()), (88, 88, 1));
    let pending = group.pending().find(&StreamId::new(5, 1)).expect("it is pending");
    assert_eq!((pending.delivered_ms, pending.deliveries), (77, 3));
}

#[test]
fn deadlines_of_fields_come_in_five_forms() {
    let mut expected = vec![pair("a", "1"), pair("b", "2")];
    expected[0].2 = Some(1000);
    let (a, b) = (b"\x01a\xc0\x01", b"\x01b\xc0\x02");
    let soonest = 1000i64.to_le_bytes();
    let table_pre = [&b"\x02\x43\xe8"[..], a, b"\x00", b].concat();
    let table = [&soonest[..], b"\x02\x01", a, b"\x00", b].concat();
    let mut pack = Listpack::new();
    for text in [&b"a"[..], b"1", b"1000", b"b", b"2", b"0"] {
        pack.push_back(text);
    }
    let packed_pre = string(pack.as_bytes());
    let packed = [&soonest[..], &packed_pre].concat();
    let never = (-1i64).to_le_bytes();
    let valkeys = [&b"\x02"[..], a, &soonest, b, &never].concat();
    let forms: [(&[u8; 9], u8, &[u8]); 5] = [
        (b"REDIS0012", 22, &table_pre),
        (b"REDIS0012", 24, &table),
        (b"REDIS0012", 23, &packed_pre),
        (b"REDIS0012", 25, &packed),
        (b"VALKEY080", 22, &valkeys),
    ];
    for (magic, kind, value) in forms {
        let entry = entry(magic, kind, value);
        assert_eq!(fields(&entry), expected, "type {kind}");
        assert_eq!(entry.encoding(), "listpackex");
    }
}

#[test]
fn what_only_modules_know_is_skipped_or_named() {
    // "ReJSON-RL", version 3.
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let index = |letter: &u8| letters.iter().position(|l| l == letter).expect("a letter") as u64;
    let id = b"ReJSON-RL".iter().fold(0, |id, letter| id << 6 | index(letter)) << 10 | 3;
    let id = [&[0x81][..], &id.to_be_bytes()].concat();
    let value = b"\x01\x05\x02\x06\x03abcd\x0412345678\x05\x02hi\x00";
    let aux = [&[0xf7][..], &id, b"\x02\x01", value].concat();
    let slot = b"\xf4\x05\x01\x00";
    let items = read(&file(b"REDIS0011", &[&aux, slot, &key(0, b"\x01v")]), &Limits::default());
    assert!(matches!(&items[0], Item::ModuleAux(name) if name == "ReJSON-RL"), "{items:?}");
    assert!(matches!(&items[1..], [Item::SlotInfo(5, 1, 0), Item::Key(_)]), "{items:?}");
    for (kind, item) in [(7, [&id[..], value].concat()), (6, id.clone())] {
        let file = file(b"REDIS0011", &[&key(kind, &item)]);
        let rules = Rules { limits: Limits::default(), checksum: true };
        let fault = Reader::open(&file[..], rules).and_then(|mut reader| reader.next_item());
        let text = fault.expect_err("nobody knows the type").to_string();
        assert!(text.contains(if kind == 7 { "'ReJSON-RL'" } else { "pre-release" }), "{text}");
    }
}

#[test]
fn versions_that_nobody_knows_are_named() {
    for (magic, text) in [
        (b"REDIS0000", "version 0"),
        (b"REDIS0013", "version 13"),
        (b"VALKEY081", "version 81"),
        (b"RUBIS0009", "signature"),
        (b"REDIS00x9", "signature"),
    ] {
        let rules = Rules { limits: Limits::default(), checksum: true };
        let fault = Reader::open(&magic[..], rules).map(drop).expect_err("unknown");
        assert!(fault.to_string().contains(text), "{fault}");
    }
}
