//! `reset` and `restore` of a server inside this process: nothing of what was before is left, for
//! clients and for files. Replicas are in `replication::anew`.

use redouble::dispatch::Dispatcher;
use redouble::log::aof::Mode;
use redouble::resp::reader::Value;
use redouble::{settle, Builder, Server};

use crate::patience::PATIENCE;
use crate::process::Folder;
use std::time::{Duration, Instant};

/// Waits until the append-only file says all.
fn file_counts(server: &Server) {
    let began = Instant::now();
    while server.shared().lock().aof.mode != Mode::On {
        assert!(began.elapsed() < PATIENCE, "the file is not written anew");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn testing() -> Builder {
    Server::builder().config("enable-debug-command", "yes")
}

fn logged(folder: &Folder) -> Server {
    let dir = folder.0.display().to_string();
    testing().config("dir", &dir).config("appendonly", "yes").start().unwrap()
}

#[test]
fn nobody_hears_anything_after_a_reset() {
    let server = testing().start().unwrap();
    // Clients without sessions of their own: nobody but the reset ends them.
    for words in [&[&b"SUBSCRIBE"[..], b"news"][..], &[b"PSUBSCRIBE", b"n*"], &[b"MONITOR"]] {
        let state = &mut *server.shared().lock();
        let id = settle::connect_caller(state);
        Dispatcher::new(state, id).request_unprepared(words, &mut Vec::new());
    }
    assert_eq!(server.command(&["PUBLISH", "news", "x"]), 2);
    assert_eq!(server.shared().lock().monitors.len(), 1);
    server.reset();
    assert_eq!(server.command(&["PUBLISH", "news", "x"]), 0);
    assert_eq!(server.command(&["PUBSUB", "NUMPAT"]), 0);
    assert!(server.shared().lock().monitors.is_empty());
}

#[test]
fn switches_and_shutdowns_end_with_a_reset() {
    let server = testing().start().unwrap();
    for (name, value) in [
        ("SET-ACTIVE-EXPIRE", "0"),
        ("PAUSE-CRON", "1"),
        ("SET-DISABLE-DENY-SCRIPTS", "1"),
        ("SET-SKIP-CHECKSUM-VALIDATION", "1"),
        ("QUICKLIST-PACKED-THRESHOLD", "10"),
    ] {
        assert_eq!(server.command(&["DEBUG", name, value]), "OK");
    }
    server.ask_shutdown(Default::default());
    server.reset();
    let state = server.shared().lock();
    assert!(!state.debug.expiry_off && !state.debug.cron_paused && !state.debug.scripts_may_all);
    assert!(!state.db.payloads.any_sum);
    assert_eq!(state.db.limits.list_packed_threshold, 0);
    assert_eq!((state.shutdown, state.ending.is_some()), (None, false));
}

#[test]
fn a_server_has_its_first_role_after_a_reset() {
    let server = testing().start().unwrap();
    // Nobody is there; it does not matter for the role.
    assert_eq!(server.command(&["REPLICAOF", "127.0.0.1", "1"]), "OK");
    server.reset();
    assert_eq!(
        server.command(&["ROLE"]),
        [Value::Bulk(b"master".to_vec()), Value::Int(0), Value::Array(Vec::new())]
    );
    assert_eq!(server.command(&["SET", "key", "value"]), "OK");
}

#[test]
fn what_was_reset_does_not_come_back_with_the_file() {
    let folder = Folder::new("reset-file");
    let library = "#!lua name=a\nredis.register_function('f', function() return 7 end)";
    let server = logged(&folder);
    server.command(&["SET", "old", "x"]);
    server.command(&["FUNCTION", "LOAD", library]);
    server.reset();
    server.command(&["SET", "new", "x"]);
    // The configuration of the start comes back, and with it the file.
    server.command(&["CONFIG", "SET", "appendonly", "no"]);
    server.reset();
    server.command(&["SET", "newest", "x"]);
    file_counts(&server);
    drop(server);
    let server = logged(&folder);
    assert_eq!(server.command(&["KEYS", "*"]), ["newest"]);
    assert_eq!(server.command(&["FUNCTION", "LIST"]), Value::Array(Vec::new()));
}

#[test]
fn what_was_restored_comes_back_with_the_file() {
    let folder = Folder::new("restore-file");
    let source = Server::start().unwrap();
    source.command(&["SET", "new", "x"]);
    let server = logged(&folder);
    server.command(&["SET", "old", "x"]);
    server.restore(&source.snapshot().unwrap()).unwrap();
    file_counts(&server);
    drop(server);
    assert_eq!(logged(&folder).command(&["KEYS", "*"]), ["new"]);
}

#[test]
fn keys_that_a_restore_brings_break_watches() {
    let server = Server::start().unwrap();
    server.command(&["SET", "key", "x"]);
    let full = server.snapshot().unwrap();
    server.command(&["FLUSHALL"]);
    let [mut watches_it, mut watches_another] = [server.client(), server.client()];
    watches_it.command(&["WATCH", "key"]);
    watches_another.command(&["WATCH", "another"]);
    server.restore(&full).unwrap();
    for (client, wanted) in [
        (&mut watches_it, Value::Null),
        (&mut watches_another, Value::Array(vec![Value::Simple("PONG".into())])),
    ] {
        client.command(&["MULTI"]);
        client.command(&["PING"]);
        assert_eq!(client.command(&["EXEC"]), wanted);
    }
}
