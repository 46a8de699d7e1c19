//! An accepted connection that speaks TLS.
//!
//! Invariant: between two writes that were taken whole, nothing waits inside: what `poll_write`
//! has enciphered leaves before it says that it took it. A caller that was told to wait comes back
//! with the same bytes first, as sessions do. So the replies that a peer does not read stay where
//! they are counted, and at most [`PLAIN_BYTES_MAX`] of them stand here a second time.

use super::lent::{is_no_tls, Cipher, Held, Lent};
use crate::direct;
use rustls::{ServerConfig, ServerConnection};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{ready, Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What is enciphered at one go: four records of TLS, in one system call.
const PLAIN_BYTES_MAX: usize = 64 * 1024;

/// An accepted connection.
pub struct TlsSocket {
    tcp: TcpStream,
    held: Held,
    /// Bytes that are enciphered, and not yet reported as taken.
    taken: usize,
    /// The peer does not speak TLS: nothing is said to it.
    mute: bool,
}

impl std::fmt::Debug for TlsSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TLS over {:?}", self.tcp)
    }
}

impl TlsSocket {
    /// A connection that has to shake hands yet.
    pub fn new(tcp: TcpStream, config: Arc<ServerConfig>) -> io::Result<TlsSocket> {
        let tls = ServerConnection::new(config).map_err(io::Error::other)?;
        Ok(TlsSocket { tcp, held: Held::here(Cipher::new(tls)), taken: 0, mute: false })
    }

    /// The connection that somebody else has looked after, as far as it came there.
    pub fn back(lent: Lent) -> io::Result<TlsSocket> {
        let (tcp, cipher) = lent.into_parts();
        let gone = || io::Error::from(io::ErrorKind::NotConnected);
        let cipher = cipher.ok_or_else(gone)?;
        Ok(TlsSocket {
            tcp: TcpStream::from_std(tcp)?,
            held: Held::here(cipher),
            taken: 0,
            mute: false,
        })
    }

    /// Somebody else looks after the connection, until this is used again; between two writes
    /// only.
    pub fn lend(&mut self) -> Option<Lent> {
        let tcp = std::net::TcpStream::from(self.tcp.as_fd().try_clone_to_owned().ok()?);
        (self.taken == 0).then(|| self.held.lend(tcp))
    }

    /// The socket below.
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Shakes hands. Ready at the end of it, whichever it is.
    pub fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_drain(cx))?;
            if !self.held.cipher().tls.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if ready!(self.poll_records(cx))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Takes what has come; how many bytes that was.
    fn poll_records(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Cipher { tls, .. } = self.held.cipher();
        let read = match tls.read_tls(&mut Ready { tcp: &mut self.tcp, cx }) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            Err(error) => return Poll::Ready(Err(error)),
        };
        let understood = tls.process_new_packets();
        self.mute |= matches!(&understood, Err(error) if is_no_tls(error));
        if self.taken == 0 && !self.mute {
            // An alert about what was not understood, or an answer to a change of keys.
            let _ = self.poll_drain(cx);
        }
        match understood {
            Ok(_) => Poll::Ready(Ok(read)),
            Err(error) => Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error))),
        }
    }

    /// Sends all that is enciphered.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Cipher { tls, .. } = self.held.cipher();
        while tls.wants_write() {
            match tls.write_tls(&mut Ready { tcp: &mut self.tcp, cx }) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for TlsSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        loop {
            let cipher = socket.held.cipher();
            if !cipher.early.is_empty() {
                let len = cipher.early.len().min(buf.remaining());
                buf.put_slice(&cipher.early[..len]);
                cipher.early.drain(..len);
                return Poll::Ready(Ok(()));
            }
            match cipher.tls.reader().read(buf.initialize_unfilled()) {
                Ok(len) => {
                    buf.advance(len);
                    return Poll::Ready(Ok(()));
                }
                // Gone without a word: an end like any other.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Poll::Ready(Ok(()))
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            ready!(socket.poll_records(cx))?;
        }
    }
}

impl AsyncWrite for TlsSocket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let socket = self.get_mut();
        if socket.taken == 0 {
            let plain = &buf[..buf.len().min(PLAIN_BYTES_MAX)];
            socket.taken = socket.held.cipher().tls.writer().write(plain)?;
        }
        ready!(socket.poll_drain(cx))?;
        Poll::Ready(Ok(std::mem::take(&mut socket.taken)))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_drain(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        socket.held.cipher().tls.send_close_notify();
        ready!(socket.poll_drain(cx))?;
        Pin::new(&mut socket.tcp).poll_shutdown(cx)
    }
}

impl Drop for TlsSocket {
    /// Says goodbye, if the peer takes it at once: an end without it looks like an attack.
    fn drop(&mut self) {
        let Some(Cipher { tls, .. }) = self.held.cipher_if_here() else { return };
        tls.send_close_notify();
        let mut out = Vec::new();
        if self.taken == 0 && !self.mute && tls.write_tls(&mut out).is_ok() {
            let _ = self.tcp.try_write(&out);
        }
    }
}

/// A socket as rustls wants it: one that would block says so.
struct Ready<'a, 'b, 'c> {
    tcp: &'a mut TcpStream,
    cx: &'b mut Context<'c>,
}

fn at_once<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl Read for Ready<'_, '_, '_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        at_once(direct::poll_recv(self.tcp, self.cx, bytes))
    }
}

impl Write for Ready<'_, '_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[io::IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, parts: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match direct::send_slices(self.tcp, parts) {
            Some(len) => Ok(len),
            None => at_once(Pin::new(&mut *self.tcp).poll_write_vectored(self.cx, parts)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
