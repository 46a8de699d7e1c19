//! Reading and writing a socket with nothing between its owner and the kernel.
//!
//! A request that comes alone costs little more than its two system calls, so what lies around
//! them shows: the C library makes each of them a point where its thread may be cancelled, and the
//! runtime asks for readiness that nearly always is there when it is a reply that leaves.
//!
//! Invariant: what the runtime believes of a socket's readiness is true, or errs on the side of
//! ready.

use rustix::io::retry_on_intr;
use rustix::net::{recv, send as send_now, sendmsg, RecvFlags, SendAncillaryBuffer, SendFlags};
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::task::{ready, Context, Poll};
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

/// A socket of the runtime's.
pub(crate) trait Socket: AsFd {
    /// Bytes may have come.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    fn try_read(&self, read: impl FnOnce() -> io::Result<()>) -> io::Result<()>;
}

impl Socket for TcpStream {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }

    fn try_read(&self, read: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        self.try_io(Interest::READABLE, read)
    }
}

impl Socket for UnixStream {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }

    fn try_read(&self, read: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        self.try_io(Interest::READABLE, read)
    }
}

/// Reads; 0 is the end.
pub(crate) fn poll_recv(
    socket: &impl Socket,
    cx: &mut Context<'_>,
    buf: &mut [u8],
) -> Poll<io::Result<usize>> {
    loop {
        ready!(socket.poll_readable(cx))?;
        let (mut len, room) = (None, buf.len());
        let read = socket.try_read(|| {
            let (got, _) = retry_on_intr(|| recv(socket, &mut *buf, RecvFlags::empty()))?;
            len = Some(got);
            // Not all of the room was needed: the socket is empty now, and nobody has to ask it.
            match 0 < got && got < room {
                true => Err(io::ErrorKind::WouldBlock.into()),
                false => Ok(()),
            }
        });
        match (len, read) {
            (Some(len), _) => return Poll::Ready(Ok(len)),
            (None, Err(error)) if error.kind() != io::ErrorKind::WouldBlock => {
                return Poll::Ready(Err(error))
            }
            (None, _) => {}
        }
    }
}

/// Writes what the kernel takes at once; `None` when that is nothing, or fails: whoever waits for
/// the socket finds out why.
pub(crate) fn send(socket: &impl Socket, buf: &[u8]) -> Option<usize> {
    let sent = retry_on_intr(|| send_now(socket, buf, SendFlags::NOSIGNAL));
    sent.ok().filter(|len| *len > 0)
}

/// The same for bytes that stand in several places.
pub(crate) fn send_slices(socket: &impl Socket, slices: &[IoSlice<'_>]) -> Option<usize> {
    if let [alone] = slices {
        return send(socket, alone);
    }
    let mut nothing = SendAncillaryBuffer::default();
    let sent = retry_on_intr(|| sendmsg(socket, slices, &mut nothing, SendFlags::NOSIGNAL));
    sent.ok().filter(|len| *len > 0)
}
