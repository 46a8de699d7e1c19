//! Payloads: one value for RESTORE, or libraries for FUNCTION RESTORE, followed by a version of
//! RDB and a checksum of both.

use super::codes;
use super::crc::checksum;
use super::fault::{Fault, Reason};
use super::read::{is_known, Reader, Rules};
use super::source::Source;
use super::write::{Head, Style, Writer};
use super::Version;
use crate::keyspace::entry::Entry;

/// Version and checksum.
const FOOTER_BYTES: usize = 10;

/// What became of a payload of DUMP.
#[derive(Debug)]
pub struct Unpacked {
    /// The value under the key that was given; none for a collection without members.
    pub entry: Option<Entry>,
    /// Packed values that were checked.
    pub checked_blobs: u64,
}

/// The value of an entry as DUMP gives it; `None` while an edit holds the value.
pub fn pack(entry: &Entry, compress: bool) -> Option<Vec<u8>> {
    let dated = entry.fields_due_ms().is_some();
    let style = Style { version: Version::for_data(dated), compress, checksum: false };
    let mut writer = Writer::new(style);
    writer.entry(&Head::default(), entry).then(|| sealed(writer, style.version))
}

/// Bytes that the value of an entry takes in a file, its type included.
pub fn packed_bytes(entry: &Entry, compress: bool) -> usize {
    pack(entry, compress).map_or(0, |packed| packed.len() - FOOTER_BYTES)
}

/// Codes of libraries as FUNCTION DUMP gives them.
pub fn pack_functions<'a>(codes: impl Iterator<Item = &'a [u8]>, compress: bool) -> Vec<u8> {
    let style = Style { version: Version::OLDEST, compress, checksum: false };
    let mut writer = Writer::new(style);
    codes.for_each(|code| writer.function(code));
    sealed(writer, style.version)
}

fn sealed(mut writer: Writer, version: Version) -> Vec<u8> {
    let mut out = writer.take_for(Vec::new());
    out.extend_from_slice(&version.number().to_le_bytes());
    let sum = checksum(&out);
    out.extend_from_slice(&sum.to_le_bytes());
    out
}

/// The part before the footer and the version, if version and checksum are good. `checked` is
/// false where DEBUG SET-SKIP-CHECKSUM-VALIDATION lets every checksum pass.
pub fn verified(payload: &[u8], checked: bool) -> Option<(&[u8], u32)> {
    let body_bytes = payload.len().checked_sub(FOOTER_BYTES)?;
    let (body, footer) = payload.split_at(body_bytes);
    let (version, sum) = footer.split_first_chunk::<2>()?;
    let version = u32::from(u16::from_le_bytes(*version));
    let is_right = || sum == checksum(&payload[..payload.len() - 8]).to_le_bytes();
    (is_known(version) && (!checked || is_right())).then_some((body, version))
}

/// The value of a [`verified`] payload as an entry under `key`.
pub fn unpack(
    (body, version): (&[u8], u32),
    key: &[u8],
    deadline_ms: Option<i64>,
    rules: Rules,
) -> Result<Unpacked, Fault> {
    let mut reader = Reader::of_source(Source::of_bytes(body), rules, version);
    reader.name_key(key);
    let kind = reader.source.byte()?;
    let entry = reader.entry(kind, deadline_ms)?;
    Ok(Unpacked { entry, checked_blobs: reader.checked_blobs() })
}

/// The codes of libraries in the body of a [`verified`] payload; the fault is `Unknown` for what
/// is no library.
pub fn unpack_functions(body: &[u8]) -> Result<Vec<Vec<u8>>, Fault> {
    let mut source = Source::of_bytes(body);
    let mut found = Vec::new();
    while !source.is_done()? {
        match source.byte()? {
            codes::OP_FUNCTION => found.push(source.owned()?),
            other => return Err(source.fault(Reason::Unknown(other))),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{pack_functions, unpack_functions, verified};

    fn unpack(payload: &[u8]) -> Option<Vec<Vec<u8>>> {
        let (body, _) = verified(payload, true)?;
        unpack_functions(body).ok()
    }

    #[test]
    fn libraries_are_read_as_the_genuine_server_packs_them() {
        // FUNCTION DUMP of Redis 8.0.2, with and without a library.
        let empty = b"\x0c\x00\x96\xed\x68\x80\xf5\x55\x3c\x93";
        assert_eq!(unpack(empty), Some(vec![]));
        let packed = b"\xf5\xc3@~@\x88\x1f#!lua name=a\nredis.register_func\x04tion{\xc0\x08\x00_\
            `'\x0c\"f\",callback=\xc0\x1a\x1f() return 1 end,flags={\"no-write\x03s\",\" 3\x0f\
            ow-oom\"},descrip@^\x04=\"d\"}\x0c\x00i\"\xce\n\xf0\x01\xc3$";
        let code = "#!lua name=a\nredis.register_function{function_name=\"f\",callback=function() \
                    return 1 end,flags={\"no-writes\",\"allow-oom\"},description=\"d\"}";
        assert_eq!(unpack(packed), Some(vec![code.as_bytes().to_vec()]));
        for compress in [true, false] {
            let ours = pack_functions([code.as_bytes()].into_iter(), compress);
            assert_eq!(unpack(&ours), Some(vec![code.as_bytes().to_vec()]));
        }
    }

    #[test]
    fn damage_is_found() {
        let good = pack_functions([&b"#!lua name=a\ncode"[..]].into_iter(), true);
        for at in 0..good.len() {
            assert!(unpack(&good[..at]).is_none());
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(unpack(&bad).is_none());
        }
    }
}
