//! Values travel between ours and a genuine server, as payloads and by MIGRATE, and stay what
//! they are.

use crate::server::{Genuine, Ours};
use crate::session::run::Server;
use crate::wire::{Reply, Wire};
use std::net::SocketAddr;

type Words = Vec<Vec<u8>>;

fn words(text: &str) -> Words {
    text.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

fn numbered(start: &str, count: usize, each: impl Fn(usize) -> String) -> Words {
    let mut all = words(start);
    (0..count).for_each(|number| all.extend(words(&each(number))));
    all
}

/// Commands that make a key of every type in every encoding.
fn dataset() -> Vec<Words> {
    let mut commands: Vec<Words> =
        ["SET int 12345", "SET long -4611686018427387904", "SET text hello"].map(words).into();
    commands.push(vec![b"SET".to_vec(), b"packable".to_vec(), b"abc".repeat(3000)]);
    commands.push(vec![b"SET".to_vec(), b"bytes".to_vec(), (0..=255).collect()]);
    for count in [3, 600, 5000] {
        commands.push(numbered(&format!("RPUSH list{count}"), count, |n| format!("e{n}")));
        commands.push(numbered(&format!("SADD ints{count}"), count, |n| n.to_string()));
        commands.push(numbered(&format!("SADD set{count}"), count, |n| format!("m{n}")));
        let scored = |n| format!("{} m{n}", n as i64 * 7 % 31);
        commands.push(numbered(&format!("ZADD zset{count}"), count, scored));
        commands.push(numbered(&format!("HSET hash{count}"), count, |n| format!("f{n} v{n}")));
    }
    commands.push(vec![b"RPUSH".to_vec(), b"wide".to_vec(), b"x".repeat(20_000), b"y".to_vec()]);
    commands.extend((1..300).map(|n| words(&format!("XADD stream {}-{n} name v{n}", 100 + n / 3))));
    commands.extend(
        [
            "XDEL stream 100-1",
            "XGROUP CREATE stream group 0",
            "XREADGROUP GROUP group alice COUNT 30 STREAMS stream >",
            "XREADGROUP GROUP group bob COUNT 5 STREAMS stream >",
            "XACK stream group 100-2",
            "PFADD hll a b c d",
            "SET dying v PX 100000000",
        ]
        .map(words),
    );
    commands
}

struct Side {
    wire: Wire,
    addr: SocketAddr,
}

impl Side {
    fn call(&mut self, words: &[Vec<u8>]) -> Reply {
        self.wire.call(words).expect("it answers")
    }

    fn ask(&mut self, text: &str) -> Reply {
        self.call(&words(text))
    }

    fn keys(&mut self) -> Vec<Vec<u8>> {
        match self.ask("KEYS *") {
            Reply::Array(keys) => keys
                .into_iter()
                .filter_map(|key| if let Reply::Bulk(key) = key { Some(key) } else { None })
                .collect(),
            other => panic!("{other:?}"),
        }
    }
}

/// Both servers, the dataset in ours; none without a genuine one.
fn sides() -> Option<(Ours, Genuine, Side, Side)> {
    let Some(command_line) = Genuine::command_line() else {
        println!("skipped: REDIS_SERVER names no genuine server");
        return None;
    };
    let theirs = Genuine::start(&command_line, &[]).expect("it starts");
    let ours = Ours::start(&[]).expect("it starts");
    let side = |addr| Side { wire: Wire::connect(addr).expect("it listens"), addr };
    let (mut one, other) = (side(ours.addr()), side(theirs.addr()));
    for command in dataset() {
        let reply = one.call(&command);
        assert!(!matches!(reply, Reply::Error(_)), "{reply:?}");
    }
    Some((ours, theirs, one, other))
}

#[test]
fn payloads_travel_to_a_genuine_server_and_back() {
    let Some((_ours, _theirs, mut ours, mut theirs)) = sides() else { return };
    let keys = ours.keys();
    assert!(keys.len() > 20);
    for key in keys {
        let name = String::from_utf8_lossy(&key).into_owned();
        let digest = [b"DEBUG".to_vec(), b"DIGEST-VALUE".to_vec(), key.clone()];
        let before = ours.call(&digest);
        for (from, to) in [(true, false), (false, true)] {
            let (from, to) = match (from, to) {
                (true, _) => (&mut ours, &mut theirs),
                _ => (&mut theirs, &mut ours),
            };
            let dump = from.call(&[b"DUMP".to_vec(), key.clone()]);
            let Reply::Bulk(payload) = dump else { panic!("{name}: {dump:?}") };
            let Reply::Int(ttl) = from.call(&[b"PTTL".to_vec(), key.clone()]) else { panic!() };
            let ttl = ttl.max(0).to_string().into_bytes();
            let restore = [b"RESTORE".to_vec(), key.clone(), ttl, payload, b"REPLACE".to_vec()];
            assert_eq!(to.call(&restore), Reply::Status(b"OK".to_vec()), "{name}");
            assert_eq!(to.call(&digest), before, "{name}");
        }
    }
}

#[test]
fn migrate_moves_everything_to_a_genuine_server_and_back() {
    let Some((_ours, _theirs, mut ours, mut theirs)) = sides() else { return };
    let before = ours.ask("DEBUG DIGEST");
    for forth in [true, false] {
        let (from, to) = if forth { (&mut ours, &mut theirs) } else { (&mut theirs, &mut ours) };
        let keys = from.keys();
        let (host, port) = (to.addr.ip().to_string(), to.addr.port());
        let mut migrate = words(&format!("MIGRATE {host} {port}  0 60000 KEYS"));
        migrate.extend(keys.clone());
        assert_eq!(from.call(&migrate), Reply::Status(b"OK".to_vec()));
        assert_eq!(from.ask("DBSIZE"), Reply::Int(0));
        assert_eq!(to.ask("DBSIZE"), Reply::Int(keys.len() as i64));
        assert_eq!(to.ask("DEBUG DIGEST"), before);
    }
}
