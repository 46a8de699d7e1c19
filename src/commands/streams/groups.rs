//! XGROUP: making, moving and removing consumer groups and their consumers.

use super::{count_change, no_group, strict_id, subcommand_syntax};
use crate::command::{Args, Call};
use crate::error::{Error, Result};
use crate::keyspace::db::Db;
use crate::keyspace::value::Stream;
use crate::resp::out::{Done, Out};
use crate::types::stream::StreamId;

/// Options behind the id of CREATE and SETID.
struct Options {
    mkstream: bool,
    entries_read: Option<i64>,
}

impl Options {
    fn parse(args: &mut Args<'_>, may_make: bool) -> Result<Options> {
        let mut options = Options { mkstream: false, entries_read: None };
        while !args.is_done() {
            if may_make && args.accept("MKSTREAM") {
                options.mkstream = true;
            } else if args.left() > 1 && args.accept("ENTRIESREAD") {
                let count = args.int()?;
                if count < -1 {
                    return Err(Error::NegativeEntriesRead);
                }
                options.entries_read = Some(count).filter(|count| *count >= 0);
            } else {
                return Err(subcommand_syntax(args));
            }
        }
        Ok(options)
    }
}

/// `XGROUP CREATE key group <id | $> [MKSTREAM] [ENTRIESREAD entries-read]`
pub fn create(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let (key, name, id) = (args.key(), args.bytes(), args.bytes());
    let options = Options::parse(args, true)?;
    let edit = db.edit::<Stream>(key)?;
    let is_new = !edit.exists();
    if is_new && !options.mkstream {
        return Err(Error::XgroupNoKey);
    }
    if args.all().len() > 8 {
        return Err(subcommand_syntax(args));
    }
    let given = if id == b"$" { None } else { Some(strict_id(id)?) };
    let mut edit = edit.or_default();
    if is_new {
        edit.changed_silently(0);
    }
    let id = given.unwrap_or(edit.last_id());
    if !edit.create_group(name, id, options.entries_read) {
        return Err(Error::BusyGroup);
    }
    count_change(edit.db(), key, "xgroup-create");
    Ok(out.ok())
}

/// `XGROUP SETID key group <id | $> [ENTRIESREAD entries-read]`
pub fn setid(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let (key, name, id) = (args.key(), args.bytes(), args.bytes());
    let options = Options::parse(args, false)?;
    let mut edit = db.edit::<Stream>(key)?.existing().ok_or(Error::XgroupNoKey)?;
    let last_id = edit.last_id();
    let mut group = edit.edit_group(name).ok_or_else(|| no_group(key, name))?;
    if !matches!(args.all().len(), 5 | 7) {
        return Err(subcommand_syntax(args));
    }
    // Redis: unlike CREATE this takes `-` and `+`.
    group.last_id = match id {
        b"$" => last_id,
        _ => StreamId::parse_bound(id, 0).ok_or(Error::InvalidStreamId)?,
    };
    group.entries_read = options.entries_read;
    drop(group);
    count_change(edit.db(), key, "xgroup-setid");
    Ok(out.ok())
}

/// `XGROUP DESTROY key group`
pub fn destroy(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let (key, name) = (args.key(), args.bytes());
    let mut edit = db.edit::<Stream>(key)?.existing().ok_or(Error::XgroupNoKey)?;
    let Some(group) = edit.remove_group(name) else { return Ok(out.int(0)) };
    // A large group is freed later, in pieces, as a stream without entries.
    edit.db().bury_value(crate::keyspace::value::Value::Stream(Box::new(Stream::of_group(group))));
    count_change(edit.db(), key, "xgroup-destroy");
    let place = edit.db().current();
    edit.db().effects.wake(place, key);
    Ok(out.int(1))
}

/// `XGROUP CREATECONSUMER key group consumer`
pub fn create_consumer(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let (key, name, consumer) = (args.key(), args.bytes(), args.bytes());
    let now_ms = db.wall_ms();
    let mut edit = db.edit::<Stream>(key)?.existing().ok_or(Error::XgroupNoKey)?;
    let mut group = edit.edit_group(name).ok_or_else(|| no_group(key, name))?;
    let created = group.create_consumer(consumer, now_ms).is_some();
    drop(group);
    if created {
        count_change(edit.db(), key, "xgroup-createconsumer");
    }
    Ok(out.yes_no(created))
}

/// `XGROUP DELCONSUMER key group consumer`
pub fn delete_consumer(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let (key, name, consumer) = (args.key(), args.bytes(), args.bytes());
    let mut edit = db.edit::<Stream>(key)?.existing().ok_or(Error::XgroupNoKey)?;
    let mut group = edit.edit_group(name).ok_or_else(|| no_group(key, name))?;
    let removed = group.remove_consumer(consumer);
    drop(group);
    if removed.is_some() {
        count_change(edit.db(), key, "xgroup-delconsumer");
    }
    Ok(out.int(removed.unwrap_or(0) as i64))
}

/// `XGROUP HELP`
pub fn help(_: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let lines: &[(&str, &[&str])] = &[
        (
            "CREATE <key> <groupname> <id|$> [option]",
            &[
                "Create a new consumer group. Options are:",
                "* MKSTREAM",
                "  Create the empty stream if it does not exist.",
                "* ENTRIESREAD entries_read",
                "  Set the group's entries_read counter (internal use).",
            ],
        ),
        (
            "CREATECONSUMER <key> <groupname> <consumer>",
            &["Create a new consumer in the specified group."],
        ),
        ("DELCONSUMER <key> <groupname> <consumer>", &["Remove the specified consumer."]),
        ("DESTROY <key> <groupname>", &["Remove the specified group."]),
        (
            "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
            &["Set the current group ID and entries_read counter."],
        ),
    ];
    Ok(crate::commands::help(args, out, lines))
}
