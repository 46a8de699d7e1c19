//! The link to the primary from one end to the other, again and again.
//!
//! Invariant: each attempt leaves either a link that is up, or the data and the history as they
//! were, or, when a full copy has been begun and lost, no history to go on with.

use super::handshake::{greet, Answer, Introduction};
use super::payload::{End, Payload};
use super::reach::reach;
use super::stream::Stream;
use super::wire::{Broken, Wire};
use super::{load, Access};
use crate::clock::Stopwatch;
use crate::following;
use crate::replicas;
use crate::role::{Address, Link};
use crate::server_log::Logger;
use crate::shared::Shared;
use crate::state::State;
use crate::tls::{self, Outward};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Between attempts, so that a short break costs little.
const SOON: Duration = Duration::from_millis(25);
/// After a copy that was lost on its way: the next is a snapshot more for the primary.
const AFTER_COPY: Duration = Duration::from_millis(250);
const LATER: Duration = Duration::from_secs(1);
/// A primary that turns the replica away is asked so often before attempts become rarer.
const TURNED_AWAY_MAX: u32 = 40;
/// A connection that cannot be had is tried soon for a minute, then ever more rarely: so often in
/// the time for which nobody has been heard.
const TRIES_IN_SILENCE: u64 = 2400;
/// What a name stands for is looked up again after so long.
const LOOKED_UP_MS: u64 = 1000;
/// A link that was up for so long is tried again at once.
const STEADY_MS: u64 = 1000;
/// Attempts are told of once in this time.
const TOLD_MS: u64 = 1000;

/// What an attempt needs to know.
struct Plan {
    address: Address,
    me: Introduction,
    from: Option<String>,
    timeout_ms: u64,
    /// `tls-replication`.
    tls: bool,
    logger: Arc<Logger>,
}

/// Links to the primary that the role names, until the role is another.
pub(crate) fn follow(shared: Weak<Shared>, generation: u64) -> std::io::Result<()> {
    let access = Access { shared, generation };
    let thread = std::thread::Builder::new().name("redouble-replica".into());
    thread.spawn(move || keep_up(&access)).map(drop)
}

/// How far an attempt came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reached {
    /// No connection, or one on which nobody says anything.
    Nobody,
    /// A primary that does not let this replica on now.
    Door,
    /// A full copy, whose connection was lost.
    Copy,
    /// A full copy that cannot be loaded, or not be kept.
    BadCopy,
    /// The stream, for so many milliseconds.
    Stream(u64),
}

/// When the next attempt is made.
#[derive(Debug)]
struct Patience {
    turned_away: u32,
    last_heard: Stopwatch,
}

impl Patience {
    fn rest(&mut self, reached: Reached) -> Duration {
        if reached != Reached::Nobody {
            self.last_heard = Stopwatch::start();
        }
        self.turned_away = match reached {
            Reached::Door => self.turned_away + 1,
            _ => 0,
        };
        let unheard_ms = self.last_heard.elapsed_ns() / 1_000_000;
        match reached {
            Reached::Stream(STEADY_MS..) => Duration::ZERO,
            Reached::Stream(_) => SOON,
            Reached::Nobody => rest_in_silence(unheard_ms),
            Reached::Door if self.turned_away < TURNED_AWAY_MAX => SOON,
            Reached::Copy => AFTER_COPY,
            // The next would most likely be the same.
            _ => LATER,
        }
    }
}

/// The primary has not been heard of for so long.
fn rest_in_silence(unheard_ms: u64) -> Duration {
    Duration::from_millis(unheard_ms / TRIES_IN_SILENCE).clamp(SOON, LATER)
}

/// What the name of the primary stands for, or why that is not known.
#[derive(Default)]
struct LookedUp {
    of: Address,
    found: Vec<SocketAddr>,
    failure: Option<(std::io::ErrorKind, String)>,
    at: Option<Stopwatch>,
}

impl LookedUp {
    fn addresses(&mut self, of: &Address) -> std::io::Result<&[SocketAddr]> {
        let is_old = self.at.as_ref().is_none_or(|at| at.elapsed_ns() / 1_000_000 >= LOOKED_UP_MS);
        if is_old || self.of != *of {
            (self.of, self.at) = (of.clone(), Some(Stopwatch::start()));
            (self.found, self.failure) =
                match host(of).and_then(|host| (host, of.port).to_socket_addrs()) {
                    Ok(found) => (found.collect(), None),
                    Err(error) => (Vec::new(), Some((error.kind(), error.to_string()))),
                };
        }
        match &self.failure {
            Some((kind, text)) => Err(std::io::Error::new(*kind, text.clone())),
            None => Ok(&self.found),
        }
    }
}

fn keep_up(access: &Access) {
    let mut looked_up = LookedUp::default();
    let mut patience = Patience { turned_away: 0, last_heard: Stopwatch::start() };
    let mut told: Option<Stopwatch> = None;
    while let Some(plan) = access.with(plan) {
        let tell = told.as_ref().is_none_or(|told| told.elapsed_ns() / 1_000_000 >= TOLD_MS);
        if tell {
            told = Some(Stopwatch::start());
            plan.logger.notice(format!("Connecting to MASTER {}", plan.address));
        }
        let mut reached = Reached::Nobody;
        if let Err(broken) = attempt(access, &plan, &mut looked_up, tell, &mut reached) {
            if matches!((&broken, reached), (Broken::Nonsense(_), Reached::Copy)) {
                reached = Reached::BadCopy;
            }
            match &broken {
                Broken::Unwanted => {}
                Broken::Silent => tell_silence(access, &plan.logger),
                broken if tell => {
                    let text = format!("Error condition on socket for SYNC: {broken}");
                    plan.logger.warning(text);
                }
                _ => {}
            }
        }
        access.with(following::lost);
        rest(access, patience.rest(reached));
    }
}

/// The primary said nothing for `repl-timeout`, before the stream began.
fn tell_silence(access: &Access, logger: &Logger) {
    let link = access.with(|state| state.role.upstream.as_ref().map(|upstream| upstream.link));
    logger.warning(match link.flatten() {
        Some(Link::Sync) => {
            "Timeout receiving bulk data from MASTER... If the problem persists try to set the \
             'repl-timeout' parameter in redis.conf to a larger value."
        }
        _ => "Timeout connecting to the MASTER...",
    });
}

/// Waits, but not for what nobody wants any more.
fn rest(access: &Access, time: Duration) {
    let waiting = Stopwatch::start();
    while waiting.elapsed_ns() < time.as_nanos() as u64 && access.is_wanted() {
        std::thread::sleep(SOON.min(time));
    }
}

fn plan(state: &mut State) -> Plan {
    let settings = state.config.settings();
    let mut plan = Plan {
        address: Address::default(),
        me: Introduction {
            user: settings.masteruser.clone(),
            password: settings.masterauth.clone(),
            port: match settings.replica_announce_port {
                0 if settings.tls.replication && state.facts.tls_port > 0 => state.facts.tls_port,
                0 => state.facts.tcp_port,
                port => port,
            },
            ip: settings.replica_announce_ip.clone(),
            version: settings.redis_version.clone(),
            ..Introduction::default()
        },
        from: settings.bind_source_addr.clone(),
        timeout_ms: settings.repl_timeout_s.max(1) * 1000,
        tls: settings.tls.replication,
        logger: state.logger.clone(),
    };
    let next = (state.role.id.clone(), state.log.offset + 1);
    if let Some(upstream) = &mut state.role.upstream {
        upstream.link = Link::Connecting;
        plan.address = upstream.address.clone();
        plan.me.resume = upstream.is_resumable.then_some(next);
        plan.me.takes_over = upstream.takes_over;
    }
    plan
}

/// One attempt; notes how far it came.
fn attempt(
    access: &Access,
    plan: &Plan,
    looked_up: &mut LookedUp,
    tell: bool,
    reached: &mut Reached,
) -> Result<(), Broken> {
    let addresses = looked_up.addresses(&plan.address).map_err(Broken::Io)?;
    let socket = connect(access, plan, addresses).map_err(Broken::Io)?;
    if plan.tls {
        // Ciphers cost both sides something.
        *reached = Reached::Door;
    }
    let _ = socket.set_nodelay(true);
    if tell {
        plan.logger.notice("MASTER <-> REPLICA sync started");
    }
    let socket = encipher(socket, access, plan)?;
    let mut wire = Wire::new(socket, access.clone(), plan.timeout_ms).map_err(Broken::Io)?;
    let twin = wire.twin();
    step(access, |state| {
        if let Some(upstream) = &mut state.role.upstream {
            upstream.socket = twin;
            upstream.link = Link::Handshake;
        }
    })?;
    if tell {
        plan.logger.notice("Non blocking connect for SYNC fired the event.");
    }
    let answer = greet(&mut wire, &plan.me, &plan.logger);
    if wire.received > 0 {
        *reached = Reached::Door;
    }
    if plan.me.takes_over {
        settle_failover(access, &answer)?;
    }
    match answer? {
        Answer::Later(_) => return Ok(()),
        Answer::Continue(id) => step(access, |state| {
            following::resume(state, id.as_deref());
            state
                .logger
                .notice("MASTER <-> REPLICA sync: Master accepted a Partial Resynchronization.");
            let supervisor = state.facts.supervisor;
            supervisor.in_step("Partial Resynchronization accepted", &state.logger);
        })?,
        Answer::Full(id, offset) => {
            *reached = Reached::Copy;
            copy(access, &mut wire, plan, Some((&id, offset)))?;
        }
        Answer::Old => {
            *reached = Reached::Copy;
            copy(access, &mut wire, plan, None)?;
        }
    }
    let up = Stopwatch::start();
    let (addr, laddr) = wire.addresses();
    let primary = step(access, |state| {
        let id = following::begin_stream(state, &addr, &laddr);
        (id, state.clients.at(id).kick.clone())
    })?;
    let broken = Stream::new(&mut wire, access, primary, plan.timeout_ms).run();
    *reached = Reached::Stream(up.elapsed_ns() / 1_000_000);
    match &broken {
        Broken::Silent => plan.logger.warning("MASTER timeout: no data nor PING received..."),
        Broken::Nonsense(text) => {
            plan.logger.warning(format!("Protocol error from master: {text}"));
            // What was applied last may be wrong.
            access.with(|state| {
                if let Some(upstream) = &mut state.role.upstream {
                    upstream.is_resumable = false;
                }
            });
        }
        _ => {}
    }
    Ok(())
}

/// Runs a step under the lock, if it is still wanted.
fn step<R>(access: &Access, work: impl FnOnce(&mut State) -> R) -> Result<R, Broken> {
    access.with(work).ok_or(Broken::Unwanted)
}

/// Shakes hands where `tls-replication` says so.
fn encipher(socket: TcpStream, access: &Access, plan: &Plan) -> Result<Outward, Broken> {
    if !plan.tls {
        return Ok(Outward::Plain(socket));
    }
    let settings = step(access, |state| Box::new(state.config.settings().clone()))?;
    let shared = access.shared.upgrade().ok_or(Broken::Unwanted)?;
    let config = shared.handshakes.outward(&settings).map_err(Broken::Nonsense)?;
    let limit = Duration::from_millis(plan.timeout_ms.max(1));
    let host = host(&plan.address).map_err(Broken::Io)?;
    let stream = tls::connect_blocking(&config, socket, host, limit).map_err(Broken::Io)?;
    Ok(Outward::Tls(Box::new(stream)))
}

/// The name to look up. Only the C library would take one that is no text, and find nobody.
fn host(address: &Address) -> std::io::Result<&str> {
    std::str::from_utf8(&address.host).map_err(|_| std::io::ErrorKind::NotFound.into())
}

fn connect(access: &Access, plan: &Plan, addresses: &[SocketAddr]) -> std::io::Result<TcpStream> {
    let timeout = Duration::from_millis(plan.timeout_ms);
    let from = plan.from.as_deref().and_then(|from| from.parse().ok());
    let mut last = std::io::Error::from(std::io::ErrorKind::NotFound);
    for &address in addresses {
        match reach(address, from, timeout, || access.is_wanted()) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The primary has been asked to step down in favour of the one that this server now follows.
fn settle_failover(access: &Access, answer: &Result<Answer, Broken>) -> Result<(), Broken> {
    match answer {
        Ok(Answer::Continue(_) | Answer::Full(..)) => step(access, replicas::end_failover),
        // It may be reached again.
        Err(Broken::Io(_) | Broken::Closed | Broken::Silent) => Ok(()),
        _ => {
            access.with(|state| {
                replicas::abort_failover(state, "Failover target rejected psync request");
            });
            Err(Broken::Unwanted)
        }
    }
}

/// Receives a full copy in place of the data.
fn copy(
    access: &Access,
    wire: &mut Wire,
    plan: &Plan,
    point: Option<(&str, u64)>,
) -> Result<(), Broken> {
    step(access, |state| {
        let heard_ms = state.clock.steady_ms();
        if let Some(upstream) = &mut state.role.upstream {
            upstream.link = Link::Sync;
            upstream.heard_ms = heard_ms;
            upstream.transfer = Default::default();
        }
    })?;
    let end = End::read(wire)?;
    let mut payload = Payload::new(wire, access, end);
    payload.note();
    let loaded = load::load(access, &mut payload, &plan.logger, point);
    match (loaded, payload.broken.take()) {
        (Ok(()), _) => Ok(()),
        (Err(_), Some(broken)) => Err(broken),
        (Err(broken), None) => Err(broken),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_up_once_in_a_while() {
        let mut looked_up = LookedUp::default();
        let address = |host: &str| Address { host: host.into(), port: 6379 };
        assert_eq!(looked_up.addresses(&address("127.0.0.1")).unwrap().len(), 1);
        looked_up.found.clear();
        assert!(looked_up.addresses(&address("127.0.0.1")).unwrap().is_empty());
        assert!(looked_up.addresses(&address("no such name")).is_err());
        assert!(looked_up.addresses(&address("no such name")).is_err());
        assert_eq!(looked_up.addresses(&address("::1")).unwrap().len(), 1);
    }

    #[test]
    fn a_primary_is_asked_again_soon_and_not_too_often() {
        let mut patience = Patience { turned_away: 0, last_heard: Stopwatch::start() };
        assert_eq!(patience.rest(Reached::Stream(5000)), Duration::ZERO);
        assert_eq!(patience.rest(Reached::Stream(5)), SOON);
        assert_eq!(patience.rest(Reached::Copy), AFTER_COPY);
        assert_eq!(patience.rest(Reached::BadCopy), LATER);
        assert!((0..1000).all(|_| patience.rest(Reached::Nobody) == SOON));
        assert_eq!(rest_in_silence(59_000), SOON);
        assert_eq!(rest_in_silence(600_000), Duration::from_millis(250));
        assert_eq!(rest_in_silence(36_000_000), LATER);
        let soon = (0..1000).take_while(|_| patience.rest(Reached::Door) == SOON).count();
        assert!((10..100).contains(&soon));
        patience.rest(Reached::Stream(1));
        assert_eq!(patience.rest(Reached::Door), SOON);
    }
}
