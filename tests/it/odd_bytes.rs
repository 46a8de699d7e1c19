//! Bytes that are no text, in every position of every command: they come back as they were given.
//!
//! Each reply that shows them must be that of a genuine server, byte for byte; without one no reply
//! may show that they were taken for text.

use std::io;
use std::time::Instant;

use crate::patience::PATIENCE;
use crate::server::{Genuine, Ours};
use crate::session::run::Server;
use crate::wire::{request, Reply, Wire};

/// No text in any encoding that a program might guess.
const ODD: &[u8] = b"\xff\xfe";
/// What a decoder of text puts in their place.
const REPLACED: &[u8] = "\u{fffd}".as_bytes();

/// They end the server, the connection or the run, or reach beyond the server.
const NOT_ASKED: &[&str] = &[
    "bgrewriteaof",
    "bgsave",
    "debug",
    "failover",
    "lolwut",
    "migrate",
    "monitor",
    "psync",
    "quit",
    "replconf",
    "replicaof",
    "restore-asking",
    "save",
    "shutdown",
    "slaveof",
    "sync",
];

/// Name, subcommand if it is one, and the least number of words behind them.
struct Asked {
    words: Vec<Vec<u8>>,
    least: usize,
}

fn asked(wire: &mut Wire) -> Vec<Asked> {
    let Ok(Reply::Array(rows)) = wire.call(&["COMMAND"]) else { panic!("COMMAND") };
    let mut all = Vec::new();
    for row in rows {
        let Reply::Array(row) = row else { panic!("a row") };
        let [Reply::Bulk(name), Reply::Int(arity), .., Reply::Array(subs)] = &row[..] else {
            panic!("{row:?}")
        };
        if NOT_ASKED.iter().any(|one| one.as_bytes() == &name[..]) {
            continue;
        }
        let least = arity.unsigned_abs() as usize - 1;
        all.push(Asked { words: vec![name.clone()], least });
        for sub in subs {
            let Reply::Array(sub) = sub else { panic!("a row") };
            let [Reply::Bulk(full), Reply::Int(arity), ..] = &sub[..] else { panic!("{sub:?}") };
            let own = full.rsplit(|byte| *byte == b'|').next().unwrap_or_default().to_vec();
            let least = (arity.unsigned_abs() as usize).saturating_sub(2);
            all.push(Asked { words: vec![name.clone(), own], least });
        }
    }
    all
}

/// Requests with the odd bytes in each of the positions behind the name.
fn requests(asked: &Asked) -> Vec<Vec<Vec<u8>>> {
    // None of them waits for long where it is taken for a time.
    let fillers: [[&str; 2]; 3] = [["k", "0.001"], ["0.001", "k"], ["1", "1"]];
    let waits = asked.words[0].starts_with(b"b") || asked.words[0].starts_with(b"w");
    let mut all = Vec::new();
    for [first, rest] in &fillers[..if waits { 2 } else { 3 }] {
        for len in 1..=asked.least.min(6) + 2 {
            for at in 0..len {
                let filler = |place| if place == 0 { first } else { rest }.as_bytes().to_vec();
                let mut words = asked.words.clone();
                words.extend((0..len).map(filler));
                words[asked.words.len() + at] = ODD.to_vec();
                all.push(words);
            }
        }
    }
    all
}

/// Every string of a reply.
fn strings<'r>(reply: &'r Reply, all: &mut Vec<&'r [u8]>) {
    match reply {
        Reply::Status(text) | Reply::Error(text) | Reply::Bulk(text) => all.push(text),
        Reply::Array(items) | Reply::Push(items) | Reply::Set(items) => {
            items.iter().for_each(|item| strings(item, all));
        }
        _ => {}
    }
}

fn has(reply: &Reply, bytes: &[u8]) -> bool {
    let mut all = Vec::new();
    strings(reply, &mut all);
    all.iter().any(|text| text.windows(bytes.len()).any(|window| window == bytes))
}

/// The replies to one command's requests. Each starts with an empty server.
fn replies(server: &mut impl Server, requests: &[Vec<Vec<u8>>]) -> io::Result<Vec<Reply>> {
    let mut wire = Wire::connect(server.addr())?;
    let mut all = Vec::new();
    for request in requests {
        let words: Vec<&[u8]> = request.iter().map(Vec::as_slice).collect();
        wire.call(&["FLUSHALL"])?;
        all.push(wire.call(&words)?);
        // What it did to the connection, and to how that is answered, ends with it.
        wire = Wire::connect(server.addr())?;
        wire.call(&["CLIENT", "UNPAUSE"])?;
    }
    Ok(all)
}

#[test]
fn bytes_that_are_no_text_come_back_as_they_were() {
    let mut ours = Ours::start(&[]).unwrap();
    let mut genuine =
        Genuine::command_line().map(|line| Genuine::start(&line, &[]).expect("it starts"));
    if genuine.is_none() {
        eprintln!("not compared: REDIS_SERVER names no genuine server");
    }
    let mut differ = Vec::new();
    for asked in asked(&mut Wire::connect(ours.addr()).unwrap()) {
        let requests = requests(&asked);
        let of_ours = replies(&mut ours, &requests).unwrap();
        let of_theirs = match &mut genuine {
            Some(genuine) => replies(genuine, &requests).unwrap(),
            None => Vec::new(),
        };
        for (at, (request, reply)) in requests.iter().zip(&of_ours).enumerate() {
            let shown = request.join(&b' ').escape_ascii().to_string();
            assert!(!has(reply, REPLACED), "{shown}: {reply:?}");
            let theirs = of_theirs.get(at).filter(|theirs| has(theirs, ODD));
            // Each has commands that the other has not.
            let is_known = |reply: &Reply| !has(reply, b"ERR unknown command '");
            if theirs.is_some_and(|theirs| is_known(theirs) && theirs != reply) {
                differ.push(format!("{shown}\n ours {reply:?}\n theirs {theirs:?}"));
            }
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

/// What INFO says of replication, as soon as it has these bytes.
fn replication_with(wire: &mut Wire, bytes: &[u8]) {
    let until = Instant::now() + PATIENCE;
    loop {
        let info = wire.call(&["INFO", "replication"]).unwrap();
        if has(&info, bytes) {
            return;
        }
        assert!(Instant::now() < until, "{} is not in {info:?}", bytes.escape_ascii());
    }
}

fn names_hosts_as_they_are(server: &mut impl Server) {
    let mut wire = Wire::connect(server.addr()).unwrap();
    let ok = Reply::Status(b"OK".to_vec());
    assert_eq!(wire.call(&[&b"REPLICAOF"[..], ODD, b"1"]).unwrap(), ok);
    replication_with(&mut wire, b"master_host:\xff\xfe\r\n");
    assert!(has(&wire.call(&["ROLE"]).unwrap(), ODD));
    assert!(has(&wire.call(&["CONFIG", "GET", "replicaof"]).unwrap(), b"\xff\xfe 1"));
    assert_eq!(wire.call(&["REPLICAOF", "NO", "ONE"]).unwrap(), ok);
    let mut replica = Wire::connect(server.addr()).unwrap();
    let introduction: [&[u8]; 3] = [b"REPLCONF", b"ip-address", ODD];
    assert_eq!(replica.call(&introduction).unwrap(), ok);
    replica.send(&request(&["PSYNC", "?", "-1"]));
    replication_with(&mut wire, b"slave0:ip=\xff\xfe,");
}

#[test]
fn hosts_that_are_no_text_are_named_as_they_were_given() {
    names_hosts_as_they_are(&mut Ours::start(&[]).unwrap());
    if let Some(line) = Genuine::command_line() {
        names_hosts_as_they_are(&mut Genuine::start(&line, &[]).expect("it starts"));
    }
}
