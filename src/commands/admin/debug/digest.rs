//! DEBUG DIGEST: 20 bytes that say whether two datasets are the same.
//!
//! They are those of the genuine server, so that datasets of both can be compared: a value whose
//! order has no meaning is the exclusive or of its elements' digests; where order matters, each
//! step hashes the state so far.
//!
//! Keys and fields whose time has come count as long as nobody has removed them: a replica, which
//! waits for its primary to do it, has the primary's digest at every offset.

use crate::keyspace::db::Db;
use crate::keyspace::entry::Entry;
use crate::keyspace::value::{List, Set, SortedSet, Stream};
use crate::types::number::format_shortest;
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
            for entry in db.all_entries() {
                let mut own = Digest::default();
                follow(&mut own, entry.key());
                value(&mut own, entry);
                add(&mut digest, &own);
            }
        });
    }
    digest
}

/// The digest of one value, without its key; zeros where there is none.
pub(super) fn of_value(db: &Db, key: &[u8]) -> Digest {
    let mut digest = Digest::default();
    if let Some(entry) = db.look_unremoved(key) {
        value(&mut digest, entry);
    }
    digest
}

fn value(digest: &mut Digest, entry: &Entry) {
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
        let mut text = Vec::new();
        for (member, score) in set.iter() {
            let mut own = Digest::default();
            member.with_bytes(|bytes| follow(&mut own, bytes));
            text.clear();
            format_shortest(score, &mut text);
            follow(&mut own, &text);
            add(digest, &own);
        }
    } else if let Some(hash) = entry.hash() {
        kind(digest, 4);
        for (field, value, deadline_ms) in hash.iter_all() {
            let mut own = Digest::default();
            field.with_bytes(|bytes| follow(&mut own, bytes));
            value.with_bytes(|bytes| follow(&mut own, bytes));
            if deadline_ms.is_some() {
                add(&mut own, b"!!hexpire!!");
            }
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
