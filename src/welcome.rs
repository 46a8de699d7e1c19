//! How connections come in: accepted, counted, refused or given a session.

use crate::client::{ClientId, Transport};
use crate::config::LogLevel;
use crate::listeners::refuse;
use crate::session::{Scratch, Session, Stream};
use crate::shared::{Incoming, Shared};
use crate::state::State;
use parking_lot::MutexGuard;
use std::cell::RefCell;
use std::net::TcpListener as StdTcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

pub(crate) async fn accept_tcp(shared: Arc<Shared>, listener: StdTcpListener) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let mut since = shared.listening_since.subscribe();
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
                if let Ok(stream) = stream.into_std() {
                    shared.hand_over(Incoming::Tcp(stream));
                }
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

const PROTECTED: &[u8] = b"-DENIED Redis is running in protected mode because protected mode is \
enabled and no password is set for the default user. In this mode connections are only accepted \
from the loopback interface. If you want to connect from external computers to Redis you may adopt \
one of the following solutions: 1) Just disable protected mode sending the command 'CONFIG SET \
protected-mode no' from the loopback interface by connecting to Redis from the same host the \
server is running, however MAKE SURE Redis is not publicly accessible from internet if you do so. \
Use CONFIG REWRITE to make this change permanent. 2) Alternatively you can just disable the \
protected mode by editing the Redis configuration file, and setting the protected mode option to \
'no', and then restarting the server. 3) If you started the server manually just for testing, \
restart it with the '--protected-mode no' option. 4) Set up an authentication password for the \
default user. NOTE: You only need to do one of the above things in order for the server to start \
accepting connections from the outside.\r\n";

/// Registers a connection and starts its session, or refuses it. The caller has the lock, so that
/// no slow script can keep the worker here.
pub(crate) fn welcome(
    shared: &Arc<Shared>,
    scratch: &Rc<RefCell<Scratch>>,
    connection: Incoming,
    mut state: MutexGuard<'_, State>,
) {
    let Some((stream, transport, addr, laddr)) = identify(connection) else { return };
    let fd = descriptor(&stream);
    let (id, kick, keepalive_s) = {
        let now_ms = shared.clock.now_ms();
        let settings = state.config.settings();
        let exposed = settings.protected_mode && settings.requirepass.is_empty();
        let refusal: Option<&'static [u8]> = match transport {
            Transport::Tcp { local: false } if exposed => Some(PROTECTED),
            _ if state.clients.len() >= settings.maxclients => {
                Some(b"-ERR max number of clients reached\r\n")
            }
            _ => None,
        };
        let needs_password = !settings.requirepass.is_empty();
        let keepalive_s = settings.tcp_keepalive_s;
        if let Some(refusal) = refusal {
            state.stats.connections_rejected += 1;
            drop(state);
            tokio::task::spawn_local(refuse(stream, refusal));
            return;
        }
        state.stats.connections_received += 1;
        if state.logger.wants(LogLevel::Verbose) {
            state.logger.verbose(match transport {
                Transport::Unix => {
                    format!("Accepted connection to {}", laddr.trim_end_matches(":0"))
                }
                _ => format!("Accepted {addr}"),
            });
        }
        let id: ClientId = state.clients.add(transport, now_ms);
        let client = state.clients.at(id);
        client.authenticated = !needs_password;
        client.addr = addr;
        client.laddr = laddr;
        client.fd = fd;
        (id, client.kick.clone(), keepalive_s)
    };
    if let (Stream::Tcp(stream), true) = (&stream, keepalive_s > 0) {
        let every = Duration::from_secs(keepalive_s);
        let keepalive = socket2::TcpKeepalive::new()
            .with_time(every)
            .with_interval((every / 3).max(Duration::from_secs(1)))
            .with_retries(3);
        let _ = socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive);
    }
    let session = Session::new(stream, id, shared.clone(), scratch.clone());
    tokio::task::spawn_local(session.run(kick));
}

fn identify(connection: Incoming) -> Option<(Stream, Transport, String, String)> {
    Some(match connection {
        Incoming::Listener(_) => return None,
        Incoming::Tcp(stream) => {
            let stream = TcpStream::from_std(stream).ok()?;
            let peer = stream.peer_addr().ok()?;
            let own = stream.local_addr().ok()?;
            let local = peer.ip().to_canonical().is_loopback();
            let transport = Transport::Tcp { local };
            (Stream::Tcp(stream), transport, peer.to_string(), own.to_string())
        }
        Incoming::Unix(stream) => {
            let stream = UnixStream::from_std(stream).ok()?;
            let own = stream.local_addr().ok()?;
            let path = own.as_pathname().map(|path| path.display().to_string());
            let path = format!("{}:0", path.unwrap_or_default());
            (Stream::Unix(stream), Transport::Unix, path.clone(), path)
        }
        Incoming::Memory(stream) => {
            let name = "embedded:0".to_string();
            (Stream::Memory(stream), Transport::Memory, name.clone(), name)
        }
    })
}

fn descriptor(stream: &Stream) -> i32 {
    use std::os::fd::AsRawFd;
    match stream {
        Stream::Tcp(stream) => stream.as_raw_fd(),
        Stream::Unix(stream) => stream.as_raw_fd(),
        Stream::Memory(_) => -1,
    }
}
