//! One attempt to reach one relay over QUIC.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;
use futures_util::future::{Either, select};
use postern_protocol::tunnel::quic::Endpoint;
use postern_protocol::tunnel::{Connection, LARGEST_PACKET, PACKET, transport};
use postern_protocol::wire::{MAX_VISITS, RELAY_NAME, WhyTcp};
use quinn_proto::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig};
use quinn_proto::{
    ClientConfig, ConnectionError, EndpointConfig, TransportConfig, TransportErrorCode, VarInt,
};
use rustls::pki_types::CertificateDer;
use tokio::net::lookup_host;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::over_tcp::over_tcp;
use super::race::{by_turns, race};
use super::transport::Rest;
use crate::config::NetworkSettings;
use crate::identity::Validity;
use crate::network::{Way, ranks};

/// A handshake takes one round trip, or two behind address validation; lost packets are sent again
/// twice in this time.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Resolvers may try for half a minute; the next relay is tried sooner.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// The last packet leaves at once; this is for a network that is gone.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The most addresses of one name that are tried.
const MAX_ADDRESSES: usize = 4;

/// TLS alerts (RFC 8446, section 6) that people can do something about. The first are what a
/// certificate from another authority gives, depending on how much the two resemble each other.
const NOT_OURS: [u8; 4] = [42, 46, 48, 51];
const CERTIFICATE_EXPIRED: u8 = 45;
const NO_APPLICATION_PROTOCOL: u8 = 120;

/// A connection, and the way out that it takes.
pub(crate) struct Dialled {
    pub(crate) connection: Connection,
    pub(super) relay: SocketAddr,
    /// For how long the certificate is valid that the relay has shown.
    pub(super) shown: Validity,
    /// The relay says that what it sends hardly gets through.
    pub(super) starved: Notify,
    /// The relay shall be asked from where it sees the box.
    pub(super) question: Notify,
    /// What it answered last.
    pub(super) seen: watch::Sender<Option<SocketAddr>>,
    /// Because UDP starved: how long it is left alone now, or was before this.
    pub(super) rest: Option<Rest>,
    way: watch::Sender<Way>,
    road: Road,
}

/// A connection, and for how long the certificate is valid that the relay has shown on it.
pub(super) type Shaken = (Connection, Validity);

/// What the connection goes over.
enum Road {
    /// QUIC, which can move.
    Quic {
        endpoint: Endpoint,
        /// There was no way at all since the last move.
        way_lost: AtomicBool,
    },
    /// TCP, and why.
    Tcp { why: WhyTcp, story: String },
}

impl Dialled {
    fn new((connection, shown): Shaken, relay: SocketAddr, way: Way, road: Road) -> Self {
        let (starved, question) = (Notify::new(), Notify::new());
        let (seen, way) = (watch::Sender::default(), watch::Sender::new(way));
        Self { connection, relay, shown, starved, question, seen, rest: None, way, road }
    }

    /// The same, while or after UDP is left alone.
    pub(super) fn resting(self, rest: Option<Rest>) -> Self {
        Self { rest, ..self }
    }

    /// A connection over TCP, why it is one, and the same in words.
    pub(super) fn over_tcp(
        shaken: Shaken,
        relay: SocketAddr,
        way: Way,
        (why, story): (WhyTcp, String),
    ) -> Self {
        Self::new(shaken, relay, way, Road::Tcp { why, story })
    }

    /// The way out that the connection takes.
    pub(super) fn way(&self) -> Way {
        self.way.borrow().clone()
    }

    /// The same, for those who want to see it change.
    pub(super) fn watch_way(&self) -> watch::Receiver<Way> {
        self.way.subscribe()
    }

    /// Why it goes over TCP, if it does.
    pub(super) fn why_tcp(&self) -> Option<WhyTcp> {
        match &self.road {
            Road::Quic { .. } => None,
            Road::Tcp { why, .. } => Some(*why),
        }
    }

    /// The same in words, with what else there is to tell.
    pub(super) fn story(&self) -> Option<&str> {
        match &self.road {
            Road::Quic { .. } => None,
            Road::Tcp { story, .. } => Some(story),
        }
    }

    /// Whether there has been a way ever since the last move.
    pub(super) fn had_way(&self) -> bool {
        match &self.road {
            Road::Quic { way_lost, .. } => !way_lost.load(Relaxed),
            Road::Tcp { .. } => true,
        }
    }

    /// There is no way now; the next one needs a move even if it is the same.
    pub(super) fn lose_way(&self) {
        if let Road::Quic { way_lost, .. } = &self.road {
            way_lost.store(true, Relaxed);
        }
    }

    /// Takes another way, or the same one with a fresh mapping in the NATs along it.
    pub(super) fn move_to(&self, way: &Way) -> std::io::Result<()> {
        let Road::Quic { endpoint, way_lost } = &self.road else {
            return Err(std::io::ErrorKind::Unsupported.into());
        };
        endpoint.rebind(way.socket(self.relay)?)?;
        way_lost.store(false, Relaxed);
        self.way.send_if_modified(|present| std::mem::replace(present, way.clone()) != *way);
        Ok(())
    }

    /// Closes the connection and lets the last packet leave.
    pub(crate) async fn close(self) {
        self.connection.close(0, "");
        let over = async {
            match &self.road {
                Road::Quic { endpoint, .. } => endpoint.wait_idle().await,
                Road::Tcp { .. } => self.connection.closed().await,
            }
        };
        let _best_effort = timeout(CLOSE_TIMEOUT, over).await;
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
    /// Neither over UDP nor over TCP.
    #[error("{quic}; and {tcp:#}")]
    Neither { quic: Box<DialError>, tcp: anyhow::Error },
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
        match self {
            Self::NoAddress { .. } | Self::NoWay { .. } | Self::Silent { .. } => true,
            Self::Neither { quic, .. } => quic.is_silence(),
            Self::NotOurs { .. } | Self::Clock { .. } | Self::NotARelay { .. } | Self::Failed { .. } => false,
        }
    }

    /// How much it says.
    fn telling(&self) -> u8 {
        match self {
            Self::NoWay { .. } | Self::NoAddress { .. } => 0,
            Self::Silent { .. } => 1,
            Self::Failed { .. } | Self::Neither { .. } => 2,
            Self::NotOurs { .. } | Self::Clock { .. } | Self::NotARelay { .. } => 3,
        }
    }

    /// What was wrong over QUIC, and over TCP, too.
    fn and(self, tcp: Self) -> Self {
        Self::Neither { quic: Box::new(self), tcp: tcp.into() }
    }

    /// Whether TCP could fare better.
    fn is_of_udp(&self) -> bool {
        matches!(self, Self::Silent { .. } | Self::Failed { .. })
    }
}

/// How long QUIC alone is tried: two round trips of a slow network.
const HEAD_START: Duration = Duration::from_millis(1500);

/// How long one address of a relay is tried before another is tried as well (RFC 8305, section 5).
pub(super) const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// The same for an interface before the next on the list, for preference is more than speed.
pub(super) const NEXT_INTERFACE: Duration = Duration::from_secs(2);

/// Dials a relay over QUIC, and a moment later over TCP as well: whichever answers first is taken.
pub(crate) async fn dial(
    relay: &str,
    tls: rustls::ClientConfig,
    network: &NetworkSettings,
) -> Result<Dialled, DialError> {
    let mut over_tcp = pin!(over_tcp(relay, tls.clone(), network, WhyTcp::UdpSilent));
    let mut quic = pin!(over_quic(relay, tls, network));
    let refused = match timeout(HEAD_START, &mut quic).await {
        Ok(Err(error)) if error.is_of_udp() => error,
        Ok(done) => return done,
        Err(_) => match select(quic, over_tcp.as_mut()).await {
            Either::Left((Err(error), _)) if error.is_of_udp() => error,
            Either::Left((done, _)) => return done,
            Either::Right((Ok(dialled), _)) => return Ok(dialled),
            Either::Right((Err(tcp), quic)) => return quic.await.map_err(|quic| quic.and(tcp)),
        },
    };
    tracing::debug!("not over UDP: {refused}");
    over_tcp.await.map_err(|tcp| refused.and(tcp))
}

/// Dials a relay, given as `host:port`, at all of its addresses, one soon after another; by each
/// interface that is listed, one long after another.
pub(super) async fn over_quic(
    relay: &str,
    tls: rustls::ClientConfig,
    network: &NetworkSettings,
) -> Result<Dialled, DialError> {
    let config =
        config(tls).map_err(|error| DialError::Failed { relay: relay.to_owned(), source: error.into() })?;
    let (config, addresses) = (&config, resolve(relay).await?);
    let by = |interface| {
        let attempts =
            addresses.iter().map(move |address| try_quic(relay, *address, interface, (config, network)));
        async move { race(attempts, NEXT_ADDRESS).await.map_err(|failures| telling(relay, failures)) }
    };
    let dialled = race(ranks(&network.interfaces).into_iter().map(by), NEXT_INTERFACE).await;
    dialled.map_err(|failures| telling(relay, failures))
}

async fn try_quic(
    relay: &str,
    address: SocketAddr,
    interface: Option<&str>,
    (config, network): (&ClientConfig, &NetworkSettings),
) -> Result<Dialled, DialError> {
    let Ok(way) = Way::look(interface, address) else {
        return Err(DialError::NoWay { relay: relay.to_owned() });
    };
    match attempt(address, config.clone(), network, &way).await {
        Ok(Some(dialled)) => Ok(dialled),
        Ok(None) => {
            tracing::debug!(relay, %address, %way, "no answer");
            Err(DialError::Silent { relay: relay.to_owned() })
        }
        Err(error) => Err(explain(relay, error)),
    }
}

/// Of several failures the one that says most.
pub(super) fn telling(relay: &str, failures: Vec<DialError>) -> DialError {
    let no_way = DialError::NoWay { relay: relay.to_owned() };
    failures.into_iter().max_by_key(DialError::telling).unwrap_or(no_way)
}

/// Whether a relay answers by another way than the present one.
pub(super) async fn answers(
    relay: SocketAddr,
    tls: rustls::ClientConfig,
    network: &NetworkSettings,
    way: &Way,
) -> bool {
    let Ok(config) = config(tls) else { return false };
    let answer = attempt(relay, config, network, way).await.ok().flatten();
    if let Some(dialled) = &answer {
        dialled.connection.close(0, "only looking");
    }
    answer.is_some()
}

fn config(tls: rustls::ClientConfig) -> Result<ClientConfig, NoInitialCipherSuite> {
    Ok(ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?)))
}

/// The addresses of a name, in the order in which to try them.
pub(super) async fn resolve(relay: &str) -> Result<Vec<SocketAddr>, DialError> {
    let no_address = |source| DialError::NoAddress { relay: relay.to_owned(), source };
    let found = timeout(LOOKUP_TIMEOUT, lookup_host(relay)).await;
    let found = found.unwrap_or_else(|late| Err(late.into())).map_err(no_address)?;
    let mut addresses = by_turns(found.collect());
    addresses.truncate(MAX_ADDRESSES);
    match addresses.is_empty() {
        true => Err(no_address(std::io::ErrorKind::NotFound.into())),
        false => Ok(addresses),
    }
}

/// Tries one address by one way; nothing if nobody answers there.
async fn attempt(
    relay: SocketAddr,
    mut config: ClientConfig,
    network: &NetworkSettings,
    way: &Way,
) -> anyhow::Result<Option<Dialled>> {
    let largest = largest(network, way.largest_packet(relay));
    config.transport_config(Arc::new(settings(network, largest)));
    let mut receiving = EndpointConfig::default();
    // The relay tries no larger ones.
    receiving.max_udp_payload_size(largest)?;
    let endpoint = Endpoint::new(receiving, way.socket(relay)?)?;
    let connecting = endpoint.connect(config, relay, RELAY_NAME)?;
    match timeout(HANDSHAKE_TIMEOUT, connecting).await {
        Ok(Ok(connection)) => {
            let road = Road::Quic { endpoint, way_lost: AtomicBool::new(false) };
            let chain = connection.peer_identity().and_then(|chain| chain.downcast::<Vec<_>>().ok());
            let shown = shown(chain.as_ref().map(|chain| chain.as_slice()))?;
            Ok(Some(Dialled::new((Connection::Quic(connection), shown), relay, way.clone(), road)))
        }
        Ok(Err(ConnectionError::TimedOut)) | Err(_) => Ok(None),
        Ok(Err(error)) => Err(error.into()),
    }
}

/// For how long a relay's certificate is valid.
pub(super) fn shown(chain: Option<&[CertificateDer<'static>]>) -> anyhow::Result<Validity> {
    Validity::of(chain.and_then(<[_]>::first).context("the relay showed no certificate")?)
}

/// The largest packet to try. What is tried costs bytes, and may be lost.
fn largest(network: &NetworkSettings, carried: u16) -> u16 {
    if network.metered { PACKET } else { carried.clamp(PACKET, LARGEST_PACKET) }
}

/// The box alone keeps the tunnel alive, and not by a fixed interval: see `keep_alive`.
fn settings(network: &NetworkSettings, largest: u16) -> TransportConfig {
    let mut settings = transport(network.idle_timeout(), largest);
    settings
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
