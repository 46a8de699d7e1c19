//! Connections to other servers that MIGRATE keeps for the next time.
//!
//! They are blocking sockets, or TLS over them as `tls-replication` says: every call takes a time
//! at most, and gives up. A peer is known by the words that name it, host and port, and forgets the
//! database that it has selected only by being closed.
//!
//! Invariant: what a peer has sent before is read to the end; after any failure it is closed.

use crate::clock::Stopwatch;
use crate::tls::{self, ClientConfig, Outward};
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

/// Peers that are kept at most, and how long one is kept that nobody uses.
const KEPT_MAX: usize = 64;
const KEPT_MS: i64 = 10_000;
/// Bytes of the longest line of a reply that is read.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Host and port, as they were given.
pub type Name = (Vec<u8>, Vec<u8>);

/// Peers by name.
#[derive(Debug, Default)]
pub struct Peers {
    kept: HashMap<Name, Peer>,
}

/// A connection to another server.
#[derive(Debug)]
pub struct Peer {
    stream: Outward,
    received: Vec<u8>,
    /// The database that is selected there, as far as that is known.
    pub db: Option<i64>,
    used_ms: i64,
}

impl Peers {
    /// Takes the kept connection to a server out, if there is one.
    pub fn take(&mut self, name: &Name) -> Option<Peer> {
        self.kept.remove(name)
    }

    /// Keeps a connection for the next time; any other one goes when there are too many.
    pub fn keep(&mut self, name: Name, mut peer: Peer, now_ms: i64) {
        if self.kept.len() >= KEPT_MAX {
            let oldest = self.kept.iter().min_by_key(|(_, peer)| peer.used_ms);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                self.kept.remove(&oldest);
            }
        }
        peer.used_ms = now_ms;
        self.kept.insert(name, peer);
    }

    /// Closes what nobody has used for long.
    pub fn close_unused(&mut self, now_ms: i64) {
        self.kept.retain(|_, peer| now_ms - peer.used_ms <= KEPT_MS);
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }
}

/// What is left of a time, or the error that it is over.
fn left(watch: &Stopwatch, timeout: Duration) -> io::Result<Duration> {
    let left = timeout.checked_sub(Duration::from_nanos(watch.elapsed_ns()));
    left.filter(|left| !left.is_zero()).ok_or(ErrorKind::TimedOut.into())
}

/// Whether an error says that a time was over: systems name it in two ways.
pub fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock)
}

impl Peer {
    /// Connects within `timeout`, and shakes hands with `tls` if there is one, within `timeout`
    /// again. Redis: there each step of the handshake may take as long, and a peer that sends a
    /// byte now and then holds the server up for good.
    pub fn connect(
        name: &Name,
        tls: Option<&Arc<ClientConfig>>,
        timeout: Duration,
    ) -> io::Result<Peer> {
        let tcp = Peer::reach(name, timeout)?;
        tcp.set_nodelay(true)?;
        let stream = match tls {
            None => Outward::Plain(tcp),
            Some(config) => {
                let host = std::str::from_utf8(&name.0).map_err(|_| ErrorKind::InvalidInput)?;
                Outward::Tls(Box::new(tls::connect_blocking(config, tcp, host, timeout)?))
            }
        };
        Ok(Peer { stream, received: Vec::new(), db: None, used_ms: 0 })
    }

    fn reach(name: &Name, timeout: Duration) -> io::Result<TcpStream> {
        let text = |bytes| std::str::from_utf8(bytes).map_err(|_| ErrorKind::InvalidInput);
        let port = text(&name.1)?.parse::<u16>().map_err(|_| ErrorKind::InvalidInput)?;
        let watch = Stopwatch::start();
        let mut last = ErrorKind::AddrNotAvailable.into();
        for address in (text(&name.0)?, port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, left(&watch, timeout)?) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Sends all of `bytes`; each piece of them within `timeout`.
    pub fn send(&mut self, bytes: &[u8], timeout: Duration) -> io::Result<()> {
        const PIECE_BYTES: usize = 64 << 10;
        for piece in bytes.chunks(PIECE_BYTES) {
            let (watch, mut rest) = (Stopwatch::start(), piece);
            while !rest.is_empty() {
                self.stream.tcp().set_write_timeout(Some(left(&watch, timeout)?))?;
                match self.stream.write(rest) {
                    Ok(0) => return Err(ErrorKind::WriteZero.into()),
                    Ok(count) => rest = &rest[count..],
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
        self.stream.flush()
    }

    /// Receives one line, within `timeout`, and gives it without its end.
    pub fn line(&mut self, timeout: Duration) -> io::Result<Vec<u8>> {
        let watch = Stopwatch::start();
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.received) {
                let mut line: Vec<u8> = self.received.drain(..=end).collect();
                let text = line.trim_ascii_end().len();
                line.truncate(text);
                return Ok(line);
            }
            if self.received.len() > LINE_BYTES_MAX {
                return Err(ErrorKind::InvalidData.into());
            }
            self.stream.tcp().set_read_timeout(Some(left(&watch, timeout)?))?;
            let mut piece = [0; 4096];
            match self.stream.read(&mut piece) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.received.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{is_timeout, Name, Peer, Peers};
    use crate::config::Settings;
    use crate::tls;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::Duration;

    #[test]
    fn lines_come_one_by_one_and_silence_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let name: Name = (b"127.0.0.1".to_vec(), port.to_string().into_bytes());
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a caller");
            let mut heard = [0; 4];
            stream.read_exact(&mut heard).expect("four bytes");
            stream.write_all(b"+OK\r\n-ERR x\r\n").expect("a listener");
            // Stays open until the other side has given up.
            let _ = stream.read(&mut heard);
        });
        let long = Duration::from_secs(60);
        let mut peer = Peer::connect(&name, None, long).expect("it listens");
        peer.send(b"ping", long).expect("it reads");
        assert_eq!(peer.line(long).expect("a line"), b"+OK");
        assert_eq!(peer.line(long).expect("a line"), b"-ERR x");
        let error = peer.line(Duration::from_millis(20)).expect_err("nothing comes");
        assert!(is_timeout(&error), "{error}");
        let mut peers = Peers::default();
        peers.keep(name.clone(), peer, 5_000);
        peers.close_unused(15_000);
        assert_eq!(peers.len(), 1);
        peers.close_unused(15_001);
        assert!(peers.is_empty() && peers.take(&name).is_none());
        thread.join().expect("no panic");
    }

    /// A record is announced, and its bytes come one by one, each of them in time.
    #[test]
    fn a_handshake_ends_in_time_as_a_whole() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let name: Name = (b"127.0.0.1".to_vec(), port.to_string().into_bytes());
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a caller");
            stream.set_nodelay(true).expect("a socket");
            let mut went = stream.write_all(&[22, 3, 3, 64, 0, 2, 0, 63, 252]);
            while went.is_ok() {
                std::thread::sleep(Duration::from_millis(5));
                went = stream.write_all(&[0]);
            }
        });
        let own = tls::self_signed().expect("a certificate");
        let config = tls::client_config(&Settings::default(), Some(&own)).expect("a client");
        let error = Peer::connect(&name, Some(&config), Duration::from_millis(400))
            .expect_err("it never comes to an end");
        assert!(is_timeout(&error), "{error}");
        thread.join().expect("no panic");
    }
}
