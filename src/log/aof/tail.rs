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
mod writer;

use super::policy::Policy;
use crate::clock::{Clock, Stopwatch};
use crate::config::{error_text, AppendOnly};
use crate::disk::DiskFile;
use crate::keyspace::effects::Reach;
use crate::log::Reader;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicU8, Ordering};
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
    /// What was promised cannot be kept any more: a process of its own ends here.
    fn fatal(&self);
}

/// Where records wait to be written.
#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    /// From this byte of `bytes` on a new file goes on; `None` in it: none does.
    switches: VecDeque<(usize, Option<Target>)>,
    /// The last second that was written as an annotation.
    stamped_s: i64,
}

/// The file that is written.
struct Target {
    file: DiskFile,
    /// Bytes in it that are whole records.
    bytes: u64,
}

/// Who writes, one at a time.
#[derive(Default)]
struct Pen {
    target: Option<Target>,
    /// Taken from the buffer and not written: the disk failed.
    rest: Vec<u8>,
    /// Offset of what is written.
    end: u64,
    /// An empty buffer.
    spare: Vec<u8>,
}

#[derive(Default)]
struct Wants {
    write: bool,
    stop: bool,
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
    is_syncing: AtomicBool,
    is_failing: AtomicBool,
    trouble: Mutex<Trouble>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// `no-appendfsync-on-rewrite`, while it applies.
    pub sync_suspended: AtomicBool,
    /// `aof-timestamp-enabled`.
    stamps: AtomicBool,
    /// DEBUG AOF-FLUSH-SLEEP, in microseconds.
    pub sleep_us: AtomicU64,
    /// Bytes of all files that count.
    pub files_bytes: AtomicU64,
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
        self.is_syncing.load(Ordering::Relaxed)
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

    /// Whether the last write succeeded.
    pub fn last_write_was_ok(&self) -> bool {
        !self.is_failing.load(Ordering::Relaxed) || self.trouble.lock().write.is_none()
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

    /// Lets what is appended from now on go to another file, which is empty or ends with a whole
    /// record. Called under the server's lock, between two units.
    pub fn switch_to(&self, file: DiskFile, bytes: u64) {
        let mut pending = self.pending.lock();
        let at = pending.bytes.len();
        pending.switches.push_back((at, Some(Target { file, bytes })));
        // An annotation opens each file.
        pending.stamped_s = 0;
        drop(pending);
        self.want_write();
    }

    /// The files begin with a new base: counts their bytes anew, and gives them.
    pub fn count_from(&self, base_bytes: u64) -> u64 {
        let pen = self.pen.lock();
        let current = match self.pending.lock().switches.is_empty() {
            true => pen.target.as_ref().map_or(0, |target| target.bytes),
            false => 0,
        };
        self.files_bytes.store(base_bytes + current, Ordering::Relaxed);
        base_bytes + current
    }

    /// Begins: from now on there is a file, and threads that look after it.
    pub fn start(
        self: &Arc<Tail>,
        file: DiskFile,
        bytes: u64,
        clock: Clock,
        owner: Arc<dyn Owner>,
    ) -> io::Result<()> {
        *self.clock.lock() = clock;
        *self.owner.lock() = Some(owner);
        *self.wants.lock() = Wants::default();
        self.is_wanted.store(false, Ordering::SeqCst);
        *self.stop_sync.lock() = false;
        *self.trouble.lock() = Trouble::default();
        self.is_failing.store(false, Ordering::Relaxed);
        // What has not been written to an earlier file does not belong to this one.
        *self.pending.lock() = Pending::default();
        let end = self.appended.load(Ordering::Relaxed);
        *self.pen.lock() = Pen { target: Some(Target { file, bytes }), end, ..Pen::default() };
        self.publish_written(end);
        self.publish_synced(end);
        let spawn = |name: &str, work: fn(&Tail)| {
            let tail = self.clone();
            std::thread::Builder::new().name(name.into()).spawn(move || work(&tail))
        };
        let writing = spawn("redouble-aof", Tail::write_for_others)?;
        let mut threads = self.threads.lock();
        threads.push(writing);
        threads.push(spawn("redouble-aof-sync", Tail::sync_every_second)?);
        Ok(())
    }

    /// Ends: everything appended is written and synced as far as the disk lets it, and nobody
    /// waits any more. Nothing is appended meanwhile: the log has no reader here any more.
    pub fn stop(&self) {
        self.wants.lock().stop = true;
        self.wanted.notify_all();
        self.gathered.notify_all();
        *self.stop_sync.lock() = true;
        self.stopping_sync.notify_all();
        for thread in self.threads.lock().drain(..) {
            let _ = thread.join();
        }
        let mut pen = self.pen.lock();
        if self.write_all(&mut pen, true).is_ok() {
            self.sync(pen);
        } else {
            drop(pen);
        }
        *self.pen.lock() = Pen::default();
        *self.pending.lock() = Pending::default();
        self.is_failing.store(false, Ordering::Relaxed);
        let end = self.appended.load(Ordering::Relaxed);
        self.publish_written(end);
        self.publish_synced(end);
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
            || self.is_syncing.load(Ordering::Relaxed)
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

    /// Writes everything that has been appended.
    pub fn write_out(&self) {
        let _ = self.write_all(&mut self.pen.lock(), true);
    }

    fn want_write(&self) {
        if !self.is_wanted.swap(true, Ordering::SeqCst) {
            self.wants.lock().write = true;
            self.wanted.notify_one();
        }
    }

    /// Writes what is appended. A worker stops before a change of files, which needs a sync.
    fn write_all(&self, pen: &mut Pen, may_sync: bool) -> io::Result<()> {
        loop {
            let switch = self.take(pen, may_sync);
            self.write_rest(pen)?;
            match switch {
                None => return Ok(()),
                Some(target) => {
                    // What comes later must not survive what comes before.
                    let synced = pen.target.as_ref().map(|before| before.file.sync_data());
                    if let Some(Err(error)) = synced {
                        self.note_sync(Some(&error));
                        self.pending.lock().switches.push_front((0, target));
                        return Err(error);
                    }
                    self.publish_synced(pen.end);
                    pen.target = target;
                }
            }
        }
    }

    /// Moves what is appended to the pen, up to a change of files, which is given back.
    fn take(&self, pen: &mut Pen, may_switch: bool) -> Option<Option<Target>> {
        let mut pending = self.pending.lock();
        let until = pending.switches.front().map_or(pending.bytes.len(), |(at, _)| *at);
        if until == pending.bytes.len() && pen.rest.is_empty() {
            let spare = std::mem::take(&mut pen.spare);
            pen.rest = std::mem::replace(&mut pending.bytes, spare);
        } else {
            pen.rest.extend(pending.bytes.drain(..until));
        }
        for (at, _) in &mut pending.switches {
            *at -= until;
        }
        if !may_switch {
            return None;
        }
        pending.switches.pop_front().map(|(_, target)| target)
    }

    fn write_rest(&self, pen: &mut Pen) -> io::Result<()> {
        if pen.rest.is_empty() {
            return self.after_write(pen, 0, Ok(()));
        }
        let Some(target) = &mut pen.target else {
            pen.end += pen.rest.len() as u64;
            pen.rest.clear();
            return Ok(());
        };
        let slept_us = self.sleep_us.load(Ordering::Relaxed);
        if slept_us > 0 {
            std::thread::sleep(Duration::from_micros(slept_us));
        }
        let was_syncing = self.is_syncing.load(Ordering::Relaxed);
        let watch = Stopwatch::start();
        let (mut done, mut result) = (0, Ok(()));
        while done < pen.rest.len() {
            match target.file.write_some(&pen.rest[done..]) {
                Ok(0) => result = Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => done += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => result = Err(error),
            }
            if result.is_err() {
                break;
            }
        }
        self.note_write_time(watch.elapsed_ns(), was_syncing);
        let expected = pen.rest.len();
        if result.is_err() && done > 0 {
            match target.file.truncate(target.bytes) {
                Ok(()) => done = 0,
                Err(error) => self.warn(format!(
                    "Could not remove short write from the append-only file. The server may \
                     refuse to load the AOF the next time it starts. ftruncate: {}",
                    error_text(&error)
                )),
            }
        }
        target.bytes += done as u64;
        self.files_bytes.fetch_add(done as u64, Ordering::Relaxed);
        pen.end += done as u64;
        if done == expected && pen.rest.capacity() <= SPARE_BYTES_MAX {
            pen.spare = std::mem::take(&mut pen.rest);
            pen.spare.clear();
        } else {
            pen.rest.drain(..done);
            if pen.rest.is_empty() {
                pen.rest = Vec::new();
            }
        }
        self.after_write(pen, expected, result)
    }

    /// Spreads how a write ended.
    fn after_write(&self, pen: &Pen, expected: usize, result: io::Result<()>) -> io::Result<()> {
        match result {
            Ok(()) => {
                if self.is_failing.load(Ordering::Relaxed) {
                    self.note_write(None, expected);
                }
                self.publish_written(pen.end);
                Ok(())
            }
            Err(error) => {
                let kind = error.kind();
                self.note_write(Some(error), expected);
                Err(kind.into())
            }
        }
    }

    fn note_write_time(&self, took_ns: u64, was_syncing: bool) {
        if was_syncing && took_ns > DELAYED_NS {
            self.delayed_syncs.fetch_add(1, Ordering::Relaxed);
            self.note(
                "Asynchronous AOF fsync is taking too long (disk is busy?): writing the AOF \
                       buffer had to wait for it."
                    .to_string(),
            );
        }
        let name = if was_syncing {
            "aof-write-pending-fsync"
        } else if self.snapshot_runs.load(Ordering::Relaxed) {
            "aof-write-active-child"
        } else {
            "aof-write-alone"
        };
        self.moment(name, took_ns);
        self.moment("aof-write", took_ns);
    }

    /// Notes a sample for LATENCY, if it took long.
    pub fn moment(&self, name: &'static str, took_ns: u64) {
        let slow_ns = self.slow_ns.load(Ordering::Relaxed);
        if slow_ns > 0 && took_ns >= slow_ns {
            self.moments.lock().push((name, took_ns));
        }
    }

    fn note_write(&self, error: Option<io::Error>, expected: usize) {
        let mut trouble = self.trouble.lock();
        if let Some(error) = &error {
            let now_s = self.clock.lock().now_ms().div_euclid(1000);
            if trouble.write.is_none() || now_s - trouble.said_s > ERRORS_EVERY_S {
                trouble.said_s = now_s;
                let text = error_text(error);
                self.warn(format!("Error writing to the AOF file: {text} ({expected} bytes)"));
            }
        } else if trouble.write.is_some() {
            self.note("AOF write error looks solved, the server can write again.".to_string());
        }
        trouble.write = error;
        let failing = trouble.write.is_some() || trouble.sync.is_some();
        self.is_failing.store(failing, Ordering::Relaxed);
    }

    fn note_sync(&self, error: Option<&io::Error>) {
        let mut trouble = self.trouble.lock();
        if let (Some(error), None) = (error, &trouble.sync) {
            let text = error_text(error);
            self.warn(format!("Fail to fsync the AOF file: {text}"));
        }
        trouble.sync = error.map(|error| match error.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => error.kind().into(),
        });
        let failing = trouble.write.is_some() || trouble.sync.is_some();
        self.is_failing.store(failing, Ordering::Relaxed);
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

    /// Syncs what is written, without keeping the pen.
    fn sync(&self, pen: MutexGuard<'_, Pen>) -> bool {
        let (file, end) = (pen.target.as_ref().map(|target| target.file.clone()), pen.end);
        drop(pen);
        let Some(file) = file else { return true };
        self.is_syncing.store(true, Ordering::Relaxed);
        let watch = Stopwatch::start();
        let result = file.sync_data();
        self.is_syncing.store(false, Ordering::Relaxed);
        if self.policy() == Policy::Always {
            self.moment("aof-fsync-always", watch.elapsed_ns());
        }
        match result {
            Ok(()) => {
                if self.is_failing.load(Ordering::Relaxed) {
                    self.note_sync(None);
                }
                self.publish_synced(end);
                true
            }
            Err(error) => {
                self.note_sync(Some(&error));
                false
            }
        }
    }

    /// The thread of `everysec`.
    fn sync_every_second(&self) {
        loop {
            {
                let mut stop = self.stop_sync.lock();
                if !*stop {
                    self.stopping_sync.wait_for(&mut stop, SYNC_EVERY);
                }
                if *stop {
                    return;
                }
            }
            let suspended = self.sync_suspended.load(Ordering::Relaxed);
            let is_due = self.synced.load(Ordering::Relaxed) < self.written.load(Ordering::Acquire)
                || self.trouble.lock().sync.is_some();
            if self.policy() == Policy::EverySec && is_due && !suspended {
                self.sync(self.pen.lock());
            }
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
