//! String commands. The table is the contract; the functions below it appear in the same order.

use crate::command::{read, write, Args, Family, Row};
use crate::error::{Error, Result};
use crate::keyspace::db::{Db, FreedLater, Ttl};
use crate::keyspace::entry::NewValue;
use crate::keyspace::value::{StrRef, Value};
use crate::process::total_memory_bytes;
use crate::resp::out::{Done, Out};
use crate::types::number::{parse_i64, Extended};
use crate::types::text::Text;

/// The family.
pub const FAMILY: Family = Family { group: "string", rows: ROWS };

const ROWS: &[Row] = &[
    write("APPEND key value", append)
        .fast()
        .grows()
        .since("2.0.0")
        .cost("O(1) amortized")
        .about("Adds a value to the end of a string, creating the key when absent."),
    write("DECR key", decr)
        .fast()
        .grows()
        .since("1.0.0")
        .cost("O(1)")
        .about("Decrements the integer at a key by one."),
    write("DECRBY key decrement", decrby)
        .fast()
        .grows()
        .since("1.0.0")
        .cost("O(1)")
        .about("Decrements the integer at a key."),
    read("GET key", get)
        .fast()
        .since("1.0.0")
        .cost("O(1)")
        .about("Replies with the string at a key, or null."),
    write("GETDEL key", getdel)
        .fast()
        .since("6.2.0")
        .cost("O(1)")
        .about("Replies with the string at a key and deletes the key."),
    write(
        "GETEX key [EX seconds | PX milliseconds | EXAT unix-time-seconds | \
           PXAT unix-time-milliseconds | PERSIST]",
        getex,
    )
    .fast()
    .since("6.2.0")
    .cost("O(1)")
    .about("Replies with the string at a key and sets or clears its expiry."),
    read("GETRANGE key start end", getrange)
        .since("2.4.0")
        .cost("O(N) where N is the length of the reply")
        .about("Replies with a part of the string at a key."),
    write("GETSET key value", getset)
        .fast()
        .grows()
        .since("1.0.0")
        .cost("O(1)")
        .about("Stores a string and replies with the one that was there."),
    write("INCR key", incr)
        .fast()
        .grows()
        .since("1.0.0")
        .cost("O(1)")
        .about("Increments the integer at a key by one."),
    write("INCRBY key increment", incrby)
        .fast()
        .grows()
        .since("1.0.0")
        .cost("O(1)")
        .about("Increments the integer at a key."),
    write("INCRBYFLOAT key increment", incrbyfloat)
        .fast()
        .grows()
        .since("2.6.0")
        .cost("O(1)")
        .about("Increments the decimal number at a key."),
    read("LCS key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]", super::lcs::lcs)
        .since("7.0.0")
        .cost("O(N*M) where N and M are the lengths of the strings")
        .about("Finds the longest common subsequence of two strings."),
    read("MGET key [key ...]", mget)
        .fast()
        .route("multi_shard", "")
        .since("1.0.0")
        .cost("O(N) where N is the number of keys")
        .about("Replies with the strings at several keys."),
    write("MSET key value [key value ...]", mset)
        .grows()
        .route("multi_shard", "all_succeeded")
        .since("1.0.1")
        .cost("O(N) where N is the number of keys")
        .about("Stores strings at several keys."),
    write("MSETNX key value [key value ...]", msetnx)
        .grows()
        .since("1.0.1")
        .cost("O(N) where N is the number of keys")
        .about("Stores strings at several keys, if none of them is there."),
    write("PSETEX key milliseconds value", psetex)
        .grows()
        .since("2.6.0")
        .cost("O(1)")
        .about("Stores a string that expires after milliseconds."),
    write(
        "SET key value [NX | XX] [GET] [EX seconds | PX milliseconds | \
           EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]",
        set,
    )
    .grows()
    .since("1.0.0")
    .cost("O(1)")
    .about("Stores a string at a key, replacing whatever was there."),
    write("SETEX key seconds value", setex)
        .grows()
        .since("2.0.0")
        .cost("O(1)")
        .about("Stores a string that expires after seconds."),
    write("SETNX key value", setnx)
        .fast()
        .grows()
        .since("1.0.0")
        .cost("O(1)")
        .about("Stores a string at a key that is not there."),
    write("SETRANGE key offset value", setrange)
        .grows()
        .since("2.2.0")
        .cost("O(1), plus the length of the value")
        .about("Overwrites a part of the string at a key, padding with zero bytes."),
    read("STRLEN key", strlen)
        .fast()
        .since("2.2.0")
        .cost("O(1)")
        .about("Replies with the length of the string at a key."),
    read("SUBSTR key start end", getrange)
        .since("1.0.0")
        .cost("O(N) where N is the length of the reply")
        .about("Replies with a part of the string at a key; GETRANGE's old name."),
];

fn check_length(db: &Db, bytes: usize) -> Result<()> {
    match may_reach(db, bytes as u64) {
        true => Ok(()),
        false => Err(Error::StringTooLong),
    }
}

/// Whether a string may become so long. What has happened elsewhere is bound by no limit, but what
/// this machine cannot hold at all must not be tried: a damaged file may say anything.
pub(super) fn may_reach(db: &Db, bytes: u64) -> bool {
    let fits_machine = || match total_memory_bytes() {
        0 => bytes <= 1 << 40,
        most => bytes <= most,
    };
    bytes <= db.string_bytes_max as u64 || (db.obeys && fits_machine())
}

/// Lets `change` edit the bytes at a key, in place when they have a buffer of their own.
pub(super) fn edit_bytes<R>(
    db: &mut Db,
    key: &[u8],
    event: &'static str,
    change: impl FnOnce(&mut Text) -> R,
) -> Result<R> {
    let mut text = db.take_string(key)?.unwrap_or_default();
    let result = change(&mut text);
    db.put(key, NewValue::Owned(Value::Str(text)), Ttl::Keep, event);
    Ok(result)
}

fn append(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let (key, value) = (args.key(), args.bytes());
    let Some(length) = db.peek_string(key)?.map(|text| text.len()) else {
        db.put_string(key, value, Ttl::Clear, "append");
        return Ok(out.int(value.len() as i64));
    };
    check_length(db, length + value.len())?;
    let length = edit_bytes(db, key, "append", |text| {
        text.push(value);
        text.len()
    })?;
    Ok(out.int(length as i64))
}

fn decr(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    increment(db, args.key(), -1, out)
}

fn decrby(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let key = args.key();
    let decrement = args.int()?;
    increment(db, key, decrement.checked_neg().ok_or(Error::DecrementOverflow)?, out)
}

fn increment(db: &mut Db, key: &[u8], by: i64, out: Out<'_>) -> Result<Done> {
    let old = match db.peek_string(key)? {
        Some(text) => text.as_int().ok_or(Error::NotInteger)?,
        None => 0,
    };
    let new = old.checked_add(by).ok_or(Error::Overflow)?;
    db.put(key, NewValue::Int(new), Ttl::Keep, "incrby");
    Ok(out.int(new))
}

fn get(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    Ok(match db.string(args.key())? {
        Some(text) => text.bulk(out),
        None => out.null(),
    })
}

fn getdel(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let key = args.key();
    let Some(text) = db.string(key)? else { return Ok(out.null()) };
    let done = text.bulk(out);
    db.remove(key, "del");
    db.replay_as(&[&b"DEL"[..], key]);
    Ok(done)
}

fn getex(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let key = args.key();
    let options = SetOptions::read(db, args, &["PERSIST"]);
    if matches!(options, Err(Error::Syntax)) {
        return Err(Error::Syntax);
    }
    // Redis: only of a key that is there does it look at the number behind the option.
    let Some(text) = db.string(key)? else { return Ok(out.null()) };
    let options = options?;
    let done = text.bulk(out);
    match options.ttl {
        Some(Ttl::At(at)) if at <= db.now_ms() => {
            db.remove(key, "del");
            db.replay_as(&[FreedLater::removal(db.freed_later.expired), key]);
        }
        Some(Ttl::At(at)) => {
            db.set_deadline(key, Some(at), "expire");
            let at = at.to_string();
            db.replay_as(&[&b"PEXPIREAT"[..], key, at.as_bytes()]);
        }
        Some(Ttl::Clear) if db.look(key).is_some_and(|entry| entry.deadline_ms().is_some()) => {
            db.set_deadline(key, None, "persist");
            db.replay_as(&[&b"PERSIST"[..], key]);
        }
        _ => {}
    }
    Ok(done)
}

fn getrange(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let key = args.key();
    let (start, end) = (args.int()?, args.int()?);
    let Some(text) = db.string(key)? else { return Ok(out.bulk(b"")) };
    Ok(match text {
        StrRef::Text(text) => {
            let part = slice(text, start, end);
            // What is lent keeps all of the string, and counts as this part alone.
            match 2 * part.len() >= text.len() {
                true => out.bulk_or_lent(part, || text.lend().slice_ref(part)),
                false => out.bulk(part),
            }
        }
        short => short.with_bytes(|bytes| out.bulk(slice(bytes, start, end))),
    })
}

/// The part from `start` to `end`, both included and counted from the end when negative.
fn slice(bytes: &[u8], start: i64, end: i64) -> &[u8] {
    let len = bytes.len() as i64;
    if start < 0 && end < 0 && start > end {
        return &[];
    }
    let from_end = |index: i64| if index < 0 { (len + index).max(0) } else { index };
    let (start, end) = (from_end(start), from_end(end).min(len - 1));
    if start > end || len == 0 {
        return &[];
    }
    &bytes[start as usize..=end as usize]
}

fn getset(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let (key, value) = (args.key(), args.bytes());
    let done = match db.string(key)? {
        Some(text) => text.bulk(out),
        None => out.null(),
    };
    db.put_string(key, value, Ttl::Clear, "set");
    db.replay_as(&[&b"SET"[..], key, value]);
    Ok(done)
}

fn incr(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    increment(db, args.key(), 1, out)
}

fn incrby(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let key = args.key();
    let by = args.int()?;
    increment(db, key, by, out)
}

fn incrbyfloat(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let (key, by) = (args.key(), args.bytes());
    let old = db.peek_string(key)?.map_or_else(|| b"0".to_vec(), |text| text.to_vec());
    let old = Extended::parse(&old).ok_or(Error::NotFloat)?;
    let by = Extended::parse(by).ok_or(Error::NotFloat)?;
    let sum = old.plus(by).filter(Extended::is_finite).ok_or(Error::NanOrInfinity)?;
    let mut text = Vec::new();
    sum.write_to(&mut text);
    db.put(key, NewValue::Bytes(&text), Ttl::Keep, "incrbyfloat");
    db.replay_as(&[&b"SET"[..], key, &text, b"KEEPTTL"]);
    Ok(out.bulk(&text))
}

fn mget(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let mut items = out.array(args.left());
    for key in args.rest() {
        match db.string(key) {
            Ok(Some(text)) => text.bulk_item(&mut items),
            _ => items.null(),
        }
    }
    Ok(items.end())
}

fn pairs<'a>(args: &Args<'a>) -> Result<impl Iterator<Item = (&'a [u8], &'a [u8])>> {
    if !args.left().is_multiple_of(2) {
        return Err(Error::wrong_arity(args.name()));
    }
    Ok(args.rest().chunks_exact(2).map(|pair| (pair[0], pair[1])))
}

fn mset(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    for (key, value) in pairs(args)? {
        db.put_string(key, value, Ttl::Clear, "set");
    }
    Ok(out.ok())
}

fn msetnx(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    if pairs(args)?.any(|(key, _)| db.contains(key)) {
        return Ok(out.int(0));
    }
    for (key, value) in pairs(args)? {
        db.put_string(key, value, Ttl::Clear, "set");
    }
    Ok(out.int(1))
}

fn psetex(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    set_with_expire(db, args, out, 1)
}

/// What the options of SET and GETEX say.
#[derive(Default)]
struct SetOptions {
    when: Option<bool>,
    wants_old: bool,
    ttl: Option<Ttl>,
}

impl SetOptions {
    /// Reads options up to the end; `extra` are those beside the expiry that the command knows.
    // Redis: an option may stand twice if it is the same; a second, different choice is refused.
    fn read(db: &Db, args: &mut Args<'_>, extra: &[&str]) -> Result<SetOptions> {
        let mut options = SetOptions::default();
        let mut ttl_word: Option<String> = None;
        let mut expiry: Option<(i64, &[u8])> = None;
        while let Some(word) = args.option() {
            match &*word {
                "NX" | "XX" if extra.contains(&"NX") => {
                    let present = &*word == "XX";
                    if options.when.is_some_and(|chosen| chosen != present) {
                        return Err(Error::Syntax);
                    }
                    options.when = Some(present);
                    continue;
                }
                "GET" if extra.contains(&"GET") => {
                    options.wants_old = true;
                    continue;
                }
                "KEEPTTL" if extra.contains(&"KEEPTTL") => options.ttl = Some(Ttl::Keep),
                "PERSIST" if extra.contains(&"PERSIST") => options.ttl = Some(Ttl::Clear),
                "EX" | "PX" | "EXAT" | "PXAT" => {
                    let unit_ms = if word.starts_with('E') { 1000 } else { 1 };
                    expiry = Some((unit_ms, args.required()?));
                }
                _ => return Err(Error::Syntax),
            }
            if ttl_word.as_ref().is_some_and(|before| *before != *word) {
                return Err(Error::Syntax);
            }
            ttl_word = Some(word.to_string());
        }
        if let Some((unit_ms, number)) = expiry {
            let number = parse_i64(number).ok_or(Error::NotInteger)?;
            let relative = ttl_word.is_some_and(|word| !word.ends_with("AT"));
            options.ttl = Some(Ttl::At(expiry_ms(db, number, unit_ms, relative, args.name())?));
        }
        Ok(options)
    }
}

/// A moment in Unix milliseconds, from a positive number in the unit of an option.
fn expiry_ms(db: &Db, number: i64, unit_ms: i64, relative: bool, name: &str) -> Result<i64> {
    let invalid = || Error::invalid_expire(name);
    if number <= 0 {
        return Err(invalid());
    }
    let base_ms = if relative { db.wall_ms() } else { 0 };
    number.checked_mul(unit_ms).and_then(|ms| ms.checked_add(base_ms)).ok_or_else(invalid)
}

fn set(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let (key, value) = (args.key(), args.bytes());
    if args.is_done() {
        db.put_string(key, value, Ttl::Clear, "set");
        return Ok(out.ok());
    }
    let options = SetOptions::read(db, args, &["NX", "GET", "KEEPTTL"])?;
    let old = if options.wants_old { db.string(key)?.map(|text| text.to_vec()) } else { None };
    let stored = options.when.is_none_or(|present| db.contains(key) == present);
    if stored {
        let ttl = options.ttl.unwrap_or_default();
        store_with_ttl(db, key, value, ttl);
        if options.wants_old && !matches!(ttl, Ttl::At(_)) {
            // Redis: who replays it wants no answer.
            let is_told = |word: &&[u8]| !word.eq_ignore_ascii_case(b"GET");
            let (head, options) = args.all().split_at(3);
            let told = head.iter().copied().chain(options.iter().copied().filter(is_told));
            db.replay_as(&told.collect::<Vec<_>>());
        }
    }
    Ok(match (options.wants_old, stored) {
        (true, _) => out.bulk_or_null(old.as_deref()),
        (_, true) => out.ok(),
        (_, false) => out.null(),
    })
}

fn store_with_ttl(db: &mut Db, key: &[u8], value: &[u8], ttl: Ttl) {
    match ttl {
        // Redis: a moment that has passed is stored too, and the key expires at once.
        Ttl::At(at) => {
            db.put_string(key, value, ttl, "set");
            db.raise(key, crate::keyspace::effects::Class::Generic, "expire");
            let at = at.to_string();
            db.replay_as(&[&b"SET"[..], key, value, b"PXAT", at.as_bytes()]);
        }
        _ => db.put_string(key, value, ttl, "set"),
    }
}

fn setex(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    set_with_expire(db, args, out, 1000)
}

fn set_with_expire(db: &mut Db, args: &mut Args<'_>, out: Out<'_>, unit: i64) -> Result<Done> {
    let key = args.key();
    let number = args.int()?;
    let at = expiry_ms(db, number, unit, true, args.name())?;
    store_with_ttl(db, key, args.bytes(), Ttl::At(at));
    Ok(out.ok())
}

fn setnx(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let (key, value) = (args.key(), args.bytes());
    let absent = !db.contains(key);
    if absent {
        db.put_string(key, value, Ttl::Clear, "set");
    }
    Ok(out.yes_no(absent))
}

fn setrange(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let key = args.key();
    let offset = args.int()?;
    let value = args.bytes();
    let offset = usize::try_from(offset).map_err(|_| Error::OffsetOutOfRange)?;
    let length = db.peek_string(key)?.map(|text| text.len());
    if value.is_empty() {
        return Ok(out.int(length.unwrap_or(0) as i64));
    }
    check_length(db, offset.checked_add(value.len()).ok_or(Error::StringTooLong)?)?;
    let length = edit_bytes(db, key, "setrange", |text| {
        text.put(offset, value);
        text.len()
    })?;
    Ok(out.int(length as i64))
}

fn strlen(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    Ok(out.int(db.string(args.key())?.map_or(0, |text| text.len()) as i64))
}

#[cfg(test)]
mod tests {
    use super::may_reach;
    use crate::keyspace::db::Db;
    use crate::types::limits::Limits;

    #[test]
    fn no_string_outgrows_the_machine() {
        let mut db = Db::new(1, Limits::default(), 1);
        let most = db.string_bytes_max as u64;
        assert_eq!([most, most + 1].map(|bytes| may_reach(&db, bytes)), [true, false]);
        db.obeys = true;
        let reached = [most, most + 1, 1 << 60, u64::MAX].map(|bytes| may_reach(&db, bytes));
        assert_eq!(reached, [true, true, false, false]);
    }
}
