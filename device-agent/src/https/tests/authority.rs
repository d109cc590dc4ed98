//! Certificates from an authority.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use postern_protocol::access::Door;
use postern_protocol::wire::{Errand, Opening, WebCertificateKind};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::super::certificate::Certificate;
use super::super::*;
use super::pebble::Pebble;
use super::scene::{Files, NAME, Nginx, Scene, curl, said};

/// A year.
const LONG: u32 = 31_536_000;

struct Site {
    scene: Scene,
    pebble: Pebble,
    _nginx: Nginx,
}

/// A box with a page, whose certificate Pebble signs for so many seconds.
async fn site(validity: u32) -> Site {
    let home = tempfile::tempdir().unwrap();
    let nginx = Nginx::start(home.path(), "", "return 200 'the page';").await;
    let challenges = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let pebble = Pebble::start(home.path(), challenges.local_addr().unwrap().port(), validity).await;
    let page = format!("[services]\npage = {{ address = 'http://127.0.0.1:{}', port = 443 }}\n", nginx.port);
    let scene = Scene::start(home, &format!("{page}{}", pebble.settings()), &[443]).await;
    scene.let_authorities_through(challenges);
    Site { scene, pebble, _nginx: nginx }
}

#[tokio::test]
async fn a_certificate_is_obtained_kept_and_shown_without_a_warning() {
    let Site { scene, pebble, _nginx } = site(LONG).await;
    let shown = scene.until(|standing| standing.held.is_some()).await.shown.unwrap();
    assert_eq!((shown.kind, &*shown.names), (WebCertificateKind::Acme, &[NAME.to_owned()][..]));
    assert_eq!(scene.agent.facts().certificate.as_ref(), Some(&shown));

    let root = pebble.root().await;
    let mut curl = curl(scene.entrance(Door::Front, 443).await, &root);
    assert_eq!(said(&curl.arg("https://box42.relay.test/").output().await.unwrap()), "the page");
    for file in ["https-certificate.pem", "https-account.json"] {
        let mode = std::fs::metadata(scene.agent.state.path(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }

    // After a restart it is there before any relay or authority is.
    drop(pebble);
    let settings = toml::to_string(&toml::toml! {
        [https]
        certificate = "acme"
        [https.acme]
        directory = "https://127.0.0.1:1/dir"
        accept_terms = true
    })
    .unwrap();
    let again = Scene::start(scene.stop().await, &settings, &[]).await;
    let kept = again.until(|standing| standing.held.is_some()).await.shown.unwrap();
    assert_eq!(kept, shown);
    again.stop().await;
}

#[tokio::test]
async fn it_is_renewed_in_time_and_an_authority_that_is_down_takes_nothing_away() {
    let Site { scene, mut pebble, _nginx } = site(15).await;
    let first = scene.until(|standing| standing.held.is_some()).await.shown.unwrap();
    let renewed = scene.until(|standing| standing.shown.as_ref().is_some_and(|shown| *shown != first)).await;
    assert_eq!(renewed.trouble, None);

    pebble.kill().await;
    let troubled = scene.until(|standing| standing.trouble.is_some()).await;
    assert!(troubled.trouble.unwrap().contains("asking 127.0.0.1"));
    let (shown, next) = (troubled.shown.unwrap(), troubled.next_attempt.unwrap());
    assert!(next > Utc::now() - chrono::TimeDelta::seconds(5));
    let root = scene.home.path().join("no-matter.pem");
    let mut curl = curl(scene.entrance(Door::Front, 443).await, &root);
    let curl = curl.args(["--insecure", "https://box42.relay.test/"]);
    assert_eq!(said(&curl.output().await.unwrap()), "the page");

    // It comes back without its memory: the box's account is gone, too.
    pebble.run().await;
    let newest =
        scene.until(|standing| standing.trouble.is_none() && standing.shown.as_ref() != Some(&shown)).await;
    assert!(newest.held.is_some());
    scene.stop().await;
}

#[tokio::test]
async fn a_name_is_proved_to_acme_alone_and_only_while_somebody_asked_for_it() {
    let home = tempfile::tempdir().unwrap();
    let scene = Scene::start(home, "", &[]).await;
    let refused = Opening::Refused(Refusal::NotOffered { port: 443 });
    assert_eq!(scene.errand(Errand::Challenge { name: NAME.into() }).await, refused);

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let front = listener.local_addr().unwrap();
    scene.let_authorities_through(listener);
    let pending = scene.agent.https.proofs.begin(NAME, &[7; 32]).unwrap();
    assert!(shakes_hands(front, NAME, &[b"acme-tls/1"]).await);
    assert!(shakes_hands(front, NAME, &[b"acme-tls/1"]).await, "authorities look from several places");
    assert!(!shakes_hands(front, NAME, &[]).await);
    assert!(!shakes_hands(front, NAME, &[b"h2"]).await);
    assert!(!shakes_hands(front, "other.relay.test", &[b"acme-tls/1"]).await);
    drop(pending);
    assert!(!shakes_hands(front, NAME, &[b"acme-tls/1"]).await);
    assert_eq!(scene.errand(Errand::Challenge { name: NAME.into() }).await, refused);
    scene.stop().await;
}

async fn shakes_hands(front: std::net::SocketAddr, name: &'static str, protocols: &[&[u8]]) -> bool {
    let mut config = rustls::ClientConfig::builder_with_provider(crate::trust::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let tcp = tokio::net::TcpStream::connect(front).await.unwrap();
    let name = ServerName::try_from(name).unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await.is_ok()
}

/// An authority knows the extension by which a name is proved, and rustls does not.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        crate::trust::provider().signature_verification_algorithms.supported_schemes()
    }
}

/// An authority in one respect: it has been asked too often.
async fn limited(files: &Files) -> std::net::SocketAddr {
    let (chain, key) = (std::fs::read(&files.chain).unwrap(), std::fs::read(&files.key).unwrap());
    let tls = Certificate::from_pem(&chain, &key, WebCertificateKind::File).unwrap().tls.clone();
    let mut tls = rustls::ServerConfig::clone(&tls);
    tls.alpn_protocols.clear();
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let mut asked = BufReader::new(acceptor.accept(tcp).await.unwrap());
            let mut line = String::new();
            asked.read_line(&mut line).await.unwrap();
            let (status, body) = match line.split(' ').next() {
                Some("GET") => ("200 OK", directory(address)),
                Some("HEAD") => ("200 OK\r\nReplay-Nonce: bm9uY2U", String::new()),
                _ => ("429 Too Many Requests\r\nRetry-After: 7200", problem()),
            };
            let length = body.len();
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
            asked.write_all(answer.as_bytes()).await.unwrap();
            asked.shutdown().await.unwrap();
        }
    });
    address
}

fn directory(address: std::net::SocketAddr) -> String {
    let at = |what: &str| format!("https://{address}/{what}");
    serde_json::json!({ "newNonce": at("nonce"), "newAccount": at("account"), "newOrder": at("order") })
        .to_string()
}

fn problem() -> String {
    let kind = "urn:ietf:params:acme:error:rateLimited";
    serde_json::json!({ "type": kind, "detail": "too many certificates", "status": 429 }).to_string()
}

#[tokio::test]
async fn an_authority_that_is_asked_too_often_is_left_alone_for_as_long_as_it_says() {
    let home = tempfile::tempdir().unwrap();
    let files = Files::make(home.path(), &["127.0.0.1"]);
    let address = limited(&files).await;
    let settings = format!(
        "[https]\ncertificate = 'acme'\n[https.acme]\ndirectory = 'https://{address}/dir'\nca = {:?}\n\
         accept_terms = true\n",
        files.chain
    );
    let scene = Scene::start(home, &settings, &[]).await;
    let standing = scene.until(|standing| standing.trouble.is_some()).await;
    assert!(standing.trouble.unwrap().contains("too many certificates"));
    let wait = standing.next_attempt.unwrap() - Utc::now();
    assert!((100..=120).contains(&wait.num_minutes()), "{wait}");
    scene.stop().await;
}
