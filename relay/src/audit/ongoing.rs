//! Visits that go on: how to end one of them, and how far each has come.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postern_protocol::api::{Visit, VisitEvent, VisitEvents};
use postern_protocol::id::VisitId;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::splice::Tally;

/// How often the control API hears of bytes: as often as of boxes.
const EVERY: Duration = Duration::from_secs(5);

/// Visits whose bytes are told at once; with more, each has its turn.
const MOST: usize = 256;

/// The visits that go on at this relay.
#[derive(Clone, Default)]
pub(crate) struct Ongoing(Arc<Mutex<HashMap<VisitId, Entry>>>);

/// A visit that goes on.
struct Entry {
    visit: Visit,
    tally: Arc<Tally>,
    /// The bytes that the control API has heard of.
    told: (u64, u64),
    /// At which round it was told.
    round: u64,
    cut: CancellationToken,
}

impl Ongoing {
    /// A visit begins; `cut` falls when somebody ends it.
    pub(crate) fn enter(&self, visit: Visit, tally: Arc<Tally>, cut: CancellationToken) {
        let entry = Entry { tally, told: (0, 0), round: 0, cut, visit };
        self.visits().insert(entry.visit.id, entry);
    }

    /// A visit is over.
    pub(crate) fn leave(&self, visit: VisitId) {
        self.visits().remove(&visit);
    }

    /// Ends one visit, if it goes on here.
    pub(crate) fn cut(&self, visit: VisitId) {
        match self.visits().get(&visit) {
            Some(entry) => entry.cut.cancel(),
            None => tracing::debug!(%visit, "nobody to cut off: the visit is over"),
        }
    }

    /// The visits in which bytes have moved since they were last told of, those first that waited longest.
    fn progress(&self, round: u64) -> Vec<VisitEvent> {
        let mut visits = self.visits();
        let mut moved: Vec<&mut Entry> =
            visits.values_mut().filter(|entry| entry.told != entry.bytes()).collect();
        moved.sort_by_key(|entry| entry.round);
        let tell = |entry: &mut Entry| {
            (entry.told, entry.round) = (entry.bytes(), round);
            let (bytes_up, bytes_down) = entry.told;
            VisitEvent(Visit { bytes_up, bytes_down, ..entry.visit.clone() })
        };
        moved.into_iter().take(MOST).map(tell).collect()
    }

    fn visits(&self) -> MutexGuard<'_, HashMap<VisitId, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn bytes(&self) -> (u64, u64) {
        (self.tally.up(), self.tally.down())
    }
}

/// Tells the control API how far visits have come, until told to stop. What gets lost is told anew with
/// the next bytes, and in any case when the visit is over.
pub(crate) async fn tell(ongoing: Ongoing, api: Api, stop: CancellationToken) {
    let mut turn = interval(EVERY);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for round in 1.. {
        tokio::select! {
            _ = turn.tick() => {}
            () = stop.cancelled() => return,
        }
        let events = ongoing.progress(round);
        if events.is_empty() {
            continue;
        }
        if let Err(error) = api.visits(&VisitEvents { events }).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "nobody heard of bytes");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visit(number: u8) -> Visit {
        let id = VisitId::from_entropy([number; 10]);
        let text = format!(
            r#"{{"id":"{id}","relay":"k7f2q5xwac","entrance":"gate","source":"198.51.100.7","source_port":5,
            "started_at":"2026-11-21T18:00:00Z","outcome":"open","code":"open","reason":"","bytes_up":0,"bytes_down":0}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn begun(ongoing: &Ongoing, number: u8) -> (Arc<Tally>, CancellationToken, VisitId) {
        let (tally, cut) = (Arc::new(Tally::default()), CancellationToken::new());
        ongoing.enter(visit(number), tally.clone(), cut.clone());
        (tally, cut, visit(number).id)
    }

    #[test]
    fn one_visit_is_cut_and_no_other() {
        let ongoing = Ongoing::default();
        let ((_, first, id), (_, second, _)) = (begun(&ongoing, 1), begun(&ongoing, 2));
        ongoing.cut(id);
        assert!(first.is_cancelled() && !second.is_cancelled());
        ongoing.leave(id);
        ongoing.cut(id);
    }

    #[test]
    fn only_what_has_moved_is_told() {
        let ongoing = Ongoing::default();
        let ((moved, ..), (_quiet, ..)) = (begun(&ongoing, 1), begun(&ongoing, 2));
        assert!(ongoing.progress(1).is_empty());
        moved.add_up(7);
        let told = ongoing.progress(2);
        assert_eq!(told.iter().map(|event| event.0.bytes_up).collect::<Vec<_>>(), [7]);
        assert!(ongoing.progress(3).is_empty(), "nothing since");
    }

    #[test]
    fn only_so_many_are_told_at_once_and_each_has_its_turn() {
        let ongoing = Ongoing::default();
        let many: Vec<_> = (0..300u16)
            .map(|number| {
                let tally = Arc::new(Tally::default());
                tally.add_up(1);
                let [high, low] = [number >> 5, number & 31].map(|part| u8::try_from(part).unwrap());
                let id = VisitId::from_entropy([high, low, 1, 1, 1, 1, 1, 1, 1, 1]);
                ongoing.enter(Visit { id, ..visit(1) }, tally.clone(), CancellationToken::new());
                tally
            })
            .collect();
        assert_eq!(ongoing.progress(1).len(), MOST);
        many.iter().for_each(|tally| tally.add_up(1));
        let second: Vec<_> = ongoing.progress(2).iter().map(|event| event.0.bytes_up).collect();
        assert_eq!(second.len(), MOST);
        let waited = ongoing.visits().values().filter(|entry| entry.told.0 > 0 && entry.round == 1).count();
        assert_eq!(waited, 300 - MOST, "those that had waited came first");
    }
}
