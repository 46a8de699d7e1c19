//! The layout of an entry: key, value, deadline and ageing bits in one heap block.
//!
//! ```text
//! offset  0  kind (low 5 bits), has-deadline, long-key | ageing in the upper 24 bits   u32
//!         4  key length, inline value length                                           2 x u16
//!         8  deadline, Unix ms                                  if has-deadline        i64
//!            integer, or pointer to the value                   unless Inline          u64
//!            key length                                         if long-key            u64
//!            key bytes, then the bytes of an Inline string
//! ```
//! Invariant: the block's length follows from its first 8 bytes, so nothing else stores it; words
//! lie at multiples of 8. An entry whose pointer is null has been taken by an edit and is
//! invisible.
#![allow(unsafe_code)]

use crate::keyspace::value::{with_collection, Collection, Hash, Kind, StrRef, Value};
use crate::types::alloc;
use crate::types::hash::HashView;
use crate::types::text::Text;
use crate::types::thin::prefetch;
use std::alloc::{alloc as allocate, dealloc, handle_alloc_error, Layout};
use std::ptr::NonNull;

const HAS_DEADLINE: u32 = 1 << 5;
const LONG_KEY: u32 = 1 << 6;
/// A small hash whose bytes lie behind the key, as an inline string's do.
const PACKED: u32 = 1 << 7;
const KIND_MASK: u32 = 0x1f;
const SHORT_MAX: usize = u16::MAX as usize;

/// Strings up to this many bytes lie in the entry; longer ones have a buffer of their own, which
/// can be moved and freed apart from the key.
pub const INLINE_BYTES_MAX: usize = 4096;

/// Small hashes up to this many bytes lie in the entry.
pub const PACKED_BYTES_MAX: usize = 512;

/// One key of a database. See the module's drawing.
pub struct Entry(NonNull<u8>);

// SAFETY: an entry owns its block and the value behind it, which is Send.
unsafe impl Send for Entry {}

/// A value on its way into an entry.
#[derive(Debug)]
pub enum NewValue<'a> {
    /// A string; becomes an integer when it spells one.
    Bytes(&'a [u8]),
    /// An integer.
    Int(i64),
    /// A value that exists already.
    Owned(Value),
}

#[derive(Clone, Copy)]
struct Shape {
    word: u32,
    key_len: usize,
    inline_len: usize,
}

impl Shape {
    fn kind(&self) -> Kind {
        const KINDS: [Kind; 8] = [
            Kind::Int,
            Kind::Inline,
            Kind::Raw,
            Kind::List,
            Kind::Set,
            Kind::SortedSet,
            Kind::Hash,
            Kind::Stream,
        ];
        KINDS[(self.word & 7) as usize]
    }
    fn word_at(&self) -> usize {
        8 + if self.word & HAS_DEADLINE != 0 { 8 } else { 0 }
    }
    /// Whether the value lies behind the key.
    fn is_inline(&self) -> bool {
        self.word & KIND_MASK == Kind::Inline as u32 || self.word & PACKED != 0
    }
    fn has_word(&self) -> bool {
        !self.is_inline()
    }
    fn key_at(&self) -> usize {
        let long = if self.word & LONG_KEY != 0 { 8 } else { 0 };
        self.word_at() + if self.has_word() { 8 } else { 0 } + long
    }
    fn bytes(&self) -> usize {
        self.key_at() + self.key_len + self.inline_len
    }
    fn layout(&self) -> Layout {
        // SAFETY-free: sizes are bounded by what was allocated before.
        Layout::from_size_align(self.bytes(), 8).unwrap_or(Layout::new::<u64>())
    }
}

impl Entry {
    /// A new entry; `ageing` is 24 bits.
    pub fn new(key: &[u8], value: NewValue<'_>, deadline_ms: Option<i64>, ageing: u32) -> Entry {
        match value {
            NewValue::Int(number) => {
                Self::with_word(key, Kind::Int, number as u64, deadline_ms, ageing)
            }
            NewValue::Bytes(bytes) if bytes.len() <= INLINE_BYTES_MAX => {
                Self::inline(key, bytes, deadline_ms, ageing)
            }
            NewValue::Bytes(bytes) => {
                let word = Box::into_raw(Box::new(Text::from(bytes.to_vec()))) as u64;
                Self::with_word(key, Kind::Raw, word, deadline_ms, ageing)
            }
            NewValue::Owned(value) => match packed_bytes(&value) {
                Some(bytes) => Self::packed(key, bytes, deadline_ms, ageing),
                None => {
                    let (kind, word) = into_word(value);
                    Self::with_word(key, kind, word, deadline_ms, ageing)
                }
            },
        }
    }

    fn shape_for(key: &[u8], kind: Kind, inline_len: usize, deadline_ms: Option<i64>) -> Shape {
        let mut word = kind as u32;
        if deadline_ms.is_some() {
            word |= HAS_DEADLINE;
        }
        if key.len() >= SHORT_MAX {
            word |= LONG_KEY;
        }
        Shape { word, key_len: key.len(), inline_len }
    }

    fn allocate(shape: Shape, key: &[u8], deadline_ms: Option<i64>, ageing: u32) -> Entry {
        let layout = shape.layout();
        // SAFETY: the layout has at least the 8 bytes of the header; every write below stays
        // inside `shape.bytes()`, and 8-byte words lie at multiples of 8.
        unsafe {
            let Some(block) = NonNull::new(allocate(layout)) else { handle_alloc_error(layout) };
            let base = block.as_ptr();
            base.cast::<u32>().write(shape.word | ageing << 8);
            base.add(4).cast::<u16>().write(shape.key_len.min(SHORT_MAX) as u16);
            base.add(6).cast::<u16>().write(shape.inline_len as u16);
            if let Some(deadline_ms) = deadline_ms {
                base.add(8).cast::<i64>().write(deadline_ms);
            }
            if shape.word & LONG_KEY != 0 {
                base.add(shape.key_at() - 8).cast::<u64>().write(shape.key_len as u64);
            }
            base.add(shape.key_at()).copy_from_nonoverlapping(key.as_ptr(), key.len());
            Entry(block)
        }
    }

    fn with_word(
        key: &[u8],
        kind: Kind,
        word: u64,
        deadline_ms: Option<i64>,
        ageing: u32,
    ) -> Entry {
        let shape = Self::shape_for(key, kind, 0, deadline_ms);
        let entry = Self::allocate(shape, key, deadline_ms, ageing);
        // SAFETY: kinds other than Inline have a word at `word_at`.
        unsafe { entry.0.as_ptr().add(shape.word_at()).cast::<u64>().write(word) };
        entry
    }

    fn inline(key: &[u8], bytes: &[u8], deadline_ms: Option<i64>, ageing: u32) -> Entry {
        let shape = Self::shape_for(key, Kind::Inline, bytes.len(), deadline_ms);
        Self::with_bytes(shape, key, bytes, deadline_ms, ageing)
    }

    fn packed(key: &[u8], bytes: &[u8], deadline_ms: Option<i64>, ageing: u32) -> Entry {
        let mut shape = Self::shape_for(key, Kind::Hash, bytes.len(), deadline_ms);
        shape.word |= PACKED;
        Self::with_bytes(shape, key, bytes, deadline_ms, ageing)
    }

    /// An entry with an inline value of exactly `shape.inline_len` bytes.
    fn with_bytes(
        shape: Shape,
        key: &[u8],
        bytes: &[u8],
        deadline_ms: Option<i64>,
        ageing: u32,
    ) -> Entry {
        let entry = Self::allocate(shape, key, deadline_ms, ageing);
        debug_assert!(shape.is_inline() && shape.inline_len == bytes.len());
        // SAFETY: the inline bytes lie right behind the key, inside the block.
        unsafe {
            let at = entry.0.as_ptr().add(shape.key_at() + shape.key_len);
            at.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        entry
    }

    #[inline]
    fn shape(&self) -> Shape {
        // SAFETY: the first 8 bytes are the header of a live block; a long key has its length in
        // the word before the key.
        unsafe {
            let base = self.0.as_ptr();
            let word = base.cast::<u32>().read() & 0xff;
            let key_len = base.add(4).cast::<u16>().read() as usize;
            let inline_len = base.add(6).cast::<u16>().read() as usize;
            let mut shape = Shape { word, key_len, inline_len };
            if word & LONG_KEY != 0 {
                shape.key_len = base.add(shape.key_at() - 8).cast::<u64>().read() as usize;
            }
            shape
        }
    }

    #[inline]
    fn word(&self, shape: &Shape) -> u64 {
        // SAFETY: callers have checked that the shape has a word.
        unsafe { self.0.as_ptr().add(shape.word_at()).cast::<u64>().read() }
    }

    /// Asks the processor for the block's first two cache lines: few entries need a third, and
    /// few that are read need only one.
    #[inline]
    pub fn prefetch(&self) {
        let block = self.0.as_ptr();
        prefetch(block);
        prefetch(block.wrapping_add(64));
    }

    /// The key.
    #[inline]
    pub fn key(&self) -> &[u8] {
        let shape = self.shape();
        // SAFETY: the key lies inside the block.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().add(shape.key_at()), shape.key_len) }
    }

    /// The type of the value.
    #[inline]
    pub fn kind(&self) -> Kind {
        self.shape().kind()
    }

    /// Unix time in milliseconds from which the key is gone.
    #[inline]
    pub fn deadline_ms(&self) -> Option<i64> {
        // SAFETY: the deadline lies behind the header when its flag says so.
        unsafe {
            let has = self.0.as_ptr().cast::<u32>().read() & HAS_DEADLINE != 0;
            has.then(|| self.0.as_ptr().add(8).cast::<i64>().read())
        }
    }

    /// The soonest deadline of a hash's fields.
    #[inline]
    pub fn fields_due_ms(&self) -> Option<i64> {
        self.hash()?.next_deadline()
    }

    /// Whether nobody may see the key any more: its time has come, or that of all its fields.
    #[inline]
    pub fn is_gone(&self, now_ms: i64) -> bool {
        self.deadline_ms().is_some_and(|at| at <= now_ms)
            || self.hash().is_some_and(|hash| hash.is_gone(now_ms))
    }

    /// When the key, or a part of its value, is due to go.
    pub fn due_ms(&self) -> Option<i64> {
        self.deadline_ms().into_iter().chain(self.fields_due_ms()).min()
    }

    /// The 24 ageing bits.
    #[inline]
    pub fn ageing(&self) -> u32 {
        // SAFETY: header of a live block.
        unsafe { self.0.as_ptr().cast::<u32>().read() >> 8 }
    }

    /// Writes the ageing bits; entries are only reached under the lock, so a shared reference does.
    #[inline]
    pub fn set_ageing(&self, ageing: u32) {
        // SAFETY: header of a live block; no reference to these bytes is ever made.
        unsafe {
            let at = self.0.as_ptr().cast::<u32>();
            at.write(at.read() & 0xff | ageing << 8);
        }
    }

    /// The string, unless the value is a collection.
    #[inline]
    pub fn string(&self) -> Option<StrRef<'_>> {
        let shape = self.shape();
        match shape.kind() {
            Kind::Int => Some(StrRef::Int(self.word(&shape) as i64)),
            Kind::Inline => Some(StrRef::Bytes(self.inline_bytes(&shape))),
            Kind::Raw => {
                let pointer = self.word(&shape) as *const Text;
                // SAFETY: the word of a Raw entry is null (taken) or a boxed buffer that it owns.
                unsafe { pointer.as_ref() }.map(StrRef::Text)
            }
            _ => None,
        }
    }

    /// The bytes of an inline value.
    #[inline]
    fn inline_bytes(&self, shape: &Shape) -> &[u8] {
        debug_assert!(shape.is_inline());
        let at = shape.key_at() + shape.key_len;
        // SAFETY: the inline bytes lie behind the key.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().add(at), shape.inline_len) }
    }

    /// The hash, when the value is one.
    #[inline]
    pub fn hash(&self) -> Option<HashView<'_>> {
        // SAFETY: header of a live block.
        let word = unsafe { self.0.as_ptr().cast::<u32>().read() };
        if word & KIND_MASK != Kind::Hash as u32 {
            return None;
        }
        let shape = self.shape();
        if shape.is_inline() {
            return Some(HashView::of_packed(self.inline_bytes(&shape)));
        }
        // SAFETY: as in `collection`.
        unsafe { (self.word(&shape) as *const Hash).as_ref() }.map(Hash::view)
    }

    /// The collection, when the value is a `T`; for hashes there is `hash`, because not every one
    /// lies in a box.
    #[inline]
    pub fn collection<T: Collection>(&self) -> Option<&T> {
        let shape = self.shape();
        if shape.kind() != T::KIND || shape.is_inline() {
            return None;
        }
        // SAFETY: the word of an entry of this kind is null (taken) or a Box<T> that it owns.
        unsafe { (self.word(&shape) as *const T).as_ref() }
    }

    /// Takes the value out and leaves the entry invisible until [`Entry::put_back`]. An inline
    /// value cannot leave its entry: it comes as a copy.
    pub fn take(&mut self) -> Option<Value> {
        let shape = self.shape();
        match shape.kind() {
            Kind::Int | Kind::Inline => Value::copy_of(self),
            Kind::Hash if shape.is_inline() => {
                Some(Value::Hash(Box::new(Hash::from_packed(self.inline_bytes(&shape)))))
            }
            kind => {
                let word = self.word(&shape);
                // SAFETY: values that are not inline have a word.
                unsafe { self.0.as_ptr().add(shape.word_at()).cast::<u64>().write(0) };
                from_word(kind, word)
            }
        }
    }

    /// Returns a taken value of the same kind; a value of another kind needs a new entry and is
    /// handed back.
    pub fn put_back(&mut self, value: Value) -> Result<(), Value> {
        let shape = self.shape();
        if !shape.has_word() || shape.kind() != value.kind() {
            return Err(value);
        }
        let (_, word) = into_word(value);
        // SAFETY: kinds other than Inline have a word; what was there was taken or is an integer.
        unsafe { self.0.as_ptr().add(shape.word_at()).cast::<u64>().write(word) };
        Ok(())
    }

    /// Overwrites the string where it lies, when form, length and deadline allow it.
    #[inline]
    pub fn overwrite(&mut self, value: &NewValue<'_>, deadline_ms: Option<i64>) -> bool {
        let shape = self.shape();
        if deadline_ms.is_some() != (shape.word & HAS_DEADLINE != 0) {
            return false;
        }
        // SAFETY: an Int entry has a word; inline bytes of the same length lie behind the key; the
        // deadline's place exists when its flag is set, which was compared above.
        unsafe {
            match (shape.kind(), value) {
                (Kind::Int, NewValue::Int(number)) => {
                    self.0.as_ptr().add(shape.word_at()).cast::<u64>().write(*number as u64)
                }
                (Kind::Inline, NewValue::Bytes(bytes)) if bytes.len() == shape.inline_len => {
                    let at = self.0.as_ptr().add(shape.key_at() + shape.key_len);
                    at.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
                }
                _ => return false,
            }
            if let Some(deadline_ms) = deadline_ms {
                self.0.as_ptr().add(8).cast::<i64>().write(deadline_ms);
            }
        }
        true
    }

    /// Changes the deadline where it lies, if there is one and `deadline_ms` is one.
    pub fn move_deadline(&mut self, deadline_ms: i64) -> bool {
        if self.deadline_ms().is_none() {
            return false;
        }
        // SAFETY: the flag says that the deadline lies behind the header.
        unsafe { self.0.as_ptr().add(8).cast::<i64>().write(deadline_ms) };
        true
    }

    /// The same value under another key or deadline.
    pub fn rebuilt(mut self, key: &[u8], deadline_ms: Option<i64>) -> Entry {
        let ageing = self.ageing();
        match self.kind() {
            Kind::Inline => match self.string() {
                Some(StrRef::Bytes(bytes)) => Entry::inline(key, bytes, deadline_ms, ageing),
                _ => Entry::inline(key, b"", deadline_ms, ageing),
            },
            Kind::Int => {
                let shape = self.shape();
                Entry::with_word(key, Kind::Int, self.word(&shape), deadline_ms, ageing)
            }
            Kind::Hash if self.is_inline() => {
                let shape = self.shape();
                Entry::packed(key, self.inline_bytes(&shape), deadline_ms, ageing)
            }
            kind => {
                let (_, word) = self.take().map_or((kind, 0), into_word);
                Entry::with_word(key, kind, word, deadline_ms, ageing)
            }
        }
    }

    /// A copy of the entry, form of the string and all; `None` while an edit holds the value.
    pub fn copied(&self) -> Option<Entry> {
        let (key, deadline_ms, ageing) = (self.key(), self.deadline_ms(), self.ageing());
        let value = match (self.kind(), self.string()) {
            (Kind::Inline, Some(StrRef::Bytes(bytes))) => NewValue::Bytes(bytes),
            _ => NewValue::Owned(Value::copy_of(self)?),
        };
        Some(Entry::new(key, value, deadline_ms, ageing))
    }

    /// Bytes of the block and of the value behind it, by allocator classes.
    pub fn heap_bytes(&self) -> usize {
        alloc::class(self.shape().bytes()) + self.value_bytes()
    }

    /// Bytes that [`Entry::copied`] takes: large lists and streams share their parts with copies.
    pub fn copy_bytes(&self) -> usize {
        let shared = with_collection!(self.kind(), T => self.collection::<T>().map_or(0, |value| {
            value.heap_bytes() - value.copy_bytes()
        }), 0);
        self.heap_bytes() - shared
    }

    /// Bytes of the value outside the block.
    fn value_bytes(&self) -> usize {
        let shape = self.shape();
        match shape.kind() {
            Kind::Int | Kind::Inline => 0,
            Kind::Raw => {
                // SAFETY: as in `string`.
                let buffer = unsafe { (self.word(&shape) as *const Text).as_ref() };
                buffer
                    .map_or(0, |text| text.heap_bytes() + alloc::class(std::mem::size_of::<Text>()))
            }
            kind => with_collection!(kind, T => self.collection::<T>().map_or(0, |value| {
                alloc::class(std::mem::size_of::<T>()) + value.heap_bytes()
            }), 0),
        }
    }

    /// OBJECT ENCODING's word.
    pub fn encoding(&self) -> &'static str {
        match self.kind() {
            Kind::Int => "int",
            Kind::Inline if self.shape().inline_len <= 44 => "embstr",
            Kind::Inline | Kind::Raw => "raw",
            Kind::Hash => self.hash().map_or("", |hash| hash.encoding()),
            kind => with_collection!(kind, T => {
                self.collection::<T>().map_or("", |value| value.encoding())
            }, ""),
        }
    }

    /// Whether an edit holds the value.
    #[inline]
    pub fn is_taken(&self) -> bool {
        let shape = self.shape();
        shape.kind() != Kind::Int && shape.has_word() && self.word(&shape) == 0
    }

    /// Whether the value lies inside the block, so that it is taken as a copy.
    #[inline]
    pub fn is_inline(&self) -> bool {
        self.shape().is_inline()
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {}", self.kind(), String::from_utf8_lossy(self.key()))
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let shape = self.shape();
        if shape.has_word() {
            drop(from_word(shape.kind(), self.word(&shape)));
        }
        // SAFETY: the block was allocated with the layout of this very shape.
        unsafe { dealloc(self.0.as_ptr(), shape.layout()) };
    }
}

/// The bytes of a value that belongs inside its entry.
fn packed_bytes(value: &Value) -> Option<&[u8]> {
    let Value::Hash(hash) = value else { return None };
    hash.packed_bytes().filter(|bytes| bytes.len() <= PACKED_BYTES_MAX)
}

fn into_word(value: Value) -> (Kind, u64) {
    let kind = value.kind();
    let word = match value {
        Value::Int(number) => number as u64,
        Value::Str(text) => Box::into_raw(Box::new(text)) as u64,
        Value::List(value) => Box::into_raw(value) as u64,
        Value::Set(value) => Box::into_raw(value) as u64,
        Value::SortedSet(value) => Box::into_raw(value) as u64,
        Value::Hash(value) => Box::into_raw(value) as u64,
        Value::Stream(value) => Box::into_raw(value) as u64,
    };
    (kind, word)
}

/// The value behind a word that `into_word` made; `None` for a taken one. The word must not be
/// used again.
fn from_word(kind: Kind, word: u64) -> Option<Value> {
    match kind {
        Kind::Int => return Some(Value::Int(word as i64)),
        Kind::Inline => return None,
        _ if word == 0 => return None,
        // SAFETY: the word came from `Box::into_raw` of exactly this type, and callers forget it.
        Kind::Raw => return Some(Value::Str(*unsafe { Box::from_raw(word as *mut Text) })),
        _ => {}
    }
    // SAFETY: as above.
    with_collection!(kind, T => Some(T::into_value(unsafe { Box::from_raw(word as *mut T) })), None)
}
