//! A link between a replica and its primary that can be made bad: it lets so many bytes through
//! and breaks, stands still, passes single bytes, or turns everybody away. It listens, too: for
//! each connection it knows what the replica asked for and what the primary answered.
//!
//! Invariant: bytes that are passed on are passed on in their order and unchanged.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::server::free_port;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the replica to the primary.
    Up,
    /// From the primary to the replica.
    Down,
}

/// What is wrong with one direction.
#[derive(Clone, Copy, Debug, Default)]
struct Trouble {
    /// The connection breaks after so many more bytes.
    cut_after: Option<u64>,
    /// Nothing passes for so long.
    stall: Option<Duration>,
    /// So many bytes pass one by one.
    single_bytes: u64,
}

/// What comes next of some bytes.
enum Step {
    Pass(usize),
    Wait(Duration),
    Break,
}

impl Trouble {
    fn step(&mut self, len: usize) -> Step {
        if let Some(time) = self.stall.take() {
            return Step::Wait(time);
        }
        let mut pass = len;
        if self.single_bytes > 0 {
            self.single_bytes -= 1;
            pass = 1;
        }
        if let Some(left) = self.cut_after {
            if left == 0 {
                self.cut_after = None;
                return Step::Break;
            }
            pass = pass.min(usize::try_from(left).unwrap_or(pass));
            self.cut_after = Some(left - pass as u64);
        }
        Step::Pass(pass)
    }
}

/// How a replica and its primary agreed on one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meeting {
    /// It asked to go on where it was, or for everything.
    pub asked_to_go_on: Option<bool>,
    /// It was let go on, or given everything.
    pub goes_on: Option<bool>,
    /// It said how far it is: what it was given has been loaded.
    pub acknowledged: bool,
}

#[derive(Default)]
struct Inner {
    refuses: AtomicBool,
    is_shut: AtomicBool,
    troubles: Mutex<[Trouble; 2]>,
    open: Mutex<Vec<TcpStream>>,
    meetings: Mutex<Vec<Meeting>>,
}

impl Inner {
    fn note(&self, at: usize, change: impl FnOnce(&mut Meeting)) {
        if let Some(meeting) = self.meetings.lock().unwrap().get_mut(at) {
            change(meeting);
        }
    }

    /// Carries bytes one way until an end closes, or trouble breaks the connection.
    fn carry(&self, mut from: TcpStream, mut to: TcpStream, way: Way, mut ear: Ear) {
        let mut block = [0; 16 << 10];
        while let Ok(len @ 1..) = from.read(&mut block) {
            let mut rest = &block[..len];
            ear.hear(self, way, rest);
            while !rest.is_empty() {
                let step = self.troubles.lock().unwrap()[way as usize].step(rest.len());
                match step {
                    Step::Pass(bytes) => {
                        let (now, later) = rest.split_at(bytes);
                        if to.write_all(now).is_err() {
                            break;
                        }
                        rest = later;
                    }
                    Step::Wait(time) => std::thread::sleep(time),
                    Step::Break => {
                        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
                        return;
                    }
                }
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }
}

/// Hears the words of a handshake in what passes one way, until it knows all of them.
struct Ear {
    meeting: usize,
    heard: Vec<u8>,
    known: Meeting,
}

/// Words that are longer than this are no handshake's.
const EAR_BYTES: usize = 512;

impl Ear {
    fn hear(&mut self, inner: &Inner, way: Way, bytes: &[u8]) {
        let knows_all = match way {
            Way::Up => self.known.asked_to_go_on.is_some() && self.known.acknowledged,
            Way::Down => self.known.goes_on.is_some(),
        };
        if knows_all {
            return;
        }
        self.heard.extend_from_slice(bytes);
        let heard = String::from_utf8_lossy(&self.heard).to_uppercase();
        match way {
            Way::Up => {
                let asked = heard.rsplit_once("\r\nPSYNC\r\n");
                let id = asked.and_then(|(_, words)| words.split("\r\n").nth(1));
                if let Some(id) = id.filter(|id| *id == "?" || id.len() == 40) {
                    self.known.asked_to_go_on = Some(id != "?");
                }
                self.known.acknowledged |= heard.contains("\r\nACK\r\n");
                inner.note(self.meeting, |one| {
                    one.asked_to_go_on = self.known.asked_to_go_on;
                    one.acknowledged = self.known.acknowledged;
                });
            }
            Way::Down => {
                self.known.goes_on = match () {
                    () if heard.contains("+FULLRESYNC ") => Some(false),
                    () if heard.contains("+CONTINUE") => Some(true),
                    () => None,
                };
                inner.note(self.meeting, |one| one.goes_on = self.known.goes_on);
            }
        }
        let surplus = self.heard.len().saturating_sub(EAR_BYTES);
        self.heard.drain(..surplus);
    }
}

/// The only way to a primary.
pub struct Link {
    addr: SocketAddr,
    target: SocketAddr,
    inner: Arc<Inner>,
}

impl Link {
    /// A link to this server.
    pub fn to(target: SocketAddr) -> Link {
        let listener =
            TcpListener::bind(("127.0.0.1", free_port().expect("a port"))).expect("a port");
        let addr = listener.local_addr().expect("an address");
        let link = Link { addr, target, inner: Arc::default() };
        link.listen(listener);
        link
    }

    fn listen(&self, listener: TcpListener) {
        let (inner, target) = (self.inner.clone(), self.target);
        inner.is_shut.store(false, Ordering::Relaxed);
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if inner.is_shut.load(Ordering::Relaxed) {
                    return;
                }
                if !inner.refuses.load(Ordering::Relaxed) {
                    let _ = connect(&inner, near, target);
                }
            }
        });
    }

    /// Nobody listens any more, and what is open is cut.
    pub fn shut(&self) {
        self.inner.is_shut.store(true, Ordering::Relaxed);
        // It looks when somebody comes.
        let _ = TcpStream::connect(self.addr);
        while TcpStream::connect(self.addr).is_ok() {}
        self.cut();
    }

    /// Listens again. Somebody who connects elsewhere may have been given the port meanwhile.
    pub fn open(&self) {
        for _ in 0..600 {
            match TcpListener::bind(self.addr) {
                Err(error) if error.kind() == ErrorKind::AddrInUse => {
                    std::thread::sleep(Duration::from_millis(100));
                }
                listener => return self.listen(listener.expect("the port that it had")),
            }
        }
        panic!("{} is in use for a minute", self.addr);
    }

    /// Where the replica finds it.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Cuts what is open.
    pub fn cut(&self) {
        for socket in self.inner.open.lock().unwrap().drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Cuts what is open, and whoever comes from now on; or lets them through again.
    pub fn refuse(&self, refuses: bool) {
        self.inner.refuses.store(refuses, Ordering::Relaxed);
        if refuses {
            self.cut();
        }
    }

    /// Breaks after so many more bytes.
    pub fn cut_after(&self, way: Way, bytes: u64) {
        self.inner.troubles.lock().unwrap()[way as usize].cut_after = Some(bytes);
    }

    /// Stands still for so long.
    pub fn stall(&self, way: Way, time: Duration) {
        self.inner.troubles.lock().unwrap()[way as usize].stall = Some(time);
    }

    /// Passes so many bytes one by one.
    pub fn single_bytes(&self, way: Way, bytes: u64) {
        self.inner.troubles.lock().unwrap()[way as usize].single_bytes = bytes;
    }

    /// No trouble from here on.
    pub fn mend(&self) {
        *self.inner.troubles.lock().unwrap() = Default::default();
        self.refuse(false);
    }

    /// How replica and primary agreed, on one connection after the other.
    pub fn meetings(&self) -> Vec<Meeting> {
        self.inner.meetings.lock().unwrap().clone()
    }
}

fn connect(inner: &Arc<Inner>, near: TcpStream, target: SocketAddr) -> std::io::Result<()> {
    let far = TcpStream::connect(target)?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    inner.open.lock().unwrap().extend([near.try_clone()?, far.try_clone()?]);
    let meeting = {
        let mut meetings = inner.meetings.lock().unwrap();
        meetings.push(Meeting::default());
        meetings.len() - 1
    };
    let ends = [(near.try_clone()?, far.try_clone()?, Way::Up), (far, near, Way::Down)];
    for (from, to, way) in ends {
        let inner = inner.clone();
        let ear = Ear { meeting, heard: Vec::new(), known: Meeting::default() };
        std::thread::spawn(move || inner.carry(from, to, way, ear));
    }
    Ok(())
}
