//! When to dial again, by table; and tunnels to a real relay on loopback.

use chrono::TimeDelta;
use postern_protocol::wire::{Certificate, ToAgent, ToRelay, VERSION};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::*;
use crate::config::Config;
use crate::identity::{BoxKey, Member};
use crate::pause::Pause;
use crate::state::State;
use crate::testing::{Installation, Relay, now};

fn seconds(parted: &Parted, backoff: &mut Backoff, entropy: u32) -> u64 {
    wait_after(parted, backoff, entropy).as_secs()
}

fn failed(times: u32) -> Backoff {
    let mut backoff = Backoff::default();
    for _ in 0..times {
        backoff.next(USUAL, 0);
    }
    backoff
}

#[test]
fn a_lost_tunnel_is_dialled_anew_at_once_if_it_had_held() {
    let lost = |stood| Parted::Lost { stood, why: anyhow::anyhow!("lost") };
    assert_eq!(seconds(&lost(HELD), &mut failed(20), u32::MAX), 0);
    assert_eq!(seconds(&lost(Duration::ZERO), &mut failed(20), u32::MAX), 4);
}

#[test]
fn a_draining_relay_spreads_its_boxes_over_its_window() {
    let drain = |within_seconds| Parted::Dismissed(Goodbye::Draining { within_seconds });
    assert_eq!(seconds(&drain(30), &mut failed(20), u32::MAX), 30);
    assert_eq!(seconds(&drain(30), &mut failed(20), u32::MAX / 2), 14);
    assert_eq!(seconds(&drain(u32::MAX), &mut failed(0), u32::MAX), LONGEST_WINDOW.as_secs());
}

#[test]
fn a_displaced_copy_waits_long() {
    let displaced = Parted::Dismissed(Goodbye::Displaced);
    assert_eq!(seconds(&displaced, &mut failed(0), 0), 60);
    assert_eq!(seconds(&displaced, &mut failed(0), u32::MAX), 300);
}

#[test]
fn a_box_that_is_not_known_asks_soon_and_then_rarely() {
    let not_known = Parted::Dismissed(Goodbye::NotKnown);
    assert_eq!(seconds(&not_known, &mut failed(0), u32::MAX), 0);
    assert_eq!(seconds(&not_known, &mut failed(20), u32::MAX), 300);
}

/// A linked agent, and the state that it keeps.
struct Linked {
    _home: TempDir,
    agent: Arc<Agent>,
    task: JoinHandle<()>,
}

impl Linked {
    fn new(member: Member) -> Self {
        let home = tempfile::tempdir().unwrap();
        let config = Config { state_dir: home.path().join("agent"), ..Config::default() };
        let state = State::open(&config.state_dir).unwrap();
        member.save(&state).unwrap();
        let pause = Arc::new(Pause::load(&state));
        let agent = Arc::new(Agent::new(config, state, member, pause));
        let staying = agent.clone();
        Self { _home: home, agent, task: tokio::spawn(async move { stay(&staying).await }) }
    }

    async fn down_because(&self, of: &str) {
        let mut standing = self.agent.standing.subscribe();
        let down = |standing: &Standing| matches!(standing, Standing::Down { why, .. } if why.contains(of));
        standing.wait_for(down).await.unwrap();
    }

    async fn stop(self) {
        self.agent.stopping.cancel();
        self.task.await.unwrap();
    }
}

#[tokio::test]
async fn the_box_introduces_itself_and_says_what_changes() {
    let ours = Installation::new();
    let relay = Relay::of(&ours);
    let linked = Linked::new(ours.member(&relay.address()));
    let mut tunnel = relay.tunnel().await;
    assert!(!tunnel.facts.paused);
    assert_eq!(tunnel.facts.agent_version, env!("CARGO_PKG_VERSION"));
    linked.agent.pause.pause(now()).unwrap();
    assert!(matches!(tunnel.hear().await, ToRelay::Facts(facts) if facts.paused));
    assert!(matches!(*linked.agent.standing.borrow(), Standing::Up { relay, .. } if relay == ours.relay));
    linked.stop().await;
}

#[tokio::test]
async fn a_lost_tunnel_comes_back_and_the_relay_learns_what_the_box_holds() {
    let ours = Installation::new();
    let relay = Relay::of(&ours);
    let linked = Linked::new(ours.member(&relay.address()));
    relay.tunnel().await.connection.close(7u32.into(), b"killed");
    linked.agent.handed.send_modify(|handed| handed.revision = 5);
    let mut tunnel = relay.tunnel().await;
    assert_eq!(tunnel.hear().await, ToRelay::Holding { revision: 5 });
    linked.stop().await;
}

#[tokio::test]
async fn a_box_that_is_not_known_says_so_and_goes_on_asking() {
    let ours = Installation::new();
    let relay = Relay::of(&ours);
    let linked = Linked::new(ours.member(&relay.address()));
    relay.caller().await.dismiss(Goodbye::NotKnown).await;
    linked.down_because("does not know this box").await;
    relay.tunnel().await.dismiss(Goodbye::Displaced).await;
    linked.down_because("another copy of this box").await;
    linked.stop().await;
}

#[tokio::test]
async fn a_relay_of_another_version_is_answered_with_a_sentence() {
    let ours = Installation::new();
    let relay = Relay::of(&ours);
    let linked = Linked::new(ours.member(&relay.address()));
    let mut tunnel = relay.caller().await;
    tunnel.say(&ToAgent::Welcome { version: VERSION + 1, relay: ours.relay, now: now(), web: None }).await;
    linked.down_because("update the agent").await;
    linked.stop().await;
}

#[tokio::test]
async fn an_impostor_is_passed_over_for_the_next_relay() {
    let ours = Installation::new();
    let (impostor, relay) = (Relay::impostor(), Relay::of(&ours));
    let mut member = ours.member(&impostor.address());
    let linked = Linked::new(member.clone());
    linked.down_because("not a relay of this installation").await;
    linked.stop().await;

    member.relays.push(relay.address());
    let linked = Linked::new(member);
    relay.tunnel().await;
    linked.stop().await;
}

#[tokio::test]
async fn a_certificate_past_two_thirds_of_its_life_is_renewed_for_the_same_key() {
    let ours = Installation::new();
    let relay = Relay::of(&ours);
    let mut member = ours.member(&relay.address());
    let old = ours.certify_from(now() - TimeDelta::days(21), &member.key, member.device);
    member.certificate = old.own.clone();
    let linked = Linked::new(member.clone());
    let mut tunnel = relay.tunnel().await;
    let ToRelay::Renew { csr } = tunnel.hear().await else { panic!("it asks for a certificate") };

    let foreign = ours.certify(&BoxKey::make().unwrap(), member.device);
    tunnel.say(&ToAgent::Certificate(foreign)).await;
    let Certificate { own, authority } = ours.certify_request(&csr, member.device);
    tunnel.say(&ToAgent::Certificate(Certificate { own: own.clone(), authority })).await;
    // What is said after it is heard after it.
    tunnel.dismiss(Goodbye::Draining { within_seconds: 600 }).await;
    linked.down_because("restarted").await;

    let kept = Member::load(&linked.agent.state).unwrap().unwrap();
    assert_eq!((kept.certificate, kept.key), (own, member.key));
    linked.stop().await;
}

#[tokio::test]
async fn a_certificate_that_the_relay_does_not_take_is_named_as_such() {
    let ours = Installation::new();
    let relay = Relay::of(&ours);
    relay.answer_handshakes();
    let mut member = ours.member(&relay.address());
    member.certificate = ours.certify_from(now() - TimeDelta::days(40), &member.key, member.device).own;
    let linked = Linked::new(member);
    linked.down_because("does not accept this box's certificate").await;
    linked.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_address_where_nobody_answers_is_given_up() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let ours = Installation::new();
    let linked = Linked::new(ours.member(&silent.local_addr().unwrap().to_string()));
    linked.down_because("does not answer over UDP").await;
    linked.stop().await;
}

#[tokio::test]
async fn a_relay_that_accepts_and_says_nothing_is_given_up() {
    let ours = Installation::new();
    let relay = Relay::of(&ours);
    let linked = Linked::new(ours.member(&relay.address()));
    let _says_nothing = relay.caller().await;
    tokio::time::pause();
    linked.down_because("the relay says nothing").await;
    linked.stop().await;
}
