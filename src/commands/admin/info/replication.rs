//! INFO replication: the role, the link to the primary, the replicas, the backlog.

use super::Report;
use crate::client::Client;
use crate::role::{Failover, Link, Upstream};
use crate::state::State;

pub(super) fn replication(report: &mut Report, state: &mut State) {
    report.title("Replication");
    let role = &state.role;
    report.field("role", if role.is_replica() { "slave" } else { "master" });
    if let Some(link) = &role.upstream {
        upstream(report, state, link);
    }
    report.field("connected_slaves", role.replicas.len());
    if state.config.settings().needs_replicas() {
        report.field("min_slaves_good_slaves", role.good_replicas);
    }
    let replicas = role.replicas.iter().filter_map(|id| state.clients.find(*id));
    for (number, client) in replicas.enumerate() {
        replica(report, state, number, client);
    }
    report.field("master_failover_state", Failover::name(role.failover.as_ref()));
    report.field("master_replid", &role.id);
    report.field("master_replid2", &role.second_id);
    report.field("master_repl_offset", state.log.offset);
    report.field("second_repl_offset", role.second_offset);
    let ring = state.log.ring.as_ref();
    report.field("repl_backlog_active", u8::from(ring.is_some()));
    report.field("repl_backlog_size", state.config.settings().repl_backlog_bytes);
    report.field("repl_backlog_first_byte_offset", ring.map_or(0, |ring| ring.start() + 1));
    report.field("repl_backlog_histlen", ring.map_or(0, |ring| ring.len()));
}

fn upstream(report: &mut Report, state: &State, link: &Upstream) {
    let now_ms = state.clock.steady_ms();
    let seconds = |since_ms: i64| (now_ms - since_ms).max(0) / 1000;
    let settings = state.config.settings();
    let offset = state.log.offset;
    report.bytes_field("master_host", &[&link.address.host]);
    report.field("master_port", link.address.port);
    report.field("master_link_status", if link.is_up() { "up" } else { "down" });
    let heard_s = if link.is_up() { seconds(link.heard_ms) } else { -1 };
    report.field("master_last_io_seconds_ago", heard_s);
    let syncs = link.link == Link::Sync;
    report.field("master_sync_in_progress", u8::from(syncs));
    report.field("slave_read_repl_offset", link.read_offset.max(offset));
    report.field("slave_repl_offset", offset);
    if syncs {
        let (total, read) = (link.transfer.total_bytes, link.transfer.read_bytes);
        let percent = total.map_or(0.0, |total| read as f64 * 100.0 / total.max(1) as f64);
        // Redis: a length that is not known ahead is shown as 0, and what is left below it.
        let left = total.unwrap_or(0) as i64 - read as i64;
        report.field("master_sync_total_bytes", total.unwrap_or(0));
        report.field("master_sync_read_bytes", read);
        report.field("master_sync_left_bytes", left);
        report.field("master_sync_perc", format_args!("{percent:.2}"));
        report.field("master_sync_last_io_seconds_ago", seconds(link.heard_ms));
    }
    if !link.is_up() {
        report.field("master_link_down_since_seconds", seconds(link.down_since_ms));
    }
    report.field("slave_priority", settings.replica_priority);
    report.field("slave_read_only", u8::from(settings.replica_read_only));
    report.field("replica_announced", u8::from(settings.replica_announced));
}

fn replica(report: &mut Report, state: &State, number: usize, client: &Client) {
    let Some(replica) = client.replica.as_deref() else { return };
    let lag_s = match replica.is_online() {
        true => replica.lag_s(state.clock.steady_ms()),
        false => 0,
    };
    let rest = format!(
        ",port={},state={},offset={},lag={lag_s}",
        replica.port,
        replica.stage.name(),
        replica.acked,
    );
    let parts: [&[u8]; 3] = [b"ip=", client.replica_ip(), rest.as_bytes()];
    report.bytes_field(format_args!("slave{number}"), &parts);
}
