//! A connection to another server, which a thread of its own reads and writes: as it is, or
//! through TLS, as `tls-replication` says.

use super::TlsStream;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

/// What another server is spoken to through.
#[derive(Debug)]
pub enum Outward {
    /// TCP.
    Plain(TcpStream),
    /// TLS over it.
    Tls(Box<TlsStream>),
}

impl Outward {
    /// The connection below.
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Outward::Plain(socket) => socket,
            Outward::Tls(stream) => &stream.sock,
        }
    }
}

impl Read for Outward {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Outward::Plain(socket) => socket.read(bytes),
            Outward::Tls(stream) => match stream.read(bytes) {
                // Gone without a word: an end like any other.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(0),
                read => read,
            },
        }
    }
}

impl Write for Outward {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Outward::Plain(socket) => socket.write(bytes),
            Outward::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Outward::Plain(socket) => socket.flush(),
            Outward::Tls(stream) => stream.flush(),
        }
    }
}
