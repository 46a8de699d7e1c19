//! A connection that plays whole sequences of commands, and what they led to: replies, events in
//! their order, and the dataset.

use crate::patience::PATIENCE;
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::session::compare::shown;
use crate::session::parse::Mark;
use crate::show;
use crate::wire::{request, Reply, Wire};
use crate::words::quote;

/// A command as its words.
pub type Command = Vec<Vec<u8>>;

/// Under which conditions a sequence is played.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scene {
    /// The protocol is RESP3.
    pub resp3: bool,
    /// A second connection hears the keyspace events.
    pub listens: bool,
    /// Keys whose time has come stay until somebody meets them.
    pub is_lazy: bool,
    /// Directives that are set first.
    pub settings: &'static [(&'static str, &'static str)],
}

/// Time for a server to clear away what has died.
const CLEARING: Duration = Duration::from_millis(130);

/// Whether something dies in a millisecond.
fn dies(command: &Command) -> bool {
    let is = |name: &[u8]| command.first().is_some_and(|word| word.eq_ignore_ascii_case(name));
    (is(b"PEXPIRE") || is(b"HPEXPIRE")) && command.get(2).is_some_and(|ms| ms == b"1")
}

/// A connection that runs whole sequences.
pub struct Player {
    wire: Wire,
    ear: Wire,
}

/// What a sequence led to.
pub struct Outcome {
    /// One for each command.
    pub replies: Vec<Reply>,
    /// Keyspace events in their order, if the scene wanted them.
    pub events: Vec<String>,
    /// One line for each key.
    pub dataset: Vec<String>,
}

impl Player {
    /// Connects.
    pub fn new(addr: SocketAddr) -> io::Result<Player> {
        Ok(Player { wire: Wire::connect(addr)?, ear: Wire::connect(addr)? })
    }

    /// Runs the commands on empty databases, then reads the dataset.
    pub fn play(&mut self, scene: Scene, commands: &[Command]) -> io::Result<Outcome> {
        let mut before: Vec<Vec<&str>> = vec![
            vec!["DISCARD"],
            vec!["UNWATCH"],
            vec!["SELECT", "0"],
            vec!["CONFIG", "SET", "notify-keyspace-events", ""],
            vec!["FLUSHALL"],
            vec!["DEBUG", "SET-ACTIVE-EXPIRE", if scene.is_lazy { "0" } else { "1" }],
        ];
        for (name, value) in scene.settings {
            before.push(vec!["CONFIG", "SET", name, value]);
        }
        if scene.listens {
            self.ear.call(&["PSUBSCRIBE", "*"])?;
            before.push(vec!["CONFIG", "SET", "notify-keyspace-events", "AKEn"]);
        }
        before.push(vec!["HELLO", if scene.resp3 { "3" } else { "2" }]);
        let bytes: Vec<u8> = before.iter().flat_map(|words| request(words)).collect();
        self.wire.send(&bytes);
        for _ in before {
            self.reply()?;
        }
        let mut replies = Vec::with_capacity(commands.len());
        let is_rest = |words: &Command| words.starts_with(&[b"DEBUG".to_vec(), b"SLEEP".to_vec()]);
        for act in commands.split_inclusive(|words| !scene.is_lazy && is_rest(words)) {
            let bytes: Vec<u8> = act.iter().flat_map(|words| request(words)).collect();
            self.wire.send(&bytes);
            for _ in act {
                replies.push(self.reply()?);
            }
            if act.last().is_some_and(is_rest) {
                std::thread::sleep(CLEARING);
            }
        }
        self.wire.call(&["DISCARD"])?;
        self.wire.call(&["HELLO", "2"])?;
        if commands.iter().any(dies) {
            std::thread::sleep(if scene.is_lazy { Duration::from_millis(2) } else { CLEARING });
        }
        let events = if scene.listens { self.heard()? } else { Vec::new() };
        let mut dataset = Vec::new();
        for db in ["0", "1"] {
            dataset.extend(self.dataset(db, false)?);
        }
        Ok(Outcome { replies, events, dataset })
    }

    /// What the second connection has heard, as "channel: message".
    fn heard(&mut self) -> io::Result<Vec<String>> {
        self.wire.call(&["PUBLISH", "the end", ""])?;
        let mut lines = Vec::new();
        loop {
            let heard = self.ear.wait(PATIENCE)?;
            let Some(Reply::Array(parts)) = heard else {
                return Err(io::Error::other("the end was not heard"));
            };
            let [_, _, Reply::Bulk(channel), Reply::Bulk(message)] = &parts[..] else { continue };
            if channel == b"the end" {
                break;
            }
            lines.push(format!("{}: {}", channel.escape_ascii(), message.escape_ascii()));
        }
        self.ear.send(&request(&["PUNSUBSCRIBE"]));
        loop {
            match self.ear.wait(PATIENCE)? {
                Some(Reply::Array(parts)) if parts[0] != Reply::Bulk(b"punsubscribe".to_vec()) => {}
                _ => return Ok(lines),
            }
        }
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
        let reply = self.wire.wait(PATIENCE)?;
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
        let keys = match self.wire.call(&["KEYS", "*"])? {
            Reply::Array(keys) => keys,
            other => return Err(io::Error::other(format!("KEYS answers {other:?}"))),
        };
        let keys: Vec<Vec<u8>> = keys
            .into_iter()
            .filter_map(|key| match key {
                Reply::Bulk(key) => Some(key),
                _ => None,
            })
            .collect();
        let deadline: &[&str] = &[if exact { "PEXPIRETIME" } else { "TTL" }];
        let about = |words: &[&str], key: &[u8]| -> Command {
            let words = words.iter().map(|word| word.as_bytes().to_vec());
            words.chain([key.to_vec()]).collect()
        };
        let asked: Vec<Command> = keys
            .iter()
            .flat_map(|key| {
                [&["TYPE"], &["OBJECT", "ENCODING"][..], deadline].map(|words| about(words, key))
            })
            .collect();
        let facts = self.all(&asked)?;
        let kinds: Vec<String> =
            facts.iter().step_by(3).map(|kind| show::lines(kind).concat()).collect();
        let asked: Vec<Command> = keys
            .iter()
            .zip(&kinds)
            .map(|(key, kind)| {
                let (command, after): (&str, &[&str]) = match kind.as_str() {
                    "string" => ("GET", &[]),
                    "list" => ("LRANGE", &["0", "-1"]),
                    "set" => ("SMEMBERS", &[]),
                    "hash" => ("HGETALL", &[]),
                    "zset" => ("ZRANGE", &["0", "-1", "WITHSCORES"]),
                    _ => ("XRANGE", &["-", "+"]),
                };
                let mut words = about(&[command], key);
                words.extend(after.iter().map(|word| word.as_bytes().to_vec()));
                words
            })
            .collect();
        let values = self.all(&asked)?;
        let mut lines = Vec::new();
        for (at, (key, value)) in keys.iter().zip(&values).enumerate() {
            let kind = kinds[at].as_str();
            let marks = match kind {
                "set" => vec![Mark::Unordered(1)],
                "hash" => vec![Mark::Unordered(2)],
                _ => vec![],
            };
            let deadline = match facts[3 * at + 2] {
                Reply::Int(left) if left > 0 && !exact => (left + 50) / 100,
                Reply::Int(left) => left,
                _ => 0,
            };
            // A number made by arithmetic on text is text, but the log says only its digits.
            let encoding =
                if exact { String::new() } else { show::lines(&facts[3 * at + 1]).concat() };
            let mut line = format!("db{db} {} {kind} {encoding} until {deadline}: ", quote(key));
            line.push_str(&shown(value, &marks).join(" "));
            match kind {
                "stream" => line.push_str(&self.stream_facts(key, exact)?),
                "hash" => line.push_str(&self.field_deadlines(key, exact)?),
                _ => {}
            }
            lines.push(line);
        }
        lines.sort();
        Ok(lines)
    }

    /// Sends all requests at once and waits for all replies.
    fn all(&mut self, requests: &[Command]) -> io::Result<Vec<Reply>> {
        let bytes: Vec<u8> = requests.iter().flat_map(|words| request(words)).collect();
        self.wire.send(&bytes);
        requests.iter().map(|_| self.reply()).collect()
    }

    /// What a stream holds beside its entries: figures, groups, consumers, pending entries. After
    /// a replay (`exact`) only what the log tells: Redis logs neither a consumer without pending
    /// entries nor that one looked at its pending entries again.
    fn stream_facts(&mut self, key: &[u8], exact: bool) -> io::Result<String> {
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
        let mut groups = self.wire.call(&[b"XINFO", &b"GROUPS"[..], key])?;
        if exact {
            groups = bare(groups, |facts| drop(facts.drain(2..4)));
        }
        let _ = write!(text, " {}", show::lines(&groups).join(" "));
        let Reply::Array(groups) = groups else { return Ok(text) };
        for group in groups {
            let Reply::Array(facts) = group else { continue };
            let Some(Reply::Bulk(name)) = facts.get(1) else { continue };
            let name = &name[..];
            let consumers = self.wire.call(&[b"XINFO", &b"CONSUMERS"[..], key, name])?;
            let all = [b"XPENDING", key, name, b"-", b"+", b"100000"];
            let pending = bare(self.wire.call(&all)?, |row| {
                row.remove(2);
                row.truncate(if exact { 2 } else { 3 });
            });
            let _ = write!(text, " {}", show::lines(&pending).join(" "));
            if !exact {
                let names = bare(consumers, |facts| facts.truncate(4));
                let _ = write!(text, " {}", show::lines(&names).join(" "));
            }
        }
        Ok(text)
    }

    /// The fields that have a deadline: Unix milliseconds when `exact`, else hundreds of seconds.
    fn field_deadlines(&mut self, key: &[u8], exact: bool) -> io::Result<String> {
        let Reply::Array(fields) = self.wire.call(&[b"HKEYS", key])? else {
            return Ok(String::new());
        };
        let names: Vec<&[u8]> = fields
            .iter()
            .filter_map(|field| match field {
                Reply::Bulk(field) => Some(&field[..]),
                _ => None,
            })
            .collect();
        let count = names.len().to_string();
        let command: &[u8] = if exact { b"HPEXPIRETIME" } else { b"HTTL" };
        let mut words = vec![command, key, b"FIELDS", count.as_bytes()];
        words.extend(&names);
        let Reply::Array(deadlines) = self.wire.call(&words)? else { return Ok(String::new()) };
        let mut lines = Vec::new();
        for (name, deadline) in names.iter().zip(deadlines) {
            match deadline {
                Reply::Int(at) if at >= 0 && exact => lines.push(format!(" {} {at}", quote(name))),
                Reply::Int(left) if left >= 0 => {
                    lines.push(format!(" {} {}", quote(name), (left + 50) / 100));
                }
                _ => {}
            }
        }
        lines.sort();
        Ok(lines.concat())
    }
}

/// The rows without what depends on the clock.
fn bare(reply: Reply, strip: impl Fn(&mut Vec<Reply>)) -> Reply {
    let Reply::Array(mut rows) = reply else { return reply };
    for row in &mut rows {
        if let Reply::Array(cells) = row {
            strip(cells);
        }
    }
    Reply::Array(rows)
}
