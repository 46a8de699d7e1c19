//! Counters of the whole server and of each command, and what remembers slow moments.

pub mod histogram;
pub mod latency;
pub mod rate;
pub mod recent;
pub mod slowlog;

use crate::clock::Stopwatch;
use histogram::Histogram;
use latency::Latency;
use rate::Rate;
use slowlog::Slowlog;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is counted of one command.
#[derive(Clone, Debug, Default)]
pub struct CommandStats {
    /// Runs.
    pub calls: u64,
    /// Nanoseconds of all runs.
    pub total_ns: u64,
    /// Refused before they ran.
    pub rejected: u64,
    /// Answered with an error.
    pub failed: u64,
    /// How long runs took; made by the first one, with `latency-tracking`.
    pub times: Option<Box<Histogram>>,
}

/// Error codes told apart. Scripts can make up any number of codes: with one more, none is told
/// apart any longer until the statistics are reset.
const ERROR_CODES_MAX: usize = 128;
/// What stands in their place then.
const ERRORS_DISABLED: &[u8] = b"ERRORSTATS_DISABLED";

/// How busy the threads are, in nanoseconds where nothing else is said.
#[derive(Clone, Debug, Default)]
pub struct Work {
    /// Stays under the lock: batches of commands, and slices of cron.
    pub batches: u64,
    /// Time of all of them.
    pub batch_ns: u64,
    /// Time of commands alone.
    pub command_ns: u64,
    /// Time of cron alone.
    pub cron_ns: u64,
    /// The longest batch.
    pub longest_batch_ns: u64,
    /// The most commands in a batch.
    pub most_in_batch: u64,
    /// Time of expiring keys.
    pub expiry_ns: u64,
    /// Slices that ended before all that was due had expired.
    pub expiry_cut_short: u64,
    /// Since when memory has been above its limit (Unix ms).
    pub above_limit_since_ms: Option<i64>,
    /// How long it was before that (ms).
    pub above_limit_ms: u64,
}

impl Work {
    /// Counts a batch of commands.
    #[inline]
    pub fn batch(&mut self, ns: u64, commands: u64) {
        self.batches += 1;
        self.batch_ns += ns;
        self.longest_batch_ns = self.longest_batch_ns.max(ns);
        self.most_in_batch = self.most_in_batch.max(commands);
    }

    /// Time under the lock.
    pub fn busy_ns(&self) -> u64 {
        self.batch_ns + self.cron_ns
    }

    /// How long memory has been above its limit now (ms).
    pub fn above_limit_now_ms(&self, now_ms: i64) -> u64 {
        self.above_limit_since_ms
            .map_or(0, |since_ms| u64::try_from(now_ms - since_ms).unwrap_or(0))
    }

    /// Tells whether memory is above its limit.
    pub fn above_limit(&mut self, above: bool, now_ms: i64) {
        match (above, self.above_limit_since_ms) {
            (true, None) => self.above_limit_since_ms = Some(now_ms),
            (false, Some(_)) => {
                self.above_limit_ms += self.above_limit_now_ms(now_ms);
                self.above_limit_since_ms = None;
            }
            _ => {}
        }
    }
}

/// How fast counters grow.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Rates {
    pub commands: Rate,
    pub net_in: Rate,
    pub net_out: Rate,
    pub batches: Rate,
    pub busy_us: Rate,
}

/// Counters that INFO shows.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// By number of the command.
    pub commands: Vec<CommandStats>,
    errors: BTreeMap<Box<[u8]>, u64>,
    /// There were too many codes.
    errors_disabled: bool,
    /// `total_error_replies`
    pub error_replies: u64,
    /// `total_commands_processed`
    pub commands_processed: u64,
    /// `total_connections_received`
    pub connections_received: u64,
    /// `rejected_connections`
    pub connections_rejected: u64,
    /// `total_net_input_bytes`
    pub net_in_bytes: u64,
    /// `total_net_output_bytes`
    pub net_out_bytes: u64,
    /// `total_reads_processed`
    pub reads: u64,
    /// `total_writes_processed`
    pub writes: u64,
    /// `client_output_buffer_limit_disconnections`
    pub output_limit_disconnections: u64,
    /// `client_query_buffer_limit_disconnections`
    pub query_limit_disconnections: u64,
    /// `unexpected_error_replies`
    pub unexpected_errors: u64,
    /// `evicted_clients`
    pub evicted_clients: u64,
    /// How busy the threads are.
    pub work: Work,
    /// How fast counters grow.
    pub rates: Rates,
    /// The last commands, for a crash report.
    pub recent: Arc<recent::Recent>,
    /// Commands that took long.
    pub slowlog: Slowlog,
    /// Slow moments.
    pub latency: Latency,
    /// Bytes of connections and their buffers at the last count.
    pub client_bytes: u64,
    /// How long that count is good enough.
    pub client_count: Option<Freshness>,
    /// The most memory in use so far.
    pub peak_bytes: u64,
    /// Memory in use after the start.
    pub startup_bytes: u64,
}

/// How long a figure that costs something to find is good enough.
#[derive(Clone, Copy, Debug)]
pub struct Freshness {
    /// Since it was found.
    pub since: Stopwatch,
    /// For so long (nanoseconds).
    pub lasts_ns: u64,
}

impl Freshness {
    /// Whether it is time to find the figure anew.
    pub fn is_over(&self) -> bool {
        self.since.elapsed_ns() >= self.lasts_ns
    }
}

impl Stats {
    /// Counters for a table of `commands`.
    pub fn new(commands: usize) -> Stats {
        Stats { commands: vec![CommandStats::default(); commands], ..Stats::default() }
    }

    /// Counts a batch of commands: its time under the lock, its requests and replies.
    #[inline]
    pub fn batch(&mut self, ns: u64, commands: u64, in_bytes: u64, out_bytes: u64) {
        self.work.batch(ns, commands);
        self.reads += 1;
        self.net_in_bytes += in_bytes;
        self.pushed(out_bytes);
    }

    /// Counts bytes that are sent at one go.
    #[inline]
    pub fn pushed(&mut self, bytes: u64) {
        self.writes += u64::from(bytes > 0);
        self.net_out_bytes += bytes;
    }

    /// Counts an error reply by its code word. When there are too many of them, gives all those
    /// that are told apart no longer.
    #[must_use]
    pub fn error(&mut self, code: &[u8]) -> Option<Vec<Box<[u8]>>> {
        self.error_replies += 1;
        if self.errors_disabled {
            return None;
        }
        if let Some(count) = self.errors.get_mut(code) {
            *count += 1;
            return None;
        }
        let crowded = self.errors.len() >= ERROR_CODES_MAX;
        let dropped = crowded.then(|| std::mem::take(&mut self.errors).into_keys().collect());
        self.errors_disabled = crowded;
        let code = if crowded { ERRORS_DISABLED } else { code };
        self.errors.insert(code.into(), 1);
        dropped
    }

    /// Error codes, and how often each was answered.
    pub fn errors(&self) -> impl Iterator<Item = (&[u8], u64)> {
        self.errors.iter().map(|(code, count)| (&**code, *count))
    }

    /// Sets the counters back to 0, as CONFIG RESETSTAT does; what tells of the present, the slow
    /// log and the latency events stay.
    pub fn reset(&mut self) {
        let fresh = Stats::new(self.commands.len());
        let old = std::mem::replace(self, fresh);
        self.slowlog = old.slowlog;
        self.latency = old.latency;
        self.client_bytes = old.client_bytes;
        self.client_count = old.client_count;
        self.startup_bytes = old.startup_bytes;
        self.work.above_limit_since_ms = old.work.above_limit_since_ms;
    }

    /// Takes samples of what grows; called about ten times a second.
    pub fn sample(&mut self, now_ms: i64) {
        self.sampled().into_iter().for_each(|(rate, value)| rate.sample(now_ms, value));
    }

    /// Goes on sampling after a rest.
    pub fn resume(&mut self, now_ms: i64) {
        self.sampled().into_iter().for_each(|(rate, value)| rate.resume(now_ms, value));
    }

    /// What grows, and how far it has come.
    fn sampled(&mut self) -> [(&mut Rate, u64); 5] {
        let rates = &mut self.rates;
        [
            (&mut rates.commands, self.commands_processed),
            (&mut rates.net_in, self.net_in_bytes),
            (&mut rates.net_out, self.net_out_bytes),
            (&mut rates.batches, self.work.batches),
            (&mut rates.busy_us, self.work.busy_ns() / 1000),
        ]
    }

    /// Whether clients have asked for nothing and were told nothing of late.
    pub fn is_still(&self) -> bool {
        self.rates.commands.is_still(self.commands_processed)
            && self.rates.net_in.is_still(self.net_in_bytes)
            && self.rates.net_out.is_still(self.net_out_bytes)
    }

    /// Microseconds that a stay under the lock takes of late.
    pub fn batch_us(&self) -> u64 {
        let batches = self.rates.batches.per_second();
        let busy_us = self.rates.busy_us.per_second();
        busy_us.checked_div(batches).map_or(0, |us| us.max(u64::from(busy_us > 0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_beyond_the_limit_are_told_apart_no_longer() {
        let mut stats = Stats::new(0);
        for number in 0..ERROR_CODES_MAX {
            assert_eq!(stats.error(number.to_string().as_bytes()), None);
        }
        assert_eq!(stats.error(b"1"), None);
        let codes =
            |stats: &Stats| stats.errors().map(|(code, _)| code.to_vec()).collect::<Vec<_>>();
        assert_eq!(codes(&stats).len(), ERROR_CODES_MAX);
        let dropped = stats.error(b"\xff").expect("there are too many now");
        assert_eq!((dropped.len(), &*dropped[1]), (ERROR_CODES_MAX, &b"1"[..]));
        assert_eq!(codes(&stats), [ERRORS_DISABLED]);
        assert_eq!(stats.error(b"ERR"), None);
        assert_eq!((codes(&stats).len(), stats.error_replies), (1, 131));
        stats.reset();
        assert_eq!(stats.error(b"ERR"), None);
        assert_eq!(codes(&stats), [b"ERR"]);
    }

    #[test]
    fn a_reset_keeps_what_is_no_counter() {
        let mut stats = Stats::new(3);
        assert_eq!(stats.error(b"ERR"), None);
        stats.slowlog.add(9, 1, 1, &["PING"], ("", b""));
        stats.startup_bytes = 7;
        stats.reset();
        assert_eq!((stats.errors().count(), stats.commands.len()), (0, 3));
        assert_eq!((stats.slowlog.len(), stats.startup_bytes), (1, 7));
    }
}
