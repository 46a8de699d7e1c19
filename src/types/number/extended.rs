//! The x87 long double, in integers: 64 bits of mantissa, 15 of exponent, rounding half to even.
//!
//! INCRBYFLOAT and HINCRBYFLOAT add in this format and print 17 decimals, so the sums of doubles
//! would differ in the last digits. Invariant: `mantissa` has its top bit set, or the exponent is
//! the smallest there is (numbers near zero), so that the exponent orders magnitudes.

use super::{hex_parts, literal, Literal};

const MIN_EXPONENT: i32 = -16445;
const MAX_EXPONENT: i32 = 16383 - 63;
/// Longer texts are refused: the size of Redis's buffer.
const TEXT_MAX: usize = 5 * 1024;

/// A long double that is not NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extended {
    negative: bool,
    infinite: bool,
    exponent: i32,
    mantissa: u64,
}

impl Extended {
    /// Zero, the value of a key or field that is not there.
    pub const ZERO: Extended =
        Extended { negative: false, infinite: false, exponent: MIN_EXPONENT, mantissa: 0 };

    /// What C's `strtold` reads in the whole of `text`. Refused: NaN, overflow, a non-zero number
    /// that vanishes to zero, and 5120 bytes or more.
    pub fn parse(text: &[u8]) -> Option<Extended> {
        if text.len() >= TEXT_MAX {
            return None;
        }
        let (negative, literal) = literal(text)?;
        let (value, all_zero) = match literal {
            Literal::Infinite => return Some(Extended::infinity(negative)),
            Literal::Decimal { whole, fraction, exponent } => {
                let all_zero = whole.iter().chain(fraction).all(|&digit| digit == b'0');
                (decimal(negative, whole, fraction, exponent), all_zero)
            }
            Literal::Hex { whole, fraction, exponent } => {
                let (mantissa, cut, power) = hex_parts(whole, fraction, exponent);
                (rounded(negative, mantissa, cut, power), mantissa == 0)
            }
        };
        (!value.infinite && (value.mantissa != 0 || all_zero)).then_some(value)
    }

    fn infinity(negative: bool) -> Extended {
        Extended { negative, infinite: true, exponent: MAX_EXPONENT + 1, mantissa: 1 << 63 }
    }

    /// The same number: every double is one.
    pub fn from_f64(value: f64) -> Extended {
        let (bits, negative) = (value.to_bits(), value.is_sign_negative());
        let (field, fraction) = ((bits >> 52 & 0x7ff) as i64, u128::from(bits & ((1 << 52) - 1)));
        match field {
            0x7ff => Extended::infinity(negative),
            0 => rounded(negative, fraction, false, -1074),
            _ => rounded(negative, fraction | 1 << 52, false, field - 1075),
        }
    }

    /// False for the infinities.
    pub fn is_finite(&self) -> bool {
        !self.infinite
    }

    /// The rounded sum; `None` where it is not a number (infinities of both signs).
    pub fn plus(self, other: Extended) -> Option<Extended> {
        match (self.infinite, other.infinite) {
            (true, true) => return (self.negative == other.negative).then_some(self),
            (true, false) => return Some(self),
            (false, true) => return Some(other),
            (false, false) => {}
        }
        let (large, small) =
            if self.exponent >= other.exponent { (self, other) } else { (other, self) };
        let apart = (large.exponent - small.exponent) as u32;
        let wide = u128::from(large.mantissa) << 62;
        let full = u128::from(small.mantissa) << 62;
        let shifted = full.checked_shr(apart).unwrap_or(0);
        let cut = shifted.checked_shl(apart).unwrap_or(0) != full;
        let power = i64::from(large.exponent) - 62;
        if large.negative == small.negative {
            return Some(rounded(large.negative, wide + shifted, cut, power));
        }
        // What was cut off belongs to the number that is taken away.
        let taken = shifted + u128::from(cut);
        Some(if wide >= taken {
            rounded(large.negative && wide != taken, wide - taken, cut, power)
        } else {
            rounded(small.negative, taken - wide, cut, power)
        })
    }

    /// Appends the number as Redis prints long doubles: 17 decimals, rounded half to even, then
    /// without trailing zeros; never an exponent, never `-0`.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        if self.infinite {
            out.extend_from_slice(if self.negative { b"-inf" } else { b"inf" });
            return;
        }
        let (whole, fraction) = self.split_decimals();
        if self.negative && !(whole == [b'0'] && fraction == 0) {
            out.push(b'-');
        }
        out.extend_from_slice(&whole);
        if fraction != 0 {
            let digits = format!("{fraction:017}");
            out.push(b'.');
            out.extend_from_slice(digits.trim_end_matches('0').as_bytes());
        }
    }

    /// The decimal digits before the point, and 10^17 times what is behind it.
    fn split_decimals(&self) -> (Vec<u8>, u64) {
        const SCALE: u128 = 100_000_000_000_000_000;
        if self.exponent >= 0 {
            let mut wide = Wide::from(u128::from(self.mantissa));
            wide.shift_left(self.exponent as usize);
            return (wide.into_decimal(), 0);
        }
        let shift = self.exponent.unsigned_abs();
        let whole = self.mantissa.checked_shr(shift).unwrap_or(0);
        let rest = self.mantissa - whole.checked_shl(shift).unwrap_or(0);
        if shift >= 127 {
            // Below 2^-63 * 10^17 / 2: nothing of it is left behind the point.
            return (whole.to_string().into_bytes(), 0);
        }
        let scaled = u128::from(rest) * SCALE;
        let (mut fraction, low, half) =
            (scaled >> shift, scaled & ((1 << shift) - 1), 1u128 << (shift - 1));
        if low > half || (low == half && fraction & 1 == 1) {
            fraction += 1;
        }
        let whole = u128::from(whole) + fraction / SCALE;
        (whole.to_string().into_bytes(), (fraction % SCALE) as u64)
    }
}

/// `wide * 2^power`, plus a little more when `cut`, in 64 bits.
fn rounded(negative: bool, wide: u128, cut: bool, power: i64) -> Extended {
    if wide == 0 {
        return Extended { negative, ..Extended::ZERO };
    }
    let bits = i64::from(128 - wide.leading_zeros());
    let drop = (bits - 64).max(i64::from(MIN_EXPONENT) - power);
    if power + drop > i64::from(MAX_EXPONENT) {
        return Extended::infinity(negative);
    }
    let mut exponent = (power + drop) as i32;
    let mut kept = if drop <= 0 {
        wide << -drop
    } else if drop > 128 {
        0
    } else {
        let kept = wide.checked_shr(drop as u32).unwrap_or(0);
        let half = 1u128 << (drop - 1);
        let rest = wide & (half | (half - 1));
        kept + u128::from(rest > half || (rest == half && (cut || kept & 1 == 1)))
    };
    if kept >> 64 != 0 {
        kept >>= 1;
        exponent += 1;
        if exponent > MAX_EXPONENT {
            return Extended::infinity(negative);
        }
    }
    Extended { negative, infinite: false, exponent, mantissa: kept as u64 }
}

/// The digits times 10^exponent, rounded once.
fn decimal(negative: bool, whole: &[u8], fraction: &[u8], exponent: i64) -> Extended {
    let mut digits = whole.iter().chain(fraction).skip_while(|&&digit| digit == b'0').peekable();
    if digits.peek().is_none() {
        return Extended { negative, ..Extended::ZERO };
    }
    let count = digits.clone().count();
    let power = exponent - fraction.len() as i64;
    let magnitude = power + count as i64;
    if magnitude > 5_000 {
        return Extended::infinity(negative);
    }
    if magnitude < -5_100 {
        return Extended { negative, ..Extended::ZERO };
    }
    if count <= 19 && power.unsigned_abs() <= 27 {
        let value = digits.fold(0u64, |value, digit| value * 10 + u64::from(digit - b'0'));
        return short_decimal(negative, value, power);
    }
    let mut wide = Wide::from(0);
    for &digit in digits {
        wide.multiply_add(10, u32::from(digit - b'0'));
    }
    if power >= 0 {
        for _ in 0..power {
            wide.multiply_add(5, 0);
        }
        let (top, cut, dropped) = wide.top_bits();
        return rounded(negative, top, cut, dropped + power);
    }
    let mut divisor = Wide::from(1);
    for _ in power..0 {
        divisor.multiply_add(5, 0);
    }
    let (quotient, cut, shift) = wide.divide(divisor);
    rounded(negative, quotient, cut, power + shift)
}

/// The same for up to 19 digits and powers up to 27, where 5^power fits 64 bits.
fn short_decimal(negative: bool, value: u64, power: i64) -> Extended {
    let five = 5u64.pow(power.unsigned_abs() as u32);
    if power >= 0 {
        return rounded(negative, u128::from(value) * u128::from(five), false, power);
    }
    let shift = 64 + value.leading_zeros();
    let (wide, five) = (u128::from(value) << shift, u128::from(five));
    rounded(negative, wide / five, wide % five != 0, power - i64::from(shift))
}

/// A natural number of any size: little-endian words without leading zeros.
struct Wide(Vec<u32>);

impl Wide {
    fn from(value: u128) -> Wide {
        let mut wide = Wide((0..4).map(|at| (value >> (32 * at)) as u32).collect());
        wide.trim();
        wide
    }

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    fn bits(&self) -> usize {
        self.0.last().map_or(0, |top| self.0.len() * 32 - top.leading_zeros() as usize)
    }

    fn multiply_add(&mut self, factor: u32, term: u32) {
        let mut carry = u64::from(term);
        for word in &mut self.0 {
            carry += u64::from(*word) * u64::from(factor);
            *word = carry as u32;
            carry >>= 32;
        }
        if carry != 0 {
            self.0.push(carry as u32);
        }
    }

    fn shift_left(&mut self, by: usize) {
        let (words, bits) = (by / 32, by % 32);
        if bits != 0 {
            let mut carry = 0;
            for word in &mut self.0 {
                let next = *word >> (32 - bits);
                *word = *word << bits | carry;
                carry = next;
            }
            self.0.push(carry);
        }
        self.0.splice(0..0, std::iter::repeat_n(0, words));
        self.trim();
    }

    fn shift_right_one(&mut self) {
        let mut carry = 0;
        for word in self.0.iter_mut().rev() {
            let next = *word << 31;
            *word = *word >> 1 | carry;
            carry = next;
        }
        self.trim();
    }

    /// The upper 128 bits, whether anything non-zero stands below, and how many bits do.
    fn top_bits(&self) -> (u128, bool, i64) {
        let below = self.bits().saturating_sub(128);
        let (words, bits) = (below / 32, below % 32);
        let mut top = 0u128;
        for (at, &word) in self.0.iter().skip(words).enumerate() {
            let place = at as i32 * 32 - bits as i32;
            let word = u128::from(word);
            top |= if place >= 0 { word << place } else { word >> -place };
        }
        let cut = self.0.iter().take(words).any(|&word| word != 0)
            || self.0.get(words).is_some_and(|word| word & ((1 << bits) - 1) != 0);
        (top, cut, below as i64)
    }

    /// (quotient of 66 bits or more, whether there is a rest, power of two of the quotient).
    fn divide(mut self, mut divisor: Wide) -> (u128, bool, i64) {
        const STEPS: usize = 68;
        // Aligned so that the quotient's first bit is one of the first two.
        let shift = self.bits() as i64 - divisor.bits() as i64;
        if shift < 0 {
            self.shift_left(shift.unsigned_abs() as usize);
        } else {
            divisor.shift_left(shift as usize);
        }
        let extra = STEPS;
        self.shift_left(extra);
        divisor.shift_left(extra);
        let mut quotient = 0u128;
        for _ in 0..STEPS {
            quotient <<= 1;
            if self.at_least(&divisor) {
                self.subtract(&divisor);
                quotient |= 1;
            }
            divisor.shift_right_one();
        }
        (quotient, !self.0.is_empty(), shift - (STEPS as i64 - 1))
    }

    fn at_least(&self, other: &Wide) -> bool {
        let (left, right) = (self.0.iter().rev(), other.0.iter().rev());
        self.0.len().cmp(&other.0.len()).then_with(|| left.cmp(right)).is_ge()
    }

    fn subtract(&mut self, other: &Wide) {
        let mut borrow = 0i64;
        let others = other.0.iter().chain(std::iter::repeat(&0));
        for (word, other) in self.0.iter_mut().zip(others) {
            let left = i64::from(*word) - i64::from(*other) - borrow;
            *word = left as u32;
            borrow = i64::from(left < 0);
        }
        self.trim();
    }

    fn into_decimal(mut self) -> Vec<u8> {
        const GROUP: u64 = 1_000_000_000;
        let mut groups = Vec::new();
        while !self.0.is_empty() {
            let mut rest = 0u64;
            for word in self.0.iter_mut().rev() {
                let value = rest << 32 | u64::from(*word);
                *word = (value / GROUP) as u32;
                rest = value % GROUP;
            }
            self.trim();
            groups.push(rest);
        }
        let Some(first) = groups.pop() else { return vec![b'0'] };
        let mut text = first.to_string();
        for group in groups.iter().rev() {
            text.push_str(&format!("{group:09}"));
        }
        text.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{rngs::SmallRng, Rng, SeedableRng};

    fn sum(left: &str, right: &str) -> String {
        let (left, right) = (Extended::parse(left.as_bytes()), Extended::parse(right.as_bytes()));
        let sum = left.zip(right).and_then(|(left, right)| left.plus(right));
        let mut out = Vec::new();
        if let Some(sum) = sum {
            sum.write_to(&mut out);
        }
        String::from_utf8(out).unwrap_or_default()
    }

    #[test]
    fn sums_as_recorded_from_redis() {
        // INCRBYFLOAT on redis-server 7.0.15, x86-64.
        for (left, right, expected) in [
            ("10.5", "0.1", "10.6"),
            ("3.0e3", "200", "3200"),
            ("1", "-1", "0"),
            ("0", "-1e-20", "0"),
        ] {
            assert_eq!(sum(left, right), expected);
        }
    }

    #[test]
    fn refusals() {
        for text in ["", "nan", "1e5000", "1e-5000", " 1", "1 ", "0x1p20000", "1e99999999999"] {
            assert_eq!(Extended::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Extended::parse(&[b'1'; TEXT_MAX]), None);
        assert!(Extended::parse(b"1e4932").is_some_and(|value| value.is_finite()));
        assert!(Extended::parse(b"3.7e-4951").is_some_and(|value| value.is_finite()));
        assert_eq!(sum("inf", "-inf"), "");
    }

    #[test]
    fn the_short_way_and_the_wide_way_agree() {
        let mut rng = SmallRng::seed_from_u64(3);
        for _ in 0..5_000 {
            let value: u64 = rng.random::<u64>() >> rng.random_range(1..60);
            let power = rng.random_range(-27i64..=27);
            let short = short_decimal(false, value.max(1), power);
            // A leading run of digits past 19 forces the wide way: the same value, scaled.
            let text = format!("{}{}e{}", value.max(1), "0".repeat(20), power - 20);
            assert_eq!(Extended::parse(text.as_bytes()), Some(short), "{text}");
        }
    }

    #[test]
    fn doubles_keep_their_value() {
        let mut rng = SmallRng::seed_from_u64(4);
        for _ in 0..5_000 {
            let value = f64::from_bits(rng.random());
            if value.is_finite() {
                let parsed = Extended::parse(format!("{value:e}").as_bytes());
                let nearest = Extended::from_f64(value);
                // The shortest text of a double is not exact in 64 bits: only near.
                let apart = parsed.and_then(|parsed| {
                    parsed.plus(Extended { negative: !nearest.negative, ..nearest })
                });
                assert!(apart.is_some_and(
                    |apart| apart.mantissa == 0 || apart.exponent <= nearest.exponent - 50
                ));
            }
        }
    }
}
