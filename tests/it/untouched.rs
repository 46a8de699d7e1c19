//! Files that a start reads stay as they are: nothing is cut off or overwritten on the way to a
//! refusal, or while the data is not all there.

use crate::process::Folder;
use redouble::resp::reader::Value;
use redouble::{Builder, Server, StartError};
use std::fs;

fn with_log(folder: &Folder) -> Builder {
    let dir = folder.0.display().to_string();
    Server::builder().config("dir", &dir).config("appendonly", "yes").without_tcp()
}

fn set(key: &str) -> String {
    format!("*3\r\n$3\r\nSET\r\n$1\r\n{key}\r\n$1\r\nv\r\n")
}

/// Who starts it again after a refusal must not find a file that looks whole.
#[test]
fn a_torn_file_before_others_is_refused_again_and_again() {
    let folder = Folder::new("untouched-torn");
    let dir = folder.path("appendonlydir");
    fs::create_dir_all(&dir).expect("a folder");
    let manifest = "file a.1.incr.aof seq 1 type i\nfile a.2.incr.aof seq 2 type i\n";
    let torn = set("a") + "*3\r\n$3\r\nSET\r\n";
    for (name, content) in
        [("a.manifest", manifest), ("a.1.incr.aof", &torn), ("a.2.incr.aof", &set("b"))]
    {
        fs::write(format!("{dir}/{name}"), content).expect("it is written");
    }
    for tail in ["0", "1000"] {
        let builder = with_log(&folder).config("appendfilename", "a");
        let started = builder.config("aof-load-corrupt-tail-max-size", tail).start();
        assert!(matches!(started, Err(StartError::Data(_))), "it starts with a hole");
        assert_eq!(fs::read_to_string(format!("{dir}/a.1.incr.aof")).expect("a file"), torn);
    }
}

/// The snapshot file is what one would go back to if the log could not be read to its end.
#[test]
fn a_flush_that_is_played_again_leaves_the_snapshot_file() {
    let folder = Folder::new("untouched-flush");
    let dump = || fs::read(folder.path("dump.rdb")).expect("a file");
    let before = {
        let dir = folder.0.display().to_string();
        let server = Server::builder().config("dir", &dir).without_tcp().start();
        let server = server.expect("it starts");
        server.command(&["SET", "key", "value"]);
        server.save().expect("it is saved");
        dump()
    };
    let log = set("a") + "*1\r\n$8\r\nFLUSHALL\r\n" + &set("b");
    fs::write(folder.path("appendonly.aof"), log).expect("it is written");
    let server = with_log(&folder).config("save", "3600 1").start().expect("it starts");
    assert_eq!(server.command(&["DBSIZE"]), Value::Int(1));
    assert_eq!(dump(), before);
}

/// A backup may have lost its manifest, and the data is in it all the same.
#[test]
fn files_that_no_manifest_names_are_left_alone() {
    let folder = Folder::new("untouched-unnamed");
    let dir = folder.path("appendonlydir");
    fs::create_dir_all(&dir).expect("a folder");
    let names = ["appendonly.aof.1.base.rdb", "appendonly.aof.1.incr.aof"];
    let old = [&b"REDIS0011\xfe\x00\x00\x01a\x01b\xff\0\0\0\0\0\0\0\0"[..], set("b").as_bytes()]
        .map(<[u8]>::to_vec);
    for (name, content) in names.iter().zip(&old) {
        fs::write(format!("{dir}/{name}"), content).expect("it is written");
    }
    for starts in 1..=2 {
        let server = with_log(&folder).start().expect("it starts");
        assert_eq!(server.command(&["INCR", "starts"]), Value::Int(starts));
        assert_eq!(server.command(&["DBSIZE"]), Value::Int(1));
    }
    for (name, content) in names.iter().zip(&old) {
        assert_eq!(&fs::read(format!("{dir}/{name}")).expect("a file"), content, "{name}");
    }
}
