//! What an operator forbids, and what clients are told then. Every text is a genuine server's.

use crate::process::Process;
use crate::wire::{Reply, Wire};
use std::time::Duration;

/// The text of a reply of one word.
fn told(wire: &mut Wire, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    match wire.call(&words).expect("a reply") {
        Reply::Status(text) | Reply::Error(text) | Reply::Bulk(text) => {
            String::from_utf8_lossy(&text).into_owned()
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn commands_that_are_not_enabled_are_refused_before_all_else() {
    let process = Process::start(&["--requirepass", "pw"]);
    let mut wire = process.wire();
    for (command, option) in [("DEBUG SLEEP 0", "debug"), ("MODULE LOAD x", "module")] {
        let refusal = format!(
            "ERR {} command not allowed. If the enable-{option}-command option is set to \
             \"local\", you can run it from a local connection, otherwise you need to set this \
             option in the configuration file, and then restart the server.",
            option.to_uppercase()
        );
        assert_eq!(told(&mut wire, "PING"), "NOAUTH Authentication required.");
        assert_eq!(told(&mut wire, command), refusal);
        assert_eq!(told(&mut wire, "AUTH pw"), "OK");
        assert_eq!(told(&mut wire, "MULTI"), "OK");
        assert_eq!(told(&mut wire, command), refusal);
        let lost = "EXECABORT Transaction discarded because of previous errors.";
        assert_eq!(told(&mut wire, "EXEC"), lost);
        assert_eq!(told(&mut wire, "RESET"), "RESET");
    }
    let process = Process::start(&["--enable-debug-command", "local"]);
    let mut wire = process.wire();
    assert_eq!(told(&mut wire, "DEBUG SLEEP 0"), "OK");
    assert!(told(&mut wire, "MODULE LOAD x").starts_with("ERR MODULE command not allowed."));
}

#[test]
fn renamed_commands_are_known_by_their_new_names_alone() {
    let all = told(&mut Process::start(&[]).wire(), "COMMAND COUNT");
    let renames = ["FLUSHALL", "", "CONFIG", "cfg", "GET", "get"];
    let renames = renames.chunks(2).flat_map(|pair| ["--rename-command", pair[0], pair[1]]);
    let process = Process::start(&renames.collect::<Vec<_>>());
    let mut wire = process.wire();
    assert_eq!(told(&mut wire, "GET nothing"), "NilBulk");
    for (line, reply) in [
        ("FLUSHALL", "ERR unknown command 'FLUSHALL', with args beginning with: "),
        ("CONFIG GET x", "ERR unknown command 'CONFIG', with args beginning with: 'GET' 'x' "),
        ("cfg GET x", "Array([])"),
        ("cfg nosuch", "ERR unknown subcommand 'nosuch'. Try CFG HELP."),
        ("COMMAND INFO config flushall config|get", "Array([NilArray, NilArray, NilArray])"),
        ("COMMAND DOCS config", "Array([])"),
    ] {
        let seen = told(&mut wire, line).replace("NilBulk", "NilArray");
        assert_eq!(seen, reply, "{line}");
    }
    let title =
        Reply::Status("CFG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:".into());
    assert!(told(&mut wire, "cfg HELP").starts_with(&format!("Array([{title:?}, ")));
    assert!(told(&mut wire, "COMMAND INFO cfg").contains("Array([Array([Bulk"));
    assert!(!told(&mut wire, "COMMAND DOCS cfg|get").eq("Array([])"));
    // One is gone, one has another name.
    let number = |text: &str| text.trim_matches(|c: char| !c.is_ascii_digit()).parse::<i64>();
    let left = number(&told(&mut wire, "COMMAND COUNT"));
    assert_eq!(left.expect("a number") + 1, number(&all).expect("a number"));
}

#[test]
fn renamed_commands_wait_and_are_refused_like_others() {
    let renames = ["BLPOP", "take", "SET", "put", "EXEC", "go"];
    let renames = renames.chunks(2).flat_map(|pair| ["--rename-command", pair[0], pair[1]]);
    let process = Process::start(&renames.collect::<Vec<_>>());
    let (mut wire, mut waiting) = (process.wire(), process.wire());
    waiting.send(b"take queue 0\r\n");
    while !told(&mut wire, "INFO clients").contains("\r\nblocked_clients:1\r\n") {
        std::thread::yield_now();
    }
    told(&mut wire, "RPUSH queue item");
    let served = waiting.wait(Duration::from_secs(60)).expect("a connection").expect("a reply");
    let bulk = |text: &str| Reply::Bulk(text.as_bytes().to_vec());
    assert_eq!(served, Reply::Array(vec![bulk("queue"), bulk("item")]));
    // What EXEC would run is looked at under the new names.
    told(&mut wire, "MULTI");
    told(&mut wire, "put key value");
    told(&mut process.wire(), "CONFIG SET min-replicas-to-write 1");
    assert_eq!(
        told(&mut wire, "go"),
        "EXECABORT Transaction discarded because of: NOREPLICAS Not enough good replicas to write."
    );
    let keys = format!("{:?}", Reply::Array(vec![bulk("key")]));
    assert_eq!(told(&mut wire, "COMMAND GETKEYS put key value"), keys);
    assert_eq!(told(&mut wire, "COMMAND GETKEYS set key value"), "ERR Invalid command specified");
}
