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
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::audit::{Audit, Record};
use crate::registry::Registry;
use crate::rulebook::{Reading, Rulebook};
use crate::splice::{Sink, Source, Tally, splice};

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
    /// The access that they named; without one, whichever of the box's lets them in becomes theirs.
    pub(crate) access: Option<AccessId>,
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

    /// How long nothing may move before the visit is over; without an end, unless a door has one.
    fn patience(&self) -> Option<Duration> {
        None
    }

    /// Says that bytes follow, and hands over both directions.
    fn welcome(&mut self) -> impl Future<Output = (Self::Source, Self::Sink)> + Send;

    /// Says goodbye: why there was no visit, or why it ended.
    fn leave(self, outcome: Result<(), Refusal>) -> impl Future<Output = ()> + Send;
}

impl Reception {
    /// One visit, from the door to its last line in the audit.
    pub(crate) async fn visit(&self, mut call: Call, mut visitor: impl Visitor) {
        let mut record = self.audit.arrival(&call);
        let outcome = self.attend(&mut call, &mut visitor, &mut record).await;
        let outcome = outcome.map_err(|refusal| self.reason(&call, refusal));
        record.close(&outcome);
        visitor.leave(outcome).await;
    }

    /// Serves the visitor for as long as the rules allow it.
    async fn attend(
        &self,
        call: &mut Call,
        visitor: &mut impl Visitor,
        record: &mut Record,
    ) -> Result<(), Refusal> {
        let mut rules = self.rulebook.reading();
        let permit = rules.decide(call, Utc::now())?;
        if self.leaving.is_cancelled() {
            return Err(Refusal::ShuttingDown);
        }
        // Whichever access lets them in is the one that they have, to its end.
        call.access = Some(permit.access());
        record.admitted_by(permit.access());
        let (call, cut) = (&*call, record.cut());
        tokio::select! {
            ended = self.serve(call, &permit, visitor, record) => ended,
            denial = withdrawn(rules, call, permit.until()) => Err(denial.into()),
            () = cut.cancelled() => Err(Refusal::Cut),
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
        let patience = visitor.patience();
        let visitor = visitor.welcome().await;
        tokio::select! {
            ended = splice(visitor, tunnel.split(), record.tally()) => ended,
            () = idle(record.tally(), patience) => Err(Refusal::Idle),
        }
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

/// Waits until nothing has moved for so long, give or take a quarter.
async fn idle(tally: &Tally, patience: Option<Duration>) {
    let Some(patience) = patience else { return std::future::pending().await };
    let moved = || (tally.up(), tally.down());
    let mut last = (moved(), Instant::now());
    while last.1.elapsed() < patience {
        tokio::time::sleep(patience / 4).await;
        if moved() != last.0 {
            last = (moved(), Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_visit_is_idle_once_nothing_has_moved_for_as_long_as_it_may() {
        let (tally, start) = (Tally::default(), Instant::now());
        let moving = async {
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_secs(50)).await;
                tally.add_up(1);
            }
        };
        tokio::join!(moving, idle(&tally, Some(Duration::from_secs(60))));
        let seconds = start.elapsed().as_secs();
        assert!((560..=580).contains(&seconds), "{seconds} s");
    }
}
