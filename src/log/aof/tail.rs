//! The end of the append-only file: where records are appended, and when replies may leave.
//!
//! Records are appended under the server's lock to a buffer, never to the file. Before a reply
//! leaves, its session asks whether the log is durable up to the place where it stood when the
//! reply was made (its *mark*). With `everysec` and `no` the first session that asks writes what
//! all have appended, in one call; while the disk is busy with a sync, a thread writes instead and
//! wakes the sessions, so that others on their workers do not wait. With `always` that thread
//! writes and syncs in turn, so everything appended during one sync is made durable by the next:
//! group commit, for which it waits a moment where that gains (`gathering`).
//!
//! Offsets count the bytes appended since the start, whatever files they went to.
//!
//! Invariant: `synced <= written <= appended`, `durable` never passes what `appendfsync` promises,
//! and no record is in the files in part, save for a moment within a call of write or when the
//! disk does not even let it be cut off.

mod gathering;
mod pen;
#[cfg(test)]
mod tests;
mod threads;

use super::policy::Policy;
use crate::clock::Clock;
use crate::config::{error_text, AppendOnly};
use crate::disk::DiskFile;
use crate::keyspace::effects::Reach;
use crate::log::Reader;
use parking_lot::{Condvar, Mutex};
use pen::{Pen, Target};
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicU8, Ordering};
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two syncs of `everysec`.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// Between two attempts to write after one that failed.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// A worker waits at most this long for another one that writes.
const PATIENCE: Duration = Duration::from_micros(300);
/// A write that waits longer for a sync counts as delayed.
const DELAYED_NS: u64 = 2_000_000_000;
/// Errors are logged at most once in so many seconds.
const ERRORS_EVERY_S: i64 = 30;
/// A buffer of records that has outgrown this is not kept.
const SPARE_BYTES_MAX: usize = 1 << 20;

/// The server, as the threads that write see it.
pub trait Owner: Send + Sync {
    /// A line for the log.
    fn notice(&self, text: String);
    /// A line of weight.
    fn warning(&self, text: String);
    /// More of the log has been synced.
    fn synced(&self);
    /// What was promised cannot be kept any more: a process of its own says so and ends here.
    fn fatal(&self, last_words: String);
}

/// Where records wait to be written.
#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    /// From this byte of `bytes` on another file goes on, or none. It is here until everything
    /// before it is written and synced.
    switches: VecDeque<(usize, Option<Target>)>,
    /// The last second that was written as an annotation.
    stamped_s: i64,
}

#[derive(Default)]
struct Wants {
    write: bool,
    stop: bool,
}

/// How many bytes there were when the log stood at a place.
#[derive(Clone, Copy, Default)]
struct Known {
    bytes: u64,
    at: u64,
}

impl Known {
    /// How many there are now.
    fn when(self, written: u64) -> u64 {
        self.bytes + written.saturating_sub(self.at)
    }
}

/// How long the files are.
#[derive(Default)]
struct Sizes {
    /// All that count.
    all: Known,
    /// The one that the log goes to.
    last: Known,
}

/// What went wrong last.
#[derive(Default)]
struct Trouble {
    write: Option<io::Error>,
    sync: Option<io::Error>,
    said_s: i64,
}

/// The end of the log, shared by sessions, commands and the threads that write.
#[derive(Default)]
pub struct Tail {
    policy: AtomicU8,
    appended: AtomicU64,
    written: AtomicU64,
    synced: AtomicU64,
    /// Replies whose mark is not beyond this may leave.
    durable: AtomicU64,
    pending: Mutex<Pending>,
    pen: Mutex<Pen>,
    waiting: Mutex<Vec<(u64, Waker)>>,
    wants: Mutex<Wants>,
    wanted: Condvar,
    /// Somebody wants a write already: to say so again would only cost a lock.
    is_wanted: AtomicBool,
    /// Units that were appended since the start.
    units: AtomicU64,
    /// So many of them are waited for before the next sync; 0 while none are.
    awaited_units: AtomicU64,
    gathered: Condvar,
    /// For the thread of `everysec`.
    stop_sync: Mutex<bool>,
    stopping_sync: Condvar,
    /// Syncs that are under way.
    syncs: AtomicU32,
    is_failing: AtomicBool,
    trouble: Mutex<Trouble>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    sizes: Mutex<Sizes>,
    /// `no-appendfsync-on-rewrite`, while it applies.
    pub sync_suspended: AtomicBool,
    /// `aof-timestamp-enabled`.
    stamps: AtomicBool,
    /// DEBUG AOF-FLUSH-SLEEP, in microseconds.
    pub sleep_us: AtomicU64,
    /// Writes that waited long for a sync.
    pub delayed_syncs: AtomicU64,
    /// Samples for LATENCY, in nanoseconds.
    moments: Mutex<Vec<(&'static str, u64)>>,
    /// A snapshot is being taken: for the names of such samples.
    pub snapshot_runs: AtomicBool,
    /// `latency-monitor-threshold` in nanoseconds; 0 for none.
    slow_ns: AtomicU64,
    clock: Mutex<Clock>,
    owner: Mutex<Option<Arc<dyn Owner>>>,
}

impl std::fmt::Debug for Tail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = self.appended.load(Ordering::Relaxed);
        write!(f, "Tail at {at}, durable up to {}", self.durable.load(Ordering::Relaxed))
    }
}

/// The log's reader.
struct Feed(Arc<Tail>);

impl Reader for Feed {
    fn receive(&mut self, encoded: &[u8]) {
        self.0.append(encoded);
    }

    fn kind(&self) -> Reach {
        Reach::FILE
    }
}

impl Tail {
    /// What the log writes to.
    pub fn reader(self: &Arc<Tail>) -> Box<dyn Reader> {
        Box::new(Feed(self.clone()))
    }

    /// Where the log stands: the mark of what has been done so far. 0 while there is no file.
    #[inline]
    pub fn appended(&self) -> u64 {
        self.appended.load(Ordering::Relaxed)
    }

    /// Up to where the log has been forced to disk.
    pub fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    /// `appendfsync`.
    pub fn policy(&self) -> Policy {
        Policy::from_number(u32::from(self.policy.load(Ordering::Relaxed)))
    }

    /// Follows the directives.
    pub fn configured(&self, directives: &AppendOnly, slow_ms: u64) {
        self.stamps.store(directives.stamps, Ordering::Relaxed);
        self.slow_ns.store(slow_ms.saturating_mul(1_000_000), Ordering::Relaxed);
        let before = self.policy.swap(directives.policy as u8, Ordering::Relaxed);
        if before != directives.policy as u8 {
            self.judge(&self.trouble.lock());
            // Who waits for a sync may now be served by a write alone.
            self.want_write();
        }
    }

    /// Bytes that wait to be written.
    pub fn pending_bytes(&self) -> usize {
        self.pending.lock().bytes.len()
    }

    /// Whether the disk is being made to keep what was written.
    pub fn is_syncing(&self) -> bool {
        self.syncs.load(Ordering::Relaxed) > 0
    }

    /// Why writes must be refused, if they must.
    pub fn failure(&self) -> Option<String> {
        if !self.is_failing.load(Ordering::Relaxed) {
            return None;
        }
        let trouble = self.trouble.lock();
        let error = trouble.write.as_ref().or(trouble.sync.as_ref())?;
        Some(error_text(error))
    }

    /// Whether the last write succeeded, and the last sync where one is promised.
    pub fn last_write_was_ok(&self) -> bool {
        !self.is_failing.load(Ordering::Relaxed)
    }

    /// Samples for LATENCY since the last call.
    pub fn take_moments(&self) -> Vec<(&'static str, u64)> {
        std::mem::take(&mut *self.moments.lock())
    }

    fn append(&self, encoded: &[u8]) {
        let mut pending = self.pending.lock();
        let mut len = encoded.len();
        if self.stamps.load(Ordering::Relaxed) {
            let now_s = self.clock.lock().now_ms().div_euclid(1000);
            if pending.stamped_s < now_s {
                pending.stamped_s = now_s;
                let line = format!("#TS:{now_s}\r\n");
                pending.bytes.extend_from_slice(line.as_bytes());
                len += line.len();
            }
        }
        pending.bytes.extend_from_slice(encoded);
        // Only under the server's lock, so nobody else adds meanwhile.
        self.appended.fetch_add(len as u64, Ordering::Release);
        drop(pending);
        let units = self.units.fetch_add(1, Ordering::SeqCst) + 1;
        if units == self.awaited_units.load(Ordering::SeqCst) {
            self.all_have_come();
        }
    }

    /// Begins: what is appended from now on goes to a file, and threads look after it. What an
    /// earlier file has still to get goes there first. Called as [`Tail::switch_to`].
    pub fn start(
        self: &Arc<Tail>,
        file: DiskFile,
        bytes: u64,
        clock: Clock,
        owner: Arc<dyn Owner>,
    ) -> io::Result<()> {
        *self.clock.lock() = clock;
        *self.owner.lock() = Some(owner);
        self.begin_threads()?;
        // Redis: an earlier file's errors are not this one's.
        self.forget_trouble();
        self.switch_to(file, bytes);
        Ok(())
    }

    /// Lets what is appended from now on go to another file, which is empty or ends with a whole
    /// record. Called under the server's lock, between two units; waits for nothing.
    pub fn switch_to(&self, file: DiskFile, bytes: u64) {
        self.change_to(Some(Target { file, bytes }), bytes);
    }

    /// Lets what is appended from now on go nowhere. What has been appended is still written and
    /// synced, unless the disk fails: then nobody tries again. Called and returns as
    /// [`Tail::switch_to`].
    pub fn leave(&self) {
        self.change_to(None, 0);
    }

    fn change_to(&self, target: Option<Target>, bytes: u64) {
        self.sizes.lock().last = Known { bytes, at: self.appended() };
        let mut pending = self.pending.lock();
        let at = pending.bytes.len();
        pending.switches.push_back((at, target));
        // An annotation opens each file.
        pending.stamped_s = 0;
        drop(pending);
        self.want_write();
    }

    /// The server ends: everything appended is written and synced as far as the disk lets it, and
    /// nobody waits any more. Nothing is appended meanwhile.
    pub fn stop(&self) {
        self.leave();
        self.end_threads();
        // Fails for nobody: what cannot be written has been left.
        let _ = self.write_all(&mut self.pen.lock(), true);
    }

    /// Bytes of all files that count.
    pub fn files_bytes(&self) -> u64 {
        self.sizes.lock().all.when(self.written.load(Ordering::Acquire))
    }

    /// The files that count have so many bytes.
    pub fn count(&self, bytes: u64) {
        self.sizes.lock().all = Known { bytes, at: self.appended() };
    }

    /// Only a new base counts from here on, and the file that the log goes to; gives their bytes.
    pub fn count_from(&self, base_bytes: u64) -> u64 {
        let mut sizes = self.sizes.lock();
        sizes.all = Known { bytes: base_bytes + sizes.last.bytes, at: sizes.last.at };
        sizes.all.when(self.written.load(Ordering::Acquire))
    }

    /// Whether replies with this mark may leave.
    #[inline]
    pub fn is_open(&self, mark: u64) -> bool {
        mark <= self.durable.load(Ordering::Acquire)
    }

    /// Makes the log durable up to `mark`, or has it made so soon; true when it is.
    pub fn open(&self, mark: u64) -> bool {
        let open = self.is_open(mark) || self.write_now(mark);
        if !open {
            self.want_write();
        }
        open
    }

    /// Makes the log durable up to `mark`, or has it made so and wakes `waker` then.
    pub fn poll_open(&self, mark: u64, waker: &Waker) -> Poll<()> {
        if self.is_open(mark) || self.write_now(mark) {
            return Poll::Ready(());
        }
        self.waiting.lock().push((mark, waker.clone()));
        // It may have been made durable just before.
        if self.is_open(mark) {
            return Poll::Ready(());
        }
        self.want_write();
        Poll::Pending
    }

    /// Writes everything appended, if that is enough and takes no waiting. True when `mark` is
    /// durable.
    fn write_now(&self, mark: u64) -> bool {
        let others_write = self.policy() == Policy::Always
            || self.is_syncing()
            || self.is_failing.load(Ordering::Relaxed);
        if others_write {
            return false;
        }
        let Some(mut pen) = self.pen.try_lock_for(PATIENCE) else { return false };
        self.is_open(mark) || (self.write_all(&mut pen, false).is_ok() && self.is_open(mark))
    }

    /// For who waits for nothing: has everything written that has been appended.
    pub fn write_soon(&self) {
        let mark = self.appended();
        if !self.is_open(mark) && !self.write_now(mark) {
            self.want_write();
        }
    }

    /// Writes everything that has been appended, if it can be done now.
    pub fn write_out(&self) {
        if self.write_all(&mut self.pen.lock(), true).is_err() {
            self.want_write();
        }
    }

    fn want_write(&self) {
        if !self.is_wanted.swap(true, Ordering::SeqCst) {
            self.wants.lock().write = true;
            self.wanted.notify_one();
        }
    }

    /// Notes a sample for LATENCY, if it took long.
    pub fn moment(&self, name: &'static str, took_ns: u64) {
        let slow_ns = self.slow_ns.load(Ordering::Relaxed);
        if slow_ns > 0 && took_ns >= slow_ns {
            self.moments.lock().push((name, took_ns));
        }
    }

    fn publish_written(&self, end: u64) {
        self.written.store(end, Ordering::Release);
        let is_enough =
            self.policy() != Policy::Always || self.sync_suspended.load(Ordering::Relaxed);
        if is_enough {
            self.publish(end);
        }
    }

    fn publish_synced(&self, end: u64) {
        if self.synced.fetch_max(end, Ordering::AcqRel) < end {
            if let Some(owner) = &*self.owner.lock() {
                owner.synced();
            }
        }
        self.publish(end);
    }

    /// What is before `end` is durable: who waits for it goes on.
    fn publish(&self, end: u64) {
        self.durable.fetch_max(end, Ordering::AcqRel);
        let mut waiting = self.waiting.lock();
        if !waiting.is_empty() {
            let (served, others): (Vec<_>, Vec<_>) =
                waiting.drain(..).partition(|(mark, _)| *mark <= end);
            *waiting = others;
            drop(waiting);
            served.into_iter().for_each(|(_, waker)| waker.wake());
        }
    }

    fn note(&self, text: String) {
        if let Some(owner) = &*self.owner.lock() {
            owner.notice(text);
        }
    }

    fn warn(&self, text: String) {
        if let Some(owner) = &*self.owner.lock() {
            owner.warning(text);
        }
    }
}
