//! The checksum at the end of files and payloads: CRC-64 with the polynomial of Jones, which no
//! other format has.

use crc_fast::{CrcAlgorithm, Digest};

/// The checksum of bytes that come piece by piece.
#[derive(Clone)]
pub struct Checksum(Digest);

impl Default for Checksum {
    fn default() -> Self {
        Checksum(Digest::new(CrcAlgorithm::Crc64Redis))
    }
}

impl Checksum {
    /// Goes on with these bytes.
    #[inline]
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of everything so far.
    pub fn value(&self) -> u64 {
        self.0.finalize()
    }
}

/// The checksum of `bytes`.
pub fn checksum(bytes: &[u8]) -> u64 {
    crc_fast::checksum(CrcAlgorithm::Crc64Redis, bytes)
}

#[cfg(test)]
mod tests {
    use super::{checksum, Checksum};

    #[test]
    fn as_redis_computes_it() {
        assert_eq!(checksum(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        let mut pieces = Checksum::default();
        pieces.update(b"1234");
        pieces.update(b"");
        pieces.update(b"56789");
        assert_eq!(pieces.value(), 0xe9c6_d914_c4b8_d9ca);
    }
}
