//! An accepted connection that speaks TLS.
//!
//! Invariant: between two writes that were taken whole, nothing waits inside: what `poll_write`
//! has enciphered leaves before it says that it took it. A caller that was told to wait comes back
//! with the same bytes first, as sessions do. So the replies that a peer does not read stay where
//! they are counted, and at most [`PLAIN_BYTES_MAX`] of them stand here a second time.

use rustls::{ServerConfig, ServerConnection};
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{ready, Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

/// What is enciphered at one go: four records of TLS, in one system call.
const PLAIN_BYTES_MAX: usize = 64 * 1024;

/// An accepted connection.
pub struct TlsSocket {
    tcp: TcpStream,
    tls: ServerConnection,
    /// Bytes that are enciphered, and not yet reported as taken.
    taken: usize,
}

impl std::fmt::Debug for TlsSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TLS over {:?}", self.tcp)
    }
}

impl TlsSocket {
    /// Shakes hands.
    pub async fn accept(tcp: TcpStream, config: Arc<ServerConfig>) -> io::Result<TlsSocket> {
        let (tcp, tls) = TlsAcceptor::from(config).accept(tcp).await?.into_inner();
        Ok(TlsSocket { tcp, tls, taken: 0 })
    }

    /// The socket below.
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Sends all that is enciphered.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Ready { tcp: &mut self.tcp, cx }) {
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
            match socket.tls.reader().read(buf.initialize_unfilled()) {
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
            match socket.tls.read_tls(&mut Ready { tcp: &mut socket.tcp, cx }) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
            let understood = socket.tls.process_new_packets();
            if socket.taken == 0 {
                // An alert about what was not understood, or an answer to a change of keys.
                let _ = socket.poll_drain(cx);
            }
            if let Err(error) = understood {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
            }
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
            socket.taken = socket.tls.writer().write(plain)?;
        }
        ready!(socket.poll_drain(cx))?;
        Poll::Ready(Ok(std::mem::take(&mut socket.taken)))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_drain(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        socket.tls.send_close_notify();
        ready!(socket.poll_drain(cx))?;
        Pin::new(&mut socket.tcp).poll_shutdown(cx)
    }
}

impl Drop for TlsSocket {
    /// Says goodbye, if the peer takes it at once: an end without it looks like an attack.
    fn drop(&mut self) {
        self.tls.send_close_notify();
        let mut out = Vec::new();
        if self.taken == 0 && self.tls.write_tls(&mut out).is_ok() {
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
        let mut buf = ReadBuf::new(bytes);
        at_once(Pin::new(&mut *self.tcp).poll_read(self.cx, &mut buf))?;
        Ok(buf.filled().len())
    }
}

impl Write for Ready<'_, '_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        at_once(Pin::new(&mut *self.tcp).poll_write(self.cx, bytes))
    }

    fn write_vectored(&mut self, parts: &[io::IoSlice<'_>]) -> io::Result<usize> {
        at_once(Pin::new(&mut *self.tcp).poll_write_vectored(self.cx, parts))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
