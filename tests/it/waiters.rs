//! Those who wait for keys: what enters the log when they are served, what the clock does to
//! them, and what many of them cost.

use crate::patience::PATIENCE;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use redouble::keyspace::effects::Reach;
use redouble::log::Reader;

use crate::server::Ours;
use crate::session::run::Server;
use crate::wire::{request, Reply, Wire};

/// Keeps what enters the log.
#[derive(Clone, Default)]
pub struct Tape(Arc<Mutex<Vec<u8>>>);

impl Reader for Tape {
    fn receive(&mut self, encoded: &[u8]) {
        self.0.lock().unwrap().extend(encoded);
    }

    fn kind(&self) -> Reach {
        Reach::REPLICAS
    }
}

impl Tape {
    /// Listens from now on.
    pub fn attach(server: &Ours) -> Tape {
        let tape = Tape::default();
        let mut state = server.handle().shared().lock();
        state.log.attach(Box::new(tape.clone()));
        redouble::settle::listen(&mut state);
        tape
    }

    /// What these commands log, one a line, as [`Tape::lines`].
    pub fn of(commands: &str) -> String {
        let server = Ours::start(&[]).unwrap();
        let tape = Tape::attach(&server);
        let mut client = Wire::connect(server.addr()).unwrap();
        for line in commands.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            client.call(&words).unwrap();
        }
        tape.lines()
    }

    /// The records, one a line, their words separated by spaces.
    pub fn lines(&self) -> String {
        let log = self.0.lock().unwrap().clone();
        let text = String::from_utf8(log).unwrap();
        let mut lines = String::new();
        for line in text.split("\r\n") {
            match line.as_bytes().first() {
                Some(b'*') => lines.push('\n'),
                Some(b'$') | None => {}
                Some(_) => {
                    lines.push_str(line);
                    lines.push(' ');
                }
            }
        }
        lines.lines().map(|line| line.trim_end().to_string() + "\n").skip(1).collect()
    }
}

struct Stage {
    server: Ours,
    main: Wire,
    parked: usize,
}

impl Stage {
    fn new() -> Stage {
        let server = Ours::start(&[]).unwrap();
        let main = Wire::connect(server.addr()).unwrap();
        Stage { server, main, parked: 0 }
    }

    fn run(&mut self, line: &str) -> Reply {
        self.main.call(&words(line)).unwrap()
    }

    fn waiting(&self) -> usize {
        self.server.handle().shared().lock().blocking.len()
    }

    /// A client of its own that waits.
    fn park(&mut self, line: &str) -> Wire {
        let mut wire = Wire::connect(self.server.addr()).unwrap();
        wire.send(&request(&words(line)));
        self.parked += 1;
        self.until_waiting(self.parked);
        wire
    }

    fn until_waiting(&self, count: usize) {
        let limit = Instant::now() + PATIENCE;
        while self.waiting() != count {
            assert!(Instant::now() < limit, "{} wait, not {count}", self.waiting());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn served(&mut self, wire: &mut Wire) -> Reply {
        self.parked -= 1;
        answer(wire).unwrap().expect("an answer")
    }
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

fn answer(wire: &mut Wire) -> io::Result<Option<Reply>> {
    wire.wait(PATIENCE)
}

/// The expected lines are those of the append-only file of Redis 8.0 after the same commands.
#[test]
fn the_log_says_what_was_done_for_those_who_waited() {
    let mut stage = Stage::new();
    let tape = Tape::attach(&stage.server);
    let mut a = stage.park("BLPOP a 0");
    stage.run("rpush a 1");
    stage.served(&mut a);
    let mut b = stage.park("BLMOVE b c left right 0");
    let mut c = stage.park("BRPOP c 0");
    stage.run("rpush b 2");
    stage.served(&mut b);
    stage.served(&mut c);
    let mut d = stage.park("BRPOPLPUSH d e 0");
    let mut f = stage.park("BLMPOP 0 2 x f right count 5");
    for line in ["MULTI", "rpush d 3", "rpush f 4 5 6", "EXEC"] {
        stage.run(line);
    }
    stage.served(&mut d);
    stage.served(&mut f);
    for line in [
        "rpush g 1 2 3 4 5",
        "LMPOP 2 none g left count 2",
        "BLMPOP 0 1 g left count 9",
        "rpush h 1 2 3",
        "BLPOP h 0",
        "BRPOP h 0",
        "BLMOVE h i left left 0",
        "BRPOPLPUSH i j 0",
        "lpop j 5",
        "LPOP none",
        "rpush k a b",
        "LTRIM k 0 -1",
        "LREM k 0 none",
        "lmove k k left right",
        "LINSERT k BEFORE none q",
        "lset k 0 b",
    ] {
        stage.run(line);
    }
    let expected = "SELECT 0\nrpush a 1\nLPOP a\nrpush b 2\nLMOVE b c left right\nRPOP c\n\
        MULTI\nrpush d 3\nrpush f 4 5 6\nEXEC\nRPOPLPUSH d e\nRPOP f 3\n\
        rpush g 1 2 3 4 5\nLPOP g 2\nLPOP g 3\nrpush h 1 2 3\nLPOP h\nRPOP h\n\
        LMOVE h i left left\nRPOPLPUSH i j\nlpop j 5\nrpush k a b\nlmove k k left right\n\
        lset k 0 b\n";
    assert_eq!(tape.lines(), expected);
}

#[test]
fn timeouts_follow_the_shared_clock() {
    let mut stage = Stage::new();
    let clock = stage.server.handle().clock().clone();
    clock.freeze();
    let mut short = stage.park("BLPOP l 10.5");
    let mut long = stage.park("BLPOP l 3600");
    assert!(short.wait(Duration::from_millis(300)).unwrap().is_none());
    clock.advance(Duration::from_millis(10_499));
    assert!(short.wait(Duration::from_millis(300)).unwrap().is_none());
    clock.advance(Duration::from_millis(1));
    assert_eq!(stage.served(&mut short), Reply::NilArray);
    stage.until_waiting(1);
    clock.advance(Duration::from_secs(3600));
    assert_eq!(stage.served(&mut long), Reply::NilArray);
    stage.until_waiting(0);
}

#[test]
fn who_goes_away_waits_no_longer() {
    let mut stage = Stage::new();
    let gone = stage.park("BLPOP l m 0");
    let mut stays = stage.park("BLPOP l 0");
    drop(gone);
    stage.parked -= 1;
    stage.until_waiting(1);
    assert_eq!(stage.server.handle().shared().lock().blocking.keys(), 1);
    stage.run("RPUSH m x");
    stage.run("RPUSH l x y");
    stage.served(&mut stays);
    assert_eq!(stage.run("LLEN l"), Reply::Int(1));
    stage.until_waiting(0);
}

/// Runs `requests` on `wire`, after `happens`: while they wait for the lock, and while the only
/// worker waits with them, so that no session sees what happens.
pub fn run_after(
    server: &redouble::Server,
    wire: &mut Wire,
    requests: &[&str],
    happens: impl FnOnce(),
) {
    wire.call(&["PING"]).expect("a client that the worker knows");
    let state = server.shared().lock();
    wire.send(&requests.iter().flat_map(|line| request(&words(line))).collect::<Vec<_>>());
    let limit = Instant::now() + PATIENCE;
    while server.shared().waiting() == 0 {
        assert!(Instant::now() < limit, "nobody waits for the lock");
        std::thread::sleep(Duration::from_millis(1));
    }
    happens();
    drop(state);
    for line in requests {
        assert!(matches!(answer(wire), Ok(Some(_))), "{line} is answered");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn who_has_gone_takes_nothing_even_if_no_session_has_seen_it() {
    let mut stage = Stage::new();
    stage.run("XGROUP CREATE stream group $ MKSTREAM");
    let mut stays = stage.park("BLPOP list 0");
    let gone = [
        "BLPOP left 0",
        "BLMOVE moved there LEFT LEFT 0",
        "BLMPOP 0 1 many LEFT COUNT 2",
        "BZPOPMIN scores 0",
        "XREADGROUP GROUP group one BLOCK 0 STREAMS stream >",
    ];
    let gone = gone.map(|line| stage.park(line));
    let mut chatty = stage.park("BLPOP left 0");
    chatty.send(&request(&["SET", "said", "before the end"]));
    let pushes = [
        "RPUSH list x y",
        "RPUSH left x",
        "RPUSH moved x",
        "RPUSH many x",
        "ZADD scores 1 x",
        "XADD stream * f v",
    ];
    run_after(stage.server.handle(), &mut stage.main, &pushes, || drop((gone, chatty)));
    stage.served(&mut stays);
    stage.until_waiting(0);
    for (line, left) in [
        ("LLEN list", 1),
        ("LLEN left", 1),
        ("LLEN moved", 1),
        ("LLEN many", 1),
        ("ZCARD scores", 1),
        ("EXISTS there said", 0),
    ] {
        assert_eq!(stage.run(line), Reply::Int(left), "{line}");
    }
    let pending = stage.run("XPENDING stream group");
    let nobody = vec![Reply::Int(0), Reply::NilBulk, Reply::NilBulk, Reply::NilArray];
    assert_eq!(pending, Reply::Array(nobody));
}

#[test]
fn thousands_who_wait_for_other_keys_are_not_looked_at() {
    let mut stage = Stage::new();
    let parked: Vec<Wire> = (0..300).map(|n| stage.park(&format!("BLPOP key:{n} 0"))).collect();
    for n in 0..100 {
        stage.run(&format!("RPUSH other:{n} x"));
    }
    let state = stage.server.handle().shared().lock();
    assert!(!state.db.effects.waited.may_hold(0, b"other:1"));
    assert!((0..300).all(|n| state.db.effects.waited.may_hold(0, format!("key:{n}").as_bytes())));
    drop(state);
    drop(parked);
    stage.until_waiting(0);
    let state = stage.server.handle().shared().lock();
    assert!((0..300).all(|n| !state.db.effects.waited.may_hold(0, format!("key:{n}").as_bytes())));
}

#[test]
fn a_crowd_at_one_key_is_served_in_order() {
    let mut stage = Stage::new();
    let mut crowd: Vec<Wire> = (0..200).map(|_| stage.park("BLPOP l 0")).collect();
    for n in 0..100 {
        stage.run(&format!("RPUSH l {} {}", 2 * n, 2 * n + 1));
    }
    for (n, wire) in crowd.iter_mut().enumerate() {
        let Reply::Array(pair) = stage.served(wire) else { panic!("no pair") };
        assert_eq!(pair[1], Reply::Bulk(n.to_string().into_bytes()));
    }
}

#[test]
fn all_whose_time_is_over_are_released_at_one_tick() {
    const WAITERS: usize = 500;
    let server = redouble::Server::builder().without_tcp().start().unwrap();
    server.clock().freeze();
    let mut clients: Vec<_> = (0..WAITERS).map(|_| server.client()).collect();
    let calls: Vec<_> = clients
        .drain(..)
        .enumerate()
        .map(|(at, mut client)| {
            let timeout = format!("{}", 1.0 + (at % 7) as f64 / 100.0);
            std::thread::Builder::new()
                .stack_size(64 << 10)
                .spawn(move || client.command(&["BLPOP", &format!("list:{at}"), &timeout]))
                .unwrap()
        })
        .collect();
    while server.shared().lock().blocking.len() < WAITERS {
        std::thread::sleep(Duration::from_millis(1));
    }
    {
        let mut state = server.shared().lock();
        server.clock().advance(Duration::from_millis(900));
        redouble::cron::tick(&mut state);
        assert_eq!(state.blocking.len(), WAITERS);
        server.clock().advance(Duration::from_millis(200));
        redouble::cron::tick(&mut state);
        assert!(state.blocking.is_empty());
    }
    for call in calls {
        assert_eq!(call.join().unwrap(), redouble::resp::reader::Value::Null);
    }
}
