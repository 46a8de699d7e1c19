//! The decoding half of a load: a snapshot becomes parcels, which fit into a moment under the lock.

use super::{LoadError, Rest};
use crate::rdb::read::{Item, Loaded, Reader, Rules};
use std::io::Read;

/// Keys of a batch, and bytes after which it is full.
const BATCH_KEYS: usize = 512;
const BATCH_BYTES: usize = 256 * 1024;
/// Keys without a value that the log names.
pub(super) const EMPTY_NAMED: u64 = 10;

/// Some of what a snapshot holds.
pub enum Parcel {
    /// Keys of one database.
    Keys(Keys),
    /// A library's code.
    Library(Vec<u8>),
    /// A name and a value about the file.
    Aux(Vec<u8>, Vec<u8>),
    /// There is no more, for this reason.
    Over(Result<(), LoadError>),
}

/// Keys of one database.
pub struct Keys {
    pub(super) db: usize,
    pub(super) keys: Vec<Loaded>,
    pub(super) empty: Empty,
    /// How many the snapshot says that this database has in all.
    pub(super) announced: u64,
    /// Bytes that have been read by their end.
    pub(super) offset: u64,
}

impl Keys {
    /// Every key with its share of the way from the offset `from` on.
    pub(super) fn one_by_one(self, from: u64) -> impl Iterator<Item = Keys> {
        let Keys { db, keys, empty, announced, offset } = self;
        let step = offset.saturating_sub(from) / keys.len().max(1) as u64;
        let one = move |(at, loaded)| {
            let offset = from + step * at as u64;
            Keys { db, keys: vec![loaded], empty: Empty::default(), announced, offset }
        };
        let last = Keys { db, keys: Vec::new(), empty, announced, offset };
        keys.into_iter().enumerate().map(one).chain(std::iter::once(last))
    }
}

/// Keys without a value: how many, and the names of the first.
#[derive(Default)]
pub(super) struct Empty {
    pub(super) count: u64,
    pub(super) names: Vec<Vec<u8>>,
}

/// Reads a snapshot into parcels, the last of which is `Over`, until `send` says that nobody wants
/// more. Gives what is left of the input when all has been read.
pub(super) fn read_all<R: Read>(
    input: R,
    rules: Rules,
    mut send: impl FnMut(Parcel) -> bool,
) -> Option<Rest<R>> {
    let mut rest = None;
    let over = (|| {
        let mut reader = Reader::open(input, rules).map_err(LoadError::Fault)?;
        let mut batch = Batch::default();
        loop {
            let item = match reader.next_item() {
                Ok(item) => item,
                Err(fault) => {
                    send(batch.take(reader.offset()));
                    return Err(LoadError::Fault(fault));
                }
            };
            let parcel = match item {
                Item::Key(loaded) => {
                    if !batch.add(loaded) {
                        continue;
                    }
                    None
                }
                Item::EmptyKey(name) => {
                    batch.empty.count += 1;
                    if batch.empty.count <= EMPTY_NAMED {
                        batch.empty.names.push(name);
                    }
                    continue;
                }
                Item::SelectDb(number) => {
                    let went = send(batch.take(reader.offset()));
                    batch.announced = 0;
                    batch.db =
                        usize::try_from(number).map_err(|_| LoadError::NoDatabase(number))?;
                    if !went {
                        return Ok(());
                    }
                    continue;
                }
                Item::Function(code) => Some(Parcel::Library(code)),
                Item::Aux(name, value) => Some(Parcel::Aux(name, value)),
                Item::ResizeDb(keys, _) => {
                    batch.announced = keys;
                    continue;
                }
                Item::SlotInfo(..) | Item::ModuleAux(_) => continue,
                Item::End => {
                    send(batch.take(reader.offset()));
                    rest = Some(reader.into_rest());
                    return Ok(());
                }
            };
            let parcel = parcel.unwrap_or_else(|| batch.take(reader.offset()));
            if !send(parcel) {
                return Ok(());
            }
        }
    })();
    send(Parcel::Over(over));
    rest
}

#[derive(Default)]
struct Batch {
    db: usize,
    keys: Vec<Loaded>,
    bytes: usize,
    empty: Empty,
    announced: u64,
}

impl Batch {
    /// Whether it is full.
    fn add(&mut self, loaded: Loaded) -> bool {
        self.bytes += loaded.entry.heap_bytes();
        self.keys.push(loaded);
        self.keys.len() >= BATCH_KEYS || self.bytes >= BATCH_BYTES
    }

    fn take(&mut self, offset: u64) -> Parcel {
        self.bytes = 0;
        let room = Vec::with_capacity(self.keys.len());
        let keys = std::mem::replace(&mut self.keys, room);
        let empty = std::mem::take(&mut self.empty);
        Parcel::Keys(Keys { db: self.db, keys, empty, announced: self.announced, offset })
    }
}
