//! Visits, over a real tunnel to a relay that may be hostile.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use postern_protocol::access::Door;
use postern_protocol::grant::{Grant, Grants};
use postern_protocol::id::{AccessId, VisitId};
use postern_protocol::wire::{Goodbye, MAX_VISITS, ToAgent};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::config::{Config, Services};
use crate::link;
use crate::pause::Pause;
use crate::state::State;
use crate::testing::{EXPIRES_IN, Installation, Relay, Tunnel, VISITOR, Visit, grant, now};

/// A running agent with one service, and a relay it is connected to.
struct Fixture {
    _home: TempDir,
    ours: Installation,
    agent: Arc<Agent>,
    tunnel: Tunnel,
    service: TcpListener,
    parts: Vec<JoinHandle<()>>,
}

impl Fixture {
    async fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let ours = Installation::new();
        let relay = Relay::of(&ours);
        let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let offered = BTreeMap::from([("echo".to_owned(), service.local_addr().unwrap().into())]);
        let config = Config {
            state_dir: home.path().join("agent"),
            services: Services::try_from(offered).unwrap(),
            ..Config::default()
        };
        let state = State::open(&config.state_dir).unwrap();
        let member = ours.member(&relay.address());
        member.save(&state).unwrap();
        let pause = Arc::new(Pause::load(&state));
        let agent = Arc::new(Agent::new(config, state, member, pause));
        let (linked, keeping) = (agent.clone(), agent.clone());
        let parts = vec![
            tokio::spawn(async move { link::stay(&linked).await }),
            tokio::spawn(async move { crate::keys::keep(&keeping).await }),
        ];
        let tunnel = relay.tunnel().await;
        Self { _home: home, ours, agent, tunnel, service, parts }
    }

    fn port(&self) -> u16 {
        self.service.local_addr().unwrap().port()
    }

    fn access(&self) -> AccessId {
        grant(self.port()).access
    }

    async fn hold(&mut self, revision: u64, grants: Vec<Grant>) {
        let grants = self.ours.grants(revision, grants);
        self.hold_document(&grants).await;
    }

    async fn hold_document(&mut self, grants: &Grants) {
        self.tunnel.grant(self.ours.sign(grants), grants.revision).await;
    }

    async fn opening(&self, revision: u64) -> Opening {
        self.tunnel.open(self.access(), self.port(), revision).await.opening
    }

    /// A visit that was let in, and the service's end of it.
    async fn visit(&self) -> (Visit, TcpStream) {
        let visit = self.tunnel.open(self.access(), self.port(), 1);
        let (visit, (service, _)) = tokio::join!(visit, async { self.service.accept().await.unwrap() });
        assert_eq!(visit.opening, Opening::Opened);
        (visit, service)
    }

    async fn stop(self) {
        self.agent.stopping.cancel();
        for part in self.parts {
            part.await.unwrap();
        }
    }
}

/// The code with which the box ended a visit.
async fn ended_with(visit: &mut Visit) -> quinn::ReadError {
    visit.recv.read(&mut [0]).await.unwrap_err()
}

#[tokio::test]
async fn a_granted_visit_reaches_the_service_and_each_half_ends_by_itself() {
    let mut fixture = Fixture::new().await;
    fixture.hold(1, vec![grant(fixture.port())]).await;
    let (mut visit, mut service) = fixture.visit().await;

    visit.send.write_all(b"question").await.unwrap();
    visit.send.finish().unwrap();
    let mut question = String::new();
    service.read_to_string(&mut question).await.unwrap();
    assert_eq!(question, "question");

    assert_eq!(fixture.agent.visits.inside().len(), 1);
    service.write_all(&vec![7; 3_000_000]).await.unwrap();
    drop(service);
    let answer = visit.recv.read_to_end(4_000_000).await.unwrap();
    assert_eq!((answer.len(), answer.iter().all(|byte| *byte == 7)), (3_000_000, true));
    fixture.stop().await;
}

#[tokio::test]
async fn what_a_service_says_before_it_hangs_up_is_delivered() {
    let mut fixture = Fixture::new().await;
    fixture.hold(1, vec![grant(fixture.port())]).await;
    let (mut visit, mut service) = fixture.visit().await;
    service.write_all(b"no").await.unwrap();
    service.shutdown().await.unwrap();
    assert_eq!(visit.recv.read_to_end(10).await.unwrap(), b"no");
    fixture.stop().await;
}

#[tokio::test]
async fn a_hostile_relay_opens_nothing_without_a_valid_grant() {
    let mut fixture = Fixture::new().await;
    let port = fixture.port();
    let denied = |denial| Opening::Refused(Refusal::DeniedByBox(denial));
    assert_eq!(fixture.opening(0).await, denied(Denial::UnknownAccess));

    // Signed by somebody else: not taken, and so as good as absent.
    let forged = Installation::new().sign(&fixture.ours.grants(1, vec![grant(port)]));
    fixture.tunnel.say(&ToAgent::Grants(forged)).await;
    // For another box: likewise.
    let mut other = fixture.ours.grants(2, vec![grant(port)]);
    other.device = Installation::new().device;
    fixture.tunnel.say(&ToAgent::Grants(fixture.ours.sign(&other))).await;

    let mut expired = grant(port);
    expired.expires_at = now() - EXPIRES_IN;
    fixture.hold(3, vec![expired.clone(), grant(443)]).await;
    assert_eq!(fixture.opening(3).await, denied(Denial::Expired { at: expired.expires_at }));

    let other_port = fixture.tunnel.open(grant(443).access, port, 3).await.opening;
    assert_eq!(other_port, denied(Denial::PortNotExposed { port }));
    let not_offered = fixture.tunnel.open(fixture.access(), 1, 3).await.opening;
    assert_eq!(not_offered, Opening::Refused(Refusal::NotOffered { port: 1 }));
    assert_eq!(fixture.agent.visits.last_refusal().unwrap().code, "not_offered");

    let mut over = fixture.ours.grants(4, vec![grant(port)]);
    over.lease_until = now() - TimeDelta::seconds(1);
    fixture.hold_document(&over).await;
    assert_eq!(fixture.opening(4).await, denied(Denial::LeaseOver { at: over.lease_until }));
    fixture.stop().await;
}

#[tokio::test]
async fn a_revocation_ends_its_visits_and_no_others() {
    let mut fixture = Fixture::new().await;
    let kept = grant(fixture.port());
    let mut revoked = kept.clone();
    revoked.access = AccessId::from_entropy([9; 10]);
    fixture.hold(1, vec![kept.clone(), revoked.clone()]).await;

    let (mut stays, mut service) = fixture.visit().await;
    let opened = fixture.tunnel.open(revoked.access, fixture.port(), 1).await;
    let (mut ends, (_service, _)) = (opened, fixture.service.accept().await.unwrap());

    revoked.revoked = true;
    fixture.hold(2, vec![kept, revoked]).await;
    assert!(matches!(ended_with(&mut ends).await, quinn::ReadError::Reset(_)));
    service.write_all(b"still").await.unwrap();
    drop(service);
    assert_eq!(stays.recv.read_to_end(10).await.unwrap(), b"still");
    fixture.stop().await;
}

#[tokio::test]
async fn the_owners_switch_ends_every_visit_and_lets_nobody_in() {
    let mut fixture = Fixture::new().await;
    fixture.hold(1, vec![grant(fixture.port())]).await;
    let (mut visit, _service) = fixture.visit().await;
    fixture.agent.pause.pause(now()).unwrap();
    assert!(matches!(ended_with(&mut visit).await, quinn::ReadError::Reset(_)));
    assert_eq!(fixture.opening(1).await, Opening::Refused(Refusal::BoxPaused));
    fixture.agent.pause.resume().unwrap();
    let (_visit, _service) = fixture.visit().await;
    fixture.stop().await;
}

#[tokio::test]
async fn an_expiry_ends_a_visit_without_a_word_from_anybody() {
    let mut fixture = Fixture::new().await;
    let mut short = grant(fixture.port());
    short.expires_at = Utc::now() + TimeDelta::milliseconds(1500);
    fixture.hold(1, vec![short.clone()]).await;
    let (mut visit, _service) = fixture.visit().await;
    assert!(matches!(ended_with(&mut visit).await, quinn::ReadError::Reset(_)));
    assert_eq!(fixture.agent.visits.last_refusal().unwrap().code, "denied_by_box");
    fixture.stop().await;
}

#[tokio::test]
async fn a_visit_ahead_of_its_grants_waits_for_them() {
    let mut fixture = Fixture::new().await;
    let signed = fixture.ours.signed(1, vec![grant(fixture.port())]);
    let Fixture { tunnel, service, .. } = &mut fixture;
    let port = service.local_addr().unwrap().port();
    let (access, connection) = (grant(port).access, tunnel.connection.clone());
    let errand = Errand::Visit(Open {
        visit: VisitId::from_entropy([1; 10]),
        access,
        port,
        visitor: VISITOR.parse().unwrap(),
        door: Door::Gate,
        revision: 1,
    });
    let (mut to, mut from) = connection.open_bi().await.unwrap();
    io::send(&mut to, &errand).await.unwrap();
    tunnel.grant(signed, 1).await;
    let opening: Opening = io::receive(&mut from, SMALL).await.unwrap();
    assert_eq!(opening, Opening::Opened);
    fixture.stop().await;
}

#[tokio::test]
async fn a_draining_relay_lets_those_inside_finish() {
    let mut fixture = Fixture::new().await;
    fixture.hold(1, vec![grant(fixture.port())]).await;
    let (mut visit, mut service) = fixture.visit().await;
    fixture.tunnel.say(&ToAgent::Goodbye(Goodbye::Draining { within_seconds: 60 })).await;
    service.write_all(b"the rest").await.unwrap();
    drop(service);
    assert_eq!(visit.recv.read_to_end(10).await.unwrap(), b"the rest");
    visit.send.finish().unwrap();
    fixture.tunnel.connection.closed().await;
    fixture.stop().await;
}

#[tokio::test]
async fn grants_that_never_come_are_not_waited_for_long() {
    let mut fixture = Fixture::new().await;
    fixture.hold(1, vec![grant(fixture.port())]).await;
    let began = std::time::Instant::now();
    let unknown = fixture.tunnel.open(AccessId::from_entropy([9; 10]), fixture.port(), 2).await.opening;
    assert_eq!(unknown, Opening::Refused(Refusal::DeniedByBox(Denial::UnknownAccess)));
    assert!(began.elapsed() >= GRANTS_TIMEOUT);
    fixture.stop().await;
}

#[tokio::test]
async fn another_key_or_login_in_the_access_ends_the_visits_of_the_old_one() {
    let mut fixture = Fixture::new().await;
    let mut edited = grant(fixture.port());
    fixture.hold(1, vec![edited.clone()]).await;
    let (mut visit, _service) = fixture.visit().await;
    edited.login = "admin".parse().unwrap();
    fixture.hold(2, vec![edited]).await;
    assert!(matches!(ended_with(&mut visit).await, quinn::ReadError::Reset(_)));
    let (_visit, _service) = fixture.visit().await;
    fixture.stop().await;
}

#[cfg(feature = "shell")]
#[tokio::test]
async fn the_agents_own_ssh_server_answers_where_there_is_no_other() {
    let mut fixture = Fixture::new().await;
    let config = &fixture.agent.config;
    let shell = Shell::open(crate::shell::Settings::from(&config.ssh), &config.state_dir).unwrap();
    fixture.agent.ssh.send_replace(Server::Builtin(shell));
    let mut keyless = grant(22);
    keyless.access = AccessId::from_entropy([9; 10]);
    keyless.key = None;
    fixture.hold(1, vec![grant(22), keyless.clone()]).await;

    let mut visit = fixture.tunnel.open(grant(22).access, 22, 1).await;
    assert_eq!(visit.opening, Opening::Opened);
    let mut banner = [0; 8];
    visit.recv.read_exact(&mut banner).await.unwrap();
    assert_eq!(&banner, b"SSH-2.0-");
    fixture.agent.pause.pause(now()).unwrap();
    visit.recv.read_to_end(10_000).await.unwrap();
    fixture.agent.pause.resume().unwrap();

    let keyless = fixture.tunnel.open(keyless.access, 22, 1).await.opening;
    assert_eq!(keyless, Opening::Refused(Refusal::DeniedByBox(Denial::WrongKey)));
    fixture.stop().await;
}

#[tokio::test]
async fn one_visit_more_than_the_box_admits_waits_for_a_place() {
    let fixture = Fixture::new().await;
    let mut inside = Vec::new();
    for _ in 0..MAX_VISITS {
        inside.push(fixture.tunnel.open(fixture.access(), fixture.port(), 0).await);
    }
    let connection = fixture.tunnel.connection.clone();
    let mut one_more = Box::pin(async move { connection.open_bi().await });
    assert!(futures_util::poll!(&mut one_more).is_pending());
    // QUIC gives places back an eighth at a time.
    inside.truncate(inside.len() / 2);
    one_more.await.unwrap();
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_opens_a_stream_and_says_nothing_is_not_heard_for_ever() {
    let (_relay, mut agent) = tokio::io::duplex(8);
    let began = tokio::time::Instant::now();
    assert_eq!(hear(&mut agent).await, None);
    assert_eq!(began.elapsed(), OPEN_TIMEOUT);
}

#[tokio::test]
async fn a_service_that_is_down_is_named_as_such() {
    let mut fixture = Fixture::new().await;
    let (access, port) = (fixture.access(), fixture.port());
    fixture.hold(1, vec![grant(port)]).await;
    let gone = std::mem::replace(&mut fixture.service, TcpListener::bind("127.0.0.1:0").await.unwrap());
    drop(gone);
    let opening = fixture.tunnel.open(access, port, 1).await.opening;
    assert_eq!(opening, Opening::Refused(Refusal::ServiceDown));
    fixture.stop().await;
}

#[tokio::test]
async fn nonsense_in_place_of_a_visit_ends_its_stream_alone() {
    let mut fixture = Fixture::new().await;
    fixture.hold(1, vec![grant(fixture.port())]).await;
    for nonsense in [&[0xff; 64][..], &[0, 0, 0, 1, 0xff], &[]] {
        let (mut to, mut from) = fixture.tunnel.connection.open_bi().await.unwrap();
        to.write_all(nonsense).await.unwrap();
        to.finish().unwrap();
        // Whether it ends or breaks is all the same; it must not hang.
        let _ended = from.read_to_end(10).await;
    }
    let (_visit, _service) = fixture.visit().await;
    fixture.stop().await;
}

#[test]
fn sleeps_are_short_because_clocks_jump() {
    assert_eq!(until(now() + TimeDelta::hours(1), now()), LONGEST_SLEEP);
    assert_eq!(until(now() + TimeDelta::milliseconds(5), now()), Duration::from_millis(5));
    assert_eq!(until(now() - TimeDelta::hours(1), now()), Duration::ZERO);
}
