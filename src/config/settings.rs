//! The values that the server honours, parsed into plain fields that are cheap to read.

mod append_only;

pub use append_only::AppendOnly;

use super::value::Value;
use super::{path_from, table, Config, OutputLimit, SavePoint};
use crate::types::limits::Limits;
use std::path::PathBuf;

mod log;
mod tls;
pub use log::{LogForm, LogFormat, LogTimestamp, Supervision};
pub use tls::{AuthClients, CertificateFiles, Secret, TlsSettings};

/// What `maxmemory-policy` says makes room; variants are named after its words.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    VolatileLru,
    VolatileLfu,
    VolatileRandom,
    VolatileTtl,
    AllkeysLru,
    AllkeysLfu,
    AllkeysRandom,
    #[default]
    NoEviction,
}

impl Policy {
    /// Keys count how often they are used, instead of when.
    pub fn is_lfu(self) -> bool {
        matches!(self, Policy::VolatileLfu | Policy::AllkeysLfu)
    }

    /// Keys remember when they were last used.
    pub fn is_lru(self) -> bool {
        matches!(self, Policy::VolatileLru | Policy::AllkeysLru)
    }

    /// Keys without a deadline may be evicted too.
    pub fn is_allkeys(self) -> bool {
        matches!(self, Policy::AllkeysLru | Policy::AllkeysLfu | Policy::AllkeysRandom)
    }

    fn from_number(number: u32) -> Self {
        match number {
            0 => Policy::VolatileLru,
            1 => Policy::VolatileLfu,
            2 => Policy::VolatileRandom,
            3 => Policy::VolatileTtl,
            4 => Policy::AllkeysLru,
            5 => Policy::AllkeysLfu,
            6 => Policy::AllkeysRandom,
            _ => Policy::NoEviction,
        }
    }
}

/// Who may use a guarded command.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Allowed {
    #[default]
    No,
    Yes,
    /// Clients of this machine only.
    Local,
}

impl Allowed {
    /// Whether a client that is on this machine, or is not, may use it.
    pub fn admits(self, local: bool) -> bool {
        self == Allowed::Yes || (self == Allowed::Local && local)
    }

    fn from_number(number: u32) -> Self {
        match number {
            1 => Allowed::Yes,
            2 => Allowed::Local,
            _ => Allowed::No,
        }
    }
}

/// How important a log line is, from the least; variants are named after `loglevel`'s words.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Debug,
    Verbose,
    #[default]
    Notice,
    Warning,
    Nothing,
}

/// What a signal's shutdown does; fields are named after the words of `shutdown-on-sigterm`.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownFlags {
    pub save: bool,
    pub nosave: bool,
    pub now: bool,
    pub force: bool,
}

/// How `oom-score-adj` sets the kernel's score; the numbers are that of a primary.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OomScore {
    #[default]
    Untouched,
    Relative(i64),
    Absolute(i64),
}

/// Where a full copy from the primary goes, named after the words of `repl-diskless-load`.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DisklessLoad {
    #[default]
    Disabled,
    OnEmptyDb,
    SwapDb,
}

/// What a replica does about a command of its primary that fails, named after the words of
/// `propagation-error-behavior`.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PropagationErrors {
    #[default]
    Ignore,
    Panic,
    PanicOnReplicas,
}

/// The limit on the memory of clients' buffers.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientsLimit {
    #[default]
    None,
    Bytes(u64),
    /// Percent of maxmemory.
    Percent(u8),
}

impl ClientsLimit {
    /// The limit in bytes, when there is one.
    #[inline]
    pub fn bytes(self, maxmemory: u64) -> Option<u64> {
        let bytes = match self {
            ClientsLimit::None => return None,
            ClientsLimit::Bytes(bytes) => bytes,
            ClientsLimit::Percent(percent) => maxmemory / 100 * u64::from(percent),
        };
        (bytes > 0).then_some(bytes)
    }
}

/// Parsed values, named after their directives, where their meaning stands; units come last.
#[allow(missing_docs)]
#[derive(Clone, Debug, Default)]
pub struct Settings {
    // Listeners
    pub bind: Vec<String>,
    pub port: u16,
    pub tcp_backlog: i32,
    pub unixsocket: Option<PathBuf>,
    pub unixsocketgroup: Option<String>,
    /// Permission bits; 0 leaves them to the umask.
    pub unixsocketperm: u32,
    pub protected_mode: bool,
    pub tls: TlsSettings,
    // Clients
    /// 0 is never.
    pub timeout_s: u64,
    /// 0 is off.
    pub tcp_keepalive_s: u64,
    pub maxclients: usize,
    pub maxmemory_clients: ClientsLimit,
    pub client_query_buffer_limit: usize,
    pub proto_max_bulk_len: usize,
    /// Of normal clients, replicas and subscribers, in this order.
    pub output_limits: [OutputLimit; 3],
    pub io_threads: usize,
    pub databases: usize,
    /// 0 is no limit.
    pub tracking_table_max_keys: usize,
    // Process
    pub daemonize: bool,
    pub pidfile: Option<PathBuf>,
    /// Rounds of background work a second, 1 to 500.
    pub hz: u32,
    /// Whether and how the kernel is told which process to kill first.
    /// Of a primary, and of a replica.
    pub oom_scores: [OomScore; 2],
    pub set_proc_title: bool,
    pub proc_title_template: String,
    pub shutdown_on_sigint: ShutdownFlags,
    pub shutdown_on_sigterm: ShutdownFlags,
    pub shutdown_timeout_s: u64,
    // Log
    pub loglevel: LogLevel,
    pub log_form: LogForm,
    pub crash_log_enabled: bool,
    pub supervised: Supervision,
    pub metrics_port: u16,
    /// `None` is standard output.
    pub logfile: Option<PathBuf>,
    pub syslog_enabled: bool,
    pub syslog_ident: String,
    /// The C library's number.
    pub syslog_facility: u32,
    pub always_show_logo: bool,
    pub hide_user_data_from_log: bool,
    // Security
    /// Empty is no password.
    pub requirepass: Vec<u8>,
    pub aclfile: String,
    pub acl_pubsub_allchannels: bool,
    pub acllog_max_len: usize,
    pub protected_configs: Allowed,
    pub debug_command: Allowed,
    pub module_command: Allowed,
    // Observation
    /// Negative: none.
    pub slowlog_log_slower_than_us: i64,
    pub slowlog_max_len: usize,
    /// 0 is off.
    pub latency_monitor_threshold_ms: u64,
    pub latency_tracking: bool,
    pub latency_percentiles: Vec<f64>,
    /// Bits of `config::events`.
    pub notify_events: u32,
    // Memory
    /// 0 is no limit.
    pub maxmemory: u64,
    pub maxmemory_policy: Policy,
    pub maxmemory_samples: usize,
    /// 0 to 100.
    pub maxmemory_eviction_tenacity: u32,
    pub replica_ignore_maxmemory: bool,
    pub lfu_log_factor: u32,
    pub lfu_decay_time_min: u32,
    /// 1 to 10.
    pub active_expire_effort: u32,
    pub lazyfree_eviction: bool,
    pub lazyfree_expire: bool,
    pub lazyfree_server_del: bool,
    pub lazyfree_user_del: bool,
    pub lazyfree_user_flush: bool,
    // Types and scripts
    /// The hash key is the default one: a server puts in its own.
    pub limits: Limits,
    pub busy_reply_threshold_ms: u64,
    // Files
    pub dir: PathBuf,
    pub dbfilename: PathBuf,
    pub save: Vec<SavePoint>,
    pub rdbcompression: bool,
    /// `sanitize-dump-payload` is not `no`.
    pub sanitizes_payloads: bool,
    pub rdbchecksum: bool,
    pub stop_writes_on_bgsave_error: bool,
    pub append_only: AppendOnly,
    pub rdb_save_incremental_fsync: bool,
    pub rdb_del_sync_files: bool,
    /// Below 0 one microsecond for so many keys.
    pub rdb_key_save_delay_us: i64,
    pub key_load_delay_us: i64,
    // Replication
    /// The primary, on a replica.
    pub replicaof: Option<(Vec<u8>, u16)>,
    pub masteruser: Option<Vec<u8>>,
    pub masterauth: Option<Vec<u8>>,
    pub bind_source_addr: Option<String>,
    pub replica_serve_stale_data: bool,
    pub replica_read_only: bool,
    pub repl_diskless_sync: bool,
    pub repl_diskless_sync_delay_s: u64,
    /// 0 always waits for the delay.
    pub repl_diskless_sync_max_replicas: usize,
    pub repl_diskless_load: DisklessLoad,
    pub repl_ping_period_s: u64,
    pub repl_timeout_s: u64,
    pub repl_disable_tcp_nodelay: bool,
    pub repl_backlog_bytes: u64,
    /// 0 is never.
    pub repl_backlog_ttl_s: u64,
    pub replica_priority: u32,
    pub replica_announced: bool,
    pub replica_announce_ip: Option<Vec<u8>>,
    /// 0 is the port that it listens on.
    pub replica_announce_port: u16,
    /// 0 is off.
    pub min_replicas_to_write: usize,
    /// 0 is off.
    pub min_replicas_max_lag_s: u64,
    pub replica_lazy_flush: bool,
    pub propagation_errors: PropagationErrors,
    pub replica_ignore_disk_write_errors: bool,
    pub exits_on_panic: bool,
    /// Own
    pub redis_version: String,
}

impl Settings {
    /// The fields as `config` has them.
    pub(super) fn read(config: &Config) -> Self {
        let mut settings = Settings { tls: TlsSettings::read(config), ..Settings::default() };
        settings.read_clients(config);
        settings.read_process(config);
        settings.read_observation(config);
        settings.read_memory(config);
        settings.read_limits(config);
        settings.read_files(config);
        settings.append_only = AppendOnly::read(config);
        settings.read_replication(config);
        settings
    }

    fn read_clients(&mut self, config: &Config) {
        if let Value::Words(words) = value(config, "bind") {
            self.bind = words.iter().map(|word| lossy(word)).collect();
        }
        self.port = number(config, "port");
        self.tcp_backlog = number(config, "tcp-backlog");
        self.unixsocket = text(config, "unixsocket").map(|path| path_from(&path));
        self.unixsocketgroup = text(config, "unixsocketgroup")
            .filter(|group| !group.is_empty())
            .map(|group| lossy(&group));
        self.unixsocketperm = number(config, "unixsocketperm");
        self.protected_mode = on(config, "protected-mode");
        self.timeout_s = number(config, "timeout");
        self.tcp_keepalive_s = number(config, "tcp-keepalive");
        self.maxclients = number(config, "maxclients");
        self.maxmemory_clients = match value(config, "maxmemory-clients") {
            Value::Number(0) => ClientsLimit::None,
            Value::Number(percent @ -100..0) => ClientsLimit::Percent(percent.unsigned_abs() as u8),
            _ => ClientsLimit::Bytes(number(config, "maxmemory-clients")),
        };
        self.client_query_buffer_limit = number(config, "client-query-buffer-limit");
        self.proto_max_bulk_len = number(config, "proto-max-bulk-len");
        if let Value::OutputLimits(limits) = value(config, "client-output-buffer-limit") {
            self.output_limits = *limits;
        }
        self.io_threads = number(config, "io-threads");
        self.databases = number(config, "databases");
        self.tracking_table_max_keys = number(config, "tracking-table-max-keys");
    }

    fn read_process(&mut self, config: &Config) {
        self.daemonize = on(config, "daemonize");
        self.pidfile = text(config, "pidfile").map(|path| path_from(&path));
        self.hz = number(config, "hz");
        let scores = match value(config, "oom-score-adj-values") {
            Value::OomScores([primary, replica, _]) => [*primary, *replica],
            _ => [0, 0],
        };
        self.oom_scores = match choice(config, "oom-score-adj") {
            0 => [OomScore::Untouched; 2],
            1 => scores.map(OomScore::Relative),
            _ => scores.map(OomScore::Absolute),
        };
        self.set_proc_title = on(config, "set-proc-title");
        self.proc_title_template = lossy(&text(config, "proc-title-template").unwrap_or_default());
        self.shutdown_on_sigint = shutdown_flags(config, "shutdown-on-sigint");
        self.shutdown_on_sigterm = shutdown_flags(config, "shutdown-on-sigterm");
        self.shutdown_timeout_s = number(config, "shutdown-timeout");
        self.loglevel = match choice(config, "loglevel") {
            0 => LogLevel::Debug,
            1 => LogLevel::Verbose,
            2 => LogLevel::Notice,
            3 => LogLevel::Warning,
            _ => LogLevel::Nothing,
        };
        self.log_form = LogForm::read(config);
        self.crash_log_enabled = on(config, "crash-log-enabled");
        self.supervised = Supervision::read(config);
        self.metrics_port = number(config, "metrics-port");
        let logfile = text(config, "logfile").filter(|path| !path.is_empty());
        self.logfile = logfile.map(|path| path_from(&path));
        self.syslog_enabled = on(config, "syslog-enabled");
        self.syslog_ident = lossy(&text(config, "syslog-ident").unwrap_or_default());
        self.syslog_facility = choice(config, "syslog-facility");
        self.always_show_logo = on(config, "always-show-logo");
        self.hide_user_data_from_log = on(config, "hide-user-data-from-log");
        self.redis_version = lossy(&text(config, "redis-version").unwrap_or_default());
    }

    fn read_observation(&mut self, config: &Config) {
        self.requirepass = text(config, "requirepass").unwrap_or_default();
        self.aclfile = lossy(&text(config, "aclfile").unwrap_or_default());
        self.acl_pubsub_allchannels = choice(config, "acl-pubsub-default") == 1;
        self.acllog_max_len = number(config, "acllog-max-len");
        let allowed = |name| Allowed::from_number(choice(config, name));
        self.protected_configs = allowed("enable-protected-configs");
        self.debug_command = allowed("enable-debug-command");
        self.module_command = allowed("enable-module-command");
        self.slowlog_log_slower_than_us = number(config, "slowlog-log-slower-than");
        self.slowlog_max_len = number(config, "slowlog-max-len");
        self.latency_monitor_threshold_ms = number(config, "latency-monitor-threshold");
        self.latency_tracking = on(config, "latency-tracking");
        if let Value::Percentiles(list) = value(config, "latency-tracking-info-percentiles") {
            self.latency_percentiles = list.clone();
        }
        if let Value::Events(flags) = value(config, "notify-keyspace-events") {
            self.notify_events = *flags;
        }
    }

    fn read_memory(&mut self, config: &Config) {
        self.maxmemory = number(config, "maxmemory");
        self.maxmemory_policy = Policy::from_number(choice(config, "maxmemory-policy"));
        self.maxmemory_samples = number(config, "maxmemory-samples");
        self.maxmemory_eviction_tenacity = number(config, "maxmemory-eviction-tenacity");
        self.replica_ignore_maxmemory = on(config, "replica-ignore-maxmemory");
        self.lfu_log_factor = number(config, "lfu-log-factor");
        self.lfu_decay_time_min = number(config, "lfu-decay-time");
        self.active_expire_effort = number(config, "active-expire-effort");
        self.lazyfree_eviction = on(config, "lazyfree-lazy-eviction");
        self.lazyfree_expire = on(config, "lazyfree-lazy-expire");
        self.lazyfree_server_del = on(config, "lazyfree-lazy-server-del");
        self.lazyfree_user_del = on(config, "lazyfree-lazy-user-del");
        self.lazyfree_user_flush = on(config, "lazyfree-lazy-user-flush");
        self.busy_reply_threshold_ms = number(config, "busy-reply-threshold");
    }

    fn read_limits(&mut self, config: &Config) {
        self.limits = Limits {
            list_max_listpack_size: number(config, "list-max-listpack-size"),
            list_compress_depth: number(config, "list-compress-depth"),
            hash_max_listpack_entries: number(config, "hash-max-listpack-entries"),
            hash_max_listpack_value: number(config, "hash-max-listpack-value"),
            set_max_intset_entries: number(config, "set-max-intset-entries"),
            set_max_listpack_entries: number(config, "set-max-listpack-entries"),
            set_max_listpack_value: number(config, "set-max-listpack-value"),
            zset_max_listpack_entries: number(config, "zset-max-listpack-entries"),
            zset_max_listpack_value: number(config, "zset-max-listpack-value"),
            stream_node_max_bytes: number(config, "stream-node-max-bytes"),
            stream_node_max_entries: number(config, "stream-node-max-entries"),
            hll_sparse_max_bytes: number(config, "hll-sparse-max-bytes"),
            ..Limits::default()
        };
    }

    fn read_files(&mut self, config: &Config) {
        self.dir = path_from(&text(config, "dir").unwrap_or_default());
        self.dbfilename = path_from(&text(config, "dbfilename").unwrap_or_default());
        if let Value::Save(points) = value(config, "save") {
            self.save = points.clone();
        }
        self.rdbcompression = on(config, "rdbcompression");
        self.sanitizes_payloads = choice(config, "sanitize-dump-payload") != 0;
        self.rdbchecksum = on(config, "rdbchecksum");
        self.rdb_save_incremental_fsync = on(config, "rdb-save-incremental-fsync");
        self.rdb_del_sync_files = on(config, "rdb-del-sync-files");
        self.rdb_key_save_delay_us = number(config, "rdb-key-save-delay");
        self.key_load_delay_us = number(config, "key-load-delay");
        self.stop_writes_on_bgsave_error = on(config, "stop-writes-on-bgsave-error");
    }
}

impl Settings {
    /// Writes need replicas that answer: `min-replicas-to-write`.
    #[inline]
    pub fn needs_replicas(&self) -> bool {
        self.min_replicas_to_write > 0 && self.min_replicas_max_lag_s > 0
    }

    fn read_replication(&mut self, config: &Config) {
        if let Value::ReplicaOf(primary) = value(config, "replicaof") {
            self.replicaof = primary.clone();
        }
        let filled = |name| text(config, name).filter(|text| !text.is_empty());
        self.masteruser = filled("masteruser");
        self.masterauth = filled("masterauth");
        self.bind_source_addr = filled("bind-source-addr").map(|text| lossy(&text));
        self.replica_serve_stale_data = on(config, "replica-serve-stale-data");
        self.replica_read_only = on(config, "replica-read-only");
        self.repl_diskless_sync = on(config, "repl-diskless-sync");
        self.repl_diskless_sync_delay_s = number(config, "repl-diskless-sync-delay");
        self.repl_diskless_sync_max_replicas = number(config, "repl-diskless-sync-max-replicas");
        self.repl_diskless_load = match choice(config, "repl-diskless-load") {
            0 => DisklessLoad::Disabled,
            1 => DisklessLoad::OnEmptyDb,
            _ => DisklessLoad::SwapDb,
        };
        self.repl_ping_period_s = number(config, "repl-ping-replica-period");
        self.repl_timeout_s = number(config, "repl-timeout");
        self.repl_disable_tcp_nodelay = on(config, "repl-disable-tcp-nodelay");
        // Redis: below this a backlog is not worth having.
        self.repl_backlog_bytes = number::<u64>(config, "repl-backlog-size").max(16 << 10);
        self.repl_backlog_ttl_s = number(config, "repl-backlog-ttl");
        self.replica_priority = number(config, "replica-priority");
        self.replica_announced = on(config, "replica-announced");
        self.replica_announce_ip = filled("replica-announce-ip");
        self.replica_announce_port = number(config, "replica-announce-port");
        self.min_replicas_to_write = number(config, "min-replicas-to-write");
        self.min_replicas_max_lag_s = number(config, "min-replicas-max-lag");
        self.replica_lazy_flush = on(config, "replica-lazy-flush");
        self.propagation_errors = match choice(config, "propagation-error-behavior") {
            0 => PropagationErrors::Ignore,
            1 => PropagationErrors::Panic,
            _ => PropagationErrors::PanicOnReplicas,
        };
        self.replica_ignore_disk_write_errors = on(config, "replica-ignore-disk-write-errors");
        self.exits_on_panic = on(config, "use-exit-on-panic");
    }
}

/// The value of a directive that the table has; a test reads every field, so that a wrong name
/// cannot stay unnoticed.
fn value<'a>(config: &'a Config, name: &str) -> &'a Value {
    let named = table::find(name.as_bytes());
    debug_assert!(named.is_some(), "no directive {name}");
    named.map_or(&Value::Switch(false), |named| &config.values[named.index])
}

fn on(config: &Config, name: &str) -> bool {
    matches!(value(config, name), Value::Switch(true))
}

/// A number, as far as `T` goes.
fn number<T: TryFrom<i128> + Bounded>(config: &Config, name: &str) -> T {
    match value(config, name) {
        Value::Number(number) => T::try_from(*number).unwrap_or(T::LARGEST),
        _ => T::LARGEST,
    }
}

fn choice(config: &Config, name: &str) -> u32 {
    match value(config, name) {
        Value::Choice(number) => *number,
        _ => 0,
    }
}

fn text(config: &Config, name: &str) -> Option<Vec<u8>> {
    match value(config, name) {
        Value::Text(text) => text.clone(),
        _ => None,
    }
}

fn shutdown_flags(config: &Config, name: &str) -> ShutdownFlags {
    let flags = choice(config, name);
    ShutdownFlags {
        nosave: flags & 1 != 0,
        save: flags & 2 != 0,
        now: flags & 4 != 0,
        force: flags & 8 != 0,
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Number types that settings use.
trait Bounded {
    const LARGEST: Self;
}

macro_rules! bounded {
    ($($kind:ty),*) => { $(impl Bounded for $kind { const LARGEST: $kind = <$kind>::MAX; })* };
}
bounded!(u16, i32, u32, i64, u64, usize);
