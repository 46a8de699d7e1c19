//! Client-side caching: who may hold which key in a cache of its own, and the messages that tell
//! it to forget.
//!
//! By default the server remembers every key that a tracking client reads, and tells it once when
//! that key changes. In broadcasting mode it remembers nothing but prefixes, and tells about every
//! change below them, one message to a turn at the lock. Keys are remembered by name alone: a
//! change in any database counts, as in Redis.
//!
//! Invariant: `of_client` holds exactly the clients that have turned tracking on and not off again;
//! `prefixes` holds exactly the prefixes of those in broadcasting mode.

mod readers;

use crate::client::{ClientId, Clients};
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::resp::out::{push_bulk, push_number};
use crate::types::limits::HashKey;
use rand::RngCore;
use readers::Readers;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The four modes of CLIENT TRACKING.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Every key that is read.
    #[default]
    Default,
    /// Only keys read right after CLIENT CACHING YES.
    OptIn,
    /// All but keys read right after CLIENT CACHING NO.
    OptOut,
    /// Everything below prefixes.
    Bcast,
}

/// What CLIENT CACHING said, and for which command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Caching {
    /// Nothing.
    #[default]
    Unset,
    /// It was the last command.
    JustSet,
    /// It holds for the command (or transaction) that runs now.
    Holds,
}

/// How one client tracks.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The mode.
    pub mode: Mode,
    /// The one who receives the messages.
    pub redirect: Option<ClientId>,
    /// That one has gone.
    pub redirect_broken: bool,
    /// Its own changes are no news.
    pub noloop: bool,
    /// Prefixes of the broadcasting mode.
    pub prefixes: Vec<Box<[u8]>>,
    /// CLIENT CACHING.
    pub caching: Caching,
}

impl Options {
    /// CLIENT ID of the one who receives the messages, 0 for nobody else.
    pub fn redirect_serial(&self) -> i64 {
        self.redirect.map_or(0, |id| id.serial as i64)
    }

    /// The words of CLIENT TRACKINGINFO.
    pub fn flags(&self) -> Vec<&'static str> {
        let mut flags = vec!["on"];
        let holds = self.caching != Caching::Unset;
        match self.mode {
            Mode::Default => {}
            Mode::Bcast => flags.push("bcast"),
            Mode::OptIn => {
                flags.push("optin");
                flags.extend(holds.then_some("caching-yes"));
            }
            Mode::OptOut => {
                flags.push("optout");
                flags.extend(holds.then_some("caching-no"));
            }
        }
        flags.extend(self.noloop.then_some("noloop"));
        flags.extend(self.redirect_broken.then_some("broken_redirect"));
        flags
    }
}

/// What a prefix takes besides its own bytes, about.
const PREFIX_BYTES: usize = 96;

/// Keys that are forgotten at once where more are remembered than may be.
pub const EFFORT: usize = 100;

type Changed = BTreeMap<Box<[u8]>, Option<ClientId>>;

/// Who may be told, and under which limits.
#[derive(Debug)]
pub struct Audience<'a> {
    /// All connections.
    pub clients: &'a mut Clients,
    /// The directives: a message that is not taken counts for output limits.
    pub settings: &'a Settings,
    /// The present (Unix ms).
    pub now_ms: i64,
}

/// All that is tracked.
#[derive(Debug)]
pub struct Tracking {
    of_client: HashMap<ClientId, Options>,
    readers: Readers,
    prefixes: BTreeMap<Box<[u8]>, BTreeSet<ClientId>>,
    /// Changes below some prefix, and who made them, since the last broadcast.
    changed: Changed,
    /// Times in a row that a round of [`Tracking::keep_below`] was not enough.
    overruns: usize,
}

impl Tracking {
    /// Nobody tracks. `hash_key` is that of the server's tables.
    pub fn new(hash_key: HashKey) -> Tracking {
        Tracking {
            of_client: HashMap::new(),
            readers: Readers::new(hash_key),
            prefixes: BTreeMap::new(),
            changed: Changed::new(),
            overruns: 0,
        }
    }

    /// Whether nobody tracks.
    pub fn is_empty(&self) -> bool {
        self.of_client.is_empty()
    }

    /// Clients that track.
    pub fn clients(&self) -> usize {
        self.of_client.len()
    }

    /// Keys remembered.
    pub fn keys(&self) -> usize {
        self.readers.len()
    }

    /// Clients of all remembered keys, added up.
    pub fn items(&self) -> usize {
        self.readers.items()
    }

    /// Prefixes somebody listens to.
    pub fn prefixes(&self) -> usize {
        self.prefixes.len()
    }

    /// How a client tracks.
    pub fn options(&self, id: ClientId) -> Option<&Options> {
        self.of_client.get(&id)
    }

    /// Bytes that the prefixes of a client take.
    pub fn bytes_of(&self, id: ClientId) -> usize {
        let prefixes = self.of_client.get(&id).map_or(&[][..], |options| &options.prefixes);
        prefixes.iter().map(|prefix| PREFIX_BYTES + prefix.len() * 2).sum()
    }

    /// How a client tracks.
    pub fn options_mut(&mut self, id: ClientId) -> Option<&mut Options> {
        self.of_client.get_mut(&id)
    }

    /// Refuses prefixes that overlap with one another or with those that the client has.
    pub fn check_prefixes(&self, id: ClientId, wanted: &[Box<[u8]>]) -> Result<()> {
        let overlap = |a: &[u8], b: &[u8]| a.starts_with(b) || b.starts_with(a);
        let refuse = |prefix: &[u8], what: &str, other: &[u8]| {
            Err(Error::showing(
                "ERR Prefix '{}' overlaps with {} prefix '{}'. Prefixes for a single client must \
                 not overlap.",
                &[prefix, what.as_bytes(), other],
            ))
        };
        let own = self.of_client.get(&id).map(|options| &options.prefixes[..]).unwrap_or_default();
        for (number, prefix) in wanted.iter().enumerate() {
            if let Some(other) = own.iter().find(|other| other != &prefix && overlap(prefix, other))
            {
                return refuse(prefix, "an existing", other);
            }
            if let Some(other) = wanted[number + 1..].iter().find(|other| overlap(prefix, other)) {
                return refuse(prefix, "another provided", other);
            }
        }
        Ok(())
    }

    /// A client tracks from now on; prefixes add to those it has.
    pub fn start(&mut self, id: ClientId, mut options: Options) {
        for prefix in &options.prefixes {
            self.prefixes.entry(prefix.clone()).or_default().insert(id);
        }
        if let Some(before) = self.of_client.remove(&id) {
            for prefix in before.prefixes {
                if !options.prefixes.contains(&prefix) {
                    options.prefixes.push(prefix);
                }
            }
        }
        options.prefixes.sort();
        self.of_client.insert(id, options);
    }

    /// A client tracks no more. The keys it has read are forgotten when they change.
    pub fn stop(&mut self, id: ClientId) {
        let Some(options) = self.of_client.remove(&id) else { return };
        for prefix in &options.prefixes {
            if let Some(listeners) = self.prefixes.get_mut(prefix) {
                listeners.remove(&id);
                if listeners.is_empty() {
                    self.prefixes.remove(prefix);
                }
            }
        }
        if self.of_client.is_empty() {
            self.readers.clear();
        }
    }

    /// A client is about to run a command: what CLIENT CACHING said holds for one.
    pub fn command_begins(&mut self, id: ClientId, in_multi: bool) {
        if let Some(options) = self.of_client.get_mut(&id) {
            options.caching = match options.caching {
                Caching::JustSet => Caching::Holds,
                Caching::Holds if in_multi => Caching::Holds,
                _ => Caching::Unset,
            };
        }
    }

    /// A client has read keys.
    pub fn remember<'k>(&mut self, id: ClientId, keys: impl Iterator<Item = &'k [u8]>) {
        let Some(options) = self.of_client.get(&id) else { return };
        let holds = options.caching == Caching::Holds;
        let wanted = match options.mode {
            Mode::Default => true,
            Mode::OptIn => holds,
            Mode::OptOut => !holds,
            Mode::Bcast => false,
        };
        if !wanted {
            return;
        }
        keys.for_each(|key| self.readers.add(key, id));
    }

    /// A key changed: those who have read it are told, and the broadcast is noted.
    pub fn changed(&mut self, key: &[u8], by: Option<ClientId>, to: &mut Audience<'_>) {
        if self.prefixes.keys().any(|prefix| key.starts_with(prefix)) {
            self.changed.insert(key.into(), by);
        }
        let Some(read) = self.readers.take(key) else { return };
        for id in read.by {
            let Some(options) = self.of_client.get(&id) else { continue };
            if options.mode == Mode::Bcast || (options.noloop && by == Some(id)) {
                continue;
            }
            self.tell(id, Some(&[key]), to);
        }
    }

    /// Everything changed: every tracking client forgets all it holds.
    pub fn changed_all(&mut self, to: &mut Audience<'_>) {
        let everyone: Vec<ClientId> = self.of_client.keys().copied().collect();
        self.readers.clear();
        for id in everyone {
            self.tell(id, None, to);
        }
    }

    /// Whether more keys are remembered than may be; 0 is no limit.
    #[inline]
    pub fn is_above(&self, keys_max: usize) -> bool {
        keys_max > 0 && self.readers.len() > keys_max
    }

    /// Forgets keys beyond the limit, telling those who have read them. Redis: a hundred at most,
    /// and a hundred more each time in a row that this is not enough.
    pub fn keep_below(&mut self, keys_max: usize, rng: &mut impl RngCore, to: &mut Audience<'_>) {
        let effort = EFFORT.saturating_mul(self.overruns + 1);
        self.forget_some(keys_max, effort, rng, to);
        self.overruns = if self.is_above(keys_max) { self.overruns + 1 } else { 0 };
    }

    /// Forgets `most` keys beyond the limit at most, telling those who have read them.
    pub fn forget_some(
        &mut self,
        keys_max: usize,
        most: usize,
        rng: &mut impl RngCore,
        to: &mut Audience<'_>,
    ) {
        for _ in 0..most {
            if !self.is_above(keys_max) {
                return;
            }
            let Some(read) = self.readers.take_any(rng) else { return };
            for id in read.by {
                self.tell(id, Some(&[&read.key]), to);
            }
        }
    }

    /// Whether something changed below prefixes since the last broadcast.
    #[inline]
    pub fn has_news(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Sends what changed below prefixes, one message to each listener.
    pub fn broadcast(&mut self, to: &mut Audience<'_>) {
        let changed = std::mem::take(&mut self.changed);
        let mut messages: Vec<(ClientId, Vec<&[u8]>)> = Vec::new();
        for (prefix, listeners) in &self.prefixes {
            for &id in listeners {
                let noloop = self.of_client.get(&id).is_some_and(|options| options.noloop);
                let keys: Vec<&[u8]> = changed
                    .iter()
                    .filter(|(key, by)| key.starts_with(prefix) && !(noloop && **by == Some(id)))
                    .map(|(key, _)| &**key)
                    .collect();
                if !keys.is_empty() {
                    messages.push((id, keys));
                }
            }
        }
        for (id, keys) in messages {
            self.tell(id, Some(&keys), to);
        }
    }

    /// One message to a client or to whom it redirects; `None`: forget everything.
    fn tell(&mut self, id: ClientId, keys: Option<&[&[u8]]>, to: &mut Audience<'_>) {
        let Some(options) = self.of_client.get_mut(&id) else { return };
        let receiver = match options.redirect {
            None => Some(id),
            Some(other) => to.clients.find(other).filter(|one| !one.is_gone()).map(|one| one.id),
        };
        let Some(receiver) = receiver else {
            options.redirect_broken = true;
            let serial = options.redirect_serial();
            if let Some(client) = to.clients.find_mut(id).filter(|client| client.resp3) {
                client.outbox.append_with(|out| {
                    push_number(out, b'>', 2);
                    push_bulk(out, b"tracking-redir-broken");
                    push_number(out, b':', serial);
                });
                client.check_output_limit(to.settings, to.now_ms);
                client.kick.ring();
            }
            return;
        };
        // To itself counts too: that is how a single RESP2 connection gets its messages.
        let tracker_resp3 = to.clients.find_mut(id).map(|client| client.resp3);
        let redirected = options.redirect.is_some();
        let Some(client) = to.clients.find_mut(receiver) else { return };
        if !(client.resp3 || redirected && client.is_subscriber()) {
            // A RESP2 connection could not tell a message from a reply.
            return;
        }
        let (resp3, tracker_resp3) = (client.resp3, tracker_resp3.unwrap_or(client.resp3));
        client.outbox.append_with(|out| {
            if resp3 {
                push_number(out, b'>', 2);
                push_bulk(out, b"invalidate");
            } else {
                push_number(out, b'*', 3);
                push_bulk(out, b"message");
                push_bulk(out, b"__redis__:invalidate");
            }
            match keys {
                // Redis: in the protocol of the one who tracks, whoever receives it.
                None if tracker_resp3 => out.extend_from_slice(b"_\r\n"),
                None => out.extend_from_slice(b"$-1\r\n"),
                Some(keys) => {
                    push_number(out, b'*', keys.len() as i64);
                    keys.iter().for_each(|key| push_bulk(out, key));
                }
            }
        });
        client.check_output_limit(to.settings, to.now_ms);
        client.kick.ring();
    }
}
