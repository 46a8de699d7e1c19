//! Generated numbers, compared with a genuine server.

use super::*;
use crate::types::oracle::Oracle;
use rand::{rngs::SmallRng, Rng, SeedableRng};

fn words(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

/// Decimal literals of all shapes: short prices, long digits, exponents, nearly valid ones.
fn literal_text(rng: &mut SmallRng) -> String {
    let mut digits = |most: u32| {
        let count = rng.random_range(0..=most);
        (0..count).map(|_| char::from(b'0' + rng.random_range(0..10))).collect::<String>()
    };
    let (short, fraction, long) = (digits(4), digits(6), digits(45));
    let sign = ["", "-", "+"][rng.random_range(0..3)];
    match rng.random_range(0..8) {
        0 => format!("{sign}{short}"),
        1 | 2 => format!("{sign}{short}.{fraction}"),
        3 => format!("{sign}{long}.{fraction}"),
        4 => format!("{sign}{short}.{long}"),
        5 => format!("{sign}{short}.{fraction}e{}", rng.random_range(-40..40)),
        6 => format!("{sign}{long}.{long}E{:+}", rng.random_range(-5200..5200)),
        _ => format!("{sign}0x{short}.{fraction}p{}", rng.random_range(-90..90)),
    }
}

#[test]
fn long_double_sums() {
    let Some(mut oracle) = Oracle::start() else { return };
    let mut rng = SmallRng::seed_from_u64(11);
    let pairs: Vec<(String, String)> =
        (0..20_000).map(|_| (literal_text(&mut rng), literal_text(&mut rng))).collect();
    let commands: Vec<_> = pairs
        .iter()
        .flat_map(|(left, right)| [words(&["SET", "k", left]), words(&["INCRBYFLOAT", "k", right])])
        .collect();
    let replies = oracle.pipeline(&commands);
    for ((left, right), reply) in pairs.iter().zip(replies.chunks(2)) {
        let parsed = Extended::parse(left.as_bytes()).zip(Extended::parse(right.as_bytes()));
        let sum = parsed.and_then(|(left, right)| left.plus(right)).filter(Extended::is_finite);
        let mut ours = Vec::new();
        if let Some(sum) = sum {
            sum.write_to(&mut ours);
        }
        let theirs = reply[1][0].clone().unwrap_or_default();
        let theirs = if theirs.starts_with(b"-ERR") { Vec::new() } else { theirs };
        assert_eq!(
            String::from_utf8_lossy(&ours),
            String::from_utf8_lossy(&theirs),
            "{left} + {right}"
        );
    }
}

#[test]
fn scores_read_and_printed() {
    let Some(mut oracle) = Oracle::start() else { return };
    oracle.call(&["ZADD", "probe", "0.1", "m"]);
    if oracle.call(&["ZSCORE", "probe", "m"]) != [Some(b"0.1".to_vec())] {
        return eprintln!("skipped: this server is older than the printer of Redis 7.2");
    }
    // Redis: a packed sorted set stores -0 as 0.
    oracle.call(&["CONFIG", "SET", "zset-max-listpack-entries", "0"]);
    let mut rng = SmallRng::seed_from_u64(12);
    let mut texts: Vec<String> = (0..20_000).map(|_| literal_text(&mut rng)).collect();
    for _ in 0..40_000 {
        texts.push(format!("{:e}", f64::from_bits(rng.random())));
        texts.push(format!("{}", rng.random::<f64>() * 1000.0));
        texts.push(format!("{}", rng.random::<i64>() >> rng.random_range(0..20)));
    }
    let commands: Vec<_> = texts
        .iter()
        .flat_map(|text| {
            [words(&["DEL", "z"]), words(&["ZADD", "z", text, "m"]), words(&["ZSCORE", "z", "m"])]
        })
        .collect();
    let replies = oracle.pipeline(&commands);
    for (text, reply) in texts.iter().zip(replies.chunks(3)) {
        let ours = parse_f64(text.as_bytes()).map(|value| {
            let mut out = Vec::new();
            format_f64(value, &mut out);
            String::from_utf8_lossy(&out).into_owned()
        });
        let theirs = reply[2][0].clone().map(|b| String::from_utf8_lossy(&b).into_owned());
        assert_eq!(ours, theirs, "{text}");
    }
}
