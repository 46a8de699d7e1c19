//! How fast a counter grows: the average of the last samples, as INFO's `instantaneous_*` show it.

/// Samples that the average is of.
const SAMPLES: usize = 16;

/// A counter's growth a second.
#[derive(Clone, Debug, Default)]
pub struct Rate {
    per_second: [u64; SAMPLES],
    next: usize,
    last: Option<(i64, u64)>,
}

impl Rate {
    /// Tells the counter's value at a time (milliseconds); called about ten times a second.
    pub fn sample(&mut self, now_ms: i64, value: u64) {
        if let Some((before_ms, before)) = self.last {
            let elapsed_ms = u64::try_from(now_ms - before_ms).unwrap_or(0).max(1);
            let grown = value.saturating_sub(before);
            self.per_second[self.next] = grown.saturating_mul(1000) / elapsed_ms;
            self.next = (self.next + 1) % SAMPLES;
        }
        self.last = Some((now_ms, value));
    }

    /// Goes on after a time without samples, in which nothing grew.
    pub fn resume(&mut self, now_ms: i64, value: u64) {
        self.last = Some((now_ms, value));
    }

    /// Whether the counter has stood still for as long as the average goes back.
    pub fn is_still(&self, value: u64) -> bool {
        self.last.is_some_and(|(_, last)| last == value) && self.per_second == [0; SAMPLES]
    }

    /// The average growth a second.
    pub fn per_second(&self) -> u64 {
        self.per_second.iter().sum::<u64>() / SAMPLES as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steady_growth_is_its_rate() {
        let mut rate = Rate::default();
        for step in 0..40 {
            rate.sample(step * 100, step as u64 * 5);
        }
        assert_eq!(rate.per_second(), 50);
        for step in 40..60 {
            rate.sample(step * 100, 195);
        }
        assert_eq!(rate.per_second(), 0);
    }
}
