//! Plays a block to a server.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::compare::{agrees, shown};
use super::control::{Control, GLANCES, QUIET};
use super::parse::{Block, Mark, Send, What};
use crate::wire::{request, Reply, Wire};

/// A server under test.
pub trait Server {
    /// Where it listens.
    fn addr(&self) -> SocketAddr;
    /// Its version as major * 100 + minor, or `None` for ours.
    fn version(&self) -> Option<u32>;
    /// Whether it has ended.
    fn has_ended(&mut self) -> bool {
        false
    }
    /// Moves its clock; false if it has none that can be moved.
    fn advance(&mut self, step: Duration) -> bool;
}

/// What happened at an item.
pub enum Seen {
    /// The reply to a command.
    Reply(Reply),
    /// The command was parked.
    Silence,
    /// While recording: something that a client received after this item.
    Late(String, Reply),
    /// While recording: an item that the `Late` ones stand for.
    Replaced,
}

/// Plays the block and compares; the message shows the first difference.
pub fn check(block: &Block, server: &mut dyn Server) -> Result<usize, String> {
    Stage::play(block, server, false).map(|stage| stage.seen.len())
}

/// Plays the block and notes everything.
pub fn record(block: &Block, server: &mut dyn Server) -> Result<Vec<(usize, Seen)>, String> {
    Stage::play(block, server, true).map(|stage| stage.seen)
}

/// Whether this server is to be held to what the marks stand before.
fn concerns(marks: &[Mark], version: Option<u32>) -> bool {
    marks.iter().all(|mark| match (mark, version) {
        (Mark::Since(since), Some(version)) => version >= *since,
        (Mark::Ours(_), Some(_)) => false,
        _ => true,
    })
}

const SLEEP_MAX: Duration = Duration::from_millis(200);
const SLEEP_MAX_RECORDING: Duration = Duration::from_secs(15);

struct Client {
    name: String,
    wire: Wire,
    /// The end of the connection was seen.
    gone: bool,
}

struct Stage<'s> {
    server: &'s mut dyn Server,
    recording: bool,
    control: Control,
    clients: Vec<Client>,
    resp3: Vec<String>,
    saved: HashMap<String, Vec<u8>>,
    settings: Vec<(Vec<u8>, Vec<u8>)>,
    seen: Vec<(usize, Seen)>,
}

impl<'s> Stage<'s> {
    fn play(block: &Block, server: &'s mut dyn Server, recording: bool) -> Result<Self, String> {
        let version = server.version();
        let control = Control::connect(server.addr()).map_err(|e| format!("no connection: {e}"))?;
        let mut stage = Stage {
            server,
            recording,
            control,
            clients: Vec::new(),
            resp3: Vec::new(),
            saved: HashMap::new(),
            settings: Vec::new(),
            seen: Vec::new(),
        };
        if !concerns(&block.scope, version) {
            return Ok(stage);
        }
        for mark in &block.scope {
            if let Mark::Resp3(names) = mark {
                stage.resp3.extend(names.iter().cloned());
            }
        }
        stage.set_up(block).map_err(|e| format!("set-up: {e}"))?;
        let played = stage.items(block);
        let put_back = stage.put_back();
        played?;
        put_back.map_err(|e| format!("clean-up: {e}"))?;
        Ok(stage)
    }

    fn set_up(&mut self, block: &Block) -> io::Result<()> {
        for reset in [
            "CLIENT KILL TYPE normal",
            "CLIENT KILL TYPE pubsub",
            "CLIENT UNPAUSE",
            "FLUSHALL",
            "SCRIPT FLUSH",
            "FUNCTION FLUSH",
            "SLOWLOG RESET",
            "ACL LOG RESET",
            "LATENCY RESET",
            "CONFIG RESETSTAT",
        ] {
            let words: Vec<_> = reset.split(' ').collect();
            self.control.call(&words)?;
        }
        if let Reply::Array(users) = self.control.call(&["ACL", "USERS"])? {
            for user in users {
                match user {
                    Reply::Bulk(name) if name != b"default" => {
                        self.control.call(&[b"ACL", &b"DELUSER"[..], &name])?;
                    }
                    _ => {}
                }
            }
        }
        for item in &block.items {
            let What::Send(Send { words, .. }) = &item.what else { continue };
            let is = |at: usize, word: &str| {
                words.get(at).is_some_and(|w| w.eq_ignore_ascii_case(word.as_bytes()))
            };
            self.control.pauses |= is(0, "CLIENT") && is(1, "PAUSE");
            self.control.is_silent |= is(0, "DEBUG") && is(1, "RELOAD");
            if is(0, "CONFIG") && is(1, "SET") {
                for pair in words[2..].chunks_exact(2) {
                    self.remember(&pair[0])?;
                }
            }
        }
        Ok(())
    }

    fn remember(&mut self, name: &[u8]) -> io::Result<()> {
        let reply = self.control.call(&[b"CONFIG", &b"GET"[..], name])?;
        if let Reply::Array(pair) = reply {
            if let [Reply::Bulk(name), Reply::Bulk(value)] = &pair[..] {
                self.settings.push((name.clone(), value.clone()));
            }
        }
        Ok(())
    }

    fn put_back(&mut self) -> io::Result<()> {
        for (name, value) in std::mem::take(&mut self.settings) {
            // An immutable one was not changed either.
            self.control.call(&[b"CONFIG", &b"SET"[..], &name, &value])?;
        }
        Ok(())
    }

    fn items(&mut self, block: &Block) -> Result<(), String> {
        for (at, item) in block.items.iter().enumerate() {
            let gone_on = self.item(at, &item.what);
            let gone_on = gone_on.map_err(|why| format!("line {}: {why}", item.line))?;
            if !gone_on {
                return Ok(());
            }
            if self.recording {
                self.note_late(at).map_err(|e| e.to_string())?;
            }
        }
        self.nothing_is_left()
    }

    /// False when the rest of the block cannot be played here.
    fn item(&mut self, at: usize, what: &What) -> Result<bool, String> {
        match what {
            What::Mark(Mark::Resp3(names)) => {
                for name in names {
                    self.hello(name)?;
                }
            }
            What::Comment(_) | What::Mark(_) => {}
            What::Close(name) => self.close(name)?,
            What::Clock(step) => return Ok(self.advance(*step)),
            What::Receive { .. } if self.recording => self.seen.push((at, Seen::Replaced)),
            What::Receive { client, expected, marks } => {
                let reply = self.reply(client).map_err(|why| format!("{client}< {why}"))?;
                self.compare(&format!("{client}<"), expected, &reply, marks)?;
                self.seen.push((at, Seen::Reply(reply)));
            }
            What::Send(send) if concerns(&send.marks, self.server.version()) => {
                self.send(at, send)?
            }
            // Ours answers otherwise: it is played for what it does, but not compared.
            What::Send(send) if send.marks.iter().all(|m| !matches!(m, Mark::Since(_))) => {
                let bytes = self.bytes(send);
                self.client(&send.client)?.wire.send(&bytes);
                self.parked(send)?;
            }
            What::Send(_) => {}
        }
        Ok(true)
    }

    fn send(&mut self, at: usize, send: &Send) -> Result<(), String> {
        let bytes = self.bytes(send);
        self.client(&send.client)?.wire.send(&bytes);
        let what = || format!("{}> {}", send.client, send.text);
        for _ in 1..send.times {
            self.reply(&send.client).map_err(|why| format!("{}\n  {why}", what()))?;
        }
        let reply = if self.recording {
            self.client(&send.client)?.wire.wait(QUIET).map_err(|e| e.to_string())?
        } else if send.expected.is_empty() {
            self.parked(send)?
        } else {
            Some(self.reply(&send.client).map_err(|why| format!("{}\n  {why}", what()))?)
        };
        let Some(reply) = reply else {
            self.seen.push((at, Seen::Silence));
            return Ok(());
        };
        self.client(&send.client)?.gone = reply == Reply::Closed;
        self.compare(&what(), &send.expected, &reply, &send.marks)?;
        self.save(&send.marks, &reply);
        self.seen.push((at, Seen::Reply(reply)));
        Ok(())
    }

    /// Waits until a command that nothing answers is in effect. What comes nevertheless is a fault
    /// unless the client was seen waiting: then its time may be over already.
    fn parked(&mut self, send: &Send) -> Result<Option<Reply>, String> {
        let at = self.place(&send.client)?;
        let glances = if send.raw { 5 } else { GLANCES };
        self.control.see_read(&mut self.clients[at].wire, glances).map_err(|e| e.to_string())
    }

    fn reply(&mut self, name: &str) -> Result<Reply, String> {
        let at = self.place(name)?;
        let Stage { control, clients, server, .. } = self;
        control.await_reply(&mut clients[at].wire, || server.has_ended())
    }

    /// Cuts the client's connection and waits until the server knows.
    fn close(&mut self, name: &str) -> Result<(), String> {
        let Some(at) = self.clients.iter().position(|client| client.name == name) else {
            return Err(format!("there is no client {name} to close"));
        };
        let addr = self.clients[at].wire.local_addr().map_err(|e| e.to_string())?;
        drop(self.clients.remove(at));
        self.control.wait_until_gone(addr).map_err(|e| e.to_string())
    }

    fn bytes(&self, send: &Send) -> Vec<u8> {
        if send.raw {
            return send.words.concat().repeat(send.times);
        }
        let mut bytes = Vec::new();
        for i in 1..=send.times {
            let words = send.words.iter().map(|word| {
                let word = if send.times > 1 {
                    replace(word, b"$i", i.to_string().as_bytes())
                } else {
                    word.clone()
                };
                self.saved
                    .iter()
                    .fold(word, |word, (name, value)| replace(&word, name.as_bytes(), value))
            });
            bytes.extend(request(&words.collect::<Vec<_>>()));
        }
        bytes
    }

    fn save(&mut self, marks: &[Mark], reply: &Reply) {
        let value = match reply {
            Reply::Int(n) => n.to_string().into_bytes(),
            Reply::Bulk(bytes) | Reply::Status(bytes) => bytes.clone(),
            _ => return,
        };
        for mark in marks {
            if let Mark::Save(name) = mark {
                self.saved.insert(format!("${name}"), value.clone());
            }
        }
    }

    fn compare(
        &self,
        what: &str,
        expected: &[String],
        reply: &Reply,
        marks: &[Mark],
    ) -> Result<(), String> {
        let lines = shown(reply, marks);
        if self.recording || agrees(expected, &lines, marks) {
            return Ok(());
        }
        let mut text = format!("{what}\n");
        for line in diff(expected, &lines) {
            text.push_str(&format!("  {line}\n"));
        }
        Err(text)
    }

    fn note_late(&mut self, at: usize) -> Result<(), io::Error> {
        for client in &mut self.clients {
            let limit = Duration::from_millis(4);
            while let Some(reply) = client.wire.wait(limit)? {
                if client.gone {
                    break;
                }
                client.gone = reply == Reply::Closed;
                self.seen.push((at, Seen::Late(client.name.clone(), reply)));
            }
        }
        Ok(())
    }

    fn nothing_is_left(&mut self) -> Result<(), String> {
        // A round trip first, so that what the last command caused has been sent.
        let _ = self.control.call(&["SLOWLOG", "LEN"]);
        for client in &mut self.clients {
            match client.wire.wait(Duration::ZERO) {
                Ok(None | Some(Reply::Closed)) | Err(_) => {}
                Ok(Some(reply)) => {
                    let lines = shown(&reply, &[]).join("\n  + ");
                    return Err(format!(
                        "{}< received more than expected:\n  + {lines}",
                        client.name
                    ));
                }
            }
        }
        Ok(())
    }

    fn advance(&mut self, step: Duration) -> bool {
        if self.server.advance(step) {
            return true;
        }
        let limit = if self.recording { SLEEP_MAX_RECORDING } else { SLEEP_MAX };
        if step <= limit {
            std::thread::sleep(step);
        }
        step <= limit
    }

    fn client(&mut self, name: &str) -> Result<&mut Client, String> {
        let at = self.place(name)?;
        Ok(&mut self.clients[at])
    }

    /// Where the client is among all; it connects if it is not there yet.
    fn place(&mut self, name: &str) -> Result<usize, String> {
        if let Some(at) = self.clients.iter().position(|client| client.name == name) {
            return Ok(at);
        }
        let wire =
            Wire::connect_now(self.server.addr()).map_err(|e| format!("no connection: {e}"))?;
        self.clients.push(Client { name: name.into(), wire, gone: false });
        if self.resp3.iter().any(|other| other == name) {
            self.hello(name)?;
        }
        Ok(self.clients.len() - 1)
    }

    fn hello(&mut self, name: &str) -> Result<(), String> {
        match self.client(name)?.wire.call(&["HELLO", "3"]) {
            Ok(Reply::Map(_)) => Ok(()),
            Ok(other) => Err(format!("HELLO 3: {}", shown(&other, &[]).join(" "))),
            Err(e) => Err(format!("HELLO 3: {e}")),
        }
    }
}

fn replace(word: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = word;
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        out.extend(&rest[..at]);
        out.extend(to);
        rest = &rest[at + from.len()..];
    }
    out.extend(rest);
    out
}

/// Common lines at both ends once, the middle as `-` expected and `+` seen.
fn diff(expected: &[String], seen: &[String]) -> Vec<String> {
    let same = |(a, b): &(&String, &String)| a == b;
    let head = expected.iter().zip(seen).take_while(same).count();
    let (left, right) = (&expected[head..], &seen[head..]);
    let tail = left.iter().rev().zip(right.iter().rev()).take_while(same).count();
    let mut lines = Vec::new();
    let shown_head = head.saturating_sub(2)..head;
    lines.extend(expected[shown_head].iter().map(|line| format!("  {line}")));
    lines.extend(left[..left.len() - tail].iter().map(|line| format!("- {line}")));
    lines.extend(right[..right.len() - tail].iter().map(|line| format!("+ {line}")));
    lines.extend(left[left.len() - tail..].iter().take(2).map(|line| format!("  {line}")));
    lines
}
