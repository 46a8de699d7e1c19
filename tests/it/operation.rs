//! What an operator and the machine's own tools see of a server: supervision, the log's forms,
//! crash reports, metrics.

use crate::patience::PATIENCE;
use crate::process::{output, text, Folder, Process, BINARY};
use crate::server::free_port;
use crate::wire::{Reply, Wire};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn pair(name: &str, value: &str) -> [String; 2] {
    [name.to_string(), value.to_string()]
}

/// Stands in for systemd.
struct Systemd {
    folder: Folder,
    path: String,
    socket: UnixDatagram,
}

impl Systemd {
    fn new(name: &str) -> Systemd {
        let folder = Folder::new(name);
        let path = folder.path("socket");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Systemd { folder, path, socket }
    }

    /// What it hears next.
    fn hears(&self) -> String {
        let mut bytes = [0; 256];
        let len = self.socket.recv(&mut bytes).expect("a datagram");
        text(&bytes[..len])
    }

    /// Listens until it hears this.
    fn awaits(&self, wanted: &str) {
        while self.hears() != wanted {}
    }
}

#[test]
fn systemd_hears_of_start_readiness_and_end() {
    let systemd = Systemd::new("notify");
    let (path, heard) = (&systemd.path, || systemd.hears());
    for mode in ["systemd", "auto"] {
        let process =
            Process::start_with(&["--supervised", mode], &[("NOTIFY_SOCKET", path.as_str())]);
        assert_eq!(heard(), "STATUS=Redis is loading...\n");
        assert_eq!(heard(), "STATUS=Ready to accept connections\n");
        assert_eq!(heard(), "READY=1\n");
        let info = format!("{:?}", process.wire().call(&["INFO", "server"]).expect("a reply"));
        let info = info.replace(", ", "");
        let expected: String = b"supervised:systemd".iter().map(u8::to_string).collect();
        assert!(info.contains(&expected), "process_supervised says so");
        process.signal("TERM");
        assert_eq!(heard(), "STOPPING=1\n");
        assert_eq!(process.end().0, Some(0));
    }
}

#[test]
fn systemd_hears_how_a_replica_gets_in_step_and_of_the_last_save() {
    let systemd = Systemd::new("notify-replica");
    let (path, hear) = (&systemd.path, |wanted: &str| systemd.awaits(wanted));
    let primary = Process::start(&["--repl-diskless-sync-delay", "0"]);
    let of = format!("127.0.0.1 {}", primary.port);
    let dir = systemd.folder.path("");
    let args = ["--supervised", "systemd", "--dir", &dir, "--replicaof", &of];
    let replica = Process::start_with(&args, &[("NOTIFY_SOCKET", path.as_str())]);
    hear(
        "STATUS=Ready to accept connections in read-only mode. Waiting for MASTER <-> REPLICA \
         sync\n",
    );
    hear(
        "STATUS=MASTER <-> REPLICA sync: Finished with success. Ready to accept connections in \
         read-write mode.\n",
    );
    primary.wire().call(&["CLIENT", "KILL", "TYPE", "replica"]).expect("a reply");
    hear(
        "STATUS=MASTER <-> REPLICA sync: Partial Resynchronization accepted. Ready to accept \
         connections in read-write mode.\n",
    );
    replica.wire().call(&["CONFIG", "SET", "save", "100 1"]).expect("a reply");
    replica.signal("TERM");
    hear("STOPPING=1\n");
    hear("STATUS=Saving the final RDB snapshot\n");
    assert_eq!(replica.end().0, Some(0));
}

#[test]
fn a_supervisor_that_is_not_there_keeps_nobody_from_serving() {
    let process = Process::start(&["--supervised", "systemd"]);
    process.signal("TERM");
    let (code, log) = process.end();
    assert_eq!(code, Some(0));
    assert!(log.contains("# systemd supervision error: NOTIFY_SOCKET not found!"), "{log}");
}

/// Starts a server; gives what it said until it ended, or was ready.
fn start_or_end(args: &[&str]) -> (Option<i32>, String) {
    let port = free_port().expect("a port").to_string();
    let mut child = Command::new(BINARY)
        .args(["--port", &port, "--bind", "127.0.0.1", "--save", ""])
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut said = String::new();
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
    while lines.read_line(&mut said).expect("a line") > 0 {
        if said.contains("Ready to accept connections") {
            child.kill().expect("a process");
        }
    }
    let mut errors = child.stderr.take().expect("a pipe");
    errors.read_to_string(&mut said).expect("text");
    (child.wait().expect("it ends").code(), said)
}

/// What was asked for and cannot be had must not pass with a warning.
#[test]
fn a_directive_that_cannot_be_missed_stops_the_start() {
    let folder = Folder::new("missed");
    let missing = folder.path("missing");
    let (secure, socket) = (free_port().expect("a port").to_string(), format!("{missing}/socket"));
    let cases: [(&[&str], &str); 10] = [
        (&["--cluster-enabled", "yes"], "# The directive 'cluster-enabled' asks for what this"),
        (&["--loadmodule", &missing], "# Can't load module from"),
        (&["--aclfile", &missing], "# Aborting Redis startup because of ACL errors: Error loading"),
        (&["--tls-port", &secure], "# Failed to configure TLS. Check logs"),
        (&["--tls-replication", "yes"], "# Failed to configure TLS. Check logs"),
        // An address of documents, which no machine has.
        (&["--bind", "192.0.2.1"], "# Failed listening on port"),
        (&["--unixsocket", &socket], "# Failed opening Unix socket: bind: No such file"),
        (&["--include", &missing], "# Fatal error, can't open config file"),
        (&["--dir", &missing], "No such file or directory"),
        (&["--logfile", &socket], "Can't open the log file: No such file"),
    ];
    for (args, why) in cases {
        let (code, said) = start_or_end(args);
        assert!(!said.contains("Ready to accept connections"), "{args:?}:\n{said}");
        assert_eq!(code, Some(1), "{args:?}:\n{said}");
        assert!(said.contains(why), "{args:?}:\n{said}");
    }
}

#[test]
fn lines_for_machines_begin_with_the_first_one() {
    let args = ["--log-format", "json", "--log-timestamp-format", "iso8601"];
    let mut process = Process::spawn(&args);
    process.read_until("Ready to accept connections tcp");
    process.signal("ALRM");
    process.signal("TERM");
    let (code, log) = process.end();
    assert_eq!(code, Some(0), "SIGALRM ends nothing:\n{log}");
    let mut lines = 0;
    for line in log.lines() {
        let read: serde_json::Value = serde_json::from_str(line).expect(line);
        assert_eq!(read["role"], "primary");
        assert!(read["timestamp"].as_str().is_some_and(|at| at.starts_with("20")), "{line}");
        lines += 1;
    }
    assert!(lines > 5, "{log}");
}

#[test]
fn a_crash_is_reported_without_what_clients_sent() {
    for (words, signal) in [(["DEBUG", "SEGFAULT"], 11), (["DEBUG", "ASSERT"], 6)] {
        let folder = Folder::new(&format!("crash-{signal}"));
        let logfile = folder.path("log");
        let args = ["--enable-debug-command", "yes", "--dir", &folder.path("")];
        let process = Process::start(&args);
        let mut wire = process.wire();
        for _ in 0..3 {
            wire.call(&["SET", "a-secret-key", "a-secret-value"]).expect("a reply");
        }
        let _ = wire.call(&words);
        let (code, log) = process.end();
        assert_eq!(code, None, "ended by a signal");
        assert!(log.contains("=== REDIS BUG REPORT START: Cut & paste starting from here ==="));
        let crashed = format!(") crashed by signal: {signal}, si_code: ");
        assert!(log.contains("# Redouble ") && log.contains(&crashed), "{log}");
        assert!(log.contains("------ THREAD ------\nredouble-io-"), "{log}");
        assert!(log.contains("\ndebug\nset\nset\nset\n"), "{log}");
        assert!(log.contains("issue of the Redouble project"), "{log}");
        assert!(!log.contains("a-secret"), "{log}");
        let _ = std::fs::remove_file(logfile);
    }
    let args = ["--enable-debug-command", "yes", "--crash-log-enabled", "no"];
    let process = Process::start(&args);
    let _ = process.wire().call(&["DEBUG", "SEGFAULT"]);
    let (code, log) = process.end();
    assert_eq!(code, None, "ended by a signal all the same");
    assert!(!log.contains("BUG REPORT"), "{log}");
}

/// A relative name of a log file is one in `dir`, wherever that is.
#[test]
fn the_log_and_the_last_report_go_where_dir_is() {
    let folder = Folder::new("moving-log");
    let dirs = ["one", "two"].map(|name| folder.path(name));
    dirs.iter().for_each(|dir| std::fs::create_dir(dir).expect("a folder"));
    let [one, two] = &dirs;
    let log = |dir: &str| std::fs::read_to_string(format!("{dir}/a.log")).unwrap_or_default();
    let port = free_port().expect("a port").to_string();
    let mut child = Command::new(BINARY)
        .args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--enable-debug-command"])
        .args(["yes", "--enable-protected-configs", "yes", "--dir", one, "--logfile", "a.log"])
        .spawn()
        .expect("it starts");
    let until = Instant::now() + PATIENCE;
    while !log(one).contains("Ready to accept connections") {
        assert!(Instant::now() < until, "{}", log(one));
        std::thread::sleep(Duration::from_millis(5));
    }
    let addr = SocketAddr::from(([127, 0, 0, 1], port.parse().expect("a port")));
    let mut wire = Wire::connect(addr).expect("connected");
    wire.call(&["DEBUG", "LOG", "first"]).expect("a reply");
    wire.call(&["CONFIG", "SET", "dir", two]).expect("a reply");
    wire.call(&["DEBUG", "LOG", "second"]).expect("a reply");
    let _ = wire.call(&["DEBUG", "SEGFAULT"]);
    child.wait().expect("it ends");
    assert!(log(one).contains("first") && !log(one).contains("second"), "{}", log(one));
    assert!(!log(one).contains("BUG REPORT"), "{}", log(one));
    assert!(log(two).contains("second") && log(two).contains("BUG REPORT"), "{}", log(two));
}

#[test]
fn the_system_is_checked_without_a_server() {
    let ended = output(&["--check-system"]);
    let said = text(&ended.stdout);
    for name in ["slow-clocksource", "xen-clocksource", "open-files", "somaxconn"] {
        assert!(said.contains(&format!("[{name}]...")), "{said}");
    }
    assert_eq!(ended.status.code(), Some(i32::from(said.contains("...WARNING:\n"))), "{said}");
}

fn get(port: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).expect("connected");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut reply = String::new();
    if let Err(error) = stream.read_to_string(&mut reply) {
        // Closed with bytes unread.
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    reply
}

#[test]
fn metrics_have_the_exporters_names_and_infos_figures() {
    let port = free_port().expect("a port").to_string();
    let process = Process::start(&["--metrics-port", &port]);
    let mut wire = process.wire();
    for words in [pair("k1", "v"), pair("k2", "v")] {
        wire.call(&["SET", &words[0], &words[1], "EX", "1000"]).expect("a reply");
    }
    wire.call(&["GET", "none"]).expect("a reply");
    wire.call(&["LPUSH", "k1", "x"]).expect("a reply");
    let reply = get(&port, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    let (head, body) = reply.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    for line in [
        "redis_up 1",
        "redis_connected_clients 1",
        "redis_db_keys{db=\"db0\"} 2",
        "redis_db_keys_expiring{db=\"db0\"} 2",
        "redis_commands_total{cmd=\"set\"} 2",
        "redis_commands_failed_calls_total{cmd=\"lpush\"} 1",
        "redis_errors_total{err=\"WRONGTYPE\"} 1",
        "redis_keyspace_misses_total 1",
        "redis_connections_received_total 1",
        "redis_commands_processed_total 4",
        "redis_config_maxclients 10000",
        "redis_config_maxmemory 0",
        "redis_config_repl_backlog_size 1048576",
        "redis_config_client_output_buffer_limit_bytes{class=\"pubsub\",limit=\"soft\"} 8388608",
        "redis_slowlog_length 0",
        "redis_slowlog_last_id 0",
        "redis_last_slow_execution_duration_seconds 0",
        "redis_db_keys{db=\"db15\"} 0",
        "redis_commands_latencies_usec_bucket{cmd=\"set\",le=\"+Inf\"} 2",
        "redis_commands_latencies_usec_count{cmd=\"set\"} 2",
        "# TYPE redis_commands_latencies_usec histogram",
        "redis_rdb_last_bgsave_status 1",
        "# TYPE redis_commands_total counter",
        "# TYPE redis_memory_used_bytes gauge",
        "# TYPE redis_latency_percentiles_usec summary",
    ] {
        assert!(body.lines().any(|known| known == line), "no {line:?} in\n{body}");
    }
    for start in [
        "redis_memory_used_bytes ",
        "redis_config_io_threads ",
        "redis_memory_max_bytes ",
        "redis_cpu_user_seconds_total ",
        "redis_uptime_in_seconds ",
        "redis_start_time_seconds ",
        "redis_commands_duration_seconds_total{cmd=\"set\"} ",
        "redis_latency_percentiles_usec{cmd=\"set\",quantile=\"50\"} ",
        "redis_latency_percentiles_usec_count{cmd=\"set\"} 2",
        "redis_instance_info{role=\"master\",redis_version=\"7.4.2\",",
        "redis_db_avg_ttl_seconds{db=\"db0\"} ",
    ] {
        assert!(body.lines().any(|line| line.starts_with(start)), "no {start:?} in\n{body}");
    }
    // Each name once, with its samples right behind it.
    let mut names: Vec<&str> =
        body.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
    assert!(get(&port, "GET /x HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
    assert!(get(&port, "POST /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
    assert!(get(&port, "HEAD /metrics HTTP/1.1\r\n\r\n").ends_with("\r\n\r\n"));
    assert!(get(&port, &format!("GET /{} HTTP/1.1\r\n", "x".repeat(20_000))).is_empty());
    // The port moves, goes and comes back while the server runs; one in use changes nothing.
    let mut set = |port: &str| {
        let reply = wire.call(&["CONFIG", "SET", "metrics-port", port]).expect("a reply");
        reply == Reply::Status(b"OK".to_vec())
    };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken_port = taken.local_addr().expect("an address").port().to_string();
    assert!(!set(&taken_port));
    let alive = |port: &str| get(port, "GET /metrics HTTP/1.1\r\n\r\n").contains("\nredis_up 1\n");
    assert!(alive(&port));
    let other = free_port().expect("a port").to_string();
    assert!(set(&other) && alive(&other));
    assert!(TcpStream::connect(format!("127.0.0.1:{port}")).is_err(), "nobody listens there");
    assert!(set("0"));
    assert!(TcpStream::connect(format!("127.0.0.1:{other}")).is_err(), "nobody listens there");
    assert!(set(&port) && alive(&port));
}

#[test]
fn rules_about_a_first_argument_are_told_to_the_log() {
    let folder = Folder::new("first-argument");
    let file = folder.path("users.acl");
    std::fs::write(&file, "user ann on nopass +select|0\n").expect("written");
    let process = Process::start(&["--aclfile", &file]);
    let mut wire = process.wire();
    let words = ["ACL", "SETUSER", "ben", "+set|k", "+config|get", "(+@all", "-set", "+set|z)"];
    assert_eq!(wire.call(&words).expect("a reply"), Reply::Status(b"OK".to_vec()));
    process.signal("TERM");
    let (_, log) = process.end();
    for (offender, times) in [("+select|0", 1), ("+set|k", 1), ("+set|z", 1), ("+config|get", 0)] {
        let line = format!(
            "# Deprecation warning: Allowing a first arg of an otherwise blocked command is a \
             misuse of ACL and may get disabled in the future (offender: {offender})"
        );
        assert_eq!(log.matches(&line).count(), times, "{offender} in\n{log}");
    }
}

#[test]
fn the_unix_socket_belongs_to_the_group_that_is_named() {
    use std::os::unix::fs::MetadataExt;
    let folder = Folder::new("group");
    let path = folder.path("socket");
    // Whoever runs this is in a group, and may give files to it.
    let own = std::fs::metadata(folder.path("")).expect("a folder").gid();
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let is_own = |line: &&str| line.split(':').nth(2) == Some(&own.to_string());
    let Some(name) = groups.lines().find(is_own).and_then(|line| line.split(':').next()) else {
        eprintln!("skipped: group {own} has no name here");
        return;
    };
    let process = Process::start(&["--unixsocket", &path, "--unixsocketgroup", name]);
    assert_eq!(std::fs::metadata(&path).expect("a socket").gid(), own);
    let mut wire = process.wire();
    let mut set = |group: &str| {
        let reply = wire.call(&["CONFIG", "SET", "unixsocketgroup", group]).expect("a reply");
        reply == Reply::Status(b"OK".to_vec())
    };
    assert!(!set("no-such-group") && set("") && set(name));
    process.signal("TERM");
    let (_, log) = process.end();
    assert!(log.contains("no group 'no-such-group'"), "{log}");
    let ended =
        output(&["--port", "0", "--unixsocket", &path, "--unixsocketgroup", "no-such-group"]);
    assert_eq!(ended.status.code(), Some(1));
    let said = text(&ended.stdout);
    assert!(said.contains("Failed opening Unix socket: group: no group 'no-such-group'"), "{said}");
}

#[test]
fn a_replica_has_a_score_of_its_own() {
    let score = |pid: u32| -> i64 {
        let text = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj"));
        text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(i64::MAX)
    };
    if score(std::process::id()) > 900 {
        eprintln!("skipped: there is no score to change here");
        return;
    }
    let process = Process::start(&["--oom-score-adj-values", "10", "20", "30"]);
    let (mut wire, pid) = (process.wire(), process.child.id());
    let before = score(pid);
    let mut call = |words: &[&str]| wire.call(words).expect("a reply");
    call(&["CONFIG", "SET", "oom-score-adj", "relative"]);
    assert_eq!(score(pid), before + 10);
    call(&["REPLICAOF", "127.0.0.1", "1"]);
    assert_eq!(score(pid), before + 20);
    call(&["CONFIG", "SET", "oom-score-adj-values", "10 25 30"]);
    assert_eq!(score(pid), before + 25);
    call(&["REPLICAOF", "NO", "ONE"]);
    assert_eq!(score(pid), before + 10);
    call(&["CONFIG", "SET", "oom-score-adj", "no"]);
    assert_eq!(score(pid), before);
}
