//! Lists: pushing, popping, reading and changing them, and moving elements between them. What
//! waits for an element is in `lists/waiting.rs`.

pub mod waiting;

use crate::command::{read, wait, write, Args, Family};
use crate::error::{Error, Result};
use crate::keyspace::db::Db;
use crate::keyspace::edit::Edit;
use crate::resp::out::{Done, Items, Out};
use crate::types::compact::Item;
use crate::types::list::{End, List};

/// The list commands.
pub const FAMILY: Family = Family {
    group: "list",
    rows: &[
        write("LPUSH key element [element ...]", lpush)
            .fast()
            .grows()
            .since("1.0.0")
            .about("Adds elements before the first one, creating the list if need be.")
            .cost("O(1) per element added."),
        write("RPUSH key element [element ...]", rpush)
            .fast()
            .grows()
            .since("1.0.0")
            .about("Adds elements after the last one, creating the list if need be.")
            .cost("O(1) per element added."),
        write("LPUSHX key element [element ...]", lpushx)
            .fast()
            .grows()
            .since("2.2.0")
            .about("Adds elements before the first one of a list that exists.")
            .cost("O(1) per element added."),
        write("RPUSHX key element [element ...]", rpushx)
            .fast()
            .grows()
            .since("2.2.0")
            .about("Adds elements after the last one of a list that exists.")
            .cost("O(1) per element added."),
        write("LPOP key [count]", lpop)
            .fast()
            .since("1.0.0")
            .about("Takes out and returns the first elements.")
            .cost("O(N) where N is the number of elements returned."),
        write("RPOP key [count]", rpop)
            .fast()
            .since("1.0.0")
            .about("Takes out and returns the last elements.")
            .cost("O(N) where N is the number of elements returned."),
        read("LLEN key", llen)
            .fast()
            .since("1.0.0")
            .about("Returns the number of elements.")
            .cost("O(1)"),
        read("LINDEX key index", lindex)
            .since("1.0.0")
            .about("Returns the element at an index.")
            .cost("O(N) where N is the number of nodes before it; O(1) for both ends."),
        write("LSET key index element", lset)
            .grows()
            .since("1.0.0")
            .about("Exchanges the element at an index.")
            .cost("O(N) where N is the number of nodes before it; O(1) for both ends."),
        write("LINSERT key <BEFORE | AFTER> pivot element", linsert)
            .grows()
            .since("2.2.0")
            .about("Puts an element beside the first one that equals the pivot.")
            .cost("O(N) where N is the number of elements before the pivot."),
        write("LREM key count element", lrem)
            .since("1.0.0")
            .about("Takes out elements that equal the given one.")
            .cost("O(N) where N is the length of the list."),
        write("LTRIM key start stop", ltrim)
            .since("1.0.0")
            .about("Takes out everything outside a range of indexes.")
            .cost("O(N) where N is the number of elements taken out."),
        read("LRANGE key start stop", lrange)
            .since("1.0.0")
            .about("Returns the elements in a range of indexes.")
            .cost("O(S+N) where S is the number of nodes before the range, N its length."),
        read("LPOS key element [RANK rank] [COUNT num-matches] [MAXLEN len]", lpos)
            .since("6.0.6")
            .about("Returns the indexes of elements that equal the given one.")
            .cost("O(N) where N is the number of elements looked at."),
        write("LMOVE source destination <LEFT | RIGHT> <LEFT | RIGHT>", lmove)
            .grows()
            .since("6.2.0")
            .about("Moves an element from an end of one list to an end of another.")
            .cost("O(1)"),
        write("RPOPLPUSH source destination", rpoplpush)
            .grows()
            .since("1.2.0")
            .about("Moves the last element of one list before the first of another.")
            .cost("O(1)"),
        write("LMPOP numkeys key [key ...] <LEFT | RIGHT> [COUNT count]", lmpop)
            .since("7.0.0")
            .about("Takes elements out of the first of several lists that has any.")
            .cost("O(N+M) where N is the number of keys, M the number of elements returned."),
        wait("BLPOP key [key ...] timeout", waiting::blpop)
            .since("2.0.0")
            .about("Takes out the first element of the first list that has one, or waits for it.")
            .cost("O(N) where N is the number of keys."),
        wait("BRPOP key [key ...] timeout", waiting::brpop)
            .since("2.0.0")
            .about("Takes out the last element of the first list that has one, or waits for it.")
            .cost("O(N) where N is the number of keys."),
        wait("BLMOVE source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout", waiting::blmove)
            .grows()
            .since("6.2.0")
            .about("Moves an element between two lists, or waits for it.")
            .cost("O(1)"),
        wait("BRPOPLPUSH source destination timeout", waiting::brpoplpush)
            .grows()
            .since("2.2.0")
            .about("Moves the last element of one list before the first of another, or waits.")
            .cost("O(1)"),
        wait("BLMPOP timeout numkeys key [key ...] <LEFT | RIGHT> [COUNT count]", waiting::blmpop)
            .since("7.0.0")
            .about("Takes elements out of the first of several lists that has any, or waits.")
            .cost("O(N+M) where N is the number of keys, M the number of elements returned."),
    ],
};

fn push_event(end: End) -> &'static str {
    match end {
        End::Left => "lpush",
        End::Right => "rpush",
    }
}

fn pop_event(end: End) -> &'static str {
    match end {
        End::Left => "lpop",
        End::Right => "rpop",
    }
}

/// `LEFT` or `RIGHT`.
fn end(args: &mut Args<'_>) -> Result<End> {
    match args.option().as_deref() {
        Some("LEFT") => Ok(End::Left),
        Some("RIGHT") => Ok(End::Right),
        _ => Err(Error::Syntax),
    }
}

fn write_item(items: &mut Items<'_>, item: Item<'_>) {
    match item {
        Item::Int(number) => items.bulk_int(number),
        Item::Bytes(bytes) => items.bulk(bytes),
    }
}

// ---- Pushing ----

fn lpush(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    push(db, args, out, End::Left, true)
}

fn rpush(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    push(db, args, out, End::Right, true)
}

fn lpushx(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    push(db, args, out, End::Left, false)
}

fn rpushx(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    push(db, args, out, End::Right, false)
}

fn push(db: &mut Db, args: &mut Args<'_>, out: Out<'_>, end: End, creates: bool) -> Result<Done> {
    let list = db.edit::<List>(args.key())?;
    if !creates && !list.exists() {
        return Ok(out.int(0));
    }
    let mut list = list.or_default();
    let elements = args.rest();
    let (value, limits, _) = list.parts();
    match elements {
        [element] => value.push(end, element, limits),
        elements => value.push_all(end, elements.iter().copied(), limits),
    }
    let len = value.len();
    list.changed_times(elements.len(), push_event(end));
    Ok(out.int(len as i64))
}

// ---- Popping ----

fn lpop(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    pop(db, args, out, End::Left)
}

fn rpop(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    pop(db, args, out, End::Right)
}

fn pop(db: &mut Db, args: &mut Args<'_>, out: Out<'_>, end: End) -> Result<Done> {
    let key = args.key();
    let count = match args.left() {
        0 => None,
        1 => Some(positive(args, Error::NotPositive)?),
        _ => return Err(Error::wrong_arity(args.name())),
    };
    let Some(mut list) = db.edit::<List>(key)?.existing() else {
        return Ok(if count.is_some() { out.null_array() } else { out.null() });
    };
    match count {
        Some(0) => Ok(out.array(0).end()),
        Some(count) => {
            let count = count.min(list.len());
            let mut items = out.array(count);
            take(&mut list, end, count, &mut items);
            Ok(items.end())
        }
        None => {
            let (value, limits, _) = list.parts();
            let done = value.pop(end, limits, |item| match item {
                Item::Int(number) => out.bulk_int(number),
                Item::Bytes(bytes) => out.bulk(bytes),
            });
            list.changed(pop_event(end));
            done.ok_or(Error::NoSuchKey)
        }
    }
}

/// Takes `count` elements, which are there, out of an end, and writes them.
fn take(list: &mut Edit<'_, List>, end: End, count: usize, items: &mut Items<'_>) {
    let (value, limits, _) = list.parts();
    let len = value.len();
    let (start, towards) = match end {
        End::Left => (0, End::Right),
        End::Right => (len.saturating_sub(1), End::Left),
    };
    value.range(start, towards, count).for_each(|item| write_item(items, item));
    let start = if end == End::Left { 0 } else { len - count };
    value.remove_range(start, count, limits);
    list.changed_times(count, pop_event(end));
}

/// The next word as an integer that is not negative.
fn positive(args: &mut Args<'_>, refusal: Error) -> Result<usize> {
    args.int().ok().and_then(|count| usize::try_from(count).ok()).ok_or(refusal)
}

/// What LMPOP and BLMPOP take from where.
struct Harvest<'a> {
    keys: &'a [&'a [u8]],
    end: End,
    count: usize,
}

impl<'a> Harvest<'a> {
    fn parse(args: &mut Args<'a>) -> Result<Harvest<'a>> {
        let at_least_one = |number: Result<i64>, refusal: &'static str| match number {
            Ok(number @ 1..) => Ok(number as usize),
            _ => Err(Error::of(refusal)),
        };
        let keys_len = at_least_one(args.int(), "ERR numkeys should be greater than 0")?;
        let keys = args.rest().get(..keys_len).ok_or(Error::Syntax)?;
        args.skip(keys_len);
        let end = end(args)?;
        let mut count = None;
        while let Some(option) = args.option() {
            if &*option != "COUNT" || count.is_some() || args.is_done() {
                return Err(Error::Syntax);
            }
            count = Some(at_least_one(args.int(), "ERR count should be greater than 0")?);
        }
        Ok(Harvest { keys, end, count: count.unwrap_or(1) })
    }

    /// Answers from the first list that has elements; gives `out` back when there is none.
    fn reap<'o>(&self, db: &mut Db, out: Out<'o>) -> Result<std::result::Result<Done, Out<'o>>> {
        for key in self.keys {
            let Some(mut list) = db.edit::<List>(key)?.existing() else { continue };
            let count = self.count.min(list.len());
            let mut items = out.array(2);
            items.bulk(key);
            items.array(count);
            take(&mut list, self.end, count, &mut items);
            list.replay_as(&[
                pop_name(self.end),
                key,
                itoa::Buffer::new().format(count).as_bytes(),
            ]);
            return Ok(Ok(items.end()));
        }
        Ok(Err(out))
    }
}

/// The command that pops at this end.
fn pop_name(end: End) -> &'static [u8] {
    match end {
        End::Left => b"LPOP",
        End::Right => b"RPOP",
    }
}

fn lmpop(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let harvest = Harvest::parse(args)?;
    Ok(harvest.reap(db, out)?.unwrap_or_else(Out::null_array))
}

// ---- Reading ----

fn llen(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let len = db.get::<List>(args.key())?.map_or(0, List::len);
    Ok(out.int(len as i64))
}

fn lindex(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let Some(list) = db.get::<List>(args.key())? else { return Ok(out.null()) };
    let index = args.int()?;
    match list.resolve(index).and_then(|index| list.get(index)) {
        Some(Item::Int(number)) => Ok(out.bulk_int(number)),
        Some(Item::Bytes(bytes)) => Ok(out.bulk(bytes)),
        None => Ok(out.null()),
    }
}

/// The range that `start` and `stop` name in a list of `len`, both inclusive, negative ones from
/// the end: its first index and its length, which is 0 when there is nothing in it.
fn span(start: i64, stop: i64, len: usize) -> (usize, usize) {
    let len = len as i64;
    let from_end = |index: i64| if index < 0 { index.saturating_add(len) } else { index };
    let (start, stop) = (from_end(start).max(0), from_end(stop).min(len - 1));
    if start > stop {
        return (0, 0);
    }
    (start as usize, (stop - start + 1) as usize)
}

fn lrange(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let key = args.key();
    let (start, stop) = (args.int()?, args.int()?);
    let Some(list) = db.get::<List>(key)? else { return Ok(out.array(0).end()) };
    let (start, count) = span(start, stop, list.len());
    let mut items = out.array(count);
    list.range(start, End::Right, count).for_each(|item| write_item(&mut items, item));
    Ok(items.end())
}

struct PositionOptions {
    rank: i64,
    count: Option<usize>,
    most: usize,
}

impl PositionOptions {
    fn parse(args: &mut Args<'_>) -> Result<PositionOptions> {
        let mut options = PositionOptions { rank: 1, count: None, most: usize::MAX };
        while let Some(option) = args.option() {
            if args.is_done() {
                return Err(Error::Syntax);
            }
            match &*option {
                "RANK" => options.rank = rank(args)?,
                "COUNT" => {
                    options.count = Some(positive(args, Error::of("ERR COUNT can't be negative"))?);
                }
                "MAXLEN" => {
                    let most = positive(args, Error::of("ERR MAXLEN can't be negative"))?;
                    options.most = if most == 0 { usize::MAX } else { most };
                }
                _ => return Err(Error::Syntax),
            }
        }
        Ok(options)
    }
}

fn rank(args: &mut Args<'_>) -> Result<i64> {
    match symmetric(args)? {
        0 => Err(Error::of(
            "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second \
             ... or use negative to start from the end of the list",
        )),
        rank => Ok(rank),
    }
}

/// The next word as an integer whose negation is one too.
fn symmetric(args: &mut Args<'_>) -> Result<i64> {
    match args.int()? {
        i64::MIN => Err(Error::of(format!(
            "ERR value is out of range, value must between {} and {}",
            -i64::MAX,
            i64::MAX
        ))),
        number => Ok(number),
    }
}

fn lpos(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let (key, element) = (args.key(), args.bytes());
    let options = PositionOptions::parse(args)?;
    let list = db.get::<List>(key)?;
    let from = if options.rank > 0 { End::Left } else { End::Right };
    let skipped = usize::try_from(options.rank.unsigned_abs() - 1).unwrap_or(usize::MAX);
    let found = list.into_iter().flat_map(|list| list.positions(element, from, options.most));
    let mut found = found.skip(skipped);
    let Some(count) = options.count else {
        return Ok(match found.next() {
            Some(index) => out.int(index as i64),
            None => out.null(),
        });
    };
    let mut items = out.array_of_unknown_len();
    for index in found.take(if count == 0 { usize::MAX } else { count }) {
        items.int(index as i64);
    }
    Ok(items.end())
}

// ---- Changing ----

fn lset(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let key = args.key();
    let mut list = db.edit::<List>(key)?.existing().ok_or(Error::NoSuchKey)?;
    let said = args.int()?;
    // Redis: the index is cut to 32 bits here, and only here.
    let index = said as i32 as i64;
    let element = args.bytes();
    let (value, limits, _) = list.parts();
    if !value.set(index, element, limits) {
        return Err(Error::IndexOutOfRange);
    }
    list.changed("lset");
    if index != said {
        // Redis: before 7.2 nothing was cut, and a replica may be older.
        list.replay_as(&[b"LSET", key, index.to_string().as_bytes(), element]);
    }
    Ok(out.ok())
}

fn linsert(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let key = args.key();
    let after = match args.option().as_deref() {
        Some("BEFORE") => false,
        Some("AFTER") => true,
        _ => return Err(Error::Syntax),
    };
    let (pivot, element) = (args.bytes(), args.bytes());
    let Some(mut list) = db.edit::<List>(key)?.existing() else { return Ok(out.int(0)) };
    let (value, limits, _) = list.parts();
    if !value.insert(pivot, after, element, limits) {
        return Ok(out.int(-1));
    }
    let len = list.changed("linsert").len();
    Ok(out.int(len as i64))
}

fn lrem(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let key = args.key();
    // Redis: before 7.2 any number was taken, and a primary may be older.
    let count = if db.obeys { args.int()? } else { symmetric(args)? };
    let element = args.bytes();
    let Some(mut list) = db.edit::<List>(key)?.existing() else { return Ok(out.int(0)) };
    let from = if count < 0 { End::Right } else { End::Left };
    let most = match count {
        0 => usize::MAX,
        count => usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX),
    };
    let (value, limits, _) = list.parts();
    let removed = value.remove(element, from, most, limits);
    if removed > 0 {
        list.changed_times(removed, "lrem");
    }
    Ok(out.int(removed as i64))
}

fn ltrim(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let key = args.key();
    let (start, stop) = (args.int()?, args.int()?);
    let Some(mut list) = db.edit::<List>(key)?.existing() else { return Ok(out.ok()) };
    let (start, count) = span(start, stop, list.len());
    let (value, limits, _) = list.parts();
    let removed = value.trim(start, count, limits);
    // Redis: the event and the signal to watchers come even when nothing went.
    list.changed_times(removed, "ltrim");
    Ok(out.ok())
}

// ---- Moving ----

fn lmove(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let (source, destination) = (args.key(), args.key());
    let (from, to) = (end(args)?, end(args)?);
    relocate(db, source, destination, from, to, out)
}

fn rpoplpush(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let (source, destination) = (args.key(), args.key());
    relocate(db, source, destination, End::Right, End::Left, out)
}

/// Moves one element and answers with it; null when there is none.
fn relocate(
    db: &mut Db,
    source: &[u8],
    destination: &[u8],
    from: End,
    to: End,
    out: Out<'_>,
) -> Result<Done> {
    let Some(mut list) = db.edit::<List>(source)?.existing() else { return Ok(out.null()) };
    if source == destination {
        let (value, limits, _) = list.parts();
        let element = value.rotate(from, to, limits).unwrap_or_default();
        list.changed_times(0, push_event(to));
        list.changed(pop_event(from));
        return Ok(out.bulk(&element));
    }
    list.db().peek::<List>(destination)?;
    let (value, limits, _) = list.parts();
    let element = value.pop(from, limits, |item| item.to_vec()).unwrap_or_default();
    let mut goal = list.db().edit::<List>(destination)?.or_default();
    let (value, limits, _) = goal.parts();
    value.push(to, &element, limits);
    goal.changed_times(0, push_event(to));
    drop(goal);
    list.changed(pop_event(from));
    Ok(out.bulk(&element))
}
