//! Strings as bitmaps: bit 0 is the highest bit of the first byte.
//!
//! Invariant: whole words at a time; what lies behind the end of a string reads as zeros.

/// The bit at `offset`.
#[inline]
pub fn bit_at(bytes: &[u8], offset: u64) -> bool {
    let byte = usize::try_from(offset >> 3).ok().and_then(|at| bytes.get(at));
    byte.is_some_and(|byte| byte & (0x80 >> (offset & 7)) != 0)
}

/// Set bits of the whole string.
pub fn count_ones(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(8);
    let rest: u64 = words.remainder().iter().map(|byte| u64::from(byte.count_ones())).sum();
    let word = |chunk: &[u8]| chunk.try_into().map_or(0, u64::from_le_bytes);
    rest + words.map(|chunk| u64::from(word(chunk).count_ones())).sum::<u64>()
}

/// Set bits from bit `from` to bit `to`, both included and inside the string.
pub fn count_ones_between(bytes: &[u8], from: u64, to: u64) -> u64 {
    let (first, last) = ((from >> 3) as usize, (to >> 3) as usize);
    let Some(range) = bytes.get(first..=last) else { return 0 };
    let before = range[0] & !(0xff >> (from & 7));
    let behind = range[range.len() - 1] & ((0x80u8 >> (to & 7)) - 1);
    count_ones(range) - u64::from(before.count_ones() + behind.count_ones())
}

/// The first bit that is `bit`, from bit `from` to bit `to`, both included and inside the string.
pub fn find_between(bytes: &[u8], bit: bool, from: u64, to: u64) -> Option<u64> {
    let (first, last) = ((from >> 3) as usize, (to >> 3) as usize);
    let range = bytes.get(first..=last)?;
    // Looking for zeros is looking for ones in the complement.
    let flip = if bit { 0 } else { 0xff };
    let head = (range[0] ^ flip) & (0xff >> (from & 7));
    let found = if head != 0 {
        u64::from(head.leading_zeros())
    } else {
        8 + first_one(range.get(1..)?, flip)?
    };
    let place = (first as u64) * 8 + found;
    (place <= to).then_some(place)
}

/// The first set bit after all bits were flipped by `flip`.
fn first_one(bytes: &[u8], flip: u8) -> Option<u64> {
    let mut words = bytes.chunks_exact(8);
    let flips = u64::from_be_bytes([flip; 8]);
    let mut before = 0;
    for chunk in &mut words {
        let word = chunk.try_into().map_or(0, u64::from_be_bytes) ^ flips;
        if word != 0 {
            return Some(before + u64::from(word.leading_zeros()));
        }
        before += 64;
    }
    let rest = words.remainder().iter().map(|byte| byte ^ flip);
    let (at, byte) = rest.enumerate().find(|(_, byte)| *byte != 0)?;
    Some(before + at as u64 * 8 + u64::from(byte.leading_zeros()))
}

/// How bitmaps are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitOp {
    /// Set in all.
    And,
    /// Set in any.
    Or,
    /// Set in an odd number of them.
    Xor,
    /// Not set; of one bitmap only.
    Not,
}

/// The combination, as long as the longest source; nothing for no sources.
pub fn combine(op: BitOp, sources: &[&[u8]]) -> Vec<u8> {
    let length = sources.iter().map(|source| source.len()).max().unwrap_or(0);
    let Some((first, others)) = sources.split_first() else { return Vec::new() };
    let mut out = Vec::with_capacity(length);
    out.extend_from_slice(first);
    out.resize(length, 0);
    if op == BitOp::Not {
        out.iter_mut().for_each(|byte| *byte = !*byte);
    }
    for source in others {
        let (shared, behind) = out.split_at_mut(source.len());
        let pairs = shared.iter_mut().zip(*source);
        match op {
            BitOp::And => {
                pairs.for_each(|(byte, other)| *byte &= other);
                behind.fill(0);
            }
            BitOp::Or => pairs.for_each(|(byte, other)| *byte |= other),
            BitOp::Xor => pairs.for_each(|(byte, other)| *byte ^= other),
            BitOp::Not => {}
        }
    }
    out
}

/// An integer of some bits inside a bitmap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Two's complement, or never negative.
    pub signed: bool,
    /// 1 to 64, or 63 when unsigned.
    pub bits: u32,
    /// Where its highest bit is.
    pub offset: u64,
}

/// What becomes of a number that does not fit its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The upper bits are lost.
    Wrap,
    /// The nearest number that fits is taken.
    Saturate,
    /// Nothing is written.
    Fail,
}

impl Field {
    /// The number of bytes that a string needs to hold the field.
    pub fn end_bytes(&self) -> u64 {
        (self.offset + u64::from(self.bits)).div_ceil(8)
    }

    /// The number in the field.
    pub fn get(&self, bytes: &[u8]) -> i64 {
        let first = usize::try_from(self.offset >> 3).unwrap_or(usize::MAX);
        let mut window = [0u8; 16];
        let there = bytes.get(first..).unwrap_or(&[]);
        let some = there.len().min(9);
        window[..some].copy_from_slice(&there[..some]);
        let word = u128::from_be_bytes(window) << (self.offset & 7);
        let top = (word >> 64) as u64;
        let spare = 64 - self.bits;
        if self.signed {
            top as i64 >> spare
        } else {
            (top >> spare) as i64
        }
    }

    /// Writes the lowest bits of `value`; the string must reach to `end_bytes`.
    pub fn set(&self, bytes: &mut [u8], value: i64) {
        let first = (self.offset >> 3) as usize;
        let Some(there) = bytes.get_mut(first..self.end_bytes() as usize) else { return };
        let shift = 128 - self.bits - (self.offset & 7) as u32;
        let mask = (u128::MAX >> (128 - self.bits)) << shift;
        let mut window = [0u8; 16];
        window[..there.len()].copy_from_slice(there);
        let word = u128::from_be_bytes(window) & !mask | (value as u128) << shift & mask;
        there.copy_from_slice(&word.to_be_bytes()[..there.len()]);
    }

    /// `value + increment` as the field can hold it; `None` when it must fail.
    pub fn fit(&self, value: i64, increment: i64, overflow: Overflow) -> Option<i64> {
        let (low, high) = if self.signed {
            let high = i128::from(i64::MAX >> (64 - self.bits));
            (-high - 1, high)
        } else {
            (0, (1i128 << self.bits) - 1)
        };
        // Redis: a negative number put into an unsigned field counts as a large one.
        let value =
            if self.signed || value >= 0 { i128::from(value) } else { i128::from(value as u64) };
        let sum = value + i128::from(increment);
        if (low..=high).contains(&sum) {
            return Some(sum as i64);
        }
        match overflow {
            Overflow::Fail => None,
            Overflow::Saturate => {
                // Redis: its distance to the maximum overflows for the lowest numbers.
                let wraps = self.bits < 64 && high - value > i128::from(i64::MAX);
                Some(if sum > high || wraps { high } else { low } as i64)
            }
            Overflow::Wrap => {
                let spare = 64 - self.bits;
                let top = (sum as u64) << spare;
                Some(if self.signed { top as i64 >> spare } else { (top >> spare) as i64 })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{rngs::SmallRng, Rng, SeedableRng};

    fn any_bytes(rng: &mut SmallRng, most: usize) -> Vec<u8> {
        let fill = [0u8, 0xff, 0x5a][rng.random_range(0..3)];
        let mut bytes = vec![fill; rng.random_range(1..most)];
        for _ in 0..rng.random_range(0..4) {
            let at = rng.random_range(0..bytes.len());
            bytes[at] = rng.random();
        }
        bytes
    }

    #[test]
    fn counting_and_finding_follow_bit_by_bit() {
        let mut rng = SmallRng::seed_from_u64(51);
        for _ in 0..4_000 {
            let bytes = any_bytes(&mut rng, 60);
            let bits = bytes.len() as u64 * 8;
            let from = rng.random_range(0..bits);
            let to = rng.random_range(from..bits);
            let all = (from..=to).filter(|&at| bit_at(&bytes, at)).count() as u64;
            assert_eq!(count_ones_between(&bytes, from, to), all);
            for bit in [false, true] {
                let first = (from..=to).find(|&at| bit_at(&bytes, at) == bit);
                assert_eq!(find_between(&bytes, bit, from, to), first);
            }
            assert_eq!(
                count_ones(&bytes),
                (0..bits).filter(|&at| bit_at(&bytes, at)).count() as u64
            );
            assert!(!bit_at(&bytes, bits) && !bit_at(&bytes, u64::MAX));
        }
    }

    #[test]
    fn combinations_follow_bit_by_bit() {
        let mut rng = SmallRng::seed_from_u64(52);
        for round in 0..500 {
            let sources: Vec<Vec<u8>> =
                (0..1 + round % 4).map(|_| any_bytes(&mut rng, 50)).collect();
            let refs: Vec<&[u8]> = sources.iter().map(Vec::as_slice).collect();
            for op in [BitOp::And, BitOp::Or, BitOp::Xor, BitOp::Not] {
                let refs = if op == BitOp::Not { &refs[..1] } else { &refs[..] };
                let out = combine(op, refs);
                assert_eq!(out.len(), refs.iter().map(|bytes| bytes.len()).max().unwrap_or(0));
                for at in 0..out.len() as u64 * 8 {
                    let set = refs.iter().filter(|bytes| bit_at(bytes, at)).count();
                    let expected = match op {
                        BitOp::And => set == refs.len(),
                        BitOp::Or => set > 0,
                        BitOp::Xor => set % 2 == 1,
                        BitOp::Not => set == 0,
                    };
                    assert_eq!(bit_at(&out, at), expected);
                }
            }
        }
        assert!(combine(BitOp::Or, &[]).is_empty());
    }

    #[test]
    fn fields_follow_bit_by_bit() {
        let mut rng = SmallRng::seed_from_u64(53);
        for _ in 0..20_000 {
            let signed = rng.random();
            let bits = rng.random_range(1..=if signed { 64 } else { 63 });
            let field = Field { signed, bits, offset: rng.random_range(0..200) };
            let mut bytes = any_bytes(&mut rng, 40);
            let mut model = 0i128;
            for at in 0..u64::from(bits) {
                model = model << 1 | i128::from(bit_at(&bytes, field.offset + at));
            }
            if signed && model >> (bits - 1) & 1 == 1 {
                model -= 1 << bits;
            }
            assert_eq!(i128::from(field.get(&bytes)), model);
            bytes.resize(bytes.len().max(field.end_bytes() as usize), 0);
            let before = bytes.clone();
            let value = field.fit(rng.random(), 0, Overflow::Wrap).expect("wrapping never fails");
            field.set(&mut bytes, value);
            assert_eq!(field.get(&bytes), value);
            for at in 0..bytes.len() as u64 * 8 {
                let inside = at >= field.offset && at < field.offset + u64::from(bits);
                assert!(inside || bit_at(&bytes, at) == bit_at(&before, at));
            }
        }
    }

    #[test]
    fn overflows() {
        let u8_field = Field { signed: false, bits: 8, offset: 0 };
        let i8_field = Field { signed: true, bits: 8, offset: 0 };
        let i64_field = Field { signed: true, bits: 64, offset: 0 };
        use Overflow::{Fail, Saturate, Wrap};
        assert_eq!(u8_field.fit(250, 10, Wrap), Some(4));
        assert_eq!(u8_field.fit(250, 10, Saturate), Some(255));
        assert_eq!(u8_field.fit(250, 10, Fail), None);
        assert_eq!(u8_field.fit(5, -10, Saturate), Some(0));
        assert_eq!(u8_field.fit(5, -10, Wrap), Some(251));
        assert_eq!(i8_field.fit(100, 100, Wrap), Some(-56));
        assert_eq!(i8_field.fit(-100, -100, Saturate), Some(-128));
        assert_eq!(i8_field.fit(-100, 50, Fail), Some(-50));
        assert_eq!(i8_field.fit(-9_223_372_036_854_775_680, 0, Saturate), Some(-128));
        assert_eq!(i8_field.fit(-9_223_372_036_854_775_681, 0, Saturate), Some(127));
        assert_eq!(i64_field.fit(i64::MAX, 1, Wrap), Some(i64::MIN));
        assert_eq!(i64_field.fit(i64::MIN, -1, Saturate), Some(i64::MIN));
        assert_eq!(i64_field.fit(i64::MAX, i64::MAX, Fail), None);
    }
}
