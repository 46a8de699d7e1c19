//! XINFO: what a stream, its groups and their consumers look like from inside.

use super::{no_group, push_entry, push_id, subcommand_syntax};
use crate::command::{Args, Call};
use crate::error::{Error, Result};
use crate::keyspace::db::Db;
use crate::keyspace::value::Stream;
use crate::resp::out::{Done, Items, Out};
use crate::types::stream::{Consumer, Group, StreamId};

/// `XINFO STREAM key [FULL [COUNT count]]`
pub fn stream(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let stream = db.get::<Stream>(args.key())?.ok_or(Error::NoSuchKey)?;
    if args.is_done() {
        return Ok(short(stream, out));
    }
    let words = args.left();
    if !args.accept("FULL") || !matches!(words, 1 | 3) {
        return Err(subcommand_syntax(args));
    }
    let mut count = 10;
    if words == 3 {
        if !args.accept("COUNT") {
            return Err(subcommand_syntax(args));
        }
        count = match args.int()? {
            count if count < 0 => 10,
            0 => usize::MAX,
            count => count as usize,
        };
    }
    Ok(full(stream, count, out))
}

fn push_figures(items: &mut Items<'_>, stream: &Stream) {
    items.text("length");
    items.int(stream.len() as i64);
    items.text("radix-tree-keys");
    items.int(stream.block_count() as i64);
    items.text("radix-tree-nodes");
    items.int(stream.trie_nodes() as i64);
    items.text("last-generated-id");
    push_id(items, stream.last_id());
    items.text("max-deleted-entry-id");
    push_id(items, stream.max_deleted_id());
    items.text("entries-added");
    items.int(stream.entries_added() as i64);
    items.text("recorded-first-entry-id");
    push_id(items, stream.first_id());
}

fn short(stream: &Stream, out: Out<'_>) -> Done {
    let mut items = out.map(10);
    push_figures(&mut items, stream);
    items.text("groups");
    items.int(stream.group_count() as i64);
    let ends = [
        ("first-entry", stream.range(StreamId::MIN, StreamId::MAX).next()),
        ("last-entry", stream.range_back(StreamId::MIN, StreamId::MAX).next()),
    ];
    for (name, entry) in ends {
        items.text(name);
        match entry {
            Some(entry) => push_entry(&mut items, &entry),
            None => items.null(),
        }
    }
    items.end()
}

fn full(stream: &Stream, count: usize, out: Out<'_>) -> Done {
    let mut items = out.map(9);
    push_figures(&mut items, stream);
    items.text("entries");
    items.array(stream.len().min(count));
    for entry in stream.range(StreamId::MIN, StreamId::MAX).take(count) {
        push_entry(&mut items, &entry);
    }
    items.text("groups");
    items.array(stream.group_count());
    for group in stream.groups() {
        push_full_group(&mut items, stream, group, count);
    }
    items.end()
}

fn push_full_group(items: &mut Items<'_>, stream: &Stream, group: &Group, count: usize) {
    items.map(7);
    items.text("name");
    items.bulk(group.name());
    push_position(items, stream, group);
    items.text("pel-count");
    items.int(group.pending().len() as i64);
    items.text("pending");
    items.array(group.pending().len().min(count));
    for (id, pending) in group.pending().iter().take(count) {
        items.array(4);
        push_id(items, id);
        items.bulk(group.consumer_name(pending.consumer));
        items.int(pending.delivered_ms);
        items.int(pending.deliveries as i64);
    }
    items.text("consumers");
    items.array(group.consumer_count());
    for (_, consumer) in group.consumers() {
        push_full_consumer(items, group, consumer, count);
    }
}

fn push_full_consumer(items: &mut Items<'_>, group: &Group, consumer: &Consumer, count: usize) {
    items.map(5);
    items.text("name");
    items.bulk(consumer.name());
    items.text("seen-time");
    items.int(consumer.seen_ms);
    items.text("active-time");
    items.int(consumer.active_ms);
    items.text("pel-count");
    items.int(consumer.pending().len() as i64);
    items.text("pending");
    items.array(consumer.pending().len().min(count));
    for (id, ()) in consumer.pending().iter().take(count) {
        let pending = group.pending().find(&id);
        items.array(3);
        push_id(items, id);
        items.int(pending.map_or(0, |pending| pending.delivered_ms));
        items.int(pending.map_or(0, |pending| pending.deliveries as i64));
    }
}

/// How far a group has read; the middle of both forms of a group.
fn push_position(items: &mut Items<'_>, stream: &Stream, group: &Group) {
    items.text("last-delivered-id");
    push_id(items, group.last_id);
    for (name, figure) in [("entries-read", group.entries_read), ("lag", stream.lag(group))] {
        items.text(name);
        match figure {
            Some(figure) => items.int(figure),
            None => items.null(),
        }
    }
}

/// `XINFO GROUPS key`
pub fn groups(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let stream = db.get::<Stream>(args.key())?.ok_or(Error::NoSuchKey)?;
    let mut items = out.array(stream.group_count());
    for group in stream.groups() {
        items.map(6);
        items.text("name");
        items.bulk(group.name());
        items.text("consumers");
        items.int(group.consumer_count() as i64);
        items.text("pending");
        items.int(group.pending().len() as i64);
        push_position(&mut items, stream, group);
    }
    Ok(items.end())
}

/// `XINFO CONSUMERS key group`
pub fn consumers(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let (key, name) = (args.key(), args.bytes());
    let stream = db.get::<Stream>(key)?.ok_or(Error::NoSuchKey)?;
    let group = stream.group(name).ok_or_else(|| no_group(key, name))?;
    let now_ms = db.wall_ms();
    let mut items = out.array(group.consumer_count());
    for (_, consumer) in group.consumers() {
        items.map(4);
        items.text("name");
        items.bulk(consumer.name());
        items.text("pending");
        items.int(consumer.pending().len() as i64);
        items.text("idle");
        items.int(now_ms.saturating_sub(consumer.seen_ms).max(0));
        items.text("inactive");
        items.int(match consumer.active_ms {
            -1 => -1,
            active_ms => now_ms.saturating_sub(active_ms),
        });
    }
    Ok(items.end())
}

/// `XINFO HELP`
pub fn help(_: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let lines: &[(&str, &[&str])] = &[
        ("CONSUMERS <key> <groupname>", &["Show consumers of <groupname>."]),
        ("GROUPS <key>", &["Show the stream consumer groups."]),
        ("STREAM <key> [FULL [COUNT <count>]", &["Show information about the stream."]),
    ];
    Ok(crate::commands::help(args, out, lines))
}
