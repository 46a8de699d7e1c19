//! Strings that a snapshot hands out in parts: files hold them as they were when the snapshot
//! began, whatever is done to them meanwhile.

use crate::process::Folder;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use redouble::resp::reader::Value;
use redouble::Server;

const KEYS: usize = 6;
const LENGTH: usize = 1_500_000;

fn start(folder: &Folder, directives: &[(&str, &str)]) -> Server {
    let dir = folder.0.display().to_string();
    let builder = Server::builder().config("dir", &dir).config("enable-debug-command", "yes");
    let builder = directives.iter().fold(builder, |b, (name, value)| b.config(name, value));
    builder.without_tcp().start().expect("it starts")
}

fn run(server: &Server, words: &[&[u8]]) -> Value {
    let reply = server.command(words);
    assert!(!matches!(reply, Value::Error(_)), "{reply:?}");
    reply
}

fn digest(server: &Server) -> Value {
    run(server, &[b"DEBUG", b"DIGEST"])
}

fn info(server: &Server, field: &str) -> String {
    let Value::Verbatim(_, text) = run(server, &[b"INFO", b"persistence"]) else {
        panic!("no text");
    };
    let text = String::from_utf8_lossy(&text).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_default().to_string()
}

fn name(rng: &mut SmallRng) -> Vec<u8> {
    format!("key:{}", rng.random_range(0..KEYS)).into_bytes()
}

/// Text that packs well, or bytes that do not.
fn long(rng: &mut SmallRng) -> Vec<u8> {
    let mut text = b"a line that comes again and again\n".repeat(LENGTH / 34);
    if rng.random_bool(0.4) {
        rng.fill(&mut text[..]);
    } else if rng.random_bool(0.3) {
        rng.fill(&mut text[LENGTH / 4..LENGTH / 2]);
    }
    text
}

/// Whatever writes to a string, replaces it, takes it away or carries it elsewhere.
fn change(server: &Server, rng: &mut SmallRng) {
    let (key, other) = (name(rng), name(rng));
    let place = rng.random_range(0..LENGTH).to_string().into_bytes();
    let bit = rng.random_range(0..LENGTH * 8).to_string().into_bytes();
    match rng.random_range(0..100) {
        0..25 => run(server, &[b"APPEND", &key, b"some more"]),
        25..50 => run(server, &[b"SETRANGE", &key, &place, b"other"]),
        50..60 => run(server, &[b"SETBIT", &key, &bit, b"1"]),
        60..70 => run(server, &[b"BITFIELD", &key, b"INCRBY", b"u16", &bit, b"7"]),
        70..74 if key != other => run(server, &[b"COPY", &key, &other, b"REPLACE"]),
        74..77 => run(server, &[b"GETDEL", &key]),
        77..80 => run(server, &[b"DEL", &key]),
        80..83 => run(server, &[b"PEXPIRE", &key, b"100000"]),
        83..87 => match run(server, &[b"EXISTS", &key]) {
            Value::Int(1) => run(server, &[b"RENAME", &key, &other]),
            _ => run(server, &[b"SET", &key, &long(rng)]),
        },
        87..90 => run(server, &[b"MOVE", &key, b"1"]),
        90..92 => run(server, &[b"SWAPDB", b"0", b"1"]),
        92 => run(server, &[b"FLUSHDB"]),
        93..97 => run(server, &[b"SET", &key, b"short"]),
        _ => run(server, &[b"GETSET", &key, &long(rng)]),
    };
}

fn fill(server: &Server, rng: &mut SmallRng) {
    for number in 0..KEYS {
        let key = format!("key:{number}");
        run(server, &[b"SET", key.as_bytes(), &long(rng)]);
    }
}

/// Changes strings while `field` of INFO says that it goes on; how often.
fn change_while(server: &Server, field: &str, rng: &mut SmallRng) -> usize {
    let mut changes = 0;
    while info(server, field) == "1" {
        (0..10).for_each(|_| change(server, rng));
        changes += 10;
    }
    changes
}

#[test]
fn a_save_holds_them_as_they_were_when_it_began() {
    let mut rng = SmallRng::seed_from_u64(9);
    let mut changes = 0;
    for compression in ["yes", "no"] {
        let folder = Folder::new(&format!("long-strings-{compression}"));
        let server = start(&folder, &[("rdbcompression", compression)]);
        for _ in 0..3 {
            fill(&server, &mut rng);
            let expected = digest(&server);
            run(&server, &[b"BGSAVE"]);
            changes += change_while(&server, "rdb_bgsave_in_progress", &mut rng);
            assert_eq!(info(&server, "rdb_last_bgsave_status"), "ok");
            let loaded = start(&folder, &[]);
            assert_eq!(digest(&loaded), expected);
        }
    }
    assert!(changes > 100, "{changes} changes");
}

#[test]
fn a_rewrite_and_what_came_meanwhile_make_the_data() {
    let mut rng = SmallRng::seed_from_u64(10);
    for as_snapshot in ["yes", "no"] {
        let folder = Folder::new(&format!("long-strings-aof-{as_snapshot}"));
        let directives = [("appendonly", "yes"), ("aof-use-rdb-preamble", as_snapshot)];
        let server = start(&folder, &directives);
        let mut changes = 0;
        for _ in 0..3 {
            fill(&server, &mut rng);
            run(&server, &[b"BGREWRITEAOF"]);
            changes += change_while(&server, "aof_rewrite_in_progress", &mut rng);
        }
        assert_eq!(info(&server, "aof_last_bgrewrite_status"), "ok");
        let expected = digest(&server);
        drop(server);
        assert_eq!(digest(&start(&folder, &directives)), expected, "as snapshot: {as_snapshot}");
        assert!(changes > 50, "{changes} changes");
    }
}
