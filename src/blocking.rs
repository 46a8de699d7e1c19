//! Who waits for which key, until when, in which order.
//!
//! A waiting command stands, by its ticket, in the queue of each of its keys, and among the
//! deadlines when it has one. A key that changed while somebody waits for it is noted once, in
//! the order of the changes; when the command, transaction or script is over, its queue is walked
//! from the oldest ticket on, and whoever waits for the type that is there now has its command run
//! again. What those commands push is noted anew and served after all that was noted before.
//!
//! Invariant: a client stands in the queues of exactly the keys of its [`Blocked`], and nowhere
//! when it does not wait; a queue without waiters does not exist.

use crate::client::{Blocked, ClientId};
use crate::keyspace::value::Kind;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A key of a database.
pub type Place = (usize, Box<[u8]>);

/// One who waits for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// The client.
    pub id: ClientId,
    /// The type that its command works on.
    pub kind: Kind,
    /// Its command also runs when the key goes or changes its type.
    pub wakes_on_loss: bool,
}

impl Waiter {
    /// Whether a key that now holds `kind` concerns the waiter.
    fn wants(&self, kind: Option<Kind>) -> bool {
        kind == Some(self.kind) || self.wakes_on_loss
    }
}

#[derive(Debug, Default)]
struct Queue {
    waiters: BTreeMap<u64, Waiter>,
    /// Waiters that a key which is gone concerns: without them its queue need not be walked.
    wake_on_loss: usize,
    /// Stands in `ready`.
    is_ready: bool,
}

/// The waiting room.
#[derive(Debug, Default)]
pub struct Blocking {
    /// By database.
    queues: Vec<HashMap<Box<[u8]>, Queue>>,
    deadlines: BTreeSet<(i64, u64, ClientId)>,
    ready: Vec<Place>,
    last_ticket: u64,
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
        self.queues.iter().map(HashMap::len).sum()
    }

    /// Keys whose loss somebody waits for.
    pub fn keys_with_loss(&self) -> usize {
        let queues = self.queues.iter().flat_map(HashMap::values);
        queues.filter(|queue| queue.wake_on_loss > 0).count()
    }

    /// Clients that wait with a deadline.
    pub fn deadlines(&self) -> usize {
        self.deadlines.len()
    }

    /// The next place in the order of service.
    pub fn ticket(&mut self) -> u64 {
        self.last_ticket += 1;
        self.last_ticket
    }

    /// Lets a client wait.
    pub fn add(&mut self, id: ClientId, blocked: &Blocked) {
        let waiter = Waiter { id, kind: blocked.kind, wakes_on_loss: blocked.wakes_on_loss };
        for (db, key) in &blocked.keys {
            if self.queues.len() <= *db {
                self.queues.resize_with(db + 1, HashMap::new);
            }
            let queue = self.queues[*db].entry(key.clone()).or_default();
            if queue.waiters.insert(blocked.ticket, waiter).is_none() {
                queue.wake_on_loss += waiter.wakes_on_loss as usize;
            }
        }
        if let Some(until_ms) = blocked.until_ms {
            self.deadlines.insert((until_ms, blocked.ticket, id));
        }
        self.blocked += 1;
    }

    /// The client waits no longer.
    pub fn remove(&mut self, id: ClientId, blocked: &Blocked) {
        for (db, key) in &blocked.keys {
            let Some(queues) = self.queues.get_mut(*db) else { continue };
            let Some(queue) = queues.get_mut(key) else { continue };
            if let Some(waiter) = queue.waiters.remove(&blocked.ticket) {
                queue.wake_on_loss -= waiter.wakes_on_loss as usize;
            }
            if queue.waiters.is_empty() {
                queues.remove(key);
            }
        }
        if let Some(until_ms) = blocked.until_ms {
            self.deadlines.remove(&(until_ms, blocked.ticket, id));
        }
        self.blocked -= 1;
    }

    /// A key changed: its waiters are served when the command, transaction or script is over.
    #[inline]
    pub fn changed(&mut self, db: usize, key: &[u8]) {
        let Some(queue) = self.queues.get_mut(db).and_then(|queues| queues.get_mut(key)) else {
            return;
        };
        if !std::mem::replace(&mut queue.is_ready, true) {
            self.ready.push((db, key.into()));
        }
    }

    /// Every key of these databases may have changed (FLUSHALL, SWAPDB). Those who wait longest
    /// are served first.
    pub fn changed_all(&mut self, concerns: impl Fn(usize) -> bool) {
        let mut places = Vec::new();
        for (db, queues) in self.queues.iter_mut().enumerate().filter(|(db, _)| concerns(*db)) {
            for (key, queue) in queues {
                if !std::mem::replace(&mut queue.is_ready, true) {
                    let oldest = queue.waiters.first_key_value().map_or(0, |(ticket, _)| *ticket);
                    places.push((oldest, (db, key.clone())));
                }
            }
        }
        places.sort();
        self.ready.extend(places.into_iter().map(|(_, place)| place));
    }

    /// Whether a key waits to be served.
    #[inline]
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Keys to serve, in order. Each is passed to [`Blocking::open`] when its turn comes; changes
    /// from then on note it anew.
    pub fn take_ready(&mut self) -> Vec<Place> {
        std::mem::take(&mut self.ready)
    }

    /// Begins to serve a key; returns the youngest ticket that this round concerns, if any.
    pub fn open(&mut self, place: &Place) -> Option<u64> {
        let queue = self.queues.get_mut(place.0)?.get_mut(&place.1)?;
        queue.is_ready = false;
        queue.waiters.last_key_value().map(|(ticket, _)| *ticket)
    }

    /// The oldest waiter after the ticket `after` and up to `last` whom a key that now holds
    /// `kind` concerns.
    pub fn next_waiter(
        &self,
        place: &Place,
        after: u64,
        last: u64,
        kind: Option<Kind>,
    ) -> Option<(u64, ClientId)> {
        let queue = self.queues.get(place.0)?.get(&place.1)?;
        if after >= last || kind.is_none() && queue.wake_on_loss == 0 {
            return None;
        }
        let mut rest = queue.waiters.range(after + 1..=last);
        rest.find(|(_, waiter)| waiter.wants(kind)).map(|(ticket, waiter)| (*ticket, waiter.id))
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
