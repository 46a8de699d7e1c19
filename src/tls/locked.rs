//! Private keys, and those that a passphrase opens, in the two forms that OpenSSL writes.
//!
//! The present form is PKCS #8, which brings its own description. The old one (RFC 1421) names a
//! cipher and a vector in the head of the section, and its key is one round of MD5 over the
//! passphrase. It keeps a secret badly, but it is what `openssl genrsa -aes256` wrote for twenty
//! years, and such keys are still in use.
//!
//! Invariant: what does not open is refused with a line that says why; a passphrase is in none.

use super::files::section;
use crate::config::Secret;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockCipher, BlockDecryptMut, KeyInit, KeyIvInit};
use md5::{Digest, Md5};
use pkcs8::{EncryptedPrivateKeyInfo, SecretDocument};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// What the log says of a key that needs a passphrase and got none.
const LOCKED: &str = "the key is encrypted: set its passphrase";
/// Sections that the old form has keys in.
const OLD_LABELS: [&str; 2] = ["RSA PRIVATE KEY", "EC PRIVATE KEY"];
/// Of the vector, what the old form takes for salt.
const SALT_BYTES: usize = 8;

/// The first private key; one that is encrypted needs `passphrase`.
pub(super) fn key(
    pem: &[u8],
    passphrase: Option<&Secret>,
) -> Result<PrivateKeyDer<'static>, String> {
    if let Some(encrypted) = section(pem, "ENCRYPTED PRIVATE KEY") {
        let passphrase = passphrase.ok_or(LOCKED)?;
        let (_, der) = SecretDocument::from_pem(encrypted).map_err(|error| error.to_string())?;
        let key = EncryptedPrivateKeyInfo::try_from(der.as_bytes())
            .and_then(|info| info.decrypt(&passphrase.0))
            .map_err(|error| format!("the passphrase does not open it: {error}"))?;
        return Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into());
    }
    let mut labelled = OLD_LABELS.iter().filter_map(|label| section(pem, label));
    match labelled.find_map(Old::of) {
        Some(old) => old.opened(&passphrase.ok_or(LOCKED)?.0),
        None => PrivateKeyDer::from_pem_slice(pem).map_err(|error| error.to_string()),
    }
}

/// A section with a head, which the old form has.
struct Old<'a> {
    /// What `DEK-Info` says: a cipher and its vector.
    info: &'a str,
    /// The section without its head.
    bare: String,
}

impl<'a> Old<'a> {
    /// `section`, if it is encrypted.
    fn of(section: &'a str) -> Option<Old<'a>> {
        let mut lines = section.lines().map(str::trim);
        let begin = lines.next()?;
        let head: Vec<&str> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
        if !head.contains(&"Proc-Type: 4,ENCRYPTED") {
            return None;
        }
        let info = head.iter().find_map(|line| line.strip_prefix("DEK-Info:")).unwrap_or_default();
        let bare: Vec<&str> = std::iter::once(begin).chain(lines).collect();
        Some(Old { info: info.trim(), bare: bare.join("\n") })
    }

    fn opened(&self, passphrase: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
        let unknown = "its DEK-Info is not understood";
        let (cipher, vector) = self.info.split_once(',').ok_or(unknown)?;
        let vector = hex(vector.trim()).ok_or(unknown)?;
        let locked = PrivateKeyDer::from_pem_slice(self.bare.as_bytes())
            .map_err(|error| error.to_string())?;
        let bytes = locked.secret_der();
        let opened = match cipher.trim() {
            "AES-128-CBC" => decrypted::<aes::Aes128>(&vector, passphrase, bytes),
            "AES-192-CBC" => decrypted::<aes::Aes192>(&vector, passphrase, bytes),
            "AES-256-CBC" => decrypted::<aes::Aes256>(&vector, passphrase, bytes),
            "DES-EDE3-CBC" => decrypted::<des::TdesEde3>(&vector, passphrase, bytes),
            other => {
                return Err(format!(
                    "it is encrypted with '{other}', which is not supported; 'openssl pkcs8 \
                     -topk8' makes the present form of it"
                ))
            }
        };
        let opened = opened.filter(|der| is_one_sequence(der));
        let opened = opened.ok_or("the passphrase does not open it")?;
        Ok(match locked {
            PrivateKeyDer::Sec1(_) => PrivateKeyDer::Sec1(opened.into()),
            _ => PrivateKeyDer::Pkcs1(opened.into()),
        })
    }
}

fn decrypted<C>(vector: &[u8], passphrase: &[u8], locked: &[u8]) -> Option<Vec<u8>>
where
    C: BlockCipher + BlockDecryptMut + KeyInit,
    cbc::Decryptor<C>: KeyIvInit,
{
    let key = derived(passphrase, vector.get(..SALT_BYTES)?, C::key_size());
    let decryptor = cbc::Decryptor::<C>::new_from_slices(&key, vector).ok()?;
    decryptor.decrypt_padded_vec_mut::<Pkcs7>(locked).ok()
}

/// A key of `bytes`, as OpenSSL's `EVP_BytesToKey` makes it of a passphrase in one round of MD5.
fn derived(passphrase: &[u8], salt: &[u8], bytes: usize) -> Vec<u8> {
    let mut key: Vec<u8> = Vec::new();
    let mut last = Vec::new();
    while key.len() < bytes {
        last = [last.as_slice(), passphrase, salt].concat();
        last = Md5::digest(&last).to_vec();
        key.extend(&last);
    }
    key.truncate(bytes);
    key
}

/// Whether `der` is a sequence that ends where it says: one wrong passphrase in 256 leaves a good
/// padding behind.
fn is_one_sequence(der: &[u8]) -> bool {
    let (length, rest) = match der {
        [0x30, length @ 0..=0x7f, rest @ ..] => (usize::from(*length), rest),
        [0x30, 0x81, length, rest @ ..] => (usize::from(*length), rest),
        [0x30, 0x82, high, low, rest @ ..] => {
            (usize::from(u16::from_be_bytes([*high, *low])), rest)
        }
        _ => return false,
    };
    rest.len() == length
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|digit| Some(digit.to_digit(16)? as u8)).collect();
    let pairs = digits?;
    let whole = pairs.len() % 2 == 0;
    whole.then(|| pairs.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What all of them hold.
    const PLAIN: &str = "\
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIAYcD9NRUpK9jF+7XtFYcyPR5ThHDwE35LbKcriKtUZLoAoGCCqGSM49
AwEHoUQDQgAEytKl5K2iv8svULmAARhA+TRJzKEnFfijXYPiy/Y2laqQwJ1HgoYo
RjysF1CdNuPyeZtU7nEYXeEDeBSWhzyJAw==
-----END EC PRIVATE KEY-----
";
    /// The old form.
    const AES_128: &str = "\
-----BEGIN EC PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: AES-128-CBC,4CB32A7963739341FE99D463B70EC948

5AmiwtbOFQmI6iacgIyXO88QiJ5S2U4/ajHj2wG3EGaGRCko55GdnFO2fCfDsjj0
b9abXpdi6GGWYpVnCRGrbBkTkz2dtu1NHIH6wt8AHsrdbD2dpd48Oxa+mTlXMiF5
Y9NPSuZgfJfO4FHldMdxhqcmtTKTd0V3O1He0Hn1ams=
-----END EC PRIVATE KEY-----
";
    /// The old form.
    const AES_192: &str = "\
-----BEGIN EC PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: AES-192-CBC,1E588109AE86D0C4C6DBA9A2F9C7B714

NNaBDhiFHCjW9qlBXZcCxjiygXxwuxwyGCyBnmzKoOFRa0PikC8K6dY2L7p/vsnE
dNTFM3jFzm3l4/NoVp+zIz877imN37Bdts1fMY0N3eLC6VVlfbWCMiS3/UARPdtd
3JBzmjw8aK3Cl5+TIRfJMzP2iM3XWqe6ENo/m6H4z9U=
-----END EC PRIVATE KEY-----
";
    /// The old form.
    const AES_256: &str = "\
-----BEGIN EC PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: AES-256-CBC,F77169999A8CD7661C3081BCC7A2B6A6

3KkyZYoDyzXuGA6dwYSsyj6hoobP3EPim5OhJiyzRQZ5ZGoOOOkcyA1z+A+bq+JF
xdzovczjlsngLIIfkO/J6HOC6oo1ZxIn3jvnzHUtocGYp+FCcLhKgY2/VQ2RGz8W
BQ4k6DoEF8XZVGWWgQRjjaPyx8JqaXzJeYKcsRYnxjI=
-----END EC PRIVATE KEY-----
";
    /// The old form.
    const DES_3: &str = "\
-----BEGIN EC PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: DES-EDE3-CBC,AC16D01977F83406

PoU0UzeVa60KQVf1BXWjpVITlpugwslZMElbZLt65LU0VY1UiDhKIH84UpCm8hul
rzRb+Kj7iKRfs7a6BZ7SbOMYEWsryOgep/ddEp0n+dSaVn2QoP9JnrMzLRrp6BD3
2E/zlwjusoWxluTi0OUBskeVPsoOrY4UZ45D3HOL+ng=
-----END EC PRIVATE KEY-----
";
    /// The present form.
    const PRESENT_AES: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAhrvMvhiVVHLAICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEJ2C+I7918OdATToDPVuRoUEgZAh
tGVaCCvJSiMB/y7HSTRifotSd2LfhQ39xMKqa+6n4bEB1kMwpdhs/QG2mqW2r8Ja
FPZPwX1e1VZk5r5O9GhiBBnWhEAJQ2I4Kh+7qKOCPJfH1BDlOFnWYTfHwapedrsW
Lg/57/zs2hdehsqbS1GK22+6mCpmFEiLq9/TBMmyyKUFj+rTGxurT/HZZl+34eg=
-----END ENCRYPTED PRIVATE KEY-----
";
    /// The present form, as OpenSSL 1.0 writes it.
    const PRESENT_AES_SHA_1: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHeMEkGCSqGSIb3DQEFDTA8MBsGCSqGSIb3DQEFDDAOBAiXGCBB6+s61QICCAAw
HQYJYIZIAWUDBAECBBAQOX7ts7S1vuyRalro7NfPBIGQ+0kwcJzp/Z+zm5vQe7s9
WrykxIndtfWZdcLy6mn4K8/L8h7qYY7APMajjgT9F5S/ZFmumjokvlfKtpk2tio4
iulNnOvQ+a3/TjEQIeITwD4mdKIhy8rc+87vFbi8ZGYdx7IEj2NQfu9mobtUOwZO
8trTKoeXH2zzcEtFsCHFbu5/HRE4G7etio3d3lvsyTNp
-----END ENCRYPTED PRIVATE KEY-----
";
    /// The present form, as OpenSSL 1.0 writes it.
    const PRESENT_DES_3: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHVMEAGCSqGSIb3DQEFDTAzMBsGCSqGSIb3DQEFDDAOBAisAAIo7Z32kQICCAAw
FAYIKoZIhvcNAwcECPaj5D4G62V2BIGQwwKXSnwO3v+3R/38ydMUHC/WIBiwzsVI
NfJgAi+enqiUSVcLTS6moV6wTFzz9zg73uSvT8rAewXHT9RjQZnQ4VTiFvcdvW0u
6qzonLPP0nnj9YziBWDgHn+iZtI9xq6Xwwq1B29tG30Bx6raLNeuEkfbqGVejFax
oefPpJR7DUg52+mOnFSpZZMSeJ7SBpYy
-----END ENCRYPTED PRIVATE KEY-----
";
    /// The present form.
    const SCRYPT: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHkME8GCSqGSIb3DQEFDTBCMCEGCSsGAQQB2kcECzAUBAhnhMUhNfOhtgICQAAC
AQgCAQEwHQYJYIZIAWUDBAEqBBBY1vry/cpiAaLG7kG43vsxBIGQzEm5mMKNG6w4
Cf1XI7wt+xGYq1Hg8QogE9C9m1AH2qqNKgT94pgPXYvEcBIRJqcyg9eHFlPaaifV
GirC9kn5wL8panpQQOTybKrWgQrF5eYZ25lRwki1PYVKvJwNWE5hxQ+xBlFOgQWF
OqqVfsVRZUC+SGQTsTMZnKFgZsLmgombMG1EqIfzDC217AMS1sKU
-----END ENCRYPTED PRIVATE KEY-----
";

    const OLD: [&str; 4] = [AES_128, AES_192, AES_256, DES_3];
    const PRESENT: [&str; 4] = [PRESENT_AES, PRESENT_AES_SHA_1, PRESENT_DES_3, SCRYPT];

    fn with(pem: &str, passphrase: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
        key(pem.as_bytes(), Some(&Secret(passphrase.to_vec())))
    }

    #[test]
    fn the_old_form_opens_to_what_was_locked() {
        let plain = key(PLAIN.as_bytes(), None).expect("a key");
        for pem in OLD {
            assert_eq!(with(pem, b"secret").as_ref(), Ok(&plain), "{pem}");
            let other_ends = format!("comment\r\n{}", pem.replace('\n', "\r\n"));
            assert_eq!(with(&other_ends, b"secret").as_ref(), Ok(&plain), "{other_ends}");
        }
        assert_eq!(with(PLAIN, b"not needed"), Ok(plain));
    }

    #[test]
    fn the_present_form_opens_whoever_wrote_it() {
        for pem in PRESENT {
            let opened = with(pem, b"secret").expect(pem);
            rustls::crypto::aws_lc_rs::sign::any_supported_type(&opened).expect(pem);
        }
    }

    #[test]
    fn what_does_not_open_is_refused_with_a_reason() {
        for pem in OLD.into_iter().chain(PRESENT) {
            assert_eq!(key(pem.as_bytes(), None), Err(LOCKED.to_string()));
            for wrong in [&b""[..], b"wrong", b"secret\n"] {
                let error = with(pem, wrong).expect_err("it is the wrong one");
                assert!(error.starts_with("the passphrase does not open it"), "{error}");
            }
        }
        let refused = |from: &str, to: &str| {
            assert!(AES_256.contains(from));
            with(&AES_256.replace(from, to), b"secret").expect_err("refused")
        };
        assert!(refused("AES-256-CBC", "DES-CBC").contains("'DES-CBC', which is not supported"));
        for (from, to) in [("DEK-Info", "Info"), ("F77169", "G77169"), ("F7716999", "F771699")] {
            assert_eq!(refused(from, to), "its DEK-Info is not understood", "{to}");
        }
        assert!(refused("F77169", "").starts_with("the passphrase does not open it"));
    }

    #[test]
    fn no_damage_makes_it_panic() {
        for pem in OLD {
            for at in 0..pem.len() {
                let cut = key(&pem.as_bytes()[..at], Some(&Secret(b"secret".to_vec())));
                assert!(cut.is_err() || at == pem.trim_end().len(), "{at} bytes");
                let mut bad = pem.as_bytes().to_vec();
                for flip in [0x01, 0x20, 0x80] {
                    bad[at] ^= flip;
                    let _ = key(&bad, Some(&Secret(b"secret".to_vec())));
                }
            }
        }
    }
}
