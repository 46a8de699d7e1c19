//! What a request costs inside the process, without any socket: `cargo bench --bench in_process`.
//!
//! Prints nanoseconds an item, the best of several rounds: other work on the machine only ever
//! adds to a round.

use redouble::client::Transport;
use redouble::dispatch::Dispatcher;
use redouble::resp::decode::{Batch, Bounds, Decoder};
use redouble::resp::out::push_request;
use redouble::resp::replies::Replies;
use redouble::types::limits::HashKey;
use redouble::types::table::Table;
use redouble::Server;
use std::hint::black_box;
use std::time::Instant;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 7;

/// Runs `work`, which does `items` things, and prints its best time for one of them.
fn measure(name: &str, items: usize, mut work: impl FnMut()) {
    let best = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_nanos() as f64 / items as f64
        })
        .fold(f64::INFINITY, f64::min);
    println!("{name:40} {best:>9.1} ns");
}

fn decode() {
    let mut stream = Vec::new();
    for number in 0..1000 {
        push_request(&mut stream, &["SET", &format!("key:{number:012}"), &"x".repeat(64)]);
    }
    let bounds = Bounds { bulk_bytes_max: 512 << 20, unauthenticated: false };
    let mut batch = Batch::default();
    measure("decode SET, 16 + 64 bytes", 1000, || {
        batch.clear();
        let _ = black_box(Decoder::default().decode(&stream, bounds, 1000, &mut batch));
    });
    let inline = b"SET key value\r\n".repeat(1000);
    measure("decode inline SET", 1000, || {
        batch.clear();
        let _ = black_box(Decoder::default().decode(&inline, bounds, 1000, &mut batch));
    });
}

fn table() {
    const ITEMS: u64 = 1_000_000;
    let key = HashKey(1, 2);
    let hash = |number: u64| key.hash(&number.to_le_bytes());
    measure("table: insert, 1M items", ITEMS as usize, || {
        let mut table: Table<u64> = Table::new();
        for number in 0..ITEMS {
            table.insert(hash(number), number, |item| hash(*item));
        }
        black_box(table.len());
    });
    let mut table: Table<u64> = Table::new();
    (0..ITEMS).for_each(|number| table.insert(hash(number), number, |item| hash(*item)));
    println!(
        "{:40} {:>9.1} bytes",
        "table: memory an item",
        table.heap_bytes() as f64 / ITEMS as f64
    );
    measure("table: find, random of 1M items", ITEMS as usize, || {
        for step in 0..ITEMS {
            let number = step.wrapping_mul(0x9e37_79b9_7f4a_7c15) % ITEMS;
            black_box(table.find(hash(number), |item| *item == number));
        }
    });
}

fn dispatch() {
    let server = Server::builder().without_tcp().seed(1).start().expect("the server starts");
    let mut state = server.shared().lock();
    let now_ms = server.clock().now_ms();
    state.db.set_now_ms(now_ms);
    let id = state.clients.add(Transport::Memory, now_ms);
    let mut out = Replies::default();
    let cases: [(&str, &[&str]); 9] = [
        ("PING", &["PING"]),
        ("SET", &["SET", "key:000000000001", "0123456789abcdef"]),
        ("GET", &["GET", "key:000000000001"]),
        ("INCR", &["INCR", "counter"]),
        ("EXPIRE", &["EXPIRE", "key:000000000001", "100"]),
        ("HSET", &["HSET", "hash", "field", "value"]),
        ("LPUSH", &["LPUSH", "list", "value"]),
        ("ZADD", &["ZADD", "board", "3", "ada"]),
        ("EVAL with one INCR", &["EVAL", "return redis.call('INCR', KEYS[1])", "1", "counter"]),
    ];
    for (name, argv) in cases {
        let argv: Vec<&[u8]> = argv.iter().map(|word| word.as_bytes()).collect();
        let mut dispatcher = Dispatcher::new(&mut state, id);
        measure(&format!("dispatch {name}"), 50_000, || {
            for _ in 0..50_000 {
                out.clear();
                let prepared = dispatcher.prepare(|at| argv.get(at).copied());
                black_box(dispatcher.request(&argv, &prepared, &mut out));
            }
        });
    }
}

/// What one more `redis.call` costs: the slope over scripts that differ in their number of calls,
/// beside the same command's own cost.
fn scripts() {
    const CALLS: usize = 1000;
    let server = Server::builder().without_tcp().seed(1).start().expect("the server starts");
    let mut state = server.shared().lock();
    let now_ms = server.clock().now_ms();
    state.db.set_now_ms(now_ms);
    let id = state.clients.add(Transport::Memory, now_ms);
    let cases: [(&str, &[&str], &str); 5] = [
        ("GET", &["GET", "counter"], "'GET', KEYS[1]"),
        ("INCR", &["INCR", "counter"], "'INCR', KEYS[1]"),
        ("SET", &["SET", "key", "0123456789abcdef"], "'SET', KEYS[2], ARGV[1]"),
        ("HGET", &["HGET", "hash", "field"], "'HGET', KEYS[3], 'field'"),
        ("EXISTS", &["EXISTS", "counter"], "'EXISTS', KEYS[1]"),
    ];
    let mut dispatcher = Dispatcher::new(&mut state, id);
    let mut out = Replies::default();
    let mut run = |argv: &[&str], times: usize| {
        let argv: Vec<&[u8]> = argv.iter().map(|word| word.as_bytes()).collect();
        let start = Instant::now();
        for _ in 0..times {
            out.clear();
            let prepared = dispatcher.prepare(|at| argv.get(at).copied());
            black_box(dispatcher.request(&argv, &prepared, &mut out));
        }
        start.elapsed().as_nanos() as f64
    };
    run(&["HSET", "hash", "field", "value"], 1);
    run(&["SET", "counter", "1"], 1);
    for (name, argv, words) in cases {
        let unrolled = |calls: usize| format!("redis.call({words}) ").repeat(calls);
        let (short, long) = (unrolled(10), unrolled(10 + CALLS));
        let tail = ["3", "counter", "key", "hash", "0123456789abcdef"];
        let [mut own, mut few, mut many] = [f64::INFINITY; 3];
        for _ in 0..20 * ROUNDS {
            own = own.min(run(argv, CALLS) / CALLS as f64);
            few = few.min(run(&[&["EVAL", &short], &tail[..]].concat(), 1));
            many = many.min(run(&[&["EVAL", &long], &tail[..]].concat(), 1));
        }
        let slope = (many - few) / CALLS as f64;
        let more = slope - own;
        println!(
            "one more redis.call of {name:20} {slope:>6.1} ns, itself {own:>6.1}, more {more:>6.1}"
        );
    }
}

fn main() {
    let only = std::env::args().find(|arg| !arg.starts_with('-') && !arg.contains('/'));
    let parts: [(&str, fn()); 4] =
        [("decode", decode), ("table", table), ("dispatch", dispatch), ("scripts", scripts)];
    for (name, part) in parts {
        if only.as_deref().is_none_or(|only| only == name) {
            part();
        }
    }
}
