//! The reading side of a hash, wherever it lies: in a block of its own, in its table, or inside
//! its key's entry.

use super::large::Large;
use super::packed::{self, Cells, Packed};
use crate::types::ahead::Ahead;
use crate::types::compact::{Item, Listpack};
use crate::types::thin::ThinPair;

/// A hash to be read.
#[derive(Clone, Copy)]
pub struct HashView<'a>(pub(super) Inside<'a>);

#[derive(Clone, Copy)]
pub(super) enum Inside<'a> {
    Small(Packed<'a>),
    Large(&'a Large),
}

pub(super) fn find(packed: Packed<'_>, field: &[u8]) -> Option<packed::Place> {
    let mut cell = Cells::new();
    packed::write_text(field, &mut cell);
    packed.find(&cell)
}

impl<'a> HashView<'a> {
    /// A small hash from the bytes that [`Hash::packed_bytes`](super::Hash::packed_bytes) gave.
    #[inline]
    pub fn of_packed(bytes: &'a [u8]) -> Self {
        HashView(Inside::Small(Packed(bytes)))
    }

    /// The bytes of a small hash.
    pub fn packed_bytes(self) -> Option<&'a [u8]> {
        match self.0 {
            Inside::Small(packed) => Some(packed.0),
            Inside::Large(_) => None,
        }
    }

    /// Fields, those that are gone but not yet reclaimed included.
    pub fn len(self) -> usize {
        match self.0 {
            Inside::Small(packed) => packed.len(),
            Inside::Large(large) => large.table.len(),
        }
    }

    /// Whether there is no field at all.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Fields that are not gone.
    pub fn live_len(self, now_ms: i64) -> usize {
        let gone = match self.0 {
            Inside::Small(packed) if !packed.is_dated() => 0,
            Inside::Small(packed) => {
                packed.places().take_while(|place| place.is_gone(now_ms)).count()
            }
            Inside::Large(large) => large.order.range(..=(now_ms, u64::MAX)).count(),
        };
        self.len() - gone
    }

    /// Whether fields are gone, and all of them are: nobody may see the key any more.
    #[inline]
    pub fn is_gone(self, now_ms: i64) -> bool {
        if self.next_deadline().is_none_or(|at| at > now_ms) {
            return false;
        }
        match self.0 {
            Inside::Small(packed) => packed.places().all(|place| place.is_gone(now_ms)),
            Inside::Large(large) => {
                large.order.len() == large.table.len()
                    && large.order.last().is_some_and(|&(at, _)| at <= now_ms)
            }
        }
    }

    /// OBJECT ENCODING's word.
    pub fn encoding(self) -> &'static str {
        match self.0 {
            Inside::Small(packed) if packed.is_dated() => "listpackex",
            Inside::Small(_) => "listpack",
            Inside::Large(_) => "hashtable",
        }
    }

    /// The value of a field.
    #[inline]
    pub fn get(self, field: &[u8], now_ms: i64) -> Option<Item<'a>> {
        match self.0 {
            Inside::Small(packed) => {
                let place = find(packed, field).filter(|place| !place.is_gone(now_ms))?;
                Some(packed.value(&place))
            }
            Inside::Large(large) => {
                let pair = large.find(field).filter(|pair| !Large::is_gone(pair, now_ms))?;
                Some(Item::Bytes(pair.second()))
            }
        }
    }

    /// Whether there is such a field.
    pub fn contains(self, field: &[u8], now_ms: i64) -> bool {
        self.get(field, now_ms).is_some()
    }

    /// The deadline of a field; `None` without the field, `Some(None)` without a deadline.
    pub fn deadline(self, field: &[u8], now_ms: i64) -> Option<Option<i64>> {
        let deadline = match self.0 {
            Inside::Small(packed) => find(packed, field)?.deadline,
            Inside::Large(large) => large.find(field)?.stamp(),
        };
        (deadline.is_none_or(|at| at > now_ms)).then_some(deadline)
    }

    /// The soonest deadline of any field.
    #[inline]
    pub fn next_deadline(self) -> Option<i64> {
        match self.0 {
            Inside::Small(packed) if !packed.is_dated() => None,
            Inside::Small(packed) => packed.places().next()?.deadline,
            Inside::Large(large) => large.order.first().map(|&(at, _)| at),
        }
    }

    /// Fields and values that are not gone: in the order of HGETALL when small, else in no order.
    pub fn iter(self, now_ms: i64) -> impl Iterator<Item = (Item<'a>, Item<'a>)> {
        self.iter_all()
            .filter(move |(_, _, deadline)| deadline.is_none_or(|at| at > now_ms))
            .map(|(field, value, _)| (field, value))
    }

    /// Every field with its value and deadline, gone or not.
    pub fn iter_all(self) -> impl Iterator<Item = (Item<'a>, Item<'a>, Option<i64>)> {
        let (small, large) = match self.0 {
            Inside::Small(packed) => (Some(packed), None),
            Inside::Large(large) => (None, Some(large)),
        };
        let small = small.into_iter().flat_map(|packed| {
            packed.places().map(move |place| {
                let (field, value) = packed.pair(&place);
                (field, value, place.deadline)
            })
        });
        let ahead = |large: &'a Large| Ahead::new(large.table.iter(), ThinPair::prefetch);
        let large = large.into_iter().flat_map(ahead).map(|pair| {
            let (field, value) = pair.both();
            (Item::Bytes(field), Item::Bytes(value), pair.stamp())
        });
        small.chain(large)
    }

    /// Visits about `count` fields that are not gone, from `cursor` on; the cursor to go on with,
    /// 0 at the end. A small hash is visited whole.
    pub fn scan(
        self,
        cursor: u64,
        count: usize,
        now_ms: i64,
        mut visit: impl FnMut(Item<'a>, Item<'a>),
    ) -> u64 {
        match self.0 {
            Inside::Small(_) => {
                self.iter(now_ms).for_each(|(field, value)| visit(field, value));
                0
            }
            Inside::Large(large) => large.scan(cursor, count, |pair| {
                if !Large::is_gone(pair, now_ms) {
                    visit(Item::Bytes(pair.first()), Item::Bytes(pair.second()));
                }
            }),
        }
    }

    /// A small hash as files carry it: field and value in turns, and each field's deadline (0 for
    /// none) when any field has one. `None` for a large hash.
    pub fn listpack(self) -> Option<Listpack> {
        let Inside::Small(packed) = self.0 else { return None };
        let dated = self.next_deadline().is_some();
        let mut out = Listpack::with_capacity(packed.0.len() * 2);
        for place in packed.places() {
            let (field, value) = packed.pair(&place);
            field.with_bytes(|field| out.push_back(field));
            value.with_bytes(|value| out.push_back(value));
            if dated {
                out.push_back_int(place.deadline.unwrap_or(0));
            }
        }
        Some(out)
    }

    /// Panics when an invariant is broken.
    pub fn check(self) {
        match self.0 {
            Inside::Small(packed) => packed.check(),
            Inside::Large(large) => large.check(),
        }
    }
}
