//! Three genuine sentinels watch three servers and fail them over, again and again, while a writer
//! numbers its writes. The primary is killed, stopped, or cut off from everybody; then there is one
//! primary, the others follow it, and every write that WAIT has confirmed is there. What was only
//! acknowledged may be lost if it lies behind the offset at which the new primary's history begins.
//! A primary that is cut off refuses writes once its replicas have been silent for too long.
//!
//! `FAILOVERS=100` is the long run; `GENUINE=1` puts a genuine server among the three, `GENUINE=3`
//! shows what genuine servers do alone.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{sleep, JoinHandle};
use std::time::{Duration, Instant};

use crate::differential::number;
use crate::patience::PATIENCE;
use crate::server::{free_port, Files, Genuine};
use crate::wire::{Reply, Wire};

/// Both replicas.
const CONFIRMING: &str = "2";

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what} did not come");
        sleep(Duration::from_millis(20));
    }
}

/// The only way to a server: while it is cut nothing passes, and nobody is told.
struct Proxy {
    port: u16,
    is_cut: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<Weak<TcpStream>>>>,
    /// Those that came while it was cut.
    held: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    fn before(target: u16) -> Proxy {
        let port = free_port().expect("a port");
        let listener = TcpListener::bind(local(port)).expect("a port");
        let is_cut = Arc::new(AtomicBool::new(false));
        let (open, held) = (Arc::<Mutex<Vec<Weak<TcpStream>>>>::default(), Arc::default());
        let proxy = Proxy { port, is_cut: is_cut.clone(), open: open.clone(), held };
        let held: Arc<Mutex<Vec<TcpStream>>> = proxy.held.clone();
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if is_cut.load(Ordering::Relaxed) {
                    held.lock().unwrap().push(near);
                    continue;
                }
                let Ok(far) = TcpStream::connect(local(target)) else { continue };
                let _ = (near.set_nodelay(true), far.set_nodelay(true));
                let ends = [Arc::new(near), Arc::new(far)];
                let mut open = open.lock().unwrap();
                open.retain(|socket| socket.strong_count() > 0);
                open.extend(ends.iter().map(Arc::downgrade));
                let [near, far] = ends;
                for (from, to) in [(near.clone(), far.clone()), (far, near)] {
                    let is_cut = is_cut.clone();
                    std::thread::spawn(move || carry(&from, &to, &is_cut));
                }
            }
        });
        proxy
    }

    fn cut(&self) {
        self.is_cut.store(true, Ordering::Relaxed);
    }

    fn heal(&self) {
        self.is_cut.store(false, Ordering::Relaxed);
        self.held.lock().unwrap().clear();
        for socket in self.open.lock().unwrap().drain(..).filter_map(|socket| socket.upgrade()) {
            let _ = socket.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn carry(mut from: &TcpStream, mut to: &TcpStream, is_cut: &AtomicBool) {
    let mut block = [0; 16 << 10];
    while let Ok(bytes @ 1..) = from.read(&mut block) {
        // What is on its way when the cut comes is lost.
        if !is_cut.load(Ordering::Relaxed) && to.write_all(&block[..bytes]).is_err() {
            break;
        }
    }
    if !is_cut.load(Ordering::Relaxed) {
        let _ = to.shutdown(std::net::Shutdown::Both);
    }
}

/// A server or a sentinel as a process that is started from a file.
struct Process {
    command: Vec<String>,
    port: u16,
    child: Option<Child>,
    _files: Files,
}

impl Process {
    /// `program` with a file of these lines.
    fn new(program: &str, port: u16, lines: &str, words: &[&str]) -> Process {
        let mut parts = program.split_whitespace();
        let root = match parts.next() {
            Some("chroot") => parts.next().unwrap_or("/"),
            _ => "/",
        };
        let files = Files::below(Path::new(root)).expect("a folder");
        let text = format!("port {port}\nbind 127.0.0.1\ndir {}\n{lines}", files.name());
        std::fs::write(files.path().join("conf"), text).expect("a file");
        let mut command: Vec<String> = program.split_whitespace().map(str::to_string).collect();
        command.push(format!("{}/conf", files.name()));
        command.extend(words.iter().map(|word| word.to_string()));
        let mut process = Process { command, port, child: None, _files: files };
        process.start();
        process
    }

    fn start(&mut self) {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = self.child.insert(command.spawn().expect("it starts"));
        let own = format!("process_id:{}", child.id());
        wait_until("a process that listens", || {
            let ended = child.try_wait().expect("a child");
            assert!(ended.is_none(), "{:?} ended at once: {ended:?}", self.command);
            let Some(Reply::Bulk(text)) = call(self.port, &["INFO", "server"]) else {
                return false;
            };
            // Somebody else may have taken its port.
            let text = String::from_utf8_lossy(&text).into_owned();
            assert!(text.lines().any(|line| line == own), "another server at {}", self.port);
            true
        });
    }

    fn signal(&self, name: &str) {
        let Some(child) = &self.child else { return };
        let pid = child.id().to_string();
        let sent = Command::new("kill").args([name, &pid]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill {name}");
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Three servers, each behind a proxy, and three sentinels.
struct Field {
    servers: Vec<(Process, Proxy)>,
    sentinels: Vec<Process>,
}

impl Field {
    fn new(genuine: &str, genuine_servers: usize) -> Field {
        let mut servers: Vec<(Process, Proxy)> = Vec::new();
        for place in 0..3 {
            let port = free_port().expect("a port");
            let proxy = Proxy::before(port);
            let mut lines = format!(
                "save \"\"\nreplica-announce-ip 127.0.0.1\nreplica-announce-port {}\n\
                 repl-diskless-sync-delay 0\nmin-replicas-to-write 1\nmin-replicas-max-lag 2\n\
                 repl-timeout 5\nrepl-ping-replica-period 1\n",
                proxy.port
            );
            if let Some((_, first)) = servers.first() {
                lines += &format!("replicaof 127.0.0.1 {}\n", first.port);
            }
            // A genuine one among ours begins as a replica.
            let program = match (place + 2) % 3 < genuine_servers {
                true => genuine,
                false => env!("CARGO_BIN_EXE_redouble"),
            };
            servers.push((Process::new(program, port, &lines, &[]), proxy));
        }
        let first = servers[0].1.port;
        let lines = format!(
            "sentinel monitor main 127.0.0.1 {first} 2\n\
             sentinel down-after-milliseconds main 700\nsentinel failover-timeout main 3000\n\
             protected-mode no\n"
        );
        let sentinel = |_| {
            let port = free_port().expect("a port");
            Process::new(genuine, port, &lines, &["--sentinel"])
        };
        let field = Field { servers, sentinels: (0..3).map(sentinel).collect() };
        for sentinel in &field.sentinels {
            // Only what lies between the decisions is made shorter.
            call(sentinel.port, &["SENTINEL", "DEBUG", "INFO-PERIOD", "500"]);
            call(sentinel.port, &["SENTINEL", "DEBUG", "PUBLISH-PERIOD", "300"]);
        }
        wait_until("sentinels that know each other", || {
            field.sentinels.iter().all(|sentinel| {
                let known = call(sentinel.port, &["INFO", "sentinel"]);
                let Some(Reply::Bulk(text)) = known else { return false };
                let text = String::from_utf8_lossy(&text).into_owned();
                text.contains("status=ok") && text.contains("slaves=2,sentinels=3")
            })
        });
        field
    }

    /// Where the sentinels say the primary is, if they agree.
    fn primary(&self) -> Option<usize> {
        let said = |sentinel: &Process| {
            let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"];
            match call(sentinel.port, &words) {
                Some(Reply::Array(address)) => match address.last() {
                    Some(Reply::Bulk(port)) => String::from_utf8_lossy(port).parse::<u16>().ok(),
                    _ => None,
                },
                _ => None,
            }
        };
        let ports: Vec<_> = self.sentinels.iter().map(said).collect();
        let agreed = ports.iter().all(|port| *port == ports[0]).then_some(ports[0])??;
        self.servers.iter().position(|(_, proxy)| proxy.port == agreed)
    }

    fn field(&self, place: usize, name: &str) -> String {
        let reply = call(self.servers[place].0.port, &["INFO", "everything"]);
        let Some(Reply::Bulk(text)) = reply else { return String::new() };
        let text = String::from_utf8_lossy(&text).into_owned();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
        line.unwrap_or_default().to_string()
    }

    /// Waits until all agree and follow; gives the primary.
    fn whole(&self) -> usize {
        let began = Instant::now();
        loop {
            if let Some(primary) = self.primary().filter(|primary| self.is_whole(*primary)) {
                return primary;
            }
            if began.elapsed() > PATIENCE {
                let names = ["role", "master_port", "master_link_status", "connected_slaves"];
                let said = (0..3).map(|place| names.map(|name| self.field(place, name)));
                let said: Vec<_> = said.collect();
                let ports: Vec<u16> = self.servers.iter().map(|(_, proxy)| proxy.port).collect();
                panic!("no whole field: {:?} of {ports:?}, {said:?}", self.primary());
            }
            sleep(Duration::from_millis(20));
        }
    }

    fn is_whole(&self, primary: usize) -> bool {
        let same = |place: usize, name: &str| self.field(place, name) == self.field(primary, name);
        self.field(primary, "role") == "master"
            && (0..3).filter(|place| *place != primary).all(|place| {
                self.field(place, "role") == "slave"
                    && self.field(place, "master_link_status") == "up"
                    && same(place, "master_replid")
            })
            && self.field(primary, "connected_slaves") == "2"
    }
}

/// A connection, if there is one to be had.
fn reach(port: u16) -> Option<Wire> {
    TcpStream::connect_timeout(&local(port), Duration::from_secs(1)).ok()?;
    Wire::connect(local(port)).ok()
}

fn call(port: u16, words: &[&str]) -> Option<Reply> {
    let mut wire = reach(port)?;
    wire.send(&crate::wire::request(words));
    wire.wait(Duration::from_secs(2)).ok()?
}

/// What a writer knows of its writes.
#[derive(Default)]
struct Written {
    /// With what the server said of its history just after.
    acknowledged: BTreeMap<u64, Option<Point>>,
    confirmed: BTreeSet<u64>,
}

/// A point of a history.
#[derive(Clone, PartialEq, Eq)]
struct Point {
    id: String,
    offset: u64,
}

impl Point {
    fn of(info: &Reply) -> Option<Point> {
        let Reply::Bulk(text) = info else { return None };
        let text = String::from_utf8_lossy(text).into_owned();
        let field = |name| text.lines().find_map(|line| line.strip_prefix(name));
        let offset = field("master_repl_offset:")?.parse().ok()?;
        Some(Point { id: field("master_replid:")?.to_string(), offset })
    }
}

/// Writes numbers to whoever is the primary, until it is told to stop.
struct Writer {
    primary: Arc<Mutex<Option<u16>>>,
    written: Arc<Mutex<Written>>,
    stopped: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Writer {
    fn start() -> Writer {
        let primary: Arc<Mutex<Option<u16>>> = Arc::default();
        let written: Arc<Mutex<Written>> = Arc::default();
        let stopped = Arc::new(AtomicBool::new(false));
        let parts = (primary.clone(), written.clone(), stopped.clone());
        let thread = std::thread::spawn(move || {
            let (primary, written, stopped) = parts;
            let mut next = 0;
            while !stopped.load(Ordering::Relaxed) {
                let port = *primary.lock().unwrap();
                let wire = port.and_then(|port| Wire::connect(local(port)).ok());
                if let Some(wire) = wire {
                    write_some(wire, &mut next, &written, &stopped);
                }
                sleep(Duration::from_millis(5));
            }
        });
        Writer { primary, written, stopped, thread }
    }

    fn turn_to(&self, port: u16) {
        *self.primary.lock().unwrap() = Some(port);
    }
}

/// Writes until the connection or the server does not take it.
fn write_some(mut wire: Wire, next: &mut u64, written: &Mutex<Written>, stopped: &AtomicBool) {
    while !stopped.load(Ordering::Relaxed) {
        *next += 1;
        let number = next.to_string();
        wire.send(&crate::wire::request(&["SET", &format!("n:{number}"), &number]));
        wire.send(&crate::wire::request(&["INFO", "replication"]));
        let limit = Duration::from_millis(500);
        let Ok(Some(Reply::Status(_))) = wire.wait(limit) else { return };
        written.lock().unwrap().acknowledged.insert(*next, None);
        let Ok(Some(info)) = wire.wait(limit) else { return };
        written.lock().unwrap().acknowledged.insert(*next, Point::of(&info));
        wire.send(&crate::wire::request(&["WAIT", CONFIRMING, "50"]));
        match wire.wait(limit) {
            Ok(Some(Reply::Int(2..))) => drop(written.lock().unwrap().confirmed.insert(*next)),
            Ok(Some(Reply::Int(_))) => {}
            _ => return,
        }
    }
}

/// Ends a primary one way, and what makes it come back.
fn strike(field: &mut Field, primary: usize, way: usize) {
    let (process, proxy) = &mut field.servers[primary];
    match way {
        0 => process.kill(),
        1 => process.signal("-STOP"),
        _ => proxy.cut(),
    }
}

fn mend(field: &mut Field, primary: usize, way: usize) {
    let (process, proxy) = &mut field.servers[primary];
    match way {
        0 => process.start(),
        1 => process.signal("-CONT"),
        _ => proxy.heal(),
    }
}

/// Writes to a server past its proxy, and knows when it last took one.
struct Lonely {
    last_taken: Arc<Mutex<Option<Instant>>>,
    refused: Arc<AtomicBool>,
    stopped: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Lonely {
    fn start(port: u16) -> Lonely {
        let last_taken: Arc<Mutex<Option<Instant>>> = Arc::default();
        let (refused, stopped) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let (taken, no, ends) = (last_taken.clone(), refused.clone(), stopped.clone());
        let thread = std::thread::spawn(move || {
            let Some(mut wire) = reach(port) else { return };
            while !ends.load(Ordering::Relaxed) {
                wire.send(&crate::wire::request(&["SET", "alone", "x"]));
                match wire.wait(PATIENCE) {
                    Ok(Some(Reply::Status(_))) => *taken.lock().unwrap() = Some(Instant::now()),
                    Ok(Some(Reply::Error(text))) if text.starts_with(b"NOREPLICAS") => {
                        no.store(true, Ordering::Relaxed);
                    }
                    _ => return,
                }
                sleep(Duration::from_millis(10));
            }
        });
        Lonely { last_taken, refused, stopped, thread }
    }

    /// Waits until it refuses writes; gives when it took the last one.
    fn end(self) -> Option<Instant> {
        wait_until("NOREPLICAS", || self.refused.load(Ordering::Relaxed));
        self.stopped.store(true, Ordering::Relaxed);
        self.thread.join().expect("a writer");
        let last_taken = *self.last_taken.lock().unwrap();
        last_taken
    }
}

/// What was lost lies behind the point at which the new primary left the old one's history, if
/// there was only one change of primaries.
fn lost_within_offsets(field: &Field, primary: usize, written: &Written, lost: &[u64]) {
    let old_id = field.field(primary, "master_replid2");
    let Ok(begins) = field.field(primary, "second_repl_offset").parse::<u64>() else { return };
    for number in lost {
        let Some(Some(point)) = written.acknowledged.get(number) else { continue };
        assert!(
            point.id != old_id || point.offset >= begins,
            "write {number} at {} is lost, but the new history begins at {begins}",
            point.offset
        );
    }
}

/// Median and longest, in ms.
fn shown(times: &mut [u128]) -> String {
    times.sort_unstable();
    match (times.get(times.len() / 2), times.last()) {
        (Some(median), Some(longest)) => format!("median {median} ms, longest {longest} ms"),
        _ => "never".to_string(),
    }
}

fn missing(field: &Field, primary: usize, numbers: &BTreeSet<u64>) -> Vec<u64> {
    let mut wire = Wire::connect(local(field.servers[primary].0.port)).expect("connected");
    let numbers: Vec<u64> = numbers.iter().copied().collect();
    let mut missing = Vec::new();
    for some in numbers.chunks(500) {
        let keys: Vec<String> = some.iter().map(|number| format!("n:{number}")).collect();
        let mut words = vec!["EXISTS"];
        for (number, key) in some.iter().zip(&keys) {
            words.truncate(1);
            words.push(key);
            if wire.call(&words).expect("an answer") != Reply::Int(1) {
                missing.push(*number);
            }
        }
    }
    missing
}

#[test]
fn genuine_sentinels_fail_over_and_lose_nothing_that_was_confirmed() {
    let Some(genuine) = Genuine::command_line() else {
        eprintln!("skipped: REDIS_SERVER names no genuine server for sentinels");
        return;
    };
    let mut field = Field::new(&genuine, number("GENUINE", 0));
    field.whole();
    let rounds = number("FAILOVERS", 5);
    let (mut took_ms, mut lonely_ms): (Vec<u128>, Vec<u128>) = Default::default();
    let (mut lost, mut confirmed, mut acknowledged) = (0, 0, 0);
    for round in 0..rounds {
        let primary = field.primary().expect("a primary");
        let writer = Writer::start();
        writer.turn_to(field.servers[primary].1.port);
        wait_until("confirmed writes", || writer.written.lock().unwrap().confirmed.len() > 50);
        let way = round % 3;
        let lonely = (way == 2).then(|| Lonely::start(field.servers[primary].0.port));
        let struck = Instant::now();
        strike(&mut field, primary, way);
        let mut next = primary;
        wait_until("another primary", || {
            next = field.primary().unwrap_or(primary);
            next != primary && field.field(next, "role") == "master"
        });
        took_ms.push(struck.elapsed().as_millis());
        if let Some(last_taken) = lonely.and_then(Lonely::end) {
            lonely_ms.push(last_taken.saturating_duration_since(struck).as_millis());
        }
        writer.turn_to(field.servers[next].1.port);
        mend(&mut field, primary, way);
        // On a busy machine one that only was slow may have been failed over as well.
        let next = field.whole();
        writer.stopped.store(true, Ordering::Relaxed);
        writer.thread.join().expect("a writer");
        let written = std::mem::take(&mut *writer.written.lock().unwrap());
        let gone = missing(&field, next, &written.confirmed);
        assert!(gone.is_empty(), "round {round}: confirmed and lost: {gone:?}");
        let gone = missing(&field, next, &written.acknowledged.keys().copied().collect());
        lost_within_offsets(&field, next, &written, &gone);
        confirmed += written.confirmed.len();
        acknowledged += written.acknowledged.len();
        lost += gone.len();
        call(field.servers[next].0.port, &["FLUSHALL"]);
    }
    eprintln!(
        "{rounds} failovers; of {acknowledged} writes {confirmed} were confirmed, of which none is \
         lost; {lost} of the others are; to the next primary: {}; a primary that was cut off took \
         its last write after: {}",
        shown(&mut took_ms),
        shown(&mut lonely_ms)
    );
}
