//! What the directives `tls-*` say.

use super::{choice, number, on, path_from, text, Config};
use std::path::PathBuf;

/// Whether clients show a certificate; variants are named after the words of `tls-auth-clients`.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuthClients {
    No,
    #[default]
    Yes,
    Optional,
}

/// A certificate and its key, as files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, then those that vouch for it.
    pub certificate: Option<PathBuf>,
    /// The private key.
    pub key: Option<PathBuf>,
    /// The key's passphrase.
    pub passphrase: Option<Secret>,
}

/// Bytes that no log and no panic shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

/// Values named after their directives.
#[allow(missing_docs)]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    pub port: u16,
    pub own: CertificateFiles,
    /// For outgoing connections; where it is not set, `own` is shown.
    pub client: CertificateFiles,
    pub ca_cert_file: Option<PathBuf>,
    pub ca_cert_dir: Option<PathBuf>,
    pub dh_params_file: Option<PathBuf>,
    pub auth_clients: AuthClients,
    pub replication: bool,
    pub cluster: bool,
    pub protocols: Option<String>,
    /// Of TLS 1.2, in OpenSSL's words.
    pub ciphers: Option<String>,
    /// Of TLS 1.3.
    pub ciphersuites: Option<String>,
    pub prefer_server_ciphers: bool,
    pub session_caching: bool,
    pub session_cache_size: usize,
    pub session_cache_timeout_s: u32,
    pub handshake_timeout_s: u64,
}

impl TlsSettings {
    /// Something needs certificates.
    pub fn is_used(&self) -> bool {
        self.port > 0 || self.replication || self.cluster
    }

    pub(super) fn read(config: &Config) -> Self {
        let path = |name| text(config, name).map(|path| path_from(&path));
        let words = |name| {
            text(config, name).map(|words: Vec<u8>| String::from_utf8_lossy(&words).into_owned())
        };
        let files = |certificate, key, passphrase| CertificateFiles {
            certificate: path(certificate),
            key: path(key),
            passphrase: text(config, passphrase).map(Secret),
        };
        TlsSettings {
            port: number(config, "tls-port"),
            own: files("tls-cert-file", "tls-key-file", "tls-key-file-pass"),
            client: files(
                "tls-client-cert-file",
                "tls-client-key-file",
                "tls-client-key-file-pass",
            ),
            ca_cert_file: path("tls-ca-cert-file"),
            ca_cert_dir: path("tls-ca-cert-dir"),
            dh_params_file: path("tls-dh-params-file"),
            auth_clients: match choice(config, "tls-auth-clients") {
                0 => AuthClients::No,
                1 => AuthClients::Yes,
                _ => AuthClients::Optional,
            },
            replication: on(config, "tls-replication"),
            cluster: on(config, "tls-cluster"),
            protocols: words("tls-protocols"),
            ciphers: words("tls-ciphers"),
            ciphersuites: words("tls-ciphersuites"),
            prefer_server_ciphers: on(config, "tls-prefer-server-ciphers"),
            session_caching: on(config, "tls-session-caching"),
            session_cache_size: number(config, "tls-session-cache-size"),
            session_cache_timeout_s: number(config, "tls-session-cache-timeout"),
            handshake_timeout_s: number(config, "tls-handshake-timeout"),
        }
    }
}
