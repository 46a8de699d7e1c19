//! Random commands from synopses: mostly valid, now and then nearly valid, on few keys, with values
//! near every threshold at which an encoding changes.

use crate::grammar::{Part, Synopsis};

/// SplitMix64: the same seed gives the same commands wherever and whenever.
#[derive(Clone)]
pub struct Rng(pub u64);

impl Rng {
    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of them.
    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

/// What a command's keys hold, guessed from its name.
pub fn family(name: &str) -> &'static str {
    let stream = name.starts_with('X');
    match name {
        "SETBIT" | "GETBIT" | "BITCOUNT" | "BITPOS" | "BITOP" | "BITFIELD" | "BITFIELD_RO" => {
            "bits"
        }
        "SORT" | "SORT_RO" => "any",
        "SCAN" | "SET" | "SETEX" | "SETNX" | "SETRANGE" | "STRLEN" | "SUBSTR" | "LCS" => "string",
        "GET" | "GETDEL" | "GETEX" | "GETRANGE" | "GETSET" | "APPEND" | "DECR" | "DECRBY" => {
            "string"
        }
        "INCR" | "INCRBY" | "INCRBYFLOAT" | "MGET" | "MSET" | "MSETNX" | "PSETEX" => "string",
        _ if stream => "stream",
        _ if name.starts_with("PF") => "hll",
        _ if name.starts_with("GEO") => "geo",
        _ if name.starts_with("BZ") || name.starts_with('Z') => "zset",
        _ if name.starts_with('H') => "hash",
        _ if name.starts_with('S') => "set",
        _ if name.starts_with("BL") || name.starts_with("BR") => "list",
        "LPUSH" | "LPUSHX" | "LPOP" | "LLEN" | "LINDEX" | "LINSERT" | "LSET" | "LREM" => "list",
        "LTRIM" | "LRANGE" | "LPOS" | "LMOVE" | "LMPOP" | "RPUSH" | "RPUSHX" | "RPOP" => "list",
        "RPOPLPUSH" => "list",
        _ => "any",
    }
}

const FAMILIES: &[&str] =
    &["string", "list", "hash", "set", "zset", "stream", "hll", "geo", "bits"];

/// Makes commands from one synopsis after another.
pub struct Generator<'s> {
    synopses: &'s [Synopsis],
    /// Where all choices come from.
    pub rng: Rng,
    /// No key is stored past its deadline: each server would tell of its end at its own time.
    pub no_past: bool,
    /// Scores are such that every make prints them with the same digits.
    pub plain_scores: bool,
    /// How many more keys the command must have; set by `numkeys`.
    owed: usize,
}

impl<'s> Generator<'s> {
    /// Commands of these synopses; the seed decides which.
    pub fn new(synopses: &'s [Synopsis], seed: u64) -> Generator<'s> {
        Generator { synopses, rng: Rng(seed), no_past: false, plain_scores: false, owed: 0 }
    }

    /// The next command.
    pub fn command(&mut self) -> Vec<Vec<u8>> {
        let synopsis = &self.synopses[self.rng.below(self.synopses.len())];
        let mut words: Vec<Vec<u8>> =
            synopsis.name.iter().map(|w| w.clone().into_bytes()).collect();
        let fixed = words.len();
        let family = family(&synopsis.name[0]);
        self.owed = 0;
        self.part(&synopsis.arguments, family, &mut words);
        // A spoilt timeout might be one without an end.
        let waits = ["BL", "BR", "BZ"].iter().any(|start| synopsis.name[0].starts_with(start))
            || words.iter().any(|word| word.eq_ignore_ascii_case(b"BLOCK"));
        if !waits && self.rng.one_in(25) {
            self.spoil(&mut words, fixed);
        }
        self.one_score(&mut words);
        words
    }

    /// Where scores differ, the answer to a lexicographic range depends on the random levels of
    /// Redis's skip list: such commands get keys of their own.
    fn one_score(&mut self, words: &mut [Vec<u8>]) {
        let name = String::from_utf8_lossy(&words[0]).to_uppercase();
        let by_lex = words.iter().any(|word| word.eq_ignore_ascii_case(b"BYLEX"));
        let at = match name.as_str() {
            "ZRANGESTORE" if by_lex => 2,
            "ZRANGE" if by_lex => 1,
            "ZLEXCOUNT" | "ZRANGEBYLEX" | "ZREVRANGEBYLEX" | "ZREMRANGEBYLEX" => 1,
            _ => return,
        };
        if words.get(at).is_some_and(|key| key.starts_with(b"zset") || key.starts_with(b"geo")) {
            words[at] = self.key("lex");
        }
    }

    fn part(&mut self, part: &Part, family: &str, words: &mut Vec<Vec<u8>>) {
        match part {
            // The clock would choose the id.
            Part::Word(word) if word == "*" => words.push(self.stream_id()),
            Part::Word(word) if self.rng.one_in(8) => words.push(word.to_lowercase().into()),
            Part::Word(word) => words.push(word.clone().into()),
            Part::Name(name) => {
                let value = self.value(name, family);
                words.push(value);
            }
            Part::Row(parts) => self.row(parts, family, words),
            Part::Choice(parts) => {
                let choice = self.rng.below(parts.len());
                self.part(&parts[choice], family, words);
            }
            Part::Optional(inside) => {
                let owed = self.owed > 0 && matches!(&**inside, Part::Repeat(_));
                if owed || self.rng.one_in(3) {
                    self.part(inside, family, words);
                }
            }
            Part::Repeat(inside) => {
                let times = if self.owed > 0 { self.owed - 1 } else { self.many() };
                self.owed = 0;
                for _ in 0..times {
                    self.part(inside, family, words);
                }
            }
        }
    }

    /// Options that stand side by side may come in any order.
    fn row(&mut self, parts: &[Part], family: &str, words: &mut Vec<Vec<u8>>) {
        let mut at = 0;
        while at < parts.len() {
            let is_option = |part: &Part| match part {
                Part::Optional(inside) => !matches!(**inside, Part::Repeat(_)),
                _ => false,
            };
            let options = parts[at..].iter().take_while(|part| is_option(part)).count();
            let mut order: Vec<usize> = (at..at + options).collect();
            for i in 1..order.len() {
                order.swap(i, self.rng.below(i + 1));
            }
            for option in order {
                self.part(&parts[option], family, words);
            }
            at += options;
            if let Some(part) = parts.get(at) {
                self.part(part, family, words);
                at += 1;
            }
        }
    }

    /// Mostly few, seldom enough to cross a threshold.
    pub fn many(&mut self) -> usize {
        match self.rng.below(60) {
            0 => 130,
            1 => 514,
            2..=5 => 20,
            _ => self.rng.below(4),
        }
    }

    fn spoil(&mut self, words: &mut Vec<Vec<u8>>, fixed: usize) {
        if words.len() <= fixed {
            return words.push(b"extra".to_vec());
        }
        let at = fixed + self.rng.below(words.len() - fixed);
        match self.rng.below(4) {
            0 => drop(words.remove(at)),
            1 => words.insert(at, words[at].clone()),
            2 => {
                words[at] =
                    self.rng.pick(&["", "nonsense", "-1", "NX", "9223372036854775807"]).into()
            }
            _ => {
                let other = fixed + self.rng.below(words.len() - fixed);
                words.swap(at, other);
            }
        }
    }

    /// A key that mostly holds what the family is about.
    pub fn key(&mut self, family: &str) -> Vec<u8> {
        let stray = family == "any" || self.rng.one_in(30);
        let family = if stray { self.rng.pick(FAMILIES) } else { family };
        format!("{family}{}", 1 + self.rng.below(3)).into_bytes()
    }

    fn value(&mut self, name: &str, family: &str) -> Vec<u8> {
        let plain = name.trim_end_matches(|c: char| c.is_ascii_digit());
        match plain {
            "key" | "newkey" | "source" | "destination" | "sourcekey" | "destkey" | "storekey" => {
                self.key(family)
            }
            "numkeys" | "numfields" | "numfields-count" => {
                self.owed = 1 + self.rng.below(3);
                self.owed.to_string().into_bytes()
            }
            "score" | "increment" | "min" | "max" | "weight" | "radius" | "width" | "height"
                if family != "stream" =>
            {
                self.number(plain, family)
            }
            "longitude" => self.pick(&["13.361389", "0", "-180", "180", "181", "2.5", "-0.000001"]),
            "latitude" => self.pick(&["38.115556", "0", "85", "-85.05112878", "86", "2.5"]),
            "id" | "start-id" | "end-id" | "last-id" | "lastid" | "max-deleted-id" => {
                self.stream_id()
            }
            "start" | "end" | "stop" if family == "stream" => self.stream_range(),
            "start" | "stop" | "end" | "index" | "offset" | "rank" | "element-index" => {
                self.integer()
            }
            "count" | "len" | "maxlen" | "limit" | "threshold" | "entries-read"
            | "entries-added" | "num-matches" | "min-match-len" => self.count(),
            "seconds" | "milliseconds" if family == "stream" => self.pick(&["1", "5", "x", "-1"]),
            "seconds" => self.pick(&["1000", "5000", "100000", "0", "-1", "x", "99999999999999"]),
            "milliseconds" => {
                self.pick(&["1000000", "5000000", "0", "-5", "x", "9223372036854775807"])
            }
            "unix-time-seconds" if self.no_past => self.pick(&["33177117420", "33177117430"]),
            "unix-time-milliseconds" if self.no_past => self.pick(&["33177117420000"]),
            "unix-time-seconds" => self.pick(&["33177117420", "33177117430", "1", "0", "-1"]),
            "unix-time-milliseconds" => self.pick(&["33177117420000", "33177117430123", "1", "-1"]),
            "timeout" => self.pick(&["0.01", "0.001", "-1", "x"]),
            "pattern" if family == "any" => self.pick(&["hash1->a", "string*", "*", "#", "none*"]),
            "pattern" => self.pick(&["*", "a*", "*1", "?", "[a-c]*", "string?", "x\\*"]),
            "cursor" => self.pick(&["0"]),
            "bit" => self.pick(&["0", "1", "0", "1", "2"]),
            "encoding" => self.pick(&["u8", "i8", "u1", "i64", "u63", "i5", "u64", "x8", "i0"]),
            "db" | "destination-db" => self.pick(&["0", "1", "0", "1", "16", "-1"]),
            "group" => self.pick(&["g1", "g2", "g3"]),
            "consumer" | "newconsumer" => self.pick(&["c1", "c2"]),
            "min-idle-time" => self.pick(&["0", "0", "100000000", "-1", "x"]),
            "value" | "string" => self.word(),
            _ => self.word(),
        }
    }

    fn pick(&mut self, from: &[&str]) -> Vec<u8> {
        self.rng.pick(from).as_bytes().to_vec()
    }

    fn integer(&mut self) -> Vec<u8> {
        match self.rng.below(12) {
            0 => self.pick(&[
                "-100",
                "100",
                "129",
                "512",
                "9223372036854775807",
                "x",
                "1.5",
                "4294967296",
            ]),
            _ => (self.rng.below(14) as i64 - 5).to_string().into_bytes(),
        }
    }

    fn count(&mut self) -> Vec<u8> {
        match self.rng.below(10) {
            0 => self.pick(&[
                "-1",
                "-3",
                "100",
                "1000",
                "x",
                "9223372036854775807",
                "-9223372036854775808",
            ]),
            _ => self.rng.below(6).to_string().into_bytes(),
        }
    }

    fn number(&mut self, name: &str, family: &str) -> Vec<u8> {
        if matches!(name, "min" | "max") {
            return self.pick(&[
                "-inf", "+inf", "0", "1", "(1", "2.5", "(3", "5", "-", "+", "[a", "(b", "[f5", "x",
                "(", "nan",
            ]);
        }
        match self.rng.below(10) {
            0 if self.plain_scores => self.pick(&["inf", "-inf", "nan", "-0", "0.25", "x", ""]),
            0 => self.pick(&[
                "inf",
                "-inf",
                "nan",
                "1e300",
                "-0",
                "0.1",
                "x",
                "",
                "9007199254740993",
                "1e-7",
            ]),
            1..=3 => self.pick(&["0.5", "-1.5", "3.25", "100.125", "2.0", "1e3"]),
            _ if family == "string" && self.rng.one_in(20) => b"9223372036854775807".to_vec(),
            _ => (self.rng.below(9) as i64 - 3).to_string().into_bytes(),
        }
    }

    fn stream_id(&mut self) -> Vec<u8> {
        match self.rng.below(12) {
            0 => self.pick(&[
                "0",
                "$",
                "0-0",
                ">",
                "-",
                "+",
                "x",
                "1-1-1",
                "18446744073709551615-18446744073709551615",
            ]),
            1 => self.pick(&["5-*", "7-*", "9-*"]),
            _ => format!("{}-{}", 1 + self.rng.below(30), self.rng.below(3)).into_bytes(),
        }
    }

    fn stream_range(&mut self) -> Vec<u8> {
        match self.rng.below(4) {
            0 => self.pick(&["-", "+", "(1", "(3-1", "(-", "5", "(18446744073709551615"]),
            1 => self.pick(&["-", "+"]),
            _ => self.stream_id(),
        }
    }

    /// A member, field, element or value.
    pub fn word(&mut self) -> Vec<u8> {
        match self.rng.below(24) {
            0 => b"x".repeat([63, 64, 65, 44, 45][self.rng.below(5)]),
            1 => b"y".repeat([200, 4096, 8191, 8192, 9000][self.rng.below(5)]),
            2 => self.pick(&["", "\0", "a\r\nb", "\u{ff}", "-0", "+1", "01", " 1", "1.0"]),
            3 => self.pick(&["9223372036854775807", "-9223372036854775808", "9223372036854775808"]),
            4 => self.pick(&[
                "127",
                "128",
                "-128",
                "32767",
                "32768",
                "2147483648",
                "-2147483649",
                "4095",
                "4096",
            ]),
            5..=8 => self.rng.below(600).to_string().into_bytes(),
            9..=14 => self.rng.below(10).to_string().into_bytes(),
            15 => format!("f{}", self.rng.below(600)).into_bytes(),
            _ => self.pick(&["a", "b", "c", "d", "e", "f", "g"]),
        }
    }
}

#[test]
fn one_seed_gives_one_run_and_every_option_comes_up() {
    let synopses =
        [crate::grammar::synopsis("ZADD key [NX | XX] [CH] score member [score member ...]")];
    let run = |seed| {
        let mut generator = Generator::new(&synopses, seed);
        (0..500).map(|_| generator.command()).collect::<Vec<_>>()
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
    let words = run(7).concat();
    for wanted in ["NX", "XX", "CH", "zset1", "inf"] {
        assert!(words.iter().any(|word| word == wanted.as_bytes()), "{wanted} never came up");
    }
}
