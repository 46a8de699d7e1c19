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
use crate::server::{Genuine, Ours};
use crate::session::compare::shown;
use crate::session::parse::Mark;
use crate::session::run::Server;
use crate::show;
use crate::wire::{request, Reply, Wire};
use crate::words::quote;

/// Commands in one sequence, after which the datasets are compared and emptied.
const SEQUENCE: usize = 120;

/// A command as its words.
pub type Command = Vec<Vec<u8>>;

/// Commands whose replies depend on the clock, on chance or on the process.
const NOT_COMPARED: &[&str] = &[
    "EXPIRETIME",
    "PEXPIRETIME",
    "HEXPIRETIME",
    "HPEXPIRETIME",
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
    "CLOCK",
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
            dataset.extend(self.dataset(db, false)?);
        }
        Ok(Outcome { replies, dataset })
    }

    /// Sends requests as they are; an error reply to one of them is an error.
    pub fn feed(&mut self, requests: &[u8]) -> io::Result<()> {
        self.wire.send(requests);
        self.wire.send(&request(&["ECHO", "the end of what was fed"]));
        loop {
            match self.reply()? {
                Reply::Bulk(text) if text == b"the end of what was fed" => return Ok(()),
                Reply::Error(text) => {
                    return Err(io::Error::other(String::from_utf8_lossy(&text).into_owned()))
                }
                Reply::Closed => return Err(io::Error::other("it hung up")),
                _ => {}
            }
        }
    }

    fn reply(&mut self) -> io::Result<Reply> {
        let reply = self.wire.wait(Duration::from_secs(20))?;
        reply.ok_or_else(|| io::Error::new(io::ErrorKind::TimedOut, "no reply in 20 seconds"))
    }

    /// Sends one request and waits for its reply.
    pub fn call<W: AsRef<[u8]>>(&mut self, words: &[W]) -> io::Result<Reply> {
        self.wire.call(words)
    }

    /// Names of all commands in upper case.
    pub fn commands(&mut self) -> io::Result<Vec<String>> {
        let Reply::Array(names) = self.wire.call(&["COMMAND", "LIST"])? else {
            return Err(io::Error::other("COMMAND LIST is no array"));
        };
        let names = names.iter().filter_map(|name| match name {
            Reply::Bulk(name) => Some(String::from_utf8_lossy(name).to_uppercase()),
            _ => None,
        });
        Ok(names.collect())
    }

    /// One line for each key, in order: type, encoding, value, deadline in seconds divided by 100,
    /// since the second may turn between two servers, or exact.
    pub fn dataset(&mut self, db: &str, exact: bool) -> io::Result<Vec<String>> {
        self.wire.call(&["SELECT", db])?;
        let Reply::Array(keys) = self.wire.call(&["KEYS", "*"])? else {
            return Err(io::Error::other("KEYS is no array"));
        };
        let mut lines = Vec::new();
        for key in keys {
            let Reply::Bulk(key) = key else { continue };
            let key = &key[..];
            let ask = |wire: &mut Wire, before: &[&str], after: &[&str]| {
                let before = before.iter().map(|word| word.as_bytes());
                let after = after.iter().map(|word| word.as_bytes());
                wire.call(&before.chain([key]).chain(after).collect::<Vec<_>>())
            };
            let kind = show::lines(&ask(&mut self.wire, &["TYPE"], &[])?).concat();
            let encoding =
                show::lines(&ask(&mut self.wire, &["OBJECT", "ENCODING"], &[])?).concat();
            let (command, after, group): (&[&str], &[&str], usize) = match kind.as_str() {
                "string" => (&["GET"], &[], 0),
                "list" => (&["LRANGE"], &["0", "-1"], 0),
                "set" => (&["SMEMBERS"], &[], 1),
                "hash" => (&["HGETALL"], &[], 2),
                "zset" => (&["ZRANGE"], &["0", "-1", "WITHSCORES"], 0),
                _ => (&["XRANGE"], &["-", "+"], 0),
            };
            let value = ask(&mut self.wire, command, after)?;
            let marks = [Mark::Unordered(group)];
            let value = shown(&value, if group == 0 { &[] } else { &marks });
            let deadline = ask(&mut self.wire, &[if exact { "PEXPIRETIME" } else { "TTL" }], &[])?;
            let deadline = match deadline {
                Reply::Int(left) if left > 0 && !exact => (left + 50) / 100,
                Reply::Int(left) => left,
                _ => 0,
            };
            // A number made by arithmetic on text is text, but the log says only its digits.
            let encoding = if exact { String::new() } else { encoding };
            let mut line = format!("db{db} {} {kind} {encoding} until {deadline}: ", quote(key));
            line.push_str(&value.join(" "));
            if kind == "stream" {
                line.push_str(&self.stream_facts(key)?);
            }
            lines.push(line);
        }
        lines.sort();
        Ok(lines)
    }

    /// What a stream holds beside its entries, without the times of consumers.
    fn stream_facts(&mut self, key: &[u8]) -> io::Result<String> {
        let Reply::Array(facts) = self.wire.call(&[b"XINFO", &b"STREAM"[..], key])? else {
            return Ok(String::new());
        };
        let mut text = String::new();
        for pair in facts.chunks_exact(2) {
            let Reply::Bulk(name) = &pair[0] else { continue };
            if !name.starts_with(b"radix") && !name.ends_with(b"-entry") {
                let value = show::lines(&pair[1]).concat();
                let _ = write!(text, " {} {value}", String::from_utf8_lossy(name));
            }
        }
        let groups = self.wire.call(&[b"XINFO", &b"GROUPS"[..], key])?;
        let _ = write!(text, " {}", show::lines(&groups).join(" "));
        Ok(text)
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
    let free = [
        "KEYS", "SMEMBERS", "SUNION", "SINTER", "SDIFF", "HKEYS", "HVALS", "HGETALL", "SORT",
        "SORT_RO",
    ];
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

/// `known_gaps.txt`: a command's name, a text that the report contains, the reason.
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
        let lines = least.iter().map(|words| {
            let words: Vec<String> = words.iter().map(|word| spelled(word)).collect();
            format!("> {}\n", words.join(" "))
        });
        let report = lines.collect::<String>() + &what;
        if gaps.iter().any(|gap| gap.command == last && report.contains(&gap.text)) {
            continue;
        }
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

/// `name=number` from the environment.
pub fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn random_commands_agree_with_the_genuine_server() {
    let Some(command_line) = Genuine::command_line() else {
        println!("skipped: REDIS_SERVER names no genuine server");
        return;
    };
    let theirs = Genuine::start(&command_line, &["--hz", "500"]).expect("it starts");
    let ours = Ours::start(&[]).expect("it starts");
    let mut players = [&ours.addr(), &theirs.addr()].map(|addr| Player::new(*addr).unwrap());
    let [ours, theirs] = &mut players;
    let known = theirs.commands().expect("it lists its commands");
    let wanted = std::env::var("COMMANDS").unwrap_or_default().to_uppercase();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.split(' ').any(|w| w == name);
    let synopses: Vec<Synopsis> = Ours::synopses()
        .into_iter()
        .filter(|s| is_played(s) && known.contains(&s.name[0]) && is_wanted(&s.name[0]))
        .collect();
    let (count, seed) = (number("DIFFERENTIAL", 6000), number("SEED", 1));
    let most = number("MOST", 10);
    let reports =
        compare([ours, theirs], &synopses, count, seed as u64, most).expect("they answer");
    println!("{count} random commands of {} rows, seed {seed}", synopses.len());
    assert!(reports.is_empty(), "{} differences\n{}", reports.len(), reports.join("\n"));
}
