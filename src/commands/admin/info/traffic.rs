//! INFO clients and stats: connections, and what has been counted.

use super::Report;
use crate::client::Transport;
use crate::pubsub::Scope;
use crate::state::State;
use std::collections::BTreeSet;

pub(super) fn clients(report: &mut Report, state: &mut State) {
    let settings = state.config.settings();
    let connected: Vec<_> = state.clients.iter().filter(|client| is_connected(client)).collect();
    let count = |is: &dyn Fn(&&&crate::client::Client) -> bool| {
        connected.iter().filter(|client| is(client)).count() as u64
    };
    let waiting = connected.iter().filter_map(|client| client.blocked.as_ref());
    let keys_on_loss: BTreeSet<_> =
        waiting.filter(|waiting| waiting.wakes_on_loss).flat_map(|waiting| &waiting.keys).collect();
    report.title("Clients");
    report.numbers(&[
        ("connected_clients", count(&|client| !client.is_replica())),
        ("cluster_connections", 0),
        ("maxclients", settings.maxclients as u64),
        (
            "client_recent_max_input_buffer",
            connected.iter().map(|client| client.incomplete().raw_bytes as u64).max().unwrap_or(0),
        ),
        (
            "client_recent_max_output_buffer",
            connected.iter().map(|client| client.output_bytes() as u64).max().unwrap_or(0),
        ),
        ("blocked_clients", (state.blocking.len() + state.held_back.len()) as u64),
        ("tracking_clients", state.tracking.clients() as u64),
        ("pubsub_clients", count(&|client| client.is_subscriber())),
        ("watching_clients", count(&|client| !client.watched.is_empty())),
        (
            "clients_in_timeout_table",
            count(&|client| client.blocked.as_ref().is_some_and(|one| one.until_ms.is_some())),
        ),
        ("total_watched_keys", state.watches.len() as u64),
        ("total_blocking_keys", state.blocking.keys() as u64),
        ("total_blocking_keys_on_nokey", keys_on_loss.len() as u64),
    ]);
}

/// Who has been told to go does not count, whenever its session sees it.
fn is_connected(client: &crate::client::Client) -> bool {
    client.transport != Transport::Internal && !client.is_gone()
}

pub(super) fn stats(report: &mut Report, state: &mut State) {
    let (stats, counters) = (&state.stats, &state.db.counters);
    let denied = state.acl.log.counters;
    let above_now_ms = stats.work.above_limit_now_ms(state.db.now_ms());
    let channels = |scope| state.pubsub.names(scope).count() as u64;
    report.title("Stats");
    report.numbers(&[
        ("total_connections_received", stats.connections_received),
        ("total_commands_processed", stats.commands_processed),
        ("instantaneous_ops_per_sec", stats.rates.commands.per_second()),
        ("total_net_input_bytes", stats.net_in_bytes),
        ("total_net_output_bytes", stats.net_out_bytes),
        ("total_net_repl_input_bytes", state.role.counters.net_in_bytes),
        ("total_net_repl_output_bytes", state.role.counters.net_out_bytes),
    ]);
    let kib = |rate: &crate::stats::rate::Rate| rate.per_second() as f64 / 1024.0;
    report.ratio("instantaneous_input_kbps", kib(&stats.rates.net_in));
    report.ratio("instantaneous_output_kbps", kib(&stats.rates.net_out));
    report.ratio("instantaneous_input_repl_kbps", 0.0);
    report.ratio("instantaneous_output_repl_kbps", 0.0);
    report.numbers(&[
        ("rejected_connections", stats.connections_rejected),
        ("sync_full", state.role.counters.sync_full),
        ("sync_partial_ok", state.role.counters.sync_partial_ok),
        ("sync_partial_err", state.role.counters.sync_partial_err),
        ("expired_subkeys", counters.expired_fields),
        ("expired_keys", counters.expired),
    ]);
    report.ratio("expired_stale_perc", 0.0);
    report.numbers(&[
        ("expired_time_cap_reached_count", stats.work.expiry_cut_short),
        ("expire_cycle_cpu_milliseconds", stats.work.expiry_ns / 1_000_000),
        ("evicted_keys", counters.evicted),
        ("evicted_clients", stats.evicted_clients),
        ("evicted_scripts", state.scripting.scripts.evicted()),
        ("total_eviction_exceeded_time", stats.work.above_limit_ms + above_now_ms),
        ("current_eviction_exceeded_time", above_now_ms),
        ("keyspace_hits", counters.hits.get()),
        ("keyspace_misses", counters.misses.get()),
        ("pubsub_channels", channels(Scope::Channel)),
        ("pubsub_patterns", channels(Scope::Pattern)),
        ("pubsubshard_channels", channels(Scope::Shard)),
        ("latest_fork_usec", 0),
        ("total_forks", 0),
        ("migrate_cached_sockets", state.peers.len() as u64),
        ("slave_expires_tracked_keys", state.role.own_keys.len() as u64),
        ("active_defrag_hits", 0),
        ("active_defrag_misses", 0),
        ("active_defrag_key_hits", 0),
        ("active_defrag_key_misses", 0),
        ("total_active_defrag_time", 0),
        ("current_active_defrag_time", 0),
        ("tracking_total_keys", state.tracking.keys() as u64),
        ("tracking_total_items", state.tracking.items() as u64),
        ("tracking_total_prefixes", state.tracking.prefixes() as u64),
        ("unexpected_error_replies", stats.unexpected_errors),
        ("total_error_replies", stats.error_replies),
        ("dump_payload_sanitizations", counters.sanitized),
        ("total_reads_processed", stats.reads),
        ("total_writes_processed", stats.writes),
        ("io_threaded_reads_processed", if state.facts.workers > 1 { stats.reads } else { 0 }),
        ("io_threaded_writes_processed", if state.facts.workers > 1 { stats.writes } else { 0 }),
        ("client_query_buffer_limit_disconnections", stats.query_limit_disconnections),
        ("client_output_buffer_limit_disconnections", stats.output_limit_disconnections),
        ("reply_buffer_shrinks", 0),
        ("reply_buffer_expands", 0),
        ("eventloop_cycles", stats.work.batches),
        ("eventloop_duration_sum", stats.work.busy_ns() / 1000),
        ("eventloop_duration_cmd_sum", stats.work.command_ns / 1000),
        ("instantaneous_eventloop_cycles_per_sec", stats.rates.batches.per_second()),
        ("instantaneous_eventloop_duration_usec", stats.batch_us()),
        ("acl_access_denied_auth", denied.logins),
        ("acl_access_denied_cmd", denied.commands),
        ("acl_access_denied_key", denied.keys),
        ("acl_access_denied_channel", denied.channels),
    ]);
}
