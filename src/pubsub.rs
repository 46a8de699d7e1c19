//! Channels, patterns, shard channels, and delivery to bounded outboxes.
//!
//! Invariant: who is in a channel's set has the channel in its own set, and the other way round;
//! empty sets are not kept. A message is encoded once for each protocol and shared.

use crate::client::{ClientId, Clients};
use crate::config::Settings;
use crate::resp::out::{push_bulk, push_number};
use crate::types::glob::glob_match;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The three ways to subscribe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// SUBSCRIBE
    Channel,
    /// PSUBSCRIBE
    Pattern,
    /// SSUBSCRIBE
    Shard,
}

/// What a subscription takes besides the bytes of its name, about.
const NAME_BYTES: usize = 160;

type Members = BTreeSet<ClientId>;

#[derive(Debug, Default)]
struct Room {
    members: BTreeMap<Box<[u8]>, Members>,
    of_client: HashMap<ClientId, Names>,
}

/// The names of one client, in the order in which they came.
#[derive(Debug, Default)]
struct Names {
    numbers: HashMap<Box<[u8]>, u64>,
    ordered: BTreeMap<u64, Box<[u8]>>,
    last: u64,
    bytes: usize,
}

impl Names {
    fn insert(&mut self, name: &[u8]) -> bool {
        if self.numbers.contains_key(name) {
            return false;
        }
        self.last += 1;
        self.bytes += NAME_BYTES + name.len() * 2;
        self.numbers.insert(name.into(), self.last);
        self.ordered.insert(self.last, name.into());
        true
    }

    fn remove(&mut self, name: &[u8]) -> bool {
        let Some(number) = self.numbers.remove(name) else { return false };
        self.ordered.remove(&number);
        self.bytes -= NAME_BYTES + name.len() * 2;
        true
    }
}

impl Room {
    fn join(&mut self, id: ClientId, name: &[u8]) -> bool {
        let joined = self.of_client.entry(id).or_default().insert(name);
        if joined {
            self.members.entry(name.into()).or_default().insert(id);
        }
        joined
    }

    fn leave(&mut self, id: ClientId, name: &[u8]) -> bool {
        let Some(own) = self.of_client.get_mut(&id) else { return false };
        if !own.remove(name) {
            return false;
        }
        if own.numbers.is_empty() {
            self.of_client.remove(&id);
        }
        if let Some(members) = self.members.get_mut(name) {
            members.remove(&id);
            if members.is_empty() {
                self.members.remove(name);
            }
        }
        true
    }
}

/// All subscriptions.
#[derive(Debug, Default)]
pub struct PubSub {
    channels: Room,
    patterns: Room,
    shards: Room,
}

impl PubSub {
    fn room(&self, scope: Scope) -> &Room {
        match scope {
            Scope::Channel => &self.channels,
            Scope::Pattern => &self.patterns,
            Scope::Shard => &self.shards,
        }
    }

    fn room_mut(&mut self, scope: Scope) -> &mut Room {
        match scope {
            Scope::Channel => &mut self.channels,
            Scope::Pattern => &mut self.patterns,
            Scope::Shard => &mut self.shards,
        }
    }

    /// Subscribes; false when it already was.
    pub fn join(&mut self, scope: Scope, id: ClientId, name: &[u8]) -> bool {
        self.room_mut(scope).join(id, name)
    }

    /// Unsubscribes; false when it was not subscribed.
    pub fn leave(&mut self, scope: Scope, id: ClientId, name: &[u8]) -> bool {
        self.room_mut(scope).leave(id, name)
    }

    /// What a client is subscribed to.
    pub fn names_of(&self, scope: Scope, id: ClientId) -> Vec<Box<[u8]>> {
        let own = self.room(scope).of_client.get(&id);
        own.map(|names| names.ordered.values().cloned().collect()).unwrap_or_default()
    }

    /// How many channels, patterns or shard channels a client is subscribed to.
    pub fn count_of(&self, scope: Scope, id: ClientId) -> usize {
        self.room(scope).of_client.get(&id).map_or(0, |names| names.numbers.len())
    }

    /// Bytes that the subscriptions of a client take.
    pub fn bytes_of(&self, id: ClientId) -> usize {
        let rooms = [&self.channels, &self.patterns, &self.shards];
        rooms.iter().filter_map(|room| room.of_client.get(&id)).map(|names| names.bytes).sum()
    }

    /// Names with subscribers, and how many.
    pub fn names(&self, scope: Scope) -> impl Iterator<Item = (&[u8], usize)> {
        self.room(scope).members.iter().map(|(name, members)| (&**name, members.len()))
    }

    /// Subscribers of one name.
    pub fn subscribers(&self, scope: Scope, name: &[u8]) -> usize {
        self.room(scope).members.get(name).map_or(0, Members::len)
    }

    /// Clients subscribed to anything.
    pub fn clients(&self) -> usize {
        let all = [&self.channels, &self.patterns, &self.shards];
        all.iter().flat_map(|room| room.of_client.keys()).collect::<BTreeSet<_>>().len()
    }

    /// Forgets a client.
    pub fn forget(&mut self, id: ClientId) {
        for scope in [Scope::Channel, Scope::Pattern, Scope::Shard] {
            for name in self.names_of(scope, id) {
                self.leave(scope, id, &name);
            }
        }
    }

    /// Delivers a message; returns the number of receivers.
    pub fn publish(
        &self,
        sharded: bool,
        channel: &[u8],
        message: &[u8],
        clients: &mut Clients,
        settings: &Settings,
        now_ms: i64,
    ) -> usize {
        let (scope, kind) =
            if sharded { (Scope::Shard, "smessage") } else { (Scope::Channel, "message") };
        let mut receivers = 0;
        if let Some(members) = self.room(scope).members.get(channel) {
            let encoded = Encoded::of(&[kind.as_bytes(), channel, message]);
            receivers += members.len();
            encoded.deliver(members, clients, settings, now_ms);
        }
        if sharded {
            return receivers;
        }
        for (pattern, members) in &self.patterns.members {
            if glob_match(pattern, channel, false) {
                let encoded = Encoded::of(&[b"pmessage", pattern, channel, message]);
                receivers += members.len();
                encoded.deliver(members, clients, settings, now_ms);
            }
        }
        receivers
    }
}

/// A message in both protocols.
struct Encoded {
    resp2: Bytes,
    resp3: Bytes,
}

impl Encoded {
    fn of(words: &[&[u8]]) -> Encoded {
        let mut encoded = Vec::new();
        push_number(&mut encoded, b'*', words.len() as i64);
        for word in words {
            push_bulk(&mut encoded, word);
        }
        let resp2 = Bytes::from(encoded.clone());
        encoded[0] = b'>';
        Encoded { resp2, resp3: Bytes::from(encoded) }
    }

    fn deliver(&self, to: &Members, clients: &mut Clients, settings: &Settings, now_ms: i64) {
        for &id in to {
            if let Some(client) = clients.find_mut(id) {
                let encoded = if client.resp3 { &self.resp3 } else { &self.resp2 };
                client.outbox.push_shared(encoded);
                client.check_output_limit(settings, now_ms);
                client.kick.ring();
            }
        }
    }
}
