//! One node of a large list, and how much may go into it.

use crate::types::alloc::class;
use crate::types::compact::{Item, Listpack};
use crate::types::limits::Limits;
use crate::types::shared::Shared;

/// Bytes of a packed node where only a number of elements limits it, and of the largest element
/// that is then packed.
const SAFE_BYTES: usize = 8192;
/// What an element is taken to need beside its text; a little too much, so that a node never
/// passes its limit.
const ENTRY_OVERHEAD: usize = 8;
const PACK_FRAME_BYTES: usize = 7;

/// The bound of a packed node, as `list-max-listpack-size` states it.
#[derive(Clone, Copy)]
enum Bound {
    Bytes(usize),
    Count(usize),
}

fn bound(limits: &Limits) -> Bound {
    match limits.list_max_listpack_size {
        0 => Bound::Count(1),
        count @ 1.. => Bound::Count(count as usize),
        level => Bound::Bytes(4096 << (-1 - level.max(-5))),
    }
}

/// Whether a packed node of `bytes` and `count` elements would be too large.
pub(super) fn exceeds(limits: &Limits, bytes: usize, count: usize) -> bool {
    match bound(limits) {
        Bound::Bytes(most) => bytes > most,
        Bound::Count(most) => bytes > SAFE_BYTES || count > most,
    }
}

/// Whether a lone packed node is so far below its bound that the list becomes small again: half,
/// so that a push and a pop at the bound do not convert each time.
pub(super) fn is_half_empty(limits: &Limits, bytes: usize, count: usize) -> bool {
    match bound(limits) {
        Bound::Bytes(most) => bytes <= most / 2,
        Bound::Count(most) => count <= most / 2,
    }
}

/// Whether an element of `bytes` gets a node of its own.
pub(super) fn is_large(limits: &Limits, bytes: usize) -> bool {
    match (limits.list_packed_threshold, bound(limits)) {
        (0, Bound::Bytes(most)) => bytes > most,
        (0, Bound::Count(_)) => bytes > SAFE_BYTES,
        (threshold, _) => bytes >= threshold,
    }
}

#[derive(Clone)]
pub(super) enum Node {
    /// Elements side by side; the count stands here so that a walk need not touch the pack.
    Packed { count: u32, pack: Shared<Listpack> },
    /// One element too large to be moved about with others.
    Plain(Shared<Box<[u8]>>),
}

impl Node {
    /// A node of one element.
    pub(super) fn new(limits: &Limits, text: &[u8]) -> Node {
        if is_large(limits, text.len()) {
            return Node::plain(text.into());
        }
        let mut pack = Listpack::new();
        pack.push_back(text);
        Node::Packed { count: 1, pack: Shared::new(pack) }
    }

    pub(super) fn plain(text: Box<[u8]>) -> Node {
        Node::Plain(Shared::new(text))
    }

    pub(super) fn packed(pack: Listpack) -> Node {
        Node::Packed { count: pack.len() as u32, pack: Shared::new(pack) }
    }

    #[inline]
    pub(super) fn count(&self) -> usize {
        match self {
            Node::Packed { count, .. } => *count as usize,
            Node::Plain(_) => 1,
        }
    }

    /// Bytes of the blob or the element.
    #[inline]
    pub(super) fn bytes(&self) -> usize {
        match self {
            Node::Packed { pack, .. } => pack.byte_len(),
            Node::Plain(text) => text.len(),
        }
    }

    #[inline]
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Node::Packed { pack, .. } => Shared::<Listpack>::OWN_BYTES + pack.heap_bytes(),
            Node::Plain(text) => Shared::<Box<[u8]>>::OWN_BYTES + class(text.len()),
        }
    }

    /// Whether an element of `text_bytes` may join this node.
    #[inline]
    pub(super) fn admits(&self, limits: &Limits, text_bytes: usize) -> bool {
        match self {
            Node::Plain(_) => false,
            Node::Packed { count, pack } => {
                let bytes = pack.byte_len().saturating_add(text_bytes) + ENTRY_OVERHEAD;
                !is_large(limits, text_bytes) && !exceeds(limits, bytes, *count as usize + 1)
            }
        }
    }

    /// Whether this node and the next one may become one.
    pub(super) fn may_absorb(&self, limits: &Limits, next: &Node) -> bool {
        match (self, next) {
            (Node::Packed { .. }, Node::Packed { .. }) => {
                let bytes = self.bytes() + next.bytes() - PACK_FRAME_BYTES;
                !exceeds(limits, bytes, self.count() + next.count())
            }
            _ => false,
        }
    }

    /// Puts an element before the one with this index (the count appends), into a packed node
    /// that admits it.
    #[inline]
    pub(super) fn insert(&mut self, index: usize, text: &[u8]) {
        let Node::Packed { count, pack } = self else { return };
        let pack = pack.open();
        if index == 0 {
            pack.push_front(text);
        } else if index >= *count as usize {
            pack.push_back(text);
        } else {
            let pos = pack.seek(index).unwrap_or(pack.end());
            pack.insert(pos, text);
        }
        *count += 1;
    }

    /// Makes room for `bytes` of packed elements in all.
    pub(super) fn reserve(&mut self, bytes: usize) {
        if let Node::Packed { pack, .. } = self {
            pack.open().reserve(bytes);
        }
    }

    /// Gives back the room for more, when the node no longer stands at an end; returns the bytes
    /// that it has packed.
    pub(super) fn seal(&mut self) -> usize {
        match self {
            Node::Plain(_) => 0,
            Node::Packed { pack, .. } => {
                let pack = pack.open();
                pack.shrink_to_fit();
                pack.byte_len()
            }
        }
    }

    /// Takes up to `wanted` elements out of a packed node from this index on.
    pub(super) fn remove(&mut self, index: usize, wanted: usize) {
        let Node::Packed { count, pack } = self else { return };
        *count -= pack.open().remove_range(index, wanted) as u32;
    }

    /// Cuts a packed node before the element with this index; returns what was behind.
    pub(super) fn split_off(&mut self, index: usize) -> Option<Node> {
        let Node::Packed { count, pack } = self else { return None };
        let pos = pack.seek(index)?;
        let tail = Shared::new(pack.open().split_off(pos));
        let left = index as u32;
        let split = Node::Packed { count: *count - left, pack: tail };
        *count = left;
        Some(split)
    }

    pub(super) fn absorb(&mut self, next: &Node) {
        if let (Node::Packed { count, pack }, Node::Packed { count: more, pack: tail }) =
            (self, next)
        {
            pack.open().append(tail);
            *count += more;
        }
    }

    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<Item<'_>> {
        match self {
            Node::Packed { pack, .. } => Some(pack.get(pack.seek(index)?)),
            Node::Plain(text) => (index == 0).then_some(Item::Bytes(text)),
        }
    }
}
