//! Two servers, the same random commands: every reply and every dataset must be equal.
//!
//! `DIFFERENTIAL=1000000 SEED=7 REDIS_SERVER=... cargo test --release --test it differential --
//! --nocapture` is the long run; `EXTENDED=0` plays single commands only, without blocks (see
//! `blocks`), thresholds, events and RESP3. A difference is shrunk to the fewest commands that show
//! it and printed as a session block. Differences that are known stand in `known_gaps.txt`, each
//! with its reason.

use std::collections::BTreeMap;
use std::io;

use crate::agree::{difference, inner};
use crate::generate::Generator;
use crate::grammar::Synopsis;
use crate::play::{Command, Player, Scene};
use crate::server::{Genuine, Ours};
use crate::session::run::Server;
use crate::words::quote;

/// Commands in one sequence, after which the datasets are compared and emptied.
const SEQUENCE: usize = 120;

/// Commands that would differ by chance, stop the run, or reach beyond the dataset.
pub const NOT_PLAYED: &[&str] = &[
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

/// Deletes commands as long as the difference stays.
pub fn shrink(
    mut commands: Vec<Command>,
    differs: &mut dyn FnMut(&[Command]) -> bool,
) -> Vec<Command> {
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
    extended: bool,
) -> io::Result<Vec<String>> {
    let gaps = known_gaps();
    let mut generator = Generator::new(synopses, seed);
    let mut reports = BTreeMap::new();
    for _ in 0..count.div_ceil(SEQUENCE) {
        let (scene, commands): (Scene, Vec<Command>) = match extended {
            true => {
                let scene = generator.scene();
                (scene, generator.sequence(scene, SEQUENCE))
            }
            false => (Scene::default(), (0..SEQUENCE).map(|_| generator.command()).collect()),
        };
        let mut both = |commands: &[Command]| -> io::Result<_> {
            let outcomes = [&mut *ours, theirs].map(|player| player.play(scene, commands));
            let [a, b] = outcomes;
            let found = difference(commands, &a?, &b?);
            Ok(found)
        };
        let found = match both(&commands) {
            Ok(found) => found,
            Err(why) => {
                let text = spelled_out(&commands);
                return Err(io::Error::other(format!("{why} after\n{text}")));
            }
        };
        let Some((length, _)) = found else { continue };
        let mut differs = |commands: &[Command]| matches!(both(commands), Ok(Some(_)));
        let least = shrink(commands[..length].to_vec(), &mut differs);
        let Some((_, what)) = both(&least)? else { continue };
        let last = least.last().and_then(|command| inner(command).first());
        let last = last.map_or(String::new(), |word| spelled(word).to_uppercase());
        let setting = scene.settings.first().map_or("", |(_, value)| value);
        let scene = format!("resp3 {}, list-max-listpack-size {setting}\n", scene.resp3);
        let report = scene + &spelled_out(&least) + &what;
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

/// The commands as lines of a session.
pub fn spelled_out(commands: &[Command]) -> String {
    let lines = commands.iter().map(|words| {
        let words: Vec<String> = words.iter().map(|word| spelled(word)).collect();
        format!("> {}\n", words.join(" "))
    });
    lines.collect()
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
    let extended = number("EXTENDED", 1) == 1;
    let reports = compare([ours, theirs], &synopses, count, seed as u64, most, extended)
        .expect("they answer");
    println!("{count} random commands of {} rows, seed {seed}", synopses.len());
    assert!(reports.is_empty(), "{} differences\n{}", reports.len(), reports.join("\n"));
}
