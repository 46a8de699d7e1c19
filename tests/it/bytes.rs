//! Any stream of bytes gets replies and, at worst, a closed connection: never a panic, a hang, or
//! memory out of proportion. And however a stream is cut, it means the same.
//!
//! `BYTES=1000000 SEED=1 cargo test --release --test it any_bytes -- --nocapture` is the long run.

use std::time::{Duration, Instant};

use redouble::resp::decode::{Argv, Batch, Bounds, Decoder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::differential::{is_played, number};
use crate::generate::{Generator, Rng};
use crate::grammar::Synopsis;
use crate::server::Ours;
use crate::wire::{decode, request};

/// One stream of at most `bytes_max` bytes: random bytes, random RESP, or good requests damaged.
fn stream(rng: &mut Rng, synopses: &[Synopsis], bytes_max: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let goal = match rng.below(4) {
        0 => bytes_max,
        1 => rng.below(bytes_max),
        _ => rng.below(400),
    };
    let mut generator = Generator::new(synopses, rng.next());
    let kind = rng.below(4);
    while bytes.len() < goal {
        match kind {
            0 => bytes.extend(rng.next().to_le_bytes()),
            1 => bytes.extend(fragment(rng)),
            _ => bytes.extend(request(&generator.command())),
        }
    }
    if kind >= 2 {
        for _ in 0..rng.below(4) {
            damage(rng, &mut bytes);
        }
    }
    bytes.truncate(bytes_max);
    bytes
}

/// Pieces that look like the protocol.
fn fragment(rng: &mut Rng) -> Vec<u8> {
    let pieces: [&[u8]; 24] = [
        b"*",
        b"$",
        b"\r\n",
        b"\n",
        b"\r",
        b"*1\r\n",
        b"*3\r\n",
        b"$4\r\n",
        b"$0\r\n",
        b"$-1\r\n",
        b"*-1\r\n",
        b"*0\r\n",
        b"PING",
        b"GET k\r\n",
        b"$3\r\nGET\r\n",
        b"\"",
        b"'",
        b" ",
        b"\\x4",
        b"*1048576\r\n",
        b"$536870912\r\n",
        b"*9999999999999999999\r\n",
        b"$+1\r\n",
        b"\0",
    ];
    if rng.one_in(6) {
        return rng.below(100_000).to_string().into_bytes();
    }
    pieces[rng.below(pieces.len())].to_vec()
}

fn damage(rng: &mut Rng, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    let at = rng.below(bytes.len());
    let end = (at + 1 + rng.below(20)).min(bytes.len());
    match rng.below(5) {
        0 => bytes[at] ^= 1 << rng.below(8),
        1 => drop(bytes.drain(at..end)),
        2 => {
            let copy = bytes[at..end].to_vec();
            bytes.splice(at..at, copy);
        }
        3 => {
            let noise = fragment(rng);
            bytes.splice(at..end, noise);
        }
        _ => bytes.truncate(at),
    }
}

/// Good material: nothing that stops the server for everybody or asks for half a gigabyte.
fn synopses() -> Vec<Synopsis> {
    let mut synopses = Ours::synopses();
    let large = ["SETBIT", "SETRANGE", "BITFIELD"];
    synopses.retain(|s| is_played(s) && !large.contains(&s.name[0].as_str()));
    synopses
}

/// Bytes that this process holds.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

/// What the server has done so far, in nanoseconds and commands: it grows while anything goes on.
fn work_done(server: &Ours) -> u64 {
    let state = server.handle().shared().lock();
    state.stats.work.command_ns + state.stats.commands_processed + state.stats.net_in_bytes
}

#[test]
fn any_bytes_get_replies_or_a_closed_connection() {
    let server = Ours::start(&[]).unwrap();
    let synopses = synopses();
    let (count, seed) = (number("BYTES", 120), number("SEED", 1) as u64);
    let mut rng = Rng(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (started, mut sent, mut answered) = (Instant::now(), 0, 0);
    let before = resident();
    for run in 0..count {
        let bytes = stream(&mut rng, &synopses, 64 * 1024);
        sent += bytes.len();
        let replies = runtime.block_on(async {
            let (mut read, mut write) = tokio::io::split(server.handle().connect());
            let sending = async {
                let _ = write.write_all(&bytes).await;
                let _ = write.shutdown().await;
            };
            let mut replies = Vec::new();
            let receiving = read.read_to_end(&mut replies);
            let both = async { tokio::join!(sending, receiving).1 };
            let mut both = Box::pin(both);
            // A busy machine makes it slow; one that hangs runs no command and takes no byte.
            let mut before = 0;
            while tokio::time::timeout(Duration::from_secs(20), &mut both).await.is_err() {
                let after = work_done(&server);
                assert_ne!(before, after, "hangs: seed {seed} run {run}: {}", bytes.escape_ascii());
                before = after;
            }
            drop(both);
            replies
        });
        answered += replies.len();
        let mut at = 0;
        while at < replies.len() {
            match decode(&replies[at..]) {
                Ok(Some((_, len))) => at += len,
                Ok(None) => break,
                Err(why) => panic!("{why:?}: seed {seed} run {run}: {}", bytes.escape_ascii()),
            }
        }
        if run % 200 == 199 {
            server.handle().command(&["FLUSHALL"]);
        }
    }
    assert!(matches!(server.handle().command(&["PING"]), redouble::resp::reader::Value::Simple(_)));
    let grown = resident().saturating_sub(before);
    println!(
        "{count} streams, {sent} bytes sent, {answered} received, {grown} bytes grown, {:?}",
        started.elapsed()
    );
    assert!(grown < 600 << 20, "memory out of proportion: {grown} bytes");
}

type Requests = (Vec<Vec<Vec<u8>>>, Option<String>);

/// The requests of a stream that comes in pieces, and how it ends.
fn decoded(bytes: &[u8], mut piece: impl FnMut() -> usize) -> Requests {
    let bounds = Bounds { bulk_bytes_max: 512 << 20, unauthenticated: false };
    let mut decoder = Decoder::default();
    let (mut requests, mut buffer, mut at) = (Vec::new(), Vec::new(), 0);
    while at < bytes.len() {
        let end = (at + piece()).min(bytes.len());
        buffer.extend_from_slice(&bytes[at..end]);
        at = end;
        let mut batch = Batch::default();
        let outcome = decoder.decode(&buffer, bounds, usize::MAX, &mut batch);
        for one in &batch.requests {
            let mut argv = Argv::new();
            batch.argv(one, &buffer, &mut argv);
            requests.push(argv.iter().map(|word| word.to_vec()).collect());
        }
        match outcome {
            Ok(done) => drop(buffer.drain(..done)),
            Err(error) => return (requests, Some(error.0)),
        }
    }
    (requests, None)
}

#[test]
fn every_split_of_any_bytes_means_the_same() {
    let synopses = synopses();
    let seed = number("SEED", 1) as u64;
    let mut rng = Rng(seed);
    for run in 0..number("SPLITS", 300) {
        let bytes = stream(&mut rng, &synopses, 3000);
        let whole = decoded(&bytes, || usize::MAX / 2);
        let single = decoded(&bytes, || 1);
        assert_eq!(whole, single, "seed {seed} run {run}: {}", bytes.escape_ascii());
        let mut cut = rng.clone();
        let pieces = decoded(&bytes, || 1 + cut.below(40));
        assert_eq!(whole, pieces, "seed {seed} run {run}: {}", bytes.escape_ascii());
    }
}
