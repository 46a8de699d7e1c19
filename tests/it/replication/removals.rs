//! What time and memory remove, as the stream tells it: each key is a unit of its own, unless it
//! went inside a command that names it, or a transaction. And in which words it tells of writes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::Duration;

use super::{builder, start, wait_until};
use crate::play::Player;
use crate::server::Genuine;
use crate::session::run::Server as _;
use crate::wire::Reply;

/// The stream as an old replica gets it, from a mark on.
struct Tap {
    socket: TcpStream,
    unread: Vec<u8>,
    player: Player,
    marks: usize,
    /// A genuine server before 7.2.
    is_old: bool,
}

impl Tap {
    fn open(addr: SocketAddr) -> Tap {
        let mut socket = TcpStream::connect(addr).expect("connects");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a socket");
        socket.write_all(b"SYNC\r\n").expect("it is sent");
        let player = Player::new(addr).expect("connects");
        let mut tap = Tap { socket, unread: Vec::new(), player, marks: 0, is_old: false };
        tap.call("DEBUG SET-ACTIVE-EXPIRE 0");
        tap.commands();
        tap
    }

    fn call(&mut self, line: &str) -> Reply {
        self.player.call(&line.split(' ').collect::<Vec<_>>()).expect("it answers")
    }

    /// The same whether values are freed lazily or not.
    fn commands(&mut self) -> Vec<String> {
        self.exact().iter().map(|words| words.replace("UNLINK", "DEL")).collect()
    }

    /// The commands of the stream since the last call, without those that only keep it going.
    fn exact(&mut self) -> Vec<String> {
        let mut all = self.all();
        all.retain(|words| !["SELECT", "PUBLISH"].iter().any(|name| words.starts_with(name)));
        all
    }

    /// The same with SELECT and messages.
    fn all(&mut self) -> Vec<String> {
        self.marks += 1;
        let mark = format!("mark:{}", self.marks);
        self.call(&format!("PUBLISH {mark} x"));
        let (socket, unread) = (&mut self.socket, &mut self.unread);
        let mut block = [0; 4096];
        wait_until("the mark", || {
            if let Ok(len) = socket.read(&mut block) {
                unread.extend_from_slice(&block[..len]);
            }
            unread.windows(mark.len()).any(|bytes| bytes == mark.as_bytes())
                && unread.ends_with(b"\r\nx\r\n")
        });
        let text = String::from_utf8_lossy(&std::mem::take(unread)).into_owned();
        let requests = text.split("\r\n*").map(|request| {
            let words = request.trim_start_matches('*').split("\r\n").skip(1);
            let words = words.filter(|word| !word.starts_with('$') && !word.is_empty());
            words.collect::<Vec<_>>().join(" ").to_uppercase()
        });
        let is_mark = |words: &String| words.starts_with("PUBLISH MARK:");
        requests.filter(|words| !words.starts_with("PING") && !is_mark(words)).collect()
    }

    /// Two keys that are gone, although nobody has met them since.
    fn dead_keys(&mut self) {
        self.call("SET a 1 PX 1");
        self.call("SET b 1 PX 1");
        sleep(Duration::from_millis(20));
        self.commands();
    }
}

fn tells_of_removals(addr: SocketAddr, is_old: bool) {
    let mut tap = Tap::open(addr);
    tap.is_old = is_old;
    tap.dead_keys();
    tap.call("SCAN 0 COUNT 1000");
    let mut told = tap.commands();
    told.sort();
    assert_eq!(told, ["DEL A", "DEL B"], "what SCAN met");
    tap.dead_keys();
    tap.call("RANDOMKEY");
    let mut told = tap.commands();
    told.sort();
    assert_eq!(told, ["DEL A", "DEL B"], "what RANDOMKEY met");
    tap.dead_keys();
    tap.call("MGET a b");
    assert_eq!(tap.commands(), ["MULTI", "DEL A", "DEL B", "EXEC"], "what was named");
    // A dead key after a dead key, of the same name.
    tap.dead_keys();
    tap.call("SET a 2 EXAT 1 NX");
    let told = ["MULTI", "DEL A", "SET A 2 PXAT 1000", "EXEC"];
    assert_eq!(tap.commands(), told, "what comes after");
    tap.call("DECRBY a 302");
    assert_eq!(tap.commands(), ["MULTI", "DEL A", "DECRBY A 302", "EXEC"], "what is dead again");
    tap.call("DEL a b");
    tap.dead_keys();
    tap.call("MULTI");
    tap.call("SCAN 0 COUNT 1000");
    tap.call("EXEC");
    let told = tap.commands();
    assert_eq!((told.len(), &*told[0], &*told[3]), (4, "MULTI", "EXEC"), "a transaction");
    tap.dead_keys();
    tap.call("DEBUG SET-ACTIVE-EXPIRE 1");
    wait_until("no keys", || tap.call("DBSIZE") == Reply::Int(0));
    let mut told = tap.commands();
    told.sort();
    assert_eq!(told, ["DEL A", "DEL B"], "what time removed");
    tap.call("MSET c 1 d 2");
    tap.commands();
    tap.call("CONFIG SET maxmemory-policy allkeys-lru");
    tap.call("CONFIG SET maxmemory 1");
    wait_until("no keys", || tap.call("DBSIZE") == Reply::Int(0));
    tap.call("CONFIG SET maxmemory 0");
    let mut told = tap.commands();
    told.sort();
    assert_eq!(told, ["DEL C", "DEL D"], "what memory removed");
    tells_of_lazy_removals(&mut tap);
}

fn tells_of_lazy_removals(tap: &mut Tap) {
    for what in ["server-del", "expire", "eviction"] {
        tap.call(&format!("CONFIG SET lazyfree-lazy-{what} yes"));
    }
    let cases: [(&[&str], &str); 4] = [
        (&["SADD s 1 2", "SPOP s 9"], "UNLINK S"),
        (&["SET a 1", "EXPIRE a -1"], "UNLINK A"),
        (&["SET a 1", "GETEX a PXAT 1"], "UNLINK A"),
        (&["SET a 1", "DEL a"], "DEL A"),
    ];
    // Redis: 7.0 tells of a set that was taken whole as DEL.
    let skipped = usize::from(tap.is_old);
    for (lines, told) in cases.into_iter().skip(skipped) {
        lines.iter().for_each(|line| drop(tap.call(line)));
        let all = tap.exact();
        assert_eq!(all.last().map(String::as_str), Some(told), "{all:?}");
    }
    tap.call("SET a 1 PX 1");
    wait_until("no key", || tap.call("GET a") == Reply::NilBulk);
    assert_eq!(tap.exact().last().map(String::as_str), Some("UNLINK A"));
    tap.call("SET a 1");
    tap.call("CONFIG SET maxmemory 1");
    wait_until("no keys", || tap.call("DBSIZE") == Reply::Int(0));
    tap.call("CONFIG SET maxmemory 0");
    assert_eq!(tap.exact().last().map(String::as_str), Some("UNLINK A"));
}

/// Fields whose time has come are told by name, the last ones of a hash too; in one record or
/// several.
fn tells_of_fields(addr: SocketAddr) {
    let mut tap = Tap::open(addr);
    for (cycle, looks) in [("1", "EXISTS h"), ("0", "HSET h a 1")] {
        tap.call("DEL h");
        tap.call("HSET h a 1 b 2");
        tap.commands();
        tap.call(&format!("DEBUG SET-ACTIVE-EXPIRE {cycle}"));
        assert_ne!(tap.call("HPEXPIRE h 5 FIELDS 2 a b"), Reply::Array(Vec::new()));
        sleep(Duration::from_millis(50));
        let mut told = Vec::new();
        wait_until("no field", || {
            let gone = matches!(tap.call("HMGET h a b"), Reply::Array(fields)
                if fields.iter().all(|field| *field == Reply::NilBulk));
            told.extend(tap.commands());
            gone && (cycle == "0" || told.iter().any(|words| words.starts_with("HDEL")))
        });
        tap.call(looks);
        told.extend(tap.commands());
        let of = |name: &str| -> Vec<&String> {
            told.iter().filter(|words| words.starts_with(name)).collect()
        };
        let mut fields: Vec<&str> =
            of("HDEL H ").iter().flat_map(|words| words.split(' ').skip(2)).collect();
        fields.sort_unstable();
        assert_eq!(fields, ["A", "B"], "{told:?}");
        assert!(of("DEL").is_empty(), "{told:?}");
    }
}

/// Who replays a SET wants no answer, and a message leaves the database selected.
fn tells_of_words(addr: SocketAddr) {
    let mut tap = Tap::open(addr);
    tap.call("SET k v");
    tap.all();
    for (line, told) in [
        ("SET k v GET", &["SET K V"][..]),
        ("SET k w XX GET KEEPTTL", &["SET K W XX KEEPTTL"]),
        ("SET k w NX GET", &[]),
        ("SET get get NX GET", &["SET GET GET NX"]),
        ("PUBLISH c m", &["PUBLISH C M"]),
        ("SET k v", &["SET K V"]),
        ("DEL k get", &["DEL K GET"]),
    ] {
        tap.call(line);
        assert_eq!(tap.all(), told, "{line}");
    }
}

#[test]
fn the_stream_tells_of_each_removal_alone() {
    let ours = start(builder());
    tells_of_words(ours.addr().expect("an address"));
    tells_of_removals(ours.addr().expect("an address"), false);
    tells_of_fields(ours.addr().expect("an address"));
    if let Some(line) = Genuine::command_line() {
        let genuine = Genuine::start(&line, &["--repl-diskless-sync-delay", "0"]);
        let genuine = genuine.expect("a genuine server");
        let version = genuine.version().unwrap_or(0);
        tells_of_words(genuine.addr());
        tells_of_removals(genuine.addr(), version < 702);
        if version >= 800 {
            tells_of_fields(genuine.addr());
        }
    }
}
