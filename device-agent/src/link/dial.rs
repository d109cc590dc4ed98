//! One attempt to reach one relay over QUIC.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use postern_protocol::tunnel::{Batching, transport};
use postern_protocol::wire::RELAY_NAME;
use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig};
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, EndpointConfig, TransportConfig, TransportErrorCode,
    VarInt,
};
use tokio::net::lookup_host;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::network::{Way, ways};
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
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// TLS alerts (RFC 8446, section 6) that people can do something about. The first are what a
/// certificate from another authority gives, depending on how much the two resemble each other.
const NOT_OURS: [u8; 4] = [42, 46, 48, 51];
const CERTIFICATE_EXPIRED: u8 = 45;
const NO_APPLICATION_PROTOCOL: u8 = 120;

/// A connection, and the way out that it takes.
pub(crate) struct Dialled {
    pub(crate) connection: Connection,
    pub(super) relay: SocketAddr,
    endpoint: Endpoint,
    way: watch::Sender<Way>,
    /// There was no way at all since the last move.
    way_lost: AtomicBool,
}

impl Dialled {
    /// The way out that the connection takes.
    pub(super) fn way(&self) -> Way {
        self.way.borrow().clone()
    }

    /// The same, for those who want to see it change.
    pub(super) fn watch_way(&self) -> watch::Receiver<Way> {
        self.way.subscribe()
    }

    /// Whether there has been a way ever since the last move.
    pub(super) fn had_way(&self) -> bool {
        !self.way_lost.load(Relaxed)
    }

    /// There is no way now; the next one needs a move even if it is the same.
    pub(super) fn lose_way(&self) {
        self.way_lost.store(true, Relaxed);
    }

    /// Takes another way, or the same one with a fresh mapping in the NATs along it.
    pub(super) fn move_to(&self, way: &Way) -> std::io::Result<()> {
        self.endpoint.rebind(way.socket(self.relay)?)?;
        self.way_lost.store(false, Relaxed);
        self.way.send_if_modified(|present| std::mem::replace(present, way.clone()) != *way);
        Ok(())
    }

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
    /// The box itself knows no way.
    #[error(
        "there is no way to {relay}: this box has no route to it, or none of the listed interfaces is up"
    )]
    NoWay { relay: String },
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

impl DialError {
    /// Whether nothing came back at all.
    pub(super) fn is_silence(&self) -> bool {
        matches!(self, Self::NoAddress { .. } | Self::NoWay { .. } | Self::Silent { .. })
    }
}

/// Dials a relay, given as `host:port`, at each of its addresses in turn, by each way there is.
pub(crate) async fn dial(
    relay: &str,
    tls: rustls::ClientConfig,
    interfaces: &[String],
) -> Result<Dialled, DialError> {
    let config =
        config(tls).map_err(|error| DialError::Failed { relay: relay.to_owned(), source: error.into() })?;
    let mut last = DialError::NoWay { relay: relay.to_owned() };
    for address in resolve(relay).await?.into_iter().take(MAX_ADDRESSES) {
        for way in ways(interfaces, address) {
            match attempt(address, config.clone(), &way).await {
                Ok(Some(dialled)) => return Ok(dialled),
                Ok(None) => {
                    tracing::debug!(relay, %address, %way, "no answer");
                    last = DialError::Silent { relay: relay.to_owned() };
                }
                Err(error) => last = explain(relay, error),
            }
        }
    }
    Err(last)
}

/// Whether a relay answers by another way than the present one.
pub(super) async fn answers(relay: SocketAddr, tls: rustls::ClientConfig, way: &Way) -> bool {
    let Ok(config) = config(tls) else { return false };
    let answer = attempt(relay, config, way).await.ok().flatten();
    if let Some(dialled) = &answer {
        dialled.connection.close(VarInt::from_u32(0), b"only looking");
    }
    answer.is_some()
}

fn config(tls: rustls::ClientConfig) -> Result<ClientConfig, NoInitialCipherSuite> {
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(Arc::new(settings()));
    Ok(config)
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

/// Tries one address by one way; nothing if nobody answers there.
async fn attempt(relay: SocketAddr, config: ClientConfig, way: &Way) -> anyhow::Result<Option<Dialled>> {
    let socket = way.socket(relay)?;
    let endpoint = Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(Batching))?;
    let connecting = endpoint.connect_with(config, relay, RELAY_NAME)?;
    let way = watch::Sender::new(way.clone());
    match timeout(HANDSHAKE_TIMEOUT, connecting).await {
        Ok(Ok(connection)) => {
            Ok(Some(Dialled { connection, relay, endpoint, way, way_lost: AtomicBool::new(false) }))
        }
        Ok(Err(ConnectionError::TimedOut)) | Err(_) => Ok(None),
        Ok(Err(error)) => Err(error.into()),
    }
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
