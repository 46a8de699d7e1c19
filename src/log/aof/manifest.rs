//! The manifest of the append-only file: which files hold the data, in which order.
//!
//! One line a file: `file NAME seq NUMBER type LETTER`; `b` is the base, a dataset as of one
//! moment; `i` are increments, what was written since then, in ascending order; `h` is history,
//! which a rewrite has replaced and which may be removed. Lines that begin with `#` say nothing.
//!
//! Invariant: a manifest on disk names only files that are there; it is replaced as a whole.

use crate::config::words;
use crate::disk::{self, Disk};
use std::io;
use std::path::{Path, PathBuf};

/// Longest line, its end included.
const LINE_BYTES_MAX: usize = 1024;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name in the directory of the append-only file.
    pub name: String,
    /// Its number among those of its kind, from 1 on.
    pub seq: i64,
}

/// The files, by what they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The dataset that increments build on.
    pub base: Option<Part>,
    /// What is to be removed.
    pub history: Vec<Part>,
    /// In the order in which they are loaded.
    pub increments: Vec<Part>,
    base_seq: i64,
    increment_seq: i64,
}

/// Why a manifest cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError {
    /// The number and the text of the line; `None` where it is not one line's fault.
    pub line: Option<(usize, String)>,
    /// As Redis says it.
    pub reason: &'static str,
}

impl ManifestError {
    /// The lines for the log.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec!["\n*** FATAL AOF MANIFEST FILE ERROR ***\n".to_string()];
        if let Some((number, text)) = &self.line {
            lines.push(format!("Reading the manifest file, at line {number}\n"));
            lines.push(format!(">>> '{text}'\n"));
        }
        lines.push(format!("{}\n", self.reason));
        lines
    }
}

/// Where the files of an append-only file are, and what they are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// `dir`.
    pub root: PathBuf,
    /// `appenddirname`.
    pub dirname: String,
    /// `appendfilename`.
    pub filename: String,
}

impl Names {
    /// The directory that the files are in.
    pub fn dir(&self) -> PathBuf {
        self.root.join(&self.dirname)
    }

    /// The path of a file.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// The single file of versions before 7.
    pub fn old_file(&self) -> PathBuf {
        self.root.join(&self.filename)
    }

    /// The name of the manifest.
    pub fn manifest(&self) -> String {
        format!("{}.manifest", self.filename)
    }

    /// Where increments go while no base is there yet.
    pub fn temporary_increment(&self) -> String {
        format!("temp-{}.incr", self.filename)
    }

    /// A file that is made to see whether any can be.
    pub fn trial(&self) -> String {
        format!("temp-{}.trial", self.filename)
    }

    fn temporary_manifest(&self) -> String {
        format!("temp-{}.manifest", self.filename)
    }
}

impl Manifest {
    /// Reads a manifest.
    pub fn parse(text: &[u8]) -> Result<Manifest, ManifestError> {
        let mut manifest = Manifest::default();
        if text.is_empty() {
            let reason = "Found an empty AOF manifest";
            return Err(ManifestError { line: None, reason });
        }
        for (at, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
            // Redis: a comment may be of any length, but each part of it counts as a line.
            if line.first() == Some(&b'#') {
                continue;
            }
            let trimmed = words::trim(line);
            let shown = || String::from_utf8_lossy(trimmed).into_owned();
            if line.len() > LINE_BYTES_MAX || line.last() != Some(&b'\n') {
                let reason = "The AOF manifest file contains too long line";
                return Err(ManifestError { line: None, reason });
            }
            manifest
                .add_line(trimmed)
                .map_err(|reason| ManifestError { line: Some((at + 1, shown())), reason })?;
        }
        Ok(manifest)
    }

    fn add_line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        const INVALID: &str = "Invalid AOF manifest file format";
        let words = words::split(line).ok_or(INVALID)?;
        if words.len() < 6 || words.len() % 2 == 1 {
            return Err(INVALID);
        }
        let (mut name, mut seq, mut kind) = (None, 0, None);
        for pair in words.chunks_exact(2) {
            let value = &pair[1];
            if pair[0].eq_ignore_ascii_case(b"file") {
                if value.iter().any(|byte| matches!(byte, b'/' | b'\\')) {
                    return Err("File can't be a path, just a filename");
                }
                name = Some(String::from_utf8(value.clone()).map_err(|_| INVALID)?);
            } else if pair[0].eq_ignore_ascii_case(b"seq") {
                seq = leading_number(value);
            } else if pair[0].eq_ignore_ascii_case(b"type") {
                kind = value.first().copied();
            }
        }
        let (Some(name), Some(kind)) = (name.filter(|name| !name.is_empty()), kind) else {
            return Err(INVALID);
        };
        if seq == 0 {
            return Err(INVALID);
        }
        let part = Part { name, seq };
        match kind {
            b'b' if self.base.is_some() => return Err("Found duplicate base file information"),
            b'b' => {
                self.base_seq = seq;
                self.base = Some(part);
            }
            b'h' => self.history.push(part),
            b'i' if seq <= self.increment_seq => {
                return Err("Found a non-monotonic sequence number")
            }
            b'i' => {
                self.increment_seq = seq;
                self.increments.push(part);
            }
            _ => return Err("Unknown AOF file type"),
        }
        Ok(())
    }

    /// The text of the manifest.
    pub fn text(&self) -> String {
        let history = self.history.iter().map(|part| (part, 'h'));
        let increments = self.increments.iter().map(|part| (part, 'i'));
        let all = self.base.iter().map(|part| (part, 'b')).chain(history).chain(increments);
        let mut text = String::new();
        for (part, kind) in all {
            let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'');
            let name = match part.name.bytes().all(plain) && !part.name.is_empty() {
                true => part.name.clone(),
                false => words::quote(part.name.as_bytes()),
            };
            text.push_str(&format!("file {name} seq {} type {kind}\n", part.seq));
        }
        text
    }

    /// Whether it names no data at all.
    pub fn is_empty(&self) -> bool {
        self.base.is_none() && self.increments.is_empty()
    }

    /// The files that hold the data, in the order in which they are loaded.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        self.base.iter().chain(&self.increments)
    }

    /// Names a new base and makes history of the one before.
    pub fn add_base(&mut self, names: &Names, as_snapshot: bool) -> String {
        if let Some(before) = self.base.take() {
            self.history.insert(0, before);
        }
        let kind = if as_snapshot { "rdb" } else { "aof" };
        let named = |seq: i64| format!("{}.{seq}.base.{kind}", names.filename);
        let (seq, name) = self.next_name(self.base_seq, named);
        self.base_seq = seq;
        self.base = Some(Part { name: name.clone(), seq: self.base_seq });
        name
    }

    /// Takes the single file of an older version as the base.
    pub fn adopt_old_file(&mut self, names: &Names) {
        self.base_seq = 1;
        self.base = Some(Part { name: names.filename.clone(), seq: 1 });
    }

    /// Goes on counting where `before` has stopped: a file that was there once does not get a
    /// second one of its name.
    pub fn count_on_from(&mut self, before: &Manifest) {
        self.base_seq = self.base_seq.max(before.base_seq);
        self.increment_seq = self.increment_seq.max(before.increment_seq);
    }

    /// Goes on counting behind the files that are there although nobody names them: without its
    /// manifest a dataset may still be somebody's last copy.
    pub fn pass_over(&mut self, names: &Names, is_there: impl Fn(&str) -> bool) {
        let parts = |seq: i64| {
            let file = &names.filename;
            let base = |kind: &str| format!("{file}.{seq}.base.{kind}");
            [base("rdb"), base("aof"), format!("{file}.{seq}.incr.aof")]
        };
        let mut seq = 1;
        while parts(seq).iter().any(|name| is_there(name)) {
            (self.base_seq, self.increment_seq) = (seq, seq);
            seq += 1;
        }
    }

    /// Names a new increment.
    pub fn add_increment(&mut self, names: &Names) -> String {
        let named = |seq: i64| format!("{}.{seq}.incr.aof", names.filename);
        let (seq, name) = self.next_name(self.increment_seq, named);
        self.increment_seq = seq;
        self.increments.push(Part { name: name.clone(), seq: self.increment_seq });
        name
    }

    /// The first number after `seq` whose name no file of the history has, and the name: what is
    /// removed as history must not be what counts.
    fn next_name(&self, seq: i64, named: impl Fn(i64) -> String) -> (i64, String) {
        let mut seq = seq.saturating_add(1);
        let mut name = named(seq);
        while seq < i64::MAX && self.history.iter().any(|part| part.name == name) {
            seq += 1;
            name = named(seq);
        }
        (seq, name)
    }

    /// Makes history of all increments but the last `kept`.
    pub fn retire_increments(&mut self, kept: usize) {
        let retired = self.increments.len().saturating_sub(kept);
        let retired: Vec<Part> = self.increments.drain(..retired).collect();
        self.history.splice(0..0, retired);
    }

    /// Reads the manifest from disk; an empty one where there is none.
    pub fn load(disk: &dyn Disk, names: &Names) -> Result<Manifest, LoadError> {
        let path = names.path(&names.manifest());
        if disk.size_of(&path).map_err(|error| LoadError::Io(path.clone(), error))?.is_none() {
            return Ok(Manifest::default());
        }
        Manifest::load_from(disk, &path)
    }

    /// Reads a manifest that must be there.
    pub fn load_from(disk: &dyn Disk, path: &Path) -> Result<Manifest, LoadError> {
        let text = disk::read_all(disk, path);
        let text = text.map_err(|error| LoadError::Io(path.to_path_buf(), error))?;
        Manifest::parse(&text).map_err(LoadError::Format)
    }

    /// Puts the manifest on disk in place of the one before.
    pub fn store(&self, disk: &dyn Disk, names: &Names) -> io::Result<()> {
        let (path, temporary) =
            (names.path(&names.manifest()), names.path(&names.temporary_manifest()));
        disk::replace(disk, &path, &temporary, self.text().as_bytes())
    }
}

/// Why there is no manifest.
#[derive(Debug)]
pub enum LoadError {
    /// It cannot be read.
    Io(PathBuf, io::Error),
    /// It makes no sense.
    Format(ManifestError),
}

/// As C's `atoll` reads it.
fn leading_number(text: &[u8]) -> i64 {
    let negative = text.first() == Some(&b'-');
    let digits = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    let number = digits.fold(0i64, |number, digit| {
        number.saturating_mul(10).saturating_add(i64::from(digit - b'0'))
    });
    if negative {
        -number
    } else {
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let (dirname, filename) = ("appendonlydir".into(), "appendonly.aof".into());
        Names { root: PathBuf::from("data"), dirname, filename }
    }

    fn refusal(text: &str) -> &'static str {
        Manifest::parse(text.as_bytes()).expect_err("a refusal").reason
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut manifest = Manifest::default();
        let names = names();
        assert_eq!(manifest.add_base(&names, true), "appendonly.aof.1.base.rdb");
        assert_eq!(manifest.add_increment(&names), "appendonly.aof.1.incr.aof");
        assert_eq!(manifest.add_increment(&names), "appendonly.aof.2.incr.aof");
        assert_eq!(Manifest::parse(manifest.text().as_bytes()).unwrap(), manifest);
        manifest.add_base(&names, false);
        manifest.retire_increments(1);
        let text = "file appendonly.aof.2.base.aof seq 2 type b\n\
                    file appendonly.aof.1.incr.aof seq 1 type h\n\
                    file appendonly.aof.1.base.rdb seq 1 type h\n\
                    file appendonly.aof.2.incr.aof seq 2 type i\n";
        assert_eq!(manifest.text(), text);
        assert_eq!(Manifest::parse(text.as_bytes()).unwrap(), manifest);
    }

    #[test]
    fn names_of_the_history_are_not_given_again() {
        let text = "file appendonly.aof.4.base.rdb seq 4 type h\n\
                    file appendonly.aof.1.incr.aof seq 1 type h\n\
                    file appendonly.aof.2.incr.aof seq 2 type h\n\
                    file appendonly.aof.3.base.rdb seq 3 type b\n";
        let mut manifest = Manifest::parse(text.as_bytes()).unwrap();
        assert_eq!(manifest.add_increment(&names()), "appendonly.aof.3.incr.aof");
        assert_eq!(manifest.add_base(&names(), true), "appendonly.aof.5.base.rdb");
    }

    #[test]
    fn names_with_blanks_are_quoted() {
        let names = Names { filename: "my \"own\" file".into(), ..names() };
        let mut manifest = Manifest::default();
        manifest.add_increment(&names);
        assert_eq!(manifest.text(), "file \"my \\\"own\\\" file.1.incr.aof\" seq 1 type i\n");
        assert_eq!(Manifest::parse(manifest.text().as_bytes()).unwrap(), manifest);
    }

    #[test]
    fn words_come_in_any_order_and_unknown_ones_are_skipped() {
        let text = "# a comment\n  TYPE i\tfile a seq 7 colour red \r\n";
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        assert_eq!(manifest.increments, [Part { name: "a".into(), seq: 7 }]);
        assert_eq!(manifest.clone().add_increment(&names()), "appendonly.aof.8.incr.aof");
    }

    #[test]
    fn nonsense_is_refused_as_redis_does() {
        assert_eq!(refusal(""), "Found an empty AOF manifest");
        assert_eq!(refusal("\n"), "Invalid AOF manifest file format");
        assert_eq!(refusal("file a seq 1 type\n"), "Invalid AOF manifest file format");
        assert_eq!(refusal("file a seq 0 type i\n"), "Invalid AOF manifest file format");
        assert_eq!(refusal("file a seq x type i\n"), "Invalid AOF manifest file format");
        assert_eq!(refusal("file \"a seq 1 type i\n"), "Invalid AOF manifest file format");
        assert_eq!(refusal("file a/b seq 1 type i\n"), "File can't be a path, just a filename");
        assert_eq!(refusal("file a seq 1 type x\n"), "Unknown AOF file type");
        assert_eq!(refusal("file a seq 1 type i"), "The AOF manifest file contains too long line");
        let twice = "file a seq 1 type b\nfile b seq 2 type b\n";
        assert_eq!(refusal(twice), "Found duplicate base file information");
        let back = "file a seq 2 type i\nfile b seq 1 type i\n";
        let error = Manifest::parse(back.as_bytes()).expect_err("a refusal");
        assert_eq!(error.line, Some((2, "file b seq 1 type i".to_string())));
        assert_eq!(error.reason, "Found a non-monotonic sequence number");
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_an_error_or_a_manifest() {
        let text = b"file a.1.base.rdb seq 1 type b\nfile a.1.incr.aof seq 1 type i\n".to_vec();
        for at in 0..text.len() {
            let _ = Manifest::parse(&text[..at]);
            for bit in 0..8 {
                let mut flipped = text.clone();
                flipped[at] ^= 1 << bit;
                let _ = Manifest::parse(&flipped);
            }
        }
    }
}
