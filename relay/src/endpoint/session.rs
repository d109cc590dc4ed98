//! TLS for QUIC that is let go when its handshake is over.
//!
//! The QUIC library's own keeps everything for as long as the connection lives: the state and the buffers of the
//! handshake, and the box's certificates. That is more than 3 KiB for each of thousands of idle boxes. What a
//! connection goes on needing is the secret from which its next keys derive (RFC 9001, section 6), and who the box
//! is.

use std::any::Any;
use std::sync::Arc;

use anyhow::Context;
use postern_protocol::tunnel::quic::Connection;
use quinn_proto::crypto::rustls::QuicServerConfig;
use quinn_proto::crypto::{
    self, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, UnsupportedVersion,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectionId, Side, TransportError, TransportErrorCode};
use rustls::AlertDescription;
use rustls::quic::{self, KeyChange, Secrets, ServerConnection};

use crate::identity::BoxIdentity;

#[cfg(test)]
mod tests;

/// The version of QUIC that boxes speak (RFC 9000); others are told so.
pub(super) const VERSION: u32 = 1;

/// Begins a session for each connection.
pub(super) struct Tls {
    config: Arc<rustls::ServerConfig>,
    quic: QuicServerConfig,
}

impl Tls {
    pub(super) fn new(config: rustls::ServerConfig) -> anyhow::Result<Self> {
        let config = Arc::new(config);
        // Settings by which no session can begin are seen here, and not when a stranger calls.
        drop(ServerConnection::new(config.clone(), quic::Version::V1, Vec::new()).context("TLS for QUIC")?);
        let quic = config.clone().try_into().context("TLS without QUIC's cipher")?;
        Ok(Self { quic, config })
    }
}

impl crypto::ServerConfig for Tls {
    fn initial_keys(&self, version: u32, id: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        self.quic.initial_keys(version, id)
    }

    fn retry_tag(&self, version: u32, id: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.quic.retry_tag(version, id, packet)
    }

    fn start_session(
        self: Arc<Self>,
        _version: u32,
        params: &TransportParameters,
    ) -> Box<dyn crypto::Session> {
        let mut said = Vec::new();
        params.write(&mut said);
        let handshake = ServerConnection::new(self.config.clone(), quic::Version::V1, said);
        let handshake =
            handshake.expect("the settings are for TLS 1.3 with a cipher of QUIC's and no early data");
        Box::new(Session { tls: self, handshake: Some(Box::new(handshake)), next: None, known: None })
    }
}

/// What TLS has found out about a box.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// What it is here for: the protocol that both agreed on (ALPN).
    pub(crate) protocol: Vec<u8>,
    /// Who it is, if it has shown a certificate.
    pub(crate) identity: Option<BoxIdentity>,
}

impl Known {
    /// What is known of the box behind a connection whose handshake is over.
    pub(crate) fn of(connection: &Connection) -> Option<Self> {
        connection.peer_identity()?.downcast().ok().map(|known| *known)
    }

    fn by(handshake: &ServerConnection) -> Self {
        let shown = handshake.peer_certificates().and_then(|chain| chain.first());
        Self {
            protocol: handshake.alpn_protocol().unwrap_or_default().to_vec(),
            identity: shown.and_then(BoxIdentity::of),
        }
    }
}

struct Session {
    tls: Arc<Tls>,
    /// Until it is over.
    handshake: Option<Box<ServerConnection>>,
    /// The keys after the present ones derive from this.
    next: Option<Secrets>,
    /// From the end of the handshake.
    known: Option<Known>,
}

impl Session {
    /// Lets the handshake go when it is over and all that it had to say was taken.
    fn settle(&mut self) {
        if let Some(handshake) = self.handshake.take_if(|handshake| !handshake.is_handshaking()) {
            self.known = Some(Known::by(&handshake));
        }
    }
}

impl crypto::Session for Session {
    fn initial_keys(&self, id: &ConnectionId, _side: Side) -> Keys {
        crypto::ServerConfig::initial_keys(&self.tls.quic, VERSION, id)
            .unwrap_or_else(|_| unreachable!("version 1"))
    }

    /// Nobody asks before the handshake is over, and then it is who the box is.
    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        None
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.known.clone().map(|known| -> Box<dyn Any> { Box::new(known) })
    }

    /// Early data is not taken.
    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        None
    }

    fn early_data_accepted(&self) -> Option<bool> {
        None
    }

    fn is_handshaking(&self) -> bool {
        self.handshake.as_ref().is_some_and(|handshake| handshake.is_handshaking())
    }

    fn read_handshake(&mut self, bytes: &[u8]) -> Result<bool, TransportError> {
        let Some(handshake) = &mut self.handshake else {
            // In QUIC a client has nothing to say after it (RFC 9001, sections 4.4 and 6).
            return Err(error(
                Some(AlertDescription::UnexpectedMessage),
                "TLS after its handshake".to_owned(),
            ));
        };
        handshake.read_hs(bytes).map_err(|wrong| error(handshake.alert(), wrong.to_string()))?;
        Ok(false)
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        let said = self.handshake.as_ref().and_then(|handshake| handshake.quic_transport_parameters());
        let read = said.map(|mut said| TransportParameters::read(Side::Server, &mut said));
        Ok(read.transpose()?)
    }

    fn write_handshake(&mut self, into: &mut Vec<u8>) -> Option<Keys> {
        let change = self.handshake.as_mut()?.write_hs(into);
        if change.is_none() && into.is_empty() {
            self.settle();
        }
        let keys = match change? {
            KeyChange::Handshake { keys } => keys,
            KeyChange::OneRtt { keys, next } => {
                self.next = Some(next);
                keys
            }
        };
        let (local, remote) = (keys.local, keys.remote);
        Some(Keys {
            header: KeyPair { local: Box::new(local.header), remote: Box::new(remote.header) },
            packet: KeyPair { local: Box::new(local.packet), remote: Box::new(remote.packet) },
        })
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        let keys = self.next.as_mut()?.next_packet_keys();
        Some(KeyPair { local: Box::new(keys.local), remote: Box::new(keys.remote) })
    }

    /// Only clients are told to try again.
    fn is_valid_retry(&self, _id: &ConnectionId, _header: &[u8], _payload: &[u8]) -> bool {
        false
    }

    /// Nothing here is bound to a session but what goes over it.
    fn export_keying_material(
        &self,
        _: &mut [u8],
        _: &[u8],
        _: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        Err(ExportKeyingMaterialError)
    }
}

fn error(alert: Option<AlertDescription>, reason: String) -> TransportError {
    let crypto = |alert| TransportErrorCode::crypto(u8::from(alert));
    let code = alert.map_or(TransportErrorCode::PROTOCOL_VIOLATION, crypto);
    TransportError { code, frame: None, reason }
}
