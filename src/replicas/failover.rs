//! FAILOVER: writes stop, a replica catches up, and this server becomes its replica.
//!
//! Invariant: while a failover is under way no client of this server writes, so that the replica
//! that has caught up has everything that was acknowledged.

use super::name;
use crate::client::Client;
use crate::following;
use crate::role::{Address, Failover};
use crate::settle;
use crate::state::State;

/// The replica that is known by this address.
pub fn at_address<'s>(state: &'s State, address: &Address) -> Option<&'s Client> {
    let clients = state.role.replicas.iter().filter_map(|id| state.clients.find(*id));
    clients.into_iter().find(|client| {
        let port = client.replica.as_ref().map_or(0, |replica| replica.port);
        port == address.port && client.replica_ip().eq_ignore_ascii_case(&address.host)
    })
}

/// Stops writes, and waits for the replica.
pub fn begin_failover(state: &mut State, failover: Failover) {
    state.logger.notice(match &failover.target {
        Some(target) => format!("FAILOVER requested to {target}."),
        None => "FAILOVER requested.".to_string(),
    });
    state.role.failover = Some(failover);
    state.role.wants_acks = true;
    super::ask_for_acks(state);
    check_failover(state);
}

/// Looks whether the replica has caught up, or time is over.
pub fn check_failover(state: &mut State) {
    let Some(failover) = state.role.failover.clone() else { return };
    if failover.is_handing_over {
        return;
    }
    let is_over = failover.until_ms.is_some_and(|until_ms| until_ms <= state.db.now_ms());
    let target = match (&failover.target, is_over) {
        (Some(target), true) if failover.force => {
            let text = format!("Failover to {target} time out exceeded, failing over.");
            state.logger.notice(text);
            Some(target.clone())
        }
        (_, true) => return abort_failover(state, "Replica never caught up before timeout"),
        _ => {
            let target = caught_up(state, failover.target.as_ref());
            if let Some(target) = &target {
                let text = format!("Failover target {target} is synced, failing over.");
                state.logger.notice(text);
            }
            target
        }
    };
    let Some(target) = target else { return };
    if let Some(failover) = &mut state.role.failover {
        failover.is_handing_over = true;
        failover.target = Some(target.clone());
    }
    following::follow(state, target);
    if let Some(upstream) = &mut state.role.upstream {
        upstream.takes_over = true;
    }
}

/// A replica that has everything, the target if there is one.
fn caught_up(state: &State, target: Option<&Address>) -> Option<Address> {
    let end = state.log.offset;
    let mut clients = state.role.replicas.iter().filter_map(|id| state.clients.find(*id));
    let has_all = |client: &Client| {
        client.replica.as_ref().is_some_and(|one| one.is_online() && one.acked == end)
    };
    match target {
        Some(target) => at_address(state, target).filter(|client| has_all(client)).map(address_of),
        None => clients.find(|client| has_all(client)).map(address_of),
    }
}

fn address_of(client: &Client) -> Address {
    let port = client.replica.as_ref().map_or(0, |replica| replica.port);
    Address { host: client.replica_ip().to_vec(), port }
}

/// The failover does not take place: this server is the primary as before.
pub fn abort_failover(state: &mut State, why: &str) {
    let Some(failover) = state.role.failover.clone() else { return };
    let phase = Failover::name(Some(&failover));
    state.logger.notice(match &failover.target {
        Some(target) => format!("Aborting failover to {target} while {phase}: {why}"),
        None => format!("Aborting failover while {phase}: {why}"),
    });
    if failover.is_handing_over {
        following::promote(state);
    }
    end_failover(state);
}

/// The failover is over, one way or the other: clients go on.
pub fn end_failover(state: &mut State) {
    if state.role.failover.take().is_some() {
        if let Some(upstream) = &mut state.role.upstream {
            upstream.takes_over = false;
        }
        settle::release_held_back(state);
    }
}

/// A replica that has not said that it has everything.
#[derive(Debug)]
pub struct Lagging {
    /// As log lines name it.
    pub name: String,
    /// Bytes of the stream.
    pub behind_bytes: u64,
    /// Seconds since it said how far it is.
    pub lag_s: i64,
    /// As INFO shows it.
    pub stage: &'static str,
}

/// Replicas that have not said that they have everything.
pub fn lagging(state: &State) -> Vec<Lagging> {
    let end = state.log.offset;
    let now_ms = state.clock.steady_ms();
    let clients = state.role.replicas.iter().filter_map(|id| state.clients.find(*id));
    let behind = clients.filter_map(|client| {
        let replica = client.replica.as_deref().filter(|replica| replica.acked != end)?;
        let lag_s = if replica.is_online() { replica.lag_s(now_ms) } else { 0 };
        let (behind_bytes, stage) = (end.saturating_sub(replica.acked), replica.stage.name());
        Some(Lagging { name: name(client), behind_bytes, lag_s, stage })
    });
    behind.collect()
}
