//! A TLS connection that is in the hands of another thread for a while: of the one that answers
//! while a slow script keeps the connection's own worker.
//!
//! Invariant: the keys are in one place at a time, so no two threads number the records of one
//! connection. Whoever has the socket takes them back by using them; what was deciphered and not
//! consumed comes along.

use parking_lot::Mutex;
use rustls::{Error, InvalidMessage, ServerConnection};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

/// What is deciphered ahead of being consumed, at most.
const EARLY_BYTES_MAX: usize = 16 * 1024;

/// Whether what has come begins as no record does.
///
/// Redis: OpenSSL answers it by the end alone.
pub(super) fn is_no_tls(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion
        )
    )
}

/// The keys of a connection, and what has been deciphered.
pub(super) struct Cipher {
    pub(super) tls: ServerConnection,
    /// Deciphered, and not yet read by the session.
    pub(super) early: Vec<u8>,
}

impl Cipher {
    pub(super) fn new(tls: ServerConnection) -> Box<Cipher> {
        Box::new(Cipher { tls, early: Vec::new() })
    }
}

type Shelf = Arc<Mutex<Option<Box<Cipher>>>>;

/// Where a socket has its keys.
pub(super) enum Held {
    Here(Box<Cipher>),
    /// With somebody else.
    Lent(Shelf),
}

impl Held {
    pub(super) fn here(cipher: Box<Cipher>) -> Held {
        Held::Here(cipher)
    }

    /// The keys; taken back if they were lent.
    #[inline]
    pub(super) fn cipher(&mut self) -> &mut Cipher {
        if let Held::Lent(_) = self {
            self.take_back();
        }
        match self {
            Held::Here(cipher) => cipher,
            Held::Lent(_) => unreachable!("what was lent stays on its shelf until it is taken"),
        }
    }

    /// The keys, if they are not lent.
    pub(super) fn cipher_if_here(&mut self) -> Option<&mut Cipher> {
        match self {
            Held::Here(cipher) => Some(cipher),
            Held::Lent(_) => None,
        }
    }

    #[cold]
    fn take_back(&mut self) {
        let Held::Lent(shelf) = self else { return };
        if let Some(cipher) = shelf.clone().lock().take() {
            *self = Held::Here(cipher);
        }
    }

    pub(super) fn lend(&mut self, tcp: TcpStream) -> Lent {
        let shelf = Shelf::default();
        match std::mem::replace(self, Held::Lent(shelf.clone())) {
            Held::Here(cipher) => *shelf.lock() = Some(cipher),
            Held::Lent(before) => *shelf.lock() = before.lock().take(),
        }
        Lent { tcp, shelf }
    }
}

/// The connection, as whoever it is lent to has it. It never waits for the peer.
pub struct Lent {
    tcp: TcpStream,
    shelf: Shelf,
}

impl std::fmt::Debug for Lent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TLS over {:?}", self.tcp)
    }
}

impl Lent {
    /// A new connection, not yet anybody's.
    pub fn accepted(tcp: TcpStream, config: Arc<rustls::ServerConfig>) -> io::Result<Lent> {
        let tls = ServerConnection::new(config).map_err(io::Error::other)?;
        Ok(Lent { tcp, shelf: Arc::new(Mutex::new(Some(Cipher::new(tls)))) })
    }

    /// The socket below.
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// It has not shaken hands.
    pub fn is_handshaking(&self) -> bool {
        self.shelf.lock().as_ref().is_some_and(|cipher| cipher.tls.is_handshaking())
    }

    /// Deciphered bytes wait for the connection's own session.
    pub fn has_early(&self) -> bool {
        self.shelf.lock().as_ref().is_some_and(|cipher| !cipher.early.is_empty())
    }

    /// Deciphers what has come, and gives what is not consumed, the same again until it is; at the
    /// end of the stream, nothing. A handshake goes on meanwhile.
    pub fn peek(&self) -> io::Result<Vec<u8>> {
        let mut shelf = self.shelf.lock();
        let Some(Cipher { tls, early }) = shelf.as_deref_mut() else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let mut ended = false;
        while early.len() < EARLY_BYTES_MAX && !ended {
            match tls.read_tls(&mut &self.tcp) {
                Ok(len) => ended = len == 0,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
            let understood = tls.process_new_packets();
            if !matches!(&understood, Err(error) if is_no_tls(error)) {
                self.send(tls)?;
            }
            let state =
                understood.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            ended |= state.peer_has_closed();
            let from = early.len();
            early.resize(from + state.plaintext_bytes_to_read(), 0);
            tls.reader().read_exact(&mut early[from..])?;
        }
        match early.is_empty() && !ended {
            true => Err(io::ErrorKind::WouldBlock.into()),
            false => Ok(early.clone()),
        }
    }

    /// The first `len` bytes of what was peeked at are answered.
    pub fn consume(&self, len: usize) {
        if let Some(cipher) = self.shelf.lock().as_mut() {
            let len = len.min(cipher.early.len());
            cipher.early.drain(..len);
        }
    }

    /// Sends `bytes`, all of them at once or it is an error.
    pub fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        let mut shelf = self.shelf.lock();
        let Some(Cipher { tls, .. }) = shelf.as_deref_mut() else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let mut rest = bytes;
        while !rest.is_empty() {
            match tls.writer().write(rest)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                len => rest = &rest[len..],
            }
            self.send(tls)?;
            if tls.wants_write() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
        Ok(())
    }

    /// Ends the connection in both directions.
    pub fn shut_down(&self) {
        let _ = self.tcp.shutdown(Shutdown::Both);
    }

    /// Sends what is enciphered, as far as the peer takes it.
    fn send(&self, tls: &mut ServerConnection) -> io::Result<()> {
        while tls.wants_write() {
            match tls.write_tls(&mut &self.tcp) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) fn into_parts(self) -> (TcpStream, Option<Box<Cipher>>) {
        let cipher = self.shelf.lock().take();
        (self.tcp, cipher)
    }
}
