//! Images against the data that they are of.

use super::*;
use crate::keyspace::db::Ttl;
use crate::keyspace::entry::NewValue;
use crate::keyspace::value::{Hash, Set, Value};
use crate::types::hash::Deadline;
use crate::types::limits::Limits;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;

type Picture = BTreeMap<(usize, Vec<u8>), String>;

/// Everything about a value that an image must have.
type Elements = Vec<Vec<Vec<u8>>>;

fn shown(deadline_ms: Option<i64>, mut elements: Elements) -> String {
    elements.sort();
    format!("{deadline_ms:?} {elements:?}")
}

fn dated(deadline_ms: Option<i64>) -> Vec<u8> {
    format!("{deadline_ms:?}").into_bytes()
}

/// Everything about an entry that an image must have.
fn describe(entry: &Entry) -> String {
    let elements = match (entry.string(), entry.hash(), entry.collection::<Set>()) {
        (Some(text), ..) => vec![vec![text.to_vec()]],
        (_, Some(hash), _) => hash
            .iter_all()
            .map(|(field, value, at)| vec![field.to_vec(), value.to_vec(), dated(at)])
            .collect(),
        (_, _, Some(set)) => set.iter().map(|item| vec![item.to_vec()]).collect(),
        _ => panic!("a value that the test does not make"),
    };
    shown(entry.deadline_ms(), elements)
}

/// Puts the pieces of an image together again.
#[derive(Default)]
struct Album {
    seen: Picture,
    begun: Option<(Box<Heading>, Elements)>,
    bigs: usize,
}

impl Album {
    fn add(&mut self, piece: Piece) {
        match (piece, &mut self.begun) {
            (Piece::Whole { db, entry }, None) => {
                self.put(db, entry.key().to_vec(), describe(&entry));
            }
            (Piece::Begin(heading), None) => self.begun = Some((heading, Elements::new())),
            (Piece::Part(part), Some((_, elements))) => {
                let before = elements.len();
                match &part {
                    Part::Fields(fields) => {
                        elements.extend(fields.iter().map(|(field, value, at)| {
                            vec![field.to_vec(), value.to_vec(), dated(at)]
                        }))
                    }
                    Part::Members(members) => {
                        elements.extend(members.iter().map(|member| vec![member.to_vec()]));
                    }
                    Part::Scored(scored) => {
                        elements.extend(scored.iter().map(|(member, score)| {
                            vec![member.to_vec(), score.to_be_bytes().to_vec()]
                        }))
                    }
                }
                assert_eq!(elements.len() - before, part.elements());
            }
            (Piece::End, Some(_)) => {
                let (heading, elements) = self.begun.take().expect("it was there");
                assert_eq!(elements.len(), heading.prelude.elements());
                self.bigs += 1;
                self.put(heading.db, heading.key.to_vec(), shown(heading.deadline_ms, elements));
            }
            (piece, begun) => panic!("{piece:?} while {begun:?} is handed out"),
        }
    }

    fn put(&mut self, db: usize, key: Vec<u8>, value: String) {
        assert!(self.seen.insert((db, key), value).is_none(), "handed out twice");
    }
}

fn picture(db: &Db) -> Picture {
    let of_space = |index: usize| {
        let entries = db.spaces[index].table.iter();
        entries.map(move |entry| ((index, entry.key().to_vec()), describe(entry)))
    };
    (0..db.databases()).flat_map(of_space).collect()
}

fn change(db: &mut Db, rng: &mut SmallRng, keys: u32) {
    db.select(rng.random_range(0..db.databases()));
    let name = |rng: &mut SmallRng| format!("key:{}", rng.random_range(0..keys)).into_bytes();
    let (key, other) = (name(rng), name(rng));
    let at = db.now_ms() + rng.random_range(-5..3_000);
    let text = "v".repeat(rng.random_range(0..90));
    match rng.random_range(0..100) {
        0..8 => db.put_string(&key, text.as_bytes(), Ttl::Clear, "set"),
        8..12 => db.put_string(&key, b"17", Ttl::At(at), "set"),
        12..16 => drop(db.remove(&key, "del")),
        16..22 => drop(db.set_deadline(&key, Some(at), "expire")),
        22..26 => drop(db.set_deadline(&key, None, "persist")),
        26..32 => {
            if let Some(entry) = db.take(&key) {
                let to = rng.random_range(0..db.databases());
                db.within(to, |db| db.place(&other, entry));
            }
        }
        32..36 => {
            if let Some(copy) = db.look(&key).and_then(Entry::copied) {
                db.place(&other, copy);
            }
        }
        36..40 => {
            if let Ok(Some(mut bytes)) = db.take_string(&key) {
                bytes.extend_from_slice(text.as_bytes());
                db.put_quietly(&key, bytes);
            }
        }
        40..70 => {
            if let Ok(edit) = db.edit::<Hash>(&key) {
                let mut edit = edit.or_default();
                for _ in 0..rng.random_range(1..12) {
                    let (now_ms, field) = (edit.now_ms(), [rng.random_range(0..60u8)]);
                    let when = [Deadline::Clear, Deadline::Keep, Deadline::At(at)];
                    let when = when[rng.random_range(0..3)];
                    let (hash, limits, _) = edit.parts();
                    match rng.random_range(0..10) {
                        0..6 => drop(hash.set(&field, text.as_bytes(), when, now_ms, limits)),
                        6 => drop(hash.set_deadline(&field, Some(at), now_ms)),
                        7 => drop(hash.take_expired(now_ms, 3)),
                        _ => drop(hash.remove(&field, now_ms)),
                    }
                }
            }
        }
        70..94 => {
            if let Ok(edit) = db.edit::<Set>(&key) {
                let mut edit = edit.or_default();
                let member = rng.random_range(0..50u8).to_string();
                let (set, limits, _) = edit.parts();
                match rng.random_bool(0.7) {
                    true => set.add(member.as_bytes(), limits),
                    false => set.remove(member.as_bytes()),
                };
            }
        }
        94 if rng.random_bool(0.1) => drop(db.flush(Some(db.current()), rng.random_bool(0.5))),
        95 if rng.random_bool(0.1) => drop(db.flush(None, rng.random_bool(0.5)).max(1)),
        96 => db.swap(db.current(), rng.random_range(0..db.databases())),
        97 => while db.expire_due(16) {},
        98 => while db.free_chunk() {},
        _ => {
            let value = NewValue::Owned(Value::Str(text.into_bytes()));
            db.put(&key, value, Ttl::Keep, "set");
        }
    }
    db.effects.happened.clear();
}

/// Images that begin at any time, and several at once, are what the data was then, whatever
/// happens between their slices.
#[test]
fn an_image_is_the_data_at_the_moment_of_its_beginning() {
    for (seed, keys) in [(1, 30), (2, 400), (3, 6_000)] {
        let mut rng = SmallRng::seed_from_u64(seed);
        let limits = Limits {
            hash_max_listpack_entries: 8,
            set_max_listpack_entries: 8,
            set_max_intset_entries: 16,
            ..Limits::default()
        };
        let mut db = Db::new(3, limits, seed);
        db.set_now_ms(1_700_000_000_000);
        db.big_bytes = 700;
        let mut open: Vec<(ImageId, Picture, Album)> = Vec::new();
        let (mut complete, mut bigs) = (0, 0);
        for step in 0..40_000u32 {
            if step % 7 == 0 {
                db.set_now_ms(db.now_ms() + 1);
            }
            change(&mut db, &mut rng, keys);
            if open.len() < 3 && rng.random_range(0..keys * 3) == 0 {
                let id = db.begin_image();
                open.push((id, picture(&db), Album::default()));
            }
            open.retain_mut(|(id, expected, album)| {
                if rng.random_bool(0.6) {
                    return true;
                }
                let mut pieces = Vec::new();
                let slice =
                    Slice { keys: rng.random_range(1..9), bytes: rng.random_range(1..4096) };
                let taken = db.take_pieces(*id, slice, &mut pieces);
                pieces.into_iter().for_each(|piece| album.add(piece));
                if !taken.more {
                    assert!(album.begun.is_none() && album.seen == *expected, "step {step}");
                    bigs += album.bigs;
                    db.end_image(*id);
                    complete += 1;
                }
                taken.more
            });
            if step % 1_000 == 0 {
                db.spaces.iter().for_each(Space::check);
            }
        }
        assert!(complete > 3 && bigs > 50, "{complete} images with {keys} keys, {bigs} big");
    }
}
