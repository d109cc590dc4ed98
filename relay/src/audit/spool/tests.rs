use chrono::Utc;
use postern_protocol::access::Door;
use postern_protocol::api::Visit;
use postern_protocol::id::RelayId;

use super::*;

fn relay() -> RelayId {
    RelayId::from_entropy([1; 10])
}

fn event(number: u8, outcome: VisitOutcome) -> VisitEvent {
    VisitEvent(Visit {
        id: VisitId::from_entropy([number; 10]),
        access: None,
        device: None,
        device_name: None,
        relay: relay(),
        entrance: Door::Gate,
        source: "192.0.2.1".parse().unwrap(),
        source_port: 1,
        port: Some(22),
        key: None,
        started_at: Utc::now(),
        ended_at: None,
        outcome,
        code: String::new(),
        reason: String::new(),
        bytes_up: 0,
        bytes_down: 0,
    })
}

fn open(directory: &Path) -> Shelf {
    Shelf::open(directory, relay(), 1024 * 1024, Metrics::default()).unwrap()
}

fn write(shelf: &mut Shelf, events: impl IntoIterator<Item = VisitEvent>) {
    events.into_iter().for_each(|event| shelf.append(event));
}

fn waiting(shelf: &Shelf) -> Vec<(u8, String)> {
    let letter = |event: &VisitEvent| event.0.id.as_str().as_bytes()[0] - b'a';
    shelf.waiting.iter().map(|waiting| (letter(&waiting.event), waiting.event.0.code.clone())).collect()
}

#[test]
fn what_was_not_told_survives_a_kill_and_what_was_told_is_at_most_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let mut shelf = open(directory.path());
    write(&mut shelf, [event(1, VisitOutcome::Refused), event(2, VisitOutcome::Refused)]);
    shelf.told(1);
    // Nothing is done when a process is killed.
    std::mem::forget(shelf);
    let numbers: Vec<u8> = waiting(&open(directory.path())).into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, [1, 2]);
}

#[test]
fn a_visit_that_nobody_ended_is_ended_once_even_if_its_beginning_was_told() {
    let directory = tempfile::tempdir().unwrap();
    let mut shelf = open(directory.path());
    write(
        &mut shelf,
        [event(1, VisitOutcome::Open), event(2, VisitOutcome::Open), event(2, VisitOutcome::Ended)],
    );
    shelf.told(3);
    shelf.rewrite().unwrap();
    drop(shelf);
    let mut shelf = open(directory.path());
    assert_eq!(waiting(&shelf), [(1, String::new()), (1, "relay_restarted".to_owned())]);
    shelf.told(2);
    shelf.rewrite().unwrap();
    drop(shelf);
    assert!(open(directory.path()).waiting.is_empty());
}

#[test]
fn a_line_that_a_crash_cut_off_costs_only_itself() {
    let directory = tempfile::tempdir().unwrap();
    write(&mut open(directory.path()), [event(1, VisitOutcome::Refused)]);
    let path = directory.path().join(FILE);
    let mut text = std::fs::read(&path).unwrap();
    text.extend_from_slice(b"{\"id\":\"aaaa");
    std::fs::write(&path, text).unwrap();
    assert_eq!(open(directory.path()).waiting.len(), 1);
}

#[test]
fn the_disk_is_not_filled() {
    let directory = tempfile::tempdir().unwrap();
    let metrics = Metrics::default();
    let mut shelf = Shelf::open(directory.path(), relay(), 1000, metrics.clone()).unwrap();
    write(&mut shelf, (0..8).map(|number| event(number, VisitOutcome::Refused)));
    assert!(shelf.bytes <= 1000);
    assert_eq!(shelf.waiting.len() as u64 + metrics.audit_dropped.get(), 8);
    assert!(metrics.audit_dropped.get() > 0);
}

#[test]
fn a_relay_that_is_never_idle_does_not_fill_the_disk_with_what_was_told() {
    let directory = tempfile::tempdir().unwrap();
    let metrics = Metrics::default();
    let mut shelf = Shelf::open(directory.path(), relay(), 16 * 1024, metrics.clone()).unwrap();
    for number in 0..200 {
        write(&mut shelf, [event(number, VisitOutcome::Refused)]);
        // One always waits.
        if number > 0 && shelf.told(1) {
            shelf.rewrite().unwrap();
        }
    }
    assert_eq!((metrics.audit_dropped.get(), shelf.waiting.len()), (0, 1));
    assert_eq!(std::fs::metadata(directory.path().join(FILE)).unwrap().len(), shelf.bytes);
}

/// A control API that takes what it is given, but never this visit.
async fn api_that_refuses(never: VisitId) -> (Api, Arc<Mutex<Vec<VisitId>>>) {
    let taken = Arc::<Mutex<Vec<VisitId>>>::default();
    let visits = taken.clone();
    let take = move |axum::Json(told): axum::Json<VisitEvents>| async move {
        let ids: Vec<VisitId> = told.events.iter().map(|event| event.0.id).collect();
        if ids.contains(&never) {
            return axum::http::StatusCode::UNPROCESSABLE_ENTITY;
        }
        visits.lock().unwrap().extend(ids);
        axum::http::StatusCode::NO_CONTENT
    };
    let routes = axum::Router::new().route("/v1/relay/visits", axum::routing::post(take));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let token = Some(postern_protocol::secret::Secret::from_text("psr_test"));
    (Api::new(&crate::Config { api, token, ..crate::Config::default() }).unwrap(), taken)
}

#[tokio::test]
async fn every_record_is_told_once_and_one_that_is_never_taken_takes_no_other_along() {
    let directory = tempfile::tempdir().unwrap();
    let bad = event(5, VisitOutcome::Refused).0.id;
    let (api, taken) = api_that_refuses(bad).await;
    let spool = Spool::open(directory.path(), relay(), 1024 * 1024, Metrics::default()).unwrap();
    (0..9).for_each(|number| spool.write(event(number, VisitOutcome::Refused)));
    let mut teller = Teller { spool: spool.clone(), api, backoff: Backoff::default(), batch: BATCH };
    teller.tell_the_rest().await;
    let told = taken.lock().unwrap().clone();
    let expected: Vec<VisitId> =
        (0..9).map(|number| event(number, VisitOutcome::Refused).0.id).filter(|id| *id != bad).collect();
    assert_eq!(told, expected);
}

#[test]
fn records_of_the_relay_that_lived_here_before_stop_nobody() {
    let directory = tempfile::tempdir().unwrap();
    write(&mut open(directory.path()), [event(1, VisitOutcome::Refused)]);
    let other = RelayId::from_entropy([2; 10]);
    let shelf = Shelf::open(directory.path(), other, 1024 * 1024, Metrics::default()).unwrap();
    assert!(shelf.waiting.is_empty());
}
