//! Lists: one listpack while small, a deque of packed nodes when large.
//!
//! A list becomes large when what is pushed would take the listpack over the bound of one node
//! (`list-max-listpack-size`), counted as Redis counts it: the texts' bytes without their
//! framing, all texts of one call together. It becomes small again when something is taken out or
//! exchanged and one packed node remains that fills at most half of the bound.
//!
//! Invariant: `check` holds after every call; the node bound is only ever passed by the framing
//! of what one call pushed.

mod iter;
mod node;
mod quick;

#[cfg(test)]
mod tests;

pub use iter::Iter;
pub use quick::End;

use super::alloc::class;
use super::compact::Needle;
use super::compact::{Item, Listpack};
use super::limits::Limits;
use super::shared::Sharable;
use node::{exceeds, is_half_empty, Node};
use quick::Quick;

/// A list of byte strings.
#[derive(Clone)]
pub struct List(Body);

#[derive(Clone)]
enum Body {
    Small(Listpack),
    Large(Box<Quick>),
}

/// A part of a list as files carry it.
pub enum Chunk<'a> {
    /// Elements packed together.
    Packed(&'a Listpack),
    /// One large element.
    Plain(&'a [u8]),
}

impl Default for List {
    fn default() -> Self {
        List::new()
    }
}

impl List {
    /// An empty list.
    pub fn new() -> Self {
        List(Body::Small(Listpack::new()))
    }

    /// Elements.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.0 {
            Body::Small(pack) => pack.len(),
            Body::Large(quick) => quick.len(),
        }
    }

    /// Whether there is no element.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// OBJECT ENCODING's word.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Body::Small(_) => "listpack",
            Body::Large(_) => "quicklist",
        }
    }

    /// Heap memory below the value.
    #[inline]
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Body::Small(pack) => pack.heap_bytes(),
            Body::Large(quick) => class(size_of::<Quick>()) + quick.heap_bytes(),
        }
    }

    /// Heap memory that a copy takes for itself: a large list shares its nodes with its copies.
    pub fn copy_bytes(&self) -> usize {
        match &self.0 {
            Body::Small(pack) => pack.copy_bytes(),
            Body::Large(quick) => class(size_of::<Quick>()) + quick.copy_bytes(),
        }
    }

    /// Nodes of a large list; `None` for a small one.
    pub fn nodes(&self) -> Option<usize> {
        match &self.0 {
            Body::Small(_) => None,
            Body::Large(quick) => Some(quick.nodes()),
        }
    }

    /// The index that `index` means, with -1 for the last element, if it is in the list.
    #[inline]
    pub fn resolve(&self, index: i64) -> Option<usize> {
        let len = self.len();
        let index = match usize::try_from(index) {
            Ok(index) => index,
            Err(_) => len.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)?,
        };
        (index < len).then_some(index)
    }

    /// The element with this index.
    pub fn get(&self, index: usize) -> Option<Item<'_>> {
        match &self.0 {
            Body::Small(pack) => Some(pack.get(pack.seek(index)?)),
            Body::Large(quick) => {
                let (spot, offset) = quick.locate(index)?;
                quick.node(spot)?.get(offset)
            }
        }
    }

    /// All elements from the first on.
    pub fn iter(&self) -> Iter<'_> {
        self.range(0, End::Right, usize::MAX)
    }

    /// At most `count` elements from the one with this index on, towards an end.
    pub fn range(&self, index: usize, towards: End, count: usize) -> Iter<'_> {
        Iter::new(self, index, towards, count)
    }

    /// The indexes of the elements equal to `text`, found from the end `from` within the first
    /// `most` elements there.
    pub fn positions<'a>(
        &'a self,
        text: &'a [u8],
        from: End,
        most: usize,
    ) -> impl Iterator<Item = usize> + 'a {
        let last = self.len().saturating_sub(1);
        let (start, towards) = match from {
            End::Left => (0, End::Right),
            End::Right => (last, End::Left),
        };
        let needle = Needle::new(text);
        let steps = self.range(start, towards, most).enumerate();
        let found = steps.filter(move |(_, item)| needle.matches(item)).map(|(step, _)| step);
        found.map(move |step| if from == End::Left { step } else { last - step })
    }

    /// Adds an element at an end.
    #[inline]
    pub fn push(&mut self, end: End, text: &[u8], limits: &Limits) {
        self.grow(text.len(), 1, limits);
        self.add(end, text, limits);
    }

    /// Adds elements at an end, one after the other: the last one is outermost.
    pub fn push_all<'t>(
        &mut self,
        end: End,
        texts: impl Iterator<Item = &'t [u8]> + Clone,
        limits: &Limits,
    ) {
        let bytes = texts.clone().fold(0usize, |sum, text| sum.saturating_add(text.len()));
        self.grow(bytes, texts.clone().count(), limits);
        for text in texts {
            self.add(end, text, limits);
        }
    }

    /// Takes the element at an end out, after `read` has seen it.
    #[inline]
    pub fn pop<R>(
        &mut self,
        end: End,
        limits: &Limits,
        read: impl FnOnce(Item<'_>) -> R,
    ) -> Option<R> {
        match &mut self.0 {
            Body::Small(pack) => {
                let pos = if end == End::Left { pack.first() } else { pack.last() }?;
                let result = read(pack.get(pos));
                pack.remove(pos);
                Some(result)
            }
            Body::Large(quick) => {
                let result = quick.pop(end, read);
                self.shrink(limits);
                result
            }
        }
    }

    /// Moves the element at one end to an end of the same list; returns it.
    pub fn rotate(&mut self, from: End, to: End, limits: &Limits) -> Option<Vec<u8>> {
        let text = match &mut self.0 {
            Body::Small(_) => self.pop(from, limits, |item| item.to_vec())?,
            Body::Large(quick) => quick.pop(from, |item| item.to_vec())?,
        };
        self.push(to, &text, limits);
        self.shrink(limits);
        Some(text)
    }

    /// Exchanges the element with this index, with -1 for the last; whether there is one.
    pub fn set(&mut self, index: i64, text: &[u8], limits: &Limits) -> bool {
        // Redis: even an index outside lets the list grow large.
        self.grow(text.len(), 1, limits);
        let Some(index) = self.resolve(index) else { return false };
        match &mut self.0 {
            Body::Small(pack) => {
                if let Some(pos) = pack.seek(index) {
                    pack.replace(pos, text);
                }
            }
            Body::Large(quick) => {
                quick.set(index, text, limits);
                self.shrink(limits);
            }
        }
        true
    }

    /// Puts an element before or after the first one equal to `pivot`; whether there is one.
    pub fn insert(&mut self, pivot: &[u8], after: bool, text: &[u8], limits: &Limits) -> bool {
        // Redis: even without the pivot the list may grow large.
        self.grow(text.len(), 1, limits);
        let found = self.positions(pivot, End::Left, usize::MAX).next();
        let Some(index) = found else { return false };
        match &mut self.0 {
            Body::Small(pack) => {
                let pos = pack.seek(index + after as usize).unwrap_or(pack.end());
                pack.insert(pos, text);
            }
            Body::Large(quick) => {
                quick.insert(index, after, text, limits);
            }
        }
        true
    }

    /// Takes out elements equal to `text`, at most `most`, from an end; returns how many.
    pub fn remove(&mut self, text: &[u8], from: End, most: usize, limits: &Limits) -> usize {
        let needle = Needle::new(text);
        match &mut self.0 {
            Body::Small(pack) => {
                let matches = pack.iter().filter(|item| needle.matches(item)).count();
                let removed = matches.min(most);
                let mut spared = if from == End::Left { 0 } else { matches - removed };
                let mut left = removed;
                pack.remove_if(|item| {
                    if left == 0 || !needle.matches(item) {
                        return false;
                    }
                    let is_spared = spared > 0;
                    spared -= is_spared as usize;
                    left -= !is_spared as usize;
                    !is_spared
                })
            }
            Body::Large(quick) => {
                let removed = quick.remove(&needle, from, most);
                if removed > 0 {
                    self.shrink(limits);
                }
                removed
            }
        }
    }

    /// Takes out up to `count` elements from the one with this index on.
    pub fn remove_range(&mut self, index: usize, count: usize, limits: &Limits) {
        match &mut self.0 {
            Body::Small(pack) => {
                pack.remove_range(index, count);
            }
            Body::Large(quick) => {
                quick.remove_range(index, count);
                self.shrink(limits);
            }
        }
    }

    /// Leaves only `count` elements from the one with this index on; returns how many went.
    pub fn trim(&mut self, index: usize, count: usize, limits: &Limits) -> usize {
        let len = self.len();
        let end = index.saturating_add(count).min(len);
        let (left, right) = if index >= end { (len, 0) } else { (index, len - end) };
        match &mut self.0 {
            Body::Small(pack) => {
                pack.remove_range(len - right, right);
                pack.remove_range(0, left);
            }
            Body::Large(quick) => {
                quick.remove_range(len - right, right);
                quick.remove_range(0, left);
                self.shrink(limits);
            }
        }
        left + right
    }

    /// The parts of the list, in order, as files carry them.
    pub fn chunks(&self) -> impl Iterator<Item = Chunk<'_>> {
        let (pack, quick) = match &self.0 {
            Body::Small(pack) => (Some(pack), None),
            Body::Large(quick) => (None, Some(quick)),
        };
        let nodes = quick.into_iter().flat_map(|quick| &quick.groups).flat_map(|g| g.nodes.iter());
        pack.into_iter().map(Chunk::Packed).chain(nodes.map(|node| match node {
            Node::Packed { pack, .. } => Chunk::Packed(pack),
            Node::Plain(text) => Chunk::Plain(text),
        }))
    }

    /// Appends a whole part, as a file gave it; the list is large from then on, until `settle`.
    pub fn append_packed(&mut self, pack: Listpack) {
        if !pack.is_empty() {
            self.enlarge().push_node(End::Right, Node::packed(pack));
        }
    }

    /// Appends one large element as a part of its own.
    pub fn append_plain(&mut self, text: Box<[u8]>) {
        self.enlarge().push_node(End::Right, Node::plain(text));
    }

    /// Chooses the encoding for a list that was put together part by part.
    pub fn settle(&mut self, limits: &Limits) {
        self.shrink_if(|bytes, count| !exceeds(limits, bytes, count));
        self.grow(0, 0, limits);
    }

    /// Frees a bounded piece of the list from its end; false when it is empty.
    pub fn pop_chunk(&mut self) -> bool {
        const ELEMENTS: usize = 128;
        match &mut self.0 {
            Body::Small(pack) => {
                let had = !pack.is_empty();
                pack.clear();
                had
            }
            Body::Large(quick) => {
                let aim = quick.len().saturating_sub(ELEMENTS);
                let had = quick.len() > 0;
                while quick.len() > aim && quick.pop_node() {}
                had
            }
        }
    }

    /// Panics when an invariant is broken.
    pub fn check(&self) {
        match &self.0 {
            Body::Small(pack) => pack.check(),
            Body::Large(quick) => quick.check(),
        }
    }

    /// Adds an element to what `grow` has made ready for it.
    #[inline]
    fn add(&mut self, end: End, text: &[u8], limits: &Limits) {
        match (&mut self.0, end) {
            (Body::Small(pack), End::Left) => pack.push_front(text),
            (Body::Small(pack), End::Right) => pack.push_back(text),
            (Body::Large(quick), _) => quick.push(end, text, limits),
        }
    }

    /// Makes the list large if `bytes` of text in `count` elements are too much for a small one.
    #[inline]
    fn grow(&mut self, bytes: usize, count: usize, limits: &Limits) {
        if let Body::Small(pack) = &self.0 {
            let bytes = bytes.saturating_add(pack.byte_len());
            if exceeds(limits, bytes, pack.len() + count) {
                self.enlarge();
            }
        }
    }

    fn enlarge(&mut self) -> &mut Quick {
        if let Body::Small(pack) = &mut self.0 {
            let pack = std::mem::take(pack);
            let mut quick = Box::new(Quick::default());
            if !pack.is_empty() {
                quick.push_node(End::Right, Node::packed(pack));
            }
            self.0 = Body::Large(quick);
        }
        match &mut self.0 {
            Body::Large(quick) => quick,
            Body::Small(_) => unreachable!("the list was made large above"),
        }
    }

    #[inline]
    fn shrink(&mut self, limits: &Limits) {
        self.shrink_if(|bytes, count| is_half_empty(limits, bytes, count));
    }

    #[inline]
    fn shrink_if(&mut self, fits: impl Fn(usize, usize) -> bool) {
        if let Body::Large(quick) = &mut self.0 {
            if let Some(pack) = quick.lone_pack(fits) {
                self.0 = Body::Small(pack);
            }
        }
    }
}
