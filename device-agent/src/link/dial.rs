//! One attempt to reach one relay over QUIC.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use postern_protocol::tunnel::transport;
use postern_protocol::wire::RELAY_NAME;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, EndpointConfig, TokioRuntime, TransportConfig,
    TransportErrorCode, VarInt,
};
use socket2::SockRef;
use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::visits::MAX_VISITS;

/// A handshake takes one round trip, or two behind address validation; lost packets are sent again
/// twice in this time.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Resolvers may try for half a minute; the next relay is tried sooner.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// The last packet leaves at once; this is for a network that is gone.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The most addresses of one name that are tried.
const MAX_ADDRESSES: usize = 4;

/// The box alone keeps the tunnel alive. Most NATs forget a UDP mapping after 30 s or more.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// What to ask the kernel for, so that a burst at full speed is not dropped.
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;

/// TLS alerts (RFC 8446, section 6) that people can do something about. The first are what a
/// certificate from another authority gives, depending on how much the two resemble each other.
const NOT_OURS: [u8; 4] = [42, 46, 48, 51];
const CERTIFICATE_EXPIRED: u8 = 45;
const NO_APPLICATION_PROTOCOL: u8 = 120;

/// A connection, and the socket it lives on.
pub(crate) struct Dialled {
    pub(crate) connection: Connection,
    endpoint: Endpoint,
}

impl Dialled {
    /// Closes the connection and lets the last packet leave.
    pub(crate) async fn close(self) {
        self.connection.close(VarInt::from_u32(0), b"");
        let _best_effort = timeout(CLOSE_TIMEOUT, self.endpoint.wait_idle()).await;
    }
}

/// Why a relay was not reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// Its name has no address.
    #[error("{relay}: the name cannot be resolved")]
    NoAddress {
        relay: String,
        #[source]
        source: std::io::Error,
    },
    /// Nobody answered.
    #[error("{relay} does not answer over UDP: it is down, or a firewall is in between")]
    Silent { relay: String },
    /// Somebody answered who is not a relay of the pinned authority.
    #[error("{relay} is not a relay of this installation: its certificate is from another authority")]
    NotOurs { relay: String },
    /// The certificate is fine but for the time.
    #[error("the certificate of {relay} is not valid at this box's time: check the box's clock")]
    Clock { relay: String },
    /// A QUIC server that speaks something else.
    #[error("{relay} answers, but is not a relay of this version")]
    NotARelay { relay: String },
    /// Anything else.
    #[error("{relay}")]
    Failed {
        relay: String,
        #[source]
        source: anyhow::Error,
    },
}

/// Dials a relay, given as `host:port`, at each of its addresses in turn.
pub(crate) async fn dial(relay: &str, tls: rustls::ClientConfig) -> Result<Dialled, DialError> {
    let failed = |source| DialError::Failed { relay: relay.to_owned(), source };
    let crypto = QuicClientConfig::try_from(tls).map_err(|error| failed(error.into()))?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(settings()));
    let mut last = DialError::Silent { relay: relay.to_owned() };
    for address in resolve(relay).await?.into_iter().take(MAX_ADDRESSES) {
        match attempt(address, config.clone()).await {
            Ok(Some(dialled)) => return Ok(dialled),
            Ok(None) => tracing::debug!(relay, %address, "no answer"),
            Err(error) => last = explain(relay, error),
        }
    }
    Err(last)
}

async fn resolve(relay: &str) -> Result<Vec<SocketAddr>, DialError> {
    let no_address = |source| DialError::NoAddress { relay: relay.to_owned(), source };
    let found = timeout(LOOKUP_TIMEOUT, lookup_host(relay)).await;
    let found = found.unwrap_or_else(|late| Err(late.into())).map_err(no_address)?;
    let addresses: Vec<_> = found.collect();
    match addresses.is_empty() {
        true => Err(no_address(std::io::ErrorKind::NotFound.into())),
        false => Ok(addresses),
    }
}

/// Tries one address; nothing if nobody answers there.
async fn attempt(address: SocketAddr, config: ClientConfig) -> anyhow::Result<Option<Dialled>> {
    let socket = socket_towards(address)?;
    let endpoint = Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime))?;
    let connecting = endpoint.connect_with(config, address, RELAY_NAME)?;
    match timeout(HANDSHAKE_TIMEOUT, connecting).await {
        Ok(Ok(connection)) => Ok(Some(Dialled { connection, endpoint })),
        Ok(Err(ConnectionError::TimedOut)) | Err(_) => Ok(None),
        Ok(Err(error)) => Err(error.into()),
    }
}

/// A fresh socket for each attempt, and so a fresh mapping in the NAT before the box.
fn socket_towards(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let any = match address {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0))?;
    let buffers = SockRef::from(&socket);
    // The kernel gives what its limits allow; a box does well with less.
    let _as_allowed =
        (buffers.set_recv_buffer_size(SOCKET_BUFFER), buffers.set_send_buffer_size(SOCKET_BUFFER));
    Ok(socket)
}

fn settings() -> TransportConfig {
    let mut settings = transport();
    settings
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_concurrent_bidi_streams(VarInt::from_u32(MAX_VISITS))
        .max_concurrent_uni_streams(VarInt::from_u32(0));
    settings
}

fn explain(relay: &str, error: anyhow::Error) -> DialError {
    let relay = relay.to_owned();
    let alert = |code| TransportErrorCode::crypto(code);
    let code = match error.downcast_ref() {
        Some(ConnectionError::TransportError(error)) => error.code,
        Some(ConnectionError::ConnectionClosed(close)) => close.error_code,
        _ => return DialError::Failed { relay, source: error },
    };
    if NOT_OURS.map(alert).contains(&code) {
        DialError::NotOurs { relay }
    } else if code == alert(CERTIFICATE_EXPIRED) {
        DialError::Clock { relay }
    } else if code == alert(NO_APPLICATION_PROTOCOL) {
        DialError::NotARelay { relay }
    } else {
        DialError::Failed { relay, source: error }
    }
}
