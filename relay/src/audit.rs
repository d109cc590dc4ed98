//! What happened: every visit, allowed or refused, told to the control API exactly once.
//!
//! A visit is written down when it is let in and again when it is over, and its last word replaces
//! the earlier ones, so that telling something twice changes nothing. What is written is on disk before
//! it is told, and stays there until the control API has it; see [`spool`].

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::Utc;
use postern_protocol::Refusal;
use postern_protocol::access::{Denial, Door, Entrance};
use postern_protocol::api::{Visit, VisitEvent, VisitOutcome};
use postern_protocol::id::{AccessId, DeviceId, RelayId, VisitId};
use postern_protocol::ssh_key::PublicKey;
use tokio_util::sync::CancellationToken;

use crate::admission::{Pace, SourceNetwork};
use crate::metrics::{Code, Metrics};
use crate::session::Call;
use crate::splice::Tally;

pub(crate) mod ongoing;
pub(crate) mod spool;

use ongoing::Ongoing;
use spool::Spool;

/// Strangers of one source at one access, or at none, that are written down: one in ten seconds, after a first
/// few. So nobody hides what they try at one door behind noise at another.
const STRANGER_EVERY: Duration = Duration::from_secs(10);
const STRANGER_BURST: u32 = 10;

/// The code of a visit that simply ended.
const ENDED: &str = "ended";

/// Where visits are written down.
#[derive(Clone)]
pub(crate) struct Audit {
    relay: RelayId,
    metrics: Metrics,
    spool: Spool,
    ongoing: Ongoing,
    strangers: Arc<Mutex<Pace<Knock>>>,
}

/// Who is at a door, and what they named there.
type Knock = (SourceNetwork, Option<AccessId>, Option<DeviceId>);

impl Audit {
    pub(crate) fn new(relay: RelayId, metrics: Metrics, spool: Spool) -> Self {
        let strangers = Arc::new(Mutex::new(Pace::new(STRANGER_EVERY, STRANGER_BURST)));
        Self { relay, metrics, spool, ongoing: Ongoing::default(), strangers }
    }

    /// The visits that go on.
    pub(crate) fn ongoing(&self) -> &Ongoing {
        &self.ongoing
    }

    /// Somebody is at a door.
    pub(crate) fn arrival(&self, call: &Call) -> Record {
        let key = match &call.entrance {
            Entrance::Gate(key) => Some(key.fingerprint()),
            Entrance::Front | Entrance::Port(_) | Entrance::Tunnel => None,
        };
        let visit = Visit {
            id: call.id,
            access: call.access,
            device: call.device,
            device_name: None,
            relay: self.relay,
            entrance: call.door(),
            source: call.visitor.ip(),
            source_port: call.visitor.port(),
            port: Some(call.port),
            key,
            started_at: Utc::now(),
            ended_at: None,
            outcome: VisitOutcome::Refused,
            code: String::new(),
            reason: String::new(),
            bytes_up: 0,
            bytes_down: 0,
        };
        Record {
            audit: self.clone(),
            visit: Some(visit),
            opened: false,
            tally: Arc::default(),
            cut: CancellationToken::new(),
        }
    }

    /// Somebody proved nothing. They are written down so often and no oftener, and always counted.
    pub(crate) fn stranger(
        &self,
        entrance: Door,
        visitor: SocketAddr,
        access: Option<AccessId>,
        key: Option<&PublicKey>,
    ) {
        let denial = if access.is_some() { Denial::WrongKey } else { Denial::UnknownAccess };
        self.metrics.strangers.get_or_create(&Code { code: denial.code() }).inc();
        if !self.may_write_down((visitor.ip().into(), access, None)) {
            return;
        }
        let now = Utc::now();
        self.write(Visit {
            id: VisitId::from_entropy(rand::random()),
            access,
            device: None,
            device_name: None,
            relay: self.relay,
            entrance,
            source: visitor.ip(),
            source_port: visitor.port(),
            port: None,
            key: key.map(PublicKey::fingerprint),
            started_at: now,
            ended_at: Some(now),
            outcome: VisitOutcome::Refused,
            code: denial.code().to_owned(),
            reason: denial.to_string(),
            bytes_up: 0,
            bytes_down: 0,
        });
    }

    fn may_write_down(&self, knock: Knock) -> bool {
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner).admit(knock, Instant::now())
    }

    fn write(&self, visit: Visit) {
        self.spool.write(VisitEvent(visit));
    }
}

/// One visit's record, written at its start if it was let in, and at its end in any case.
pub(crate) struct Record {
    audit: Audit,
    /// None once it is closed.
    visit: Option<Visit>,
    opened: bool,
    tally: Arc<Tally>,
    cut: CancellationToken,
}

impl Record {
    /// The access that let them in, whichever they named.
    pub(crate) fn admitted_by(&mut self, access: AccessId) {
        if let Some(visit) = &mut self.visit {
            visit.access = Some(access);
        }
    }

    /// The box said yes.
    pub(crate) fn opened(&mut self) {
        self.opened = true;
        self.audit.metrics.visits_open.inc();
        if let Some(visit) = &mut self.visit {
            visit.outcome = VisitOutcome::Open;
            "open".clone_into(&mut visit.code);
            tracing::info!(source = %visit.source, "visit begins");
            self.audit.write(visit.clone());
            self.audit.ongoing.enter(visit.clone(), self.tally.clone(), self.cut.clone());
        }
    }

    /// Where bytes are counted.
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Falls when somebody ends this visit.
    pub(crate) fn cut(&self) -> CancellationToken {
        self.cut.clone()
    }

    /// It is over, and how.
    pub(crate) fn close(mut self, outcome: &Result<(), Refusal>) {
        self.end(outcome);
    }

    fn end(&mut self, outcome: &Result<(), Refusal>) {
        let Some(mut visit) = self.visit.take() else { return };
        self.audit.ongoing.leave(visit.id);
        let (code, reason) = match outcome {
            Ok(()) => (ENDED, String::new()),
            Err(refusal) => (refusal.code(), refusal.to_string()),
        };
        visit.ended_at = Some(Utc::now());
        visit.outcome = if self.opened { VisitOutcome::Ended } else { VisitOutcome::Refused };
        code.clone_into(&mut visit.code);
        visit.reason = reason;
        (visit.bytes_up, visit.bytes_down) = (self.tally.up(), self.tally.down());
        let metrics = &self.audit.metrics;
        metrics.visits.get_or_create(&Code { code }).inc();
        metrics.bytes_up.inc_by(visit.bytes_up);
        metrics.bytes_down.inc_by(visit.bytes_down);
        if self.opened {
            metrics.visits_open.dec();
        }
        tracing::info!(
            code,
            reason = %visit.reason,
            bytes_up = visit.bytes_up,
            bytes_down = visit.bytes_down,
            "{}",
            if self.opened { "visit ends" } else { "visit refused" }
        );
        // Only the gate has seen a proof; elsewhere a refused visitor may be anybody, any number of times.
        let knock = (visit.source.into(), visit.access, visit.device);
        if self.opened || visit.entrance == Door::Gate || self.audit.may_write_down(knock) {
            self.audit.write(visit);
        }
    }
}

/// A visit whose task was ended from outside has an end all the same.
impl Drop for Record {
    fn drop(&mut self) {
        self.end(&Err(Refusal::ShuttingDown));
    }
}

/// The visits that a former life of this relay let in and never ended.
pub(crate) fn orphans(events: &[VisitEvent]) -> Vec<VisitEvent> {
    let mut last: HashMap<VisitId, &Visit> = HashMap::new();
    for VisitEvent(visit) in events {
        last.insert(visit.id, visit);
    }
    let open = last.into_values().filter(|visit| visit.outcome == VisitOutcome::Open);
    let ended = |visit: &Visit| Visit {
        outcome: VisitOutcome::Ended,
        ended_at: Some(Utc::now()),
        code: Refusal::RelayRestarted.code().to_owned(),
        reason: Refusal::RelayRestarted.to_string(),
        ..visit.clone()
    };
    open.map(|visit| VisitEvent(ended(visit))).collect()
}
