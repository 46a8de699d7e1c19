//! A server inside another program that has nothing to do does nothing, and is there at once when
//! there is something.

use crate::patience::PATIENCE;
use std::time::{Duration, Instant};

use redouble::resp::reader::Value;
use redouble::Server;

/// Waits as long as it takes, within reason.
fn until(what: &str, holds: impl Fn() -> bool) {
    let patience = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < patience, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn rests(server: &Server) -> bool {
    server.shared().lock().debug.resting
}

/// Time spent on ticks; what is asked does not wake anybody.
fn cron_ns(server: &Server) -> u64 {
    server.shared().lock().stats.work.cron_ns
}

#[test]
fn an_idle_server_does_not_tick() {
    let server = Server::start().unwrap();
    server.command(&["SET", "kept", "v"]);
    until("it rests", || rests(&server));
    let before = cron_ns(&server);
    std::thread::sleep(Duration::from_millis(350));
    assert_eq!(cron_ns(&server), before);
    server.command(&["GET", "kept"]);
    assert!(!rests(&server));
    until("it ticks again", || cron_ns(&server) > before);
    until("it rests again", || rests(&server));
}

#[test]
fn deadlines_end_a_rest() {
    let server = Server::start().unwrap();
    server.command(&["SET", "short", "v", "PX", "3000"]);
    until("it rests", || rests(&server));
    let held = || server.shared().lock().db.space(0).len();
    assert_eq!(held(), 1);
    until("its time comes", || held() == 0);
    // The same with hands that are moved.
    server.command(&["SET", "long", "v", "EX", "1000"]);
    until("it rests", || rests(&server));
    server.clock().advance(Duration::from_secs(1001));
    until("its time has come", || held() == 0);
}

#[test]
fn a_frozen_server_rests_too() {
    let server = Server::start().unwrap();
    server.clock().freeze();
    server.command(&["SET", "key", "v", "PX", "10"]);
    until("it rests", || rests(&server));
    assert_ne!(server.command(&["GET", "key"]), Value::Null);
    server.clock().advance(Duration::from_millis(100));
    until("its time has come", || server.shared().lock().db.space(0).is_empty());
}
