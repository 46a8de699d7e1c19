//! `metrics-port`: what INFO knows, for Prometheus, over HTTP.
//!
//! Invariant: a scraper costs a server little: few at a time, short requests, a time limit, and
//! the lock only for the making of the text. With `protected-mode` and no password, strangers from
//! other machines are refused here as they are elsewhere.

use crate::commands::metrics_text;
use crate::listeners::{Acceptor, Listener, Port};
use crate::shared::Shared;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Scrapers served at the same time.
const SCRAPERS_MAX: usize = 8;
/// The longest head of a request.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// What a scraper may take in all.
const LIMIT: Duration = Duration::from_secs(10);

const HOME: &str = "Metrics of this server are at /metrics.\n";

/// Serves one listener until the server stops, or listens elsewhere.
pub(crate) async fn serve(shared: Arc<Shared>, listener: Listener) {
    let Ok(listener) = Acceptor::new(listener) else { return };
    let mut since = shared.listening(Port::Metrics).since.subscribe();
    let places = Arc::new(Semaphore::new(SCRAPERS_MAX));
    loop {
        // A listener that was shut down looks ready for ever: only the change ends it.
        let accepted = tokio::select! {
            biased;
            _ = since.changed() => return,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((place, stream, peer)) => {
                let shared = shared.clone();
                let local = peer.ip().to_canonical().is_loopback();
                tokio::task::spawn_local(async move {
                    let _ = tokio::time::timeout(LIMIT, answer(&shared, stream, local)).await;
                    drop(place);
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// The next scraper, when there is a place for it.
async fn accept(
    listener: &Acceptor,
    places: &Arc<Semaphore>,
) -> io::Result<(OwnedSemaphorePermit, TcpStream, SocketAddr)> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((place, TcpStream::from_std(stream)?, peer))
}

async fn answer(shared: &Shared, mut stream: TcpStream, local: bool) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > HEAD_BYTES_MAX || (&mut stream).take(1024).read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let mut words = head.split(|byte| *byte == b' ' || *byte == b'\r');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = path.split(|byte| *byte == b'?').next().unwrap_or_default();
    let (status, body) = match (method, path) {
        _ if !local && shared.lock_when_free().await.is_exposed() => {
            ("403 Forbidden", "Refused by protected mode.\n".to_string())
        }
        (b"GET" | b"HEAD", b"/metrics") => {
            ("200 OK", metrics_text(&mut *shared.lock_when_free().await))
        }
        (b"GET" | b"HEAD", b"/") => ("200 OK", HOME.to_string()),
        (b"GET" | b"HEAD", _) => ("404 Not Found", "Not found.\n".to_string()),
        _ => ("405 Method Not Allowed", "Only GET is answered.\n".to_string()),
    };
    let reply = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(reply.as_bytes()).await?;
    if method != b"HEAD" {
        stream.write_all(body.as_bytes()).await?;
    }
    stream.shutdown().await
}
