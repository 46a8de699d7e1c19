//! Passwords: only their SHA-256 digests are kept, and comparing takes the same time whether it
//! succeeds or not.

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

/// The SHA-256 of a password as 64 hexadecimal digits in lower case.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 64]);

impl std::fmt::Debug for Digest {
    /// A digest is a secret too: whoever has it may guess in peace.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digest(…)")
    }
}

impl Digest {
    /// That of a password.
    pub fn of(password: &[u8]) -> Digest {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [0; 64];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(Sha256::digest(password)) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        Digest(hex)
    }

    /// Reads one; only lower case counts.
    pub fn read(text: &[u8]) -> Option<Digest> {
        let digits: [u8; 64] = text.try_into().ok()?;
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        digits.iter().all(is_digit).then_some(Digest(digits))
    }

    /// As it is written.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Whether both are the same, in a time that does not tell how much of them is.
    pub fn is(&self, other: &Digest) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

#[cfg(test)]
mod tests {
    use super::Digest;

    #[test]
    fn digests_are_those_of_the_standard() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").text(), empty);
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::of(b"abc").text(), abc);
        assert!(Digest::read(abc.as_bytes()).is_some_and(|read| read.is(&Digest::of(b"abc"))));
    }

    #[test]
    fn only_whole_digests_in_lower_case_are_read() {
        let abc = Digest::of(b"abc").text().to_string();
        assert!(Digest::read(abc.to_uppercase().as_bytes()).is_none());
        assert!(Digest::read(&abc.as_bytes()[1..]).is_none());
        assert!(Digest::read(format!("{abc}0").as_bytes()).is_none());
        assert!(Digest::read(abc.replace('a', "g").as_bytes()).is_none());
    }
}
