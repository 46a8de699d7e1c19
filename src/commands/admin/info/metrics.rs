//! The same figures for Prometheus, under the names of redis_exporter, so that its dashboards
//! work. INFO's text is the source: what a field says there it says here. `beyond` adds the little
//! that the exporter asks of other commands.

mod beyond;

use super::text;
use crate::state::State;
use std::collections::BTreeMap;
use std::fmt::Write;
use Kind::{Counter, Gauge};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Gauge,
    Counter,
    Summary,
    Histogram,
}

/// INFO fields that are exported under another name; one value each.
const RENAMED: &[(&str, &str, Kind)] = &[
    ("maxclients", "max_clients", Gauge),
    ("client_recent_max_output_buffer", "client_recent_max_output_buffer_bytes", Gauge),
    ("client_recent_max_input_buffer", "client_recent_max_input_buffer_bytes", Gauge),
    ("allocator_active", "allocator_active_bytes", Gauge),
    ("allocator_allocated", "allocator_allocated_bytes", Gauge),
    ("allocator_resident", "allocator_resident_bytes", Gauge),
    ("allocator_muzzy", "allocator_muzzy_bytes", Gauge),
    ("used_memory", "memory_used_bytes", Gauge),
    ("used_memory_rss", "memory_used_rss_bytes", Gauge),
    ("used_memory_peak", "memory_used_peak_bytes", Gauge),
    ("used_memory_lua", "memory_used_lua_bytes", Gauge),
    ("used_memory_vm_eval", "memory_used_vm_eval_bytes", Gauge),
    ("used_memory_scripts_eval", "memory_used_scripts_eval_bytes", Gauge),
    ("used_memory_overhead", "memory_used_overhead_bytes", Gauge),
    ("used_memory_startup", "memory_used_startup_bytes", Gauge),
    ("used_memory_dataset", "memory_used_dataset_bytes", Gauge),
    ("used_memory_vm_functions", "memory_used_vm_functions_bytes", Gauge),
    ("used_memory_scripts", "memory_used_scripts_bytes", Gauge),
    ("used_memory_functions", "memory_used_functions_bytes", Gauge),
    ("used_memory_vm_total", "memory_used_vm_total", Gauge),
    ("maxmemory", "memory_max_bytes", Gauge),
    ("total_system_memory", "total_system_memory_bytes", Gauge),
    ("mem_cluster_links", "mem_cluster_links_bytes", Gauge),
    ("mem_aof_buffer", "mem_aof_buffer_bytes", Gauge),
    ("mem_replication_backlog", "mem_replication_backlog_bytes", Gauge),
    ("mem_not_counted_for_evict", "mem_not_counted_for_eviction_bytes", Gauge),
    ("mem_total_replication_buffers", "mem_total_replication_buffers_bytes", Gauge),
    ("mem_overhead_db_hashtable_rehashing", "mem_overhead_db_hashtable_rehashing_bytes", Gauge),
    ("expired_stale_perc", "expired_stale_percentage", Gauge),
    ("migrate_cached_sockets", "migrate_cached_sockets_total", Gauge),
    ("active_defrag_hits", "defrag_hits", Gauge),
    ("active_defrag_misses", "defrag_misses", Gauge),
    ("active_defrag_key_hits", "defrag_key_hits", Gauge),
    ("active_defrag_key_misses", "defrag_key_misses", Gauge),
    ("loading", "loading_dump_file", Gauge),
    ("rdb_last_save_time", "rdb_last_save_timestamp_seconds", Gauge),
    ("rdb_last_bgsave_time_sec", "rdb_last_bgsave_duration_sec", Gauge),
    ("rdb_current_bgsave_time_sec", "rdb_current_bgsave_duration_sec", Gauge),
    ("rdb_saves", "rdb_saves_total", Gauge),
    ("rdb_last_cow_size", "rdb_last_cow_size_bytes", Gauge),
    ("rdb_last_load_keys_expired", "rdb_last_load_expired_keys", Gauge),
    ("rdb_last_load_keys_loaded", "rdb_last_load_loaded_keys", Gauge),
    ("aof_last_rewrite_time_sec", "aof_last_rewrite_duration_sec", Gauge),
    ("aof_current_rewrite_time_sec", "aof_current_rewrite_duration_sec", Gauge),
    ("aof_last_cow_size", "aof_last_cow_size_bytes", Gauge),
    ("aof_current_size", "aof_current_size_bytes", Gauge),
    ("aof_base_size", "aof_base_size_bytes", Gauge),
    ("current_eviction_exceeded_time", "current_eviction_exceeded_time_ms", Gauge),
    ("repl_backlog_size", "replication_backlog_bytes", Gauge),
    ("repl_backlog_active", "repl_backlog_is_active", Gauge),
    ("repl_backlog_histlen", "repl_backlog_history_bytes", Gauge),
    ("sync_full", "replica_resyncs_full", Gauge),
    ("sync_partial_ok", "replica_partial_resync_accepted", Gauge),
    ("sync_partial_err", "replica_partial_resync_denied", Gauge),
    ("total_connections_received", "connections_received_total", Counter),
    ("total_commands_processed", "commands_processed_total", Counter),
    ("rejected_connections", "rejected_connections_total", Counter),
    ("total_net_input_bytes", "net_input_bytes_total", Counter),
    ("total_net_output_bytes", "net_output_bytes_total", Counter),
    ("total_net_repl_input_bytes", "net_repl_input_bytes_total", Counter),
    ("total_net_repl_output_bytes", "net_repl_output_bytes_total", Counter),
    ("expired_subkeys", "expired_subkeys_total", Counter),
    ("expired_keys", "expired_keys_total", Counter),
    ("expired_time_cap_reached_count", "expired_time_cap_reached_total", Counter),
    ("expire_cycle_cpu_milliseconds", "expire_cycle_cpu_time_ms_total", Counter),
    ("evicted_keys", "evicted_keys_total", Counter),
    ("evicted_clients", "evicted_clients_total", Counter),
    ("evicted_scripts", "evicted_scripts_total", Counter),
    ("total_eviction_exceeded_time", "eviction_exceeded_time_ms_total", Counter),
    ("keyspace_hits", "keyspace_hits_total", Counter),
    ("keyspace_misses", "keyspace_misses_total", Counter),
    ("eventloop_cycles", "eventloop_cycles_total", Counter),
    ("eventloop_duration_sum", "eventloop_duration_sum_usec_total", Counter),
    ("eventloop_duration_cmd_sum", "eventloop_duration_cmd_sum_usec_total", Counter),
    ("used_cpu_sys", "cpu_sys_seconds_total", Counter),
    ("used_cpu_user", "cpu_user_seconds_total", Counter),
    ("used_cpu_sys_children", "cpu_sys_children_seconds_total", Counter),
    ("used_cpu_user_children", "cpu_user_children_seconds_total", Counter),
    ("used_cpu_sys_main_thread", "cpu_sys_main_thread_seconds_total", Counter),
    ("used_cpu_user_main_thread", "cpu_user_main_thread_seconds_total", Counter),
    (
        "client_query_buffer_limit_disconnections",
        "client_query_buffer_limit_disconnections_total",
        Counter,
    ),
    (
        "client_output_buffer_limit_disconnections",
        "client_output_buffer_limit_disconnections_total",
        Counter,
    ),
    ("reply_buffer_shrinks", "reply_buffer_shrinks_total", Counter),
    ("reply_buffer_expands", "reply_buffer_expands_total", Counter),
    ("acl_access_denied_auth", "acl_access_denied_auth_total", Counter),
    ("acl_access_denied_cmd", "acl_access_denied_cmd_total", Counter),
    ("acl_access_denied_key", "acl_access_denied_key_total", Counter),
    ("acl_access_denied_channel", "acl_access_denied_channel_total", Counter),
];

/// INFO fields that are counters under their own name.
const COUNTERS: &[&str] = &[
    "unexpected_error_replies",
    "total_error_replies",
    "dump_payload_sanitizations",
    "total_reads_processed",
    "total_writes_processed",
    "io_threaded_reads_processed",
    "io_threaded_writes_processed",
];

/// INFO fields that are gauges under their own name.
#[rustfmt::skip]
const GAUGES: &[&str] = &[
    "uptime_in_seconds", "process_id", "io_threads_active", "hz", "configured_hz",
    "connected_clients", "blocked_clients", "tracking_clients", "clients_in_timeout_table",
    "pubsub_clients", "watching_clients", "total_watched_keys", "total_blocking_keys",
    "total_blocking_keys_on_nokey", "allocator_frag_ratio", "allocator_frag_bytes",
    "allocator_rss_ratio", "allocator_rss_bytes", "number_of_cached_scripts",
    "number_of_functions", "number_of_libraries", "mem_fragmentation_ratio",
    "mem_fragmentation_bytes", "mem_clients_slaves", "mem_clients_normal",
    "lazyfree_pending_objects", "lazyfreed_objects", "active_defrag_running", "async_loading",
    "rdb_changes_since_last_save", "rdb_bgsave_in_progress", "rdb_last_bgsave_status",
    "aof_enabled", "aof_rewrite_in_progress", "aof_rewrite_scheduled", "aof_pending_rewrite",
    "aof_buffer_length", "aof_pending_bio_fsync", "aof_delayed_fsync",
    "aof_last_bgrewrite_status", "aof_last_write_status", "module_fork_in_progress",
    "module_fork_last_cow_size", "pubsub_channels", "pubsub_patterns", "pubsubshard_channels",
    "tracking_total_keys", "tracking_total_items", "tracking_total_prefixes",
    "instantaneous_eventloop_cycles_per_sec", "instantaneous_eventloop_duration_usec",
    "connected_slaves", "repl_backlog_first_byte_offset", "master_repl_offset",
    "second_repl_offset", "slave_expires_tracked_keys", "slave_priority", "cluster_enabled",
    "cluster_connections",
];

/// Samples by name, so that those of a name stand together.
#[derive(Default)]
struct Samples(BTreeMap<String, (Option<Kind>, String)>);

impl Samples {
    /// `name` without the prefix; `suffix` tells the parts of a summary apart.
    fn add(&mut self, name: &str, kind: Kind, suffix: &str, labels: &[(&str, &str)], value: f64) {
        let (known, lines) = self.0.entry(name.to_string()).or_default();
        *known = Some(kind);
        let _ = write!(lines, "redis_{name}{suffix}");
        for (number, (label, value)) in labels.iter().enumerate() {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let open = if number == 0 { '{' } else { ',' };
            let _ = write!(lines, "{open}{label}=\"{value}\"");
        }
        let _ = writeln!(lines, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    fn gauge(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.add(name, Gauge, "", labels, value);
    }

    fn into_text(self) -> String {
        let mut text = String::new();
        for (name, (kind, lines)) in self.0 {
            let kind = match kind {
                Some(Counter) => "counter",
                Some(Kind::Summary) => "summary",
                Some(Kind::Histogram) => "histogram",
                _ => "gauge",
            };
            let _ = write!(
                text,
                "# HELP redis_{name} {name} metric\n# TYPE redis_{name} {kind}\n{lines}"
            );
        }
        text
    }
}

/// Everything, in the text format of Prometheus.
pub fn metrics_text(state: &mut State) -> String {
    // A text for machines that read UTF-8.
    let info = String::from_utf8_lossy(&text(state, &[b"everything"])).into_owned();
    let fields: Vec<(&str, &str)> =
        info.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
    let field = |name: &str| fields.iter().find(|(known, _)| *known == name).map(|(_, v)| *v);
    let mut samples = Samples::default();
    samples.gauge("up", &[], 1.0);
    beyond::beyond_info(&mut samples, state);
    for (name, value) in &fields {
        one(&mut samples, name, value);
        if let ("uptime_in_seconds", Ok(up_s)) = (*name, value.parse::<i64>()) {
            let started_s = state.clock.now_ms() / 1000 - up_s;
            samples.gauge("start_time_seconds", &[], started_s as f64);
        }
        labelled(&mut samples, name, value, &field);
    }
    let labels = [
        "role",
        "redis_version",
        "redis_build_id",
        "redis_mode",
        "os",
        "maxmemory_policy",
        "tcp_port",
        "run_id",
        "process_id",
        "master_replid",
    ]
    .map(|name| (name, field(name).unwrap_or_default()));
    samples.gauge("instance_info", &labels, 1.0);
    if field("role") == Some("slave") {
        let labels = [
            ("master_host", "master_host"),
            ("master_port", "master_port"),
            ("read_only", "slave_read_only"),
        ]
        .map(|(label, name)| (label, field(name).unwrap_or_default()));
        samples.gauge("slave_info", &labels, 1.0);
    }
    samples.into_text()
}

/// A field with one figure.
fn one(samples: &mut Samples, name: &str, value: &str) {
    let figure = match value {
        "ok" => 1.0,
        "err" | "fail" => 0.0,
        value => match value.parse::<f64>() {
            Ok(figure) => figure,
            Err(_) => return,
        },
    };
    for (_, metric, kind) in RENAMED.iter().filter(|(known, ..)| *known == name) {
        samples.add(metric, *kind, "", &[], figure);
    }
    if COUNTERS.contains(&name) {
        samples.add(name, Counter, "", &[], figure);
    }
    if GAUGES.contains(&name) {
        samples.gauge(name, &[], figure);
    }
    if name == "latest_fork_usec" {
        samples.gauge("latest_fork_seconds", &[], figure / 1e6);
    }
}

/// A field that says something about a command, a database, an error or another server.
fn labelled<'a>(
    samples: &mut Samples,
    name: &str,
    value: &str,
    field: &dyn Fn(&str) -> Option<&'a str>,
) {
    let part = |wanted: &str| {
        value.split(',').filter_map(|part| part.split_once('=')).find(|(key, _)| *key == wanted)
    };
    let figure = |wanted: &str| part(wanted).and_then(|(_, value)| value.parse::<f64>().ok());
    if let Some(command) = name.strip_prefix("cmdstat_") {
        let labels = [("cmd", command)];
        for (key, metric, unit) in [
            ("calls", "commands_total", 1.0),
            ("usec", "commands_duration_seconds_total", 1e6),
            ("rejected_calls", "commands_rejected_calls_total", 1.0),
            ("failed_calls", "commands_failed_calls_total", 1.0),
        ] {
            let Some(figure) = figure(key) else { continue };
            samples.add(metric, Counter, "", &labels, figure / unit);
        }
    } else if let Some(command) = name.strip_prefix("latency_percentiles_usec_") {
        latencies(samples, command, value, field);
    } else if let Some(code) = name.strip_prefix("errorstat_") {
        let count = figure("count").unwrap_or_default();
        samples.add("errors_total", Counter, "", &[("err", code)], count);
    } else if name.starts_with("db") && part("keys").is_some() {
        for (key, metric, unit) in [
            ("keys", "db_keys", 1.0),
            ("expires", "db_keys_expiring", 1.0),
            ("avg_ttl", "db_avg_ttl_seconds", 1e3),
            ("subexpiry", "db_keys_with_expiring_items", 1.0),
        ] {
            let Some(figure) = figure(key) else { continue };
            samples.gauge(metric, &[("db", name)], figure / unit);
        }
    } else if name.starts_with("slave") && part("ip").is_some() {
        let labels = [("slave_ip", "ip"), ("slave_port", "port"), ("slave_state", "state")]
            .map(|(label, key)| (label, part(key).map_or("", |(_, value)| value)));
        let offset = figure("offset").unwrap_or_default();
        samples.gauge("connected_slave_offset_bytes", &labels, offset);
        samples.gauge("connected_slave_lag_seconds", &labels, figure("lag").unwrap_or_default());
    } else {
        let primary =
            ["master_host", "master_port"].map(|name| (name, field(name).unwrap_or_default()));
        let (metric, figure) = match name {
            "master_link_status" => ("master_link_up", Some(f64::from(value == "up"))),
            "master_last_io_seconds_ago" | "master_sync_in_progress" | "slave_repl_offset" => {
                (name, value.parse().ok())
            }
            _ => return,
        };
        samples.gauge(metric, &primary, figure.unwrap_or_default());
    }
}

/// The percentiles of a command, with what INFO commandstats counts beside them.
fn latencies<'a>(
    samples: &mut Samples,
    command: &str,
    percentiles: &str,
    field: &dyn Fn(&str) -> Option<&'a str>,
) {
    let counted = field(&format!("cmdstat_{command}")).unwrap_or_default();
    let figure = |wanted: &str| {
        let parts = counted.split(',').filter_map(|part| part.split_once('='));
        parts.filter(|(key, _)| *key == wanted).find_map(|(_, value)| value.parse::<f64>().ok())
    };
    let name = "latency_percentiles_usec";
    for (percent, us) in percentiles.split(',').filter_map(|part| part.split_once('=')) {
        let labels = [("cmd", command), ("quantile", percent.trim_start_matches('p'))];
        samples.add(name, Kind::Summary, "", &labels, us.parse().unwrap_or_default());
    }
    for (suffix, key) in [("_sum", "usec"), ("_count", "calls")] {
        let Some(figure) = figure(key) else { continue };
        samples.add(name, Kind::Summary, suffix, &[("cmd", command)], figure);
    }
}
