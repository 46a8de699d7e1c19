//! Every make as the primary of every make: random commands of all types, scripts, functions,
//! transactions and deadlines reach a replica through a link that breaks at any byte, stands
//! still, and passes single bytes. At equal offsets the data is equal, and each time the link
//! comes back the replica goes on where it was, unless the backlog has left it behind.
//!
//! `PAIRS=1000000 SEED=7 PEERS="redis-server;valkey-server" cargo test --test it pairs --
//! --nocapture` is the long run, with `ONLY="redouble -> valkey"` for some of the pairs. Without
//! `PEERS` there is the server that `REDIS_SERVER` names, and ours.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::wait_until;
use crate::differential::{is_played, number, shrink, spelled_out};
use crate::generate::{Generator, Rng};
use crate::grammar::Synopsis;
use crate::link::{Link, Meeting, Way};
use crate::play::{Command, Player, Scene};
use crate::server::{Genuine, Ours};
use crate::session::run::Server as _;
use crate::wire::{request, Reply, Wire};

/// Commands between two looks at the data, in so many sequences.
const ROUND: usize = 4000;
const SEQUENCE: usize = 250;
/// A replica that misses so many bytes is left behind by a backlog of 1 MB.
const MISSED: usize = 4 << 20;
/// Each so many rounds the replica is left behind.
const LEFT_BEHIND: usize = 4;

const LIBRARY: &str = "#!lua name=pairs
redis.register_function('call', function(keys, args) return redis.pcall(unpack(args)) end)";

/// A make of server: how it is started, and which format of files it has.
struct Make {
    line: String,
    name: String,
    /// The version of RDB that it writes.
    writes: u32,
    /// The newest version of RDB that it reads.
    reads: u32,
    commands: Vec<String>,
}

impl Make {
    fn of(line: &str) -> Make {
        let server = Genuine::start(line, &[]).expect("it starts");
        let version = server.version().unwrap_or(0);
        let format = match version {
            ..702 => 10,
            702..704 => 11,
            _ => 12,
        };
        let mut player = Player::new(server.addr()).expect("connects");
        let commands = player.commands().expect("it lists its commands");
        let is_ours = line == crate::process::BINARY;
        let mut side = Side::of(server);
        let name = match side.field("valkey_version") {
            _ if is_ours => "redouble".to_string(),
            valkey if !valkey.is_empty() => format!("valkey {valkey}"),
            _ => format!("redis {}", side.field("redis_version")),
        };
        // Ours writes the oldest format that can hold the data.
        let (writes, reads) = if is_ours { (0, 12) } else { (format, format) };
        Make { line: line.to_string(), name, writes, reads, commands }
    }

    fn knows(&self, command: &Command) -> bool {
        let name = command.first().map(|word| String::from_utf8_lossy(word).to_uppercase());
        name.is_some_and(|name| self.commands.contains(&name))
    }

    fn start(&self, directives: &[&str]) -> Side {
        let common = ["--repl-diskless-sync-delay", "0", "--repl-backlog-size", "64mb"];
        let timing = ["--repl-timeout", "5", "--repl-ping-replica-period", "1"];
        let words = [&common[..], &timing[..], &["--logfile", "log"], directives].concat();
        Side::of(Genuine::start(&self.line, &words).expect("it starts"))
    }
}

/// One of the two servers.
struct Side {
    server: Genuine,
    wire: Wire,
}

impl Side {
    fn of(server: Genuine) -> Side {
        let wire = Wire::connect(server.addr()).expect("it listens");
        Side { server, wire }
    }

    fn call(&mut self, words: &[&str]) -> Reply {
        self.wire.call(words).expect("it answers")
    }

    fn field(&mut self, name: &str) -> String {
        let Reply::Bulk(text) = self.call(&["INFO", "everything"]) else { panic!("INFO is text") };
        let text = String::from_utf8_lossy(&text).into_owned();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
        line.unwrap_or_default().to_string()
    }

    fn count(&mut self, name: &str) -> usize {
        self.field(name).parse().expect("a count")
    }

    fn critical(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.server.files().join("log")).unwrap_or_default();
        log.lines().filter(|line| line.contains("CRITICAL")).map(str::to_string).collect()
    }
}

/// What was done to a link, and what came of it.
#[derive(Default)]
struct Figures {
    commands: usize,
    cuts: usize,
    stalls: usize,
    single_bytes: u64,
    compared: usize,
    full: usize,
    partial: usize,
    forgotten: usize,
}

/// A primary and its replica, with a bad link between them.
struct Pair {
    primary: Side,
    replica: Side,
    feeder: Wire,
    link: Link,
    rng: Rng,
    figures: Figures,
    /// From which meeting on the backlog had left the replica behind.
    left_behind: Vec<usize>,
}

impl Pair {
    fn start(primary: &Make, replica: &Make, seed: u64) -> Pair {
        let primary = primary.start(&[]);
        let link = Link::to(primary.server.addr());
        let port = link.addr().port().to_string();
        let replica = replica.start(&["--replicaof", "127.0.0.1", &port]);
        let feeder = Wire::connect(primary.server.addr()).expect("it listens");
        let rng = Rng(seed ^ 0x6c69_6e6b);
        let (figures, left_behind) = (Figures::default(), Vec::new());
        Pair { primary, replica, feeder, link, rng, figures, left_behind }
    }

    /// Makes the link bad in some way.
    fn trouble(&mut self) {
        let way = [Way::Up, Way::Down][self.rng.below(2)];
        match self.rng.below(8) {
            0 => self.link.cut(),
            1 | 2 => self.link.cut_after(way, self.rng.below(6000) as u64),
            3 => {
                // Now and then longer than the two wait for each other.
                let ms = if self.rng.one_in(100) { 7000 } else { self.rng.below(300) };
                self.link.stall(way, Duration::from_millis(ms as u64));
                self.figures.stalls += 1;
                return;
            }
            4 | 5 => {
                let bytes = self.rng.below(4000) as u64;
                self.link.single_bytes(way, bytes);
                self.figures.single_bytes += bytes;
                if self.rng.one_in(2) {
                    return;
                }
                self.link.cut_after(way, self.rng.below(4000) as u64);
            }
            6 => self.link.refuse(true),
            _ => return,
        }
        self.figures.cuts += 1;
    }

    /// Sends commands, and waits for as many replies.
    fn feed(&mut self, commands: &[Command]) {
        let bytes: Vec<u8> = commands.iter().flat_map(|words| request(words)).collect();
        self.feeder.send(&bytes);
        for _ in commands {
            let reply = self.feeder.wait(crate::patience::PATIENCE).expect("RESP");
            assert!(!matches!(reply, None | Some(Reply::Closed)), "the primary does not answer");
        }
        self.figures.commands += commands.len();
    }

    /// Waits until both are at one offset, and gives the digests of their data there.
    fn digests(&mut self) -> [Reply; 2] {
        let mut found = None;
        let (primary, replica) = (&mut self.primary, &mut self.replica);
        wait_until("a replica in sync", || {
            let offset = primary.field("master_repl_offset");
            if replica.field("master_link_status") != "up"
                || replica.field("slave_repl_offset") != offset
            {
                return false;
            }
            let both = [&mut *primary, &mut *replica].map(|side| side.call(&["DEBUG", "DIGEST"]));
            // What time removed meanwhile may be gone from one of them only.
            let is_still = primary.field("master_repl_offset") == offset;
            found = Some(both);
            is_still
        });
        self.figures.compared += 1;
        found.expect("digests")
    }

    /// The replica misses more than the backlog keeps.
    fn leave_behind(&mut self) {
        self.primary.call(&["CONFIG", "SET", "repl-backlog-size", "1mb"]);
        self.link.refuse(true);
        let primary = &mut self.primary;
        wait_until("a primary alone", || primary.field("connected_slaves") == "0");
        for number in 0..MISSED / 100_000 {
            let value = number.to_string().repeat(100_000);
            self.primary.call(&["SET", "much", &value]);
        }
        self.primary.call(&["DEL", "much"]);
        self.left_behind.push(self.link.meetings().len());
        // The copy may break, too.
        if self.rng.one_in(2) {
            self.link.cut_after(Way::Down, self.rng.below(20_000) as u64);
        }
        if self.rng.one_in(2) {
            self.link.single_bytes(Way::Down, self.rng.below(20_000) as u64);
        }
        self.link.refuse(false);
        let replica = &mut self.replica;
        wait_until("a new copy", || replica.field("master_link_status") == "up");
        self.primary.call(&["CONFIG", "SET", "repl-backlog-size", "64mb"]);
    }

    /// Which keys differ, and how.
    fn differences(&self) -> String {
        let mut text = String::new();
        for db in ["0", "1"] {
            let [ours, theirs] = [&self.primary, &self.replica].map(|side| {
                let mut player = Player::new(side.server.addr()).expect("connects");
                player.dataset(db, true).expect("a dataset")
            });
            let only = |these: &[String], those: &[String]| -> Vec<String> {
                let lines = these.iter().filter(|line| !those.contains(line));
                lines.map(|line| line.chars().take(600).collect()).collect()
            };
            let _ = writeln!(text, "primary: {:#?}", only(&ours, &theirs));
            let _ = writeln!(text, "replica: {:#?}", only(&theirs, &ours));
        }
        text
    }

    /// Whether these commands alone, over a good link, make the replica refuse one, or else differ.
    fn goes_wrong(&mut self, commands: &[Command], is_refusal: bool) -> bool {
        let errors = self.replica.field("unexpected_error_replies");
        let lines = ["DISCARD", "UNWATCH", "SELECT 0", "FLUSHALL"];
        let clean = |line: &&str| line.split(' ').map(|word| word.into()).collect::<Command>();
        self.feed(&lines.iter().map(clean).collect::<Vec<_>>());
        self.feed(commands);
        let [ours, theirs] = self.digests();
        match is_refusal {
            true => self.replica.field("unexpected_error_replies") != errors,
            false => ours != theirs,
        }
    }

    /// Both have the same data, and the replica took everything; else how it came to be otherwise.
    fn agree(&mut self, played: &[Command]) -> Result<(), String> {
        let [ours, theirs] = self.digests();
        let errors = self.replica.field("unexpected_error_replies");
        if ours == theirs && errors == "0" {
            return Ok(());
        }
        let mut text = format!("{errors} errors: {:#?}\n", self.replica.critical());
        text += &self.differences();
        let is_refusal = errors != "0";
        if self.goes_wrong(played, is_refusal) {
            let mut differs = |commands: &[Command]| self.goes_wrong(commands, is_refusal);
            let least = shrink(played.to_vec(), &mut differs);
            let _ = differs(&least);
            let _ = write!(text, "by\n{}{}", spelled_out(&least), self.differences());
        }
        Err(text)
    }

    /// Each time the link came back, the replica asked and was answered as it had to be.
    fn judge(&mut self, replica: &Make) {
        let is_ours = replica.name == "redouble";
        let meetings = self.link.meetings();
        let mut stands = Stands::Nowhere;
        let mut unanswered = 0;
        for (at, meeting) in meetings.iter().enumerate() {
            let is_behind = self.left_behind.contains(&at);
            if is_behind && stands == Stands::Within {
                stands = Stands::Behind;
            }
            // Redis: forgets where it was when a handshake breaks in the middle of the answer.
            let forgot = stands == Stands::Within && meeting.asked_to_go_on == Some(false);
            if forgot && !is_ours {
                self.figures.forgotten += 1;
                stands = Stands::Nowhere;
            }
            stands = stands.after(meeting).unwrap_or_else(|| {
                let before = &meetings[at.saturating_sub(3)..at];
                panic!("meeting {at}: {meeting:?}, {stands:?}; before: {before:?}")
            });
            match meeting.goes_on {
                Some(true) => self.figures.partial += 1,
                Some(false) => self.figures.full += 1,
                None => unanswered += 1,
            }
        }
        let [full, partial] = ["sync_full", "sync_partial_ok"].map(|name| self.primary.count(name));
        let (seen, counted) = (self.figures.full, full);
        assert!((seen..=seen + unanswered).contains(&counted), "{counted} full, {seen} seen");
        let (seen, counted) = (self.figures.partial, partial);
        assert!((seen..=seen + unanswered).contains(&counted), "{counted} partial, {seen} seen");
    }
}

/// Where a replica is in the history of its primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    /// Nothing of it has been loaded.
    Nowhere,
    /// A copy was on its way to it, and may or may not be what it has now.
    Maybe,
    /// At a point that the backlog still has.
    Within,
    /// At a point that the backlog has no more.
    Behind,
}

impl Stands {
    /// Where it is after a meeting; none if it should not have gone that way.
    fn after(self, meeting: &Meeting) -> Option<Stands> {
        let Some(asked_to_go_on) = meeting.asked_to_go_on else { return Some(self) };
        let Some(goes_on) = meeting.goes_on else { return Some(self) };
        let as_it_must = match self {
            // A history of its own is no use to it.
            Stands::Nowhere => !goes_on,
            Stands::Maybe => asked_to_go_on || !goes_on,
            Stands::Within => asked_to_go_on && goes_on,
            Stands::Behind => !goes_on,
        };
        as_it_must.then_some(match goes_on || meeting.acknowledged {
            true => Stands::Within,
            false => Stands::Maybe,
        })
    }
}

/// Redis: the order of a set's elements of equal weight is that of its table, yet the command
/// reaches replicas as it was sent.
fn depends_on_chance(command: &Command) -> bool {
    let has = |name: &str| command.iter().any(|word| word.eq_ignore_ascii_case(name.as_bytes()));
    let is_list = command.iter().any(|word| word.starts_with(b"list"));
    ["SORT", "ALPHA", "BY", "STORE"].into_iter().all(has) && !is_list
}

/// Redis: a PFADD that finds the damage of a count on its way keeps what it has added by then, and
/// tells nobody.
fn damages_a_count(command: &Command) -> bool {
    let is_count = |word: &Vec<u8>| word.starts_with(b"hll");
    let damaging = ["APPEND", "SETRANGE", "SETBIT", "BITFIELD", "BITOP"];
    let names = |word: &Vec<u8>| {
        let word = String::from_utf8_lossy(word).to_uppercase();
        damaging.iter().any(|name| word.contains(name))
    };
    command.iter().any(names) && command.iter().any(is_count)
}

/// Plays `count` random commands to a primary, and looks at the replica after each round.
fn play(primary: &Make, replica: &Make, count: usize, seed: u64) -> Figures {
    let mut synopses: Vec<Synopsis> = Ours::synopses();
    let knows = |make: &Make, synopsis: &Synopsis| make.commands.contains(&synopsis.name[0]);
    synopses.retain(|one| is_played(one) && knows(primary, one) && knows(replica, one));
    let mut generator = Generator::new(&synopses, seed);
    generator.plain_scores = true;
    let mut pair = Pair::start(primary, replica, seed);
    let name = format!("{} -> {}", primary.name, replica.name);
    for round in 0..count.div_ceil(ROUND) {
        let scene = Scene { resp3: false, listens: false, ..generator.scene() };
        for (directive, value) in scene.settings {
            // Some bytes tell how a value is kept.
            pair.primary.call(&["CONFIG", "SET", directive, value]);
            pair.replica.call(&["CONFIG", "SET", directive, value]);
        }
        if pair.rng.one_in(3) {
            pair.feed(&[vec![b"FLUSHALL".to_vec()]]);
        }
        pair.primary.call(&["FUNCTION", "LOAD", "REPLACE", LIBRARY]);
        let mut played = Vec::new();
        for _ in 0..ROUND / SEQUENCE {
            let mut commands = generator.sequence(scene, SEQUENCE);
            // Deadlines of fields, where one of the two has none.
            commands.retain(|words| [primary, replica].iter().all(|make| make.knows(words)));
            if primary.name != "redouble" {
                commands.retain(|words| !depends_on_chance(words) && !damages_a_count(words));
            }
            if generator.rng.one_in(2) {
                let call = ["FCALL", "call", "0"].map(|word| word.as_bytes().to_vec());
                commands.push([&call[..], &generator.command()].concat());
            }
            pair.trouble();
            pair.feed(&commands);
            pair.feed(&[vec![b"DISCARD".to_vec()], vec![b"UNWATCH".to_vec()]]);
            pair.link.refuse(false);
            played.extend(commands);
        }
        pair.link.mend();
        if round % LEFT_BEHIND == LEFT_BEHIND / 2 || count <= ROUND {
            pair.leave_behind();
        }
        if let Err(why) = pair.agree(&played) {
            panic!("{name}, seed {seed}, round {round}: {why}");
        }
    }
    pair.judge(replica);
    pair.figures
}

#[test]
fn pairs_of_all_makes_have_the_same_data_whatever_happens_to_their_link() {
    let peers = std::env::var("PEERS").ok().or_else(Genuine::command_line).unwrap_or_default();
    let peers = peers.split(';').map(str::trim).filter(|line| !line.is_empty());
    let makes: Vec<Make> =
        std::iter::once(crate::process::BINARY).chain(peers).map(Make::of).collect();
    let only = std::env::var("ONLY").unwrap_or_default();
    let (count, seed) = (number("PAIRS", ROUND), number("SEED", 1) as u64);
    let all_pairs = std::env::var("PEERS").is_ok();
    for primary in &makes {
        for replica in &makes {
            let name = format!("{} -> {}", primary.name, replica.name);
            let with_ours = [primary, replica].iter().any(|make| make.name == "redouble");
            if !name.contains(&only) || !(with_ours || all_pairs) {
                continue;
            }
            if primary.writes > replica.reads {
                eprintln!("{name}: format {} is too new for it", primary.writes);
                continue;
            }
            let began = Instant::now();
            let all = play(primary, replica, count, seed);
            eprintln!(
                "{name}: {} commands, {} cuts, {} stalls, {} single bytes; {} full, {} partial \
                 resyncs, each as it must be ({} times a genuine replica had forgotten where it \
                 was); {} digests equal; {} s",
                all.commands,
                all.cuts,
                all.stalls,
                all.single_bytes,
                all.full,
                all.partial,
                all.forgotten,
                all.compared,
                began.elapsed().as_secs()
            );
        }
    }
}
