//! Any process may die at any moment; nothing acknowledged is lost, and nothing opens wider.

use std::time::Duration;

use postern_protocol::api::{AccessStatus, DeviceStatus, Visit, VisitOutcome};
use postern_protocol::id::AccessId;
use postern_tests::{AT_ONCE, Machine, RETURN, SOON, Stack, eventually};
use tokio::task::JoinHandle;

#[tokio::test]
async fn the_api_dies_while_it_writes_and_keeps_every_word_it_gave() {
    let (mut stack, box42) = stack_with_a_box().await;
    let witness = stack.allow(&box42).await;
    let mut session = stack.ssh(&witness).open().await;
    let (writing, written) = keep_creating(&stack, &box42);
    eventually("a dozen accesses are acknowledged", SOON, async || (*written.borrow() >= 12).then_some(()))
        .await;
    stack.control.kill();
    let acknowledged = writing.await.expect("the writer stops when the API is gone");

    session.echo("nobody here noticed").await;
    assert_eq!(
        stack.ssh(&witness).run("echo in").await.success(),
        "in\n",
        "the relay needs no API to let in"
    );
    stack.control.restart().await;
    for access in acknowledged {
        let status = stack.api.access(access).await.status;
        assert!(matches!(status, AccessStatus::Active | AccessStatus::Pending), "{access}: {status:?}");
    }
    session.echo("still here").await;
    assert_eq!(stack.ssh(&stack.allow(&box42).await).run("echo new").await.success(), "new\n");
}

#[tokio::test]
async fn a_revocation_that_was_acknowledged_survives_the_death_of_the_api() {
    let (mut stack, box42) = stack_with_a_box().await;
    let access = stack.allow(&box42).await;
    stack.api.revoke(access.id).await;
    stack.control.kill();
    assert!(stack.ssh(&access).run("true").await.stderr.contains("the access was revoked"));

    stack.control.restart().await;
    assert_eq!(stack.api.access(access.id).await.status, AccessStatus::Revoked);
    assert!(stack.ssh(&access).run("true").await.stderr.contains("the access was revoked"));
}

#[tokio::test]
async fn the_relay_dies_under_load_and_comes_back_with_its_rules() {
    let (mut stack, box42) = stack_with_a_box().await;
    let (kept, revoked) = (stack.allow(&box42).await, stack.allow(&box42).await);
    let mut sessions = [stack.ssh(&kept).open().await, stack.ssh(&kept).open().await];
    stack.relay.kill();
    for session in &mut sessions {
        session.cut(SOON).await;
    }
    stack.api.revoke(revoked.id).await;

    stack.relay.restart().await;
    returns(&stack, &box42).await;
    assert_eq!(stack.ssh(&kept).run("echo back").await.success(), "back\n");
    assert!(stack.ssh(&revoked).run("true").await.stderr.contains("the access was revoked"));

    // Each visit has its one record, and those that were cut say by what.
    let visits = stack.visits(kept.id, 3).await;
    let codes: Vec<&str> = visits.iter().map(|visit| visit.code.as_str()).collect();
    assert_eq!(codes, ["relay_restarted", "relay_restarted", "ended"]);
}

#[tokio::test]
async fn a_relay_that_starts_without_an_api_enforces_the_last_rules_it_had() {
    let (mut stack, box42) = stack_with_a_box().await;
    let (access, short) = (stack.allow(&box42).await, stack.allow_for(&box42, "4s").await);
    stack.control.kill();
    stack.relay.kill();
    stack.relay.restart().await;

    let ssh = stack.ssh(&access);
    eventually("the box is back without the API", RETURN, async || {
        (ssh.run("echo in").await.stdout == "in\n").then_some(())
    })
    .await;
    eventually("the short access expires", SOON, async || {
        (chrono::Utc::now() > short.expires_at).then_some(())
    })
    .await;
    assert!(stack.ssh(&short).run("true").await.stderr.contains("the access expired at"));
}

#[tokio::test]
async fn visits_during_an_outage_of_the_api_are_on_record_after_it() {
    let (mut stack, box42) = stack_with_a_box().await;
    let access = stack.allow(&box42).await;
    stack.control.kill();
    stack.ssh(&access).run("true").await.success();
    assert_eq!(stack.ssh(&access).from("127.0.0.9").run("true").await.code, 255);
    // The relay dies as well, so what it remembers must be on its disk.
    stack.relay.kill();
    stack.relay.restart().await;
    stack.control.restart().await;

    let visits = stack.visits(access.id, 2).await;
    let outcomes: Vec<VisitOutcome> = visits.iter().map(|visit: &Visit| visit.outcome).collect();
    assert_eq!(outcomes, [VisitOutcome::Ended, VisitOutcome::Refused]);
    assert_eq!(visits[1].code, "address_not_allowed");
}

#[tokio::test]
async fn the_agent_dies_under_load_and_is_back() {
    let (stack, mut box42) = stack_with_a_box().await;
    let access = stack.allow(&box42).await;
    let mut session = stack.ssh(&access).open().await;
    box42.kill();
    box42.start();
    session.cut(SOON).await;

    let ssh = stack.ssh(&access);
    eventually("the box is back", SOON, async || (ssh.run("echo in").await.stdout == "in\n").then_some(()))
        .await;
}

#[tokio::test]
async fn a_newer_tunnel_takes_the_place_of_one_that_nobody_ended() {
    let (stack, mut box42) = stack_with_a_box().await;
    let access = stack.allow(&box42).await;
    box42.kill();
    box42.start();
    let ssh = stack.ssh(&access);
    // Well before the relay could have noticed that the first is dead.
    eventually("the new tunnel is used", Duration::from_secs(8), async || {
        (ssh.run("echo in").await.stdout == "in\n").then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_knocks_at_a_dead_tunnel_comes_in_by_the_newer_one() {
    let (stack, mut box42) = stack_with_a_box().await;
    let ssh = stack.ssh(&stack.allow(&box42).await);
    box42.kill();
    let knocking = tokio::spawn(async move { ssh.run("echo in").await });
    // The relay asks the box, which it has no reason to think dead.
    let there = async || (stack.relay.metric("connections{door=\"gate\"}").await > 0.0).then_some(());
    eventually("the visitor is at the gate", SOON, there).await;
    box42.start();
    assert_eq!(knocking.await.expect("a login").success(), "in\n");
}

#[tokio::test]
async fn a_key_whose_time_ended_while_the_agent_was_dead_is_swept_when_it_starts() {
    let (stack, mut box42) = stack_with_a_box().await;
    let access = stack.allow(&box42).await;
    let access = stack.end_in(&box42, &access, "2s").await;
    box42.kill();
    eventually("the access expires", SOON, async || (chrono::Utc::now() > access.expires_at).then_some(()))
        .await;
    assert!(box42.keys().contains("ssh-ed25519"), "nobody is there to sweep");

    box42.start();
    eventually("the keys file is swept", AT_ONCE * 5, async || {
        (!box42.keys().contains("ssh-ed25519")).then_some(())
    })
    .await;
    assert_eq!(box42.keys().trim(), postern_tests::machine::FOREIGN_LINE);
}

#[tokio::test]
async fn all_of_them_die_at_once_and_all_is_as_it_was() {
    let (mut stack, mut box42) = stack_with_a_box().await;
    let access = stack.allow(&box42).await;
    let mut session = stack.ssh(&access).open().await;
    stack.control.kill();
    stack.relay.kill();
    box42.kill();
    session.cut(SOON).await;

    box42.start();
    stack.control.restart().await;
    stack.relay.restart().await;
    returns(&stack, &box42).await;
    assert_eq!(stack.ssh(&access).run("echo back").await.success(), "back\n");
}

#[tokio::test]
async fn every_program_stops_cleanly_when_asked() {
    let (mut stack, mut box42) = stack_with_a_box().await;
    let access = stack.allow(&box42).await;
    let mut session = stack.ssh(&access).open().await;
    stack.relay.stop().await;
    session.cut(SOON).await;
    box42.stop().await;
    assert_eq!(
        box42.keys().trim(),
        postern_tests::machine::FOREIGN_LINE,
        "no key outlives its agent's service"
    );
    stack.control.stop().await;

    stack.control.restart().await;
    stack.relay.restart().await;
    assert_eq!(stack.visits(access.id, 1).await[0].code, "shutting_down");
}

async fn stack_with_a_box() -> (Stack, Machine) {
    let stack = Stack::start().await;
    let box42 = stack.add_box("box42").await;
    (stack, box42)
}

async fn returns(stack: &Stack, machine: &Machine) {
    machine.becomes(DeviceStatus::Online, &stack.api).await;
}

/// Creates accesses until the API goes away; which ones it acknowledged, and how many so far.
fn keep_creating(
    stack: &Stack,
    machine: &Machine,
) -> (JoinHandle<Vec<AccessId>>, tokio::sync::watch::Receiver<usize>) {
    let (api, access) = (stack.api.clone(), stack.usual(machine));
    let (count, so_far) = tokio::sync::watch::channel(0);
    let writing = tokio::spawn(async move {
        let mut acknowledged = Vec::new();
        while let Some(access) = api.try_create_access(&access).await {
            acknowledged.push(access);
            count.send_replace(acknowledged.len());
        }
        acknowledged
    });
    (writing, so_far)
}
