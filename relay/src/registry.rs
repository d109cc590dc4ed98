//! Who is here: the boxes with a tunnel to this relay, and the only way to a stream.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use postern_protocol::Refusal;
use postern_protocol::access::Permit;
use postern_protocol::api::Presence;
use postern_protocol::id::DeviceId;
use postern_protocol::tunnel::{Connection, ReadError, RecvStream, SendStream, WriteError};
use postern_protocol::wire::{BoxFacts, Errand, MAX_VISITS, Open, Opening, Transport, WhyTcp, frame, io};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::metrics::{Metrics, Over};
use crate::rulebook::Rulebook;
use crate::session::Call;
use crate::splice::{Halt, Sink, Source};

/// A box that has not answered by then is not worth the visitor's patience.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// The boxes that are here.
#[derive(Clone)]
pub(crate) struct Registry {
    shared: Arc<Shared>,
}

struct Shared {
    rulebook: Rulebook,
    metrics: Metrics,
    visits_per_box: usize,
    house: Mutex<House>,
    changed: Notify,
}

#[derive(Default)]
struct House {
    guests: HashMap<DeviceId, Arc<Guest>>,
    /// Boxes that changed since the last report.
    dirty: HashMap<DeviceId, Presence>,
}

/// One tunnel of one box.
pub(crate) struct Guest {
    pub(crate) device: DeviceId,
    pub(crate) connection: Connection,
    /// A newer tunnel of the box has taken this one's place.
    displaced: AtomicBool,
    /// A newer tunnel has taken it beside this one, which keeps its visits until they end.
    succeeded: AtomicBool,
    why_tcp: Option<WhyTcp>,
    since: DateTime<Utc>,
    facts: Mutex<BoxFacts>,
    holding: AtomicU64,
    visits: AtomicUsize,
    /// Told whenever one of these three has changed. One is enough for all, and there are thousands of boxes.
    changed: Notify,
}

/// A box that comes in.
pub(crate) struct Newcomer {
    pub(crate) device: DeviceId,
    pub(crate) connection: Connection,
    pub(crate) facts: BoxFacts,
    /// Why it comes over TCP, if it does.
    pub(crate) why_tcp: Option<WhyTcp>,
    /// Its tunnel before this one still works, by its own word.
    pub(crate) beside: bool,
}

/// A box's place in the registry; leaving needs the very ticket that one entered with.
pub(crate) struct Ticket {
    registry: Registry,
    pub(crate) guest: Arc<Guest>,
}

impl Registry {
    pub(crate) fn new(rulebook: Rulebook, metrics: Metrics, visits_per_box: usize) -> Self {
        let (house, changed) = (Mutex::default(), Notify::new());
        // More than a tunnel's streams would end the tunnel.
        let visits_per_box = visits_per_box.min(MAX_VISITS as usize);
        Self { shared: Arc::new(Shared { rulebook, metrics, visits_per_box, house, changed }) }
    }

    /// A box comes in. The newest tunnel wins: an older one of the same box gives way, at once or when
    /// its visits have ended.
    pub(crate) fn enter(&self, newcomer: Newcomer) -> Ticket {
        let Newcomer { device, connection, facts, why_tcp, beside } = newcomer;
        let guest = Arc::new(Guest {
            device,
            connection,
            displaced: AtomicBool::new(false),
            succeeded: AtomicBool::new(false),
            why_tcp,
            since: Utc::now(),
            facts: Mutex::new(facts),
            holding: AtomicU64::new(0),
            visits: AtomicUsize::new(0),
            changed: Notify::new(),
        });
        let mut house = self.house();
        match house.guests.insert(device, guest.clone()) {
            Some(older) if beside => older.give_way(&older.succeeded),
            Some(older) => {
                older.give_way(&older.displaced);
                self.shared.metrics.boxes_displaced.inc();
            }
            None => {}
        }
        self.note(house, guest.presence(true));
        self.tunnels_like(&guest).inc();
        Ticket { registry: self.clone(), guest }
    }

    /// Opens a stream to the box that a permit names, and asks the box for its own yes.
    pub(crate) async fn open(&self, permit: &Permit, call: &Call) -> Result<Tunnel, Refusal> {
        let errand = Errand::Visit(Open {
            visit: call.id,
            access: permit.access(),
            port: permit.port(),
            visitor: call.visitor,
            door: call.door(),
            revision: self.shared.rulebook.revision_of(permit.device()),
        });
        self.send_on(permit.device(), &errand).await
    }

    /// Opens a stream on which a box answers a certificate authority that checks who has its name. It is the
    /// one stream without a permit, and reaches none of the box's services.
    pub(crate) async fn challenge(&self, device: DeviceId, name: String) -> Result<Tunnel, Refusal> {
        self.send_on(device, &Errand::Challenge { name }).await
    }

    async fn send_on(&self, device: DeviceId, errand: &Errand) -> Result<Tunnel, Refusal> {
        let answer = timeout(ANSWER_PATIENCE, self.ask_newest(device, errand)).await;
        answer.unwrap_or(Err(Refusal::BoxSilent))
    }

    /// Asks a box by its newest tunnel. One that gives way to a newer one meanwhile was dead, and nothing
    /// that it may have brought to the box has begun.
    async fn ask_newest(&self, device: DeviceId, errand: &Errand) -> Result<Tunnel, Refusal> {
        loop {
            let guest = self.house().guests.get(&device).cloned().ok_or(Refusal::BoxOffline)?;
            let place = guest.clone().take_place(self.shared.visits_per_box).ok_or(Refusal::TooMany)?;
            let answer = tokio::select! {
                answer = ask(&guest.connection, errand, Arc::new(place)) => answer,
                () = guest.wait_until(Guest::is_displaced) => continue,
            };
            match answer {
                Err(Refusal::TunnelLost | Refusal::BoxOffline) if guest.is_displaced() => {}
                answer => return answer,
            }
        }
    }

    /// Waits until there is something to report.
    pub(crate) async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    /// What changed since this was last asked.
    pub(crate) fn take_changes(&self) -> Vec<Presence> {
        std::mem::take(&mut self.house().dirty).into_values().collect()
    }

    /// Everybody.
    pub(crate) fn everybody(&self) -> Vec<Presence> {
        let mut house = self.house();
        house.dirty.clear();
        house.guests.values().map(|guest| guest.presence(true)).collect()
    }

    fn note(&self, mut house: MutexGuard<'_, House>, presence: Presence) {
        house.dirty.insert(presence.device, presence);
        self.shared.metrics.boxes.set(i64::try_from(house.guests.len()).unwrap_or(i64::MAX));
        drop(house);
        self.shared.changed.notify_one();
    }

    fn tunnels_like(&self, guest: &Guest) -> Gauge {
        let transport = match guest.connection.transport() {
            Transport::Quic => "quic",
            Transport::Tcp => "tcp",
        };
        let why = guest.why_tcp.map_or("preferred", WhyTcp::code);
        self.shared.metrics.tunnels.get_or_create_owned(&Over { transport, why })
    }

    fn house(&self) -> MutexGuard<'_, House> {
        self.shared.house.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// The box says something new of itself.
    pub(crate) fn learn(&self, facts: BoxFacts) {
        *self.guest.facts.lock().unwrap_or_else(PoisonError::into_inner) = facts;
        self.note();
    }

    /// The box enforces its grants at this revision.
    pub(crate) fn holds(&self, revision: u64) {
        self.guest.holding.store(revision, Relaxed);
        self.note();
    }

    /// What a displaced tunnel says of its box is no news any more.
    fn note(&self) {
        let house = self.registry.house();
        if self.is_newest(&house) {
            self.registry.note(house, self.guest.presence(true));
        }
    }

    fn is_newest(&self, house: &House) -> bool {
        house.guests.get(&self.guest.device).is_some_and(|guest| Arc::ptr_eq(guest, &self.guest))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.registry.tunnels_like(&self.guest).dec();
        let mut house = self.registry.house();
        if self.is_newest(&house) {
            house.guests.remove(&self.guest.device);
            self.registry.note(house, self.guest.presence(false));
        }
    }
}

impl Guest {
    fn presence(&self, online: bool) -> Presence {
        Presence {
            device: self.device,
            online,
            since: if online { self.since } else { Utc::now() },
            address: self.address(),
            transport: self.connection.transport(),
            why_tcp: self.why_tcp,
            facts: Some(self.facts.lock().unwrap_or_else(PoisonError::into_inner).clone()),
            holding: self.holding.load(Relaxed),
        }
    }

    fn address(&self) -> SocketAddr {
        let address = self.connection.remote_address();
        SocketAddr::new(address.ip().to_canonical(), address.port())
    }

    /// Whether a newer tunnel has taken this one's place, and left it its visits.
    pub(crate) fn is_succeeded(&self) -> bool {
        self.succeeded.load(SeqCst)
    }

    fn is_displaced(&self) -> bool {
        self.displaced.load(SeqCst)
    }

    fn give_way(&self, how: &AtomicBool) {
        how.store(true, SeqCst);
        self.changed.notify_waiters();
    }

    /// Waits until this tunnel has given way: at once if it was displaced, after its last visit if it was
    /// succeeded. Whoever still asks for a stream here is sent to the newest.
    pub(crate) async fn gave_way(&self) {
        self.wait_until(|guest| guest.is_displaced() || guest.is_succeeded() && !guest.has_visits()).await;
        self.give_way(&self.displaced);
    }

    /// Waits until a visit is opened.
    pub(crate) async fn visited(&self) {
        self.wait_until(|guest| guest.has_visits()).await;
    }

    /// Waits until no visit is open.
    pub(crate) async fn empty(&self) {
        self.wait_until(|guest| !guest.has_visits()).await;
    }

    async fn wait_until(&self, is_so: fn(&Self) -> bool) {
        loop {
            let mut change = pin!(self.changed.notified());
            // From here on none is missed.
            change.as_mut().enable();
            if is_so(self) {
                return;
            }
            change.await;
        }
    }

    /// Whether there is something to lose.
    pub(crate) fn has_visits(&self) -> bool {
        self.visits.load(SeqCst) > 0
    }

    fn take_place(self: Arc<Self>, most: usize) -> Option<VisitPlace> {
        let taken = self.visits.fetch_add(1, SeqCst);
        self.changed.notify_waiters();
        let place = VisitPlace(self);
        (taken < most).then_some(place)
    }
}

/// One visit's place at its box.
struct VisitPlace(Arc<Guest>);

impl Drop for VisitPlace {
    fn drop(&mut self) {
        self.0.visits.fetch_sub(1, SeqCst);
        self.0.changed.notify_waiters();
    }
}

async fn ask(connection: &Connection, errand: &Errand, place: Arc<VisitPlace>) -> Result<Tunnel, Refusal> {
    let (send, receive) = connection.open().await.map_err(|_| Refusal::BoxOffline)?;
    // From here on the box is told if nobody waits for its answer any more.
    let mut to = ToBox { stream: send, _place: place.clone() };
    let mut from = FromBox { stream: receive, _place: place };
    io::send(&mut to.stream, errand).await.map_err(|_| Refusal::TunnelLost)?;
    match io::receive(&mut from.stream, frame::SMALL).await {
        Ok(Opening::Opened) => Ok(Tunnel { from, to }),
        Ok(Opening::Refused(refusal)) => Err(refusal),
        Err(error) => {
            tracing::debug!(error = &error as &dyn std::error::Error, "no answer from the box");
            Err(Refusal::TunnelLost)
        }
    }
}

/// An open stream to a box.
pub(crate) struct Tunnel {
    from: FromBox,
    to: ToBox,
}

impl Tunnel {
    /// Its two directions. The visit's place is free when both are over.
    pub(crate) fn split(self) -> (FromBox, ToBox) {
        (self.from, self.to)
    }
}

/// Bytes from a box.
pub(crate) struct FromBox {
    stream: RecvStream,
    _place: Arc<VisitPlace>,
}

/// Bytes to a box.
pub(crate) struct ToBox {
    stream: SendStream,
    _place: Arc<VisitPlace>,
}

impl Source for FromBox {
    async fn next(&mut self) -> Result<Option<Bytes>, Halt> {
        self.stream.next().await.map_err(|error| match error {
            ReadError::Lost => Halt::Refused(Refusal::TunnelLost),
            ReadError::BrokenOff => Halt::Refused(Refusal::EndedByBox),
        })
    }
}

impl Sink for ToBox {
    async fn send(&mut self, chunk: Bytes) -> Result<(), Halt> {
        self.stream.send(chunk).await.map_err(halt)
    }

    async fn finish(&mut self) -> Result<(), Halt> {
        self.stream.finish().await;
        Ok(())
    }

    fn closed(&self) -> impl Future<Output = Halt> + Send + 'static {
        let unwanted = self.stream.unwanted();
        async move { halt(unwanted.await) }
    }
}

fn halt(error: WriteError) -> Halt {
    match error {
        WriteError::Unwanted => Halt::Deaf,
        WriteError::Lost => Halt::Refused(Refusal::TunnelLost),
    }
}
