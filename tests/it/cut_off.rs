//! Clients that take without reading, or send without end: what is counted of them, and when they
//! are cut off.

use crate::patience::PATIENCE;
use std::time::{Duration, Instant};

use crate::server::Ours;
use crate::session::run::Server;
use crate::wire::{request, Reply, Wire};

/// A field of the line of the client `name` in CLIENT LIST; none when it is gone.
fn field(main: &mut Wire, name: &str, field: &str) -> Option<u64> {
    let Ok(Reply::Bulk(list)) = main.call(&["CLIENT", "LIST"]) else { panic!("CLIENT LIST") };
    let list = String::from_utf8(list).unwrap();
    let line = list.lines().find(|line| line.contains(&format!(" name={name} ")))?;
    let value = line.split(' ').find_map(|word| word.strip_prefix(field)?.strip_prefix('='));
    Some(value.expect("a field").parse().expect("a number"))
}

/// Waits until a field is what is wanted.
fn until(main: &mut Wire, name: &str, what: &str, fits: impl Fn(Option<u64>) -> bool) {
    let patience = Instant::now() + PATIENCE;
    while !fits(field(main, name, what)) {
        assert!(Instant::now() < patience, "{name}: {what} is {:?}", field(main, name, what));
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn named(server: &Ours, name: &str) -> Wire {
    let mut wire = Wire::connect(server.addr()).expect("connected");
    wire.call(&["CLIENT", "SETNAME", name]).expect("a reply");
    wire
}

#[test]
fn a_soft_limit_counts_the_seconds_without_traffic_too() {
    let server = Ours::start(&[("client-output-buffer-limit", "pubsub 0 100000 3")]).unwrap();
    let clock = server.handle().clock().clone();
    clock.freeze();
    let mut main = named(&server, "main");
    let mut listener = named(&server, "listener");
    listener.call(&["SUBSCRIBE", "ch"]).expect("a reply");
    let message = "x".repeat(1 << 20);
    // More than the kernel takes for a reader that does not read.
    for _ in 0..32 {
        main.call(&["PUBLISH", "ch", &message]).expect("a reply");
    }
    assert!(field(&mut main, "listener", "omem") > Some(200_000));
    clock.advance(Duration::from_secs(3));
    std::thread::sleep(Duration::from_millis(200));
    let waiting = field(&mut main, "listener", "omem");
    assert_eq!(waiting.map(|bytes| bytes % 20_504), Some(0), "blocks as Redis counts them");
    clock.advance(Duration::from_millis(1001));
    until(&mut main, "listener", "omem", |bytes| bytes.is_none());
}

#[test]
fn what_has_arrived_of_a_request_is_counted_and_no_more_is_kept() {
    let server = Ours::start(&[]).unwrap();
    let mut main = named(&server, "main");
    let mut sender = named(&server, "sender");
    let whole = request(&["SET", "key", &"v".repeat(300_000)]);
    sender.send(&whole[..whole.len() - 2]);
    until(&mut main, "sender", "qbuf", |bytes| bytes == Some(300_000));
    assert_eq!(field(&mut main, "sender", "argv-mem"), Some(6));
    let total = field(&mut main, "sender", "tot-mem").expect("a figure");
    assert!((300_000..304_000).contains(&total), "{total}");
    sender.send(b"\r\n");
    assert_eq!(sender.wait(PATIENCE).unwrap(), Some(Reply::Status(b"OK".into())));
    assert_eq!(field(&mut main, "sender", "qbuf"), Some(0));
    let total = field(&mut main, "sender", "tot-mem").expect("a figure");
    assert!(total < 2_000, "{total}");
}

#[test]
fn a_lower_limit_on_the_memory_of_clients_takes_the_largest_at_once() {
    let server = Ours::start(&[]).unwrap();
    let mut main = named(&server, "main");
    main.call(&["CLIENT", "NO-EVICT", "on"]).expect("a reply");
    let mut senders = Vec::new();
    for (name, bytes) in [("small", 100_000), ("large", 400_000), ("middle", 200_000)] {
        let mut sender = named(&server, name);
        sender.send(format!("*2\r\n${bytes}\r\n{}", "v".repeat(bytes)).as_bytes());
        until(&mut main, name, "qbuf", |arrived| arrived == Some(bytes as u64));
        senders.push(sender);
    }
    let limit = ["CONFIG", "SET", "maxmemory-clients", "350000"];
    assert_eq!(main.call(&limit).expect("a reply"), Reply::Status(b"OK".into()));
    assert_eq!(field(&mut main, "large", "qbuf"), None);
    assert_eq!(field(&mut main, "middle", "qbuf"), Some(200_000));
    let limit = ["CONFIG", "SET", "maxmemory-clients", "150000"];
    assert_eq!(main.call(&limit).expect("a reply"), Reply::Status(b"OK".into()));
    assert_eq!(field(&mut main, "middle", "qbuf"), None);
    assert_eq!(field(&mut main, "small", "qbuf"), Some(100_000));
}

#[test]
fn who_was_cut_off_while_waiting_is_given_nothing() {
    let server = Ours::start(&[]).unwrap();
    let mut main = named(&server, "main");
    main.call(&["CLIENT", "NO-EVICT", "on"]).expect("a reply");
    let mut waiter = named(&server, "waiter");
    waiter.send(&request(&["BLPOP", "q", "0"]));
    waiter.send(&request(&["SET", "k", &"v".repeat(200_000)]));
    until(&mut main, "waiter", "qbuf", |bytes| bytes > Some(200_000));
    let words = "MULTI\r\nCONFIG SET maxmemory-clients 100000\r\nRPUSH q x\r\nLLEN q\r\nEXEC\r\n";
    main.send(words.as_bytes());
    for _ in 0..4 {
        main.wait(PATIENCE).unwrap();
    }
    let ran = main.wait(PATIENCE).unwrap();
    let ok = Reply::Status(b"OK".into());
    assert_eq!(ran, Some(Reply::Array(vec![ok, Reply::Int(1), Reply::Int(1)])));
    assert_eq!(main.call(&["LLEN", "q"]).expect("a length"), Reply::Int(1));
    assert_eq!(waiter.wait(PATIENCE).unwrap(), Some(Reply::Closed));
}

#[test]
fn an_announced_argument_counts_and_is_not_reserved() {
    let server = Ours::start(&[]).unwrap();
    let mut main = named(&server, "main");
    main.call(&["CLIENT", "NO-EVICT", "on"]).expect("a reply");
    let mut sender = named(&server, "sender");
    sender.send(b"*2\r\n$3\r\nGET\r\n$400000000\r\nx");
    until(&mut main, "sender", "tot-mem", |bytes| bytes > Some(400_000_000));
    assert_eq!(field(&mut main, "sender", "qbuf"), Some(1));
    assert!(server.handle().shared().lock().clients.iter().all(|one| one.memory_bytes() < 99_999));
    main.call(&["CONFIG", "SET", "maxmemory-clients", "300mb"]).expect("a reply");
    sender.send(b"x");
    assert_eq!(sender.wait(PATIENCE).unwrap(), Some(Reply::Closed));
}

#[test]
fn strangers_who_do_not_read_are_cut_off() {
    let server = Ours::start(&[("requirepass", "secret")]).unwrap();
    let mut reader = Wire::connect(server.addr()).expect("connected");
    reader.send(&b"PING\r\n".repeat(400));
    for _ in 0..400 {
        let reply = reader.wait(PATIENCE).unwrap();
        assert!(matches!(reply, Some(Reply::Error(text)) if text.starts_with(b"NOAUTH")));
    }
    let mut stranger = Wire::connect(server.addr()).expect("connected");
    stranger.send(&b"PING\r\n".repeat(600));
    assert_eq!(stranger.wait(PATIENCE).unwrap(), Some(Reply::Closed));
}

#[test]
fn a_transaction_counts_as_still_being_read() {
    let server = Ours::start(&[("client-query-buffer-limit", "1mb")]).unwrap();
    let mut sender = named(&server, "sender");
    sender.call(&["MULTI"]).expect("a reply");
    let value = "v".repeat(1000);
    let queued = (0..2000).take_while(|_| {
        sender.call(&["SET", "k", &value]).is_ok_and(|reply| reply != Reply::Closed)
    });
    let queued = queued.count();
    assert!((1040..1050).contains(&queued), "{queued}");
}

#[test]
fn subscriptions_and_prefixes_count_for_the_memory_of_clients() {
    let server = Ours::start(&[]).unwrap();
    let mut main = named(&server, "main");
    let mut listener = named(&server, "listener");
    let before = field(&mut main, "listener", "tot-mem").expect("a figure");
    let channels: Vec<String> = (0..100).map(|number| format!("channel:{number}")).collect();
    let mut words = vec!["SUBSCRIBE"];
    words.extend(channels.iter().map(String::as_str));
    listener.call(&words).expect("a reply");
    let after = field(&mut main, "listener", "tot-mem").expect("a figure");
    assert!(after > before + 100 * 10, "{before} {after}");
    words[0] = "UNSUBSCRIBE";
    listener.send(&request(&words));
    until(&mut main, "listener", "tot-mem", |bytes| bytes == Some(before));
    let mut tracker = named(&server, "tracker");
    let before = field(&mut main, "tracker", "tot-mem").expect("a figure");
    tracker.call(&["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "abc"]).expect("a reply");
    assert!(field(&mut main, "tracker", "tot-mem").expect("a figure") > before);
    tracker.call(&["CLIENT", "TRACKING", "OFF"]).expect("a reply");
    assert_eq!(field(&mut main, "tracker", "tot-mem"), Some(before));
}

#[test]
fn timeout_ends_who_is_idle_and_spares_who_monitors() {
    let server = Ours::start(&[("timeout", "1")]).unwrap();
    let clock = server.handle().clock().clone();
    clock.freeze();
    let (mut monitor, mut idle) = (named(&server, "monitor"), named(&server, "idle"));
    monitor.call(&["MONITOR"]).expect("a reply");
    clock.advance(Duration::from_secs(5));
    assert_eq!(idle.wait(PATIENCE).expect("an end"), Some(Reply::Closed));
    let mut other = Wire::connect(server.addr()).expect("connected");
    other.call(&["ECHO", "still here"]).expect("a reply");
    let Ok(Some(Reply::Status(line))) = monitor.wait(PATIENCE) else { panic!("not shown") };
    assert!(String::from_utf8_lossy(&line).ends_with("\"ECHO\" \"still here\""));
}

/// The flags of a client in CLIENT LIST, and bytes of requests that do not run; none when it is
/// gone.
fn flags(main: &mut Wire, name: &str) -> Option<(String, u64)> {
    let Ok(Reply::Bulk(list)) = main.call(&["CLIENT", "LIST"]) else { panic!("CLIENT LIST") };
    let list = String::from_utf8(list).unwrap();
    let line = list.lines().find(|line| line.contains(&format!(" name={name} ")))?;
    let flags = line.split(' ').find_map(|word| word.strip_prefix("flags="))?.to_string();
    Some((flags, field(main, name, "qbuf")?))
}

/// Redis: who goes when the last reply has left stays when CLIENT REPLY has kept it back.
#[test]
fn who_is_told_nothing_before_the_end_stays_and_is_not_heard() {
    let server = Ours::start(&[]).unwrap();
    let mut main = named(&server, "main");
    let ends = ["QUIT\r\n", "*a\r\n", "CLIENT KILL TYPE normal SKIPME no\r\n"];
    for (number, end) in ends.iter().enumerate() {
        for mode in ["OFF", "SKIP"] {
            if *end == ends[2] {
                main = named(&server, "main");
            }
            let name = format!("silent-{mode}-{number}");
            let mut silent = named(&server, &name);
            silent.send(format!("CLIENT REPLY {mode}\r\n{end}").as_bytes());
            if *end == ends[2] {
                assert_eq!(main.wait(PATIENCE).unwrap(), Some(Reply::Closed));
                main = named(&server, "main");
            }
            let unheard = if *end == ends[1] { end.len() } else { 0 };
            until(&mut main, &name, "qbuf", |bytes| bytes == Some(unheard as u64));
            let patience = Instant::now() + PATIENCE;
            while flags(&mut main, &name) != Some(("c".into(), unheard as u64)) {
                assert!(Instant::now() < patience, "{end:?}: {:?}", flags(&mut main, &name));
            }
            let words = "CLIENT REPLY ON\r\nPING\r\n";
            silent.send(words.as_bytes());
            let unheard = (unheard + words.len()) as u64;
            until(&mut main, &name, "qbuf", |bytes| bytes == Some(unheard));
            assert_eq!(silent.wait(Duration::ZERO).unwrap(), None);
            match number {
                0 => drop(silent),
                _ => drop(main.call(&["CLIENT", "KILL", "TYPE", "normal"])),
            }
            until(&mut main, &name, "qbuf", |bytes| bytes.is_none());
        }
    }
}

#[test]
fn who_is_not_heard_and_goes_on_does_not_keep_his_place() {
    use std::io::Write;
    let server = Ours::start(&[]).unwrap();
    let mut main = named(&server, "main");
    // Much more than is kept of anybody who waits, and then the end.
    let mut socket = std::net::TcpStream::connect(server.addr()).expect("connected");
    socket.write_all(b"CLIENT SETNAME deaf\r\nCLIENT REPLY OFF\r\nQUIT\r\n").expect("sent");
    let _ = socket.write_all(&vec![b'x'; 8 << 20]);
    drop(socket);
    until(&mut main, "deaf", "qbuf", |bytes| bytes.is_none());
}

#[test]
fn what_was_said_before_the_silence_still_leaves_and_the_connection_with_it() {
    let server = Ours::start(&[]).unwrap();
    let mut wire = named(&server, "leaves");
    wire.send(b"PING\r\nCLIENT REPLY OFF\r\nQUIT\r\n");
    assert_eq!(wire.wait(PATIENCE).unwrap(), Some(Reply::Status(b"PONG".into())));
    assert_eq!(wire.wait(PATIENCE).unwrap(), Some(Reply::Closed));
}

/// A part of a request is a sign of life.
#[test]
fn who_sends_slowly_is_not_idle() {
    let server = Ours::start(&[("timeout", "5")]).unwrap();
    let clock = server.handle().clock().clone();
    clock.freeze();
    let mut sender = named(&server, "sender");
    let mut idle = named(&server, "idle");
    let mut main = named(&server, "main");
    let raw_bytes = [1, 2, 3, 0, 1, 2, 3, 0, 1, 2];
    for (raw, byte) in raw_bytes.into_iter().zip(b"*1\r\n$4\r\nPI") {
        main.call(&["PING"]).expect("a reply");
        sender.send(&[*byte]);
        until(&mut main, "sender", "qbuf", |bytes| bytes == Some(raw));
        clock.advance(Duration::from_secs(2));
    }
    assert_eq!(idle.wait(PATIENCE).unwrap(), Some(Reply::Closed));
    sender.send(b"NG\r\n");
    assert_eq!(sender.wait(PATIENCE).unwrap(), Some(Reply::Status(b"PONG".into())));
}
