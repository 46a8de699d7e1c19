//! MIGRATE: keys move to another server.
//!
//! The server stands still meanwhile, as a genuine one does: nobody may see a key in two places or
//! in none, nor change one that is on its way, and holding the lock is the simplest way to keep
//! that promise. It holds for the time at most that the command names for each step: to connect,
//! to shake hands, to send 64 KiB, to receive a reply.

use crate::command::spec::{Begin, Find, KeySpec};
use crate::command::{client, Args, Call, Family, Row};
use crate::error::{Error, Result};
use crate::peers::{is_timeout, Name, Peer};
use crate::rdb::payload;
use crate::resp::out::{Done, Out};
use crate::state::State;
use std::io;
use std::time::Duration;

/// The family.
pub const FAMILY: Family = Family { group: "generic", rows: ROWS };

const ROWS: &[Row] = &[client(
    "MIGRATE host port <key | \"\"> destination-db timeout [COPY] [REPLACE] \
     [AUTH password | AUTH2 username password] [KEYS key [key ...]]",
    migrate,
)
.writes()
.dangerous()
.keys(&[
    KeySpec {
        begin: Begin::Index(3),
        find: Find::Range { last: 0, step: 1, limit: 0 },
        access: &[],
    },
    KeySpec {
        begin: Begin::Keyword("KEYS", -2),
        find: Find::Range { last: -1, step: 1, limit: 0 },
        access: &[],
    },
])
.varies()
.since("2.6.0")
.cost("DUMP and DEL here, RESTORE there, and the way between; O(N) for N bytes of values")
.about("Moves keys to another server.")];

/// What MIGRATE was told.
struct Wish<'a> {
    peer: Name,
    keys: Vec<&'a [u8]>,
    db: i64,
    timeout: Duration,
    copy: bool,
    replace: bool,
    /// The words of AUTH there.
    auth: Option<&'a [&'a [u8]]>,
}

impl<'a> Wish<'a> {
    fn read(args: &mut Args<'a>) -> Result<Wish<'a>> {
        const TIMEOUT_MS: i64 = 1000;
        let peer = (args.bytes().to_vec(), args.bytes().to_vec());
        let (key, db, timeout) = (args.key(), args.bytes(), args.bytes());
        let (mut copy, mut replace, mut auth, mut keys) = (false, false, None, vec![key]);
        while let Some(word) = args.option() {
            let rest = args.rest();
            match &*word {
                "COPY" => copy = true,
                "REPLACE" => replace = true,
                "AUTH" | "AUTH2" => {
                    let words = if &*word == "AUTH" { 1 } else { 2 };
                    auth = Some(rest.get(..words).ok_or(Error::Syntax)?);
                    args.skip(words);
                }
                "KEYS" if !key.is_empty() => return Err(Error::MigrateKeys),
                "KEYS" => {
                    keys = rest.to_vec();
                    args.skip(rest.len());
                }
                _ => return Err(Error::Syntax),
            }
        }
        let number = |word| crate::types::number::parse_i64(word).ok_or(Error::NotInteger);
        let (timeout_ms, db) = (number(timeout)?, number(db)?);
        let timeout_ms = if timeout_ms <= 0 { TIMEOUT_MS } else { timeout_ms };
        let timeout = Duration::from_millis(timeout_ms.unsigned_abs());
        Ok(Wish { peer, keys, db, timeout, copy, replace, auth })
    }
}

/// What goes wrong on the way.
enum Failure {
    Connecting,
    Writing(io::Error),
    /// So many keys had been acknowledged.
    Reading(io::Error, usize),
}

fn migrate(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let wish = Wish::read(args)?;
    let db = &mut call.state.db;
    db.replay_nothing();
    let keys: Vec<&[u8]> = wish.keys.iter().copied().filter(|key| db.read(key).is_some()).collect();
    if keys.is_empty() {
        return Ok(out.simple("NOKEY"));
    }
    let mut may_retry = true;
    loop {
        match attempt(call, &wish, &keys) {
            Ok(None) => return Ok(out.ok()),
            Ok(Some(refusal)) => return Err(refusal),
            // A kept connection may have been closed at the other end: that is tried again.
            Err(Failure::Writing(error) | Failure::Reading(error, 0))
                if may_retry && !is_timeout(&error) =>
            {
                may_retry = false;
            }
            Err(Failure::Connecting) => return Err(Error::MigrateConnect),
            Err(Failure::Writing(_)) => return Err(Error::MigrateWrite),
            Err(Failure::Reading(..)) => return Err(Error::MigrateRead),
        }
    }
}

/// Moves the keys over one connection; gives the first refusal of the other server.
fn attempt(
    call: &mut Call<'_>,
    wish: &Wish<'_>,
    keys: &[&[u8]],
) -> std::result::Result<Option<Error>, Failure> {
    let state = &mut *call.state;
    let mut peer = match state.peers.take(&wish.peer) {
        Some(peer) => peer,
        None => connect(state, wish)?,
    };
    let mut request = Vec::new();
    if let Some(words) = wish.auth {
        push_request(&[&[&b"AUTH"[..]], words].concat(), &mut request);
    }
    let selects = peer.db != Some(wish.db);
    if selects {
        push_request(&[b"SELECT", wish.db.to_string().as_bytes()], &mut request);
    }
    let now_ms = state.db.now_ms();
    let mut sent = Vec::new();
    for key in keys {
        let Some(entry) = state.db.look(key) else { continue };
        let Some(payload) = payload::pack(entry, state.db.payloads.compress) else { continue };
        let ttl = entry.deadline_ms().map_or(0, |at| at.saturating_sub(now_ms).max(1));
        let ttl = ttl.to_string();
        let words: [&[u8]; 5] = [b"RESTORE", key, ttl.as_bytes(), &payload, b"REPLACE"];
        push_request(&words[..if wish.replace { 5 } else { 4 }], &mut request);
        sent.push(*key);
    }
    peer.send(&request, wish.timeout).map_err(Failure::Writing)?;
    drop(request);
    let mut refusal = None;
    for _ in 0..usize::from(wish.auth.is_some()) + usize::from(selects) {
        let line = peer.line(wish.timeout).map_err(|error| Failure::Reading(error, 0))?;
        note_refusal(&line, &mut refusal);
    }
    let is_shut = refusal.is_some();
    let (mut moved, mut lost) = (Vec::new(), None);
    for (number, key) in sent.iter().enumerate() {
        match peer.line(wish.timeout) {
            Ok(line) => {
                let is_refused = line.starts_with(b"-") || is_shut;
                note_refusal(&line, &mut refusal);
                moved.extend((!is_refused).then_some(*key));
            }
            Err(error) => {
                lost = Some(Failure::Reading(error, number));
                break;
            }
        }
    }
    if !wish.copy {
        forget(call, &moved);
    }
    match (refusal, lost) {
        (refusal @ Some(_), lost) => {
            if lost.is_none() {
                peer.db = None;
                call.state.peers.keep(wish.peer.clone(), peer, now_ms);
            }
            Ok(refusal)
        }
        (None, Some(lost)) => Err(lost),
        (None, None) => {
            peer.db = Some(wish.db);
            call.state.peers.keep(wish.peer.clone(), peer, now_ms);
            Ok(None)
        }
    }
}

/// By TLS where `tls-replication` says so.
fn connect(state: &State, wish: &Wish<'_>) -> std::result::Result<Peer, Failure> {
    let settings = state.config.settings();
    let mut config = None;
    if let Some(outside) = state.outside.as_ref().filter(|_| settings.tls.replication) {
        let made = outside.outward_tls(settings).inspect_err(|why| state.logger.warning(why));
        config = Some(made.map_err(|_| Failure::Connecting)?);
    }
    let peer = Peer::connect(&wish.peer, config.as_ref(), wish.timeout);
    peer.map_err(|error| match error.kind() {
        // Redis: nobody looks before the first write whether anybody listens, unless by TLS.
        io::ErrorKind::ConnectionRefused if config.is_none() => Failure::Writing(error),
        _ => Failure::Connecting,
    })
}

/// Remembers the first refusal.
fn note_refusal(line: &[u8], refusal: &mut Option<Error>) {
    if let (Some(text), None) = (line.strip_prefix(b"-"), &refusal) {
        *refusal = Some(Error::showing("ERR Target instance replied with error: {}", &[text]));
    }
}

/// Removes the keys that have arrived.
fn forget(call: &mut Call<'_>, moved: &[&[u8]]) {
    let db = &mut call.state.db;
    for key in moved {
        db.remove(key, "del");
    }
    if !moved.is_empty() {
        db.replay_as(&[&[&b"DEL"[..]], moved].concat());
    }
}

fn push_request(words: &[&[u8]], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}
