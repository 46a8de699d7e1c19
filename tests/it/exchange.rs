//! Values travel between ours and a genuine server, as payloads and by MIGRATE, and stay what
//! they are.

use crate::process::Folder;
use crate::server::{copy_files, Genuine, Ours};
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

/// The server in this process, at work on the files in a directory.
fn ours_on(folder: &Folder, directives: &[(&str, &str)]) -> (redouble::Server, Side) {
    let dir = folder.0.display().to_string();
    let builder = redouble::Server::builder().config("enable-debug-command", "yes");
    let builder = builder.config("dir", &dir);
    let builder = directives.iter().fold(builder, |b, (name, value)| b.config(name, value));
    let server = builder.start().expect("it starts");
    let addr = server.addr().expect("it listens");
    (server, Side { wire: Wire::connect(addr).expect("it listens"), addr })
}

/// A genuine server at work on copies of the files in a directory, when it has loaded them.
fn theirs_on(folder: &Folder, directives: &[(&str, &str)]) -> Option<(Genuine, Side)> {
    let command_line = Genuine::command_line()?;
    let named =
        directives.iter().flat_map(|(name, value)| [format!("--{name}"), value.to_string()]);
    let named: Vec<String> = named.collect();
    let named: Vec<&str> = named.iter().map(String::as_str).collect();
    let theirs = Genuine::start_with(&command_line, &named, Some(&folder.0)).expect("it starts");
    let addr = theirs.addr();
    let mut side = Side { wire: Wire::connect(addr).expect("it listens"), addr };
    while matches!(side.ask("PING"), Reply::Error(_)) {
        std::thread::yield_now();
    }
    Some((theirs, side))
}

/// Fills a server: every type in every encoding, two databases, a function.
fn fill(side: &mut Side) {
    for command in dataset() {
        let reply = side.call(&command);
        assert!(!matches!(reply, Reply::Error(_)), "{reply:?}");
    }
    let library = "#!lua name=lib\nredis.register_function('seven', function() return 7 end)";
    side.call(&["FUNCTION".into(), "LOAD".into(), "REPLACE".into(), library.into()]);
    for text in ["SELECT 3", "SET elsewhere v", "PEXPIRE elsewhere 90000000", "SELECT 0"] {
        side.ask(text);
    }
}

/// What two servers must agree on.
fn seen(side: &mut Side) -> [Reply; 3] {
    ["DEBUG DIGEST", "FCALL seven 0", "DBSIZE"].map(|text| side.ask(text))
}

/// Further writes, which stand in the log behind its base.
fn write_more(side: &mut Side, name: &str) {
    for number in 0..50 {
        side.ask(&format!("HSET more:{name} f{number} {number}"));
        side.ask(&format!("ZADD ranked:{name} {number}.5 m{number}"));
        side.ask(&format!("RPUSH list600 {name}{number}"));
    }
    for text in ["SPOP set600", "EXPIRE ints5000 100000", "XADD stream * a b", "DEL list3", "MULTI"]
    {
        side.ask(text);
    }
    for text in ["INCR counted", "INCR counted", "EXEC"] {
        side.ask(text);
    }
}

fn rewritten(side: &mut Side) {
    side.ask("BGREWRITEAOF");
    loop {
        let Reply::Bulk(info) = side.ask("INFO persistence") else { panic!("no text") };
        let info = String::from_utf8_lossy(&info).into_owned();
        if info.contains("aof_rewrite_in_progress:0") && info.contains("aof_rewrite_scheduled:0") {
            assert!(info.contains("aof_last_bgrewrite_status:ok"), "{info}");
            return;
        }
        std::thread::yield_now();
    }
}

#[test]
fn snapshot_files_travel_to_a_genuine_server_and_back() {
    let folder = Folder::new("exchange-rdb");
    let (server, mut ours) = ours_on(&folder, &[]);
    fill(&mut ours);
    let before = seen(&mut ours);
    assert_eq!(ours.ask("SAVE"), Reply::Status(b"OK".to_vec()));
    drop(server);
    let Some((theirs, mut side)) = theirs_on(&folder, &[]) else {
        return println!("skipped: REDIS_SERVER names no genuine server");
    };
    assert_eq!(seen(&mut side), before);
    write_more(&mut side, "theirs");
    let before = seen(&mut side);
    assert_eq!(side.ask("SAVE"), Reply::Status(b"OK".to_vec()));
    let back = Folder::new("exchange-rdb-back");
    copy_files(theirs.files(), &back.0).expect("copied");
    let (_server, mut ours) = ours_on(&back, &[]);
    assert_eq!(seen(&mut ours), before);
}

#[test]
fn append_only_files_travel_to_a_genuine_server_and_back() {
    for preamble in ["yes", "no"] {
        let directives = [
            ("appendonly", "yes"),
            ("appendfsync", "always"),
            ("aof-use-rdb-preamble", preamble),
            ("auto-aof-rewrite-percentage", "0"),
        ];
        let folder = Folder::new(&format!("exchange-aof-{preamble}"));
        let (server, mut ours) = ours_on(&folder, &directives);
        fill(&mut ours);
        rewritten(&mut ours);
        write_more(&mut ours, "ours");
        let before = seen(&mut ours);
        drop(server);
        let Some((theirs, mut side)) = theirs_on(&folder, &directives) else {
            return println!("skipped: REDIS_SERVER names no genuine server");
        };
        assert_eq!(seen(&mut side), before, "preamble {preamble}");
        rewritten(&mut side);
        write_more(&mut side, "theirs");
        let before = seen(&mut side);
        let back = Folder::new(&format!("exchange-aof-back-{preamble}"));
        copy_files(theirs.files(), &back.0).expect("copied");
        let (_server, mut ours) = ours_on(&back, &directives);
        assert_eq!(seen(&mut ours), before, "preamble {preamble}");
    }
}

#[test]
fn field_deadlines_travel_in_files_to_who_knows_them() {
    let folder = Folder::new("exchange-fields");
    let (server, mut ours) = ours_on(&folder, &[]);
    for (key, fields) in [("small", 3), ("large", 700)] {
        ours.call(&numbered(&format!("HSET {key}"), fields, |n| format!("f{n} v{n}")));
        ours.ask(&format!("HPEXPIREAT {key} 99999999999999 FIELDS 2 f0 f2"));
    }
    let questions = [
        "HPEXPIRETIME small FIELDS 3 f0 f1 f2",
        "HPEXPIRETIME large FIELDS 3 f0 f1 f2",
        "HMGET large f0 f1 f699",
        "HLEN large",
    ];
    let before = questions.map(|text| ours.ask(text));
    assert_eq!(ours.ask("SAVE"), Reply::Status(b"OK".to_vec()));
    drop(server);
    let Some(command_line) = Genuine::command_line() else {
        return println!("skipped: REDIS_SERVER names no genuine server");
    };
    let knows = {
        let probe = Genuine::start(&command_line, &[]).expect("it starts");
        let mut wire = Wire::connect(probe.addr()).expect("it listens");
        let reply = wire.call(&["HPEXPIRETIME", "k", "FIELDS", "1", "f"]).expect("it answers");
        !matches!(reply, Reply::Error(_))
    };
    if !knows {
        return println!("skipped: the genuine server knows no deadlines of fields");
    }
    let (theirs, mut side) = theirs_on(&folder, &[]).expect("it starts");
    assert_eq!(questions.map(|text| side.ask(text)), before);
    assert_eq!(side.ask("SAVE"), Reply::Status(b"OK".to_vec()));
    let back = Folder::new("exchange-fields-back");
    copy_files(theirs.files(), &back.0).expect("copied");
    let (_server, mut ours) = ours_on(&back, &[]);
    assert_eq!(questions.map(|text| ours.ask(text)), before);
}

#[test]
fn migrate_logs_in_as_it_is_told() {
    let Some((_ours, _theirs, mut ours, mut theirs)) = sides() else { return };
    for side in [&mut ours, &mut theirs] {
        side.ask("FLUSHALL");
        side.ask("ACL SETUSER alice on >secret ~* +@all");
        side.ask("ACL SETUSER bob on >b ~other:* +restore +select +ping");
        side.ask("CONFIG SET requirepass pw");
    }
    let mut replies = Vec::new();
    for forth in [true, false] {
        let (from, to) = if forth { (&mut ours, &mut theirs) } else { (&mut theirs, &mut ours) };
        let (host, port) = (to.addr.ip().to_string(), to.addr.port());
        let mut move_with = |login: &str| {
            from.ask("SET k v");
            from.ask(format!("MIGRATE {host} {port} k 0 60000 REPLACE {login}").trim_end())
        };
        let logins = ["", "AUTH wrong", "AUTH pw", "AUTH2 alice wrong", "AUTH2 alice secret"];
        let mut seen: Vec<Reply> = logins.iter().map(|login| move_with(login)).collect();
        seen.push(move_with("AUTH2 bob b"));
        seen.extend([to.ask("GET k"), from.ask("GET k"), to.ask("DBSIZE")]);
        for reply in [0, 1, 3] {
            assert!(matches!(seen[reply], Reply::Error(_)), "{reply}: {seen:?}");
        }
        for reply in [2, 4] {
            assert_eq!(seen[reply], Reply::Status(b"OK".to_vec()), "{reply}: {seen:?}");
        }
        to.ask("DEL k");
        from.ask("DEL k");
        // What a user may not do is said in other words by older versions.
        let Reply::Error(refusal) = seen.remove(5) else { panic!("no error") };
        assert!(refusal.starts_with(b"ERR Target instance replied with error: NOPERM "));
        replies.push(seen);
    }
    assert_eq!(replies[0], replies[1]);
}
