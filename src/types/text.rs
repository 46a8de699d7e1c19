//! Strings with a buffer of their own, which can be walked while they change.
//!
//! A string's bytes lie in one row, so that readers have them as they are; what is bounded is the
//! walk. It goes from the first byte to the last. A change ahead of it first *meets* the pages
//! that it touches (see [`crate::types::walk`]): they are copied for the walk, which puts them
//! where they belong when it comes there. So a bit that is set in a string of 500 megabytes
//! copies one page, and a string that is removed or replaced goes to the walk as it is.
//!
//! The bytes are shared with replies that have not left (see [`crate::resp::replies`]), and a
//! change that finds them shared makes a copy for itself: as much as each reply would have copied.
//!
//! Invariant: for every walk and every page of it that lies ahead: the page was met and saved, or
//! it is in the string as it was when the walk began.

use crate::types::alloc;
use crate::types::walk::{Open, Part, Prelude, Remains, Tally, WalkId, Walked};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::{Deref, Range};
use triomphe::Arc;

/// What a change copies at least.
const PAGE_BYTES: usize = 4096;

/// A string that owns its bytes.
#[derive(Debug, Default)]
pub struct Text {
    bytes: Arc<Vec<u8>>,
    walks: Option<Box<Open<Walk>>>,
}

/// A walk.
#[derive(Debug)]
struct Walk {
    /// The bytes that there were when it began.
    len: usize,
    /// The first byte that has not been handed out: a page begins there, or it is the end.
    next: usize,
    /// Pages that were met, by where they begin.
    saved: BTreeMap<usize, Box<[u8]>>,
    /// Counts them.
    tally: Tally,
}

impl Text {
    /// Heap bytes, by allocator classes.
    pub fn heap_bytes(&self) -> usize {
        const COUNTED: usize = std::mem::size_of::<usize>() + std::mem::size_of::<Vec<u8>>();
        alloc::class(self.bytes.capacity()) + alloc::class(COUNTED)
    }

    /// Its bytes, which stay as they are whatever becomes of the string.
    pub fn lend(&self) -> Bytes {
        struct Lent(Arc<Vec<u8>>);
        impl AsRef<[u8]> for Lent {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        Bytes::from_owner(Lent(self.bytes.clone()))
    }

    /// Some of its bytes, to be changed; none when it does not reach so far.
    #[inline]
    pub fn at_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        if self.walks.is_some() {
            self.meet(range.clone());
        }
        Arc::make_mut(&mut self.bytes).get_mut(range).unwrap_or_default()
    }

    /// Adds bytes at the end.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) {
        let own = Arc::make_mut(&mut self.bytes);
        make_room(own, bytes.len());
        own.extend_from_slice(bytes);
    }

    /// Makes it `len` bytes long with zeros at the end, unless it is longer.
    #[inline]
    pub fn reach(&mut self, len: usize) {
        if self.bytes.len() < len {
            let own = Arc::make_mut(&mut self.bytes);
            make_room(own, len - own.len());
            own.resize(len, 0);
        }
    }

    /// Puts bytes at a place, with zeros before it where there is nothing.
    #[inline]
    pub fn put(&mut self, at: usize, bytes: &[u8]) {
        let end = at.saturating_add(bytes.len());
        self.reach(end);
        self.at_mut(at..end).copy_from_slice(bytes);
    }

    /// All its bytes, to be changed in any way; for strings that are not long.
    pub fn all_mut(&mut self) -> &mut Vec<u8> {
        if self.walks.is_some() {
            self.meet(0..self.bytes.len());
        }
        Arc::make_mut(&mut self.bytes)
    }

    #[cold]
    #[inline(never)]
    fn meet(&mut self, range: Range<usize>) {
        for walk in self.walks.iter_mut().flat_map(|walks| walks.iter_mut()) {
            walk.meet(&self.bytes, range.clone());
        }
    }
}

/// Lets a string grow by so many bytes. One that grows again and again has room for more: as much
/// again while it is short, an eighth of it when it is long.
#[inline]
fn make_room(bytes: &mut Vec<u8>, more: usize) {
    const DOUBLED_MAX: usize = 1 << 20;
    if bytes.capacity() - bytes.len() < more {
        let len = bytes.len().saturating_add(more);
        let spare = if bytes.is_empty() { 0 } else { len.min(DOUBLED_MAX.max(len / 8)) };
        bytes.reserve_exact(more.saturating_add(spare));
    }
}

impl Walk {
    fn meet(&mut self, bytes: &[u8], range: Range<usize>) {
        let (from, to) = (range.start.max(self.next), range.end.min(self.len));
        if from >= to {
            return;
        }
        for page in (from / PAGE_BYTES * PAGE_BYTES..to).step_by(PAGE_BYTES) {
            self.saved.entry(page).or_insert_with(|| {
                let there = bytes.get(page..self.len.min(page + PAGE_BYTES)).unwrap_or_default();
                self.tally.add(there.len());
                there.into()
            });
        }
    }

    fn next_part(&mut self, bytes: &[u8], most: usize) -> Option<Vec<u8>> {
        let pages = (most / PAGE_BYTES).max(1) * PAGE_BYTES;
        let end = self.len.min(self.next.saturating_add(pages));
        if self.next >= end {
            return None;
        }
        let mut part = Vec::with_capacity(end - self.next);
        while let Some(page) = self.saved.first_entry().filter(|page| *page.key() < end) {
            part.extend_from_slice(bytes.get(self.next..*page.key()).unwrap_or_default());
            let (at, saved) = page.remove_entry();
            self.next = at + saved.len();
            part.extend_from_slice(&saved);
        }
        part.extend_from_slice(bytes.get(self.next..end).unwrap_or_default());
        self.next = end;
        Some(part)
    }
}

/// A copy has no walks.
impl Clone for Text {
    fn clone(&self) -> Text {
        Text { bytes: self.bytes.clone(), walks: None }
    }
}

impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Text {
        Text { bytes: Arc::new(bytes), walks: None }
    }
}

impl Deref for Text {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Walked for Text {
    fn prelude(&self) -> Prelude {
        Prelude::Text { bytes: self.len() }
    }

    fn open_walk(&mut self, id: WalkId, tally: Tally) {
        let (len, saved) = (self.len(), BTreeMap::new());
        self.walks.get_or_insert_default().begin(id, Walk { len, next: 0, saved, tally });
    }

    fn next_part(&mut self, id: WalkId, bytes: usize) -> Option<Part> {
        let walk = self.walks.as_mut()?.one(id)?;
        walk.next_part(&self.bytes, bytes).map(Part::Bytes)
    }

    fn end_walk(&mut self, id: WalkId) -> Option<Remains> {
        let ended = self.walks.as_mut()?.end(id);
        self.walks.take_if(|walks| walks.is_empty());
        ended
    }

    fn walks(&self) -> Vec<WalkId> {
        self.walks.iter().flat_map(|walks| walks.ids()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Text, PAGE_BYTES};
    use crate::types::walk::{Part, Tally, WalkId, Walked};
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    fn change(text: &mut Text, rng: &mut SmallRng) {
        let from = rng.random_range(0..text.len().max(1) + 20);
        let len = [1, 30, PAGE_BYTES, 3 * PAGE_BYTES][rng.random_range(0..4)];
        let len = rng.random_range(0..=len);
        match rng.random_range(0..20) {
            0..12 => text.at_mut(from..from + len).fill(rng.random()),
            12..14 => text.push(&vec![rng.random(); len]),
            14 => text.put(from, &vec![rng.random(); len]),
            15..17 => text.reach(from),
            17 => text.all_mut().reverse(),
            18 => text.all_mut().truncate(from),
            _ => text.all_mut().splice(..0, [7; 9]).for_each(drop),
        }
    }

    #[test]
    fn walks_give_the_bytes_that_were_there() {
        let mut rng = SmallRng::seed_from_u64(6);
        let mut text = Text::from(vec![1; 9 * PAGE_BYTES + 5]);
        let mut walks: Vec<(WalkId, Tally, Vec<u8>, Vec<u8>)> = Vec::new();
        let (mut complete, mut left) = (0, 0);
        for number in 0..20_000 {
            change(&mut text, &mut rng);
            if text.len() > 20 * PAGE_BYTES {
                text.all_mut().truncate(7 * PAGE_BYTES);
            }
            if walks.len() < 3 && rng.random_bool(0.05) {
                let tally = Tally::default();
                text.open_walk(WalkId(number), tally.clone());
                walks.push((WalkId(number), tally, text.to_vec(), Vec::new()));
            }
            assert_eq!(text.walks().len(), walks.len());
            walks.retain_mut(|(id, tally, expected, seen)| {
                if rng.random_bool(0.8) {
                    return true;
                }
                let most = rng.random_range(1..3 * PAGE_BYTES);
                let part = text.next_part(*id, most);
                if let Some(Part::Bytes(part)) = &part {
                    assert!(part.len() <= most.max(PAGE_BYTES) && !part.is_empty());
                    seen.extend_from_slice(part);
                    assert!(expected.starts_with(seen));
                    if rng.random_bool(0.98) {
                        return true;
                    }
                    left += 1;
                } else {
                    assert_eq!(seen.len(), expected.len());
                    complete += 1;
                }
                assert!(tally.bytes() <= expected.len() as u64);
                assert!(text.end_walk(*id).is_some() && text.end_walk(*id).is_none());
                false
            });
        }
        assert!(complete > 200 && left > 20, "{complete} walks, {left} left in the midst");
    }

    #[test]
    fn a_string_that_grows_has_room_in_proportion() {
        for (len, most) in [(100, 300), (3 << 20, 5 << 20), (40 << 20, 46 << 20)] {
            let mut text = Text::from(vec![1; len]);
            text.push(b"x");
            let room = text.bytes.capacity();
            assert!((len + 50..=most).contains(&room), "{room} for {len}");
            text.put(text.len() + 9, b"y");
            assert_eq!((text.bytes.capacity(), text.len()), (room, len + 11));
            text.reach(room + 1);
            assert_eq!(
                (text.len(), text[len], text[len + 1], text[len + 10]),
                (room + 1, b'x', 0, b'y')
            );
        }
    }

    #[test]
    fn what_is_lent_stays_as_it_was() {
        let mut text = Text::from(vec![1; 5]);
        let place = text.as_ptr();
        let lent = text.lend();
        assert_eq!(lent.as_ptr(), place);
        text.push(b"more");
        text.at_mut(0..2).fill(2);
        assert_eq!((&lent[..], text.len(), text[0]), (&[1; 5][..], 9, 2));
        // Nobody else has it any more: nothing is copied.
        let place = text.as_ptr();
        drop((text.lend(), lent));
        text.at_mut(0..2).fill(3);
        assert_eq!(text.as_ptr(), place);
    }

    #[test]
    fn a_change_copies_the_pages_that_it_touches() {
        let mut text = Text::from(vec![1; 100 * PAGE_BYTES]);
        text.at_mut(0..9).fill(2);
        let tally = Tally::default();
        text.open_walk(WalkId(1), tally.clone());
        text.at_mut(50 * PAGE_BYTES..50 * PAGE_BYTES + 1).fill(3);
        text.at_mut(50 * PAGE_BYTES + 9..50 * PAGE_BYTES + 10).fill(3);
        assert_eq!(tally.bytes(), PAGE_BYTES as u64);
        text.push(b"more");
        assert!(text.next_part(WalkId(1), PAGE_BYTES).is_some());
        text.at_mut(0..9).fill(2);
        assert_eq!(tally.bytes(), PAGE_BYTES as u64);
        text.at_mut(2 * PAGE_BYTES - 1..2 * PAGE_BYTES + 1).fill(2);
        assert_eq!(tally.bytes(), 3 * PAGE_BYTES as u64);
    }
}
