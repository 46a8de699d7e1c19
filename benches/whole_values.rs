//! Server CPU of commands that go through whole large values, beside genuine servers measured in
//! the same run:
//! `ELEMENTS=1000000 ROUNDS=3 PEERS="redis-server" cargo bench --bench whole_values`.
//!
//! The values of one type are made on every server, each command is then sent to the servers in
//! turn, and the time that all threads of a server spend on a processor until they are quiet again
//! is counted, what is freed in the background included. The figure is the best of the rounds; the
//! ratio is ours to that of each peer. What a command destroys is a copy that is made before it and
//! not counted. `ONLY=zset` measures the rows whose name contains that word, `OURS` names another
//! binary of ours.

mod beside;

use beside::{await_lines, words, Server};
use redouble::resp::out::push_request;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// What ends the replies of one row.
const END: &str = "the-end-of-it";
/// Arguments of one request that fills a value.
const FILL_ARGS: u64 = 1000;
/// Keys that SORT's patterns find.
const PATTERN_KEYS: u64 = 100_000;

/// The commands of a row, `t` being a copy of the value, `N` the elements and `H` half of them.
struct Row {
    name: &'static str,
    fresh: &'static str,
    command: &'static str,
}

/// A value of `count` elements: the command that fills it, and the words of one element.
struct Value {
    key: &'static str,
    command: &'static str,
    element: fn(u64) -> Vec<String>,
}

struct Family {
    name: &'static str,
    values: &'static [Value],
    rows: &'static [Row],
}

const fn row(name: &'static str, command: &'static str) -> Row {
    Row { name, fresh: "", command }
}

/// A row that spoils a copy of the value at `fresh`.
const fn spoils(name: &'static str, fresh: &'static str, command: &'static str) -> Row {
    Row { name, fresh, command }
}

/// Neither in order nor twice.
fn mixed(number: u64) -> u64 {
    number.wrapping_mul(2_654_435_761) % (1 << 32)
}

fn member(number: u64) -> Vec<String> {
    vec![format!("member:{:010}", mixed(number))]
}

const FAMILIES: &[Family] = &[
    Family {
        name: "set",
        values: &[
            Value { key: "s", command: "SADD", element: member },
            Value { key: "o", command: "SADD", element: |n| member(n * 2) },
            Value { key: "i", command: "SADD", element: |n| vec![mixed(n).to_string()] },
        ],
        rows: &[
            row("set SMEMBERS", "SMEMBERS s"),
            row("set SMEMBERS integers", "SMEMBERS i"),
            row("set COPY", "COPY s t REPLACE"),
            row("set SUNIONSTORE", "SUNIONSTORE t s o"),
            row("set SINTERSTORE", "SINTERSTORE t s o"),
            row("set SDIFFSTORE", "SDIFFSTORE t s o"),
            row("set SUNION", "SUNION s o"),
            row("set SINTER", "SINTER s o"),
            row("set SDIFF", "SDIFF s o"),
            spoils("set SPOP half", "s", "SPOP t H"),
            row("set SRANDMEMBER half", "SRANDMEMBER s H"),
            row("set SORT ALPHA", "SORT s ALPHA"),
            row("set SORT integers", "SORT i"),
            row("set DUMP", "DUMP s"),
            spoils("set UNLINK", "s", "UNLINK t"),
            spoils("set DEL", "s", "DEL t"),
        ],
    },
    Family {
        name: "hash",
        values: &[Value {
            key: "h",
            command: "HSET",
            element: |n| vec![format!("field:{:010}", mixed(n)), n.to_string()],
        }],
        rows: &[
            row("hash HGETALL", "HGETALL h"),
            row("hash HKEYS", "HKEYS h"),
            row("hash HVALS", "HVALS h"),
            row("hash COPY", "COPY h t REPLACE"),
            row("hash DUMP", "DUMP h"),
            spoils("hash UNLINK", "h", "UNLINK t"),
            spoils("hash DEL", "h", "DEL t"),
        ],
    },
    Family {
        name: "list",
        values: &[
            Value { key: "l", command: "RPUSH", element: member },
            Value { key: "n", command: "RPUSH", element: |n| vec![mixed(n).to_string()] },
            Value {
                key: "p",
                command: "RPUSH",
                element: |n| vec![(mixed(n) % PATTERN_KEYS).to_string()],
            },
        ],
        rows: &[
            row("list LRANGE", "LRANGE l 0 -1"),
            row("list LRANGE integers", "LRANGE n 0 -1"),
            row("list COPY", "COPY l t REPLACE"),
            spoils("list LPOP half", "l", "LPOP t H"),
            spoils("list LPOP half integers", "n", "LPOP t H"),
            spoils("list RPOP half", "l", "RPOP t H"),
            spoils("list LTRIM half", "l", "LTRIM t H -1"),
            spoils("list LREM none", "l", "LREM t 0 nobody"),
            row("list SORT", "SORT n"),
            row("list SORT DESC", "SORT n DESC"),
            row("list SORT STORE", "SORT n STORE t"),
            row("list SORT LIMIT", "SORT n LIMIT 0 10"),
            row("list SORT ALPHA", "SORT l ALPHA"),
            row("list SORT ALPHA STORE", "SORT l ALPHA STORE t"),
            row("list SORT BY", "SORT p BY w_*"),
            row("list SORT BY GET", "SORT p BY w_* GET # GET v_*"),
            row("list SORT GET", "SORT p GET v_*"),
            row("list SORT nosort GET", "SORT p BY nosort GET v_*"),
            row("list SORT BY GET STORE", "SORT p BY w_* GET v_* STORE t"),
            row("list DUMP", "DUMP l"),
            spoils("list UNLINK", "l", "UNLINK t"),
            spoils("list DEL", "l", "DEL t"),
        ],
    },
    Family {
        name: "zset",
        values: &[
            Value { key: "z", command: "ZADD", element: |n| scored(n, n) },
            Value { key: "y", command: "ZADD", element: |n| scored(n * 2, n) },
            Value { key: "x", command: "ZADD", element: |n| vec!["0".into(), member(n).remove(0)] },
        ],
        rows: &[
            row("zset ZRANGE", "ZRANGE z 0 -1"),
            row("zset ZRANGE WITHSCORES", "ZRANGE z 0 -1 WITHSCORES"),
            row("zset ZRANGEBYSCORE", "ZRANGEBYSCORE z -inf +inf"),
            row("zset ZREVRANGE", "ZREVRANGE z 0 -1"),
            row("zset ZRANGESTORE", "ZRANGESTORE t z 0 -1"),
            row("zset COPY", "COPY z t REPLACE"),
            row("zset ZUNIONSTORE", "ZUNIONSTORE t 2 z y"),
            row("zset ZINTERSTORE", "ZINTERSTORE t 2 z y"),
            row("zset ZDIFFSTORE", "ZDIFFSTORE t 2 z y"),
            row("zset ZUNION", "ZUNION 2 z y WITHSCORES"),
            spoils("zset ZREMRANGEBYRANK half", "z", "ZREMRANGEBYRANK t 0 H"),
            spoils("zset ZREMRANGEBYSCORE all", "z", "ZREMRANGEBYSCORE t -inf +inf"),
            spoils("zset ZREMRANGEBYLEX half", "x", "ZREMRANGEBYLEX t - [member:2147483648"),
            spoils("zset ZPOPMIN half", "z", "ZPOPMIN t H"),
            row("zset SORT ALPHA", "SORT z ALPHA"),
            row("zset DUMP", "DUMP z"),
            spoils("zset UNLINK", "z", "UNLINK t"),
            spoils("zset DEL", "z", "DEL t"),
        ],
    },
    Family {
        name: "stream",
        values: &[Value {
            key: "x",
            command: "XADD",
            element: |n| vec![format!("{}-0", n + 1), "name".into(), member(n).remove(0)],
        }],
        rows: &[
            row("stream XRANGE", "XRANGE x - +"),
            row("stream XREVRANGE", "XREVRANGE x + -"),
            row("stream XREAD", "XREAD STREAMS x 0"),
            row("stream COPY", "COPY x t REPLACE"),
            spoils("stream XTRIM half", "x", "XTRIM t MAXLEN H"),
            row("stream DUMP", "DUMP x"),
            spoils("stream UNLINK", "x", "UNLINK t"),
            spoils("stream DEL", "x", "DEL t"),
        ],
    },
];

fn scored(number: u64, place: u64) -> Vec<String> {
    let mut words = vec![(mixed(place) % (1 << 20)).to_string()];
    words.extend(member(number));
    words
}

fn fill(server: &Server, family: &Family, count: u64) {
    let mut stream = server.connect();
    for value in family.values {
        let many = if value.command == "XADD" { 1 } else { FILL_ARGS };
        let mut from = 0;
        while from < count {
            let (mut batch, mut requests) = (Vec::new(), 0);
            while requests < FILL_ARGS / many && from < count {
                let until = count.min(from + many);
                let elements = (from..until).flat_map(value.element);
                let head = [value.command, value.key].map(str::to_string);
                let request: Vec<Vec<u8>> =
                    head.into_iter().chain(elements).map(String::into_bytes).collect();
                push_request(&mut batch, &request);
                (from, requests) = (until, requests + 1);
            }
            stream.write_all(&batch).expect("the requests leave");
            let lines = if many == 1 { 2 } else { 1 };
            await_lines(&mut stream, requests as usize * lines);
        }
    }
    if family.name == "list" {
        for from in (0..PATTERN_KEYS).step_by(1000) {
            let mut batch = Vec::new();
            for number in from..from + 1000 {
                let (weight, shown) = (format!("w_{number}"), format!("v_{number}"));
                let value = mixed(number).to_string();
                push_request(&mut batch, &words(&["MSET", &weight, &value, &shown, &value]));
            }
            stream.write_all(&batch).expect("the requests leave");
            await_lines(&mut stream, 1000);
        }
    }
}

/// Sends a command and reads its reply, however long it is.
fn ask(stream: &mut TcpStream, command: &str, count: u64) {
    let half = (count / 2).to_string();
    let said = |word: &str| match word {
        "H" => half.clone().into_bytes(),
        word => word.as_bytes().to_vec(),
    };
    let mut batch = Vec::new();
    push_request(&mut batch, &command.split(' ').map(said).collect::<Vec<_>>());
    push_request(&mut batch, &words(&["ECHO", END]));
    stream.write_all(&batch).expect("the requests leave");
    let end = format!("${}\r\n{END}\r\n", END.len());
    let (mut reply, mut tail) = (vec![0; 1 << 20], Vec::new());
    while !tail.ends_with(end.as_bytes()) {
        let len = stream.read(&mut reply).expect("replies come");
        assert!(len > 0, "the server closed the connection");
        tail.extend_from_slice(&reply[len.saturating_sub(64)..len]);
        tail.drain(..tail.len().saturating_sub(64));
    }
    assert!(!tail.starts_with(b"-"), "{command}: {}", String::from_utf8_lossy(&tail));
}

/// The CPU time of a server that does nothing any more, in the background neither.
fn quiet_ns(server: &Server) -> u64 {
    let (mut before_ns, mut looks) = (server.cpu_ns(), 0);
    while looks < 5 {
        std::thread::sleep(Duration::from_millis(50));
        let now_ns = server.cpu_ns();
        looks = if now_ns - before_ns < 1_000_000 { looks + 1 } else { 0 };
        before_ns = now_ns;
    }
    before_ns
}

fn measure(server: &Server, row: &Row, count: u64) -> f64 {
    let mut stream = server.connect();
    ask(&mut stream, "DEL t", count);
    if !row.fresh.is_empty() {
        ask(&mut stream, &format!("COPY {} t", row.fresh), count);
    }
    let before_ns = quiet_ns(server);
    ask(&mut stream, row.command, count);
    (quiet_ns(server) - before_ns) as f64 / 1e6
}

fn main() {
    let Ok(peers) = std::env::var("PEERS") else {
        return println!("skipped: PEERS names no genuine servers, as in PEERS=\"redis-server\"");
    };
    let number = |name: &str, default: u64| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (count, rounds) = (number("ELEMENTS", 1_000_000), number("ROUNDS", 3));
    let only = std::env::var("ONLY").unwrap_or_default();
    let ours = std::env::var("OURS").unwrap_or(env!("CARGO_BIN_EXE_redouble").to_string());
    let mut lines = vec![ours];
    lines.extend(peers.split(';').filter(|line| !line.trim().is_empty()).map(str::to_string));
    print!("{:28}", format!("ms of CPU, {count} elements"));
    for family in FAMILIES {
        let rows: Vec<&Row> = family.rows.iter().filter(|row| row.name.contains(&only)).collect();
        if rows.is_empty() {
            continue;
        }
        let servers: Vec<Server> =
            lines.iter().map(|line| Server::start(line, &["--save", ""])).collect();
        println!();
        servers.iter().for_each(|server| fill(server, family, count));
        for row in rows {
            let mut best = vec![f64::INFINITY; servers.len()];
            for _ in 0..rounds {
                for (server, best) in servers.iter().zip(&mut best) {
                    *best = best.min(measure(server, row, count));
                }
            }
            print!("{:28}", row.name);
            best.iter().for_each(|ms| print!("{ms:>10.1}"));
            best[1..].iter().for_each(|ms| print!("{:>7.2}", best[0] / ms));
            println!();
        }
    }
}
