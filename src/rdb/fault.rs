//! Why a file or a payload could not be read, and at which byte.

use std::borrow::Cow;
use std::fmt;
use std::io;

/// What is wrong, and where.
#[derive(Debug)]
pub struct Fault {
    /// Bytes that had been read well.
    pub offset: u64,
    /// What is wrong there.
    pub reason: Reason,
}

/// What is wrong.
#[derive(Debug)]
pub enum Reason {
    /// The bytes end too early.
    Ended,
    /// The input could not be read.
    Io(io::Error),
    /// The first word is not RDB's.
    Signature,
    /// A version that is not known.
    Version(u32),
    /// The bytes are not what the format says.
    Damaged(Cow<'static, str>),
    /// The sum of the bytes is not the one at the end.
    Checksum {
        /// The sum of the bytes.
        computed: u64,
        /// The sum that the file states.
        stated: u64,
    },
    /// A value that only a module of this name can read.
    Module(String),
    /// An opcode or a type that no version has.
    Unknown(u8),
}

impl Fault {
    /// Whether the bytes simply end too early: more of them might make it well.
    pub fn is_short(&self) -> bool {
        matches!(self.reason, Reason::Ended)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Ended => out.write_str("unexpected end of file"),
            Reason::Io(error) => write!(out, "cannot read on: {error}"),
            Reason::Signature => out.write_str("wrong signature: this is not an RDB file"),
            Reason::Version(version) => write!(out, "cannot read RDB format version {version}"),
            Reason::Damaged(text) => out.write_str(text),
            Reason::Checksum { computed, stated } => {
                write!(out, "wrong checksum: {computed:016x} computed, {stated:016x} stated")
            }
            Reason::Module(name) => {
                write!(out, "a value of the module type '{name}', which is not here to read it")
            }
            Reason::Unknown(code) => write!(out, "unknown type or opcode {code}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} at byte {}", self.reason, self.offset)
    }
}

impl std::error::Error for Fault {}
