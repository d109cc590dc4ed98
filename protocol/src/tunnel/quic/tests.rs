//! Both ends of a connection, over the kernel's own sockets; and a wire between them that drops what it is told to.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::{ClientConfig, ConnectionError, EndpointConfig, ServerConfig, TransportConfig, VarInt};
use rustls::pki_types::PrivateKeyDer;
use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};

use super::*;
use crate::tunnel::{
    End, IDLE_TIMEOUT, LARGEST_PACKET, PACKET, Probe, ReadError, TICK, WriteError, transport,
};

const NAME: &str = "relay.test";

/// What happens at once happens within this, on however busy a machine.
const SOON: Duration = Duration::from_secs(20);

fn settings() -> Arc<TransportConfig> {
    let mut settings = transport(IDLE_TIMEOUT, LARGEST_PACKET);
    settings.max_concurrent_bidi_streams(VarInt::from_u32(8));
    Arc::new(settings)
}

fn configs() -> (ServerConfig, ClientConfig) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let pair = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let (certificate, key) = (pair.cert.der().clone(), pair.signing_key.serialize_der());
    let server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], PrivateKeyDer::Pkcs8(key.into()))
        .unwrap();
    let mut trusted = rustls::RootCertStore::empty();
    trusted.add(certificate).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(trusted)
        .with_no_client_auth();
    let mut server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(server).unwrap()));
    server.transport_config(settings());
    let mut client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(client).unwrap()));
    client.transport_config(settings());
    (server, client)
}

async fn socket() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
}

async fn endpoint() -> Endpoint {
    let mut config = EndpointConfig::default();
    config.max_udp_payload_size(LARGEST_PACKET).unwrap();
    Endpoint::new(config, socket().await.into_std().unwrap()).unwrap()
}

/// Both ends of a connection, and what they go over.
struct Ends {
    of_box: Connection,
    of_relay: Connection,
    box_at: Endpoint,
    relay_at: Endpoint,
}

impl Ends {
    async fn meet() -> Self {
        Self::meet_over(None).await
    }

    async fn meet_over(wire: Option<&Wire>) -> Self {
        let (server, client) = configs();
        let (box_at, relay_at) = (endpoint().await, endpoint().await);
        relay_at.set_server_config(server);
        let to = match wire {
            Some(wire) => wire.lead_to(relay_at.local_addr()).await,
            None => relay_at.local_addr(),
        };
        let dialling = box_at.connect(client, to, NAME).unwrap();
        let (of_box, of_relay) =
            tokio::join!(dialling, async { relay_at.accept().await.unwrap().accept().await });
        Self { of_box: of_box.unwrap(), of_relay: of_relay.unwrap(), box_at, relay_at }
    }

    /// A stream that the relay has opened: its end, and that of the box, who has received a word.
    async fn stream(&self) -> ((SendStream, RecvStream), (SendStream, RecvStream)) {
        let mut ours = self.of_relay.open().await.unwrap();
        ours.0.write(Bytes::from_static(b"word")).await.unwrap();
        let mut theirs = self.of_box.accept().await.unwrap();
        assert_eq!(read(&mut theirs.1, 4).await.unwrap(), "word");
        (ours, theirs)
    }
}

/// Reads so many bytes, or fewer at the end.
async fn read(from: &mut RecvStream, count: usize) -> Result<String, ReadError> {
    let mut text = Vec::new();
    while text.len() < count {
        let mut pieces = [Bytes::new(), Bytes::new()];
        match from.read(&mut pieces, count - text.len()).await? {
            0 => break,
            some => text.extend_from_slice(&pieces[..some].concat()),
        }
    }
    Ok(String::from_utf8(text).unwrap())
}

/// Looks until it is so.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let looking = async {
        while !is_so() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, looking).await.unwrap_or_else(|_| panic!("not {what}"));
}

/// Looks until it is so, while a paused clock stands still.
#[expect(clippy::disallowed_methods, reason = "the runtime's clock stands still here")]
async fn in_no_time(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(began.elapsed() < SOON, "not {what}");
        tokio::task::yield_now().await;
    }
}

/// Carries datagrams of up to so many bytes, to the relay and back.
#[derive(Clone)]
struct Wire(Arc<[AtomicUsize; 2]>);

impl Wire {
    fn taking(most: usize) -> Self {
        Self(Arc::new([AtomicUsize::new(most), AtomicUsize::new(most)]))
    }

    fn take(&self, most: usize) {
        self.0.iter().for_each(|way| way.store(most, Relaxed));
    }

    /// Lets nothing through to the relay.
    fn lose_what_the_box_says(&self) {
        self.0[0].store(0, Relaxed);
    }

    async fn lead_to(&self, relay: SocketAddr) -> SocketAddr {
        let (near, far) = (Arc::new(socket().await), Arc::new(socket().await));
        let address = near.local_addr().unwrap();
        far.connect(relay).await.unwrap();
        let wire = self.clone();
        tokio::spawn(async move {
            let (mut there, mut back) = (vec![0; 65_536], vec![0; 65_536]);
            let mut caller = None;
            loop {
                tokio::select! {
                    Ok((length, from)) = near.recv_from(&mut there) => {
                        caller = Some(from);
                        if length <= wire.0[0].load(Relaxed) {
                            far.send(&there[..length]).await.ok();
                        }
                    }
                    Ok(length) = far.recv(&mut back) => {
                        if let Some(caller) = caller.filter(|_| length <= wire.0[1].load(Relaxed)) {
                            near.send_to(&back[..length], caller).await.ok();
                        }
                    }
                }
            }
        });
        address
    }
}

#[tokio::test]
async fn each_direction_ends_by_itself() {
    let ends = Ends::meet().await;
    let ((mut to, mut from), (mut back, mut there)) = ends.stream().await;
    to.finish();
    assert_eq!(read(&mut there, 1).await.unwrap(), "");
    assert_eq!(to.stopped().await, Stop::Delivered);
    back.write(Bytes::from_static(b"answer")).await.unwrap();
    back.finish();
    assert_eq!(read(&mut from, 100).await.unwrap(), "answer");
    assert_eq!(read(&mut from, 1).await.unwrap(), "");
}

#[tokio::test]
async fn whoever_lets_go_of_a_stream_tells_the_other_side() {
    let ends = Ends::meet().await;
    let ((to, mut from), (back, there)) = ends.stream().await;
    let stopped = to.stopped();
    drop(there);
    assert_eq!(stopped.await, Stop::Unwanted);
    drop(back);
    assert_eq!(read(&mut from, 1).await, Err(ReadError::BrokenOff));
    assert_eq!(read(&mut from, 1).await, Err(ReadError::BrokenOff));
}

#[tokio::test]
async fn whoever_waits_learns_that_the_connection_is_over() {
    let ends = Ends::meet().await;
    let ((mut to, mut from), (_back, _there)) = ends.stream().await;
    let (stopped, waiting) = (to.stopped(), ends.of_relay.clone());
    let more = async {
        while to.write(Bytes::from(vec![0; 100_000])).await.is_ok() {}
        to.write(Bytes::from_static(b"more")).await
    };
    let over = async {
        until("full", || ends.of_relay.stats().frame_tx.stream > 100).await;
        ends.of_box.close(VarInt::from_u32(7), b"enough");
    };
    let (more, read, stopped, opened, reason, ()) =
        tokio::join!(more, read(&mut from, 1), stopped, waiting.accept(), ends.of_relay.closed(), over);
    assert_eq!((more, read, stopped), (Err(WriteError::Lost), Err(ReadError::Lost), Stop::Lost));
    assert!(opened.is_err());
    let ConnectionError::ApplicationClosed(close) = reason else { panic!("{reason:?}") };
    assert_eq!((close.error_code.into_inner(), &*close.reason), (7, b"enough".as_slice()));
}

#[tokio::test]
async fn a_box_opens_as_many_streams_as_it_may_and_more_when_some_are_over() {
    let ends = Ends::meet().await;
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(ends.stream().await);
    }
    let next = ends.of_relay.open();
    tokio::pin!(next);
    assert!(timeout(Duration::from_millis(50), &mut next).await.is_err());
    drop(open);
    assert!(timeout(SOON, next).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_stream_that_nobody_wants_makes_room_for_another_however_it_ends() {
    let ends = Ends::meet().await;
    for round in 0..20 {
        let ((mut to, from), theirs) = timeout(SOON, ends.stream()).await.expect("there is room");
        let stopped = to.stopped();
        drop(theirs);
        assert_eq!(stopped.await, Stop::Unwanted);
        if round % 2 == 0 {
            to.finish();
        }
        drop((to, from));
    }
}

#[tokio::test]
async fn packets_grow_to_what_the_path_takes() {
    for (takes, found) in
        [(65_536, LARGEST_PACKET..=LARGEST_PACKET), (1400, 1380..=1400), (1200, PACKET..=PACKET)]
    {
        let wire = Wire::taking(takes);
        let ends = Ends::meet_over(Some(&wire)).await;
        let size = || ends.of_box.stats().path.current_mtu;
        until("found", || found.contains(&size())).await;
        let ((mut to, _from), (_back, mut there)) = ends.stream().await;
        to.write(Bytes::from(vec![b'x'; 300_000])).await.unwrap();
        assert_eq!(timeout(SOON, read(&mut there, 300_000)).await.unwrap().unwrap().len(), 300_000);
        assert!(found.contains(&size()), "{} where {takes} pass", size());
    }
}

#[tokio::test]
async fn a_sign_of_life_is_acknowledged_at_once_and_what_is_for_a_stream_with_the_answer() {
    let ends = Ends::meet().await;
    let ((mut to, _from), _held) = ends.stream().await;
    // From here on time passes only while there is nothing to do; so all that is owed is said within this.
    tokio::time::pause();
    sleep(Duration::from_secs(1)).await;
    let acknowledged = || ends.of_relay.stats().frame_rx.acks;
    let heard = || ends.of_box.stats().udp_rx.datagrams;

    let (before, began) = (acknowledged(), now());
    ends.of_relay.show_life();
    in_no_time("acknowledged", || acknowledged() > before).await;

    let (before, had_heard) = (acknowledged(), heard());
    to.write(Bytes::from_static(b"a question")).await.unwrap();
    in_no_time("heard", || heard() > had_heard).await;
    assert_eq!(now(), began);
    until("acknowledged", || acknowledged() > before).await;
    assert_ne!(now(), began, "nobody has answered yet");
}

/// Sends without an end.
fn pour(mut to: SendStream) {
    tokio::spawn(async move { while to.write(Bytes::from(vec![0; 10_000])).await.is_ok() {} });
}

/// How many pieces have come.
fn count(mut from: RecvStream) -> Arc<AtomicU64> {
    let count = Arc::new(AtomicU64::new(0));
    let counting = count.clone();
    tokio::spawn(async move {
        let mut pieces = [Bytes::new()];
        while from.read(&mut pieces, usize::MAX).await.is_ok_and(|some| some > 0) {
            counting.fetch_add(1, Relaxed);
        }
    });
    count
}

/// Does what both programs do while somebody is inside.
fn mind(connection: &Connection, end: End) {
    let connection = connection.clone();
    tokio::spawn(async move {
        let mut probe = Probe::new(end, now());
        loop {
            sleep(TICK).await;
            connection.probe_if_due(&mut probe, now());
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_outage_bulk_goes_on_both_ways_over_a_path_that_takes_less() {
    let wire = Wire::taking(65_536);
    let ends = Ends::meet_over(Some(&wire)).await;
    let ((to, from), (back, there)) = ends.stream().await;
    let both = [&ends.of_box, &ends.of_relay];
    until("large", || both.iter().all(|end| end.stats().path.current_mtu == LARGEST_PACKET)).await;
    [to, back].into_iter().for_each(pour);
    let counts = [count(from), count(there)];
    mind(&ends.of_box, End::Dialled);
    mind(&ends.of_relay, End::Listened);
    let seen = || counts.each_ref().map(|count| count.load(Relaxed));
    until("under way", || seen().iter().all(|count| *count > 50)).await;

    wire.take(0);
    sleep(Duration::from_secs(3)).await;
    wire.take(1300);
    let before = seen();
    until("going on", || seen().iter().zip(before).all(|(now, before)| *now > before + 200)).await;
    for end in both {
        assert!(end.stats().path.current_mtu <= 1300);
    }
}

#[tokio::test]
async fn an_acknowledgement_that_an_outage_held_back_is_not_taken_for_a_round_trip() {
    let wire = Wire::taking(65_536);
    let ends = Ends::meet_over(Some(&wire)).await;
    let ((mut to, _from), (_back, mut there)) = ends.stream().await;
    until("large", || ends.of_relay.stats().path.current_mtu == LARGEST_PACKET).await;
    mind(&ends.of_box, End::Dialled);
    mind(&ends.of_relay, End::Listened);
    wire.lose_what_the_box_says();
    to.write(Bytes::from_static(b"heard")).await.unwrap();
    assert_eq!(timeout(SOON, read(&mut there, 5)).await.unwrap().unwrap(), "heard");
    wire.take(0);
    sleep(Duration::from_secs(3)).await;
    let acknowledged = || ends.of_relay.stats().frame_rx.acks;
    let before = acknowledged();
    wire.take(65_536);
    until("acknowledged", || acknowledged() > before).await;
    // An estimate that began with three seconds would need more acknowledgements than there are now.
    until("sane", || ends.of_relay.rtt() < Duration::from_millis(100)).await;
    to.write(Bytes::from_static(b"more")).await.unwrap();
    assert_eq!(timeout(SOON, read(&mut there, 4)).await.unwrap().unwrap(), "more");
}

#[tokio::test]
async fn a_connection_goes_on_over_another_socket() {
    let ends = Ends::meet().await;
    let ((mut to, _from), (_back, mut there)) = ends.stream().await;
    let moved = socket().await.into_std().unwrap();
    let address = moved.local_addr().unwrap();
    ends.box_at.rebind(moved).unwrap();
    assert_eq!(ends.box_at.local_addr(), address);
    until("seen elsewhere", || ends.of_relay.remote_address() == address).await;
    to.write(Bytes::from_static(b"there")).await.unwrap();
    assert_eq!(timeout(SOON, read(&mut there, 5)).await.unwrap().unwrap(), "there");
}

#[tokio::test]
async fn a_close_is_heard_at_once_though_nothing_else_could_be_sent() {
    let wire = Wire::taking(65_536);
    let ends = Ends::meet_over(Some(&wire)).await;
    let ((to, _from), (_back, there)) = ends.stream().await;
    pour(to);
    let count = count(there);
    until("under way", || count.load(Relaxed) > 50).await;
    // Without acknowledgements the window fills.
    wire.take(0);
    let sent = || ends.of_relay.stats().udp_tx.datagrams;
    let mut last = 0;
    until("full", || std::mem::replace(&mut last, sent()) == sent()).await;
    wire.take(65_536);
    ends.of_relay.close(VarInt::from_u32(0), b"");
    timeout(SOON, ends.of_box.closed()).await.unwrap();
}

#[tokio::test]
async fn what_nobody_has_any_more_is_closed() {
    let ends = Ends::meet().await;
    let address = ends.box_at.local_addr();
    let ((_to, mut from), theirs) = ends.stream().await;
    drop((ends.box_at, ends.of_box));
    assert!(ends.of_relay.close_reason().is_none(), "a stream is left");
    drop(theirs);
    assert!(read(&mut from, 1).await.is_err());
    ends.of_relay.closed().await;
    let freed = async {
        while UdpSocket::bind(address).await.is_err() {
            sleep(Duration::from_millis(5)).await
        }
    };
    timeout(SOON, freed).await.expect("the socket is closed");
    ends.relay_at.close(VarInt::from_u32(0), b"");
    timeout(SOON, ends.relay_at.wait_idle()).await.unwrap();
    assert!(ends.relay_at.accept().await.is_none());
}
