//! Replication: who copies whom, how a replica introduces itself, who waits for replicas.
//!
//! What replicas and primaries then send each other is in [`crate::session`] and
//! [`crate::replication`].

mod failover;
mod introduce;
mod role;
mod sync;
mod waiting;

use crate::command::{client, client_wait, flag, Family, Row};

/// The family.
pub const FAMILY: Family = Family { group: "server", rows: ROWS };
/// WAIT and WAITAOF, which Redis counts elsewhere.
pub const WAITING: Family = Family { group: "generic", rows: WAITING_ROWS };

const ROWS: &[Row] = &[
    client("FAILOVER [TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]", failover::failover)
        .admin()
        .noscript()
        .stale()
        .since("6.2.0")
        .cost("O(1)")
        .about("Makes one of the replicas the primary, without losing a write."),
    client("PSYNC replicationid offset", sync::psync)
        .admin()
        .noscript()
        .no_multi()
        .flags(flag::NO_ASYNC_LOADING)
        .arity(-3)
        .since("2.8.0")
        .about("Begins to copy this server, from where the replica is if that is known here."),
    client("REPLCONF", introduce::replconf)
        .admin()
        .noscript()
        .loading()
        .stale()
        .flags(flag::ALLOW_BUSY)
        .arity(-1)
        .since("3.0.0")
        .cost("O(1)")
        .about("A replica says who it is and how far it is."),
    client("REPLICAOF <host port | NO ONE>", role::replicaof)
        .admin()
        .noscript()
        .stale()
        .flags(flag::NO_ASYNC_LOADING)
        .since("5.0.0")
        .cost("O(1)")
        .about("Makes this server the replica of another one, or a primary."),
    client("ROLE", role::role)
        .fast()
        .noscript()
        .loading()
        .stale()
        .flags(flag::ADMIN_CATEGORY)
        .since("2.8.12")
        .cost("O(1)")
        .about("Replies with the role in replication."),
    client("SLAVEOF <host port | NO ONE>", role::replicaof)
        .admin()
        .noscript()
        .stale()
        .flags(flag::NO_ASYNC_LOADING)
        .since("1.0.0")
        .cost("O(1)")
        .about("The older name of REPLICAOF."),
    client("SYNC", sync::sync)
        .admin()
        .noscript()
        .no_multi()
        .flags(flag::NO_ASYNC_LOADING)
        .since("1.0.0")
        .about("Begins to copy this server, with all of its data."),
];

const WAITING_ROWS: &[Row] = &[
    client_wait("WAIT numreplicas timeout", waiting::wait)
        .route("all_shards", "agg_min")
        .since("3.0.0")
        .cost("O(1)")
        .about("Waits until replicas have received the writes of this connection."),
    client_wait("WAITAOF numlocal numreplicas timeout", waiting::waitaof)
        .route("all_shards", "agg_min")
        .since("7.2.0")
        .cost("O(1)")
        .about("Waits until writes of this connection are on disk, here and on replicas."),
];
