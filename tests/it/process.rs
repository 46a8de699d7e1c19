//! The binary as a process: what tools and test suites read from it and do to it.

use crate::patience::PATIENCE;
use crate::wire::{request, Reply, Wire};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

pub const BINARY: &str = env!("CARGO_BIN_EXE_redouble");

pub fn free_port() -> u16 {
    crate::server::free_port().expect("a port")
}

pub fn output(args: &[&str]) -> Output {
    Command::new(BINARY).args(args).output().expect("it runs")
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A folder of one test, removed at its end.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("redouble-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    pub fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A server that is ready.
pub struct Process {
    pub child: Child,
    lines: BufReader<std::process::ChildStdout>,
    pub log: String,
    pub port: u16,
}

impl Process {
    pub fn start(args: &[&str]) -> Process {
        Process::start_with(args, &[])
    }

    /// The same with variables of the environment.
    pub fn start_with(args: &[&str], environment: &[(&str, &str)]) -> Process {
        let mut process = Process::spawn_with(args, environment);
        process.read_until("* Ready to accept connections tcp");
        process
    }

    /// One that may not be ready yet.
    pub fn spawn(args: &[&str]) -> Process {
        Process::spawn_with(args, &[])
    }

    fn spawn_with(args: &[&str], environment: &[(&str, &str)]) -> Process {
        let port = free_port();
        let mut child = Command::new(BINARY)
            .args(args)
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let stdout = child.stdout.take().expect("a pipe");
        Process { child, lines: BufReader::new(stdout), log: String::new(), port }
    }

    pub fn read_until(&mut self, wanted: &str) {
        while !self.log.contains(wanted) {
            let read = self.lines.read_line(&mut self.log).expect("a line");
            assert!(read > 0, "no {wanted:?} in\n{}", self.log);
        }
    }

    pub fn wire(&self) -> Wire {
        Wire::connect(SocketAddr::from(([127, 0, 0, 1], self.port))).expect("connected")
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Waits for the end; gives the exit code and the whole log.
    pub fn end(mut self) -> (Option<i32>, String) {
        let code = self.child.wait().expect("it ends").code();
        let mut rest = String::new();
        let _ = self.lines.read_to_string(&mut rest);
        (code, std::mem::take(&mut self.log) + &rest)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn bulk(reply: Reply) -> String {
    match reply {
        Reply::Bulk(bytes) | Reply::Status(bytes) | Reply::Error(bytes) => text(&bytes),
        other => panic!("{other:?}"),
    }
}

#[test]
fn versions_and_refusals_are_said_and_left() {
    let version = output(&["--version"]);
    assert!(version.status.success());
    assert!(text(&version.stdout).starts_with("Redis server v="));
    let unknown = output(&["--nonsense", "1"]);
    assert_eq!(unknown.status.code(), Some(1));
    let said = text(&unknown.stderr);
    assert!(said.contains("*** FATAL CONFIG FILE ERROR (Redis "), "{said}");
    assert!(said.contains("at line 2\n>>> 'nonsense \"1\"'\nBad directive or wrong"), "{said}");
    let missing = output(&["/nonexistent.conf"]);
    assert_eq!(missing.status.code(), Some(1));
    let said = text(&missing.stdout);
    assert!(said.contains("# Fatal error, can't open config file '/nonexistent.conf': No such"));
    let user = output(&["--user", "alice", "on", "nonsense"]);
    assert_eq!(user.status.code(), Some(1));
    assert!(text(&user.stderr).ends_with("Error in user declaration 'alice': Syntax error\n"));
    let user = output(&["--port", "0", "--unixsocket", "/nonexistent/s", "--user", "a", "+nosuch"]);
    assert_eq!(user.status.code(), Some(1));
    let said = text(&user.stdout);
    let rule = "Error loading ACL rule '+nosuch' for the user named 'a': Unknown command or";
    assert!(said.contains(rule) && said.contains("Critical error while loading ACLs."), "{said}");
    let renamed = output(&["--rename-command", "nonsense", "x"]);
    assert!(text(&renamed.stderr).ends_with("No such command in rename-command\n"));
}

#[test]
fn a_port_in_use_ends_the_start_with_two_lines() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let ended = output(&["--port", &port.to_string(), "--bind", "127.0.0.1"]);
    assert_eq!(ended.status.code(), Some(1));
    let said = text(&ended.stdout);
    let first = format!(
        "# Warning: Could not create server TCP listening socket 127.0.0.1:{port}: bind: Address \
         already in use\n"
    );
    assert!(said.contains(&first), "{said}");
    assert!(said.contains(&format!("# Failed listening on port {port} (tcp), aborting.\n")));
}

#[test]
fn a_server_that_would_listen_nowhere_does_not_start() {
    for args in [["--port", "0"], ["--bind", ""]] {
        let ended = output(&args);
        assert_eq!(ended.status.code(), Some(1));
        let said = text(&ended.stdout);
        assert!(said.ends_with("# Configured to not listen anywhere, exiting.\n"), "{said}");
    }
    let ended = output(&["--port", "0", "--unixsocket", "/nonexistent/x.sock"]);
    assert_eq!(ended.status.code(), Some(1));
    let said = text(&ended.stdout);
    let last = "# Failed opening Unix socket: bind: No such file or directory\n";
    assert!(said.ends_with(last), "{said}");
}

#[test]
fn a_terminated_server_cleans_up_and_exits_with_0() {
    let folder = Folder::new("process");
    let (pidfile, socket) = (folder.path("a.pid"), folder.path("a.sock"));
    let args = ["--always-show-logo", "yes", "--pidfile", &pidfile, "--unixsocket", &socket];
    let process = Process::start(&args);
    let pid = process.child.id();
    assert_eq!(std::fs::read_to_string(&pidfile).expect("a file"), format!("{pid}\n"));
    let logo = process.log.find(&format!(" PID: {pid}\n")).expect("a logo");
    assert!(process.log[logo..].contains("Server initialized"));
    assert!(process.log.lines().all(|line| !line.contains(":M ") || line.contains(" 20")));
    process.signal("TERM");
    let (code, log) = process.end();
    assert_eq!(code, Some(0), "{log}");
    for line in [
        "* Ready to accept connections unix",
        "Received SIGTERM scheduling shutdown...",
        "User requested shutdown...",
        "ready to exit, bye bye...",
    ] {
        assert!(log.contains(line), "no {line:?} in\n{log}");
    }
    assert!(!std::path::Path::new(&pidfile).exists() && !std::path::Path::new(&socket).exists());
}

#[test]
fn a_second_interrupt_does_not_wait_for_a_slow_script() {
    let mut process = Process::start(&["--busy-reply-threshold", "20"]);
    let mut wire = process.wire();
    wire.send(&request(&["EVAL", "while true do end", "0"]));
    process.read_until("Slow script detected");
    process.signal("TERM");
    process.read_until("Received SIGTERM scheduling shutdown...");
    let reply = bulk(process.wire().call(&["PING"]).expect("an error"));
    assert!(reply.starts_with("BUSY "), "{reply}");
    process.signal("INT");
    let (code, log) = process.end();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("You insist... exiting now."), "{log}");
}

#[test]
fn a_second_interrupt_does_not_wait_for_what_keeps_the_server() {
    let args = ["--enable-debug-command", "yes", "--busy-reply-threshold", "0"];
    let mut process = Process::start(&args);
    let mut wire = process.wire();
    wire.call(&["MULTI"]).expect("a reply");
    wire.call(&["DEBUG", "LOG", "it begins"]).expect("a reply");
    // Nobody waits as long as this lasts.
    wire.call(&["DEBUG", "SLEEP", "100000"]).expect("a reply");
    wire.send(&request(&["EXEC"]));
    process.read_until("DEBUG LOG: it begins");
    process.signal("INT");
    process.read_until("Received SIGINT scheduling shutdown...");
    process.signal("INT");
    let (code, log) = process.end();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("You insist... exiting now."), "{log}");
}

#[test]
fn a_second_interrupt_does_not_wait_for_the_last_save() {
    let folder = Folder::new("interrupted-save");
    let dir = folder.path("");
    let mut process = Process::start(&["--dir", &dir]);
    let mut wire = process.wire();
    wire.call(&["CONFIG", "SET", "save", "900 1"]).expect("a reply");
    for key in 0..200 {
        wire.call(&["SET", &key.to_string(), "v"]).expect("a reply");
    }
    // The file is there after the first key; all of them take longer than anybody waits.
    wire.call(&["CONFIG", "SET", "rdb-key-save-delay", "500000"]).expect("a reply");
    let unfinished = folder.path(&format!("temp-{}.rdb", process.child.id()));
    process.signal("INT");
    process.read_until("Saving the final RDB snapshot before exiting.");
    let until = Instant::now() + PATIENCE;
    while !std::path::Path::new(&unfinished).exists() {
        assert!(Instant::now() < until, "no {unfinished}");
        std::thread::sleep(Duration::from_millis(5));
    }
    process.signal("INT");
    let (code, log) = process.end();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("You insist... exiting now."), "{log}");
    assert!(!std::path::Path::new(&unfinished).exists());
}

#[test]
fn who_takes_too_much_is_cut_off_and_the_log_says_why() {
    let mut process =
        Process::start(&["--client-output-buffer-limit", "normal", "100000", "0", "0"]);
    let mut main = process.wire();
    main.call(&["SETRANGE", "large", "200000", "x"]).expect("a length");
    let mut reader = process.wire();
    assert_eq!(reader.call(&["GET", "large"]).expect("an end"), Reply::Closed);
    process.read_until("scheduled to be closed ASAP for overcoming of output buffer limits.");
    assert!(process.log.contains("# Client id="), "{}", process.log);

    main.call(&["CONFIG", "SET", "client-query-buffer-limit", "1mb"]).expect("a reply");
    let mut writer = process.wire();
    let value = "x".repeat(2 << 20);
    assert_eq!(writer.call(&["SET", "k", &value]).expect("an end"), Reply::Closed);
    process.read_until("# Closing client that reached max query buffer length: id=");

    let limits = ["CONFIG", "SET", "client-query-buffer-limit", "1gb", "maxmemory-clients", "1mb"];
    main.call(&limits).expect("a reply");
    let mut hoarder = process.wire();
    let value = "x".repeat(600_000);
    hoarder.call(&["MULTI"]).expect("a reply");
    while hoarder.call(&["SET", "k", &value]).is_ok_and(|reply| reply != Reply::Closed) {}
    process.read_until("* Evicting client: id=");
    let stats = bulk(main.call(&["INFO", "stats"]).expect("a reply"));
    for counted in [
        "evicted_clients:1\r",
        "client_query_buffer_limit_disconnections:1\r",
        "client_output_buffer_limit_disconnections:1\r",
    ] {
        assert!(stats.contains(counted), "no {counted:?} in {stats}");
    }
}

#[test]
fn a_talkative_log_tells_who_comes_and_goes() {
    let mut process = Process::start(&["--loglevel", "verbose"]);
    let mut wire = process.wire();
    let info = bulk(wire.call(&["INFO", "memory"]).expect("a reply"));
    let figure = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|text| text.parse::<f64>().ok()).expect("a figure")
    };
    assert!(figure("used_memory_startup") > 100_000.0 && figure("mem_fragmentation_ratio") < 100.0);
    assert!(figure("used_memory") > figure("used_memory_startup"));
    process.read_until(" - Accepted 127.0.0.1:");
    drop(wire);
    process.read_until(" - Client closed connection id=");
}

#[test]
fn shutdown_answers_nothing_and_exits_with_0() {
    let process = Process::start(&[]);
    let mut wire = process.wire();
    assert_eq!(
        bulk(wire.call(&["SHUTDOWN", "SAVE", "NOSAVE"]).expect("a reply")),
        "ERR syntax error"
    );
    assert_eq!(wire.call(&["SHUTDOWN", "NOSAVE"]).expect("an end"), Reply::Closed);
    assert_eq!(process.end().0, Some(0));
}

#[test]
fn configuration_comes_from_file_stdin_and_options_and_goes_back() {
    let folder = Folder::new("rewrite");
    let file = folder.path("a.conf");
    std::fs::write(&file, "# mine\nhz 20\nrename-command KEYS \"\"\nrename-command GET READ\n")
        .expect("a file");
    let process = Process::start(&[&file, "--timeout", "7"]);
    let mut wire = process.wire();
    let mut call = |argv: &[&str]| wire.call(argv).expect("a reply");
    assert!(bulk(call(&["KEYS", "*"])).starts_with("ERR unknown command 'KEYS'"));
    assert!(bulk(call(&["GET", "a"])).starts_with("ERR unknown command 'GET'"));
    assert_eq!(call(&["READ", "a"]), Reply::NilBulk);
    assert_eq!(bulk(call(&["CONFIG", "SET", "maxmemory", "10mb", "timeout", "8"])), "OK");
    assert_eq!(bulk(call(&["CONFIG", "REWRITE"])), "OK");
    let written = std::fs::read_to_string(&file).expect("a file");
    let head = "# mine\nhz 20\nrename-command KEYS \"\"\nrename-command GET READ\n";
    assert!(written.starts_with(head), "{written}");
    assert!(written.contains("\nmaxmemory 10mb\n") && written.contains("\ntimeout 8\n"));
    drop(process);
    let mut child = Command::new(BINARY)
        .args(["-", "--nonsense"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let stdin = child.stdin.take().expect("a pipe");
    { stdin }.write_all(b"hz 20\nhz 30\n").expect("written");
    let said = text(&child.wait_with_output().expect("it ends").stderr);
    assert!(said.contains("at line 4\n>>> 'nonsense'"), "{said}");
}

#[test]
fn listeners_move_and_the_title_follows() {
    let mut process = Process::start(&["--proc-title-template", "t {port} {listen-addr}"]);
    let mut wire = process.wire();
    // Somebody else may take the port between the two.
    let moved = (0..100).map(|_| free_port()).find(|port| {
        bulk(wire.call(&["CONFIG", "SET", "port", &port.to_string()]).expect("a reply")) == "OK"
    });
    let after = moved.expect("a port that stays free");
    // The same for the port that it has left.
    if TcpStream::connect(("127.0.0.1", process.port)).is_ok() {
        let info = bulk(process.wire().call(&["INFO", "server"]).expect("a reply"));
        assert!(!info.contains(&format!("process_id:{}\r\n", process.child.id())), "it left");
    }
    process.port = after;
    assert_eq!(bulk(process.wire().call(&["PING"]).expect("a reply")), "PONG");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    for _ in 0..3 {
        let refused = bulk(wire.call(&["CONFIG", "SET", "port", &port]).expect("a reply"));
        assert_eq!(
            refused,
            "ERR CONFIG SET failed (possibly related to argument 'port') - Unable to listen on \
             this port. Check server logs."
        );
        assert_eq!(bulk(process.wire().call(&["PING"]).expect("a reply")), "PONG");
    }
    // Of several directives one is refused: the listeners of the others are taken back.
    let other = free_port().to_string();
    let refused = bulk(
        wire.call(&["CONFIG", "SET", "port", &other, "metrics-port", &port]).expect("a reply"),
    );
    assert!(refused.contains("'metrics-port') - Unable to listen on this port."), "{refused}");
    assert_eq!(bulk(process.wire().call(&["PING"]).expect("a reply")), "PONG");
    #[cfg(target_os = "linux")]
    {
        let path = format!("/proc/{}/cmdline", process.child.id());
        let shown = std::fs::read_to_string(path).expect("a title");
        assert_eq!(shown.trim_end_matches('\0'), format!("t {after} 127.0.0.1:{after}"));
    }
}
