//! Moments that are written down while the past is played again, or a primary's stream: deadlines
//! are not judged then, but what counts from now on counts from now.

use crate::process::Folder;
use crate::replication::in_sync;
use redouble::resp::reader::Value;
use redouble::{Builder, Server};
use std::fs;
use std::time::Duration;

/// Longer than any test takes, shorter than the time since 1970, in milliseconds.
const LONG_MS: i64 = 3_600_000;

fn start(builder: Builder) -> Server {
    builder.start().expect("it starts")
}

fn logged(folder: &Folder) -> Builder {
    let dir = folder.0.display().to_string();
    Server::builder().config("dir", &dir).config("appendonly", "yes").without_tcp()
}

fn int(server: &Server, words: &[&str]) -> i64 {
    match server.command(words) {
        Value::Int(number) => number,
        other => panic!("{words:?}: {other:?}"),
    }
}

/// The numbers of a reply, in order.
fn numbers(value: &Value) -> Vec<i64> {
    match value {
        Value::Int(number) => vec![*number],
        Value::Array(items) => items.iter().flat_map(numbers).collect(),
        Value::Map(pairs) => pairs.iter().flat_map(|(_, value)| numbers(value)).collect(),
        _ => Vec::new(),
    }
}

/// Puts down moments of every kind.
fn happen(server: &Server) {
    for words in [
        "XADD stream 1-1 field value",
        "XADD stream 2-1 field value",
        "XGROUP CREATE stream group 0",
        "XREADGROUP GROUP group reader COUNT 1 STREAMS stream >",
        "XGROUP CREATECONSUMER stream group idler",
        "XCLAIM stream group claimer 0 1-1",
        "SET string value",
        "SET number 1",
        "INCR number",
        "RPUSH list a",
        "RPUSH list b",
        "HSET hash field value",
        "SET dated value EX 100000",
    ] {
        let reply = server.command(&words.split(' ').collect::<Vec<_>>());
        assert!(!matches!(reply, Value::Error(_)), "{words}: {reply:?}");
    }
}

fn are_of_now(server: &Server) {
    let pending = server.command(&["XPENDING", "stream", "group", "-", "+", "10"]);
    let consumers = server.command(&["XINFO", "CONSUMERS", "stream", "group"]);
    for (what, reply) in [("XPENDING", &pending), ("XINFO CONSUMERS", &consumers)] {
        let numbers = numbers(reply);
        assert!(!numbers.is_empty() && numbers.iter().all(|n| *n < LONG_MS), "{what}: {reply:?}");
    }
    let claimed = server.command(&["XAUTOCLAIM", "stream", "group", "thief", "3600000", "0"]);
    assert!(!format!("{claimed:?}").contains("field"), "{claimed:?}");
    for key in ["string", "number", "list", "hash", "dated", "stream"] {
        let idle_s = int(server, &["OBJECT", "IDLETIME", key]);
        assert!(idle_s < LONG_MS / 1000, "{key} is idle for {idle_s} s");
    }
}

#[test]
fn a_restart_keeps_the_moments_of_the_log() {
    let folder = Folder::new("moments-log");
    happen(&start(logged(&folder)));
    for _ in 0..2 {
        are_of_now(&start(logged(&folder)));
    }
}

#[test]
fn a_replica_has_the_moments_of_its_primary() {
    let primary = start(Server::builder().config("repl-diskless-sync-delay", "0"));
    let replica = start(Server::builder().replica_of(primary.addr().expect("an address")));
    in_sync(&primary, &replica);
    happen(&primary);
    in_sync(&primary, &replica);
    are_of_now(&replica);
    replica.command(&["REPLICAOF", "NO", "ONE"]);
    are_of_now(&replica);
}

/// Keys that were written a moment ago have been used more often than none.
#[test]
fn a_restart_keeps_what_was_used_of_late() {
    let folder = Folder::new("moments-lfu");
    let often = || logged(&folder).config("maxmemory-policy", "allkeys-lfu");
    happen(&start(often()));
    let server = start(often());
    for key in ["string", "number", "list", "hash", "dated", "stream"] {
        assert!(int(&server, &["OBJECT", "FREQ", key]) > 0, "{key}");
    }
}

/// Redis before 7.0 sends what its clients have sent, and so do files that are made by hand.
#[test]
fn relative_deadlines_in_a_log_count_from_now() {
    let folder = Folder::new("moments-relative");
    let words = [
        "SET a v",
        "EXPIRE a 100",
        "SETEX b 100 v",
        "SET c v PX 100000",
        "SET d v",
        "GETEX d EX 100",
        "PSETEX e 100000 v",
        "HSET f field v",
        "HEXPIRE f 100 FIELDS 1 field",
        "HSETEX g EX 100 FIELDS 1 field v",
    ];
    let record = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let bulks: String = words.iter().map(|w| format!("${}\r\n{w}\r\n", w.len())).collect();
        format!("*{}\r\n{bulks}", words.len())
    };
    let log: String = words.map(record).concat();
    fs::write(folder.path("appendonly.aof"), log).expect("it is written");
    let server = start(logged(&folder));
    for key in ["a", "b", "c", "d", "e"] {
        assert!((1..=100).contains(&int(&server, &["TTL", key])), "{key}");
    }
    for key in ["f", "g"] {
        let seconds = numbers(&server.command(&["HTTL", key, "FIELDS", "1", "field"]));
        assert!(matches!(seconds[..], [1..=100]), "{key}: {seconds:?}");
    }
}

/// Its primary may have given the key a longer life meanwhile: it goes when the primary says so.
#[test]
fn a_replica_that_starts_again_keeps_what_has_expired() {
    let folder = Folder::new("moments-replica");
    let dir = folder.0.display().to_string();
    let kept = || Server::builder().config("dir", &dir).without_tcp();
    let server = start(kept());
    server.clock().freeze();
    server.command(&["SET", "key", "value", "PX", "100"]);
    server.save().expect("it is saved");
    drop(server);
    std::thread::sleep(Duration::from_millis(150));
    let nobody = "127.0.0.1:1".parse().expect("an address");
    let replica = start(kept().replica_of(nobody));
    assert_eq!(int(&replica, &["DBSIZE"]), 1);
    assert_eq!(replica.command(&["GET", "key"]), Value::Null);
    assert_eq!(int(&start(kept()), &["DBSIZE"]), 0);
}
