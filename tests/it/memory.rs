//! The limit on memory, seen from a client: refusals, eviction, and figures that add up.

use crate::patience::PATIENCE;
use crate::wire::{Reply, Wire};
use redouble::clock::Stopwatch;
use redouble::resp::reader::Value;
use redouble::stats::Freshness;
use redouble::Server;

fn start(directives: &[(&str, &str)]) -> Server {
    let builder = Server::builder().without_tcp().seed(1);
    let builder =
        directives.iter().fold(builder, |builder, (name, value)| builder.config(name, value));
    builder.start().expect("a server")
}

/// A field of INFO.
fn info(server: &Server, field: &str) -> u64 {
    let text = match server.command(&["INFO", "everything"]) {
        Value::Bulk(text) => String::from_utf8_lossy(&text).into_owned(),
        Value::Verbatim(_, text) => String::from_utf8_lossy(&text).into_owned(),
        other => panic!("{other:?}"),
    };
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {field} in {text}"))
}

fn set(server: &Server, number: usize) -> Value {
    server.command(&["SET".to_string(), format!("key:{number}"), "x".repeat(1000)])
}

fn is_oom(value: &Value) -> bool {
    let text = "OOM command not allowed when used memory > 'maxmemory'.";
    matches!(value, Value::Error(error) if error == text)
}

#[test]
fn without_eviction_writers_are_refused_and_readers_are_not() {
    let server = start(&[("maxmemory", "1mb")]);
    let refused = (0..2000).position(|number| is_oom(&set(&server, number)));
    let refused = refused.expect("memory runs out");
    assert!((700..1100).contains(&refused), "{refused}");
    assert!(info(&server, "used_memory") > 1 << 20);
    assert!(matches!(server.command(&["GET", "key:0"]), Value::Bulk(_)));
    assert_eq!(server.command(&["DEL", "key:0", "key:1", "key:2", "key:3"]), Value::Int(4));
    assert!(!is_oom(&set(&server, 0)));
    assert_eq!(info(&server, "evicted_keys"), 0);
}

#[test]
fn with_eviction_memory_stays_at_the_limit() {
    for policy in ["allkeys-lru", "allkeys-lfu", "allkeys-random"] {
        let server = start(&[("maxmemory", "1mb"), ("maxmemory-policy", policy)]);
        for number in 0..3000 {
            assert!(!is_oom(&set(&server, number)), "{policy} {number}");
        }
        let (used, evicted) = (info(&server, "used_memory"), info(&server, "evicted_keys"));
        assert!(used < (1 << 20) + 16_384, "{policy}: {used}");
        let Value::Int(left) = server.command(&["DBSIZE"]) else { panic!("DBSIZE") };
        assert_eq!(evicted + left as u64, 3000, "{policy}");
    }
}

#[test]
fn keys_without_a_deadline_survive_volatile_policies() {
    let server = start(&[("maxmemory", "1mb"), ("maxmemory-policy", "volatile-ttl")]);
    for number in 0..600 {
        set(&server, number);
    }
    for number in 600..2000 {
        let argv =
            ["SET".into(), format!("key:{number}"), "x".repeat(1000), "EX".into(), "99".into()];
        assert!(!is_oom(&server.command(&argv)), "{number}");
    }
    for number in 0..600 {
        let argv = ["EXISTS".to_string(), format!("key:{number}")];
        assert_eq!(server.command(&argv), Value::Int(1));
    }
    assert!(info(&server, "evicted_keys") > 900);
    // When all with a deadline are gone, there is nothing left to evict.
    let refused = (2000..4000).any(|number| is_oom(&set(&server, number)));
    assert!(refused);
}

#[test]
fn sizes_are_the_same_in_every_run() {
    let used = || {
        let server = start(&[]);
        for number in 0..500 {
            set(&server, number);
        }
        server.command(&["HSET", "h", "a", "1", "b", "2"]);
        server.command(&["ZADD", "z", "1", "a", "2", "b"]);
        let usage = server.command(&["MEMORY", "USAGE", "h"]);
        (usage, info(&server, "used_memory_dataset"))
    };
    let (usage, dataset) = used();
    assert_eq!((usage, dataset), used());
    assert!((500_000..700_000).contains(&dataset), "{dataset}");
}

#[test]
fn what_waits_to_be_freed_drives_nobody_out() {
    let server = start(&[("maxmemory-policy", "allkeys-lru"), ("enable-debug-command", "yes")]);
    for part in 0..100 {
        let members = (0..1000).map(|number| format!("{part}-{number}-{}", "x".repeat(80)));
        let words = ["SADD".to_string(), "big".to_string()].into_iter().chain(members);
        server.command(&words.collect::<Vec<_>>());
    }
    (0..100).for_each(|number| drop(set(&server, number)));
    let limit = info(&server, "used_memory") + 10_000;
    server.command(&["CONFIG", "SET", "maxmemory", &limit.to_string()]);
    // Nothing is freed in the background meanwhile.
    server.command(&["DEBUG", "PAUSE-CRON", "1"]);
    assert_eq!(server.command(&["DEL", "big"]), Value::Int(1));
    (100..300).for_each(|number| assert_eq!(set(&server, number), "OK"));
    assert_eq!(info(&server, "evicted_keys"), 0);
    assert_eq!(server.command(&["DBSIZE"]), Value::Int(300));
}

/// Who skips its own changes still hears that a key was evicted: nobody has done that.
#[test]
fn evictions_are_nobodys_own_changes() {
    for (mode, cron_paused) in [("NOLOOP", "1"), ("BCAST", "1"), ("NOLOOP", "0"), ("BCAST", "0")] {
        let server = Server::builder().config("enable-debug-command", "yes");
        let server = server.config("maxmemory-policy", "allkeys-lru").start().expect("a server");
        let mut client = Wire::connect(server.addr().expect("an address")).expect("connects");
        client.call(&["DEBUG", "PAUSE-CRON", cron_paused]).expect("a reply");
        client.call(&["HELLO", "3"]).expect("a reply");
        client.call(&["SET", "k", "v"]).expect("a reply");
        client.call(&["CLIENT", "TRACKING", "ON", "NOLOOP", mode]).expect("a reply");
        client.call(&["GET", "k"]).expect("a reply");
        client.send(&crate::wire::request(&["CONFIG", "SET", "maxmemory", "1"]));
        // Before this one, if cron has not been there by then.
        client.send(&crate::wire::request(&["PING"]));
        let mut heard: Vec<Reply> = Vec::new();
        while heard.len() < 3 {
            heard.push(client.wait(PATIENCE).expect("no nonsense").expect("something"));
        }
        let bulk = |text: &str| Reply::Bulk(text.into());
        let told = Reply::Push(vec![bulk("invalidate"), Reply::Array(vec![bulk("k")])]);
        assert!(heard.contains(&told), "{mode} {cron_paused}: {heard:?}");
    }
}

#[test]
fn a_round_of_keys_goes_however_little_time_there_is() {
    let tenacity = ("maxmemory-eviction-tenacity", "0");
    let server = start(&[tenacity, ("maxmemory", "1")]);
    set(&server, 0);
    assert!(is_oom(&set(&server, 1)));
    let server = start(&[tenacity, ("enable-debug-command", "yes")]);
    (0..100).for_each(|number| assert_eq!(set(&server, number), "OK"));
    server.command(&["DEBUG", "PAUSE-CRON", "1"]);
    server.command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-random"]);
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    server.command(&["PING"]);
    let evicted = server.shared().lock().db.counters.evicted;
    assert!((16..100).contains(&evicted), "{evicted}");
}

/// There may be thousands of connections, and memory is at its limit for as long as keys are
/// evicted.
#[test]
fn connections_are_not_counted_for_each_command() {
    const UNLIKELY: u64 = 12_345_678;
    let server = start(&[("maxmemory", "1"), ("enable-debug-command", "yes")]);
    server.command(&["DEBUG", "PAUSE-CRON", "1"]);
    let counts = |lasts_ns| {
        let mut state = server.shared().lock();
        state.stats.client_count = Some(Freshness { since: Stopwatch::start(), lasts_ns });
        state.stats.client_bytes = UNLIKELY;
        drop(state);
        server.command(&["PING"]);
        server.shared().lock().stats.client_bytes != UNLIKELY
    };
    assert!(!counts(u64::MAX));
    assert!(counts(0));
    let state = server.shared().lock();
    let lasts_ns = state.stats.client_count.expect("it was counted").lasts_ns;
    // The call's own connection was there, too.
    assert_eq!(lasts_ns, 1000 * (state.clients.len() as u64 + 1));
}
