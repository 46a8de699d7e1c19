//! The table of directives against a genuine server's CONFIG GET *.

use crate::server::Genuine;
use crate::session::run::Server;
use crate::wire::{Reply, Wire};
use redouble::config::{table, Config};
use std::collections::BTreeMap;

/// Directives that a genuine server has and we have not, with the reason.
const NOT_OURS: &[(&str, &str)] =
    &[("cluster-compatibility-sample-ratio", "new in 8.0: counts what would fail in a cluster")];

/// Directives that we have and no genuine Redis of the same version has.
const VALKEYS: &[&str] = &[
    "availability-zone",
    "cluster-announce-client-ipv4",
    "cluster-announce-client-ipv6",
    "cluster-blacklist-ttl",
    "cluster-slot-stats-enabled",
    "dual-channel-replication-enabled",
    "events-per-io-thread",
    "extended-redis-compatibility",
    "log-format",
    "log-timestamp-format",
    "prefetch-batch-max-size",
    "primaryauth",
    "primaryuser",
    "rdb-version-check",
    "unixsocketgroup",
];

/// What no genuine server of this version has.
const OURS_ALONE: &[&str] =
    &["aof-load-corrupt-tail-max-size", "metrics-port", "redis-version", "tls-handshake-timeout"];

/// Names that came to Redis after 7.0, or went before 8.0.
const NOT_IN_ALL: &[&str] = &[
    "aof-rewrite-cpulist",
    "bgsave-cpulist",
    "bio-cpulist",
    "server-cpulist",
    "cluster-announce-human-nodename",
    "hide-user-data-from-log",
    "io-threads-do-reads",
    "locale-collate",
    "max-new-connections-per-cycle",
    "max-new-tls-connections-per-cycle",
    "replica-full-sync-buffer-limit",
    "set-max-listpack-entries",
    "set-max-listpack-value",
];

/// Defaults that differ, with the reason.
const OTHER_DEFAULTS: &[(&str, &str)] = &[
    ("port", "given to the genuine server by the test"),
    ("bind", "given to the genuine server by the test"),
    ("save", "given to the genuine server by the test"),
    ("protected-mode", "given to the genuine server by the test"),
    ("enable-debug-command", "given to the genuine server by the test"),
    ("dir", "each process has its own"),
    ("pidfile", "Redis names a file only once it is in the background"),
];

#[test]
fn names_and_defaults_are_the_genuine_servers() {
    let Some(command) = Genuine::command_line() else {
        eprintln!("skipped: REDIS_SERVER names no genuine server");
        return;
    };
    let genuine = Genuine::start(&command, &[]).expect("a genuine server");
    let mut wire = Wire::connect(genuine.addr()).expect("connected");
    let Reply::Array(items) = wire.call(&["CONFIG", "GET", "*"]).expect("a reply") else {
        panic!("CONFIG GET is no array")
    };
    let text = |reply: &Reply| match reply {
        Reply::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => panic!("{other:?}"),
    };
    let theirs: BTreeMap<String, String> =
        items.chunks_exact(2).map(|pair| (text(&pair[0]), text(&pair[1]))).collect();
    let ours: BTreeMap<String, String> = Config::default()
        .get(&[b"*"])
        .into_iter()
        .map(|(name, value)| {
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            (text(name), text(value))
        })
        .collect();
    let listed = |list: &[(&str, &str)], name: &str| list.iter().any(|(known, _)| *known == name);
    let mut faults = Vec::new();
    for (name, value) in &theirs {
        match ours.get(name) {
            // A hidden directive of ours may be shown by another version.
            None if listed(NOT_OURS, name) || table::find(name.as_bytes()).is_some() => {}
            None => faults.push(format!("{name} is missing")),
            Some(ours) if ours == value || listed(OTHER_DEFAULTS, name) => {}
            Some(ours) => faults.push(format!("{name} is {ours:?}, genuine {value:?}")),
        }
    }
    for name in ours.keys().filter(|name| !theirs.contains_key(*name)) {
        let known = VALKEYS.contains(&name.as_str())
            || NOT_IN_ALL.contains(&name.as_str())
            || OURS_ALONE.contains(&name.as_str());
        if !known {
            faults.push(format!("{name} is ours alone"));
        }
    }
    assert_eq!(faults, [] as [String; 0]);
}
