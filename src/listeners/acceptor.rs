//! Accepting on a listener that others know, too.
//!
//! A program may hold thousands of servers, so each descriptor counts: who closes a listener, or
//! accepts in the place of its worker, uses the same one. The runtime's own type would want it for
//! itself.
//!
//! Invariant: a listener that is shared is never taken apart, so its descriptor stays the same one
//! until the last of its holders has let go.
#![allow(unsafe_code)]

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use tokio::io::unix::AsyncFd;
use tokio::io::Interest;

/// A listener, of the worker that accepts and of those who may close it or accept in its place.
pub(crate) type Listener = Arc<TcpListener>;

/// A listener in the hands of a worker.
pub(crate) struct Acceptor(AsyncFd<Listener>);

impl Acceptor {
    /// Waits for connections within the runtime of this thread.
    pub(crate) fn new(listener: Listener) -> io::Result<Acceptor> {
        // SAFETY: a TcpListener owns its descriptor and has the same one as long as it lives; this
        // one lives at least as long as the registration, which holds it, and nobody can move the
        // descriptor out of an Arc that is shared.
        let registered = unsafe { AsyncFd::register_with_interest(listener, Interest::READABLE) };
        Ok(Acceptor(registered?))
    }

    /// The next connection; it does not block, either.
    pub(crate) async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let accept = |listener: &Listener| listener.accept();
        let (stream, peer) = self.0.async_io(Interest::READABLE, accept).await?;
        stream.set_nonblocking(true)?;
        Ok((stream, peer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_may_accept_on_one_listener() -> io::Result<()> {
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0")?);
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        runtime.block_on(async {
            let acceptor = Acceptor::new(listener.clone())?;
            for _ in 0..3 {
                let client = TcpStream::connect(addr)?;
                let (_stream, peer) = acceptor.accept().await?;
                assert_eq!(peer, client.local_addr()?);
                let client = TcpStream::connect(addr)?;
                let peer = loop {
                    match listener.accept() {
                        Ok((_, peer)) => break peer,
                        Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                    }
                };
                assert_eq!(peer, client.local_addr()?);
            }
            drop(acceptor);
            assert_eq!(Arc::strong_count(&listener), 1);
            // It can be registered again.
            Acceptor::new(listener.clone()).map(drop)
        })
    }
}
