//! Who waits for which key, until when, in which order.
//!
//! Invariant: a blocked client stands in the queue of each of its keys, by its ticket, and in
//! `deadlines` when it has one; nothing else holds it.

use crate::client::{Blocked, ClientId};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A key of a database.
pub type Place = (usize, Box<[u8]>);

/// The waiting room.
#[derive(Debug, Default)]
pub struct Blocking {
    waiters: HashMap<Place, BTreeMap<u64, ClientId>>,
    deadlines: BTreeSet<(i64, u64, ClientId)>,
    /// Keys that changed and have waiters, in order of the change.
    ready: Vec<Place>,
    next_ticket: u64,
    blocked: usize,
}

impl Blocking {
    /// Clients that wait.
    pub fn len(&self) -> usize {
        self.blocked
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.blocked == 0
    }

    /// Keys somebody waits for.
    pub fn keys(&self) -> usize {
        self.waiters.len()
    }

    /// The next place in the order of service.
    pub fn ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }

    /// Lets a client wait.
    pub fn add(&mut self, id: ClientId, blocked: &Blocked) {
        for place in &blocked.keys {
            self.waiters.entry(place.clone()).or_default().insert(blocked.ticket, id);
        }
        if let Some(until_ms) = blocked.until_ms {
            self.deadlines.insert((until_ms, blocked.ticket, id));
        }
        self.blocked += 1;
    }

    /// The client waits no longer.
    pub fn remove(&mut self, id: ClientId, blocked: &Blocked) {
        for place in &blocked.keys {
            if let Some(queue) = self.waiters.get_mut(place) {
                queue.remove(&blocked.ticket);
                if queue.is_empty() {
                    self.waiters.remove(place);
                }
            }
        }
        if let Some(until_ms) = blocked.until_ms {
            self.deadlines.remove(&(until_ms, blocked.ticket, id));
        }
        self.blocked -= 1;
    }

    /// A key changed: its waiters are served when the command, transaction or script is over.
    pub fn changed(&mut self, db: usize, key: &[u8]) {
        let place = (db, key.into());
        if self.waiters.contains_key(&place) && !self.ready.contains(&place) {
            self.ready.push(place);
        }
    }

    /// Every key of these databases may have changed (FLUSHALL, SWAPDB).
    pub fn changed_all(&mut self, concerns: impl Fn(usize) -> bool) {
        let mut places: Vec<Place> =
            self.waiters.keys().filter(|place| concerns(place.0)).cloned().collect();
        places.retain(|place| !self.ready.contains(place));
        places.sort_by_key(|place| {
            self.waiters[place].first_key_value().map_or(0, |(&ticket, _)| ticket)
        });
        self.ready.extend(places);
    }

    /// Keys to serve.
    pub fn take_ready(&mut self) -> Vec<Place> {
        std::mem::take(&mut self.ready)
    }

    /// Whether a key waits to be served.
    #[inline]
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Who waits for a key, in the order of service.
    pub fn waiters_of(&self, place: &Place) -> Vec<ClientId> {
        self.waiters.get(place).map(|queue| queue.values().copied().collect()).unwrap_or_default()
    }

    /// A client whose time is over.
    pub fn next_timed_out(&self, now_ms: i64) -> Option<ClientId> {
        self.deadlines.first().filter(|(until_ms, ..)| *until_ms <= now_ms).map(|&(.., id)| id)
    }

    /// When the next client gives up (Unix ms).
    pub fn next_deadline_ms(&self) -> Option<i64> {
        self.deadlines.first().map(|(until_ms, ..)| *until_ms)
    }
}
