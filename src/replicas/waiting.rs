//! WAIT and WAITAOF: clients that wait until others, or the disk, have their writes.
//!
//! Acknowledgements of replicas answer them at once. A sync of the append-only file only rings the
//! cron, whose tick looks: the thread that syncs does not wait for the server's lock.
//!
//! Invariant: a waiting client is answered once, by whichever comes first of enough replicas and
//! its own disk, its deadline, CLIENT UNBLOCK and the end of its connection.

use crate::client::{Acks, ClientId};
use crate::error::Error;
use crate::log::aof::Mode;
use crate::resp::out::{Done, Out};
use crate::role::OnDisk;
use crate::settle;
use crate::state::State;

/// How many have what a client waits for: the disk here (0 or 1), and replicas.
pub fn count_acks(state: &mut State, acks: Acks) -> (usize, usize) {
    let on_disk = offset_on_disk(state);
    count_acks_with(state, acks, on_disk)
}

fn count_acks_with(state: &State, acks: Acks, on_disk: Option<u64>) -> (usize, usize) {
    let on_disk = on_disk.is_some_and(|offset| offset >= acks.offset);
    let replicas = state.role.replicas.iter().filter_map(|id| state.clients.find(*id));
    let has_it = |client: &&crate::client::Client| {
        client.replica.as_ref().is_some_and(|replica| {
            let offset = if acks.on_disk { replica.acked_on_disk } else { replica.acked };
            replica.is_online() && offset >= acks.offset
        })
    };
    (usize::from(on_disk), replicas.filter(has_it).count())
}

/// Places that are remembered until the disk has them.
const PLACES_MAX: usize = 1024;

/// Up to where the stream for replicas is on the disk here, if a file is written.
pub fn offset_on_disk(state: &mut State) -> Option<u64> {
    if state.aof.mode != Mode::On {
        state.role.on_disk = OnDisk::default();
        return None;
    }
    let (appended, synced) = (state.aof.tail.appended(), state.aof.tail.synced());
    let OnDisk { offset, places } = &mut state.role.on_disk;
    if places.len() < PLACES_MAX && places.back().is_none_or(|last| last.0 != appended) {
        places.push_back((appended, state.log.offset));
    }
    while let Some((_, there)) = places.front().filter(|(mark, _)| *mark <= synced) {
        *offset = *there;
        places.pop_front();
    }
    Some(*offset)
}

/// Whether that is enough.
pub fn is_enough(acks: Acks, counted: (usize, usize)) -> bool {
    counted.0 >= usize::from(acks.local) && counted.1 >= acks.replicas
}

/// The reply to WAIT, or to WAITAOF.
pub fn reply(acks: Acks, counted: (usize, usize), out: Out<'_>) -> Done {
    if !acks.on_disk {
        return out.int(counted.1 as i64);
    }
    let mut items = out.array(2);
    items.int(counted.0 as i64);
    items.int(counted.1 as i64);
    items.end()
}

/// Answers those who have waited long enough.
pub fn answer_waiters(state: &mut State) {
    if state.role.waiting.is_empty() {
        return;
    }
    let on_disk = offset_on_disk(state);
    let is_answered = |id: &ClientId| {
        let acks = state.clients.find(*id)?.blocked.as_ref()?.acks()?;
        let lost = acks.local && state.aof.mode == Mode::Off;
        let counted = count_acks_with(state, acks, on_disk);
        (lost || is_enough(acks, counted)).then_some((*id, acks, counted, lost))
    };
    let answered: Vec<_> = state.role.waiting.iter().filter_map(is_answered).collect();
    for (id, acks, counted, lost) in answered {
        settle::unblock_with(state, id, |out, _| {
            let _ = match lost {
                true => out.error(&Error::WaitAofOff),
                false => reply(acks, counted, out),
            };
        });
    }
}

/// This server becomes a replica: nobody here waits any more, neither for keys nor for replicas.
pub fn release_all(state: &mut State) {
    let blocked = |client: &crate::client::Client| client.blocked.is_some();
    let ids: Vec<ClientId> =
        state.clients.iter().filter(|client| blocked(client)).map(|client| client.id).collect();
    for id in ids {
        let is_flushing = state.flushing.contains(&id);
        settle::unblock_with(state, id, |out, _| {
            // Redis: the data is gone, whoever frees it.
            let _ = if is_flushing { out.ok() } else { out.error(&Error::RoleChanged) };
        });
        if let Some(client) = state.clients.find_mut(id) {
            client.close_soon();
        }
    }
}
