//! The integer set: sorted integers of one width in one block.
//!
//! Redis's format to the byte: four bytes of width (2, 4 or 8), four of count, then the integers,
//! little-endian, ascending and distinct. The width grows with the first integer that needs it
//! and never shrinks.
//!
//! Invariant: the block is a valid integer set at all times (`valid` is the definition).

use super::blob::Blob;

const HEADER_BYTES: usize = 8;

/// A sorted set of integers.
#[derive(Clone)]
pub struct Intset(Blob);

impl Default for Intset {
    fn default() -> Self {
        Intset::new()
    }
}

impl PartialEq for Intset {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Intset {}

impl std::fmt::Debug for Intset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Intset {
    /// An empty set, of the smallest width.
    pub fn new() -> Self {
        Intset(Blob::new(vec![2, 0, 0, 0, 0, 0, 0, 0]))
    }

    /// Takes over foreign bytes; `None` unless they are one whole, ascending integer set.
    pub fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        valid(&bytes).then(|| Intset(Blob::new(bytes)))
    }

    /// The blob, as files carry it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0[..self.byte_len()]
    }

    /// Bytes of the blob.
    #[inline]
    pub fn byte_len(&self) -> usize {
        HEADER_BYTES + self.len() * self.width()
    }

    /// Members.
    #[inline]
    pub fn len(&self) -> usize {
        u32::from_le_bytes([self.0[4], self.0[5], self.0[6], self.0[7]]) as usize
    }

    /// Whether there is no member.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Heap memory of the blob.
    #[inline]
    pub fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }

    /// Heap memory that a copy takes for itself: a long blob is shared until it is changed.
    #[inline]
    pub fn copy_bytes(&self) -> usize {
        self.0.copy_bytes()
    }

    /// Whether `number` is a member.
    #[inline]
    pub fn contains(&self, number: i64) -> bool {
        width_of(number) <= self.width() && self.search(number).is_ok()
    }

    /// The index of `number` in ascending order.
    pub fn index_of(&self, number: i64) -> Option<usize> {
        self.search(number).ok()
    }

    /// The member with this index in ascending order.
    #[inline]
    pub fn get(&self, index: usize) -> Option<i64> {
        (index < self.len()).then(|| self.read(index))
    }

    /// Adds a member; whether it is new.
    pub fn insert(&mut self, number: i64) -> bool {
        let width = width_of(number);
        if width > self.width() {
            self.widen(width);
        }
        let Err(index) = self.search(number) else { return false };
        let (width, count) = (self.width(), self.len());
        let (start, end) = (self.offset(index), self.offset(count));
        self.0.grow(end + width);
        self.0.copy_within(start..end, start + width);
        self.write(index, number);
        self.write_count(count + 1);
        true
    }

    /// Takes a member out; whether it was one.
    pub fn remove(&mut self, number: i64) -> bool {
        match self.search(number) {
            Ok(index) => {
                self.remove_at(index);
                true
            }
            Err(_) => false,
        }
    }

    /// Takes the member with this index out.
    pub fn remove_at(&mut self, index: usize) -> Option<i64> {
        let number = self.get(index)?;
        let count = self.len();
        let (start, end, width) = (self.offset(index), self.offset(count), self.width());
        self.0.copy_within(start + width..end, start);
        self.write_count(count - 1);
        let bytes = self.byte_len();
        self.0.shrink(bytes);
        Some(number)
    }

    /// The smallest member.
    pub fn min(&self) -> Option<i64> {
        self.get(0)
    }

    /// The largest member.
    pub fn max(&self) -> Option<i64> {
        self.get(self.len().checked_sub(1)?)
    }

    /// The members in ascending order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = i64> + ExactSizeIterator + Clone + '_ {
        (0..self.len()).map(|index| self.read(index))
    }

    /// Panics unless the blob is well-formed.
    pub fn check(&self) {
        assert!(valid(self.as_bytes()), "malformed intset");
        assert_eq!(
            crate::types::alloc::class(self.0.len()),
            self.0.len(),
            "capacity is not an allocator class"
        );
    }

    /// Bytes of a member; the header's first byte says it all.
    #[inline]
    fn width(&self) -> usize {
        self.0[0] as usize
    }

    #[inline]
    fn offset(&self, index: usize) -> usize {
        HEADER_BYTES + index * self.width()
    }

    #[inline]
    fn read(&self, index: usize) -> i64 {
        read(&self.0[HEADER_BYTES..], self.width(), index)
    }

    fn write(&mut self, index: usize, number: i64) {
        let (start, width) = (self.offset(index), self.width());
        self.0[start..start + width].copy_from_slice(&number.to_le_bytes()[..width]);
    }

    fn write_count(&mut self, count: usize) {
        self.0[4..8].copy_from_slice(&(count as u32).to_le_bytes());
    }

    #[inline]
    fn search(&self, number: i64) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        // Members often arrive in ascending order.
        if high > 0 && self.read(high - 1) < number {
            return Err(high);
        }
        while low < high {
            let middle = (low + high) / 2;
            match self.read(middle).cmp(&number) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// Rewrites every member with `width` bytes.
    fn widen(&mut self, width: usize) {
        let (old_width, count) = (self.width(), self.len());
        self.0.grow(HEADER_BYTES + count * width);
        self.0[0] = width as u8;
        for index in (0..count).rev() {
            let number = read(&self.0[HEADER_BYTES..], old_width, index);
            self.write(index, number);
        }
    }
}

#[inline]
fn width_of(number: i64) -> usize {
    if i16::try_from(number).is_ok() {
        2
    } else if i32::try_from(number).is_ok() {
        4
    } else {
        8
    }
}

#[inline]
fn read(members: &[u8], width: usize, index: usize) -> i64 {
    let member = &members[index * width..(index + 1) * width];
    match *member {
        [a, b] => i16::from_le_bytes([a, b]) as i64,
        [a, b, c, d] => i32::from_le_bytes([a, b, c, d]) as i64,
        [a, b, c, d, e, f, g, h] => i64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => 0,
    }
}

fn valid(block: &[u8]) -> bool {
    let [width @ (2 | 4 | 8), 0, 0, 0, a, b, c, d, members @ ..] = block else { return false };
    let (width, count) = (*width as usize, u32::from_le_bytes([*a, *b, *c, *d]) as usize);
    if count.checked_mul(width) != Some(members.len()) {
        return false;
    }
    (1..count).all(|index| read(members, width, index - 1) < read(members, width, index))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};
    use std::collections::BTreeSet;

    fn number(rng: &mut SmallRng, bits: u32) -> i64 {
        rng.random::<i64>() >> (64 - bits)
    }

    #[test]
    fn agrees_with_a_btree_set() {
        for seed in 0..40 {
            let mut rng = SmallRng::seed_from_u64(seed);
            let bits = [4, 9, 16, 17, 32, 33, 64][seed as usize % 7];
            let (mut set, mut model) = (Intset::new(), BTreeSet::new());
            for step in 0..600 {
                // The last third mostly removes, so that shrinking is seen too.
                let n = match (step > 400, model.first()) {
                    (true, Some(&first)) => first,
                    _ => number(&mut rng, bits),
                };
                if rng.random_bool(0.6) && step <= 400 {
                    assert_eq!(set.insert(n), model.insert(n));
                } else {
                    assert_eq!(set.remove(n), model.remove(&n));
                }
                assert_eq!(set.contains(n), model.contains(&n));
                assert_eq!((set.len(), set.min()), (model.len(), model.first().copied()));
                assert_eq!(set.max(), model.last().copied());
                set.check();
            }
            assert!(set.iter().eq(model.iter().copied()));
            let copy = Intset::from_bytes(set.as_bytes().to_vec());
            assert_eq!(copy, Some(set));
        }
    }

    #[test]
    fn bytes_are_redis_own() {
        let mut set = Intset::new();
        for n in [5, -1, 300] {
            set.insert(n);
        }
        assert_eq!(set.as_bytes(), [2, 0, 0, 0, 3, 0, 0, 0, 0xFF, 0xFF, 5, 0, 0x2C, 1]);
        set.insert(70000);
        assert_eq!(set.as_bytes()[..12], [4, 0, 0, 0, 4, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
        set.remove(70000);
        assert_eq!(set.as_bytes()[0], 4, "the width never shrinks");
    }

    #[test]
    fn damage_is_refused_or_harmless() {
        let mut set = Intset::new();
        for n in [-70000, -3, 0, 9, 70000] {
            set.insert(n);
        }
        let good = set.as_bytes().to_vec();
        for cut in 0..good.len() {
            assert_eq!(Intset::from_bytes(good[..cut].to_vec()), None);
        }
        for at in 0..good.len() {
            for flip in 1..=255u8 {
                let mut bad = good.clone();
                bad[at] ^= flip;
                if let Some(mut set) = Intset::from_bytes(bad) {
                    assert!(at >= HEADER_BYTES, "a header with a flip in byte {at} was taken");
                    set.check();
                    set.insert(12);
                    set.remove(-3);
                    set.check();
                }
            }
        }
    }
}
