//! What genuine `redis-cli` asks of a primary: a snapshot of everything or of the functions, and
//! the stream.

use std::process::{Command, Stdio};

use redouble::resp::reader::Value;

use super::{builder, info, port, start, wait_until};
use crate::server::{Files, Genuine};

/// `redis-cli` beside the genuine server, and the root directory that it sees.
fn redis_cli() -> Option<(Vec<String>, String)> {
    let line = Genuine::command_line()?;
    let mut words: Vec<String> = line.split_whitespace().map(str::to_string).collect();
    let root = match words.first().map(String::as_str) {
        Some("chroot") => words.get(1).cloned().unwrap_or_default(),
        _ => "/".to_string(),
    };
    let program = words.last_mut()?;
    *program = program.strip_suffix("server")?.to_string() + "cli";
    Some((words, root))
}

#[test]
fn genuine_redis_cli_takes_snapshots_and_the_stream() {
    let Some((cli, root)) = redis_cli() else {
        eprintln!("skipped: REDIS_SERVER names no genuine server with a redis-cli");
        return;
    };
    let files = Files::below(std::path::Path::new(&root)).expect("a folder");
    let primary = start(builder());
    let library = "#!lua name=a\nredis.register_function('f', function() return 7 end)";
    primary.command(&["FUNCTION", "LOAD", library]);
    primary.command(&["SADD", "set", "a", "b", "c"]);
    let port = port(&primary);
    let command = |words: &[&str]| {
        let mut command = Command::new(&cli[0]);
        command.args(&cli[1..]).args(["-p", &port]).args(words).stdin(Stdio::null());
        command
    };
    for (option, has_data) in [("--rdb", true), ("--functions-rdb", false)] {
        let name = format!("{}/{option}", files.name());
        let ended = command(&[option, &name]).output().expect("redis-cli runs");
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        let rdb = std::fs::read(files.path().join(option)).expect("a snapshot");
        let copy = start(builder().rdb(rdb));
        assert_eq!(copy.command(&["FCALL", "f", "0"]), Value::Int(7), "{option}");
        let members = if has_data { 3 } else { 0 };
        assert_eq!(copy.command(&["SCARD", "set"]), Value::Int(members), "{option}");
    }
    let out = std::fs::File::create(files.path().join("stream")).expect("a file");
    let mut replica = command(&["--replica"]);
    replica.stdout(out).stderr(Stdio::null());
    let mut replica = replica.spawn().expect("redis-cli runs");
    wait_until("redis-cli as a replica", || info(&primary, "slave0").contains("state=online"));
    primary.command(&["SET", "key", "value of the stream"]);
    wait_until("the stream", || {
        let said = std::fs::read(files.path().join("stream")).unwrap_or_default();
        String::from_utf8_lossy(&said).contains("\"SET\",\"key\",\"value of the stream\"")
    });
    let _ = replica.kill();
    let _ = replica.wait();
}
