//! Ranges by rank, score and member: listed, counted, stored, removed.
//!
//! Every form ends in a pair of ranks, so that offsets, counts and both directions cost nothing
//! extra.

use super::parse::{lex_bound, score_bound};
use super::{entry, list_of};
use crate::command::args::Args;
use crate::error::{Error, Result};
use crate::keyspace::db::{Db, Ttl};
use crate::keyspace::entry::NewValue;
use crate::keyspace::value::Value;
use crate::resp::out::{Done, Out};
use crate::types::sorted_set::{LexBound, ScoreBound, SortedSet};

/// What is asked for.
enum Span<'a> {
    Ranks(i64, i64),
    Scores(ScoreBound, ScoreBound),
    Members(LexBound<'a>, LexBound<'a>),
}

#[derive(Clone, Copy, PartialEq)]
enum By {
    Rank,
    Score,
    Lex,
}

impl<'a> Span<'a> {
    /// From the low and the high end as written.
    fn parse(by: By, low: &'a [u8], high: &'a [u8]) -> Result<Span<'a>> {
        Ok(match by {
            By::Rank => Span::Ranks(index(low)?, index(high)?),
            By::Score => Span::Scores(score_bound(low)?, score_bound(high)?),
            By::Lex => Span::Members(lex_bound(low)?, lex_bound(high)?),
        })
    }

    /// The ranks from and up to, not including; of a range of members without the first `skipped`.
    fn ranks(&self, set: &SortedSet, reverse: bool, skipped: usize) -> (usize, usize) {
        match self {
            Span::Scores(min, max) => set.ranks_by_score(min, max),
            Span::Members(min, max) => set.ranks_by_lex(min, max, reverse, skipped),
            Span::Ranks(start, stop) => {
                let len = set.len() as i64;
                let place = |at: i64| if at < 0 { at.saturating_add(len) } else { at };
                let (start, stop) = (place(*start).max(0), place(*stop).min(len - 1));
                if start > stop {
                    return (0, 0);
                }
                let (from, to) = (start as usize, stop as usize + 1);
                match reverse {
                    true => (set.len() - to, set.len() - from),
                    false => (from, to),
                }
            }
        }
    }
}

fn index(text: &[u8]) -> Result<i64> {
    crate::types::number::parse_i64(text).ok_or(Error::NotInteger)
}

/// A range with its options.
struct Query<'a> {
    span: Span<'a>,
    reverse: bool,
    with_scores: bool,
    offset: i64,
    /// Negative: all.
    count: i64,
}

impl<'a> Query<'a> {
    /// Reads two ends and the options that follow. What `by` and `reverse` say already cannot be
    /// said again.
    fn parse(
        args: &mut Args<'a>,
        by: Option<By>,
        reverse: Option<bool>,
        stores: bool,
    ) -> Result<Query<'a>> {
        let (first, second) = (args.bytes(), args.bytes());
        let (mut chosen, mut backwards) = (by, reverse);
        let (mut with_scores, mut offset, mut count) = (false, 0, -1);
        while let Some(option) = args.option() {
            match &*option {
                "WITHSCORES" if !stores => with_scores = true,
                "LIMIT" if args.left() >= 2 => {
                    offset = args.int()?;
                    count = args.int()?;
                }
                "REV" if reverse.is_none() => {
                    // Redis: a direction can be given once.
                    if backwards.is_some() {
                        return Err(Error::Syntax);
                    }
                    backwards = Some(true);
                }
                "BYLEX" if chosen.is_none() => chosen = Some(By::Lex),
                "BYSCORE" if chosen.is_none() => chosen = Some(By::Score),
                _ => return Err(Error::Syntax),
            }
        }
        let (by, reverse) = (chosen.unwrap_or(By::Rank), backwards.unwrap_or(false));
        if count != -1 && by == By::Rank {
            return Err(Error::LimitNeedsBy);
        }
        if with_scores && by == By::Lex {
            return Err(Error::LexWithScores);
        }
        let (low, high) = match reverse && by != By::Rank {
            true => (second, first),
            false => (first, second),
        };
        Ok(Query { span: Span::parse(by, low, high)?, reverse, with_scores, offset, count })
    }

    /// The ranks from and up to, after offset and count.
    fn ranks(&self, set: &SortedSet) -> (usize, usize) {
        let lex = matches!(self.span, Span::Members(..)) && self.offset > 0;
        let skipped_already = if lex { self.offset as usize } else { 0 };
        let (from, to) = self.span.ranks(set, self.reverse, skipped_already);
        if let Span::Ranks(..) = self.span {
            return (from, to);
        }
        let len = (to - from) as i64;
        let skipped = match self.offset {
            _ if lex => 0,
            offset if offset >= 0 => offset.min(len),
            // Redis: a negative offset counts from the far end, in the large encoding only.
            offset if set.listpack().is_none() && offset >= -len => len + offset,
            _ => len,
        };
        let left = len - skipped;
        let taken = if self.count < 0 { left } else { self.count.min(left) };
        let (skipped, taken) = (skipped as usize, taken as usize);
        match self.reverse {
            true => (to - skipped - taken, to - skipped),
            false => (from + skipped, from + skipped + taken),
        }
    }
}

fn list(
    db: &Db,
    args: &mut Args<'_>,
    out: Out<'_>,
    by: Option<By>,
    reverse: Option<bool>,
) -> Result<Done> {
    let key = args.key();
    let query = Query::parse(args, by, reverse, false)?;
    let Some(set) = db.get::<SortedSet>(key)? else {
        return Ok(out.array(0).end());
    };
    let (from, to) = query.ranks(set);
    let mut items = list_of(out, to - from, query.with_scores);
    for (item, score) in set.range(from, to, query.reverse) {
        entry(&mut items, item, score, query.with_scores);
    }
    Ok(items.end())
}

pub(super) fn zrange(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    list(db, args, out, None, None)
}

pub(super) fn zrevrange(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    list(db, args, out, Some(By::Rank), Some(true))
}

pub(super) fn zrangebyscore(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    list(db, args, out, Some(By::Score), Some(false))
}

pub(super) fn zrevrangebyscore(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    list(db, args, out, Some(By::Score), Some(true))
}

pub(super) fn zrangebylex(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    list(db, args, out, Some(By::Lex), Some(false))
}

pub(super) fn zrevrangebylex(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    list(db, args, out, Some(By::Lex), Some(true))
}

pub(super) fn zrangestore(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let (destination, source) = (args.key(), args.key());
    let query = Query::parse(args, None, None, true)?;
    let mut stored = SortedSet::new();
    if let Some(set) = db.get::<SortedSet>(source)? {
        let (from, to) = query.ranks(set);
        if let Span::Ranks(..) = query.span {
            stored.expect(to - from, 0, &db.limits);
        }
        for (item, score) in set.range(from, to, query.reverse) {
            item.with_bytes(|member| stored.insert(member, score, &db.limits));
        }
    }
    Ok(store(db, destination, stored, "zrangestore", out))
}

/// Stores a result, or removes the key when there is none; replies with its size.
pub(in crate::commands) fn store(
    db: &mut Db,
    key: &[u8],
    set: SortedSet,
    event: &'static str,
    out: Out<'_>,
) -> Done {
    let len = set.len();
    if len == 0 {
        db.remove(key, "del");
    } else {
        let value = NewValue::Owned(Value::SortedSet(Box::new(set)));
        db.put(key, value, Ttl::Clear, event);
    }
    out.int(len as i64)
}

fn count(db: &Db, args: &mut Args<'_>, out: Out<'_>, by: By) -> Result<Done> {
    let key = args.key();
    let span = Span::parse(by, args.bytes(), args.bytes())?;
    let set = db.get::<SortedSet>(key)?;
    let (from, to) = set.map_or((0, 0), |set| span.ranks(set, false, 0));
    Ok(out.int((to - from) as i64))
}

pub(super) fn zcount(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    count(db, args, out, By::Score)
}

pub(super) fn zlexcount(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    count(db, args, out, By::Lex)
}

fn remove(
    db: &mut Db,
    args: &mut Args<'_>,
    out: Out<'_>,
    by: By,
    event: &'static str,
) -> Result<Done> {
    let key = args.key();
    let span = Span::parse(by, args.bytes(), args.bytes())?;
    let Some(mut edit) = db.edit::<SortedSet>(key)?.existing() else {
        return Ok(out.int(0));
    };
    let (from, to) = span.ranks(&edit, false, 0);
    let removed = to - from;
    if removed > 0 {
        edit.changed_times(removed, event);
    }
    if removed == edit.len() {
        // All of it is freed as a whole, as the key goes.
        let gone = std::mem::take(&mut *edit);
        drop(edit);
        db.bury_value(Value::SortedSet(Box::new(gone)));
    } else {
        edit.remove_ranks(from, to);
    }
    Ok(out.int(removed as i64))
}

pub(super) fn zremrangebyrank(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    remove(db, args, out, By::Rank, "zremrangebyrank")
}

pub(super) fn zremrangebyscore(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    remove(db, args, out, By::Score, "zremrangebyscore")
}

pub(super) fn zremrangebylex(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    remove(db, args, out, By::Lex, "zremrangebylex")
}
