//! Bitmap commands: strings seen as bits. The table is the contract; the functions below it appear
//! in the same order.

use crate::command::args::Word;
use crate::command::{read, write, Args, Family, Row};
use crate::error::{Error, Result};
use crate::keyspace::db::{Db, Ttl};
use crate::keyspace::entry::NewValue;
use crate::keyspace::value::{Kind, StrRef, Value};
use crate::resp::out::{Done, Items, Out};
use crate::types::bits::{
    bit_at, combine, count_ones_between, find_between, BitOp, Field, Overflow,
};
use crate::types::number::parse_i64;
use crate::types::text::Text;

/// The family.
pub const FAMILY: Family = Family { group: "bitmap", rows: ROWS };

const ROWS: &[Row] = &[
    read("BITCOUNT key [start end [BYTE | BIT]]", bitcount)
        .since("2.6.0")
        .cost("O(N)")
        .about("Counts the set bits of a string."),
    write(
        "BITFIELD key [GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] \
         <SET encoding offset value | INCRBY encoding offset increment> \
         [GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] \
         <SET encoding offset value | INCRBY encoding offset increment> ...]]",
        bitfield,
    )
    .grows()
    .since("3.2.0")
    .cost("O(1) for every subcommand")
    .arity(-2)
    .about("Reads and changes integers of any width inside a string."),
    read("BITFIELD_RO key [GET encoding offset [GET encoding offset ...]]", bitfield_ro)
        .fast()
        .since("6.0.0")
        .cost("O(1) for every subcommand")
        .about("Reads integers of any width inside a string."),
    write("BITOP <AND | OR | XOR | NOT> destkey key [key ...]", bitop)
        .grows()
        .since("2.6.0")
        .cost("O(N)")
        .about("Combines strings bit by bit and stores the result."),
    read("BITPOS key bit [start [end [BYTE | BIT]]]", bitpos)
        .since("2.8.7")
        .cost("O(N)")
        .about("Finds the first set or clear bit of a string."),
    read("GETBIT key offset", getbit)
        .fast()
        .since("2.2.0")
        .cost("O(1)")
        .about("Replies with a bit of a string."),
    write("SETBIT key offset value", setbit)
        .grows()
        .since("2.2.0")
        .cost("O(1)")
        .about("Sets or clears a bit of a string, creating and growing it as needed."),
];

/// A bit's place; with `width` also as `#number` of fields of that width.
fn bit_offset(db: &Db, word: &[u8], width: Option<u32>) -> Result<u64> {
    let (digits, width) = match (word, width) {
        ([b'#', digits @ ..], Some(width)) => (digits, i64::from(width)),
        _ => (word, 1),
    };
    // Redis: the product wraps around.
    let offset = parse_i64(digits).ok_or(Error::BitOffset)?.wrapping_mul(width);
    if offset < 0 || !super::strings::may_reach(db, (offset >> 3) as u64 + 1) {
        return Err(Error::BitOffset);
    }
    Ok(offset as u64)
}

/// A range of bits, both ends included and inside the string; `None` when it is empty.
struct BitRange {
    start: i64,
    end: Option<i64>,
    by_bit: bool,
}

impl BitRange {
    fn unit(word: &[u8]) -> Result<bool> {
        match &*Word::of(word) {
            "BIT" => Ok(true),
            "BYTE" => Ok(false),
            _ => Err(Error::Syntax),
        }
    }

    fn of(&self, length: usize) -> Option<(u64, u64)> {
        let units = length as i64 * if self.by_bit { 8 } else { 1 };
        let place = |at: i64| if at < 0 { at.saturating_add(units).max(0) } else { at };
        let start = place(self.start);
        let end = self.end.map_or(units - 1, place).min(units - 1);
        if start > end {
            return None;
        }
        Some(match self.by_bit {
            true => (start as u64, end as u64),
            false => (start as u64 * 8, end as u64 * 8 + 7),
        })
    }
}

fn bitcount(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let key = args.key();
    let mut range = BitRange { start: 0, end: None, by_bit: false };
    match args.left() {
        0 => {}
        2 | 3 => {
            range.start = args.int()?;
            range.end = Some(args.int()?);
            if !args.is_done() {
                range.by_bit = BitRange::unit(args.bytes())?;
            }
        }
        _ => return Err(Error::Syntax),
    }
    let Some(text) = db.string(key)? else { return Ok(out.int(0)) };
    // Redis: both ends before the string, the wrong way round.
    if let BitRange { start, end: Some(end), .. } = range {
        if start < 0 && end < 0 && start > end {
            return Ok(out.int(0));
        }
    }
    let count = text.with_bytes(|bytes| {
        range.of(bytes.len()).map_or(0, |(from, to)| count_ones_between(bytes, from, to))
    });
    Ok(out.int(count as i64))
}

/// A subcommand of BITFIELD.
struct FieldStep {
    field: Field,
    action: Action,
    overflow: Overflow,
}

enum Action {
    Get,
    Set(i64),
    Add(i64),
}

fn field_steps(db: &Db, args: &mut Args<'_>) -> Result<Vec<FieldStep>> {
    let (mut steps, mut overflow) = (Vec::new(), Overflow::Wrap);
    while let Some(word) = args.option() {
        let operands = match &*word {
            "GET" => 2,
            "SET" | "INCRBY" => 3,
            "OVERFLOW" if !args.is_done() => {
                overflow = match &*Word::of(args.bytes()) {
                    "WRAP" => Overflow::Wrap,
                    "SAT" => Overflow::Saturate,
                    "FAIL" => Overflow::Fail,
                    _ => return Err(Error::BitfieldOverflow),
                };
                continue;
            }
            _ => return Err(Error::Syntax),
        };
        if args.left() < operands {
            return Err(Error::Syntax);
        }
        let (signed, bits) = field_type(args.bytes())?;
        let offset = bit_offset(db, args.bytes(), Some(bits))?;
        let action = match &*word {
            "GET" => Action::Get,
            "SET" => Action::Set(args.int()?),
            _ => Action::Add(args.int()?),
        };
        steps.push(FieldStep { field: Field { signed, bits, offset }, action, overflow });
    }
    Ok(steps)
}

fn field_type(word: &[u8]) -> Result<(bool, u32)> {
    let (signed, digits, most) = match word {
        [b'i', digits @ ..] => (true, digits, 64),
        [b'u', digits @ ..] => (false, digits, 63),
        _ => return Err(Error::BitfieldType),
    };
    let bits = parse_i64(digits).filter(|bits| (1..=most).contains(bits));
    bits.map(|bits| (signed, bits as u32)).ok_or(Error::BitfieldType)
}

fn bitfield(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let key = args.key();
    let steps = field_steps(db, args)?;
    let written = steps.iter().filter(|step| !matches!(step.action, Action::Get));
    let Some(length) = written.map(|step| step.field.end_bytes() as usize).max() else {
        return read_fields(db, key, &steps, out);
    };
    let mut text = db.take_string(key)?.unwrap_or_default();
    let grows = text.len() < length;
    text.reach(length);
    let mut changes = 0;
    let mut items = out.array(steps.len());
    for step in &steps {
        changes += usize::from(change_field(step, &mut text, grows, &mut items));
    }
    match (changes, grows) {
        (0, false) => db.return_string(key, text),
        // Redis: it grows without an event when every change failed.
        (0, true) => db.put_quietly(key, text),
        _ => {
            db.put(key, NewValue::Owned(Value::Str(text)), Ttl::Keep, "setbit");
            db.effects.dirty += changes as u64 - 1;
        }
    }
    Ok(items.end())
}

/// Runs one step and answers it; whether it counts as a change.
fn change_field(step: &FieldStep, text: &mut Text, grown: bool, items: &mut Items<'_>) -> bool {
    let FieldStep { field, action, overflow } = step;
    let old = field.get(text);
    let (new, answers_new) = match *action {
        Action::Get => {
            items.int(old);
            return false;
        }
        Action::Set(value) => (field.fit(value, 0, *overflow), false),
        Action::Add(increment) => (field.fit(old, increment, *overflow), true),
    };
    let Some(new) = new else {
        items.null();
        return false;
    };
    items.int(if answers_new { new } else { old });
    let first = (field.offset >> 3) as usize;
    let places = text.at_mut(first..field.end_bytes() as usize);
    Field { offset: field.offset & 7, ..*field }.set(places, new);
    grown || old != new
}

fn read_fields(db: &Db, key: &[u8], steps: &[FieldStep], out: Out<'_>) -> Result<Done> {
    let text = db.string(key)?;
    let mut items = out.array(steps.len());
    let mut answer = |bytes: &[u8]| {
        steps.iter().for_each(|step| items.int(step.field.get(bytes)));
    };
    match text {
        Some(text) => text.with_bytes(answer),
        None => answer(b""),
    }
    Ok(items.end())
}

fn bitfield_ro(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let key = args.key();
    let steps = field_steps(db, args)?;
    if steps.iter().any(|step| !matches!(step.action, Action::Get)) {
        return Err(Error::BitfieldReadOnly);
    }
    read_fields(db, key, &steps, out)
}

fn bitop(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let op = match &*Word::of(args.bytes()) {
        "AND" => BitOp::And,
        "OR" => BitOp::Or,
        "XOR" => BitOp::Xor,
        "NOT" => BitOp::Not,
        _ => return Err(Error::Syntax),
    };
    let (destination, sources) = (args.key(), args.rest());
    if op == BitOp::Not && sources.len() != 1 {
        return Err(Error::BitopNot);
    }
    let mut texts = Vec::with_capacity(sources.len());
    for key in sources {
        texts.push(db.string(key)?);
    }
    // Integers have no bytes of their own.
    let owned: Vec<Vec<u8>> = texts
        .iter()
        .map(|text| match text {
            Some(text @ StrRef::Int(_)) => text.to_vec(),
            _ => Vec::new(),
        })
        .collect();
    let bytes: Vec<&[u8]> = texts
        .iter()
        .zip(&owned)
        .map(|(text, owned)| match text {
            Some(StrRef::Bytes(bytes)) => bytes,
            Some(StrRef::Text(text)) => &text[..],
            Some(StrRef::Int(_)) | None => &owned[..],
        })
        .collect();
    let result = combine(op, &bytes);
    let length = result.len();
    if length == 0 {
        db.remove(destination, "del");
    } else {
        db.put(destination, NewValue::Owned(Value::Str(result.into())), Ttl::Clear, "set");
    }
    Ok(out.int(length as i64))
}

fn bitpos(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let key = args.key();
    let bit = match args.int()? {
        0 => false,
        1 => true,
        _ => return Err(Error::BitArgument),
    };
    if args.left() > 3 {
        return Err(Error::Syntax);
    }
    let mut range = BitRange { start: 0, end: None, by_bit: false };
    if !args.is_done() {
        range.start = args.int()?;
    }
    if let [_, unit] = args.rest() {
        range.by_bit = BitRange::unit(unit)?;
    }
    if !args.is_done() {
        range.end = Some(args.int()?);
    }
    let Some(text) = db.string(key)? else { return Ok(out.int(if bit { -1 } else { 0 })) };
    let place = text.with_bytes(|bytes| {
        let (from, to) = range.of(bytes.len())?;
        let found = find_between(bytes, bit, from, to);
        // A string without an end to look at goes on with zeros.
        found.or((!bit && range.end.is_none()).then_some(bytes.len() as u64 * 8))
    });
    Ok(out.int(place.map_or(-1, |place| place as i64)))
}

fn getbit(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let key = args.key();
    let offset = bit_offset(db, args.bytes(), None)?;
    let text = db.string(key)?;
    Ok(out.yes_no(text.is_some_and(|text| text.with_bytes(|bytes| bit_at(bytes, offset)))))
}

fn setbit(db: &mut Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let key = args.key();
    let offset = bit_offset(db, args.bytes(), None)?;
    let bit = match parse_i64(args.bytes()) {
        Some(bit @ 0..=1) => bit == 1,
        _ => return Err(Error::BitValue),
    };
    let (byte, mask) = ((offset >> 3) as usize, 0x80 >> (offset & 7));
    let old = match db.peek_string(key)? {
        Some(text) => text.with_bytes(|bytes| (byte < bytes.len()).then(|| bit_at(bytes, offset))),
        None => None,
    };
    if old == Some(bit) {
        if db.kind(key) != Some(Kind::Raw) {
            let text = db.take_string(key)?.unwrap_or_default();
            db.return_string(key, text);
        }
        return Ok(out.yes_no(bit));
    }
    super::strings::edit_bytes(db, key, "setbit", |text| {
        text.reach(byte + 1);
        for byte in text.at_mut(byte..byte + 1) {
            *byte = if bit { *byte | mask } else { *byte & !mask };
        }
    })?;
    Ok(out.yes_no(old == Some(true)))
}
