//! What set commands write into the log, replayed into an empty database, gives the same sets.

use super::FAMILY;
use crate::command::{Args, Run};
use crate::keyspace::db::Db;
use crate::keyspace::effects::listener;
use crate::resp::out::Out;
use crate::resp::replies::Replies;
use crate::types::limits::Limits;
use crate::types::set::Set;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeSet;

const KEYS: [&str; 4] = ["a", "b", "c", "d"];

fn database() -> Db {
    let limits =
        Limits { set_max_intset_entries: 20, set_max_listpack_entries: 10, ..Limits::default() };
    let mut db = Db::new(1, limits, 7);
    db.effects.listeners = listener::LOG;
    db
}

/// Runs a command, and returns what it would write into the log.
fn run(db: &mut Db, words: &[Vec<u8>]) -> Vec<Vec<Vec<u8>>> {
    let argv: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    let name = String::from_utf8_lossy(argv[0]).to_string();
    let row = FAMILY.rows.iter().find(|row| row.synopsis.starts_with(&format!("{name} ")));
    let before = db.effects.dirty;
    db.effects.form_stated = false;
    let mut reply = Replies::default();
    let mut args = Args::new(&argv, 1, &name);
    let out = Out::new(&mut reply, true);
    let done = match row.expect("a command of the family").run {
        Run::Read(read) => read(db, &mut args, out),
        Run::Write(write) => write(db, &mut args, out),
        _ => panic!("sets neither wait nor nest"),
    };
    assert!(done.is_ok(), "{words:?}");
    let stated = std::mem::take(&mut db.effects.records);
    if db.effects.form_stated {
        return stated.words();
    }
    assert!(stated.is_empty());
    if db.effects.dirty > before {
        vec![words.to_vec()]
    } else {
        Vec::new()
    }
}

fn members(db: &Db, key: &str) -> (BTreeSet<Vec<u8>>, &'static str) {
    match db.peek::<Set>(key.as_bytes()) {
        Ok(Some(set)) => {
            set.check();
            (set.iter().map(|item| item.to_vec()).collect(), set.encoding())
        }
        _ => (BTreeSet::new(), "none"),
    }
}

fn random_command(rng: &mut SmallRng) -> Vec<Vec<u8>> {
    let key = |rng: &mut SmallRng| KEYS[rng.random_range(0..KEYS.len())].to_string();
    let member = |rng: &mut SmallRng| match rng.random_range(0..3) {
        0 => format!("m{}", rng.random_range(0..40)),
        _ => rng.random_range(0..60).to_string(),
    };
    let mut words = match rng.random_range(0..10) {
        0..=3 => vec!["SADD".to_string(), key(rng)],
        4 => vec!["SREM".to_string(), key(rng)],
        5 => vec!["SPOP".to_string(), key(rng)],
        6 => vec!["SPOP".to_string(), key(rng), rng.random_range(0..30).to_string()],
        7 => vec!["SMOVE".to_string(), key(rng), key(rng), member(rng)],
        _ => {
            let name = ["SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE"][rng.random_range(0..3)];
            vec![name.to_string(), key(rng), key(rng), key(rng)]
        }
    };
    if matches!(&*words[0], "SADD" | "SREM") {
        let count = rng.random_range(1..12);
        words.extend((0..count).map(|_| member(rng)));
    }
    words.into_iter().map(String::into_bytes).collect()
}

#[test]
fn the_log_makes_the_same_sets() {
    for seed in 0..20 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let (mut first, mut second) = (database(), database());
        for _ in 0..300 {
            for record in run(&mut first, &random_command(&mut rng)) {
                match &record[..] {
                    [name, key] if name == b"DEL" => assert!(second.remove(key, "del")),
                    _ => drop(run(&mut second, &record)),
                }
            }
            for key in KEYS {
                assert_eq!(members(&first, key).0, members(&second, key).0);
            }
        }
        assert_eq!(first.effects.hears(listener::LOG), second.effects.hears(listener::LOG));
    }
}

#[test]
fn random_choices_are_logged_as_what_was_chosen() {
    let words = |text: &str| -> Vec<Vec<u8>> {
        text.split(' ').map(|word| word.as_bytes().to_vec()).collect()
    };
    let mut db = database();
    run(&mut db, &words("SADD one x"));
    assert_eq!(run(&mut db, &words("SPOP one")), [words("SREM one x")]);
    run(&mut db, &words("SADD all x y"));
    assert_eq!(run(&mut db, &words("SPOP all 2")), [words("DEL all")]);
    assert_eq!(run(&mut db, &words("SPOP all 2")), Vec::<Vec<Vec<u8>>>::new());
    let many: Vec<String> = (0..3_000).map(|number| format!("m{number}")).collect();
    run(&mut db, &words(&format!("SADD many {}", many.join(" "))));
    let records = run(&mut db, &words("SPOP many 2100"));
    assert_eq!(records.iter().map(Vec::len).collect::<Vec<_>>(), [1026, 1026, 54]);
    assert!(records.iter().all(|record| record[..2] == words("SREM many")[..]));
    assert_eq!(members(&db, "many").0.len(), 900);
    assert!(run(&mut db, &words("SRANDMEMBER many 10")).is_empty());
}
