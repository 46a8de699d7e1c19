//! The handshake with a primary: PING, AUTH, REPLCONF, PSYNC.
//!
//! Invariant: nothing of the data or of the role has changed when a handshake fails.

use super::wire::{Broken, Wire};
use crate::resp::out::push_request;
use crate::role::{is_id, position};
use crate::server_log::Logger;

/// What the replica says about itself.
#[derive(Debug, Default)]
pub(super) struct Introduction {
    pub(super) user: Option<Vec<u8>>,
    pub(super) password: Option<Vec<u8>>,
    pub(super) port: u16,
    pub(super) ip: Option<Vec<u8>>,
    pub(super) version: String,
    /// The history, and the first offset of it that is missing here.
    pub(super) resume: Option<(String, u64)>,
    /// The primary shall step back: FAILOVER.
    pub(super) takes_over: bool,
}

/// What the primary answers to PSYNC.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The stream goes on where it was, maybe under another name.
    Continue(Option<String>),
    /// A full copy follows; after it the stream goes on at this position.
    Full(String, u64),
    /// A full copy follows; the primary counts no offsets.
    Old,
    /// Not now.
    Later(String),
}

/// Introduces this replica and asks for the stream.
pub(super) fn greet(wire: &mut Wire, me: &Introduction, log: &Logger) -> Result<Answer, Broken> {
    let reply = ask(wire, &[b"PING"])?;
    let needs_login = ["-NOAUTH", "-NOPERM", "-ERR operation not permitted"];
    if !reply.starts_with('+') && !needs_login.iter().any(|text| reply.starts_with(text)) {
        log.warning(format!("Error reply to PING from master: '{reply}'"));
        return Err(Broken::Nonsense(reply));
    }
    log.notice("Master replied to PING, replication can continue...");
    if let Some(password) = &me.password {
        let reply = match &me.user {
            Some(user) => ask(wire, &[b"AUTH", user, password])?,
            None => ask(wire, &[b"AUTH", password])?,
        };
        if reply.starts_with('-') {
            log.warning(format!("Unable to AUTH to MASTER: {reply}"));
            return Err(Broken::Nonsense(reply));
        }
    }
    introduce(wire, me, log)?;
    synchronize(wire, me, log)
}

fn ask(wire: &mut Wire, words: &[&[u8]]) -> Result<String, Broken> {
    let mut request = Vec::new();
    push_request(&mut request, words);
    wire.send(&request)?;
    wire.line()
}

/// What the primary does not understand of this it may ignore.
fn introduce(wire: &mut Wire, me: &Introduction, log: &Logger) -> Result<(), Broken> {
    let mut requests = Vec::new();
    let port = me.port.to_string();
    let mut asked = vec!["listening-port"];
    push_request(&mut requests, &["REPLCONF", "listening-port", &port]);
    if let Some(ip) = &me.ip {
        asked.push("ip-address");
        push_request(&mut requests, &[&b"REPLCONF"[..], b"ip-address", ip]);
    }
    asked.push("capa");
    push_request(&mut requests, &["REPLCONF", "capa", "eof", "capa", "psync2"]);
    asked.push("version");
    push_request(&mut requests, &["REPLCONF", "version", &me.version]);
    wire.send(&requests)?;
    for what in asked {
        let reply = wire.line()?;
        if reply.starts_with('-') && what != "version" {
            log.notice(format!(
                "(Non critical) Master does not understand REPLCONF {what}: {reply}"
            ));
        }
    }
    Ok(())
}

fn synchronize(wire: &mut Wire, me: &Introduction, log: &Logger) -> Result<Answer, Broken> {
    let (id, offset) = match &me.resume {
        Some((id, offset)) => {
            log.notice(format!("Trying a partial resynchronization (request {id}:{offset})."));
            (id.as_str(), offset.to_string())
        }
        None => {
            log.notice("Partial resynchronization not possible (no cached master)");
            ("?", "-1".to_string())
        }
    };
    let mut words: Vec<&[u8]> = vec![b"PSYNC", id.as_bytes(), offset.as_bytes()];
    if me.takes_over {
        words.push(b"FAILOVER");
    }
    let reply = ask(wire, &words)?;
    let answer = answer(&reply);
    match &answer {
        Ok(Answer::Full(id, offset)) => {
            log.notice(format!("Full resync from master: {id}:{offset}"));
        }
        Ok(Answer::Continue(_)) => {
            log.notice("Successful partial resynchronization with master.");
        }
        Ok(Answer::Later(reply)) => log.notice(format!(
            "Master is currently unable to PSYNC but should be in the future: {reply}"
        )),
        Ok(Answer::Old) => {
            log.warning(format!(
                "Master does not support PSYNC or is in error state (reply: {reply})"
            ));
            if me.takes_over {
                return Err(Broken::Nonsense(reply));
            }
            log.notice("Retrying with SYNC...");
            wire.send(b"SYNC\r\n")?;
        }
        Err(_) => {}
    }
    answer
}

fn answer(reply: &str) -> Result<Answer, Broken> {
    let mut words = reply.split_ascii_whitespace();
    let nonsense = || Broken::Nonsense(format!("Unexpected reply to PSYNC from master: {reply}"));
    match words.next() {
        Some("+FULLRESYNC") => {
            let id = words.next().filter(|id| is_id(id)).ok_or_else(nonsense)?;
            let offset = words.next().and_then(position).ok_or_else(nonsense)?;
            Ok(Answer::Full(id.to_string(), offset))
        }
        Some("+CONTINUE") => {
            Ok(Answer::Continue(words.next().filter(|id| is_id(id)).map(str::to_string)))
        }
        Some("-NOMASTERLINK" | "-LOADING") => Ok(Answer::Later(reply.to_string())),
        Some(word) if word.starts_with('-') => Ok(Answer::Old),
        _ => Err(nonsense()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_to_psync() {
        let id = "0123456789abcdef0123456789abcdef01234567";
        let full = answer(&format!("+FULLRESYNC {id} 42")).expect("an answer");
        assert_eq!(full, Answer::Full(id.to_string(), 42));
        let named = answer(&format!("+CONTINUE {id}")).expect("an answer");
        assert_eq!(named, Answer::Continue(Some(id.to_string())));
        assert_eq!(answer("+CONTINUE").expect("an answer"), Answer::Continue(None));
        assert_eq!(answer("-ERR unknown command").expect("an answer"), Answer::Old);
        assert!(matches!(answer("-NOMASTERLINK no"), Ok(Answer::Later(_))));
        for bad in ["", "+OK", "+FULLRESYNC", "+FULLRESYNC x 1"] {
            assert!(answer(bad).is_err(), "{bad}");
        }
        for bad in ["-1", &i64::MAX.to_string(), &u64::MAX.to_string()] {
            assert!(answer(&format!("+FULLRESYNC {id} {bad}")).is_err(), "{bad}");
        }
    }
}
