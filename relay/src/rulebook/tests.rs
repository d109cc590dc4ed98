use chrono::TimeDelta;
use postern_protocol::access::Networks;
use postern_protocol::grant::{Grant, GrantSigner, Grants};

use super::archive::{Archive, FILE, keep};
use super::*;

/// A control API that signs, and a relay's book.
struct Fixture {
    signer: GrantSigner,
    book: Rulebook,
}

fn access() -> AccessId {
    AccessId::from_entropy([3; 10])
}

fn device(number: u8) -> DeviceId {
    DeviceId::from_entropy([number; 10])
}

fn call() -> Call {
    Call {
        id: postern_protocol::id::VisitId::from_entropy([9; 10]),
        access: Some(access()),
        entrance: Entrance::Tunnel,
        visitor: "192.0.2.1:5000".parse().unwrap(),
        device: Some(device(1)),
        port: 22,
    }
}

impl Fixture {
    fn new() -> Self {
        let signer = GrantSigner::from_seed(&[5; 32]);
        Self { book: Rulebook::new(signer.verifier()), signer }
    }

    fn grants(&self, number: u8, revision: u64, open: bool) -> Grants {
        let now = Utc::now();
        let grant = Grant {
            access: access(),
            port: 22,
            login: "root".parse().unwrap(),
            key: None,
            allowed: Networks::parse(&["192.0.2.0/24"]).unwrap(),
            leased: None,
            expires_at: now + TimeDelta::hours(1),
            revoked: !open,
        };
        Grants {
            device: device(number),
            name: "box42".parse().unwrap(),
            label: "box42".parse().unwrap(),
            revision,
            signed_at: now,
            lease_until: now + TimeDelta::hours(12),
            grants: vec![grant],
        }
    }

    fn line(&self, number: u8, revision: u64, open: bool) -> FeedLine {
        let grants = self.signer.sign(&self.grants(number, revision, open));
        FeedLine::Box { device: device(number), key: Some("aa".repeat(32)), grants }
    }

    fn learn(&self, number: u8, grants: &Grants) {
        let (device, grants) = (device(number), self.signer.sign(grants));
        self.book.apply(FeedLine::Box { device, key: None, grants }).unwrap();
    }

    fn opens(&self) -> bool {
        self.book.reading().decide(&call(), Utc::now()).is_ok()
    }
}

#[test]
fn an_empty_book_lets_nobody_in() {
    assert!(!Fixture::new().opens());
}

#[test]
fn older_documents_never_win_not_even_in_a_snapshot() {
    let fixture = Fixture::new();
    fixture.book.apply(fixture.line(1, 7, false)).unwrap();
    for line in [FeedLine::Snapshot, fixture.line(1, 6, true), FeedLine::Commit { revision: 6 }] {
        fixture.book.apply(line).unwrap();
        assert!(!fixture.opens());
    }
    fixture.book.apply(fixture.line(1, 8, true)).unwrap();
    assert!(fixture.opens());
}

#[test]
fn a_public_port_and_a_name_lead_to_what_the_rules_say() {
    let fixture = Fixture::new();
    let relay = postern_protocol::id::RelayId::from_entropy([8; 10]);
    let port = PublicPort { relay, port: 40_001 };
    let mut grants = fixture.grants(1, 7, true);
    grants.grants[0].leased = Some(port);
    fixture.learn(1, &grants);
    let target = Target { access: Some(access()), device: device(1), port: 22 };
    assert_eq!(fixture.book.behind_port(port), Some(target));
    assert_eq!(fixture.book.behind_label(access().as_str()), Some(target));
    let page = Target { access: None, device: device(1), port: 443 };
    assert_eq!(fixture.book.behind_label("box42"), Some(page));
    assert_eq!(fixture.book.behind_label("box43"), None);
    assert_eq!(fixture.book.ports_of(relay), [40_001].into());

    fixture.book.apply(FeedLine::Gone { device: device(1) }).unwrap();
    assert_eq!((fixture.book.behind_port(port), fixture.book.behind_label("box42")), (None, None));
}

#[test]
fn boxes_may_exchange_their_labels() {
    let fixture = Fixture::new();
    let labelled = |number, revision, label: &str| {
        let grants = Grants { label: label.parse().unwrap(), ..fixture.grants(number, revision, true) };
        fixture.learn(number, &grants);
    };
    labelled(1, 1, "one");
    labelled(2, 2, "two");
    labelled(1, 3, "two");
    labelled(2, 4, "one");
    assert_eq!(fixture.book.labelled("one"), Some(device(2)));
    assert_eq!(fixture.book.labelled("two"), Some(device(1)));
    labelled(1, 5, "three");
    assert_eq!(fixture.book.labelled("two"), None);
}

#[test]
fn a_box_that_is_called_by_its_id_is_not_pushed_aside_by_one_with_that_name() {
    for by_id_first in [true, false] {
        let fixture = Fixture::new();
        let labelled = |number, revision, label: &str| {
            let grants = Grants { label: label.parse().unwrap(), ..fixture.grants(number, revision, true) };
            fixture.learn(number, &grants);
        };
        let id = device(1);
        let [first, second] = if by_id_first { [1, 2] } else { [2, 1] };
        labelled(first, 1, id.as_str());
        labelled(second, 2, id.as_str());
        assert_eq!(fixture.book.labelled(id.as_str()), Some(id));
    }
}

#[test]
fn what_the_control_api_did_not_sign_does_not_enter() {
    let fixture = Fixture::new();
    let forger = GrantSigner::from_seed(&[6; 32]);
    let grants = forger.sign(&fixture.grants(1, 7, true));
    let forged = FeedLine::Box { device: device(1), key: None, grants };
    assert!(matches!(fixture.book.apply(forged), Err(Rejected::Untrusted(_))));
    let grants = fixture.signer.sign(&fixture.grants(2, 7, true));
    let misplaced = FeedLine::Box { device: device(1), key: None, grants };
    assert!(matches!(fixture.book.apply(misplaced), Err(Rejected::OtherBox(_))));
    assert!(!fixture.opens());
}

#[test]
fn a_box_that_is_in_no_snapshot_any_more_is_not_known() {
    let fixture = Fixture::new();
    fixture.book.apply(fixture.line(1, 7, true)).unwrap();
    assert!(fixture.book.is_enrolled(device(1), &[0xaa; 32]));
    fixture.book.apply(FeedLine::Snapshot).unwrap();
    assert!(fixture.opens(), "nothing changes before the picture is whole");
    fixture.book.apply(FeedLine::Commit { revision: 8 }).unwrap();
    assert!(!fixture.opens());
    assert!(!fixture.book.is_enrolled(device(1), &[0xaa; 32]));
}

#[test]
fn a_box_whose_document_is_not_believed_keeps_its_last_good_one_and_nothing_newer_is_called_in_force() {
    let fixture = Fixture::new();
    fixture.book.apply(fixture.line(1, 7, true)).unwrap();
    fixture.book.apply(FeedLine::Commit { revision: 7 }).unwrap();
    fixture.book.apply(FeedLine::Snapshot).unwrap();
    let grants = GrantSigner::from_seed(&[6; 32]).sign(&fixture.grants(1, 8, false));
    fixture.book.apply(FeedLine::Box { device: device(1), key: None, grants }).unwrap_err();
    fixture.book.apply(FeedLine::Commit { revision: 8 }).unwrap();
    assert!(fixture.opens());
    assert_eq!(fixture.book.revision(), 7);
}

#[test]
fn a_box_that_joined_has_another_key_under_the_same_document() {
    let fixture = Fixture::new();
    let FeedLine::Box { device, grants, .. } = fixture.line(1, 7, true) else { unreachable!() };
    fixture.book.apply(FeedLine::Box { device, key: None, grants: grants.clone() }).unwrap();
    assert!(!fixture.book.is_enrolled(device, &[0xbb; 32]));
    fixture.book.apply(FeedLine::Box { device, key: Some("bb".repeat(32)), grants }).unwrap();
    assert!(fixture.book.is_enrolled(device, &[0xbb; 32]));
}

/// What another life of the relay has in force, given the same state directory.
fn next_life(directory: &std::path::Path) -> Fixture {
    let again = Fixture::new();
    again.book.load(directory).unwrap();
    again
}

#[test]
fn a_relay_enforces_what_it_kept_and_nothing_that_was_tampered_with() {
    let (fixture, directory) = (Fixture::new(), tempfile::tempdir().unwrap());
    fixture.book.apply(fixture.line(1, 7, true)).unwrap();
    fixture.book.apply(FeedLine::Commit { revision: 7 }).unwrap();
    assert_eq!(Archive::new(directory.path()).update(&fixture.book).unwrap(), 7);
    assert!(next_life(directory.path()).opens());
    assert_eq!(next_life(directory.path()).book.revision(), 7);

    let stranger = Rulebook::new(GrantSigner::from_seed(&[6; 32]).verifier());
    stranger.load(directory.path()).unwrap();
    assert!(stranger.reading().decide(&call(), Utc::now()).is_err());
}

#[test]
fn a_change_is_kept_behind_what_was_there_and_a_torn_line_costs_only_itself() {
    let (fixture, directory) = (Fixture::new(), tempfile::tempdir().unwrap());
    let mut archive = Archive::new(directory.path());
    fixture.book.apply(fixture.line(1, 7, true)).unwrap();
    fixture.book.apply(fixture.line(2, 7, true)).unwrap();
    fixture.book.apply(FeedLine::Commit { revision: 7 }).unwrap();
    archive.update(&fixture.book).unwrap();
    let path = directory.path().join(FILE);
    let before = std::fs::read(&path).unwrap();

    fixture.book.apply(fixture.line(1, 8, false)).unwrap();
    fixture.book.apply(FeedLine::Gone { device: device(2) }).unwrap();
    fixture.book.apply(FeedLine::Commit { revision: 8 }).unwrap();
    assert_eq!(archive.update(&fixture.book).unwrap(), 8);
    let after = std::fs::read(&path).unwrap();
    assert!(after.starts_with(&before), "one change does not write everything anew");
    std::fs::write(&path, [&after[..], b"{\"line\":\"gone\",\"dev"].concat()).unwrap();

    let again = next_life(directory.path());
    assert!(!again.opens());
    assert!(!again.book.is_enrolled(device(2), &[0xaa; 32]));
    assert_eq!(again.book.revision(), 8);
}

#[tokio::test]
async fn what_is_promised_is_in_force_in_the_next_life_too() {
    let (fixture, directory) = (Fixture::new(), tempfile::tempdir().unwrap());
    let mut kept = fixture.book.kept();
    let stop = tokio_util::sync::CancellationToken::new();
    let keeping = tokio::spawn(keep(fixture.book.clone(), directory.path().to_owned(), stop.clone()));
    fixture.book.apply(fixture.line(1, 7, true)).unwrap();
    fixture.book.apply(FeedLine::Commit { revision: 7 }).unwrap();
    kept.wait_for(|revision| *revision == 7).await.unwrap();
    assert_eq!(next_life(directory.path()).book.revision(), 7);
    fixture.book.apply(fixture.line(1, 8, false)).unwrap();
    fixture.book.apply(FeedLine::Commit { revision: 8 }).unwrap();
    kept.wait_for(|revision| *revision == 8).await.unwrap();
    assert!(!next_life(directory.path()).opens());
    stop.cancel();
    keeping.await.unwrap();
}

#[tokio::test]
async fn a_reader_hears_of_what_changed_since_it_decided() {
    let fixture = Fixture::new();
    let mut reading = fixture.book.reading();
    assert_eq!(reading.decide(&call(), Utc::now()), Err(Denial::UnknownAccess));
    fixture.book.apply(fixture.line(1, 7, true)).unwrap();
    fixture.book.apply(FeedLine::Commit { revision: 7 }).unwrap();
    reading.changed().await;
    assert!(reading.decide(&call(), Utc::now()).is_ok());
}
