//! What clients' buffers take of the system's memory, and give back by themselves. Seen from
//! outside, where the server's own figures do not count.
#![cfg(target_os = "linux")]

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::process::Process;
use crate::wire::{Reply, Wire};

/// What the process has of the machine's memory, in kB.
fn resident_kb(process: &Process) -> usize {
    status_kb(process, "VmRSS:")
}

fn status_kb(process: &Process, name: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Waits as long as something changes, and then some.
fn until(what: &str, process: &Process, mut holds: impl FnMut(usize) -> bool) {
    let (mut kb, mut since) = (resident_kb(process), Instant::now());
    while !holds(kb) {
        std::thread::sleep(Duration::from_millis(20));
        let now_kb = resident_kb(process);
        if now_kb != kb {
            (kb, since) = (now_kb, Instant::now());
        }
        assert!(since.elapsed() < Duration::from_secs(120), "{what}: {kb} kB");
    }
}

/// What CLIENT LIST says in this field, of all clients together.
fn sum_of(main: &mut Wire, field: &str) -> usize {
    let Reply::Bulk(lines) = main.call(&["CLIENT", "LIST"]).unwrap() else { panic!("lines") };
    let lines = String::from_utf8(lines).unwrap();
    let fields = lines.split_whitespace().filter_map(|word| word.strip_prefix(field));
    fields.map(|value| value.parse::<usize>().unwrap()).sum()
}

fn connect(process: &Process) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", process.port)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A reply that would take gigabytes is cut off while it is built: its whole never lies anywhere.
#[test]
fn a_reply_without_an_end_takes_no_more_than_its_limit() {
    let process = Process::start(&["--client-output-buffer-limit", "normal 1mb 0 0"]);
    let mut wire = process.wire();
    wire.call(&["ZADD", "z", "1", "a", "2", "b"]).unwrap();
    wire.call(&["SADD", "s", "a", "b"]).unwrap();
    wire.call(&["HSET", "h", "a", "1", "b", "2"]).unwrap();
    let before_kb = status_kb(&process, "VmHWM:");
    for (name, key) in [("ZRANDMEMBER", "z"), ("SRANDMEMBER", "s"), ("HRANDFIELD", "h")] {
        let mut greedy = process.wire();
        assert_eq!(greedy.call(&[name, key, "-2147483648"]).unwrap(), Reply::Closed, "{name}");
        let most_kb = status_kb(&process, "VmHWM:");
        assert!(most_kb < before_kb + (16 << 10), "{name}: from {before_kb} to {most_kb} kB");
    }
    assert_eq!(wire.call(&["PING"]).unwrap(), Reply::Status(b"PONG".to_vec()));
}

#[test]
fn what_slow_readers_did_not_take_goes_back_to_the_system() {
    let process = Process::start(&["--client-output-buffer-limit", "normal 0 0 0"]);
    let mut main = process.wire();
    let value = "x".repeat(1 << 20);
    // An element of a list is copied into each reply.
    assert_eq!(main.call(&["RPUSH", "big", &value]).unwrap(), Reply::Int(1));
    let before_kb = resident_kb(&process);
    // Again and again: what one round leaves behind would be there in the next.
    for _ in 0..3 {
        let mut readers: Vec<TcpStream> = (0..5).map(|_| connect(&process)).collect();
        for reader in &mut readers {
            reader.write_all(&b"LINDEX big 0\r\n".repeat(40)).unwrap();
        }
        // The kernel holds some of the 200 MB.
        until("replies wait", &process, |kb| kb > before_kb + 120_000);
        drop(readers);
        until("they are gone", &process, |kb| kb < before_kb + 32_000);
    }
}

#[test]
fn a_long_string_is_there_once_however_many_replies_have_it() {
    let process = Process::start(&["--client-output-buffer-limit", "normal 0 0 0"]);
    let mut main = process.wire();
    let value = "x".repeat(1 << 20);
    assert_eq!(main.call(&["SET", "big", &value]).unwrap(), Reply::Status(b"OK".to_vec()));
    let before_kb = resident_kb(&process);
    let mut reader = connect(&process);
    reader.write_all(&b"GET big\r\n".repeat(200)).unwrap();
    until("replies wait", &process, |kb| {
        assert!(kb < before_kb + 32_000, "{kb} kB, before {before_kb}");
        sum_of(&mut main, "omem=") > 120_000_000
    });
}

#[test]
fn a_part_that_waits_keeps_no_string_that_has_changed() {
    let process = Process::start(&["--client-output-buffer-limit", "normal 0 0 0"]);
    let mut main = process.wire();
    let value = "x".repeat(256 << 10);
    assert_eq!(main.call(&["SET", "big", &value]).unwrap(), Reply::Status(b"OK".to_vec()));
    let before_kb = resident_kb(&process);
    let mut reader = connect(&process);
    let round =
        "GETRANGE big 0 19999\r\nSETBIT big 7 1\r\nGETRANGE big 5 20004\r\nSETBIT big 7 0\r\n";
    reader.write_all(&round.as_bytes().repeat(1_500)).unwrap();
    while sum_of(&mut main, "omem=") < 30_000_000 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let kb = resident_kb(&process);
    assert!(kb < before_kb + 150_000, "{kb} kB, before {before_kb}");
}

#[test]
fn half_a_request_takes_as_much_as_it_has_bytes() {
    const CLIENTS: usize = 300;
    let process = Process::start(&[]);
    let mut main = process.wire();
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| connect(&process)).collect();
    let request = b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$64\r\nvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv";
    let mut before_kb = 0;
    for (at, byte) in request.iter().enumerate() {
        for client in &mut clients {
            client.write_all(&[*byte]).unwrap();
        }
        if at == 0 {
            // All are there, and have had a turn.
            while sum_of(&mut main, "qbuf=") < CLIENTS {
                std::thread::sleep(Duration::from_millis(5));
            }
            before_kb = resident_kb(&process);
        }
    }
    // Of the arguments that are complete only the bytes are counted.
    let enough = CLIENTS * (request.len() - 40);
    while sum_of(&mut main, "qbuf=") + sum_of(&mut main, "argv-mem=") < enough {
        std::thread::sleep(Duration::from_millis(5));
    }
    let each_bytes = resident_kb(&process).saturating_sub(before_kb) * 1024 / CLIENTS;
    assert!(each_bytes < 8 * 1024, "{each_bytes} bytes each");
}
