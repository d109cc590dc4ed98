//! A relay turned hostile: it has a relay's certificate, its token and its place on the network, and
//! speaks the wire protocol as it likes.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use chrono::Utc;
use postern_protocol::access::Door;
use postern_protocol::api::FeedLine;
use postern_protocol::grant::SignedGrants;
use postern_protocol::id::{AccessId, DeviceId, RelayId, VisitId};
use postern_protocol::secret::Secret;
use postern_protocol::wire::{self, Errand, Open, Opening, ToAgent, ToRelay, frame, io};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, RecvStream, SendStream};

use crate::Stack;
use crate::api::http_client;
use crate::identity::{Identity, provider};
use crate::wait::{SOON, within};

/// What a relay knows, and would still know after someone broke into it.
#[derive(Debug)]
pub struct Loot {
    api: String,
    token: Secret,
    relay: RelayId,
    identity: Identity,
}

impl Loot {
    /// Everything that the stack's relay has.
    pub async fn of(stack: &Stack) -> Self {
        let token = std::fs::read_to_string(stack.relay.token_file()).expect("the relay's token");
        let token = Secret::from_text(token.trim());
        let relay = stack.api.relays().await[0].id;
        let identity = Identity::of_a_relay(&stack.api.url(), &token).await;
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
                    FeedLine::Snapshot
                    | FeedLine::Gone { .. }
                    | FeedLine::Cut { .. }
                    | FeedLine::Heartbeat => {}
                }
            }
        }
    }

    /// The relay's certificate.
    pub fn identity(&self) -> &Identity {
        &self.identity
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

/// A listening hostile relay.
#[derive(Debug)]
pub struct HostileRelay {
    endpoint: Endpoint,
    relay: RelayId,
}

impl HostileRelay {
    fn listen(address: SocketAddr, identity: &Identity, relay: RelayId) -> Self {
        let mut tls = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("ring speaks TLS 1.3")
            .with_no_client_auth()
            .with_single_cert(identity.chain(), identity.key())
            .expect("the key fits the certificate");
        tls.alpn_protocols = vec![wire::TUNNEL_ALPN.into()];
        let crypto = QuicServerConfig::try_from(tls).expect("TLS 1.3 has QUIC's cipher");
        let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        let endpoint = Endpoint::server(config, address).expect("the relay's address is free");
        Self { endpoint, relay }
    }

    /// The next agent that dials in, once both have introduced themselves.
    pub async fn tunnel(&self) -> Tunnel {
        within("an agent dials the hostile relay", SOON, async {
            let incoming = self.endpoint.accept().await.expect("the endpoint is open");
            Tunnel::welcome(incoming.await.expect("the agent believes the certificate"), self.relay).await
        })
        .await
    }

    /// How the next agent that dials in turns away.
    pub async fn is_rejected(&self) -> String {
        within("an agent dials the hostile relay", SOON, async {
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
        tunnel.say(&ToAgent::Welcome { version: wire::VERSION, relay, now: Utc::now(), web: None }).await;
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
                ToRelay::Hello { .. } | ToRelay::Facts(_) | ToRelay::Renew { .. } | ToRelay::WhereAmI => {}
            }
        }
    }

    /// Tries to open a visit.
    pub async fn open(&self, open: Open) -> (Opening, SendStream, RecvStream) {
        let (mut to_box, mut from_box) = self.connection.open_bi().await.expect("the tunnel takes streams");
        io::send(&mut to_box, &Errand::Visit(open)).await.expect("the agent reads");
        let answer = io::receive(&mut from_box, frame::SMALL);
        let answer =
            within("the agent answers", SOON, answer).await.expect("the agent answers with a message");
        (answer, to_box, from_box)
    }
}

/// What an honest relay would say to open a visit to port 22 for a visitor on this machine.
pub fn open(access: AccessId) -> Open {
    let visit = VisitId::from_entropy(rand::random());
    let visitor = SocketAddr::from(([127, 0, 0, 1], 40000));
    Open { visit, access, port: 22, visitor, door: Door::Gate, revision: 0 }
}
