//! How many of the workers serve sessions: as many as the work needs.
//!
//! A worker that has little to do is woken for nearly every request, and a woken thread costs more
//! than a small command. What one worker can do alone it does with fewer wake-ups, fuller rounds
//! and nobody else at the lock: a second one joins when the first has no time left, and goes when
//! there is too little for two. Sessions follow at their next turn (`session/lane.rs`).
//!
//! What counts is the processor time that a worker has used, not how long it was ready to run: on a
//! machine that others use too, a further thread would only be one more that waits.
//!
//! Invariant: between one and all of the workers are active, and the first one always is.

use crate::clock::Stopwatch;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::OnceLock;

/// Between two looks.
const LOOK_NS: u64 = 100_000_000;
/// Of a worker's time: one that works longer has none left for others.
const FULL: f64 = 0.85;
/// Of the time of those who would be left: as much as they should have to do at most.
const EASY: f64 = 0.6;
/// Looks in a row that find an active one full, and no room beside it, before others join them.
const LOOKS_TO_GROW: u8 = 2;
/// Looks in a row that find too little work before some of them go.
const LOOKS_TO_SHRINK: u8 = 20;

/// The workers of a server.
#[derive(Debug)]
pub(crate) struct Crew {
    active: AtomicUsize,
    /// So many stay, however little there is to do.
    least: AtomicUsize,
    /// Connections that were given to one of them.
    given: AtomicU64,
    /// What the system tells of each one's processor time.
    times: Vec<OnceLock<File>>,
}

impl Crew {
    /// Begins with one, or with all where the system does not tell how busy a thread is.
    pub(crate) fn new(workers: usize) -> Crew {
        let tells = workers == 1 || own_times().is_some();
        let active = if tells { 1 } else { workers };
        let times = (0..workers).map(|_| OnceLock::new()).collect();
        Crew { active: active.into(), least: 1.into(), given: AtomicU64::default(), times }
    }

    /// How many serve sessions now: the first ones.
    #[inline]
    pub(crate) fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    /// The one whose turn it is to be given a connection, among the first ones.
    pub(crate) fn next(&self, among: usize) -> usize {
        dealt(self.given.fetch_add(1, Ordering::Relaxed), among)
    }

    /// All serve sessions from now on.
    pub(crate) fn keep_all(&self) {
        self.least.store(self.times.len(), Ordering::Relaxed);
        self.active.store(self.times.len(), Ordering::Relaxed);
    }

    /// This thread is that worker.
    pub(crate) fn joined(&self, worker: usize) {
        // The only one never has to be compared with others.
        if let (true, Some(times)) = (self.times.len() > 1, own_times()) {
            let _ = self.times[worker].set(times);
        }
    }

    /// Nanoseconds on a processor of each worker; `None` where that is not known.
    fn busy_ns(&self) -> Option<Vec<u64>> {
        let read = |times: &OnceLock<File>| {
            let mut text = [0; 64];
            let len = times.get()?.read_at(&mut text, 0).ok()?;
            std::str::from_utf8(&text[..len]).ok()?.split(' ').next()?.parse().ok()
        };
        self.times.iter().map(read).collect()
    }
}

/// The worker, among the first ones, that is given the connection of that number. Numbers in a row
/// are spread evenly, and so is every second or third of them: who opens connections in pairs, one
/// of them for little, shall not find all the busy ones at one worker (multiplication by the golden
/// ratio; Knuth, The Art of Computer Programming, 6.4).
pub(crate) fn dealt(number: u64, among: usize) -> usize {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    (((number.wrapping_mul(GOLDEN) >> 32) * among as u64) >> 32) as usize
}

/// The scheduler's statistics of this thread (`proc_pid_schedstat(5)`).
fn own_times() -> Option<File> {
    File::open("/proc/thread-self/schedstat").ok()
}

/// Who looks at the crew from time to time.
#[derive(Debug)]
pub(crate) struct Foreman {
    since: Stopwatch,
    before_ns: Vec<u64>,
    trend: Trend,
}

impl Foreman {
    pub(crate) fn new() -> Foreman {
        Foreman { since: Stopwatch::start(), before_ns: Vec::new(), trend: Trend::default() }
    }

    /// Looks whether there are too few or too many, when it is time to.
    pub(crate) fn look(&mut self, crew: &Crew) {
        let wall_ns = self.since.elapsed_ns();
        if crew.times.len() == 1 || wall_ns < LOOK_NS {
            return;
        }
        let Some(busy_ns) = crew.busy_ns() else { return };
        self.since = Stopwatch::start();
        let before_ns = std::mem::replace(&mut self.before_ns, busy_ns);
        let share = |(now, before): (&u64, &u64)| (now - before) as f64 / wall_ns as f64;
        let shares: Vec<f64> = self.before_ns.iter().zip(&before_ns).map(share).collect();
        if !shares.is_empty() {
            let next = self.trend.next(crew.active(), &shares);
            crew.active.store(next.max(crew.least.load(Ordering::Relaxed)), Ordering::Relaxed);
        }
    }
}

/// What the last looks have found.
#[derive(Debug, Default)]
struct Trend {
    full: u8,
    easy: u8,
}

impl Trend {
    /// How many should be active from now on, when so many are and each worker has used this share
    /// of the time.
    fn next(&mut self, active: usize, shares: &[f64]) -> usize {
        let serving = &shares[..active.min(shares.len())];
        let work: f64 = serving.iter().sum();
        let enough = ((work / EASY).ceil() as usize).max(1);
        // Sessions are dealt to workers by number, not by their work: who is full may sit beside
        // others who are not.
        let is_one_full = serving.iter().any(|share| *share > FULL);
        let is_full = is_one_full && enough > active && active < shares.len();
        self.full = if is_full { self.full + 1 } else { 0 };
        self.easy = if enough < active { self.easy + 1 } else { 0 };
        let next = if self.full == LOOKS_TO_GROW {
            (active * 2).min(shares.len())
        } else if self.easy == LOOKS_TO_SHRINK {
            enough
        } else {
            return active;
        };
        *self = Trend::default();
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(looks: usize, trend: &mut Trend, active: usize, shares: &[f64]) -> usize {
        (0..looks).fold(active, |active, _| trend.next(active, shares))
    }

    #[test]
    fn others_join_when_one_has_been_full_for_a_while_and_the_rest_have_no_room() {
        let mut trend = Trend::default();
        assert_eq!(after(100, &mut trend, 1, &[0.8, 0.0, 0.0, 0.0]), 1);
        assert_eq!(after(1, &mut trend, 1, &[0.9, 0.0, 0.0, 0.0]), 1);
        assert_eq!(after(1, &mut trend, 1, &[0.9, 0.0, 0.0, 0.0]), 2);
        assert_eq!(after(100, &mut trend, 2, &[0.9, 0.2, 0.0, 0.0]), 2);
        assert_eq!(after(100, &mut trend, 2, &[0.8, 0.8, 0.0, 0.0]), 2);
        assert_eq!(after(2, &mut Trend::default(), 2, &[0.9, 0.5, 0.0, 0.0]), 4);
        assert_eq!(after(2, &mut trend, 2, &[0.9, 0.9, 0.0, 0.0]), 4);
        assert_eq!(after(100, &mut trend, 4, &[1.0, 1.0, 1.0, 1.0]), 4);
        assert_eq!(after(2, &mut Trend::default(), 2, &[1.0, 1.0, 1.0]), 3);
    }

    #[test]
    fn they_go_when_those_who_stay_have_time_for_all() {
        let mut trend = Trend::default();
        assert_eq!(after(100, &mut trend, 2, &[0.5, 0.5]), 2);
        assert_eq!(after(19, &mut trend, 2, &[0.3, 0.2]), 2);
        assert_eq!(after(1, &mut trend, 2, &[0.3, 0.2]), 1);
        assert_eq!(after(20, &mut trend, 4, &[0.2, 0.2, 0.2, 0.2]), 2);
        assert_eq!(after(20, &mut trend, 4, &[0.0; 4]), 1);
    }

    #[test]
    fn a_moment_without_work_is_no_reason_to_go() {
        let mut trend = Trend::default();
        for _ in 0..100 {
            assert_eq!(after(10, &mut trend, 2, &[0.1, 0.1]), 2);
            assert_eq!(after(1, &mut trend, 2, &[0.9, 0.8]), 2);
        }
    }

    #[test]
    fn connections_are_dealt_evenly_in_whatever_step_they_come() {
        for among in 1..=5 {
            for step in 1..=4 {
                let mut dealt_to = vec![0; among];
                (0..100 * among as u64).for_each(|turn| dealt_to[dealt(turn * step, among)] += 1);
                let uneven = dealt_to.iter().any(|given| !(90..=110).contains(given));
                assert!(!uneven, "{dealt_to:?} of every {step}th");
            }
        }
    }

    #[test]
    fn what_each_worker_has_used_is_known_when_all_have_joined() {
        let crew = Crew::new(2);
        assert_eq!(crew.active(), if own_times().is_some() { 1 } else { 2 });
        crew.joined(0);
        assert_eq!(crew.busy_ns(), None);
        crew.joined(1);
        let all = crew.busy_ns().map(|times| times.len());
        assert_eq!(all, own_times().map(|_| 2));
    }
}
