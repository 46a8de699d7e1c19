//! Replication over real sockets: primaries and replicas in one process, genuine ones beside them
//! where `REDIS_SERVER` names one, links that are cut, and peers that mean no good.

mod anew;
mod copies;
mod discord;
mod ending;
mod hostile;
mod logs;
mod pairs;
mod purity;
mod reconnect;
mod removals;
mod tools;

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use redouble::config::Config;
use redouble::resp::reader::Value;
use redouble::server_log::Logger;
use redouble::{Builder, Server};

use crate::differential::{is_played, number};
use crate::generate::Generator;
use crate::patience::PATIENCE;
use crate::play::{Player, Scene};
use crate::server::{Genuine, Ours};
use crate::wire::{Reply, Wire};

/// A folder in which a server logs and keeps its files.
struct Journal(std::path::PathBuf);

impl Journal {
    fn new(name: &str) -> Journal {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("redouble-journal-{name}-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).expect("a folder");
        Journal(dir)
    }

    fn kept_by(&self, builder: Builder) -> Builder {
        let mut config = Config::default();
        let log = self.0.join("log");
        config.assign("logfile", log.to_str().expect("a path")).expect("a file");
        let logger = Logger::new(config.settings(), Box::new(|| 0));
        builder.logger(Arc::new(logger)).config("dir", self.0.to_str().expect("a path"))
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.0.join("log")).unwrap_or_default()
    }

    /// Snapshots cannot be put in their place any more.
    fn spoil_saves(&self) {
        std::fs::create_dir_all(self.0.join("dump.rdb").join("full")).expect("a folder");
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn builder() -> Builder {
    Server::builder().config("repl-diskless-sync-delay", "0").config("enable-debug-command", "yes")
}

fn start(builder: Builder) -> Server {
    builder.start().expect("it starts")
}

fn port(server: &Server) -> String {
    server.addr().expect("an address").port().to_string()
}

/// A field of INFO.
fn info(server: &Server, field: &str) -> String {
    let Value::Verbatim(_, text) = server.command(&["INFO", "everything"]) else {
        panic!("INFO is text");
    };
    let text = String::from_utf8_lossy(&text).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
    line.unwrap_or_default().to_string()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what} did not come");
        sleep(Duration::from_millis(5));
    }
}

pub(crate) fn in_sync(primary: &Server, replica: &Server) {
    wait_until("a replica in sync", || {
        info(replica, "master_link_status") == "up"
            && info(replica, "master_repl_offset") == info(primary, "master_repl_offset")
            && info(replica, "master_replid") == info(primary, "master_replid")
    });
    let digest = |server: &Server| server.command(&["DEBUG", "DIGEST"]);
    assert_eq!(digest(replica), digest(primary));
}

#[test]
fn a_replica_copies_follows_and_is_promoted() {
    let primary = start(builder());
    for number in 0..1000 {
        primary.command(&["SET", &format!("key:{number}"), "value"]);
    }
    let library = "#!lua name=a\nredis.register_function{function_name='f', \
        callback=function() return 7 end, flags={'no-writes'}}";
    primary.command(&["FUNCTION", "LOAD", library]);
    let replica = start(builder().replica_of(primary.addr().expect("an address")));
    in_sync(&primary, &replica);
    assert_eq!(replica.command(&["FCALL", "f", "0"]), Value::Int(7));
    primary.command(&["LPUSH", "list", "a", "b"]);
    assert_eq!(primary.command(&["EVAL", "return redis.call('incr', 'n')", "0"]), Value::Int(1));
    let below = start(builder().replica_of(replica.addr().expect("an address")));
    in_sync(&primary, &replica);
    in_sync(&primary, &below);
    let Value::Error(text) = replica.command(&["SET", "key", "x"]) else { panic!("refused") };
    assert!(text.starts_with("READONLY"), "{text}");
    // Promoted, it goes on with its own replica, and its old primary can follow it.
    replica.command(&["REPLICAOF", "NO", "ONE"]);
    replica.command(&["SET", "after", "promotion"]);
    in_sync(&replica, &below);
    primary.command(&["REPLICAOF", "127.0.0.1", &port(&replica)]);
    in_sync(&replica, &primary);
    assert_eq!(info(&replica, "sync_full"), "1", "only the copy for the replica's replica");
}

#[test]
fn wait_counts_replicas_that_have_the_write() {
    let primary = start(builder());
    let replica = start(builder().replica_of(primary.addr().expect("an address")));
    in_sync(&primary, &replica);
    let mut player = Player::new(primary.addr().expect("an address")).expect("connects");
    player.call(&["SET", "key", "value"]).expect("it answers");
    assert_eq!(player.call(&["WAIT", "1", "0"]).expect("it answers"), Reply::Int(1));
    assert_eq!(player.call(&["WAIT", "2", "50"]).expect("it answers"), Reply::Int(1));
    assert_eq!(replica.command(&["GET", "key"]), Value::Bulk(b"value".to_vec()));
}

#[test]
fn a_slow_script_sees_replicas_say_how_far_they_are_and_leave() {
    for threads in ["1", "4"] {
        let primary = builder().config("io-threads", threads).config("busy-reply-threshold", "10");
        let primary = start(primary.config("min-replicas-to-write", "1"));
        let addr = primary.addr().expect("an address");
        let replica = start(builder().replica_of(addr));
        in_sync(&primary, &replica);
        let mut player = Player::new(addr).expect("connects");
        // The replica speaks each second: what it says takes away its lag.
        let lag = "local late \
            repeat \
                local lag = string.match(redis.call('info', 'replication'), 'lag=(%d+)') \
                late = late or lag ~= '0' \
            until late and lag == '0' \
            return 'seen'";
        let seen = player.call(&["EVAL", lag, "0"]).expect("it answers");
        assert_eq!(seen, Reply::Bulk(b"seen".to_vec()), "{threads}");
        let script = std::thread::spawn(move || {
            let wait = "redis.call('set', 'x', 'begun') \
                while not string.match(redis.call('info', 'replication'), 'connected_slaves:0') do \
                end \
                return redis.call('set', 'x', 'ended')";
            player.call(&["EVAL", wait, "0"]).expect("it answers")
        });
        let mut others: Vec<Player> = Vec::new();
        wait_until("a slow script", || {
            others.push(Player::new(addr).expect("connects"));
            let mut reply = others.iter_mut().map(|other| other.call(&["PING"]));
            reply.any(|reply| matches!(reply, Ok(Reply::Error(text)) if text.starts_with(b"BUSY")))
        });
        drop(replica);
        assert_eq!(script.join().expect("it ends"), Reply::Status(b"OK".to_vec()), "{threads}");
        assert_eq!(primary.command(&["GET", "x"]), Value::Bulk(b"ended".to_vec()), "{threads}");
    }
}

#[test]
fn a_planned_failover_loses_nothing() {
    let first = start(builder());
    let second = start(builder().replica_of(first.addr().expect("an address")));
    in_sync(&first, &second);
    let writer = {
        let mut player = Player::new(first.addr().expect("an address")).expect("connects");
        std::thread::spawn(move || {
            let mut written = 0;
            while let Ok(Reply::Int(count)) = player.call(&["INCR", "count"]) {
                written = count;
            }
            written
        })
    };
    // On a busy machine the writer may take its time to begin.
    wait_until("the writer", || first.command(&["EXISTS", "count"]) == Value::Int(1));
    assert_eq!(first.command(&["FAILOVER"]), Value::Simple("OK".into()));
    let written = writer.join().expect("a writer that ends when it is refused");
    wait_until("the other role", || info(&second, "role") == "master");
    in_sync(&second, &first);
    assert_eq!(second.command(&["GET", "count"]), Value::Bulk(written.to_string().into_bytes()));
    assert_eq!(info(&first, "master_failover_state"), "no-failover");
    assert_eq!((info(&first, "sync_full"), info(&second, "sync_full")), ("1".into(), "0".into()));
}

#[test]
fn a_deadline_is_the_primary_s_business() {
    let primary = start(builder());
    let replica = start(builder().replica_of(primary.addr().expect("an address")));
    primary.clock().freeze();
    primary.command(&["SET", "key", "1", "PX", "100000"]);
    in_sync(&primary, &replica);
    replica.clock().advance(Duration::from_secs(1000));
    assert_eq!(replica.command(&["GET", "key"]), Value::Null);
    assert_eq!(replica.command(&["DBSIZE"]), Value::Int(1));
    primary.command(&["INCR", "key"]);
    primary.command(&["PERSIST", "key"]);
    wait_until("the key", || replica.command(&["GET", "key"]) == Value::Bulk(b"2".to_vec()));
}

#[test]
fn servers_that_share_a_clock_that_stands_still_replicate_at_once() {
    let clock = redouble::clock::Clock::default();
    clock.freeze();
    let shared = || Server::builder().config("enable-debug-command", "yes").clock(clock.clone());
    let primary = start(shared());
    let delay =
        |server: &Server| match server.command(&["CONFIG", "GET", "repl-diskless-sync-delay"]) {
            Value::Map(pairs) => pairs.into_iter().next().map(|(_, value)| value),
            other => panic!("{other:?}"),
        };
    assert_eq!(delay(&primary), Some(Value::Bulk(b"0".to_vec())));
    let slow = start(shared().config("repl-diskless-sync-delay", "5").without_tcp());
    assert_eq!(delay(&slow), Some(Value::Bulk(b"5".to_vec())));
    primary.command(&["SET", "key", "1", "PX", "100000"]);
    let replica = start(shared().replica_of(primary.addr().expect("an address")));
    in_sync(&primary, &replica);
    assert_eq!(replica.command(&["PTTL", "key"]), Value::Int(100_000));
    clock.advance(Duration::from_secs(101));
    assert_eq!(replica.command(&["GET", "key"]), Value::Null);
    wait_until("the removal", || replica.command(&["DBSIZE"]) == Value::Int(0));
    in_sync(&primary, &replica);
}

/// Replicas of one process that receive their copies in the same second and folder.
#[test]
fn replicas_of_one_program_keep_their_copies_apart() {
    let primaries: Vec<Server> = (0..8).map(|_| start(builder())).collect();
    for (number, primary) in primaries.iter().enumerate() {
        let value = "v".repeat(200_000);
        primary.command(&["MSET", &format!("key:{number}"), &value, "shared", &value]);
    }
    let replicas: Vec<Server> = primaries
        .iter()
        .map(|primary| start(builder().replica_of(primary.addr().expect("an address"))))
        .collect();
    for (primary, replica) in primaries.iter().zip(&replicas) {
        in_sync(primary, replica);
    }
    for primary in &primaries {
        assert_eq!(info(primary, "sync_full"), "1");
    }
}

/// Lets connections through, until it is told to cut them.
struct Proxy {
    addr: SocketAddr,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    fn before(target: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("an address");
        let open: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let sockets = open.clone();
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(target) else { continue };
                let twin = |socket: &TcpStream| socket.try_clone().expect("a twin");
                sockets.lock().unwrap().extend([twin(&near), twin(&far)]);
                for (mut from, mut to) in [(twin(&near), twin(&far)), (twin(&far), twin(&near))] {
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
            }
        });
        Proxy { addr, open }
    }

    fn cut(&self) {
        for socket in self.open.lock().unwrap().drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// A genuine replica comes to the same offset, and has met nothing that it could not run.
fn follows(genuine: &Genuine, primary: &Server) {
    let mut wire = Wire::connect(crate::session::run::Server::addr(genuine)).expect("connected");
    let mut field = |name: &str| {
        let Ok(Reply::Bulk(text)) = wire.call(&["INFO", "everything"]) else {
            panic!("INFO is text")
        };
        let text = String::from_utf8_lossy(&text).into_owned();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
        line.unwrap_or_default().to_string()
    };
    wait_until("a genuine replica in sync", || {
        field("master_link_status") == "up"
            && field("master_repl_offset") == info(primary, "master_repl_offset")
    });
    let errors = field("unexpected_error_replies");
    let log = std::fs::read_to_string(genuine.files().join("log")).unwrap_or_default();
    let critical: Vec<&str> = log.lines().filter(|line| line.contains("CRITICAL")).collect();
    assert_eq!(errors, "0", "{critical:#?}");
}

#[test]
fn random_commands_arrive_through_links_that_are_cut() {
    let mut synopses = Ours::synopses();
    synopses.retain(is_played);
    if let Some(line) = Genuine::command_line() {
        // An older replica does not know every command.
        let genuine = Genuine::start(&line, &[]).expect("a genuine server");
        let addr = crate::session::run::Server::addr(&genuine);
        let known = Player::new(addr).expect("connects").commands().expect("it lists them");
        synopses.retain(|synopsis| known.contains(&synopsis.name[0]));
    }
    let (runs, seed) = (number("REPLICATIONS", 3), number("SEED", 1) as u64);
    for run in 0..runs as u64 {
        let primary = start(builder());
        let proxy = Proxy::before(primary.addr().expect("an address"));
        let replica = start(builder().replica_of(proxy.addr));
        let genuine = Genuine::command_line().map(|line| {
            let port = proxy.addr.port().to_string();
            let words = ["--logfile", "log", "--replicaof", "127.0.0.1", &port];
            Genuine::start(&line, &words).expect("a genuine server")
        });
        in_sync(&primary, &replica);
        let mut generator = Generator::new(&synopses, seed + run);
        // Both have the same limits: some bytes tell how a value is kept.
        let settings = generator.scene().settings;
        for (name, value) in settings {
            replica.command(&["CONFIG", "SET", name, value]);
        }
        let mut player = Player::new(primary.addr().expect("an address")).expect("connects");
        for _ in 0..8 {
            let scene = Scene { listens: false, settings, ..generator.scene() };
            let commands = generator.sequence(scene, number("LENGTH", 250));
            player.play(scene, &commands).expect("it answers");
            proxy.cut();
        }
        in_sync(&primary, &replica);
        assert_eq!(info(&replica, "unexpected_error_replies"), "0", "seed {}", seed + run);
        if let Some(genuine) = genuine {
            follows(&genuine, &primary);
        }
    }
}

#[test]
fn a_replica_that_takes_nothing_is_cut_off() {
    let primary = start(
        builder()
            .config("client-output-buffer-limit", "replica 2mb 0 0")
            .config("repl-backlog-size", "65536"),
    );
    let mut silent = TcpStream::connect(primary.addr().expect("an address")).expect("connects");
    silent.write_all(b"SYNC\r\n").expect("it takes the request");
    wait_until("the replica", || info(&primary, "connected_slaves") == "1");
    let value = "x".repeat(100_000);
    wait_until("the end of the replica", || {
        primary.command(&["SET", "key", &value]);
        info(&primary, "connected_slaves") == "0"
    });
    wait_until("a small backlog", || {
        primary.command(&["SET", "key", "small"]);
        let backlog: u64 = info(&primary, "repl_backlog_histlen").parse().expect("a number");
        backlog <= (64 + 64 + 100) << 10
    });
}

#[test]
fn servers_that_were_restarted_go_on_where_they_were() {
    let dir = std::env::temp_dir().join(format!("redouble-restarts-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a folder");
    let kept = |name: &str| {
        let dir = dir.to_str().expect("a path");
        builder().config("dir", dir).config("dbfilename", &format!("{name}.rdb"))
    };
    let primary = start(kept("primary"));
    primary.command(&["SELECT", "3"]);
    primary.command(&["SET", "key", "before"]);
    let address = primary.addr().expect("an address");
    let replica = start(kept("replica").replica_of(address));
    in_sync(&primary, &replica);
    replica.save().expect("it saves");
    drop(replica);
    primary.command(&["SET", "key", "meanwhile"]);
    let replica = start(kept("replica").replica_of(address));
    in_sync(&primary, &replica);
    assert_eq!(
        (info(&primary, "sync_full"), info(&primary, "sync_partial_ok")),
        ("1".into(), "1".into())
    );
    drop((primary, replica));
    let _ = std::fs::remove_dir_all(&dir);
}
