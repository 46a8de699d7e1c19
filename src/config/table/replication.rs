//! Replication.

use super::{
    bytes, choice, number, off, on, row, unset, Choices, Directive, Kind, I32_MAX, I64_MAX,
};

const DISKLESS_LOAD: Choices = &[("disabled", 0), ("on-empty-db", 1), ("swapdb", 2)];
const PROPAGATION: Choices = &[("ignore", 0), ("panic", 1), ("panic-on-replicas", 2)];

pub(super) const REPLICATION: &[Directive] = &[
    row("replicaof", Kind::ReplicaOf, "no one")
        .alias("slaveof")
        .fixed()
        .honoured()
        .about("Host and port of the primary to copy."),
    unset("masteruser").alias("primaryuser").secret().honoured().about("User at the primary."),
    unset("masterauth").alias("primaryauth").secret().honoured().about("Password at the primary."),
    on("replica-serve-stale-data")
        .alias("slave-serve-stale-data")
        .honoured()
        .about("A replica answers although it lost its primary."),
    on("replica-read-only").alias("slave-read-only").honoured().about("A replica refuses writes."),
    on("repl-diskless-sync").honoured().about("Send a full copy without a file."),
    number("repl-diskless-sync-delay", "5", 0, I32_MAX)
        .honoured()
        .about("Seconds to wait for further replicas before that."),
    number("repl-diskless-sync-max-replicas", "0", 0, I32_MAX)
        .honoured()
        .about("Replicas after which it does not wait; 0 always waits."),
    choice("repl-diskless-load", "disabled", DISKLESS_LOAD)
        .quiet_loading()
        .honoured()
        .about("Load a full copy without a file: disabled, on-empty-db, swapdb."),
    off("dual-channel-replication-enabled").about("Valkey's full copy on a second connection."),
    bytes("replica-full-sync-buffer-limit", "0", 0, I64_MAX)
        .about("Bytes a replica keeps while it loads a full copy."),
    number("repl-ping-replica-period", "10", 1, I32_MAX)
        .alias("repl-ping-slave-period")
        .honoured()
        .about("Seconds between a primary's pings."),
    number("repl-timeout", "60", 1, I32_MAX)
        .honoured()
        .about("Seconds until a silent link is given up."),
    off("repl-disable-tcp-nodelay").honoured().about("Send to replicas in fewer, later packets."),
    bytes("repl-backlog-size", "1048576", 1, I64_MAX)
        .honoured()
        .about("Bytes of the past that a returning replica can ask for."),
    number("repl-backlog-ttl", "3600", 0, I64_MAX)
        .honoured()
        .about("Seconds after the last replica left until they are dropped; 0 never."),
    number("replica-priority", "100", 0, I32_MAX)
        .alias("slave-priority")
        .honoured()
        .about("The lowest is made primary first; 0 never."),
    on("replica-announced").honoured().about("Sentinels tell clients of this replica."),
    unset("replica-announce-ip")
        .alias("slave-announce-ip")
        .honoured()
        .about("Address that a replica says it has."),
    number("replica-announce-port", "0", 0, 65535)
        .alias("slave-announce-port")
        .honoured()
        .about("Port that a replica says it has."),
    number("min-replicas-to-write", "0", 0, I32_MAX)
        .alias("min-slaves-to-write")
        .honoured()
        .about("Replicas without which writes are refused."),
    number("min-replicas-max-lag", "10", 0, I32_MAX)
        .alias("min-slaves-max-lag")
        .honoured()
        .about("Seconds of silence after which a replica does not count."),
    off("replica-lazy-flush")
        .honoured()
        .alias("slave-lazy-flush")
        .about("Drop the old data in the background before a full copy."),
    choice("propagation-error-behavior", "ignore", PROPAGATION)
        .honoured()
        .about("What a replica does about a command that fails."),
    off("replica-ignore-disk-write-errors")
        .honoured()
        .about("A replica goes on although it cannot write to its disk."),
];
