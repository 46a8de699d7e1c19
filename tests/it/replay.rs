//! The log is the dataset: replaying the log of a random run into an empty server gives the same
//! dataset: deadlines of keys and fields, groups and what is pending in them to the millisecond.
//!
//! `REPLAYS=500 LENGTH=400 SEED=7 cargo test --release --test it replaying` is the long run.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use redouble::keyspace::effects::Reach;
use redouble::log::Reader;

use crate::differential::{is_played, number};
use crate::generate::Generator;
use crate::patience::PATIENCE;
use crate::play::{Player, Scene};
use crate::server::Ours;
use crate::session::run::Server;

/// Keeps everything that it receives.
#[derive(Clone, Default)]
struct Tape(Arc<Mutex<Vec<u8>>>);

impl Reader for Tape {
    fn receive(&mut self, encoded: &[u8]) {
        self.0.lock().unwrap().extend(encoded);
    }

    fn kind(&self) -> Reach {
        Reach::REPLICAS
    }
}

/// One request a line.
fn spelled(log: &[u8]) -> String {
    log.escape_ascii().to_string().replace("\\r\\n*", "\n*").replace("\\r\\n", " ")
}

#[test]
fn replaying_the_log_gives_the_same_dataset() {
    let mut synopses = Ours::synopses();
    // Chance is welcome here: the log must state its outcome.
    let by_chance = ["SPOP", "SRANDMEMBER", "SWAPDB", "FLUSHDB", "SELECT"];
    synopses.retain(|s| is_played(s) || by_chance.contains(&s.name[0].as_str()));
    let (runs, seed) = (number("REPLAYS", 30), number("SEED", 1) as u64);
    let length = number("LENGTH", 250);
    for run in 0..runs as u64 {
        let (source, copy) = (Ours::start(&[]).unwrap(), Ours::start(&[]).unwrap());
        let tape = Tape::default();
        source.handle().shared().lock().log.attach(Box::new(tape.clone()));
        redouble::settle::listen(&mut source.handle().shared().lock());
        // A replay goes by the records: what has died dies by its DEL.
        copy.handle().shared().lock().db.keeps_expired = true;
        // And what is given a longer life must not have died here before.
        copy.handle().clock().freeze();
        let mut generator = Generator::new(&synopses, seed + run);
        let scene = Scene { listens: false, ..generator.scene() };
        let commands = generator.sequence(scene, length);
        let mut player = Player::new(source.addr()).unwrap();
        player.play(scene, &commands).expect("it answers");
        let log = tape.0.lock().unwrap().clone();
        let mut other = Player::new(copy.addr()).unwrap();
        for (name, value) in scene.settings {
            other.call(&["CONFIG", "SET", name, value]).expect("it answers");
        }
        if let Err(why) = other.feed(&log) {
            panic!("seed {}: {why}\n{}", seed + run, spelled(&log));
        }
        copy.handle().clock().reset();
        copy.handle().shared().lock().db.keeps_expired = false;
        for db in ["0", "1"] {
            let (expected, seen) = (player.dataset(db, true), other.dataset(db, true));
            let (expected, seen) = (expected.unwrap(), seen.unwrap());
            if expected != seen {
                let only = |these: &[String], those: &[String]| -> Vec<String> {
                    these.iter().filter(|line| !those.contains(line)).cloned().collect()
                };
                let (a, b) = (only(&expected, &seen), only(&seen, &expected));
                let log = spelled(&log);
                panic!("seed {}\n{log}\nlogged {a:#?}\nreplayed {b:#?}", seed + run);
            }
        }
        // What has died counts until it is cleared away.
        player.call(&["DEBUG", "SET-ACTIVE-EXPIRE", "1"]).expect("it answers");
        let mut digests = || {
            [&mut player, &mut other].map(|one| one.call(&["DEBUG", "DIGEST"]).expect("it answers"))
        };
        let (began, mut both) = (Instant::now(), digests());
        while both[0] != both[1] && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(10));
            both = digests();
        }
        assert_eq!(both[0], both[1], "seed {}", seed + run);
    }
    println!("{runs} logs of {length} commands replayed");
}
