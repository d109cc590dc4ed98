//! Reaching a relay over TCP: at the port that it has for QUIC, or at 443, which most networks let through;
//! by a proxy if the environment names one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use postern_protocol::tunnel::{Connection, End, tcp};
use postern_protocol::wire::{JOIN_ALPN, RELAY_NAME, TCP_JOIN_ALPN, TCP_TUNNEL_ALPN, WhyTcp};
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::dial::{DialError, Dialled, NEXT_ADDRESS, NEXT_INTERFACE, Shaken, resolve, shown, telling};
use super::proxy::Proxy;
use super::race::race;
use crate::config::NetworkSettings;
use crate::network::{Way, bind_to, ranks};

/// The handshakes of TCP and of TLS, each with a packet or two sent again.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(8);

/// Where networks that let nothing else through let this through.
const USUAL_PORT: &str = "443";

/// A silent connection is asked whether somebody is there, and asked again after this.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// Where a connection leads.
struct Door {
    /// Whom to connect to: the relay, or the proxy.
    at: SocketAddr,
    /// The relay's `host:port`, which a proxy is asked for.
    target: String,
}

/// Dials a relay, given as `host:port`, at all of its doors, one soon after another; by each interface
/// that is listed, one long after another.
pub(super) async fn over_tcp(
    relay: &str,
    tls: ClientConfig,
    network: &NetworkSettings,
    why: WhyTcp,
) -> Result<Dialled, DialError> {
    let failed = |source| DialError::Failed { relay: relay.to_owned(), source };
    let (host, port) = relay.rsplit_once(':').unwrap_or((relay, ""));
    let proxy = Proxy::for_host(host.trim_matches(['[', ']'])).map_err(|error| failed(error.into()))?;
    let connector = TlsConnector::from(Arc::new(named_for_tcp(tls)));
    let (connector, through) = (&connector, proxy.as_ref());
    let doors = doors(host, port, through).await?;
    let by = |interface| {
        let attempts =
            doors.iter().map(move |door| reach(relay, door, (interface, network), through, connector));
        async move { race(attempts, NEXT_ADDRESS).await.map_err(|failures| telling(relay, failures)) }
    };
    let reached = race(ranks(&network.interfaces).into_iter().map(by), NEXT_INTERFACE).await;
    let (shaken, at, way) = reached.map_err(|failures| telling(relay, failures))?;
    let by = through.map(|proxy| format!(", through the proxy {}", proxy.at)).unwrap_or_default();
    Ok(Dialled::over_tcp(shaken, at, way, (why, format!("{why}{by}"))))
}

/// The relay's own port first, and then the usual one, each at all addresses.
async fn doors(host: &str, port: &str, proxy: Option<&Proxy>) -> Result<Vec<Door>, DialError> {
    let mut doors = Vec::new();
    for port in [port, USUAL_PORT].into_iter().take(if port == USUAL_PORT { 1 } else { 2 }) {
        let target = format!("{host}:{port}");
        let addresses = resolve(proxy.map_or(&target, |proxy| &proxy.at)).await?;
        doors.extend(addresses.into_iter().map(|at| Door { at, target: target.clone() }));
    }
    Ok(doors)
}

async fn reach(
    relay: &str,
    door: &Door,
    (interface, network): (Option<&str>, &NetworkSettings),
    proxy: Option<&Proxy>,
    connector: &TlsConnector,
) -> Result<(Shaken, SocketAddr, Way), DialError> {
    let Ok(way) = Way::look(interface, door.at) else {
        return Err(DialError::NoWay { relay: relay.to_owned() });
    };
    let reached = timeout(HANDSHAKE_TIMEOUT, shake_hands(door, (&way, network), proxy, connector)).await;
    match reached.unwrap_or_else(|late| Err(late.into())) {
        Ok(shaken) => Ok((shaken, door.at, way)),
        Err(error) => Err(explain(relay, error)),
    }
}

async fn shake_hands(
    door: &Door,
    (way, network): (&Way, &NetworkSettings),
    proxy: Option<&Proxy>,
    connector: &TlsConnector,
) -> std::io::Result<Shaken> {
    let mut stream = connect(door.at, way, network).await?;
    if let Some(proxy) = proxy {
        proxy.connect(&mut stream, &door.target).await?;
    }
    let name = ServerName::try_from(RELAY_NAME).expect("the relay's name is a DNS name");
    let stream = connector.connect(name, stream).await?;
    let shown = shown(stream.get_ref().1.peer_certificates()).map_err(std::io::Error::other)?;
    Ok((Connection::Tcp(tcp::Connection::over(stream, End::Dialled, door.at)), shown))
}

async fn connect(at: SocketAddr, way: &Way, network: &NetworkSettings) -> std::io::Result<TcpStream> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(interface) = &way.interface {
        bind_to(&SockRef::from(&socket), interface)?;
    }
    let stream = socket.connect(at).await?;
    stream.set_nodelay(true)?;
    let watched = SockRef::from(&stream);
    watched.set_tcp_keepalive(
        &TcpKeepalive::new().with_time(network.longest_silence()).with_interval(ASK_AGAIN),
    )?;
    #[cfg(target_os = "linux")]
    watched.set_tcp_user_timeout(Some(network.idle_timeout()))?;
    Ok(stream)
}

/// The same trust, by the protocols' names on TCP.
fn named_for_tcp(mut tls: ClientConfig) -> ClientConfig {
    for protocol in &mut tls.alpn_protocols {
        *protocol = if *protocol == JOIN_ALPN { TCP_JOIN_ALPN } else { TCP_TUNNEL_ALPN }.to_vec();
    }
    tls
}

fn explain(relay: &str, error: std::io::Error) -> DialError {
    let relay = relay.to_owned();
    let refused = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match refused {
        Some(rustls::Error::InvalidCertificate(why)) if is_of_time(why) => DialError::Clock { relay },
        Some(rustls::Error::InvalidCertificate(_)) => DialError::NotOurs { relay },
        _ => DialError::Failed { relay, source: anyhow::Error::new(error).context("over TCP") },
    }
}

fn is_of_time(why: &CertificateError) -> bool {
    matches!(
        why,
        CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. }
    )
}
