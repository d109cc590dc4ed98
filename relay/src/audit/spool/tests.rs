use chrono::Utc;
use postern_protocol::api::{EntranceKind, Visit};
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
        entrance: EntranceKind::Gate,
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

fn open(directory: &Path) -> Spool {
    Spool::open(directory, relay(), 1024 * 1024, Metrics::default()).unwrap()
}

fn waiting(spool: &Spool) -> Vec<(u8, String)> {
    let letter = |event: &VisitEvent| event.0.id.as_str().as_bytes()[0] - b'a';
    spool.waiting.iter().map(|event| (letter(event), event.0.code.clone())).collect()
}

#[test]
fn what_was_not_told_survives_and_what_was_told_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = open(directory.path());
    spool.append(vec![event(1, VisitOutcome::Refused), event(2, VisitOutcome::Refused)]);
    drop(spool);
    let mut spool = open(directory.path());
    assert_eq!(spool.waiting.len(), 2);
    spool.told(2);
    drop(spool);
    assert!(open(directory.path()).waiting.is_empty());
}

#[test]
fn a_visit_that_nobody_ended_is_ended_once_even_if_its_beginning_was_told() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = open(directory.path());
    spool.append(vec![
        event(1, VisitOutcome::Open),
        event(2, VisitOutcome::Open),
        event(2, VisitOutcome::Ended),
    ]);
    spool.told(3);
    drop(spool);
    let mut spool = open(directory.path());
    assert_eq!(waiting(&spool).last(), Some(&(1, "relay_restarted".to_owned())));
    spool.told(spool.waiting.len());
    drop(spool);
    assert!(open(directory.path()).waiting.is_empty());
}

#[test]
fn a_line_that_a_crash_cut_off_costs_only_itself() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path()).append(vec![event(1, VisitOutcome::Refused)]);
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
    let mut spool = Spool::open(directory.path(), relay(), 1000, metrics.clone()).unwrap();
    for number in 0..8 {
        spool.append(vec![event(number, VisitOutcome::Refused)]);
    }
    assert!(spool.bytes <= 1000);
    assert_eq!(spool.waiting.len() as u64 + metrics.audit_dropped.get(), 8);
}

#[test]
fn records_of_the_relay_that_lived_here_before_stop_nobody() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path()).append(vec![event(1, VisitOutcome::Refused)]);
    let other = RelayId::from_entropy([2; 10]);
    let spool = Spool::open(directory.path(), other, 1024 * 1024, Metrics::default()).unwrap();
    assert!(spool.waiting.is_empty());
}
