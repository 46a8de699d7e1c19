//! Snapshots: all data as it was at one moment, written somewhere while it goes on changing.
//!
//! A thread of its own takes a snapshot. It takes the lock for a slice of at most `SLICE_NS`, in
//! which it copies the next pieces of the image ([`crate::keyspace::image`]), lets go of the lock,
//! and gives them to its outputs, which encode and write them. So nothing is encoded or written
//! under the lock, and nothing piles up: the walk goes on only when what it took has been written.
//! A big value takes many slices, and comes in parts.
//! What writers save for it meanwhile waits in the image for the next slice.
//!
//! Several snapshots may be under way. Those that begin together, with no change of the data and no
//! slice in between, share one walk: each has its own output, its own end and its own wish to be
//! cancelled by, and the slowest output sets the pace. SAVE goes the same way without letting go
//! of the lock ([`take_now`]).
//!
//! Invariant: the `over` of every job is called exactly once, under the lock, unless the server
//! ends before.

pub mod load;
pub mod rdb_output;
pub mod save;
pub mod sinks;
#[cfg(test)]
mod tests;

use crate::clock::Stopwatch;
use crate::keyspace::image::{ImageId, Piece, Slice, Wanted};
use crate::memory;
use crate::persistence::headway::Headway;
use crate::persistence::{Job, Outcome, Running, Start};
use crate::server_log::Logger;
use crate::state::{Access, State};
use crate::types::walk::Remains;
use std::io;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::Arc;
use std::time::Duration;

/// A slice's bound under the lock.
const SLICE_NS: u64 = 150_000;
/// Keys between two looks at the stopwatch.
const SLICE_KEYS: usize = 64;
/// Bytes that are copied in one slice.
const SLICE_BYTES: usize = 256 * 1024;

const THREAD: &str = "redouble-save";

/// Begins a snapshot of everything as it is now; only between units. It goes on by itself.
pub fn begin(state: &mut State, job: Job) -> io::Result<()> {
    // Who waits for others would make those wait who share a walk with it.
    let shares = !job.output.waits_for_peers();
    if let Some(image) = state.db.image_of_now().filter(|_| shares) {
        take_part(state, image, job);
        return Ok(());
    }
    let image = prepare(state, job);
    if !shares {
        state.db.keep_alone(image);
    }
    let Some(outside) = state.outside.clone() else {
        // Nobody lets go of the lock in tests of the inside.
        if let Some(mut walk) = Walk::of(state, image) {
            walk.run_inside(state);
        }
        return Ok(());
    };
    let begun = outside.assist(
        THREAD,
        Box::new(move |access| {
            let mut walk = None;
            access.with(&mut |state| walk = Walk::of(state, image));
            if let Some(mut walk) = walk {
                walk.run_outside(access);
            }
        }),
    );
    begun.inspect_err(|_| {
        state.persistence.running.retain(|running| running.image != image);
        while state.db.end_image(image).is_some() {}
    })
}

/// Takes a snapshot at once, without letting go of the lock.
pub fn take_now(state: &mut State, job: Job) {
    let image = prepare(state, job);
    if let Some(mut walk) = Walk::of(state, image) {
        walk.run_inside(state);
    }
}

fn prepare(state: &mut State, job: Job) -> ImageId {
    let image = state.db.begin_image();
    let outlines = state.db.image_outline(image);
    state.persistence.running.push(Running {
        image,
        waiting: Vec::new(),
        keys: outlines.iter().map(|outline| outline.keys).sum(),
        tally: state.db.image_tally(image),
        keys_done: 0,
        written_bytes: 0,
        headway: Headway::default(),
    });
    take_part(state, image, job);
    image
}

/// Lets a job have what an image of now is of.
fn take_part(state: &mut State, image: ImageId, job: Job) {
    let start = start(state, image, job.wanted.clone());
    if let Some(running) = state.persistence.find(image) {
        running.waiting.push((job, start));
    }
}

fn start(state: &State, image: ImageId, wanted: Wanted) -> Start {
    let settings = state.config.settings();
    let policy = settings.maxmemory_policy;
    Start {
        now_ms: state.db.now_ms(),
        outlines: state.db.image_outline(image),
        libraries: state.scripting.libraries.iter().map(|library| library.code.clone()).collect(),
        redis_version: settings.redis_version.clone(),
        used_bytes: memory::used_bytes(state),
        ages: (policy.is_lru() || policy.is_lfu()).then(|| state.db.ageing.reading()),
        replication_id: state.role.id.clone(),
        replication_offset: state.log.offset,
        compress: settings.rdbcompression,
        checksum: settings.rdbchecksum,
        wanted,
    }
}

/// Keys among pieces; a big value counts when it begins.
fn keys(pieces: &[Piece]) -> usize {
    pieces.iter().filter(|piece| matches!(piece, Piece::Whole { .. } | Piece::Begin(_))).count()
}

/// The thread's side of a snapshot.
struct Walk {
    image: ImageId,
    /// Keys of all databases.
    keys: usize,
    key_delay_us: Arc<AtomicI64>,
    /// Jobs whose output has not begun.
    fresh: Vec<(Job, Start)>,
    jobs: Vec<Job>,
    pieces: Vec<Piece>,
    /// Jobs that are over, until they are told.
    ended: Vec<(Job, Outcome)>,
    keys_done: usize,
    headway: Headway,
    logger: Arc<Logger>,
}

impl Walk {
    fn of(state: &mut State, image: ImageId) -> Option<Walk> {
        let logger = state.logger.clone();
        let key_delay_us = state.persistence.key_delay_us.clone();
        let running = state.persistence.find(image)?;
        Some(Walk {
            image,
            keys: running.keys,
            key_delay_us,
            fresh: Vec::new(),
            jobs: Vec::new(),
            pieces: Vec::new(),
            ended: Vec::new(),
            keys_done: 0,
            headway: running.headway,
            logger,
        })
    }

    fn run_inside(&mut self, state: &mut State) {
        loop {
            let more = self.slice(state);
            self.write();
            if !self.goes_on(more) {
                break;
            }
        }
        self.finish();
        while self.end(state).is_some() {}
    }

    fn run_outside(&mut self, access: &dyn Access) {
        loop {
            let mut more = Some(false);
            let is_there = access.with(&mut |state| {
                self.tell(state);
                more = self.slice(state);
            });
            if !is_there {
                self.jobs.iter().for_each(|job| job.wanted.cancel());
            }
            self.write();
            if !self.goes_on(more) {
                break;
            }
            // A thread that works on and on is the one that the kernel interrupts where processors
            // are scarce, and as often as not while it has the lock: then everybody waits until
            // its next turn. One that has just let others go first gets its slice done, and loses
            // nothing where nobody wants its processor.
            std::thread::yield_now();
        }
        self.finish();
        let mut more = true;
        while more {
            // What is left is freed without the lock.
            let mut remains = None;
            access.with(&mut |state| remains = self.end(state));
            more = remains.is_some();
        }
    }

    /// Takes the next pieces; false when there are no more, `None` when nobody knows: the image is
    /// not there.
    fn slice(&mut self, state: &mut State) -> Option<bool> {
        let watch = Stopwatch::start();
        let running = state.persistence.find(self.image)?;
        self.fresh.append(&mut running.waiting);
        let is_slow = self.key_delay_us() > 0;
        let slice = Slice { keys: if is_slow { 1 } else { SLICE_KEYS }, bytes: SLICE_BYTES };
        let mut bytes = 0;
        let more = loop {
            let taken = state.db.take_pieces(self.image, slice, &mut self.pieces)?;
            bytes += taken.bytes;
            let is_full = bytes >= SLICE_BYTES || watch.elapsed_ns() >= SLICE_NS;
            if is_slow || is_full || !taken.more {
                break taken.more;
            }
        };
        self.keys_done += keys(&self.pieces);
        if let Some(running) = state.persistence.find(self.image) {
            running.keys_done = self.keys_done;
            running.written_bytes = self.written_bytes();
        }
        Some(more)
    }

    /// Gives the pieces to the jobs; those that fail are over.
    fn write(&mut self) {
        self.delay();
        for (mut job, start) in std::mem::take(&mut self.fresh) {
            let begun = job.wanted.stop_if_cancelled();
            let begun = begun.and_then(|()| job.output.begin(&start));
            self.keep(job, begun);
        }
        for mut job in std::mem::take(&mut self.jobs) {
            let taken = job.wanted.stop_if_cancelled();
            let taken = taken.and_then(|()| job.output.take(&self.pieces));
            self.keep(job, taken);
        }
        self.pieces.clear();
        self.tell_headway();
    }

    fn written_bytes(&self) -> u64 {
        self.jobs.iter().map(|job| job.output.written_bytes()).max().unwrap_or(0)
    }

    /// A line for the log now and then.
    fn tell_headway(&mut self) {
        let Some(what) = self.jobs.iter().find_map(|job| job.output.purpose()) else { return };
        let (done, all) = (self.keys_done as f64, self.keys.max(1) as f64);
        let (percent, bytes) = ((done * 100.0 / all).min(100.0), self.written_bytes());
        if let Some(line) = self.headway.line(what, Some(percent), self.keys_done as u64, bytes) {
            self.logger.notice(line);
        }
    }

    fn keep(&mut self, mut job: Job, went: io::Result<()>) {
        match went {
            Ok(()) => self.jobs.push(job),
            Err(error) => {
                job.output.discard();
                // It may also have ended because it was cancelled.
                let outcome = match job.wanted.is_cancelled() {
                    true => Outcome::Cancelled,
                    false => Outcome::Failed(error),
                };
                self.ended.push((job, outcome));
            }
        }
    }

    /// `rdb-key-save-delay`: as if it took long to write.
    fn delay(&self) {
        const LOOK: Duration = Duration::from_millis(20);
        let keys = keys(&self.pieces) as u64;
        let mut left = match self.key_delay_us() {
            0 => return,
            delay @ 1.. => Duration::from_micros(keys * delay.unsigned_abs()),
            keys_each => Duration::from_micros(keys / keys_each.unsigned_abs()),
        };
        while !left.is_zero() && self.is_wanted() && self.key_delay_us() != 0 {
            let step = left.min(LOOK);
            std::thread::sleep(step);
            left -= step;
        }
    }

    fn key_delay_us(&self) -> i64 {
        self.key_delay_us.load(Ordering::Relaxed)
    }

    fn is_wanted(&self) -> bool {
        let mut jobs = self.fresh.iter().map(|(job, _)| job).chain(&self.jobs);
        jobs.any(|job| !job.wanted.is_cancelled())
    }

    fn goes_on(&mut self, more: Option<bool>) -> bool {
        let Some(more) = more else {
            // What has been written is not all there was: it must not pass for it.
            for job in std::mem::take(&mut self.jobs) {
                self.keep(job, Err(io::Error::other("the image is not there any more")));
            }
            return false;
        };
        more && self.is_wanted()
    }

    /// Nothing more is taken: ends the jobs that are left.
    fn finish(&mut self) {
        for mut job in std::mem::take(&mut self.jobs) {
            let finished = job.wanted.stop_if_cancelled().and_then(|()| job.output.finish());
            match finished {
                Ok(()) => self.ended.push((job, Outcome::Done)),
                Err(error) => self.keep(job, Err(error)),
            }
        }
    }

    /// The snapshot is over: ends its image step by step, then tells the jobs.
    fn end(&mut self, state: &mut State) -> Option<Remains> {
        if let Some(remains) = state.db.end_image(self.image) {
            return Some(remains);
        }
        let running = &mut state.persistence.running;
        if let Some(at) = running.iter().position(|running| running.image == self.image) {
            let over = running.remove(at);
            state.persistence.copied_bytes = over.tally.bytes();
        }
        self.tell(state);
        None
    }

    fn tell(&mut self, state: &mut State) {
        for (job, outcome) in self.ended.drain(..) {
            (job.over)(state, outcome);
        }
    }
}
