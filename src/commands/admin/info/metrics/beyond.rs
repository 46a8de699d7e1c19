//! What redis_exporter asks of other commands than INFO: CONFIG GET, SLOWLOG GET and LATENCY.

use super::{Kind, Samples};
use crate::commands::table;
use crate::state::State;
use std::fmt::Write;

/// Databases without keys that are told of; more than that would be noise.
const EMPTY_DATABASES_MAX: usize = 256;

/// The figures of those commands.
pub(super) fn beyond_info(samples: &mut Samples, state: &State) {
    configured(samples, state);
    slow_moments(samples, state);
    spreads(samples, state);
    for index in 0..state.db.databases().min(EMPTY_DATABASES_MAX) {
        if !state.db.space(index).is_empty() {
            continue;
        }
        let name = format!("db{index}");
        samples.gauge("db_keys", &[("db", &name)], 0.0);
        samples.gauge("db_keys_expiring", &[("db", &name)], 0.0);
    }
}

fn configured(samples: &mut Samples, state: &State) {
    let shown = |name: &str| {
        let value = state.config.value(name).unwrap_or_default();
        String::from_utf8_lossy(&value).into_owned()
    };
    for (directive, metric) in [
        ("io-threads", "config_io_threads"),
        ("maxclients", "config_maxclients"),
        ("maxmemory", "config_maxmemory"),
        ("repl-backlog-size", "config_repl_backlog_size"),
    ] {
        let Ok(figure) = shown(directive).parse() else { continue };
        samples.gauge(metric, &[], figure);
    }
    let limits = shown("client-output-buffer-limit");
    let words: Vec<&str> = limits.split(' ').collect();
    for class in words.chunks_exact(4) {
        let bytes = "config_client_output_buffer_limit_bytes";
        for (metric, kind, at) in [
            (bytes, "hard", 1),
            (bytes, "soft", 2),
            ("config_client_output_buffer_limit_overcome_seconds", "soft", 3),
        ] {
            let Ok(figure) = class[at].parse() else { continue };
            samples.gauge(metric, &[("class", class[0]), ("limit", kind)], figure);
        }
    }
}

fn slow_moments(samples: &mut Samples, state: &State) {
    let last = state.stats.slowlog.iter().next();
    let (id, took_us) = last.map_or((0, 0), |entry| (entry.id, entry.took_us));
    samples.gauge("slowlog_length", &[], state.stats.slowlog.len() as f64);
    samples.gauge("slowlog_last_id", &[], id as f64);
    samples.gauge("last_slow_execution_duration_seconds", &[], took_us as f64 / 1e6);
    for (event, series) in state.stats.latency.iter() {
        let Some(latest) = series.latest() else { continue };
        let labels = [("event_name", event)];
        samples.gauge("latency_spike_last", &labels, latest.at_s as f64);
        samples.gauge("latency_spike_duration_seconds", &labels, latest.took_ms as f64 / 1e3);
    }
}

/// How the times of each command spread, as LATENCY HISTOGRAM has it.
fn spreads(samples: &mut Samples, state: &State) {
    let name = "commands_latencies_usec";
    for (spec, counted) in table().specs.iter().zip(&state.stats.commands) {
        let Some(times) = counted.times.as_deref() else { continue };
        let mut add = |suffix, labels: &[(&str, &str)], figure: f64| {
            samples.add(name, Kind::Histogram, suffix, labels, figure);
        };
        let mut bound = String::new();
        for (us, count) in times.steps() {
            bound.clear();
            let _ = write!(bound, "{us}");
            add("_bucket", &[("cmd", &spec.name), ("le", &bound)], count as f64);
        }
        let total = times.total() as f64;
        add("_bucket", &[("cmd", &spec.name), ("le", "+Inf")], total);
        add("_sum", &[("cmd", &spec.name)], (counted.total_ns / 1000) as f64);
        add("_count", &[("cmd", &spec.name)], total);
    }
}
