//! The thread that writes for others.
//!
//! Invariant: what somebody wants written is written after he said so, or tried again until it is.

use super::gathering::Gathering;
use super::{Tail, RETRY_AFTER};
use crate::clock::Stopwatch;
use crate::log::aof::policy::Policy;
use std::sync::atomic::Ordering;
use std::time::Duration;

impl Tail {
    /// The thread that writes while workers must not, syncs for `always`, and tries again what
    /// has failed.
    pub(super) fn write_for_others(&self) {
        let mut gathering = Gathering::default();
        loop {
            {
                let mut wants = self.wants.lock();
                while !wants.write && !wants.stop {
                    let failing = self.is_failing.load(Ordering::Relaxed);
                    let late = match failing {
                        true => self.wanted.wait_for(&mut wants, RETRY_AFTER).timed_out(),
                        false => {
                            self.wanted.wait(&mut wants);
                            false
                        }
                    };
                    if late {
                        break;
                    }
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
        self.warn(match is_sync {
            true => format!(
                "Can't persist AOF for fsync error when the AOF fsync policy is 'always': {}. \
                 Exiting...",
                self.failure().unwrap_or_default()
            ),
            false => "Can't recover from AOF write error when the AOF fsync policy is 'always'. \
                      Exiting..."
                .to_string(),
        });
        let owner = self.owner.lock().clone();
        if let Some(owner) = owner {
            owner.fatal();
        }
    }
}
