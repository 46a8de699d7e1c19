//! Images against the data that they are of.

use super::model::{assert_same, change, databases, picture, Album, Picture};
use super::*;
use crate::keyspace::value::List;
use crate::types::list::End;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

fn end(db: &mut Db, id: ImageId) {
    while db.end_image(id).is_some() {}
}

/// Images that begin at any time, and several at once, are what the data was then, whatever
/// happens between their slices.
#[test]
fn an_image_is_the_data_at_the_moment_of_its_beginning() {
    let mut bigs = 0;
    for (seed, keys) in [(1, 8), (2, 30), (3, 400), (4, 6_000)] {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut db = databases(3, seed);
        let mut open: Vec<(ImageId, Picture, Album)> = Vec::new();
        let mut complete = 0;
        for step in 0..30_000u32 {
            if step % 7 == 0 {
                db.set_now_ms(db.now_ms() + 1);
            }
            change(&mut db, &mut rng, keys);
            if open.len() < 3 && rng.random_range(0..keys.min(300) * 3) == 0 {
                let id = db.begin_image();
                open.push((id, picture(&db), Album::default()));
            }
            open.retain_mut(|(id, expected, album)| {
                if rng.random_bool(0.6) {
                    return true;
                }
                if rng.random_range(0..keys * 50) == 0 {
                    end(&mut db, *id);
                    return false;
                }
                let mut pieces = Vec::new();
                let (keys, bytes) = (rng.random_range(1..9), rng.random_range(1..4096));
                let taken = db.take_pieces(*id, Slice { keys, bytes }, &mut pieces).unwrap();
                pieces.into_iter().for_each(|piece| album.add(piece));
                if !taken.more {
                    assert!(album.is_between_keys());
                    assert_same(album.shows(), expected);
                    end(&mut db, *id);
                    bigs += album.bigs;
                    complete += 1;
                }
                taken.more
            });
            if step % 1_000 == 0 {
                db.spaces.iter().for_each(Space::check);
            }
        }
        assert!(complete > 3, "{complete} images with {keys} keys");
        open.into_iter().for_each(|(id, ..)| end(&mut db, id));
        assert!(db.images.is_none());
        while db.free_chunk() {}
        assert_eq!(db.graveyard().objects(), 0);
    }
    assert!(bigs > 500, "{bigs} big values");
}

/// A change inside a list or a stream that an image shares counts what it has copied: a part, not
/// the value, and each part once.
#[test]
fn copied_parts_of_shared_values_are_counted() {
    let mut db = databases(1, 1);
    let text = [b'x'; 100];
    let mut list = db.edit::<List>(b"list").unwrap().or_default();
    let (value, limits, _) = list.parts();
    (0..10_000).for_each(|_| value.push(End::Right, &text, limits));
    let value_bytes = value.heap_bytes() as u64;
    drop(list);
    let id = db.begin_image();
    let tally = db.image_tally(id);
    let mut seen = Vec::new();
    for index in [5_000, 5_000, 5_001, 0] {
        let mut list = db.edit::<List>(b"list").unwrap();
        let (value, limits, _) = list.parts();
        assert!(value.set(index, b"changed", limits));
        drop(list);
        seen.push(tally.bytes());
    }
    assert!(seen[0] > 100 && seen[0] < value_bytes / 10, "{seen:?} of {value_bytes}");
    assert_eq!((seen[1], seen[2]), (seen[0], seen[0]), "the part is the writer's own by now");
    assert!(seen[3] > seen[0], "another part");
    end(&mut db, id);
}

/// No image is of now any more when anything has changed, or been handed out.
#[test]
fn every_change_ends_the_moment_of_an_image() {
    let mut rng = SmallRng::seed_from_u64(5);
    let mut db = databases(3, 5);
    let mut changes = 0;
    for _ in 0..4_000 {
        let id = db.begin_image();
        assert_eq!(db.image_of_now(), Some(id));
        let before = picture(&db);
        change(&mut db, &mut rng, 12);
        let has_changed = picture(&db) != before;
        assert!(!has_changed || db.image_of_now().is_none());
        changes += u32::from(has_changed);
        end(&mut db, id);
    }
    assert!(changes > 1_000, "{changes} changes");
    let id = db.begin_image();
    db.take_pieces(id, Slice { keys: 1, bytes: 1 }, &mut Vec::new());
    assert_eq!(db.image_of_now(), None);
    end(&mut db, id);
}
