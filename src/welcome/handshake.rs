//! TLS connections that are not clients yet.
//!
//! Invariant: a handshake never holds the lock, ends within `tls-handshake-timeout`, and those
//! under way count towards `maxclients`, so that strangers can keep neither memory nor files.

use super::welcome;
use crate::client::Visitor;
use crate::config::Settings;
use crate::session::Scratch;
use crate::shared::{Incoming, Shared};
use crate::tls::{self, SelfSigned, TlsSocket};
use parking_lot::RwLock;
use rustls::ServerConfig;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// How hands are shaken, and how many are at it.
pub(crate) struct Handshakes {
    config: RwLock<Option<Arc<ServerConfig>>>,
    /// Certificates of a server in a test.
    pub(crate) self_signed: Option<SelfSigned>,
    under_way: AtomicUsize,
    /// `maxclients`.
    clients_max: AtomicUsize,
    /// `tls-handshake-timeout`, in seconds.
    limit_s: AtomicU64,
}

impl Handshakes {
    pub(crate) fn new(
        config: Option<Arc<ServerConfig>>,
        self_signed: Option<SelfSigned>,
    ) -> Handshakes {
        Handshakes {
            config: RwLock::new(config),
            self_signed,
            under_way: AtomicUsize::new(0),
            clients_max: AtomicUsize::new(0),
            limit_s: AtomicU64::new(0),
        }
    }

    /// New connections are accepted with what `settings` say.
    pub(crate) fn certify(&self, settings: &Settings) -> Result<(), String> {
        let config = tls::server_config(settings, self.self_signed.as_ref())?;
        *self.config.write() = Some(config);
        Ok(())
    }

    /// New limits.
    pub(crate) fn limit(&self, settings: &Settings) {
        self.clients_max.store(settings.maxclients, Ordering::Relaxed);
        self.limit_s.store(settings.tls.handshake_timeout_s, Ordering::Relaxed);
    }
}

/// One that is under way.
struct Handshake<'a>(&'a Handshakes);

impl<'a> Handshake<'a> {
    /// Lets one begin, unless there are as many connections as there may be clients.
    fn begin(shared: &'a Shared) -> Option<Handshake<'a>> {
        let begun = Handshake(&shared.handshakes);
        let under_way = begun.0.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        let clients = shared.lock_unless_busy().map_or(0, |state| state.clients.len());
        let fits = clients + under_way <= begun.0.clients_max.load(Ordering::Relaxed);
        fits.then_some(begun)
    }
}

impl Drop for Handshake<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Shakes hands with a TLS client and welcomes it. What is no TLS, or too slow, is let go with a
/// line in the log.
pub(crate) async fn shake_hands(
    shared: Arc<Shared>,
    scratch: Rc<RefCell<Scratch>>,
    stream: std::net::TcpStream,
) {
    let Some(visitor) = Visitor::tcp(&stream) else { return };
    let config = shared.handshakes.config.read().clone();
    let (Ok(stream), Some(config)) = (TcpStream::from_std(stream), config) else { return };
    let Some(begun) = Handshake::begin(&shared) else {
        // Redis: without a handshake nothing can be said, so the connection just ends.
        shared.lock_when_free().await.stats.connections_rejected += 1;
        return;
    };
    let limit = Duration::from_secs(shared.handshakes.limit_s.load(Ordering::Relaxed));
    let why = match tokio::time::timeout(limit, TlsSocket::accept(stream, config)).await {
        Ok(Ok(socket)) => {
            let state = shared.lock_when_free().await;
            drop(begun);
            let connection = Incoming::Tls(Box::new(socket));
            return welcome(&shared, &scratch, connection, &visitor, state);
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the TLS handshake took too long".to_string(),
    };
    let Visitor { addr, laddr, .. } = &visitor;
    shared
        .logger
        .warning(format!("Error accepting a client connection: {why} (addr={addr} laddr={laddr})"));
}
