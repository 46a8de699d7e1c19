//! Reading configuration text: files, includes, and the command line, which is text as well.

use super::words::{quote, split, trim};
use super::{error_text, path_from, table, Config, Kind, Value};
use crate::acl::{rules, RuleError, Rules, User};
use std::fmt;
use std::path::{Path, PathBuf};

/// Why a configuration was refused. `Display` gives what Redis prints on standard error, without
/// the version's line before it.
#[allow(missing_docs)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// A line was refused.
    Line { number: usize, line: String, reason: String },
    /// The configuration as a whole was refused.
    Whole(String),
    /// A file cannot be read. Redis writes this one to its log.
    Unreadable { path: PathBuf, reason: String },
}

impl LoadError {
    /// What goes to standard error before the process exits with 1; `version` is Redis's.
    pub fn fatal(&self, version: &str) -> String {
        match self {
            LoadError::Unreadable { .. } => format!("{self}\n"),
            _ => format!("\n*** FATAL CONFIG FILE ERROR (Redis {version}) ***\n{self}\n"),
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Line { number, line, reason } => {
                write!(out, "Reading the configuration file, at line {number}\n>>> '{line}'\n")?;
                out.write_str(reason)
            }
            LoadError::Whole(reason) => out.write_str(reason),
            LoadError::Unreadable { path, reason } => {
                write!(out, "Fatal error, can't open config file '{}': {reason}", path.display())
            }
        }
    }
}

impl std::error::Error for LoadError {}

/// Names that old versions knew and that do nothing, with one value.
const IGNORED: [&[u8]; 3] =
    [b"list-max-ziplist-entries", b"list-max-ziplist-value", b"lua-replicate-commands"];

/// A line as a refusal shows it. Standard error ends up in logs, so what may be a secret is left
/// out, even where the line is too broken to be read.
fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line).into_owned();
    let Some((name, values)) = text.split_once(char::is_whitespace) else { return text };
    let bare = name.trim_matches(['"', '\'']).to_ascii_lowercase();
    if Config::is_secret(bare.as_bytes()) {
        return format!("{name} (redacted)");
    }
    match values.trim_start().split_once(char::is_whitespace) {
        Some((user, rules)) if bare == "user" && rules.contains(['>', '<', '#', '!']) => {
            format!("{name} {user} (redacted)")
        }
        _ => text,
    }
}

/// Files that include each other in a circle are stopped here.
const INCLUDE_DEPTH_MAX: usize = 32;

impl Config {
    /// Applies the lines of `text`, as a configuration file holds them; all or nothing.
    pub fn apply_text(&mut self, text: &[u8]) -> Result<(), LoadError> {
        let mut next = self.clone();
        next.lines(text, 0)?;
        next.check_whole()?;
        next.refresh();
        *self = next;
        Ok(())
    }

    /// Applies `args`, which follow the program's name (and the file's, if there is one).
    pub fn apply_args(&mut self, args: &[Vec<u8>]) -> Result<(), LoadError> {
        let mut text = b"\n".to_vec();
        text.extend_from_slice(&join_args(args));
        self.apply_text(&text)
    }

    /// Applies a file, what came in on standard input and the options of the command line, in
    /// this order, as one text.
    pub fn apply_all(
        &mut self,
        file: Option<&Path>,
        stdin: &[u8],
        options: &[u8],
    ) -> Result<(), LoadError> {
        let mut text = match file {
            Some(path) => read_file(path)?,
            None => Vec::new(),
        };
        text.extend_from_slice(stdin);
        text.push(b'\n');
        text.extend_from_slice(options);
        self.apply_text(&text)
    }

    fn lines(&mut self, text: &[u8], depth: usize) -> Result<(), LoadError> {
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = trim(line);
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let error = |reason| LoadError::Line { number: index + 1, line: shown(line), reason };
            let words = split(line)
                .ok_or_else(|| error("Unbalanced quotes in configuration line".to_string()))?;
            let Some((name, values)) = words.split_first() else { continue };
            let name = name.to_ascii_lowercase();
            if name == b"include" && values.len() == 1 {
                for path in self.included(&values[0]) {
                    if depth >= INCLUDE_DEPTH_MAX {
                        return Err(error("files include each other in a circle".to_string()));
                    }
                    self.lines(&read_file(&path)?, depth + 1)?;
                }
                continue;
            }
            self.line(&name, values).map_err(error)?;
        }
        Ok(())
    }

    fn line(&mut self, name: &[u8], values: &[Vec<u8>]) -> Result<(), String> {
        let Some(named) = table::find(name) else { return self.special(name, values) };
        let kind = named.directive.kind;
        let several = kind.takes_several();
        if !several && values.len() != 1 {
            return Err("wrong number of arguments".to_string());
        }
        let inner = match values {
            [word] if several && !word.is_empty() => split(word),
            _ => None,
        };
        let mut value = self.read(named, inner.as_deref().unwrap_or(values))?;
        if let (Kind::Save, Value::Save(points)) = (kind, &mut value) {
            let reset = !self.save_given || matches!(values, [word] if word.is_empty());
            self.save_given = true;
            if let (false, Value::Save(before)) = (reset, &self.values[named.index]) {
                points.splice(0..0, before.iter().copied());
            }
        }
        self.values[named.index] = value;
        Ok(())
    }

    /// Lines that are no directives with a value.
    fn special(&mut self, name: &[u8], values: &[Vec<u8>]) -> Result<(), String> {
        match (name, values) {
            (b"rename-command", [old, new]) => self.rename(old, new)?,
            (b"user", [user, ..]) => {
                if self.users.iter().any(|words| words.first() == Some(user)) {
                    return Err(format!(
                        "Error in user declaration '{}': Duplicate user found. A user can only be \
                         defined once in config files",
                        String::from_utf8_lossy(user)
                    ));
                }
                self.check_user(values)?;
                self.users.push(values.to_vec());
            }
            (b"loadmodule", [_, ..]) => self.modules.push(values.to_vec()),
            (b"sentinel", [_, ..]) => {
                return Err("sentinel directive while not in sentinel mode".to_string())
            }
            (_, [_]) if IGNORED.contains(&name) => {}
            (_, []) if name.contains(&b'.') => {
                return Err("Module config specified without value".to_string())
            }
            _ => return Err("Bad directive or wrong number of arguments".to_string()),
        }
        Ok(())
    }

    /// Refuses a `user` line that makes no sense. Unknown commands are left to the start.
    fn check_user(&self, words: &[Vec<u8>]) -> Result<(), String> {
        let refused = |word: &[u8], why: &str| {
            Err(format!("Error in user declaration '{}': {why}", rules::printed(word)))
        };
        let Some((name, rest)) = words.split_first() else { return Ok(()) };
        let rest: Vec<&[u8]> = rest.iter().map(Vec::as_slice).collect();
        let merged = match rules::merge_selectors(&rest) {
            Ok(merged) => merged,
            Err(at) => return refused(rest[at], "Unmatched parenthesis in acl selector"),
        };
        let rules = Rules { vocabulary: self.vocabulary, all_channels: false };
        let mut user = User::new(name, &rules);
        for (at, word) in merged.iter().enumerate() {
            match rules.apply(&mut user, word) {
                Ok(()) | Err(RuleError::Unknown) => {}
                Err(error) => {
                    // Redis: it names the word two places before the one to blame.
                    let mut named = [b"user", &name[..]].into_iter().chain(rest.iter().copied());
                    return refused(named.nth(at).unwrap_or_default(), error.text());
                }
            }
        }
        Ok(())
    }

    fn rename(&mut self, old: &[u8], new: &[u8]) -> Result<(), String> {
        let is_known = |name: &[u8]| {
            let same = |known: &Vec<u8>| known.eq_ignore_ascii_case(name);
            // What the lines before did to this name, the last one first.
            let before = self.renames.iter().rev().find_map(|(from, to)| {
                if same(to) {
                    Some(true)
                } else {
                    same(from).then_some(false)
                }
            });
            before.or_else(|| self.is_command.map(|is_command| is_command(name)))
        };
        if is_known(old) == Some(false) {
            return Err("No such command in rename-command".to_string());
        }
        let is_itself = new.eq_ignore_ascii_case(old);
        if !new.is_empty() && !is_itself && is_known(new) == Some(true) {
            return Err("Target command name already exists".to_string());
        }
        self.renames.push((old.to_vec(), new.to_vec()));
        Ok(())
    }

    /// Checks that need all lines.
    fn check_whole(&mut self) -> Result<(), LoadError> {
        let whole = |reason: &str| Err(LoadError::Whole(reason.to_string()));
        let logfile = self.value("logfile").unwrap_or_default();
        if !logfile.is_empty() {
            // Redis: the file is opened once here, because later nobody could be told.
            let path = self.path_while_loading(&logfile);
            let opened = std::fs::OpenOptions::new().append(true).create(true).open(path);
            if let Err(error) = opened {
                return whole(&format!("Can't open the log file: {}", error_text(&error)));
            }
        }
        let clustered = self.value("cluster-enabled").as_deref() == Some(b"yes");
        let replica = self.value("replicaof").is_some_and(|primary| !primary.is_empty());
        if clustered && replica {
            return whole("replicaof directive not allowed in cluster mode");
        }
        Ok(())
    }

    /// The files that an `include` names. With wildcards there may be none.
    fn included(&self, pattern: &[u8]) -> Vec<PathBuf> {
        let path = self.path_while_loading(pattern);
        if pattern.iter().any(|byte| matches!(byte, b'*' | b'?' | b'[')) {
            wildcard(&path)
        } else {
            vec![path]
        }
    }

    /// `path` below the `dir` that was read last: settings are only refreshed at the end.
    fn path_while_loading(&self, path: &[u8]) -> PathBuf {
        let dir = self.value("dir").unwrap_or_default();
        path_from(&dir).join(path_from(path))
    }
}

/// The command line as configuration text. A word that begins with `--` opens a line, unless the
/// option before it still waits for its value; all other words are quoted values. `--save` may
/// stand without a value. A `-` at either end stands for standard input and is left out.
pub fn join_args(args: &[Vec<u8>]) -> Vec<u8> {
    let mut text: Vec<u8> = Vec::new();
    let mut complete = true;
    for (at, arg) in args.iter().enumerate() {
        if reads_stdin(args, at) {
            continue;
        }
        let Some(option) = arg.strip_prefix(b"--").filter(|_| complete) else {
            text.extend_from_slice(quote(arg).as_bytes());
            text.push(b' ');
            complete = true;
            continue;
        };
        if !text.is_empty() {
            text.push(b'\n');
        }
        text.extend_from_slice(option);
        text.push(b' ');
        complete = split(arg).is_none_or(|words| words.len() != 1);
        let next = args.get(at + 1);
        let no_value = next.is_none_or(|next| next.starts_with(b"--"));
        if !complete && no_value && option.eq_ignore_ascii_case(b"save") {
            text.extend_from_slice(b"\"\"");
            complete = true;
        } else if !complete && no_value && option.eq_ignore_ascii_case(b"sentinel") {
            complete = true;
        }
    }
    text
}

/// Whether the word at `at` stands for standard input.
pub(crate) fn reads_stdin(args: &[Vec<u8>], at: usize) -> bool {
    args[at] == b"-" && (at == 0 || at + 1 == args.len())
}

fn read_file(path: &Path) -> Result<Vec<u8>, LoadError> {
    std::fs::read(path).map_err(|error| LoadError::Unreadable {
        path: path.to_path_buf(),
        reason: error_text(&error),
    })
}

/// The existing paths that match `pattern`, sorted.
fn wildcard(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let part = part.as_os_str().as_encoded_bytes();
        if !part.iter().any(|byte| matches!(byte, b'*' | b'?' | b'[')) {
            for path in &mut found {
                path.push(path_from(part));
            }
            continue;
        }
        let mut matching = Vec::new();
        for path in &found {
            let names = std::fs::read_dir(path).into_iter().flatten().flatten();
            matching.extend(names.map(|entry| entry.file_name()).filter_map(|name| {
                let bytes = name.as_encoded_bytes();
                let hidden = bytes.starts_with(b".") && !part.starts_with(b".");
                let matches = crate::types::glob::glob_match(part, bytes, false);
                (matches && !hidden).then(|| path.join(&name))
            }));
        }
        matching.sort();
        found = matching;
    }
    found.retain(|path| path.exists());
    found
}
