//! The append-only file, from outside and with a disk that fails: what was answered is there after
//! a restart, whatever call failed, and no damage to the files goes unnoticed.

use crate::process::Folder;
use redouble::config::Config;
use redouble::disk::{Call, Fault, FaultyDisk};
use redouble::resp::reader::{Text, Value};
use redouble::server_log::Logger;
use redouble::{Server, StartError};
use std::fs;
use std::sync::Arc;

fn start(folder: &Folder, more: &[(&str, &str)], disk: &FaultyDisk) -> Result<Server, StartError> {
    let dir = folder.0.display().to_string();
    let builder = Server::builder().config("dir", &dir).config("appendonly", "yes");
    let builder = more.iter().fold(builder, |b, (name, value)| b.config(name, value));
    builder.without_tcp().disk(Arc::new(disk.clone())).start()
}

fn int(value: Value) -> i64 {
    match value {
        Value::Int(number) => number,
        other => panic!("{other:?}"),
    }
}

fn increment(folder: &Folder, number: u32) -> std::path::PathBuf {
    folder.0.join(format!("appendonlydir/appendonly.aof.{number}.incr.aof"))
}

#[test]
fn what_was_written_is_there_after_a_restart() {
    let folder = Folder::new("aof-restart");
    let disk = FaultyDisk::default();
    for policy in ["no", "everysec", "always"] {
        let server = start(&folder, &[("appendfsync", policy)], &disk).expect("it starts");
        server.command(&["SELECT", "3"]);
        server.command(&["INCR", "starts"]);
        server.command(&["SET", &format!("by:{policy}"), "x", "PX", "10000000"]);
        server.command(&["EVAL", "redis.call('SADD', 's', 1, 2) redis.call('SPOP', 's')", "0"]);
    }
    let server = start(&folder, &[], &disk).expect("it starts");
    assert_eq!(server.command(&["GET", "starts"]), Value::Bulk("3".into()));
    assert_eq!(int(server.command(&["EXISTS", "by:no", "by:everysec", "by:always", "s"])), 4);
    assert!(int(server.command(&["PTTL", "by:no"])) > 9_000_000);
    assert_eq!(int(server.command(&["OBJECT", "IDLETIME", "starts"])), 0);
}

#[test]
fn every_call_to_the_disk_may_fail_once() {
    let mut failures = 0;
    for policy in ["everysec", "always"] {
        for call in Call::ALL {
            for fault in [Fault::Io, Fault::NoSpace, Fault::Short] {
                for number in 1..=3 {
                    failures += u64::from(one_failure(policy, call, fault, number));
                }
            }
        }
    }
    assert!(failures > 20, "only {failures} calls failed");
}

/// Writes while a call fails; true when it did. What was answered must be there afterwards.
fn one_failure(policy: &str, call: Call, fault: Fault, number: u64) -> bool {
    let what = format!("{policy} {call:?} {fault:?} {number}");
    let folder = Folder::new(&format!("aof-fault-{policy}-{call:?}-{fault:?}-{number}"));
    let disk = FaultyDisk::default();
    let before = disk.calls(call);
    disk.fail(call, number, fault);
    let directives = [("appendfsync", policy)];
    let mut answered = Vec::new();
    for round in 0..2 {
        // It may refuse to start, but then it has said so.
        let Ok(server) = start(&folder, &directives, &disk) else { continue };
        for write in 0..4 {
            let key = format!("{round}:{write}");
            match server.command(&["SET", &key, "x"]) {
                Value::Error(error) => assert!(error.starts_with("MISCONF "), "{what}: {error}"),
                _ => answered.push(key),
            }
        }
    }
    disk.cure();
    let server = start(&folder, &directives, &disk).unwrap_or_else(|e| panic!("{what}: {e}"));
    for key in answered {
        assert_eq!(int(server.command(&["EXISTS", &key])), 1, "{what}: {key} is lost");
    }
    disk.calls(call) - before >= number
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_room() {
    let folder = Folder::new("aof-full");
    let disk = FaultyDisk::default();
    let server = start(&folder, &[], &disk).expect("it starts");
    server.command(&["SET", "a", "1"]);
    disk.fail_all(Call::Write, Fault::NoSpace);
    let writer = server.clone();
    // Its reply has to wait for room: it is not in the file.
    let held = std::thread::spawn(move || writer.command(&["SET", "b", "2"]));
    let refused = "MISCONF Errors writing to the AOF file: No space left on device";
    let says_so = |text: &Text| text.starts_with(refused);
    let refusal =
        |argv: &[&str]| matches!(server.command(argv), Value::Error(text) if says_so(&text));
    while !refusal(&["PING"]) {
        std::thread::yield_now();
    }
    let script = ["EVAL", "redis.call('SET', 'd', 1)", "0"];
    assert!(refusal(&["SET", "c", "3"]) && refusal(&script));
    assert_eq!(server.command(&["GET", "a"]), Value::Bulk("1".into()));
    let Value::Verbatim(_, info) = server.command(&["INFO", "persistence"]) else {
        panic!("no text");
    };
    let info = String::from_utf8_lossy(&info).into_owned();
    assert!(info.contains("aof_last_write_status:err"), "{info}");
    disk.cure();
    assert_eq!(held.join().expect("an answer"), Value::Simple("OK".into()));
    assert_eq!(server.command(&["SET", "c", "3"]), Value::Simple("OK".into()));
    drop(server);
    let server = start(&folder, &[], &disk).expect("it starts");
    assert_eq!(int(server.command(&["EXISTS", "a", "b", "c"])), 3);
}

/// The old increment takes nothing from before a rewrite begins until after its end. What is
/// answered later must be in the file that the manifest names by then.
#[test]
fn a_rewrite_goes_on_in_the_new_file_whatever_becomes_of_the_old_one() {
    for policy in ["no", "everysec", "always"] {
        for fault in [Fault::Io, Fault::NoSpace, Fault::Short] {
            let what = format!("{policy} {fault:?}");
            let folder = Folder::new(&format!("aof-switch-{policy}-{fault:?}"));
            let disk = FaultyDisk::default();
            let server = start(&folder, &[("appendfsync", policy)], &disk).expect("it starts");
            server.command(&["SET", "before", "1"]);
            disk.fail_all_of(".1.incr.aof", Call::Write, fault);
            let writer = server.clone();
            let held = std::thread::spawn(move || writer.command(&["SET", "held", "1"]));
            while !is_failing(&server) {
                std::thread::yield_now();
            }
            server.command(&["BGREWRITEAOF"]);
            await_rewrite(&server);
            assert_eq!(info(&server, "aof_last_bgrewrite_status"), "ok", "{what}");
            // The change of files has come, and waits behind what cannot be written.
            let tried = disk.calls(Call::Write);
            while disk.calls(Call::Write) < tried + 2 {
                std::thread::yield_now();
            }
            disk.cure();
            assert_eq!(held.join().expect("an answer"), "OK");
            while is_failing(&server) {
                std::thread::yield_now();
            }
            assert_eq!(server.command(&["SET", "after", "1"]), "OK", "{what}");
            drop(server);
            let server = start(&folder, &[], &disk).expect("it starts");
            let keys = ["EXISTS", "before", "held", "after"];
            assert_eq!(int(server.command(&keys)), 3, "{what}: something is lost");
        }
    }
}

/// Inside a program nothing ends: nobody says again and again that it does.
#[test]
fn a_program_hears_once_that_the_disk_fails() {
    let folder = Folder::new("aof-said");
    let mut config = Config::default();
    config.assign("logfile", &folder.path("log")).expect("a file");
    let logger = Logger::new(config.settings(), Box::new(|| 0));
    let disk = FaultyDisk::default();
    let builder = Server::builder().config("dir", &folder.0.display().to_string());
    let builder = builder.config("appendonly", "yes").config("appendfsync", "always");
    let builder = builder.without_tcp().logger(Arc::new(logger)).disk(Arc::new(disk.clone()));
    let server = builder.start().expect("it starts");
    disk.fail_all(Call::Sync, Fault::Io);
    let (writer, tried) = (server.clone(), disk.calls(Call::Sync));
    let held = std::thread::spawn(move || writer.command(&["SET", "k", "v"]));
    while disk.calls(Call::Sync) < tried + 5 {
        std::thread::yield_now();
    }
    disk.cure();
    assert_eq!(held.join().expect("an answer"), "OK");
    let log = fs::read_to_string(folder.path("log")).expect("a log");
    assert_eq!(log.matches("Fail to fsync the AOF file: Input/output error").count(), 1, "{log}");
    assert_eq!(log.matches("Exiting").count(), 0, "{log}");
}

/// A file of commands whose every prefix has a known value.
fn counted(folder: &Folder) -> Vec<u8> {
    let disk = FaultyDisk::default();
    let server = start(folder, &[], &disk).expect("it starts");
    for _ in 0..4 {
        server.command(&["INCR", "n"]);
    }
    server.command(&["EVAL", "redis.call('INCR', KEYS[1]) redis.call('INCR', KEYS[1])", "1", "n"]);
    server.command(&["INCR", "n"]);
    drop(server);
    fs::read(increment(folder, 1)).expect("the increment")
}

#[test]
fn every_torn_end_is_cut_back_to_the_last_whole_record() {
    let folder = Folder::new("aof-torn");
    let whole = counted(&folder);
    let disk = FaultyDisk::default();
    let path = increment(&folder, 1);
    let mut seen = 0;
    for len in 0..=whole.len() {
        fs::write(&path, &whole[..len]).expect("written");
        let refused = start(&folder, &[("aof-load-truncated", "no")], &disk).is_err();
        let server = start(&folder, &[], &disk).expect("it starts");
        let n = match server.command(&["GET", "n"]) {
            Value::Bulk(text) => String::from_utf8_lossy(&text).parse::<u32>().expect("a number"),
            _ => 0,
        };
        drop(server);
        // A transaction is there as a whole or not at all.
        assert!(n == seen || n == seen + 1 || (seen, n) == (4, 6), "{len}: {n} after {seen}");
        seen = n;
        let left = fs::read(&path).expect("the increment");
        assert!(whole.starts_with(&left) && left.len() <= len);
        assert_eq!(refused, left.len() < len, "{len} bytes, {} left", left.len());
    }
    assert_eq!(seen, 7);
}

#[test]
fn every_flipped_byte_is_an_error_or_other_data() {
    let folder = Folder::new("aof-flipped");
    let whole = counted(&folder);
    let disk = FaultyDisk::default();
    let (mut refused, mut started) = (0, 0);
    for at in 0..whole.len() {
        for bit in [0, 4, 7] {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << bit;
            fs::write(increment(&folder, 1), &flipped).expect("written");
            match start(&folder, &[("aof-load-truncated", "no")], &disk) {
                Err(StartError::Data(_)) => refused += 1,
                Err(other) => panic!("{other}"),
                Ok(_) => started += 1,
            }
        }
    }
    assert!(refused > started && started > 0, "{refused} refused, {started} started");
}

#[test]
fn a_single_file_of_an_older_version_moves_in() {
    let folder = Folder::new("aof-old");
    fs::write(folder.path("appendonly.aof"), "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n").unwrap();
    let disk = FaultyDisk::default();
    for _ in 0..2 {
        let server = start(&folder, &[], &disk).expect("it starts");
        assert_eq!(server.command(&["GET", "a"]), Value::Bulk("1".into()));
    }
    let manifest = fs::read_to_string(folder.path("appendonlydir/appendonly.aof.manifest"));
    let expected =
        "file appendonly.aof seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n";
    assert_eq!(manifest.unwrap(), expected);
    assert!(!std::path::Path::new(&folder.path("appendonly.aof")).exists());
}

#[test]
fn with_always_a_reader_waits_only_for_what_it_would_see() {
    let folder = Folder::new("aof-fresh");
    let disk = FaultyDisk::default();
    let server = start(&folder, &[("appendfsync", "always")], &disk).expect("it starts");
    server.command(&["SET", "quiet", "1"]);
    // The disk takes no syncs for a while.
    disk.fail_all(Call::Sync, Fault::Io);
    let ask = |words: &[&str]| {
        let (server, words) = (server.clone(), words.join(" "));
        std::thread::spawn(move || {
            server.command(&words.split(' ').collect::<Vec<_>>());
        })
    };
    let writer = ask(&["SET", "loud", "1"]);
    while server.command(&["INFO", "persistence"]) == Value::Null || !is_failing(&server) {
        std::thread::yield_now();
    }
    let reader = ask(&["GET", "loud"]);
    assert_eq!(server.command(&["GET", "quiet"]), Value::Bulk("1".into()));
    assert_eq!(server.command(&["EXISTS", "other"]), Value::Int(0));
    std::thread::sleep(std::time::Duration::from_millis(30));
    assert!(!writer.is_finished() && !reader.is_finished());
    disk.cure();
    writer.join().unwrap();
    reader.join().unwrap();
}

fn is_failing(server: &Server) -> bool {
    matches!(server.command(&["PING"]), Value::Error(_))
}

/// Something of every type, deadlines included.
fn fill(server: &Server) {
    let commands = "SET int 12|SET text hello|SET dated x EX 10000|RPUSH list a b 3|\
         SADD ints 1 2 3|SADD words a b|HSET hash f v g w|HPEXPIRE hash 1000000 FIELDS 1 f|\
         ZADD board 1.5 a -inf b 3 c|XADD stream 1-1 f v|XADD stream 2-1 f v g w|\
         XGROUP CREATE stream group 0|XREADGROUP GROUP group one COUNT 1 STREAMS stream >|\
         XGROUP CREATECONSUMER stream group two|XADD gone 5-5 f v|XDEL gone 5-5|\
         FUNCTION LOAD #!lua\u{a0}name=lib\nredis.register_function('f',function()return(1)end)";
    for line in commands.split('|') {
        let line: Vec<String> = line.split(' ').map(|word| word.replace('\u{a0}', " ")).collect();
        let reply = server.command(&line);
        assert!(!matches!(reply, Value::Error(_)), "{line:?}: {reply:?}");
    }
    for n in 0..300 {
        server.command(&["RPUSH", "long", &n.to_string()]);
        server.command(&["HSET", "wide", &n.to_string(), "value"]);
        server.command(&["ZADD", "tall", &n.to_string(), &format!("member:{n}")]);
    }
}

/// Values that a snapshot hands out in parts.
fn fill_big(server: &Server) {
    for from in (0..3_000).step_by(300) {
        let each = |command: &[&str], element: &dyn Fn(u32) -> Vec<String>| {
            let mut words: Vec<String> = command.iter().map(|word| word.to_string()).collect();
            words.extend((from..from + 300).flat_map(element));
            assert!(!matches!(server.command(&words), Value::Error(_)), "{words:?}");
        };
        each(&["RPUSH", "long"], &|n| vec![n.to_string()]);
        each(&["SADD", "broad"], &|n| vec![format!("member:{n}")]);
        each(&["HSET", "wide"], &|n| vec![format!("field:{n}"), "value".into()]);
        each(&["ZADD", "tall"], &|n| vec![n.to_string(), format!("member:{n}")]);
        let deadline = ["HPEXPIRE", "wide", "1000000", "FIELDS", "300"];
        each(&deadline, &|n| vec![format!("field:{}", n / 2)]);
    }
    server.command(&["EXPIRE", "tall", "10000"]);
}

fn digest(server: &Server) -> String {
    match server.command(&["DEBUG", "DIGEST"]) {
        Value::Simple(digest) => digest.to_string(),
        other => panic!("{other:?}"),
    }
}

fn info(server: &Server, field: &str) -> String {
    let Value::Verbatim(_, text) = server.command(&["INFO", "persistence"]) else {
        panic!("no text");
    };
    let text = String::from_utf8_lossy(&text).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_default().to_string()
}

fn await_rewrite(server: &Server) {
    while info(server, "aof_rewrite_in_progress") == "1"
        || info(server, "aof_rewrite_scheduled") == "1"
    {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

const DEBUG: (&str, &str) = ("enable-debug-command", "yes");

#[test]
fn rewritten_files_hold_the_same_data() {
    for as_snapshot in ["yes", "no"] {
        let folder = Folder::new(&format!("aof-rewrite-{as_snapshot}"));
        let disk = FaultyDisk::default();
        let directives = [("aof-use-rdb-preamble", as_snapshot), DEBUG];
        let server = start(&folder, &directives, &disk).expect("it starts");
        fill(&server);
        fill_big(&server);
        let Value::Simple(said) = server.command(&["BGREWRITEAOF"]) else { panic!("no status") };
        assert_eq!(said, "Background append only file rewriting started");
        // What comes meanwhile and afterwards is in the new increment.
        server.command(&["SET", "meanwhile", "1"]);
        for n in (0..3_000).step_by(7).map(|n| n.to_string()) {
            server.command(&["HSET", "wide", &format!("field:{n}"), "other"]);
            server.command(&["SREM", "broad", &format!("member:{n}")]);
            server.command(&["ZADD", "tall", "-1", &format!("member:{n}")]);
        }
        server.command(&["RENAME", "wide", "wider"]);
        server.command(&["DEL", "broad"]);
        await_rewrite(&server);
        server.command(&["SELECT", "2"]);
        server.command(&["SET", "afterwards", "1"]);
        let before = digest(&server);
        assert_eq!(info(&server, "aof_last_bgrewrite_status"), "ok");
        assert_eq!(server.command(&["DEBUG", "LOADAOF"]), Value::Simple("OK".into()));
        assert_eq!(digest(&server), before, "loaded again, base as snapshot: {as_snapshot}");
        drop(server);
        let server = start(&folder, &directives, &disk).expect("it starts");
        assert_eq!(digest(&server), before, "started again, base as snapshot: {as_snapshot}");
        let mut names: Vec<_> = fs::read_dir(folder.path("appendonlydir"))
            .expect("a directory")
            .map(|entry| entry.expect("a name").file_name().into_string().expect("UTF-8"))
            .collect();
        names.sort();
        let kind = if as_snapshot == "yes" { "rdb" } else { "aof" };
        let base = format!("appendonly.aof.2.base.{kind}");
        assert_eq!(names, [&base, "appendonly.aof.2.incr.aof", "appendonly.aof.manifest"]);
    }
}

/// Blocks of commands end with EXEC, which looks anew at who listens.
#[test]
fn what_is_loaded_again_is_not_written_again() {
    let folder = Folder::new("aof-again");
    let disk = FaultyDisk::default();
    let server = start(&folder, &[DEBUG], &disk).expect("it starts");
    for _ in 0..3 {
        let script = "redis.call('INCR', 'x') redis.call('APPEND', 'y', 'a') return 1";
        assert_eq!(server.command(&["EVAL", script, "0"]), 1);
    }
    let before = digest(&server);
    for _ in 0..2 {
        assert_eq!(server.command(&["DEBUG", "LOADAOF"]), "OK");
        assert_eq!(digest(&server), before);
    }
    server.command(&["INCR", "z"]);
    drop(server);
    let server = start(&folder, &[DEBUG], &disk).expect("it starts");
    assert_eq!(server.command(&["MGET", "x", "y", "z"]), ["3", "aaa", "1"]);
}

#[test]
fn it_is_turned_on_and_off_while_the_server_runs() {
    let folder = Folder::new("aof-turned");
    let disk = FaultyDisk::default();
    let server = start(&folder, &[("appendonly", "no"), DEBUG], &disk).expect("it starts");
    for round in 0..3 {
        server.command(&["SET", &format!("before:{round}"), "1"]);
        server.command(&["CONFIG", "SET", "appendonly", "yes"]);
        server.command(&["SET", &format!("after:{round}"), "1"]);
        await_rewrite(&server);
        assert_eq!(info(&server, "aof_enabled"), "1");
        server.command(&["SET", &format!("on:{round}"), "1"]);
        if round < 2 {
            server.command(&["CONFIG", "SET", "appendonly", "no"]);
        }
    }
    let before = digest(&server);
    drop(server);
    let server = start(&folder, &[DEBUG], &disk).expect("it starts");
    assert_eq!(digest(&server), before);
}

#[test]
fn it_is_not_turned_on_where_no_file_can_be_made() {
    let folder = Folder::new("aof-nowhere");
    fs::write(folder.0.join("appendonlydir"), "in its place").expect("a file");
    let server = start(&folder, &[("appendonly", "no")], &FaultyDisk::default()).expect("started");
    let refusal = "ERR CONFIG SET failed (possibly related to argument 'appendonly') - Unable to \
                   turn on AOF. Check server logs.";
    let answer = server.command(&["CONFIG", "SET", "appendonly", "yes"]);
    assert_eq!(answer, Value::Error(refusal.into()));
    assert_eq!(info(&server, "aof_enabled"), "0");
    assert_eq!(server.command(&["SET", "k", "v"]), Value::Simple("OK".into()));
}

#[test]
fn who_asks_for_a_rewrite_hears_at_once_that_no_file_can_be_made() {
    let folder = Folder::new("aof-gone");
    let server = start(&folder, &[], &FaultyDisk::default()).expect("it starts");
    server.command(&["SET", "k", "v"]);
    let files = folder.0.join("appendonlydir");
    // One that has gone is made again.
    fs::remove_dir_all(&files).expect("it was there");
    let started = Value::Simple("Background append only file rewriting started".into());
    assert_eq!(server.command(&["BGREWRITEAOF"]), started);
    await_rewrite(&server);
    assert_eq!(info(&server, "aof_last_bgrewrite_status"), "ok");
    fs::remove_dir_all(&files).expect("it was there");
    fs::write(&files, "in its place").expect("a file");
    let refusal = "ERR Can't execute an AOF background rewriting. Please check the server logs \
                   for more information.";
    assert_eq!(server.command(&["BGREWRITEAOF"]), Value::Error(refusal.into()));
    assert_eq!(info(&server, "aof_last_bgrewrite_status"), "err");
    assert_eq!(info(&server, "aof_rewrite_in_progress"), "0");
}

#[test]
fn history_is_kept_and_removed_as_the_directive_says() {
    let folder = Folder::new("aof-history");
    let disk = FaultyDisk::default();
    let server = start(&folder, &[("aof-disable-auto-gc", "yes"), DEBUG], &disk).expect("starts");
    let manifest = || {
        let path = folder.0.join("appendonlydir/appendonly.aof.manifest");
        fs::read_to_string(path).expect("the manifest")
    };
    server.command(&["SET", "first", "1"]);
    server.command(&["CONFIG", "SET", "appendonly", "no"]);
    server.command(&["BGREWRITEAOF"]);
    await_rewrite(&server);
    // The increment so far is history: the next one must not take its name.
    server.command(&["CONFIG", "SET", "appendonly", "yes"]);
    await_rewrite(&server);
    server.command(&["SET", "second", "2"]);
    let kept = manifest();
    assert_eq!(kept.matches("type h").count(), 3, "{kept}");
    server.command(&["CONFIG", "SET", "aof-disable-auto-gc", "no"]);
    let left = manifest();
    assert_eq!(left.matches("type").count(), 2, "{left}");
    let files = fs::read_dir(folder.0.join("appendonlydir")).expect("a directory");
    assert_eq!(files.count(), 3);
    let before = digest(&server);
    drop(server);
    let server = start(&folder, &[DEBUG], &disk).expect("it starts");
    assert_eq!(digest(&server), before);
}

#[test]
fn a_rewrite_may_fail_at_every_call_and_loses_nothing() {
    let mut failures = 0;
    for call in Call::ALL {
        for fault in [Fault::Io, Fault::NoSpace, Fault::Short] {
            for number in 1..=6 {
                let what = format!("{call:?} {fault:?} {number}");
                let folder = Folder::new(&format!("aof-rw-{call:?}-{fault:?}-{number}"));
                let disk = FaultyDisk::default();
                let server = start(&folder, &[DEBUG], &disk).expect("it starts");
                fill(&server);
                let before = disk.calls(call);
                disk.fail(call, number, fault);
                server.command(&["BGREWRITEAOF"]);
                for n in 0..3 {
                    while is_failing(&server) {
                        std::thread::yield_now();
                    }
                    server.command(&["SET", &format!("meanwhile:{n}"), "1"]);
                }
                await_rewrite(&server);
                let failed = disk.calls(call) - before >= number;
                failures += u32::from(failed);
                let expected = digest(&server);
                drop(server);
                disk.cure();
                let server = start(&folder, &[DEBUG], &disk).expect("it starts");
                assert_eq!(digest(&server), expected, "{what}");
            }
        }
    }
    assert!(failures > 30, "only {failures} calls failed");
}

#[test]
fn waitaof_waits_for_the_disk_here() {
    let folder = Folder::new("aof-waitaof");
    let disk = FaultyDisk::default();
    let server = start(&folder, &[("appendfsync", "no")], &disk).expect("it starts");
    let mut client = server.client();
    assert_eq!(client.command(&["WAITAOF", "1", "0", "0"]), counts(1), "nothing was written");
    client.command(&["SET", "key", "1"]);
    assert_eq!(client.command(&["WAITAOF", "1", "0", "20"]), counts(0), "nothing is forced");
    let syncs = disk.calls(Call::Sync);
    server.command(&["CONFIG", "SET", "appendfsync", "everysec"]);
    assert_eq!(client.command(&["WAITAOF", "1", "0", "0"]), counts(1));
    assert!(disk.calls(Call::Sync) > syncs);

    disk.fail_all(Call::Sync, Fault::Io);
    client.command(&["SET", "key", "2"]);
    assert_eq!(client.command(&["WAITAOF", "1", "0", "20"]), counts(0), "the disk fails");
    client.command(&["MULTI"]);
    client.command(&["WAITAOF", "1", "0", "0"]);
    assert_eq!(client.command(&["EXEC"]), Value::Array(vec![counts(0)]), "it never waits there");
    let waiting = std::thread::spawn(move || client.command(&["WAITAOF", "1", "0", "0"]));
    while !waits(&server) {
        std::thread::yield_now();
    }
    disk.cure();
    assert_eq!(waiting.join().expect("an answer"), counts(1));
}

#[test]
fn waitaof_ends_when_the_file_is_turned_off() {
    let folder = Folder::new("aof-waitaof-off");
    let directives = [("appendfsync", "no"), ("appendonly", "no")];
    let server = start(&folder, &directives, &FaultyDisk::default()).expect("it starts");
    let off = "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.";
    let mut client = server.client();
    assert_eq!(client.command(&["WAITAOF", "1", "0", "0"]), Value::Error(off.into()));
    client.command(&["SET", "key", "1"]);
    server.command(&["CONFIG", "SET", "appendonly", "yes"]);
    // The base of the rewrite that is under way now has what was written before.
    assert_eq!(client.command(&["WAITAOF", "1", "0", "0"]), counts(1));
    client.command(&["SET", "key", "2"]);
    let waiting = std::thread::spawn(move || client.command(&["WAITAOF", "1", "0", "0"]));
    while !waits(&server) {
        std::thread::yield_now();
    }
    server.command(&["CONFIG", "SET", "appendonly", "no"]);
    assert_eq!(waiting.join().expect("an answer"), Value::Error(off.into()));
}

/// What WAITAOF answers without replicas.
fn counts(local: i64) -> Value {
    Value::Array(vec![Value::Int(local), Value::Int(0)])
}

/// Whether a client waits.
fn waits(server: &Server) -> bool {
    server.shared().lock().clients.iter().any(|client| client.blocked.is_some())
}
