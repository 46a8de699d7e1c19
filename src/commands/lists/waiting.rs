//! List commands that wait for an element. Each is run again, from its first word, whenever a
//! list comes to be at one of its keys; it then answers, or waits on.

use super::{end, pop_event, pop_name, relocate, write_item, Harvest};
use crate::command::{Args, Wait, Waiting};
use crate::error::Result;
use crate::keyspace::db::Db;
use crate::resp::out::Out;
use crate::types::list::{End, List};

pub(super) fn blpop(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Wait> {
    pop_first(db, args, out, End::Left)
}

pub(super) fn brpop(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Wait> {
    pop_first(db, args, out, End::Right)
}

fn pop_first(db: &mut Db, args: &mut Args<'_>, out: Out<'_>, end: End) -> Result<Wait> {
    let keys = args.rest();
    let keys = &keys[..keys.len().saturating_sub(1)];
    args.skip(keys.len());
    let until_ms = args.timeout(db.now_ms())?;
    for key in keys {
        let Some(mut list) = db.edit::<List>(key)?.existing() else { continue };
        let mut items = out.array(2);
        items.bulk(key);
        let (value, limits, _) = list.parts();
        value.pop(end, limits, |item| write_item(&mut items, item));
        list.changed(pop_event(end));
        list.replay_as(&[pop_name(end), key]);
        return Ok(Wait::Done(items.end()));
    }
    Ok(Wait::For(waiting(keys, until_ms)))
}

pub(super) fn blmpop(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Wait> {
    let mut timeout = args.clone();
    args.skip(1);
    let harvest = Harvest::parse(args)?;
    let until_ms = timeout.timeout(db.now_ms())?;
    match harvest.reap(db, out)? {
        Ok(done) => Ok(Wait::Done(done)),
        Err(_) => Ok(Wait::For(waiting(harvest.keys, until_ms))),
    }
}

pub(super) fn blmove(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Wait> {
    let mut words = [b"LMOVE", args.key(), args.key(), b"", b""];
    words[3] = args.peek().unwrap_or_default();
    let from = end(args)?;
    words[4] = args.peek().unwrap_or_default();
    let to = end(args)?;
    move_or_wait(db, args, out, (from, to), &words)
}

pub(super) fn brpoplpush(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Wait> {
    let words = [b"RPOPLPUSH", args.key(), args.key()];
    move_or_wait(db, args, out, (End::Right, End::Left), &words)
}

/// Moves an element as `words` say, which are the form for the log, or waits for it.
fn move_or_wait(
    db: &mut Db,
    args: &mut Args<'_>,
    out: Out<'_>,
    (from, to): (End, End),
    words: &[&[u8]],
) -> Result<Wait> {
    let until_ms = args.timeout(db.now_ms())?;
    let (source, destination) = (words[1], words[2]);
    if db.peek::<List>(source)?.is_none() {
        return Ok(match db.may_wait {
            true => Wait::For(waiting(&[source], until_ms)),
            false => Wait::Done(out.null()),
        });
    }
    let done = relocate(db, source, destination, from, to, out)?;
    db.replay_as(words);
    Ok(Wait::Done(done))
}

fn waiting(keys: &[&[u8]], until_ms: Option<i64>) -> Waiting {
    Waiting {
        keys: keys.iter().map(|key| key.to_vec()).collect(),
        until_ms,
        // Redis: a null array even where the answer would have been one element.
        on_timeout: |out| out.null_array(),
        argv: None,
        wakes_on_loss: false,
        awaits: None,
    }
}
