//! A box, a relay, and a connection that outlives its handshake.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use postern_protocol::id::DeviceId;
use postern_protocol::tunnel::quic::{Connection, Endpoint};
use postern_protocol::wire::{DEVICE_URI, RELAY_NAME, TUNNEL_ALPN};
use quinn::crypto::rustls::QuicClientConfig;
use quinn_proto::ConnectionError;
use rcgen::{CertificateParams, KeyPair as Pair, SanType};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ProducesTickets, WebPkiClientVerifier};

use super::*;

/// A key, and a certificate that is its own authority.
struct Party {
    key: PrivateKeyDer<'static>,
    certificate: CertificateDer<'static>,
}

impl Party {
    fn named(name: SanType) -> Self {
        let pair = Pair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![name];
        let certificate = params.self_signed(&pair).unwrap().der().clone();
        Self { key: PrivateKeyDer::Pkcs8(pair.serialize_der().into()), certificate }
    }

    fn trusted(&self) -> RootCertStore {
        let mut store = RootCertStore::empty();
        store.add(self.certificate.clone()).unwrap();
        store
    }
}

/// Tickets that anybody could read, and how often one was taken back.
#[derive(Debug, Default)]
struct Counted(AtomicUsize);

impl ProducesTickets for Counted {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        3600
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        Some(plain.to_vec())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.0.fetch_add(1, Relaxed);
        Some(cipher.to_vec())
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Where a relay listens that trusts this box.
fn relay(relay: &Party, trusted: &Party) -> Endpoint {
    relay_with(relay, trusted, Arc::new(Counted::default()))
}

fn relay_with(relay: &Party, trusted: &Party, tickets: Arc<Counted>) -> Endpoint {
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(trusted.trusted()), provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier.allow_unauthenticated().build().unwrap())
        .with_single_cert(vec![relay.certificate.clone()], relay.key.clone_key())
        .unwrap();
    tls.alpn_protocols = vec![TUNNEL_ALPN.to_vec()];
    tls.ticketer = tickets;
    let endpoint = super::super::open(UdpSocket::bind("127.0.0.1:0").unwrap(), &[1; 32]).unwrap();
    endpoint.set_server_config(super::super::server_config(tls).unwrap());
    endpoint
}

/// What a box dials with: with its certificate, or without any.
fn agent(relay: &Party, own: Option<&Party>) -> quinn::ClientConfig {
    let tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(relay.trusted());
    let mut tls = match own {
        Some(own) => tls.with_client_auth_cert(vec![own.certificate.clone()], own.key.clone_key()).unwrap(),
        None => tls.with_no_client_auth(),
    };
    tls.alpn_protocols = vec![TUNNEL_ALPN.to_vec()];
    quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
}

/// Both ends of a connection; the endpoint of the box keeps it going.
async fn connect(
    at: &Endpoint,
    config: quinn::ClientConfig,
) -> (quinn::Endpoint, quinn::Connection, Connection) {
    let from = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let dialling = from.connect_with(config, at.local_addr(), RELAY_NAME).unwrap();
    let (of_box, of_relay) = tokio::join!(dialling, async { at.accept().await.unwrap().accept().await });
    (from, of_box.unwrap(), of_relay.unwrap())
}

/// A word there and back.
async fn exchange(of_box: &quinn::Connection, of_relay: &Connection) {
    let (mut to, mut from) = of_relay.open().await.unwrap();
    to.write(Bytes::from_static(b"there")).await.unwrap();
    to.finish();
    let (mut answer, mut asked) = of_box.accept_bi().await.unwrap();
    answer.write_all(&asked.read_to_end(5).await.unwrap()).await.unwrap();
    answer.finish().unwrap();
    let mut pieces = [Bytes::new()];
    assert_eq!(from.read(&mut pieces, 100).await, Ok(1));
    assert_eq!(pieces[0], "there");
}

fn somebody() -> (Party, Party, DeviceId) {
    let device = DeviceId::from_entropy([7; 10]);
    let relay = Party::named(SanType::DnsName(RELAY_NAME.try_into().unwrap()));
    let agent = Party::named(SanType::URI(format!("{DEVICE_URI}{device}").try_into().unwrap()));
    (relay, agent, device)
}

#[tokio::test]
async fn who_the_box_is_outlives_the_handshake_and_keys_go_on_changing() {
    let (ours, own, device) = somebody();
    let at = relay(&ours, &own);
    let (_endpoint, of_box, of_relay) = connect(&at, agent(&ours, Some(&own))).await;
    let known = Known::of(&of_relay).expect("the handshake is over");
    assert_eq!(known.protocol, TUNNEL_ALPN);
    assert_eq!(known.identity.map(|identity| identity.device), Some(device));
    for _ in 0..3 {
        exchange(&of_box, &of_relay).await;
        of_box.force_key_update();
        exchange(&of_box, &of_relay).await;
    }
}

#[tokio::test]
async fn a_box_that_comes_back_with_a_ticket_is_who_it_was() {
    let (ours, own, device) = somebody();
    for (shows, known) in [(Some(&own), Some(device)), (None, None)] {
        let tickets = Arc::new(Counted::default());
        let at = relay_with(&ours, &own, tickets.clone());
        let config = agent(&ours, shows);
        for returns in 0..2 {
            let (_endpoint, of_box, of_relay) = connect(&at, config.clone()).await;
            exchange(&of_box, &of_relay).await;
            assert_eq!(tickets.0.load(Relaxed), returns);
            let identity = Known::of(&of_relay).expect("the handshake is over").identity;
            assert_eq!(identity.map(|identity| identity.device), known);
        }
    }
}

#[tokio::test]
async fn whoever_shows_no_certificate_is_nobody() {
    let (ours, own, _) = somebody();
    let at = relay(&ours, &own);
    let (_endpoint, _of_box, of_relay) = connect(&at, agent(&ours, None)).await;
    assert!(Known::of(&of_relay).expect("the handshake is over").identity.is_none());
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let (ours, own, _) = somebody();
    let (_, foreign, _) = somebody();
    let at = relay(&ours, &own);
    let from = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = agent(&ours, Some(&foreign));
    let dialling = from.connect_with(config, at.local_addr(), RELAY_NAME).unwrap();
    let (_box, of_relay) = tokio::join!(dialling, async { at.accept().await.unwrap().accept().await });
    assert!(matches!(of_relay, Err(ConnectionError::TransportError(_))), "{of_relay:?}");
}
