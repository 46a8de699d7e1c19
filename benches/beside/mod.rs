//! What benchmarks beside genuine servers share: a server of any make as a process, its CPU time
//! and memory, and pipelined requests to it.

// Each benchmark uses some of it.
#![allow(dead_code)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server process that this benchmark has started; it ends with it.
pub struct Server {
    /// The program's name.
    pub name: String,
    child: Child,
    port: u16,
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    free.local_addr().expect("its number").port()
}

impl Server {
    /// Starts `command_line` with `directives` and waits until it answers PING with PONG.
    pub fn start(command_line: &str, directives: &[&str]) -> Server {
        let port = free_port();
        let words: Vec<&str> = command_line.split_whitespace().collect();
        let child = Command::new(words[0])
            .args(&words[1..])
            .args(["--port", &port.to_string(), "--protected-mode", "no"])
            .args(directives)
            .stdout(Stdio::null())
            .spawn()
            .expect("the server starts");
        let is_server = |word: &&&str| word.ends_with("redouble") || word.ends_with("-server");
        let named = words.iter().find(is_server).or(words.last());
        let name = named.and_then(|word| word.rsplit('/').next()).unwrap_or("server").to_string();
        let server = Server { name, child, port };
        let until = Instant::now() + Duration::from_secs(600);
        while !server.answers() {
            assert!(Instant::now() < until, "{command_line} does not answer");
            std::thread::sleep(Duration::from_millis(5));
        }
        server
    }

    fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        let mut reply = [0; 5];
        stream.write_all(b"PING\r\n").is_ok()
            && stream.read_exact(&mut reply).is_ok()
            && &reply == b"+PONG"
    }

    /// A connection.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        stream
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// This process and those that it has started.
    fn processes(&self) -> Vec<u32> {
        let own = self.child.id();
        let path = format!("/proc/{own}/task/{own}/children");
        let children = std::fs::read_to_string(path).unwrap_or_default();
        let mut all: Vec<u32> = children.split_whitespace().flat_map(str::parse).collect();
        all.push(own);
        all
    }

    /// Nanoseconds that all threads have been on a processor.
    pub fn cpu_ns(&self) -> u64 {
        self.processes().into_iter().map(cpu_ns_of).sum()
    }

    /// Memory in bytes, shared pages of parent and child counted once.
    pub fn memory_bytes(&self) -> u64 {
        let kilobytes = |pid: u32| {
            let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
            let line = text.lines().find(|line| line.starts_with("Pss:"))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        };
        self.processes().into_iter().filter_map(kilobytes).sum::<u64>() * 1024
    }

    /// Ends it at once, as a loss of power to the process would.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn cpu_ns_of(pid: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
        .sum()
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The words of a request.
pub fn words(parts: &[&str]) -> Vec<Vec<u8>> {
    parts.iter().map(|part| part.as_bytes().to_vec()).collect()
}

/// Sends requests in one piece and waits for as many lines of replies.
pub fn exchange(stream: &mut TcpStream, requests: &[Vec<Vec<u8>>], lines: usize) {
    let mut batch = Vec::new();
    for request in requests {
        redouble::resp::out::push_request(&mut batch, request);
    }
    stream.write_all(&batch).expect("the requests leave");
    await_lines(stream, lines);
}

/// Waits for so many lines of replies.
pub fn await_lines(stream: &mut TcpStream, lines: usize) {
    let mut replies = [0; 1 << 14];
    let mut seen = 0;
    while seen < lines {
        let len = stream.read(&mut replies).expect("replies come");
        assert!(len > 0, "the server closed the connection");
        seen += replies[..len].iter().filter(|&&byte| byte == b'\n').count();
    }
}
