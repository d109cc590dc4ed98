//! An access that ends, ends its visits, and nobody else's.

use std::time::Instant;

use chrono::Utc;
use postern_protocol::api::{Access, EditAccess, VisitOutcome};
use postern_tests::{AT_ONCE, Machine, Output, SOON, Session, Stack, eventually, within};
use reqwest::Method;

#[tokio::test]
async fn revoking_an_access_ends_exactly_its_visits_at_once() {
    let (stack, box42) = stack_with_a_box().await;
    let (first, second, third) =
        (stack.allow(&box42).await, stack.allow(&box42).await, stack.allow(&box42).await);
    let mut doomed = open_many(&stack, &first, 4).await;
    let mut others = open_many(&stack, &second, 3).await;
    others.extend(open_many(&stack, &third, 3).await);

    stack.api.revoke(first.id).await;
    let answered = Instant::now();
    for session in &mut doomed {
        session.cut(AT_ONCE.saturating_sub(answered.elapsed())).await;
    }
    for session in &mut others {
        session.echo("still here").await;
    }
    for visit in stack.visits(first.id, 4).await {
        assert_eq!((visit.outcome, visit.code.as_str()), (VisitOutcome::Ended, "revoked"), "{visit:?}");
    }
    assert!(stack.api.visits("outcome=ended").await.iter().all(|visit| visit.access == Some(first.id)));
}

#[tokio::test]
async fn cutting_one_visit_leaves_the_others_and_the_access() {
    let (stack, box42) = stack_with_a_box().await;
    let access = stack.allow(&box42).await;
    let mut doomed = stack.ssh(&access).open().await;
    let visit = eventually("the visit is told", SOON, async || {
        stack.api.visits("outcome=open").await.into_iter().next()
    })
    .await;
    let mut other = stack.ssh(&access).open().await;
    doomed.echo("so many bytes").await;
    let moved = eventually("bytes of a visit that goes on are told", SOON, async || {
        let visits = stack.api.visits("outcome=open").await;
        visits.into_iter().find(|told| told.id == visit.id && told.bytes_up > 0 && told.bytes_down > 0)
    });
    moved.await;

    let request = stack.api.request(Method::DELETE, &format!("/v1/visits/{}", visit.id));
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), 204, "the relay has said that it is over");
    doomed.cut(AT_ONCE).await;
    other.echo("still here").await;
    let ended = stack.api.visits("outcome=ended").await;
    assert_eq!(ended.iter().map(|visit| visit.code.as_str()).collect::<Vec<_>>(), ["cut"]);
    assert_eq!(stack.ssh(&access).run("echo in").await.success(), "in\n", "the access goes on");
}

#[tokio::test]
async fn an_access_that_expires_ends_exactly_its_visits_at_once() {
    let (stack, box42) = stack_with_a_box().await;
    let lasting = stack.allow(&box42).await;
    let mut other = stack.ssh(&lasting).open().await;
    let access = stack.allow(&box42).await;
    let doomed = open_many(&stack, &access, 3).await;
    let access = stack.end_in(&box42, &access, "2s").await;

    assert_ends_at_its_time(&access, doomed).await;
    other.echo("still here").await;
    for visit in stack.visits(access.id, 3).await {
        assert_eq!((visit.outcome, visit.code.as_str()), (VisitOutcome::Ended, "expired"), "{visit:?}");
    }
}

#[tokio::test]
async fn an_access_expires_although_the_api_is_dead() {
    let (mut stack, box42) = stack_with_a_box().await;
    let lasting = stack.allow(&box42).await;
    let mut other = stack.ssh(&lasting).open().await;
    let access = stack.allow(&box42).await;
    let doomed = open_many(&stack, &access, 2).await;
    let access = stack.end_in(&box42, &access, "2s").await;
    stack.control.kill();

    assert_ends_at_its_time(&access, doomed).await;
    other.echo("still here").await;
    let refused = stack.ssh(&access).run("true").await;
    assert!(refused.stderr.contains("the access expired at"), "{refused:?}");
    assert_eq!(stack.ssh(&lasting).run("echo in").await.success(), "in\n");
    assert_eq!(box42.keys().matches("ssh-ed25519").count(), 1, "{}", box42.keys());
}

#[tokio::test]
async fn an_access_expires_on_a_box_that_is_cut_off() {
    let (mut stack, box42) = stack_with_a_box().await;
    let access = stack.allow(&box42).await;
    assert_eq!(inside(&stack, &box42).await.success(), "inside\n", "the key opens the box's own sshd");

    let access = stack.end_in(&box42, &access, "2s").await;
    stack.relay.kill();
    eventually("the keys file is clean", SOON, async || {
        (!box42.keys().contains("ssh-ed25519")).then_some(())
    })
    .await;
    assert!(Utc::now() - access.expires_at < chrono::Duration::from_std(AT_ONCE).expect("short"));
    assert_eq!(box42.keys().trim(), postern_tests::machine::FOREIGN_LINE);
    assert_eq!(inside(&stack, &box42).await.code, 255);
}

#[tokio::test]
async fn a_visit_ends_at_the_box_when_the_relay_is_frozen() {
    let (mut stack, box42) = stack_with_a_box().await;
    let access = stack.allow(&box42).await;
    let _session = stack.ssh(&access).open().await;
    let before = live_sessions(&stack);
    let access = stack.end_in(&box42, &access, "2s").await;
    stack.relay.process().signal(nix::sys::signal::Signal::SIGSTOP);

    eventually("the box ends the visit by itself", SOON, async || {
        (live_sessions(&stack) < before).then_some(())
    })
    .await;
    let late = Utc::now() - access.expires_at;
    assert!(late < chrono::Duration::from_std(AT_ONCE).expect("short"), "{late}");
    eventually("the keys file is clean", AT_ONCE, async || {
        (!box42.keys().contains("ssh-ed25519")).then_some(())
    })
    .await;
    stack.relay.process().signal(nix::sys::signal::Signal::SIGCONT);
}

#[tokio::test]
async fn shortening_an_access_cuts_and_extending_it_does_not() {
    let (stack, box42) = stack_with_a_box().await;
    let (short, long) = (stack.allow(&box42).await, stack.allow(&box42).await);
    let mut cut = stack.ssh(&short).open().await;
    let mut kept = stack.ssh(&long).open().await;

    let long = stack.end_in(&box42, &long, "3s").await;
    stack.end_in(&box42, &long, "1h").await;
    let short = stack.end_in(&box42, &short, "2s").await;
    cut.cut(SOON).await;
    assert!(Utc::now() >= short.expires_at);

    eventually("the first end has passed", SOON, async || {
        (Utc::now() > long.expires_at + AT_ONCE).then_some(())
    })
    .await;
    kept.echo("still here").await;
}

#[tokio::test]
async fn an_edit_that_shuts_a_visitor_out_ends_the_visit() {
    let (stack, box42) = stack_with_a_box().await;
    let access = stack.allow(&box42).await;
    let mut session = stack.ssh(&access).open().await;

    let elsewhere = EditAccess { allowed_ips: Some(vec!["192.0.2.1".into()]), ..EditAccess::default() };
    stack.api.edit_access(access.id, &elsewhere).await.expect("an access can be edited");
    session.cut(AT_ONCE).await;
    assert_eq!(stack.visits(access.id, 1).await[0].code, "address_not_allowed");
}

#[tokio::test]
async fn a_deleted_box_is_out_at_once() {
    let (stack, mut box42) = stack_with_a_box().await;
    let box43 = stack.add_box("box43").await;
    let (gone, kept) = (stack.allow(&box42).await, stack.allow(&box43).await);
    let mut session = stack.ssh(&gone).open().await;
    let mut other = stack.ssh(&kept).open().await;

    stack.api.delete_device("box42").await;
    session.cut(AT_ONCE).await;
    other.echo("still here").await;

    // It comes back with its certificate, and is not let in.
    box42.kill();
    box42.start();
    eventually("the agent is told", SOON, async || {
        let said = stack.scene().said("box42");
        said.contains("the relay does not know this box").then_some(())
    })
    .await;
    assert_eq!(stack.ssh(&gone).run("true").await.code, 255);
    assert_eq!(stack.api.relays().await[0].boxes, 1);
}

#[tokio::test]
async fn pausing_a_box_ends_what_is_open() {
    let (stack, box42) = stack_with_a_box().await;
    let access = stack.allow(&box42).await;
    let mut session = stack.ssh(&access).open().await;
    box42.run(&["pause"]).await.success();
    session.cut(AT_ONCE).await;
    eventually("a paused box believes no visitor's key", AT_ONCE, async || {
        (!box42.keys().contains("ssh-ed25519")).then_some(())
    })
    .await;
}

async fn stack_with_a_box() -> (Stack, Machine) {
    let stack = Stack::start().await;
    let box42 = stack.add_box("box42").await;
    (stack, box42)
}

async fn open_many(stack: &Stack, access: &Access, count: usize) -> Vec<Session> {
    let ssh = stack.ssh(access);
    let opening: Vec<_> = (0..count)
        .map(|_| {
            let ssh = ssh.clone();
            tokio::spawn(async move { ssh.open().await })
        })
        .collect();
    let mut sessions = Vec::new();
    for session in opening {
        sessions.push(session.await.expect("a session opens"));
    }
    sessions
}

/// Every session lives until the access ends, and not a second longer.
async fn assert_ends_at_its_time(access: &Access, sessions: Vec<Session>) {
    assert!(Utc::now() < access.expires_at, "the machine is too slow for this test");
    for mut session in sessions {
        session.cut(SOON).await;
        let late = Utc::now() - access.expires_at;
        assert!(late >= chrono::Duration::zero(), "cut too early: {late}");
        assert!(late < chrono::Duration::from_std(AT_ONCE).expect("short"), "cut too late: {late}");
    }
}

/// Past the relay, from the box itself: what the visitor's key opens at its sshd.
async fn inside(stack: &Stack, box42: &Machine) -> Output {
    let mut ssh = std::process::Command::new("ssh");
    ssh.args(["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
    ssh.args(["-o", "IdentityAgent=none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-i"])
        .arg(stack.key().path());
    ssh.args(["-p", &box42.sshd().address().port().to_string(), "127.0.0.1", "echo inside"]);
    within("ssh", SOON, postern_tests::program::finish(ssh)).await
}

/// How many sessions the box's sshd says it has.
fn live_sessions(stack: &Stack) -> usize {
    let said = stack.scene().said("sshd");
    let count = |words| said.matches(words).count();
    count("Starting session: ") - count("Close session: ")
}
