//! Boxes dial in: those that join, and those that have.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::Utc;
use postern_protocol::tunnel::Connection;
use postern_protocol::tunnel::quic::{Endpoint, Incoming};
use postern_protocol::wire::{JOIN_ALPN, TUNNEL_ALPN, Web};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::admission::{Pace, Place, Room};
use crate::api::Api;
use crate::config::Limits;
use crate::endpoint::session::Known;
use crate::identity::BoxIdentity;
use crate::metrics::{Door, Metrics};
use crate::registry::Registry;
use crate::rulebook::Rulebook;

mod join;
pub(crate) mod tcp;
mod tunnel;

/// How long a handshake may take, and everything else before a box has proved itself.
const PATIENCE: Duration = Duration::from_secs(10);

/// Handshakes under way at once, for each processor: enough to fill the time in which boxes answer, and few
/// enough that a visitor does not wait behind thousands of boxes that return at once.
const TURNS_PER_PROCESSOR: usize = 16;

/// How long a handshake has its turn: a long round trip.
const TURN: Duration = Duration::from_millis(250);

fn turns() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from) * TURNS_PER_PROCESSOR
}

/// Closing codes, for the box's log; the reason in words stands beside them.
const REFUSED: u32 = 1;

/// The door that boxes come to.
pub(crate) struct Agents {
    pub(crate) api: Api,
    pub(crate) rulebook: Rulebook,
    pub(crate) registry: Registry,
    pub(crate) metrics: Metrics,
    pub(crate) relay: postern_protocol::id::RelayId,
    /// Where the TLS front is, if there is one.
    pub(crate) web: Option<Web>,
    /// When it falls, boxes are told to come back later, as soon as their visits are over.
    pub(crate) closing: CancellationToken,
    /// Everything that a box has going on here.
    pub(crate) tasks: TaskTracker,
    handshakes: Room,
    turns: Arc<Semaphore>,
    joins: Mutex<Pace>,
}

impl Agents {
    pub(crate) fn new(
        api: Api,
        (rulebook, registry): (Rulebook, Registry),
        metrics: Metrics,
        (relay, web): (postern_protocol::id::RelayId, Option<Web>),
        (closing, tasks): (CancellationToken, TaskTracker),
        limits: &Limits,
    ) -> Arc<Self> {
        let every = Duration::from_secs(60) / limits.joins_per_minute.max(1);
        Arc::new(Self {
            api,
            rulebook,
            registry,
            metrics,
            relay,
            web,
            closing,
            tasks,
            handshakes: Room::new(limits.handshakes, limits.handshakes_per_source),
            turns: Arc::new(Semaphore::new(turns())),
            joins: Mutex::new(Pace::new(every, limits.joins_per_minute.max(1))),
        })
    }

    /// Takes connections until told to stop; each goes on in a task of its own.
    pub(crate) async fn accept(self: Arc<Self>, endpoint: Endpoint) {
        loop {
            let incoming = tokio::select! {
                incoming = endpoint.accept() => incoming,
                () = self.closing.cancelled() => return,
            };
            let Some(incoming) = incoming else { return };
            self.admit(incoming);
        }
    }

    /// Whoever did not prove their address is asked to, which costs nothing to those who are there
    /// and makes the relay useless for flooding those who are not.
    fn admit(self: &Arc<Self>, incoming: Incoming) {
        if !incoming.remote_address_validated() {
            incoming.retry();
            return;
        }
        let address = incoming.remote_address();
        let Some(place) = self.handshakes.enter(address.ip()) else {
            self.metrics.turned_away.get_or_create(&Door { door: "agents" }).inc();
            incoming.refuse();
            return;
        };
        let agents = self.clone();
        let span = tracing::info_span!("agent", %address);
        let attended = async move {
            let Ok(Some(connection)) = timeout(PATIENCE, agents.in_turn(incoming.accept())).await else {
                return;
            };
            let Some(Known { protocol, identity }) = Known::of(&connection) else { return };
            let purpose = match protocol.as_slice() {
                TUNNEL_ALPN => Purpose::Tunnel,
                JOIN_ALPN => Purpose::Join,
                _ => return,
            };
            let caller = Caller { purpose, identity, address, line: None };
            agents.attend(Connection::Quic(connection), caller, place).await;
        };
        self.tasks.spawn(attended.instrument(span));
    }

    /// Serves a box, whichever way it came. This is over within seconds: a tunnel goes on in a task of its own,
    /// because a task is as large for all its life as the largest thing that it ever does.
    async fn attend(self: &Arc<Self>, connection: Connection, caller: Caller, place: Place) {
        match (caller.purpose, caller.identity) {
            (Purpose::Tunnel, Some(identity)) if identity.ends_at <= Utc::now() => {
                connection.close(REFUSED, "the box's certificate has expired");
            }
            (Purpose::Tunnel, Some(identity)) => {
                if let Some(welcomed) = tunnel::welcome(self, connection, identity, caller.line).await {
                    self.tasks.spawn(welcomed.serve(self.clone()).in_current_span());
                }
                drop(place);
            }
            (Purpose::Tunnel, None) => connection.close(REFUSED, "a tunnel needs a certificate"),
            (Purpose::Join, _) if self.may_join(caller.address.ip()) => join::serve(self, connection).await,
            (Purpose::Join, _) => connection.close(REFUSED, "not now"),
        }
    }

    /// Goes through a handshake when it is its turn. Whoever takes longer than others goes on beside the
    /// turns, so that nobody can sit on them.
    async fn in_turn<T, E>(&self, handshake: impl Future<Output = Result<T, E>>) -> Option<T> {
        let turn = self.turns.acquire().await.ok()?;
        let mut handshake = pin!(handshake);
        let done = timeout(TURN, &mut handshake).await;
        drop(turn);
        match done {
            Ok(done) => done.ok(),
            Err(_) => handshake.await.ok(),
        }
    }

    fn may_join(&self, source: IpAddr) -> bool {
        self.joins.lock().unwrap_or_else(PoisonError::into_inner).admit(source, Instant::now())
    }
}

/// What a box is here for, by the protocol that it asked for.
enum Purpose {
    Tunnel,
    Join,
}

/// What is known of a box before its first word.
struct Caller {
    purpose: Purpose,
    identity: Option<BoxIdentity>,
    address: SocketAddr,
    /// What a connection over TCP goes over.
    line: Option<tcp::Line>,
}
