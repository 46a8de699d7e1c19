//! What a session reads from and writes to, and how others of its thread reach it.
//!
//! Invariant: a socket counts as idle only while its session sleeps and no part of a request or a
//! reply is under way, so whoever speaks for the session then cannot come between.

use crate::blocking::Ends;
use crate::busy::{self, Line, Sleeper};
use crate::client::{ClientId, Kick};
use crate::direct;
use crate::tls::TlsSocket;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{ready, Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A connection.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
    /// Inside the process.
    Memory(DuplexStream),
    /// TLS over TCP.
    Tls(Box<TlsSocket>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Memory(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Memory(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Memory(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Memory(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Memory(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// A connection that belongs to no worker's runtime, on its way between two.
#[derive(Debug)]
pub(super) enum Detached {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
    Memory(DuplexStream),
}

impl Stream {
    fn detach(self) -> io::Result<Detached> {
        Ok(match self {
            Stream::Tcp(stream) => Detached::Tcp(stream.into_std()?),
            Stream::Unix(stream) => Detached::Unix(stream.into_std()?),
            Stream::Memory(stream) => Detached::Memory(stream),
            Stream::Tls(_) => return Err(io::ErrorKind::Unsupported.into()),
        })
    }
}

impl Detached {
    /// The same connection, of this thread's runtime.
    pub(super) fn attach(self) -> io::Result<Stream> {
        Ok(match self {
            Detached::Tcp(stream) => Stream::Tcp(TcpStream::from_std(stream)?),
            Detached::Unix(stream) => Stream::Unix(UnixStream::from_std(stream)?),
            Detached::Memory(stream) => Stream::Memory(stream),
        })
    }
}

/// A connection's stream, which others of its thread may reach while the session sleeps.
#[derive(Debug)]
pub(super) struct Socket {
    stream: RefCell<Stream>,
    /// The session sleeps, and no part of a request or reply is under way.
    pub(super) idle: Cell<bool>,
    /// Wakes the session.
    pub(super) kick: OnceCell<Arc<Kick>>,
}

thread_local! {
    static SOCKETS: RefCell<HashMap<ClientId, Weak<Socket>>> = RefCell::default();
}

impl Socket {
    /// A socket that the others of this thread know.
    pub(super) fn known(stream: Stream, owner: ClientId) -> Rc<Socket> {
        let (stream, kick) = (RefCell::new(stream), OnceCell::new());
        let socket = Rc::new(Socket { stream, idle: Cell::new(true), kick });
        SOCKETS.with_borrow_mut(|sockets| sockets.insert(owner, Rc::downgrade(&socket)));
        socket
    }

    /// Lets the system gather what is sent into fewer packets.
    pub(super) fn delay_sending(&self) {
        if let Stream::Tcp(stream) = &*self.stream.borrow() {
            let _ = stream.set_nodelay(false);
        }
    }

    /// Forgets the socket of a session that has ended.
    pub(super) fn forget(owner: ClientId) {
        SOCKETS.with_borrow_mut(|sockets| sockets.remove(&owner));
    }

    /// Lets the end of the connection be known where its owner waits. False where only reading
    /// tells.
    pub(super) fn watch_end(&self, ends: &mut Ends, owner: ClientId) -> bool {
        match &*self.stream.borrow() {
            Stream::Tcp(tcp) => ends.watch(tcp, owner.token()),
            Stream::Unix(unix) => ends.watch(unix, owner.token()),
            Stream::Tls(socket) => ends.watch(socket.tcp(), owner.token()),
            Stream::Memory(_) => false,
        }
    }

    /// Whether another thread may serve it. What is enciphered stays: most of its work is that, and
    /// needs no lock.
    pub(super) fn may_move(&self) -> bool {
        !matches!(*self.stream.borrow(), Stream::Tls(_))
    }

    /// Takes the connection away from this thread.
    pub(super) fn detach(self: Rc<Socket>) -> io::Result<Detached> {
        let socket = Rc::into_inner(self).ok_or(io::ErrorKind::ResourceBusy)?;
        socket.stream.into_inner().detach()
    }

    /// Whether bytes may have come; `None` where only reading tells.
    #[inline]
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Option<Poll<io::Result<()>>> {
        use direct::Socket;
        match &*self.stream.borrow() {
            Stream::Tcp(tcp) => Some(tcp.poll_readable(cx)),
            Stream::Unix(unix) => Some(unix.poll_readable(cx)),
            Stream::Memory(_) | Stream::Tls(_) => None,
        }
    }

    /// Reads into `buf`; tells how many bytes, 0 at the end.
    pub(super) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut stream = self.stream.borrow_mut();
        match &mut *stream {
            Stream::Tcp(tcp) => direct::poll_recv(tcp, cx, buf),
            Stream::Unix(unix) => direct::poll_recv(unix, cx, buf),
            other => {
                let mut buf = ReadBuf::new(buf);
                ready!(Pin::new(other).poll_read(cx, &mut buf))?;
                Poll::Ready(Ok(buf.filled().len()))
            }
        }
    }

    /// Appends at most `most` bytes to `buf`, which has room for them.
    pub(super) fn poll_append(
        &self,
        cx: &mut Context<'_>,
        buf: &mut Vec<u8>,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        use bytes::BufMut;
        use std::future::Future;
        use tokio::io::AsyncReadExt;
        let mut stream = self.stream.borrow_mut();
        let mut room = buf.limit(most);
        std::pin::pin!(stream.read_buf(&mut room)).poll(cx)
    }

    /// Writes a part of what the slices hold, at least one byte.
    pub(super) fn poll_write_slices(
        &self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut *self.stream.borrow_mut()).poll_write_vectored(cx, slices) {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            written => written,
        }
    }

    /// Writes a part of `buf`, at least one byte.
    pub(super) fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut stream = self.stream.borrow_mut();
        let sent = match &*stream {
            Stream::Tcp(tcp) => direct::send(tcp, buf),
            Stream::Unix(unix) => direct::send(unix, buf),
            Stream::Memory(_) | Stream::Tls(_) => None,
        };
        if let Some(len) = sent {
            return Poll::Ready(Ok(len));
        }
        match Pin::new(&mut *stream).poll_write(cx, buf) {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            written => written,
        }
    }
}

/// The connections of this thread's sleeping sessions, for somebody who answers in their place.
pub fn idle_sockets() -> Vec<Sleeper> {
    let line = |socket: &Socket| match &mut *socket.stream.try_borrow_mut().ok()? {
        _ if !socket.idle.get() => None,
        Stream::Tcp(stream) => busy::twin(stream).map(Line::Plain),
        Stream::Unix(stream) => busy::twin(stream).map(Line::Plain),
        Stream::Tls(socket) => socket.lend().map(Line::Tls),
        Stream::Memory(_) => None,
    };
    let sleeper = |(client, socket): (&ClientId, &Weak<Socket>)| {
        let socket = socket.upgrade()?;
        let line = line(&socket)?;
        // Bytes that wait in a plain socket wake whoever sleeps there.
        let kick = match line {
            Line::Plain(_) => None,
            Line::Tls(_) => socket.kick.get().cloned(),
        };
        Some(Sleeper { client: *client, line, kick })
    };
    SOCKETS.with_borrow(|sockets| sockets.iter().filter_map(sleeper).collect())
}
