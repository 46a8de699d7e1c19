//! Members taken from either end, at once or when some come.
//!
//! Redis: the waiting forms enter the log as ZPOPMIN or ZPOPMAX of what they took, ZMPOP too.

use super::member;
use crate::command::args::Args;
use crate::command::row::{Wait, Waiting};
use crate::error::{Error, Result};
use crate::keyspace::db::Db;
use crate::resp::out::{Done, Items, Out};
use crate::types::number::parse_i64;
use crate::types::sorted_set::SortedSet;

/// Which end.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Min,
    Max,
}

impl End {
    fn event(self) -> &'static str {
        match self {
            End::Min => "zpopmin",
            End::Max => "zpopmax",
        }
    }

    fn command(self) -> &'static [u8] {
        match self {
            End::Min => b"ZPOPMIN",
            End::Max => b"ZPOPMAX",
        }
    }
}

/// Takes up to `count` members out, after writing them; `open` opens the reply for how many there
/// are. Pairs are nested when `nested`.
fn take<'a>(
    db: &mut Db,
    key: &[u8],
    end: End,
    count: usize,
    nested: bool,
    open: impl FnOnce(usize) -> Items<'a>,
) -> Result<(Done, usize)> {
    let Some(mut edit) = db.edit::<SortedSet>(key)?.existing().filter(|_| count > 0) else {
        return Ok((open(0).end(), 0));
    };
    let len = edit.len();
    let count = count.min(len);
    let (from, to) = match end {
        End::Min => (0, count),
        End::Max => (len - count, len),
    };
    let mut items = open(count);
    for (item, score) in edit.range(from, to, end == End::Max) {
        if nested {
            items.array(2);
        }
        member(&mut items, item);
        items.double(score);
    }
    edit.remove_ranks(from, to);
    edit.changed_times(count, end.event());
    Ok((items.end(), count))
}

fn pop(db: &mut Db, args: &mut Args<'_>, out: Out<'_>, end: End) -> Result<Done> {
    let key = args.key();
    if args.left() > 1 {
        return Err(Error::Syntax);
    }
    let asked = match args.peek() {
        Some(text) => {
            let count = parse_i64(text).filter(|count| *count >= 0);
            Some(count.ok_or(Error::NotPositive)?)
        }
        None => None,
    };
    let nested = out.is_resp3() && asked.is_some();
    let open = |len: usize| out.array(if nested { len } else { len * 2 });
    let (done, _) = take(db, key, end, asked.unwrap_or(1) as usize, nested, open)?;
    Ok(done)
}

pub(super) fn zpopmin(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    pop(db, args, out, End::Min)
}

pub(super) fn zpopmax(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    pop(db, args, out, End::Max)
}

/// `numkeys key [key ...] <MIN | MAX> [COUNT count]`
struct Sources<'a> {
    keys: &'a [&'a [u8]],
    end: End,
    count: usize,
}

impl<'a> Sources<'a> {
    fn parse(args: &mut Args<'a>) -> Result<Sources<'a>> {
        let positive = |text: &[u8]| parse_i64(text).filter(|number| *number > 0);
        let keys = positive(args.bytes()).ok_or(Error::NumkeysNotPositive)?;
        let keys = args.rest().get(..keys as usize).ok_or(Error::Syntax)?;
        args.skip(keys.len());
        let end = match args.option().as_deref() {
            Some("MIN") => End::Min,
            Some("MAX") => End::Max,
            _ => return Err(Error::Syntax),
        };
        let mut count = None;
        while let Some(option) = args.option() {
            if &*option != "COUNT" || count.is_some() || args.is_done() {
                return Err(Error::Syntax);
            }
            count = Some(positive(args.bytes()).ok_or(Error::PopCountNotPositive)?);
        }
        Ok(Sources { keys, end, count: count.unwrap_or(1) as usize })
    }

    /// Takes from the sorted set at `key`.
    fn take(&self, db: &mut Db, key: &[u8], out: Out<'_>) -> Result<Done> {
        let open = |len: usize| {
            let mut items = out.array(2);
            items.bulk(key);
            items.array(len);
            items
        };
        let (done, taken) = take(db, key, self.end, self.count, true, open)?;
        let taken = taken.to_string();
        db.replay_as(&[self.end.command(), key, taken.as_bytes()]);
        Ok(done)
    }
}

/// The first of `keys` that is there; WRONGTYPE if it is of another type.
fn first_present<'a>(db: &Db, keys: &[&'a [u8]]) -> Result<Option<&'a [u8]>> {
    for key in keys {
        if db.peek::<SortedSet>(key)?.is_some() {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

fn wait_for(keys: &[&[u8]], until_ms: Option<i64>) -> Wait {
    Wait::For(Waiting {
        keys: keys.iter().map(|key| key.to_vec()).collect(),
        until_ms,
        on_timeout: |out| out.null_array(),
        argv: None,
        wakes_on_loss: false,
        awaits: None,
    })
}

pub(super) fn zmpop(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let sources = Sources::parse(args)?;
    match first_present(db, sources.keys)? {
        Some(key) => sources.take(db, key, out),
        None => Ok(out.null_array()),
    }
}

pub(super) fn bzmpop(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Wait> {
    let mut timeout = args.clone();
    args.skip(1);
    let sources = Sources::parse(args)?;
    let until_ms = timeout.timeout(db.now_ms())?;
    Ok(match first_present(db, sources.keys)? {
        Some(key) => Wait::Done(sources.take(db, key, out)?),
        None => wait_for(sources.keys, until_ms),
    })
}

fn pop_or_wait(db: &mut Db, args: &mut Args<'_>, out: Out<'_>, end: End) -> Result<Wait> {
    let words = args.rest();
    let keys = &words[..words.len().saturating_sub(1)];
    args.skip(keys.len());
    let until_ms = args.timeout(db.now_ms())?;
    let Some(key) = first_present(db, keys)? else {
        return Ok(wait_for(keys, until_ms));
    };
    let open = |len: usize| {
        let mut items = out.array(1 + len * 2);
        items.bulk(key);
        items
    };
    let (done, _) = take(db, key, end, 1, false, open)?;
    db.replay_as(&[end.command(), key]);
    Ok(Wait::Done(done))
}

pub(super) fn bzpopmin(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Wait> {
    pop_or_wait(db, args, out, End::Min)
}

pub(super) fn bzpopmax(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Wait> {
    pop_or_wait(db, args, out, End::Max)
}
