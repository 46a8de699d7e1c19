//! How a primary is reached.
//!
//! A request for a connection that gets lost is repeated by the system after one second, three,
//! seven, and so on: a link that is there again would stand unused for as long. So further
//! requests follow the first in short succession, and the first one that is answered is taken.
//!
//! Invariant: at most [`REQUESTS_MAX`] requests are open at any time, and none when this returns.

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use socket2::{Domain, Socket, Type};
use std::io::{Error, ErrorKind, Result};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::clock::Stopwatch;

/// Between one request and the next.
const STEP: Duration = Duration::from_millis(40);
/// All of them but the first are open for a second.
const REQUESTS_MAX: usize = 26;

/// Connects to `address`, from the address `from` if there is one, as long as it `is_wanted`.
pub(super) fn reach(
    address: SocketAddr,
    from: Option<IpAddr>,
    timeout: Duration,
    is_wanted: impl Fn() -> bool,
) -> Result<TcpStream> {
    let waiting = Stopwatch::start();
    // The first one is left to the system: whoever is far away needs it.
    let mut requests = Vec::new();
    while is_wanted() && Duration::from_nanos(waiting.elapsed_ns()) < timeout {
        if requests.len() == REQUESTS_MAX {
            requests.remove(1);
        }
        requests.push(request(address, from)?);
        let step = Stopwatch::start();
        loop {
            let left = STEP.saturating_sub(Duration::from_nanos(step.elapsed_ns()));
            if left.is_zero() {
                break;
            }
            if let Some(at) = answered(&requests, left)? {
                let socket = requests.swap_remove(at);
                return match socket.take_error()? {
                    Some(error) => Err(error),
                    None => socket.set_nonblocking(false).map(|()| socket.into()),
                };
            }
        }
    }
    Err(ErrorKind::TimedOut.into())
}

/// Asks for a connection, and waits for nothing.
fn request(address: SocketAddr, from: Option<IpAddr>) -> Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if let Some(ip) = from {
        socket.bind(&SocketAddr::new(ip, 0).into())?;
    }
    socket.set_nonblocking(true)?;
    match socket.connect(&address.into()) {
        Err(error) if !is_under_way(&error) => Err(error),
        _ => Ok(socket),
    }
}

fn is_under_way(error: &Error) -> bool {
    let code = rustix::io::Errno::INPROGRESS.raw_os_error();
    error.kind() == ErrorKind::WouldBlock || error.raw_os_error() == Some(code)
}

/// Which of the requests has been answered, for good or ill, within this time.
fn answered(requests: &[Socket], within: Duration) -> Result<Option<usize>> {
    let mut looks: Vec<PollFd<'_>> =
        requests.iter().map(|socket| PollFd::new(socket, PollFlags::OUT)).collect();
    let within = Timespec { tv_sec: 0, tv_nsec: i64::from(within.subsec_nanos()) };
    match poll(&mut looks, Some(&within)) {
        Err(rustix::io::Errno::INTR) => return Ok(None),
        other => other?,
    };
    Ok(looks.iter().position(|look| !look.revents().is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::Arc;

    fn local(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn who_listens_is_reached_and_who_does_not_is_told_of_at_once() {
        let listener = TcpListener::bind(local(0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let long = Duration::from_secs(60);
        let near = reach(address, None, long, || true).expect("it is reached");
        let (far, from) = listener.accept().expect("a connection");
        assert_eq!(near.local_addr().expect("an address"), from);
        drop((near, far, listener));
        let refused = reach(address, None, long, || true).expect_err("nobody listens");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        let from = Some(IpAddr::from([127, 0, 0, 2]));
        let listener = TcpListener::bind(local(0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let near = reach(address, from, long, || true).expect("it is reached");
        assert_eq!(near.local_addr().expect("an address").ip(), IpAddr::from([127, 0, 0, 2]));
    }

    #[test]
    fn what_nobody_wants_any_more_is_given_up() {
        let listener = TcpListener::bind(local(0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let given_up = reach(address, None, Duration::from_secs(60), || false);
        assert_eq!(given_up.expect_err("given up").kind(), ErrorKind::TimedOut);
    }

    /// A listener whose queue is full drops requests, as a broken link does.
    #[cfg(target_os = "linux")]
    #[test]
    fn lost_requests_are_followed_by_others() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&local(0).into()).expect("a port");
        socket.listen(0).expect("it listens");
        let listener: TcpListener = socket.into();
        let address = listener.local_addr().expect("an address");
        let mut queued = Vec::new();
        while let Ok(one) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            queued.push(one);
        }
        let over = Arc::new(AtomicBool::new(false));
        let ends = over.clone();
        let accepting = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            listener.set_nonblocking(true).expect("a socket");
            while !ends.load(Ordering::Relaxed) {
                let _ = listener.accept();
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let reached = reach(address, None, Duration::from_secs(600), || true);
        over.store(true, Ordering::Relaxed);
        accepting.join().expect("it ends");
        assert!(reached.is_ok(), "{reached:?}");
    }
}
