//! The payload of FUNCTION DUMP: RDB's function records, the version of RDB, and a CRC-64.

use crate::error::{Error, Result};

/// RDB's mark of a library's code.
const FUNCTION: u8 = 245;
/// The oldest version of RDB that knows functions, so that every server that does can load it.
const WRITTEN_VERSION: u16 = 10;
/// The newest version that is read.
const NEWEST_VERSION: u16 = 12;

/// Packs the codes of libraries.
pub fn pack<'a>(codes: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    for code in codes {
        out.push(FUNCTION);
        push_length(code.len(), &mut out);
        out.extend_from_slice(code);
    }
    out.extend_from_slice(&WRITTEN_VERSION.to_le_bytes());
    let crc = crc64(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// The codes of the libraries in a payload.
pub fn unpack(payload: &[u8]) -> Result<Vec<Vec<u8>>> {
    let Some((body, crc)) = payload.split_last_chunk::<8>() else { return Err(Error::BadPayload) };
    let Some((mut rest, version)) = body.split_last_chunk::<2>() else {
        return Err(Error::BadPayload);
    };
    let is_right = u16::from_le_bytes(*version) <= NEWEST_VERSION
        && (u64::from_le_bytes(*crc) == 0 || u64::from_le_bytes(*crc) == crc64(body));
    if !is_right {
        return Err(Error::BadPayload);
    }
    let mut codes = Vec::new();
    while let Some((&mark, after)) = rest.split_first() {
        if mark != FUNCTION {
            return Err(Error::NotAFunction);
        }
        let (code, after) = string(after).ok_or(Error::FunctionUnreadable)?;
        codes.push(code);
        rest = after;
    }
    Ok(codes)
}

fn push_length(len: usize, out: &mut Vec<u8>) {
    match len {
        0..=0x3f => out.push(len as u8),
        0x40..=0x3fff => out.extend_from_slice(&[0x40 | (len >> 8) as u8, len as u8]),
        0x4000..=0xffff_ffff => {
            out.push(0x80);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
        _ => {
            out.push(0x81);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
}

/// A length, or (`Err`) the kind of a specially encoded string.
fn length(bytes: &[u8]) -> Option<(std::result::Result<usize, u8>, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    match first >> 6 {
        0 => Some((Ok(usize::from(first)), rest)),
        1 => {
            let (&low, rest) = rest.split_first()?;
            Some((Ok((usize::from(first & 0x3f) << 8) | usize::from(low)), rest))
        }
        2 if first == 0x80 => {
            let (len, rest) = rest.split_first_chunk::<4>()?;
            Some((Ok(u32::from_be_bytes(*len) as usize), rest))
        }
        2 if first == 0x81 => {
            let (len, rest) = rest.split_first_chunk::<8>()?;
            Some((Ok(usize::try_from(u64::from_be_bytes(*len)).ok()?), rest))
        }
        3 => Some((Err(first & 0x3f), rest)),
        _ => None,
    }
}

/// A string, plain or compressed with LZF.
fn string(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    const COMPRESSED: u8 = 3;
    match length(bytes)? {
        (Ok(len), rest) => {
            let (code, rest) = rest.split_at_checked(len)?;
            Some((code.to_vec(), rest))
        }
        (Err(COMPRESSED), rest) => {
            let (Ok(packed_len), rest) = length(rest)? else { return None };
            let (Ok(len), rest) = length(rest)? else { return None };
            let (packed, rest) = rest.split_at_checked(packed_len)?;
            Some((decompress(packed, len)?, rest))
        }
        _ => None,
    }
}

/// Unpacks LZF: runs of literal bytes, and copies from what was unpacked before.
fn decompress(mut packed: &[u8], len: usize) -> Option<Vec<u8>> {
    // One packed byte makes at most 264 of them.
    if len > packed.len().saturating_mul(264) {
        return None;
    }
    let mut out = Vec::with_capacity(len);
    while let Some((&control, rest)) = packed.split_first() {
        let control = usize::from(control);
        if control < 32 {
            let (literal, rest) = rest.split_at_checked(control + 1)?;
            out.extend_from_slice(literal);
            packed = rest;
            continue;
        }
        let (mut copy, mut rest) = (control >> 5, rest);
        if copy == 7 {
            let (&more, after) = rest.split_first()?;
            copy += usize::from(more);
            rest = after;
        }
        let (&low, after) = rest.split_first()?;
        let back = ((control & 0x1f) << 8 | usize::from(low)) + 1;
        let start = out.len().checked_sub(back)?;
        for at in start..start + copy + 2 {
            let byte = *out.get(at)?;
            out.push(byte);
        }
        packed = after;
    }
    (out.len() == len).then_some(out)
}

/// CRC-64 with the polynomial of Jones, bits reflected, as RDB has it.
fn crc64(bytes: &[u8]) -> u64 {
    const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ u64::from(byte), |crc, _| {
            (crc >> 1) ^ (POLYNOMIAL & (crc & 1).wrapping_neg())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::{crc64, pack, unpack};

    #[test]
    fn payloads_are_the_genuine_servers() {
        assert_eq!(crc64(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        // FUNCTION DUMP of Redis 8.0.2, with and without a library.
        let empty = b"\x0c\x00\x96\xed\x68\x80\xf5\x55\x3c\x93";
        assert_eq!(unpack(empty).map(|codes| codes.len()), Ok(0));
        let code = b"#!lua name=a\nredis.register_function('f', function() return 1 end)";
        assert_eq!(unpack(&pack([&code[..]].into_iter())), Ok(vec![code.to_vec()]));
        let packed = b"\xf5\xc3@~@\x88\x1f#!lua name=a\nredis.register_func\x04tion{\xc0\x08\x00_\
            `'\x0c\"f\",callback=\xc0\x1a\x1f() return 1 end,flags={\"no-write\x03s\",\" 3\x0f\
            ow-oom\"},descrip@^\x04=\"d\"}\x0c\x00i\"\xce\n\xf0\x01\xc3$";
        let code = "#!lua name=a\nredis.register_function{function_name=\"f\",callback=function() \
                    return 1 end,flags={\"no-writes\",\"allow-oom\"},description=\"d\"}";
        assert_eq!(unpack(packed), Ok(vec![code.as_bytes().to_vec()]));
    }

    #[test]
    fn damage_is_found() {
        let good = pack([&b"#!lua name=a\ncode"[..]].into_iter());
        for at in 0..good.len() {
            assert!(unpack(&good[..at]).is_err());
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(unpack(&bad).is_err());
        }
    }
}
