//! Streams: adding, reading ranges, deleting and trimming. Reading that may wait is in `read`,
//! groups in `groups`, what is pending in `pending`, XINFO in `info`.
//!
//! Invariant: what enters the log is deterministic: ids are stated, and an approximate trim is
//! written as the exact one that has the same result.

mod groups;
mod info;
mod pending;
mod read;
#[cfg(test)]
mod tests;

use crate::command::spec::{Begin, Find, KeySpec};
use crate::command::{client, container, read, wait, write, Args, Family, Row};
use crate::error::{Error, Result};
use crate::keyspace::db::Db;
use crate::keyspace::effects::Class;
use crate::keyspace::value::Stream;
use crate::resp::out::{Done, Items, Out};
use crate::types::number::parse_i64;
use crate::types::stream::{AppendError, Entry, IdWish, StreamId, Trim};

/// The family.
pub const FAMILY: Family = Family { group: "stream", rows: ROWS };

const GROUP_KEYS: &[KeySpec] = &[KeySpec {
    begin: Begin::Keyword("STREAMS", 4),
    find: Find::Range { last: -1, step: 1, limit: 2 },
    access: &["RO", "access"],
}];

const ROWS: &[Row] = &[
    write("XACK key group id [id ...]", pending::xack)
        .fast()
        .since("5.0.0")
        .cost("O(log N) for each id, N being what is pending")
        .about("Acknowledges entries that a group has delivered."),
    write(
        "XADD key [NOMKSTREAM] [<MAXLEN | MINID> [= | ~] threshold [LIMIT count]] <* | id> \
         field value [field value ...]",
        xadd,
    )
    .fast()
    .grows()
    .varies()
    .since("5.0.0")
    .cost("O(1), and O(N) for N entries that it trims")
    .about("Adds an entry at the end of a stream."),
    write(
        "XAUTOCLAIM key group consumer min-idle-time start [COUNT count] [JUSTID]",
        pending::xautoclaim,
    )
    .fast()
    .varies()
    .since("6.2.0")
    .cost("O(log N + COUNT)")
    .about("Makes a consumer the owner of entries that have been pending for long."),
    write(
        "XCLAIM key group consumer min-idle-time id [id ...] [IDLE ms] \
         [TIME unix-time-milliseconds] [RETRYCOUNT count] [FORCE] [JUSTID] [LASTID lastid]",
        pending::xclaim,
    )
    .fast()
    .varies()
    .since("5.0.0")
    .cost("O(log N) for each id, N being what is pending")
    .about("Makes a consumer the owner of pending entries."),
    write("XDEL key id [id ...]", xdel)
        .fast()
        .since("5.0.0")
        .cost("O(log N) for each id")
        .about("Deletes entries."),
    container("XGROUP")
        .since("5.0.0")
        .cost("Depends on the subcommand")
        .about("Makes and changes consumer groups."),
    write("XGROUP|CREATE key group <id | $> [MKSTREAM] [ENTRIESREAD entries-read]", groups::create)
        .grows()
        .since("5.0.0")
        .cost("O(1)")
        .about("Creates a group."),
    write("XGROUP|CREATECONSUMER key group consumer", groups::create_consumer)
        .grows()
        .since("6.2.0")
        .cost("O(1)")
        .about("Creates a consumer."),
    write("XGROUP|DELCONSUMER key group consumer", groups::delete_consumer)
        .since("5.0.0")
        .cost("O(N) where N is what the consumer has pending")
        .about("Deletes a consumer."),
    write("XGROUP|DESTROY key group", groups::destroy)
        .since("5.0.0")
        .cost("O(1); what was pending is freed later")
        .about("Deletes a group."),
    client("XGROUP|HELP", groups::help)
        .loading()
        .stale()
        .since("5.0.0")
        .cost("O(1)")
        .about("Lists the subcommands."),
    write("XGROUP|SETID key group <id | $> [ENTRIESREAD entries-read]", groups::setid)
        .since("5.0.0")
        .cost("O(1)")
        .about("Sets how far a group has read."),
    container("XINFO")
        .since("5.0.0")
        .cost("Depends on the subcommand")
        .about("Looks inside streams and groups."),
    read("XINFO|CONSUMERS key group", info::consumers)
        .varies()
        .since("5.0.0")
        .cost("O(N) where N is the number of consumers")
        .about("Lists the consumers of a group."),
    read("XINFO|GROUPS key", info::groups)
        .since("5.0.0")
        .cost("O(N) where N is the number of groups")
        .about("Lists the groups of a stream."),
    client("XINFO|HELP", info::help)
        .loading()
        .stale()
        .since("5.0.0")
        .cost("O(1)")
        .about("Lists the subcommands."),
    read("XINFO|STREAM key [FULL [COUNT count]]", info::stream)
        .since("5.0.0")
        .cost("O(1), and O(N) for N entries shown")
        .about("Replies with figures about a stream."),
    read("XLEN key", xlen).fast().since("5.0.0").cost("O(1)").about("Counts the entries."),
    read("XPENDING key group [[IDLE min-idle-time] start end count [consumer]]", pending::xpending)
        .varies()
        .since("5.0.0")
        .cost("O(C) for C consumers, or O(log N + M) for M entries looked at")
        .about("Replies with what a group has delivered and nobody acknowledged."),
    read("XRANGE key start end [COUNT count]", xrange)
        .since("5.0.0")
        .cost("O(log N + M) for M entries")
        .about("Replies with entries from id to id."),
    wait("XREAD [COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]", read::xread)
        .reads()
        .since("5.0.0")
        .cost("O(log N + M) for each stream")
        .about("Replies with entries above given ids, of several streams, and may wait for them."),
    wait(
        "XREADGROUP GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS key \
         [key ...] id [id ...]",
        read::xreadgroup,
    )
    .keys(GROUP_KEYS)
    .since("5.0.0")
    .cost("O(log N + M) for each stream")
    .about("Delivers entries to a consumer of a group, and may wait for them."),
    read("XREVRANGE key end start [COUNT count]", xrevrange)
        .since("5.0.0")
        .cost("O(log N + M) for M entries")
        .about("Replies with entries from id back to id."),
    write("XSETID key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]", xsetid)
        .fast()
        .grows()
        .since("5.0.0")
        .cost("O(1)")
        .about("Sets figures of a stream."),
    write("XTRIM key <MAXLEN | MINID> [= | ~] threshold [LIMIT count]", xtrim)
        .varies()
        .since("5.0.0")
        .cost("O(N) for N entries that go")
        .about("Cuts a stream off at its old end."),
];

/// `<trim>` and NOMKSTREAM, as XADD and XTRIM take them.
#[derive(Default)]
struct Options {
    /// The goal, and where its words stand: `MAXLEN`, the mark if there is one, the threshold.
    trim: Option<(Trim, std::ops::Range<usize>)>,
    whole_blocks: bool,
    limit: u64,
    limit_words: Option<std::ops::Range<usize>>,
    no_mkstream: bool,
    /// XADD's id, which is the next word.
    wish: IdWish,
}

impl Options {
    /// Reads options up to XADD's id, or up to the end for XTRIM.
    fn parse(db: &Db, args: &mut Args<'_>, is_xadd: bool) -> Result<Options> {
        let mut options = Options::default();
        let mut limit = None;
        while let Some(word) = args.peek() {
            let more = args.left() > 1;
            if is_xadd && word == b"*" {
                break;
            }
            if word.eq_ignore_ascii_case(b"MAXLEN") && more {
                options.parse_trim(args, |text| {
                    let len = parse_i64(text).ok_or(Error::NotInteger)?;
                    u64::try_from(len).map(Trim::MaxLen).map_err(|_| Error::NegativeMaxLen)
                })?;
            } else if word.eq_ignore_ascii_case(b"MINID") && more {
                options.parse_trim(args, |text| Ok(Trim::MinId(strict_id(text)?)))?;
            } else if word.eq_ignore_ascii_case(b"LIMIT") && more {
                let start = args.all().len() - args.left();
                args.skip(1);
                let value = u64::try_from(args.int()?).map_err(|_| Error::NegativeLimit)?;
                limit = Some(value);
                options.limit_words = Some(start..start + 2);
            } else if is_xadd && word.eq_ignore_ascii_case(b"NOMKSTREAM") {
                args.skip(1);
                options.no_mkstream = true;
            } else if is_xadd {
                // Redis: a bad id is refused before a LIMIT that makes no sense.
                options.wish = IdWish::parse(word).ok_or(Error::InvalidStreamId)?;
                break;
            } else {
                return Err(Error::Syntax);
            }
        }
        options.check_limit(db, limit, is_xadd)?;
        Ok(options)
    }

    fn parse_trim(
        &mut self,
        args: &mut Args<'_>,
        threshold: impl Fn(&[u8]) -> Result<Trim>,
    ) -> Result<()> {
        if self.trim.is_some() {
            return Err(Error::TwoTrims);
        }
        let start = args.all().len() - args.left();
        args.skip(1);
        self.whole_blocks = false;
        // A mark is one only when a threshold can still follow.
        if args.left() > 1 {
            self.whole_blocks = args.accept("~");
            if !self.whole_blocks {
                args.accept("=");
            }
        }
        let trim = threshold(args.bytes())?;
        self.trim = Some((trim, start..args.all().len() - args.left()));
        Ok(())
    }

    /// Redis: the checks come after all options, and LIMIT 0 does not count as given without a
    /// trim.
    fn check_limit(&mut self, db: &Db, limit: Option<u64>, is_xadd: bool) -> Result<()> {
        if limit.unwrap_or(0) != 0 && self.trim.is_none() {
            return Err(Error::LimitWithoutTrim);
        }
        if !is_xadd && self.trim.is_none() {
            return Err(Error::XtrimWithoutTrim);
        }
        if limit.is_some() && !self.whole_blocks && !db.obeys {
            return Err(Error::LimitWithoutTilde);
        }
        self.limit = match limit {
            // Redis: makes a trim exact for its replicas and its log, and leaves LIMIT there.
            _ if db.obeys => 0,
            Some(limit) => limit,
            None if !self.whole_blocks => 0,
            None => match db.limits.stream_node_max_entries.saturating_mul(100) as u64 {
                0 => 10_000,
                limit => limit.min(1_000_000),
            },
        };
        Ok(())
    }

    /// Trims; gives how many entries went.
    fn apply(&self, stream: &mut Stream) -> u64 {
        match &self.trim {
            Some((trim, _)) => stream.trim(*trim, self.whole_blocks, self.limit),
            None => 0,
        }
    }

    /// The words of a command whose approximate trim has left `stream`, made exact.
    fn exact_words(&self, words: &[&[u8]], stream: &Stream) -> Vec<Vec<u8>> {
        let Some((trim, span)) = self.trim.as_ref().filter(|_| self.whole_blocks) else {
            return words.iter().map(|word| word.to_vec()).collect();
        };
        let threshold = match trim {
            Trim::MaxLen(_) => stream.len().to_string().into_bytes(),
            Trim::MinId(_) => stream.first_place_id().to_text(),
        };
        let mut exact: Vec<Vec<u8>> = Vec::with_capacity(words.len());
        for (index, word) in words.iter().enumerate() {
            if index == span.start + 1 {
                exact.push(b"=".to_vec());
            } else if index + 1 == span.end {
                exact.push(threshold.clone());
            } else if self.limit_words.as_ref().is_none_or(|span| !span.contains(&index)) {
                exact.push(word.to_vec());
            }
        }
        exact
    }
}

/// `XADD key [NOMKSTREAM] [<MAXLEN | MINID> [= | ~] threshold [LIMIT count]] <* | id> field value
/// [field value ...]`
fn xadd(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let key = args.key();
    let options = Options::parse(db, args, true)?;
    let id_at = args.all().len() - args.left();
    let wish = options.wish;
    args.skip(1);
    let pairs = args.rest();
    if pairs.is_empty() || pairs.len() % 2 == 1 {
        return Err(Error::wrong_arity("xadd"));
    }
    if wish == IdWish::Exact(StreamId::MIN) {
        return Err(Error::XaddZeroId);
    }
    let now_ms = db.wall_ms();
    let edit = db.edit::<Stream>(key)?;
    if !edit.exists() && options.no_mkstream {
        return Ok(out.null());
    }
    let mut edit = edit.or_default();
    let last_id = edit.last_id();
    if last_id == StreamId::MAX {
        return Err(Error::StreamExhausted);
    }
    let id = edit.id_for(wish, now_ms.max(0) as u64).filter(|id| *id > last_id);
    let id = id.ok_or(Error::XaddSmallerId)?;
    let (stream, limits, _) = edit.parts();
    stream.append(id, pairs, limits).map_err(|error| match error {
        AppendError::NotAbove => Error::XaddSmallerId,
        AppendError::TooLarge => Error::StreamEntryTooLarge,
    })?;
    edit.changed("xadd");
    if options.apply(&mut edit) > 0 {
        let place = edit.db().current();
        edit.db().effects.event(place, key, Class::Stream, "xtrim");
    }
    if edit.db().is_logged() && (options.whole_blocks || !matches!(wish, IdWish::Exact(_))) {
        let text = id.to_text();
        let mut words = args.all().to_vec();
        words[id_at] = &text;
        let exact = options.exact_words(&words, &edit);
        edit.replay_as(&exact);
    }
    Ok(id.with_text(|text| out.bulk(text)))
}

/// `XTRIM key <MAXLEN | MINID> [= | ~] threshold [LIMIT count]`
fn xtrim(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let key = args.key();
    let options = Options::parse(db, args, false)?;
    let Some(mut edit) = db.edit::<Stream>(key)?.existing() else { return Ok(out.int(0)) };
    let removed = options.apply(&mut edit);
    if removed > 0 {
        edit.changed_times(removed as usize, "xtrim");
        if options.whole_blocks && edit.db().is_logged() {
            let exact = options.exact_words(args.all(), &edit);
            edit.replay_as(&exact);
        }
    }
    Ok(out.int(removed as i64))
}

/// `XDEL key id [id ...]`
fn xdel(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let key = args.key();
    let Some(mut edit) = db.edit::<Stream>(key)?.existing() else { return Ok(out.int(0)) };
    let ids = strict_ids(args.rest())?;
    let removed = ids.iter().filter(|id| edit.delete(**id)).count();
    if removed > 0 {
        edit.changed_times(removed, "xdel");
    }
    Ok(out.int(removed as i64))
}

/// `XLEN key`
fn xlen(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let stream = db.get::<Stream>(args.key())?;
    Ok(out.int(stream.map_or(0, Stream::len) as i64))
}

/// `XSETID key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]`
fn xsetid(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let key = args.key();
    let id = strict_id(args.bytes())?;
    let mut entries_added = None;
    let mut max_deleted_id = StreamId::MIN;
    while !args.is_done() {
        if args.left() > 1 && args.accept("ENTRIESADDED") {
            let count = u64::try_from(args.int()?).map_err(|_| Error::NegativeEntriesAdded)?;
            entries_added = Some(count);
        } else if args.left() > 1 && args.accept("MAXDELETEDID") {
            max_deleted_id = strict_id(args.bytes())?;
            if id < max_deleted_id {
                return Err(Error::XsetidBelowGivenDeleted);
            }
        } else {
            return Err(Error::Syntax);
        }
    }
    let mut edit = db.edit::<Stream>(key)?.existing().ok_or(Error::NoSuchKey)?;
    if id < edit.max_deleted_id() {
        return Err(Error::XsetidBelowDeleted);
    }
    if edit.last_live_id().is_some_and(|top| id < top) {
        return Err(Error::XsetidBelowTop);
    }
    if entries_added.is_some_and(|count| count < edit.len() as u64) {
        return Err(Error::XsetidEntriesAdded);
    }
    edit.set_last_id(id);
    if let Some(count) = entries_added {
        edit.set_entries_added(count);
    }
    if !max_deleted_id.is_zero() {
        edit.set_max_deleted_id(max_deleted_id);
    }
    count_change(edit.db(), key, "xsetid");
    Ok(out.ok())
}

/// `XRANGE key start end [COUNT count]`
fn xrange(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    range(db, args, out, false)
}

/// `XREVRANGE key end start [COUNT count]`
fn xrevrange(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    range(db, args, out, true)
}

fn range(db: &Db, args: &mut Args<'_>, out: Out<'_>, backwards: bool) -> Result<Done> {
    let key = args.key();
    let (first, second) = (args.bytes(), args.bytes());
    let (low, high) = if backwards { (second, first) } else { (first, second) };
    let start = range_start(low)?;
    let end = range_end(high)?;
    let mut count = usize::MAX;
    while !args.is_done() {
        if args.left() < 2 || !args.accept("COUNT") {
            return Err(Error::Syntax);
        }
        count = args.int()?.max(0) as usize;
    }
    let Some(stream) = db.get::<Stream>(key)? else { return Ok(out.array(0).end()) };
    if count == 0 {
        return Ok(out.null_array());
    }
    let mut items = out.array_of_unknown_len();
    let range = if backwards { stream.range_back(start, end) } else { stream.range(start, end) };
    for entry in range.take(count) {
        push_entry(&mut items, &entry);
    }
    Ok(items.end())
}

// ---- Shared by the files of this family ----

/// One entry as clients see it: its id and an array of fields and values.
fn push_entry(items: &mut Items<'_>, entry: &Entry<'_>) {
    items.array(2);
    push_id(items, entry.id);
    items.array(entry.field_count() * 2);
    for (field, value) in entry.fields() {
        field.with_bytes(|text| items.bulk(text));
        value.with_bytes(|text| items.bulk(text));
    }
}

fn push_id(items: &mut Items<'_>, id: StreamId) {
    id.with_text(|text| items.bulk(text));
}

/// An id where `-` and `+` are not allowed.
fn strict_id(text: &[u8]) -> Result<StreamId> {
    StreamId::parse(text, 0).ok_or(Error::InvalidStreamId)
}

/// Several ids, all of which must be well-formed before any of them counts.
fn strict_ids(texts: &[&[u8]]) -> Result<Vec<StreamId>> {
    texts.iter().map(|text| strict_id(text)).collect()
}

/// The lower end of an interval, made inclusive.
fn range_start(text: &[u8]) -> Result<StreamId> {
    match text {
        [b'(', id @ ..] if !id.is_empty() => {
            let id = StreamId::parse(id, 0).ok_or(Error::InvalidStreamId)?;
            id.next().ok_or(Error::InvalidRangeStart)
        }
        _ => StreamId::parse_bound(text, 0).ok_or(Error::InvalidStreamId),
    }
}

/// The upper end of an interval, made inclusive.
fn range_end(text: &[u8]) -> Result<StreamId> {
    match text {
        [b'(', id @ ..] if !id.is_empty() => {
            let id = StreamId::parse(id, u64::MAX).ok_or(Error::InvalidStreamId)?;
            id.prev().ok_or(Error::InvalidRangeEnd)
        }
        _ => StreamId::parse_bound(text, u64::MAX).ok_or(Error::InvalidStreamId),
    }
}

/// A change that watchers of the key do not see. Redis: what happens to groups is no change of
/// the key's value.
fn count_change(db: &mut Db, key: &[u8], event: &'static str) {
    let place = db.current();
    db.effects.dirty += 1;
    db.effects.event(place, key, Class::Stream, event);
}

fn no_key_or_group(key: &[u8], group: &[u8]) -> Error {
    Error::showing("NOGROUP No such key '{}' or consumer group '{}'", &[key, group])
}

fn no_group(key: &[u8], group: &[u8]) -> Error {
    Error::showing("NOGROUP No such consumer group '{}' for key name '{}'", &[group, key])
}

/// What containers answer to a subcommand whose words they cannot make sense of.
fn subcommand_syntax(args: &Args<'_>) -> Error {
    let container = args.all().first().map(|name| name.to_ascii_uppercase()).unwrap_or_default();
    let sub = args.all().get(1).copied().unwrap_or_default();
    Error::showing(
        "ERR unknown subcommand or wrong number of arguments for '{}'. Try {} HELP.",
        &[&sub[..sub.len().min(128)], &container],
    )
}
