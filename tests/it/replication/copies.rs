//! Full copies: what becomes of the file that one is received to, and of those who share one with a
//! replica that takes nothing.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use redouble::disk::{Call, FaultyDisk, Open};
use redouble::resp::reader::Value;
use redouble::{Builder, Server};

use super::{builder, in_sync, info, start, wait_until, Journal};
use crate::patience::PATIENCE;
use crate::watched::{Watched, Watcher};
use crate::wire::request;

fn by_file(journal: &Journal, primary: &Server) -> Builder {
    let builder = journal.kept_by(builder()).config("repl-diskless-load", "disabled");
    builder.replica_of(primary.addr().expect("an address"))
}

#[test]
fn a_copy_is_kept_and_a_restart_goes_on_from_it() {
    let primary = start(builder());
    primary.command(&["SET", "key", "before"]);
    for removes in ["no", "yes"] {
        let journal = Journal::new("kept");
        let kept = || by_file(&journal, &primary).config("rdb-del-sync-files", removes);
        // Nothing is ever saved.
        let replica = start(kept().config("save", ""));
        in_sync(&primary, &replica);
        drop(replica);
        assert_eq!(journal.0.join("dump.rdb").exists(), removes == "no");
        primary.command(&["SET", "key", "meanwhile"]);
        let replica = start(kept().config("save", ""));
        in_sync(&primary, &replica);
        let (full, partial) = (info(&primary, "sync_full"), info(&primary, "sync_partial_ok"));
        let wanted = if removes == "no" { ("1", "1") } else { ("3", "1") };
        assert_eq!((&*full, &*partial), wanted);
    }
}

/// A server that keeps no files gives and takes copies without any, whatever is configured.
#[test]
fn copies_between_servers_without_files_touch_no_disk() {
    for (of_primary, of_replica) in [("no", "disabled"), ("no", "swapdb"), ("yes", "on-empty-db")] {
        let disk = FaultyDisk::default();
        let on_disk = |builder: Builder| start(builder.disk(Arc::new(disk.clone())));
        let primary = on_disk(builder().config("repl-diskless-sync", of_primary));
        primary.command(&["DEBUG", "POPULATE", "20000", "key", "100"]);
        let replica = builder().config("repl-diskless-load", of_replica);
        let replica = on_disk(replica.replica_of(primary.addr().expect("an address")));
        in_sync(&primary, &replica);
        let port = super::port(&primary);
        let own = on_disk(builder().config("repl-diskless-load", of_replica));
        own.command(&["SET", "own", "value"]);
        own.command(&["REPLICAOF", "127.0.0.1", &port]);
        in_sync(&primary, &own);
        let touched = Call::ALL.map(|call| disk.calls(call));
        assert_eq!(touched, [0; Call::ALL.len()], "{of_primary} {of_replica}");
    }
}

#[test]
fn a_copy_that_cannot_be_kept_changes_nothing() {
    let primary = start(builder());
    primary.command(&["SET", "key", "of the primary"]);
    let journal = Journal::new("unkept");
    journal.spoil_saves();
    let replica = builder().config("dbfilename", "other.rdb");
    let replica = start(journal.kept_by(replica).config("enable-protected-configs", "yes"));
    replica.command(&["SET", "own", "value"]);
    replica.command(&["CONFIG", "SET", "dbfilename", "dump.rdb"]);
    replica.command(&["REPLICAOF", "127.0.0.1", &super::port(&primary)]);
    let line = "Failed trying to rename the temp DB into dump.rdb";
    wait_until("a line that says why", || journal.text().contains(line));
    assert_eq!(replica.command(&["GET", "own"]), Value::Bulk(b"value".to_vec()));
    std::fs::remove_dir_all(journal.0.join("dump.rdb")).expect("removed");
    in_sync(&primary, &replica);
    assert_eq!(replica.command(&["DBSIZE"]), Value::Int(1));
}

/// A disk on which a BGSAVE stands still at its end, just before its file gets its name, until a
/// received copy has got that name; then it comes first, if it may.
#[derive(Clone, Debug, Default)]
struct Late(Arc<Steps>);

#[derive(Debug, Default)]
struct Steps {
    stands_still: AtomicBool,
    may_go_on: AtomicBool,
    is_over: AtomicBool,
}

fn is_of_a_save(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("temp-bg"))
}

impl Watcher for Late {
    fn before(&self, call: Call, _: &Path) {
        // Follows the renaming of the copy.
        if call == Call::SyncDir {
            self.0.may_go_on.store(true, Ordering::SeqCst);
            wait_until("the end of the save", || self.0.is_over.load(Ordering::SeqCst));
        }
    }

    fn after(&self, call: Call, path: &Path) {
        match call {
            _ if !is_of_a_save(path) => {}
            Call::Sync => {
                self.0.stands_still.store(true, Ordering::SeqCst);
                wait_until("the copy", || self.0.may_go_on.load(Ordering::SeqCst));
            }
            Call::Rename | Call::Remove => self.0.is_over.store(true, Ordering::SeqCst),
            _ => {}
        }
    }
}

#[test]
fn a_save_at_its_end_does_not_take_the_place_of_a_copy() {
    let primary = start(builder());
    primary.command(&["SET", "key", "of the primary"]);
    let (journal, disk) = (Journal::new("late"), Late::default());
    let kept = || journal.kept_by(builder()).config("save", "");
    let replica = start(kept().disk(Arc::new(Watched(disk.clone()))));
    replica.command(&["SET", "own", "value"]);
    replica.command(&["BGSAVE"]);
    wait_until("the save's end", || disk.0.stands_still.load(Ordering::SeqCst));
    replica.command(&["REPLICAOF", "127.0.0.1", &super::port(&primary)]);
    in_sync(&primary, &replica);
    drop(replica);
    let restarted = start(kept());
    assert_eq!(restarted.command(&["DEBUG", "DIGEST"]), primary.command(&["DEBUG", "DIGEST"]));
}

/// A disk that reads, closes and removes copies for replicas only while others are answered.
#[derive(Clone, Debug, Default)]
struct Polite(Arc<Mutex<Option<Server>>>, Arc<AtomicUsize>);

impl Polite {
    /// Another thread asks the server for something.
    fn look(&self) {
        let Some(server) = self.0.lock().expect("not poisoned").clone() else { return };
        let (sender, receiver) = channel();
        std::thread::spawn(move || sender.send(server.command(&["PING"])));
        let answer = receiver.recv_timeout(PATIENCE);
        assert!(answer.is_ok(), "who has the lock waits for the disk");
        self.1.fetch_add(1, Ordering::SeqCst);
    }
}

fn is_for_replicas(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("temp-repl"))
}

impl Watcher for Polite {
    fn before(&self, call: Call, path: &Path) {
        if matches!(call, Call::Read | Call::Remove) && is_for_replicas(path) {
            self.look();
        }
    }

    fn closes(&self, how: Open, path: &Path) {
        if how == Open::Read && is_for_replicas(path) {
            self.look();
        }
    }
}

#[test]
fn nobody_waits_for_the_file_of_a_copy() {
    let (journal, disk) = (Journal::new("polite"), Polite::default());
    let primary = journal.kept_by(builder()).config("save", "").config("rdbcompression", "no");
    let primary = primary.config("repl-diskless-sync", "no").disk(Arc::new(Watched(disk.clone())));
    let primary = start(primary);
    primary.command(&["DEBUG", "POPULATE", "20", "key", "100000"]);
    *disk.0.lock().expect("not poisoned") = Some(primary.clone());
    let replica = start(builder().replica_of(primary.addr().expect("an address")));
    in_sync(&primary, &replica);
    // It was removed, read more than once, and closed.
    wait_until("the end of the file", || disk.1.load(Ordering::SeqCst) > 3);
    disk.0.lock().expect("not poisoned").take();
}

#[test]
fn a_replica_that_takes_nothing_of_a_shared_copy_is_cut_off_alone() {
    let journal = Journal::new("shared");
    let primary = journal.kept_by(builder()).config("save", "").config("repl-timeout", "4");
    let primary = start(
        primary
            .config("repl-diskless-sync-delay", "3600")
            .config("rdbcompression", "no")
            .config("repl-diskless-sync-max-replicas", "2"),
    );
    primary.command(&["DEBUG", "POPULATE", "1000", "key", "100000"]);
    let mut stuck = TcpStream::connect(primary.addr().expect("an address")).expect("connects");
    stuck.write_all(&request(&["REPLCONF", "capa", "eof"])).expect("sent");
    stuck.write_all(&request(&["PSYNC", "?", "-1"])).expect("sent");
    wait_until("the stuck one", || info(&primary, "connected_slaves") == "1");
    let address = primary.addr().expect("an address");
    let replica = start(builder().config("repl-diskless-load", "swapdb").replica_of(address));
    in_sync(&primary, &replica);
    let log = journal.text();
    let cut_off = "Disconnecting timedout replica (full sync)";
    assert_eq!(log.matches(cut_off).count(), 1, "{log}");
    assert!(log.contains("Diskless rdb transfer, done reading from pipe, 1 replicas still up."));
    assert_eq!(info(&primary, "sync_full"), "2");
}

#[test]
fn an_append_only_file_is_a_point_of_no_history() {
    let primary = start(builder());
    primary.command(&["SET", "key", "value"]);
    let journal = Journal::new("unknown");
    for copies in ["1", "2"] {
        // Redis: what is loaded from it may be less than what the primary was told of.
        let replica = start(by_file(&journal, &primary).config("appendonly", "yes"));
        in_sync(&primary, &replica);
        assert_eq!(info(&primary, "sync_full"), copies);
        drop(replica);
    }
}
