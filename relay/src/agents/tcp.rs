//! Boxes whose network passes no UDP come over TCP: TLS with the same certificates, and then the same
//! messages.

use std::io::Cursor;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use postern_protocol::tunnel::{Connection, End, IDLE_TIMEOUT, METERED_IDLE_TIMEOUT, tcp};
use postern_protocol::wire::{TCP_JOIN_ALPN, TCP_TUNNEL_ALPN};
use rustls::ServerConfig;
use socket2::{SockRef, Socket, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::Instrument;

use super::{Agents, Caller, PATIENCE, Purpose};
use crate::admission::Place;
use crate::identity::BoxIdentity;
use crate::metrics::Door;

/// A silent connection is asked whether somebody is there, three times at this interval before it is given
/// up. It could begin earlier; but each question is paid for by the box.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// After a connection could not be accepted, usually for want of descriptors.
const BREATH: Duration = Duration::from_millis(100);

/// The door for boxes that come over TCP, at a port of its own or behind the TLS front.
#[derive(Clone)]
pub(crate) struct TcpDoor {
    pub(crate) agents: Arc<Agents>,
    /// What the relay shows; nothing before it has a certificate.
    pub(crate) identity: watch::Receiver<Option<Arc<ServerConfig>>>,
}

impl TcpDoor {
    /// Takes connections until told to stop; each goes on in a task of its own.
    pub(crate) async fn accept(self, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.agents.closing.cancelled() => return,
            };
            match accepted {
                Ok((stream, address)) => self.take(stream, address, Vec::new()),
                Err(error) => {
                    tracing::warn!(%error, "accepting a box");
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
    }

    /// Serves a box that has said this so far.
    pub(crate) fn take(&self, stream: TcpStream, address: SocketAddr, said: Vec<u8>) {
        let Some(tls) = self.identity.borrow().clone() else { return };
        let line = Line::watched(&stream).inspect_err(|error| {
            tracing::debug!(%error, "a connection that cannot be watched");
        });
        let line = line.ok();
        let span = tracing::info_span!("agent", %address, over = "tcp");
        let agents = self.agents.clone();
        let attended = async move {
            let Some(place) = agents.handshakes.enter(address.ip()) else {
                agents.metrics.turned_away.get_or_create(&Door { door: "agents_tcp" }).inc();
                return;
            };
            match said.is_empty() {
                true => {
                    // Whoever says nothing waits here, and not where boxes take turns.
                    let Ok(Ok(())) = timeout(PATIENCE, stream.readable()).await else { return };
                    agents.attend_tcp(stream, (address, line, place), tls).await;
                }
                false => {
                    let (from, to) = stream.into_split();
                    let stream = tokio::io::join(Cursor::new(said).chain(from), to);
                    agents.attend_tcp(stream, (address, line, place), tls).await;
                }
            }
        };
        self.agents.tasks.spawn(attended.instrument(span));
    }
}

/// Whether somebody with these protocols (ALPN) is a box.
pub(crate) fn is_box(protocols: &[Vec<u8>]) -> bool {
    matches!(protocols, [one] if one == TCP_TUNNEL_ALPN || one == TCP_JOIN_ALPN)
}

impl Agents {
    async fn attend_tcp<S>(
        self: &Arc<Self>,
        stream: S,
        (address, line, place): (SocketAddr, Option<Line>, Place),
        tls: Arc<ServerConfig>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let handshake = self.in_turn(TlsAcceptor::from(tls).accept(stream));
        let Ok(Some(stream)) = timeout(PATIENCE, handshake).await else { return };
        let (_, shown) = stream.get_ref();
        let purpose = match shown.alpn_protocol() {
            Some(TCP_TUNNEL_ALPN) => Purpose::Tunnel,
            Some(TCP_JOIN_ALPN) => Purpose::Join,
            _ => return,
        };
        let identity = shown.peer_certificates().and_then(|chain| BoxIdentity::of(chain.first()?));
        let connection = Connection::Tcp(tcp::Connection::over(stream, End::Listened, address));
        self.attend(connection, Caller { purpose, identity, address, line }, place).await;
    }
}

/// The kernel's side of a connection, which finds out whether the box is still there.
pub(super) struct Line(Socket);

impl Line {
    fn watched(stream: &TcpStream) -> std::io::Result<Self> {
        stream.set_nodelay(true)?;
        let line = Self(SockRef::from(stream).try_clone()?);
        line.give_up_after(IDLE_TIMEOUT)?;
        Ok(line)
    }

    /// Spares a box that pays for every byte: it is believed to be there for as long as over QUIC.
    pub(super) fn spare(&self) {
        if let Err(error) = self.give_up_after(METERED_IDLE_TIMEOUT) {
            tracing::debug!(%error, "a connection that goes on being asked often");
        }
    }

    /// What was sent and is not acknowledged for so long, or nothing but questions: the box is gone.
    fn give_up_after(&self, silence: Duration) -> std::io::Result<()> {
        let ask = TcpKeepalive::new().with_time(silence - ASK_AGAIN * 3).with_interval(ASK_AGAIN);
        self.0.set_tcp_keepalive(&ask)?;
        self.0.set_tcp_user_timeout(Some(silence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_box_that_pays_for_every_byte_is_asked_rarely() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let line = Line::watched(&stream).unwrap();
        let asked_after = || SockRef::from(&stream).tcp_keepalive_time().unwrap();
        assert_eq!(asked_after(), Duration::from_secs(40));
        line.spare();
        assert_eq!(asked_after(), Duration::from_secs(285));
    }
}
