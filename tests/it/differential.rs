//! Two servers, the same random commands: every reply and every dataset must be equal.
//!
//! `DIFFERENTIAL=1000000 SEED=7 REDIS_SERVER=... cargo test --release --test it differential --
//! --nocapture` is the long run. A difference is shrunk to the fewest commands that show it and
//! printed as a session block. Differences that are known stand in `known_gaps.txt`, each with its
//! reason.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use crate::generate::Generator;
use crate::grammar::Synopsis;
use crate::show;
use crate::wire::{request, Reply, Wire};
use crate::words::quote;

/// Commands in one sequence, after which the datasets are compared and emptied.
const SEQUENCE: usize = 120;

/// A command as its words.
pub type Command = Vec<Vec<u8>>;

/// Commands whose replies depend on the clock, on chance or on the process.
const NOT_COMPARED: &[&str] = &[
    "TTL",
    "PTTL",
    "HTTL",
    "HPTTL",
    "OBJECT",
    "SCAN",
    "HSCAN",
    "SSCAN",
    "ZSCAN",
    "XINFO",
    "XPENDING",
    "DUMP",
    "RANDOMKEY",
];

/// Commands that would differ by chance, stop the run, or reach beyond the dataset.
const NOT_PLAYED: &[&str] = &[
    "ACL",
    "ASKING",
    "AUTH",
    "BGREWRITEAOF",
    "BGSAVE",
    "CLIENT",
    "CLUSTER",
    "COMMAND",
    "CONFIG",
    "DEBUG",
    "EVAL",
    "EVALSHA",
    "EVALSHA_RO",
    "EVAL_RO",
    "FAILOVER",
    "FCALL",
    "FCALL_RO",
    "FUNCTION",
    "HELLO",
    "HRANDFIELD",
    "INFO",
    "LASTSAVE",
    "LATENCY",
    "LOLWUT",
    "MEMORY",
    "MIGRATE",
    "MODULE",
    "MONITOR",
    "PFDEBUG",
    "PFSELFTEST",
    "PSUBSCRIBE",
    "PSYNC",
    "PUBLISH",
    "PUBSUB",
    "PUNSUBSCRIBE",
    "QUIT",
    "READONLY",
    "READWRITE",
    "REPLCONF",
    "REPLICAOF",
    "RESET",
    "RESTORE",
    "RESTORE-ASKING",
    "ROLE",
    "SAVE",
    "SCRIPT",
    "SHUTDOWN",
    "SLAVEOF",
    "SLOWLOG",
    "SPOP",
    "SPUBLISH",
    "SRANDMEMBER",
    "SSUBSCRIBE",
    "SUBSCRIBE",
    "SUNSUBSCRIBE",
    "SWAPDB",
    "SYNC",
    "TIME",
    "UNSUBSCRIBE",
    "WAIT",
    "WAITAOF",
    "ZRANDMEMBER",
    "FLUSHALL",
    "FLUSHDB",
    "SELECT",
];

/// Whether random runs may hold this command.
pub fn is_played(synopsis: &Synopsis) -> bool {
    !NOT_PLAYED.contains(&synopsis.name[0].as_str())
}

/// A connection that runs whole sequences.
pub struct Player {
    wire: Wire,
}

/// What a sequence led to.
pub struct Outcome {
    replies: Vec<Reply>,
    dataset: Vec<String>,
}

impl Player {
    /// Connects.
    pub fn new(addr: std::net::SocketAddr) -> io::Result<Player> {
        Ok(Player { wire: Wire::connect(addr)? })
    }

    /// Runs the commands on empty databases, then reads the dataset.
    pub fn play(&mut self, commands: &[Command]) -> io::Result<Outcome> {
        let resets: [&[&str]; 4] = [&["DISCARD"], &["UNWATCH"], &["SELECT", "0"], &["FLUSHALL"]];
        let mut bytes: Vec<u8> = resets.iter().flat_map(|words| request(words)).collect();
        bytes.extend(commands.iter().flat_map(|words| request(words)));
        self.wire.send(&bytes);
        for _ in resets {
            self.reply()?;
        }
        let mut replies = Vec::with_capacity(commands.len());
        for _ in commands {
            replies.push(self.reply()?);
        }
        self.wire.call(&["DISCARD"])?;
        let mut dataset = Vec::new();
        for db in ["0", "1"] {
            self.wire.call(&["SELECT", db])?;
            dataset.extend(self.dataset(db)?);
        }
        Ok(Outcome { replies, dataset })
    }

    fn reply(&mut self) -> io::Result<Reply> {
        let reply = self.wire.wait(Duration::from_secs(20))?;
        reply.ok_or_else(|| io::Error::new(io::ErrorKind::TimedOut, "no reply in 20 seconds"))
    }

    /// One line for each key, in order: type, encoding, digest of the value, deadline.
    fn dataset(&mut self, db: &str) -> io::Result<Vec<String>> {
        let Reply::Array(keys) = self.wire.call(&["KEYS", "*"])? else {
            return Err(io::Error::other("KEYS is no array"));
        };
        let mut lines = Vec::new();
        for key in keys {
            let Reply::Bulk(key) = key else { continue };
            let ask = |command: &[&str]| {
                let words = command.iter().map(|word| word.as_bytes()).chain([&key[..]]);
                request(&words.collect::<Vec<_>>())
            };
            let questions = [
                ask(&["TYPE"]),
                ask(&["OBJECT", "ENCODING"]),
                ask(&["DEBUG", "DIGEST-VALUE"]),
                ask(&["TTL"]),
            ];
            self.wire.send(&questions.concat());
            let mut line = format!("db{db} {}", quote(&key));
            for question in 0..questions.len() {
                match self.reply()? {
                    // The seconds differ when the second turns between the two servers.
                    Reply::Int(left) if question == 3 => {
                        let _ = write!(line, " ttl {}", if left < 0 { left } else { left / 100 });
                    }
                    other => {
                        let _ = write!(line, " {}", show::lines(&other).concat());
                    }
                }
            }
            lines.push(line);
        }
        lines.sort();
        Ok(lines)
    }
}

/// The first difference: how many commands it took, and what it is.
fn difference(commands: &[Command], ours: &Outcome, theirs: &Outcome) -> Option<(usize, String)> {
    for (at, (command, (a, b))) in
        commands.iter().zip(ours.replies.iter().zip(&theirs.replies)).enumerate()
    {
        let (a, b) = (comparable(command, a), comparable(command, b));
        if a != b {
            let (a, b) = (a.join("\n    "), b.join("\n    "));
            return Some((at + 1, format!("  ours\n    {a}\n  genuine\n    {b}")));
        }
    }
    if ours.dataset != theirs.dataset {
        let only = |these: &[String], those: &[String]| {
            let lines = these.iter().filter(|line| !those.contains(line));
            lines.map(|line| format!("    {line}\n")).collect::<String>()
        };
        let (a, b) = (only(&ours.dataset, &theirs.dataset), only(&theirs.dataset, &ours.dataset));
        return Some((commands.len(), format!("  dataset\n  ours\n{a}  genuine\n{b}")));
    }
    None
}

/// The reply as it is compared: sorted where the order is free, only its kind where its value
/// depends on the clock.
fn comparable(command: &Command, reply: &Reply) -> Vec<String> {
    let name = String::from_utf8_lossy(&command[0]).to_uppercase();
    let mut lines = show::lines(reply);
    let free = ["KEYS", "SMEMBERS", "SUNION", "SINTER", "SDIFF", "HKEYS", "HVALS", "HGETALL"];
    match name.as_str() {
        // An EXEC holds replies of every kind; the dataset shows what its commands did.
        "EXEC" => lines = vec![matches!(reply, Reply::Array(_)).to_string()],
        name if NOT_COMPARED.contains(&name) && !matches!(reply, Reply::Error(_)) => {
            lines = vec!["answered".into()]
        }
        name if free.contains(&name) => {
            if let Reply::Array(items) = reply {
                lines = items.iter().flat_map(show::lines).collect();
                lines.sort();
            }
        }
        "SORT" | "SORT_RO" => lines.sort(),
        _ => {}
    }
    lines
}

/// Deletes commands as long as the difference stays.
fn shrink(mut commands: Vec<Command>, differs: &mut dyn FnMut(&[Command]) -> bool) -> Vec<Command> {
    let mut chunk = commands.len().div_ceil(2);
    loop {
        let mut at = 0;
        let before = commands.len();
        while at < commands.len() {
            let mut shorter = commands.clone();
            shorter.drain(at..(at + chunk).min(commands.len()));
            if differs(&shorter) {
                commands = shorter;
            } else {
                at += chunk;
            }
        }
        if chunk == 1 && commands.len() == before {
            break;
        }
        chunk = (chunk / 2).max(1);
    }
    for at in 0..commands.len() {
        let mut word = commands[at].len();
        while word > 1 {
            word -= 1;
            let mut shorter = commands.clone();
            shorter[at].remove(word);
            if differs(&shorter) {
                commands = shorter;
            }
        }
    }
    commands
}

/// A difference that is known and has its reason.
struct Gap {
    command: String,
    text: String,
}

/// `known_gaps.txt`: a command's name, a text that the difference contains, the reason.
fn known_gaps() -> Vec<Gap> {
    let lines = include_str!("known_gaps.txt").lines();
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let gaps = lines.map(|line| {
        let mut fields = line.split(" | ");
        let mut field = || fields.next().unwrap_or_default().trim().to_string();
        let (command, text, reason) = (field(), field(), field());
        assert!(!reason.is_empty(), "known_gaps.txt: no reason in: {line}");
        Gap { command, text }
    });
    gaps.collect()
}

/// Plays `count` random commands to both and reports at most `most` differences, each once for its
/// last command.
pub fn compare(
    [ours, theirs]: [&mut Player; 2],
    synopses: &[Synopsis],
    count: usize,
    seed: u64,
    most: usize,
) -> io::Result<Vec<String>> {
    let gaps = known_gaps();
    let mut generator = Generator::new(synopses, seed);
    let mut reports = BTreeMap::new();
    for _ in 0..count.div_ceil(SEQUENCE) {
        let commands: Vec<Command> = (0..SEQUENCE).map(|_| generator.command()).collect();
        let found = difference(&commands, &ours.play(&commands)?, &theirs.play(&commands)?);
        let Some((length, _)) = found else { continue };
        let mut differs = |commands: &[Command]| match (ours.play(commands), theirs.play(commands))
        {
            (Ok(a), Ok(b)) => difference(commands, &a, &b).is_some(),
            _ => false,
        };
        let least = shrink(commands[..length].to_vec(), &mut differs);
        let (a, b) = (ours.play(&least)?, theirs.play(&least)?);
        let Some((_, what)) = difference(&least, &a, &b) else { continue };
        let last = least.last().map_or(String::new(), |words| spelled(&words[0]).to_uppercase());
        if gaps.iter().any(|gap| gap.command == last && what.contains(&gap.text)) {
            continue;
        }
        let lines = least.iter().map(|words| {
            let words: Vec<String> = words.iter().map(|word| spelled(word)).collect();
            format!("> {}\n", words.join(" "))
        });
        let report = lines.collect::<String>() + &what;
        reports.entry(last).or_insert(report);
        if reports.len() >= most {
            break;
        }
    }
    Ok(reports.into_values().collect())
}

fn spelled(word: &[u8]) -> String {
    let plain = |b: &u8| b.is_ascii_graphic() && !b"\"'\\".contains(b);
    if !word.is_empty() && word.iter().all(plain) && word.len() < 40 {
        return String::from_utf8_lossy(word).into_owned();
    }
    quote(word)
}

#[test]
fn dev_two_genuine() {
    let Ok(file) = std::env::var("DEV_SYNOPSES") else { return };
    let text = std::fs::read_to_string(file).unwrap();
    let synopses: Vec<Synopsis> =
        text.lines().map(crate::grammar::synopsis).filter(is_played).collect();
    let a =
        crate::server::Genuine::start(&std::env::var("DEV_A").unwrap(), &["--hz", "500"]).unwrap();
    let b =
        crate::server::Genuine::start(&std::env::var("DEV_B").unwrap(), &["--hz", "500"]).unwrap();
    use crate::session::run::Server;
    let (mut a, mut b) = (Player::new(a.addr()).unwrap(), Player::new(b.addr()).unwrap());
    let started = std::time::Instant::now();
    let count = std::env::var("DIFFERENTIAL").map_or(20_000, |n| n.parse().unwrap());
    let report = compare([&mut a, &mut b], &synopses, count, 7, 10).unwrap();
    println!("{count} in {:?}:\n{}", started.elapsed(), report.join("\n"));
}
