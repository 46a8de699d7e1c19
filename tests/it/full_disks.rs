//! Saving while disks fail, and a disk that is really full.

use crate::process::{text, Folder, Process};
use crate::wire::{Reply, Wire};
use redouble::disk::{Call, Fault, FaultyDisk};
use redouble::resp::reader::Value;
use redouble::Server;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

fn start(folder: &Folder, disk: &FaultyDisk) -> Server {
    let dir = folder.0.display().to_string();
    let builder = Server::builder().config("dir", &dir).without_tcp();
    builder.disk(Arc::new(disk.clone())).start().expect("it starts")
}

fn info(server: &Server, field: &str) -> String {
    let Value::Verbatim(_, info) = server.command(&["INFO", "persistence"]) else {
        panic!("no text")
    };
    let info = text(&info);
    let found = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    found.unwrap_or_else(|| panic!("no {field}")).to_string()
}

/// Saves; whether the server says that it went well.
fn save(server: &Server, how: &str) -> bool {
    let reply = server.command(&[how]);
    if how == "SAVE" {
        return reply == Value::Simple("OK".into());
    }
    assert!(matches!(&reply, Value::Simple(_)), "{reply:?}");
    while info(server, "rdb_bgsave_in_progress") == "1" {
        std::thread::yield_now();
    }
    info(server, "rdb_last_bgsave_status") == "ok"
}

/// Lets one call fail while the data is saved over an older snapshot; true when it was reached.
fn one_failure(how: &str, call: Call, fault: Fault, number: u64) -> bool {
    let what = format!("{how} {call:?} {fault:?} {number}");
    let folder = Folder::new(&format!("save-{how}-{call:?}-{fault:?}-{number}"));
    let disk = FaultyDisk::default();
    let server = start(&folder, &disk);
    // Long enough for several writes.
    let long: String = (0..60_000).map(|n: u32| format!("{n:x} ")).collect();
    server.command(&["SET", "long", &long]);
    server.command(&["SET", "which", "old"]);
    assert!(save(&server, "SAVE"), "{what}");
    server.command(&["SET", "which", "new"]);
    let before = disk.calls(call);
    disk.fail(call, number, fault);
    let went_well = save(&server, how);
    let reached = disk.calls(call) - before >= number;
    disk.cure();
    let is_whole = |expected: &[&str]| {
        let other = start(&folder, &FaultyDisk::default());
        let Value::Bulk(which) = other.command(&["GET", "which"]) else { panic!("{what}: lost") };
        let which = text(&which);
        assert!(expected.contains(&which.as_str()), "{what}: {which} of {expected:?}");
        assert_eq!(other.command(&["STRLEN", "long"]), Value::Int(long.len() as i64), "{what}");
    };
    match went_well {
        true => is_whole(&["new"]),
        // Only after the rename can the name of the new file be what is not certain.
        false => is_whole(if call == Call::SyncDir { &["old", "new"] } else { &["old"] }),
    }
    let is_harmless = matches!((call, fault), (Call::Write, Fault::Short));
    assert_eq!(went_well, !reached || is_harmless, "{what}");
    let left = fs::read_dir(&folder.0).expect("a directory").count();
    assert_eq!(left, 1, "{what}: something is left behind");
    assert!(save(&server, how), "{what}: it does not recover");
    is_whole(&["new"]);
    reached
}

#[test]
fn every_call_of_a_save_may_fail_once() {
    let mut reached = 0;
    for how in ["SAVE", "BGSAVE"] {
        for call in [Call::Open, Call::Write, Call::Sync, Call::SyncDir, Call::Rename] {
            for fault in [Fault::Io, Fault::NoSpace, Fault::Short] {
                for number in 1..=3 {
                    reached += u32::from(one_failure(how, call, fault, number));
                }
            }
        }
    }
    assert!(reached >= 36, "only {reached} calls failed");
}

/// A small file system of its own, unmounted at the end.
struct Small(PathBuf);

impl Small {
    fn mount(folder: &Folder) -> Option<Small> {
        let path = folder.0.clone();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
            .arg(&path)
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then_some(Small(path))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).output();
    }
}

fn ask(wire: &mut Wire, words: &[&str]) -> Reply {
    wire.call(words).expect("a reply")
}

/// Writes until the disk is full; how many writes were answered. The one that met the end waits
/// for room, and another connection hears why.
fn fill_up(process: &Process, value: &str) -> usize {
    let (mut writer, mut other) = (process.wire(), process.wire());
    let mut answered = 0;
    loop {
        writer.send(&crate::wire::request(&["SET", &format!("key:{answered}"), value]));
        loop {
            match writer.wait(std::time::Duration::from_millis(20)) {
                Ok(Some(Reply::Status(_))) => break,
                Ok(Some(Reply::Error(error))) => {
                    assert!(error.starts_with(b"MISCONF "), "{}", text(&error));
                    return answered;
                }
                Ok(None) => {
                    if let Reply::Error(error) = ask(&mut other, &["SET", "other", "x"]) {
                        let error = text(&error);
                        assert!(error.contains("No space left on device"), "{error}");
                        return answered;
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        answered += 1;
    }
}

#[test]
fn a_full_disk_stops_writes_and_not_reads_until_there_is_room() {
    let folder = Folder::new("small-disk");
    let Some(_small) = Small::mount(&folder) else {
        return println!("skipped: no file system can be mounted here");
    };
    let dir = folder.path("");
    let ballast = folder.path("ballast");
    fs::write(&ballast, vec![0; 1 << 20]).expect("room");
    let args = ["--appendonly", "yes", "--dir", &dir, "--auto-aof-rewrite-percentage", "0"];
    let process = Process::start(&args);
    let value = "v".repeat(10_000);
    let answered = fill_up(&process, &value);
    assert!(answered > 100, "{answered}");
    let mut wire = process.wire();
    assert_eq!(ask(&mut wire, &["STRLEN", "key:0"]), Reply::Int(10_000));
    // There is no room for a snapshot either, and the one that cannot be written leaves nothing.
    ask(&mut wire, &["CONFIG", "SET", "rdbcompression", "no"]);
    ask(&mut wire, &["BGSAVE"]);
    loop {
        let Reply::Bulk(info) = ask(&mut wire, &["INFO", "persistence"]) else { panic!() };
        let info = text(&info);
        if info.contains("rdb_bgsave_in_progress:0") {
            assert!(info.contains("rdb_last_bgsave_status:err"), "{info}");
            break;
        }
    }
    let names = fs::read_dir(&folder.0).expect("a directory");
    let names = names.filter_map(|name| name.ok()?.file_name().into_string().ok());
    let temporary: Vec<String> = names.filter(|name| name.contains("temp")).collect();
    assert_eq!(temporary, [""; 0]);
    fs::remove_file(&ballast).expect("it was there");
    while matches!(ask(&mut wire, &["SET", "after", "x"]), Reply::Error(_)) {
        std::thread::yield_now();
    }
    // Dropping it kills it.
    drop(process);
    let process = Process::start(&args);
    let mut wire = process.wire();
    for key in (0..answered).map(|number| format!("key:{number}")).chain(["after".to_string()]) {
        assert_eq!(ask(&mut wire, &["EXISTS", &key]), Reply::Int(1), "{key} is lost");
    }
}
