//! A relay turned hostile: it has a relay's certificate, its token and its place on the network, and
//! speaks the wire protocol as it likes.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use chrono::Utc;
use data_encoding::BASE64;
use postern_protocol::api::{CertificateAnswer, CertificateRequest, FeedLine};
use postern_protocol::grant::SignedGrants;
use postern_protocol::id::{AccessId, DeviceId, RelayId, VisitId};
use postern_protocol::secret::Secret;
use postern_protocol::wire::{self, Open, Opening, ToAgent, ToRelay, frame, io};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use reqwest::Method;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::Deserialize;

use crate::api::{answer, http_client};
use crate::wait::{SOON, within};
use crate::{Machine, Stack};

/// What a relay knows, and would still know after someone broke into it.
#[derive(Debug)]
pub struct Loot {
    api: String,
    token: Secret,
    relay: RelayId,
    identity: Identity,
}

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
}

impl Identity {
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
}

impl Loot {
    /// Everything that the stack's relay has.
    pub async fn of(stack: &Stack) -> Self {
        let token = std::fs::read_to_string(stack.relay.token_file()).expect("the relay's token");
        let token = Secret::from_text(token.trim());
        let relay = stack.api.relays().await[0].id;
        let identity = certificate(&stack.api.url(), &token).await;
        Self { api: stack.api.url(), token, relay, identity }
    }

    /// The signed grants of every box, as they are now.
    pub async fn grants(&self) -> HashMap<DeviceId, SignedGrants> {
        let feed = http_client().get(format!("{}/v1/relay/feed", self.api)).bearer_auth(self.token.reveal());
        let mut feed = feed.send().await.expect("the feed answers");
        let (mut bytes, mut grants) = (Vec::new(), HashMap::new());
        loop {
            let chunk = within("the feed's snapshot", SOON, feed.chunk()).await.expect("the feed goes on");
            bytes.extend_from_slice(&chunk.expect("the feed goes on"));
            while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = bytes.drain(..=end).collect();
                match serde_json::from_slice(&line).expect("a line of the feed") {
                    FeedLine::Box { device, grants: signed, .. } => _ = grants.insert(device, signed),
                    FeedLine::Commit { .. } => return grants,
                    FeedLine::Snapshot | FeedLine::Gone { .. } | FeedLine::Heartbeat => {}
                }
            }
        }
    }

    /// Takes the relay's place, at the address where agents expect it.
    pub fn impersonate(&self, address: SocketAddr) -> HostileRelay {
        HostileRelay::listen(address, &self.identity, self.relay)
    }

    /// The same with another certificate.
    pub fn impersonate_as(&self, address: SocketAddr, identity: &Identity) -> HostileRelay {
        HostileRelay::listen(address, identity, self.relay)
    }
}

async fn certificate(api: &str, token: &Secret) -> Identity {
    let key = KeyPair::generate().expect("a key can be made");
    let request = CertificateParams::default().serialize_request(&key).expect("a request can be made");
    let request = CertificateRequest { csr: request.pem().expect("a request is PEM") };
    let post = http_client().request(Method::POST, format!("{api}/v1/relay/certificate"));
    let issued: CertificateAnswer =
        answer(post.bearer_auth(token.reveal()).json(&request)).await.expect("a relay gets a certificate");
    let chain = [issued.certificate, issued.authority]
        .map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate"));
    Identity { chain: chain.into(), key: Arc::new(key.serialize_der().into()) }
}

/// A listening hostile relay.
#[derive(Debug)]
pub struct HostileRelay {
    endpoint: Endpoint,
    relay: RelayId,
}

impl HostileRelay {
    fn listen(address: SocketAddr, identity: &Identity, relay: RelayId) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("ring speaks TLS 1.3")
            .with_no_client_auth()
            .with_single_cert(identity.chain.clone(), PrivateKeyDer::Pkcs8(identity.key.clone_key()))
            .expect("the key fits the certificate");
        tls.alpn_protocols = vec![wire::TUNNEL_ALPN.into()];
        let crypto = QuicServerConfig::try_from(tls).expect("TLS 1.3 has QUIC's cipher");
        let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        let endpoint = Endpoint::server(config, address).expect("the relay's address is free");
        Self { endpoint, relay }
    }

    /// The next agent that dials in, once both have introduced themselves.
    pub async fn tunnel(&self) -> Tunnel {
        within("an agent dials the hostile relay", SOON * 2, async {
            let incoming = self.endpoint.accept().await.expect("the endpoint is open");
            Tunnel::welcome(incoming.await.expect("the agent believes the certificate"), self.relay).await
        })
        .await
    }

    /// How the next agent that dials in turns away.
    pub async fn is_rejected(&self) -> String {
        within("an agent dials the hostile relay", SOON * 2, async {
            let incoming = self.endpoint.accept().await.expect("the endpoint is open");
            incoming.await.expect_err("the agent must not believe this certificate").to_string()
        })
        .await
    }
}

/// An agent's tunnel to a hostile relay.
#[derive(Debug)]
pub struct Tunnel {
    connection: Connection,
    to_agent: SendStream,
    from_agent: RecvStream,
}

impl Tunnel {
    async fn welcome(connection: Connection, relay: RelayId) -> Self {
        let (to_agent, mut from_agent) =
            connection.accept_bi().await.expect("the agent opens its control stream");
        let hello = io::receive(&mut from_agent, frame::SMALL).await.expect("the agent says who it is");
        assert!(matches!(hello, ToRelay::Hello { version: wire::VERSION, .. }), "{hello:?}");
        let mut tunnel = Self { connection, to_agent, from_agent };
        tunnel.say(&ToAgent::Welcome { version: wire::VERSION, relay, now: Utc::now() }).await;
        tunnel
    }

    /// Says anything on the control stream.
    pub async fn say(&mut self, message: &ToAgent) {
        io::send(&mut self.to_agent, message).await.expect("the agent listens");
    }

    /// Gives the agent grants.
    pub async fn give(&mut self, grants: &SignedGrants) {
        self.say(&ToAgent::Grants(grants.clone())).await;
    }

    /// The revision that the agent says it holds next.
    pub async fn holding(&mut self) -> u64 {
        loop {
            let message = io::receive(&mut self.from_agent, frame::SMALL);
            match within("the agent says what it holds", SOON, message).await.expect("the agent speaks") {
                ToRelay::Holding { revision } => return revision,
                ToRelay::Hello { .. } | ToRelay::Facts(_) | ToRelay::Renew { .. } => {}
            }
        }
    }

    /// Tries to open a visit.
    pub async fn open(&self, open: Open) -> (Opening, SendStream, RecvStream) {
        let (mut to_box, mut from_box) = self.connection.open_bi().await.expect("the tunnel takes streams");
        io::send(&mut to_box, &open).await.expect("the agent reads");
        let answer = io::receive(&mut from_box, frame::SMALL);
        let answer =
            within("the agent answers", SOON, answer).await.expect("the agent answers with a message");
        (answer, to_box, from_box)
    }

    /// The tunnel itself, for whatever else a hostile relay may think of.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }
}

/// What an honest relay would say to open a visit to port 22 for a visitor on this machine.
pub fn open(access: AccessId) -> Open {
    let visit = VisitId::from_entropy(rand::random());
    let visitor = SocketAddr::from(([127, 0, 0, 1], 40000));
    Open { visit, access, port: 22, visitor, revision: 0 }
}
