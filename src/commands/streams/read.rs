//! XREAD and XREADGROUP: what is new in several streams, waiting for it if asked to.
//!
//! Invariant: everything that can be refused is refused before the first byte of a reply and
//! before the first change; the same request can run again when a key that it waits for changes.

use super::pending::{log_claims, log_group_position, see_consumer};
use super::{count_change, push_entry, push_id, strict_id};
use crate::command::{Args, Wait, Waiting};
use crate::error::{Error, Result};
use crate::keyspace::db::Db;
use crate::keyspace::edit::Edit;
use crate::keyspace::value::Stream;
use crate::resp::out::{Items, Out};
use crate::types::number::parse_i64;
use crate::types::stream::{ConsumerId, GroupEdit, Pending, StreamId};

/// From where on a stream is read.
#[derive(Clone, Copy, PartialEq)]
enum From {
    /// Entries above an id; for a group, what its consumer has pending above it.
    After(StreamId),
    /// Entries that the group has not delivered to anybody (`>`).
    Undelivered,
}

/// A parsed XREAD or XREADGROUP.
struct Request<'a> {
    keys: &'a [&'a [u8]],
    froms: Vec<From>,
    count: usize,
    /// Whether it may wait, and until when.
    block: Option<Option<i64>>,
    /// Group and consumer.
    group: Option<(&'a [u8], &'a [u8])>,
    noack: bool,
}

/// `XREAD [COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]`
pub fn xread(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Wait> {
    let request = Request::parse(db, args, false)?;
    let ready = |db: &Db, at: usize| -> bool {
        let stream = db.peek::<Stream>(request.keys[at]).ok().flatten();
        match (stream.and_then(|stream| stream.last_live_id()), request.froms[at]) {
            (Some(last), From::After(id)) => last > id,
            _ => false,
        }
    };
    let Some(first) = (0..request.keys.len()).find(|at| ready(db, *at)) else {
        return Ok(request.wait(args, out));
    };
    let mut items = out.several();
    late_streams(&mut items, |items| {
        let mut served = 0;
        for at in (first..request.keys.len()).filter(|at| ready(db, *at)) {
            served += 1;
            push_key(items, request.keys[at]);
            let stream = db.peek::<Stream>(request.keys[at]).ok().flatten();
            let (Some(stream), From::After(id)) = (stream, request.froms[at]) else { continue };
            items.late_array(|items| {
                let start = id.next().unwrap_or(StreamId::MIN);
                let range = stream.range(start, StreamId::MAX).take(request.count);
                range.map(|entry| push_entry(items, &entry)).count()
            });
        }
        served
    });
    Ok(Wait::Done(items.end()))
}

/// `XREADGROUP GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS key
/// [key ...] id [id ...]`
pub fn xreadgroup(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Wait> {
    let request = Request::parse(db, args, true)?;
    let Some(group) = request.group else { return Err(Error::XreadgroupNoGroup) };
    db.replay_nothing();
    // Streams before the first that has something get their consumer, and no place in the reply.
    let mut first = None;
    for at in 0..request.keys.len() {
        if let Some(reader) = Reader::open(db, &request, group, at) {
            first = Some((at, reader));
            break;
        }
    }
    let Some((first, reader)) = first else { return Ok(request.wait(args, out)) };
    let mut items = out.several();
    late_streams(&mut items, |items| {
        reader.serve(db, &request, first, items);
        let mut served = 1;
        for at in first + 1..request.keys.len() {
            if let Some(reader) = Reader::open(db, &request, group, at) {
                reader.serve(db, &request, at, items);
                served += 1;
            }
        }
        served
    });
    Ok(Wait::Done(items.end()))
}

/// The streams of a reply: a map of keys, or in RESP2 an array of pairs.
fn late_streams(items: &mut Items<'_>, write: impl FnOnce(&mut Items<'_>) -> usize) {
    match items.is_resp3() {
        true => items.late_map(write),
        false => items.late_array(write),
    }
}

fn push_key(items: &mut Items<'_>, key: &[u8]) {
    if !items.is_resp3() {
        items.array(2);
    }
    items.bulk(key);
}

impl<'a> Request<'a> {
    fn parse(db: &Db, args: &mut Args<'a>, is_group: bool) -> Result<Request<'a>> {
        let mut request = Request {
            keys: &[],
            froms: Vec::new(),
            count: usize::MAX,
            block: None,
            group: None,
            noack: false,
        };
        let mut ids: Option<&[&[u8]]> = None;
        while let Some(word) = args.peek() {
            let left = args.left();
            args.skip(1);
            if word.eq_ignore_ascii_case(b"BLOCK") && left > 1 {
                request.block = Some(timeout(args.bytes(), db.now_ms())?);
            } else if word.eq_ignore_ascii_case(b"COUNT") && left > 1 {
                let count = args.int()?;
                request.count = if count > 0 { count as usize } else { usize::MAX };
            } else if word.eq_ignore_ascii_case(b"STREAMS") && left > 1 {
                let streams = args.rest();
                if !streams.len().is_multiple_of(2) {
                    return Err(unbalanced(is_group));
                }
                let (keys, all_ids) = streams.split_at(streams.len() / 2);
                request.keys = keys;
                ids = Some(all_ids);
                break;
            } else if word.eq_ignore_ascii_case(b"GROUP") && left > 2 {
                if !is_group {
                    return Err(Error::XreadGroup);
                }
                request.group = Some((args.bytes(), args.bytes()));
            } else if word.eq_ignore_ascii_case(b"NOACK") {
                if !is_group {
                    return Err(Error::XreadNoack);
                }
                request.noack = true;
            } else {
                return Err(Error::Syntax);
            }
        }
        let ids = ids.ok_or(Error::Syntax)?;
        if is_group && request.group.is_none() {
            return Err(Error::XreadgroupNoGroup);
        }
        for (key, id) in request.keys.iter().zip(ids) {
            let from = request.from(db, key, id)?;
            request.froms.push(from);
        }
        Ok(request)
    }

    /// What one id says; the key must hold a stream, and its group must exist.
    fn from(&self, db: &Db, key: &[u8], id: &[u8]) -> Result<From> {
        let stream = db.get::<Stream>(key)?;
        let last_id = stream.map_or(StreamId::MIN, |stream| stream.last_id());
        if let Some((group, _)) = self.group {
            if stream.and_then(|stream| stream.group(group)).is_none() {
                return Err(Error::showing(
                    "NOGROUP No such key '{}' or consumer group '{}' in XREADGROUP with GROUP \
                     option",
                    &[key, group],
                ));
            }
        }
        match id {
            b"$" if self.group.is_some() => Err(Error::XreadgroupDollar),
            b"$" => Ok(From::After(last_id)),
            b"+" if self.group.is_some() => Err(Error::XreadgroupPlus),
            // The last entry, if there is one.
            b"+" => {
                let last = stream.and_then(|stream| stream.last_live_id());
                Ok(From::After(last.and_then(StreamId::prev).unwrap_or(last_id)))
            }
            b">" if self.group.is_none() => Err(Error::XreadGreater),
            b">" => Ok(From::Undelivered),
            // Redis: the largest id is what `>` stands for inside.
            _ => Ok(match strict_id(id)? {
                StreamId::MAX if self.group.is_some() => From::Undelivered,
                id => From::After(id),
            }),
        }
    }

    /// Nothing to serve: waits, or answers as if the time were over.
    fn wait(&self, args: &Args<'_>, out: Out<'_>) -> Wait {
        let Some(until_ms) = self.block else { return Wait::Done(out.null_array()) };
        // `$` means the end of the stream as it is now, not as it is when the client wakes.
        let mut argv: Vec<Vec<u8>> = args.all().iter().map(|word| word.to_vec()).collect();
        let ids_at = argv.len() - self.keys.len();
        let mut restated = false;
        for (word, from) in argv[ids_at..].iter_mut().zip(&self.froms) {
            if let (b"$", From::After(id)) = (word.as_slice(), from) {
                *word = id.to_text();
                restated = true;
            }
        }
        Wait::For(Waiting {
            keys: self.keys.iter().map(|key| key.to_vec()).collect(),
            until_ms,
            on_timeout: |out| out.null_array(),
            argv: restated.then_some(argv),
            wakes_on_loss: self.group.is_some(),
            awaits: None,
        })
    }
}

/// BLOCK's argument: milliseconds from now, 0 for ever. Gives the Unix time.
fn timeout(text: &[u8], now_ms: i64) -> Result<Option<i64>> {
    let timeout_ms = parse_i64(text).ok_or(Error::TimeoutNotInteger)?;
    match timeout_ms {
        0 => Ok(None),
        _ if timeout_ms < 0 => Err(Error::TimeoutNegative),
        _ => timeout_ms.checked_add(now_ms).map(Some).ok_or(Error::TimeoutOutOfRange),
    }
}

/// Redis: 8.0 also names `+` here; 7.4 does not.
fn unbalanced(is_group: bool) -> Error {
    let (name, mark) = if is_group { ("xreadgroup", '>') } else { ("xread", '$') };
    Error::of(format!(
        "ERR Unbalanced '{name}' list of streams: for each stream key an ID or '{mark}' must be \
         specified."
    ))
}

/// One stream of a group's request that has something to serve.
struct Reader<'a> {
    group: &'a [u8],
    consumer: ConsumerId,
    /// The consumer's own pending entries above an id, or what is new.
    history: Option<StreamId>,
}

impl<'a> Reader<'a> {
    /// Sees to the consumer; `None` when the stream has nothing for it.
    fn open(
        db: &mut Db,
        request: &Request<'_>,
        (name, consumer): (&'a [u8], &[u8]),
        at: usize,
    ) -> Option<Reader<'a>> {
        let key = request.keys[at];
        let now_ms = db.wall_ms();
        let mut edit = db.edit::<Stream>(key).ok()?.existing()?;
        let last_live_id = edit.last_live_id();
        let mut group = edit.edit_group(name)?;
        let history = match request.froms[at] {
            From::After(id) => Some(id),
            From::Undelivered => None,
        };
        let has_new = last_live_id.is_some_and(|last| last > group.last_id);
        let (id, created) = see_consumer(&mut group, consumer, now_ms);
        drop(group);
        if created {
            count_change(edit.db(), key, "xgroup-createconsumer");
            if request.noack && edit.db().is_logged() {
                edit.replay_as(&[&b"XGROUP"[..], b"CREATECONSUMER", key, name, consumer]);
            }
        }
        (history.is_some() || has_new).then_some(Reader { group: name, consumer: id, history })
    }

    fn serve(&self, db: &mut Db, request: &Request<'_>, at: usize, items: &mut Items<'_>) {
        let key = request.keys[at];
        let now_ms = db.wall_ms();
        push_key(items, key);
        let Ok(edit) = db.edit::<Stream>(key) else { return };
        let Some(mut edit) = edit.existing() else { return };
        let Some(mut group) = edit.edit_group(self.group) else { return };
        if let Some(after) = self.history {
            self.push_history(&mut group, after, request.count, now_ms, items);
            return;
        }
        let delivered = self.deliver(&mut group, request, now_ms, items);
        drop(group);
        self.log(&mut edit, key, request.noack, delivered);
    }

    /// What the consumer has pending above an id; an entry that is gone shows as null.
    fn push_history(
        &self,
        group: &mut GroupEdit<'_>,
        after: StreamId,
        count: usize,
        now_ms: i64,
        items: &mut Items<'_>,
    ) {
        let start = after.next().unwrap_or(StreamId::MIN);
        let ids: Vec<StreamId> = match group.consumer(self.consumer) {
            Some(own) => own.pending().iter_from(start).take(count).map(|(id, _)| id).collect(),
            None => Vec::new(),
        };
        let mut seeker = group.entries.seeker();
        items.array(ids.len());
        for id in ids {
            let Some(entry) = seeker.seek(id) else {
                items.array(2);
                push_id(items, id);
                items.null_array();
                continue;
            };
            push_entry(items, &entry);
            group.redeliver(id, now_ms);
        }
    }

    /// Delivers what is new to the consumer; gives the ids with who owns them now.
    fn deliver(
        &self,
        group: &mut GroupEdit<'_>,
        request: &Request<'_>,
        now_ms: i64,
        items: &mut Items<'_>,
    ) -> Vec<(StreamId, Pending)> {
        let entries = group.entries;
        let start = group.last_id.next().unwrap_or(StreamId::MAX);
        let pending = Pending { consumer: self.consumer, delivered_ms: now_ms, deliveries: 1 };
        let mut delivered = Vec::new();
        items.late_array(|items| {
            for entry in entries.range(start, StreamId::MAX).take(request.count) {
                push_entry(items, &entry);
                group.advance_to(entry.id);
                if !request.noack {
                    group.assign(entry.id, pending);
                }
                delivered.push((entry.id, pending));
            }
            delivered.len()
        });
        if !request.noack && !delivered.is_empty() {
            if let Some(consumer) = group.consumer_mut(self.consumer) {
                consumer.active_ms = now_ms;
            }
        }
        delivered
    }

    fn log(
        &self,
        edit: &mut Edit<'_, Stream>,
        key: &[u8],
        noack: bool,
        delivered: Vec<(StreamId, Pending)>,
    ) {
        if delivered.is_empty() {
            return;
        }
        edit.db().effects.dirty += 1;
        if !noack {
            log_claims(edit, key, self.group, &delivered, None);
        }
        log_group_position(edit, key, self.group);
    }
}
