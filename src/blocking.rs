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

mod ends;

use crate::client::{Blocked, ClientId};
use crate::keyspace::value::Kind;
pub use ends::Ends;
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
    /// Which of those who have ever waited have gone.
    pub ends: Ends,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::out::Out;

    fn client(serial: u64) -> ClientId {
        ClientId { serial, slot: serial as u32 }
    }

    fn blocked(ticket: u64, keys: &[&str], kind: Kind, until_ms: Option<i64>) -> Blocked {
        Blocked {
            argv: Vec::new(),
            keys: keys.iter().map(|key| (0, key.as_bytes().into())).collect(),
            until_ms,
            on_timeout: |out: Out<'_>| out.null_array(),
            wakes_on_loss: false,
            awaits: None,
            kind,
            command: 0,
            since_ms: 0,
            ticket,
        }
    }

    fn place(key: &str) -> Place {
        (0, key.as_bytes().into())
    }

    #[test]
    fn the_oldest_of_the_right_type_is_next() {
        let mut room = Blocking::default();
        let waits = [
            blocked(1, &["k", "l"], Kind::List, None),
            blocked(2, &["k"], Kind::SortedSet, None),
            blocked(3, &["k"], Kind::List, None),
        ];
        for (serial, wait) in waits.iter().enumerate() {
            room.add(client(serial as u64), wait);
        }
        assert_eq!((room.len(), room.keys()), (3, 2));
        room.changed(0, b"k");
        room.changed(0, b"k");
        room.changed(0, b"none");
        room.changed(1, b"k");
        assert_eq!(room.take_ready(), [place("k")]);
        let last = room.open(&place("k")).unwrap();
        let next = |room: &Blocking, after, kind| room.next_waiter(&place("k"), after, last, kind);
        assert_eq!(next(&room, 0, Some(Kind::SortedSet)), Some((2, client(1))));
        assert_eq!(next(&room, 0, Some(Kind::List)), Some((1, client(0))));
        room.remove(client(0), &waits[0]);
        assert_eq!(next(&room, 1, Some(Kind::List)), Some((3, client(2))));
        assert_eq!(next(&room, 3, Some(Kind::List)), None);
        assert_eq!(next(&room, 0, None), None);
        assert_eq!(next(&room, 0, Some(Kind::Hash)), None);
        assert_eq!((room.len(), room.keys()), (2, 1));
    }

    #[test]
    fn those_who_come_while_a_key_is_served_wait_for_the_next_change() {
        let mut room = Blocking::default();
        let first = blocked(1, &["k"], Kind::List, None);
        room.add(client(1), &first);
        room.changed(0, b"k");
        room.take_ready();
        let last = room.open(&place("k")).unwrap();
        room.add(client(2), &blocked(2, &["k"], Kind::List, None));
        assert_eq!(room.next_waiter(&place("k"), 1, last, Some(Kind::List)), None);
        room.changed(0, b"k");
        assert!(room.has_ready(), "a change after `open` is noted anew");
    }

    #[test]
    fn loss_concerns_only_those_who_asked_for_it() {
        let mut room = Blocking::default();
        let mut group = blocked(2, &["s"], Kind::Stream, None);
        group.wakes_on_loss = true;
        room.add(client(1), &blocked(1, &["s"], Kind::Stream, None));
        room.add(client(2), &group);
        assert_eq!(room.keys_with_loss(), 1);
        assert_eq!(room.next_waiter(&place("s"), 0, 9, None), Some((2, client(2))));
        assert_eq!(room.next_waiter(&place("s"), 0, 9, Some(Kind::Hash)), Some((2, client(2))));
        room.remove(client(2), &group);
        assert_eq!(room.keys_with_loss(), 0);
        assert_eq!(room.next_waiter(&place("s"), 0, 9, None), None);
    }

    #[test]
    fn flushing_serves_those_who_wait_longest_first() {
        let mut room = Blocking::default();
        for (ticket, key) in [(1, "c"), (2, "a"), (3, "b")] {
            room.add(client(ticket), &blocked(ticket, &[key], Kind::List, None));
        }
        room.changed(0, b"b");
        room.changed_all(|db| db == 0);
        assert_eq!(room.take_ready(), [place("b"), place("c"), place("a")]);
    }

    #[test]
    fn deadlines_come_in_order_and_go_with_their_clients() {
        let mut room = Blocking::default();
        let late = blocked(1, &["k"], Kind::List, Some(200));
        let soon = blocked(2, &["k"], Kind::List, Some(100));
        room.add(client(1), &late);
        room.add(client(2), &soon);
        assert_eq!((room.next_deadline_ms(), room.deadlines()), (Some(100), 2));
        assert_eq!(room.next_timed_out(99), None);
        assert_eq!(room.next_timed_out(100), Some(client(2)));
        room.remove(client(2), &soon);
        assert_eq!((room.next_timed_out(150), room.next_deadline_ms()), (None, Some(200)));
        room.remove(client(1), &late);
        assert!(room.is_empty() && room.next_deadline_ms().is_none() && room.keys() == 0);
    }
}
