//! Doors that follow the rules, and what those hear who do not come in.

use std::net::{Ipv4Addr, SocketAddr};

use chrono::{TimeDelta, Utc};
use postern_protocol::access::Networks;
use postern_protocol::api::FeedLine;
use postern_protocol::grant::{Grant, GrantSigner, Grants};
use postern_protocol::id::{AccessId, DeviceId};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::*;
use crate::audit::{Audit, spool::Spool};
use crate::front::hello::tests::client_hello;
use crate::registry::Registry;
use crate::rulebook::Rulebook;

/// Longer than anything here takes on a busy machine.
const SOON: Duration = Duration::from_secs(20);

const PORT: u16 = 20_001;

/// A relay whose API signs rules and whose boxes are all offline.
struct Fixture {
    signer: GrantSigner,
    ports: Arc<Ports>,
    stop: CancellationToken,
    revision: u64,
    _state: TempDir,
}

impl Fixture {
    /// One that keeps its ports, on an address of its own.
    fn start() -> Self {
        let fixture = Self::new();
        tokio::spawn(fixture.ports.clone().keep(fixture.stop.clone(), TaskTracker::new()));
        fixture
    }

    fn new() -> Self {
        let (state, metrics) = (tempfile::tempdir().unwrap(), Metrics::default());
        let (signer, relay) = (GrantSigner::from_seed(&[5; 32]), RelayId::from_entropy([8; 10]));
        let rulebook = Rulebook::new(signer.verifier());
        let spool = Spool::open(state.path(), relay, 1024 * 1024, metrics.clone()).unwrap();
        let reception = Reception {
            registry: Registry::new(rulebook.clone(), metrics.clone(), 16),
            rulebook,
            audit: Audit::new(relay, metrics.clone(), spool),
            leaving: CancellationToken::new(),
            closing: CancellationToken::new(),
        };
        let [a, b, c] = rand::random::<[u8; 3]>();
        let ports = Ports {
            reception,
            doorstep: Doorstep::new("port", (64, 64), &[], metrics.clone()),
            metrics,
            relay,
            range: "20000-20009".parse().unwrap(),
            address: Ipv4Addr::new(127, a.max(1), b, c.clamp(1, 254)).into(),
            patience: None,
        };
        Self { signer, ports: Arc::new(ports), stop: CancellationToken::new(), revision: 0, _state: state }
    }

    /// The box's only access is this one now, if there is one.
    fn rule(&mut self, grant: Option<Grant>) {
        self.revision += 1;
        let now = Utc::now();
        let grants = Grants {
            device: DeviceId::from_entropy([1; 10]),
            name: "box42".parse().unwrap(),
            label: "box42".parse().unwrap(),
            revision: self.revision,
            signed_at: now,
            lease_until: now + TimeDelta::hours(12),
            grants: grant.into_iter().collect(),
        };
        let (device, grants) = (grants.device, self.signer.sign(&grants));
        let rulebook = &self.ports.reception.rulebook;
        rulebook.apply(FeedLine::Box { device, key: None, grants }).unwrap();
        rulebook.apply(FeedLine::Commit { revision: self.revision }).unwrap();
    }

    fn grant(&self, port: u16, public: u16) -> Grant {
        Grant {
            access: AccessId::from_entropy([3; 10]),
            port,
            login: "root".parse().unwrap(),
            key: None,
            allowed: Networks::parse(&["127.0.0.0/8"]).unwrap(),
            leased: Some(PublicPort { relay: self.ports.relay, port: public }),
            expires_at: Utc::now() + TimeDelta::hours(1),
            revoked: false,
        }
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::new(self.ports.address, PORT)
    }

    /// Connects as soon as the port is open.
    async fn connect(&self) -> TcpStream {
        let open = async {
            loop {
                match TcpStream::connect(self.address()).await {
                    Ok(stream) => return stream,
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        timeout(SOON, open).await.expect("the port opens")
    }

    /// What the port answers to these words, until its end.
    async fn answer(&self, words: &[u8]) -> Vec<u8> {
        let mut stream = self.connect().await;
        // Whoever hangs up before is right.
        let _ = stream.write_all(words).await;
        let mut answer = Vec::new();
        let _ = timeout(SOON, stream.read_to_end(&mut answer)).await.expect("an end");
        answer
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test]
async fn a_port_is_open_for_as_long_as_a_rule_has_it() {
    let mut fixture = Fixture::start();
    fixture.rule(Some(fixture.grant(22, PORT)));
    drop(fixture.connect().await);
    fixture.rule(None);
    let closed = async {
        while TcpStream::connect(fixture.address()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, closed).await.expect("the port closes");
    fixture.rule(Some(fixture.grant(22, PORT)));
    drop(fixture.connect().await);
}

#[tokio::test]
async fn a_port_of_another_relay_or_out_of_range_is_left_alone() {
    let mut fixture = Fixture::new();
    let other = PublicPort { relay: RelayId::from_entropy([9; 10]), port: PORT };
    let grant = fixture.grant(22, PORT);
    for leased in [None, Some(other), Some(PublicPort { relay: fixture.ports.relay, port: 20_010 })] {
        fixture.rule(Some(Grant { leased, ..grant.clone() }));
        let mut doors = Doors::default();
        fixture.ports.follow(&mut doors, &fixture.stop, &TaskTracker::new()).await;
        assert!(doors.open.is_empty() && doors.blocked.is_empty(), "{leased:?}");
    }
}

#[tokio::test]
async fn a_port_that_another_program_has_is_opened_when_it_is_free() {
    let mut fixture = Fixture::new();
    let taken = std::net::TcpListener::bind(fixture.address()).unwrap();
    fixture.rule(Some(fixture.grant(22, PORT)));
    let (mut doors, tasks) = (Doors::default(), TaskTracker::new());
    fixture.ports.follow(&mut doors, &fixture.stop, &tasks).await;
    assert_eq!(fixture.ports.metrics.ports_blocked.get(), 1);
    drop(taken);
    // Another rule's change is no reason to try all of them.
    fixture.ports.follow(&mut doors, &fixture.stop, &tasks).await;
    assert_eq!(fixture.ports.metrics.ports_open.get(), 0);
    doors.retry();
    fixture.ports.follow(&mut doors, &fixture.stop, &tasks).await;
    assert_eq!((fixture.ports.metrics.ports_open.get(), fixture.ports.metrics.ports_blocked.get()), (1, 0));
}

#[tokio::test]
async fn an_allowed_visitor_who_does_not_come_in_is_told_why_in_ssh() {
    let mut fixture = Fixture::start();
    let revoked = Grant { revoked: true, ..fixture.grant(22, PORT) };
    for (grant, words) in [
        (fixture.grant(22, PORT), "the box is offline; try again when it is back"),
        (revoked, "the access was revoked; ask whoever gave it to you for another"),
    ] {
        fixture.rule(Some(grant));
        // Real clients go on at once, without waiting for an answer.
        let answer = fixture.answer(&[&b"SSH-2.0-client\r\n"[..], &[0; 1500]].concat()).await;
        let text = String::from_utf8_lossy(&answer);
        assert!(text.starts_with("SSH-2.0-Postern_") && text.contains(words), "{text}");
    }
}

#[tokio::test]
async fn an_allowed_visitor_who_does_not_come_in_gets_an_alert_in_tls() {
    let mut fixture = Fixture::start();
    fixture.rule(Some(fixture.grant(443, PORT)));
    let answer = fixture.answer(&client_hello("box42.example.com", &[])).await;
    assert_eq!(answer, [21, 3, 3, 0, 2, 2, 80], "an internal error: the box is offline");
    let answer = fixture.answer(b"SSH-2.0-client\r\n").await;
    assert!(String::from_utf8_lossy(&answer).contains("the box is offline"), "another port may speak SSH");
    assert!(fixture.answer(b"GET / HTTP/1.1\r\n\r\n").await.is_empty());
}

#[tokio::test]
async fn a_strangers_address_gets_nothing_but_the_end() {
    let mut fixture = Fixture::start();
    let allowed = Networks::parse(&["192.0.2.0/24"]).unwrap();
    for port in [22, 443] {
        for revoked in [false, true] {
            fixture.rule(Some(Grant { allowed: allowed.clone(), revoked, ..fixture.grant(port, PORT) }));
            assert!(fixture.answer(b"SSH-2.0-client\r\n").await.is_empty());
            assert!(fixture.answer(&client_hello("box42.example.com", &[])).await.is_empty());
        }
    }
}
