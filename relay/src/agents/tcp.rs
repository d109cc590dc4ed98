//! Boxes whose network passes no UDP come over TCP: TLS with the same certificates, and then the same
//! messages.

use std::io::Cursor;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use postern_protocol::tunnel::{Connection, End, IDLE_TIMEOUT, tcp};
use postern_protocol::wire::{TCP_JOIN_ALPN, TCP_TUNNEL_ALPN};
use rustls::ServerConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::{Agents, Caller, PATIENCE, Purpose};
use crate::identity::BoxIdentity;
use crate::metrics::Door;

/// What was sent and is not acknowledged for so long, or a question whether somebody is there that is
/// not answered: the box is gone, as over QUIC.
const SILENCE: Duration = IDLE_TIMEOUT;

/// A silent connection is asked after this whether somebody is there: as late as leaves room for three
/// questions, because each is paid for by the box …
const ASK: Duration = Duration::from_secs(40);

/// … which follow each other at this interval.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// After a connection could not be accepted, usually for want of descriptors.
const BREATH: Duration = Duration::from_millis(100);

/// The door for boxes that come over TCP, at a port of its own or behind the TLS front.
#[derive(Clone)]
pub(crate) struct TcpDoor {
    pub(crate) agents: Arc<Agents>,
    /// What the relay shows; nothing before it has a certificate.
    pub(crate) identity: watch::Receiver<Option<Arc<ServerConfig>>>,
    pub(crate) tasks: TaskTracker,
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
        if let Err(error) = watch_over(&stream) {
            tracing::debug!(%error, "a connection that cannot be watched");
        }
        let span = tracing::info_span!("agent", %address, over = "tcp");
        let agents = self.agents.clone();
        let attended = async move {
            match said.is_empty() {
                true => agents.attend_tcp(stream, address, tls).await,
                false => {
                    let (from, to) = stream.into_split();
                    let stream = tokio::io::join(Cursor::new(said).chain(from), to);
                    agents.attend_tcp(stream, address, tls).await;
                }
            }
        };
        self.tasks.spawn(attended.instrument(span));
    }
}

/// Whether somebody with these protocols (ALPN) is a box.
pub(crate) fn is_box(protocols: &[Vec<u8>]) -> bool {
    matches!(protocols, [one] if one == TCP_TUNNEL_ALPN || one == TCP_JOIN_ALPN)
}

impl Agents {
    async fn attend_tcp<S>(&self, stream: S, address: SocketAddr, tls: Arc<ServerConfig>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(place) = self.handshakes.enter(address.ip()) else {
            self.metrics.turned_away.get_or_create(&Door { door: "agents_tcp" }).inc();
            return;
        };
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
        self.attend(connection, Caller { purpose, identity, address }, place).await;
    }
}

/// Lets the kernel find out whether the box is still there.
fn watch_over(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(ASK).with_interval(ASK_AGAIN))?;
    socket.set_tcp_user_timeout(Some(SILENCE))
}
