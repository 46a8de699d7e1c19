//! DEBUG DIGEST: 20 bytes that say whether two datasets are the same.
//!
//! They are those of the genuine server, so that datasets of both can be compared: a value whose
//! order has no meaning is the exclusive or of its elements' digests; where order matters, each
//! step hashes the state so far.

use crate::keyspace::db::Db;
use crate::keyspace::entry::Entry;
use crate::keyspace::value::{List, Set, SortedSet, Stream};
use crate::types::stream::StreamId;
use sha1_smol::Sha1;

/// A digest.
pub(super) type Digest = [u8; 20];

/// In hex.
pub(super) fn hex(digest: &Digest) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Adds something whose place has no meaning.
fn add(digest: &mut Digest, bytes: &[u8]) {
    let hash = Sha1::from(bytes).digest().bytes();
    digest.iter_mut().zip(hash).for_each(|(one, other)| *one ^= other);
}

/// Adds something that comes after what was added before.
fn follow(digest: &mut Digest, bytes: &[u8]) {
    add(digest, bytes);
    *digest = Sha1::from(&digest[..]).digest().bytes();
}

/// The digest of all databases.
pub(super) fn of_all(db: &mut Db) -> Digest {
    let mut digest = Digest::default();
    for index in 0..db.databases() {
        if db.space(index).is_empty() {
            continue;
        }
        follow(&mut digest, &(index as u32).to_be_bytes());
        db.within(index, |db| {
            for entry in db.entries() {
                let mut own = Digest::default();
                follow(&mut own, entry.key());
                value(&mut own, entry, db.now_ms());
                add(&mut digest, &own);
            }
        });
    }
    digest
}

/// The digest of one value, without its key; zeros where there is none.
pub(super) fn of_value(db: &Db, key: &[u8]) -> Digest {
    let mut digest = Digest::default();
    if let Some(entry) = db.look(key) {
        value(&mut digest, entry, db.now_ms());
    }
    digest
}

fn value(digest: &mut Digest, entry: &Entry, now_ms: i64) {
    let kind = |digest: &mut Digest, number: u32| follow(digest, &number.to_be_bytes());
    if let Some(text) = entry.string() {
        kind(digest, 0);
        text.with_bytes(|bytes| follow(digest, bytes));
    } else if let Some(list) = entry.collection::<List>() {
        kind(digest, 1);
        for item in list.iter() {
            item.with_bytes(|bytes| follow(digest, bytes));
        }
    } else if let Some(set) = entry.collection::<Set>() {
        kind(digest, 2);
        for member in set.iter() {
            member.with_bytes(|bytes| add(digest, bytes));
        }
    } else if let Some(set) = entry.collection::<SortedSet>() {
        kind(digest, 3);
        for (member, score) in set.iter() {
            let mut own = Digest::default();
            member.with_bytes(|bytes| follow(&mut own, bytes));
            follow(&mut own, general(score).as_bytes());
            add(digest, &own);
        }
    } else if let Some(hash) = entry.hash() {
        kind(digest, 4);
        for (field, value) in hash.iter(now_ms) {
            let mut own = Digest::default();
            field.with_bytes(|bytes| follow(&mut own, bytes));
            value.with_bytes(|bytes| follow(&mut own, bytes));
            add(digest, &own);
        }
    } else if let Some(stream) = entry.collection::<Stream>() {
        kind(digest, 6);
        follow_stream(digest, stream);
    }
    if entry.deadline_ms().is_some() {
        add(digest, b"!!expire!!");
    }
}

fn follow_stream(digest: &mut Digest, stream: &Stream) {
    for entry in stream.range(StreamId::MIN, StreamId::MAX) {
        let id = entry.id;
        follow(digest, format!("{}.{}", id.ms, id.seq).as_bytes());
        for (field, value) in entry.fields() {
            field.with_bytes(|bytes| follow(digest, bytes));
            value.with_bytes(|bytes| follow(digest, bytes));
        }
    }
}

/// A number as C's `%.17g` prints it.
fn general(number: f64) -> String {
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_string();
    }
    let scientific = format!("{number:.16e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text.to_string(),
    };
    if (-4..17).contains(&exponent) {
        let places = usize::try_from(16 - exponent).unwrap_or(0);
        return trim(&format!("{number:.places$}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trim(mantissa), exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::general;

    #[test]
    fn numbers_as_c_prints_them() {
        let seen = [
            (1.0, "1"),
            (0.1, "0.10000000000000001"),
            (1e17, "1e+17"),
            (-2.5e-7, "-2.4999999999999999e-07"),
            (123456789.125, "123456789.125"),
            (f64::NEG_INFINITY, "-inf"),
        ];
        for (number, text) in seen {
            assert_eq!(general(number), text);
        }
    }
}
