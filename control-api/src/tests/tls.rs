//! Serving with and without a certificate.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Api;
use crate::config::Tls;

#[tokio::test]
async fn with_a_certificate_it_speaks_tls_on_any_address() {
    let temp = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (temp.path().join("cert.pem"), temp.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let api = Api::start_with(|config| {
        config.listen = "0.0.0.0:0".parse().unwrap();
        config.tls = Some(Tls { certificate, key });
    })
    .await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let config =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
    let silent = TcpStream::connect(("127.0.0.1", api.address.port())).await.unwrap();
    let stream = TcpStream::connect(("127.0.0.1", api.address.port())).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let mut stream = tokio::time::timeout(Duration::from_secs(5), handshake).await.unwrap().unwrap();
    let request = format!(
        "GET /v1/devices HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\r\n",
        api.token.reveal()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(silent);
}

#[tokio::test]
async fn a_certificate_without_its_key_is_refused_at_the_start() {
    let temp = tempfile::tempdir().unwrap();
    let (one, two) = (
        rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap(),
        rcgen::generate_simple_self_signed(vec!["b".to_owned()]).unwrap(),
    );
    let (certificate, key) = (temp.path().join("cert.pem"), temp.path().join("key.pem"));
    std::fs::write(&certificate, one.cert.pem()).unwrap();
    std::fs::write(&key, two.signing_key.serialize_pem()).unwrap();
    let config = crate::Config {
        state_dir: temp.path().join("state"),
        tls: Some(Tls { certificate, key }),
        ..crate::Config::default()
    };
    let error = format!("{:#}", crate::bind(config).await.err().expect("it does not start"));
    assert!(error.contains("do not fit"), "{error}");
}

#[tokio::test]
async fn without_one_it_does_not_start_beyond_loopback() {
    let temp = tempfile::tempdir().unwrap();
    let state_dir = temp.path().join("state");
    let config = crate::Config {
        state_dir: state_dir.clone(),
        listen: "0.0.0.0:0".parse().unwrap(),
        ..crate::Config::default()
    };
    let error = crate::bind(config).await.err().expect("it does not start").to_string();
    assert!(error.contains("insecure_http"), "{error}");
    assert!(!state_dir.exists(), "nothing is made before it is known to serve");
}
