//! Certificates and keys, as PEM files hold them. `locked` opens those that are encrypted.

use super::locked;
use crate::config::{error_text, Secret, Settings};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// A larger file is no certificate.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// A certificate, those that vouch for it, and its key.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl Identity {
    pub(super) fn parse(certificate: &[u8], key: &[u8]) -> Result<Identity, String> {
        Ok(Identity { chain: parsed_certificates(certificate)?, key: locked::key(key, None)? })
    }

    pub(super) fn read(
        settings: &Settings,
        certificate: &Path,
        key: &Path,
        passphrase: Option<&Secret>,
    ) -> Result<Identity, String> {
        let chain = certificates(&settings.dir.join(certificate))
            .map_err(|error| format!("Failed to load certificate: {error}"))?;
        let key_path = settings.dir.join(key);
        let key = bytes(&key_path)
            .and_then(|pem| {
                locked::key(&pem, passphrase)
                    .map_err(|error| format!("{}: {error}", key_path.display()))
            })
            .map_err(|error| format!("Failed to load private key: {error}"))?;
        Ok(Identity { chain, key })
    }

    /// Ready to sign with, if the key is that of the certificate.
    pub(super) fn certified(self) -> Result<Arc<CertifiedKey>, String> {
        let key: Arc<dyn SigningKey> = aws_lc_rs::sign::any_supported_type(&self.key)
            .map_err(|error| format!("Failed to load private key: {error}"))?;
        // A certificate holds its public key byte by byte. Asking rustls would refuse those of
        // version 1, which serve well.
        let belongs = |public: &[u8]| {
            self.chain.first().is_some_and(|certificate| {
                memchr::memmem::find(certificate.as_ref(), public).is_some()
            })
        };
        if !key.public_key().is_none_or(|public| belongs(public.as_ref())) {
            return Err("Failed to load private key: it is not that of the certificate".into());
        }
        Ok(Arc::new(CertifiedKey::new(self.chain, key)))
    }
}

/// The certificates of a file.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    parsed_certificates(&bytes(path)?).map_err(|error| format!("{}: {error}", path.display()))
}

/// The certificates of a directory; files that hold none are passed over.
pub(super) fn certificates_below(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let failed = |error: std::io::Error| format!("{}: {}", path.display(), error_text(&error));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let file = entry.path();
        if is_hashed(entry.file_name().as_encoded_bytes()) && file.is_file() {
            found.extend(certificates(&file).unwrap_or_default());
        }
    }
    found.sort_by(|one, other| one.as_ref().cmp(other.as_ref()));
    found.dedup();
    Ok(found)
}

/// Whether this is a name that `openssl rehash` gives to a certificate, `0123abcd.0`.
///
/// Redis: OpenSSL finds certificates by these names alone. What else lies there, one that was
/// taken out of use by renaming it, say, is not trusted.
fn is_hashed(name: &[u8]) -> bool {
    let Some((hash, [b'.', number @ ..])) = name.split_at_checked(8) else { return false };
    let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    hash.iter().all(is_hex) && !number.is_empty() && number.iter().all(u8::is_ascii_digit)
}

pub(super) fn parsed_certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err("there is no certificate in it".to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// The lines of a PEM section, those at its ends included.
pub(super) fn section<'a>(pem: &'a [u8], label: &str) -> Option<&'a str> {
    let text = std::str::from_utf8(pem).ok()?;
    let end = format!("-----END {label}-----");
    let from = text.find(&format!("-----BEGIN {label}-----"))?;
    let until = from + text[from..].find(&end)? + end.len();
    Some(&text[from..until])
}

fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("{}: {}", path.display(), error_text(&error));
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_read_by_the_names_that_openssl_looks_for() {
        for (name, is_one) in [
            ("56c899cd.0", true),
            ("56c899cd.12", true),
            ("56c899cd.r0", false),
            ("56C899CD.0", false),
            ("56c899cd.", false),
            ("56c899cd", false),
            ("ca.crt", false),
            ("56c899cd.0.off", false),
        ] {
            assert_eq!(is_hashed(name.as_bytes()), is_one, "{name}");
        }
    }
}
