//! Files and replicas beside genuine servers, measured in one run:
//! `PEERS="redis-server;valkey-server" cargo bench --bench durability`.
//!
//! Each server gets the same data and the same load in turn, from this process. Rows:
//!
//! * `save`, `rewrite`: seconds of BGSAVE and BGREWRITEAOF of `KEYS` strings (16-byte keys, 64-byte
//!   values; default 1,000,000) under a load of pipelined writes to them; the CPU seconds that the
//!   server and its children spent meanwhile beyond what the load alone costs; the longest PING of
//!   a bystander, and the same in as long a time without a save; memory beyond what was there
//!   before.
//! * `save hash` and so on: the same for one collection of `ELEMENTS` elements (default 1,000,000);
//!   `save string` for one string of 32 bytes each.
//! * `load rdb`, `load aof`: seconds from exec to PONG with the file of `KEYS` strings.
//! * `everysec P=16`: us of server CPU for a SET with `appendfsync everysec`.
//! * `always`: thousands of SETs a second of 50 clients without pipelines.
//! * `full sync`: seconds from REPLICAOF to `master_link_status:up` with `KEYS` strings, `ROUNDS`
//!   times in turn (default 3); the CPU seconds of both servers; the longest PING at the primary,
//!   and the same before; the primary's memory beyond what was there before.
//! * `replicated`: us of CPU for a SET at pipeline 16, of the primary and of its one replica.
//!
//! `ONLY=load` measures only rows whose name contains that word. Servers write into folders below
//! `DIR` (default: a new one in the system's temporary folder); a server in another root needs one
//! that exists there too.

mod beside;

use beside::{await_lines, exchange, words, Server};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

type Request = Vec<Vec<u8>>;

fn number_from(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn set(number: u64) -> Request {
    words(&["SET", &format!("key:{number:012}"), &"x".repeat(64)])
}

/// One way to make a big value: the command that adds the element with a number.
type Collection = (&'static str, fn(u64) -> Request);

const COLLECTIONS: [Collection; 6] = [
    ("string", |n| words(&["SETRANGE", "big", &(n * 32).to_string(), &"x".repeat(32)])),
    ("hash", |n| words(&["HSET", "big", &format!("field:{n:09}"), "value"])),
    ("set", |n| words(&["SADD", "big", &format!("member:{n:09}")])),
    ("zset", |n| words(&["ZADD", "big", &(n % 100_003).to_string(), &format!("member:{n:09}")])),
    ("list", |n| words(&["RPUSH", "big", &format!("element:{n:09}")])),
    ("stream", |_| words(&["XADD", "big", "*", "field", "value"])),
];

fn fill(server: &Server, count: u64, request: fn(u64) -> Request) {
    let mut stream = server.connect();
    for from in (0..count).step_by(1000) {
        let requests: Vec<Request> = (from..count.min(from + 1000)).map(request).collect();
        // The id of a stream's entry comes in two lines.
        let lines = if requests[0][0] == b"XADD" { 2 } else { 1 } * requests.len();
        exchange(&mut stream, &requests, lines);
    }
}

fn info(stream: &mut TcpStream, section: &str) -> String {
    stream.write_all(format!("INFO {section}\r\n").as_bytes()).expect("the request leaves");
    let mut text = Vec::new();
    let mut chunk = [0; 1 << 14];
    while !text.ends_with(b"\r\n") || text.len() < 64 {
        let len = stream.read(&mut chunk).expect("a reply comes");
        assert!(len > 0, "the server closed the connection");
        text.extend_from_slice(&chunk[..len]);
        let head = text.iter().position(|&byte| byte == b'\n').unwrap_or(0);
        let announced = std::str::from_utf8(&text[1..head.max(2) - 1]).unwrap_or("");
        if announced.parse::<usize>().is_ok_and(|len| text.len() >= head + 1 + len + 2) {
            break;
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Asks PING each millisecond until it is told to end, and knows the longest wait.
struct Bystander {
    ends: Arc<AtomicBool>,
    longest_us: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<()>,
}

impl Bystander {
    fn start(server: &Server) -> Bystander {
        let (ends, longest_us) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut stream = server.connect();
        let (over, longest) = (ends.clone(), longest_us.clone());
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let asked = Instant::now();
                stream.write_all(b"PING\r\n").expect("the request leaves");
                await_lines(&mut stream, 1);
                longest.fetch_max(asked.elapsed().as_micros() as u64, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Bystander { ends, longest_us, thread }
    }

    /// The longest PING in ms.
    fn end(self) -> f64 {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().expect("the bystander ends");
        self.longest_us.load(Ordering::Relaxed) as f64 / 1000.0
    }
}

/// A writer that loads a server until it is told to end, and a bystander.
struct Load {
    ends: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    writer: std::thread::JoinHandle<()>,
    bystander: Bystander,
}

impl Load {
    /// Writes at pipeline 16, beside a bystander.
    fn start(server: &Server, count: u64, request: fn(u64) -> Request) -> Load {
        let (ends, written) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut stream = server.connect();
        let (over, done) = (ends.clone(), written.clone());
        let writer = std::thread::spawn(move || {
            let mut number = 1_u64;
            while !over.load(Ordering::Relaxed) {
                let next = || {
                    number =
                        number.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    request((number >> 24) % count)
                };
                let requests: Vec<Request> = std::iter::repeat_with(next).take(16).collect();
                let lines = if requests[0][0] == b"XADD" { 32 } else { 16 };
                exchange(&mut stream, &requests, lines);
                done.fetch_add(16, Ordering::Relaxed);
                // A steady load that leaves room on two cores: about 100,000 writes a second.
                std::thread::sleep(Duration::from_micros(100));
            }
        });
        Load { ends, written, writer, bystander: Bystander::start(server) }
    }

    /// The longest PING in ms, and the number of writes.
    fn end(self) -> (f64, u64) {
        self.ends.store(true, Ordering::Relaxed);
        self.writer.join().expect("the load ends");
        (self.bystander.end(), self.written.load(Ordering::Relaxed))
    }
}

/// What a save under load cost.
struct Saved {
    seconds: f64,
    cpu_seconds: f64,
    quiet_ms: f64,
    longest_ms: f64,
    extra_percent: f64,
}

fn save(server: &Server, command: &str, count: u64, request: fn(u64) -> Request) -> Saved {
    let field = match command {
        "BGSAVE" => "rdb_bgsave_in_progress:0",
        _ => "aof_rewrite_in_progress:0",
    };
    let load = Load::start(server, count, request);
    let before_ns = server.cpu_ns();
    let quiet_s = 3.0;
    std::thread::sleep(Duration::from_secs_f64(quiet_s));
    let quiet_ns = server.cpu_ns() - before_ns;
    let (quiet_ms, quiet_writes) = load.end();
    let memory = server.memory_bytes();
    let mut asker = server.connect();
    let load = Load::start(server, count, request);
    let (began, before_ns) = (Instant::now(), server.cpu_ns());
    // Children are counted while they live: the last look before the end counts.
    let (mut used_ns, mut peak) = (0, memory);
    exchange(&mut asker, &[words(&[command])], 1);
    loop {
        used_ns = used_ns.max(server.cpu_ns().saturating_sub(before_ns));
        peak = peak.max(server.memory_bytes());
        if info(&mut asker, "persistence").contains(field) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let seconds = began.elapsed().as_secs_f64();
    let (longest_ms, writes) = load.end();
    let writes_ns = quiet_ns as f64 / quiet_writes.max(1) as f64 * writes as f64;
    Saved {
        seconds,
        cpu_seconds: (used_ns as f64 - writes_ns).max(0.0) / 1e9,
        quiet_ms,
        longest_ms,
        extra_percent: (peak - memory) as f64 * 100.0 / memory as f64,
    }
}

/// The servers that take part: ours first.
struct Field {
    lines: Vec<String>,
    dir: String,
    only: String,
}

impl Field {
    fn wants(&self, row: &str) -> bool {
        row.contains(&self.only)
    }

    fn start(&self, line: &str, file: &str, more: &[&str]) -> Server {
        let rdb = format!("{file}.rdb");
        let aof = format!("{file}.aofdir");
        let mut directives = vec!["--dir", &self.dir, "--dbfilename", &rdb];
        directives.extend(["--appenddirname", &aof, "--save", ""]);
        directives.extend(more);
        Server::start(line, &directives)
    }

    /// Measures one figure on every server in turn and prints them, with the ratio of ours to the
    /// best peer's; `more` is better when larger.
    fn row(&self, name: &str, larger_is_better: bool, measure: impl Fn(&str, &str) -> f64) {
        if !self.wants(name) {
            return;
        }
        let measured = |(at, line): (usize, &String)| measure(line, &format!("bench{at}"));
        let figures: Vec<f64> = self.lines.iter().enumerate().map(measured).collect();
        let best = figures[1..].iter().copied().reduce(match larger_is_better {
            true => f64::max,
            false => f64::min,
        });
        let shown: Vec<String> = figures.iter().map(|figure| format!("{figure:>12.3}")).collect();
        let ratio = figures[0] / best.unwrap_or(f64::NAN);
        println!("{name:20}{}{ratio:>8.2}", shown.concat());
    }

    fn saves(&self, row: &str, command: &str, count: u64, request: fn(u64) -> Request) {
        if !self.wants(row) {
            return;
        }
        for (at, line) in self.lines.iter().enumerate() {
            let more: &[&str] = match command {
                "BGSAVE" => &[],
                _ => &["--appendonly", "yes", "--auto-aof-rewrite-percentage", "0"],
            };
            let server = self.start(line, &format!("save{at}"), more);
            fill(&server, count, request);
            let saved = save(&server, command, count, request);
            println!(
                "{row:20}{:14} {:.2} s, CPU {:.2} s, longest PING {:.1} ms (quiet {:.1}), +{:.1} %",
                server.name,
                saved.seconds,
                saved.cpu_seconds,
                saved.longest_ms,
                saved.quiet_ms,
                saved.extra_percent,
            );
        }
    }
}

/// us of CPU for each of `count` SETs at pipeline 16 over 50 connections, of each of `servers`.
fn cpu_us(target: &Server, servers: &[&Server], count: u64) -> Vec<f64> {
    let mut connections: Vec<TcpStream> = (0..50).map(|_| target.connect()).collect();
    let before: Vec<u64> = servers.iter().map(|server| server.cpu_ns()).collect();
    let mut batch = Vec::new();
    for round in 0..count / 16 / 50 {
        for (at, connection) in connections.iter_mut().enumerate() {
            batch.clear();
            for step in 0..16 {
                let number = (round * 800 + at as u64 * 16 + step).wrapping_mul(2_654_435_761);
                redouble::resp::out::push_request(&mut batch, &set(number % 1_000_000));
            }
            connection.write_all(&batch).expect("the requests leave");
        }
        connections.iter_mut().for_each(|connection| await_lines(connection, 16));
    }
    let used = servers.iter().zip(before).map(|(server, before)| server.cpu_ns() - before);
    used.map(|ns| ns as f64 / 1000.0 / count as f64).collect()
}

/// Thousands of SETs a second by 50 clients that wait for each reply.
fn rate_of_single_writes(server: &Server) -> f64 {
    let clients: Vec<_> = (0..50).map(|_| server.connect()).collect();
    let until = Instant::now() + Duration::from_secs(5);
    let threads: Vec<_> = clients
        .into_iter()
        .enumerate()
        .map(|(at, mut stream)| {
            std::thread::spawn(move || {
                let mut done = 0_u64;
                while Instant::now() < until {
                    exchange(&mut stream, &[set(at as u64 * 1_000_000 + done)], 1);
                    done += 1;
                }
                done
            })
        })
        .collect();
    let done: u64 = threads.into_iter().map(|thread| thread.join().expect("a client ends")).sum();
    done as f64 / 5000.0
}

fn loading_seconds(field: &Field, line: &str, file: &str, keys: u64, aof: bool) -> f64 {
    let more: &[&str] = match aof {
        true => &["--appendonly", "yes", "--auto-aof-rewrite-percentage", "0"],
        false => &[],
    };
    let server = field.start(line, file, more);
    exchange(&mut server.connect(), &[words(&["FLUSHALL"])], 1);
    fill(&server, keys, set);
    if !aof {
        exchange(&mut server.connect(), &[words(&["SAVE"])], 1);
    }
    // What everysec has not yet put on the disk is in the kernel's hands.
    server.kill();
    let began = Instant::now();
    let server = field.start(line, file, more);
    let seconds = began.elapsed().as_secs_f64();
    let text = info(&mut server.connect(), "keyspace");
    assert!(text.contains(&format!("keys={keys},")), "{line} has loaded something else: {text}");
    seconds
}

/// What a full copy cost.
struct Synced {
    seconds: f64,
    /// Of the primary and what it started, and of the replica.
    cpu_seconds: [f64; 2],
    quiet_ms: f64,
    longest_ms: f64,
    extra_percent: f64,
}

impl Synced {
    fn print(&self, row: &str, name: &str) {
        println!(
            "{row:20}{name:14} {:.2} s, CPU {:.2} s and {:.2} s at the replica, longest PING {:.1} \
             ms (quiet {:.1}), +{:.1} %",
            self.seconds,
            self.cpu_seconds[0],
            self.cpu_seconds[1],
            self.longest_ms,
            self.quiet_ms,
            self.extra_percent
        );
    }
}

/// A primary with data and a replica without, both from memory to memory.
fn couple(field: &Field, line: &str, file: &str, keys: u64) -> (Server, Server) {
    let diskless = ["--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0"];
    let primary = field.start(line, file, &diskless);
    fill(&primary, keys, set);
    let more = [&diskless[..], &["--repl-diskless-load", "on-empty-db"]].concat();
    (primary, field.start(line, &format!("{file}-replica"), &more))
}

fn full_sync([primary, replica]: [&Server; 2]) -> Synced {
    let quiet = Bystander::start(primary);
    std::thread::sleep(Duration::from_secs(3));
    let quiet_ms = quiet.end();
    let memory = primary.memory_bytes();
    let mut peak = memory;
    let before = [primary, replica].map(Server::cpu_ns);
    let mut used = [0; 2];
    let bystander = Bystander::start(primary);
    let (began, mut asker) = (Instant::now(), replica.connect());
    let mut looked = began;
    let port = primary.port().to_string();
    exchange(&mut asker, &[words(&["REPLICAOF", "127.0.0.1", &port])], 1);
    loop {
        // Children are counted while they live: the last look before the end counts.
        for (used, (server, before)) in used.iter_mut().zip([primary, replica].iter().zip(before)) {
            *used = server.cpu_ns().saturating_sub(before).max(*used);
        }
        if info(&mut asker, "replication").contains("master_link_status:up") {
            break;
        }
        // A look at all pages of a process stands in its way.
        if looked.elapsed() > Duration::from_millis(200) {
            peak = peak.max(primary.memory_bytes());
            looked = Instant::now();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Synced {
        seconds: began.elapsed().as_secs_f64(),
        cpu_seconds: used.map(|ns: u64| ns as f64 / 1e9),
        quiet_ms,
        longest_ms: bystander.end(),
        extra_percent: (peak - memory) as f64 * 100.0 / memory as f64,
    }
}

/// Several copies by each server in turn, and the ratios of ours to the best peer's, by medians.
fn full_syncs(field: &Field, keys: u64) {
    let row = "full sync";
    if !field.wants(row) {
        return;
    }
    let mut all: Vec<Vec<Synced>> = field.lines.iter().map(|_| Vec::new()).collect();
    for _ in 0..number_from("ROUNDS", 3) {
        for (at, line) in field.lines.iter().enumerate() {
            let (primary, replica) = couple(field, line, &format!("sync{at}"), keys);
            let synced = full_sync([&primary, &replica]);
            synced.print(row, &primary.name);
            all[at].push(synced);
        }
    }
    for (at, name) in ["seconds", "primary CPU", "replica CPU"].into_iter().enumerate() {
        let figure = |synced: &Synced| {
            let [primary, replica] = synced.cpu_seconds;
            [synced.seconds, primary, replica][at]
        };
        let medians = all.iter().map(|synced| {
            let mut values: Vec<f64> = synced.iter().map(figure).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        });
        let medians: Vec<f64> = medians.collect();
        let best = medians[1..].iter().copied().fold(f64::INFINITY, f64::min);
        println!("{row:20}{name:14} {:.2} of the best peer's", medians[0] / best);
    }
}

fn main() {
    let Ok(peers) = std::env::var("PEERS") else {
        return println!("skipped: PEERS names no genuine servers, as in PEERS=\"redis-server\"");
    };
    let ours = env!("CARGO_BIN_EXE_redouble").to_string();
    let peers = peers.split(';').filter(|line| !line.trim().is_empty()).map(str::to_string);
    let dir = std::env::var("DIR").unwrap_or_else(|_| std::env::temp_dir().display().to_string());
    let only = std::env::var("ONLY").unwrap_or_default();
    let field = Field { lines: std::iter::once(ours).chain(peers).collect(), dir, only };
    let (keys, elements) = (number_from("KEYS", 1_000_000), number_from("ELEMENTS", 1_000_000));
    println!("{:20}{}   ratio", "", field.lines.join(" | "));
    field.row("everysec P=16 us", false, |line, file| {
        let server = field.start(line, file, &["--appendonly", "yes"]);
        cpu_us(&server, &[&server], 2_000_000)[0]
    });
    field.row("always k/s", true, |line, file| {
        let more = ["--appendonly", "yes", "--appendfsync", "always"];
        rate_of_single_writes(&field.start(line, file, &more))
    });
    for (name, aof) in [("load rdb s", false), ("load aof s", true)] {
        field.row(name, false, |line, file| loading_seconds(&field, line, file, keys, aof));
    }
    full_syncs(&field, keys);
    for (name, which) in [("replicated primary us", 0), ("replicated replica us", 1)] {
        field.row(name, false, |line, file| {
            let (primary, replica) = couple(&field, line, file, 1000);
            full_sync([&primary, &replica]);
            let used = cpu_us(&primary, &[&primary, &replica], 2_000_000);
            used[which]
        });
    }
    field.saves("save", "BGSAVE", keys, set);
    field.saves("rewrite", "BGREWRITEAOF", keys, set);
    for (name, request) in COLLECTIONS {
        field.saves(&format!("save {name}"), "BGSAVE", elements, request);
    }
}
