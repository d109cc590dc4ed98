//! A relay on loopback that speaks the wire protocol and otherwise does as the test says.

use std::net::Ipv4Addr;
use std::sync::Arc;

use chrono::Utc;
use postern_protocol::access::Door;
use postern_protocol::grant::SignedGrants;
use postern_protocol::id::{AccessId, VisitId};
use postern_protocol::tunnel::{IDLE_TIMEOUT, LARGEST_PACKET, transport};
use postern_protocol::wire::frame::{LARGE, SMALL};
use postern_protocol::wire::io::{receive, send};
use postern_protocol::wire::{
    BoxFacts, Errand, Goodbye, JOIN_ALPN, JoinAnswer, JoinRequest, Open, Opening, TUNNEL_ALPN, ToAgent,
    ToRelay, VERSION, Web,
};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, RecvStream, SendStream, ServerConfig};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;

use super::{Installation, VISITOR};

/// A listening relay.
pub(crate) struct Relay {
    endpoint: Endpoint,
    id: postern_protocol::id::RelayId,
}

impl Relay {
    /// A relay that trusts and is trusted within one installation.
    pub(crate) fn of(ours: &Installation) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(ours.authority()).unwrap();
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .allow_unauthenticated()
            .build()
            .unwrap();
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(ours.relay_chain(), ours.relay_key())
            .unwrap();
        tls.alpn_protocols = vec![JOIN_ALPN.to_vec(), TUNNEL_ALPN.to_vec()];
        let crypto = QuicServerConfig::try_from(tls).unwrap();
        let mut config = ServerConfig::with_crypto(Arc::new(crypto));
        config.transport_config(Arc::new(transport(IDLE_TIMEOUT, LARGEST_PACKET)));
        let endpoint = Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        Self { endpoint, id: ours.relay }
    }

    /// A relay of another installation, which answers whoever dials.
    pub(crate) fn impostor() -> Self {
        let impostor = Self::of(&Installation::new());
        impostor.answer_handshakes();
        impostor
    }

    /// Answers whoever dials, and says nothing more.
    pub(crate) fn answer_handshakes(&self) {
        let endpoint = self.endpoint.clone();
        tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Some(incoming) = endpoint.accept().await {
                kept.push(incoming.await);
            }
        });
    }

    /// Where agents dial.
    pub(crate) fn address(&self) -> String {
        self.endpoint.local_addr().unwrap().to_string()
    }

    async fn connection(&self) -> Connection {
        self.endpoint.accept().await.unwrap().await.unwrap()
    }

    /// Hears one box that wants to join, and answers it.
    pub(crate) async fn answer_join(&self, answer: impl FnOnce(JoinRequest) -> JoinAnswer) {
        let connection = self.connection().await;
        let (mut to, mut from) = connection.accept_bi().await.unwrap();
        let request = receive(&mut from, SMALL).await.unwrap();
        send(&mut to, &answer(request)).await.unwrap();
        to.finish().unwrap();
        connection.closed().await;
    }

    /// Hears a box that wants a tunnel, and says nothing yet.
    pub(crate) async fn caller(&self) -> Tunnel {
        let connection = self.connection().await;
        let (send, mut recv) = connection.accept_bi().await.unwrap();
        let ToRelay::Hello { version: VERSION, facts, .. } = receive(&mut recv, LARGE).await.unwrap() else {
            panic!("a box begins with Hello");
        };
        Tunnel { connection, send, recv, facts, relay: self.id }
    }

    /// Welcomes a box.
    pub(crate) async fn tunnel(&self) -> Tunnel {
        let mut tunnel = self.caller().await;
        let (relay, now) = (tunnel.relay, Utc::now());
        let web = Some(Web { domain: "relay.test".into(), port: 443 });
        tunnel.say(&ToAgent::Welcome { version: VERSION, relay, now, web }).await;
        tunnel
    }
}

/// A tunnel, at the relay's end.
pub(crate) struct Tunnel {
    pub(crate) connection: Connection,
    pub(crate) facts: BoxFacts,
    send: SendStream,
    recv: RecvStream,
    relay: postern_protocol::id::RelayId,
}

impl Tunnel {
    pub(crate) async fn say(&mut self, message: &ToAgent) {
        send(&mut self.send, message).await.unwrap();
    }

    pub(crate) async fn hear(&mut self) -> ToRelay {
        receive(&mut self.recv, LARGE).await.unwrap()
    }

    /// Hands grants over and waits until the box enforces them.
    pub(crate) async fn grant(&mut self, signed: SignedGrants, revision: u64) {
        self.say(&ToAgent::Grants(signed)).await;
        loop {
            if self.hear().await == (ToRelay::Holding { revision }) {
                return;
            }
        }
    }

    /// Says goodbye and waits until the box is gone.
    pub(crate) async fn dismiss(mut self, goodbye: Goodbye) {
        self.say(&ToAgent::Goodbye(goodbye)).await;
        self.connection.closed().await;
    }

    /// Opens a visit from [`VISITOR`].
    pub(crate) async fn open(&self, access: AccessId, port: u16, revision: u64) -> Visit {
        let errand = Errand::Visit(Open {
            visit: VisitId::from_entropy(rand::random()),
            access,
            port,
            visitor: VISITOR.parse().unwrap(),
            door: Door::Gate,
            revision,
        });
        let (mut to, mut from) = self.connection.open_bi().await.unwrap();
        send(&mut to, &errand).await.unwrap();
        let opening = receive(&mut from, SMALL).await.unwrap();
        Visit { opening, send: to, recv: from }
    }
}

/// A visit, at the relay's end.
pub(crate) struct Visit {
    pub(crate) opening: Opening,
    pub(crate) send: SendStream,
    pub(crate) recv: RecvStream,
}
