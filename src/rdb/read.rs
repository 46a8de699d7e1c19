//! Reading RDB: a reader over any `std::io::Read`, item by item.
//!
//! Keys come as entries that are ready to be placed, made in one go from the bytes where they
//! lie; whoever reads may do so on any thread and hand them over. Nothing is read ahead that
//! would have to be waited for, and what was read but not used comes back with
//! [`Reader::into_rest`]: after a file's end there may be commands, or another stream.
//!
//! Whatever the bytes are, an item is right or a fault that says where.

mod blobs;
mod old;
mod streams;
mod values;

use super::codes;
use super::fault::{Fault, Reason};
use super::source::Source;
use crate::keyspace::ageing::Age;
pub use crate::keyspace::db::Loaded;
use crate::types::limits::Limits;
use std::io::Read;

type Result<T> = std::result::Result<T, Fault>;

/// The newest version of Redis's that is read.
pub(super) const NEWEST: u32 = 12;
/// The versions of Valkey's that are read; below, it writes Redis's.
pub(super) const VALKEY: std::ops::RangeInclusive<u32> = 80..=80;
/// The first version with a checksum at the end.
const FIRST_SUMMED: u32 = 5;

/// Whether a version is one that is read.
pub(super) fn is_known(version: u32) -> bool {
    (1..=NEWEST).contains(&version) || VALKEY.contains(&version)
}

/// How to read.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The thresholds by which values get their encoding, and the key of their tables.
    pub limits: Limits,
    /// `rdbchecksum`: whether the sum at the end is compared.
    pub checksum: bool,
}

/// What a file consists of.
#[derive(Debug)]
pub enum Item {
    /// A name and a value about the file.
    Aux(Vec<u8>, Vec<u8>),
    /// The keys that follow belong to this database.
    SelectDb(u64),
    /// How many keys the database has, and how many of them have a deadline: a hint.
    ResizeDb(u64, u64),
    /// A slot, its keys, and how many of them have a deadline: a hint.
    SlotInfo(u64, u64, u64),
    /// A library's code.
    Function(Vec<u8>),
    /// Data of a module of this name, which was skipped.
    ModuleAux(String),
    /// A key.
    Key(Loaded),
    /// A key without a value, which was skipped, as old servers with a fault of theirs wrote it.
    EmptyKey(Vec<u8>),
    /// The end, with the right checksum or none.
    End,
}

/// Reads one file. See the module's text.
pub struct Reader<R> {
    pub(super) source: Source<R>,
    rules: Rules,
    version: u32,
    key: Vec<u8>,
    /// The type of the value that is being read.
    kind: Option<u8>,
    deadline_ms: Option<i64>,
    age: Age,
    /// Blobs that were checked in depth.
    checked_blobs: u64,
    sum: Sum,
}

/// What has become of a file's checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sum {
    /// Its version has none, it has not been reached, or the rules leave it alone.
    #[default]
    None,
    /// The file says that it was saved without.
    Disabled,
    /// It is that of the bytes.
    Right,
}

impl<R: Read> Reader<R> {
    /// Reads the magic word and the version.
    pub fn open(input: R, rules: Rules) -> Result<Reader<R>> {
        let mut source = Source::new(input, rules.checksum);
        let magic: [u8; 9] = source.array()?;
        let digits = match &magic {
            [b'R', b'E', b'D', b'I', b'S', digits @ ..] => &digits[..],
            [b'V', b'A', b'L', b'K', b'E', b'Y', digits @ ..] => &digits[..],
            _ => return Err(Fault { offset: 0, reason: Reason::Signature }),
        };
        let version = std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok());
        let version = version.ok_or(Fault { offset: 0, reason: Reason::Signature })?;
        if !is_known(version) {
            return Err(Fault { offset: 0, reason: Reason::Version(version) });
        }
        if version < FIRST_SUMMED {
            source.stop_summing();
        }
        Ok(Reader::of_source(source, rules, version))
    }

    pub(super) fn of_source(source: Source<R>, rules: Rules, version: u32) -> Reader<R> {
        let (key, age) = (Vec::new(), Age::Untold);
        Reader {
            source,
            rules,
            version,
            key,
            kind: None,
            deadline_ms: None,
            age,
            checked_blobs: 0,
            sum: Sum::None,
        }
    }

    /// Says which key the value that comes is for, where the bytes do not.
    pub(super) fn name_key(&mut self, key: &[u8]) {
        self.key = key.to_vec();
    }

    /// The version of the file.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Bytes used so far.
    pub fn offset(&self) -> u64 {
        self.source.offset()
    }

    /// Packed values that were checked so far.
    pub fn checked_blobs(&self) -> u64 {
        self.checked_blobs
    }

    /// Key and type of the value in which a fault was found, for messages about it.
    pub fn value_at_hand(&self) -> Option<(&[u8], u8)> {
        self.kind.map(|kind| (&self.key[..], kind))
    }

    /// The input, and what was read of it but not used.
    pub fn into_rest(self) -> (R, Vec<u8>) {
        self.source.into_rest()
    }

    /// The next item; after the end, the end again must not be asked for.
    pub fn next_item(&mut self) -> Result<Item> {
        loop {
            let code = self.source.byte()?;
            match code {
                codes::OP_EXPIRE_MS => self.deadline_ms = Some(self.source.time()?),
                codes::OP_EXPIRE_S => {
                    let seconds = i32::from_le_bytes(self.source.array()?);
                    self.deadline_ms = Some(i64::from(seconds) * 1000);
                }
                codes::OP_FREQ => self.age = Age::Freq(self.source.byte()?),
                codes::OP_IDLE => self.age = Age::Idle(self.source.length()?),
                0..=codes::HASH_LISTPACK_EX => return self.key_item(code),
                _ => return self.other_item(code),
            }
        }
    }

    fn key_item(&mut self, kind: u8) -> Result<Item> {
        let mut key = std::mem::take(&mut self.key);
        key.clear();
        self.source.text()?.with_bytes(|bytes| key.extend_from_slice(bytes));
        self.key = key;
        self.kind = Some(kind);
        // Redis: -1 stands for no deadline.
        let deadline_ms = self.deadline_ms.take().filter(|&at| at != -1);
        let age = std::mem::take(&mut self.age);
        let entry = self.entry(kind, deadline_ms)?;
        self.kind = None;
        Ok(match entry {
            Some(entry) => Item::Key(Loaded::new(entry, age, self.rules.limits.hash_key)),
            None => Item::EmptyKey(self.key.clone()),
        })
    }

    fn other_item(&mut self, code: u8) -> Result<Item> {
        /// Valkey: slots that are on their way to another node.
        const OP_SLOT_IMPORT: u8 = 243;
        let source = &mut self.source;
        Ok(match code {
            codes::OP_AUX => Item::Aux(source.owned()?, source.owned()?),
            codes::OP_SELECT_DB => Item::SelectDb(source.length()?),
            codes::OP_RESIZE_DB => Item::ResizeDb(source.length()?, source.length()?),
            codes::OP_SLOT_INFO => {
                Item::SlotInfo(source.length()?, source.length()?, source.length()?)
            }
            codes::OP_FUNCTION => Item::Function(source.owned()?),
            codes::OP_FUNCTION_PRE_GA => {
                return source.damaged("pre-release function format not supported")
            }
            codes::OP_MODULE_AUX => self.module_aux()?,
            codes::OP_EOF => self.end()?,
            OP_SLOT_IMPORT if VALKEY.contains(&self.version) => {
                let name = source.owned()?;
                for _ in 0..source.length()? {
                    source.length()?;
                    source.length()?;
                }
                Item::Aux(b"slot-import".to_vec(), name)
            }
            _ => return Err(self.source.fault(Reason::Unknown(code))),
        })
    }

    fn end(&mut self) -> Result<Item> {
        if self.version < FIRST_SUMMED {
            return Ok(Item::End);
        }
        let computed = self.source.checksum();
        let stated = u64::from_le_bytes(self.source.array()?);
        self.sum = match computed {
            // That of a server that was told not to sum up.
            _ if stated == 0 => Sum::Disabled,
            Some(computed) if stated != computed => {
                return Err(self.source.fault(Reason::Checksum { computed, stated }));
            }
            Some(_) => Sum::Right,
            None => Sum::None,
        };
        Ok(Item::End)
    }

    /// What has become of the checksum, once the end has been read.
    pub fn sum(&self) -> Sum {
        self.sum
    }

    fn module_aux(&mut self) -> Result<Item> {
        let name = module_name(self.source.length()?);
        let source = &mut self.source;
        if source.length()? != codes::module::UINT {
            return Err(source.fault(Reason::Module(name)));
        }
        source.length()?;
        match self.skip_module_value() {
            Ok(()) => Ok(Item::ModuleAux(name)),
            Err(Fault { reason: Reason::Damaged(_), .. }) => {
                Err(self.source.fault(Reason::Module(name)))
            }
            Err(fault) => Err(fault),
        }
    }

    /// Steps over a module's value, whose parts say what they are.
    pub(super) fn skip_module_value(&mut self) -> Result<()> {
        let source = &mut self.source;
        loop {
            match source.length()? {
                codes::module::END => return Ok(()),
                codes::module::SINT | codes::module::UINT => drop(source.length()?),
                codes::module::FLOAT => drop(source.array::<4>()?),
                codes::module::DOUBLE => drop(source.array::<8>()?),
                codes::module::STRING => drop(source.text()?),
                _ => return source.damaged("unknown part of a module's value"),
            }
        }
    }
}

/// The name of a module's type: nine characters of six bits each.
pub(super) fn module_name(id: u64) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let letter = |at: u32| char::from(LETTERS[(id >> (10 + 6 * at)) as usize & 63]);
    (0..9).rev().map(letter).collect()
}
