//! A server inside another program that has nothing to do does nothing, and is there at once when
//! there is something.

use crate::patience::PATIENCE;
use std::io::{Read, Write};
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

/// A program may hold thousands of servers, and is given so many descriptors and no more.
#[test]
#[cfg(target_os = "linux")]
fn a_server_takes_four_descriptors() {
    const ALONE: &str = "COUNTS_DESCRIPTORS_ALONE";
    if std::env::var_os(ALONE).is_none() {
        // Other tests open some of this process's: the count needs a process of its own.
        let alone = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "rests::a_server_takes_four_descriptors"])
            .env(ALONE, "1")
            .output()
            .unwrap();
        assert!(alone.status.success(), "{}", String::from_utf8_lossy(&alone.stdout));
        return;
    }
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    // A worker opens what it needs by itself, and all of that is there when it answers.
    let ask = |server: &Server| {
        let mut stream = std::net::TcpStream::connect(server.addrs()).unwrap();
        stream.write_all(b"PING\r\n").unwrap();
        stream.read_exact(&mut [0; 7]).unwrap();
    };
    // What the process itself opens once.
    let first = Server::start().unwrap();
    ask(&first);
    until("the first is alone", || first.shared().lock().clients.is_empty());
    let before = open();
    let servers: Vec<Server> = (0..50).map(|_| Server::start().unwrap()).collect();
    servers.iter().for_each(ask);
    until("the connections are gone", || open() <= before + 4 * servers.len());
    drop(servers);
    until("all is closed", || open() <= before);
}
