//! Images: all data as it was at one moment, handed out in pieces while it goes on changing.
//!
//! An image walks each database in the order of hashes ([`Progress`]), a slice at a time. Before
//! the door changes a key, it asks whether an image has the key's place still ahead; if so, the
//! entries there are copied for the image first (their *pre-images*), and the place counts as
//! met: the walk passes it over. A key that is new meets its place as well, and is never handed
//! out. What is behind the walk changes freely. So nothing is ever copied twice, and no write
//! waits for the walk.
//!
//! Databases are known by the number of their [`Space`], not by their index: SWAPDB only exchanges
//! indexes. A space that FLUSHDB has put aside is kept until every image is through with it.
//!
//! Several images may be under way at once; each has a walk of its own.
//!
//! Invariant: between two slices, for every image: handed out + saved + (present entries at places
//! ahead of the walk that are not met) = the data at the moment of its beginning.

use crate::keyspace::db::Db;
use crate::keyspace::entry::Entry;
use crate::keyspace::space::Space;
use crate::types::limits::HashKey;
use crate::types::progress::Progress;
use crate::types::table::place_of;

/// Which image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageId(u64);

/// A part of an image.
#[derive(Debug)]
pub enum Piece {
    /// A key with its value.
    Whole {
        /// The index of its database when the image began.
        db: usize,
        /// A copy of it.
        entry: Entry,
    },
}

/// What one database had when an image of it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outline {
    /// Its index then.
    pub db: usize,
    /// Keys.
    pub keys: usize,
    /// Keys with a deadline.
    pub with_deadline: usize,
    /// Hashes of which a field has a deadline.
    pub with_field_deadlines: usize,
}

/// How much a call of [`Db::take_pieces`] may hand out.
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    /// Keys that are looked at; a few more when hashes collide.
    pub keys: usize,
    /// Bytes after which no more is added.
    pub bytes: usize,
}

/// What a call of [`Db::take_pieces`] has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// There is more.
    pub more: bool,
    /// Bytes that were handed out, about.
    pub bytes: usize,
}

/// One database in an image.
#[derive(Debug)]
struct Stretch {
    space: u64,
    outline: Outline,
    progress: Progress,
}

#[derive(Debug)]
struct Image {
    id: ImageId,
    stretches: Vec<Stretch>,
    /// The one that is being walked.
    at: usize,
    saved: Vec<Piece>,
    saved_bytes: usize,
    /// Of all pre-images that were ever saved.
    copied_bytes: u64,
}

/// The images under way.
#[derive(Debug, Default)]
pub struct Images {
    open: Vec<Image>,
    /// Spaces that were flushed while an image had some of them ahead.
    kept: Vec<Space>,
    last_id: u64,
}

impl Image {
    fn stretch_of(&mut self, space: u64) -> Option<&mut Stretch> {
        self.stretches.iter_mut().find(|stretch| stretch.space == space)
    }

    fn needs(&self, space: u64) -> bool {
        let mut ahead = self.stretches.iter();
        ahead.any(|stretch| stretch.space == space && !stretch.progress.is_over())
    }
}

impl Images {
    /// Keeps what is at the place of `hash` for the images that have it ahead.
    fn keep(&mut self, space: &Space, hash: u64, hash_key: HashKey) {
        for image in &mut self.open {
            let Some(stretch) = image.stretch_of(space.number()) else { continue };
            let db = stretch.outline.db;
            if !stretch.progress.meet(place_of(hash)) {
                continue;
            }
            let (saved, mut bytes) = (&mut image.saved, 0);
            space.table.visit_place(
                hash,
                |entry| hash_key.hash(entry.key()),
                |entry| {
                    bytes += entry.heap_bytes();
                    saved.extend(entry.copied().map(|entry| Piece::Whole { db, entry }));
                },
            );
            image.saved_bytes += bytes;
            image.copied_bytes += bytes as u64;
        }
    }
}

impl Db {
    /// Begins an image of everything as it is now. Only between units.
    pub fn begin_image(&mut self) -> ImageId {
        let images = self.images.get_or_insert_default();
        images.last_id += 1;
        let id = ImageId(images.last_id);
        let stretches = self.spaces.iter().enumerate().filter(|(_, space)| !space.is_empty());
        let stretches = stretches.map(|(db, space)| Stretch {
            space: space.number(),
            outline: Outline {
                db,
                keys: space.len(),
                with_deadline: space.with_deadline(),
                with_field_deadlines: space.with_field_deadlines(),
            },
            progress: Progress::new(space.len()),
        });
        let stretches = stretches.collect();
        let (saved, saved_bytes) = (Vec::new(), 0);
        images.open.push(Image { id, stretches, at: 0, saved, saved_bytes, copied_bytes: 0 });
        id
    }

    /// What the databases that were not empty had when the image began.
    pub fn image_outline(&self, id: ImageId) -> Vec<Outline> {
        let images = self.images.as_deref();
        let image = images.and_then(|images| images.open.iter().find(|image| image.id == id));
        image.map_or(Vec::new(), |image| image.stretches.iter().map(|one| one.outline).collect())
    }

    /// Bytes of pre-images that were saved for an image so far.
    pub fn image_copied_bytes(&self, id: ImageId) -> u64 {
        let images = self.images.as_deref();
        let image = images.and_then(|images| images.open.iter().find(|image| image.id == id));
        image.map_or(0, |image| image.copied_bytes)
    }

    /// Hands out the next pieces.
    pub fn take_pieces(&mut self, id: ImageId, slice: Slice, out: &mut Vec<Piece>) -> Taken {
        let hash_key = self.limits.hash_key;
        let Some(images) = self.images.as_deref_mut() else { return Taken::default() };
        let Some(image) = images.open.iter_mut().find(|image| image.id == id) else {
            return Taken::default();
        };
        out.append(&mut image.saved);
        let mut bytes = std::mem::take(&mut image.saved_bytes);
        let mut keys = slice.keys;
        let mut passed = false;
        while let Some(stretch) = image.stretches.get_mut(image.at) {
            if keys == 0 || bytes >= slice.bytes {
                break;
            }
            let mut spaces = self.spaces.iter().chain(&images.kept);
            let space = spaces.find(|space| space.number() == stretch.space);
            if let Some(space) = space {
                let looked = stretch.walk(space, hash_key, keys.min(64), &mut bytes, out);
                keys -= looked.min(keys);
            } else {
                debug_assert!(false, "a space is kept as long as an image needs it");
                stretch.progress.advance(0);
            }
            if stretch.progress.is_over() {
                image.at += 1;
                passed = true;
            }
        }
        let more = image.at < image.stretches.len();
        if passed {
            self.release_kept();
        }
        Taken { more, bytes }
    }

    /// Ends an image, whether it has come to its end or not.
    pub fn end_image(&mut self, id: ImageId) {
        let Some(images) = &mut self.images else { return };
        images.open.retain(|image| image.id != id);
        self.release_kept();
    }

    /// Gives spaces that no image needs any more to those that are freed in pieces.
    fn release_kept(&mut self) {
        let Some(images) = &mut self.images else { return };
        let (open, kept) = (&images.open, std::mem::take(&mut images.kept));
        let is_needed =
            |space: &Space| open.iter().any(|image: &Image| image.needs(space.number()));
        let (kept, released): (Vec<Space>, Vec<Space>) = kept.into_iter().partition(is_needed);
        images.kept = kept;
        self.abandoned.extend(released);
        if images.open.is_empty() {
            self.images = None;
        }
    }

    /// Comes before every change of what is at a key of a database.
    #[inline]
    pub(super) fn before_change(&mut self, db: usize, hash: u64) {
        if self.images.is_some() {
            self.keep_for_images(db, hash);
        }
    }

    #[cold]
    #[inline(never)]
    fn keep_for_images(&mut self, db: usize, hash: u64) {
        if let Some(images) = &mut self.images {
            images.keep(&self.spaces[db], hash, self.limits.hash_key);
        }
    }

    /// A space is flushed: gives it back unless an image needs it still.
    pub(super) fn keep_flushed(&mut self, space: Space) -> Option<Space> {
        let Some(images) = &mut self.images else { return Some(space) };
        if images.open.iter().any(|image| image.needs(space.number())) {
            images.kept.push(space);
            return None;
        }
        Some(space)
    }
}

impl Stretch {
    /// Hands out about `keys` entries more; returns how many it looked at.
    fn walk(
        &mut self,
        space: &Space,
        hash_key: HashKey,
        keys: usize,
        bytes: &mut usize,
        out: &mut Vec<Piece>,
    ) -> usize {
        let (db, progress) = (self.outline.db, &self.progress);
        let mut looked = 0;
        let next = space.table.scan_places(
            progress.next(),
            keys,
            |entry| hash_key.hash(entry.key()),
            |place, entry| {
                looked += 1;
                if !progress.has_met(place) {
                    *bytes += entry.heap_bytes();
                    out.extend(entry.copied().map(|entry| Piece::Whole { db, entry }));
                }
            },
        );
        self.progress.advance(next);
        looked.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::db::Ttl;
    use crate::keyspace::entry::NewValue;
    use crate::keyspace::value::{Hash, Set};
    use crate::types::hash::Deadline;
    use crate::types::limits::Limits;
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};
    use std::collections::BTreeMap;

    type Picture = BTreeMap<(usize, Vec<u8>), String>;

    /// Everything about an entry that an image must have.
    fn describe(entry: &Entry) -> String {
        let mut value = match (entry.string(), entry.hash(), entry.collection::<Set>()) {
            (Some(text), ..) => vec![text.to_vec()],
            (_, Some(hash), _) => {
                hash.iter_all().map(|fields| format!("{fields:?}").into_bytes()).collect()
            }
            (_, _, Some(set)) => set.iter().map(|item| item.to_vec()).collect(),
            _ => panic!("a value that the test does not make"),
        };
        value.sort();
        format!("{:?} {:?} {value:?}", entry.kind(), entry.deadline_ms())
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
            0..25 => db.put_string(&key, text.as_bytes(), Ttl::Clear, "set"),
            25..35 => db.put_string(&key, b"17", Ttl::At(at), "set"),
            35..45 => drop(db.remove(&key, "del")),
            45..52 => drop(db.set_deadline(&key, Some(at), "expire")),
            52..55 => drop(db.set_deadline(&key, None, "persist")),
            55..60 => {
                if let Some(entry) = db.take(&key) {
                    let to = rng.random_range(0..db.databases());
                    db.within(to, |db| db.place(&other, entry));
                }
            }
            60..65 => {
                if let Some(copy) = db.look(&key).and_then(Entry::copied) {
                    db.place(&other, copy);
                }
            }
            65..70 => {
                if let Ok(Some(mut bytes)) = db.take_string(&key) {
                    bytes.extend_from_slice(text.as_bytes());
                    db.put_quietly(&key, bytes);
                }
            }
            70..82 => {
                if let Ok(edit) = db.edit::<Hash>(&key) {
                    let mut edit = edit.or_default();
                    let (now_ms, field) = (edit.now_ms(), [rng.random_range(0..20u8)]);
                    let when = [Deadline::Clear, Deadline::Keep, Deadline::At(at)];
                    let when = when[rng.random_range(0..3)];
                    let (hash, limits, _) = edit.parts();
                    match rng.random_bool(0.7) {
                        true => drop(hash.set(&field, text.as_bytes(), when, now_ms, limits)),
                        false => drop(hash.remove(&field, now_ms)),
                    }
                }
            }
            82..94 => {
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
            94 => drop(db.flush(Some(db.current()), rng.random_bool(0.5))),
            95 => drop(db.flush(None, rng.random_bool(0.5)).max(1)),
            96 => db.swap(db.current(), rng.random_range(0..db.databases())),
            97 => while db.expire_due(16) {},
            98 => while db.free_chunk() {},
            _ => {
                let value = NewValue::Owned(crate::keyspace::value::Value::Str(text.into_bytes()));
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
            let mut open: Vec<(ImageId, Picture, Picture)> = Vec::new();
            let mut complete = 0;
            for step in 0..40_000u32 {
                if step % 7 == 0 {
                    db.set_now_ms(db.now_ms() + 1);
                }
                change(&mut db, &mut rng, keys);
                if open.len() < 3 && rng.random_range(0..keys * 3) == 0 {
                    let id = db.begin_image();
                    open.push((id, picture(&db), Picture::new()));
                }
                open.retain_mut(|(id, expected, seen)| {
                    if rng.random_bool(0.6) {
                        return true;
                    }
                    let mut pieces = Vec::new();
                    let slice = Slice { keys: rng.random_range(1..9), bytes: 4096 };
                    let taken = db.take_pieces(*id, slice, &mut pieces);
                    for Piece::Whole { db, entry } in pieces {
                        let before = seen.insert((db, entry.key().to_vec()), describe(&entry));
                        assert!(before.is_none(), "handed out twice");
                    }
                    if !taken.more {
                        assert!(seen == expected, "seed {seed}, step {step}");
                        db.end_image(*id);
                        complete += 1;
                    }
                    taken.more
                });
                if step % 1_000 == 0 {
                    db.spaces.iter().for_each(Space::check);
                }
            }
            assert!(complete > 3, "{complete} images with {keys} keys");
        }
    }
}
