//! The relay's QUIC endpoint: its socket, its settings, and what survives a restart.
//!
//! A relay that was killed has forgotten every tunnel, but its boxes have not, and would wait for the
//! idle time-out. If connection ids and reset tokens derive from a key on disk, the relay knows the
//! ids of its former life, and answers them with a stateless reset (RFC 9000, section 10.3): boxes
//! are back within seconds.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use postern_protocol::tunnel;
use postern_protocol::tunnel::quic::Endpoint;
use postern_protocol::wire::{JOIN_ALPN, TCP_JOIN_ALPN, TCP_TUNNEL_ALPN, TUNNEL_ALPN};
use quinn_proto::{ConnectionId, ConnectionIdGenerator, EndpointConfig, InvalidCid, ServerConfig, VarInt};
use ring::hmac;
use rustls::RootCertStore;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio::sync::watch;

use crate::identity::{Enrolment, Keys};
use crate::metrics::Metrics;
use crate::tickets::Tickets;

pub(crate) mod session;

/// A box opens one stream, for control.
const STREAMS_OF_A_BOX: VarInt = VarInt::from_u32(1);

/// Handshakes that wait to be looked at; more are dropped, and their senders try again.
const WAITING_HANDSHAKES: usize = 4096;

/// What one of them may already have sent, and all of them together.
const WAITING_BYTES: u64 = 16 * 1024;
const WAITING_BYTES_TOTAL: u64 = 8 * 1024 * 1024;

/// Opens the endpoint on a socket. It answers nobody before it is given an identity: see [`identify`].
pub(crate) fn open(socket: UdpSocket, seed: &[u8; 32]) -> anyhow::Result<Endpoint> {
    let ids = Ids { key: derived(seed, b"connection ids") };
    let mut config = EndpointConfig::new(Arc::new(derived(seed, b"stateless resets")));
    config
        .cid_generator(move || Box::new(ids.clone()))
        .min_reset_interval(Duration::ZERO)
        .supported_versions(vec![session::VERSION])
        .max_udp_payload_size(tunnel::LARGEST_PACKET)
        .context("the largest packet")?;
    Endpoint::new(config, socket).context("opening the QUIC endpoint")
}

/// A key of its own for each purpose.
fn derived(seed: &[u8; 32], purpose: &[u8]) -> hmac::Key {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, seed), purpose);
    hmac::Key::new(hmac::HMAC_SHA256, tag.as_ref())
}

/// What the relay shows to boxes that come over TCP; nothing before [`identify`].
pub(crate) type TcpIdentity = watch::Sender<Option<Arc<rustls::ServerConfig>>>;

/// Gives the endpoint its certificate, and the door for TCP; handshakes from now on show this one.
pub(crate) fn identify(
    endpoint: &Endpoint,
    tcp: &TcpIdentity,
    keys: &Keys,
    enrolment: &Enrolment,
    metrics: &Metrics,
) -> anyhow::Result<()> {
    let tickets = Tickets::new(derived(&keys.quic, b"session tickets"), metrics.clone());
    let over_udp = tls(keys, enrolment, &tickets, &[TUNNEL_ALPN, JOIN_ALPN])?;
    endpoint.set_server_config(server_config(over_udp)?);
    tcp.send_replace(Some(Arc::new(tls(keys, enrolment, &tickets, &[TCP_TUNNEL_ALPN, TCP_JOIN_ALPN])?)));
    Ok(())
}

fn tls(
    keys: &Keys,
    enrolment: &Enrolment,
    tickets: &Arc<Tickets>,
    protocols: &[&[u8]],
) -> anyhow::Result<rustls::ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut authority = RootCertStore::empty();
    authority.add(enrolment.authority()?).context("the authority's certificate")?;
    // A box that joins has no certificate yet; that one with a tunnel has is checked by its ALPN.
    let boxes = WebPkiClientVerifier::builder_with_provider(Arc::new(authority), provider.clone())
        .allow_unauthenticated()
        .build()
        .context("the authority cannot verify boxes")?;
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .context("TLS 1.3")?
        .with_client_cert_verifier(boxes)
        .with_single_cert(enrolment.chain()?, keys.for_tls())
        .context("the relay's key does not fit its certificate")?;
    tls.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    // One is enough for the next time, and costs the relay nothing while the box is idle.
    tls.send_tls13_tickets = 1;
    tls.ticketer = tickets.clone();
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(tls)
}

fn server_config(tls: rustls::ServerConfig) -> anyhow::Result<ServerConfig> {
    let crypto = session::Tls::new(tls)?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    let mut transport = tunnel::transport(tunnel::METERED_IDLE_TIMEOUT, tunnel::LARGEST_PACKET);
    transport.max_concurrent_bidi_streams(STREAMS_OF_A_BOX).max_concurrent_uni_streams(VarInt::from_u32(0));
    config
        .transport_config(Arc::new(transport))
        .max_incoming(WAITING_HANDSHAKES)
        .incoming_buffer_size(WAITING_BYTES)
        .incoming_buffer_size_total(WAITING_BYTES_TOTAL);
    Ok(config)
}

/// Random bytes at the front of a connection id, enough that none is ever used twice.
const NONCE: usize = 8;

/// Bytes of proof at its end.
const PROOF: usize = 8;

/// Connection ids that this relay can recognise in any later life.
#[derive(Clone)]
struct Ids {
    key: hmac::Key,
}

impl Ids {
    fn proof(&self, nonce: &[u8]) -> [u8; PROOF] {
        let tag = hmac::sign(&self.key, nonce);
        *tag.as_ref().first_chunk().expect("an HMAC-SHA256 has 32 bytes")
    }
}

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        let nonce: [u8; NONCE] = rand::random();
        ConnectionId::new(&[nonce, self.proof(&nonce)].concat())
    }

    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        match id.split_at_checked(NONCE) {
            Some((nonce, proof)) if proof == self.proof(nonce) => Ok(()),
            _ => Err(InvalidCid),
        }
    }

    fn cid_len(&self) -> usize {
        NONCE + PROOF
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(seed: u8) -> Ids {
        Ids { key: hmac::Key::new(hmac::HMAC_SHA256, &[seed; 32]) }
    }

    #[test]
    fn a_restarted_relay_recognises_its_former_connection_ids_and_no_others() {
        let id = ids(1).generate_cid();
        assert_eq!(id.len(), ids(1).cid_len());
        assert!(ids(1).validate(&id).is_ok());
        assert!(ids(2).validate(&id).is_err());
        assert!(ids(1).validate(&ConnectionId::new(&[0; NONCE + PROOF])).is_err());
        assert!(ids(1).validate(&ConnectionId::new(&[0; 4])).is_err());
    }
}
