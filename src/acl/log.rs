//! The log of refusals.
//!
//! Invariant: the latest comes first. Refusals of one kind within a minute are one entry that
//! counts them.

use super::demand::Reason;
use std::collections::VecDeque;

/// Refusals of one kind this close together are one entry.
const GROUPED_MS: i64 = 60_000;
/// Entries that are looked at for one of the same kind.
const LOOKED_AT: usize = 10;

/// Where the refused command came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client.
    Client,
    /// A transaction.
    Multi,
    /// A script.
    Script,
}

impl Origin {
    /// As ACL LOG names it.
    pub fn name(self) -> &'static str {
        match self {
            Origin::Client => "toplevel",
            Origin::Multi => "multi",
            Origin::Script => "lua",
        }
    }
}

impl Reason {
    /// As ACL LOG names it.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Command => "command",
            Reason::Key => "key",
            Reason::Login => "auth",
            Reason::Channel => "channel",
        }
    }
}

/// What is noted of a refusal.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// Where it came from.
    pub origin: Origin,
    /// The command, the key or the channel.
    pub object: Vec<u8>,
    /// The user who was refused.
    pub user: Vec<u8>,
    /// The client, in the words of CLIENT INFO.
    pub client: Vec<u8>,
    /// When (Unix ms).
    pub at_ms: i64,
}

/// An entry: its last refusal, and how many there were.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Names it until the server ends.
    pub number: u64,
    /// How many refusals.
    pub count: u64,
    /// When the first one was (Unix ms).
    pub since_ms: i64,
    /// The last one.
    pub last: Refusal,
}

/// The log.
#[derive(Debug, Default)]
pub struct AclLog {
    entries: VecDeque<Entry>,
    next: u64,
    /// Refusals since the start, by reason.
    pub counters: Counters,
}

/// Refusals since the start, as INFO tells them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// `acl_access_denied_auth`
    pub logins: u64,
    /// `acl_access_denied_cmd`
    pub commands: u64,
    /// `acl_access_denied_key`
    pub keys: u64,
    /// `acl_access_denied_channel`
    pub channels: u64,
}

impl AclLog {
    /// Counts a refusal, and notes it where at most `entries_max` are kept.
    pub fn add(&mut self, entries_max: usize, refusal: Refusal) {
        let counter = match refusal.reason {
            Reason::Command => &mut self.counters.commands,
            Reason::Key => &mut self.counters.keys,
            Reason::Login => &mut self.counters.logins,
            Reason::Channel => &mut self.counters.channels,
        };
        *counter += 1;
        if entries_max == 0 {
            return self.entries.clear();
        }
        let is_alike = |entry: &Entry| {
            let last = &entry.last;
            last.reason == refusal.reason
                && last.origin == refusal.origin
                && last.object == refusal.object
                && last.user == refusal.user
                && last.at_ms.abs_diff(refusal.at_ms) <= GROUPED_MS as u64
        };
        let known = self.entries.iter().take(LOOKED_AT).position(is_alike);
        let entry = match known.and_then(|at| self.entries.remove(at)) {
            Some(entry) => Entry { count: entry.count + 1, last: refusal, ..entry },
            None => {
                self.next += 1;
                let since_ms = refusal.at_ms;
                Entry { number: self.next - 1, count: 1, since_ms, last: refusal }
            }
        };
        self.entries.push_front(entry);
        if known.is_none() {
            self.entries.truncate(entries_max);
        }
    }

    /// The entries, the latest first.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Forgets all entries.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}
