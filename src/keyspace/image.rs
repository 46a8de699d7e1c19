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
//! A big value is not copied (`big`). Whether the walk comes to it or a write meets it first, a
//! walk of its own is opened on it, which keeps pre-images of its elements, and it is queued. The
//! queue's values are handed out one after the other: a [`Piece::Begin`], then [`Piece::Part`]s
//! over any number of slices, then a [`Piece::End`]. Nothing comes in between, because files want
//! a value's elements in one row: pre-images of other keys wait until then. Large lists and
//! streams are not walked: their copies share all parts with them ([`crate::types::shared`]), so
//! that there is nothing to copy until somebody changes a part. A packed value is one such part,
//! however far the configuration lets it grow: the first change of it while an image has it copies
//! it whole, which takes about as long as a command that looks for something in it.
//!
//! Several images may be under way at once; each has a walk of its own.
//!
//! What images keep is not counted as memory in use: as with the pages that a forked child shares,
//! a save is no reason to evict keys. INFO tells it (`current_cow_size`), and with it the parts of
//! lists and streams that changes have copied because an image might share them.
//!
//! Invariant: between two slices, for every image: handed out + saved + queued + (present entries
//! at places ahead of the walk that are not met) = the data at the moment of its beginning.

mod big;
#[cfg(test)]
pub(crate) mod model;
#[cfg(test)]
mod tests;
mod wanted;

pub use big::Heading;
pub use wanted::Wanted;

use crate::keyspace::db::Db;
use crate::keyspace::entry::Entry;
use crate::keyspace::space::Space;
use crate::keyspace::value::Value;
use crate::types::limits::HashKey;
use crate::types::progress::Progress;
use crate::types::shared::take_copied_bytes;
use crate::types::table::place_of;
use crate::types::walk::{Part, Remains, Tally, WalkId};
use big::{is_big, Bigs, Places};
use std::collections::VecDeque;

/// Bytes from which a value is big: to copy one takes about a tenth of a millisecond.
pub(super) const BIG_BYTES: usize = 64 * 1024;

/// Bytes of a part of a big value.
const PART_BYTES: usize = 32 * 1024;

/// Walks that are ended in one step.
const ENDED_WALKS: usize = 64;

/// Pieces that are saved in one row.
const SAVED_ROW: usize = 64;

/// Which image. No two images of a server have the same one: who is late with the end of his own
/// must not meet another's.
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
    /// A big value begins. Its parts come next, then its end.
    Begin(Box<Heading>),
    /// Elements of the value that has begun.
    Part(Part),
    /// All its elements have come.
    End,
    /// No part of the image, but what nobody needs any more.
    Past(Remains),
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Nothing has changed since it began, and nothing has been handed out.
    is_of_now: bool,
    stretches: Vec<Stretch>,
    /// The one that is being walked.
    at: usize,
    saved: Saved,
    /// Big values whose turn has not come.
    queue: VecDeque<WalkId>,
    /// The big value that is being handed out.
    begun: Option<WalkId>,
    /// Of all pre-images that were ever saved, and of copied parts.
    tally: Tally,
}

/// Pre-images, in short rows: none of them takes long to grow or to hand out.
#[derive(Debug, Default)]
struct Saved(VecDeque<(Vec<Piece>, usize)>);

impl Saved {
    fn push(&mut self, piece: Piece, bytes: usize) {
        if self.0.back().is_none_or(|(row, _)| row.len() >= SAVED_ROW) {
            self.0.push_back((Vec::new(), 0));
        }
        if let Some((row, row_bytes)) = self.0.back_mut() {
            row.push(piece);
            *row_bytes += bytes;
        }
    }
}

/// The images under way.
#[derive(Debug, Default)]
pub struct Images {
    open: Vec<Image>,
    /// Spaces that were flushed while an image had some of them ahead.
    kept: Vec<Space>,
    bigs: Bigs,
}

impl Image {
    fn stretch_of(&mut self, space: u64) -> Option<&mut Stretch> {
        self.stretches.iter_mut().find(|stretch| stretch.space == space)
    }

    fn needs(&self, space: u64) -> bool {
        let mut ahead = self.stretches.iter();
        ahead.any(|stretch| stretch.space == space && !stretch.progress.is_over())
    }

    /// A big value is at a key: queues it. One that cannot be walked is copied all the same.
    fn enqueue(&mut self, bigs: &mut Bigs, space: &mut Space, db: usize, hash: u64, key: &[u8]) {
        if let Some(walk) = bigs.open(space, db, hash, key, &self.tally) {
            self.queue.push_back(walk);
        } else if let Some(entry) = space.find(hash, key).and_then(Entry::copied) {
            let bytes = entry.copy_bytes();
            self.saved.push(Piece::Whole { db, entry }, bytes);
            self.tally.add(bytes);
        }
    }

    /// Hands out what comes next; `None` when there is nothing more.
    fn step(&mut self, tools: &mut Tools<'_>, out: &mut Vec<Piece>) -> Option<Step> {
        if let Some(walk) = self.begun {
            let bytes = PART_BYTES.min(tools.bytes_left);
            let Some(part) = tools.bigs.next_part(&mut tools.places, walk, bytes) else {
                let remains = tools.bigs.close(&mut tools.places, walk);
                self.begun = None;
                out.push(Piece::End);
                out.push(Piece::Past(remains));
                return Some(Step { keys: 1, bytes: 0 });
            };
            let bytes = part.bytes();
            out.extend((bytes > 0).then_some(Piece::Part(part)));
            // A part takes as long as many keys do.
            return Some(Step { keys: usize::MAX, bytes });
        }
        if let Some((mut row, bytes)) = self.saved.0.pop_front() {
            let keys = row.len();
            out.append(&mut row);
            return Some(Step { keys, bytes });
        }
        if let Some(walk) = self.queue.pop_front() {
            let heading = tools.bigs.heading(walk).cloned();
            out.extend(heading.map(|heading| Piece::Begin(Box::new(heading))));
            self.begun = Some(walk);
            return Some(Step { keys: 1, bytes: 0 });
        }
        self.walk(tools, out)
    }

    /// Walks on in the database whose turn it is.
    fn walk(&mut self, tools: &mut Tools<'_>, out: &mut Vec<Piece>) -> Option<Step> {
        let stretch = self.stretches.get_mut(self.at)?;
        let (number, db, mut found) = (stretch.space, stretch.outline.db, Vec::new());
        let Some(step) = stretch.walk(tools, &mut found, out) else {
            debug_assert!(false, "a space is kept as long as an image needs it");
            self.at += 1;
            return Some(Step { keys: 1, bytes: 0 });
        };
        if stretch.progress.is_over() {
            self.at += 1;
            tools.passed = true;
        }
        let hash_key = tools.hash_key;
        for key in found {
            let Some(space) = tools.places.find(number) else { continue };
            self.enqueue(tools.bigs, space, db, hash_key.hash(&key), &key);
        }
        Some(step)
    }

    fn is_over(&self) -> bool {
        let is_idle = self.begun.is_none() && self.queue.is_empty() && self.saved.0.is_empty();
        is_idle && self.at >= self.stretches.len()
    }
}

/// What a step of an image works with.
struct Tools<'a> {
    places: Places<'a>,
    bigs: &'a mut Bigs,
    hash_key: HashKey,
    big_bytes: usize,
    keys_left: usize,
    bytes_left: usize,
    /// The walk has come to the end of a database.
    passed: bool,
}

/// What a step has done.
struct Step {
    /// Keys that it looked at.
    keys: usize,
    /// Bytes that it handed out.
    bytes: usize,
}

impl Images {
    /// Keeps what is at the place of `hash` for the images that have it ahead.
    fn keep(&mut self, space: &mut Space, hash: u64, hash_key: HashKey, big_bytes: usize) {
        for image in &mut self.open {
            let Some(stretch) = image.stretch_of(space.number()) else { continue };
            let db = stretch.outline.db;
            if !stretch.progress.meet(place_of(hash)) {
                continue;
            }
            let (saved, tally) = (&mut image.saved, &image.tally);
            let mut found: Vec<Box<[u8]>> = Vec::new();
            space.table.visit_place(
                hash,
                |entry| hash_key.hash(entry.key()),
                |entry| {
                    if is_big(entry, big_bytes) {
                        found.push(entry.key().into());
                    } else if let Some(copy) = entry.copied() {
                        let bytes = entry.copy_bytes();
                        saved.push(Piece::Whole { db, entry: copy }, bytes);
                        tally.add(bytes);
                    }
                },
            );
            for key in found {
                image.enqueue(&mut self.bigs, space, db, hash_key.hash(&key), &key);
            }
        }
    }
}

impl Db {
    /// Begins an image of everything as it is now. Only between units.
    pub fn begin_image(&mut self) -> ImageId {
        let images = self.images.get_or_insert_default();
        self.images_begun += 1;
        let id = ImageId(self.images_begun);
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
        let (saved, queue, tally) = (Saved::default(), VecDeque::new(), Tally::default());
        images.open.push(Image {
            id,
            is_of_now: true,
            stretches,
            at: 0,
            saved,
            queue,
            begun: None,
            tally,
        });
        id
    }

    /// An image that began where another would begin now: nothing has changed since then, and
    /// nothing of it has been handed out.
    pub fn image_of_now(&self) -> Option<ImageId> {
        let mut open = self.images.iter().flat_map(|images| &images.open);
        open.find(|image| image.is_of_now).map(|image| image.id)
    }

    /// Nobody else is to take part in this image.
    pub fn keep_alone(&mut self, id: ImageId) {
        let open = self.images.iter_mut().flat_map(|images| &mut images.open);
        open.filter(|image| image.id == id).for_each(|image| image.is_of_now = false);
    }

    /// Comes with every change: what begins from here on is another moment.
    pub(super) fn moment_is_over(&mut self) {
        if let Some(images) = &mut self.images {
            images.open.iter_mut().for_each(|image| image.is_of_now = false);
        }
    }

    /// What the databases that were not empty had when the image began.
    pub fn image_outline(&self, id: ImageId) -> Vec<Outline> {
        let images = self.images.as_deref();
        let image = images.and_then(|images| images.open.iter().find(|image| image.id == id));
        image.map_or(Vec::new(), |image| image.stretches.iter().map(|one| one.outline).collect())
    }

    /// What counts the bytes of pre-images that are saved for an image.
    pub fn image_tally(&self, id: ImageId) -> Tally {
        let images = self.images.as_deref();
        let image = images.and_then(|images| images.open.iter().find(|image| image.id == id));
        image.map_or(Tally::default(), |image| image.tally.clone())
    }

    /// Hands out the next pieces; `None` when there is no such image, of which nobody can say what
    /// is left.
    pub fn take_pieces(
        &mut self,
        id: ImageId,
        slice: Slice,
        out: &mut Vec<Piece>,
    ) -> Option<Taken> {
        let (hash_key, big_bytes) = (self.limits.hash_key, self.big_bytes);
        let Images { open, kept, bigs } = self.images.as_deref_mut()?;
        let image = open.iter_mut().find(|image| image.id == id)?;
        image.is_of_now = false;
        let (keys_left, bytes_left) = (slice.keys, slice.bytes);
        let places = Places { spaces: &mut self.spaces, kept };
        let passed = false;
        let mut tools = Tools { places, bigs, hash_key, big_bytes, keys_left, bytes_left, passed };
        while tools.keys_left > 0 && tools.bytes_left > 0 {
            let Some(step) = image.step(&mut tools, out) else { break };
            tools.keys_left = tools.keys_left.saturating_sub(step.keys);
            tools.bytes_left = tools.bytes_left.saturating_sub(step.bytes);
        }
        let taken = Taken { more: !image.is_over(), bytes: slice.bytes - tools.bytes_left };
        if tools.passed {
            self.release_kept();
        }
        Some(taken)
    }

    /// Ends an image, whether it has come to its end or not, in bounded steps: one each time, for
    /// as long as there are remains of it. From the first of them on it keeps nothing more.
    #[must_use = "it is to be freed without the lock"]
    pub fn end_image(&mut self, id: ImageId) -> Option<Remains> {
        let Images { open, kept, bigs } = self.images.as_deref_mut()?;
        let at = open.iter().position(|image| image.id == id)?;
        let image = open.get_mut(at)?;
        image.is_of_now = false;
        let mut remains = Remains::of(std::mem::take(&mut image.stretches));
        let mut places = Places { spaces: &mut self.spaces, kept };
        let walks = image.queue.len().min(ENDED_WALKS);
        for walk in image.begun.take().into_iter().chain(image.queue.drain(..walks)) {
            remains.add(bigs.close(&mut places, walk));
        }
        if image.queue.is_empty() {
            remains.add(Remains::of(open.remove(at)));
            self.release_kept();
        }
        Some(remains)
    }

    /// Gives spaces that no image needs any more to those that are freed in pieces.
    fn release_kept(&mut self) {
        let Some(images) = &mut self.images else { return };
        let (open, kept) = (&images.open, std::mem::take(&mut images.kept));
        let is_needed =
            |space: &Space| open.iter().any(|image: &Image| image.needs(space.number()));
        let (kept, mut released): (Vec<Space>, Vec<Space>) = kept.into_iter().partition(is_needed);
        images.kept = kept;
        released.iter_mut().for_each(|space| images.bigs.rescue(space));
        released.into_iter().for_each(|space| self.graveyard.push_space(space));
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
        self.moment_is_over();
        if let Some(images) = &mut self.images {
            images.keep(&mut self.spaces[db], hash, self.limits.hash_key, self.big_bytes);
            // Copies from now on are of this change.
            take_copied_bytes();
        }
    }

    /// Comes after every change inside a collection.
    #[inline]
    pub(super) fn after_change(&mut self) {
        if self.images.is_some() {
            self.count_copied_parts();
        }
    }

    /// Whoever changes a part of a list or a stream that an image may share has copied it.
    #[cold]
    #[inline(never)]
    fn count_copied_parts(&mut self) {
        let bytes = take_copied_bytes();
        let images = self.images.iter().flat_map(|images| &images.open);
        images.for_each(|image| image.tally.add(bytes));
    }

    /// Comes when a value that has been elsewhere is at a key of the selected database.
    #[inline]
    pub(super) fn after_arrival(&mut self, hash: u64, key: &[u8]) {
        let current = self.current();
        if let Some(images) = &mut self.images {
            images.bigs.arrived(&mut self.spaces[current], hash, key);
        }
    }

    /// A value is freed: gives it back unless an image needs it still.
    #[inline]
    pub(super) fn keep_buried(&mut self, value: Value) -> Option<Value> {
        match &mut self.images {
            None => Some(value),
            Some(images) => images.bigs.keep(value),
        }
    }

    /// A space is flushed: gives it back unless an image needs it still.
    pub(super) fn keep_flushed(&mut self, mut space: Space) -> Option<Space> {
        let Some(images) = &mut self.images else { return Some(space) };
        if images.open.iter().any(|image| image.needs(space.number())) {
            images.kept.push(space);
            return None;
        }
        images.bigs.rescue(&mut space);
        Some(space)
    }
}

impl Stretch {
    /// Hands out the next entries that are small, and finds the keys of those that are big; `None`
    /// when the space is not there.
    fn walk(
        &mut self,
        tools: &mut Tools<'_>,
        found: &mut Vec<Box<[u8]>>,
        out: &mut Vec<Piece>,
    ) -> Option<Step> {
        let (db, progress) = (self.outline.db, &self.progress);
        let (hash_key, big_bytes) = (tools.hash_key, tools.big_bytes);
        let bytes_left = tools.bytes_left;
        let mut step = Step { keys: 0, bytes: 0 };
        let next = tools.places.find(self.space)?.table.scan_weighed(
            progress.next(),
            tools.keys_left.min(64),
            Entry::prefetch,
            |entry| hash_key.hash(entry.key()),
            |place, entry| {
                step.keys += 1;
                if progress.has_met(place) {
                    return 1;
                }
                if is_big(entry, big_bytes) {
                    found.push(entry.key().into());
                } else {
                    step.bytes += entry.copy_bytes();
                    out.extend(entry.copied().map(|entry| Piece::Whole { db, entry }));
                }
                if step.bytes < bytes_left {
                    1
                } else {
                    usize::MAX
                }
            },
        );
        self.progress.advance(next);
        step.keys = step.keys.max(1);
        Some(step)
    }
}
