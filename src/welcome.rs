//! How connections come in: accepted, counted, refused or given a session.

use crate::busy::{self, Line};
use crate::client::{Asker, Transport, Visitor};
use crate::listeners::{refuse, Acceptor, Listener, Port};
use crate::session::{Scratch, Session, Stream};
use crate::settle;
use crate::shared::{Incoming, Shared};
use crate::state::State;
use crate::tls::TlsSocket;
use parking_lot::MutexGuard;
use std::cell::RefCell;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::{TcpStream, UnixListener, UnixStream};

mod handshake;
pub(crate) use handshake::{go_on_shaking, shake_hands, Handshakes};

pub(crate) async fn accept_tcp(shared: Arc<Shared>, port: Port, listener: Listener) {
    let Ok(listener) = Acceptor::new(listener) else { return };
    let mut since = shared.listening(port).since.subscribe();
    loop {
        // A listener that was shut down looks ready for ever: only the change ends it.
        let accepted = tokio::select! {
            biased;
            _ = since.changed() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                shared.hand_over(match port {
                    Port::Plain => Incoming::Tcp(stream),
                    Port::Tls | Port::Metrics => Incoming::Handshake(stream),
                });
            }
            // Out of descriptors, say: the next try must not spin.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

pub(crate) async fn accept_unix(shared: Arc<Shared>, listener: std::os::unix::net::UnixListener) {
    let Ok(listener) = UnixListener::from_std(listener) else { return };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Ok(stream) = stream.into_std() {
                    shared.hand_over(Incoming::Unix(stream));
                }
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

impl Visitor {
    /// A TCP connection; `None` when it has gone already.
    pub fn tcp(stream: &std::net::TcpStream) -> Option<Visitor> {
        let peer = stream.peer_addr().ok()?;
        let laddr = stream.local_addr().ok()?.to_string();
        let transport = Transport::Tcp { local: peer.ip().to_canonical().is_loopback() };
        let id = OnceLock::new();
        Some(Visitor { transport, addr: peer.to_string(), laddr, fd: stream.as_raw_fd(), id })
    }

    fn unix(stream: &std::os::unix::net::UnixStream) -> Option<Visitor> {
        let own = stream.local_addr().ok()?;
        let path = own.as_pathname().map(|path| path.display().to_string());
        let addr = format!("{}:0", path.unwrap_or_default());
        let (laddr, fd) = (addr.clone(), stream.as_raw_fd());
        Some(Visitor { transport: Transport::Unix, addr, laddr, fd, id: OnceLock::new() })
    }

    fn memory() -> Visitor {
        let (addr, laddr) = ("embedded:0".to_string(), "embedded:0".to_string());
        Visitor { transport: Transport::Memory, addr, laddr, fd: -1, id: OnceLock::new() }
    }
}

impl Incoming {
    /// What is known of the connection; `None` when it has gone already.
    pub(crate) fn visitor(&self) -> Option<Arc<Visitor>> {
        match self {
            Incoming::Listener(..) | Incoming::Moved(_) => None,
            Incoming::Tcp(stream) | Incoming::Handshake(stream) => {
                Visitor::tcp(stream).map(Arc::new)
            }
            // It was looked at before its handshake.
            Incoming::Tls(_) => None,
            Incoming::Unix(stream) => Visitor::unix(stream).map(Arc::new),
            Incoming::Memory(_) => Some(Arc::new(Visitor::memory())),
            Incoming::Guest(guest) => Some(guest.visitor.clone()),
        }
    }

    fn stream(self) -> std::io::Result<Option<Stream>> {
        Ok(match self {
            Incoming::Listener(..) | Incoming::Handshake(_) | Incoming::Moved(_) => None,
            Incoming::Tls(socket) => Some(Stream::Tls(socket)),
            Incoming::Tcp(stream) => Some(Stream::Tcp(TcpStream::from_std(stream)?)),
            Incoming::Guest(guest) => Some(match guest.line {
                Line::Plain(stream) => Stream::Tcp(TcpStream::from_std(stream)?),
                Line::Tls(lent) => Stream::Tls(Box::new(TlsSocket::back(lent)?)),
            }),
            Incoming::Unix(stream) => Some(Stream::Unix(UnixStream::from_std(stream)?)),
            Incoming::Memory(stream) => Some(Stream::Memory(stream)),
        })
    }
}

/// Answers a connection that came while a slow script runs, and welcomes it afterwards.
pub(crate) async fn entertain(
    shared: Arc<Shared>,
    scratch: Rc<RefCell<Scratch>>,
    mut connection: Incoming,
    visitor: Arc<Visitor>,
) {
    let lent = match &mut connection {
        Incoming::Tcp(stream) => busy::twin(stream).map(Line::Plain),
        Incoming::Unix(stream) => busy::twin(stream).map(Line::Plain),
        Incoming::Tls(socket) => socket.lend().map(Line::Tls),
        _ => None,
    };
    if let Some(Line::Plain(twin)) = &lent {
        let _ = twin.set_nonblocking(true);
    }
    let asker = Asker::Visitor(visitor.clone());
    let mut goes_on = true;
    let state = loop {
        if let Some(state) = shared.lock_unless_busy() {
            break state;
        }
        let line = match &connection {
            Incoming::Guest(guest) => Some(&guest.line),
            _ => lent.as_ref(),
        };
        // One that has gone may have to be unregistered, which needs the lock.
        goes_on &= line.is_some_and(|line| goes_on && busy::serve(line, &asker, &shared.running));
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    welcome(&shared, &scratch, connection, &visitor, state);
}

/// Registers a connection and starts its session, or refuses it. The caller has the lock, so that
/// no slow script can keep the worker here.
pub(crate) fn welcome(
    shared: &Arc<Shared>,
    scratch: &Rc<RefCell<Scratch>>,
    connection: Incoming,
    visitor: &Visitor,
    mut state: MutexGuard<'_, State>,
) {
    shared.end_rest(&mut state);
    let registered = settle::connect(&mut state, visitor);
    let Ok(Some(stream)) = connection.stream() else {
        if let Ok(id) = registered {
            settle::disconnect(&mut state, id);
        }
        return;
    };
    let id = match registered {
        Ok(id) => id,
        Err(refusal) => {
            state.stats.connections_rejected += 1;
            drop(state);
            tokio::task::spawn_local(refuse(stream, refusal));
            return;
        }
    };
    let keepalive_s = state.config.settings().tcp_keepalive_s;
    let kick = state.clients.at(id).kick.clone();
    drop(state);
    let tcp = match &stream {
        Stream::Tcp(stream) => Some(stream),
        Stream::Tls(socket) => Some(socket.tcp()),
        Stream::Unix(_) | Stream::Memory(_) => None,
    };
    if let (Some(tcp), true) = (tcp, keepalive_s > 0) {
        let every = Duration::from_secs(keepalive_s);
        let keepalive = socket2::TcpKeepalive::new()
            .with_time(every)
            .with_interval((every / 3).max(Duration::from_secs(1)))
            .with_retries(3);
        let _ = socket2::SockRef::from(tcp).set_tcp_keepalive(&keepalive);
    }
    let session = Session::new(stream, id, shared.clone(), scratch.clone());
    tokio::task::spawn_local(session.run(kick));
}
