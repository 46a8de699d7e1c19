//! How long a command takes: counts in buckets that are at most 1/128 wide, so that two digits of
//! every percentile are right.
//!
//! Buckets, percentiles and the powers of two of LATENCY HISTOGRAM are those of Redis's histogram
//! (1 ns to 1 s, two significant digits), so that dashboards show the same steps.

/// Buckets of one power of two.
const HALF: u64 = 128;
const HALF_BITS: u32 = HALF.trailing_zeros();
/// Longer times count as this one.
const MAX_NS: u64 = 1_000_000_000;
const BUCKETS: usize = index(MAX_NS) + 1;
/// The first step of LATENCY HISTOGRAM.
const FIRST_STEP_NS: u64 = 1024;

/// Counts of times.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Box<[u32]>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { counts: vec![0; BUCKETS].into_boxed_slice(), total: 0 }
    }
}

impl Histogram {
    /// Counts one time.
    #[inline]
    pub fn add(&mut self, ns: u64) {
        if let Some(count) = self.counts.get_mut(index(ns.clamp(1, MAX_NS))) {
            *count = count.saturating_add(1);
            self.total += 1;
        }
    }

    /// Times counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The time that `percent` of all times do not exceed, in nanoseconds; 0 without any.
    pub fn percentile_ns(&self, percent: f64) -> u64 {
        let wanted = ((percent.min(100.0) / 100.0) * self.total as f64 + 0.5) as u64;
        let mut below = 0;
        for (at, count) in self.counts.iter().enumerate() {
            below += u64::from(*count);
            if below >= wanted.max(1) {
                return last_of(at);
            }
        }
        0
    }

    /// Steps of a power of two: microseconds, and how many times do not exceed them; only steps
    /// at which the number grows.
    pub fn steps(&self) -> Vec<(u64, u64)> {
        let mut steps = Vec::new();
        let (mut below, mut at, mut told) = (0, 0, 0);
        let mut step_ns = FIRST_STEP_NS;
        while told < self.total {
            let end = index(step_ns);
            while at <= end && at < BUCKETS {
                below += u64::from(self.counts[at]);
                at += 1;
            }
            if below > told {
                steps.push((last_of(end) / 1000, below));
                told = below;
            }
            if at >= BUCKETS {
                break;
            }
            step_ns *= 2;
        }
        steps
    }
}

/// The bucket of a time.
const fn index(ns: u64) -> usize {
    let top = 63 - (ns | (2 * HALF - 1)).leading_zeros();
    let shift = top - HALF_BITS;
    let within = ns >> shift;
    ((shift as u64 + 1) * HALF + within - HALF) as usize
}

/// The largest time of a bucket.
fn last_of(at: usize) -> u64 {
    let at = at as u64;
    if at < 2 * HALF {
        return at;
    }
    let shift = at / HALF - 1;
    ((at % HALF + HALF + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_and_stay_narrow() {
        let mut before = 0;
        for at in 1..BUCKETS {
            assert_eq!(index(before + 1), at);
            assert_eq!(index(last_of(at)), at);
            let width = last_of(at) - before;
            assert!(width * HALF <= last_of(at) || width == 1);
            before = last_of(at);
        }
    }

    #[test]
    fn percentiles_are_within_two_digits() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile_ns(50.0), 0);
        for us in 1..=1000 {
            histogram.add(us * 1000);
        }
        for (percent, exact) in [(50.0, 500_000), (99.0, 990_000), (100.0, 1_000_000)] {
            let got = histogram.percentile_ns(percent);
            assert!(got >= exact && got - exact <= exact / 64, "{percent}: {got}");
        }
        assert_eq!(histogram.total(), 1000);
    }

    /// Steps as Redis 7.0 and 8.0 print them.
    #[test]
    fn steps_are_redis_powers_of_two() {
        let mut histogram = Histogram::default();
        for shift in 0..21 {
            histogram.add(1000 << shift);
        }
        let us: Vec<u64> = histogram.steps().iter().map(|(us, _)| *us).collect();
        let expected = [1, 2, 4, 8, 16, 33, 66, 132, 264, 528, 1056, 2113, 4227, 8454, 16908];
        assert_eq!(us[..15], expected);
        assert_eq!(histogram.steps().last().map(|(_, count)| *count), Some(21));
        assert!(Histogram::default().steps().is_empty());
    }
}
