//! Rewrites of the append-only file that meet each other.

use crate::process::Folder;
use crate::watched::{Watched, Watcher};
use redouble::disk::Call;
use redouble::Server;
use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// A disk on which syncs of some files take until the test lets them go on.
#[derive(Clone, Debug, Default)]
struct GatedDisk(Arc<Gates>);

#[derive(Debug, Default)]
struct Gates {
    /// Ends of names.
    closed: Mutex<HashSet<&'static str>>,
    /// Files that have come to a gate.
    arrived: Mutex<HashSet<&'static str>>,
}

impl GatedDisk {
    fn close(&self, name: &'static str) {
        self.0.closed.lock().expect("no panic").insert(name);
    }

    fn open_gate(&self, name: &'static str) {
        self.0.closed.lock().expect("no panic").remove(name);
    }

    fn await_arrival(&self, name: &'static str) {
        while !self.0.arrived.lock().expect("no panic").contains(name) {
            std::thread::yield_now();
        }
    }

    fn pass(&self, path: &str) {
        loop {
            let closed = self.0.closed.lock().expect("no panic");
            let Some(name) = closed.iter().find(|name| path.ends_with(**name)).copied() else {
                return;
            };
            drop(closed);
            self.0.arrived.lock().expect("no panic").insert(name);
            std::thread::yield_now();
        }
    }
}

impl Watcher for GatedDisk {
    fn before(&self, call: Call, path: &Path) {
        if call == Call::Sync {
            self.pass(&path.display().to_string());
        }
    }
}

fn start(folder: &Folder, on: &str, disk: &GatedDisk) -> Server {
    let dir = folder.0.display().to_string();
    let builder = Server::builder().config("dir", &dir).config("appendonly", on).without_tcp();
    builder.disk(Arc::new(Watched(disk.clone()))).start().expect("it starts")
}

/// The first rewrite is cancelled while its base is forced to disk, and goes on when another one
/// writes its increment already.
#[test]
fn a_cancelled_rewrite_puts_nothing_in_place() {
    let folder = Folder::new("aof-cancelled");
    let disk = GatedDisk::default();
    let (first, second) = ("-1.aof", "-2.aof");
    disk.close(first);
    disk.close(second);
    let server = start(&folder, "no", &disk);
    server.command(&["SET", "early", "1"]);
    server.command(&["CONFIG", "SET", "appendonly", "yes"]);
    disk.await_arrival(first);
    server.command(&["SET", "between", "1"]);
    server.command(&["CONFIG", "SET", "appendonly", "no"]);
    server.command(&["CONFIG", "SET", "appendonly", "yes"]);
    disk.await_arrival(second);
    server.command(&["SET", "late", "1"]);
    disk.open_gate(first);
    while server.shared().lock().persistence.running.len() > 1 {
        std::thread::yield_now();
    }
    let manifest = folder.0.join("appendonlydir/appendonly.aof.manifest");
    assert!(!manifest.exists(), "{:?}", std::fs::read_to_string(&manifest));
    disk.open_gate(second);
    while server.shared().lock().aof.rewrites.running.is_some() {
        std::thread::yield_now();
    }
    server.command(&["SET", "last", "1"]);
    drop(server);
    let server = start(&folder, "yes", &disk);
    assert_eq!(server.command(&["EXISTS", "early", "between", "late", "last"]), 4);
}
