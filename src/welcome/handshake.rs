//! TLS connections that are not clients yet.
//!
//! Invariant: a handshake never holds the lock, ends within `tls-handshake-timeout`, and those
//! under way count towards `maxclients`, so that strangers can keep neither memory nor files.

use super::{entertain, welcome};
use crate::busy::{Door, Guest, Line};
use crate::client::Visitor;
use crate::config::Settings;
use crate::session::Scratch;
use crate::shared::{Incoming, Shared};
use crate::tls::{self, ClientConfig, Lent, SelfSigned, TlsSocket};
use parking_lot::RwLock;
use rustls::ServerConfig;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
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

    /// How hands are shaken with other servers.
    pub(crate) fn outward(&self, settings: &Settings) -> Result<Arc<ClientConfig>, String> {
        tls::client_config(settings, self.self_signed.as_ref())
    }

    /// How long one may take.
    fn limit(&self) -> Duration {
        Duration::from_secs(self.limit_s.load(Ordering::Relaxed))
    }

    /// New limits.
    pub(crate) fn limit_to(&self, settings: &Settings) {
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

impl Door for Shared {
    fn open(&self, tcp: std::net::TcpStream, secure: bool, handshakes: usize) -> Option<Line> {
        if !secure {
            return Some(Line::Plain(tcp));
        }
        let own = &self.handshakes;
        let under_way = own.under_way.load(Ordering::Relaxed) + handshakes;
        let config = own.config.read().clone()?;
        let fits = under_way <= own.clients_max.load(Ordering::Relaxed);
        fits.then(|| Lent::accepted(tcp, config).ok()).flatten().map(Line::Tls)
    }

    fn handshake_limit(&self) -> Duration {
        self.handshakes.limit()
    }

    fn lost(&self, visitor: &Visitor, error: Option<io::Error>) {
        let why = match error {
            Some(error) => error.to_string(),
            None => "the TLS handshake took too long".to_string(),
        };
        let Visitor { addr, laddr, .. } = visitor;
        self.logger.warning(format!(
            "Error accepting a client connection: {why} (addr={addr} laddr={laddr})"
        ));
    }
}

/// Shakes hands with a TLS client and welcomes it. What is no TLS, or too slow, is let go with a
/// line in the log.
pub(crate) async fn shake_hands(
    shared: Arc<Shared>,
    scratch: Rc<RefCell<Scratch>>,
    stream: std::net::TcpStream,
) {
    let Some(visitor) = Visitor::tcp(&stream).map(Arc::new) else { return };
    let config = shared.handshakes.config.read().clone();
    let (Ok(stream), Some(config)) = (TcpStream::from_std(stream), config) else { return };
    if let Ok(socket) = TlsSocket::new(stream, config) {
        finish(shared, scratch, socket, visitor).await;
    }
}

/// The same for a connection that came while a slow script ran.
pub(crate) async fn go_on_shaking(
    shared: Arc<Shared>,
    scratch: Rc<RefCell<Scratch>>,
    guest: Guest,
) {
    let Line::Tls(lent) = guest.line else { return };
    if let Ok(socket) = TlsSocket::back(lent) {
        finish(shared, scratch, socket, guest.visitor).await;
    }
}

async fn finish(
    shared: Arc<Shared>,
    scratch: Rc<RefCell<Scratch>>,
    mut socket: TlsSocket,
    visitor: Arc<Visitor>,
) {
    let Some(begun) = Handshake::begin(&shared) else {
        // Redis: without a handshake nothing can be said, so the connection just ends.
        shared.lock_when_free().await.stats.connections_rejected += 1;
        return;
    };
    let shaken = poll_fn(|cx| socket.poll_handshake(cx));
    let error = match tokio::time::timeout(shared.handshakes.limit(), shaken).await {
        Ok(Ok(())) => {
            let connection = Incoming::Tls(Box::new(socket));
            let Some(state) = shared.lock_unless_busy() else {
                return entertain(shared.clone(), scratch, connection, visitor).await;
            };
            drop(begun);
            return welcome(&shared, &scratch, connection, &visitor, state);
        }
        Ok(Err(error)) => Some(error),
        Err(_) => None,
    };
    shared.lost(&visitor, error);
}
