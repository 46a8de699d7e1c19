//! The one clock, and the only caller of the system's.
//!
//! Invariant: expiry, TIME, stream ids, idle times, blocking timeouts, ageing and cron all read
//! this clock, so that when it is frozen or advanced everything moves together.

use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

const RUNNING: i64 = i64::MIN;

#[derive(Debug)]
struct Hands {
    /// Unix time in microseconds at which the clock stands still; `RUNNING` when it does not.
    frozen_at_us: AtomicI64,
    /// Added to the system's time while the clock runs.
    offset_us: AtomicI64,
    moved: watch::Sender<()>,
    made: Instant,
}

/// A clock that can be frozen, set and advanced. Clones share their hands.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Hands>);

impl Default for Clock {
    fn default() -> Self {
        Clock(Arc::new(Hands {
            frozen_at_us: AtomicI64::new(RUNNING),
            offset_us: AtomicI64::new(0),
            moved: watch::Sender::new(()),
            made: Instant::now(),
        }))
    }
}

impl Clock {
    /// Unix time in microseconds.
    pub fn now_us(&self) -> i64 {
        match self.0.frozen_at_us.load(Ordering::Relaxed) {
            RUNNING => system_us() + self.0.offset_us.load(Ordering::Relaxed),
            frozen => frozen,
        }
    }

    /// Unix time in microseconds, and a stopwatch that starts with it: one reading for both.
    #[inline]
    pub fn now_us_and_watch(&self) -> (i64, Stopwatch) {
        let watch = Stopwatch::start();
        let now_us = match self.0.frozen_at_us.load(Ordering::Relaxed) {
            RUNNING => system_us_at(watch) + self.0.offset_us.load(Ordering::Relaxed),
            frozen => frozen,
        };
        (now_us, watch)
    }

    /// Unix time in milliseconds.
    pub fn now_ms(&self) -> i64 {
        self.now_us().div_euclid(1000)
    }

    /// Milliseconds that have really passed, from 1 on, wherever the hands are: for what is agreed
    /// with other machines, whose links must not break when the hands move.
    pub fn steady_ms(&self) -> i64 {
        self.0.made.elapsed().as_millis() as i64 + 1
    }

    /// Stops the clock where it is.
    pub fn freeze(&self) {
        self.0.frozen_at_us.store(self.now_us(), Ordering::Relaxed);
        self.0.moved.send_replace(());
    }

    /// Sets the time (Unix time in milliseconds); a running clock runs on from there.
    pub fn set(&self, unix_ms: i64) {
        let target_us = unix_ms.saturating_mul(1000).clamp(0, LATEST_US);
        if self.is_frozen() {
            self.0.frozen_at_us.store(target_us, Ordering::Relaxed);
        } else {
            self.0.offset_us.store(target_us - system_us(), Ordering::Relaxed);
        }
        self.0.moved.send_replace(());
    }

    /// Moves the time forward.
    pub fn advance(&self, by: Duration) {
        let by_us = i64::try_from(by.as_micros()).unwrap_or(LATEST_US);
        let hand = if self.is_frozen() { &self.0.frozen_at_us } else { &self.0.offset_us };
        let moved = |at_us: i64| Some(at_us.saturating_add(by_us).min(LATEST_US));
        let _ = hand.fetch_update(Ordering::Relaxed, Ordering::Relaxed, moved);
        self.0.moved.send_replace(());
    }

    /// Lets a frozen clock run on from where it stands.
    pub fn resume(&self) {
        let at_us = self.now_us();
        self.0.offset_us.store(at_us - system_us(), Ordering::Relaxed);
        self.0.frozen_at_us.store(RUNNING, Ordering::Relaxed);
        self.0.moved.send_replace(());
    }

    /// Back to the system's time.
    pub fn reset(&self) {
        self.0.offset_us.store(0, Ordering::Relaxed);
        self.0.frozen_at_us.store(RUNNING, Ordering::Relaxed);
        self.0.moved.send_replace(());
    }

    /// Whether the clock stands still.
    pub fn is_frozen(&self) -> bool {
        self.0.frozen_at_us.load(Ordering::Relaxed) != RUNNING
    }

    /// Tells a sleeper, each time, that somebody has moved the hands.
    pub fn moves(&self) -> watch::Receiver<()> {
        self.0.moved.subscribe()
    }
}

/// No hand goes further, so that sums with a moment never overflow.
const LATEST_US: i64 = i64::MAX / 4;

fn system_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// For how long the system's time is reckoned from its steady clock. Whoever sets the system's
/// clock sees that much later that it was noticed.
const RECKONED_NS: u64 = 1_000_000;
/// Two readings further apart than this do not belong together.
const APART_NS: u64 = 2_000;

thread_local! {
    /// A moment by the stopwatch, and the system's time then.
    static KNOWN: Cell<Option<(Stopwatch, i64)>> = const { Cell::new(None) };
}

/// The system's time when `watch` was started, just now.
#[inline]
fn system_us_at(watch: Stopwatch) -> i64 {
    if let Some((known, unix_us)) = KNOWN.get() {
        let since_ns = watch.ns_since(known);
        if since_ns < RECKONED_NS {
            return unix_us + (since_ns / 1000) as i64;
        }
    }
    let unix_us = system_us();
    KNOWN.set((watch.elapsed_ns() < APART_NS).then_some((watch, unix_us)));
    unix_us
}

/// Measures how long work really took, whatever the clock above says.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts measuring.
    #[inline]
    pub fn start() -> Self {
        Stopwatch(Instant::now())
    }

    /// Nanoseconds since the start.
    #[inline]
    pub fn elapsed_ns(&self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }

    /// Nanoseconds since the start or the last lap, and starts anew: one clock reading for both.
    #[inline]
    pub fn lap_ns(&mut self) -> u64 {
        let now = Stopwatch::start();
        let lap = now.ns_since(*self);
        *self = now;
        lap
    }

    #[inline]
    fn ns_since(self, earlier: Stopwatch) -> u64 {
        self.0.duration_since(earlier.0).as_nanos() as u64
    }
}

/// A 160-bit random name in hex: run ids and replication ids.
pub fn random_hex_id(rng: &mut impl rand::RngCore) -> String {
    let mut bytes = [0; 20];
    rng.fill_bytes(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A seed that nobody can guess, from the operating system.
pub fn random_seed() -> u64 {
    use rand::SeedableRng;
    rand::RngCore::next_u64(&mut rand::rngs::SmallRng::from_os_rng())
}

/// Bytes for a secret, always from the operating system: a repeatable seed must not show them.
/// `None` when the system has none to give.
pub fn secret_bytes(count: usize) -> Option<Vec<u8>> {
    use rand::TryRngCore;
    let mut bytes = vec![0; count];
    rand::rngs::OsRng.try_fill_bytes(&mut bytes).ok().map(|()| bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_reading_tells_the_time_as_two_do() {
        let clock = Clock::default();
        for round in 0..2_000 {
            let before_us = clock.now_us();
            let (now_us, watch) = clock.now_us_and_watch();
            let after_us = clock.now_us();
            // Rounded to microseconds once more, and the moment that is known may be as old.
            let slack_us = 1 + (APART_NS / 1000) as i64;
            assert!(
                (before_us - slack_us..=after_us + slack_us).contains(&now_us),
                "round {round}"
            );
            // The processor may be gone for a while between the two readings.
            let elapsed_us = watch.elapsed_ns() as i64 / 1000;
            assert!(elapsed_us <= clock.now_us() - before_us + 2 * slack_us, "round {round}");
            if round % 100 == 0 {
                clock.advance(Duration::from_secs(round));
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        clock.freeze();
        assert_eq!(clock.now_us_and_watch().0, clock.now_us());
    }

    #[test]
    fn no_hand_goes_so_far_that_sums_overflow() {
        for frozen in [false, true] {
            let clock = Clock::default();
            if frozen {
                clock.freeze();
            }
            for unix_ms in [i64::MAX, i64::MIN, 0, i64::MAX / 1000] {
                clock.set(unix_ms);
                clock.advance(Duration::MAX);
                clock.advance(Duration::MAX);
                assert!((LATEST_US..i64::MAX / 2).contains(&clock.now_us()));
            }
            clock.set(i64::MAX);
            clock.resume();
            assert!(clock.now_us() >= LATEST_US);
        }
    }
}
