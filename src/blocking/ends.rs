//! Whose peer has closed the connection, as far as the kernel knows and the session has not seen:
//! its worker may be busy, or stuck in the very script that pushes. An element that went to such a
//! client would be lost, so whoever serves waiters looks here first.
//!
//! Invariant: a socket is watched from its client's first wait on until it is closed, and its end
//! is told once.

#[cfg(target_os = "linux")]
pub use watching::Ends;

#[cfg(not(target_os = "linux"))]
pub use none::Ends;

#[cfg(target_os = "linux")]
mod watching {
    use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
    use rustix::event::Timespec;
    use std::mem::MaybeUninit;
    use std::os::fd::{AsFd, OwnedFd};

    /// Ends that are asked for at a time.
    const ROUND: usize = 64;

    /// See the module.
    #[derive(Debug, Default)]
    pub struct Ends {
        /// Made for the first who waits.
        watched: Option<OwnedFd>,
    }

    impl Ends {
        /// Tells the end of this connection from now on, by its owner's `token`; one that has come
        /// already, too. False if it cannot.
        pub fn watch(&mut self, socket: impl AsFd, token: u64) -> bool {
            if self.watched.is_none() {
                self.watched = epoll::create(CreateFlags::CLOEXEC).ok();
            }
            let Some(watched) = &self.watched else { return false };
            // What cannot be masked, errors and the end of both directions, is an end as well.
            let flags = EventFlags::RDHUP | EventFlags::ET;
            epoll::add(watched, socket, EventData::new_u64(token), flags).is_ok()
        }

        /// Tells the ends that have come since the last call.
        pub fn tell(&self, mut ended: impl FnMut(u64)) {
            let Some(watched) = &self.watched else { return };
            let mut room = [const { MaybeUninit::<Event>::uninit() }; ROUND];
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            while let Ok((events, free)) = epoll::wait(watched, &mut room, Some(&at_once)) {
                events.iter().for_each(|event| ended(event.data.u64()));
                if !free.is_empty() {
                    break;
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod none {
    use std::os::fd::AsFd;

    /// Knows of no end.
    #[derive(Debug, Default)]
    pub struct Ends;

    impl Ends {
        /// Watches nothing.
        pub fn watch(&mut self, _socket: impl AsFd, _token: u64) -> bool {
            false
        }

        /// Tells nothing.
        pub fn tell(&self, _ended: impl FnMut(u64)) {}
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::Ends;
    use std::collections::HashSet;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    fn told(ends: &Ends) -> HashSet<u64> {
        let mut told = HashSet::new();
        ends.tell(|token| assert!(told.insert(token), "{token} twice"));
        told
    }

    #[test]
    fn every_end_is_told_once_and_bytes_before_it_do_not_hide_it() {
        let mut ends = Ends::default();
        assert!(told(&ends).is_empty());
        let (mut peers, mut sockets) = (Vec::new(), Vec::new());
        for token in 0..200 {
            let (peer, socket) = UnixStream::pair().unwrap();
            if token == 100 {
                drop(peer);
            } else {
                peers.push(peer);
            }
            assert!(ends.watch(&socket, token));
            sockets.push(socket);
        }
        assert_eq!(told(&ends), HashSet::from([100]));
        peers.iter_mut().for_each(|peer| peer.write_all(b"bytes").unwrap());
        assert!(told(&ends).is_empty());
        peers.truncate(20);
        assert_eq!(told(&ends), (20..200).filter(|token| *token != 100).collect());
        sockets.remove(0);
        peers.clear();
        assert_eq!(told(&ends), (1..20).collect(), "one that we have closed concerns nobody");
    }
}
