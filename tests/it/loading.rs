//! What people and tools see of loading, saving and rewriting: lines of the log, INFO, and a bar
//! on a terminal.

use crate::process::{free_port, text, Folder, Process, BINARY};
use crate::wire::{request, Reply, Wire};
use std::fs;
use std::process::{Command, Stdio};

fn ask(wire: &mut Wire, words: &[&str]) -> Reply {
    wire.call(words).expect("a reply")
}

fn info(wire: &mut Wire, field: &str) -> String {
    let reply = ask(wire, &["INFO", "persistence"]);
    let Reply::Bulk(all) = reply else { panic!("{reply:?}") };
    let all = text(&all);
    let found = all.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    found.unwrap_or_else(|| panic!("no {field} in\n{all}")).to_string()
}

fn fill(wire: &mut Wire, keys: usize) {
    for key in 0..keys {
        ask(wire, &["SET", &format!("key:{key}"), "value"]);
    }
}

/// A snapshot of old with keys that have no value, and one that has.
fn with_empty_keys() -> Vec<u8> {
    let mut rdb = b"REDIS0006\xfe\x00".to_vec();
    for name in ["e1", "e2"] {
        // A set of no members.
        rdb.extend([2, 2]);
        rdb.extend(name.as_bytes());
        rdb.push(0);
    }
    rdb.extend(b"\x00\x01k\x01v\xff");
    rdb.extend([0; 8]);
    rdb
}

#[test]
fn a_slow_save_and_a_slow_rewrite_tell_how_far_they_are() {
    let folder = Folder::new("headway-save");
    let dir = folder.path("");
    let mut server = Process::start(&["--dir", &dir, "--rdb-key-save-delay", "100000"]);
    let mut wire = server.wire();
    fill(&mut wire, 200);
    ask(&mut wire, &["BGSAVE"]);
    server.read_until("* Background saving started");
    server.read_until("* Saving: ");
    server.read_until("% done, ");
    server.read_until(" MB/s");
    assert!(info(&mut wire, "current_save_keys_processed") != "0");
    assert_eq!(info(&mut wire, "current_save_keys_total"), "200");
    assert!(info(&mut wire, "current_fork_perc").parse::<f64>().expect("a number") > 0.0);
    assert!(info(&mut wire, "current_save_mb_per_sec").parse::<f64>().is_ok());
    ask(&mut wire, &["FLUSHALL"]);
    fill(&mut wire, 200);
    ask(&mut wire, &["BGREWRITEAOF"]);
    server.read_until("* Rewriting the append-only file: ");
}

#[test]
fn a_slow_load_tells_how_far_it_is() {
    let folder = Folder::new("headway-load");
    let dir = folder.path("");
    for appends in ["no", "yes"] {
        let args = ["--dir", &dir, "--appendonly", appends, "--aof-use-rdb-preamble", "no"];
        let server = Process::start(&args);
        let mut wire = server.wire();
        fill(&mut wire, 400);
        ask(&mut wire, &["SAVE"]);
        server.signal("TERM");
        server.end();
        let args = [&args[..], &["--key-load-delay", "100000"]].concat();
        let mut server = Process::spawn(&args);
        server.read_until("* Loading: ");
        server.read_until("% done, ");
        server.read_until(" MB/s");
        let mut wire = server.wire();
        assert_eq!(info(&mut wire, "loading"), "1");
        assert!(info(&mut wire, "loading_loaded_keys") != "0");
        assert!(info(&mut wire, "loading_loaded_perc").parse::<f64>().expect("a number") < 100.0);
        assert!(info(&mut wire, "loading_mb_per_sec").parse::<f64>().is_ok());
    }
}

#[test]
fn keys_without_a_value_are_named_and_left_out() {
    let folder = Folder::new("empty-keys");
    fs::write(folder.path("dump.rdb"), with_empty_keys()).expect("it is written");
    let dir = folder.path("");
    let mut server = Process::start(&["--dir", &dir]);
    for line in ["skipping empty key: e1", "skipping empty key: e2", "empty keys skipped: 2."] {
        assert!(server.log.contains(line), "no {line:?} in\n{}", server.log);
    }
    let mut wire = server.wire();
    assert_eq!(ask(&mut wire, &["DBSIZE"]), Reply::Int(1));
    // The same as the base of an append-only file, and then DEBUG RELOAD of what it has become.
    ask(&mut wire, &["CONFIG", "SET", "appendonly", "yes"]);
    server.read_until("Background AOF rewrite finished successfully");
    server.signal("TERM");
    server.end();
    let base = folder.path("appendonlydir/appendonly.aof.1.base.rdb");
    fs::write(base, with_empty_keys()).expect("it is written");
    let server = Process::start(&["--dir", &dir, "--appendonly", "yes"]);
    assert!(server.log.contains("skipping empty key: e2"), "{}", server.log);
    let mut wire = server.wire();
    assert_eq!(info(&mut wire, "rdb_last_load_keys_loaded"), "1");
    assert_eq!(ask(&mut wire, &["GET", "k"]), Reply::Bulk(b"v".to_vec()));
}

/// Its age would be a sum that no number holds.
#[test]
fn a_file_from_before_all_times_is_read() {
    let folder = Folder::new("ancient");
    let mut rdb = b"REDIS0009\xfa\x05ctime\x14".to_vec();
    rdb.extend(i64::MIN.to_string().bytes());
    rdb.extend(b"\xfe\x00\x00\x01k\x01v\xff");
    rdb.extend([0; 8]);
    fs::write(folder.path("dump.rdb"), rdb).expect("it is written");
    let server = Process::start(&["--dir", &folder.path("")]);
    let age = format!("* RDB age {} seconds", i64::MAX);
    assert!(server.log.contains(&age), "{}", server.log);
    assert_eq!(ask(&mut server.wire(), &["GET", "k"]), Reply::Bulk(b"v".to_vec()));
}

#[test]
fn a_file_that_cannot_be_opened_ends_the_start_with_a_reason() {
    let folder = Folder::new("no-open");
    let (dir, file) = (folder.path(""), folder.path("dump.rdb"));
    std::os::unix::fs::symlink(&file, &file).expect("a link to itself");
    let server = Process::spawn(&["--dir", &dir]);
    let (code, log) = server.end();
    assert_eq!(code, Some(1));
    let reason = "for reading: Too many levels of symbolic links";
    assert!(log.contains("Fatal error: can't open the RDB file ") && log.contains(reason), "{log}");
}

#[test]
fn increments_are_not_numbered_anew_while_the_file_is_off() {
    let folder = Folder::new("numbers");
    let dir = folder.path("");
    let mut server = Process::start(&["--dir", &dir, "--appendonly", "yes"]);
    let mut wire = server.wire();
    let finished = "Background AOF rewrite finished successfully";
    let mut again = |server: &mut Process, words: &[&str]| {
        server.log.clear();
        assert!(!matches!(ask(&mut wire, words), Reply::Error(_)), "{words:?}");
        server.read_until(finished);
    };
    again(&mut server, &["BGREWRITEAOF"]);
    ask(&mut server.wire(), &["CONFIG", "SET", "appendonly", "no"]);
    again(&mut server, &["BGREWRITEAOF"]);
    again(&mut server, &["CONFIG", "SET", "appendonly", "yes"]);
    let manifest = fs::read_to_string(folder.path("appendonlydir/appendonly.aof.manifest"));
    let manifest = manifest.expect("a manifest");
    assert!(manifest.contains("appendonly.aof.4.base.rdb seq 4 type b"), "{manifest}");
    assert!(manifest.contains("appendonly.aof.3.incr.aof seq 3 type i"), "{manifest}");
}

#[test]
fn flushall_with_save_points_leaves_nothing_to_save() {
    let folder = Folder::new("flush-saves");
    let dir = folder.path("");
    let server = Process::start(&["--dir", &dir]);
    let mut wire = server.wire();
    ask(&mut wire, &["CONFIG", "SET", "save", "3600 1"]);
    fill(&mut wire, 3);
    assert_eq!(info(&mut wire, "rdb_changes_since_last_save"), "3");
    ask(&mut wire, &["FLUSHALL"]);
    assert_eq!(info(&mut wire, "rdb_changes_since_last_save"), "0");
}

/// Runs the server on a terminal of its own; what it shows there until it is stopped. `None` where
/// no terminal can be made.
fn on_a_terminal(args: &str) -> Option<String> {
    let port = free_port();
    let command = format!("timeout 120 {BINARY} --port {port} --bind 127.0.0.1 --save '' {args}");
    let mut child = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let mut shown = String::new();
    let mut output = child.stdout.take()?;
    let mut bytes = [0; 4096];
    while !shown.contains("Ready to accept connections") {
        let got = std::io::Read::read(&mut output, &mut bytes).ok()?;
        assert!(got > 0, "it ended with\n{shown}");
        shown.push_str(&text(&bytes[..got]));
    }
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    Wire::connect(address).expect("connected").send(&request(&["SHUTDOWN", "NOSAVE"]));
    let _ = child.wait();
    Some(shown)
}

#[test]
fn a_terminal_shows_a_bar_and_a_pipe_none() {
    let folder = Folder::new("bar");
    let dir = folder.path("");
    let server = Process::start(&["--dir", &dir]);
    let mut wire = server.wire();
    fill(&mut wire, 100);
    ask(&mut wire, &["SAVE"]);
    drop(server);
    let slowly = ["--dir", &dir, "--key-load-delay", "10000"];
    let server = Process::start(&slowly);
    assert!(!server.log.contains('\u{1b}'), "{}", server.log);
    drop(server);
    match on_a_terminal(&slowly.join(" ")) {
        Some(shown) => {
            let bar = |line: &str| {
                let is_drawn = line.contains("[█") || line.contains("[░");
                is_drawn && line.contains("keys, ") && line.contains("MB/s")
            };
            assert!(shown.lines().any(bar), "{shown}");
        }
        None => println!("skipped: there is no `script` that makes a terminal"),
    }
}
