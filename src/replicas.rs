//! What a primary does for its replicas, under the lock: who gets a full copy when, who hears of
//! new bytes of the stream, who is too slow, and who in WAIT has his answer.
//!
//! The connections of replicas are [`crate::session`]'s; each holds a position and takes its bytes
//! from the ring by itself. Here is only what concerns several of them.
//!
//! Invariant: the ring reaches back to the position of every replica that may go on.

mod copies;
mod failover;
mod waiting;

use crate::client::{Client, ClientId, Kick};
use crate::clock::random_hex_id;
use crate::error::{shown, Error};
use crate::resp::out::push_request;
use crate::role::{Replica, Stage};
use crate::settle;
use crate::state::State;
pub use copies::{
    begin_copies, begin_due_copies, copy_failed, copy_is_whole, end_copy, point, waiting_for_file,
    wants_copy,
};
pub use failover::{
    abort_failover, at_address, begin_failover, check_failover, end_failover, lagging, Lagging,
};
use std::sync::Arc;
pub use waiting::{answer_waiters, count_acks, is_enough, offset_on_disk, release_all, reply};

/// The ring is cut back when it is this much too long, in bytes.
const SURPLUS_BYTES: u64 = 64 << 10;

/// Whether writes of clients are refused, and why.
pub fn write_refused(state: &State) -> Option<Error> {
    let settings = state.config.settings();
    if state.role.is_replica() {
        return settings.replica_read_only.then_some(Error::ReadOnlyReplica);
    }
    let missing =
        settings.needs_replicas() && state.role.good_replicas < settings.min_replicas_to_write;
    missing.then_some(Error::NoReplicas)
}

/// Whether the data may be old, and nobody may see it.
pub fn is_stale(state: &State) -> bool {
    let lost = state.role.upstream.as_ref().is_some_and(|upstream| !upstream.is_up());
    lost && !state.config.settings().replica_serve_stale_data
}

/// A replica as log lines name it.
pub fn name(client: &Client) -> String {
    let ip = shown(client.replica_ip());
    match client.replica.as_ref().map_or(0, |replica| replica.port) {
        0 => format!("{ip}:<unknown-replica-port>"),
        port => format!("{ip}:{port}"),
    }
}

/// What a client says of itself as a replica.
pub fn introduced(state: &mut State, id: ClientId) -> &mut Replica {
    state.clients.at(id).replica.get_or_insert_with(Box::default)
}

/// A client becomes a replica. Returns true when the stream begins to be kept for it.
pub fn attach(state: &mut State, id: ClientId, stage: Stage) -> bool {
    let now_ms = state.clock.steady_ms();
    let replica = introduced(state, id);
    replica.stage = stage;
    replica.acked_ms = if stage == Stage::Online { now_ms } else { 0 };
    state.role.replicas.push(id);
    let begins = state.role.replicas.len() == 1 && state.log.ring.is_none();
    if begins {
        begin_history(state);
        let (id, second) = (&state.role.id, &state.role.second_id);
        state.logger.notice(format!(
            "Replication backlog created, my new replication IDs are '{id}' and '{second}'"
        ));
    }
    count_good(state);
    begins
}

/// A history without a past, which is kept from here on.
fn begin_history(state: &mut State) {
    let id = random_hex_id(&mut state.db.rng);
    state.role.begin_history(id);
    state.log.keep();
    settle::listen(state);
}

/// A replica is gone.
pub fn forget(state: &mut State, id: ClientId) {
    let before = state.role.replicas.len();
    state.role.replicas.retain(|replica| *replica != id);
    if state.role.replicas.len() == before {
        return;
    }
    if state.role.replicas.is_empty() {
        state.role.without_replicas_since_ms = state.clock.steady_ms();
    }
    if let Some(client) = state.clients.find_mut(id) {
        let line = format!("Connection with replica {} lost.", name(client));
        if let Some(replica) = &mut client.replica {
            replica.stage = Stage::Greeting;
        }
        state.logger.notice(line);
    }
    copies::end_unwanted_copy(state);
    // What was kept for it alone goes.
    cut_back(state);
    count_good(state);
}

/// Ends the connections of all replicas: they come back and go on where they were if they can.
pub fn disconnect_all(state: &mut State) {
    for id in state.role.replicas.clone() {
        settle::kill(state, id);
    }
}

/// There are new bytes in the stream.
#[inline]
pub fn written(state: &mut State) {
    let Some(ring) = &state.log.ring else { return };
    let kept_bytes = ring.len();
    match state.role.tells_later {
        true => state.role.has_news = true,
        false => kicks(state).for_each(|kick| kick.ring()),
    }
    if kept_bytes > state.config.settings().repl_backlog_bytes + SURPLUS_BYTES {
        cut_back(state);
    }
}

/// What wakes the connections of the replicas.
pub fn kicks(state: &State) -> impl Iterator<Item = &Arc<Kick>> {
    let ids = state.role.replicas.iter();
    ids.filter_map(|id| state.clients.find(*id)).map(|client| &client.kick)
}

/// Drops what is beyond the backlog's size and what no replica needs, and cuts off replicas that
/// are too far behind.
pub fn cut_back(state: &mut State) {
    let end = state.log.offset;
    let settings = state.config.settings();
    let mut keep_from = end.saturating_sub(settings.repl_backlog_bytes);
    let now_ms = state.db.now_ms();
    for id in &state.role.replicas {
        let Some(client) = state.clients.find_mut(*id) else { continue };
        let Some(replica) = &client.replica else { continue };
        if replica.stage == Stage::Waiting || replica.wants_snapshot_only {
            continue;
        }
        client.stream_bytes = end.saturating_sub(replica.position) as usize;
        let position = replica.position;
        client.check_output_limit(settings, now_ms);
        if !client.close_now {
            keep_from = keep_from.min(position);
        }
    }
    if let Some(ring) = &mut state.log.ring {
        ring.drop_before(keep_from);
    }
}

/// Counts the replicas that `min-replicas-to-write` counts.
pub fn count_good(state: &mut State) {
    let now_ms = state.clock.steady_ms();
    let most_s = state.config.settings().min_replicas_max_lag_s as i64;
    let clients = &state.clients;
    let good = |id: &&ClientId| {
        let replica = clients.find(**id).and_then(|client| client.replica.as_ref());
        replica.is_some_and(|replica| replica.is_online() && replica.lag_s(now_ms) <= most_s)
    };
    state.role.good_replicas = state.role.replicas.iter().filter(good).count();
}

/// Sends a command to all replicas that belongs to no database.
pub fn tell_all<W: AsRef<[u8]>>(state: &mut State, words: &[W]) {
    let mut encoded = Vec::new();
    push_request(&mut encoded, words);
    state.log.append_for_replicas(&encoded);
    written(state);
}

/// Asks replicas how far they are, if somebody waits to know.
pub fn ask_for_acks(state: &mut State) {
    if std::mem::take(&mut state.role.wants_acks) && !state.role.is_replica() {
        tell_all(state, &["REPLCONF", "GETACK", "*"]);
    }
}

/// What time brings.
pub fn tick(state: &mut State) {
    let now_ms = state.clock.steady_ms();
    check_failover(state);
    answer_waiters(state);
    if now_ms.div_euclid(1000) == state.role.checked_s {
        return;
    }
    state.role.checked_s = now_ms.div_euclid(1000);
    state.role.beats += 1;
    let period = state.config.settings().repl_ping_period_s.max(1);
    // Those who wait for replicas to catch up must not give them more to do.
    let is_quiet = state.holds_writes();
    let pings = state.role.beats.is_multiple_of(period) && !state.role.is_replica() && !is_quiet;
    if pings && !state.role.replicas.is_empty() {
        tell_all(state, &["PING"]);
    }
    for id in state.role.replicas.clone() {
        look_after(state, id, now_ms);
    }
    begin_due_copies(state);
    free_backlog(state, now_ms);
    cut_back(state);
    count_good(state);
}

/// Keeps a replica that waits for its copy from giving up, and gives up one that is silent.
fn look_after(state: &mut State, id: ClientId, now_ms: i64) {
    let timeout_ms = state.config.settings().repl_timeout_s as i64 * 1000;
    let Some(client) = state.clients.find_mut(id) else { return };
    let shown = name(client);
    let Some(replica) = client.replica.as_deref() else { return };
    let silent = |since_ms: i64| since_ms > 0 && now_ms - since_ms > timeout_ms;
    let phase = match replica.stage {
        Stage::Waiting => {
            client.outbox.push(b"\n");
            client.kick.ring();
            return;
        }
        Stage::Saving if replica.progress_ms == 0 && replica.copy.is_none() => {
            client.outbox.push(b"\n");
            client.kick.ring();
            return;
        }
        // One that has all there is waits for a slower one.
        Stage::Saving if replica.is_behind_copy && silent(replica.progress_ms) => "full sync",
        Stage::Online if !replica.is_silent && silent(replica.acked_ms) => "streaming sync",
        _ => return,
    };
    state.logger.warning(format!("Disconnecting timedout replica ({phase}): {shown}"));
    settle::kill(state, id);
}

/// `repl-backlog-ttl`. The history ends with the backlog: writes that follow are counted nowhere,
/// so that who left before them must not find them missing unnoticed.
fn free_backlog(state: &mut State, now_ms: i64) {
    let ttl_s = state.config.settings().repl_backlog_ttl_s as i64;
    let is_alone = state.role.replicas.is_empty() && !state.role.is_replica();
    if ttl_s == 0 || !is_alone || state.log.ring.is_none() {
        return;
    }
    if (now_ms - state.role.without_replicas_since_ms).div_euclid(1000) > ttl_s {
        state.log.ring = None;
        let id = random_hex_id(&mut state.db.rng);
        state.role.begin_history(id);
        settle::listen(state);
        state.logger.notice(format!(
            "Replication backlog freed after {ttl_s} seconds without connected replicas."
        ));
    }
}

/// A replica said how far it is.
pub fn acked(state: &mut State, id: ClientId, offset: u64, on_disk: Option<u64>) {
    let now_ms = state.clock.steady_ms();
    let Some(client) = state.clients.find_mut(id) else { return };
    let Some(replica) = client.replica.as_deref_mut().filter(|replica| replica.is_attached())
    else {
        return;
    };
    replica.acked = replica.acked.max(offset);
    replica.acked_on_disk = replica.acked_on_disk.max(on_disk.unwrap_or(0));
    replica.acked_ms = now_ms;
    if replica.is_online() && std::mem::take(&mut replica.starts_on_ack) {
        client.kick.ring();
        let line = format!("Synchronization with replica {} succeeded", name(client));
        state.logger.notice(line);
    }
    count_good(state);
    answer_waiters(state);
    if let Some(outside) = state.outside.as_ref().filter(|_| state.holds_writes()) {
        outside.look_around();
    }
}

/// A replica has its full copy: the stream follows.
pub fn copied(state: &mut State, id: ClientId, starts_on_ack: bool) {
    let now_ms = state.clock.steady_ms();
    let Some(client) = state.clients.find_mut(id) else { return };
    let shown = name(client);
    let Some(replica) = client.replica.as_deref_mut() else { return };
    if replica.wants_snapshot_only {
        replica.stage = Stage::Served;
        client.close_soon();
        state.logger.notice(format!(
            "RDB transfer completed, rdb only replica ({shown}) should be disconnected asap"
        ));
        return;
    }
    replica.stage = Stage::Online;
    replica.starts_on_ack = starts_on_ack;
    replica.acked_ms = now_ms;
    if !starts_on_ack {
        state.logger.notice(format!("Synchronization with replica {shown} succeeded"));
    }
    client.kick.ring();
    count_good(state);
}
