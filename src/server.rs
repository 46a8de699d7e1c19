//! A server in this process: how it starts, its handle, how it stops.
//!
//! Invariant: nothing is global: a server is its [`Shared`] and its threads, and both are gone when
//! the last handle is dropped.

mod calls;
mod data;
mod reset;

use crate::acl::{self, Acl};
use crate::busy::{self, Answer};
use crate::client::Asker;
use crate::clock::{random_hex_id, Clock};
use crate::config::{title, Config};
use crate::connection::Connection;
use crate::crew::Crew;
use crate::disk::{Disk, RealDisk};
use crate::dispatch::{Dispatcher, Flow};
use crate::ending::{self, Progress};
use crate::keyspace::db::Db;
use crate::listeners::{self, Listening, Opened, Port, StartError};
use crate::process::Title;
use crate::resp::reader::{self, Unread, Value};
use crate::role::Role;
use crate::server_log::Logger;
use crate::settle;
use crate::shared::{Incoming, Shared, Surroundings, WORKER};
use crate::snapshot;
use crate::state::{Facts, Shutdown, State};
use crate::stats::Stats;
use crate::supervision::Supervisor;
use crate::tls::{doubt, SelfSigned};
use crate::tracking::Tracking;
use crate::types::limits::HashKey;
use crate::welcome::Handshakes;
use crate::worker::{self, Listeners};
use calls::Handles;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};
use std::future::{poll_fn, Future};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Weak};
use std::task::{Poll, Wake, Waker};
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, watch, Notify};

/// Says how a server starts.
#[derive(Debug)]
pub struct Builder {
    config: Config,
    seed: Option<u64>,
    clock: Clock,
    embedded: bool,
    workers: Option<usize>,
    config_file: String,
    failure: Option<String>,
    any_port: bool,
    self_signed: Option<SelfSigned>,
    supervisor: Supervisor,
    logger: Arc<Logger>,
    title: Option<(String, Title)>,
    give_back: Option<fn()>,
    disk: Arc<dyn Disk>,
    keeps_files: bool,
    rdb: Option<Vec<u8>>,
}

/// A running server. Clones are handles of the same one; it stops when the last is dropped. When
/// all that are left wait in [`Server::command`], nobody holds it any more: those calls end with an
/// error, and the server with them. Not so when what was dropped came from a handle that waits: it
/// may be in a `static`, or another place from which others take their clones.
pub struct Server {
    running: Arc<Running>,
    number: calls::Number,
}

struct Running {
    shared: Arc<Shared>,
    threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
    addresses: Vec<SocketAddr>,
    tls_addr: Option<SocketAddr>,
    unix_path: Option<PathBuf>,
    started_config: Config,
    handles: Handles,
}

impl Server {
    /// A server for this process: a free TCP port on the loopback interface, one thread.
    pub fn start() -> Result<Server, StartError> {
        Server::builder().start()
    }

    /// The first handle.
    fn first(running: Running) -> Server {
        let number = running.handles.add(None);
        Server { running: Arc::new(running), number }
    }

    /// Says how to start.
    pub fn builder() -> Builder {
        Builder {
            config: Config::embedded(),
            seed: None,
            clock: Clock::default(),
            embedded: true,
            workers: None,
            config_file: String::new(),
            failure: None,
            any_port: true,
            self_signed: None,
            supervisor: Supervisor::Nobody,
            logger: Arc::new(Logger::silent()),
            title: None,
            give_back: None,
            disk: Arc::new(RealDisk),
            keeps_files: false,
            rdb: None,
        }
    }

    /// The first TCP address; `None` without a TCP listener.
    pub fn addr(&self) -> Option<SocketAddr> {
        self.running.addresses.first().copied()
    }

    /// All TCP addresses.
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.running.addresses
    }

    /// The address of the TLS port, if there is one.
    pub fn tls_addr(&self) -> Option<SocketAddr> {
        self.running.tls_addr
    }

    /// The throw-away certificates that [`Builder::tls`] was given: clients have to trust their
    /// `ca_pem`.
    pub fn self_signed(&self) -> Option<&SelfSigned> {
        self.running.shared.handshakes.self_signed.as_ref()
    }

    /// A URL that clients understand; where there is no plain TCP port that of the TLS port, or of
    /// the unix socket.
    pub fn url(&self) -> String {
        match (self.addr(), self.tls_addr(), &self.running.unix_path) {
            (Some(addr), ..) => format!("redis://{addr}"),
            (None, Some(addr), _) => format!("rediss://{addr}"),
            (None, None, Some(path)) => format!("redis+unix://{}", path.display()),
            (None, None, None) => String::new(),
        }
    }

    /// The clock of this server.
    pub fn clock(&self) -> &Clock {
        &self.running.shared.clock
    }

    /// What the threads share: for the binary and for tests of the inside.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.running.shared
    }

    /// Runs one command as a client of its own that exists only for this call. A command that
    /// waits blocks the calling thread; while a slow script runs, all but SCRIPT KILL and its like
    /// get the BUSY error, as on a connection.
    pub fn command<B: AsRef<[u8]>>(&self, argv: &[B]) -> Value {
        let argv: Vec<&[u8]> = argv.iter().map(AsRef::as_ref).collect();
        if argv.is_empty() {
            return Value::Error("ERR empty command".into());
        }
        let mut out = Vec::new();
        let call = self.running.handles.begin(self.number);
        let (id, kick, waits, mut flow, mut mark) = {
            let mut state = loop {
                if let Some(state) = self.running.shared.lock_unless_busy() {
                    break state;
                }
                let running = &self.running.shared.running;
                if busy::answer(running, &Asker::Caller, &argv, &mut out) != Answer::AwaitsLock {
                    return value_of(&out, Value::Null);
                }
            };
            self.running.shared.end_rest(&mut state);
            state.db.set_now_us(self.running.shared.clock.now_us());
            let id = settle::connect_caller(&mut state);
            let kick = state.clients.at(id).kick.clone();
            let mut dispatcher = Dispatcher::new(&mut state, id);
            let flow = dispatcher.request_unprepared(&argv, &mut out);
            let mark = dispatcher.mark();
            settle::turn_over(&mut state);
            let waits = matches!(flow, Flow::Blocked | Flow::HeldBack) && out.is_empty();
            match waits {
                // Others wait as well, and end with it.
                true => call.waits(id).into_iter().for_each(|id| state.clients.at(id).close_soon()),
                // With the lock in hand: a script that took it next could keep it for ever.
                false => settle::disconnect(&mut state, id),
            }
            (id, kick, waits, flow, mark)
        };
        let mut closed = false;
        while matches!(flow, Flow::Blocked | Flow::HeldBack) && out.is_empty() && !closed {
            self.running.shared.cron.notify_one();
            block_on(poll_fn(|cx| kick.poll_rung(cx)));
            let mut state = self.running.shared.lock();
            let client = state.clients.at(id);
            client.outbox.drain_into(&mut out);
            closed = client.close_now;
            if flow == Flow::HeldBack && !client.paused && !closed {
                let now_ms = self.running.shared.clock.now_ms();
                state.db.set_now_ms(now_ms);
                flow = Dispatcher::new(&mut state, id).request_unprepared(&argv, &mut out);
                settle::turn_over(&mut state);
            }
            mark = mark.max(state.aof.tail.appended());
        }
        block_on(poll_fn(|cx| self.running.shared.tail.poll_open(mark, cx.waker())));
        drop(call);
        if waits {
            settle::disconnect(&mut self.running.shared.lock(), id);
        }
        let nothing = match closed {
            true => Value::Error("ERR the connection was closed while the command waited".into()),
            false => Value::Null,
        };
        value_of(&out, nothing)
    }

    /// A connection of its own without any socket, for calls that wait for their replies.
    pub fn client(&self) -> Connection {
        Connection::new(self.connect())
    }

    /// A connection without any socket.
    pub fn connect(&self) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        self.running.shared.hand_over(Incoming::Memory(ours));
        theirs
    }

    /// Asks for the end, as a signal does.
    pub fn ask_shutdown(&self, shutdown: Shutdown) {
        self.running.shared.lock().shutdown = Some(shutdown);
        self.running.shared.control.notify_one();
    }

    /// The shutdown that was asked for, once everything is saved. One that a signal asked for is
    /// called off when that fails.
    fn ready_to_end(&self) -> Option<End> {
        let mut state = self.running.shared.lock();
        let asked = state.shutdown?;
        if state.has_failed {
            return Some(End::Failed);
        }
        if state.is_over {
            return Some(End::Ready);
        }
        if state.debug.cron_paused {
            return None;
        }
        match ending::begin(&mut state, asked, None) {
            Progress::Waits => None,
            Progress::Over => Some(End::Ready),
            Progress::CalledOff => Some(End::CalledOff),
        }
    }

    /// Resolves when a client or a signal has asked for the end: when everything is saved, or when
    /// that has failed. It takes the lock only when it has been told so: who listens to signals
    /// must not wait for a slow script.
    pub async fn shutdown_asked(&self) -> End {
        loop {
            self.running.shared.control.notified().await;
            if let Some(end) = self.ready_to_end() {
                return end;
            }
        }
    }
}

/// The reply in these bytes; `nothing` where there is none.
fn value_of(reply: &[u8], nothing: Value) -> Value {
    match reader::read(reply) {
        Ok((value, _)) => value,
        Err(Unread::Incomplete) => nothing,
        Err(why) => Value::Error(format!("ERR {why}").into()),
    }
}

/// What came of a shutdown that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Everything is saved: the server may go.
    Ready,
    /// It goes on, since saving failed.
    CalledOff,
    /// It cannot go on, and has said why in the log.
    Failed,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server at {}", self.url())
    }
}

impl Clone for Server {
    fn clone(&self) -> Server {
        let number = self.running.handles.add(Some(self.number));
        Server { running: self.running.clone(), number }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Running { shared, handles, .. } = &*self.running;
        if !handles.remove(self.number) {
            return;
        }
        // Nobody is left to stop a script that never ends, and the calls that wait come first.
        shared.running.close();
        let mut state = shared.lock();
        shared.running.reopen();
        if handles.all_wait() {
            // With the lock in hand: a call leaves before its client does.
            let calls = handles.clients();
            calls.into_iter().for_each(|id| state.clients.at(id).close_soon());
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // From here on nobody is let in, even while the last ones leave.
        self.shared.listening.iter().for_each(Listening::close);
        self.shared.running.close();
        if let Some(upstream) = &self.shared.lock().role.upstream {
            if let Some(socket) = &upstream.socket {
                let _ = socket.shutdown(std::net::Shutdown::Both);
            }
        }
        // Also when no worker has begun to listen for it.
        self.shared.stopping.send_replace(true);
        for thread in self.threads.get_mut().drain(..) {
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
        let assistants = std::mem::take(&mut *self.shared.assistants.lock());
        assistants.into_iter().for_each(|thread| drop(thread.join()));
        crate::append_only::close(&mut self.shared.lock());
        if let Some(path) = &self.unix_path {
            self.shared.lock().logger.notice("Removing the unix socket file.");
            let _ = std::fs::remove_file(path);
        }
        if self.shared.is_embedded {
            crate::heap::server_has_ended();
        }
    }
}

impl Builder {
    /// A replica of the server at this address.
    pub fn replica_of(self, primary: SocketAddr) -> Self {
        self.config("replicaof", &format!("{} {}", primary.ip(), primary.port()))
    }

    /// Sets a directive, as on the command line. Naming `dir`, `dbfilename`, `save` or
    /// `appendonly` turns files on: what is there is loaded at the start, and data is saved as the
    /// directives say. Without, a server inside a program leaves files alone.
    pub fn config(mut self, name: &str, value: &str) -> Self {
        self.any_port &= !name.eq_ignore_ascii_case("port");
        let of_files = ["dir", "dbfilename", "save", "appendonly"];
        self.keeps_files |= of_files.iter().any(|one| name.eq_ignore_ascii_case(one));
        if let Err(error) = self.config.assign(name, value) {
            let fatal = error.fatal(&self.config.settings().redis_version);
            self.failure.get_or_insert(fatal);
        }
        self
    }

    /// Takes a configuration that was read before.
    pub fn with_config(mut self, config: Config, file: &str) -> Self {
        self.config = config;
        self.config_file = file.to_string();
        self.any_port = false;
        self
    }

    /// A TLS port as well, any free one unless `tls-port` is set, with throw-away certificates:
    /// `Server::builder().tls(redouble::tls::self_signed()?)`. Clients may show a certificate, and
    /// need not unless `tls-auth-clients` is set.
    pub fn tls(mut self, certificates: SelfSigned) -> Self {
        if let Err(error) = self.config.assume("tls-auth-clients", "optional") {
            self.failure.get_or_insert(error);
        }
        self.self_signed = Some(certificates);
        self
    }

    /// Makes everything random repeatable.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Reads this clock instead of the system's.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// No TCP listener: only [`Server::command`], [`Server::connect`] and a unix socket.
    pub fn without_tcp(self) -> Self {
        self.config("port", "0")
    }

    /// Begins with the data of a snapshot: what [`Server::snapshot`] gave, or a file of a genuine
    /// server. What is in files is not loaded then.
    pub fn rdb(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.rdb = Some(bytes.into());
        self
    }

    /// A process of its own: `io-threads` workers, files, and SHUTDOWN ends the process. Its data
    /// is loaded by [`Server::load`].
    pub fn standalone(mut self) -> Self {
        self.embedded = false;
        self.keeps_files = true;
        self
    }

    /// Writes to this log instead of none.
    pub fn logger(mut self, logger: Arc<Logger>) -> Self {
        self.logger = logger;
        self
    }

    /// Says how freed memory goes back to the system: MEMORY PURGE does so, and the server when
    /// much has been freed, on a thread of its own.
    pub fn giving_back(mut self, give_back: fn()) -> Self {
        self.give_back = Some(give_back);
        self
    }

    /// Keeps its files on this disk instead of the system's: one that fails, say.
    pub fn disk(mut self, disk: Arc<dyn Disk>) -> Self {
        self.disk = disk;
        self
    }

    /// Says who supervises the process, for INFO and to tell them how it goes.
    pub fn supervised(mut self, supervisor: Supervisor) -> Self {
        self.supervisor = supervisor;
        self
    }

    /// Shows the server in the process list.
    pub fn titled(mut self, program: &str, title: Option<Title>) -> Self {
        self.title = title.map(|title| (program.to_string(), title));
        self
    }

    fn io_workers(&self, io_threads: usize) -> usize {
        match (self.workers, self.embedded) {
            (Some(workers), _) => workers,
            (None, true) => 1,
            (None, false) => io_threads.max(1),
        }
    }

    /// Serves connections by so many threads instead of one.
    pub fn workers(mut self, count: usize) -> Self {
        self.workers = Some(count.max(1));
        self
    }

    /// Starts it.
    pub fn start(self) -> Result<Server, StartError> {
        if let Some(failure) = self.failure {
            return Err(StartError::Config(failure));
        }
        let settings = self.config.settings().clone();
        let (acl, notices) = users_of(&self.config)?;
        notices.iter().for_each(|notice| self.logger.notice(notice));
        acl.deprecations().chain(doubt(&settings)).for_each(|line| self.logger.warning(line));
        let own = self.self_signed.as_ref();
        let Opened { tcp, tls, tls_config, unix, metrics } =
            listeners::open(&settings, self.any_port, own)?;
        let tls_addr = tls.first().and_then(|listener| listener.local_addr().ok());
        let addresses: Vec<SocketAddr> =
            tcp.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        let workers = self.io_workers(settings.io_threads);
        let seed = self.seed.unwrap_or_else(crate::clock::random_seed);
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut limits = settings.limits.clone();
        limits.hash_key = HashKey(rng.next_u64(), rng.next_u64());
        let mut db = Db::new(settings.databases, limits, rng.random());
        let now_ms = self.clock.now_ms();
        db.set_now_ms(now_ms);
        let facts = Facts {
            run_id: random_hex_id(&mut rng),
            started_ms: now_ms,
            tcp_port: addresses.first().map_or(0, SocketAddr::port),
            tls_port: tls_addr.map_or(0, |addr| addr.port()),
            config_file: self.config_file,
            executable: std::env::current_exe()
                .map(|path| path.display().to_string())
                .unwrap_or_default(),
            workers,
            reply_bytes_max: crate::process::total_memory_bytes() / 2,
            give_back: self.give_back,
            supervisor: self.supervisor,
            embedded: self.embedded,
        };
        let started_config = self.config.clone();
        let title = self
            .title
            .map(|(program, title)| (title::Facts::of(program, &facts.config_file), title));
        let mut state = new_state(db, self.config, acl, facts, self.clock.clone());
        state.role.id = random_hex_id(&mut rng);
        state.logger = self.logger.clone();
        state.disk = self.disk;
        state.persistence.keeps_files = self.keeps_files;
        state.persistence.file.last_save_s = now_ms.div_euclid(1000);
        let tail = state.aof.tail.clone();
        let running = state.scripting.running.clone();
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..workers).map(|_| mpsc::unbounded_channel()).unzip();
        let shared = Arc::new_cyclic(|shared: &Weak<Shared>| Shared {
            state: Mutex::new(State {
                outside: Some(Arc::new(Surroundings(shared.clone()))),
                ..state
            }),
            clock: self.clock,
            bulk_bytes_max: AtomicUsize::new(512 << 20),
            let_go_bytes: AtomicUsize::new(0),
            login_needed: AtomicBool::new(false),
            running,
            stuck: Mutex::default(),
            cron: Notify::new(),
            control: Notify::new(),
            stopping: watch::Sender::new(false),
            listening: [&tcp, &tls, &metrics].map(|one| Listening::new(one)),
            standalone: !self.embedded,
            handshakes: Handshakes::new(tls_config, self.self_signed),
            assistants: Mutex::default(),
            title,
            logger: self.logger,
            is_embedded: self.embedded,
            tail,
            workers: senders,
            crew: Crew::new(workers),
            waiting: AtomicUsize::default(),
            endless: AtomicUsize::default(),
        });
        first_look(&mut shared.lock(), workers);
        if self.rdb.is_some() || self.keeps_files || settings.append_only.on {
            snapshot::load::start_begins(&mut shared.lock());
        }
        let ports = [(Port::Plain, tcp), (Port::Tls, tls), (Port::Metrics, metrics)];
        let with = |(port, all): (Port, Vec<_>)| all.into_iter().map(move |one| (port, one));
        let tcp = ports.into_iter().flat_map(with).collect();
        let threads = spawn_workers(&shared, receivers, Listeners { tcp, unix })?;
        let unix_path = settings.unixsocket.filter(|path| !path.as_os_str().is_empty());
        let threads = Mutex::new(threads);
        let server = Server::first(Running {
            shared,
            threads,
            addresses,
            tls_addr,
            unix_path,
            started_config,
            handles: Handles::default(),
        });
        server.begin(self.rdb.as_deref(), self.embedded)?;
        Ok(server)
    }
}

/// Applies the configuration, and counts what the server itself takes.
fn first_look(state: &mut State, workers: usize) {
    apply_to_state(state);
    if !state.facts.embedded {
        state.stats.startup_bytes = crate::memory::own_bytes(crate::commands::table())
            + (workers * crate::session::READ_BYTES) as u64;
        if crate::following::score(state).is_err() {
            state.logger.warning("Unable to write oom_score_adj.");
        }
    }
}

/// The workers' threads; the first one listens.
fn spawn_workers(
    shared: &Arc<Shared>,
    receivers: Vec<mpsc::UnboundedReceiver<Incoming>>,
    listeners: Listeners,
) -> Result<Vec<std::thread::JoinHandle<()>>, StartError> {
    let mut listeners = Some(listeners);
    let mut threads = Vec::new();
    for (number, receiver) in receivers.into_iter().enumerate() {
        let shared = shared.clone();
        let listeners = listeners.take();
        let thread =
            std::thread::Builder::new().name(format!("redouble-io-{number}")).spawn(move || {
                WORKER.set(number);
                worker::run(shared, receiver, listeners);
            })?;
        threads.push(thread);
    }
    Ok(threads)
}

fn users_of(config: &Config) -> Result<(Acl, Vec<String>), StartError> {
    acl::start::at_start(config, crate::commands::vocabulary()).map_err(StartError::Users)
}

fn new_state(db: Db, config: Config, acl: Acl, facts: Facts, clock: Clock) -> State {
    let renames = crate::commands::renames(config.renames());
    let tracking = Tracking::new(db.limits.hash_key);
    State {
        db,
        clients: Default::default(),
        blocking: Default::default(),
        watches: Default::default(),
        pubsub: Default::default(),
        tracking,
        current: None,
        config,
        acl,
        stats: Stats::new(crate::commands::table().specs.len()),
        persistence: Default::default(),
        log: Default::default(),
        aof: Default::default(),
        role: Role::new(clock.steady_ms()),
        monitors: Vec::new(),
        pause: None,
        held_back: Vec::new(),
        flushing: Default::default(),
        renames,
        evictable: Default::default(),
        shutdown: None,
        ending: None,
        is_over: false,
        has_failed: false,
        facts,
        clock,
        disk: Arc::new(RealDisk),
        logger: Arc::new(Logger::silent()),
        outside: None,
        debug: Default::default(),
        scripting: Default::default(),
        peers: Default::default(),
        inside_unit: false,
    }
}

/// Puts what the configuration says where it is read on hot paths. Called under the lock after
/// every change.
pub fn apply_to_state(state: &mut State) {
    crate::settle::configured(state);
}

/// Wakes a thread that waits for a future.
struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future on this thread, whatever runtime it may be part of.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = std::task::Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
