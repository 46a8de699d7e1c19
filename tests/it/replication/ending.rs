//! SHUTDOWN on a primary whose replicas lack something.

use std::time::Duration;

use redouble::resp::reader::Value;
use redouble::Server;

use super::{builder, info, start, wait_until, Journal, PATIENCE};
use crate::wire::{Reply, Wire};

/// A replica that receives the stream and says only what it is told to.
struct Silent(Wire);

impl Silent {
    fn of(primary: &Server) -> Silent {
        let mut wire = Wire::connect(primary.addr().expect("an address")).expect("connects");
        wire.send(b"SYNC\r\n");
        wait_until("a silent replica", || info(primary, "slave0").contains("state=online"));
        Silent(wire)
    }

    fn acknowledge(&mut self, offset: &str) {
        self.0.send(&crate::wire::request(&["REPLCONF", "ACK", offset]));
    }
}

fn client(server: &Server) -> Wire {
    Wire::connect(server.addr().expect("an address")).expect("connects")
}

fn asks(server: &Server, words: &[&str]) -> Wire {
    let mut wire = client(server);
    wire.send(&crate::wire::request(words));
    wire
}

fn reply(wire: &mut Wire) -> Reply {
    wire.wait(PATIENCE).expect("no nonsense").expect("a reply")
}

const FAILED: &[u8] = b"ERR Errors trying to SHUTDOWN. Check logs.";

#[test]
fn an_end_waits_for_replicas_and_can_be_called_off() {
    let journal = Journal::new("ending");
    let primary = start(journal.kept_by(builder()));
    let mut replica = Silent::of(&primary);
    primary.command(&["SET", "key", "value"]);
    let mut askers = [asks(&primary, &["SHUTDOWN"]), asks(&primary, &["SHUTDOWN", "NOW"])];
    wait_until("two who wait", || info(&primary, "blocked_clients") == "2");
    let left_ms: u64 = info(&primary, "shutdown_in_milliseconds").parse().expect("a number");
    assert!((1..=10_000).contains(&left_ms));
    let mut writer = asks(&primary, &["SET", "key", "held back"]);
    assert_eq!(client(&primary).call(&["GET", "key"]).unwrap(), Reply::Bulk(b"value".to_vec()));
    assert_eq!(writer.wait(Duration::from_millis(50)).unwrap(), None);
    assert_eq!(primary.command(&["SHUTDOWN", "ABORT"]), Value::Simple("OK".into()));
    for asker in &mut askers {
        assert_eq!(reply(asker), Reply::Error(FAILED.to_vec()));
    }
    assert_eq!(reply(&mut writer), Reply::Status(b"OK".to_vec()));
    assert_eq!(info(&primary, "shutdown_in_milliseconds"), "");
    let none = primary.command(&["SHUTDOWN", "ABORT"]);
    assert_eq!(none, Value::Error("ERR No shutdown in progress.".into()));
    // It ends as soon as the replica has everything.
    let mut asker = asks(&primary, &["SHUTDOWN"]);
    wait_until("one who waits", || info(&primary, "blocked_clients") == "1");
    replica.acknowledge(&info(&primary, "master_repl_offset"));
    assert_eq!(reply(&mut asker), Reply::Closed);
    let said = journal.text();
    for line in [
        "Waiting for replicas before shutting down.",
        "Shutdown manually aborted.",
        "1 of 1 replicas are in sync when shutting down.",
    ] {
        assert_eq!(
            said.matches(line).count(),
            1 + usize::from(line.starts_with("Waiting")),
            "{said}"
        );
    }
    assert!(!said.contains("Lagging replica"), "{said}");
}

#[test]
fn an_end_does_not_wait_for_ever_or_when_it_must_not() {
    for (timeout_s, words) in
        [("1", &["SHUTDOWN"][..]), ("0", &["SHUTDOWN"]), ("100", &["SHUTDOWN", "NOW"])]
    {
        let journal = Journal::new("lagging");
        let primary = start(journal.kept_by(builder()).config("shutdown-timeout", timeout_s));
        let _replica = Silent::of(&primary);
        primary.command(&["SET", "key", "value"]);
        assert_eq!(reply(&mut asks(&primary, words)), Reply::Closed, "{words:?} {timeout_s}");
        let said = journal.text();
        assert!(said.contains("0 of 1 replicas are in sync when shutting down."), "{said}");
        assert!(said.contains("reported offset ") && said.contains("state=online."), "{said}");
        assert_eq!(said.contains("Waiting for replicas"), timeout_s == "1", "{said}");
    }
}

#[test]
fn an_end_that_fails_is_told_to_all_who_asked() {
    let journal = Journal::new("failing");
    let primary = start(journal.kept_by(builder().config("save", "900 1")));
    let mut replica = Silent::of(&primary);
    primary.command(&["SET", "key", "value"]);
    let mut askers = [asks(&primary, &["SHUTDOWN"]), asks(&primary, &["SHUTDOWN"])];
    wait_until("two who wait", || info(&primary, "blocked_clients") == "2");
    journal.spoil_saves();
    replica.acknowledge(&info(&primary, "master_repl_offset"));
    for asker in &mut askers {
        assert_eq!(reply(asker), Reply::Error(FAILED.to_vec()));
    }
    let said = journal.text();
    assert!(said.contains("Error trying to save the DB, can't exit."), "{said}");
    assert!(said.contains("Errors trying to shut down the server."), "{said}");
    assert_eq!(primary.command(&["SET", "key", "x"]), Value::Simple("OK".into()));
}

/// What a script has written by half is here and nowhere else: the server may only end with it.
#[test]
fn an_end_that_cuts_a_script_short_waits_for_nobody() {
    let builder = builder().config("busy-reply-threshold", "20").config("shutdown-timeout", "1000");
    let primary = start(builder);
    let _replica = Silent::of(&primary);
    primary.command(&["SET", "key", "value"]);
    let script = "redis.call('SET', 'key', 'by half') while true do end";
    let mut slow = asks(&primary, &["EVAL", script, "0"]);
    wait_until(
        "a slow script",
        || matches!(primary.command(&["GET", "key"]), Value::Error(why) if why.starts_with("BUSY")),
    );
    let unkillable = primary.command(&["SCRIPT", "KILL"]);
    assert!(matches!(&unkillable, Value::Error(why) if why.starts_with("UNKILLABLE")));
    assert_eq!(reply(&mut asks(&primary, &["SHUTDOWN", "NOSAVE"])), Reply::Closed);
    assert_eq!(reply(&mut slow), Reply::Closed);
}
