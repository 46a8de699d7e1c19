//! Commands that wait for a key: how the wait begins, and how it ends when the key comes.
//!
//! Invariant: who came first is served first, by the same function that ran when it came, and a
//! command that still has to wait keeps its place.

use super::Dispatcher;
use crate::acl::log::Origin;
use crate::blocking::Place;
use crate::client::{Awaited, Blocked, ClientId, Peer};
use crate::command::row::{flag, Waiting};
use crate::command::Spec;
use crate::error::Result;
use crate::keyspace::value::Kind;
use crate::memory;
use crate::replicas;
use crate::resp::out::Bound;
use crate::resp::replies::Replies;
use crate::settle;
use crate::state::State;

impl Dispatcher<'_> {
    pub(super) fn block(&mut self, spec: &Spec, waiting: Waiting, argv: &[&[u8]]) {
        let ticket = self.state.blocking.ticket();
        let db = self.state.clients.at(self.me).db;
        let mut keys: Vec<_> = waiting.keys.iter().map(|key| (db, key.as_slice().into())).collect();
        keys.sort();
        keys.dedup();
        let own = || argv.iter().map(|arg| arg.to_vec()).collect();
        let blocked = Box::new(Blocked {
            argv: waiting.argv.unwrap_or_else(own),
            keys,
            until_ms: waiting.until_ms,
            on_timeout: waiting.on_timeout,
            wakes_on_loss: waiting.wakes_on_loss,
            kind: waited_kind(spec),
            command: spec.id,
            since_ms: self.state.db.now_ms(),
            ticket,
            awaits: waiting.awaits,
        });
        settle::wait_begins(self.state, self.me, blocked);
        match waiting.awaits {
            Some(Awaited::Acks(acks)) => {
                self.state.role.waiting.insert(self.me);
                self.state.role.wants_acks |= acks.replicas > 0;
                replicas::ask_for_acks(self.state);
            }
            Some(Awaited::Freed(_)) => drop(self.state.flushing.insert(self.me)),
            Some(Awaited::End) | None => {}
        }
    }

    /// Runs the commands of those who wait for keys that have changed, key by key in the order of
    /// the changes, for each key in the order in which they came, until nothing changes any more.
    pub fn serve_ready(&mut self) {
        let mine = self.me;
        self.calm = false;
        let State { blocking, clients, .. } = &mut *self.state;
        blocking.ends.tell(|token| {
            if let Some(client) = clients.by_token(token) {
                client.peer = Peer::Gone;
            }
        });
        let bound = std::mem::replace(&mut self.bound, Bound::NONE);
        while self.state.blocking.has_ready() {
            // What the unit brought may have expired while it ran.
            self.worked_ns += self.watch.lap_ns();
            let now_us = self.state.clock.now_us();
            self.state.db.set_now_us(now_us);
            for place in self.state.blocking.take_ready() {
                self.serve_key(&place);
            }
        }
        self.bound = bound;
        self.me = mine;
    }

    /// Serves those who wait for a key now; not those who only come to wait meanwhile.
    fn serve_key(&mut self, place: &Place) {
        let Some(last) = self.state.blocking.open(place) else { return };
        let mut served = 0;
        loop {
            let kind = self.state.db.within(place.0, |db| db.kind(&place.1));
            let next = self.state.blocking.next_waiter(place, served, last, kind);
            let Some((ticket, id)) = next else { return };
            served = ticket;
            self.me = id;
            self.serve(id);
        }
    }

    /// Runs a waiting command again, as if it came from the wire now. One that still has to wait
    /// keeps its place.
    fn serve(&mut self, id: ClientId) {
        let Some(client) = self.state.clients.find_mut(id) else { return };
        // Who has been cut off, or has gone, could not be given anything any more.
        if client.is_gone() {
            settle::unblock(self.state, id);
            return;
        }
        if client.peer == Peer::Gone {
            return settle::kill(self.state, id);
        }
        let Some(blocked) = client.blocked.take() else { return };
        let argv: Vec<&[u8]> = blocked.argv.iter().map(Vec::as_slice).collect();
        let spec = &self.table.specs[blocked.command];
        let mut reply = Replies::default();
        // What the command tells its own client follows the reply.
        let before = std::mem::take(&mut self.state.clients.at(id).outbox);
        self.watch.lap_ns();
        self.again = true;
        let waiting = match self.may_go_on(spec, &argv) {
            Ok(()) => self.call(spec, &argv, &mut reply),
            Err(error) => {
                self.refuse(Some(spec), error, &mut reply);
                None
            }
        };
        self.again = false;
        let told = std::mem::replace(&mut self.state.clients.at(id).outbox, before).into_bytes();
        if waiting.is_some() {
            self.state.clients.at(id).blocked = Some(blocked);
        } else {
            settle::wait_ends(self.state, id, &blocked);
            settle::hand_over(self.state, id, &reply);
        }
        self.state.clients.at(id).outbox.push(&told);
        settle::unit_over(self.state);
    }

    /// What may refuse a command when it is served, because it came long ago.
    fn may_go_on(&mut self, spec: &Spec, argv: &[&[u8]]) -> Result<()> {
        if !self.state.clients.at(self.me).may_all {
            self.permit(spec, argv, Origin::Client)?;
        }
        memory::gate(self.state, |_| spec.has(flag::DENYOOM))
    }
}

/// The type that a family's waiting commands work on.
fn waited_kind(spec: &Spec) -> Kind {
    match spec.group {
        "sorted-set" => Kind::SortedSet,
        "stream" => Kind::Stream,
        _ => Kind::List,
    }
}
