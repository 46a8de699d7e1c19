//! LATENCY: the slowest moment of each second, per kind of event, and what can be read from them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Samples kept of an event.
const SAMPLES_MAX: usize = 160;
/// Columns of LATENCY GRAPH.
const COLUMNS_MAX: usize = 80;
/// Rows of LATENCY GRAPH.
const ROWS: usize = 4;

/// The slowest occurrence within one second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When (Unix seconds).
    pub at_s: i64,
    /// How long (milliseconds).
    pub took_ms: u64,
}

/// What is known of one kind of event.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// The oldest first.
    samples: std::collections::VecDeque<Sample>,
    /// Since the last reset.
    max_ms: u64,
}

impl Series {
    /// The oldest first.
    pub fn samples(&self) -> impl ExactSizeIterator<Item = Sample> + '_ {
        self.samples.iter().copied()
    }

    /// The latest one.
    pub fn latest(&self) -> Option<Sample> {
        self.samples.back().copied()
    }

    /// The longest since the last reset (milliseconds).
    pub fn max_ms(&self) -> u64 {
        self.max_ms
    }

    /// The shortest and the longest of the samples (milliseconds).
    fn range_ms(&self) -> (u64, u64) {
        let all = || self.samples.iter().map(|sample| sample.took_ms);
        (all().min().unwrap_or(0), all().max().unwrap_or(0))
    }
}

/// All kinds of events.
#[derive(Clone, Debug, Default)]
pub struct Latency {
    events: BTreeMap<&'static str, Series>,
}

impl Latency {
    /// Remembers that an event took long; within a second only the longest counts.
    pub fn add(&mut self, event: &'static str, at_s: i64, took_ms: u64) {
        let series = self.events.entry(event).or_default();
        series.max_ms = series.max_ms.max(took_ms);
        match series.samples.back_mut() {
            Some(last) if last.at_s == at_s => last.took_ms = last.took_ms.max(took_ms),
            _ => {
                if series.samples.len() == SAMPLES_MAX {
                    series.samples.pop_front();
                }
                series.samples.push_back(Sample { at_s, took_ms });
            }
        }
    }

    /// Names and histories.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'static str, &Series)> {
        self.events.iter().map(|(name, series)| (*name, series))
    }

    /// The history of an event.
    pub fn series(&self, event: &[u8]) -> Option<&Series> {
        self.events.get(std::str::from_utf8(event).ok()?)
    }

    /// Forgets an event; false when it was not known.
    pub fn forget(&mut self, event: &[u8]) -> bool {
        let name = std::str::from_utf8(event).unwrap_or_default();
        self.events.remove(name).is_some()
    }

    /// Forgets all events; gives how many there were.
    pub fn clear(&mut self) -> usize {
        let known = self.events.len();
        self.events.clear();
        known
    }

    /// LATENCY GRAPH: the latest samples as columns, their ages below, read from top to bottom.
    /// `None` for an event that is not known.
    pub fn graph(&self, event: &[u8], now_s: i64) -> Option<String> {
        let event = std::str::from_utf8(event).ok()?;
        let series = self.events.get(event)?;
        let (low, high) = series.range_ms();
        let mut text = format!(
            "{event} - high {high} ms, low {low} ms (all time high {} ms)\n{}\n",
            series.max_ms,
            "-".repeat(COLUMNS_MAX)
        );
        let skipped = series.samples.len().saturating_sub(COLUMNS_MAX);
        let shown: Vec<Sample> = series.samples().skip(skipped).collect();
        let level = |sample: &Sample| {
            let span = (high - low).max(1);
            (sample.took_ms - low) as usize * (2 * ROWS - 1) / span as usize
        };
        for row in (0..ROWS).rev() {
            let mark = |sample: &Sample| match level(sample) {
                level if level > 2 * row => '#',
                level if level == 2 * row => '_',
                _ => ' ',
            };
            text.extend(shown.iter().map(mark));
            text.push('\n');
        }
        let ages: Vec<String> = shown.iter().map(|sample| age(now_s - sample.at_s)).collect();
        let longest = ages.iter().map(String::len).max().unwrap_or(0);
        for row in 0..longest {
            text.push('\n');
            text.extend(ages.iter().map(|age| age.chars().nth(row).unwrap_or(' ')));
        }
        text.push('\n');
        Some(text)
    }

    /// LATENCY DOCTOR: a report in plain words.
    pub fn report(&self, threshold_ms: u64) -> String {
        if threshold_ms == 0 {
            return "Nothing is measured: latency-monitor-threshold is 0. Set it to the \
                    milliseconds that count as slow for you, for example with CONFIG SET \
                    latency-monitor-threshold 100, and ask again later.\n"
                .to_string();
        }
        if self.events.is_empty() {
            return format!("No event took longer than {threshold_ms} ms so far.\n");
        }
        let mut text = format!("Events that took longer than {threshold_ms} ms:\n");
        for (number, (event, series)) in self.events.iter().enumerate() {
            let count = series.samples.len() as u64;
            let sum: u64 = series.samples().map(|sample| sample.took_ms).sum();
            let average = sum / count.max(1);
            let spread: u64 = series.samples().map(|sample| sample.took_ms.abs_diff(average)).sum();
            let first_s = series.samples.front().map_or(0, |sample| sample.at_s);
            let last_s = series.latest().map_or(0, |sample| sample.at_s);
            let period_s = (last_s - first_s) as f64 / count.max(1) as f64;
            let _ = writeln!(
                text,
                "\n{}. {event}: {count} slow seconds, average {average} ms (mean deviation {} \
                 ms), one in {period_s:.2} seconds, the worst {} ms.",
                number + 1,
                spread / count.max(1),
                series.max_ms
            );
            if let Some(advice) = advice(event) {
                let _ = writeln!(text, "   {advice}");
            }
        }
        text
    }
}

fn advice(event: &str) -> Option<&'static str> {
    Some(match event {
        "command" | "fast-command" => {
            "Look at SLOWLOG GET for the commands, and ask for fewer elements at once."
        }
        "expire-cycle" => "Many keys expire together: spread their deadlines.",
        "eviction-cycle" | "eviction-del" => {
            "Memory is at its limit: raise maxmemory, or write less."
        }
        "aof-fsync-always" | "aof-write" | "aof-write-pending-fsync" | "aof-write-alone" => {
            "The disk is slow: try appendfsync everysec, or a faster disk."
        }
        _ => return None,
    })
}

/// Seconds as `5s`, `3m`, `2h` or `1d`.
fn age(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{}s", seconds.max(0)),
        60..3600 => format!("{}m", seconds / 60),
        3600..86400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_keeps_its_longest_and_the_past_is_bounded() {
        let mut latency = Latency::default();
        for took_ms in [5, 9, 7] {
            latency.add("command", 100, took_ms);
        }
        let series = latency.series(b"command").expect("known");
        assert_eq!(series.samples().collect::<Vec<_>>(), [Sample { at_s: 100, took_ms: 9 }]);
        for at_s in 0..200 {
            latency.add("command", 1000 + at_s, 1);
        }
        let series = latency.series(b"command").expect("known");
        assert_eq!((series.samples().len(), series.max_ms()), (SAMPLES_MAX, 9));
        assert_eq!(series.latest(), Some(Sample { at_s: 1199, took_ms: 1 }));
        assert!(latency.forget(b"command") && !latency.forget(b"command"));
        latency.add("expire-cycle", 1, 1);
        assert_eq!((latency.clear(), latency.clear()), (1, 0));
    }

    #[test]
    fn graphs_have_a_column_for_each_sample() {
        let mut latency = Latency::default();
        for (at_s, took_ms) in [(0, 300), (10, 400), (100, 500)] {
            latency.add("command", at_s, took_ms);
        }
        let graph = latency.graph(b"command", 130).expect("known");
        let lines: Vec<&str> = graph.lines().collect();
        assert_eq!(lines[0], "command - high 500 ms, low 300 ms (all time high 500 ms)");
        assert_eq!(lines[1].len(), 80);
        assert_eq!(lines[2..6], ["  #", "  #", " ##", "_##"]);
        assert_eq!(lines[7..], ["223", "mm0", "  s"]);
        assert_eq!(latency.graph(b"nothing", 1), None);
    }

    #[test]
    fn reports_say_something_in_every_state() {
        let mut latency = Latency::default();
        assert!(latency.report(0).contains("latency-monitor-threshold"));
        assert!(latency.report(10).starts_with("No event"));
        latency.add("command", 1, 20);
        latency.add("command", 3, 40);
        let report = latency.report(10);
        assert!(report.contains("1. command: 2 slow seconds, average 30 ms"), "{report}");
    }
}
