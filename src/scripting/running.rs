//! The script that runs now, as seen without the lock: whoever waits for the lock learns here that
//! a script takes long, and may ask it to stop.

use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::Mutex;

use crate::clock::Stopwatch;

/// It runs longer than `busy-reply-threshold`.
const SLOW: u8 = 1;
/// It was told to stop.
const KILLED: u8 = 2;
/// It has run a command that writes.
const WROTE: u8 = 4;
/// It is a function, not a script of EVAL.
const FUNCTION: u8 = 8;
/// The server ends: it must stop even if it has written.
const ENDING: u8 = 16;

/// What FUNCTION STATS tells of a slow function.
#[derive(Clone, Debug)]
pub struct Slow {
    /// Its name.
    pub name: Vec<u8>,
    /// The words of the command that called it.
    pub words: Vec<Vec<u8>>,
    /// How many libraries there are.
    pub libraries: usize,
    /// How many functions they have.
    pub functions: usize,
    /// Runs since it began.
    pub watch: Stopwatch,
}

/// Why a script was not told to stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unkillable {
    /// Nothing runs that takes long.
    NotBusy,
    /// It has written.
    Wrote,
    /// It is of the other kind: `true` when it is a function.
    Other(bool),
}

/// See the module.
#[derive(Debug, Default)]
pub struct Running {
    flags: AtomicU8,
    slow: Mutex<Option<Slow>>,
    /// Held by whoever answers in the place of the script's worker.
    turn: Mutex<()>,
}

impl Running {
    /// Whether a script keeps everybody waiting.
    #[inline]
    pub fn is_slow(&self) -> bool {
        self.flags.load(Ordering::Acquire) & SLOW != 0
    }

    /// Whether the slow script is a function.
    pub fn is_function(&self) -> bool {
        self.flags.load(Ordering::Acquire) & FUNCTION != 0
    }

    /// What is known of the slow script.
    pub fn slow(&self) -> Option<Slow> {
        self.slow.lock().clone()
    }

    /// Called by the script's side when it has become slow.
    pub fn turn_slow(&self, slow: Slow, is_function: bool, wrote: bool) {
        *self.slow.lock() = Some(slow);
        let mut flags = SLOW;
        if is_function {
            flags |= FUNCTION;
        }
        if wrote {
            flags |= WROTE;
        }
        self.flags.fetch_or(flags, Ordering::AcqRel);
    }

    /// Called by the script's side: it has written, so it cannot be killed any more. False when
    /// it was killed before.
    pub fn note_write(&self) -> bool {
        self.flags.fetch_or(WROTE, Ordering::AcqRel) & KILLED == 0
    }

    /// Called by the script's side: whether it has to stop.
    pub fn must_stop(&self) -> bool {
        self.flags.load(Ordering::Acquire) & (KILLED | ENDING) != 0
    }

    /// Whether the server ends, so that what the script did must not be kept.
    pub fn is_ending(&self) -> bool {
        self.flags.load(Ordering::Acquire) & ENDING != 0
    }

    /// Does one round of work in the place of the script's worker, unless the script has ended.
    pub fn while_slow(&self, round: impl FnOnce()) -> bool {
        let _turn = self.turn.lock();
        let slow = self.is_slow();
        if slow {
            round();
        }
        slow
    }

    /// Called by the script's side at its end; waits for the round that may be under way.
    pub fn over(&self) {
        if self.flags.load(Ordering::Acquire) != 0 {
            let _turn = self.turn.lock();
            self.flags.store(0, Ordering::Release);
            *self.slow.lock() = None;
        }
    }

    /// Tells a slow script to stop (SCRIPT KILL, FUNCTION KILL).
    pub fn kill(&self, function: bool) -> Result<(), Unkillable> {
        let judged = self.flags.fetch_update(Ordering::AcqRel, Ordering::Acquire, |flags| {
            judge(flags, function).is_ok().then_some(flags | KILLED)
        });
        judged
            .map(drop)
            .map_err(|flags| judge(flags, function).err().unwrap_or(Unkillable::NotBusy))
    }

    /// Tells a slow script to stop because the server ends.
    pub fn end(&self) {
        self.flags.fetch_or(ENDING, Ordering::AcqRel);
    }
}

fn judge(flags: u8, function: bool) -> Result<(), Unkillable> {
    if flags & SLOW == 0 {
        return Err(Unkillable::NotBusy);
    }
    if flags & WROTE != 0 {
        return Err(Unkillable::Wrote);
    }
    let is_function = flags & FUNCTION != 0;
    if is_function != function {
        return Err(Unkillable::Other(is_function));
    }
    Ok(())
}
