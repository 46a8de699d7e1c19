//! Start, listeners, I/O workers, cron, stop.
//!
//! Invariant: nothing is global: a server is its [`Shared`] and its threads, and both are gone when
//! the last handle is dropped.

use crate::busy;
use crate::client::Transport;
use crate::clock::{random_hex_id, Clock};
use crate::config::{title, Config, Settings};
use crate::cron;
use crate::dispatch::{Dispatcher, Flow};
use crate::keyspace::db::Db;
use crate::listeners::{open_tcp, open_unix, StartError};
use crate::process::Title;
use crate::resp::reader::{self, Value};
use crate::server_log::Logger;
use crate::session::{self, Scratch};
use crate::settle;
use crate::state::{Facts, Outside, Shutdown, State};
use crate::stats::Stats;
use crate::types::limits::HashKey;
use crate::welcome::{accept_tcp, accept_unix, welcome};
use parking_lot::{Mutex, MutexGuard};
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};
use std::cell::RefCell;
use std::future::{poll_fn, Future};
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Poll, Wake, Waker};
use std::time::Duration;
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, watch, Notify};
use tokio::task::LocalSet;

/// What the threads of one server share.
pub struct Shared {
    state: Mutex<State>,
    /// The clock.
    pub clock: Clock,
    /// `proto-max-bulk-len`, in bytes.
    pub bulk_bytes_max: AtomicUsize,
    /// `requirepass` is set: sessions have to look whether their client has authenticated.
    pub password_set: AtomicBool,
    /// The script that runs now.
    pub running: Arc<crate::scripting::Running>,
    /// The worker that a slow script keeps, or `usize::MAX`.
    stuck: AtomicUsize,
    /// Wakes cron before its time.
    pub cron: Notify,
    /// Somebody asked for the end: see [`State::shutdown`].
    pub control: Notify,
    stopping: watch::Sender<bool>,
    /// Duplicates of the TCP listeners that accept now.
    listening: Mutex<Vec<StdTcpListener>>,
    /// Grows when they are replaced.
    pub(crate) listening_since: watch::Sender<u64>,
    /// What the process list shows, and where.
    title: Option<(title::Facts, Title)>,
    logger: Arc<Logger>,
    workers: Vec<mpsc::UnboundedSender<Incoming>>,
    next_worker: AtomicUsize,
}

impl Shared {
    /// The state.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// The state, or nothing when a slow script keeps it.
    #[inline]
    pub fn lock_unless_busy(&self) -> Option<MutexGuard<'_, State>> {
        match self.state.try_lock() {
            Some(state) => Some(state),
            None => self.wait_unless_busy(),
        }
    }

    #[cold]
    fn wait_unless_busy(&self) -> Option<MutexGuard<'_, State>> {
        const LOOK: Duration = Duration::from_millis(20);
        loop {
            if self.running.is_slow() {
                return None;
            }
            if let Some(state) = self.state.try_lock_for(LOOK) {
                return Some(state);
            }
        }
    }

    /// The state, when no slow script keeps it; other sessions of the thread go on meanwhile.
    pub async fn lock_when_free(&self) -> MutexGuard<'_, State> {
        loop {
            if let Some(state) = self.lock_unless_busy() {
                return state;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

thread_local! {
    /// The number of this thread's worker.
    static WORKER: std::cell::Cell<usize> = const { std::cell::Cell::new(usize::MAX) };
}

/// A connection on its way to its worker.
pub(crate) enum Incoming {
    Listener(StdTcpListener),
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
    Memory(DuplexStream),
}

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
    logger: Arc<Logger>,
    title: Option<(String, Title)>,
}

/// A running server. Clones are handles of the same one; it stops when the last is dropped.
#[derive(Clone)]
pub struct Server(Arc<Running>);

struct Running {
    shared: Arc<Shared>,
    threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
    addresses: Vec<SocketAddr>,
    unix_path: Option<PathBuf>,
    started_config: Config,
}

impl Server {
    /// A server for this process: a free TCP port on the loopback interface, one thread.
    pub fn start() -> Result<Server, StartError> {
        Server::builder().start()
    }

    /// Says how to start.
    pub fn builder() -> Builder {
        Builder {
            config: Config::default(),
            seed: None,
            clock: Clock::default(),
            embedded: true,
            workers: None,
            config_file: String::new(),
            failure: None,
            any_port: true,
            logger: Arc::new(Logger::silent()),
            title: None,
        }
    }

    /// The first TCP address; `None` without a TCP listener.
    pub fn addr(&self) -> Option<SocketAddr> {
        self.0.addresses.first().copied()
    }

    /// All TCP addresses.
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.0.addresses
    }

    /// A URL that clients understand; that of the unix socket when there is no TCP listener.
    pub fn url(&self) -> String {
        match (self.addr(), &self.0.unix_path) {
            (Some(addr), _) => format!("redis://{addr}"),
            (None, Some(path)) => format!("redis+unix://{}", path.display()),
            (None, None) => String::new(),
        }
    }

    /// The clock of this server.
    pub fn clock(&self) -> &Clock {
        &self.0.shared.clock
    }

    /// What the threads share: for the binary and for tests of the inside.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    /// Runs one command as a client of its own that exists only for this call. A command that
    /// waits blocks the calling thread.
    pub fn command<B: AsRef<[u8]>>(&self, argv: &[B]) -> Value {
        let argv: Vec<&[u8]> = argv.iter().map(AsRef::as_ref).collect();
        if argv.is_empty() {
            return Value::Error("ERR empty command".to_string());
        }
        let mut out = Vec::new();
        let (id, kick, flow) = {
            let mut state = self.0.shared.lock();
            let now_ms = self.0.shared.clock.now_ms();
            state.db.set_now_ms(now_ms);
            let id = state.clients.add(Transport::Memory, now_ms);
            let client = state.clients.at(id);
            client.resp3 = true;
            client.addr = "embedded:0".to_string();
            let kick = client.kick.clone();
            let flow = Dispatcher::new(&mut state, id).request_unprepared(&argv, &mut out);
            (id, kick, flow)
        };
        while flow != Flow::Next && out.is_empty() {
            self.0.shared.cron.notify_one();
            block_on(poll_fn(|cx| kick.poll_rung(cx)));
            let mut state = self.0.shared.lock();
            let client = state.clients.at(id);
            client.outbox.drain_into(&mut out);
            if client.close_now {
                break;
            }
        }
        settle::disconnect(&mut self.0.shared.lock(), id);
        reader::read(&out).map_or(Value::Null, |(value, _)| value)
    }

    /// A connection without any socket.
    pub fn connect(&self) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        self.0.shared.hand_over(Incoming::Memory(ours));
        theirs
    }

    /// Back to how it was after the start: no data, no other connections, waiters, subscriptions
    /// or scripts, the configuration and the clock of the start.
    pub fn reset(&self) {
        let mut state = self.0.shared.lock();
        self.0.shared.clock.reset();
        for client in state.clients.iter_mut() {
            client.close_soon();
        }
        state.db.flush(None, true);
        state.config = self.0.started_config.clone();
        state.pause = None;
        state.scripting.flush_scripts();
        state.scripting.flush_libraries();
        let commands = state.stats.commands.len();
        state.stats = Stats::new(commands);
        settle::command_over(&mut state);
        settle::unit_over(&mut state);
        apply_to_state(&mut state);
    }

    /// Asks for the end, as SHUTDOWN does.
    pub fn ask_shutdown(&self, shutdown: Shutdown) {
        self.0.shared.lock().shutdown = Some(shutdown);
        self.0.shared.control.notify_one();
    }

    /// Resolves when a client or a signal has asked for the end.
    pub async fn shutdown_asked(&self) -> Shutdown {
        loop {
            let asked = {
                let state = self.0.shared.lock();
                state.shutdown.filter(|_| !state.debug.cron_paused)
            };
            if let Some(shutdown) = asked {
                return shutdown;
            }
            self.0.shared.control.notified().await;
        }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server at {}", self.url())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // From here on nobody is let in, even while the last ones leave.
        for listener in self.shared.listening.lock().drain(..) {
            let _ = socket2::SockRef::from(&listener).shutdown(std::net::Shutdown::Both);
        }
        // Also when no worker has begun to listen for it.
        self.shared.stopping.send_replace(true);
        for thread in self.threads.get_mut().drain(..) {
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
        if let Some(path) = &self.unix_path {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Builder {
    /// Sets a directive, as on the command line.
    pub fn config(mut self, name: &str, value: &str) -> Self {
        self.any_port &= !name.eq_ignore_ascii_case("port");
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

    /// A process of its own: `io-threads` workers, and SHUTDOWN ends the process.
    pub fn standalone(mut self) -> Self {
        self.embedded = false;
        self
    }

    /// Writes to this log instead of none.
    pub fn logger(mut self, logger: Arc<Logger>) -> Self {
        self.logger = logger;
        self
    }

    /// Shows the server in the process list.
    pub fn titled(mut self, program: &str, title: Option<Title>) -> Self {
        self.title = title.map(|title| (program.to_string(), title));
        self
    }

    /// Starts it.
    pub fn start(self) -> Result<Server, StartError> {
        if let Some(failure) = self.failure {
            return Err(StartError::Config(failure));
        }
        let settings = self.config.settings().clone();
        let tcp = open_tcp(&settings.bind, settings.port, self.any_port, settings.tcp_backlog)?;
        let unix = open_unix(&settings)?;
        let addresses: Vec<SocketAddr> =
            tcp.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        let workers = match (self.workers, self.embedded, settings.io_threads) {
            (Some(workers), ..) => workers,
            (None, true, _) => 1,
            (None, false, threads) => threads.max(1),
        };
        let seed = self.seed.unwrap_or_else(crate::clock::random_seed);
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut limits = settings.limits.clone();
        limits.hash_key = HashKey(rng.next_u64(), rng.next_u64());
        let mut db = Db::new(settings.databases, limits, rng.random());
        let now_ms = self.clock.now_ms();
        db.set_now_ms(now_ms);
        let facts = Facts {
            run_id: random_hex_id(&mut rng),
            replication_id: random_hex_id(&mut rng),
            started_ms: now_ms,
            tcp_port: addresses.first().map_or(0, SocketAddr::port),
            config_file: self.config_file,
            executable: std::env::current_exe()
                .map(|path| path.display().to_string())
                .unwrap_or_default(),
            workers,
            embedded: self.embedded,
        };
        let started_config = self.config.clone();
        let title = self.title.map(|(program, title)| {
            let config_file = match facts.config_file.as_str() {
                "" => "-".to_string(),
                file => file.to_string(),
            };
            (title::Facts { title: program, config_file, ..title::Facts::default() }, title)
        });
        let mut state = new_state(db, self.config, facts, self.clock.clone());
        state.logger = self.logger.clone();
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
            password_set: AtomicBool::new(false),
            running,
            stuck: AtomicUsize::new(usize::MAX),
            cron: Notify::new(),
            control: Notify::new(),
            stopping: watch::Sender::new(false),
            listening: Mutex::new(tcp.iter().filter_map(|one| one.try_clone().ok()).collect()),
            listening_since: watch::Sender::new(0),
            title,
            logger: self.logger,
            workers: senders,
            next_worker: AtomicUsize::new(0),
        });
        {
            let mut state = shared.lock();
            apply_to_state(&mut state);
            if !state.facts.embedded {
                let wanted = state.config.settings().oom_score;
                if crate::process::follow_oom_score(wanted, &mut state.debug.oom_base).is_err() {
                    state.logger.warning("Unable to write oom_score_adj.");
                }
            }
        }
        let mut threads = Vec::new();
        let mut listeners = Some((tcp, unix));
        for (number, receiver) in receivers.into_iter().enumerate() {
            let shared = shared.clone();
            let listeners = listeners.take();
            let thread = std::thread::Builder::new().name(format!("redouble-io-{number}")).spawn(
                move || {
                    WORKER.set(number);
                    worker(shared, receiver, listeners);
                },
            )?;
            threads.push(thread);
        }
        let unix_path = settings.unixsocket.filter(|path| !path.as_os_str().is_empty());
        let threads = Mutex::new(threads);
        Ok(Server(Arc::new(Running { shared, threads, addresses, unix_path, started_config })))
    }
}

fn new_state(db: Db, config: Config, facts: Facts, clock: Clock) -> State {
    let renames = crate::commands::renames(config.renames());
    State {
        db,
        clients: Default::default(),
        blocking: Default::default(),
        watches: Default::default(),
        pubsub: Default::default(),
        tracking: Default::default(),
        current: None,
        config,
        stats: Stats::new(crate::commands::table().specs.len()),
        log: Default::default(),
        monitors: Vec::new(),
        pause: None,
        held_back: Vec::new(),
        renames,
        evictable: Default::default(),
        shutdown: None,
        facts,
        clock,
        logger: Arc::new(Logger::silent()),
        outside: None,
        debug: Default::default(),
        scripting: Default::default(),
        inside_unit: false,
    }
}

/// Puts what the configuration says where it is read on hot paths. Called under the lock after
/// every change.
pub fn apply_to_state(state: &mut State) {
    crate::settle::configured(state);
}

/// The server outside of the lock, as commands see it.
#[derive(Debug)]
struct Surroundings(Weak<Shared>);

impl Outside for Surroundings {
    fn configured(&self, settings: &Settings) {
        let Some(shared) = self.0.upgrade() else { return };
        shared.bulk_bytes_max.store(settings.proto_max_bulk_len, Ordering::Relaxed);
        shared.password_set.store(!settings.requirepass.is_empty(), Ordering::Relaxed);
        shared.logger.set_level(settings.loglevel);
        shared.cron.notify_one();
        if let (Some((facts, title)), true) = (&shared.title, settings.set_proc_title) {
            let facts = facts.with(settings);
            if let Some(text) = title::expand(&settings.proc_title_template, &facts) {
                title.show(&text);
            }
        }
    }

    fn listen(&self, settings: &Settings) -> Result<u16, String> {
        let Some(shared) = self.0.upgrade() else { return Ok(0) };
        let mut listening = shared.listening.lock();
        // A socket that is shut down no longer listens, but keeps its address and can listen
        // again: the way back should the new addresses be refused.
        for old in listening.iter() {
            let _ = socket2::SockRef::from(old).shutdown(std::net::Shutdown::Both);
        }
        let opened = open_tcp(&settings.bind, settings.port, false, settings.tcp_backlog);
        let (accepting, answer) = match opened {
            Ok(fresh) => {
                *listening = fresh.iter().filter_map(|one| one.try_clone().ok()).collect();
                (fresh, Ok(settings.port))
            }
            Err(error) => {
                for old in listening.iter() {
                    let _ = socket2::SockRef::from(old).listen(settings.tcp_backlog.max(16));
                }
                let again = listening.iter().filter_map(|one| one.try_clone().ok());
                (again.collect(), Err(error.to_string()))
            }
        };
        shared.listening_since.send_modify(|since| *since += 1);
        for listener in accepting {
            let _ = shared.workers[0].send(Incoming::Listener(listener));
        }
        answer
    }

    fn stop(&self) {
        let Some(shared) = self.0.upgrade() else { return };
        shared.control.notify_one();
    }

    fn script_is_slow(&self) {
        let Some(shared) = self.0.upgrade() else { return };
        let number = WORKER.get();
        if number == usize::MAX {
            return;
        }
        shared.stuck.store(number, Ordering::Relaxed);
        let sockets = session::idle_sockets();
        // The first worker accepts.
        let listeners: Vec<_> = match number {
            0 => shared.listening.lock().iter().filter_map(|one| one.try_clone().ok()).collect(),
            _ => Vec::new(),
        };
        let rescue = std::thread::Builder::new().name("redouble-rescue".into());
        let _ = rescue.spawn(move || {
            let guests = busy::rescue(&shared.running, sockets, &listeners);
            shared.stuck.store(usize::MAX, Ordering::Relaxed);
            for guest in guests {
                shared.hand_over(Incoming::Tcp(guest));
            }
        });
    }
}

type Listeners = (Vec<StdTcpListener>, Option<std::os::unix::net::UnixListener>);

/// One I/O worker: a thread with a runtime of its own. The first one also accepts and turns the
/// wheel of time.
fn worker(
    shared: Arc<Shared>,
    mut incoming: mpsc::UnboundedReceiver<Incoming>,
    listeners: Option<Listeners>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            shared.logger.warning(format!("No runtime for a worker: {error}"));
            return;
        }
    };
    let local = LocalSet::new();
    let scratch = Rc::new(RefCell::new(Scratch::new()));
    local.block_on(&runtime, async move {
        if let Some((tcp, unix)) = listeners {
            tokio::task::spawn_local(time(shared.clone()));
            for listener in tcp {
                tokio::task::spawn_local(accept_tcp(shared.clone(), listener));
            }
            if let Some(listener) = unix {
                tokio::task::spawn_local(accept_unix(shared.clone(), listener));
            }
        }
        let mut stopping = shared.stopping.subscribe();
        loop {
            tokio::select! {
                _ = stopping.wait_for(|stopping| *stopping) => break,
                connection = incoming.recv() => match connection {
                    Some(Incoming::Listener(listener)) => {
                        tokio::task::spawn_local(accept_tcp(shared.clone(), listener));
                    }
                    Some(connection) => match shared.lock_unless_busy() {
                        Some(state) => welcome(&shared, &scratch, connection, state),
                        None => {
                            let guest = entertain(shared.clone(), scratch.clone(), connection);
                            tokio::task::spawn_local(guest);
                        }
                    },
                    None => break,
                },
            }
        }
    });
}

/// Answers a connection that came while a slow script runs, and welcomes it afterwards.
async fn entertain(shared: Arc<Shared>, scratch: Rc<RefCell<Scratch>>, connection: Incoming) {
    let twin = match &connection {
        Incoming::Tcp(stream) => busy::twin(stream),
        Incoming::Unix(stream) => busy::twin(stream),
        _ => None,
    };
    if let Some(twin) = &twin {
        let _ = twin.set_nonblocking(true);
    }
    let state = loop {
        if let Some(state) = shared.lock_unless_busy() {
            break state;
        }
        if twin.as_ref().is_some_and(|twin| !busy::serve(twin, None, &shared.running)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    welcome(&shared, &scratch, connection, state);
}

/// Turns the wheel of time.
async fn time(shared: Arc<Shared>) {
    let mut moves = shared.clock.moves();
    loop {
        let (more, wait_ms) = {
            let mut state = shared.lock_when_free().await;
            let more = cron::tick(&mut state);
            let hz = state.config.settings().hz.max(1) as i64;
            (more, cron::next_tick_ms(&state, (1000 / hz).min(100)))
        };
        if more {
            tokio::task::yield_now().await;
            continue;
        }
        let wait = if shared.clock.is_frozen() { 100 } else { wait_ms } as u64;
        tokio::select! {
            _ = tokio::time::sleep(Duration::from_millis(wait)) => {}
            _ = shared.cron.notified() => {}
            _ = moves.changed() => {}
        }
    }
}

impl Shared {
    /// Gives a connection to the next worker in turn.
    pub(crate) fn hand_over(&self, connection: Incoming) {
        let mut number = self.next_worker.fetch_add(1, Ordering::Relaxed) % self.workers.len();
        if number == self.stuck.load(Ordering::Relaxed) {
            number = (number + 1) % self.workers.len();
        }
        let _ = self.workers[number].send(connection);
    }
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future on this thread, whatever runtime it may be part of.
fn block_on<F: Future>(future: F) -> F::Output {
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
