//! Who is inside, and who was last turned away: what the owner sees.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use postern_protocol::Refusal;
use postern_protocol::wire::Open;
use tokio::sync::watch;

use crate::status::{LastRefusal, OpenVisit};

/// Bytes of one visit.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// From the visitor to the service.
    pub(crate) to_service: AtomicU64,
    /// From the service to the visitor.
    pub(crate) to_visitor: AtomicU64,
}

/// All visits of this agent.
#[derive(Debug, Default)]
pub(crate) struct Visits {
    book: Mutex<Book>,
    count: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Book {
    inside: BTreeMap<u64, Entry>,
    entered: u64,
    last_refusal: Option<LastRefusal>,
}

#[derive(Debug)]
struct Entry {
    open: Open,
    since: DateTime<Utc>,
    traffic: Arc<Traffic>,
}

/// A visit's place in the book, for as long as it lasts.
#[derive(Debug)]
pub(crate) struct Ticket<'a> {
    visits: &'a Visits,
    place: u64,
    /// What the visit has moved.
    pub(crate) traffic: Arc<Traffic>,
}

impl Visits {
    /// Somebody comes in.
    pub(crate) fn enter(&self, open: &Open, since: DateTime<Utc>) -> Ticket<'_> {
        let traffic = Arc::<Traffic>::default();
        let mut book = self.book();
        book.entered += 1;
        let place = book.entered;
        book.inside.insert(place, Entry { open: open.clone(), since, traffic: traffic.clone() });
        self.count.send_replace(book.inside.len());
        Ticket { visits: self, place, traffic }
    }

    /// Somebody was turned away, or sent away.
    pub(crate) fn refuse(&self, open: &Open, why: &Refusal, at: DateTime<Utc>) {
        self.book().last_refusal = Some(LastRefusal {
            at,
            access: open.access,
            port: open.port,
            visitor: open.visitor,
            code: why.code().to_owned(),
            reason: why.to_string(),
        });
    }

    /// Who is inside, in order of arrival.
    pub(crate) fn inside(&self) -> Vec<OpenVisit> {
        self.book().inside.values().map(Entry::shown).collect()
    }

    /// Who was last turned away.
    pub(crate) fn last_refusal(&self) -> Option<LastRefusal> {
        self.book().last_refusal.clone()
    }

    /// Whether anybody is inside.
    pub(crate) fn any(&self) -> bool {
        *self.count.borrow() > 0
    }

    /// Returns once somebody is inside.
    pub(crate) async fn somebody(&self) {
        // The sender is here, so it cannot go while somebody waits.
        let mut count = self.count.subscribe();
        let _somebody = count.wait_for(|count| *count > 0).await;
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn shown(&self) -> OpenVisit {
        OpenVisit {
            visit: self.open.visit,
            access: self.open.access,
            port: self.open.port,
            visitor: self.open.visitor,
            since: self.since,
            bytes_to_service: self.traffic.to_service.load(Ordering::Relaxed),
            bytes_to_visitor: self.traffic.to_visitor.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut book = self.visits.book();
        book.inside.remove(&self.place);
        self.visits.count.send_replace(book.inside.len());
    }
}

#[cfg(test)]
mod tests {
    use postern_protocol::access::Door;
    use postern_protocol::id::{AccessId, VisitId};

    use super::*;
    use crate::testing::{VISITOR, now};

    fn open() -> Open {
        Open {
            visit: VisitId::from_entropy([1; 10]),
            access: AccessId::from_entropy([2; 10]),
            port: 22,
            visitor: VISITOR.parse().unwrap(),
            door: Door::Gate,
            revision: 0,
        }
    }

    #[tokio::test]
    async fn a_visit_is_inside_for_as_long_as_its_ticket() {
        let visits = Visits::default();
        let first = visits.enter(&open(), now());
        let second = visits.enter(&open(), now());
        first.traffic.to_service.fetch_add(7, Ordering::Relaxed);
        let counts: Vec<u64> = visits.inside().iter().map(|visit| visit.bytes_to_service).collect();
        assert_eq!(counts, [7, 0]);
        visits.somebody().await;
        drop(first);
        assert!(visits.any());
        drop(second);
        assert!(!visits.any() && visits.inside().is_empty());
    }

    #[test]
    fn the_last_refusal_is_remembered() {
        let visits = Visits::default();
        visits.refuse(&open(), &Refusal::BoxPaused, now());
        visits.refuse(&open(), &Refusal::ServiceDown, now());
        assert_eq!(visits.last_refusal().unwrap().code, "service_down");
    }
}
