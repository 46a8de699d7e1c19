//! Who comes before the data is loaded: a server that listens already has data that it does not
//! know yet, and nobody may take the emptiness for it.

use crate::process::Folder;
use crate::wire::{Reply, Wire};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

const KEYS: i64 = 2000;
const ROUNDS: usize = 8;

struct Early(Child, Wire, SocketAddr);

impl Early {
    /// Connected as soon as the port accepts.
    fn start(dir: &str) -> Early {
        let port = crate::server::free_port().expect("a port");
        let child = Command::new(env!("CARGO_BIN_EXE_redouble"))
            .args(["--port", &port.to_string(), "--dir", dir, "--save", "3600 1"])
            .stdout(Stdio::null())
            .spawn()
            .expect("it starts");
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let wire = loop {
            match Wire::connect(addr) {
                Ok(wire) => break wire,
                Err(_) => std::thread::yield_now(),
            }
        };
        Early(child, wire, addr)
    }

    fn call(&mut self, words: &[&str]) -> Reply {
        self.1.call(words).expect("a reply")
    }

    /// Waits until the data is there.
    fn loaded(&mut self) {
        while matches!(self.call(&["DBSIZE"]), Reply::Error(_)) {
            std::thread::yield_now();
        }
    }
}

impl Drop for Early {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn filled(name: &str) -> Folder {
    let folder = Folder::new(name);
    let mut server = Early::start(&folder.path(""));
    server.loaded();
    for number in 0..KEYS {
        server.call(&["SET", &format!("key{number}"), "value"]);
    }
    assert_eq!(server.call(&["SAVE"]), Reply::Status(b"OK".to_vec()));
    folder
}

#[test]
fn commands_before_the_data_is_there_are_refused() {
    let folder = filled("early-commands");
    let commands: [&[&str]; 4] =
        [&["SAVE"], &["SET", "key1", "new"], &["FLUSHALL"], &["PSYNC", "?", "-1"]];
    for command in commands {
        for _ in 0..ROUNDS {
            let before = std::fs::read(folder.path("dump.rdb")).expect("the snapshot");
            let mut server = Early::start(&folder.path(""));
            if let Reply::Error(_) = server.call(command) {
                server.loaded();
                assert_eq!(server.call(&["DBSIZE"]), Reply::Int(KEYS), "{command:?}");
                let after = std::fs::read(folder.path("dump.rdb")).expect("the snapshot");
                assert!(before == after, "{command:?}");
            } else {
                // It came after the load, and saw all of it.
                if command != ["FLUSHALL"] {
                    let mut other = Wire::connect(server.2).expect("connected");
                    assert_eq!(other.call(&["DBSIZE"]).expect("a reply"), Reply::Int(KEYS));
                }
                drop(server);
                std::fs::write(folder.path("dump.rdb"), before).expect("the snapshot");
            }
        }
    }
}

#[test]
fn an_end_before_the_data_is_there_leaves_the_files() {
    let folder = filled("early-end");
    for round in 0..2 * ROUNDS {
        let before = std::fs::read(folder.path("dump.rdb")).expect("the snapshot").len();
        let mut server = Early::start(&folder.path(""));
        if round % 2 == 0 {
            let pid = server.0.id().to_string();
            let sent = Command::new("kill").args(["-s", "TERM", &pid]).status();
            assert!(sent.expect("kill runs").success());
        } else {
            let _ = server.1.call(&["SHUTDOWN", "SAVE"]);
        }
        server.0.wait().expect("it ends");
        let after = std::fs::read(folder.path("dump.rdb")).expect("the snapshot").len();
        // A save after the load names another time and memory, but the same keys.
        assert!(after.abs_diff(before) < 100, "{before} bytes have become {after}");
    }
}
