//! Cluster mode. Not served yet.

use super::super::checks;
use super::{
    bytes, choice, number, off, on, text, unset, Choices, Directive, I32_MAX, I64_MAX, U64_MAX,
};

const ENDPOINTS: Choices = &[("ip", 0), ("hostname", 1), ("unknown-endpoint", 2)];

pub(super) const CLUSTER: &[Directive] = &[
    off("cluster-enabled").fixed().about("Be a node of a cluster."),
    text("cluster-config-file", "nodes.conf")
        .fixed()
        .checked(checks::cluster_config_file)
        .about("File in which a node keeps what it knows."),
    number("cluster-node-timeout", "15000", 0, I64_MAX)
        .about("Milliseconds until a silent node counts as failed."),
    number("cluster-port", "0", 0, 65535).fixed().about("Port of the cluster bus."),
    number("cluster-replica-validity-factor", "10", 0, I32_MAX)
        .alias("cluster-slave-validity-factor")
        .about("How old a replica's data may be to take over."),
    number("cluster-migration-barrier", "1", 0, I32_MAX)
        .about("Replicas that must stay when one moves to another primary."),
    on("cluster-allow-replica-migration").about("Replicas may move to a primary without any."),
    on("cluster-require-full-coverage").about("Refuse queries while some slot is not served."),
    off("cluster-replica-no-failover")
        .alias("cluster-slave-no-failover")
        .about("A replica never takes over by itself."),
    off("cluster-allow-reads-when-down").about("Answer reads although the cluster is down."),
    on("cluster-allow-pubsubshard-when-down")
        .about("Serve shard channels although the cluster is down."),
    bytes("cluster-link-sendbuf-limit", "0", 0, U64_MAX)
        .about("Bytes that may wait for a node; 0 is no limit."),
    unset("cluster-announce-hostname")
        .checked(checks::hostname)
        .about("Host name that a node says it has."),
    unset("cluster-announce-human-nodename")
        .checked(checks::node_name)
        .about("Name of the node in the log."),
    choice("cluster-preferred-endpoint-type", "ip", ENDPOINTS)
        .about("What clients are told: ip, hostname, unknown-endpoint."),
    unset("cluster-announce-ip").about("Address that a node says it has."),
    unset("cluster-announce-client-ipv4")
        .checked(checks::ipv4)
        .about("IPv4 address told to clients (Valkey)."),
    unset("cluster-announce-client-ipv6")
        .checked(checks::ipv6)
        .about("IPv6 address told to clients (Valkey)."),
    number("cluster-announce-port", "0", 0, 65535).about("Port that a node says it has."),
    number("cluster-announce-tls-port", "0", 0, 65535).about("TLS port that a node says it has."),
    number("cluster-announce-bus-port", "0", 0, 65535).about("Bus port that a node says it has."),
    number("cluster-blacklist-ttl", "60", 0, I64_MAX)
        .about("Seconds for which a forgotten node stays forgotten (Valkey)."),
    off("cluster-slot-stats-enabled").about("Count the use of each slot (Valkey)."),
    number("cluster-ping-interval", "0", 0, I64_MAX).hidden(),
];
