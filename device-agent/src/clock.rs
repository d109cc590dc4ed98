//! What time it is, on a box whose own clock may stand anywhere: one without a battery boots in 1970, and
//! somebody may turn it.
//!
//! It is never earlier than the agent was built, nor than it was when a box last knew the time; and from
//! the moment at which a relay of the pinned authority has said what time it is, the box's own clock counts
//! only while it agrees. A relay can be believed that far: what it says must lie within its certificate's
//! life and not before what the box has seen, so it cannot turn time back, and an access that has ended
//! stays over.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::agent::Agent;
use crate::identity::Validity;
use crate::state::State;

/// The file in the state directory: the latest time that was known.
const FILE: &str = "clock";

/// How far clocks may differ that agree.
const AGREEMENT: TimeDelta = TimeDelta::minutes(1);

/// How far behind another relay's clock, or the control API's, a relay's may be.
const TOLERANCE: TimeDelta = TimeDelta::minutes(10);

/// How often the time is kept; a box that was off is at most so much earlier than it was.
const KEEP: Duration = Duration::from_secs(3600);

/// The box's clock.
#[derive(Debug)]
pub(crate) struct Clock {
    state: State,
    known: Mutex<Known>,
    /// Rings when what was believed before is no longer.
    corrected: watch::Sender<()>,
}

/// A relay whose time is not believed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unbelievable {
    /// Its certificate says otherwise.
    #[error("the relay says that it is {told}, which is not within its certificate's life")]
    OutsideCertificate { told: DateTime<Utc> },
    /// The box knows better.
    #[error("the relay says that it is {told}, and this box knows that it is {floor} at least")]
    Past { told: DateTime<Utc>, floor: DateTime<Utc> },
}

impl Clock {
    /// The clock as far as the state directory knows.
    pub(crate) fn load(state: &State) -> Self {
        let kept = state.read(FILE).ok().flatten();
        let kept = kept.and_then(|text| std::str::from_utf8(&text).ok()?.trim().parse().ok());
        let floor = kept.unwrap_or(DateTime::UNIX_EPOCH).max(built());
        let known = Known { floor: Moment { time: floor, at: Instant::now() }, told: None };
        Self { state: state.clone(), known: Mutex::new(known), corrected: watch::Sender::default() }
    }

    /// What time it is.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.known().now(Utc::now(), Instant::now())
    }

    /// At what time to look at a certificate that is valid for so long. While nobody has said what time
    /// it is, one that may be valid is.
    pub(crate) fn now_within(&self, validity: Validity) -> DateTime<Utc> {
        self.known().now_within(validity, Utc::now(), Instant::now())
    }

    /// Believes a relay whose certificate is valid for so long.
    pub(crate) fn believe(&self, told: DateTime<Utc>, relay: Validity) -> Result<(), Unbelievable> {
        let (system, at) = (Utc::now(), Instant::now());
        let before = self.known().now(system, at);
        match self.known().believe(told, relay, at) {
            // This relay's clock is behind, or another's was ahead. Later is later: it prolongs nothing to stay
            // with what the box knows, and to refuse the relay would keep everybody out.
            Err(Unbelievable::Past { told, floor }) => {
                tracing::warn!(%told, %floor, "the relay's clock is behind what this box has seen");
                return Ok(());
            }
            believed => believed?,
        }
        let after = self.known().now(system, at);
        if (after - before).abs() > AGREEMENT {
            tracing::warn!(%before, %after, "this box's clock is wrong, and corrected by the relay's");
        }
        self.corrected.send_replace(());
        self.keep();
        Ok(())
    }

    /// Rings when a relay has said what time it is.
    pub(crate) fn corrected(&self) -> watch::Receiver<()> {
        self.corrected.subscribe()
    }

    fn keep(&self) {
        if self.known().told.is_none() {
            return;
        }
        if let Err(error) = self.state.write(FILE, self.now().to_rfc3339().as_bytes()) {
            tracing::warn!(%error, "the time could not be kept");
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the time until the agent stops.
pub(crate) async fn keep(agent: &Agent) {
    while !agent.stopping.is_cancelled() {
        tokio::select! {
            () = sleep(KEEP) => {}
            () = agent.stopping.cancelled() => {}
        }
        agent.clock.keep();
    }
}

/// When the agent was built.
fn built() -> DateTime<Utc> {
    let seconds = env!("POSTERN_BUILT").parse().unwrap_or_default();
    DateTime::from_timestamp(seconds, 0).unwrap_or_default()
}

/// A time, and when it was that.
#[derive(Debug, Clone, Copy)]
struct Moment {
    time: DateTime<Utc>,
    at: Instant,
}

impl Moment {
    fn later(self, at: Instant) -> DateTime<Utc> {
        self.time + at.saturating_duration_since(self.at)
    }
}

/// What is known of the time.
#[derive(Debug, Clone, Copy)]
struct Known {
    /// It is not earlier.
    floor: Moment,
    /// What a relay has said.
    told: Option<Moment>,
}

impl Known {
    /// The box's own clock, unless a relay has said something else; and never less than before.
    fn now(&mut self, system: DateTime<Utc>, at: Instant) -> DateTime<Utc> {
        let believed = match self.told.map(|told| told.later(at)) {
            Some(told) if (system - told).abs() > AGREEMENT => told,
            _ => system,
        };
        let now = believed.max(self.floor.later(at));
        // What nobody has confirmed is no lower bound for later.
        if self.told.is_some() {
            self.floor = Moment { time: now, at };
        }
        now
    }

    fn now_within(&mut self, validity: Validity, system: DateTime<Utc>, at: Instant) -> DateTime<Utc> {
        let (now, floor) = (self.now(system, at), self.floor.later(at));
        match self.told {
            Some(_) => now,
            None => now.min(validity.until).max(validity.from).max(floor),
        }
    }

    fn believe(&mut self, told: DateTime<Utc>, relay: Validity, at: Instant) -> Result<(), Unbelievable> {
        if !(relay.from - TOLERANCE..=relay.until).contains(&told) {
            return Err(Unbelievable::OutsideCertificate { told });
        }
        let floor = self.floor.later(at);
        if told < floor - TOLERANCE {
            return Err(Unbelievable::Past { told, floor });
        }
        self.told = Some(Moment { time: told, at });
        self.floor = Moment { time: told.max(floor), at };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(day: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(day * 86_400, 0).unwrap()
    }

    /// A relay's certificate for these days.
    fn life(from: i64, until: i64) -> Validity {
        Validity { from: day(from), until: day(until) }
    }

    /// What a box knows that was last sure of the time on day 100.
    fn known() -> (Known, Instant) {
        let at = Instant::now();
        (Known { floor: Moment { time: day(100), at }, told: None }, at)
    }

    #[test]
    fn a_box_in_the_past_is_where_it_last_was_and_then_where_the_relay_is() {
        let (mut known, at) = known();
        assert_eq!(known.now(day(0), at), day(100));
        assert_eq!(known.now_within(life(110, 140), day(0), at), day(110), "its clock is no reason");
        known.believe(day(120), life(110, 140), at).unwrap();
        assert_eq!(known.now(day(0), at), day(120));
        let later = at + Duration::from_secs(86_400);
        assert_eq!(known.now(day(0), later), day(121), "time goes on");
    }

    #[test]
    fn a_box_in_the_future_believes_the_relay_too() {
        let (mut known, at) = known();
        assert_eq!(known.now(day(20_000), at), day(20_000));
        assert_eq!(known.now_within(life(110, 140), day(20_000), at), day(140));
        known.believe(day(120), life(110, 140), at).unwrap();
        assert_eq!(known.now(day(20_000), at), day(120));
    }

    #[test]
    fn a_clock_that_agrees_counts() {
        let (mut known, at) = known();
        known.believe(day(120), life(110, 140), at).unwrap();
        let seconds = TimeDelta::seconds(50);
        assert_eq!(known.now(day(120) + seconds, at), day(120) + seconds);
        assert_eq!(known.now(day(120) - seconds, at), day(120) + seconds, "and never goes back");
    }

    #[test]
    fn turning_the_clock_turns_nothing_back() {
        let (mut known, at) = known();
        known.believe(day(120), life(110, 140), at).unwrap();
        let later = at + Duration::from_secs(3600);
        assert_eq!(known.now(day(90), later), day(120) + TimeDelta::hours(1));
        assert_eq!(known.now(day(20_000), later), day(120) + TimeDelta::hours(1));
    }

    #[test]
    fn a_certificate_that_ended_before_what_the_box_has_seen_is_over() {
        let (mut known, at) = known();
        assert!(known.now_within(life(50, 80), day(0), at) > day(80));
        known.believe(day(120), life(110, 140), at).unwrap();
        assert_eq!(known.now_within(life(130, 160), day(0), at), day(120), "it is checked strictly now");
    }

    #[test]
    fn a_relay_is_believed_within_its_certificate_and_not_before_what_the_box_has_seen() {
        let (mut known, at) = known();
        let refused = known.believe(day(150), life(110, 140), at);
        assert_eq!(refused, Err(Unbelievable::OutsideCertificate { told: day(150) }));
        let refused = known.believe(day(90), life(80, 140), at);
        assert_eq!(refused, Err(Unbelievable::Past { told: day(90), floor: day(100) }));
        known.believe(day(120), life(110, 140), at).unwrap();
        assert!(known.believe(day(110), life(110, 140), at).is_err(), "nor before what it said itself");
    }
}
