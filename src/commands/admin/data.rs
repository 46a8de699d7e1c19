//! Commands about whole databases.

use crate::client::{Awaited, ClientId};
use crate::command::{client, client_wait, flag, read, Args, Call, Row, Wait, Waiting};
use crate::error::{Error, Result};
use crate::keyspace::db::Db;
use crate::resp::out::{Done, Out};
use crate::settle;
use crate::state::State;
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
    client_wait("FLUSHALL [ASYNC | SYNC]", flushall)
        .seldom_waits()
        .writes()
        .dangerous()
        .flags(flag::KEYSPACE)
        .route("all_shards", "all_succeeded")
        .since("1.0.0")
        .cost("O(N) where N is the number of keys")
        .about("Removes all keys of all databases."),
    client_wait("FLUSHDB [ASYNC | SYNC]", flushdb)
        .seldom_waits()
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

/// Pieces that are freed before the answer; when more are left, the client waits for them, and
/// nobody else does.
const PIECES_AT_ONCE_MAX: usize = 64;
/// Larger databases are freed in pieces for a transaction or a script, too.
const AT_ONCE_KEYS_MAX: usize = 20_000;
const AT_ONCE_BYTES_MAX: usize = 4 << 20;

fn dbsize(db: &Db, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    Ok(out.int(db.here().len() as i64))
}

fn flushall(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Wait> {
    let lazily = is_lazy(call, args)?;
    flush(call, None, lazily);
    crate::snapshot::save::after_flush(call.state);
    crate::replicas::end_copy(call.state);
    Ok(freed(call, lazily, out))
}

fn flushdb(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Wait> {
    let lazily = is_lazy(call, args)?;
    let current = call.state.db.current();
    flush(call, Some(current), lazily);
    Ok(freed(call, lazily, out))
}

fn is_lazy(call: &Call<'_>, args: &mut Args<'_>) -> Result<bool> {
    match (args.option().as_deref(), args.is_done()) {
        (None, _) => Ok(call.state.config.settings().lazyfree_user_flush),
        (Some("ASYNC"), true) => Ok(true),
        (Some("SYNC"), true) => Ok(false),
        _ => Err(Error::Syntax),
    }
}

/// Who cannot wait has it freed here, unless that is too much: nobody is to wait for that.
fn flush(call: &mut Call<'_>, index: Option<usize>, lazily: bool) {
    let in_background = lazily || may_wait(call) || is_large(&call.state.db, index);
    let db = &mut call.state.db;
    if db.flush(index, in_background) == 0 {
        // Redis: flushing nothing is a change as well, and reaches the log.
        db.effects.dirty += 1;
    }
}

fn may_wait(call: &mut Call<'_>) -> bool {
    !call.state.inside_unit && !call.client().is_internal && !call.client().is_primary
}

fn is_large(db: &Db, index: Option<usize>) -> bool {
    let databases = index.map_or(0..db.databases(), |index| index..index + 1);
    let sizes = databases.map(|index| db.space(index)).map(|one| (one.len(), one.heap_bytes()));
    let (keys, bytes) = sizes.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    keys > AT_ONCE_KEYS_MAX || bytes > AT_ONCE_BYTES_MAX
}

/// Answers, when what was flushed is freed or is to be freed whenever that may be.
fn freed(call: &mut Call<'_>, lazily: bool, out: Out<'_>) -> Wait {
    let waits = !lazily && may_wait(call);
    let db = &mut call.state.db;
    let mark = db.graveyard().mark();
    let mut pieces = PIECES_AT_ONCE_MAX;
    while waits && pieces > 0 && !db.graveyard().is_past(mark) {
        db.free_chunk();
        pieces -= 1;
    }
    if !waits || db.graveyard().is_past(mark) {
        return Wait::Done(out.ok());
    }
    Wait::For(Waiting {
        keys: Vec::new(),
        until_ms: None,
        on_timeout: |out| out.ok(),
        argv: None,
        wakes_on_loss: false,
        awaits: Some(Awaited::Freed(mark)),
    })
}

/// Answers those whose FLUSHALL or FLUSHDB has freed everything.
pub fn answer_flushed(state: &mut State) {
    let is_answered = |id: &&ClientId| {
        let blocked = state.clients.find(**id).and_then(|client| client.blocked.as_ref());
        let awaits = blocked.and_then(|blocked| blocked.awaits);
        matches!(awaits, Some(Awaited::Freed(mark)) if state.db.graveyard().is_past(mark))
    };
    let answered: Vec<ClientId> = state.flushing.iter().filter(is_answered).copied().collect();
    for id in answered {
        settle::unblock_with(state, id, |out, _| {
            let _ = out.ok();
        });
    }
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
