//! Commands of the primary that fail here, and disks that do not keep what it says: what a replica
//! tells, counts, and ends for.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use crate::patience::PATIENCE;
use crate::process::{text, Folder, Process};
use crate::wire::{request, Reply, Wire};

/// A snapshot of nothing.
const EMPTY: &[u8] = b"REDIS0009\xff\0\0\0\0\0\0\0\0";

/// A primary whose stream the test writes.
struct Author {
    stream: TcpStream,
    replica: Process,
}

impl Author {
    fn of(args: &[&str]) -> Author {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port().to_string();
        // Copies leave no file behind.
        let place = ["--replicaof", "127.0.0.1", &port, "--repl-diskless-load", "swapdb"];
        let replica = Process::start(&[args, &place].concat());
        let (mut stream, _) = listener.accept().expect("a replica");
        let mut heard = String::new();
        while !heard.contains("PSYNC") {
            let mut input = [0; 4096];
            let len = stream.read(&mut input).expect("a request");
            let said = text(&input[..len]);
            for request in said.split('*').skip(1).filter(|one| !one.contains("PSYNC")) {
                let reply: &[u8] = if request.contains("PING") { b"+PONG\r\n" } else { b"+OK\r\n" };
                stream.write_all(reply).expect("a reply");
            }
            heard.push_str(&said);
        }
        let head = format!("+FULLRESYNC {} 1\r\n${}\r\n", "a".repeat(40), EMPTY.len());
        stream.write_all(head.as_bytes()).expect("sent");
        stream.write_all(EMPTY).expect("sent");
        Author { stream, replica }
    }

    fn says(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        self.stream.write_all(&request(&words)).expect("sent");
    }

    fn info(&self, field: &str) -> String {
        let Ok(Reply::Bulk(info)) = self.replica.wire().call(&["INFO", "everything"]) else {
            panic!("no INFO");
        };
        let info = text(&info);
        let line = info.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
        line.unwrap_or_default().to_string()
    }

    fn until(&self, what: &str, holds: impl Fn(&mut Wire) -> bool) {
        let (began, mut wire) = (Instant::now(), self.replica.wire());
        while !holds(&mut wire) {
            assert!(began.elapsed() < PATIENCE, "{what} did not come");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    fn has(&self, key: &str) {
        self.until(key, |wire| wire.call(&["EXISTS", key]).ok() == Some(Reply::Int(1)));
    }

    /// The replica ends; how, and its log.
    fn ends(self) -> (Option<i32>, String) {
        self.replica.end()
    }
}

#[test]
fn what_fails_here_is_told_counted_and_survived() {
    let mut author = Author::of(&[]);
    let told = "== CRITICAL == This replica is sending an error to its master: ";
    author.says("SET a 1");
    let cases: [(&[&str], &str, &str); 4] = [
        (&["LPUSH a x"], "'-WRONGTYPE ", "'lpush'"),
        (&["MULTI", "LPUSH a x", "SET b 1", "EXEC"], "'-WRONGTYPE ", "'exec'"),
        (&["NONSENSE x"], "'unknown command 'NONSENSE'", "'<unknown>'"),
        (&["XGROUP CREATE s g 0"], "'-ERR The XGROUP ", "'xgroup|create'"),
    ];
    for (number, (lines, error, command)) in cases.into_iter().enumerate() {
        lines.iter().for_each(|line| author.says(line));
        author.says(&format!("SET mark:{number} x"));
        author.has(&format!("mark:{number}"));
        author.replica.read_until(&format!("{told}{error}"));
        author.replica.read_until(&format!("after processing the command {command}"));
        assert_eq!(author.info("unexpected_error_replies"), (number + 1).to_string());
    }
    author.has("b");
    // What the primary said before it.
    author.replica.read_until(r#"Latest backlog is: '"*3\r\n$3\r\nSET\r\n"#);
    author.replica.read_until(r#"$6\r\nmark:2\r\n$1\r\nx\r\n"'"#);
    let mut author = Author::of(&["--hide-user-data-from-log", "yes"]);
    author.says("SET a secret");
    author.has("a");
    author.says("LPUSH a x");
    author.replica.read_until("skip logging backlog content");
    author.replica.signal("TERM");
    let (_, log) = author.ends();
    assert!(!log.contains("secret"), "{log}");
}

#[test]
fn a_replica_ends_when_it_is_told_to_and_nobody_else_writes_to_it() {
    // Whatever else the clients of a writable replica do.
    let mut author =
        Author::of(&["--propagation-error-behavior", "panic", "--replica-read-only", "no"]);
    ["SET a 1", "LPUSH a x", "SET b 1"].into_iter().for_each(|line| author.says(line));
    author.has("b");
    for (behavior, exits, code) in [("panic", "no", None), ("panic-on-replicas", "yes", Some(1))] {
        let args = ["--propagation-error-behavior", behavior, "--use-exit-on-panic", exits];
        let mut author = Author::of(&args);
        ["SET a 1", "LPUSH a x"].into_iter().for_each(|line| author.says(line));
        let (ended, log) = author.ends();
        assert_eq!(ended, code, "{log}");
        let why = "Guru Meditation: This replica panicked sending an error to its master after \
                   processing the command 'lpush'";
        assert!(log.contains(why), "{log}");
    }
}

/// A replica that cannot save.
fn without_a_disk(folder: &Folder, ignores: &str) -> Author {
    let (dir, file) = (folder.path(""), folder.0.join("none.rdb"));
    let _ = std::fs::remove_dir_all(&file);
    let args = ["--dir", &dir, "--dbfilename", "none.rdb"];
    let author =
        Author::of(&[&args[..], &["--replica-ignore-disk-write-errors", ignores]].concat());
    let mut wire = author.replica.wire();
    let up = |wire: &mut Wire| {
        let info = wire.call(&["INFO", "replication"]);
        matches!(info, Ok(Reply::Bulk(info)) if text(&info).contains("master_link_status:up"))
    };
    author.until("the link", up);
    // What has been copied is kept under that name.
    let _ = std::fs::remove_file(&file);
    std::fs::create_dir_all(file.join("full")).expect("a folder");
    wire.call(&["CONFIG", "SET", "save", "100000 1"]).expect("set");
    wire.call(&["BGSAVE"]).expect("begun");
    author.until("a failure", |wire| {
        matches!(wire.call(&["PING"]), Ok(Reply::Error(error)) if error.starts_with(b"MISCONF"))
    });
    author
}

#[test]
fn a_replica_that_cannot_keep_its_primary_s_writes_ends_or_goes_on() {
    let folder = Folder::new("discord");
    let told = "Replica is applying a command even though it is unable to write to disk.";
    let mut author = without_a_disk(&folder, "yes");
    ["MULTI", "SET a 1", "EXEC"].into_iter().for_each(|line| author.says(line));
    author.has("a");
    author.replica.read_until(told);
    drop(author);
    let mut author = without_a_disk(&folder, "no");
    // Redis: nothing is written by a PING, but it is told of.
    author.says("PING");
    author.replica.read_until(told);
    author.says("SET a 1");
    let (ended, log) = author.ends();
    assert_eq!(ended, None, "{log}");
    assert!(log.contains("Guru Meditation: Replica was unable to write command to disk."), "{log}");
}

#[test]
fn a_file_that_fails_ends_a_server_that_is_told_to() {
    let folder = Folder::new("discord-file");
    let dir = folder.path("");
    std::fs::create_dir_all(folder.0.join("appendonlydir")).expect("a folder");
    let file = [request(&["SET", "a", "1"]), request(&["LPUSH", "a", "x"])].concat();
    let manifest = "file appendonly.aof.1.incr.aof seq 1 type i\n";
    let path = folder.0.join("appendonlydir");
    std::fs::write(path.join("appendonly.aof.1.incr.aof"), file).expect("written");
    std::fs::write(path.join("appendonly.aof.manifest"), manifest).expect("written");
    let told = "== CRITICAL == This server is sending an error to its AOF-loading-client: \
                '-WRONGTYPE Operation against a key holding the wrong kind of value' after \
                processing the command 'lpush'";
    let args = ["--dir", &dir, "--appendonly", "yes", "--propagation-error-behavior"];
    let server = Process::start(&[&args[..], &["panic-on-replicas"]].concat());
    assert!(server.log.contains(told), "{}", server.log);
    drop(server);
    let (ended, log) = Process::spawn(&[&args[..], &["panic"]].concat()).end();
    assert_eq!(ended, None, "{log}");
    let why = "Guru Meditation: This server panicked sending an error to its AOF-loading-client";
    assert!(log.contains(told) && log.contains(why), "{log}");
}
