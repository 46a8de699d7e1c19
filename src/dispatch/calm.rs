//! Whether anything at all could refuse the commands of a batch besides their own words.
//!
//! Most batches come from clients that may do everything, at a server where nothing is the matter.
//! That is found out once for a batch. Commands that reach only the data cannot change it, which
//! their type says; after any other one each command goes through the gate.
//!
//! Invariant: whatever the gate looks at besides the command's words and the data is looked at
//! here. What changes without a command changes without the lock, between two batches.

use crate::client::{Client, ClientId};
use crate::log::aof::Mode;
use crate::state::State;

/// Nothing stands in the way of this client's commands. A disk that fails under the log is noticed
/// without the lock, so a server with an append-only file is never calm.
pub(super) fn is_calm(state: &mut State, me: ClientId) -> bool {
    let settings = state.config.settings();
    let is_unlimited = settings.maxmemory == 0 && !settings.needs_replicas();
    let (saving, role) = (&state.persistence, &state.role);
    is_unlimited
        && !state.is_over
        && state.aof.mode == Mode::Off
        && saving.file.last_was_ok
        && saving.loading.is_none()
        && !role.is_replica()
        && !state.holds_writes()
        && state.pause.is_none()
        && is_plain(state.clients.at(me))
}

/// A client that is logged in, may do everything, and is in no state of its own.
fn is_plain(client: &Client) -> bool {
    client.authenticated
        && client.may_all
        && client.multi.is_none()
        && !client.is_internal
        && !client.is_subscriber()
        && !client.is_monitor
        && client.replica.is_none()
}
