//! What a key can hold, and how the door tells one type from another.

use crate::keyspace::effects::Class;
use crate::resp::out::{Done, Items, Out};
use crate::types::alloc;
use crate::types::hash::HashView;
use crate::types::text::Text;
use crate::types::walk::Walked;

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// An integer that was written as a string.
    Int,
    /// A string whose bytes lie in the entry.
    Inline,
    /// A string with a buffer of its own.
    Raw,
    /// A list.
    List,
    /// A set.
    Set,
    /// A sorted set.
    SortedSet,
    /// A hash.
    Hash,
    /// A stream.
    Stream,
}

impl Kind {
    /// The word that TYPE answers.
    pub fn type_name(self) -> &'static str {
        match self {
            Kind::Int | Kind::Inline | Kind::Raw => "string",
            Kind::List => "list",
            Kind::Set => "set",
            Kind::SortedSet => "zset",
            Kind::Hash => "hash",
            Kind::Stream => "stream",
        }
    }

    /// Whether the value is a string, in any of its forms.
    pub fn is_string(self) -> bool {
        matches!(self, Kind::Int | Kind::Inline | Kind::Raw)
    }
}

/// A type that the door can hold. Implemented by `collections!` for all but strings.
pub trait Collection: Default + Send + 'static {
    /// How entries tell it.
    const KIND: Kind;
    /// The class of the events that its commands raise.
    const CLASS: Class;
    /// Nothing inside: the key must go.
    fn is_empty(&self) -> bool;
    /// Heap bytes below the value, by allocator classes.
    fn heap_bytes(&self) -> usize;
    /// Heap bytes that a copy takes for itself; what it shares with the original not counted.
    fn copy_bytes(&self) -> usize;
    /// OBJECT ENCODING's word.
    fn encoding(&self) -> &'static str;
    /// Members, fields or entries.
    fn len(&self) -> usize;
    /// Frees a bounded piece; false when nothing was left.
    fn pop_chunk(&mut self) -> bool;
    /// When a part of it is due to go (Unix ms): the soonest deadline of a hash's fields.
    fn due_ms(&self) -> Option<i64>;
    /// Asks the processor for the place of a member (or field) and returns the member's hash;
    /// `None` for a value without a table of members.
    fn prefetch(&self, _member: &[u8]) -> Option<u64> {
        None
    }
    /// The second step, when the place has come: asks for what lies there.
    fn prefetch_item(&self, _hash: u64) {}
    /// The value as something that can be walked while it changes; `None` for one that is only
    /// ever copied whole.
    fn walked(&mut self) -> Option<&mut dyn Walked> {
        None
    }
    /// From an owned value.
    fn from_value(value: Value) -> Option<Box<Self>>;
    /// To an owned value.
    fn into_value(this: Box<Self>) -> Value;
}

macro_rules! collections {
    ($($name:ident in $room:ident, $class:ident, keeps_empty $keeps:literal,
       copy $copy:ident, due $due:expr $(, tabled $tabled:ident)?
       $(, walked $walked:ident)?;)*) => {
        $(pub use crate::types::$room::$name;)*

        /// An owned value, outside its entry.
        pub enum Value {
            /// An integer that was written as a string.
            Int(i64),
            /// Any other string.
            Str(Text),
            $(#[doc = stringify!($name)] $name(Box<$name>),)*
        }

        impl std::fmt::Debug for Value {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "a {}", self.kind().type_name())
            }
        }

        impl Value {
            /// The type.
            pub fn kind(&self) -> Kind {
                match self {
                    Value::Int(_) => Kind::Int,
                    Value::Str(_) => Kind::Raw,
                    $(Value::$name(_) => Kind::$name,)*
                }
            }

            /// A copy of the value that an entry holds; `None` for one that an edit has taken.
            pub fn copy_of(entry: &crate::keyspace::entry::Entry) -> Option<Value> {
                let inline = entry.hash().filter(|_| entry.is_inline());
                if let Some(bytes) = inline.and_then(HashView::packed_bytes) {
                    return Some(Value::Hash(Box::new(Hash::from_packed(bytes))));
                }
                match entry.kind() {
                    Kind::Int | Kind::Inline | Kind::Raw => match entry.string()? {
                        StrRef::Int(number) => Some(Value::Int(number)),
                        StrRef::Bytes(bytes) => Some(Value::Str(bytes.to_vec().into())),
                        StrRef::Text(text) => Some(Value::Str(text.clone())),
                    },
                    $(Kind::$name => {
                        entry.collection::<$name>().map(|one| Value::$name(Box::new(one.clone())))
                    })*
                }
            }

            /// Heap bytes, by allocator classes.
            pub fn heap_bytes(&self) -> usize {
                match self {
                    Value::Int(_) => 0,
                    Value::Str(text) => text.heap_bytes(),
                    $(Value::$name(value) => {
                        alloc::class(std::mem::size_of::<$name>()) + value.heap_bytes()
                    })*
                }
            }

            /// The value as something that can be walked while it changes.
            pub fn walked(&mut self) -> Option<&mut dyn Walked> {
                match self {
                    Value::Int(_) => None,
                    Value::Str(text) => Some(text),
                    $(Value::$name(value) => Collection::walked(&mut **value),)*
                }
            }

            /// Frees a bounded piece of it; false when what is left is small.
            pub fn pop_chunk(&mut self) -> bool {
                match self {
                    Value::Int(_) | Value::Str(_) => false,
                    $(Value::$name(value) => value.pop_chunk(),)*
                }
            }
        }

        $(impl Collection for $name {
            const KIND: Kind = Kind::$name;
            const CLASS: Class = Class::$class;
            fn is_empty(&self) -> bool {
                !$keeps && $name::is_empty(self)
            }
            fn heap_bytes(&self) -> usize {
                $name::heap_bytes(self)
            }
            fn copy_bytes(&self) -> usize {
                $name::$copy(self)
            }
            fn encoding(&self) -> &'static str {
                $name::encoding(self)
            }
            fn len(&self) -> usize {
                $name::len(self)
            }
            fn pop_chunk(&mut self) -> bool {
                $name::pop_chunk(self)
            }
            fn due_ms(&self) -> Option<i64> {
                let due: fn(&$name) -> Option<i64> = $due;
                due(self)
            }
            $(#[inline]
            fn prefetch(&self, member: &[u8]) -> Option<u64> {
                $tabled::prefetch(self, member)
            }
            #[inline]
            fn prefetch_item(&self, hash: u64) {
                $tabled::prefetch_item(self, hash)
            })?
            $(fn walked(&mut self) -> Option<&mut dyn Walked> {
                $walked::walked(self)
            })?
            fn from_value(value: Value) -> Option<Box<Self>> {
                match value {
                    Value::$name(value) => Some(value),
                    _ => None,
                }
            }
            fn into_value(this: Box<Self>) -> Value {
                Value::$name(this)
            }
        })*
    };
}

/// Calls `$body` with `$type` standing for the collection of `$kind`, or `$otherwise` for strings.
macro_rules! with_collection {
    ($kind:expr, $type:ident => $body:expr, $otherwise:expr) => {{
        use $crate::keyspace::value::{self, Kind};
        match $kind {
            Kind::List => {
                type $type = value::List;
                $body
            }
            Kind::Set => {
                type $type = value::Set;
                $body
            }
            Kind::SortedSet => {
                type $type = value::SortedSet;
                $body
            }
            Kind::Hash => {
                type $type = value::Hash;
                $body
            }
            Kind::Stream => {
                type $type = value::Stream;
                $body
            }
            Kind::Int | Kind::Inline | Kind::Raw => $otherwise,
        }
    }};
}
pub(crate) use with_collection;

collections! {
    List in list, List, keeps_empty false, copy copy_bytes, due |_| None;
    Set in set, Set, keeps_empty false, copy copy_bytes, due |_| None, tabled Set, walked Set;
    SortedSet in sorted_set, SortedSet, keeps_empty false, copy copy_bytes, due |_| None,
        tabled SortedSet, walked SortedSet;
    Hash in hash, Hash, keeps_empty false, copy copy_bytes,
        due |hash| hash.view().next_deadline(), tabled Hash, walked Hash;
    Stream in stream, Stream, keeps_empty true, copy copy_bytes, due |_| None;
}

/// A string as it lies in the keyspace.
#[derive(Clone, Copy, Debug)]
pub enum StrRef<'a> {
    /// An integer; its text is canonical.
    Int(i64),
    /// Anything else that is short.
    Bytes(&'a [u8]),
    /// One with a buffer of its own.
    Text(&'a Text),
}

impl StrRef<'_> {
    /// Calls `read` with the bytes.
    #[inline]
    pub fn with_bytes<R>(&self, read: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            StrRef::Int(number) => read(itoa::Buffer::new().format(*number).as_bytes()),
            StrRef::Bytes(bytes) => read(bytes),
            StrRef::Text(text) => read(text),
        }
    }

    /// Replies with it.
    #[inline]
    pub fn bulk(self, out: Out<'_>) -> Done {
        match self {
            StrRef::Bytes(bytes) => out.bulk(bytes),
            StrRef::Int(number) => out.bulk_int(number),
            StrRef::Text(text) => out.bulk_or_lent(text, || text.lend()),
        }
    }

    /// The same within an aggregate.
    #[inline]
    pub fn bulk_item(self, items: &mut Items<'_>) {
        match self {
            StrRef::Bytes(bytes) => items.bulk(bytes),
            StrRef::Int(number) => items.bulk_int(number),
            StrRef::Text(text) => items.bulk_or_lent(text, || text.lend()),
        }
    }

    /// A copy of the bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        self.with_bytes(|bytes| bytes.to_vec())
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.with_bytes(|bytes| bytes.len())
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The integer that the string spells, by Redis's rule.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            StrRef::Int(number) => Some(*number),
            StrRef::Bytes(bytes) => crate::types::number::parse_i64(bytes),
            StrRef::Text(text) => crate::types::number::parse_i64(text),
        }
    }
}
