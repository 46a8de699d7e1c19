//! What stream commands write to the log: the forms that a genuine server sends to its replicas,
//! and that replaying them leads to the same streams.

use crate::command::{Args, Run};
use crate::commands::table;
use crate::keyspace::db::Db;
use crate::keyspace::effects::listener;
use crate::keyspace::value::Stream;
use crate::resp::out::Out;
use crate::resp::replies::Replies;
use crate::types::limits::Limits;
use crate::types::stream::StreamId;
use rand::{rngs::SmallRng, Rng, SeedableRng};

fn empty_db() -> Db {
    let limits = Limits { stream_node_max_entries: 4, ..Limits::default() };
    let mut db = Db::new(1, limits, 1);
    db.effects.listeners = listener::LOG;
    db.set_now_ms(1_000_000);
    db
}

/// Runs one command; gives what it writes to the log, its own words if it states no other form.
fn run(db: &mut Db, line: &str) -> Vec<String> {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    let spec = table().find(&words).ok().expect("a known command");
    let mut args = Args::new(&words, spec.name_words(), &spec.name);
    let (mut reply, before) = (Replies::default(), db.effects.dirty);
    let out = Out::new(&mut reply, false);
    match spec.row.run {
        Run::Write(write) => drop(write(db, &mut args, out)),
        Run::Wait(wait) => drop(wait(db, &mut args, out)),
        _ => panic!("{line} does not write"),
    }
    let records = std::mem::take(&mut db.effects.records);
    let stated = std::mem::take(&mut db.effects.form_stated);
    if db.effects.dirty == before {
        assert!(records.is_empty(), "{line} logs {records:?} without a change");
    } else if !stated {
        return vec![line.to_string()];
    }
    let text = |argv: Vec<Vec<u8>>| String::from_utf8_lossy(&argv.join(&b' ')).into_owned();
    records.words().into_iter().map(text).collect()
}

/// What a genuine server makes of an approximate trim keeps its LIMIT.
#[test]
fn an_exact_trim_with_a_limit_is_obeyed() {
    let mut db = empty_db();
    for number in 1..=9 {
        run(&mut db, &format!("XADD s {number}-0 f v"));
    }
    let len = |db: &Db| db.get::<Stream>(b"s").expect("a stream").map_or(0, Stream::len);
    run(&mut db, "XADD s MAXLEN = 2 LIMIT 3 10-0 f v");
    assert_eq!(len(&db), 9, "a client may not say so");
    db.obeys = true;
    run(&mut db, "XADD s MAXLEN = 2 LIMIT 3 10-0 f v");
    assert_eq!(len(&db), 2);
    run(&mut db, "XTRIM s MINID = 10 LIMIT 1");
    assert_eq!(len(&db), 1);
}

#[test]
fn forms_of_the_genuine_server() {
    let mut db = empty_db();
    // Redis keeps a LIMIT in front of replicas, which ignore it; ours leaves it out.
    for (line, forms) in [
        ("XADD s 1-1 a 1", "XADD s 1-1 a 1"),
        ("XADD s 2-* a 1", "XADD s 2-0 a 1"),
        ("XADD s MAXLEN ~ 3 LIMIT 5 3-1 a 1", "XADD s MAXLEN = 3 3-1 a 1"),
        ("XADD s MINID ~ 2 4-1 a 1", "XADD s MINID = 1-1 4-1 a 1"),
        ("XADD s MAXLEN = 9 5-* a 1", "XADD s MAXLEN = 9 5-0 a 1"),
        ("XADD s NOMKSTREAM MAXLEN ~ 4 6-1 a 1", "XADD s NOMKSTREAM MAXLEN = 6 6-1 a 1"),
        ("XTRIM s MAXLEN ~ 2 LIMIT 100", "XTRIM s MAXLEN = 2"),
        ("XTRIM s MINID ~ 9", "XTRIM s MINID = 18446744073709551615-18446744073709551615"),
        ("XTRIM s MAXLEN 0", ""),
        ("XADD s 7-1 a 1", "XADD s 7-1 a 1"),
        ("XADD s 8-1 a 1", "XADD s 8-1 a 1"),
        ("XADD s 9-1 a 1", "XADD s 9-1 a 1"),
        ("XGROUP CREATE s g 0", "XGROUP CREATE s g 0"),
        (
            "XREADGROUP GROUP g c COUNT 1 STREAMS s >",
            "XCLAIM s g c 0 7-1 TIME 1000000 RETRYCOUNT 1 FORCE JUSTID LASTID 7-1\n\
             XGROUP SETID s g 7-1 ENTRIESREAD 7",
        ),
        (
            "XREADGROUP GROUP g d NOACK COUNT 1 STREAMS s >",
            "XGROUP CREATECONSUMER s g d\nXGROUP SETID s g 8-1 ENTRIESREAD 8",
        ),
        ("XREADGROUP GROUP g e STREAMS s 0", ""),
        ("XREADGROUP GROUP g c STREAMS s 0", ""),
        (
            "XCLAIM s g d 0 7-1",
            "XCLAIM s g d 0 7-1 TIME 1000000 RETRYCOUNT 3 FORCE JUSTID LASTID 8-1",
        ),
        (
            "XCLAIM s g d 0 7-1 JUSTID TIME 1000 RETRYCOUNT 5",
            "XCLAIM s g d 0 7-1 TIME 1000 RETRYCOUNT 5 FORCE JUSTID LASTID 8-1",
        ),
        ("XCLAIM s g f 0 99-1", ""),
        ("XCLAIM s g d 0 99-1 LASTID 10-0", "XGROUP SETID s g 10-0 ENTRIESREAD 8"),
        (
            "XAUTOCLAIM s g c 0 0",
            "XCLAIM s g c 0 7-1 TIME 1000000 RETRYCOUNT 6 FORCE JUSTID LASTID 10-0",
        ),
        ("XDEL s 7-1", "XDEL s 7-1"),
        (
            "XAUTOCLAIM s g c 0 0",
            "XCLAIM s g c 0 7-1 TIME 1000000 RETRYCOUNT 6 FORCE JUSTID LASTID 10-0",
        ),
        ("XACK s g 7-1", ""),
        ("XADD s 20-1 a 1", "XADD s 20-1 a 1"),
        (
            "XREADGROUP GROUP g c STREAMS s >",
            "XCLAIM s g c 0 20-1 TIME 1000000 RETRYCOUNT 1 FORCE JUSTID LASTID 20-1\n\
             XGROUP SETID s g 20-1 ENTRIESREAD 9",
        ),
        ("XACK s g 20-1 1-1", "XACK s g 20-1 1-1"),
        ("XREADGROUP GROUP g zz STREAMS s >", ""),
        ("XGROUP CREATECONSUMER s g q", "XGROUP CREATECONSUMER s g q"),
        ("XGROUP DELCONSUMER s g q", "XGROUP DELCONSUMER s g q"),
        ("XGROUP DELCONSUMER s g q", ""),
        ("XGROUP SETID s g $", "XGROUP SETID s g $"),
        ("XSETID s 30-1", "XSETID s 30-1"),
        ("XGROUP DESTROY s g", "XGROUP DESTROY s g"),
        ("XADD s MAXLEN ~ 100 40-1 a 1", "XADD s MAXLEN = 4 40-1 a 1"),
    ] {
        assert_eq!(run(&mut db, line).join("\n"), forms, "{line}");
    }
}

/// All of a stream that the log carries: consumers that never had anything are not in it.
fn portrait(db: &Db) -> String {
    let Ok(Some(stream)) = db.peek::<Stream>(b"s") else { return String::new() };
    stream.check();
    let mut text = format!("{:?} {}\n", stream.last_id(), stream.entries_added());
    for entry in stream.range(StreamId::MIN, StreamId::MAX) {
        let fields: Vec<_> = entry.fields().map(|(field, value)| (field.to_vec(), value)).collect();
        text.push_str(&format!("{:?} {fields:?}\n", entry.id));
    }
    for group in stream.groups() {
        text.push_str(&format!("{:?} {:?}\n", group.last_id, group.entries_read));
        for (id, pending) in group.pending().iter() {
            let owner = group.consumer_name(pending.consumer);
            let (at, count) = (pending.delivered_ms, pending.deliveries);
            text.push_str(&format!("{id:?} {owner:?} {at} {count}\n"));
        }
    }
    text
}

fn random_line(rng: &mut SmallRng, next: &mut u64) -> String {
    let id = format!("{}-0", rng.random_range(0..=*next));
    let group = ["g", "h"][rng.random_range(0..2)];
    let consumer = ["c", "d", "e"][rng.random_range(0..3)];
    let approximately = ["", "~ ", "= "][rng.random_range(0..3)];
    let length = rng.random_range(0..20);
    *next += 1;
    match rng.random_range(0..20) {
        0..=6 => format!("XADD s {next}-0 f {id}"),
        7 => format!("XADD s MAXLEN {approximately}{length} {next}-* f v"),
        8 => format!("XADD s MINID {approximately}{id} {next}-* f v"),
        9 => format!("XTRIM s MAXLEN {approximately}{length}"),
        10 => format!("XTRIM s MINID {approximately}{id}"),
        11 => format!("XDEL s {id}"),
        12 => format!("XGROUP CREATE s {group} $ MKSTREAM"),
        13 => format!("XREADGROUP GROUP {group} {consumer} COUNT 3 STREAMS s >"),
        14 => format!("XREADGROUP GROUP {group} {consumer} NOACK COUNT 2 STREAMS s >"),
        15 => format!("XACK s {group} {id}"),
        16 => format!("XCLAIM s {group} {consumer} 0 {id} FORCE"),
        17 => format!("XCLAIM s {group} {consumer} 0 {id} IDLE 500 LASTID {id}"),
        18 => format!("XAUTOCLAIM s {group} {consumer} 0 - COUNT 2"),
        _ if length == 0 => format!("XGROUP DELCONSUMER s {group} {consumer}"),
        _ if length == 1 => format!("XGROUP DESTROY s {group}"),
        _ if length == 2 => format!("XGROUP SETID s {group} {id}"),
        _ => format!("XSETID s {next}-0"),
    }
}

#[test]
fn a_replayed_log_leads_to_the_same_streams() {
    for seed in 0..20 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let (mut ours, mut replica, mut next) = (empty_db(), empty_db(), 0);
        for step in 0..600 {
            ours.set_now_ms(1_000_000 + step);
            replica.set_now_ms(2_000_000);
            let line = random_line(&mut rng, &mut next);
            for record in run(&mut ours, &line) {
                run(&mut replica, &record);
            }
            assert_eq!(portrait(&ours), portrait(&replica), "after {line}");
        }
    }
}
