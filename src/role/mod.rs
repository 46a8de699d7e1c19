//! What this server is in replication: a primary with its replicas, or the replica of another.
//!
//! Plain state without sockets. The stream itself and its backlog are the [`crate::log`]'s; here
//! is who the stream belongs to. A *history* is a stream of writes with a name, the replication
//! id: two servers with the same id and the same offset hold the same data. A promoted replica
//! begins a history of its own and remembers the one that it comes from, up to where they are the
//! same, so that its siblings can go on with it.
//!
//! Invariant: `upstream` is there exactly on a replica; `replicas` holds exactly those clients
//! whose [`Replica`] has a stage.

mod replica;
mod upstream;

pub use replica::{Copy, Copying, Order, Part, Replica, Stage};
pub use upstream::{Address, Link, Transfer, Upstream};

use crate::client::ClientId;
use std::collections::{BTreeSet, HashSet, VecDeque};

/// No id: what `master_replid2` shows while there is no second history.
pub const NO_ID: &str = "0000000000000000000000000000000000000000";

/// FAILOVER, while it is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failover {
    /// The replica that shall take over; `None`: whichever is in sync first.
    pub target: Option<Address>,
    /// It takes over at the deadline even if it is not in sync.
    pub force: bool,
    /// When the server gives up, or forces the change (Unix ms).
    pub until_ms: Option<i64>,
    /// The chosen replica has been asked to take over, and this server follows it.
    pub is_handing_over: bool,
}

impl Failover {
    /// What INFO shows.
    pub fn name(failover: Option<&Failover>) -> &'static str {
        match failover {
            None => "no-failover",
            Some(failover) if failover.is_handing_over => "failover-in-progress",
            Some(_) => "waiting-for-sync",
        }
    }
}

/// The room.
#[derive(Debug)]
pub struct Role {
    /// The name of this server's history: 40 hex digits.
    pub id: String,
    /// The data was loaded from a file that says which point of this history it is.
    pub is_loaded: bool,
    /// The database that the stream had selected at that point.
    pub loaded_db: usize,
    /// The history that it comes from.
    pub second_id: String,
    /// The first offset that is not part of that one; -1 without one.
    pub second_offset: i64,
    /// The primary that this server copies.
    pub upstream: Option<Upstream>,
    /// Clients that are replicas, in order of arrival.
    pub replicas: Vec<ClientId>,
    /// Whoever holds the lock tells the replicas of what was written, when it is through.
    pub tells_later: bool,
    /// There are bytes in the stream that no replica has been told of.
    pub has_news: bool,
    /// Replicas that have answered within `min-replicas-max-lag`.
    pub good_replicas: usize,
    /// Since when there has been no replica (steady ms).
    pub without_replicas_since_ms: i64,
    /// Clients in WAIT and WAITAOF.
    pub waiting: BTreeSet<ClientId>,
    /// Replicas have to be asked how far they are.
    pub wants_acks: bool,
    /// A snapshot for replicas is being taken.
    pub copying: Option<Copying>,
    /// FAILOVER.
    pub failover: Option<Failover>,
    /// Grows with every change of role: who works for an older one must stop.
    pub generation: u64,
    /// The second in which replicas were last looked at.
    pub checked_s: i64,
    /// Seconds that have been looked at: the pings' beat.
    pub beats: u64,
    /// How much of the stream for replicas is on the disk here.
    pub on_disk: OnDisk,
    /// Keys with a deadline that clients of a writable replica have made: the primary knows
    /// nothing of them.
    pub own_keys: HashSet<(usize, Box<[u8]>)>,
    /// Counters for INFO.
    pub counters: Counters,
}

/// Places in the log, and how they correspond to offsets of the stream for replicas.
#[derive(Clone, Debug, Default)]
pub struct OnDisk {
    /// The offset up to which everything is on the disk.
    pub offset: u64,
    /// Marks of the file that are not, with the offsets where they were.
    pub places: VecDeque<(u64, u64)>,
}

/// Figures that INFO shows under its own names.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Counters {
    pub sync_full: u64,
    pub sync_partial_ok: u64,
    pub sync_partial_err: u64,
    pub net_in_bytes: u64,
    pub net_out_bytes: u64,
}

/// No stream gets further in earnest, so sums with a position never overflow.
const POSITION_MAX: u64 = i64::MAX as u64 / 4;

/// A position in a stream, as a file or another server states it.
pub fn position(text: &str) -> Option<u64> {
    text.parse().ok().filter(|position| *position <= POSITION_MAX)
}

/// Whether this may be the name of a history.
pub fn is_id(text: &str) -> bool {
    text.len() == NO_ID.len() && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

impl Role {
    /// A primary without replicas, whose history has no name yet.
    pub fn new(now_ms: i64) -> Role {
        Role {
            id: String::new(),
            is_loaded: false,
            loaded_db: 0,
            second_id: NO_ID.to_string(),
            second_offset: -1,
            upstream: None,
            replicas: Vec::new(),
            tells_later: false,
            has_news: false,
            good_replicas: 0,
            without_replicas_since_ms: now_ms,
            waiting: BTreeSet::new(),
            wants_acks: false,
            copying: None,
            failover: None,
            generation: 0,
            checked_s: 0,
            beats: 0,
            on_disk: OnDisk::default(),
            own_keys: HashSet::new(),
            counters: Counters::default(),
        }
    }

    /// Whether this server copies another.
    #[inline]
    pub fn is_replica(&self) -> bool {
        self.upstream.is_some()
    }

    /// A history of its own begins, without a past.
    pub fn begin_history(&mut self, id: String) {
        self.id = id;
        self.forget_second();
    }

    /// A history of its own begins where that of the primary ended, at this position.
    pub fn fork_history(&mut self, id: String, position: u64) {
        self.second_id = std::mem::replace(&mut self.id, id);
        self.second_offset = position as i64 + 1;
    }

    /// The history goes on under the name that the primary has given to its own.
    pub fn rename_history(&mut self, id: &str, position: u64) {
        if id != self.id {
            self.fork_history(id.to_string(), position);
        }
    }

    /// Forgets where the history comes from.
    pub fn forget_second(&mut self) {
        self.second_id = NO_ID.to_string();
        self.second_offset = -1;
    }

    /// Whether a replica that has `id`'s history up to the byte before `offset` shares this
    /// server's.
    pub fn shares(&self, id: &str, offset: i64) -> bool {
        id.eq_ignore_ascii_case(&self.id)
            || (id.eq_ignore_ascii_case(&self.second_id) && offset <= self.second_offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promoted_replica_shares_the_past_of_its_siblings() {
        let mut role = Role::new(0);
        role.begin_history("a".repeat(40));
        assert!(role.shares(&"A".repeat(40), 99) && !role.shares(NO_ID, 0));
        role.fork_history("b".repeat(40), 10);
        let (old, new) = ("a".repeat(40), "b".repeat(40));
        assert!(role.shares(&old, 11) && !role.shares(&old, 12) && role.shares(&new, 12));
        role.rename_history(&new, 50);
        assert_eq!(role.second_offset, 11);
        role.begin_history("c".repeat(40));
        assert!(!role.shares(&old, 1) && !role.shares(&new, 1) && role.second_offset == -1);
    }
}
