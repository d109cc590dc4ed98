//! One visit: decide, open, splice.
//!
//! Every door of the relay leads here with a [`Call`], which says who wants what, and a [`Visitor`],
//! which is how to talk to them. The rules decide; the registry opens a stream to the box, which it
//! does only for a permit; bytes flow until either side ends. All the while the visit is decided
//! again, whenever the rules change or the permit runs out, and ends with the permit.

use std::net::SocketAddr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use postern_protocol::Refusal;
use postern_protocol::access::{Denial, Door, Entrance, Permit};
use postern_protocol::id::{AccessId, DeviceId, VisitId};
use tokio_util::sync::CancellationToken;

use crate::audit::{Audit, Record};
use crate::registry::Registry;
use crate::rulebook::{Reading, Rulebook};
use crate::splice::{Sink, Source, splice};

/// Visits, whichever door they come to.
#[derive(Clone)]
pub(crate) struct Reception {
    /// Who decides.
    pub(crate) rulebook: Rulebook,
    /// Who opens.
    pub(crate) registry: Registry,
    /// Who remembers.
    pub(crate) audit: Audit,
    /// When it falls, nobody new comes in.
    pub(crate) leaving: CancellationToken,
    /// When it falls, visits end.
    pub(crate) closing: CancellationToken,
}

/// Somebody at a door who wants a port of a box.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) id: VisitId,
    pub(crate) access: AccessId,
    pub(crate) entrance: Entrance,
    pub(crate) visitor: SocketAddr,
    /// The box, unless what they named is none that their access speaks of.
    pub(crate) device: Option<DeviceId>,
    pub(crate) port: u16,
}

impl Call {
    /// The door they came to.
    pub(crate) fn door(&self) -> Door {
        self.entrance.door().expect("visitors come to doors, and a tunnel's end is none")
    }
}

/// The visitor's side of a visit.
pub(crate) trait Visitor: Send {
    type Source: Source;
    type Sink: Sink;

    /// Says that bytes follow, and hands over both directions.
    fn welcome(&mut self) -> impl Future<Output = (Self::Source, Self::Sink)> + Send;

    /// Says goodbye: why there was no visit, or why it ended.
    fn leave(self, outcome: Result<(), Refusal>) -> impl Future<Output = ()> + Send;
}

impl Reception {
    /// One visit, from the door to its last line in the audit.
    pub(crate) async fn visit(&self, call: Call, mut visitor: impl Visitor) {
        let mut record = self.audit.arrival(&call);
        let outcome = self.attend(&call, &mut visitor, &mut record).await;
        let outcome = outcome.map_err(|refusal| self.reason(&call, refusal));
        record.close(&outcome);
        visitor.leave(outcome).await;
    }

    /// Serves the visitor for as long as the rules allow it.
    async fn attend(
        &self,
        call: &Call,
        visitor: &mut impl Visitor,
        record: &mut Record,
    ) -> Result<(), Refusal> {
        let mut rules = self.rulebook.reading();
        let permit = rules.decide(call, Utc::now())?;
        if self.leaving.is_cancelled() {
            return Err(Refusal::ShuttingDown);
        }
        tokio::select! {
            ended = self.serve(call, &permit, visitor, record) => ended,
            denial = withdrawn(rules, call, permit.until()) => Err(denial.into()),
            () = self.closing.cancelled() => Err(Refusal::ShuttingDown),
        }
    }

    /// The box enforces the same rules at the same moment, and may be the first: then the rules' reason
    /// is the reason.
    fn reason(&self, call: &Call, refusal: Refusal) -> Refusal {
        if refusal != Refusal::EndedByBox {
            return refusal;
        }
        let denial = self.rulebook.reading().decide(call, Utc::now()).err();
        denial.map_or(Refusal::EndedByBox, Refusal::Denied)
    }

    /// Opens a stream to the box, and carries bytes until both sides are done.
    async fn serve(
        &self,
        call: &Call,
        permit: &Permit,
        visitor: &mut impl Visitor,
        record: &mut Record,
    ) -> Result<(), Refusal> {
        let tunnel = self.registry.open(permit, call).await?;
        record.opened();
        splice(visitor.welcome().await, tunnel.split(), record.tally()).await
    }
}

/// Waits until the rules no longer allow the visit.
async fn withdrawn(mut rules: Reading, call: &Call, mut until: DateTime<Utc>) -> Denial {
    loop {
        tokio::select! {
            () = rules.changed() => {}
            () = reached(until) => {}
        }
        match rules.decide(call, Utc::now()) {
            Ok(permit) => until = permit.until(),
            Err(denial) => return denial,
        }
    }
}

/// The wall clock may jump, and the one that sleeps are measured by does not notice: so nobody sleeps
/// longer than this before looking again.
const LONGEST_NAP: Duration = Duration::from_secs(1);

async fn reached(moment: DateTime<Utc>) {
    let left = (moment - Utc::now()).to_std().unwrap_or_default();
    tokio::time::sleep(left.min(LONGEST_NAP)).await;
}
