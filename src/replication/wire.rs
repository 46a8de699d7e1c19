//! A blocking socket with deadlines that notices when its work is no longer wanted.
//!
//! Invariant: no call waits longer than `repl-timeout` for a byte, and none longer than a moment
//! once the role has changed.

use super::Access;
use crate::clock::Stopwatch;
use crate::tls::Outward;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How often a waiting call looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(100);
/// The longest line of a handshake, in bytes.
const LINE_BYTES_MAX: usize = 1024;
/// What is read at once.
const READ_BYTES: usize = 256 << 10;

/// Why a link ended.
#[derive(Debug)]
pub(super) enum Broken {
    /// Nothing came for `repl-timeout`.
    Silent,
    /// The other side closed it.
    Closed,
    /// The socket failed.
    Io(io::Error),
    /// What came cannot be.
    Nonsense(String),
    /// The role has changed, or the server ends.
    Unwanted,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Broken::Silent => f.write_str("no data within repl-timeout"),
            Broken::Closed => f.write_str("the connection was closed"),
            Broken::Io(error) => f.write_str(&crate::config::error_text(error)),
            Broken::Nonsense(text) => f.write_str(text),
            Broken::Unwanted => f.write_str("the role has changed"),
        }
    }
}

/// The socket, and what was read from it but not used.
pub(super) struct Wire {
    socket: Outward,
    access: Access,
    timeout_ms: u64,
    buffer: Vec<u8>,
    /// Unused: `buffer[start..end]`.
    start: usize,
    end: usize,
    /// Bytes that came.
    pub(super) received: u64,
}

impl Wire {
    pub(super) fn new(socket: Outward, access: Access, timeout_ms: u64) -> io::Result<Wire> {
        socket.tcp().set_read_timeout(Some(LOOK))?;
        socket.tcp().set_write_timeout(Some(Duration::from_millis(timeout_ms.max(1))))?;
        let buffer = vec![0; READ_BYTES];
        Ok(Wire { socket, access, timeout_ms, buffer, start: 0, end: 0, received: 0 })
    }

    /// What was read and not used.
    pub(super) fn unused(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Uses the first bytes of what was read.
    pub(super) fn used(&mut self, bytes: usize) {
        self.start = (self.start + bytes).min(self.end);
    }

    /// Waits at most a moment for more bytes behind those that are not used; false when none came.
    pub(super) fn fill_soon(&mut self) -> Result<bool, Broken> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if self.end == self.buffer.len() {
                // More is kept only as more has come.
                self.buffer.resize(self.end * 2, 0);
            }
        }
        match self.socket.read(&mut self.buffer[self.end..]) {
            Ok(0) => Err(Broken::Closed),
            Ok(bytes) => {
                self.end += bytes;
                self.received += bytes as u64;
                Ok(true)
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => Ok(false),
                _ => Err(Broken::Io(error)),
            },
        }
    }

    /// Waits for more bytes.
    pub(super) fn fill(&mut self) -> Result<(), Broken> {
        let waiting = Stopwatch::start();
        while !self.fill_soon()? {
            if !self.access.is_wanted() {
                return Err(Broken::Unwanted);
            }
            if waiting.elapsed_ns() / 1_000_000 > self.timeout_ms {
                return Err(Broken::Silent);
            }
        }
        Ok(())
    }

    /// The next line that is not empty, without its end. An empty one says that the other side is
    /// still there.
    pub(super) fn line(&mut self) -> Result<String, Broken> {
        loop {
            if let Some(at) = memchr::memchr(b'\n', self.unused()) {
                let line = self.unused()[..at].trim_ascii_end();
                let line = String::from_utf8_lossy(line).into_owned();
                self.used(at + 1);
                if !line.is_empty() {
                    return Ok(line);
                }
                continue;
            }
            if self.unused().len() > LINE_BYTES_MAX {
                return Err(Broken::Nonsense("a line of a handshake is too long".to_string()));
            }
            self.fill()?;
        }
    }

    /// Sends bytes.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.socket.write_all(bytes).map_err(Broken::Io)
    }

    /// A twin of the socket, by which another thread may end the connection.
    pub(super) fn twin(&self) -> Option<TcpStream> {
        self.socket.tcp().try_clone().ok()
    }

    /// Our end's address.
    pub(super) fn addresses(&self) -> (String, String) {
        let shown = |address: io::Result<std::net::SocketAddr>| {
            address.map_or(String::new(), |address| address.to_string())
        };
        (shown(self.socket.tcp().peer_addr()), shown(self.socket.tcp().local_addr()))
    }
}
