//! Sorted sets: ZADD and its family. Here members come and go and are looked up one by one;
//! `range` reads and removes runs of them, `pop` takes them from the ends, `combine` builds
//! unions, intersections and differences, `parse` knows the forms of bounds.

mod combine;
mod parse;
mod pop;
mod range;

pub(super) use range::store;

use super::scan::ScanOptions;
use crate::command::args::{Args, Word};
use crate::command::row::{read, wait, write, Family};
use crate::error::{Error, Result};
use crate::keyspace::db::Db;
use crate::resp::out::{push_bulk, push_number, Done, Items, Out};
use crate::types::compact::Item;
use crate::types::number::{format_17_digits, format_f64, parse_f64};
use crate::types::sorted_set::{AddRule, Added, SortedSet};
use smallvec::SmallVec;

/// The rows of this family.
pub const FAMILY: Family = Family {
    group: "sorted-set",
    rows: &[
        write("ZADD key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]", zadd)
            .fast()
            .grows()
            .since("1.2.0")
            .about("Adds members with scores, or changes the scores of those that are there.")
            .cost("O(log(N)) for each member"),
        write("ZINCRBY key increment member", zincrby)
            .fast()
            .grows()
            .since("1.2.0")
            .about("Adds to a member's score; a new member starts from 0.")
            .cost("O(log(N))"),
        write("ZREM key member [member ...]", zrem)
            .fast()
            .since("1.2.0")
            .about("Removes members, and the key with the last of them.")
            .cost("O(M*log(N)) for M members"),
        read("ZCARD key", zcard).fast().since("1.2.0").about("Counts the members.").cost("O(1)"),
        read("ZSCORE key member", zscore)
            .fast()
            .since("1.2.0")
            .about("Tells a member's score.")
            .cost("O(1)"),
        read("ZMSCORE key member [member ...]", zmscore)
            .fast()
            .since("6.2.0")
            .about("Tells the scores of several members.")
            .cost("O(N) for N members asked for"),
        read("ZRANK key member [WITHSCORE]", zrank)
            .fast()
            .since("2.0.0")
            .about("Tells how many members stand before this one.")
            .cost("O(log(N))"),
        read("ZREVRANK key member [WITHSCORE]", zrevrank)
            .fast()
            .since("2.0.0")
            .about("Tells how many members stand behind this one.")
            .cost("O(log(N))"),
        read("ZRANDMEMBER key [count [WITHSCORES]]", zrandmember)
            .varies()
            .since("6.2.0")
            .about("Picks members at random.")
            .cost("O(N) for N picks"),
        read("ZSCAN key cursor [MATCH pattern] [COUNT count]", zscan)
            .varies()
            .since("2.8.0")
            .about("Walks over members and scores in steps.")
            .cost("O(1) for a step, O(N) for the whole walk"),
        read(
            "ZRANGE key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]",
            range::zrange,
        )
        .since("1.2.0")
        .about("Lists a range of members by rank, score or name.")
        .cost("O(log(N)+M) for M members listed"),
        write(
            "ZRANGESTORE dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]",
            range::zrangestore,
        )
        .grows()
        .since("6.2.0")
        .about("Stores a range of members at another key.")
        .cost("O(log(N)+M*log(M)) for M members stored"),
        read("ZREVRANGE key start stop [WITHSCORES]", range::zrevrange)
            .since("1.2.0")
            .about("Lists a range of members by rank, the highest first.")
            .cost("O(log(N)+M) for M members listed"),
        read("ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]", range::zrangebyscore)
            .since("1.0.5")
            .about("Lists the members between two scores.")
            .cost("O(log(N)+M) for M members listed"),
        read(
            "ZREVRANGEBYSCORE key max min [WITHSCORES] [LIMIT offset count]",
            range::zrevrangebyscore,
        )
        .since("2.2.0")
        .about("Lists the members between two scores, the highest first.")
        .cost("O(log(N)+M) for M members listed"),
        read("ZRANGEBYLEX key min max [LIMIT offset count]", range::zrangebylex)
            .since("2.8.9")
            .about("Lists the members between two names, where all scores are equal.")
            .cost("O(log(N)+M) for M members listed"),
        read("ZREVRANGEBYLEX key max min [LIMIT offset count]", range::zrevrangebylex)
            .since("2.8.9")
            .about("Lists the members between two names, the last first.")
            .cost("O(log(N)+M) for M members listed"),
        read("ZCOUNT key min max", range::zcount)
            .fast()
            .since("2.0.0")
            .about("Counts the members between two scores.")
            .cost("O(log(N))"),
        read("ZLEXCOUNT key min max", range::zlexcount)
            .fast()
            .since("2.8.9")
            .about("Counts the members between two names, where all scores are equal.")
            .cost("O(log(N))"),
        write("ZREMRANGEBYRANK key start stop", range::zremrangebyrank)
            .since("2.0.0")
            .about("Removes a range of members by rank.")
            .cost("O(log(N)+M) for M members removed"),
        write("ZREMRANGEBYSCORE key min max", range::zremrangebyscore)
            .since("1.2.0")
            .about("Removes the members between two scores.")
            .cost("O(log(N)+M) for M members removed"),
        write("ZREMRANGEBYLEX key min max", range::zremrangebylex)
            .since("2.8.9")
            .about("Removes the members between two names, where all scores are equal.")
            .cost("O(log(N)+M) for M members removed"),
        write("ZPOPMIN key [count]", pop::zpopmin)
            .fast()
            .since("5.0.0")
            .about("Takes out the members with the lowest scores.")
            .cost("O(log(N)*M) for M members"),
        write("ZPOPMAX key [count]", pop::zpopmax)
            .fast()
            .since("5.0.0")
            .about("Takes out the members with the highest scores.")
            .cost("O(log(N)*M) for M members"),
        write("ZMPOP numkeys key [key ...] <MIN | MAX> [COUNT count]", pop::zmpop)
            .since("7.0.0")
            .about("Takes members out of the first sorted set that has any.")
            .cost("O(K)+O(M*log(N)) for K keys and M members"),
        wait("BZPOPMIN key [key ...] timeout", pop::bzpopmin)
            .fast()
            .since("5.0.0")
            .about("Takes out the member with the lowest score, or waits for one.")
            .cost("O(log(N))"),
        wait("BZPOPMAX key [key ...] timeout", pop::bzpopmax)
            .fast()
            .since("5.0.0")
            .about("Takes out the member with the highest score, or waits for one.")
            .cost("O(log(N))"),
        wait("BZMPOP timeout numkeys key [key ...] <MIN | MAX> [COUNT count]", pop::bzmpop)
            .since("7.0.0")
            .about("Takes members out of the first sorted set that has any, or waits for some.")
            .cost("O(K)+O(M*log(N)) for K keys and M members"),
        read(
            "ZUNION numkeys key [key ...] [WEIGHTS weight [weight ...]] \
             [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]",
            combine::zunion,
        )
        .since("6.2.0")
        .about("Lists the members of any of several sorted sets.")
        .cost("O(N)+O(M*log(M)) for N members read and M listed"),
        read(
            "ZINTER numkeys key [key ...] [WEIGHTS weight [weight ...]] \
             [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]",
            combine::zinter,
        )
        .since("6.2.0")
        .about("Lists the members that several sorted sets share.")
        .cost("O(N*K)+O(M*log(M)) for K sets, the smallest of N, and M listed"),
        read("ZDIFF numkeys key [key ...] [WITHSCORES]", combine::zdiff)
            .since("6.2.0")
            .about("Lists the members of the first sorted set that the others lack.")
            .cost("O(N*K)+O(M*log(M)) for K sets, the first of N, and M listed"),
        write(
            "ZUNIONSTORE destination numkeys key [key ...] [WEIGHTS weight [weight ...]] \
             [AGGREGATE <SUM | MIN | MAX>]",
            combine::zunionstore,
        )
        .grows()
        .since("2.0.0")
        .about("Stores the members of any of several sorted sets.")
        .cost("O(N)+O(M*log(M)) for N members read and M stored"),
        write(
            "ZINTERSTORE destination numkeys key [key ...] [WEIGHTS weight [weight ...]] \
             [AGGREGATE <SUM | MIN | MAX>]",
            combine::zinterstore,
        )
        .grows()
        .since("2.0.0")
        .about("Stores the members that several sorted sets share.")
        .cost("O(N*K)+O(M*log(M)) for K sets, the smallest of N, and M stored"),
        write("ZDIFFSTORE destination numkeys key [key ...]", combine::zdiffstore)
            .grows()
            .since("6.2.0")
            .about("Stores the members of the first sorted set that the others lack.")
            .cost("O(N*K)+O(M*log(M)) for K sets, the first of N, and M stored"),
        read("ZINTERCARD numkeys key [key ...] [LIMIT limit]", combine::zintercard)
            .since("7.0.0")
            .about("Counts the members that several sorted sets share.")
            .cost("O(N*K) for K sets, the smallest of N"),
    ],
};

/// One member of a reply.
#[inline]
fn member(items: &mut Items<'_>, item: Item<'_>) {
    match item {
        Item::Bytes(bytes) => items.bulk(bytes),
        Item::Int(number) => items.bulk_int(number),
    }
}

/// Opens a list of `len` members; with scores it is flat in RESP2 and one of pairs in RESP3.
fn list_of<'a>(out: Out<'a>, len: usize, with_scores: bool) -> Items<'a> {
    let flat = with_scores && !out.is_resp3();
    out.array(if flat { len * 2 } else { len })
}

/// One entry of such a list.
#[inline]
fn entry(items: &mut Items<'_>, item: Item<'_>, score: f64, with_scores: bool) {
    if with_scores && items.is_resp3() {
        items.array(2);
    }
    member(items, item);
    if with_scores {
        items.double(score);
    }
}

/// What adding did.
#[derive(Default)]
struct Tally {
    added: usize,
    updated: usize,
    /// The score of the last member that the rule let through.
    score: Option<f64>,
}

/// Adds members to the sorted set at `key`.
pub(super) fn add_all(
    db: &mut Db,
    key: &[u8],
    entries: &[(f64, &[u8])],
    rule: AddRule,
) -> Result<(usize, usize)> {
    tally(db, key, entries, rule).map(|tally| (tally.added, tally.updated))
}

fn tally(db: &mut Db, key: &[u8], entries: &[(f64, &[u8])], rule: AddRule) -> Result<Tally> {
    let edit = db.edit::<SortedSet>(key)?;
    let mut tally = Tally::default();
    if rule.only_present && !edit.exists() {
        return Ok(tally);
    }
    // Redis: a new set looks at its first member only; a long one that comes later converts it.
    let first = entries.first().filter(|_| !edit.exists());
    let longest = first.map_or(0, |(_, member)| member.len());
    let mut edit = edit.or_default();
    let (set, limits, _) = edit.parts();
    set.expect(entries.len(), longest, limits);
    for (score, member) in entries {
        match set.add(member, *score, rule, limits) {
            Added::New(score) => {
                tally.added += 1;
                tally.score = Some(score);
            }
            Added::Updated(score) => {
                tally.updated += 1;
                tally.score = Some(score);
            }
            Added::Same(score) => tally.score = Some(score),
            Added::Skipped => {}
            Added::NotANumber => return Err(Error::ScoreNotANumber),
        }
    }
    let changes = tally.added + tally.updated;
    if changes > 0 {
        edit.changed_times(changes, if rule.increment { "zincr" } else { "zadd" });
    }
    Ok(tally)
}

fn zadd(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    add(db, args, out, AddRule::default())
}

// Redis: ZINCRBY reads the options of ZADD too, though its arity leaves no room for them.
fn zincrby(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    add(db, args, out, AddRule { increment: true, ..AddRule::default() })
}

fn add(db: &mut Db, args: &mut Args<'_>, out: Out<'_>, mut rule: AddRule) -> Result<Done> {
    let key = args.key();
    let mut counts_updates = false;
    let is_word = |word: &&[u8]| word.first().is_some_and(u8::is_ascii_alphabetic);
    while let Some(word) = args.peek().filter(is_word) {
        match &*Word::of(word) {
            "NX" => rule.only_new = true,
            "XX" => rule.only_present = true,
            "GT" => rule.only_greater = true,
            "LT" => rule.only_less = true,
            "CH" => counts_updates = true,
            "INCR" => rule.increment = true,
            _ => break,
        }
        args.skip(1);
    }
    let pairs = args.rest();
    if pairs.is_empty() || !pairs.len().is_multiple_of(2) {
        return Err(Error::Syntax);
    }
    if rule.only_new && rule.only_present {
        return Err(Error::AddNewAndPresent);
    }
    if (rule.only_new && (rule.only_greater || rule.only_less))
        || (rule.only_greater && rule.only_less)
    {
        return Err(Error::AddGreaterAndLess);
    }
    if rule.increment && pairs.len() > 2 {
        return Err(Error::IncrementSinglePair);
    }
    let mut entries: SmallVec<[(f64, &[u8]); 4]> = SmallVec::with_capacity(pairs.len() / 2);
    for pair in pairs.chunks_exact(2) {
        entries.push((parse_f64(pair[0]).ok_or(Error::NotFloat)?, pair[1]));
    }
    let tally = tally(db, key, &entries, rule)?;
    Ok(match (rule.increment, tally.score) {
        (true, Some(score)) => out.double(score),
        (true, None) => out.null(),
        (false, _) if counts_updates => out.int((tally.added + tally.updated) as i64),
        (false, _) => out.int(tally.added as i64),
    })
}

fn zrem(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let Some(mut edit) = db.edit::<SortedSet>(args.key())?.existing() else {
        return Ok(out.int(0));
    };
    let removed = args.rest().iter().filter(|member| edit.remove(member).is_some()).count();
    if removed > 0 {
        edit.changed_times(removed, "zrem");
    }
    Ok(out.int(removed as i64))
}

fn zcard(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let set = db.get::<SortedSet>(args.key())?;
    Ok(out.int(set.map_or(0, |set| set.len() as i64)))
}

fn zscore(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let set = db.get::<SortedSet>(args.key())?;
    Ok(match set.and_then(|set| set.score(args.bytes())) {
        Some(score) => out.double(score),
        None => out.null(),
    })
}

fn zmscore(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let set = db.get::<SortedSet>(args.key())?;
    let mut items = out.array(args.left());
    for member in args.rest() {
        match set.and_then(|set| set.score(member)) {
            Some(score) => items.double(score),
            None => items.null(),
        }
    }
    Ok(items.end())
}

fn zrank(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    rank(db, args, out, false)
}

fn zrevrank(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    rank(db, args, out, true)
}

fn rank(db: &Db, args: &mut Args<'_>, out: Out<'_>, reverse: bool) -> Result<Done> {
    let (key, member) = (args.key(), args.bytes());
    if args.left() > 1 {
        return Err(Error::wrong_arity(args.name()));
    }
    let with_score = args.accept("WITHSCORE");
    args.end()?;
    let set = db.get::<SortedSet>(key)?;
    let found = set.and_then(|set| {
        let (rank, score) = set.rank(member)?;
        Some((if reverse { set.len() - 1 - rank } else { rank }, score))
    });
    Ok(match found {
        Some((rank, score)) if with_score => {
            let mut items = out.array(2);
            items.int(rank as i64);
            items.double(score);
            items.end()
        }
        Some((rank, _)) => out.int(rank as i64),
        None if with_score => out.null_array(),
        None => out.null(),
    })
}

fn zrandmember(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let key = args.key();
    if args.is_done() {
        let set = db.get::<SortedSet>(key)?;
        let picked = set.and_then(|set| set.random(&mut *db.reader_rng()));
        return Ok(match picked {
            Some((item, _)) => item.with_bytes(|member| out.bulk(member)),
            None => out.null(),
        });
    }
    let count = args.int()?;
    if count == i64::MIN {
        return Err(Error::CountBelowMinimum);
    }
    let with_scores = args.accept("WITHSCORES");
    args.end()?;
    if with_scores && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(Error::OutOfRange);
    }
    let Some(set) = db.get::<SortedSet>(key)?.filter(|_| count != 0) else {
        return Ok(out.array(0).end());
    };
    let wanted = count.unsigned_abs() as usize;
    let mut rng = db.reader_rng();
    if count < 0 {
        let mut items = list_of(out, wanted, with_scores);
        for _ in 0..wanted {
            if let Some((item, score)) = set.random(&mut *rng) {
                entry(&mut items, item, score, with_scores);
            }
            if items.is_full() {
                break;
            }
        }
        return Ok(items.end());
    }
    let mut items = list_of(out, wanted.min(set.len()), with_scores);
    set.random_distinct(wanted, &mut *rng, |item, score| {
        entry(&mut items, item, score, with_scores);
    });
    Ok(items.end())
}

fn zscan(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let key = args.key();
    let cursor = super::scan_cursor(args.bytes())?;
    let Some(set) = db.get::<SortedSet>(key)? else {
        let mut items = out.array(2);
        items.text("0");
        items.array(0);
        return Ok(items.end());
    };
    // NOSCORES is Valkey's, from 8.0 on.
    let options = ScanOptions::parse(args, Some("NOSCORES"))?;
    let (mut page, mut text, mut entries) = (Vec::new(), Vec::new(), 0);
    // Redis: only a listpack keeps a score in its short form.
    let is_large = set.encoding() == "skiplist";
    let format = if is_large { format_17_digits } else { format_f64 };
    let next = set.scan(cursor, options.count, |member, score| {
        if options.matches(member) {
            push_bulk(&mut page, member);
            entries += 1;
            if !options.bare {
                text.clear();
                format(score, &mut text);
                push_bulk(&mut page, &text);
                entries += 1;
            }
        }
    });
    let mut nested = Vec::with_capacity(page.len() + 16);
    push_number(&mut nested, b'*', entries);
    nested.extend_from_slice(&page);
    let mut items = out.array(2);
    items.text(itoa::Buffer::new().format(next));
    items.raw(&nested);
    Ok(items.end())
}
