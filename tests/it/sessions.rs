//! Runs `tests/sessions/**/*.session`.
//!
//! * `SESSIONS=strings/set cargo test --test it sessions` plays only paths that contain the text.
//! * `REDIS_SERVER=redis-server cargo test --test it sessions` plays them to a genuine server too.
//! * `RECORD=1` with `REDIS_SERVER` writes its replies into the files.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;

use crate::server::{Genuine, Ours};
use crate::session::parse::{self, Session};
use crate::session::record::{fill, render};
use crate::session::run::{self, Server};

/// Where the session files are.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sessions")
}

/// Every session file whose path contains `wanted`.
pub fn files(wanted: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(".session")
                && path.to_string_lossy().contains(wanted)
            {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// Plays every file to a server of its own, several files at a time.
fn play_all(play: impl Fn(&Path) -> Result<usize, String> + Sync) {
    let files = files(&std::env::var("SESSIONS").unwrap_or_default());
    let (next, checked) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match play(path) {
                        Ok(replies) => drop(checked.fetch_add(replies, Ordering::Relaxed)),
                        Err(why) => failures.lock().unwrap().push((path, why)),
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap();
    failures.sort();
    let mut report = String::new();
    for (path, why) in &failures {
        let path = path.strip_prefix(root()).unwrap_or(path);
        let _ = write!(report, "\n{}: {why}", path.display());
    }
    let (files, checked) = (files.len(), checked.into_inner());
    println!("{files} session files, {checked} replies agree, {} files fail", failures.len());
    assert!(failures.is_empty(), "{report}");
}

fn read(path: &Path) -> Result<Session, String> {
    let text = fs::read_to_string(path).map_err(|e| e.to_string())?;
    parse::session(&text)
}

/// Plays all blocks of a file, reports every block that fails.
fn check(path: &Path, server: &mut dyn Server) -> Result<usize, String> {
    let session = read(path)?;
    let mut checked = 0;
    let mut failures = Vec::new();
    for block in session.blocks.iter().filter(|block| block.acts()) {
        match run::check(block, server) {
            Ok(replies) => checked += replies,
            Err(why) => failures.push(why),
        }
    }
    if failures.is_empty() {
        return Ok(checked);
    }
    Err(failures.join("\n"))
}

fn record(path: &Path, server: &mut dyn Server) -> Result<usize, String> {
    let mut session = read(path)?;
    let mut recorded = 0;
    for block in session.blocks.iter_mut().filter(|block| block.acts()) {
        let seen = run::record(block, server)?;
        recorded += seen.len();
        fill(block, &seen);
    }
    fs::write(path, render(&session)).map_err(|e| e.to_string())?;
    Ok(recorded)
}

#[test]
fn sessions_agree_with_ours() {
    play_all(|path| check(path, &mut Ours::start(&[])?));
}

#[test]
fn sessions_agree_with_the_genuine_server() {
    let Some(command_line) = Genuine::command_line() else {
        println!("skipped: REDIS_SERVER names no genuine server");
        return;
    };
    let recording = std::env::var("RECORD").is_ok_and(|value| value == "1");
    play_all(|path| {
        let mut server = Genuine::start(&command_line, &[]).map_err(|e| e.to_string())?;
        if recording {
            record(path, &mut server)
        } else {
            check(path, &mut server)
        }
    });
}
