//! `redis-check-aof`: whether an append-only file is whole, and how to cut off what is not.
//!
//! It takes a manifest, a single file of an older version, or one with a snapshot in front. What
//! it prints, and its exit codes, are those of the genuine tool, which scripts read.
//!
//! Invariant: a file is changed only by `--fix`, after a yes, or by `--truncate-to-timestamp`, and
//! only ever by cutting its end off.

use crate::config::error_text;
use crate::disk::{dir_of, read_all, Disk, DiskFile, Open};
use crate::log::aof::manifest::Manifest;
use crate::log::aof::scan::{self, Step, Words};
use crate::rdb::read::{Item, Reader, Rules};
use crate::types::limits::Limits;
use std::io::Read;
use std::path::Path;

/// What is read at once.
const READ_BYTES: usize = 1 << 20;
/// What is looked at to tell a manifest from a file of commands.
const HEAD_BYTES: u64 = 64 << 10;

/// What to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Cut off what is not whole.
    pub fix: bool,
    /// Cut off what was written after this second.
    pub up_to_s: Option<i64>,
}

/// How one file is.
enum Found {
    Valid,
    Empty,
    CutToTime,
    Cut,
}

/// It must not go on: what it has printed says why.
struct Stop;

/// One run of the tool.
pub struct Check<'a> {
    disk: &'a dyn Disk,
    wish: Wish,
    print: &'a mut dyn FnMut(&str),
    /// Asks a question; false for no.
    ask: &'a mut dyn FnMut(&str) -> bool,
    /// Lines so far, of all files.
    line: u64,
}

/// A file that is being walked through.
struct Walk {
    file: DiskFile,
    buffer: Vec<u8>,
    start: usize,
    /// Offset of `buffer[start]`.
    offset: u64,
    /// Everything before is whole, and no transaction is open there.
    valid_bytes: u64,
    in_multi: bool,
    fault: Option<String>,
}

impl<'a> Check<'a> {
    /// A run that prints lines by `print`, and asks by `ask`.
    pub fn new(
        disk: &'a dyn Disk,
        wish: Wish,
        print: &'a mut dyn FnMut(&str),
        ask: &'a mut dyn FnMut(&str) -> bool,
    ) -> Check<'a> {
        Check { disk, wish, print, ask, line: 1 }
    }

    /// Checks what is at `path`; the exit code.
    pub fn run(mut self, path: &Path) -> i32 {
        let checked = self.head(path).and_then(|head| match is_manifest(&head) {
            true => self.manifest(path),
            false => self.single(path, is_snapshot(&head)),
        });
        i32::from(checked.is_err())
    }

    fn say(&mut self, text: impl AsRef<str>) {
        (self.print)(text.as_ref());
    }

    fn stop<T>(&mut self, text: String) -> Result<T, Stop> {
        self.say(text);
        Err(Stop)
    }

    fn head(&mut self, path: &Path) -> Result<Vec<u8>, Stop> {
        let mut head = Vec::new();
        let read = self.disk.open(path, Open::Read);
        match read.and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut head)) {
            Ok(_) => Ok(head),
            Err(error) => {
                let text = format!("Cannot open file {}: {}", path.display(), error_text(&error));
                self.stop(text)
            }
        }
    }

    fn single(&mut self, path: &Path, has_preamble: bool) -> Result<(), Stop> {
        self.say("Start checking Old-Style AOF");
        let name = path.display().to_string();
        let found = self.file(&name, path, true, has_preamble)?;
        self.tell("AOF", &name, &found);
        Ok(())
    }

    fn manifest(&mut self, path: &Path) -> Result<(), Stop> {
        self.say("Start checking Multi Part AOF");
        let parsed = read_all(self.disk, path);
        let manifest = match parsed.map(|text| Manifest::parse(&text)) {
            Ok(Ok(manifest)) => manifest,
            Ok(Err(error)) => {
                error.lines().iter().for_each(|line| self.say(line));
                return Err(Stop);
            }
            Err(error) => {
                let text = error_text(&error);
                return self.stop(format!("Cannot read file: {}: {text}", path.display()));
            }
        };
        let dir = dir_of(path);
        let total = manifest.parts().count();
        if let Some(base) = &manifest.base {
            let path = dir.join(&base.name);
            let head = self.head(&path)?;
            let as_snapshot = is_snapshot(&head);
            let format = if as_snapshot { "RDB" } else { "RESP" };
            self.say(format!("Start to check BASE AOF ({format} format)."));
            let found = self.file(&base.name, &path, total == 1, as_snapshot)?;
            self.tell("BASE AOF", &base.name, &found);
        }
        if !manifest.increments.is_empty() {
            self.say("Start to check INCR files.");
        }
        for (at, part) in manifest.increments.iter().enumerate() {
            let is_last = at + 1 == manifest.increments.len();
            let found = self.file(&part.name, &dir.join(&part.name), is_last, false)?;
            self.tell("INCR AOF", &part.name, &found);
        }
        self.say("All AOF files and manifest are valid");
        Ok(())
    }

    fn tell(&mut self, kind: &str, name: &str, found: &Found) {
        let up_to_s = self.wish.up_to_s.unwrap_or_default();
        self.say(match found {
            Found::Valid => format!("{kind} {name} is valid"),
            Found::Empty => format!("{kind} {name} is empty"),
            Found::CutToTime => format!("Successfully truncated AOF {name} to timestamp {up_to_s}"),
            Found::Cut => format!("Successfully truncated AOF {name}"),
        });
    }

    fn file(
        &mut self,
        name: &str,
        path: &Path,
        is_last: bool,
        has_preamble: bool,
    ) -> Result<Found, Stop> {
        let opened = self.disk.open(path, Open::Repair).and_then(|file| Ok((file.size()?, file)));
        let (size, file) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let text = error_text(&error);
                let path = path.display();
                return self.stop(format!("Cannot open file {path}: {text}, aborting..."));
            }
        };
        if size == 0 {
            return Ok(Found::Empty);
        }
        let mut walk = Walk {
            file,
            buffer: Vec::new(),
            start: 0,
            offset: 0,
            valid_bytes: 0,
            in_multi: false,
            fault: None,
        };
        if has_preamble {
            self.preamble(&mut walk)?;
        }
        if self.walk(name, path, is_last, &mut walk)? {
            return Ok(Found::CutToTime);
        }
        if let Some(fault) = &walk.fault {
            self.say(fault.clone());
        }
        let (valid, diff) = (walk.valid_bytes, size.saturating_sub(walk.valid_bytes));
        if let (0, Some(up_to_s)) = (diff, self.wish.up_to_s) {
            self.say(format!("Truncate nothing in AOF {name} to timestamp {up_to_s}"));
            return Ok(Found::Valid);
        }
        let line = self.line;
        self.say(format!(
            "AOF analyzed: filename={name}, size={size}, ok_up_to={valid}, ok_up_to_line={line}, \
             diff={diff}"
        ));
        match diff {
            0 => Ok(Found::Valid),
            _ => self.mend(name, is_last, &walk, size),
        }
    }

    /// Cuts off what is not whole, if that is wished.
    fn mend(&mut self, name: &str, is_last: bool, walk: &Walk, size: u64) -> Result<Found, Stop> {
        if !self.wish.fix {
            let text = "is not valid. Use the --fix option to try fixing it.";
            return self.stop(format!("AOF {name} {text}"));
        }
        if !is_last {
            let text = format!("Failed to truncate AOF {name} because it is not the last file");
            return self.stop(text);
        }
        let valid = walk.valid_bytes;
        self.say(format!(
            "This will shrink the AOF {name} from {size} bytes, with {} bytes, to {valid} bytes",
            size - valid
        ));
        if !(self.ask)("Continue? [y/N]: ") {
            return self.stop("Aborting...".to_string());
        }
        match walk.file.truncate(valid).and_then(|()| walk.file.sync_data()) {
            Ok(()) => Ok(Found::Cut),
            Err(_) => self.stop(format!("Failed to truncate AOF {name}")),
        }
    }

    /// Reads the snapshot in front of the commands.
    fn preamble(&mut self, walk: &mut Walk) -> Result<(), Stop> {
        let rules = Rules { limits: Limits::default(), checksum: true };
        let mut keys = 0u64;
        let read = Reader::open(walk.file.clone(), rules).and_then(|mut reader| loop {
            match reader.next_item()? {
                Item::Key(_) => keys += 1,
                Item::End => return Ok(reader),
                _ => {}
            }
        });
        match read {
            Ok(reader) => {
                walk.offset = reader.offset();
                walk.valid_bytes = walk.offset;
                walk.buffer = reader.into_rest().1;
                self.say(format!("[info] {keys} keys read"));
                self.say("RDB preamble is OK, proceeding with AOF tail...");
                Ok(())
            }
            Err(fault) => {
                self.say(format!("{fault}"));
                self.stop("RDB preamble of AOF file is not sane, aborting.".to_string())
            }
        }
    }

    /// Goes through the commands; true when the file was cut off at a time.
    fn walk(
        &mut self,
        name: &str,
        path: &Path,
        is_last: bool,
        walk: &mut Walk,
    ) -> Result<bool, Stop> {
        let mut words = Words::new();
        let mut at_end = false;
        loop {
            if !walk.in_multi {
                walk.valid_bytes = walk.offset;
            }
            let input = walk.buffer.get(walk.start..).unwrap_or_default();
            match scan::next(input, &mut words) {
                Step::Command(len) => {
                    if let Some(first) = words.first().and_then(|word| input.get(word.clone())) {
                        walk.fault = transaction(first, &mut walk.in_multi, path);
                    }
                    self.line += 1 + 2 * words.len() as u64;
                    if walk.fault.is_some() {
                        let offset = walk.offset;
                        walk.fault = walk.fault.take().map(|text| placed(offset, &text));
                        return Ok(false);
                    }
                    walk.start += len;
                    walk.offset += len as u64;
                }
                Step::Note(len) => {
                    let note = input.get(..len).unwrap_or_default();
                    let time = scan::timestamp(note);
                    if let (Some(time), Some(up_to_s)) = (time, self.wish.up_to_s) {
                        if time > up_to_s {
                            return self.cut_at(path, is_last, walk, up_to_s);
                        }
                    }
                    walk.start += len;
                    walk.offset += len as u64;
                }
                Step::Torn if !at_end => at_end = self.read(name, walk)?,
                Step::Torn if input.is_empty() => {
                    if walk.in_multi {
                        let text = "Reached EOF before reading EXEC for MULTI";
                        walk.fault = Some(placed(walk.offset, text));
                    }
                    return Ok(false);
                }
                Step::Torn | Step::Broken(_) => {
                    if !matches!(input.first(), Some(b'*' | b'#')) {
                        self.say(format!("AOF {name} format error"));
                        return Ok(false);
                    }
                    let (lines, fault) = explain(input, walk.offset);
                    self.line += lines;
                    walk.fault = fault;
                    return Ok(false);
                }
            }
        }
    }

    /// Reads more; true at the end of the file.
    fn read(&mut self, name: &str, walk: &mut Walk) -> Result<bool, Stop> {
        walk.buffer.drain(..walk.start);
        walk.start = 0;
        // As much again as is there: a long record is looked at only a few times.
        let wanted = walk.buffer.len().max(READ_BYTES) as u64;
        let read = (&mut walk.file).take(wanted).read_to_end(&mut walk.buffer);
        match read {
            Ok(got) => Ok(got == 0),
            Err(_) => self.stop(format!("Failed to read from AOF {name}, aborting...")),
        }
    }

    fn cut_at(
        &mut self,
        path: &Path,
        is_last: bool,
        walk: &Walk,
        up_to_s: i64,
    ) -> Result<bool, Stop> {
        let (path, offset) = (path.display(), walk.offset);
        if offset == 0 {
            let text = format!("AOF {path} has nothing before timestamp {up_to_s}, aborting...");
            return self.stop(text);
        }
        if !is_last {
            self.say(format!(
                "Failed to truncate AOF {path} to timestamp {up_to_s} to offset {offset} because \
                 it is not the last file."
            ));
            return self.stop(
                "If you insist, please delete all files after this file according to the manifest \
                 file and delete the corresponding records in manifest file manually. Then re-run \
                 redis-check-aof."
                    .to_string(),
            );
        }
        match walk.file.truncate(offset).and_then(|()| walk.file.sync_data()) {
            Ok(()) => Ok(true),
            Err(_) => self.stop(format!("Failed to truncate AOF {path} to timestamp {up_to_s}")),
        }
    }
}

/// A file that begins with a snapshot, of Redis or of Valkey.
fn is_snapshot(head: &[u8]) -> bool {
    head.len() >= 8 && (head.starts_with(b"REDIS") || head.starts_with(b"VALKEY"))
}

/// Redis: the first line that is no comment begins with `file`.
fn is_manifest(head: &[u8]) -> bool {
    let mut lines = head.split(|byte| *byte == b'\n').filter(|line| line.first() != Some(&b'#'));
    lines.next().is_some_and(|line| line.starts_with(b"file"))
}

/// Follows MULTI and EXEC; what is wrong with them.
fn transaction(word: &[u8], in_multi: &mut bool, path: &Path) -> Option<String> {
    let is_multi = word.eq_ignore_ascii_case(b"multi");
    if !is_multi && !word.eq_ignore_ascii_case(b"exec") {
        return None;
    }
    if std::mem::replace(in_multi, is_multi) == is_multi {
        let name = if is_multi { "MULTI" } else { "EXEC" };
        return Some(format!("Unexpected {name} in AOF {}", path.display()));
    }
    None
}

/// A fault with its place, as the genuine tool prints it.
fn placed(offset: u64, text: &str) -> String {
    format!("0x{offset:16x}: {text}")
}

/// What is wrong with the record at the beginning of `input`, and how many lines are right.
fn explain(input: &[u8], offset: u64) -> (u64, Option<String>) {
    let line_at = |at: usize| {
        let rest = input.get(at..).unwrap_or_default();
        memchr::memchr(b'\n', rest).map(|end| &rest[..end + 1]).unwrap_or(rest)
    };
    let got = |bytes: &[u8]| {
        let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
        format!("Expected \\r\\n, got: {:02x}{:02x}", byte(0), byte(1))
    };
    let (mut at, mut lines, mut left) = (0, 0, None);
    loop {
        let (prefix, line) = (if left.is_none() { b'*' } else { b'$' }, line_at(at));
        let place = offset + at as u64;
        let Some(first) = line.first() else { return (lines, None) };
        if *first != prefix {
            let (prefix, first) = (prefix as char, *first as char);
            let text = format!("Expected prefix '{prefix}', got: '{first}'");
            return (lines, Some(placed(place, &text)));
        }
        let digits = line[1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number = std::str::from_utf8(&line[1..1 + digits]).ok();
        let number = number.and_then(|text| text.parse::<usize>().ok()).unwrap_or(usize::MAX);
        let behind = &line[1 + digits..];
        if !behind.starts_with(b"\r\n") {
            return (lines, Some(placed(place, &got(behind))));
        }
        lines += 1;
        at += line.len();
        match left {
            None => left = Some(number),
            Some(words) => {
                let place = offset + at as u64;
                let wanted = number.saturating_add(2);
                let there = input.len() - at;
                if number >= usize::MAX - 2 {
                    let text = "Expected to read string of a length which is not in the suitable \
                                range";
                    return (lines, Some(placed(place, text)));
                }
                if there < wanted {
                    let text = format!("Expected to read {wanted} bytes, got {there} bytes");
                    return (lines, Some(placed(place, &text)));
                }
                let end = &input[at + number..at + wanted];
                if end != b"\r\n" {
                    return (lines, Some(placed(place, &got(end))));
                }
                lines += 1;
                at += wanted;
                left = Some(words - 1);
            }
        }
        if left == Some(0) {
            return (lines, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn a_snapshot_in_front_may_be_of_redis_or_of_valkey() {
        let path = std::env::temp_dir().join(format!("check-aof-{}.aof", std::process::id()));
        for head in ["REDIS0011", "VALKEY080"] {
            // No keys, and a checksum of zero: none.
            let snapshot = [head.as_bytes(), &[0xff], &[0; 8]].concat();
            let commands = b"*1\r\n$4\r\nPING\r\n";
            std::fs::write(&path, [&snapshot, &commands[..]].concat()).unwrap();
            let mut printed = String::new();
            let mut print = |line: &str| printed.push_str(line);
            let code =
                Check::new(&RealDisk, Wish::default(), &mut print, &mut |_| false).run(&path);
            assert_eq!(code, 0, "{printed}");
            assert!(printed.contains("RDB preamble is OK"), "{printed}");
        }
        std::fs::remove_file(&path).unwrap();
    }
}
