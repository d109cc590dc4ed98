//! What stands before every TCP door: room for so many, and the word of a load balancer for whom it
//! speaks.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::{Place, Room};
use crate::metrics::{Door, Metrics};

mod proxy;

use proxy::Announced;

/// How long a load balancer may take to say for whom it speaks. It knows when it connects.
const ANNOUNCEMENT: Duration = Duration::from_secs(5);

/// After a connection could not be accepted, usually for want of descriptors.
const BREATH: Duration = Duration::from_millis(100);

/// The step before one door, or before several that share their room.
pub(crate) struct Doorstep {
    door: Door,
    room: Room,
    /// Load balancers that have not said yet for whom they speak.
    announcing: Room,
    balancers: Arc<[IpNet]>,
    metrics: Metrics,
}

/// Somebody for whom there is room.
pub(crate) struct Arrival {
    pub(crate) stream: TcpStream,
    /// Their own address, in its canonical form.
    pub(crate) visitor: SocketAddr,
    pub(crate) place: Seat,
}

/// A place at a door, counted for as long as it is held.
pub(crate) struct Seat {
    _place: Place,
    door: Door,
    metrics: Metrics,
}

impl Doorstep {
    /// So many connections at once, so many of them from one source; whoever connects from these
    /// networks speaks for others.
    pub(crate) fn new(
        door: &'static str,
        (total, per_source): (usize, usize),
        balancers: &[IpNet],
        metrics: Metrics,
    ) -> Self {
        Self {
            door: Door { door },
            room: Room::new(total, per_source),
            announcing: Room::new(total, total),
            balancers: balancers.iter().map(IpNet::trunc).collect(),
            metrics,
        }
    }

    /// Finds out who it is, and whether there is room for them.
    pub(crate) async fn receive(&self, mut stream: TcpStream) -> Option<Arrival> {
        let peer = canonical(stream.peer_addr().ok()?);
        let _ = stream.set_nodelay(true);
        let visitor = match self.is_balancer(peer.ip()) {
            true => self.spoken_for(&mut stream, peer).await?,
            // What others say of themselves is not for this door to read.
            false => peer,
        };
        let Some(place) = self.room.enter(visitor.ip()) else { return self.turn_away() };
        self.metrics.connections.get_or_create(&self.door).inc();
        let place = Seat { _place: place, door: self.door.clone(), metrics: self.metrics.clone() };
        Some(Arrival { stream, visitor, place })
    }

    fn is_balancer(&self, peer: IpAddr) -> bool {
        self.balancers.iter().any(|network| network.contains(&peer))
    }

    /// For whom a load balancer speaks; itself, when it only looks whether anybody is there.
    async fn spoken_for(&self, stream: &mut TcpStream, peer: SocketAddr) -> Option<SocketAddr> {
        let Some(_place) = self.announcing.enter(peer.ip()) else { return self.turn_away() };
        match timeout(ANNOUNCEMENT, proxy::read(stream)).await {
            Ok(Ok(Announced::Visitor(visitor))) => return Some(canonical(visitor)),
            Ok(Ok(Announced::Itself)) => return Some(peer),
            Ok(Err(error)) => tracing::warn!(%peer, %error, "a load balancer did not say for whom it speaks"),
            Err(_) => tracing::warn!(%peer, "a load balancer said nothing"),
        }
        self.metrics.garbled.get_or_create(&self.door).inc();
        None
    }

    fn turn_away<T>(&self) -> Option<T> {
        self.metrics.turned_away.get_or_create(&self.door).inc();
        None
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.metrics.connections.get_or_create(&self.door).dec();
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Takes connections until told to stop; each goes on in a task of its own.
pub(crate) async fn accept<F>(
    listener: TcpListener,
    stop: CancellationToken,
    tasks: TaskTracker,
    attend: impl Fn(TcpStream) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                tasks.spawn(attend(stream));
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a visitor");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::proxy::tests::header;
    use super::*;

    /// What a door makes of a client on loopback that sends this, and what the door would read next.
    async fn received(balancers: &[&str], sent: &[u8]) -> Option<(SocketAddr, Vec<u8>)> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.write_all(sent).await.unwrap();
        client.shutdown().await.unwrap();
        let balancers: Vec<IpNet> = balancers.iter().map(|network| network.parse().unwrap()).collect();
        let doorstep = Doorstep::new("gate", (2, 1), &balancers, Metrics::default());
        let mut arrival = doorstep.receive(listener.accept().await.unwrap().0).await?;
        let mut rest = Vec::new();
        arrival.stream.read_to_end(&mut rest).await.unwrap();
        Some((arrival.visitor, rest))
    }

    #[tokio::test]
    async fn a_load_balancer_speaks_for_its_visitor_and_not_a_byte_of_theirs_is_lost() {
        let sent = [&header("[::ffff:192.0.2.7]:5000")[..], b"SSH-2.0-x\r\n"].concat();
        let (visitor, rest) = received(&["127.0.0.0/8"], &sent).await.unwrap();
        assert_eq!(visitor, "192.0.2.7:5000".parse().unwrap(), "in its canonical form");
        assert_eq!(rest, b"SSH-2.0-x\r\n");
    }

    #[tokio::test]
    async fn a_load_balancer_that_says_nothing_of_the_kind_is_not_received() {
        assert!(received(&["127.0.0.0/8"], b"SSH-2.0-without a header\r\n").await.is_none());
        assert!(received(&["127.0.0.0/8"], b"PROXY TCP4 192.0.2.7 127.0.0.1 5000 22\r\n").await.is_none());
        assert!(received(&["127.0.0.0/8"], b"").await.is_none());
    }

    #[tokio::test]
    async fn what_anybody_else_says_of_themselves_is_not_read() {
        let sent = header("192.0.2.7:5000");
        let (visitor, rest) = received(&["10.0.0.0/8"], &sent).await.unwrap();
        assert!(visitor.ip().is_loopback());
        assert_eq!(rest, sent, "it is the protocol's, which makes nothing of it");
    }

    #[tokio::test]
    async fn each_visitor_behind_a_load_balancer_has_a_room_of_their_own() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let doorstep = Doorstep::new("gate", (2, 1), &["127.0.0.0/8".parse().unwrap()], Metrics::default());
        let arrive = async |visitor: &str| {
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            client.write_all(&header(visitor)).await.unwrap();
            doorstep.receive(listener.accept().await.unwrap().0).await
        };
        let first = arrive("192.0.2.7:1").await;
        assert!(first.is_some());
        assert!(arrive("192.0.2.7:2").await.is_none(), "one of a source");
        assert!(arrive("192.0.2.8:3").await.is_some(), "another source");
        drop(first);
        assert!(arrive("192.0.2.7:4").await.is_some());
    }
}
