//! Everything under the lock: a struct of rooms, no logic.

use crate::acl::Acl;
use crate::blocking::Blocking;
use crate::client::{ClientId, Clients, Resizing};
use crate::clock::Clock;
use crate::config::{Config, Settings};
use crate::disk::Disk;
use crate::keyspace::db::Db;
use crate::keyspace::evict::Pool;
use crate::log::aof::tail::Owner;
use crate::log::aof::Aof;
use crate::log::Log;
use crate::peers::Peers;
use crate::persistence::Persistence;
use crate::pubsub::PubSub;
use crate::role::{Order, Role};
use crate::scripting::Scripting;
use crate::server_log::Logger;
use crate::stats::Stats;
use crate::supervision::Supervisor;
use crate::tls::ClientConfig;
use crate::tracking::Tracking;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Who watches a key, and whether the key was there when they began.
pub type Watchers = Vec<(ClientId, bool)>;

/// CLIENT PAUSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// When it ends (Unix ms).
    pub until_ms: i64,
    /// Holds back every command, not only writes.
    pub all: bool,
}

/// SHUTDOWN, as asked for by a client or a signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shutdown {
    /// Without saving.
    pub nosave: bool,
    /// Saving even without save points.
    pub save: bool,
    /// Without waiting for replicas.
    pub now: bool,
    /// Even if saving fails.
    pub force: bool,
}

/// An end that waits for replicas.
#[derive(Clone, Debug)]
pub struct Ending {
    /// What was asked for first; who asks later waits for the same.
    pub asked: Shutdown,
    /// When the server ends all the same (steady ms).
    pub until_ms: i64,
    /// Clients in SHUTDOWN.
    pub askers: Vec<ClientId>,
}

/// Facts about this server that do not change while it runs.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// 40 hex digits, new at every start.
    pub run_id: String,
    /// When it started (Unix ms).
    pub started_ms: i64,
    /// The port that TCP listeners have; 0 without one.
    pub tcp_port: u16,
    /// The port of TLS listeners; 0 without one.
    pub tls_port: u16,
    /// Absolute path of the configuration file, if there is one.
    pub config_file: String,
    /// Absolute path of the program.
    pub executable: String,
    /// I/O workers.
    pub workers: usize,
    /// Half of the machine's memory in bytes: no reply may become longer. 0 is not known.
    pub reply_bytes_max: u64,
    /// Gives freed memory back to the system, if the allocator can be told to.
    pub give_back: Option<fn()>,
    /// Who is told how it goes.
    pub supervisor: Supervisor,
    /// Inside another program: SHUTDOWN stops the server, not the process.
    pub embedded: bool,
}

/// Switches of DEBUG, and what cron remembers.
#[derive(Clone, Debug, Default)]
pub struct Switches {
    /// DEBUG SET-ACTIVE-EXPIRE 0.
    pub expiry_off: bool,
    /// DEBUG PAUSE-CRON 1.
    pub cron_paused: bool,
    /// DEBUG REPLYBUFFER.
    pub reply_buffers: Resizing,
    /// DEBUG SET-DISABLE-DENY-SCRIPTS 1.
    pub scripts_may_all: bool,
    /// The kernel's score for this process before `oom-score-adj` changed it.
    pub oom_base: Option<i64>,
    /// When figures were last sampled (Unix ms).
    pub sampled_ms: i64,
    /// The second in which clients were last looked at.
    pub checked_s: i64,
    /// No tick comes before something is due or happens.
    pub resting: bool,
}

/// What lies outside of the lock and follows from what commands change inside.
pub trait Outside: std::fmt::Debug + Send + Sync {
    /// Directives have changed.
    fn configured(&self, settings: &Settings);
    /// Connections have to log in before they may do anything, or need not any more.
    fn login_needed(&self, needed: bool);
    /// Listens on the addresses and the port that `settings` name, instead of those before, and
    /// gives the port. On failure nothing has changed.
    fn listen(&self, settings: &Settings) -> Result<u16, String>;
    /// The same for TLS.
    fn listen_tls(&self, settings: &Settings) -> Result<(), String>;
    /// The same for `metrics-port`.
    fn listen_metrics(&self, settings: &Settings) -> Result<(), String>;
    /// New TLS connections are accepted with the certificates that `settings` name; those that
    /// there are go on. On failure nothing has changed.
    fn certify(&self, settings: &Settings) -> Result<(), String>;
    /// How TLS is spoken to other servers.
    fn outward_tls(&self, settings: &Settings) -> Result<Arc<ClientConfig>, String>;
    /// Something has come that cron waits for.
    fn look_around(&self);
    /// The server must stop: see [`State::shutdown`].
    fn stop(&self);
    /// Loads the append-only file into the data, under a lock that the caller has; false when it
    /// cannot be loaded.
    fn load_append_only(&self, state: &mut State) -> bool;
    /// Who is told by the threads that write the append-only file.
    fn tail_owner(&self) -> Arc<dyn Owner>;
    /// A script keeps the lock and the calling thread for long: others must be answered.
    fn script_is_slow(&self, number: u64);
    /// Runs slow work on a thread of its own, which the server waits for when it ends.
    fn assist(&self, name: &str, work: Assistance) -> std::io::Result<()>;
    /// The primary is another one now, or there is one for the first time: links to it.
    fn follow(&self, generation: u64);
    /// Makes a full copy for replicas, as the data is now.
    fn copy(&self, state: &mut State, order: Order);
}

/// The way of another thread to the state.
pub trait Access {
    /// Runs `work` under the lock; false, and it does not run, when the server is ending.
    fn with(&self, work: &mut dyn FnMut(&mut State)) -> bool;
}

/// Work for another thread.
pub type Assistance = Box<dyn FnOnce(&dyn Access) + Send>;

/// All rooms.
#[derive(Debug)]
pub struct State {
    /// The door to the data.
    pub db: Db,
    /// Connections.
    pub clients: Clients,
    /// Who waits for which key.
    pub blocking: Blocking,
    /// Who watches which key.
    pub watches: HashMap<(usize, Box<[u8]>), Watchers>,
    /// Subscriptions.
    pub pubsub: PubSub,
    /// Client-side caching.
    pub tracking: Tracking,
    /// Who runs the present command.
    pub current: Option<ClientId>,
    /// Directives.
    pub config: Config,
    /// Users, and what they were refused.
    pub acl: Acl,
    /// Counters.
    pub stats: Stats,
    /// Snapshots and loads.
    pub persistence: Persistence,
    /// The ordered stream of writes.
    pub log: Log,
    /// The log on disk.
    pub aof: Aof,
    /// Primary or replica, and of whom.
    pub role: Role,
    /// Clients that asked for MONITOR.
    pub monitors: Vec<ClientId>,
    /// CLIENT PAUSE.
    pub pause: Option<Pause>,
    /// Clients whose command is held back by CLIENT PAUSE.
    pub held_back: Vec<ClientId>,
    /// Clients whose FLUSHALL or FLUSHDB waits until all is freed.
    pub flushing: BTreeSet<ClientId>,
    /// Commands by names that `rename-command` gave or took away: `None`.
    pub renames: HashMap<Vec<u8>, Option<usize>>,
    /// Keys that may be evicted.
    pub evictable: Pool,
    /// The server must stop.
    pub shutdown: Option<Shutdown>,
    /// It waits for its replicas first.
    pub ending: Option<Ending>,
    /// Everything has been saved for the last time: nothing runs any more.
    pub is_over: bool,
    /// It ends because it cannot go on, and nothing has been saved.
    pub has_failed: bool,
    /// What does not change.
    pub facts: Facts,
    /// The clock.
    pub clock: Clock,
    /// Where files are.
    pub disk: Arc<dyn Disk>,
    /// The log for people.
    pub logger: Arc<Logger>,
    /// What lies outside of the lock; `None` in tests of the inside.
    pub outside: Option<Arc<dyn Outside>>,
    /// Switches of DEBUG.
    pub debug: Switches,
    /// Scripts and functions.
    pub scripting: Scripting,
    /// Connections that MIGRATE keeps.
    pub peers: Peers,
    /// A transaction or script is running: waiters and the log wait for its end.
    pub inside_unit: bool,
}

impl State {
    /// Clients' writes are held back for a reason that no client has given.
    pub fn holds_writes(&self) -> bool {
        self.role.failover.is_some() || self.ending.is_some()
    }

    /// Protected mode refuses other machines: nobody has set a password.
    pub fn is_exposed(&self) -> bool {
        self.config.settings().protected_mode && self.acl.default_user().nopass
    }
}
