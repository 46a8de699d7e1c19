//! How far a load, a save or a rewrite has come, as the log tells it every few seconds and INFO
//! whenever it is asked.

use crate::clock::Stopwatch;

/// Between two lines of the log.
const EVERY_NS: u64 = 2_000_000_000;

/// Something that takes long, since it began.
#[derive(Clone, Copy, Debug)]
pub struct Headway {
    watch: Stopwatch,
    told_ns: u64,
}

impl Default for Headway {
    fn default() -> Self {
        Headway { watch: Stopwatch::start(), told_ns: 0 }
    }
}

impl Headway {
    /// Nanoseconds since it began.
    pub fn elapsed_ns(&self) -> u64 {
        self.watch.elapsed_ns()
    }

    /// Megabytes in a second, so far.
    pub fn megabytes_per_s(&self, bytes: u64) -> f64 {
        megabytes_per_s(bytes, self.elapsed_ns())
    }

    /// A line for the log, if it is time for one.
    pub fn line(
        &mut self,
        what: &str,
        percent: Option<f64>,
        keys: u64,
        bytes: u64,
    ) -> Option<String> {
        self.line_at(self.elapsed_ns(), what, percent, keys, bytes)
    }

    fn line_at(
        &mut self,
        now_ns: u64,
        what: &str,
        percent: Option<f64>,
        keys: u64,
        bytes: u64,
    ) -> Option<String> {
        if now_ns - self.told_ns < EVERY_NS {
            return None;
        }
        self.told_ns = now_ns;
        let speed = megabytes_per_s(bytes, now_ns);
        let percent = percent.map(|percent| format!("{percent:.1}% done, ")).unwrap_or_default();
        Some(format!("{what}: {percent}{keys} keys, {speed:.1} MB/s"))
    }
}

fn megabytes_per_s(bytes: u64, elapsed_ns: u64) -> f64 {
    bytes as f64 * 1000.0 / elapsed_ns.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_every_few_seconds_with_percent_keys_and_speed() {
        let mut headway = Headway::default();
        let mut at =
            |ms: u64| headway.line_at(ms * 1_000_000, "Saving", Some(12.34), 5, 30_000_000);
        assert_eq!(at(10), None);
        assert_eq!(at(1999), None);
        assert_eq!(at(3000), Some("Saving: 12.3% done, 5 keys, 10.0 MB/s".to_string()));
        assert_eq!(at(4999), None);
        assert_eq!(at(5000), Some("Saving: 12.3% done, 5 keys, 6.0 MB/s".to_string()));
        let line = headway.line_at(10_000_000_000, "Loading", None, 5, 10_000_000);
        assert_eq!(line, Some("Loading: 5 keys, 1.0 MB/s".to_string()));
    }
}
