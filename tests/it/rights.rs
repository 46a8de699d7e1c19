//! Random users, rules and commands: the server's answers against those of a plain interpreter of
//! the rules, and against the genuine server's.
//!
//! The interpreter has no bitmaps and keeps nothing but the words of the rules: it reads them from
//! the first to the last for every question. `RIGHTS=1000000 SEED=7 cargo test --release --test it
//! rights` is the long run.

use std::collections::BTreeMap;

use redouble::resp::reader::Value;

use crate::differential::{number, NOT_PLAYED};
use crate::generate::{Generator, Rng};
use crate::grammar::Synopsis;
use crate::server::{Genuine, Ours};
use crate::session::run::Server;
use crate::show;
use crate::wire::{Reply, Wire};

const USERS: [&str; 3] = ["ann", "ben", "cyd"];
const KEYS: &[&str] = &[
    "string*", "set*", "*1", "*2", "zset?", "hash1", "list*", "*s*", "**", "stream*", "geo1", "",
    "h?s*3", "*t",
];
const CHANNELS: &[&str] = &["a*", "?", "c", "1*", "x*", "**", "string*", "*1", "none*"];
const FIRST_ARGS: &[&str] = &["a", "B", "0", "1", "string1", "SET1", "zset2"];

/// What the interpreter knows of a command.
struct Fact {
    categories: Vec<String>,
    is_container: bool,
}

type Facts = BTreeMap<String, Fact>;

/// A selector: the words that made it.
type Words = Vec<String>;

/// What is asked of a selector.
struct Question<'q> {
    command: &'q str,
    words: &'q [Vec<u8>],
    /// Which word, whether it is read, whether it is written.
    keys: Vec<(usize, bool, bool)>,
}

fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], _) => text.is_empty(),
        ([b'*', rest @ ..], _) => (0..=text.len()).any(|skipped| matches(rest, &text[skipped..])),
        ([b'?', pattern @ ..], [_, text @ ..]) => matches(pattern, text),
        ([a, pattern @ ..], [b, text @ ..]) => a == b && matches(pattern, text),
        _ => false,
    }
}

/// An empty name is matched by the empty pattern only.
fn admits(pattern: &str, name: &[u8]) -> bool {
    (name.is_empty() == pattern.is_empty()) && matches(pattern.as_bytes(), name)
}

fn may_run(words: &Words, facts: &Facts, question: &Question<'_>) -> bool {
    let own = question.command;
    if ["auth", "hello", "quit", "reset"].contains(&own) {
        return true;
    }
    let container = own.split_once('|').map(|(container, _)| container);
    let (mut allowed, mut args): (bool, Vec<&str>) = (false, Vec::new());
    for word in words {
        let (adds, name) = match (word.as_str(), word.split_at(1)) {
            ("allcommands", _) => (true, "@all"),
            ("nocommands", _) => (false, "@all"),
            (_, ("+", name)) => (true, name),
            (_, ("-", name)) => (false, name),
            _ => continue,
        };
        let is_in = |category: &str, name: &str| {
            facts.get(name).is_some_and(|fact| fact.categories.iter().any(|one| one == category))
        };
        let concerned = match name.strip_prefix('@') {
            Some("all") => true,
            Some(category) => {
                is_in(category, own) || container.is_some_and(|name| is_in(category, name))
            }
            None => name == own || Some(name) == container,
        };
        if concerned {
            allowed = adds;
            args.clear();
        }
        if let Some((name, arg)) = name.split_once('|') {
            if name == own && facts.get(name).is_some_and(|fact| !fact.is_container) {
                args.push(arg);
            }
        }
    }
    let first = question.words.get(1);
    allowed
        || first.is_some_and(|first| args.iter().any(|a| first.eq_ignore_ascii_case(a.as_bytes())))
}

/// Patterns with what they allow; all of them, when everything is allowed.
fn key_patterns(words: &Words) -> Option<Vec<(&str, bool, bool)>> {
    let mut patterns: Option<Vec<(&str, bool, bool)>> = Some(Vec::new());
    for word in words {
        let (pattern, reads, writes) = match (word.as_str(), word.split_once('~')) {
            ("allkeys" | "~*", _) => {
                patterns = None;
                continue;
            }
            ("resetkeys", _) => {
                patterns = Some(Vec::new());
                continue;
            }
            (_, Some(("", pattern))) => (pattern, true, true),
            (_, Some((sign, pattern))) => (pattern, sign.contains('R'), sign.contains('W')),
            _ => continue,
        };
        let Some(patterns) = &mut patterns else { continue };
        match patterns.iter_mut().find(|known| known.0 == pattern) {
            Some(known) => *known = (pattern, known.1 || reads, known.2 || writes),
            None => patterns.push((pattern, reads, writes)),
        }
    }
    patterns
}

fn channel_patterns(words: &Words) -> Option<Vec<&str>> {
    let mut patterns = Some(Vec::new());
    for word in words {
        match (word.as_str(), word.strip_prefix('&')) {
            ("allchannels" | "&*", _) => patterns = None,
            ("resetchannels", _) => patterns = Some(Vec::new()),
            (_, Some(pattern)) => patterns.iter_mut().for_each(|all| all.push(pattern)),
            _ => {}
        }
    }
    patterns
}

/// How far a selector lets a request come (0: not even the command, 1: a key, 3: a channel), and
/// the word that stopped it; nothing when it may go.
fn judge(words: &Words, facts: &Facts, question: &Question<'_>) -> Option<(u8, usize)> {
    if !may_run(words, facts, question) {
        return Some((0, 0));
    }
    if let Some(patterns) = key_patterns(words) {
        for &(at, reads, writes) in &question.keys {
            let fits = |known: &(&str, bool, bool)| {
                admits(known.0, &question.words[at]) && (known.1 || !reads) && (known.2 || !writes)
            };
            if !patterns.iter().any(fits) {
                return Some((1, at));
            }
        }
    }
    let (last, literally) = match question.command {
        "publish" | "spublish" => (1, false),
        "subscribe" | "ssubscribe" => (usize::MAX, false),
        "psubscribe" => (usize::MAX, true),
        _ => return None,
    };
    let patterns = channel_patterns(words)?;
    let channels = question.words.iter().enumerate().skip(1).take(last);
    let refused = channels.into_iter().find(|(_, name)| {
        let fits = |pattern: &&str| match literally {
            // As C sees it, which ends at a zero byte.
            true => pattern.as_bytes() == name.split(|byte| *byte == 0).next().unwrap_or_default(),
            false => admits(pattern, name),
        };
        !patterns.iter().any(fits)
    });
    refused.map(|(at, _)| (3, at))
}

/// A user of the interpreter: what stands outside of parentheses, and each pair of them.
#[derive(Clone)]
struct Plain(Vec<Words>);

impl Plain {
    /// Applies the words of ACL SETUSER; false, and nothing changed, where they are refused.
    fn change(&mut self, words: &[String]) -> bool {
        let mut next = self.clone();
        for word in words {
            let inside = word.strip_prefix('(').and_then(|word| word.strip_suffix(')'));
            let applied = match (word.as_str(), inside) {
                ("clearselectors", _) => {
                    next.0.truncate(1);
                    true
                }
                ("reset", _) => {
                    next.0 = vec![Words::new()];
                    true
                }
                (_, Some(inside)) => {
                    next.0.push(Words::new());
                    let at = next.0.len() - 1;
                    inside.split(' ').all(|word| next.add(at, word))
                }
                (word, None) => next.add(0, word),
            };
            if !applied {
                return false;
            }
        }
        *self = next;
        true
    }

    fn add(&mut self, at: usize, word: &str) -> bool {
        let selector = &mut self.0[at];
        let is_pattern = word != "~*" && (word.starts_with(['~', '%']));
        let pointless = is_pattern && key_patterns(selector).is_none()
            || word != "&*" && word.starts_with('&') && channel_patterns(selector).is_none();
        selector.push(word.to_string());
        !pointless
    }

    /// The answer of ACL DRYRUN.
    fn answer(&self, name: &str, facts: &Facts, question: &Question<'_>) -> Vec<u8> {
        let mut furthest = (0, 0);
        for selector in &self.0 {
            match judge(selector, facts, question) {
                None => return b"OK".to_vec(),
                Some(stop) => furthest = furthest.max(stop),
            }
        }
        let (kind, at) = furthest;
        let (what, kind): (&[u8], _) = match kind {
            0 => (question.command.as_bytes(), "command"),
            1 => (&question.words[at], "key"),
            _ => (&question.words[at], "channel"),
        };
        let verb = if kind == "command" { "run" } else { "access" };
        let text = format!("User {name} has no permissions to {verb} the '");
        [text.as_bytes(), what, b"' ", kind.as_bytes()].concat()
    }
}

/// Random rules about these commands.
struct Rules<'r> {
    rng: &'r mut Rng,
    names: &'r [String],
    facts: &'r Facts,
}

impl Rules<'_> {
    fn words(&mut self) -> Vec<String> {
        let count = 1 + self.rng.below(4);
        (0..count).map(|_| self.word()).collect()
    }

    fn word(&mut self) -> String {
        match self.rng.below(24) {
            0 => "clearselectors".to_string(),
            1 if self.rng.one_in(6) => "reset".to_string(),
            2 | 3 => {
                let count = 1 + self.rng.below(5);
                let words: Vec<String> = (0..count).map(|_| self.inside()).collect();
                format!("({})", words.join(" "))
            }
            _ => self.inside(),
        }
    }

    fn inside(&mut self) -> String {
        let categories = redouble::acl::CATEGORIES;
        let sign = *self.rng.pick(&["+", "+", "-"]).as_bytes().first().unwrap_or(&b'+') as char;
        match self.rng.below(16) {
            0 => self.rng.pick(&["allcommands", "nocommands", "+@all", "-@all"]).to_string(),
            1..=3 => format!("{sign}@{}", self.rng.pick(&categories)),
            4..=7 => format!("{sign}{}", self.names[self.rng.below(self.names.len())]),
            8 => {
                let name = &self.names[self.rng.below(self.names.len())];
                let fact = &self.facts[name];
                match fact.is_container || name.contains('|') {
                    true => format!("+{name}"),
                    false => format!("+{name}|{}", self.rng.pick(FIRST_ARGS)),
                }
            }
            9 => self.rng.pick(&["allkeys", "resetkeys", "resetkeys", "~*"]).to_string(),
            10..=12 => {
                let sign = self.rng.pick(&["~", "~", "%R~", "%W~", "%RW~"]);
                format!("{sign}{}", self.rng.pick(KEYS))
            }
            13 => self.rng.pick(&["allchannels", "resetchannels", "&*"]).to_string(),
            _ => format!("&{}", self.rng.pick(CHANNELS)),
        }
    }
}

/// All commands that both sides know, with what the interpreter must know of them.
fn facts(server: &redouble::Server) -> Facts {
    let mut facts = Facts::new();
    for spec in &redouble::commands::table().specs {
        let Value::Array(rows) = server.command(&["COMMAND", "INFO", &spec.name]) else { continue };
        let Some(Value::Array(row)) = rows.first() else { continue };
        let Some(Value::Set(categories) | Value::Array(categories)) = row.get(6) else { continue };
        let categories = categories.iter().filter_map(|one| match one {
            Value::Simple(name) => Some(name.to_string().trim_start_matches('@').to_string()),
            _ => None,
        });
        let is_container = matches!(row.get(9), Some(Value::Array(inside)) if !inside.is_empty());
        facts.insert(spec.name.clone(), Fact { categories: categories.collect(), is_container });
    }
    facts
}

/// The keys of a command, as COMMAND GETKEYSANDFLAGS finds them, in the order of the words.
fn keys(server: &redouble::Server, words: &[Vec<u8>]) -> Vec<(usize, bool, bool)> {
    let mut asked = vec![b"COMMAND".to_vec(), b"GETKEYSANDFLAGS".to_vec()];
    asked.extend(words.iter().cloned());
    let Value::Array(found) = server.command(&asked) else { return Vec::new() };
    let mut keys = Vec::new();
    let mut from = 0;
    for entry in found {
        let Value::Array(pair) = entry else { continue };
        let [Value::Bulk(key), Value::Set(flags) | Value::Array(flags)] = &pair[..] else {
            continue;
        };
        let has = |wanted: &[&str]| {
            flags
                .iter()
                .any(|flag| matches!(flag, Value::Simple(f) if wanted.iter().any(|name| f == name)))
        };
        // The same word may be a key twice; the places themselves are not told.
        let is_it = |at: &usize| words[*at] == *key;
        let at = (from + 1..words.len()).find(is_it).or((1..words.len()).find(is_it));
        let Some(at) = at else { continue };
        from = at;
        keys.push((at, has(&["access"]), has(&["insert", "update", "delete"])));
    }
    keys
}

#[test]
fn rights_are_those_of_a_plain_interpreter() {
    let server = redouble::Server::builder().without_tcp().start().expect("it starts");
    let facts = facts(&server);
    let names: Vec<String> = facts.keys().cloned().collect();
    let synopses = Ours::synopses();
    let seed = number("SEED", 1) as u64;
    let mut generator = Generator::new(&synopses, seed);
    let mut rng = Rng(seed ^ 0x5eed);
    let mut users: BTreeMap<&str, Plain> = BTreeMap::new();
    let (mut admitted, mut asked) = (0, 0);
    for _ in 0..number("RIGHTS", 6000) {
        let name = USERS[rng.below(USERS.len())];
        if rng.one_in(3) {
            let words = Rules { rng: &mut rng, names: &names, facts: &facts }.words();
            let mut call = vec!["ACL".to_string(), "SETUSER".to_string(), name.to_string()];
            call.extend(words.iter().cloned());
            let taken = matches!(server.command(&call), Value::Simple(ok) if ok == "OK");
            let user = users.entry(name).or_insert_with(|| Plain(vec![Words::new()]));
            assert_eq!(user.change(&words), taken, "{call:?}");
            continue;
        }
        let words = generator.command();
        let Some(user) = users.get(name) else { continue };
        let argv: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let Ok(spec) = redouble::commands::table().find(&argv) else { continue };
        let mut call: Vec<&[u8]> = vec![b"ACL", b"DRYRUN", name.as_bytes()];
        call.extend(&argv);
        let answer = match server.command(&call) {
            Value::Simple(text) => text.into_bytes(),
            Value::Bulk(text) => text,
            Value::Error(text) if text.starts_with("ERR wrong number of arguments") => continue,
            other => panic!("{call:?}: {other:?}"),
        };
        let keys = keys(&server, &words);
        let question = Question { command: &spec.name, words: &words, keys };
        let expected = user.answer(name, &facts, &question);
        let lossy = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
        assert_eq!(lossy(&answer), lossy(&expected), "{:?} {:?}", user.0, words);
        asked += 1;
        admitted += (expected == b"OK") as usize;
    }
    println!("{asked} commands judged, {admitted} admitted");
    assert!(admitted * 20 > asked && admitted < asked, "{admitted} of {asked}: nothing is learnt");
}

/// Both servers, and connections of each user to both.
struct Two {
    control: [Wire; 2],
    users: BTreeMap<&'static str, [Wire; 2]>,
}

impl Two {
    fn both(wires: &mut [Wire; 2], words: &[Vec<u8>]) -> [Reply; 2] {
        let [a, b] = wires;
        [a.call(words).expect("it answers"), b.call(words).expect("it answers")]
    }

    /// Both answers, as lines.
    fn shown(replies: &[Reply; 2]) -> [Vec<String>; 2] {
        [show::lines(&replies[0]), show::lines(&replies[1])]
    }

    fn agree(&mut self, words: &[Vec<u8>]) -> Vec<String> {
        let [ours, theirs] = Two::shown(&Two::both(&mut self.control, words));
        assert_eq!(ours, theirs, "{}", shown_words(words));
        ours
    }
}

fn shown_words(words: &[Vec<u8>]) -> String {
    words.iter().map(|word| word.escape_ascii().to_string()).collect::<Vec<_>>().join(" ")
}

fn is_refusal(reply: &Reply) -> bool {
    matches!(reply, Reply::Error(text) if text.starts_with(b"NOPERM"))
}

#[test]
fn rights_are_those_of_the_genuine_server() {
    let Some(command_line) = Genuine::command_line() else {
        return println!("skipped: REDIS_SERVER names no genuine server");
    };
    let genuine = Genuine::start(&command_line, &[]).expect("it starts");
    if genuine.version() < Some(704) {
        return println!("skipped: older servers use other words");
    }
    let ours = Ours::start(&[]).expect("it starts");
    let connect =
        || [ours.addr(), genuine.addr()].map(|addr| Wire::connect(addr).expect("it lets us in"));
    let mut two = Two { control: connect(), users: BTreeMap::new() };
    let facts = facts(ours.handle());
    let known = |name: &str| {
        let words: Vec<&str> = name.split('|').collect();
        let reply = Wire::connect(genuine.addr())
            .and_then(|mut wire| wire.call(&["COMMAND", "INFO", &words.join("|")]));
        matches!(reply, Ok(Reply::Array(rows)) if matches!(rows.first(), Some(Reply::Array(_))))
    };
    let names: Vec<String> = facts.keys().filter(|name| known(name)).cloned().collect();
    let is_known = |synopsis: &Synopsis| names.contains(&synopsis.name.join("|").to_lowercase());
    let mut synopses = Ours::synopses();
    synopses.retain(is_known);
    let seed = number("SEED", 1) as u64;
    let mut generator = Generator::new(&synopses, seed);
    let mut rng = Rng(seed ^ 0x5eed);
    let word = |text: &str| text.as_bytes().to_vec();
    let mut refused = [0, 0];
    for _ in 0..number("RIGHTS_GENUINE", 4000) {
        let name = USERS[rng.below(USERS.len())];
        if rng.one_in(3) || !two.users.contains_key(name) {
            let mut call =
                vec![word("ACL"), word("SETUSER"), word(name), word("on"), word("nopass")];
            let rules = Rules { rng: &mut rng, names: &names, facts: &facts }.words();
            call.extend(rules.iter().map(|rule| word(rule)));
            two.agree(&call);
            two.agree(&[word("ACL"), word("GETUSER"), word(name)]);
            if !two.users.contains_key(name) {
                let mut wires = connect();
                let login = [word("AUTH"), word(name), word("x")];
                if Two::both(&mut wires, &login)
                    .iter()
                    .all(|reply| *reply == Reply::Status(word("OK")))
                {
                    two.users.insert(name, wires);
                }
            }
            continue;
        }
        let words = generator.command();
        let mut call = vec![word("ACL"), word("DRYRUN"), word(name)];
        call.extend(words.iter().cloned());
        let answer = two.agree(&call);
        let first = String::from_utf8_lossy(&words[0]).to_uppercase();
        if NOT_PLAYED.contains(&first.as_str()) {
            continue;
        }
        let Some(wires) = two.users.get_mut(name) else { continue };
        let replies = Two::both(wires, &words);
        if replies.iter().any(is_refusal) {
            let [ours, theirs] = Two::shown(&replies);
            assert_eq!(ours, theirs, "{} (dry: {answer:?})", shown_words(&words));
            refused[0] += 1;
        } else {
            refused[1] += 1;
        }
    }
    println!("{} commands refused, {} run", refused[0], refused[1]);
}
