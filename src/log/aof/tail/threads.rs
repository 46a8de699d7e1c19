//! The thread that writes for others, and the one that syncs every second.
//!
//! Both are there from the first file on, whether or not the log goes to one, until the server
//! ends: so nobody ever waits for them while he has the server's lock.
//!
//! Invariant: what somebody wants written is written after he said so, or tried again until it is
//! or until the log has left its file.

use super::gathering::Gathering;
use super::{Tail, Wants, RETRY_AFTER, SYNC_EVERY};
use crate::clock::Stopwatch;
use crate::log::aof::policy::Policy;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;

impl Tail {
    /// Begins the threads, unless they are there.
    pub(super) fn begin_threads(self: &Arc<Tail>) -> io::Result<()> {
        let mut threads = self.threads.lock();
        if !threads.is_empty() {
            return Ok(());
        }
        *self.wants.lock() = Wants::default();
        self.is_wanted.store(false, Ordering::SeqCst);
        *self.stop_sync.lock() = false;
        let mut begin = |name: &str, work: fn(&Tail)| {
            let tail = self.clone();
            let thread = std::thread::Builder::new().name(name.into()).spawn(move || work(&tail));
            thread.map(|thread| threads.push(thread))
        };
        let begun = begin("redouble-aof", Tail::write_for_others)
            .and_then(|()| begin("redouble-aof-sync", Tail::sync_every_second));
        drop(threads);
        begun.inspect_err(|_| self.end_threads())
    }

    /// Ends the threads, and waits until they have ended.
    pub(super) fn end_threads(&self) {
        self.wants.lock().stop = true;
        self.wanted.notify_all();
        self.gathered.notify_all();
        *self.stop_sync.lock() = true;
        self.stopping_sync.notify_all();
        for thread in self.threads.lock().drain(..) {
            let _ = thread.join();
        }
    }

    /// The thread that writes while workers must not, syncs for `always`, and tries again what
    /// has failed.
    fn write_for_others(&self) {
        let mut gathering = Gathering::default();
        loop {
            {
                let mut wants = self.wants.lock();
                while !wants.write && !wants.stop {
                    self.wanted.wait(&mut wants);
                }
                if wants.stop {
                    return;
                }
                wants.write = false;
                // Whoever wants a write from here on says so again.
                self.is_wanted.store(false, Ordering::SeqCst);
            }
            let gathers = self.policy() == Policy::Always
                && !self.sync_suspended.load(Ordering::Relaxed)
                && !self.is_failing.load(Ordering::Relaxed);
            if gathers {
                self.gather(&mut gathering);
            }
            let units = self.units();
            let mut pen = self.pen.lock();
            let written = self.write_all(&mut pen, true);
            let always = self.policy() == Policy::Always;
            let suspended = self.sync_suspended.load(Ordering::Relaxed);
            let is_due = self.synced.load(Ordering::Relaxed) < pen.end;
            let ok = match written {
                Ok(()) if always && !suspended && is_due => {
                    let watch = Stopwatch::start();
                    let synced = self.sync(pen);
                    gathering.synced(units, self.units(), watch.elapsed_ns());
                    synced
                }
                written => {
                    drop(pen);
                    written.is_ok()
                }
            };
            if !ok {
                if always {
                    self.give_up();
                }
                std::thread::sleep(RETRY_AFTER);
                self.want_write();
            }
        }
    }

    /// Waits for those who are about to write too, where that pays.
    fn gather(&self, gathering: &mut Gathering) {
        let here = self.units();
        let Some((target, patience_ns)) = gathering.wish(here) else { return };
        let watch = Stopwatch::start();
        self.awaited_units.store(target, Ordering::SeqCst);
        let mut wants = self.wants.lock();
        while self.units() < target && !wants.stop {
            let left_ns = patience_ns.saturating_sub(watch.elapsed_ns());
            if left_ns == 0 {
                break;
            }
            self.gathered.wait_for(&mut wants, Duration::from_nanos(left_ns));
        }
        drop(wants);
        self.awaited_units.store(0, Ordering::SeqCst);
        gathering.waited(here, self.units(), watch.elapsed_ns());
    }

    fn units(&self) -> u64 {
        self.units.load(Ordering::SeqCst)
    }

    /// Those who were waited for have written.
    #[cold]
    pub(super) fn all_have_come(&self) {
        // Who has looked and does not wait yet has this lock.
        drop(self.wants.lock());
        self.gathered.notify_one();
    }

    /// Redis: with `always` what was seen is on disk, and this cannot be kept any more.
    fn give_up(&self) {
        let is_sync = self.trouble.lock().write.is_none();
        let last_words = match is_sync {
            true => format!(
                "Can't persist AOF for fsync error when the AOF fsync policy is 'always': {}. \
                 Exiting...",
                self.failure().unwrap_or_default()
            ),
            false => "Can't recover from AOF write error when the AOF fsync policy is 'always'. \
                      Exiting..."
                .to_string(),
        };
        let owner = self.owner.lock().clone();
        if let Some(owner) = owner {
            owner.fatal(last_words);
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
            if self.written.load(Ordering::Acquire) < self.appended() {
                // Nobody asks for what no reply waits for.
                self.want_write();
            }
            let suspended = self.sync_suspended.load(Ordering::Relaxed);
            let is_due = self.synced.load(Ordering::Relaxed) < self.written.load(Ordering::Acquire)
                || self.trouble.lock().sync.is_some();
            if self.policy() == Policy::EverySec && is_due && !suspended {
                self.sync(self.pen.lock());
            }
        }
    }
}
