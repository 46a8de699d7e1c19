//! Records whose replies nobody waits for: they are written all the same.

use crate::patience::PATIENCE;
use crate::process::Folder;
use crate::wire::{request, Wire};
use redouble::resp::reader::Value;
use redouble::Server;
use std::time::{Duration, Instant};

fn start(folder: &Folder, policy: &str) -> Server {
    let dir = folder.0.display().to_string();
    let builder = Server::builder().config("dir", &dir).config("appendonly", "yes");
    builder.config("appendfsync", policy).start().expect("it starts")
}

/// Waits until `wanted` stands in the increment.
fn await_record(folder: &Folder, wanted: &str) {
    let path = folder.path("appendonlydir/appendonly.aof.1.incr.aof");
    let until = Instant::now() + PATIENCE;
    loop {
        let log = std::fs::read(&path).expect("a file");
        if log.windows(wanted.len()).any(|part| part == wanted.as_bytes()) {
            return;
        }
        assert!(Instant::now() < until, "no {wanted:?} in {}", log.escape_ascii());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_a_client_writes_that_hears_nothing_is_written() {
    for policy in ["no", "everysec", "always"] {
        let folder = Folder::new(&format!("unasked-muted-{policy}"));
        let server = start(&folder, policy);
        let mut wire = Wire::connect(server.addr().expect("an address")).expect("a connection");
        wire.send(&request(&["CLIENT", "REPLY", "OFF"]));
        for value in ["first", "second"] {
            wire.send(&request(&["SET", "key", value]));
            await_record(&folder, value);
        }
    }
}

#[test]
fn what_expires_in_an_idle_server_is_written() {
    for policy in ["no", "everysec", "always"] {
        let folder = Folder::new(&format!("unasked-expired-{policy}"));
        let server = start(&folder, policy);
        server.command(&["SET", "key", "value", "PX", "20"]);
        await_record(&folder, "DEL");
        if policy != "no" {
            let counts = Value::Array(vec![Value::Int(1), Value::Int(0)]);
            assert_eq!(server.command(&["WAITAOF", "1", "0", "0"]), counts);
        }
    }
}
