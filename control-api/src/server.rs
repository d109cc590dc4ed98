//! Connections: accepted, counted, timed and, if so configured, encrypted.
//!
//! A stranger who connects and then says little or nothing holds one of a bounded number of places,
//! few of which one address may have, for a bounded time.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use tracing::{debug, warn};

use crate::config::{Config, Tls};
use crate::http::Peer;
use crate::http::network;

/// Connections at once.
const MAX_CONNECTIONS: usize = 1024;

/// Connections at once from one address that is no trusted proxy.
const MAX_PER_SOURCE: usize = 128;

/// How long a client may take to send a request's head, and to stay idle between two.
const HEAD_TIME: Duration = Duration::from_secs(30);

/// How long a TLS handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// The largest head of a request, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// How long requests in progress may take to end when the program stops.
const GRACE: Duration = Duration::from_secs(10);

/// How long to rest when the system has no more file descriptors, so as not to spin.
const BREATHER: Duration = Duration::from_millis(100);

/// Serves until told to stop; then lets requests in progress end.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    config: Config,
    router: Router,
    stop: CancellationToken,
) {
    let (tracker, places) = (TaskTracker::new(), Arc::new(Places::default()));
    let hard_stop = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "accepting a connection");
                tokio::time::sleep(BREATHER).await;
                continue;
            }
        };
        let Some(place) = Places::take(&places, peer.ip(), config.trusts(peer.ip())) else {
            debug!(%peer, "no place for another connection");
            continue;
        };
        let (router, tls, stop, hard_stop) = (router.clone(), tls.clone(), stop.clone(), hard_stop.clone());
        tracker.spawn(async move {
            let _place = place;
            tokio::select! {
                () = connection(stream, peer, tls, router, stop) => {}
                () = hard_stop.cancelled() => {}
            }
        });
    }
    tracker.close();
    if timeout(GRACE, tracker.wait()).await.is_err() {
        warn!("some requests did not end in time");
        hard_stop.cancel();
        tracker.wait().await;
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    router: Router,
    stop: CancellationToken,
) {
    // A small answer must not wait for the acknowledgement of another.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return requests(stream, peer, router, stop).await };
    match timeout(HANDSHAKE_TIME, tls.accept(stream)).await {
        Ok(Ok(stream)) => requests(stream, peer, router, stop).await,
        Ok(Err(error)) => debug!(%peer, %error, "TLS handshake failed"),
        Err(_) => debug!(%peer, "TLS handshake took too long"),
    }
}

async fn requests<S>(stream: S, peer: SocketAddr, router: Router, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        let answer = router.clone().oneshot(request.map(Body::new));
        async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|never| match never {})) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_header_size(MAX_HEAD);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%peer, %error, "connection ended");
    }
}

/// The certificate to serve with.
pub(crate) fn acceptor(tls: &Tls) -> anyhow::Result<TlsAcceptor> {
    let reading = |path: &std::path::Path| format!("reading {}", path.display());
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(&tls.certificate).with_context(|| reading(&tls.certificate))?.collect();
    let chain = chain.with_context(|| reading(&tls.certificate))?;
    let key = PrivateKeyDer::from_pem_file(&tls.key).with_context(|| reading(&tls.key))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("the certificate and the key under [tls] do not fit")?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Who holds how many connections.
#[derive(Debug, Default)]
struct Places {
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection's place, given back when it ends.
#[derive(Debug)]
struct Place {
    places: Arc<Places>,
    source: IpAddr,
}

impl Places {
    /// A place for one more connection; whoever has a network of IPv6 has one share. A trusted proxy speaks for
    /// many, and may have them all.
    fn take(places: &Arc<Self>, source: IpAddr, trusted: bool) -> Option<Place> {
        let source = network(source);
        let mut taken = places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = taken.values().sum();
        let own = taken.get(&source).copied().unwrap_or(0);
        if total >= MAX_CONNECTIONS || (own >= MAX_PER_SOURCE && !trusted) {
            return None;
        }
        taken.insert(source, own + 1);
        Some(Place { places: places.clone(), source })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.source) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    fn nobody() -> SocketAddr {
        SocketAddr::new(address(1), 1)
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_on_which_nothing_is_asked_ends() {
        let (theirs, mut ours) = tokio::io::duplex(64);
        let began = tokio::time::Instant::now();
        ours.write_all(b"GET / HTTP/1.1\r\nHost: ").await.unwrap();
        requests(theirs, nobody(), Router::new(), CancellationToken::new()).await;
        assert!(began.elapsed() >= HEAD_TIME && began.elapsed() < 2 * HEAD_TIME);
    }

    #[tokio::test(start_paused = true)]
    async fn a_handshake_that_does_not_begin_ends() {
        let made = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap();
        let temp = tempfile::tempdir().unwrap();
        let (certificate, key) = (temp.path().join("cert.pem"), temp.path().join("key.pem"));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let tls = acceptor(&Tls { certificate, key }).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let began = tokio::time::Instant::now();
        connection(stream, peer, Some(tls), Router::new(), CancellationToken::new()).await;
        assert!(began.elapsed() >= HANDSHAKE_TIME);
        drop(silent);
    }

    #[tokio::test]
    async fn a_head_without_end_is_refused() {
        let (theirs, mut ours) = tokio::io::duplex(64 * 1024);
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(MAX_HEAD));
        ours.write_all(head.as_bytes()).await.unwrap();
        requests(theirs, nobody(), Router::new(), CancellationToken::new()).await;
        let mut answer = String::new();
        ours.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }

    #[test]
    fn one_address_cannot_have_every_place() {
        let places = Arc::new(Places::default());
        let held: Vec<_> =
            (0..MAX_PER_SOURCE).map(|_| Places::take(&places, address(1), false).unwrap()).collect();
        assert!(Places::take(&places, address(1), false).is_none());
        assert!(Places::take(&places, address(1), true).is_some(), "a trusted proxy speaks for many");
        assert!(Places::take(&places, address(2), false).is_some());
        let of_one_network = |n: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, n]);
        let held_too: Vec<_> = (0..MAX_PER_SOURCE as u16)
            .map(|n| Places::take(&places, of_one_network(n), false).unwrap())
            .collect();
        assert!(Places::take(&places, of_one_network(9999), false).is_none());
        drop(held_too);
        drop(held);
        assert!(places.taken.lock().unwrap().is_empty(), "every place is given back");
    }

    #[test]
    fn there_are_only_so_many_places() {
        let places = Arc::new(Places::default());
        let held: Vec<_> =
            (0..MAX_CONNECTIONS as u32).map(|n| Places::take(&places, address(n), false)).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(Places::take(&places, address(9999), true).is_none());
    }
}
