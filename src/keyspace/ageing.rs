//! The 24 bits that tell how long ago, or how often, a key was used.
//!
//! Under an LRU policy (and without eviction) they are a clock in seconds. Under an LFU policy the
//! upper 16 bits are the minute of the last decrement and the lower 8 a logarithmic counter, as
//! Redis documents them (lfu-log-factor, lfu-decay-time).

use std::cell::Cell;

const LRU_MASK: u32 = (1 << 24) - 1;
/// What a new key's counter starts with, so that it is not evicted at once.
const LFU_START: u32 = 5;

/// What a file or a payload tells of a key's age.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Age {
    /// Nothing.
    #[default]
    Untold,
    /// Seconds since its last use.
    Idle(u64),
    /// The logarithmic count of its uses.
    Freq(u8),
}

/// How keys age.
#[derive(Clone, Debug)]
pub struct Ageing {
    /// Whether the policy counts uses instead of time.
    pub is_lfu: bool,
    /// `lfu-log-factor`
    pub log_factor: u32,
    /// `lfu-decay-time`, in minutes.
    pub decay_minutes: u32,
    dice: Cell<u64>,
}

/// What the ageing bits are read as, without the rest of [`Ageing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Seconds since the last use.
    Idle,
    /// How often it was used.
    Freq {
        /// `lfu-decay-time`, in minutes.
        decay_minutes: u32,
    },
}

impl Reading {
    /// The count or the seconds that `bits` mean.
    pub fn of(self, bits: u32, now_ms: i64) -> u32 {
        match self {
            Reading::Idle => seconds(now_ms).wrapping_sub(bits) & LRU_MASK,
            Reading::Freq { decay_minutes: 0 } => bits & 0xff,
            Reading::Freq { decay_minutes } => {
                let idle = minutes(now_ms).wrapping_sub(bits >> 8) & 0xffff;
                (bits & 0xff).saturating_sub(idle / decay_minutes)
            }
        }
    }
}

impl Default for Ageing {
    fn default() -> Self {
        let dice = Cell::new(0x9e37_79b9_7f4a_7c15);
        Ageing { is_lfu: false, log_factor: 10, decay_minutes: 1, dice }
    }
}

impl Ageing {
    /// The bits of a new key.
    #[inline]
    pub fn fresh(&self, now_ms: i64) -> u32 {
        if self.is_lfu {
            minutes(now_ms) << 8 | LFU_START
        } else {
            seconds(now_ms)
        }
    }

    /// The bits of a key of which somebody tells the age; that of the other policy means nothing.
    pub fn told(&self, age: Age, now_ms: i64) -> u32 {
        match age {
            Age::Freq(count) if self.is_lfu => minutes(now_ms) << 8 | u32::from(count),
            Age::Idle(idle) if !self.is_lfu => {
                let idle = idle.min(u64::from(LRU_MASK)) as u32;
                seconds(now_ms).wrapping_sub(idle) & LRU_MASK
            }
            _ => self.fresh(now_ms),
        }
    }

    /// The bits after one more use.
    #[inline]
    pub fn touched(&self, bits: u32, now_ms: i64) -> u32 {
        if !self.is_lfu {
            return seconds(now_ms);
        }
        let count = self.count(bits, now_ms);
        minutes(now_ms) << 8 | self.incremented(count)
    }

    /// OBJECT FREQ: the counter, decayed to now.
    pub fn count(&self, bits: u32, now_ms: i64) -> u32 {
        Reading::Freq { decay_minutes: self.decay_minutes }.of(bits, now_ms)
    }

    /// OBJECT IDLETIME: seconds since the last use.
    pub fn idle_seconds(&self, bits: u32, now_ms: i64) -> u32 {
        Reading::Idle.of(bits, now_ms)
    }

    /// How this server's bits are read.
    pub fn reading(&self) -> Reading {
        match self.is_lfu {
            true => Reading::Freq { decay_minutes: self.decay_minutes },
            false => Reading::Idle,
        }
    }

    fn incremented(&self, count: u32) -> u32 {
        if count >= 255 {
            return 255;
        }
        let base = count.saturating_sub(LFU_START) as f64;
        let chance = 1.0 / (base * self.log_factor as f64 + 1.0);
        let mut dice = self.dice.get();
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        self.dice.set(dice);
        if ((dice >> 11) as f64 / (1u64 << 53) as f64) < chance {
            count + 1
        } else {
            count
        }
    }
}

#[inline]
fn seconds(now_ms: i64) -> u32 {
    (now_ms / 1000) as u32 & LRU_MASK
}

fn minutes(now_ms: i64) -> u32 {
    (now_ms / 60_000) as u32 & 0xffff
}
