//! What the threads of one server share, and how commands reach it from inside the lock.
//!
//! Invariant: nothing here is needed to run a command: it is what lies around the state.

use crate::busy;
use crate::client::ClientId;
use crate::clock::Clock;
use crate::config::{title, Settings};
use crate::crash;
use crate::crew::Crew;
use crate::cron;
use crate::listeners::{Listener, Listening, Port};
use crate::log::aof::tail::{Owner, Tail};
use crate::process::Title;
use crate::replay::Replay;
use crate::replication;
use crate::role::Order;
use crate::server_log::Logger;
use crate::session;
use crate::snapshot::load;
use crate::state::{Access, Assistance, Outside, State};
use crate::tls::{ClientConfig, TlsSocket};
use crate::welcome::Handshakes;
use crate::worker;
use parking_lot::{Mutex, MutexGuard};
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, watch, Notify};

/// Between two looks whether a slow script has ended.
pub(crate) const BUSY_LOOK: Duration = Duration::from_millis(10);

/// Time of one stay under the lock, of who has many commands to run.
pub(crate) const STAY_NS_MAX: u64 = 200_000;
/// After a stay of this length the lock goes to who has waited longest. Shorter ones leave it to
/// whoever comes first: to wake a thread for each of them would cost more than they do.
const LONG_STAY_NS: u64 = 20_000;

/// Lets go of the lock after a stay of so long.
pub(crate) fn let_others_in(state: MutexGuard<'_, State>, stay_ns: u64) {
    if stay_ns < LONG_STAY_NS {
        drop(state);
    } else {
        MutexGuard::unlock_fair(state);
    }
}

/// What the threads of one server share.
pub struct Shared {
    pub(crate) state: Mutex<State>,
    /// The clock.
    pub clock: Clock,
    /// `proto-max-bulk-len`, in bytes.
    pub bulk_bytes_max: AtomicUsize,
    /// Bytes of large buffers that sessions have freed since memory went back to the system.
    pub let_go_bytes: AtomicUsize,
    /// Sessions have to look whether their client has authenticated.
    pub login_needed: AtomicBool,
    /// The script that runs now.
    pub running: Arc<crate::scripting::Running>,
    /// The worker that a slow script keeps, with the number of the script.
    pub(crate) stuck: Mutex<Option<(u64, usize)>>,
    /// Wakes cron before its time.
    pub cron: Notify,
    /// Somebody asked for the end: see [`State::shutdown`].
    pub control: Notify,
    pub(crate) stopping: watch::Sender<bool>,
    /// A process of its own.
    pub(crate) standalone: bool,
    /// TCP listeners, by what is spoken behind them.
    pub(crate) listening: [Listening; 3],
    /// TLS connections that are not clients yet.
    pub(crate) handshakes: Handshakes,
    /// Threads that do slow work.
    pub(crate) assistants: Mutex<Vec<std::thread::JoinHandle<()>>>,
    /// What the process list shows, and where.
    pub(crate) title: Option<(title::Facts, Title)>,
    pub(crate) logger: Arc<Logger>,
    /// Inside another program.
    pub(crate) is_embedded: bool,
    /// The end of the append-only file: says when replies may leave.
    pub(crate) tail: Arc<Tail>,
    pub(crate) workers: Vec<mpsc::UnboundedSender<Incoming>>,
    /// Those of them that serve sessions.
    pub(crate) crew: Crew,
    /// Sessions that wait for the lock in this moment.
    pub(crate) waiting: AtomicUsize,
    /// Endless sessions: while there is one, the lane is open.
    pub(crate) endless: AtomicUsize,
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
        self.lock_or_wait(|| {})
    }

    /// The same; calls `waits` before it waits.
    #[inline]
    pub(crate) fn lock_or_wait(&self, waits: impl FnOnce()) -> Option<MutexGuard<'_, State>> {
        match self.state.try_lock() {
            Some(state) => Some(state),
            None => {
                waits();
                self.wait_unless_busy()
            }
        }
    }

    /// The state, or nothing when it does not come free for so long.
    pub fn lock_within(&self, patience: Duration) -> Option<MutexGuard<'_, State>> {
        self.state.try_lock_for(patience)
    }

    #[cold]
    fn wait_unless_busy(&self) -> Option<MutexGuard<'_, State>> {
        const LOOK: Duration = Duration::from_millis(20);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let state = loop {
            if self.running.is_slow() {
                break None;
            }
            if let Some(state) = self.state.try_lock_for(LOOK) {
                break Some(state);
            }
        };
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        state
    }

    /// The state, when no slow script keeps it; other sessions of the thread go on meanwhile.
    pub async fn lock_when_free(&self) -> MutexGuard<'_, State> {
        loop {
            if let Some(state) = self.lock_unless_busy() {
                return state;
            }
            tokio::time::sleep(BUSY_LOOK).await;
        }
    }

    /// The same for a session whose connection has ended: a slow script learns of it at once.
    pub(crate) async fn lock_to_leave(&self, client: ClientId) -> MutexGuard<'_, State> {
        loop {
            if let Some(state) = self.lock_unless_busy() {
                return state;
            }
            self.running.note_gone(client);
            tokio::time::sleep(BUSY_LOOK).await;
        }
    }

    /// Sessions that wait for the lock in this moment.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Lets all workers serve sessions, however little there is to do: for who looks at how they
    /// get along with each other.
    pub fn keep_all_workers(&self) {
        self.crew.keep_all();
    }

    /// The listeners of a port.
    pub(crate) fn listening(&self, port: Port) -> &Listening {
        let [plain, tls, metrics] = &self.listening;
        match port {
            Port::Plain => plain,
            Port::Tls => tls,
            Port::Metrics => metrics,
        }
    }

    /// Something happens: cron has to look what is due from now on.
    #[inline]
    pub(crate) fn end_rest(&self, state: &mut State) {
        if cron::wake(state) {
            self.cron.notify_one();
        }
    }

    /// Gives a connection to the next worker in turn, of those that serve sessions. One with TLS
    /// stays where it begins, so all of them take their part.
    pub(crate) fn hand_over(&self, connection: Incoming) {
        let mut number = match &connection {
            Incoming::Handshake(_) | Incoming::Tls(_) => self.crew.next(self.workers.len()),
            _ => self.crew.next(self.crew.active()),
        };
        // Kept until it is sent: a worker that is stuck from then on has it among its arrivals,
        // which are looked after.
        let stuck = self.stuck.lock();
        if stuck.is_some_and(|(_, stuck)| stuck == number) {
            number = (number + 1) % self.workers.len();
        }
        let _ = self.workers[number].send(connection);
    }
}

thread_local! {
    /// The number of this thread's worker.
    pub(crate) static WORKER: std::cell::Cell<usize> = const { std::cell::Cell::new(usize::MAX) };
}

/// A connection on its way to its worker.
pub(crate) enum Incoming {
    Listener(Port, Listener),
    Tcp(std::net::TcpStream),
    /// One that has to shake hands yet.
    Handshake(std::net::TcpStream),
    Tls(Box<TlsSocket>),
    Unix(std::os::unix::net::UnixStream),
    Memory(DuplexStream),
    /// One that came while a slow script ran.
    Guest(busy::Guest),
    /// A session that another worker served so far.
    Moved(Box<session::Moved>),
}

/// The way of a thread that does slow work to the state.
pub(crate) struct Assistant(Weak<Shared>);

impl Assistant {
    pub(crate) fn of(shared: &Arc<Shared>) -> Assistant {
        Assistant(Arc::downgrade(shared))
    }
}

impl Access for Assistant {
    fn with(&self, work: &mut dyn FnMut(&mut State)) -> bool {
        let Some(shared) = self.0.upgrade() else { return false };
        if *shared.stopping.borrow() {
            return false;
        }
        let mut state = shared.lock();
        shared.end_rest(&mut state);
        work(&mut state);
        true
    }
}

/// The way to a state whose lock the caller has.
struct Held<'a>(RefCell<&'a mut State>);

impl Access for Held<'_> {
    fn with(&self, work: &mut dyn FnMut(&mut State)) -> bool {
        work(&mut self.0.borrow_mut());
        true
    }
}

/// The server outside of the lock, as commands see it.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings(pub(crate) Weak<Shared>);

impl Surroundings {
    fn listen_again(&self, port: Port, settings: &Settings, number: u16) -> Result<u16, String> {
        let Some(shared) = self.0.upgrade() else { return Ok(0) };
        let listening = shared.listening(port);
        let (accepting, answer) = listening.replace(&settings.bind, number, settings.tcp_backlog);
        for listener in accepting {
            let _ = shared.workers[0].send(Incoming::Listener(port, listener));
        }
        answer
    }
}

impl Outside for Surroundings {
    fn configured(&self, settings: &Settings) {
        let Some(shared) = self.0.upgrade() else { return };
        shared.bulk_bytes_max.store(settings.proto_max_bulk_len, Ordering::Relaxed);
        shared.handshakes.limit_to(settings);
        shared.logger.set_level(settings.loglevel);
        shared.logger.set_form(settings.log_form);
        if shared.standalone {
            crash::enable(settings.crash_log_enabled);
            if let (true, Some(file)) = (shared.logger.move_to(&settings.dir), shared.logger.file())
            {
                crash::move_to(&file);
            }
        }
        shared.cron.notify_one();
        if let (Some((facts, title)), true) = (&shared.title, settings.set_proc_title) {
            let facts = facts.with(settings);
            if let Some(text) = title::expand(&settings.proc_title_template, &facts) {
                title.show(&text);
            }
        }
    }

    fn login_needed(&self, needed: bool) {
        let Some(shared) = self.0.upgrade() else { return };
        shared.login_needed.store(needed, Ordering::Relaxed);
    }

    fn listen(&self, settings: &Settings) -> Result<u16, String> {
        self.listen_again(Port::Plain, settings, settings.port)
    }

    fn listen_tls(&self, settings: &Settings) -> Result<(), String> {
        self.listen_again(Port::Tls, settings, settings.tls.port).map(|_| ())
    }

    fn listen_metrics(&self, settings: &Settings) -> Result<(), String> {
        self.listen_again(Port::Metrics, settings, settings.metrics_port).map(|_| ())
    }

    fn certify(&self, settings: &Settings) -> Result<(), String> {
        let Some(shared) = self.0.upgrade() else { return Ok(()) };
        shared.handshakes.certify(settings)
    }

    fn outward_tls(&self, settings: &Settings) -> Result<Arc<ClientConfig>, String> {
        let shared = self.0.upgrade().ok_or("the server is ending")?;
        shared.handshakes.outward(settings)
    }

    fn look_around(&self) {
        if let Some(shared) = self.0.upgrade() {
            shared.cron.notify_one();
        }
    }

    fn stop(&self) {
        let Some(shared) = self.0.upgrade() else { return };
        shared.control.notify_one();
        if shared.is_embedded {
            shared.listening.iter().for_each(Listening::close);
            shared.stopping.send_replace(true);
        }
    }

    fn assist(&self, name: &str, work: Assistance) -> std::io::Result<()> {
        let Some(shared) = self.0.upgrade() else {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        };
        let assistant = Assistant(self.0.clone());
        let thread = std::thread::Builder::new().name(name.into());
        let thread = thread.spawn(move || work(&assistant))?;
        let mut assistants = shared.assistants.lock();
        assistants.retain(|thread| !thread.is_finished());
        assistants.push(thread);
        Ok(())
    }

    fn load_append_only(&self, state: &mut State) -> bool {
        let current = state.current;
        let held = Held(RefCell::new(state));
        let replay = Replay::new(&held, &held.0.borrow());
        let loaded = replay.manifest().and_then(|manifest| {
            let total_bytes = replay.total_bytes(&manifest)?;
            load::begin(&mut held.0.borrow_mut(), total_bytes);
            let loaded = replay.load(&manifest);
            load::end(&mut held.0.borrow_mut(), None);
            loaded
        });
        held.0.borrow_mut().current = current;
        loaded.is_ok()
    }

    fn tail_owner(&self) -> Arc<dyn Owner> {
        Arc::new(self.clone())
    }

    fn follow(&self, generation: u64) {
        let followed = replication::follow(self.0.clone(), generation);
        if let (Err(error), Some(shared)) = (followed, self.0.upgrade()) {
            shared.logger.warning(format!("No thread for the link to the primary: {error}"));
        }
    }

    fn copy(&self, state: &mut State, order: Order) {
        replication::copies::begin(state, order);
    }

    fn script_is_slow(&self, script: u64) {
        let Some(shared) = self.0.upgrade() else { return };
        let number = WORKER.get();
        if number == usize::MAX {
            return;
        }
        // First of all a thread: where there is none, nothing may be taken away for it.
        let (give, take) = std::sync::mpsc::channel::<(_, _, Vec<(Listener, bool)>)>();
        let (rescue, around) = (std::thread::Builder::new(), shared.clone());
        let rescue = rescue.name("redouble-rescue".into()).spawn(move || {
            let Ok((sleepers, arrived, listeners)) = take.recv() else { return };
            let (running, door) = (&around.running, &*around);
            let guests = busy::rescue(running, script, sleepers, arrived, &listeners, door);
            // The next script may be slow already, and keep its worker.
            around.stuck.lock().take_if(|(stuck_by, _)| *stuck_by == script);
            for guest in guests {
                around.hand_over(Incoming::Guest(guest));
            }
        });
        if let Err(error) = rescue {
            shared.logger.warning(format!("No thread for clients during a slow script: {error}"));
            return;
        }
        *shared.stuck.lock() = Some((script, number));
        let sleepers = session::idle_sockets();
        // The first worker accepts.
        let mut listeners = Vec::new();
        for (port, secure) in [(Port::Plain, false), (Port::Tls, true)] {
            if number == 0 {
                let open = shared.listening(port).open();
                listeners.extend(open.into_iter().map(|listener| (listener, secure)));
            }
        }
        let mut arrived = Vec::new();
        for connection in worker::arriving() {
            match connection {
                Incoming::Tcp(stream) => arrived.push((stream, false)),
                Incoming::Handshake(stream) => arrived.push((stream, true)),
                other => shared.hand_over(other),
            }
        }
        let _ = give.send((sleepers, arrived, listeners));
    }
}

impl Owner for Surroundings {
    fn notice(&self, text: String) {
        if let Some(shared) = self.0.upgrade() {
            shared.logger.notice(text);
        }
    }

    fn warning(&self, text: String) {
        if let Some(shared) = self.0.upgrade() {
            shared.logger.warning(text);
        }
    }

    fn synced(&self) {
        if let Some(shared) = self.0.upgrade() {
            shared.cron.notify_one();
        }
    }

    fn fatal(&self, last_words: String) {
        let Some(shared) = self.0.upgrade().filter(|shared| !shared.is_embedded) else { return };
        shared.logger.warning(last_words);
        std::process::exit(1);
    }
}
