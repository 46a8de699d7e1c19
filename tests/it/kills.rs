//! What was acknowledged survives `kill -9`: writers number their writes, the process dies at a
//! random moment, and the next one must know every write that was answered, and no number twice
//! or out of order.
//!
//! `KILLS=1000 SEED=7 cargo test --release --test it killed` is the long run.

use crate::differential::number;
use crate::patience::PATIENCE;
use crate::process::{Folder, Process};
use crate::wire::{request, Reply, Wire};
use redouble::Server;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

const WRITERS: usize = 4;

/// Small and good enough to choose moments.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// One writer: the numbers it has sent, and those that were answered.
struct Writer {
    key: String,
    sent: Arc<AtomicU64>,
    answered: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

/// How a writer writes its next numbers, a different one each: plainly, many at once, in a
/// transaction, by a script.
fn requests(style: usize, key: &str, next: u64) -> (Vec<u8>, u64, usize) {
    let push = |number: u64| request(&["RPUSH", key, &number.to_string()]);
    match style {
        0 => (push(next), 1, 1),
        1 => ((0..8).flat_map(|more| push(next + more)).collect(), 8, 8),
        2 => {
            let inside = (0..3).flat_map(|more| push(next + more));
            let mut all = request(&["MULTI"]);
            all.extend(inside);
            all.extend(request(&["EXEC"]));
            (all, 3, 5)
        }
        _ => {
            let script = "for n = ARGV[1], ARGV[1] + 1 do redis.call('RPUSH', KEYS[1], n) end";
            (request(&["EVAL", script, "1", key, &next.to_string()]), 2, 1)
        }
    }
}

fn write(mut wire: Wire, style: usize, key: &str, sent: &AtomicU64, answered: &AtomicU64) {
    let mut next = 1;
    loop {
        let (bytes, numbers, replies) = requests(style, key, next);
        sent.store(next + numbers - 1, Ordering::SeqCst);
        wire.send(&bytes);
        for _ in 0..replies {
            match wire.wait(PATIENCE) {
                Ok(Some(Reply::Closed) | None) | Err(_) => return,
                Ok(Some(Reply::Error(error))) => panic!("{}", error.escape_ascii()),
                Ok(Some(_)) => {}
            }
        }
        next += numbers;
        answered.store(next - 1, Ordering::SeqCst);
    }
}

fn start_writers(process: &Process, round: usize) -> Vec<Writer> {
    let begin = |style: usize| {
        let key = format!("round:{round}:writer:{style}");
        let (sent, answered) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (own_key, own_sent, own_answered) = (key.clone(), sent.clone(), answered.clone());
        let wire = process.wire();
        let thread =
            std::thread::spawn(move || write(wire, style, &own_key, &own_sent, &own_answered));
        Writer { key, sent, answered, thread }
    };
    (0..WRITERS).map(begin).collect()
}

/// What the list at a key must be.
fn check(wire: &mut Wire, writer: &Writer, what: &str) -> u64 {
    let answered = writer.answered.load(Ordering::SeqCst);
    let sent = writer.sent.load(Ordering::SeqCst);
    let Ok(Reply::Array(items)) = wire.call(&["LRANGE", &writer.key, "0", "-1"]) else {
        panic!("no list");
    };
    let found = items.len() as u64;
    let numbers = items.into_iter().map(|item| match item {
        Reply::Bulk(text) => String::from_utf8_lossy(&text).parse::<u64>().expect("a number"),
        other => panic!("{other:?}"),
    });
    assert!(numbers.eq(1..=found), "{what}: {} is not in order", writer.key);
    assert!(
        (answered..=sent).contains(&found),
        "{what}: {} has {found} numbers; {answered} of {sent} were answered",
        writer.key
    );
    answered
}

/// Starts the server, lets it be written to, kills it; several times. Gives how many writes were
/// answered in all.
fn rounds(name: &str, policy: &str, rounds: usize, random: &mut Random, rewrites: bool) -> u64 {
    let folder = Folder::new(&format!("kills-{name}"));
    let dir = folder.0.display().to_string();
    let args = ["--appendonly", "yes", "--appendfsync", policy, "--dir", &dir];
    let mut writers: Vec<Writer> = Vec::new();
    let mut all_answered = 0;
    for round in 0..=rounds {
        if round % 3 == 2 {
            // It also dies while it loads.
            let loading = Process::spawn(&args);
            std::thread::sleep(Duration::from_micros(random.below(30_000)));
            drop(loading);
        }
        let process = Process::start(&args);
        let mut wire = process.wire();
        for writer in writers.drain(..) {
            all_answered += check(&mut wire, &writer, &format!("{name}, round {round}"));
            assert!(writer.thread.join().is_ok());
        }
        if round == rounds {
            break;
        }
        writers = start_writers(&process, round);
        // A rewrite and a save of this data take a few milliseconds: often the end comes within.
        let until = random.below([60_000, 8_000][usize::from(rewrites && round % 2 == 0)]);
        if rewrites {
            std::thread::sleep(Duration::from_micros(random.below(20_000)));
            for command in [["BGREWRITEAOF"], ["BGSAVE"]] {
                if random.below(3) > 0 {
                    let _ = wire.call(&command);
                }
            }
        }
        std::thread::sleep(Duration::from_micros(until));
        // Dropping it sends SIGKILL.
        drop(process);
        if let Ok(snapshot) = std::fs::read(folder.0.join("dump.rdb")) {
            let restored = Server::builder().without_tcp().rdb(snapshot).start();
            assert!(restored.is_ok(), "{name}, round {round}: half a snapshot has its name");
        }
    }
    all_answered
}

#[test]
fn what_was_answered_survives_being_killed() {
    let (kills, seed) = (number("KILLS", 12), number("SEED", 1) as u64);
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let share = (kills / 4).max(1);
    let mut answered = 0;
    for (name, policy, rewrites) in [
        ("always", "always", false),
        ("everysec", "everysec", false),
        ("always-rewrites", "always", true),
        ("everysec-rewrites", "everysec", true),
    ] {
        answered += rounds(name, policy, share, &mut random, rewrites);
    }
    println!("{} kills, {answered} answered writes, none lost", 4 * share);
}
