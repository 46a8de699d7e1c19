//! Deadlines of hash fields: the HEXPIRE family, HGETEX, HSETEX, and HGETDEL, which reads its
//! fields in the same way. Their rows stand in `hashes`.

use crate::command::Args;
use crate::error::{Error, Result};
use crate::keyspace::db::Db;
use crate::keyspace::edit::Edit;
use crate::keyspace::effects::Class;
use crate::resp::out::{Done, Out};
use crate::types::hash::{Deadline, Hash};
use crate::types::number::parse_i64;

/// The last millisecond that a field's deadline can be. // Redis: 46 bits.
const DEADLINE_MAX_MS: i64 = (1 << 46) - 1;

/// How a time is given.
#[derive(Clone, Copy)]
struct Form {
    /// Milliseconds in its unit.
    unit_ms: i64,
    /// From now on, or since 1970.
    relative: bool,
}

const SECONDS: Form = Form { unit_ms: 1000, relative: true };
const MILLISECONDS: Form = Form { unit_ms: 1, relative: true };
const AT_SECONDS: Form = Form { unit_ms: 1000, relative: false };
const AT_MILLISECONDS: Form = Form { unit_ms: 1, relative: false };

impl Form {
    fn of(word: &str) -> Option<Form> {
        Some(match word {
            "EX" => SECONDS,
            "PX" => MILLISECONDS,
            "EXAT" => AT_SECONDS,
            "PXAT" => AT_MILLISECONDS,
            _ => return None,
        })
    }

    /// The next word as a deadline in Unix milliseconds.
    fn deadline(self, args: &mut Args<'_>, wall_ms: i64) -> Result<i64> {
        let time = args.int()?;
        if time < 0 {
            return Err(Error::NegativeExpire);
        }
        let base_ms = if self.relative { wall_ms } else { 0 };
        time.checked_mul(self.unit_ms)
            .and_then(|time_ms| time_ms.checked_add(base_ms))
            .filter(|&at| at <= DEADLINE_MAX_MS)
            .ok_or_else(|| Error::invalid_expire(args.name()))
    }
}

/// The words behind FIELDS: their number, which must be right, and themselves.
fn fields<'a>(args: &mut Args<'a>, not_positive: Error) -> Result<&'a [&'a [u8]]> {
    if !args.accept("FIELDS") {
        return Err(Error::FieldsMissing);
    }
    let count = parse_i64(args.bytes()).filter(|count| *count > 0).ok_or(not_positive)?;
    if args.left() as i64 != count {
        return Err(Error::FieldsMismatch);
    }
    Ok(args.rest())
}

/// Opens the hash for change; a key of another type is refused before anything else.
fn open<'a>(db: &'a mut Db, key: &'a [u8]) -> Result<Option<Edit<'a, Hash>>> {
    Ok(db.edit::<Hash>(key)?.existing())
}

/// Every field's answer is the same: there is no such key.
fn all_of(fields: &[&[u8]], answer: i64, out: Out<'_>) -> Done {
    let mut items = out.array(fields.len());
    fields.iter().for_each(|_| items.int(answer));
    items.end()
}

pub(super) fn hexpire(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    expire(db, args, out, SECONDS)
}

pub(super) fn hpexpire(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    expire(db, args, out, MILLISECONDS)
}

pub(super) fn hexpireat(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    expire(db, args, out, AT_SECONDS)
}

pub(super) fn hpexpireat(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    expire(db, args, out, AT_MILLISECONDS)
}

fn expire(db: &mut Db, args: &mut Args<'_>, out: Out<'_>, form: Form) -> Result<Done> {
    let (key, now_ms) = (args.key(), db.now_ms());
    db.peek_hash(key)?;
    let at = form.deadline(args, db.wall_ms())?;
    let words = args.rest();
    let rules = ["NX", "XX", "GT", "LT"];
    let rule = rules.into_iter().find(|rule| args.accept(rule)).unwrap_or("");
    let fields = fields(args, Error::NumFieldsNotPositive)?;
    let Some(mut hash) = open(db, key)? else { return Ok(all_of(fields, -2, out)) };
    hash.drop_gone(fields.iter().copied());
    hash.keep_deadlines();
    let mut changes = Changes::default();
    let mut items = out.array(fields.len());
    for field in fields {
        let Some(before) = hash.view().deadline(field, now_ms) else {
            items.int(-2);
            continue;
        };
        let allowed = match rule {
            "NX" => before.is_none(),
            "XX" => before.is_some(),
            "GT" => before.is_some_and(|before| at > before),
            "LT" => before.is_none_or(|before| at < before),
            _ => true,
        };
        items.int(if !allowed {
            0
        } else if changes.put(&mut hash, field, Some(at), now_ms) {
            2
        } else {
            1
        });
    }
    changes.settle(&mut hash);
    if !changes.moved.is_empty() && hash.db().is_logged() {
        let is_absolute = !form.relative && form.unit_ms == 1;
        let name = if is_absolute { args.all()[0] } else { b"HPEXPIREAT" };
        let (at, count) = (at.to_string(), changes.moved.len().to_string());
        // The condition and FIELDS; only the fields that have moved, not those of the request.
        let words = &words[..words.len() - fields.len() - 1];
        let head = [name, key, at.as_bytes()];
        let form = [&head, words, &[count.as_bytes()], &changes.moved[..]].concat();
        hash.replay_as(&form);
    }
    Ok(items.end())
}

/// What a command has done to deadlines, to be told in one event each.
#[derive(Default)]
struct Changes<'a> {
    removed: Vec<&'a [u8]>,
    moved: Vec<&'a [u8]>,
    persisted: usize,
}

impl<'a> Changes<'a> {
    /// Sets or clears the deadline of a field that is there; true when the field went at once.
    fn put(
        &mut self,
        hash: &mut Edit<'_, Hash>,
        field: &'a [u8],
        at: Option<i64>,
        now_ms: i64,
    ) -> bool {
        match at {
            Some(at) if at <= now_ms && !hash.db().keeps_expired => {
                hash.remove(field, now_ms);
                self.removed.push(field);
                return true;
            }
            Some(at) => {
                hash.set_deadline(field, Some(at), now_ms);
                self.moved.push(field);
            }
            None => {
                hash.set_deadline(field, None, now_ms);
                self.persisted += 1;
            }
        }
        false
    }

    /// Raises the events, and tells the log of the fields that went at once. For all others it
    /// gets the command as it came, unless its handler says more.
    fn settle(&self, hash: &mut Edit<'_, Hash>) {
        let events = [
            (self.moved.len(), "hexpire"),
            (self.removed.len(), "hdel"),
            (self.persisted, "hpersist"),
        ];
        for (fields, event) in events {
            if fields > 0 {
                hash.changed_times(fields, event);
            }
        }
        // Redis: one by one.
        for field in &self.removed {
            let key = hash.key();
            hash.replay_as(&[b"HDEL", key, field]);
        }
    }
}

pub(super) fn hpersist(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let (key, now_ms) = (args.key(), db.now_ms());
    db.peek_hash(key)?;
    let fields = fields(args, Error::FieldsNotPositive)?;
    let Some(mut hash) = open(db, key)? else { return Ok(all_of(fields, -2, out)) };
    hash.drop_gone(fields.iter().copied());
    let mut changes = Changes::default();
    let mut items = out.array(fields.len());
    for field in fields {
        items.int(match hash.view().deadline(field, now_ms) {
            None => -2,
            Some(None) => -1,
            Some(Some(_)) => {
                changes.put(&mut hash, field, None, now_ms);
                1
            }
        });
    }
    changes.settle(&mut hash);
    Ok(items.end())
}

pub(super) fn httl(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    times(db, args, out, |at, now_ms| (at - now_ms + 999) / 1000)
}

pub(super) fn hpttl(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    times(db, args, out, |at, now_ms| at - now_ms)
}

pub(super) fn hexpiretime(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    times(db, args, out, |at, _| (at + 999) / 1000)
}

pub(super) fn hpexpiretime(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    times(db, args, out, |at, _| at)
}

fn times(db: &Db, args: &mut Args<'_>, out: Out<'_>, answer: fn(i64, i64) -> i64) -> Result<Done> {
    let (hash, now_ms) = (db.hash_at(args.key())?, db.now_ms());
    let fields = fields(args, Error::FieldsNotPositive)?;
    let Some(hash) = hash else { return Ok(all_of(fields, -2, out)) };
    let mut items = out.array(fields.len());
    for field in fields {
        items.int(match hash.deadline(field, now_ms) {
            None => -2,
            Some(None) => -1,
            Some(Some(at)) => answer(at, now_ms),
        });
    }
    Ok(items.end())
}

pub(super) fn hgetdel(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let (key, now_ms) = (args.key(), db.now_ms());
    db.peek_hash(key)?;
    let fields = fields(args, Error::FieldsNotPositive)?;
    let mut items = out.array(fields.len());
    let Some(mut hash) = open(db, key)? else {
        fields.iter().for_each(|_| items.null());
        return Ok(items.end());
    };
    hash.drop_gone(fields.iter().copied());
    let mut removed = 0;
    for &field in fields {
        match hash.view().get(field, now_ms) {
            Some(value) => value.with_bytes(|value| items.bulk(value)),
            None => {
                items.null();
                continue;
            }
        }
        hash.remove(field, now_ms);
        removed += 1;
    }
    if removed > 0 {
        hash.changed_times(removed, "hdel");
        hash.replay_as(&[&[&b"HDEL"[..], key], fields].concat());
    }
    Ok(items.end())
}

pub(super) fn hgetex(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let (key, now_ms) = (args.key(), db.now_ms());
    db.peek_hash(key)?;
    let word = args.peek().map(crate::command::args::Word::of);
    let at = match word.as_deref().and_then(Form::of) {
        Some(form) => {
            args.skip(1);
            Some(form.deadline(args, db.wall_ms())?)
        }
        None => None,
    };
    let persist = at.is_none() && args.accept("PERSIST");
    let words = args.rest();
    let fields = fields(args, Error::FieldsNotPositive)?;
    let mut items = out.array(fields.len());
    let Some(mut hash) = open(db, key)? else {
        fields.iter().for_each(|_| items.null());
        return Ok(items.end());
    };
    hash.drop_gone(fields.iter().copied());
    if at.is_some() || persist {
        hash.keep_deadlines();
    }
    let mut changes = Changes::default();
    for field in fields {
        match hash.view().get(field, now_ms) {
            Some(value) => value.with_bytes(|value| items.bulk(value)),
            None => {
                items.null();
                continue;
            }
        }
        let had_deadline = hash.view().deadline(field, now_ms).flatten().is_some();
        if at.is_some() || (persist && had_deadline) {
            changes.put(&mut hash, field, at, now_ms);
        }
    }
    changes.settle(&mut hash);
    match at.map(|at| at.to_string()) {
        Some(at) if !changes.moved.is_empty() => {
            hash.replay_as(&[&[&b"HPEXPIREAT"[..], key, at.as_bytes()], words].concat());
        }
        None if changes.persisted > 0 => {
            hash.replay_as(&[&[&b"HPERSIST"[..], key], words].concat());
        }
        _ => {}
    }
    Ok(items.end())
}

/// What HSETEX is asked to do.
struct SetEx<'a> {
    /// Only if all fields are there (true), or none of them is (false).
    only_if: Option<bool>,
    deadline: Deadline,
    /// Where the option of a deadline stands that the log gets in another form.
    restated_at: Option<usize>,
    pairs: &'a [&'a [u8]],
}

impl<'a> SetEx<'a> {
    fn read(args: &mut Args<'a>, wall_ms: i64) -> Result<SetEx<'a>> {
        let (mut only_if, mut deadline, mut restated_at) = (None, None, None);
        loop {
            let shown = args.peek().unwrap_or_default();
            let Some(word) = args.option() else { return Err(Error::wrong_arity(args.name())) };
            match &*word {
                "FNX" | "FXX" if only_if.is_some() => return Err(Error::OnlyOneFieldRule),
                "FNX" | "FXX" => only_if = Some(&*word == "FXX"),
                "KEEPTTL" if deadline.is_some() => return Err(Error::OnlyOneFieldExpiry),
                "KEEPTTL" => deadline = Some(Deadline::Keep),
                "FIELDS" => break,
                other => match Form::of(other) {
                    Some(_) if deadline.is_some() => return Err(Error::OnlyOneFieldExpiry),
                    Some(_) if args.is_done() => return Err(Error::wrong_arity(args.name())),
                    Some(form) => {
                        restated_at = (other != "PXAT").then(|| args.all().len() - args.left() - 1);
                        deadline = Some(Deadline::At(form.deadline(args, wall_ms)?));
                    }
                    None => return Err(Error::unknown_argument(shown)),
                },
            }
        }
        if args.left() < 3 {
            return Err(Error::wrong_arity(args.name()));
        }
        let count = parse_i64(args.bytes())
            .filter(|count| (1..=i64::from(i32::MAX)).contains(count))
            .ok_or(Error::InvalidFieldCount)?;
        if args.left() as i64 != count * 2 {
            return Err(Error::wrong_arity(args.name()));
        }
        let deadline = deadline.unwrap_or(Deadline::Clear);
        Ok(SetEx { only_if, deadline, restated_at, pairs: args.rest() })
    }
}

pub(super) fn hsetex(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let (key, now_ms) = (args.key(), db.now_ms());
    let SetEx { only_if, deadline, restated_at, pairs } = SetEx::read(args, db.wall_ms())?;
    let edit = db.edit::<Hash>(key)?;
    let is_new = !edit.exists();
    let mut edit = edit.or_default();
    let fields = || pairs.iter().step_by(2).copied();
    if let Some(present) = only_if {
        if !fields().all(|field| edit.view().contains(field, now_ms) == present) {
            return Ok(out.int(0));
        }
    }
    edit.drop_gone(fields());
    let at_once = matches!(deadline, Deadline::At(at) if at <= now_ms);
    let (hash, limits, _) = edit.parts();
    let longest = pairs.iter().map(|text| text.len()).max().unwrap_or(0);
    hash.prepare(pairs.len() / 2, longest, limits);
    if at_once {
        // Redis: each field goes as soon as it is set, so that they never crowd a small hash.
        edit.keep_deadlines();
        let mut changes = Changes::default();
        for pair in pairs.chunks_exact(2) {
            let (hash, limits, _) = edit.parts();
            hash.set(pair[0], pair[1], Deadline::Clear, now_ms, limits);
            hash.remove(pair[0], now_ms);
            changes.removed.push(pair[0]);
        }
        edit.changed_times(pairs.len() / 2, "hset");
        changes.settle(&mut edit);
        if is_new {
            // Nobody saw the key, but Redis tells of its end.
            edit.db().raise(key, Class::Generic, "del");
        }
        return Ok(out.int(1));
    }
    for pair in pairs.chunks_exact(2) {
        hash.set(pair[0], pair[1], deadline, now_ms, limits);
    }
    edit.changed_times(pairs.len() / 2, "hset");
    if let Deadline::At(at) = deadline {
        edit.changed_times(0, "hexpire");
        let (at, mut form) = (at.to_string(), args.all().to_vec());
        if let Some([word, number]) = restated_at.and_then(|first| form.get_mut(first..first + 2)) {
            (*word, *number) = (b"PXAT", at.as_bytes());
            edit.replay_as(&form);
        }
    }
    Ok(out.int(1))
}

/// States for the log what a write has left in a field: the value, then its deadline.
pub(super) fn replay_value(hash: &mut Edit<'_, Hash>, field: &[u8], value: &[u8]) {
    if !hash.db().is_logged() {
        return;
    }
    let (key, now_ms) = (hash.key(), hash.now_ms());
    hash.replay_as(&[b"HSET", key, field, value]);
    // Redis: it says the value alone, and whoever follows it loses the deadline.
    if let Some(Some(at)) = hash.view().deadline(field, now_ms) {
        let at = at.to_string();
        hash.replay_as(&[&b"HPEXPIREAT"[..], key, at.as_bytes(), b"FIELDS", b"1", field]);
    }
}
