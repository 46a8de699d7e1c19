//! The process, its log, what protects it, and what lets one look inside.

use super::super::checks;
use super::{
    choice, number, off, on, row, text, unset, Choices, Directive, Kind, I32_MAX, I64_MAX,
};

const SUPERVISED: Choices = &[("upstart", 3), ("systemd", 2), ("auto", 1), ("no", 0)];
const FACILITIES: Choices = &[
    ("user", 8),
    ("local0", 128),
    ("local1", 136),
    ("local2", 144),
    ("local3", 152),
    ("local4", 160),
    ("local5", 168),
    ("local6", 176),
    ("local7", 184),
];
const LEVELS: Choices =
    &[("debug", 0), ("verbose", 1), ("notice", 2), ("warning", 3), ("nothing", 4)];
const LOG_FORMATS: Choices = &[("legacy", 0), ("logfmt", 1), ("json", 2)];
const TIMESTAMPS: Choices = &[("legacy", 0), ("iso8601", 1), ("milliseconds", 2)];
const OOM: Choices = &[("no", 0), ("yes", 1), ("relative", 1), ("absolute", 2)];
const SHUTDOWN: Choices = &[("default", 0), ("save", 2), ("nosave", 1), ("now", 4), ("force", 8)];
const ALLOWED: Choices = &[("no", 0), ("yes", 1), ("local", 2)];
const ACL_CHANNELS: Choices = &[("allchannels", 1), ("resetchannels", 0)];

pub(super) const PROCESS: &[Directive] = &[
    off("daemonize").fixed().honoured().about("Run in the background."),
    choice("supervised", "no", SUPERVISED)
        .fixed()
        .honoured()
        .about("Tell upstart or systemd when the server is ready."),
    unset("pidfile").fixed().honoured().about("File that holds the process id while it runs."),
    number("hz", "10", 0, I32_MAX)
        .honoured()
        .about("Rounds of background work a second, 1 to 500."),
    on("dynamic-hz").about("More rounds when many clients are connected."),
    on("set-proc-title").fixed().honoured().about("Show address and mode in the process list."),
    text("proc-title-template", "{title} {listen-addr} {server-mode}")
        .honoured()
        .checked(checks::title_template)
        .about("What the process list shows."),
    text("locale-collate", "")
        .checked(checks::locale)
        .honoured()
        .about("Locale in which SORT ALPHA sorts: one that goes by bytes."),
    row("shutdown-on-sigint", Kind::Flags(SHUTDOWN), "default")
        .honoured()
        .about("What SIGINT does: default, save, nosave, now, force."),
    row("shutdown-on-sigterm", Kind::Flags(SHUTDOWN), "default")
        .honoured()
        .about("What SIGTERM does: default, save, nosave, now, force."),
    number("shutdown-timeout", "10", 0, I32_MAX)
        .honoured()
        .about("Seconds that a shutdown waits for replicas to catch up."),
    choice("oom-score-adj", "no", OOM)
        .honoured()
        .about("Tell the kernel which process to kill when memory runs out."),
    row("oom-score-adj-values", Kind::OomScores, "0 200 800")
        .honoured()
        .about("Scores for a primary, a replica and a background process."),
    on("disable-thp").fixed().honoured().about("Ask the kernel for no transparent huge pages."),
    unset("server-cpulist").alias("server_cpulist").fixed().about("CPUs of the server."),
    unset("bio-cpulist").alias("bio_cpulist").fixed().about("CPUs of slow helpers."),
    unset("aof-rewrite-cpulist")
        .alias("aof_rewrite_cpulist")
        .fixed()
        .about("CPUs of the rewrite of the append only file."),
    unset("bgsave-cpulist").alias("bgsave_cpulist").fixed().about("CPUs of background saves."),
    text("ignore-warnings", "").honoured().about("Warnings at start to leave out: there are none."),
    on("activerehashing").about("Grow tables in idle time; here they grow without it."),
];

pub(super) const LOG: &[Directive] = &[
    choice("loglevel", "notice", LEVELS)
        .honoured()
        .about("debug, verbose, notice, warning or nothing."),
    text("logfile", "").fixed().honoured().about("File to log to; empty for standard output."),
    choice("log-format", "legacy", LOG_FORMATS)
        .honoured()
        .about("Form of log lines: legacy, logfmt (Valkey) or json."),
    choice("log-timestamp-format", "legacy", TIMESTAMPS)
        .honoured()
        .about("Form of their times (Valkey)."),
    off("syslog-enabled").fixed().honoured().about("Log to the system's log as well."),
    text("syslog-ident", "redis").fixed().honoured().about("Name in the system's log."),
    choice("syslog-facility", "local0", FACILITIES)
        .fixed()
        .honoured()
        .about("Facility of the system's log."),
    off("always-show-logo").fixed().honoured().about("Start the log with the logo."),
    off("hide-user-data-from-log").honoured().about("Keep keys and values out of the log."),
    on("crash-log-enabled").honoured().about("Write a report when the server crashes."),
    on("crash-memcheck-enabled")
        .honoured()
        .about("Test the memory when the server crashes: here it is never tested."),
];

pub(super) const SECURITY: &[Directive] = &[
    unset("requirepass").secret().honoured().about("Password of the default user."),
    text("aclfile", "").fixed().honoured().about("File of users and their permissions."),
    choice("acl-pubsub-default", "resetchannels", ACL_CHANNELS)
        .honoured()
        .about("Channels that a new user may use."),
    number("acllog-max-len", "128", 0, I64_MAX).honoured().about("Entries of ACL LOG."),
    choice("enable-protected-configs", "no", ALLOWED)
        .fixed()
        .honoured()
        .about("Who may set dir and dbfilename: no, yes, local."),
    choice("enable-debug-command", "no", ALLOWED)
        .fixed()
        .honoured()
        .about("Who may use DEBUG: no, yes, local."),
    choice("enable-module-command", "no", ALLOWED)
        .fixed()
        .honoured()
        .about("Who may use MODULE: no, yes, local."),
];

pub(super) const OBSERVATION: &[Directive] = &[
    number("slowlog-log-slower-than", "10000", -1, I64_MAX)
        .honoured()
        .about("Microseconds from which SLOWLOG remembers a command; -1 for none."),
    number("slowlog-max-len", "128", 0, I64_MAX).honoured().about("Entries of SLOWLOG."),
    number("latency-monitor-threshold", "0", 0, I64_MAX)
        .honoured()
        .about("Milliseconds from which LATENCY remembers an event; 0 for none."),
    on("latency-tracking").honoured().about("Keep a histogram of each command's time."),
    row("latency-tracking-info-percentiles", Kind::Percentiles, "50 99 99.9")
        .honoured()
        .about("Percentiles that INFO latencystats shows."),
    row("notify-keyspace-events", Kind::Events, "")
        .honoured()
        .about("Classes of keyspace events that are published; none when empty."),
    number("watchdog-period", "0", 0, I32_MAX).hidden().about("Milliseconds of the watchdog."),
];

pub(super) const OWN: &[Directive] = &[
    text("redis-version", crate::config::REDIS_VERSION)
        .honoured()
        .checked(checks::version)
        .about("Version of Redis that INFO, HELLO and Lua report."),
    number("tls-handshake-timeout", "10", 1, 3600)
        .honoured()
        .about("Seconds that a TLS client has to shake hands."),
    number("metrics-port", "0", 0, 65535)
        .honoured()
        .about("TCP port for Prometheus (GET /metrics); 0 for none."),
];
