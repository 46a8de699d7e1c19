//! Commands about whole databases.

use crate::command::{client, flag, read, Args, Call, Row};
use crate::error::{Error, Result};
use crate::keyspace::db::Db;
use crate::resp::out::{Done, Out};
use crate::types::number::parse_i64;

/// The rows.
pub const ROWS: &[Row] = &[
    read("DBSIZE", dbsize)
        .fast()
        .flags(flag::KEYSPACE)
        .route("all_shards", "agg_sum")
        .since("1.0.0")
        .cost("O(1)")
        .about("Replies with the number of keys of the selected database."),
    client("FLUSHALL [ASYNC | SYNC]", flushall)
        .writes()
        .dangerous()
        .flags(flag::KEYSPACE)
        .route("all_shards", "all_succeeded")
        .since("1.0.0")
        .cost("O(N) where N is the number of keys")
        .about("Removes all keys of all databases."),
    client("FLUSHDB [ASYNC | SYNC]", flushdb)
        .writes()
        .dangerous()
        .flags(flag::KEYSPACE)
        .route("all_shards", "all_succeeded")
        .since("1.0.0")
        .cost("O(N) where N is the number of keys of the database")
        .about("Removes all keys of the selected database."),
    client("SWAPDB index1 index2", swapdb)
        .writes()
        .fast()
        .dangerous()
        .flags(flag::KEYSPACE)
        .since("4.0.0")
        .cost("O(N) where N is the number of clients that watch or wait")
        .about("Lets two databases change places."),
];

/// Databases with more keys, or larger ones, are always freed in pieces: to free them at once would
/// stop everybody.
const AT_ONCE_KEYS_MAX: usize = 20_000;
const AT_ONCE_BYTES_MAX: usize = 4 << 20;

fn dbsize(db: &Db, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    Ok(out.int(db.here().len() as i64))
}

fn flushall(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    flush(call, args, None)?;
    crate::snapshot::save::after_flush(call.state);
    Ok(out.ok())
}

fn flushdb(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let current = call.state.db.current();
    flush(call, args, Some(current))?;
    Ok(out.ok())
}

fn flush(call: &mut Call<'_>, args: &mut Args<'_>, index: Option<usize>) -> Result<()> {
    let lazily = match (args.option().as_deref(), args.is_done()) {
        (None, _) => call.state.config.settings().lazyfree_user_flush,
        (Some("ASYNC"), true) => true,
        (Some("SYNC"), true) => false,
        _ => return Err(Error::Syntax),
    };
    let db = &mut call.state.db;
    let databases = index.map_or(0..db.databases(), |index| index..index + 1);
    let (mut keys, mut bytes) = (0, 0);
    for space in databases.map(|index| db.space(index)) {
        keys += space.len();
        bytes += space.heap_bytes();
    }
    let is_large = keys > AT_ONCE_KEYS_MAX || bytes > AT_ONCE_BYTES_MAX;
    if db.flush(index, lazily || is_large) == 0 {
        // Redis: flushing nothing is a change as well, and reaches the log.
        db.effects.dirty += 1;
    }
    Ok(())
}

fn swapdb(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let index = |word: &[u8], which: &str| {
        let number = parse_i64(word).filter(|number| i32::try_from(*number).is_ok());
        number.ok_or_else(|| Error::of(format!("ERR invalid {which} DB index")))
    };
    let first = index(args.bytes(), "first")?;
    let second = index(args.bytes(), "second")?;
    let databases = call.state.db.databases();
    let place = |number: i64| {
        usize::try_from(number)
            .ok()
            .filter(|index| *index < databases)
            .ok_or(Error::DbIndexOutOfRange)
    };
    let (first, second) = (place(first)?, place(second)?);
    call.state.db.swap(first, second);
    Ok(out.ok())
}
