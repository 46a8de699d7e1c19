//! The pen: what is appended goes to the file here, and from one file to the next.
//!
//! Invariant: a record goes to the file that it was appended for or to none, whatever fails: a
//! change of files stays in the queue until everything before it is written and synced, or until
//! nobody tries that any more.

use super::{Tail, Trouble, DELAYED_NS, ERRORS_EVERY_S, SPARE_BYTES_MAX};
use crate::clock::Stopwatch;
use crate::config::error_text;
use crate::disk::DiskFile;
use crate::log::aof::policy::Policy;
use parking_lot::MutexGuard;
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The file that is written.
pub(super) struct Target {
    pub(super) file: DiskFile,
    /// Bytes in it that are whole records.
    pub(super) bytes: u64,
}

/// Who writes, one at a time.
#[derive(Default)]
pub(super) struct Pen {
    target: Option<Target>,
    /// Taken from the buffer and not written: the disk failed.
    rest: Vec<u8>,
    /// Offset of what is written.
    pub(super) end: u64,
    /// An empty buffer.
    spare: Vec<u8>,
}

impl Tail {
    /// Writes what is appended. A worker stops before a change of files that needs a sync.
    pub(super) fn write_all(&self, pen: &mut Pen, may_sync: bool) -> io::Result<()> {
        loop {
            let is_switch_next = self.take(pen);
            let switches = is_switch_next && (may_sync || pen.target.is_none());
            let mut went = self.write_rest(pen);
            if went.is_ok() && switches {
                went = self.switch(pen);
            }
            match went {
                Ok(()) if switches => {}
                Err(_) if self.let_go(pen) => {}
                went => return went,
            }
        }
    }

    /// Moves what is appended to the pen, up to a change of files; whether there is one.
    fn take(&self, pen: &mut Pen) -> bool {
        let mut pending = self.pending.lock();
        let switch_at = pending.switches.front().map(|(at, _)| *at);
        let until = switch_at.unwrap_or(pending.bytes.len());
        if until == pending.bytes.len() && pen.rest.is_empty() {
            let spare = std::mem::take(&mut pen.spare);
            pen.rest = std::mem::replace(&mut pending.bytes, spare);
        } else {
            pen.rest.extend(pending.bytes.drain(..until));
        }
        for (at, _) in &mut pending.switches {
            *at -= until;
        }
        switch_at.is_some()
    }

    /// Everything before a change of files is written: syncs it, and goes on in the next file.
    fn switch(&self, pen: &mut Pen) -> io::Result<()> {
        // What comes later must not survive what comes before.
        let synced = pen.target.as_ref().map_or(Ok(()), |before| self.force(&before.file));
        match synced {
            Ok(()) => self.publish_synced(pen.end),
            // Nobody has been promised that.
            Err(_) if self.policy() == Policy::No => {}
            Err(error) => return Err(error),
        }
        pen.target = self.pending.lock().switches.pop_front().and_then(|(_, target)| target);
        Ok(())
    }

    /// The disk has failed. Where the log has ended since then, nobody tries again: leaves out what
    /// is not written, and nobody waits for it any more. False where the log goes on.
    fn let_go(&self, pen: &mut Pen) -> bool {
        let mut pending = self.pending.lock();
        let mut ends = pending.switches.iter().enumerate().filter(|(_, (_, next))| next.is_none());
        let Some((last, until)) = ends.next_back().map(|(last, (until, _))| (last, *until)) else {
            return false;
        };
        pending.switches.drain(..=last);
        pending.bytes.drain(..until);
        for (at, _) in &mut pending.switches {
            *at -= until;
        }
        drop(pending);
        pen.end += (pen.rest.len() + until) as u64;
        (pen.target, pen.rest) = (None, Vec::new());
        self.forget_trouble();
        self.publish_written(pen.end);
        self.publish_synced(pen.end);
        true
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
        let was_syncing = self.is_syncing();
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

    /// Syncs what is written, without keeping the pen.
    pub(super) fn sync(&self, pen: MutexGuard<'_, Pen>) -> bool {
        let (file, end) = (pen.target.as_ref().map(|target| target.file.clone()), pen.end);
        drop(pen);
        let Some(file) = file else { return true };
        let watch = Stopwatch::start();
        let went = self.force(&file);
        if self.policy() == Policy::Always {
            self.moment("aof-fsync-always", watch.elapsed_ns());
        }
        if went.is_ok() {
            self.publish_synced(end);
        }
        went.is_ok()
    }

    /// Forces a file to disk, and notes how it went.
    fn force(&self, file: &DiskFile) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        let went = file.sync_data();
        self.syncs.fetch_sub(1, Ordering::Relaxed);
        if went.is_err() || self.is_failing.load(Ordering::Relaxed) {
            self.note_sync(went.as_ref().err());
        }
        went
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
        self.judge(&trouble);
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
        self.judge(&trouble);
    }

    /// Whether writes must be refused.
    pub(super) fn judge(&self, trouble: &Trouble) {
        // With `no` nobody has been promised a sync, and no later one would show that it works.
        let sync_fails = trouble.sync.is_some() && self.policy() != Policy::No;
        self.is_failing.store(trouble.write.is_some() || sync_fails, Ordering::Relaxed);
    }

    /// What failed does not matter any more.
    pub(super) fn forget_trouble(&self) {
        let mut trouble = self.trouble.lock();
        *trouble = Trouble::default();
        self.judge(&trouble);
    }
}
