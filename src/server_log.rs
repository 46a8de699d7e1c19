//! The server's log, in Redis's form, which tools read:
//! `<pid>:<role> 22 Aug 2026 10:00:00.123 * text`.
//!
//! A line is written whole, at once and without a buffer, so that who waits for "Ready to accept
//! connections" sees it. A log file is opened for each line: it may be moved away meanwhile, and a
//! relative name is one in `dir`, wherever that is by then.
//! There is no global logger; each server hands its own around.

use crate::config::{LogForm, LogLevel, Settings};
use crate::process;
use parking_lot::RwLock;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};

mod form;
pub use form::line;

/// Who writes a line: the letter after the process id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `C`: a process that does not serve (yet).
    Starting,
    /// `M`: a primary.
    Primary,
    /// `S`: a replica.
    Replica,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sink {
    Nowhere,
    Stdout,
    File(PathBuf),
}

impl std::fmt::Debug for Logger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Logger to {:?}", self.sink)
    }
}

/// Milliseconds since 1970.
type UnixClock = Box<dyn Fn() -> i64 + Send + Sync>;

/// A server's log.
pub struct Logger {
    sink: Sink,
    /// Where a relative name of a file begins.
    dir: RwLock<PathBuf>,
    /// Name in the system's log, if lines go there too.
    syslog: Option<process::Syslog>,
    level: AtomicU8,
    role: AtomicU8,
    form: RwLock<LogForm>,
    within: RwLock<Option<Within>>,
    now_ms: UnixClock,
}

/// Makes room on a terminal, lets a line be written, and draws again what was there.
pub type Within = Box<dyn Fn(&mut dyn FnMut()) + Send + Sync>;

impl Logger {
    /// A log as `settings` describe it.
    pub fn new(settings: &Settings, now_ms: UnixClock) -> Self {
        let ident = settings.syslog_enabled.then_some(settings.syslog_ident.as_str());
        Logger {
            // Redis: in the background there is no standard output to write to.
            sink: match &settings.logfile {
                Some(path) => Sink::File(path.clone()),
                None if settings.daemonize => Sink::Nowhere,
                None => Sink::Stdout,
            },
            dir: RwLock::new(settings.dir.clone()),
            syslog: ident.map(|ident| process::Syslog::open(ident, settings.syslog_facility)),
            level: AtomicU8::new(settings.loglevel as u8),
            role: AtomicU8::new(b'C'),
            form: RwLock::new(settings.log_form),
            within: RwLock::default(),
            now_ms,
        }
    }

    /// A log that keeps nothing, for servers inside of other programs.
    pub fn silent() -> Self {
        Logger {
            sink: Sink::Nowhere,
            dir: RwLock::default(),
            syslog: None,
            level: AtomicU8::new(LogLevel::Nothing as u8),
            role: AtomicU8::new(b'M'),
            form: RwLock::default(),
            within: RwLock::default(),
            now_ms: Box::new(|| 0),
        }
    }

    /// Whether lines go to the standard output.
    pub fn is_on_stdout(&self) -> bool {
        self.sink == Sink::Stdout
    }

    /// The file that lines go to now.
    pub fn file(&self) -> Option<PathBuf> {
        match &self.sink {
            Sink::File(path) => Some(self.dir.read().join(path)),
            Sink::Nowhere | Sink::Stdout => None,
        }
    }

    /// `dir` has been set. Whether lines go to another file from now on.
    pub fn move_to(&self, dir: &Path) -> bool {
        let before = std::mem::replace(&mut *self.dir.write(), dir.to_path_buf());
        // Redis: a relative name follows, for `dir` is where the whole process works.
        matches!(&self.sink, Sink::File(path) if path.is_relative()) && before != dir
    }

    /// Lets lines on the standard output be written within a call of `within`.
    pub fn write_within(&self, within: Option<Within>) {
        *self.within.write() = within;
    }

    /// The least level that is written from now on.
    pub fn set_level(&self, level: LogLevel) {
        self.level.store(level as u8, Ordering::Relaxed);
    }

    /// The form of lines from now on.
    pub fn set_form(&self, form: LogForm) {
        *self.form.write() = form;
    }

    /// Who writes from now on.
    pub fn set_role(&self, role: Role) {
        let letter = match role {
            Role::Starting => b'C',
            Role::Primary => b'M',
            Role::Replica => b'S',
        };
        self.role.store(letter, Ordering::Relaxed);
    }

    /// Whether a line of `level` would be written: for lines that are dear to make.
    pub fn wants(&self, level: LogLevel) -> bool {
        level as u8 >= self.level.load(Ordering::Relaxed)
    }

    /// Writes a line.
    pub fn log(&self, level: LogLevel, text: &str) {
        if !self.wants(level) {
            return;
        }
        let role = char::from(self.role.load(Ordering::Relaxed));
        let form = *self.form.read();
        let line = form::line(form, std::process::id(), role, (self.now_ms)(), level, text);
        self.write(line.as_bytes());
        if let Some(syslog) = &self.syslog {
            syslog.write(level, text);
        }
    }

    /// A line of level debug.
    pub fn debug(&self, text: impl AsRef<str>) {
        self.log(LogLevel::Debug, text.as_ref());
    }

    /// A line of level verbose.
    pub fn verbose(&self, text: impl AsRef<str>) {
        self.log(LogLevel::Verbose, text.as_ref());
    }

    /// A line of level notice.
    pub fn notice(&self, text: impl AsRef<str>) {
        self.log(LogLevel::Notice, text.as_ref());
    }

    /// A line of level warning.
    pub fn warning(&self, text: impl AsRef<str>) {
        self.log(LogLevel::Warning, text.as_ref());
    }

    /// Text without time and level, such as the logo.
    pub fn raw(&self, text: &str) {
        if self.wants(LogLevel::Warning) {
            self.write(text.as_bytes());
        }
    }

    /// A log that cannot be written must not stop the server: errors are dropped.
    fn write(&self, line: &[u8]) {
        match &self.sink {
            Sink::Nowhere => {}
            Sink::Stdout => {
                let mut write = || {
                    let mut out = std::io::stdout().lock();
                    let _ = out.write_all(line).and_then(|()| out.flush());
                };
                match &*self.within.read() {
                    Some(within) => within(&mut write),
                    None => write(),
                }
            }
            Sink::File(path) => {
                let path = self.dir.read().join(path);
                let opened = OpenOptions::new().append(true).create(true).open(path);
                let _ = opened.and_then(|mut file| file.write_all(line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// 17 September 2001 in the middle of the day of every zone.
    const THEN_MS: i64 = 1_000_728_000_123;

    #[test]
    fn files_are_appended_to_above_the_level() {
        let dir = std::env::temp_dir().join(format!("redouble-log-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("directory");
        let text = format!("dir {}\nlogfile a.log\nloglevel warning", dir.display());
        let mut config = Config::default();
        config.apply_text(text.as_bytes()).expect("valid");
        for _ in 0..2 {
            let log = Logger::new(config.settings(), Box::new(|| THEN_MS));
            log.notice("not written");
            log.warning("one");
            log.set_level(LogLevel::Debug);
            log.set_role(Role::Primary);
            log.debug("two");
            log.raw("raw\n");
        }
        let text = std::fs::read_to_string(dir.join("a.log")).expect("file");
        let ends: Vec<&str> = text.lines().map(|line| &line[line.len() - 3..]).collect();
        assert_eq!(ends, ["one", "two", "raw", "one", "two", "raw"]);
        assert!(text.lines().nth(1).is_some_and(|line| line.contains(":M ")));
        std::fs::remove_dir_all(&dir).expect("removed");
    }
}
