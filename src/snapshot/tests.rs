//! What an image becomes when it is written and read again, while the data goes on changing.

use super::rdb_output::{RdbOutput, Sink};
use super::sinks::MemorySink;
use super::{begin, prepare, Walk};
use crate::keyspace::db::Db;
use crate::keyspace::image::model::{assert_same, change, databases, picture, Picture};
use crate::keyspace::image::{Slice, Wanted};
use crate::persistence::{Job, Outcome, Output, Start};
use crate::rdb::read::{Item, Reader, Rules};
use crate::server::Server;
use crate::state::{Access, State};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::cell::RefCell;
use std::io;
use std::sync::Arc;

fn start(db: &Db, image: crate::keyspace::image::ImageId, compress: bool) -> Start {
    Start {
        now_ms: db.now_ms(),
        outlines: db.image_outline(image),
        libraries: Vec::new(),
        redis_version: "7.4.0".to_string(),
        used_bytes: 0,
        ages: None,
        replication_id: String::new(),
        replication_offset: 0,
        compress,
        checksum: true,
        wanted: Wanted::default(),
    }
}

/// The data that a file has.
fn read(bytes: &[u8], limits: &crate::types::limits::Limits) -> Picture {
    let mut db = databases(3, 0);
    let rules = Rules { limits: limits.clone(), checksum: true };
    let mut reader = Reader::open(bytes, rules).expect("a file");
    loop {
        match reader.next_item().expect("an item") {
            Item::SelectDb(index) => db.select(index as usize),
            Item::Key(loaded) => {
                let put = db.load(loaded, false);
                assert!(put.is_ok(), "a key is there twice");
            }
            Item::End => return picture(&db),
            _ => {}
        }
    }
}

#[test]
fn a_file_has_the_data_of_the_moment_when_its_snapshot_began() {
    for (seed, keys) in [(1, 8), (2, 40), (3, 500)] {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut db = databases(3, seed);
        for _ in 0..3_000 {
            change(&mut db, &mut rng, keys);
        }
        for _ in 0..60 {
            let image = db.begin_image();
            let expected = picture(&db);
            let bytes = Arc::new(Mutex::new(Vec::new()));
            let mut output = RdbOutput::new(MemorySink(bytes.clone()), Vec::new());
            output.begin(&start(&db, image, rng.random())).expect("memory takes all");
            let mut more = true;
            while more {
                let mut pieces = Vec::new();
                let slice = Slice { keys: rng.random_range(1..40), bytes: 4096 };
                more = db.take_pieces(image, slice, &mut pieces).expect("it is there").more;
                output.take(&pieces).expect("memory takes all");
                for _ in 0..rng.random_range(0..20) {
                    db.set_now_ms(db.now_ms() + rng.random_range(0..2));
                    change(&mut db, &mut rng, keys);
                }
            }
            while db.end_image(image).is_some() {}
            output.finish().expect("memory takes all");
            assert_same(&read(&bytes.lock(), &db.limits), &expected);
        }
    }
}

/// Turns of the lock, and what others do between them.
struct Turns<'a, F>(RefCell<(&'a mut State, F)>);

impl<F: FnMut(&mut State)> Access for Turns<'_, F> {
    fn with(&self, work: &mut dyn FnMut(&mut State)) -> bool {
        let (state, others) = &mut *self.0.borrow_mut();
        work(state);
        others(state);
        true
    }
}

/// A snapshot in memory: its bytes, and how it ended.
#[derive(Clone, Default)]
struct Taken {
    bytes: Arc<Mutex<Vec<u8>>>,
    outcome: Arc<Mutex<Option<Outcome>>>,
    wanted: Wanted,
}

impl Taken {
    fn job(&self) -> Job {
        let output = Box::new(RdbOutput::new(MemorySink(self.bytes.clone()), Vec::new()));
        let outcome = self.outcome.clone();
        let wanted = self.wanted.clone();
        Job { output, wanted, over: Box::new(move |_, ended| *outcome.lock() = Some(ended)) }
    }

    fn is_done(&self) -> bool {
        matches!(*self.outcome.lock(), Some(Outcome::Done))
    }
}

/// A server with something in it.
fn filled() -> Server {
    let server = Server::builder().without_tcp().start().expect("it starts");
    server.command(&["MSET", "a", "1", "b", "2"]);
    server
}

#[test]
fn who_ends_late_leaves_the_next_image_alone() {
    let server = filled();
    let mut state = server.shared().lock();
    let (early, late) = (Taken::default(), Taken::default());
    let first = prepare(&mut state, early.job());
    let mut walk = Walk::of(&mut state, first).expect("it runs");
    let mut second = None;
    // The image of the first is gone, and its thread has a turn left.
    let others = |state: &mut State| {
        if second.is_none() && state.db.image_outline(first).is_empty() {
            second = Some(prepare(state, late.job()));
        }
    };
    walk.run_outside(&Turns(RefCell::new((&mut state, others))));
    assert!(early.is_done());
    let second = second.expect("there was a turn between");
    Walk::of(&mut state, second).expect("it runs").run_inside(&mut state);
    assert!(late.is_done());
    let limits = databases(3, 0).limits;
    assert_same(&read(&late.bytes.lock(), &limits), &picture(&state.db));
}

#[test]
fn a_snapshot_whose_image_is_gone_has_failed() {
    let server = filled();
    let mut state = server.shared().lock();
    let taken = Taken::default();
    let image = prepare(&mut state, taken.job());
    while state.db.end_image(image).is_some() {}
    Walk::of(&mut state, image).expect("it runs").run_inside(&mut state);
    assert!(matches!(*taken.outcome.lock(), Some(Outcome::Failed(_))));
    assert!(taken.bytes.lock().is_empty(), "what was begun is discarded");
}

#[test]
fn snapshots_that_begin_together_share_one_walk() {
    let server = filled();
    let [first, unwanted, second, later] = std::array::from_fn(|_| Taken::default());
    let expected = {
        let state = &mut *server.shared().lock();
        let expected = picture(&state.db);
        for taken in [&first, &unwanted, &second] {
            begin(state, taken.job()).expect("there is a thread");
        }
        assert_eq!(state.persistence.running.len(), 1);
        unwanted.wanted.cancel();
        state.db.flush(Some(0), true);
        begin(state, later.job()).expect("there is a thread");
        assert_eq!(state.persistence.running.len(), 2, "the data is other data by now");
        expected
    };
    while !server.shared().lock().persistence.running.is_empty() {
        std::thread::yield_now();
    }
    assert!(first.is_done() && second.is_done() && later.is_done());
    assert!(matches!(*unwanted.outcome.lock(), Some(Outcome::Cancelled)));
    let limits = databases(3, 0).limits;
    let shows = |taken: &Taken| read(&taken.bytes.lock(), &limits);
    assert_same(&shows(&first), &expected);
    assert_same(&shows(&second), &expected);
    assert_same(&shows(&later), &picture(&server.shared().lock().db));
}

/// A sink whose peers take their time.
struct Peers(MemorySink);

impl Sink for Peers {
    fn open(&mut self) -> io::Result<()> {
        self.0.open()
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write(bytes)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.0.finish()
    }

    fn discard(&mut self) {
        self.0.discard();
    }

    fn waits_for_peers(&self) -> bool {
        true
    }
}

#[test]
fn who_waits_for_peers_walks_alone() {
    let server = filled();
    let [to_peers, of_own] = std::array::from_fn(|_| Taken::default());
    {
        let state = &mut *server.shared().lock();
        for _ in 0..2 {
            let sink = Peers(MemorySink(to_peers.bytes.clone()));
            let output = Box::new(RdbOutput::new(sink, Vec::new()));
            begin(state, Job { output, ..to_peers.job() }).expect("there is a thread");
            begin(state, of_own.job()).expect("there is a thread");
        }
        assert_eq!(state.persistence.running.len(), 3);
    }
    while !server.shared().lock().persistence.running.is_empty() {
        std::thread::yield_now();
    }
    assert!(to_peers.is_done() && of_own.is_done());
}
