//! HyperLogLog commands. The values are strings; `types::hyperloglog` knows what is in them.

use crate::command::spec::{Begin, Find, KeySpec};
use crate::command::{flag, read, write, Args, Family, Row};
use crate::error::{Error, Result};
use crate::keyspace::db::{Db, Ttl};
use crate::keyspace::entry::NewValue;
use crate::keyspace::value::{StrRef, Value};
use crate::resp::out::{Done, Out};
use crate::types::hyperloglog::{Corrupted, HyperLogLog, Registers, Run, View, REGISTERS};

/// The family.
pub const FAMILY: Family = Family { group: "hyperloglog", rows: ROWS };

const ROWS: &[Row] = &[
    write("PFADD key [element [element ...]]", pfadd)
        .fast()
        .grows()
        .since("2.8.9")
        .cost("O(1) for every element")
        .about("Adds elements to a HyperLogLog, creating the key when absent."),
    write("PFCOUNT key [key ...]", pfcount)
        .reads()
        .flags(flag::MAY_REPLICATE)
        .since("2.8.9")
        .cost("O(1), O(N) for N keys")
        .about("Estimates how many different elements were added to HyperLogLogs."),
    write("PFDEBUG subcommand key", pfdebug)
        .grows()
        .admin()
        .since("2.8.9")
        .cost("O(N) where N is the number of registers")
        .keys(&[KEY_OF_PFDEBUG])
        .about("Shows the inside of a HyperLogLog."),
    write("PFMERGE destkey [sourcekey [sourcekey ...]]", pfmerge)
        .grows()
        .since("2.8.9")
        .cost("O(N) where N is the number of keys")
        .keys(&[DESTINATION, SOURCES])
        .about("Merges HyperLogLogs into one."),
    read("PFSELFTEST", pfselftest)
        .touches_nothing()
        .admin()
        .since("2.8.9")
        .cost("O(1)")
        .about("Checks registers and estimates of HyperLogLogs."),
];

const fn key_range(first: usize, last: i32, access: &'static [&'static str]) -> KeySpec {
    KeySpec { begin: Begin::Index(first), find: Find::Range { last, step: 1, limit: 0 }, access }
}

const KEY_OF_PFDEBUG: KeySpec = key_range(2, 0, &["RW", "ACCESS"]);
const DESTINATION: KeySpec = key_range(1, 0, &["RW", "ACCESS", "INSERT"]);
const SOURCES: KeySpec = key_range(2, -1, &["RO", "ACCESS"]);

impl From<Corrupted> for Error {
    fn from(_: Corrupted) -> Error {
        Error::CorruptedHyperLogLog
    }
}

/// The HyperLogLog in a string.
fn view(text: StrRef<'_>) -> Result<View<'_>> {
    match text {
        StrRef::Bytes(bytes) => View::new(bytes).ok_or(Error::NoHyperLogLog),
        StrRef::Text(text) => View::new(text).ok_or(Error::NoHyperLogLog),
        StrRef::Int(_) => Err(Error::NoHyperLogLog),
    }
}

/// Takes the HyperLogLog at a key out to be changed; it must be put back.
fn take(db: &mut Db, key: &[u8]) -> Result<Option<HyperLogLog>> {
    let Some(text) = db.peek_string(key)? else { return Ok(None) };
    view(text)?;
    let text = db.take_string(key)?.unwrap_or_default();
    Ok(HyperLogLog::from_text(text).ok())
}

fn put(db: &mut Db, key: &[u8], value: HyperLogLog) {
    db.put(key, NewValue::Owned(Value::Str(value.into_text())), Ttl::Keep, "pfadd");
}

fn pfadd(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let key = args.key();
    let taken = take(db, key)?;
    let mut changed = taken.is_none();
    let mut value = taken.unwrap_or_default();
    if changed {
        value.invalidate();
    }
    let mut failed = false;
    for element in args.rest() {
        match value.add(element, &db.limits) {
            Ok(raised) => changed |= raised,
            Err(Corrupted) => {
                failed = true;
                break;
            }
        }
    }
    match changed {
        true => put(db, key, value),
        false => db.return_string(key, value.into_text()),
    }
    if failed {
        return Err(Error::CorruptedHyperLogLog);
    }
    Ok(out.yes_no(changed))
}

fn pfcount(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    if let [key] = args.rest() {
        return pfcount_one(db, key, out);
    }
    let mut union = Registers::default();
    for key in args.rest() {
        if let Some(text) = db.string(key)? {
            view(text)?.merge_into(&mut union)?;
        }
    }
    Ok(out.int(union.count() as i64))
}

/// Counts one HyperLogLog and keeps the count in its header, which is a change of the value.
fn pfcount_one(db: &mut Db, key: &[u8], out: Out<'_>) -> Result<Done> {
    let Some(text) = db.string(key)? else { return Ok(out.int(0)) };
    let view = view(text)?;
    if let Some(count) = view.cached_count() {
        return Ok(out.int(count as i64));
    }
    let count = view.count()?;
    if let Some(mut value) = take(db, key)? {
        value.cache_count(count);
        db.put_quietly(key, value.into_text());
    }
    Ok(out.int(count as i64))
}

fn pfmerge(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let mut union = Registers::default();
    let mut any_dense = false;
    for key in args.rest() {
        if let Some(text) = db.string(key)? {
            let view = view(text)?;
            any_dense |= view.is_dense();
            view.merge_into(&mut union)?;
        }
    }
    let key = args.key();
    let mut value = take(db, key)?.unwrap_or_default();
    if any_dense {
        value.make_dense()?;
    }
    value.raise_all(&union, &db.limits)?;
    put(db, key, value);
    Ok(out.ok())
}

fn pfdebug(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let (word, key) = (args.bytes(), args.key());
    let text = db.peek_string(key)?.ok_or(Error::NoSpecifiedKey)?;
    let view = view(text)?;
    match &*crate::command::args::Word::of(word) {
        "GETREG" => {
            make_dense(db, key)?;
            let mut registers = Registers::default();
            if let Some(text) = db.peek_string(key)? {
                self::view(text)?.merge_into(&mut registers)?;
            }
            let mut items = out.array(REGISTERS);
            registers.values().iter().for_each(|&value| items.int(i64::from(value)));
            Ok(items.end())
        }
        "DECODE" if view.is_dense() => Err(Error::NotSparse),
        "DECODE" => {
            let shown: Vec<String> = view.runs().map(shown_run).collect();
            Ok(out.bulk(shown.join(" ").as_bytes()))
        }
        "ENCODING" => Ok(out.simple(if view.is_dense() { "dense" } else { "sparse" })),
        "TODENSE" => Ok(out.yes_no(make_dense(db, key)?)),
        _ => Err(Error::showing("ERR Unknown PFDEBUG subcommand '{}'", &[word])),
    }
}

fn shown_run(run: Run) -> String {
    match run {
        Run::Zero(registers) => format!("z:{registers}"),
        Run::ManyZero(registers) => format!("Z:{registers}"),
        Run::Value(value, registers) => format!("v:{value},{registers}"),
    }
}

/// Converts the HyperLogLog at a key; false if it was dense.
fn make_dense(db: &mut Db, key: &[u8]) -> Result<bool> {
    let Some(mut value) = take(db, key)? else { return Ok(false) };
    match value.make_dense() {
        Ok(true) => db.put_quietly(key, value.into_text()),
        unchanged => {
            db.return_string(key, value.into_text());
            return Ok(unchanged?);
        }
    }
    Ok(true)
}

/// Registers keep what is put into them, sparse and dense agree, and estimates are near.
fn pfselftest(db: &Db, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    /// Each is ten times the one before.
    const CHECKPOINTS: u32 = 6;
    let failed = |what: String| Err(Error::of(format!("TESTFAILED {what}")));
    let (mut sparse, mut dense) = (HyperLogLog::new(), HyperLogLog::new());
    dense.make_dense()?;
    let seed = db.now_ms() as u64;
    let mut checkpoint = 1u64;
    for number in 1..10u64.pow(CHECKPOINTS - 1) + 1 {
        let element = (number ^ seed).to_le_bytes();
        sparse.add(&element, &db.limits)?;
        dense.add(&element, &db.limits)?;
        if number != checkpoint {
            continue;
        }
        let (mut left, mut right) = (Registers::default(), Registers::default());
        sparse.view().merge_into(&mut left)?;
        dense.view().merge_into(&mut right)?;
        let count = dense.view().count()?;
        if left.values() != right.values() || count != sparse.view().count()? {
            return failed("dense/sparse disagree".into());
        }
        let small = number < db.limits.hll_sparse_max_bytes as u64 / 2;
        if small && sparse.view().is_dense() {
            return failed("sparse encoding not used".into());
        }
        let error = count.abs_diff(checkpoint);
        // Six standard errors; at 10 a single collision is possible.
        let most = if checkpoint == 10 { 1.0 } else { (0.04875 * checkpoint as f64).ceil() };
        if error as f64 > most {
            return failed(format!("Too big error. card:{checkpoint} abserr:{error}"));
        }
        checkpoint *= 10;
    }
    Ok(out.ok())
}
