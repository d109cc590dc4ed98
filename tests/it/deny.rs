//! Who is refused: what they read, and the one record that they leave.

use std::fs;
use std::time::Instant;

use postern_protocol::api::{Access, DeviceStatus, EditAccess, Visit, VisitOutcome};
use postern_protocol::ssh_key::PublicKey;
use postern_tests::{Machine, Output, SOON, Ssh, Stack, eventually};

use crate::client::Client;

/// What everybody reads who proved nothing that the gate knows.
pub(crate) const TO_STRANGERS: &str = "Permission denied (publickey)";

/// An address of this machine that the usual access does not admit.
pub(crate) const ELSEWHERE: &str = "127.0.0.9";

#[tokio::test]
async fn another_key_is_a_stranger() {
    let (stack, _box42, access) = usual().await;
    let key = stack.another_key().await;

    assert_stranger(&stack.ssh(&access).with_key(&key).run("true").await);
    let visit = only_record(&stack, &access).await;
    assert_refused(&visit, "wrong_key");
    let offered = PublicKey::parse(&key.public()).expect("ssh-keygen wrote it").key;
    assert_eq!(visit.key, Some(offered.fingerprint()), "the key that they offered is on record");
}

#[tokio::test]
async fn an_access_that_does_not_exist_looks_like_another_key() {
    let (stack, _box42, access) = usual().await;
    let key = stack.another_key().await;
    let known = stack.ssh(&access).with_key(&key).run("true").await;
    let unknown = stack.ssh(&access).with_key(&key).named("aaaaaaaaaa").run("true").await;
    let nonsense = stack.ssh(&access).with_key(&key).named("root").run("true").await;

    assert_stranger(&unknown);
    let id = access.id.to_string();
    assert_eq!(known.stderr.replace(&id, "USER"), unknown.stderr.replace("aaaaaaaaaa", "USER"));
    assert_eq!(known.stderr.replace(&id, "USER"), nonsense.stderr.replace("root@", "USER@"));

    let strangers = eventually("two strangers are on record", SOON, async || {
        let visits = stack.api.visits("outcome=refused").await;
        let unknown: Vec<Visit> = visits.into_iter().filter(|visit| visit.code == "unknown_access").collect();
        (unknown.len() == 2).then_some(unknown)
    });
    for visit in strangers.await {
        assert_eq!((visit.access, visit.device), (None, None));
        assert_eq!(visit.source.to_string(), "127.0.0.1");
    }
}

#[tokio::test]
async fn strangers_are_answered_in_the_same_time() {
    const ROUNDS: usize = 25;
    let (stack, _box42, access) = usual().await;
    let key = stack.another_key().await;
    let unknown = "aaaaaaaaaa".parse().expect("an id");
    let mut times = [Vec::new(), Vec::new()];
    // In turns, so that whatever else the machine does slows both down alike.
    for _ in 0..ROUNDS {
        for (times, access) in times.iter_mut().zip([access.id, unknown]) {
            let mut client = Client::connect(&stack).await;
            let start = Instant::now();
            assert!(!client.claim(access, &key, &key).await.success());
            times.push(start.elapsed());
        }
    }
    let [known, unknown] = times.map(|mut times| {
        times.sort();
        times[ROUNDS / 2]
    });
    assert!(
        known < unknown * 2 && unknown < known * 2,
        "{known:?} for a known name, {unknown:?} for another"
    );
}

#[tokio::test]
async fn a_key_that_is_offered_but_not_proved_opens_nothing() {
    let (stack, _box42, access) = usual().await;

    // Stock ssh offers a public key whose private half it lacks.
    let bait = stack.scene().new_dir("bait").join("id");
    fs::write(bait.with_added_extension("pub"), stack.key().public()).expect("a public key");
    assert_stranger(&stack.ssh(&access).with_key_file(bait).run("true").await);
    assert_refused(&only_record(&stack, &access).await, "wrong_key");

    // A client of our own offers it too, and signs with another.
    let mut client = Client::connect(&stack).await;
    let answer = client.claim(access.id, stack.key(), &stack.another_key().await).await;
    assert!(!answer.success());
    assert!(client.open("box42", 22).await.is_err());
    for visit in stack.visits(access.id, 2).await {
        assert_refused(&visit, "wrong_key");
    }
}

#[tokio::test]
async fn an_address_outside_is_told_so() {
    let (stack, _box42, access) = usual().await;
    let output = stack.ssh(&access).from(ELSEWHERE).run("true").await;

    assert_told(&output, "address not allowed: 127.0.0.9");
    let visit = only_record(&stack, &access).await;
    assert_refused(&visit, "address_not_allowed");
    assert_eq!(visit.source.to_string(), ELSEWHERE);
    assert_eq!(visit.key, access.public_key.map(|key| key.fingerprint), "the key was proved");
}

#[tokio::test]
async fn an_ipv4_visitor_at_an_ipv6_gate_is_an_ipv4_visitor() {
    let stack = Stack::with().relay("gate = '[::]:0'").start().await;
    let box42 = stack.add_box("box42").await;
    let access = stack.allow(&box42).await;
    assert_eq!(access.allowed_ips, ["127.0.0.1/32"]);

    assert_eq!(stack.ssh(&access).run("echo in").await.success(), "in\n");
    let output = stack.ssh(&access).from(ELSEWHERE).run("true").await;
    assert_told(&output, "address not allowed: 127.0.0.9");
    let sources = stack.visits(access.id, 2).await.into_iter().map(|visit| visit.source.to_string());
    assert_eq!(sources.collect::<Vec<_>>(), ["127.0.0.1", ELSEWHERE]);

    let mapped =
        stack.allow_with(&box42, |access| access.allowed_ips = Some(vec!["::ffff:127.0.0.9".into()])).await;
    assert_eq!(stack.ssh(&mapped).from(ELSEWHERE).run("echo in").await.success(), "in\n");
    assert_told(&stack.ssh(&mapped).run("true").await, "address not allowed: 127.0.0.1");
}

#[tokio::test]
async fn another_port_is_told_so() {
    let (stack, _box42, access) = usual().await;
    assert_told(&stack.ssh(&access).channel("box42", 80).await, "port not exposed: 80");
    let visit = only_record(&stack, &access).await;
    assert_refused(&visit, "port_not_exposed");
    assert_eq!(visit.port, Some(80));
}

#[tokio::test]
async fn another_box_is_told_so() {
    let (stack, _box42, access) = usual().await;
    let _box43 = stack.add_box("box43").await;
    assert_told(&stack.ssh(&access).channel("box43", 22).await, "the access is for another box");
    assert_refused(&only_record(&stack, &access).await, "wrong_box");
    assert_told(&stack.ssh(&access).channel("example.com", 22).await, "the access is for another box");
}

#[tokio::test]
async fn an_expired_access_is_told_when_it_ended() {
    let stack = Stack::start().await;
    let box42 = stack.add_box("box42").await;
    let access = stack.allow_for(&box42, "1s").await;
    let visitor = stack.ssh(&access);
    eventually("the access expires", SOON, async || (chrono::Utc::now() > access.expires_at).then_some(()))
        .await;

    let when = access.expires_at.format("the access expired at %Y-%m-%d %H:%M:%S UTC").to_string();
    assert_told(&visitor.run("true").await, &when);
    assert_refused(&only_record(&stack, &access).await, "expired");
}

#[tokio::test]
async fn a_revoked_access_is_told_so() {
    let (stack, _box42, access) = usual().await;
    stack.api.revoke(access.id).await;
    assert_told(&stack.ssh(&access).run("true").await, "the access was revoked");
    assert_refused(&only_record(&stack, &access).await, "revoked");
}

#[tokio::test]
async fn a_box_that_is_offline_is_told_so() {
    let (stack, mut box42, access) = usual().await;
    box42.stop().await;
    box42.becomes(DeviceStatus::Offline, &stack.api).await;
    assert_told(&stack.ssh(&access).run("true").await, "the box is offline");
    assert_refused(&only_record(&stack, &access).await, "box_offline");
}

#[tokio::test]
async fn a_box_that_is_paused_is_told_so() {
    let (stack, box42, access) = usual().await;
    box42.run(&["pause"]).await.success();
    assert_told(&stack.ssh(&access).run("true").await, "the box is paused by its owner");
    assert_refused(&only_record(&stack, &access).await, "box_paused");

    box42.run(&["resume"]).await.success();
    assert_eq!(stack.ssh(&access).run("echo in").await.success(), "in\n");
}

#[tokio::test]
async fn a_port_that_the_box_does_not_offer_is_told_so() {
    let stack = Stack::start().await;
    let web = stack.scene().free_address();
    let mut box42 = stack.add_box_with("box42", &format!("services = {{ web = '{web}' }}")).await;
    let access = stack.allow_with(&box42, |access| access.exposed_port = web.port()).await;
    // The owner changes their mind; the cloud's rule lives on.
    box42.stop().await;
    box42.becomes(DeviceStatus::Offline, &stack.api).await;
    box42.set("services", toml::Table::new());
    box42.start();
    box42.becomes(DeviceStatus::Online, &stack.api).await;

    let ssh = visitor_of_another_port(&stack, &box42, &access).await;
    let words = format!("the box offers nothing on port {}", web.port());
    assert_told(&ssh.channel("box42", web.port()).await, &words);
    assert_refused(&only_record(&stack, &access).await, "not_offered");
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_told_so() {
    let stack = Stack::start().await;
    let nobody = stack.scene().free_address();
    let box42 = stack.add_box_with("box42", &format!("services = {{ web = '{nobody}' }}")).await;
    let port = nobody.port();
    let access = stack.allow_with(&box42, |access| access.exposed_port = port).await;
    let ssh = visitor_of_another_port(&stack, &box42, &access).await;
    assert_told(&ssh.channel("box42", port).await, "the service on the box does not answer");
    assert_refused(&only_record(&stack, &access).await, "service_down");
}

#[tokio::test]
async fn a_login_is_no_leave_to_open_what_was_revoked_since() {
    let (stack, _box42, access) = usual().await;
    let client = Client::login(&stack, access.id, stack.key()).await;
    let before = client.open("box42", 22).await;
    assert!(before.is_ok(), "{before:?}");

    stack.api.revoke(access.id).await;
    for _ in 0..20 {
        assert!(client.open("box42", 22).await.is_err());
    }
    assert_told(&stack.ssh(&access).channel("box42", 22).await, "the access was revoked");
}

#[tokio::test]
async fn an_edit_moves_who_may_come_at_once() {
    let (stack, _box42, access) = usual().await;
    let edit = EditAccess { allowed_ips: Some(vec![ELSEWHERE.into()]), ..Default::default() };
    stack.api.edit_access(access.id, &edit).await.expect("an access can be edited");

    let ssh = stack.ssh(&access);
    assert_told(&ssh.run("true").await, "address not allowed: 127.0.0.1");
    assert_eq!(ssh.from(ELSEWHERE).run("echo in").await.success(), "in\n");
}

async fn usual() -> (Stack, Machine, Access) {
    let stack = Stack::start().await;
    let box42 = stack.add_box("box42").await;
    let access = stack.allow(&box42).await;
    (stack, box42, access)
}

/// A way to the gate for an access whose own `connection` is not for `ssh`: an SSH access's, with the
/// name changed.
async fn visitor_of_another_port(stack: &Stack, machine: &Machine, access: &Access) -> Ssh {
    let ssh = stack.allow(machine).await;
    stack.ssh(&ssh).named(access.id.as_str())
}

fn assert_stranger(output: &Output) {
    assert_eq!(output.code, 255, "{output:?}");
    assert!(output.stderr.contains(TO_STRANGERS), "{output:?}");
    assert!(!output.stderr.contains("access"), "a stranger is told nothing: {output:?}");
}

pub(crate) fn assert_told(output: &Output, words: &str) {
    assert_eq!(output.code, 255, "{output:?}");
    let line = format!("open failed: administratively prohibited: {words}");
    assert!(output.stderr.lines().any(|said| said.trim_end().ends_with(&line)), "no {line:?} in {output:?}");
}

pub(crate) async fn only_record(stack: &Stack, access: &Access) -> Visit {
    stack.visits(access.id, 1).await.remove(0)
}

pub(crate) fn assert_refused(visit: &Visit, code: &str) {
    assert_eq!((visit.outcome, visit.code.as_str()), (VisitOutcome::Refused, code), "{visit:?}");
    assert_eq!((visit.bytes_up, visit.bytes_down), (0, 0));
    assert!(!visit.reason.is_empty());
}
