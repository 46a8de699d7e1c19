//! The server's side: whom it admits, what it shows, how it remembers sessions.

use super::files::Identity;
use super::sessions::{timeout_s, Cache, Tickets};
use super::trust::{OfClients, Trust};
use super::{identity, Common, SelfSigned};
use crate::config::{AuthClients, Settings};
use rustls::server::{NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::ServerConfig;
use std::sync::Arc;

/// What new connections are accepted with; `Err` is a line for the log. `own` stands in for
/// certificates that no directive names.
pub fn server_config(
    settings: &Settings,
    own: Option<&SelfSigned>,
) -> Result<Arc<ServerConfig>, String> {
    let tls = &settings.tls;
    let identity = identity(settings, own)?;
    let asks = tls.auth_clients != AuthClients::No || tls.replication || tls.cluster;
    if asks && tls.ca_cert_file.is_none() && tls.ca_cert_dir.is_none() && own.is_none() {
        return Err("Either tls-ca-cert-file or tls-ca-cert-dir must be specified when \
                    tls-cluster, tls-replication or tls-auth-clients are enabled!"
            .to_string());
    }
    let shown = &tls.client;
    if let (Some(certificate), Some(key)) = (&shown.certificate, &shown.key) {
        // Redis: what is shown to others has to be good even while nobody asks.
        Identity::read(settings, certificate, key, shown.passphrase.as_ref())?.certified()?;
    }
    let Common { provider, versions, roots } = Common::read(settings, own)?;
    let failed = |error: String| format!("Failed to configure TLS: {error}");
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
        .map_err(|error| failed(error.to_string()))?;
    let builder = match tls.auth_clients {
        AuthClients::No => builder.with_no_client_auth(),
        asked => {
            let algorithms = provider.signature_verification_algorithms;
            let trust = Trust { roots: roots.clone(), algorithms };
            // Redis: a directory may be missing or empty. Nobody is vouched for then.
            let first = (!roots.is_empty())
                .then(|| WebPkiClientVerifier::builder_with_provider(roots, provider).build())
                .transpose()
                .map_err(|error| failed(error.to_string()))?;
            let must_show = asked == AuthClients::Yes;
            builder.with_client_cert_verifier(Arc::new(OfClients { first, trust, must_show }))
        }
    };
    let shown: Arc<dyn ResolvesServerCert> =
        Arc::new(SingleCertAndKey::from(identity.certified()?));
    let mut config = builder.with_cert_resolver(shown);
    config.ignore_client_order = tls.prefer_server_ciphers;
    if tls.session_caching {
        let timeout_s = timeout_s(tls.session_cache_timeout_s);
        config.session_storage = Cache::new(tls.session_cache_size, timeout_s);
        config.ticketer = Tickets::new(timeout_s).map_err(|error| failed(error.to_string()))?;
        // Redis: OpenSSL gives two as well, so that a client may open two connections.
        config.send_tls13_tickets = 2;
    } else {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Arc::new(config))
}
