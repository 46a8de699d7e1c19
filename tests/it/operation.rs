//! What an operator and the machine's own tools see of a server: supervision, the log's forms,
//! crash reports, metrics.

use crate::patience::PATIENCE;
use crate::process::{output, text, Folder, Process};
use crate::server::free_port;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;

fn pair(name: &str, value: &str) -> [String; 2] {
    [name.to_string(), value.to_string()]
}

#[test]
fn systemd_hears_of_start_readiness_and_end() {
    let folder = Folder::new("notify");
    let path = folder.path("socket");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let heard = || {
        let mut bytes = [0; 256];
        let len = socket.recv(&mut bytes).expect("a datagram");
        text(&bytes[..len])
    };
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
fn a_supervisor_that_is_not_there_keeps_nobody_from_serving() {
    let process = Process::start(&["--supervised", "systemd"]);
    process.signal("TERM");
    let (code, log) = process.end();
    assert_eq!(code, Some(0));
    assert!(log.contains("# systemd supervision error: NOTIFY_SOCKET not found!"), "{log}");
}

#[test]
fn a_directive_that_cannot_be_missed_stops_the_start() {
    let ended = output(&["--port", "0", "--unixsocket", "/none/x", "--cluster-enabled", "yes"]);
    assert_eq!(ended.status.code(), Some(1));
    let said = text(&ended.stdout);
    assert!(said.contains("# The directive 'cluster-enabled' asks for what this server"), "{said}");
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
        "redis_rdb_last_bgsave_status 1",
        "# TYPE redis_commands_total counter",
        "# TYPE redis_memory_used_bytes gauge",
        "# TYPE redis_latency_percentiles_usec summary",
    ] {
        assert!(body.lines().any(|known| known == line), "no {line:?} in\n{body}");
    }
    for start in [
        "redis_memory_used_bytes ",
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
    let moved = wire.call(&["CONFIG", "SET", "metrics-port", "1"]).expect("a reply");
    assert!(format!("{moved:?}").starts_with("Error("), "{moved:?}");
    let same = wire.call(&["CONFIG", "SET", "metrics-port", &port]).expect("a reply");
    assert!(format!("{same:?}").starts_with("Status("), "{same:?}");
    assert!(get(&port, "GET /x HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
    assert!(get(&port, "POST /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
    assert!(get(&port, "HEAD /metrics HTTP/1.1\r\n\r\n").ends_with("\r\n\r\n"));
    assert!(get(&port, &format!("GET /{} HTTP/1.1\r\n", "x".repeat(20_000))).is_empty());
}
