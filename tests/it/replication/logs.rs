//! The append-only file of a replica: nobody there asks for it to be written.

use redouble::resp::reader::Value;
use redouble::Server;

use super::{builder, in_sync, info, start, wait_until, Journal};

fn logged(journal: &Journal) -> redouble::Builder {
    journal.kept_by(builder()).config("appendonly", "yes").config("appendfsync", "everysec")
}

fn wait_aof(primary: &Server) -> Value {
    let mut client = crate::wire::Wire::connect(primary.addr().expect("an address")).unwrap();
    client.call(&["SET", "key", "written"]).expect("it answers");
    match client.call(&["WAITAOF", "1", "1", "9000"]).expect("it answers") {
        crate::wire::Reply::Array(counts) => Value::Simple(format!("{counts:?}").into()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_replica_receives_reaches_its_disk() {
    let journals = [Journal::new("primary"), Journal::new("replica")];
    let primary = start(logged(&journals[0]));
    let replica = start(logged(&journals[1]).replica_of(primary.addr().expect("an address")));
    in_sync(&primary, &replica);
    for policy in ["everysec", "always"] {
        replica.command(&["CONFIG", "SET", "appendfsync", policy]);
        assert_eq!(wait_aof(&primary), Value::Simple("[Int(1), Int(1)]".into()), "{policy}");
    }
    replica.command(&["CONFIG", "SET", "appendfsync", "no"]);
    primary.command(&["SET", "key", "in the hands of the kernel"]);
    wait_until("the replica's file", || {
        let dir = journals[1].0.join("appendonlydir");
        let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let mut texts = files.filter_map(|file| std::fs::read(file.path()).ok());
        texts.any(|text| String::from_utf8_lossy(&text).contains("in the hands of the kernel"))
    });
}

#[test]
fn a_full_copy_takes_the_place_of_what_the_file_says() {
    let primary = start(builder());
    for number in 0..2000 {
        primary.command(&["SADD", &format!("set:{}", number % 50), &number.to_string()]);
    }
    for mode in ["disabled", "swapdb"] {
        let journal = Journal::new("copied");
        let replica = start(logged(&journal).config("repl-diskless-load", mode));
        replica.command(&["SET", "of the", "replica's own"]);
        let port = super::port(&primary);
        replica.command(&["REPLICAOF", "127.0.0.1", &port]);
        in_sync(&primary, &replica);
        primary.command(&["SET", "after", mode]);
        in_sync(&primary, &replica);
        wait_until("the end of the rewrite", || {
            info(&replica, "aof_rewrites") != "0"
                && info(&replica, "aof_rewrite_in_progress") == "0"
        });
        drop(replica);
        let again = start(logged(&journal));
        let digest = |server: &Server| server.command(&["DEBUG", "DIGEST"]);
        assert_eq!(digest(&again), digest(&primary), "{mode}");
    }
}
