//! Sessions that clients come back to: how long they are good, and where they are kept.
//!
//! Clients keep sessions in tickets that only this server can open, so that remembering them
//! costs it nothing. Only clients of TLS 1.2 without tickets need the [`Cache`].
//!
//! Invariant: what is older than `tls-session-cache-timeout` is as good as forgotten. A ticket
//! says, where only this server reads it, when it was made; and the keys of tickets are thrown away
//! at the same pace, so that what was recorded on the wire cannot be read with them later.

use crate::clock::Stopwatch;
use parking_lot::Mutex;
use rustls::crypto::{aws_lc_rs, GetRandomFailed};
use rustls::server::{ProducesTickets, StoresServerSessions};
use rustls::{Error, TicketRotator};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Redis: no time means OpenSSL's own.
const TIMEOUT_S: u32 = 7200;
/// TLS 1.3 allows no more than a week.
const TIMEOUT_S_MAX: u32 = 7 * 24 * 60 * 60;

/// `tls-session-cache-timeout`, as it is meant.
pub(super) fn timeout_s(said: u32) -> u32 {
    match said {
        0 => TIMEOUT_S,
        said => said.min(TIMEOUT_S_MAX),
    }
}

/// The age of sessions.
#[derive(Debug)]
struct Ages {
    since: Stopwatch,
    timeout_s: u32,
}

impl Ages {
    fn new(timeout_s: u32) -> Ages {
        Ages { since: Stopwatch::start(), timeout_s }
    }

    fn now_s(&self) -> u64 {
        self.since.elapsed_ns() / 1_000_000_000
    }

    fn are_good(&self, born_s: u64, now_s: u64) -> bool {
        now_s.saturating_sub(born_s) <= u64::from(self.timeout_s)
    }
}

/// Makes and opens tickets.
#[derive(Debug)]
pub(super) struct Tickets {
    keys: TicketRotator,
    ages: Ages,
}

impl Tickets {
    pub(super) fn new(timeout_s: u32) -> Result<Arc<Tickets>, Error> {
        let keys = TicketRotator::new(timeout_s, || match aws_lc_rs::Ticketer::new() {
            Ok(keys) => Ok(Box::new(Keys(keys))),
            Err(_) => Err(GetRandomFailed),
        })?;
        Ok(Arc::new(Tickets { keys, ages: Ages::new(timeout_s) }))
    }

    fn made_at(&self, plain: &[u8], now_s: u64) -> Option<Vec<u8>> {
        self.keys.encrypt(&[&now_s.to_be_bytes(), plain].concat())
    }

    fn opened_at(&self, ticket: &[u8], now_s: u64) -> Option<Vec<u8>> {
        let dated = self.keys.decrypt(ticket)?;
        let (born_s, plain) = dated.split_first_chunk()?;
        self.ages.are_good(u64::from_be_bytes(*born_s), now_s).then(|| plain.to_vec())
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.ages.timeout_s
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.made_at(plain, self.ages.now_s())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.opened_at(cipher, self.ages.now_s())
    }
}

/// Keys of tickets, for as long as they are used.
#[derive(Debug)]
struct Keys(Arc<dyn ProducesTickets>);

impl ProducesTickets for Keys {
    fn enabled(&self) -> bool {
        self.0.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.0.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.0.encrypt(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.0.decrypt(cipher)
    }
}

/// Sessions by their ids.
#[derive(Debug)]
pub(super) struct Cache {
    kept: Mutex<Kept>,
    sessions_max: usize,
    ages: Ages,
}

#[derive(Debug, Default)]
struct Kept {
    /// Each with the second that it was put here.
    sessions: HashMap<Vec<u8>, (u64, Vec<u8>)>,
    /// From the oldest on. One that was put here twice, or has been taken, stands here still.
    order: VecDeque<(u64, Vec<u8>)>,
}

impl Kept {
    fn drop_oldest(&mut self) {
        let Some((born_s, id)) = self.order.pop_front() else { return };
        if self.sessions.get(&id).is_some_and(|(put_s, _)| *put_s == born_s) {
            self.sessions.remove(&id);
        }
    }
}

impl Cache {
    /// A cache of so many sessions; 0 is without a limit.
    pub(super) fn new(sessions_max: usize, timeout_s: u32) -> Arc<Cache> {
        let sessions_max = if sessions_max == 0 { usize::MAX } else { sessions_max };
        Arc::new(Cache { kept: Mutex::default(), sessions_max, ages: Ages::new(timeout_s) })
    }

    fn put_at(&self, id: Vec<u8>, session: Vec<u8>, now_s: u64) {
        let mut kept = self.kept.lock();
        while kept.order.len() >= self.sessions_max
            || kept.order.front().is_some_and(|(born_s, _)| !self.ages.are_good(*born_s, now_s))
        {
            kept.drop_oldest();
        }
        kept.order.push_back((now_s, id.clone()));
        kept.sessions.insert(id, (now_s, session));
    }

    fn found_at(&self, id: &[u8], now_s: u64) -> Option<Vec<u8>> {
        let kept = self.kept.lock();
        let (born_s, session) = kept.sessions.get(id)?;
        self.ages.are_good(*born_s, now_s).then(|| session.clone())
    }
}

impl StoresServerSessions for Cache {
    fn put(&self, id: Vec<u8>, session: Vec<u8>) -> bool {
        self.put_at(id, session, self.ages.now_s());
        true
    }

    fn get(&self, id: &[u8]) -> Option<Vec<u8>> {
        self.found_at(id, self.ages.now_s())
    }

    fn take(&self, id: &[u8]) -> Option<Vec<u8>> {
        let (born_s, session) = self.kept.lock().sessions.remove(id)?;
        self.ages.are_good(born_s, self.ages.now_s()).then_some(session)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_opened_by_who_made_it_and_while_it_is_young() {
        let tickets = Tickets::new(5).expect("keys");
        let ticket = tickets.made_at(b"a session", 100).expect("a ticket");
        for (now_s, good) in [(100, true), (105, true), (106, false), (99, true)] {
            let opened = tickets.opened_at(&ticket, now_s);
            assert_eq!(opened.as_deref(), good.then_some(&b"a session"[..]), "at {now_s}");
        }
        for at in 0..ticket.len() {
            let mut bad = ticket.clone();
            bad[at] ^= 1;
            assert_eq!(tickets.opened_at(&bad, 100), None, "byte {at}");
            assert_eq!(tickets.opened_at(&ticket[..at], 100), None, "{at} bytes");
        }
        assert_eq!(Tickets::new(5).expect("keys").opened_at(&ticket, 100), None);
        let undated = tickets.keys.encrypt(b"short").expect("a ticket");
        assert_eq!(tickets.decrypt(&undated), None);
        let now = tickets.encrypt(b"now").expect("a ticket");
        assert_eq!(tickets.decrypt(&now).as_deref(), Some(&b"now"[..]));
    }

    #[test]
    fn a_cache_keeps_the_youngest_for_their_time() {
        let cache = Cache::new(2, 5);
        let put = |id: u8, now_s| cache.put_at(vec![id], vec![id], now_s);
        let found = |id: u8, now_s| cache.found_at(&[id], now_s).is_some();
        put(1, 10);
        put(2, 12);
        assert!(found(1, 15) && !found(1, 16) && found(2, 16));
        put(3, 13);
        assert!(!found(1, 13) && found(2, 13) && found(3, 13));
        // Taken, put again, and old: what stands in the order twice is dropped once.
        assert_eq!((cache.take(&[2]), cache.take(&[2])), (Some(vec![2]), None));
        put(3, 14);
        put(4, 15);
        assert!(found(3, 15) && found(4, 15));
        put(5, 30);
        let kept = cache.kept.lock();
        assert_eq!((kept.sessions.len(), kept.order.len()), (1, 1));
    }

    #[test]
    fn a_cache_without_a_limit_forgets_by_age_alone() {
        let cache = Cache::new(0, 1);
        for n in 0..10_000_u32 {
            assert!(cache.put(n.to_be_bytes().to_vec(), vec![]));
        }
        cache.put_at(vec![], vec![], 1_000_000);
        assert_eq!(cache.kept.lock().sessions.len(), 1);
    }

    #[test]
    fn times_are_those_of_openssl() {
        assert_eq!([0, 1, 300, 604_800, u32::MAX].map(timeout_s), [7200, 1, 300, 604_800, 604_800]);
    }
}
