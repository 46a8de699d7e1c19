//! Listening sockets, connections that are refused, and why a server did not start.

mod acceptor;

use crate::config::Settings;
use crate::process;
use crate::session::Stream;
use crate::tls::{self, SelfSigned};
pub(crate) use acceptor::{Acceptor, Listener};
use parking_lot::Mutex;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;

/// Why a server did not start.
#[derive(Debug)]
pub enum StartError {
    /// A directive was refused; the text names it.
    Config(String),
    /// A user was refused; lines for the log.
    Users(Vec<String>),
    /// A listener could not be opened; the text is Redis's.
    Listen(String, io::Error),
    /// The data cannot be loaded; the log says more.
    Data(String),
    /// The same of the one for TLS.
    ListenTls(String, io::Error),
    /// Certificates, keys or ciphers were refused.
    Tls(String),
    /// The system refused something else.
    Io(io::Error),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StartError::Config(text) | StartError::Data(text) => write!(f, "{text}"),
            StartError::Users(lines) => write!(f, "{}", lines.join("\n")),
            StartError::Listen(what, error) | StartError::ListenTls(what, error) => {
                write!(f, "{what}: {}", crate::config::error_text(error))
            }
            StartError::Tls(text) => write!(f, "{text}"),
            StartError::Io(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl StartError {
    /// The same of the listener for TLS.
    fn of_tls(self) -> StartError {
        match self {
            StartError::Listen(what, error) => StartError::ListenTls(what, error),
            other => other,
        }
    }
}

/// What is spoken behind a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    Plain,
    Tls,
    /// `metrics-port`.
    Metrics,
}

/// The listeners of one port.
#[derive(Debug)]
pub(crate) struct Listening {
    /// Those that accept now.
    open: Mutex<Vec<Listener>>,
    /// Grows when they are replaced.
    pub(crate) since: watch::Sender<u64>,
}

impl Listening {
    pub(crate) fn new(listeners: &[Listener]) -> Listening {
        Listening { open: Mutex::new(listeners.to_vec()), since: watch::Sender::new(0) }
    }

    /// From here on nobody is let in.
    pub(crate) fn close(&self) {
        for listener in self.open.lock().drain(..) {
            let _ = socket2::SockRef::from(&*listener).shutdown(std::net::Shutdown::Both);
        }
    }

    /// Listens on other addresses. Gives the listeners that accept from now on: those before, if
    /// the new ones cannot be had.
    pub(crate) fn replace(
        &self,
        bind: &[String],
        port: u16,
        backlog: i32,
    ) -> (Vec<Listener>, Result<u16, String>) {
        let mut open = self.open.lock();
        // A socket that is shut down no longer listens, but keeps its address and can listen
        // again: the way back should the new addresses be refused.
        for old in open.iter() {
            let _ = socket2::SockRef::from(&**old).shutdown(std::net::Shutdown::Both);
        }
        let answer = match open_tcp(bind, port, false, backlog) {
            Ok(fresh) => {
                *open = fresh;
                Ok(port)
            }
            Err(error) => {
                for old in open.iter_mut() {
                    let _ = socket2::SockRef::from(&**old).listen(backlog.max(16));
                    // The old descriptor may still be registered with whoever accepted so far.
                    if let Ok(twin) = old.try_clone() {
                        *old = Arc::new(twin);
                    }
                }
                Err(error.to_string())
            }
        };
        self.since.send_modify(|since| *since += 1);
        (open.clone(), answer)
    }

    /// Those that accept now.
    pub(crate) fn open(&self) -> Vec<Listener> {
        self.open.lock().clone()
    }
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        StartError::Io(error)
    }
}

/// What a server opens before it starts, so that nothing is refused afterwards.
pub(crate) struct Opened {
    pub(crate) tcp: Vec<Listener>,
    pub(crate) tls: Vec<Listener>,
    pub(crate) tls_config: Option<Arc<rustls::ServerConfig>>,
    pub(crate) unix: Option<std::os::unix::net::UnixListener>,
    pub(crate) metrics: Vec<Listener>,
}

/// Opens what `settings` name; with `any_port`, a free one instead of `port`. A server that has
/// throw-away certificates has a TLS port in any case.
pub(crate) fn open(
    settings: &Settings,
    any_port: bool,
    own: Option<&SelfSigned>,
) -> Result<Opened, StartError> {
    let (tls, backlog) = (&settings.tls, settings.tcp_backlog);
    let any_tls_port = own.is_some() && tls.port == 0;
    let tls_config = (tls.is_used() || any_tls_port)
        .then(|| tls::server_config(settings, own))
        .transpose()
        .map_err(StartError::Tls)?;
    Ok(Opened {
        tcp: open_tcp(&settings.bind, settings.port, any_port, backlog)?,
        tls: open_tcp(&settings.bind, tls.port, any_tls_port, backlog)
            .map_err(StartError::of_tls)?,
        metrics: open_tcp(&settings.bind, settings.metrics_port, false, backlog)?,
        tls_config,
        unix: open_unix(settings)?,
    })
}

/// Opens a listener for each address; with `any_port`, one of the loopback interface.
fn open_tcp(
    bind: &[String],
    port: u16,
    any_port: bool,
    backlog: i32,
) -> Result<Vec<Listener>, StartError> {
    if port == 0 && !any_port {
        return Ok(Vec::new());
    }
    let port = if any_port { 0 } else { port };
    let bind: Vec<&str> =
        if any_port { vec!["127.0.0.1"] } else { bind.iter().map(String::as_str).collect() };
    let mut listeners = Vec::new();
    for address in bind {
        // A leading minus: not being able to listen there is no failure.
        let (address, optional) = match address.strip_prefix('-') {
            Some(address) => (address, true),
            None => (address, false),
        };
        match listen_tcp(address, port, backlog) {
            Ok(listener) => listeners.push(Arc::new(listener)),
            Err(_) if optional => {}
            Err(error) => {
                let what =
                    format!("Could not create server TCP listening socket {address}:{port}: bind");
                return Err(StartError::Listen(what, error));
            }
        }
    }
    Ok(listeners)
}

fn listen_tcp(address: &str, port: u16, backlog: i32) -> io::Result<TcpListener> {
    let ip = match address {
        "*" => "0.0.0.0",
        "::*" => "::",
        address => address,
    };
    let ip: std::net::IpAddr = match ip.parse() {
        Ok(ip) => ip,
        Err(_) => std::net::ToSocketAddrs::to_socket_addrs(&(ip, port))?
            .next()
            .map(|address| address.ip())
            .ok_or(io::ErrorKind::AddrNotAvailable)?,
    };
    let domain = socket2::Domain::for_address(SocketAddr::new(ip, port));
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    if ip.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::new(ip, port).into())?;
    socket.listen(backlog.max(16))?;
    Ok(socket.into())
}

/// Opens the unix socket, if there shall be one.
fn open_unix(settings: &Settings) -> Result<Option<std::os::unix::net::UnixListener>, StartError> {
    use std::os::unix::fs::PermissionsExt;
    let Some(path) = settings.unixsocket.as_ref().filter(|path| !path.as_os_str().is_empty())
    else {
        return Ok(None);
    };
    let _ = std::fs::remove_file(path);
    let listener = std::os::unix::net::UnixListener::bind(path).map_err(|error| {
        StartError::Listen("Failed opening Unix socket: bind".to_string(), error)
    })?;
    listener.set_nonblocking(true)?;
    if let Some(group) = &settings.unixsocketgroup {
        process::give_to_group(path, group).map_err(|error| {
            StartError::Listen("Failed opening Unix socket: group".to_string(), error)
        })?;
    }
    if settings.unixsocketperm != 0 {
        let mode = std::fs::Permissions::from_mode(settings.unixsocketperm);
        std::fs::set_permissions(path, mode)?;
    }
    Ok(Some(listener))
}

/// Says why a connection is refused. What the peer has sent already is read: a socket that is
/// closed with unread bytes would take the answer back.
pub(crate) async fn refuse(stream: Stream, text: &'static [u8]) {
    async fn tell(mut stream: impl AsyncRead + AsyncWrite + Unpin, text: &[u8]) {
        if stream.write_all(text).await.is_ok() && stream.shutdown().await.is_ok() {
            let mut waste = [0; 512];
            while stream.read(&mut waste).await.is_ok_and(|len| len > 0) {}
        }
    }
    let _ = tokio::time::timeout(Duration::from_millis(500), tell(stream, text)).await;
}
