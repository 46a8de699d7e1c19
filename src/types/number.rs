//! Numbers as text: which byte strings are integers or doubles, and how numbers are printed.
//!
//! Invariant: what is accepted, and every printed byte, is what Redis 7.4 on x86-64 accepts and
//! prints, because clients compare these strings. Long doubles live in [`Extended`].

#[cfg(test)]
mod against_redis;
mod extended;
mod grisu;

pub use extended::Extended;

/// The integer that `text` spells, if it is the one canonical spelling: no spaces, no `+`, no
/// leading zeros, no `-0`, nothing outside `i64`.
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    match digits {
        [b'0'] => return (!negative).then_some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut value: u64 = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        // 19 digits stay below 10^19, which fits.
        value = value * 10 + u64::from(digit - b'0');
    }
    if negative {
        (value <= i64::MIN.unsigned_abs()).then(|| (value as i64).wrapping_neg())
    } else {
        i64::try_from(value).ok()
    }
}

/// The unsigned integer that `text` spells in canonical form, by `parse_i64`'s rule.
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    match text {
        [b'0'] => return Some(0),
        [b'1'..=b'9', ..] if text.len() <= 20 => {}
        _ => return None,
    }
    text.iter().try_fold(0u64, |value, &digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// Appends `value` in decimal.
pub fn format_i64(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// The parts of a floating-point literal that C's `strtod` would take whole.
pub(crate) enum Literal<'a> {
    /// `inf` or `infinity` in any case; the sign stands beside it.
    Infinite,
    /// Digits before and after the point, and the power of ten.
    Decimal { whole: &'a [u8], fraction: &'a [u8], exponent: i64 },
    /// Hexadecimal digits before and after the point, and the power of two.
    Hex { whole: &'a [u8], fraction: &'a [u8], exponent: i64 },
}

/// Takes a literal apart: (is negative, parts). NaN is refused, as Redis refuses it.
pub(crate) fn literal(text: &[u8]) -> Option<(bool, Literal<'_>)> {
    let (negative, body) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if body.eq_ignore_ascii_case(b"inf") || body.eq_ignore_ascii_case(b"infinity") {
        return Some((negative, Literal::Infinite));
    }
    if let [b'0', b'x' | b'X', hex @ ..] = body {
        let (whole, fraction, exponent) = parts(hex, u8::is_ascii_hexdigit, b'p')?;
        return Some((negative, Literal::Hex { whole, fraction, exponent }));
    }
    let (whole, fraction, exponent) = parts(body, u8::is_ascii_digit, b'e')?;
    Some((negative, Literal::Decimal { whole, fraction, exponent }))
}

/// `whole[.fraction][mark[sign]exponent]`, with at least one digit and nothing behind. Exponents
/// beyond any sense are held at a billion, far outside every range.
fn parts(body: &[u8], is_digit: fn(&u8) -> bool, mark: u8) -> Option<(&[u8], &[u8], i64)> {
    let split = |bytes: &[u8]| bytes.iter().position(|b| !is_digit(b)).unwrap_or(bytes.len());
    let (whole, mut rest) = body.split_at(split(body));
    let mut fraction: &[u8] = &[];
    if let [b'.', tail @ ..] = rest {
        (fraction, rest) = tail.split_at(split(tail));
    }
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let [first, tail @ ..] = rest else { return Some((whole, fraction, 0)) };
    if first.to_ascii_lowercase() != mark {
        return None;
    }
    let (sign, digits) = match tail {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] => (1, digits),
        _ => (1, tail),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let size = digits
        .iter()
        .fold(0i64, |size, digit| (size * 10 + i64::from(digit - b'0')).min(1_000_000_000));
    Some((whole, fraction, sign * size))
}

/// The double that `text` spells: everything C's `strtod` takes whole (decimal, hexadecimal,
/// infinity), without spaces around. Refused: NaN, and numbers that overflow or vanish to zero.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    if text.len() <= 18 {
        // The everyday case; the general way gives the same.
        if let Some(value) = parse_i64(text) {
            return Some(value as f64);
        }
    }
    let (negative, literal) = literal(text)?;
    let magnitude = match literal {
        Literal::Infinite => f64::INFINITY,
        Literal::Decimal { whole, fraction, .. } => {
            let unsigned = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
            let value: f64 = std::str::from_utf8(unsigned).ok()?.parse().ok()?;
            let all_zero = whole.iter().chain(fraction).all(|&digit| digit == b'0');
            if value.is_infinite() || (value == 0.0 && !all_zero) {
                return None;
            }
            value
        }
        Literal::Hex { whole, fraction, exponent } => hex_f64(whole, fraction, exponent)?,
    };
    Some(if negative { -magnitude } else { magnitude })
}

/// Hexadecimal digits as one integer times a power of two: (integer, whether non-zero bits were
/// cut off below it, power).
pub(crate) fn hex_parts(whole: &[u8], fraction: &[u8], exponent: i64) -> (u128, bool, i64) {
    let (mut mantissa, mut cut, mut power) = (0u128, false, exponent);
    let behind_point = std::iter::repeat_n(false, whole.len()).chain(std::iter::repeat(true));
    for (&digit, behind) in whole.iter().chain(fraction).zip(behind_point) {
        let digit = u128::from((digit as char).to_digit(16).unwrap_or(0));
        if mantissa >> 120 == 0 {
            mantissa = mantissa << 4 | digit;
            power -= if behind { 4 } else { 0 };
        } else {
            cut |= digit != 0;
            power += if behind { 0 } else { 4 };
        }
    }
    (mantissa, cut, power)
}

fn hex_f64(whole: &[u8], fraction: &[u8], exponent: i64) -> Option<f64> {
    let (mantissa, cut, power) = hex_parts(whole, fraction, exponent);
    if mantissa == 0 {
        return Some(0.0);
    }
    let bits = i64::from(128 - mantissa.leading_zeros());
    if power + bits > 1024 || power + bits < -1080 {
        return None;
    }
    // 53 bits are kept, or fewer below the smallest normal number; half goes to even.
    let drop = (bits - 53).max(-1074 - power);
    let (mut kept, power) = if drop <= 0 {
        (mantissa, power)
    } else if drop > 127 {
        (0, power + drop)
    } else {
        let (kept, rest, half) =
            (mantissa >> drop, mantissa & ((1 << drop) - 1), 1u128 << (drop - 1));
        let up = rest > half || (rest == half && (cut || kept & 1 == 1));
        (kept + u128::from(up), power + drop)
    };
    let mut power = power;
    while kept != 0 && kept & 1 == 0 {
        kept >>= 1;
        power += 1;
    }
    // Both factors are exact, and so is every product on the way.
    let mut value = kept as f64;
    while power > 0 && value.is_finite() {
        let step = power.min(1000);
        value *= 2f64.powi(step as i32);
        power -= step;
    }
    while power < 0 && value != 0.0 {
        let step = power.max(-1000);
        value *= 2f64.powi(step as i32);
        power -= step;
    }
    (value.is_finite() && value != 0.0).then_some(value)
}

/// Appends `value` as Redis prints a score: integers without a point up to 2^62, `inf`, `-inf`,
/// `nan`, `-0`, everything else in the shortest digits that read back the same.
pub fn format_f64(value: f64, out: &mut Vec<u8>) {
    const EXACT: f64 = (1i64 << 62) as f64;
    if value.is_nan() {
        out.extend_from_slice(b"nan");
    } else if value.is_infinite() {
        out.extend_from_slice(if value < 0.0 { b"-inf" } else { b"inf" });
    } else if value == 0.0 {
        out.extend_from_slice(if value.is_sign_negative() { b"-0" } else { b"0" });
    } else if value.abs() <= EXACT && value as i64 as f64 == value {
        format_i64(value as i64, out);
    } else {
        grisu::format(value, out);
    }
}

/// Appends `value` in the shortest digits that read back the same, large integers with an
/// exponent too: the form of scores in the digests of Redis since 7.2.
pub fn format_shortest(value: f64, out: &mut Vec<u8>) {
    match value.is_finite() && value != 0.0 {
        true => grisu::format(value, out),
        false => format_f64(value, out),
    }
}

/// Appends `value` with 17 significant digits, zeros at the end left out, as C's `%.17g` does: the
/// form of scores in the replies of ZSCAN on large sorted sets.
pub fn format_17_digits(value: f64, out: &mut Vec<u8>) {
    if !value.is_finite() || value == 0.0 {
        return format_f64(value, out);
    }
    let text = format!("{value:.16e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let fixed = match exponent {
        0..17 => format!("{value:.*}", 16 - exponent as usize),
        -4..0 => format!("{value:.*}", (16 - exponent) as usize),
        _ => digits.to_string(),
    };
    let bare = match fixed.contains('.') {
        true => fixed.trim_end_matches('0').trim_end_matches('.'),
        false => &fixed,
    };
    out.extend_from_slice(bare.as_bytes());
    if !(-4..17).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        out.extend_from_slice(format!("e{sign}{:02}", exponent.abs()).as_bytes());
    }
}

/// Appends `value` with exactly `digits` (1 to 17) digits behind the point, as distances are
/// printed. Scaled in doubles, so magnitudes must stay below 2^63 / 10^digits.
pub fn format_fixed(value: f64, digits: u32, out: &mut Vec<u8>) {
    let scale = 10u64.pow(digits);
    let scaled = (value * scale as f64).round_ties_even() as i64;
    if scaled < 0 {
        out.push(b'-');
    }
    let size = scaled.unsigned_abs();
    out.extend_from_slice(itoa::Buffer::new().format(size / scale).as_bytes());
    out.push(b'.');
    let mut buffer = itoa::Buffer::new();
    let fraction = buffer.format(size % scale).as_bytes();
    out.extend(std::iter::repeat_n(b'0', digits as usize - fraction.len()));
    out.extend_from_slice(fraction);
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{rngs::SmallRng, Rng, SeedableRng};

    /// The texts are those of C's printf.
    #[test]
    fn seventeen_digits_are_printed_as_c_does() {
        for (value, expected) in [
            (0.3333333333333333, "0.33333333333333331"),
            (0.6666666666666666, "0.66666666666666663"),
            (100.125, "100.125"),
            (1e17, "1e+17"),
            (1.2345678901234568e17, "1.2345678901234568e+17"),
            (1e-05, "1.0000000000000001e-05"),
            (0.0001, "0.0001"),
            (0.00012345, "0.00012344999999999999"),
            (-2.5, "-2.5"),
            (9.5e16, "95000000000000000"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (0.1, "0.10000000000000001"),
            (1e300, "1.0000000000000001e+300"),
            (5e-324, "4.9406564584124654e-324"),
            (-1.7976931348623157e308, "-1.7976931348623157e+308"),
            (1e22, "1e+22"),
            (3.0, "3"),
            (-0.3, "-0.29999999999999999"),
        ] {
            let mut text = Vec::new();
            format_17_digits(value, &mut text);
            assert_eq!(String::from_utf8_lossy(&text), expected);
        }
    }

    #[test]
    fn integers_are_canonical_or_nothing() {
        for value in [0, 1, -1, 42, i64::MAX, i64::MIN, i64::MIN + 1, 1 << 40] {
            assert_eq!(parse_i64(value.to_string().as_bytes()), Some(value));
        }
        for text in [
            "",
            "-",
            "+1",
            "01",
            "-0",
            "-01",
            " 1",
            "1 ",
            "1a",
            "0x1",
            "9223372036854775808",
            "-9223372036854775809",
            "99999999999999999999",
            "00",
            "1.0",
        ] {
            assert_eq!(parse_i64(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_u64(b"18446744073709551616"), None);
        assert_eq!(parse_u64(b"-1"), None);
    }

    #[test]
    fn doubles_follow_strtod() {
        let same = [
            ("1", 1.0),
            ("+1.5", 1.5),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e3", 1000.0),
            ("-1E-3", -0.001),
            ("0x10", 16.0),
            ("0x.8p1", 1.0),
            ("-0x1p-1074", -5e-324),
            ("0x1.fffffffffffff8p0", 2.0),
            ("InFiniTy", f64::INFINITY),
            ("-inf", f64::NEG_INFINITY),
            ("4.9e-324", 5e-324),
            ("0e999999999999", 0.0),
            ("1.7976931348623157e308", f64::MAX),
            ("0x1.00000000000008p0", 1.0),
            ("0x1.000000000000080000000000000000000001p0", 1.0 + f64::EPSILON),
        ];
        for (text, value) in same {
            assert_eq!(parse_f64(text.as_bytes()), Some(value), "{text}");
        }
        for text in [
            "",
            "-",
            ".",
            "e5",
            "1e",
            "1e+",
            "nan",
            "-nan",
            "nan(1)",
            " 1",
            "1 ",
            "1e400",
            "1e-400",
            "0x",
            "0xp1",
            "0x1p2000",
            "0x1p-2000",
            "--1",
            "infi",
            "1\0",
            "1_000",
            "0x1p-1076",
        ] {
            assert_eq!(parse_f64(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn printed_doubles_read_back_and_hex_agrees() {
        let mut rng = SmallRng::seed_from_u64(7);
        for _ in 0..20_000 {
            let value = f64::from_bits(rng.random());
            if !value.is_finite() {
                continue;
            }
            let mut text = Vec::new();
            format_f64(value, &mut text);
            assert_eq!(parse_f64(&text).map(f64::to_bits), Some(value.to_bits()));
            let (bits, sign) = (value.to_bits(), if value < 0.0 { "-" } else { "" });
            let (field, fraction) = (bits >> 52 & 0x7ff, bits & ((1 << 52) - 1));
            let lead = u64::from(field != 0);
            let power = field.max(1) as i64 - 1023;
            let hex = format!("{sign}0x{lead}.{fraction:013x}p{power}");
            assert_eq!(parse_f64(hex.as_bytes()), Some(value), "{hex}");
        }
    }

    #[test]
    fn fixed_digits() {
        let mut out = Vec::new();
        for value in [0.0, 166_274.151_569_600_4, 0.00004, -1.5, 0.0625] {
            format_fixed(value, 4, &mut out);
            out.push(b' ');
        }
        assert_eq!(out, b"0.0000 166274.1516 0.0000 -1.5000 0.0625 ");
    }
}
