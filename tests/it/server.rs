//! Servers to test: a genuine one as a child process, and ours inside this process.

use crate::patience::PATIENCE;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::grammar::{synopsis, Synopsis};
use crate::session::parse::version;
use crate::session::run::Server;
use crate::wire::{Reply, Wire};

/// A port that nobody has, below the range from which the system takes the ports of outgoing
/// connections. It is reserved as long as this process lives: another run of the tests is not
/// given it either, not even while the server that had it is dead and waits to be started again.
pub fn free_port() -> io::Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    /// The same numbers of UDP, which no server here wants: who has one has its twin of TCP.
    static RESERVED: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());
    let offset = (std::process::id() % 100) as u16 * 100;
    for _ in 0..5000 {
        let port = 20_000 + (offset + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        let Ok(reservation) = UdpSocket::bind(("127.0.0.1", port)) else { continue };
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            let mut reserved = RESERVED.lock().unwrap_or_else(PoisonError::into_inner);
            reserved.push(reservation);
            return Ok(port);
        }
    }
    Err(io::Error::other("no free port"))
}

/// A directory for the files of one server, which goes with it: where it is, and what the server
/// calls it.
pub struct Files(PathBuf, PathBuf);

impl Files {
    /// For a server whose root directory is this.
    pub fn below(root: &Path) -> io::Result<Files> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("redouble-it-{}-{number}", std::process::id());
        let known = std::env::temp_dir().join(name);
        let path = root.join(known.strip_prefix("/").unwrap_or(&known));
        std::fs::create_dir_all(&path)?;
        Ok(Files(path, known))
    }

    /// What the server calls it.
    pub fn name(&self) -> String {
        self.1.display().to_string()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A genuine server as a child process, killed on drop.
pub struct Genuine {
    child: Child,
    addr: SocketAddr,
    version: u32,
    files: Files,
}

/// Everything in a directory, into another one.
pub fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let (entry, to) = (entry.as_ref(), to.to_path_buf());
        let entry = entry.map_err(|error| io::Error::from(error.kind()))?;
        let to = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy_files(&entry.path(), &to)?,
            false => drop(std::fs::copy(entry.path(), to)?),
        }
    }
    Ok(())
}

impl Genuine {
    /// The command line in `REDIS_SERVER`, if there is one.
    pub fn command_line() -> Option<String> {
        std::env::var("REDIS_SERVER").ok().filter(|line| !line.trim().is_empty())
    }

    /// Starts `command_line` with further directives on a free port.
    pub fn start(command_line: &str, directives: &[&str]) -> io::Result<Genuine> {
        Genuine::start_with(command_line, directives, None)
    }

    /// The same in a directory that has the files of another one.
    pub fn start_with(
        command_line: &str,
        directives: &[&str],
        files: Option<&Path>,
    ) -> io::Result<Genuine> {
        // A port can be taken between our look and the server's start: then another is tried.
        let mut last = io::Error::other("no free port");
        for _ in 0..5 {
            match Genuine::start_at(command_line, directives, files, free_port()?) {
                Ok(genuine) => return Ok(genuine),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn start_at(
        command_line: &str,
        directives: &[&str],
        given: Option<&Path>,
        port: u16,
    ) -> io::Result<Genuine> {
        let mut words = command_line.split_whitespace();
        let program = words.next().ok_or_else(|| io::Error::other("REDIS_SERVER is empty"))?;
        let root = match program {
            "chroot" => words.clone().next().unwrap_or("/"),
            _ => "/",
        };
        let files = Files::below(Path::new(root))?;
        if let Some(given) = given {
            copy_files(given, &files.0)?;
        }
        let child = Command::new(program)
            .args(words)
            .args(["--dir", &files.name()])
            .args(["--port", &port.to_string(), "--save", "", "--protected-mode", "no"])
            .args(["--enable-debug-command", "yes", "--bind", "127.0.0.1"])
            .args(directives)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .stdin(Stdio::null())
            .spawn()?;
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let mut genuine = Genuine { child, addr, version: 0, files };
        genuine.version = genuine.ask_version()?;
        Ok(genuine)
    }

    /// The directory that it works in.
    pub fn files(&self) -> &Path {
        &self.files.0
    }

    fn ask_version(&mut self) -> io::Result<u32> {
        let until = Instant::now() + PATIENCE;
        let mut wire = loop {
            match Wire::connect_now(self.addr) {
                Ok(wire) => break wire,
                Err(e) if self.child.try_wait()?.is_some() || Instant::now() > until => {
                    return Err(e)
                }
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        let Reply::Bulk(info) = wire.call(&["INFO", "server"])? else {
            return Err(io::Error::other("INFO server is no bulk"));
        };
        let info = String::from_utf8_lossy(&info).into_owned();
        let own = format!("process_id:{}", self.child.id());
        if !info.lines().any(|line| line == own) {
            return Err(io::Error::other("another server answers at its port"));
        }
        info.lines()
            .find_map(|line| version(line.strip_prefix("redis_version:")?))
            .ok_or_else(|| io::Error::other("INFO server names no version"))
    }
}

impl Server for Genuine {
    fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn version(&self) -> Option<u32> {
        Some(self.version)
    }

    fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)) | Err(_))
    }

    fn advance(&mut self, _: Duration) -> bool {
        false
    }
}

impl Drop for Genuine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ours, inside this process, on a port of its own; its clock can be moved.
pub struct Ours {
    server: redouble::Server,
    _files: Files,
}

impl Ours {
    /// Starts it with these settings.
    pub fn start(settings: &[(&str, &str)]) -> Result<Ours, String> {
        let builder = redouble::Server::builder().config("enable-debug-command", "yes");
        let files = Files::below(Path::new("/")).map_err(|e| e.to_string())?;
        let builder = builder.config("dir", &files.name());
        let builder = settings.iter().fold(builder, |b, (name, value)| b.config(name, value));
        let server = builder.start().map_err(|e| e.to_string())?;
        Ok(Ours { server, _files: files })
    }

    /// The synopses of all its commands, subcommands spelled as two words.
    pub fn synopses() -> Vec<Synopsis> {
        let specs = redouble::commands::table().specs.iter();
        let leaves = specs.filter(|spec| spec.subcommands.is_empty());
        let lines = leaves.map(|spec| {
            let line = spec.row.synopsis;
            let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
            format!("{} {rest}", name.replace('|', " "))
        });
        lines.map(|line| synopsis(&line)).collect()
    }

    /// The handle.
    pub fn handle(&self) -> &redouble::Server {
        &self.server
    }
}

impl Server for Ours {
    fn addr(&self) -> SocketAddr {
        self.server.addr().expect("it listens on TCP")
    }

    fn version(&self) -> Option<u32> {
        None
    }

    fn advance(&mut self, step: Duration) -> bool {
        self.server.clock().advance(step);
        true
    }
}
