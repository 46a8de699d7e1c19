//! Listpacks against a vector of byte strings, and against damage.

use super::*;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

fn text(rng: &mut SmallRng) -> Vec<u8> {
    match rng.random_range(0..8) {
        0 => rng.random_range(-5..130i64).to_string().into_bytes(),
        1 => rng.random_range(-5000..5000i64).to_string().into_bytes(),
        2 => (rng.random::<i64>() >> rng.random_range(0..64)).to_string().into_bytes(),
        3 => [&b"-0"[..], b"+1", b"01", b" 1", b"", b"-", b"9223372036854775808"]
            [rng.random_range(0..7)]
        .to_vec(),
        4 => vec![b'x'; rng.random_range(60..70)],
        5 => vec![b'y'; rng.random_range(120..130)],
        6 if rng.random_bool(0.1) => {
            vec![b'z'; [4095, 4096, 16377, 16378, 16379, 16380][rng.random_range(0..6)]]
        }
        _ => vec![b'a'; rng.random_range(0..12)],
    }
}

fn texts(pack: &Listpack) -> Vec<Vec<u8>> {
    pack.iter().map(|item| item.to_vec()).collect()
}

#[test]
fn agrees_with_a_vector() {
    for seed in 0..60 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let (mut pack, mut model) = (Listpack::new(), Vec::<Vec<u8>>::new());
        for step in 0..300 {
            let t = text(&mut rng);
            let index = rng.random_range(0..=model.len());
            let choice = rng.random_range(if step < 200 { 0 } else { 4 }..15);
            match (choice, pack.seek(index)) {
                (0 | 1, _) => {
                    pack.push_back(&t);
                    model.push(t);
                }
                (2, _) => {
                    pack.push_front(&t);
                    model.insert(0, t);
                }
                (3, pos) => {
                    let pos = pos.unwrap_or(pack.end());
                    pack.insert(pos, &t);
                    assert!(pack.get(pos).equals(&t));
                    model.insert(index, t);
                }
                (4 | 5, Some(pos)) => {
                    pack.replace(pos, &t);
                    model[index] = t;
                }
                (6 | 7, Some(pos)) => {
                    pack.remove(pos);
                    model.remove(index);
                }
                (8, _) => {
                    let count = rng.random_range(0..4);
                    let end = (index + count).min(model.len());
                    assert_eq!(pack.remove_range(index, count), end - index);
                    model.drain(index..end);
                }
                (9, _) => {
                    let tail = pack.split_off(pack.seek(index).unwrap_or(pack.end()));
                    tail.check();
                    pack.check();
                    assert_eq!(texts(&tail), model[index..]);
                    pack.append(&tail);
                }
                (10, _) => {
                    let found = model.iter().position(|m| *m == t);
                    assert_eq!(pack.find(&t, 0), found.and_then(|i| pack.seek(i)));
                }
                (11, _) => {
                    let many: Vec<_> =
                        (0..rng.random_range(0..5)).map(|_| text(&mut rng)).collect();
                    pack.extend(|end| many.iter().for_each(|t| end.push(t)));
                    model.extend(many);
                }
                (12, _) => {
                    for _ in 0..rng.random_range(0..20) {
                        let t = text(&mut rng);
                        pack.push_front(&t);
                        model.insert(0, t);
                    }
                }
                (13, _) => {
                    for _ in 0..rng.random_range(0..model.len().clamp(1, 20)) {
                        pack.remove_keeping_room(pack.first().unwrap());
                        model.remove(0);
                    }
                }
                (_, pos) => assert_eq!(pos.is_none(), index == model.len()),
            }
            pack.check();
            assert_eq!(pack.len(), model.len());
        }
        assert_eq!(texts(&pack), model);
        let reversed: Vec<_> = pack.iter_rev().map(|item| item.to_vec()).collect();
        assert!(reversed.iter().eq(model.iter().rev()));
        let copy = Listpack::from_bytes(pack.as_bytes().to_vec());
        assert_eq!(copy, Some(pack));
    }
}

#[test]
fn bytes_are_redis_own() {
    let mut pack = Listpack::new();
    for t in ["1", "-1", "hello", "1000", "32767", "-8388608", "2147483647", "-9999999999"] {
        pack.push_back(t.as_bytes());
    }
    let entries: &[&[u8]] = &[
        &[0x01, 1],
        &[0xDF, 0xFF, 2],
        &[0x85, b'h', b'e', b'l', b'l', b'o', 6],
        &[0xC3, 0xE8, 2],
        &[0xF1, 0xFF, 0x7F, 3],
        &[0xF2, 0x00, 0x00, 0x80, 4],
        &[0xF3, 0xFF, 0xFF, 0xFF, 0x7F, 5],
        &[0xF4, 0x01, 0x1C, 0xF4, 0xAB, 0xFD, 0xFF, 0xFF, 0xFF, 9],
    ];
    let entries = entries.concat();
    let mut expected = vec![(entries.len() + 7) as u8, 0, 0, 0, 8, 0];
    expected.extend_from_slice(&entries);
    expected.push(0xFF);
    assert_eq!(pack.as_bytes(), expected);
}

#[test]
fn find_skips_values() {
    let mut pack = Listpack::new();
    for t in ["f", "g", "7", "f2", "g", "7", "tail", "x"] {
        pack.push_back(t.as_bytes());
    }
    let at = |index| pack.seek(index);
    assert_eq!(pack.find(b"g", 1), at(4));
    assert_eq!(pack.find(b"7", 1), at(2));
    assert_eq!(pack.find(b"x", 1), None);
    assert_eq!(pack.find(b"tail", 2), at(6));
    assert_eq!(pack.find_from(at(1).unwrap(), b"g", 1), at(1));
    assert_eq!(pack.find_from(pack.end(), b"g", 0), None);
}

#[test]
fn counts_beyond_the_header() {
    let mut pack = Listpack::new();
    for n in 0..65540 {
        pack.push_back_int(n % 100);
    }
    assert_eq!((pack.len(), pack.as_bytes()[4..6].to_vec()), (65540, vec![0xFF, 0xFF]));
    assert_eq!(pack.seek(65539), pack.last());
    assert_eq!(pack.seek(65540), None);
    pack.remove_range(0, 10);
    pack.check();
    assert_eq!((pack.len(), pack.as_bytes()[4..6].to_vec()), (65530, vec![0xFA, 0xFF]));
}

#[test]
fn damage_is_refused_or_harmless() {
    let mut pack = Listpack::new();
    for t in ["1", "-300", "40000", "abc", "8388607", "2147483648", "4294967296123"] {
        pack.push_back(t.as_bytes());
    }
    pack.push_back(&[b'q'; 130]);
    let good = pack.as_bytes().to_vec();
    for cut in 0..good.len() {
        assert_eq!(Listpack::from_bytes(good[..cut].to_vec()), None);
    }
    for at in 0..good.len() {
        for flip in 1..=255u8 {
            let mut bad = good.clone();
            bad[at] ^= flip;
            use_up(bad);
        }
    }
}

#[test]
fn random_bytes_are_refused_or_harmless() {
    let mut rng = SmallRng::seed_from_u64(7);
    for _ in 0..20000 {
        let length = rng.random_range(0..40usize);
        let mut bytes = vec![(length + 7) as u8, 0, 0, 0, 0xFF, 0xFF];
        bytes.extend((0..length).map(|_| match rng.random_range(0..3) {
            0 => rng.random_range(0..12),
            _ => rng.random::<u8>(),
        }));
        bytes.push(0xFF);
        use_up(bytes);
    }
}

/// Reads and changes whatever `from_bytes` accepts, in every way there is.
fn use_up(bytes: Vec<u8>) {
    let Some(mut pack) = Listpack::from_bytes(bytes) else { return };
    let forward = texts(&pack);
    assert_eq!(forward.len(), pack.len());
    assert_eq!(pack.iter_rev().count(), pack.len());
    assert_eq!(pack.find(b"no such text", 1), None);
    pack.push_front(b"front");
    if let Some(last) = pack.last() {
        pack.replace(last, b"another");
    }
    pack.check();
    while let Some(first) = pack.first() {
        pack.remove(first);
    }
    pack.check();
    assert!(pack.is_empty());
}
