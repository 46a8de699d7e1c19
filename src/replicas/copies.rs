//! Full copies: when a snapshot for replicas begins, and which of them share it.
//!
//! The first replica that needs a copy starts a snapshot, or waits `repl-diskless-sync-delay` for
//! others to come where the copy goes over sockets. A copy that is written to a file first can be
//! joined by those who come later, as long as it is being made.
//!
//! Invariant: everybody who shares a snapshot has the same position, that of its beginning.

use super::name;
use crate::client::ClientId;
use crate::role::{Copy, Order, Replica, Stage};
use crate::state::State;

/// A replica needs a full copy.
pub fn wants_copy(state: &mut State, id: ClientId) {
    let now_ms = state.clock.steady_ms();
    let settings = state.config.settings();
    let Some(replica) = state.clients.find(id).and_then(|client| client.replica.as_deref()) else {
        return;
    };
    let delays =
        settings.repl_diskless_sync && replica.takes_eof && settings.repl_diskless_sync_delay_s > 0;
    let is_copying = state.role.copying.is_some();
    super::introduced(state, id).waiting_since_ms = now_ms;
    if is_copying {
        if !join(state, id) {
            state.logger.notice(
                "Can't attach the replica to the current BGSAVE. Waiting for next BGSAVE for SYNC",
            );
        }
    } else if delays {
        state.logger.notice("Delay next BGSAVE for diskless SYNC");
    } else {
        begin_copies(state);
    }
}

/// Lets a replica share a copy that is being written to a file for another one.
fn join(state: &mut State, id: ClientId) -> bool {
    let Some(mine) = state.clients.find(id).and_then(|client| client.replica.as_deref()) else {
        return false;
    };
    let fits = |other: &&Replica| {
        other.stage == Stage::Saving
            && other.by_file
            && mine.wants_the_same_as(other)
            && (!other.wants_snapshot_only || mine.wants_snapshot_only)
    };
    let others = state.role.replicas.iter().filter_map(|other| state.clients.find(*other));
    let found = others.filter_map(|client| client.replica.as_deref()).find(fits);
    let Some(position) = found.map(|other| other.position) else { return false };
    promise(state, id, position, true);
    state.logger.notice("Waiting for end of BGSAVE for SYNC");
    true
}

/// Tells a replica from where the stream will follow its copy.
fn promise(state: &mut State, id: ClientId, position: u64, by_file: bool) {
    let history = state.role.id.clone();
    let Some(client) = state.clients.find_mut(id) else { return };
    let Some(replica) = client.replica.as_deref_mut() else { return };
    replica.stage = Stage::Saving;
    replica.position = position;
    replica.by_file = by_file;
    replica.progress_ms = 0;
    // Redis: SYNC is answered with the copy alone.
    if !replica.is_silent {
        client.outbox.push(format!("+FULLRESYNC {history} {position}\r\n").as_bytes());
        client.kick.ring();
    }
}

/// Begins a snapshot for those who wait for one, if none is under way.
pub fn begin_copies(state: &mut State) {
    let waiting = waiting(state);
    let Some(first) = waiting.first().copied() else { return };
    let settings = state.config.settings();
    let replica = |id: ClientId| state.clients.find(id).and_then(|one| one.replica.as_deref());
    let Some(leader) = replica(first) else { return };
    let filtered = leader.without_data || leader.without_functions;
    let diskless = (settings.repl_diskless_sync || filtered) && leader.takes_eof;
    let shares = |id: &ClientId| {
        replica(*id)
            .is_some_and(|one| one.wants_the_same_as(leader) && (!diskless || one.takes_eof))
    };
    let order = Order {
        replicas: waiting.iter().copied().filter(shares).collect(),
        diskless,
        without_data: leader.without_data,
        without_functions: leader.without_functions,
    };
    let Some(outside) = state.outside.clone() else { return };
    let target = if diskless { "replicas sockets" } else { "disk" };
    state.logger.notice(format!("Starting BGSAVE for SYNC with target: {target}"));
    let position = state.log.offset;
    for id in &order.replicas {
        promise(state, *id, position, !diskless);
    }
    // Who reads from here on does not know the database.
    state.log.select_anew();
    outside.copy(state, order);
}

/// Replicas that wait for a snapshot to begin.
fn waiting(state: &State) -> Vec<ClientId> {
    let waits = |id: &&ClientId| {
        let client = state.clients.find(**id).filter(|client| !client.is_gone());
        client.and_then(|client| Some(client.replica.as_deref()?.stage)) == Some(Stage::Waiting)
    };
    state.role.replicas.iter().filter(waits).copied().collect()
}

/// Begins a snapshot when those who wait have waited long enough, or are enough.
pub fn begin_due_copies(state: &mut State) {
    let waiting = waiting(state);
    if waiting.is_empty() || state.role.copying.is_some() {
        return;
    }
    let now_ms = state.clock.steady_ms();
    let settings = state.config.settings();
    let most = settings.repl_diskless_sync_max_replicas;
    let replica = |id: &ClientId| state.clients.find(*id)?.replica.as_deref();
    let longest_ms = waiting
        .iter()
        .filter_map(|id| replica(id).map(|one| now_ms - one.waiting_since_ms))
        .max()
        .unwrap_or(0);
    let delay_ms = settings.repl_diskless_sync_delay_s as i64 * 1000;
    let is_enough = most > 0 && waiting.len() >= most;
    if !settings.repl_diskless_sync || is_enough || longest_ms >= delay_ms {
        begin_copies(state);
    }
}

/// Replicas whose copy is being made as a whole, in a file or in memory.
pub fn waiting_for_file(state: &State) -> Vec<ClientId> {
    let waits = |id: &&ClientId| {
        let replica = state.clients.find(**id).and_then(|client| client.replica.as_deref());
        replica.is_some_and(|replica| replica.stage == Stage::Saving && replica.by_file)
    };
    state.role.replicas.iter().filter(waits).copied().collect()
}

/// Ends a copy that is being made when nobody waits for it any more.
pub fn end_unwanted_copy(state: &mut State) {
    let is_wanted = |id: &ClientId| {
        let replica = state.clients.find(*id).and_then(|client| client.replica.as_deref());
        replica.is_some_and(|replica| replica.stage == Stage::Saving)
    };
    if state.role.copying.is_some() && !state.role.replicas.iter().any(is_wanted) {
        end_copy(state);
    }
}

/// Ends a copy that is being made: of data that is not there any more, say. Those who wait for it
/// come again.
pub fn end_copy(state: &mut State) {
    if let Some(copying) = &state.role.copying {
        copying.wanted.cancel();
    }
}

/// The point of the history that a snapshot taken now is, as aux fields of RDB; nothing where it
/// is none: without a backlog writes are counted nowhere.
pub fn point(state: &State) -> Vec<(&'static str, String)> {
    let selected = match &state.role.upstream {
        Some(upstream) if upstream.is_resumable => upstream.selected,
        None if state.log.ring.is_some() => state.log.selected().unwrap_or(0),
        _ => return Vec::new(),
    };
    vec![
        ("repl-stream-db", selected.to_string()),
        ("repl-id", state.role.id.clone()),
        ("repl-offset", state.log.offset.to_string()),
    ]
}

/// A whole copy is ready for these replicas, each of which opens it.
pub fn copy_is_whole(
    state: &mut State,
    replicas: &[ClientId],
    open: impl Fn() -> std::io::Result<Copy>,
) {
    for id in replicas {
        let opened = open();
        let Some(client) = state.clients.find_mut(*id) else { continue };
        let shown = name(client);
        let Some(replica) = client.replica.as_deref_mut() else { continue };
        match opened {
            Ok(copy) => {
                replica.stage = Stage::Sending;
                replica.copy = Some(copy);
                client.kick.ring();
            }
            Err(error) => {
                state.logger.warning(format!(
                    "SYNC failed. Can't open/stat DB after BGSAVE for {shown}: {error}"
                ));
                crate::settle::kill(state, *id);
            }
        }
    }
}

/// The snapshot for these replicas failed.
pub fn copy_failed(state: &mut State, replicas: &[ClientId]) {
    for id in replicas {
        if state.clients.find(*id).is_some_and(|client| client.is_replica()) {
            state.logger.warning("SYNC failed. BGSAVE child returned an error");
            crate::settle::kill(state, *id);
        }
    }
}
