//! Files that fail, are slow, are left and follow each other.

use super::*;
use crate::disk::Backing;
use std::sync::mpsc::{channel, Receiver, Sender};

/// How a file fares, from the outside.
#[derive(Debug, Default)]
struct Fate {
    bytes: Mutex<Vec<u8>>,
    /// A write takes at most so many bytes more, and then fails.
    room: Mutex<Option<usize>>,
    /// Writes and syncs that were tried.
    tries: AtomicU64,
    sync_fails: AtomicBool,
    /// A sync says that it is there, and waits until it may go on.
    gate: Mutex<Option<(Sender<()>, Receiver<()>)>>,
}

#[derive(Debug)]
struct Fated(Arc<Fate>);

impl Backing for Fated {
    fn read(&self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.tries.fetch_add(1, Ordering::Relaxed);
        let mut room = self.0.room.lock();
        let taken = room.map_or(bytes.len(), |room| room.min(bytes.len()));
        if taken == 0 {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        if let Some(room) = &mut *room {
            *room -= taken;
        }
        self.0.bytes.lock().extend(&bytes[..taken]);
        Ok(taken)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.tries.fetch_add(1, Ordering::Relaxed);
        if let Some((there, go_on)) = self.0.gate.lock().take() {
            there.send(()).expect("the test waits");
            let _ = go_on.recv();
        }
        match self.0.sync_fails.load(Ordering::Relaxed) {
            true => Err(io::Error::from_raw_os_error(libc::EIO)),
            false => Ok(()),
        }
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut bytes = self.0.bytes.lock();
        if let Some(room) = &mut *self.0.room.lock() {
            *room += bytes.len() - len as usize;
        }
        bytes.truncate(len as usize);
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.bytes.lock().len() as u64)
    }
}

impl Fate {
    fn file(self: &Arc<Fate>) -> DiskFile {
        DiskFile::new(Fated(self.clone()))
    }

    fn holds(&self, text: &str) -> bool {
        *self.bytes.lock() == text.as_bytes()
    }

    /// Waits until the disk has been asked so many times more.
    fn await_tries(&self, more: u64) {
        let enough = self.tries.load(Ordering::Relaxed) + more;
        while self.tries.load(Ordering::Relaxed) < enough {
            std::thread::yield_now();
        }
    }
}

/// Nobody who needs to know.
struct Nobody;

impl Owner for Nobody {
    fn notice(&self, _: String) {}
    fn warning(&self, _: String) {}
    fn synced(&self) {}
    fn fatal(&self, _: String) {}
}

fn tail(policy: Policy) -> Arc<Tail> {
    let tail = Arc::<Tail>::default();
    tail.configured(&AppendOnly { policy, ..AppendOnly::default() }, 0);
    tail
}

fn start(tail: &Arc<Tail>, file: &Arc<Fate>) {
    let bytes = file.bytes.lock().len() as u64;
    tail.start(file.file(), bytes, Clock::default(), Arc::new(Nobody)).expect("there are threads");
}

/// Waits until everything appended is as durable as it has been promised.
fn await_durable(tail: &Tail) {
    while !tail.open(tail.appended()) {
        std::thread::yield_now();
    }
}

const POLICIES: [Policy; 3] = [Policy::No, Policy::EverySec, Policy::Always];

#[test]
fn the_next_file_waits_until_the_one_before_is_whole() {
    for policy in POLICIES {
        for room in [0, 2] {
            let (tail, [first, second]) = (tail(policy), Default::default());
            start(&tail, &first);
            tail.append(b"one");
            await_durable(&tail);
            *first.room.lock() = Some(room);
            tail.append(b"two!");
            tail.switch_to(second.file(), 0);
            tail.append(b"three");
            let mark = tail.appended();
            assert!(!tail.open(mark));
            first.await_tries(4);
            assert!(!tail.is_open(mark) && tail.failure().is_some());
            *first.room.lock() = None;
            await_durable(&tail);
            tail.append(b"four");
            tail.stop();
            assert!(first.holds("onetwo!"), "{policy:?}, room for {room}: {first:?}");
            assert!(second.holds("threefour"), "{policy:?}, room for {room}: {second:?}");
        }
    }
}

#[test]
fn the_next_file_waits_for_the_sync_of_the_one_before() {
    for policy in [Policy::EverySec, Policy::Always] {
        let (tail, [first, second]) = (tail(policy), Default::default());
        start(&tail, &first);
        first.sync_fails.store(true, Ordering::Relaxed);
        tail.append(b"one");
        tail.switch_to(second.file(), 0);
        tail.append(b"two");
        assert!(!tail.open(tail.appended()));
        first.await_tries(4);
        assert!(first.holds("one") && second.holds(""));
        assert!(tail.failure().is_some());
        first.sync_fails.store(false, Ordering::Relaxed);
        await_durable(&tail);
        assert!(second.holds("two"));
        assert_eq!(tail.failure(), None, "{policy:?}");
        tail.stop();
    }
}

/// Runs `work`, which must come to its end while the disk stands still.
fn without_waiting(work: impl FnOnce() + Send + 'static) {
    let (done, is_done) = channel();
    std::thread::spawn(move || {
        work();
        let _ = done.send(());
    });
    is_done.recv_timeout(Duration::from_secs(60)).expect("it waits for the disk");
}

#[test]
fn to_count_to_leave_and_to_begin_anew_waits_for_no_disk() {
    let (tail, [first, second, third]) = (tail(Policy::EverySec), Default::default());
    let (slow, standstill) = channel();
    let (go_on, may_go_on) = channel();
    start(&tail, &first);
    tail.count(0);
    tail.append(b"one");
    await_durable(&tail);
    assert_eq!(tail.files_bytes(), 3);
    *first.gate.lock() = Some((slow, may_go_on));
    tail.append(b"two");
    tail.switch_to(second.file(), 0);
    standstill.recv().expect("the writer syncs");
    let outside = (tail.clone(), third.clone());
    without_waiting(move || {
        let (tail, third) = outside;
        assert_eq!(tail.files_bytes(), 6);
        assert_eq!(tail.count_from(100), 100, "nothing is in the second file yet");
        tail.append(b"three");
        tail.leave();
        start(&tail, &third);
        tail.append(b"four");
        assert!(!tail.open(tail.appended()));
    });
    go_on.send(()).expect("the writer waits");
    await_durable(&tail);
    assert_eq!(tail.files_bytes(), 109);
    tail.stop();
    for (file, text) in [(first, "onetwo"), (second, "three"), (third, "four")] {
        assert!(file.holds(text), "{file:?} has not {text}");
    }
}

#[test]
fn a_file_that_is_left_keeps_nobody_waiting_when_it_fails() {
    for policy in POLICIES {
        let (tail, [first, between, second]) = (tail(policy), Default::default());
        start(&tail, &first);
        *first.room.lock() = Some(1);
        tail.append(b"one");
        tail.switch_to(between.file(), 0);
        tail.append(b"two");
        assert!(!tail.open(tail.appended()));
        first.await_tries(2);
        tail.leave();
        await_durable(&tail);
        assert_eq!(tail.failure(), None, "{policy:?}");
        start(&tail, &second);
        tail.append(b"three");
        await_durable(&tail);
        tail.stop();
        assert!(first.holds("") && between.holds("") && second.holds("three"), "{policy:?}");
    }
}

#[test]
fn a_failed_sync_counts_only_where_one_is_promised() {
    let (tail, file) = (tail(Policy::EverySec), Arc::<Fate>::default());
    let directives = |policy| AppendOnly { policy, ..AppendOnly::default() };
    start(&tail, &file);
    file.sync_fails.store(true, Ordering::Relaxed);
    tail.append(b"one");
    await_durable(&tail);
    assert!(!tail.sync(tail.pen.lock()));
    assert!(tail.failure().is_some() && !tail.last_write_was_ok());
    tail.configured(&directives(Policy::No), 0);
    assert!(tail.failure().is_none() && tail.last_write_was_ok());
    tail.append(b"two");
    await_durable(&tail);
    // Promised again, and not to be had yet.
    tail.configured(&directives(Policy::EverySec), 0);
    assert!(tail.failure().is_some());
    file.sync_fails.store(false, Ordering::Relaxed);
    assert!(tail.sync(tail.pen.lock()));
    assert!(tail.failure().is_none());
    tail.stop();
}
