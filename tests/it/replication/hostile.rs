//! Peers that mean no good, or are broken: replicas that say nonsense or leave in the middle of a
//! copy, primaries whose copies and streams cannot be.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use redouble::resp::reader::Value;
use redouble::Server;

use super::{builder, in_sync, info, port, start, wait_until, Journal};
use crate::wire::request;

const FULL: &str = "+FULLRESYNC 0123456789012345678901234567890123456789 1\r\n";

fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.addr().expect("an address")).expect("connects")
}

#[test]
fn replicas_that_leave_in_the_middle_of_a_copy_leave_nothing_behind() {
    let primary = start(builder());
    for number in 0..300 {
        primary.command(&["SET", &number.to_string(), &"x".repeat(20_000)]);
    }
    for round in 0..20 {
        let mut replica = connect(&primary);
        replica.write_all(b"REPLCONF capa eof capa psync2\r\nPSYNC ? -1\r\n").expect("it takes it");
        let mut some = vec![0; 1 + round * 50_000];
        let _ = replica.read(&mut some);
        let _ = replica.shutdown(Shutdown::Both);
    }
    wait_until("the end of all copies", || {
        info(&primary, "connected_slaves") == "0" && info(&primary, "rdb_bgsave_in_progress") == "0"
    });
    let replica = start(builder().replica_of(primary.addr().expect("an address")));
    in_sync(&primary, &replica);
}

#[test]
fn what_replicas_say_harms_nobody() {
    let primary = start(builder());
    let replica = start(builder().replica_of(primary.addr().expect("an address")));
    in_sync(&primary, &replica);
    let said: Vec<Vec<u8>> = vec![
        request(&["REPLCONF", "ACK", "9223372036854775807"]),
        request(&["REPLCONF", "ACK", "-1"]),
        request(&["REPLCONF", "ACK", "nonsense", "FACK", "18446744073709551616"]),
        request(&["REPLCONF", "ACK"]),
        request(&["GET", "key"]),
        request(&["FLUSHALL"]),
        b"*1000000000\r\n$1000000000\r\n".to_vec(),
        vec![0xff; 300_000],
        b"\r\n\r\n\r\n".to_vec(),
    ];
    for bytes in &said {
        let mut liar = connect(&primary);
        liar.write_all(b"SYNC\r\n").expect("it takes the request");
        wait_until("a second replica", || info(&primary, "slave1").contains("state=online"));
        let _ = liar.write_all(bytes);
        primary.command(&["SET", "key", "value"]);
        sleep(Duration::from_millis(20));
        drop(liar);
        wait_until("its end", || info(&primary, "connected_slaves") == "1");
    }
    in_sync(&primary, &replica);
    assert_eq!(primary.command(&["GET", "key"]), Value::Bulk(b"value".to_vec()));
}

/// All that came is heard, however many requests it is, without the replica saying more.
#[test]
fn what_a_replica_says_in_a_row_is_heard_to_its_end() {
    let primary = start(builder());
    let mut replica = connect(&primary);
    replica.write_all(b"SYNC\r\n").expect("it takes the request");
    wait_until("a replica", || info(&primary, "slave0").contains("state=online"));
    let acks = (1..=100).map(|at: u32| request(&["REPLCONF", "ACK", &at.to_string()]));
    replica.write_all(&acks.collect::<Vec<_>>().concat()).expect("it takes all");
    wait_until("the last", || info(&primary, "slave0").contains("offset=100,"));
}

#[test]
fn a_replica_that_takes_a_byte_at_a_time_holds_nobody_up() {
    let primary = start(
        builder()
            .config("client-output-buffer-limit", "replica 1mb 0 0")
            .config("repl-backlog-size", "65536"),
    );
    let replica = start(builder().replica_of(primary.addr().expect("an address")));
    in_sync(&primary, &replica);
    let mut slow = connect(&primary);
    slow.write_all(b"SYNC\r\n").expect("it takes the request");
    std::thread::spawn(move || {
        while let Ok(1) = slow.read(&mut [0]) {
            sleep(Duration::from_millis(20));
        }
    });
    wait_until("the slow one", || info(&primary, "connected_slaves") == "2");
    let value = "x".repeat(100_000);
    wait_until("the end of the slow one", || {
        primary.command(&["SET", "key", &value]);
        info(&primary, "connected_slaves") == "1"
    });
    in_sync(&primary, &replica);
}

/// A primary that answers the handshake, then sends this, slowly or not, and waits.
struct False {
    addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// Bytes that were taken, of all connections.
    sent: Arc<AtomicUsize>,
}

impl False {
    fn sending(bytes: Vec<u8>, slowly: bool) -> False {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("an address");
        let (connections, sent) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let counted = (connections.clone(), sent.clone());
        let bytes = Arc::new(bytes);
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                counted.0.fetch_add(1, Ordering::Relaxed);
                let (bytes, sent) = (bytes.clone(), counted.1.clone());
                std::thread::spawn(move || serve(socket, &bytes, slowly, &sent));
            }
        });
        False { addr, connections, sent }
    }
}

fn serve(mut socket: TcpStream, bytes: &[u8], slowly: bool, sent: &AtomicUsize) {
    let mut input = [0; 4096];
    while let Ok(len @ 1..) = socket.read(&mut input) {
        let text = String::from_utf8_lossy(&input[..len]).into_owned();
        for request in text.split('*').skip(1) {
            if request.contains("PSYNC") {
                for part in bytes.chunks(if slowly { 1 } else { 1 << 20 }) {
                    if socket.write_all(part).is_err() {
                        return;
                    }
                    sent.fetch_add(part.len(), Ordering::Relaxed);
                    if slowly {
                        sleep(Duration::from_millis(1));
                    }
                }
                return;
            }
            let reply: &[u8] = if request.contains("PING") { b"+PONG\r\n" } else { b"+OK\r\n" };
            if socket.write_all(reply).is_err() {
                return;
            }
        }
    }
}

#[test]
fn primaries_that_send_nonsense_change_nothing() {
    let payloads = [
        "garbage\r\n".to_string(),
        format!("{FULL}garbage\r\n"),
        format!("{FULL}$5\r\nhello"),
        format!("{FULL}$99999999999999\r\nREDIS0010"),
        format!("{FULL}$EOF:short\r\n"),
        format!("{FULL}$EOF:{}\r\nREDIS0011\u{fe}", "x".repeat(40)),
        format!("{FULL}{}", "\n".repeat(1000)),
        format!("{FULL}$18\r\nREDIS0011\u{ff}00000000"),
    ];
    // A server that keeps no files receives in memory all the same.
    let ways = payloads.iter().flat_map(|payload| [(payload, "swapdb"), (payload, "disabled")]);
    for (payload, way) in ways {
        let server = start(builder().config("repl-diskless-load", way));
        server.command(&["SET", "key", "value"]);
        let primary = False::sending(payload.clone().into_bytes(), false);
        server.command(&["REPLICAOF", "127.0.0.1", &primary.addr.port().to_string()]);
        wait_until("another attempt", || primary.connections.load(Ordering::Relaxed) > 1);
        let kept = server.command(&["GET", "key"]);
        assert_eq!(kept, Value::Bulk(b"value".to_vec()), "{payload:?} {way}");
        assert_eq!(info(&server, "master_link_status"), "down");
        server.command(&["REPLICAOF", "NO", "ONE"]);
        assert_eq!(server.command(&["SET", "key", "x"]), Value::Simple("OK".into()));
    }
}

/// A copy of real data, as bytes of RDB.
fn real_copy() -> Vec<u8> {
    let server = start(builder());
    for number in 0..200 {
        server.command(&["RPUSH", &format!("list:{number}"), "a", "b", &"c".repeat(500)]);
    }
    server.snapshot().expect("a snapshot")
}

fn announced(copy: &[u8]) -> Vec<u8> {
    [FULL.as_bytes(), format!("${}\r\n", copy.len()).as_bytes(), copy].concat()
}

#[test]
fn copies_that_cannot_be_are_told_and_tried_again() {
    let copy = real_copy();
    let mut flipped = copy.clone();
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    let mut short = announced(&copy);
    short.truncate(short.len() - 5000);
    let marked = [FULL.as_bytes(), b"$EOF:", &[b'x'; 40], b"\r\n", &copy[..], &[b'y'; 40]].concat();
    let newlines = [FULL.as_bytes(), "\n".repeat(500).as_bytes()].concat();
    let cases: [(Vec<u8>, bool, &str); 5] = [
        (announced(&flipped), false, "Internal error in RDB"),
        (short, false, "Failed trying to load the MASTER synchronization DB"),
        (marked, false, "Failed trying to load the MASTER synchronization DB"),
        (newlines, true, "Error condition on socket for SYNC"),
        (format!("{FULL}$EOF:x\r\n").into_bytes(), false, "Bad protocol from MASTER"),
    ];
    for (bytes, slowly, line) in cases {
        let journal = Journal::new("hostile");
        let server = start(
            journal.kept_by(builder().config("save", "")).config("repl-diskless-load", "swapdb"),
        );
        server.command(&["SET", "key", "value"]);
        let primary = False::sending(bytes, slowly);
        let port = primary.addr.port().to_string();
        server.command(&["REPLICAOF", "127.0.0.1", &port]);
        wait_until("another attempt", || primary.connections.load(Ordering::Relaxed) > 1);
        wait_until("a line that says why", || journal.text().contains(line));
        wait_until("the old data", || {
            server.command(&["GET", "key"]) == Value::Bulk(b"value".to_vec())
        });
        assert_eq!(server.command(&["DBSIZE"]), Value::Int(1), "{line}");
        server.command(&["REPLICAOF", "NO", "ONE"]);
    }
}

/// A copy with two libraries, of which the second registers nothing.
fn copy_with_a_bad_library() -> Vec<u8> {
    let server = start(builder().config("rdbcompression", "no").config("rdbchecksum", "no"));
    load_function(&server, "a", "theirs", 2);
    load_function(&server, "b", "spoiled", 3);
    let mut copy = server.snapshot().expect("a snapshot");
    let name = b"register_function";
    let at = copy.windows(name.len()).rposition(|part| part == name).expect("it is there");
    copy[at] = b'x';
    copy
}

fn load_function(server: &Server, library: &str, name: &str, result: i64) {
    let code = format!(
        "#!lua name={library}\nredis.register_function('{name}', function() return {result} end)"
    );
    let loaded = server.command(&["FUNCTION", "LOAD", &code]);
    assert_eq!(loaded, Value::Bulk(library.as_bytes().to_vec()));
}

#[test]
fn a_library_that_is_refused_leaves_data_and_functions_as_they_were() {
    let copy = copy_with_a_bad_library();
    let server = start(builder().config("repl-diskless-load", "swapdb"));
    server.command(&["SET", "key", "value"]);
    load_function(&server, "own", "ours", 1);
    let same = || {
        assert_eq!(server.command(&["FCALL", "ours", "0"]), Value::Int(1));
        assert_eq!(server.command(&["GET", "key"]), Value::Bulk(b"value".to_vec()));
    };
    let refused = server.restore(&copy).expect_err("it is refused").to_string();
    assert!(refused.contains("Failed creating the library"), "{refused}");
    same();
    let primary = False::sending(announced(&copy), false);
    server.command(&["REPLICAOF", "127.0.0.1", &primary.addr.port().to_string()]);
    wait_until("another attempt", || primary.connections.load(Ordering::Relaxed) > 1);
    server.command(&["REPLICAOF", "NO", "ONE"]);
    same();
    load_function(&server, "c", "another", 4);
    same();
    assert_eq!(server.command(&["FCALL", "another", "0"]), Value::Int(4));
}

#[test]
fn streams_that_cannot_be_end_the_link_and_nothing_else() {
    let copy = real_copy();
    let streams: [&[u8]; 5] = [
        b"SET inline x\r\n",
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$99999999999999\r\nxxxx",
        b"*99999999999999\r\n",
        b"*2\r\n$-7\r\n",
        &[0xfe; 5000],
    ];
    for stream in streams {
        let server = start(builder());
        let primary = False::sending([announced(&copy), stream.to_vec()].concat(), false);
        server.command(&["REPLICAOF", "127.0.0.1", &primary.addr.port().to_string()]);
        wait_until("another attempt", || primary.connections.load(Ordering::Relaxed) > 1);
        wait_until("an answer", || matches!(server.command(&["PING"]), Value::Simple(_)));
        server.command(&["REPLICAOF", "NO", "ONE"]);
        assert_eq!(server.command(&["SET", "key", "x"]), Value::Simple("OK".into()));
    }
}

/// A stream that never ends during CLIENT PAUSE waits on its way, and is not gathered here.
#[test]
fn a_paused_replica_does_not_take_all_that_is_sent() {
    let command = request(&["APPEND", "key", &"x".repeat(10_000)]);
    let stream = command.repeat(10_000);
    let bytes = [announced(&real_copy()), stream].concat();
    let all = bytes.len();
    let server = start(builder());
    server.command(&["CLIENT", "PAUSE", "1000000", "WRITE"]);
    let primary = False::sending(bytes, false);
    server.command(&["REPLICAOF", "127.0.0.1", &primary.addr.port().to_string()]);
    let mut before = 0;
    wait_until("a primary that cannot send more", || {
        let sent = primary.sent.load(Ordering::Relaxed);
        assert!(sent < all / 2, "{sent} of {all} bytes were taken");
        let is_stuck = sent > 0 && sent == before;
        before = sent;
        sleep(Duration::from_millis(500));
        is_stuck
    });
    server.command(&["CLIENT", "UNPAUSE"]);
    wait_until("the rest", || match server.command(&["STRLEN", "key"]) {
        Value::Int(bytes) => bytes >= 50_000_000,
        other => panic!("{other:?}"),
    });
}

#[test]
fn an_honest_primary_after_a_false_one() {
    let primary = start(builder());
    primary.command(&["SET", "key", "value"]);
    let server = start(builder());
    let false_one = False::sending(format!("{FULL}$18\r\nREDIS0011").into_bytes(), false);
    server.command(&["REPLICAOF", "127.0.0.1", &false_one.addr.port().to_string()]);
    wait_until("an attempt", || false_one.connections.load(Ordering::Relaxed) > 0);
    server.command(&["REPLICAOF", "127.0.0.1", &port(&primary)]);
    in_sync(&primary, &server);
}

/// A snapshot of a key that has expired, at such a point of a history.
fn snapshot_at(id: &str, offset: &str) -> Vec<u8> {
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    let aux = |name: &str, value: &str| [&[0xfa], &text(name)[..], &text(value)].concat();
    let key = [&[0xfc, 1, 0, 0, 0, 0, 0, 0, 0, 0], &text("key")[..], &text("value")].concat();
    // A checksum of zero is none.
    let end = [&[0xff][..], &[0; 8]].concat();
    let point = [aux("repl-stream-db", "0"), aux("repl-id", id), aux("repl-offset", offset)];
    [b"REDIS0011".to_vec(), point.concat(), vec![0xfe, 0], key, end].concat()
}

#[test]
fn a_snapshot_that_names_no_point_of_a_history_begins_a_new_one() {
    let id = "0123456789012345678901234567890123456789";
    let bad =
        [(id, u64::MAX), (id, i64::MAX as u64), ("0123456789\r\n45678901234567890123456789", 9)];
    for (id, offset) in bad.into_iter().chain([(id, 70)]) {
        let journal = Journal::new("points");
        let snapshot = snapshot_at(id, &offset.to_string());
        std::fs::write(journal.0.join("dump.rdb"), snapshot).expect("it is written");
        let primary = start(journal.kept_by(builder()));
        let second = if offset == 70 { id } else { &"0".repeat(40) };
        assert_eq!(info(&primary, "master_replid2"), second, "{offset}");
        primary.command(&["SET", "key", "anew"]);
        let replica = start(builder().replica_of(primary.addr().expect("an address")));
        in_sync(&primary, &replica);
    }
}
