//! The other side: connections to servers that speak TLS.

use super::trust::{OfServers, Trust};
use super::{files::Identity, identity, Common, SelfSigned};
use crate::clock::Stopwatch;
use crate::config::Settings;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A connection of [`connect_blocking`].
pub type TlsStream = StreamOwned<ClientConnection, std::net::TcpStream>;

/// What outgoing connections are made with; `Err` is a line for the log.
pub fn client_config(
    settings: &Settings,
    own: Option<&SelfSigned>,
) -> Result<Arc<ClientConfig>, String> {
    let files = &settings.tls.client;
    let identity = match (&files.certificate, &files.key) {
        (Some(certificate), Some(key)) => {
            Identity::read(settings, certificate, key, files.passphrase.as_ref())?
        }
        _ => identity(settings, own)?,
    };
    let Common { provider, versions, roots } = Common::read(settings, own)?;
    let algorithms = provider.signature_verification_algorithms;
    let shown: Arc<dyn ResolvesClientCert> =
        Arc::new(SingleCertAndKey::from(identity.certified()?));
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(|error| format!("Failed to configure TLS: {error}"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(OfServers(Trust { roots, algorithms })))
        .with_client_cert_resolver(shown);
    Ok(Arc::new(config))
}

/// Speaks TLS over a connection; `host` is what it was made to, a name or an address.
pub async fn connect(
    config: &Arc<ClientConfig>,
    stream: TcpStream,
    host: &str,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    TlsConnector::from(config.clone()).connect(name(host), stream).await
}

/// The same for a thread that may wait, at most for `timeout`. The handshake is over when it
/// returns.
pub fn connect_blocking(
    config: &Arc<ClientConfig>,
    stream: std::net::TcpStream,
    host: &str,
    timeout: Duration,
) -> io::Result<TlsStream> {
    let mut connection =
        ClientConnection::new(config.clone(), name(host)).map_err(io::Error::other)?;
    let mut timed = Timed { stream: &stream, timeout, watch: Stopwatch::start() };
    while connection.is_handshaking() {
        connection.complete_io(&mut timed)?;
    }
    Ok(StreamOwned::new(connection, stream))
}

/// A connection of which all calls together may take so long: a peer that sends a byte now and
/// then keeps nobody.
struct Timed<'a> {
    stream: &'a std::net::TcpStream,
    timeout: Duration,
    watch: Stopwatch,
}

impl Timed<'_> {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.timeout.saturating_sub(Duration::from_nanos(self.watch.elapsed_ns()));
        match left.is_zero() {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => Ok(Some(left)),
        }
    }
}

impl io::Read for Timed<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(bytes)
    }
}

impl io::Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// The name to ask for. What is no name asks for none: names are not compared anyway.
fn name(host: &str) -> ServerName<'static> {
    let unnamed = std::net::IpAddr::from([0, 0, 0, 0]);
    ServerName::try_from(host.to_string()).unwrap_or(ServerName::from(unnamed))
}
