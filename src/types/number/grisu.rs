//! Doubles to the digits that Redis prints: the Grisu2 algorithm ("Printing Floating-Point Numbers
//! Quickly and Accurately with Integers", F. Loitsch, 2010).
//!
//! Grisu2 always reads back to the same double, but in about one case of a thousand its digits are
//! not the shortest. Clients see those digits, so an exact shortest printer would differ; this one
//! takes the same powers of ten, the same roundings and the same layout.

/// A number `mantissa * 2^exponent`.
#[derive(Clone, Copy)]
struct Scaled {
    mantissa: u64,
    exponent: i32,
}

impl Scaled {
    fn normalized(self) -> Scaled {
        let shift = self.mantissa.leading_zeros();
        Scaled { mantissa: self.mantissa << shift, exponent: self.exponent - shift as i32 }
    }

    /// The upper half of the product, rounded.
    fn times(self, other: Scaled) -> Scaled {
        let product = u128::from(self.mantissa) * u128::from(other.mantissa);
        Scaled {
            mantissa: ((product + (1 << 63)) >> 64) as u64,
            exponent: self.exponent + other.exponent + 64,
        }
    }
}

/// Significant digits and the power of ten of the last one.
struct Digits {
    text: [u8; 20],
    len: usize,
    power: i32,
}

impl Digits {
    fn push(&mut self, digit: u8) {
        if (digit != 0 || self.len > 0) && self.len < self.text.len() {
            self.text[self.len] = b'0' + digit;
            self.len += 1;
        }
    }

    /// Moves the last digit down while that comes nearer to the true value.
    fn settle(&mut self, delta: u64, mut rest: u64, unit: u64, distance: u64) {
        while rest < distance
            && delta - rest >= unit
            && (rest + unit < distance || distance - rest > rest + unit - distance)
        {
            self.text[self.len - 1] -= 1;
            rest += unit;
        }
    }
}

/// Appends a finite, non-zero `value`.
pub(super) fn format(value: f64, out: &mut Vec<u8>) {
    if value < 0.0 {
        out.push(b'-');
    }
    let digits = shortest(value.abs());
    lay_out(&digits, out);
}

fn shortest(value: f64) -> Digits {
    const HIDDEN: u64 = 1 << 52;
    let (field, fraction) = ((value.to_bits() >> 52) as i32, value.to_bits() & (HIDDEN - 1));
    let exact = if field == 0 {
        Scaled { mantissa: fraction, exponent: -1074 }
    } else {
        Scaled { mantissa: fraction | HIDDEN, exponent: field - 1075 }
    };
    let upper =
        Scaled { mantissa: exact.mantissa * 2 + 1, exponent: exact.exponent - 1 }.normalized();
    // The neighbour below a power of two is half as far away.
    let shift = if exact.mantissa == HIDDEN { 2 } else { 1 };
    let lower_exponent = exact.exponent - shift;
    let lower = Scaled {
        mantissa: ((exact.mantissa << shift) - 1) << (lower_exponent - upper.exponent),
        exponent: upper.exponent,
    };
    let (power, ten) = power_for(upper.exponent);
    let (exact, mut upper, mut lower) =
        (exact.normalized().times(ten), upper.times(ten), lower.times(ten));
    lower.mantissa += 1;
    upper.mantissa -= 1;
    generate(exact, upper, upper.mantissa - lower.mantissa, -power)
}

fn generate(exact: Scaled, upper: Scaled, mut delta: u64, power: i32) -> Digits {
    let mut digits = Digits { text: [0; 20], len: 0, power };
    let distance = upper.mantissa - exact.mantissa;
    let shift = -upper.exponent;
    let one = 1u64 << shift;
    let mut whole = upper.mantissa >> shift;
    let mut part = upper.mantissa & (one - 1);
    let mut kappa = 10;
    while kappa > 0 {
        kappa -= 1;
        let unit = 10u64.pow(kappa as u32);
        digits.push((whole / unit) as u8);
        whole %= unit;
        let rest = (whole << shift) + part;
        if rest <= delta {
            digits.power += kappa;
            digits.settle(delta, rest, unit << shift, distance);
            return digits;
        }
    }
    let mut scale = 1u64;
    loop {
        part *= 10;
        delta *= 10;
        scale = scale.wrapping_mul(10);
        kappa -= 1;
        digits.push((part >> shift) as u8);
        part &= one - 1;
        if part < delta {
            digits.power += kappa;
            digits.settle(delta, part, one, distance.wrapping_mul(scale));
            return digits;
        }
    }
}

/// Plain integer, plain decimal or scientific, whichever Redis prints.
fn lay_out(digits: &Digits, out: &mut Vec<u8>) {
    let (text, power) = (&digits.text[..digits.len], digits.power);
    let count = text.len() as i32;
    let exponent = power + count - 1;
    if power >= 0 && exponent.abs() < count + 7 {
        out.extend_from_slice(text);
        out.extend(std::iter::repeat_n(b'0', power as usize));
    } else if power < 0 && (power > -7 || exponent.abs() < 4) {
        let point = count + power;
        if point <= 0 {
            out.extend_from_slice(b"0.");
            out.extend(std::iter::repeat_n(b'0', -point as usize));
            out.extend_from_slice(text);
        } else {
            out.extend_from_slice(&text[..point as usize]);
            out.push(b'.');
            out.extend_from_slice(&text[point as usize..]);
        }
    } else {
        out.push(text[0]);
        if count > 1 {
            out.push(b'.');
            out.extend_from_slice(&text[1..]);
        }
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        out.extend_from_slice(itoa::Buffer::new().format(exponent.unsigned_abs()).as_bytes());
    }
}

const FIRST_POWER: i32 = -348;
const POWER_STEP: i32 = 8;
const POWERS: usize = 87;

/// The power of ten that brings a number with this exponent into the range where 32 bits hold its
/// whole part: (power, 10^power). The first guess and the steps from it are part of the behaviour.
fn power_for(exponent: i32) -> (i32, Scaled) {
    let guess = (f64::from(-(exponent + POWERS as i32)) * 0.301_029_995_663_981_14) as i32;
    let mut index = ((guess - FIRST_POWER) / POWER_STEP) as usize;
    loop {
        let (mantissa, power_exponent) = TENS[index];
        let reached = exponent + i32::from(power_exponent) + 64;
        if reached < -60 {
            index += 1;
        } else if reached > -32 {
            index -= 1;
        } else {
            let ten = Scaled { mantissa, exponent: i32::from(power_exponent) };
            return (FIRST_POWER + index as i32 * POWER_STEP, ten);
        }
    }
}

/// 10^-348, 10^-340, … 10^340 in 64 bits, rounded to nearest; worked out by the compiler.
static TENS: [(u64, i16); POWERS] = tens();

const WORDS: usize = 30;

/// Little-endian words; wide enough for 5^348.
#[derive(Clone, Copy)]
struct Wide([u32; WORDS]);

const fn times_five(wide: &mut Wide, times: u32) {
    let mut left = times;
    while left > 0 {
        let (mut carry, mut at) = (0u64, 0);
        while at < WORDS {
            let word = wide.0[at] as u64 * 5 + carry;
            wide.0[at] = word as u32;
            carry = word >> 32;
            at += 1;
        }
        left -= 1;
    }
}

const fn bit_count(wide: &Wide) -> i32 {
    let mut at = WORDS;
    while at > 0 {
        at -= 1;
        if wide.0[at] != 0 {
            return at as i32 * 32 + 32 - wide.0[at].leading_zeros() as i32;
        }
    }
    0
}

const fn bit(wide: &Wide, at: i32) -> u64 {
    if at < 0 {
        return 0;
    }
    (wide.0[at as usize / 32] >> (at % 32)) as u64 & 1
}

/// 5^power for power >= 0, as its upper 64 bits rounded, and the exponent of ten's own twos added.
const fn upper_bits(wide: &Wide, power: i32) -> (u64, i16) {
    let count = bit_count(wide);
    let (mut mantissa, mut at) = (0u64, 1);
    while at <= 64 {
        mantissa = mantissa << 1 | bit(wide, count - at);
        at += 1;
    }
    rounded(mantissa, bit(wide, count - 65) == 1, count - 64 + power)
}

/// 1 / 5^power by long division, bit after bit.
const fn reciprocal(wide: &Wide, power: i32) -> (u64, i16) {
    let count = bit_count(wide);
    let mut rest = Wide([0; WORDS]);
    rest.0[(count - 1) as usize / 32] = 1 << ((count - 1) % 32);
    let (mut mantissa, mut round, mut at) = (0u64, false, 0);
    while at <= 64 {
        rest = doubled(&rest);
        round = at_least(&rest, wide);
        if round {
            rest = minus(&rest, wide);
        }
        if at < 64 {
            mantissa = mantissa << 1 | round as u64;
        }
        at += 1;
    }
    rounded(mantissa, round, -(count + 63) - power)
}

const fn rounded(mantissa: u64, up: bool, exponent: i32) -> (u64, i16) {
    match mantissa.checked_add(up as u64) {
        Some(mantissa) => (mantissa, exponent as i16),
        None => (1 << 63, exponent as i16 + 1),
    }
}

const fn doubled(wide: &Wide) -> Wide {
    let (mut out, mut at, mut carry) = (Wide([0; WORDS]), 0, 0);
    while at < WORDS {
        out.0[at] = wide.0[at] << 1 | carry;
        carry = wide.0[at] >> 31;
        at += 1;
    }
    out
}

const fn at_least(left: &Wide, right: &Wide) -> bool {
    let mut at = WORDS;
    while at > 0 {
        at -= 1;
        if left.0[at] != right.0[at] {
            return left.0[at] > right.0[at];
        }
    }
    true
}

const fn minus(left: &Wide, right: &Wide) -> Wide {
    let (mut out, mut at, mut borrow) = (Wide([0; WORDS]), 0, 0);
    while at < WORDS {
        let word = left.0[at] as i64 - right.0[at] as i64 - borrow;
        out.0[at] = word as u32;
        borrow = (word < 0) as i64;
        at += 1;
    }
    out
}

const fn tens() -> [(u64, i16); POWERS] {
    let mut out = [(0, 0); POWERS];
    let mut wide = Wide([0; WORDS]);
    wide.0[0] = 1;
    let (mut step, mut power) = (0, 0);
    // -348 is 4 more than a multiple of 8, so both halves walk 4, 12, 20, … 348.
    while step < POWERS / 2 + 1 {
        times_five(&mut wide, if step == 0 { 4 } else { 8 });
        power += if step == 0 { 4 } else { 8 };
        out[((-power - FIRST_POWER) / POWER_STEP) as usize] = reciprocal(&wide, power);
        let index = ((power - FIRST_POWER) / POWER_STEP) as usize;
        if index < POWERS {
            out[index] = upper_bits(&wide, power);
        }
        step += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_powers_agree_with_wide_arithmetic() {
        // 10^4, 10^12 and 10^-4 by hand; the neighbours in the table are a factor 10^8 apart.
        assert_eq!(TENS[44], (10_000u64 << 50, -50));
        assert_eq!(TENS[45], (1_000_000_000_000u64 << 24, -24));
        for pair in TENS.windows(2) {
            let product = u128::from(pair[0].0) * (100_000_000u128 << 37);
            let (scaled, shift) =
                if product >> 127 == 1 { (product >> 64, 0) } else { (product >> 63, 1) };
            assert!(scaled.abs_diff(u128::from(pair[1].0)) <= 2);
            assert_eq!(i32::from(pair[1].1), i32::from(pair[0].1) + 27 - shift);
        }
    }

    #[test]
    fn layouts() {
        let mut out = Vec::new();
        for value in [0.1, 1.5e300, -2.5e-7, 1e21, 123456.789, 5e-324, 1e-5, 1.2345e22] {
            format(value, &mut out);
            out.push(b' ');
        }
        let text = String::from_utf8_lossy(&out);
        assert_eq!(text, "0.1 1.5e+300 -2.5e-7 1e+21 123456.789 5e-324 0.00001 1.2345e+22 ");
    }
}
