//! Certificates, come by honestly or not, and what can be dialled with them.

use std::net::SocketAddr;
use std::sync::Arc;

use data_encoding::BASE64;
use postern_protocol::api::{CertificateAnswer, CertificateRequest};
use postern_protocol::secret::Secret;
use postern_protocol::wire;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint};
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use reqwest::Method;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::Deserialize;

use crate::Machine;
use crate::api::{answer, http_client};

/// A certificate chain and its key.
#[derive(Debug, Clone)]
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivatePkcs8KeyDer<'static>>,
}

impl Identity {
    /// One that nobody signed but itself, with a relay's name on it.
    pub fn self_made() -> Self {
        let key = KeyPair::generate().expect("a key can be made");
        let params = CertificateParams::new([wire::RELAY_NAME.to_owned()]).expect("a DNS name");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate can be made");
        let chain = vec![issuer.der().clone()];
        Self { chain, key: Arc::new(issuer.key().serialize_der().into()) }
    }

    /// The one that a relay gets for its token.
    pub(crate) async fn of_a_relay(api: &str, token: &Secret) -> Self {
        let key = KeyPair::generate().expect("a key can be made");
        let request = CertificateParams::default().serialize_request(&key).expect("a request can be made");
        let request = CertificateRequest { csr: request.pem().expect("a request is PEM") };
        let post = http_client().request(Method::POST, format!("{api}/v1/relay/certificate"));
        let issued: CertificateAnswer = answer(post.bearer_auth(token.reveal()).json(&request))
            .await
            .expect("a relay gets a certificate");
        let chain = [issued.certificate, issued.authority]
            .map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate"));
        Self { chain: chain.into(), key: Arc::new(key.serialize_der().into()) }
    }

    /// The one that a box got when it joined.
    pub fn of_a_box(machine: &Machine) -> Self {
        #[derive(Deserialize)]
        struct Member {
            certificate: String,
            authority: String,
            key: String,
        }
        let file = std::fs::read(machine.state_dir().join("member.json")).expect("a member's file");
        let member: Member = serde_json::from_slice(&file).expect("a member's file");
        let der = |text: &str| BASE64.decode(text.as_bytes()).expect("base64");
        let chain = [member.certificate, member.authority].map(|text| der(&text).into());
        Self { chain: chain.into(), key: Arc::new(der(&member.key).into()) }
    }

    /// The one that a box got when it joined, as the relay passed it on.
    pub(crate) fn of_member(membership: wire::Membership, key: &KeyPair) -> Self {
        let wire::Certificate { own, authority } = membership.certificate;
        let key = Arc::new(key.serialize_der().into());
        Self { chain: vec![own.into(), authority.into()], key }
    }

    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.clone()
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.clone_key())
    }

    /// The authority at the end of the chain.
    pub(crate) fn authority(&self) -> CertificateDer<'static> {
        self.chain.last().expect("a chain has an end").clone()
    }
}

/// Somebody who dials a relay as boxes do.
#[derive(Debug)]
pub struct Dialer {
    endpoint: Endpoint,
}

impl Dialer {
    /// Dials for one protocol, with a certificate or none, and trusts the authority of `trusted`.
    pub fn new(alpn: &[u8], own: Option<&Identity>, trusted: &Identity) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.authority()).expect("an authority's certificate");
        let builder = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("ring speaks TLS 1.3")
            .with_root_certificates(roots);
        let mut tls = match own {
            Some(own) => builder.with_client_auth_cert(own.chain(), own.key()).expect("the key fits"),
            None => builder.with_no_client_auth(),
        };
        tls.alpn_protocols = vec![alpn.into()];
        let crypto = QuicClientConfig::try_from(tls).expect("TLS 1.3 has QUIC's cipher");
        let mut endpoint = Endpoint::client(([127, 0, 0, 1], 0).into()).expect("a port");
        endpoint.set_default_client_config(ClientConfig::new(Arc::new(crypto)));
        Self { endpoint }
    }

    /// Dials.
    pub async fn dial(&self, relay: SocketAddr) -> Result<Connection, ConnectionError> {
        self.endpoint.connect(relay, wire::RELAY_NAME).expect("a relay's address can be dialled").await
    }
}

/// The one provider of cryptography.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
