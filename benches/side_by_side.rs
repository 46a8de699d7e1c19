//! Server CPU per operation beside genuine servers, measured in one run:
//! `PEERS="redis-server;valkey-server" cargo bench --bench side_by_side`.
//!
//! Each server gets the same load in turn, from this process. The figure is the time that the
//! server's threads spent on a processor (`/proc/PID/task/*/schedstat`), divided by the
//! operations; the ratio is ours to the best of the peers, below 1 when ours needs less.
//! `ONLY=get` measures only workloads whose name contains that word.
//!
//! The last rows are messages that reach 1,000 subscribers, in millions of deliveries a second of
//! wall-clock time; there a ratio above 1 means that ours delivers more. (They need about 1,100
//! open files: `ulimit -n 4096`.)

mod beside;

use beside::{await_lines, words, Server};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Instant;

const CONNECTIONS: usize = 50;
const KEYS: u64 = 1_000_000;
const ROUNDS: usize = 3;

struct Workload {
    name: &'static str,
    pipeline: usize,
    operations: usize,
    request: fn(u64) -> Vec<Vec<u8>>,
}

fn key(number: u64) -> String {
    format!("key:{:012}", number % KEYS)
}

fn set(number: u64) -> Vec<Vec<u8>> {
    words(&["SET", &key(number), &"x".repeat(64)])
}

fn get(number: u64) -> Vec<Vec<u8>> {
    words(&["GET", &key(number)])
}

const WORKLOADS: [Workload; 10] = [
    Workload { name: "set P=1", pipeline: 1, operations: 100_000, request: set },
    Workload { name: "get P=1", pipeline: 1, operations: 100_000, request: get },
    Workload { name: "set P=16", pipeline: 16, operations: 1_000_000, request: set },
    Workload { name: "get P=16", pipeline: 16, operations: 1_000_000, request: get },
    Workload { name: "set P=100", pipeline: 100, operations: 2_000_000, request: set },
    Workload { name: "get P=100", pipeline: 100, operations: 2_000_000, request: get },
    Workload {
        name: "incr P=16",
        pipeline: 16,
        operations: 500_000,
        request: |number| words(&["INCR", &format!("counter:{}", number % KEYS)]),
    },
    Workload {
        name: "lpush P=16",
        pipeline: 16,
        operations: 500_000,
        request: |_| words(&["LPUSH", "list", "0123456789abcde"]),
    },
    Workload {
        name: "zadd P=16",
        pipeline: 16,
        operations: 500_000,
        request: |number| {
            words(&["ZADD", "board", &(number % 1_000_003).to_string(), &key(number)])
        },
    },
    Workload {
        name: "eval P=16",
        pipeline: 16,
        operations: 200_000,
        request: |number| {
            words(&[
                "EVAL",
                "return redis.call('INCR', KEYS[1])",
                "1",
                &format!("c:{}", number % 1000),
            ])
        },
    },
];

/// Sends the workload and waits for every reply; all replies here end in a line break and are told
/// apart by counting their lines.
fn load(server: &Server, workload: &Workload, seed: u64) {
    let mut connections: Vec<TcpStream> = (0..CONNECTIONS).map(|_| server.connect()).collect();
    let mut number = seed;
    let mut batch = Vec::new();
    let lines = if workload.name.starts_with("get") { 2 } else { 1 } * workload.pipeline;
    for _ in 0..workload.operations / workload.pipeline / CONNECTIONS {
        for connection in &mut connections {
            batch.clear();
            for _ in 0..workload.pipeline {
                number = number.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                redouble::resp::out::push_request(&mut batch, &(workload.request)(number >> 24));
            }
            connection.write_all(&batch).expect("the request leaves");
        }
        for connection in &mut connections {
            // A GET that misses answers with one line instead of two; the fill leaves none absent.
            await_lines(connection, lines);
        }
    }
}

fn fill(server: &Server) {
    let mut stream = server.connect();
    let mut batch = Vec::new();
    for from in (0..KEYS).step_by(1000) {
        batch.clear();
        (from..from + 1000)
            .for_each(|number| redouble::resp::out::push_request(&mut batch, &set(number)));
        stream.write_all(&batch).expect("the request leaves");
        await_lines(&mut stream, 1000);
    }
}

const SUBSCRIBERS: usize = 1000;

/// Publishes `rounds` times `pipeline` messages to all subscribers and waits for each of them to
/// arrive everywhere. Returns deliveries a second.
fn fan_out(server: &Server, pipeline: usize, rounds: usize) -> f64 {
    let mut acknowledgement = [0; 33];
    let mut subscribers: Vec<TcpStream> = (0..SUBSCRIBERS).map(|_| server.connect()).collect();
    for subscriber in &mut subscribers {
        subscriber.write_all(b"SUBSCRIBE news\r\n").expect("the request leaves");
        subscriber.read_exact(&mut acknowledgement).expect("the subscription is answered");
    }
    let text = "x".repeat(32);
    let mut batch = Vec::new();
    for _ in 0..pipeline {
        redouble::resp::out::push_request(&mut batch, &words(&["PUBLISH", "news", &text]));
    }
    let one = format!("*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$32\r\n{text}\r\n");
    let mut messages = vec![0; one.len() * pipeline];
    let mut counts = vec![0; format!(":{SUBSCRIBERS}\r\n").len() * pipeline];
    let mut publisher = server.connect();
    let begin = Instant::now();
    for _ in 0..rounds {
        publisher.write_all(&batch).expect("the request leaves");
        publisher.read_exact(&mut counts).expect("replies come");
        for subscriber in &mut subscribers {
            subscriber.read_exact(&mut messages).expect("messages come");
        }
    }
    assert!(messages.ends_with(one.as_bytes()), "{} delivered something else", server.name);
    (SUBSCRIBERS * pipeline * rounds) as f64 / begin.elapsed().as_secs_f64()
}

fn main() {
    let Ok(peers) = std::env::var("PEERS") else {
        return println!("skipped: PEERS names no genuine servers, as in PEERS=\"redis-server\"");
    };
    let only = std::env::var("ONLY").unwrap_or_default();
    let pinned = Command::new("taskset").arg("-V").stdout(Stdio::null()).status().is_ok();
    let start = |command_line: &str| {
        let pin = if pinned { "taskset -c 0 " } else { "" };
        Server::start(&format!("{pin}{command_line}"), &["--save", ""])
    };
    let mut servers = vec![start(env!("CARGO_BIN_EXE_redouble"))];
    servers.extend(peers.split(';').filter(|line| !line.trim().is_empty()).map(start));
    servers.iter().for_each(fill);
    print!("{:14}", "us of CPU/op");
    servers.iter().for_each(|server| print!("{:>16}", server.name));
    println!("{:>8}", "ratio");
    for workload in WORKLOADS.iter().filter(|workload| workload.name.contains(&only)) {
        let mut best = vec![f64::INFINITY; servers.len()];
        for round in 0..ROUNDS {
            for (server, best) in servers.iter().zip(&mut best) {
                let before_ns = server.cpu_ns();
                load(server, workload, round as u64 + 1);
                let used_ns = (server.cpu_ns() - before_ns) as f64;
                *best = best.min(used_ns / 1000.0 / workload.operations as f64);
            }
        }
        print!("{:14}", workload.name);
        best.iter().for_each(|us| print!("{us:>16.3}"));
        let peer = best[1..].iter().copied().fold(f64::INFINITY, f64::min);
        println!("{:>8.2}", best[0] / peer);
    }
    for (name, pipeline, rounds) in [("publish P=1", 1, 50), ("publish P=100", 100, 10)] {
        if !name.contains(&only) {
            continue;
        }
        let mut best = vec![0.0_f64; servers.len()];
        for _ in 0..ROUNDS {
            for (server, best) in servers.iter().zip(&mut best) {
                *best = best.max(fan_out(server, pipeline, rounds) / 1e6);
            }
        }
        print!("{name:14}");
        best.iter().for_each(|millions| print!("{millions:>16.2}"));
        println!("{:>8.2}", best[0] / best[1..].iter().copied().fold(0.0, f64::max));
    }
}
