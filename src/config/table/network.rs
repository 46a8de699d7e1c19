//! Listeners, and the limits of clients.

use super::{
    bytes, number, off, on, row, text, unset, Directive, Kind, Unit, I32_MAX, I64_MAX, U32_MAX,
};

pub(super) const LISTENERS: &[Directive] = &[
    row("bind", Kind::Bind, "* -::*")
        .honoured()
        .about("Addresses to listen on; one that begins with '-' may be missing from the machine."),
    unset("bind-source-addr").honoured().about("Address from which outgoing connections are made."),
    number("port", "6379", 0, 65535).honoured().about("TCP port; 0 for none."),
    number("tcp-backlog", "511", 0, I32_MAX)
        .fixed()
        .honoured()
        .about("Connections that may wait to be accepted."),
    unset("unixsocket").fixed().honoured().about("Path of a unix socket to listen on as well."),
    unset("unixsocketgroup").honoured().about("Group that owns the unix socket."),
    row("unixsocketperm", Kind::Number { unit: Unit::Octal, min: 0, max: 0o777 }, "0")
        .fixed()
        .honoured()
        .about("Permissions of the unix socket, octal; 0 leaves them to the umask."),
    on("protected-mode")
        .honoured()
        .about("Refuse other machines' connections while there is no password."),
    number("socket-mark-id", "0", 0, U32_MAX).fixed().about("Mark of the sockets, for routing."),
    number("max-new-connections-per-cycle", "10", 1, 1000).about("Connections accepted at one go."),
    number("max-new-tls-connections-per-cycle", "1", 1, 1000)
        .about("TLS connections accepted at one go."),
];

pub(super) const CLIENTS: &[Directive] = &[
    number("timeout", "0", 0, I32_MAX)
        .honoured()
        .about("Seconds after which an idle client is closed; 0 never."),
    number("tcp-keepalive", "300", 0, I32_MAX)
        .honoured()
        .about("Seconds of silence after which the system asks whether a client is there."),
    number("maxclients", "10000", 1, U32_MAX)
        .honoured()
        .about("Clients connected at the same time."),
    row(
        "maxmemory-clients",
        Kind::Number { unit: Unit::BytesOrPercent, min: -100, max: I64_MAX },
        "0",
    )
    .honoured()
    .about("Memory of all clients' buffers, in bytes or percent of maxmemory; 0 is no limit."),
    bytes("client-query-buffer-limit", "1073741824", 1 << 20, I64_MAX)
        .honoured()
        .about("Bytes of a request that is not complete."),
    bytes("proto-max-bulk-len", "536870912", 1 << 20, I64_MAX)
        .honoured()
        .about("Bytes of one argument."),
    row(
        "client-output-buffer-limit",
        Kind::OutputLimits,
        "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
    )
    .honoured()
    .about("Class, hard limit, soft limit, seconds: when a client that does not read is closed."),
    number("io-threads", "1", 1, 128)
        .fixed()
        .honoured()
        .about("Threads that serve connections, at most: as many as there is work for."),
    off("io-threads-do-reads")
        .fixed()
        .about("Whether these threads read as well; here they always do."),
    number("events-per-io-thread", "2", 0, I32_MAX).about("Valkey's threading threshold."),
    number("prefetch-batch-max-size", "16", 0, 128).about("Valkey's prefetching batch."),
    number("databases", "16", 1, I32_MAX).fixed().honoured().about("Databases for SELECT."),
    number("tracking-table-max-keys", "1000000", 0, I64_MAX)
        .honoured()
        .about("Keys remembered for client-side caching; 0 is no limit."),
    text("availability-zone", "").about("Name of the zone, told to clients (Valkey)."),
    off("extended-redis-compatibility").about("Valkey's switch for calling itself Redis."),
];
