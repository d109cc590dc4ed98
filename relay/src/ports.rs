//! Public ports: one for each access that has leased one here, open for as long as the rules remember it.
//!
//! A port is for clients that know no gate and name no host. It proves nothing; so the rules decide by the
//! visitor's address and the time, and whom they meet behind it asks for the key, end to end.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use postern_protocol::access::{Door, Entrance, PublicPort};
use postern_protocol::api::PortRange;
use postern_protocol::id::{RelayId, VisitId};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::doorstep::{self, Arrival, Doorstep};
use crate::farewell::Manner;
use crate::metrics::Metrics;
use crate::session::{Call, Reception};
use crate::tcp::Caller;

#[cfg(test)]
mod tests;

/// A port that another program had may be free again.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// The public ports of this relay.
pub(crate) struct Ports {
    pub(crate) reception: Reception,
    pub(crate) doorstep: Doorstep,
    pub(crate) metrics: Metrics,
    pub(crate) relay: RelayId,
    pub(crate) range: PortRange,
    /// The address on which they are open.
    pub(crate) address: IpAddr,
    /// How long nothing may move on a visit.
    pub(crate) patience: Option<Duration>,
}

/// The ports as they are.
#[derive(Default)]
struct Doors {
    /// Each closes with its guard.
    open: HashMap<u16, DropGuard>,
    /// Those that could not be opened, and are left alone for a while.
    blocked: BTreeSet<u16>,
    /// Those of them that were reported.
    reported: BTreeSet<u16>,
}

impl Doors {
    fn retry(&mut self) {
        self.blocked.clear();
    }
}

impl Ports {
    /// Keeps open what the rules say, until told to stop.
    pub(crate) async fn keep(self: Arc<Self>, stop: CancellationToken, tasks: TaskTracker) {
        let mut rules = self.reception.rulebook.reading();
        let mut doors = Doors::default();
        loop {
            rules.mark_read();
            self.follow(&mut doors, &stop, &tasks).await;
            tokio::select! {
                () = rules.changed() => {}
                () = tokio::time::sleep(TRY_AGAIN), if !doors.blocked.is_empty() => doors.retry(),
                () = stop.cancelled() => return,
            }
        }
    }

    /// Closes what leads nowhere any more, and opens what leads somewhere now.
    async fn follow(self: &Arc<Self>, doors: &mut Doors, stop: &CancellationToken, tasks: &TaskTracker) {
        let mut wanted = self.reception.rulebook.ports_of(self.relay);
        wanted.retain(|port| self.range.contains(*port));
        doors.open.retain(|port, _| wanted.contains(port));
        doors.blocked.retain(|port| wanted.contains(port));
        doors.reported.retain(|port| wanted.contains(port));
        for port in wanted {
            if doors.open.contains_key(&port) || doors.blocked.contains(&port) {
                continue;
            }
            match self.open(port, doors, stop, tasks).await {
                Ok(()) => _ = doors.reported.remove(&port),
                Err(error) => {
                    doors.blocked.insert(port);
                    if doors.reported.insert(port) {
                        tracing::warn!(port, %error, "a public port cannot be opened; it is tried again");
                    }
                }
            }
        }
        self.count(doors);
    }

    async fn open(
        self: &Arc<Self>,
        port: u16,
        doors: &mut Doors,
        stop: &CancellationToken,
        tasks: &TaskTracker,
    ) -> std::io::Result<()> {
        let listener = TcpListener::bind((self.address, port)).await?;
        let (ports, closed) = (self.clone(), stop.child_token());
        let attend = move |stream| ports.clone().attend(port, stream);
        tasks.spawn(doorstep::accept(listener, closed.clone(), tasks.clone(), attend));
        doors.open.insert(port, closed.drop_guard());
        Ok(())
    }

    fn count(&self, doors: &Doors) {
        let count = |number| i64::try_from(number).expect("ports are few");
        self.metrics.ports_open.set(count(doors.open.len()));
        self.metrics.ports_blocked.set(count(doors.blocked.len()));
    }

    /// One connection, if there is room for it.
    async fn attend(self: Arc<Self>, port: u16, stream: TcpStream) {
        let Some(Arrival { stream, visitor, place: _place }) = self.doorstep.receive(stream).await else {
            return;
        };
        let leased = PublicPort { relay: self.relay, port };
        let Some(target) = self.reception.rulebook.behind_port(leased) else {
            return self.reception.audit.stranger(Door::Port, visitor, None, None);
        };
        let call = Call {
            id: VisitId::from_entropy(rand::random()),
            access: target.access,
            entrance: Entrance::Port(leased),
            visitor,
            device: Some(target.device),
            port: target.port,
        };
        let caller = Caller::new(stream, Bytes::new(), Manner::at_port(target.port), self.patience);
        let span =
            tracing::info_span!("visit", id = %call.id, access = call.access.map(tracing::field::display));
        self.reception.visit(call, caller).instrument(span).await;
    }
}
