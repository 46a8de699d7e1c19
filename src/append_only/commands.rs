//! A snapshot as commands: the base of an append-only file without `aof-use-rdb-preamble`.
//!
//! Invariant: run on an empty server, they make the data; no command has more than `WORDS_MAX`
//! elements, so that loading a large value takes no long steps.

use crate::keyspace::entry::Entry;
use crate::keyspace::image::{Heading, Piece};
use crate::keyspace::value::{List, Set, SortedSet, Stream};
use crate::persistence::{Output, Start};
use crate::resp::out::{push_bulk, push_number, push_request};
use crate::snapshot::rdb_output::Sink;
use crate::types::compact::Item;
use crate::types::list::End;
use crate::types::number::format_f64;
use crate::types::stream::StreamId;
use crate::types::walk::{Part, Prelude};
use std::io;

/// Elements of one command.
const WORDS_MAX: usize = 64;
/// Elements of a list between two looks at what has been gathered.
const DRAINED_ELEMENTS: usize = 16 * WORDS_MAX;
/// An element of so many bytes is a command of its own, and is not copied before.
const LONG_FROM: usize = 64 * 1024;
/// Bytes that are gathered before they are written.
const CHUNK_BYTES: usize = 128 * 1024;

/// Writes a snapshot as commands.
pub(super) struct CommandsOutput<S> {
    sink: S,
    stamps: bool,
    bytes: Vec<u8>,
    db: Option<usize>,
    /// The big value of which the parts come.
    begun: Option<Box<Heading>>,
    written_bytes: u64,
}

impl<S: Sink> CommandsOutput<S> {
    /// An output into `sink`; with `stamps` it begins with the time.
    pub(super) fn new(sink: S, stamps: bool) -> CommandsOutput<S> {
        CommandsOutput { sink, stamps, bytes: Vec::new(), db: None, begun: None, written_bytes: 0 }
    }

    fn select(&mut self, db: usize) {
        if self.db != Some(db) {
            self.db = Some(db);
            push_request(&mut self.bytes, &["SELECT", itoa::Buffer::new().format(db)]);
        }
    }

    fn flush(&mut self, from_bytes: usize) -> io::Result<()> {
        flush(&mut self.bytes, &mut self.sink, &mut self.written_bytes, from_bytes)
    }
}

impl<S: Sink> Output for CommandsOutput<S> {
    fn begin(&mut self, start: &Start) -> io::Result<()> {
        self.sink.open()?;
        if self.stamps {
            let line = format!("#TS:{}\r\n", start.now_ms.div_euclid(1000));
            self.bytes.extend_from_slice(line.as_bytes());
        }
        for code in &start.libraries {
            push_request(&mut self.bytes, &[&b"FUNCTION"[..], b"LOAD", code]);
        }
        Ok(())
    }

    fn take(&mut self, pieces: &[Piece]) -> io::Result<()> {
        for piece in pieces {
            match piece {
                Piece::Whole { db, entry } => {
                    self.select(*db);
                    let CommandsOutput { bytes, sink, written_bytes, .. } = self;
                    value(bytes, entry, &mut |bytes| {
                        flush(bytes, sink, written_bytes, CHUNK_BYTES)
                    })?;
                }
                Piece::Begin(heading) => {
                    self.select(heading.db);
                    begin(&mut self.bytes, heading);
                    self.begun = Some(heading.clone());
                }
                Piece::Part(part) => {
                    if let Some(heading) = &self.begun {
                        elements(&mut self.bytes, &heading.key, part);
                    }
                }
                Piece::End => {
                    if let Some(heading) = self.begun.take() {
                        end(&mut self.bytes, &heading);
                    }
                }
                Piece::Past(_) => {}
            }
            self.flush(CHUNK_BYTES)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.flush(1)?;
        self.sink.finish()
    }

    fn discard(&mut self) {
        self.sink.discard();
    }

    fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    fn purpose(&self) -> Option<&'static str> {
        self.sink.purpose()
    }
}

/// Gives what has been gathered to the sink, if it is so much.
fn flush(
    bytes: &mut Vec<u8>,
    sink: &mut impl Sink,
    written_bytes: &mut u64,
    from_bytes: usize,
) -> io::Result<()> {
    if bytes.len() >= from_bytes {
        *written_bytes += bytes.len() as u64;
        sink.write(bytes)?;
        bytes.clear();
    }
    Ok(())
}

/// Takes what has been gathered, when it is enough.
type Drain<'a> = &'a mut dyn FnMut(&mut Vec<u8>) -> io::Result<()>;

/// The commands that make an entry; lists and streams, which come whole however long they are,
/// give them to `drain` in between.
fn value(out: &mut Vec<u8>, entry: &Entry, drain: Drain<'_>) -> io::Result<()> {
    let key = entry.key();
    if let Some(text) = entry.string() {
        text.with_bytes(|text| push_request(out, &[b"SET", key, text]));
    } else if let Some(hash) = entry.hash() {
        fields(out, key, hash.iter_all());
    } else if let Some(list) = entry.collection::<List>() {
        for from in (0..list.len()).step_by(DRAINED_ELEMENTS) {
            let mut parts = Parts::new(out, b"RPUSH", key, 1);
            let elements = list.range(from, End::Right, DRAINED_ELEMENTS);
            elements.for_each(|item| item.with_bytes(|item| parts.add(&[item])));
            parts.end();
            drain(out)?;
        }
    } else if let Some(set) = entry.collection::<Set>() {
        let mut parts = Parts::new(out, b"SADD", key, 1);
        set.iter().for_each(|item| item.with_bytes(|item| parts.add(&[item])));
        parts.end();
    } else if let Some(set) = entry.collection::<SortedSet>() {
        let mut parts = Parts::new(out, b"ZADD", key, 2);
        for (member, score) in set.range(0, set.len(), true) {
            member.with_bytes(|member| parts.add_scored(member, score));
        }
        parts.end();
    } else if let Some(stream) = entry.collection::<Stream>() {
        self::stream(out, key, stream, drain)?;
    }
    deadline(out, key, entry.deadline_ms());
    Ok(())
}

fn deadline(out: &mut Vec<u8>, key: &[u8], deadline_ms: Option<i64>) {
    if let Some(deadline_ms) = deadline_ms {
        push_request(out, &[b"PEXPIREAT", key, itoa::Buffer::new().format(deadline_ms).as_bytes()]);
    }
}

/// What comes before the parts of a big value: a string is one command.
fn begin(out: &mut Vec<u8>, heading: &Heading) {
    if let Prelude::Text { bytes } = heading.prelude {
        out.extend_from_slice(b"*3\r\n");
        push_bulk(out, b"SET");
        push_bulk(out, &heading.key);
        push_number(out, b'$', bytes as i64);
    }
}

/// What comes after them.
fn end(out: &mut Vec<u8>, heading: &Heading) {
    if matches!(heading.prelude, Prelude::Text { .. }) {
        out.extend_from_slice(b"\r\n");
    }
    deadline(out, &heading.key, heading.deadline_ms);
}

/// The commands that add some elements to a big value.
fn elements(out: &mut Vec<u8>, key: &[u8], part: &Part) {
    match part {
        Part::Fields(part) => {
            let item = |(field, value, at)| (Item::Bytes(field), Item::Bytes(value), at);
            fields(out, key, part.iter().map(item));
        }
        Part::Members(members) => {
            let mut parts = Parts::new(out, b"SADD", key, 1);
            members.iter().for_each(|member| parts.add(&[member]));
            parts.end();
        }
        Part::Scored(scored) => {
            let mut parts = Parts::new(out, b"ZADD", key, 2);
            scored.iter().for_each(|(member, score)| parts.add_scored(member, score));
            parts.end();
        }
        Part::Bytes(bytes) => out.extend_from_slice(bytes),
    }
}

/// One command after the other, each with some of the elements.
struct Parts<'a> {
    out: &'a mut Vec<u8>,
    name: &'static [u8],
    key: &'a [u8],
    /// Words of one element.
    width: usize,
    words: Vec<Vec<u8>>,
}

impl<'a> Parts<'a> {
    fn new(out: &'a mut Vec<u8>, name: &'static [u8], key: &'a [u8], width: usize) -> Self {
        Parts { out, name, key, width, words: Vec::new() }
    }

    fn add(&mut self, element: &[&[u8]]) {
        if element.iter().any(|word| word.len() >= LONG_FROM) {
            self.end();
            return push_request(self.out, &[&[self.name, self.key], element].concat());
        }
        self.words.extend(element.iter().map(|word| word.to_vec()));
        if self.words.len() >= WORDS_MAX * self.width {
            self.end();
        }
    }

    fn add_scored(&mut self, member: &[u8], score: f64) {
        let mut text = Vec::new();
        format_f64(score, &mut text);
        self.add(&[&text, member]);
    }

    fn end(&mut self) {
        if self.words.is_empty() {
            return;
        }
        let mut argv: Vec<&[u8]> = vec![self.name, self.key];
        argv.extend(self.words.iter().map(Vec::as_slice));
        push_request(self.out, &argv);
        self.words.clear();
    }
}

/// The commands that give a hash fields, each with its value and deadline.
fn fields<'f>(
    out: &mut Vec<u8>,
    key: &[u8],
    fields: impl Iterator<Item = (Item<'f>, Item<'f>, Option<i64>)>,
) {
    let mut parts = Parts::new(out, b"HMSET", key, 2);
    let mut dated: Vec<(Vec<u8>, i64)> = Vec::new();
    for (field, value, deadline_ms) in fields {
        field.with_bytes(|field| {
            value.with_bytes(|value| parts.add(&[field, value]));
            dated.extend(deadline_ms.map(|at| (field.to_vec(), at)));
        });
    }
    parts.end();
    for (field, deadline_ms) in dated {
        let at = itoa::Buffer::new().format(deadline_ms).to_string();
        push_request(out, &[b"HPEXPIREAT", key, at.as_bytes(), b"FIELDS", b"1", &field]);
    }
}

fn stream(out: &mut Vec<u8>, key: &[u8], stream: &Stream, drain: Drain<'_>) -> io::Result<()> {
    let text = |number: &dyn std::fmt::Display| number.to_string().into_bytes();
    for entry in stream.range(StreamId::MIN, StreamId::MAX) {
        let id = entry.id.to_text();
        let mut words: Vec<Vec<u8>> = vec![b"XADD".to_vec(), key.to_vec(), id];
        for (field, value) in entry.fields() {
            field.with_bytes(|field| words.push(field.to_vec()));
            value.with_bytes(|value| words.push(value.to_vec()));
        }
        push_request(out, &words);
        drain(out)?;
    }
    if stream.is_empty() {
        // One that was there and is gone makes the stream.
        let id = stream.last_id().max(StreamId::new(0, 1)).to_text();
        push_request(out, &[b"XADD", key, b"MAXLEN", b"0", &id, b"x", b"y"]);
    }
    let (last, deleted) = (stream.last_id().to_text(), stream.max_deleted_id().to_text());
    let added = text(&stream.entries_added());
    let head = [&b"XSETID"[..], key, &last];
    push_request(out, &[&head[..], &[b"ENTRIESADDED", &added, b"MAXDELETEDID", &deleted]].concat());
    for group in stream.groups() {
        let (name, last) = (group.name(), group.last_id.to_text());
        let read = text(&group.entries_read.unwrap_or(-1));
        push_request(out, &[b"XGROUP", b"CREATE", key, name, &last, b"ENTRIESREAD", &read]);
        for (_, consumer) in group.consumers() {
            let words = [&b"XGROUP"[..], b"CREATECONSUMER", key, name, consumer.name()];
            push_request(out, &words);
        }
        for (id, pending) in group.pending().iter() {
            let (time, count) = (text(&pending.delivered_ms), text(&pending.deliveries));
            let owner = group.consumer_name(pending.consumer);
            let head = [&b"XCLAIM"[..], key, name, owner, b"0", &id.to_text()].map(<[u8]>::to_vec);
            let tail: [&[u8]; 6] = [b"TIME", &time, b"RETRYCOUNT", &count, b"JUSTID", b"FORCE"];
            let words = head.into_iter().chain(tail.map(<[u8]>::to_vec));
            push_request(out, &words.collect::<Vec<_>>());
            drain(out)?;
        }
    }
    Ok(())
}
