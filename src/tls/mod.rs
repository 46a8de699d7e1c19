//! TLS, as a server and towards other servers: what the directives `tls-*` say, made into the
//! configurations of rustls, and the streams that speak it.
//!
//! `files` reads certificates and keys, `locked` opens encrypted ones, `words` understands lists
//! of protocols and ciphers, `server` and `client` build the two sides, `sessions` is how those who
//! come back are known, `trust` judges what the other side shows (reading it with `certificate`
//! where rustls does not), `socket` is an accepted connection, `lent` one that another thread
//! answers for a while, `outward` one to another server, `self_signed` makes throw-away
//! certificates for tests.
//!
//! Towards another server (a primary, the target of MIGRATE):
//!
//! ```ignore
//! let config = tls::client_config(settings, None)?;           // once; Err is a line for the log
//! let stream = tls::connect(&config, tcp, "10.0.0.1").await?; // tokio: AsyncRead + AsyncWrite
//! let stream = tls::connect_blocking(&config, tcp, "10.0.0.1")?; // std: Read + Write
//! ```
//!
//! Both verify that the other side's certificate is vouched for by `tls-ca-cert-file` or
//! `tls-ca-cert-dir`, and show `tls-client-cert-file` (or `tls-cert-file`) if asked. Neither looks
//! at names: servers are told to each other by address (as Redis does it).
//!
//! Invariant: what rustls cannot do is refused, with the directive's name, and never left out
//! silently. Nothing here is global: each server has its own configurations.

mod certificate;
mod client;
mod files;
mod lent;
mod locked;
mod outward;
mod self_signed;
mod server;
mod sessions;
mod socket;
mod trust;
mod words;

pub use client::{client_config, connect, connect_blocking, TlsStream};
pub use lent::Lent;
pub use outward::Outward;
pub use rustls::ClientConfig;
pub use self_signed::{self_signed, SelfSigned};
pub use server::server_config;
pub use socket::TlsSocket;

use crate::config::Settings;
use files::Identity;
use rustls::crypto::{aws_lc_rs, CryptoProvider};
use rustls::pki_types::CertificateDer;
use rustls::{RootCertStore, SupportedProtocolVersion};
use std::sync::Arc;

/// What both sides have in common.
struct Common {
    provider: Arc<CryptoProvider>,
    versions: Vec<&'static SupportedProtocolVersion>,
    /// Who vouches for the others.
    roots: Arc<RootCertStore>,
}

impl Common {
    fn read(settings: &Settings, own: Option<&SelfSigned>) -> Result<Common, String> {
        let tls = &settings.tls;
        if let Some(path) = &tls.dh_params_file {
            return Err(format!(
                "tls-dh-params-file {}: Diffie-Hellman parameters are not supported, key exchange \
                 is by elliptic curves. Remove the directive.",
                path.display()
            ));
        }
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites = words::suites(
            &provider.cipher_suites,
            tls.ciphers.as_deref(),
            tls.ciphersuites.as_deref(),
        )?;
        let versions = words::versions(tls.protocols.as_deref())?;
        let of = |version: &&SupportedProtocolVersion| {
            provider.cipher_suites.iter().any(|suite| suite.version() == *version)
        };
        if !versions.iter().any(of) {
            return Err("No ciphers are left for the tls-protocols given.".to_string());
        }
        let mut roots = RootCertStore::empty();
        for certificate in trusted(settings, own)? {
            roots.add(certificate).map_err(|error| {
                format!("Failed to configure CA certificate(s) file/directory: {error}")
            })?;
        }
        Ok(Common { provider: Arc::new(provider), versions, roots: Arc::new(roots) })
    }
}

fn trusted(
    settings: &Settings,
    own: Option<&SelfSigned>,
) -> Result<Vec<CertificateDer<'static>>, String> {
    let tls = &settings.tls;
    let mut trusted = Vec::new();
    if let Some(path) = &tls.ca_cert_file {
        trusted.extend(files::certificates(&settings.dir.join(path)).map_err(|error| {
            format!("Failed to configure CA certificate(s) file/directory: {error}")
        })?);
    }
    // Redis: a directory is nothing but a place to look, so it may be missing. See [`doubt`].
    trusted.extend(below_ca_cert_dir(settings).and_then(Result::ok).unwrap_or_default());
    if let (true, Some(own)) = (trusted.is_empty(), own) {
        trusted.extend(files::parsed_certificates(own.ca_pem.as_bytes())?);
    }
    Ok(trusted)
}

fn below_ca_cert_dir(settings: &Settings) -> Option<Result<Vec<CertificateDer<'static>>, String>> {
    let path = settings.dir.join(settings.tls.ca_cert_dir.as_ref()?);
    Some(files::certificates_below(&path))
}

/// A line for the log about what is configured, and will most likely not do what is wanted.
pub fn doubt(settings: &Settings) -> Option<String> {
    let why = match below_ca_cert_dir(settings)? {
        Err(error) => error,
        Ok(found) if found.is_empty() => {
            "no certificate has a name that 'openssl rehash' gives".to_string()
        }
        Ok(_) => return None,
    };
    Some(format!("tls-ca-cert-dir vouches for nobody: {why}"))
}

/// The server's own certificate and key.
fn identity(settings: &Settings, own: Option<&SelfSigned>) -> Result<Identity, String> {
    let files = &settings.tls.own;
    if let (None, None, Some(own)) = (&files.certificate, &files.key, own) {
        return Identity::parse(own.certificate_pem.as_bytes(), own.key_pem.as_bytes());
    }
    let certificate = files.certificate.as_ref().ok_or("No tls-cert-file configured!")?;
    let key = files.key.as_ref().ok_or("No tls-key-file configured!")?;
    Identity::read(settings, certificate, key, files.passphrase.as_ref())
}
