//! DUMP and RESTORE: single values as payloads.

use crate::command::{client, flag, read, Args, Call, Family, Row};
use crate::error::{Error, Result};
use crate::keyspace::ageing::Age;
use crate::keyspace::db::{Db, FreedLater};
use crate::keyspace::effects::Class;
use crate::keyspace::entry::Entry;
use crate::rdb::payload;
use crate::rdb::read::Rules;
use crate::resp::out::{Done, Out};

/// The family.
pub const FAMILY: Family = Family { group: "generic", rows: ROWS };

const ROWS: &[Row] = &[
    read("DUMP key", dump)
        .varies()
        .since("2.6.0")
        .cost("O(1) to find the key, and O(N) where N is the size of the value")
        .about("Replies with the value at a key as a payload for RESTORE."),
    client(RESTORE, restore)
        .writes()
        .grows()
        .dangerous()
        .since("2.6.0")
        .cost("O(N) where N is the size of the value; O(N*log(N)) for sorted sets")
        .about("Creates a key from a payload of DUMP."),
    client(RESTORE_ASKING, restore)
        .writes()
        .grows()
        .dangerous()
        .flags(flag::ASKING)
        .since("3.0.0")
        .cost("O(N) where N is the size of the value; O(N*log(N)) for sorted sets")
        .about("Does what RESTORE does, for a slot that is on its way to this node."),
];

const RESTORE: &str =
    "RESTORE key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]";
const RESTORE_ASKING: &str = "RESTORE-ASKING key ttl serialized-value [REPLACE] [ABSTTL] \
    [IDLETIME seconds] [FREQ frequency]";

fn dump(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let payload = db.read(args.key()).and_then(|entry| payload::pack(entry, db.payloads.compress));
    Ok(match payload {
        Some(payload) => out.bulk_given(payload),
        None => out.null(),
    })
}

/// What RESTORE was told besides key, deadline and payload.
#[derive(Default)]
struct Options {
    replace: bool,
    absolute: bool,
    age: Age,
}

impl Options {
    fn read(args: &mut Args<'_>) -> Result<Options> {
        let mut options = Options::default();
        while let Some(word) = args.option() {
            let has_more = !args.is_done();
            match &*word {
                "REPLACE" => options.replace = true,
                "ABSTTL" => options.absolute = true,
                "IDLETIME" if has_more && !matches!(options.age, Age::Freq(_)) => {
                    let seconds = args.int()?;
                    options.age =
                        Age::Idle(u64::try_from(seconds).map_err(|_| Error::NegativeIdletime)?);
                }
                "FREQ" if has_more && !matches!(options.age, Age::Idle(_)) => {
                    let count = args.int()?;
                    options.age = Age::Freq(u8::try_from(count).map_err(|_| Error::FreqRange)?);
                }
                _ => return Err(Error::Syntax),
            }
        }
        Ok(options)
    }
}

fn restore(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let key = args.key();
    let (ttl, packed) = (args.bytes(), args.bytes());
    let options = Options::read(args)?;
    let db = &mut call.state.db;
    if !options.replace && db.contains(key) {
        return Err(Error::BusyKey);
    }
    let ttl = crate::types::number::parse_i64(ttl).ok_or(Error::NotInteger)?;
    if ttl < 0 {
        return Err(Error::NegativeTtl);
    }
    let now_ms = db.now_ms();
    let deadline_ms = match (ttl, options.absolute) {
        (0, _) => None,
        (ttl, true) => Some(ttl),
        (ttl, false) => Some(ttl.saturating_add(db.wall_ms())),
    };
    let entry = unpacked(call, key, packed, deadline_ms)?;
    let db = &mut call.state.db;
    if deadline_ms.is_some_and(|at| at <= now_ms) {
        // It is gone as soon as it comes; what it replaces goes as well.
        if !db.remove(key, "del") {
            db.replay_nothing();
        } else {
            db.replay_as(&[FreedLater::removal(db.freed_later.replaced), key]);
        }
        return Ok(out.ok());
    }
    entry.set_ageing(db.ageing.told(options.age, db.wall_ms()));
    db.place(key, entry);
    db.raise(key, Class::Generic, "restore");
    if let (Some(at), false, true) = (deadline_ms, options.absolute, db.is_logged()) {
        let at = at.to_string();
        let mut form: Vec<&[u8]> = args.all().to_vec();
        if let Some(ttl) = form.get_mut(2) {
            *ttl = at.as_bytes();
        }
        form.push(b"ABSTTL");
        db.replay_as(&form);
    }
    Ok(out.ok())
}

/// The entry that a payload makes.
fn unpacked(
    call: &mut Call<'_>,
    key: &[u8],
    packed: &[u8],
    deadline_ms: Option<i64>,
) -> Result<Entry> {
    let db = &mut call.state.db;
    let body = payload::verified(packed, !db.payloads.any_sum).ok_or(Error::BadPayload)?;
    let rules = Rules { limits: db.limits.clone(), checksum: false };
    let unpacked = payload::unpack(body, key, deadline_ms, rules).map_err(|fault| {
        call.state.logger.warning(format!("Bad payload of RESTORE: {fault}"));
        Error::BadData
    })?;
    if db.payloads.deep {
        db.counters.sanitized += unpacked.checked_blobs;
    }
    unpacked.entry.ok_or(Error::BadData)
}
