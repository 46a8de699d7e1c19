//! A genuine server for unit tests that compare with it; only in test builds.
//!
//! `REDIS_SERVER` holds the command that starts one (`redis-server`). Without it the tests that
//! ask for an oracle say so and pass.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A started server and a connection to it; dropped, the server ends.
pub(crate) struct Oracle {
    child: Child,
    stream: BufReader<TcpStream>,
}

/// One reply, flattened: arrays as their elements, errors with their `-`.
pub(crate) type Reply = Vec<Option<Vec<u8>>>;

impl Oracle {
    /// Starts the server, or says that there is none.
    pub(crate) fn start() -> Option<Oracle> {
        let Ok(command) = std::env::var("REDIS_SERVER") else {
            eprintln!("skipped: REDIS_SERVER names no genuine server");
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).ok()?.port();
        let mut words = command.split_whitespace();
        let child = Command::new(words.next()?)
            .args(words)
            .args(["--port", &port.to_string(), "--save", "", "--enable-debug-command", "yes"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        for _ in 0..200 {
            if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) {
                return Some(Oracle { child, stream: BufReader::new(stream) });
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        panic!("{command} does not listen");
    }

    /// Sends all commands at once and returns their replies.
    pub(crate) fn pipeline(&mut self, commands: &[Vec<Vec<u8>>]) -> Vec<Reply> {
        let mut replies = Vec::new();
        for batch in commands.chunks(500) {
            let mut out = Vec::new();
            for command in batch {
                out.extend(format!("*{}\r\n", command.len()).bytes());
                for word in command {
                    out.extend(format!("${}\r\n", word.len()).bytes());
                    out.extend_from_slice(word);
                    out.extend_from_slice(b"\r\n");
                }
            }
            self.stream.get_mut().write_all(&out).expect("the oracle takes commands");
            for _ in batch {
                let mut reply = Vec::new();
                self.read(&mut reply);
                replies.push(reply);
            }
        }
        replies
    }

    /// Sends one command and returns its reply byte for byte.
    pub(crate) fn exact(&mut self, words: &[&[u8]]) -> Vec<u8> {
        let mut out = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            out.extend(format!("${}\r\n", word.len()).bytes());
            out.extend_from_slice(word);
            out.extend_from_slice(b"\r\n");
        }
        self.stream.get_mut().write_all(&out).expect("the oracle takes commands");
        let mut reply = Vec::new();
        self.copy(&mut reply);
        reply
    }

    fn copy(&mut self, reply: &mut Vec<u8>) {
        let start = reply.len();
        self.stream.read_until(b'\n', reply).expect("the oracle answers");
        let line = String::from_utf8_lossy(&reply[start..]).into_owned();
        let size = || line.get(1..).and_then(|n| n.trim_end().parse::<i64>().ok()).unwrap_or(-1);
        match line.as_bytes().first() {
            Some(b'$' | b'=') if size() >= 0 => {
                let mut bytes = vec![0; size() as usize + 2];
                self.stream.read_exact(&mut bytes).expect("the oracle answers");
                reply.extend_from_slice(&bytes);
            }
            Some(b'*' | b'~') => (0..size()).for_each(|_| self.copy(reply)),
            Some(b'%') => (0..size() * 2).for_each(|_| self.copy(reply)),
            Some(_) => {}
            None => panic!("the oracle hung up"),
        }
    }

    /// One command of text words.
    pub(crate) fn call(&mut self, words: &[&str]) -> Reply {
        let command = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        self.pipeline(&[command]).pop().unwrap_or_default()
    }

    fn read(&mut self, reply: &mut Reply) {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).expect("the oracle answers");
        line.truncate(line.len().saturating_sub(2));
        let size = || std::str::from_utf8(&line[1..]).ok().and_then(|n| n.parse::<i64>().ok());
        match line.first() {
            Some(b'$') => {
                let size = size().unwrap_or(-1);
                if size < 0 {
                    return reply.push(None);
                }
                let mut bytes = vec![0; size as usize + 2];
                self.stream.read_exact(&mut bytes).expect("the oracle answers");
                bytes.truncate(size as usize);
                reply.push(Some(bytes));
            }
            Some(b'*') => match size().unwrap_or(-1) {
                -1 => reply.push(None),
                size => (0..size).for_each(|_| self.read(reply)),
            },
            Some(b'-') => reply.push(Some(line)),
            Some(_) => reply.push(Some(line[1..].to_vec())),
            None => panic!("the oracle hung up"),
        }
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let _ = self.stream.get_mut().write_all(b"SHUTDOWN NOSAVE\r\n");
        for _ in 0..100 {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
