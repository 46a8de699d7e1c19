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
/// What is read at once, and the size of the buffer while nothing longer has to be kept.
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

    /// The room behind what was read and not used, where the buffer has grown; 0 where it has its
    /// size.
    pub(super) fn grown_bytes(&self) -> usize {
        match self.buffer.len() > READ_BYTES {
            true => self.buffer.len() - self.unused().len(),
            false => 0,
        }
    }

    /// Waits at most a moment for more bytes behind those that are not used; false when none came.
    pub(super) fn fill_soon(&mut self) -> Result<bool, Broken> {
        self.make_room();
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

    fn make_room(&mut self) {
        let len = self.end - self.start;
        if self.buffer.len() > READ_BYTES && len <= READ_BYTES / 2 {
            // What was so long has been used.
            let mut buffer = vec![0; READ_BYTES];
            buffer[..len].copy_from_slice(&self.buffer[self.start..self.end]);
            self.buffer = buffer;
            (self.start, self.end) = (0, len);
        } else if len == 0 {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, len);
            if len == self.buffer.len() {
                // More is kept only as more has come.
                self.buffer.resize(len * 2, 0);
            }
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

    /// The address of the other end, and of ours.
    pub(super) fn addresses(&self) -> (String, String) {
        let shown = |address: io::Result<std::net::SocketAddr>| {
            address.map_or(String::new(), |address| address.to_string())
        };
        (shown(self.socket.tcp().peer_addr()), shown(self.socket.tcp().local_addr()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::sync::Weak;

    #[test]
    fn the_buffer_is_long_only_while_what_is_in_it_is() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let socket = TcpStream::connect(address).expect("it connects");
        let (mut other, _) = listener.accept().expect("it is there");
        let access = Access { shared: Weak::new(), generation: 0 };
        let mut wire = Wire::new(Outward::Plain(socket), access, 60_000).expect("a socket");
        let sent: Vec<u8> = (0..READ_BYTES * 5).map(|at| (at / 7) as u8).collect();
        let bytes = sent.clone();
        let writer = std::thread::spawn(move || {
            other.write_all(&bytes).expect("it is taken");
            other
        });
        while wire.unused().len() < sent.len() {
            wire.fill_soon().expect("it goes on");
        }
        let mut other = writer.join().expect("it ends");
        assert!(wire.unused() == sent && wire.grown_bytes() > READ_BYTES);
        wire.used(sent.len() - 10);
        other.write_all(b"more").expect("it is taken");
        while wire.unused().len() < 14 {
            wire.fill_soon().expect("it goes on");
        }
        assert_eq!((wire.buffer.len(), wire.grown_bytes()), (READ_BYTES, 0));
        assert_eq!(wire.unused(), [&sent[sent.len() - 10..], b"more"].concat());
    }
}
