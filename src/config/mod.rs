//! Configuration: one table of directives, and the values that a server has for them.
//!
//! `table` says what directives there are; `value` reads and prints their values; `load` reads
//! files and command lines; `rewrite` writes a file back; `example` prints the example file.
//! `Settings` holds the values that the server honours, parsed, for hot paths.
//!
//! Invariant: a `Config` only ever holds valid values, and `settings()` always mirrors them. A
//! failed change leaves everything as it was. Nothing here is global: each server has its own.

mod checks;
pub mod events;
mod example;
mod load;
mod rewrite;
mod settings;
pub mod table;
pub mod title;
mod value;
pub mod words;

pub use load::{join_args, LoadError};
pub use settings::{
    Allowed, AppendOnly, AuthClients, CertificateFiles, ClientsLimit, DisklessLoad, LogForm,
    LogFormat, LogLevel, LogTimestamp, OomScore, Policy, PropagationErrors, Secret, Settings,
    ShutdownFlags, Supervision, TlsSettings,
};
pub use value::{read_bytes, OutputLimit, SavePoint};

use crate::acl::Vocabulary;
use crate::types::glob::glob_match;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use table::Named;
use value::{Kind, Value};

/// The version of Redis whose behaviour this server has, unless `redis-version` says otherwise.
pub const REDIS_VERSION: &str = "7.4.2";

/// A shorter backlog would be of no use.
const BACKLOG_BYTES_MIN: i128 = 16 << 10;

/// Directives that, not honoured, lose data, split it, or send it in the clear.
const INDISPENSABLE: [&str; 4] = ["appendonly", "replicaof", "cluster-enabled", "tls-replication"];

/// The values of all directives of one server.
#[derive(Clone, Debug)]
pub struct Config {
    /// One for each row of the table, in its order.
    values: Vec<Value>,
    /// What the values are when nothing is configured.
    defaults: Vec<Value>,
    settings: Settings,
    /// A `save` line was read: the first one replaces the default, later ones add to it.
    save_given: bool,
    /// The words of `user` lines, without `user`.
    users: Vec<Vec<Vec<u8>>>,
    /// Old and new names of `rename-command` lines, an empty new name to remove a command.
    renames: Vec<(Vec<u8>, Vec<u8>)>,
    /// Paths and arguments of `loadmodule` lines.
    modules: Vec<Vec<Vec<u8>>>,
    /// Tells the names of commands, for `rename-command`; without it any name will do.
    is_command: Option<fn(&[u8]) -> bool>,
    /// The names of commands that `user` lines are looked at with.
    vocabulary: &'static Vocabulary,
}

/// Who changes the configuration, and when.
#[derive(Clone, Copy, Debug, Default)]
pub struct Access {
    /// A dataset is being loaded.
    pub loading: bool,
    /// The client is on this machine (a unix socket, or the loopback interface).
    pub local: bool,
}

/// Why CONFIG SET changed nothing.
#[allow(missing_docs)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetError {
    /// One of the directives cannot be changed while a dataset is loaded: answer LOADING.
    Loading,
    /// Not a directive.
    Unknown(Vec<u8>),
    /// `argument` was refused, for the reason given.
    Refused { argument: Vec<u8>, reason: String },
}

impl SetError {
    /// The text after `ERR `; `None` where the answer is LOADING.
    pub fn text(&self) -> Option<Vec<u8>> {
        match self {
            SetError::Loading => None,
            SetError::Unknown(name) => {
                let head = b"Unknown option or number of arguments for CONFIG SET - '";
                Some([head.as_slice(), name, b"'"].concat())
            }
            SetError::Refused { argument, reason } => {
                let head = b"CONFIG SET failed (possibly related to argument '";
                Some([head.as_slice(), argument, b"') - ", reason.as_bytes()].concat())
            }
        }
    }
}

impl Default for Config {
    /// What a server has that was given nothing.
    fn default() -> Self {
        let defaults: Vec<Value> = table::all()
            .map(|row| {
                let words = if row.kind.takes_several() {
                    words::split(row.default.as_bytes()).unwrap_or_default()
                } else {
                    vec![row.default.as_bytes().to_vec()]
                };
                // A row whose default cannot be read is caught by the test of the table.
                row.kind.read(&words, None).unwrap_or(Value::Switch(false))
            })
            .collect();
        let mut config = Config {
            values: defaults.clone(),
            defaults,
            settings: Settings::default(),
            save_given: false,
            users: Vec::new(),
            renames: Vec::new(),
            modules: Vec::new(),
            is_command: None,
            vocabulary: no_names(),
        };
        if let (Some(dir), Ok(path)) = (table::find(b"dir"), std::env::current_dir()) {
            let path = Value::Text(Some(path.into_os_string().into_encoded_bytes()));
            config.values[dir.index] = path;
        }
        config.refresh();
        config
    }
}

impl Config {
    /// The values that the server honours, parsed.
    #[inline]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// CONFIG GET: every directive that one of `patterns` names or matches, once for each name.
    /// A full name is answered as it was spelled; hidden directives need one.
    pub fn get(&self, patterns: &[&[u8]]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut add = |name: &[u8], named: Named| {
            if !found.iter().any(|(known, _)| known == name) {
                found.push((name.to_vec(), self.print(named)));
            }
        };
        for pattern in patterns {
            if !pattern.iter().any(|byte| matches!(byte, b'[' | b'*' | b'?')) {
                if let Some(named) = table::find(pattern) {
                    add(pattern, named);
                }
                continue;
            }
            for named in table::names().filter(|named| !named.directive.hidden) {
                if glob_match(pattern, named.name.as_bytes(), true) {
                    add(named.name.as_bytes(), named);
                }
            }
        }
        found
    }

    /// The value of one directive as CONFIG GET prints it.
    pub fn value(&self, name: &str) -> Option<Vec<u8>> {
        table::find(name.as_bytes()).map(|named| self.print(named))
    }

    /// CONFIG SET: all of `pairs` or none. Gives the names of directives whose value is another
    /// one now, or names a file that is to be read again, in the table's spelling. What must happen
    /// outside (listening on another port) is the caller's; should it fail, the caller puts its
    /// copy of the old `Config` back and answers `SetError::Refused`.
    pub fn set(
        &mut self,
        pairs: &[(&[u8], &[u8])],
        access: Access,
    ) -> Result<Vec<&'static str>, SetError> {
        let named = self.settable(pairs, access)?;
        let mut next = self.clone();
        for (named, (_, value)) in named.iter().zip(pairs) {
            let words: Vec<Vec<u8>> = if !named.directive.kind.takes_several() {
                vec![value.to_vec()]
            } else if value.is_empty() {
                Vec::new()
            } else {
                value.split(|byte| *byte == b' ').map(<[u8]>::to_vec).collect()
            };
            let refused = |reason| SetError::Refused { argument: named.name.into(), reason };
            let value = next.read(*named, &words).map_err(refused)?;
            next.values[named.index] = value;
        }
        let changed = |named: &&Named| {
            named.directive.read_anew || next.values[named.index] != self.values[named.index]
        };
        let changed: Vec<&'static str> =
            named.iter().filter(changed).map(|named| named.directive.name).collect();
        next.refresh();
        *self = next;
        Ok(changed)
    }

    /// Whether logs must not show the value that CONFIG SET gives this directive.
    pub fn is_secret(name: &[u8]) -> bool {
        table::find(name).is_some_and(|named| named.directive.secret)
    }

    /// Sets a directive, fixed ones included, as a line of a file would. The value of a line that
    /// is no directive (`user`, `rename-command`) is several words.
    pub fn assign(&mut self, name: &str, value: &str) -> Result<(), LoadError> {
        if table::find(name.as_bytes()).is_none() {
            return self.apply_text(format!("{name} {value}").as_bytes());
        }
        self.apply_text(format!("{name} {}", words::quote(value.as_bytes())).as_bytes())
    }

    /// What a server inside a program has: a copy for a replica begins at once there, since no
    /// others are on their way.
    pub fn embedded() -> Config {
        let mut config = Config::default();
        // A row of the table, and a value that it takes.
        let _ = config.assume("repl-diskless-sync-delay", "0");
        config
    }

    /// Makes `value` the default of a directive that nothing has configured.
    pub fn assume(&mut self, name: &str, value: &str) -> Result<(), String> {
        let named = table::find(name.as_bytes()).ok_or("no such directive")?;
        let value = self.read(named, &[value.as_bytes().to_vec()])?;
        if self.values[named.index] == self.defaults[named.index] {
            self.values[named.index] = value.clone();
        }
        self.defaults[named.index] = value;
        self.refresh();
        Ok(())
    }

    /// Refuses `rename-command` lines about names that are none, and `user` lines that make no
    /// sense with the commands there are.
    pub fn knowing_commands(
        self,
        is_command: fn(&[u8]) -> bool,
        vocabulary: &'static Vocabulary,
    ) -> Self {
        Config { is_command: Some(is_command), vocabulary, ..self }
    }

    /// The words of `user` lines, without `user`.
    pub fn users(&self) -> &[Vec<Vec<u8>>] {
        &self.users
    }

    /// Old and new names of `rename-command` lines; an empty new name removes the command.
    pub fn renames(&self) -> &[(Vec<u8>, Vec<u8>)] {
        &self.renames
    }

    /// Paths and arguments of `loadmodule` lines.
    pub fn modules(&self) -> &[Vec<Vec<u8>>] {
        &self.modules
    }

    /// Names of directives that were configured and that this server does not honour yet.
    pub fn unhonoured(&self) -> Vec<&'static str> {
        let rows = table::all().zip(self.values.iter().zip(&self.defaults));
        rows.filter(|(row, (value, default))| !row.honoured && !row.hidden && value != default)
            .map(|(row, _)| row.name)
            .collect()
    }

    /// Those of them without which a user would not have what was asked for, unnoticed until it is
    /// too late: a server must not start then.
    pub fn indispensable(&self) -> Vec<&'static str> {
        let mut names = self.unhonoured();
        names.retain(|name| INDISPENSABLE.contains(name));
        names
    }

    /// `path` below `dir`, or itself if it is absolute.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.settings.dir.join(path)
    }

    fn print(&self, named: Named) -> Vec<u8> {
        named.directive.kind.print(&self.values[named.index])
    }

    /// The rows that `pairs` name, if all of them may be set.
    fn settable(&self, pairs: &[(&[u8], &[u8])], access: Access) -> Result<Vec<Named>, SetError> {
        let mut rows: Vec<Named> = Vec::with_capacity(pairs.len());
        for (name, _) in pairs {
            let named = table::find(name).ok_or_else(|| SetError::Unknown(name.to_vec()))?;
            let refused = |reason: &str| {
                Err(SetError::Refused { argument: name.to_vec(), reason: reason.to_string() })
            };
            if named.directive.fixed {
                return refused("can't set immutable config");
            }
            if named.directive.protected && !self.settings.protected_configs.admits(access.local) {
                return refused("can't set protected config");
            }
            if access.loading && named.directive.quiet_loading {
                return Err(SetError::Loading);
            }
            if rows.iter().any(|other| other.name == named.name) {
                return refused("duplicate parameter");
            }
            rows.push(named);
        }
        Ok(rows)
    }

    /// Reads and checks a value.
    fn read(&self, named: Named, words: &[Vec<u8>]) -> Result<Value, String> {
        let row = named.directive;
        let mut value = row.kind.read(words, Some(&self.values[named.index]))?;
        if let Some(check) = row.check {
            check(&row.kind.print(&value))?;
        }
        match (row.kind, &mut value) {
            (Kind::Directory, Value::Text(Some(path))) => *path = self.directory(path)?,
            (Kind::Flags(_), Value::Choice(flags)) if *flags & 3 == 3 => {
                return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".into())
            }
            // Redis: what is out of range is moved to its end instead of being refused.
            (_, Value::Number(rate)) if row.name == "hz" => *rate = (*rate).clamp(1, 500),
            (_, Value::Number(bytes)) if row.name == "repl-backlog-size" => {
                *bytes = (*bytes).max(BACKLOG_BYTES_MIN);
            }
            _ => {}
        }
        Ok(value)
    }

    /// The absolute path of an existing directory.
    fn directory(&self, path: &[u8]) -> Result<Vec<u8>, String> {
        let path = self.path(path_from(path));
        let found = path.canonicalize().map_err(|error| error_text(&error))?;
        if !found.is_dir() {
            return Err("Not a directory".to_string());
        }
        Ok(found.into_os_string().into_encoded_bytes())
    }

    /// REPLICAOF: the primary is another one now, or there is none.
    pub fn set_primary(&mut self, primary: Option<(Vec<u8>, u16)>) {
        if let Some(named) = table::find(b"replicaof") {
            self.values[named.index] = Value::ReplicaOf(primary);
            self.refresh();
        }
    }

    fn refresh(&mut self) {
        self.settings = Settings::read(self);
    }
}

/// Where the commands are not known.
fn no_names() -> &'static Vocabulary {
    static NONE: LazyLock<Vocabulary> = LazyLock::new(Vocabulary::default);
    &NONE
}

/// A path from the bytes of a directive.
pub(crate) fn path_from(bytes: &[u8]) -> PathBuf {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
    }
    #[cfg(not(unix))]
    {
        PathBuf::from(String::from_utf8_lossy(bytes).into_owned())
    }
}

/// The system's own words for an error, without the number that Rust adds.
pub fn error_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error ") {
        Some((words, _)) => words.to_string(),
        None => text,
    }
}

#[cfg(test)]
mod tests;
