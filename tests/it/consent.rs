//! Consent on the box: what its owner has not approved lets nobody in, whatever the cloud says.

use postern_protocol::api::{Access, AccessStatus, Approver, EditAccess, Verify};
use postern_tests::{AT_ONCE, Machine, SOON, Stack, eventually};

use crate::deny::{assert_refused, assert_told, only_record};

const AWAITS: &str = "this access waits for approval on the box: postern-agent approve";

/// A box whose owner approves each access, and an access that nobody has approved.
async fn asked() -> (Stack, Machine, Access) {
    let stack = Stack::start().await;
    let box42 = stack.add_box_with("box42", "require_approval = true").await;
    let access = stack.allow_with(&box42, |_| {}).await;
    (stack, box42, access)
}

async fn approve(box42: &Machine, access: &Access) {
    box42.run(&["approve", access.id.as_str()]).await.success();
}

async fn becomes(stack: &Stack, access: &Access, status: AccessStatus) -> Access {
    eventually(&format!("the access is {status:?}"), SOON, async || {
        Some(stack.api.access(access.id).await).filter(|access| access.status == status)
    })
    .await
}

#[tokio::test]
async fn nobody_comes_in_until_the_owner_of_the_box_approves() {
    let (stack, box42, access) = asked().await;
    let shown = becomes(&stack, &access, AccessStatus::PendingApproval).await;
    assert_eq!(shown.approver, Some(Approver::Box));
    assert!(shown.status_reason.contains(AWAITS), "{}", shown.status_reason);
    assert!(shown.connection.is_some(), "the command can be handed on");
    assert!(!box42.keys().contains(access.id.as_str()), "the key does not reach sshd: {}", box42.keys());
    assert_told(&stack.ssh(&access).run("true").await, &format!("{AWAITS} {}", access.id));
    assert_refused(&only_record(&stack, &access).await, "not_approved");
    let verdict = stack.api.verify(&attempt(&stack, &access)).await.expect("a verdict");
    assert_eq!((verdict.allowed, verdict.code.as_str()), (false, "not_approved"));

    let waiting = box42.run(&["approvals"]).await.success();
    assert!(waiting.contains(access.id.as_str()) && waiting.contains("AWAITS APPROVAL"), "{waiting}");
    approve(&box42, &access).await;
    becomes(&stack, &access, AccessStatus::Active).await;
    assert_eq!(stack.ssh(&access).run("echo in").await.success(), "in\n");
    assert!(stack.api.verify(&attempt(&stack, &access)).await.expect("a verdict").allowed);
    let unknown = box42.run(&["approve", "aaaaaaaaaa"]).await;
    assert!(unknown.code == 1 && unknown.stderr.contains("no access aaaaaaaaaa"), "{unknown:?}");
}

#[tokio::test]
async fn a_denial_ends_the_visits_and_an_approval_survives_a_restart() {
    let (stack, mut box42, access) = asked().await;
    approve(&box42, &access).await;
    becomes(&stack, &access, AccessStatus::Active).await;
    box42.kill();
    box42.start();
    let ssh = stack.ssh(&access);
    eventually("the box is back, and remembers", SOON, async || {
        (ssh.run("echo in").await.stdout == "in\n").then_some(())
    })
    .await;
    let mut session = ssh.open().await;
    session.echo("inside").await;
    box42.run(&["deny", access.id.as_str()]).await.success();
    session.cut(AT_ONCE * 5).await;
    let denied = becomes(&stack, &access, AccessStatus::PendingApproval).await;
    assert!(denied.status_reason.contains("the owner of the box has denied this access"), "{denied:?}");
    assert_told(&ssh.run("true").await, "the owner of the box has denied this access");
}

#[tokio::test]
async fn an_access_that_is_changed_beyond_what_was_approved_asks_again() {
    let (stack, box42, access) = asked().await;
    approve(&box42, &access).await;
    becomes(&stack, &access, AccessStatus::Active).await;
    let shorter = EditAccess { expires_in: Some("10m".into()), ..EditAccess::default() };
    stack.api.edit_access(access.id, &shorter).await.expect("an edit");
    becomes(&stack, &access, AccessStatus::Active).await;
    let key = stack.another_key().await;
    for change in [
        EditAccess { expires_in: Some("47h".into()), ..EditAccess::default() },
        EditAccess { public_key: Some(key.public()), ..EditAccess::default() },
        EditAccess { allowed_ips: Some(vec!["127.0.0.0/8".into()]), ..EditAccess::default() },
    ] {
        stack.api.edit_access(access.id, &change).await.expect("an edit");
        becomes(&stack, &access, AccessStatus::PendingApproval).await;
        approve(&box42, &access).await;
        becomes(&stack, &access, AccessStatus::Active).await;
    }
    assert_eq!(stack.ssh(&access).with_key(&key).run("echo in").await.success(), "in\n");
}

#[tokio::test]
async fn an_approval_ends_with_its_access() {
    let (stack, box42, access) = asked().await;
    approve(&box42, &access).await;
    becomes(&stack, &access, AccessStatus::Active).await;
    let kept = || std::fs::read_to_string(box42.state_dir().join("approvals.json")).expect("it is kept");
    assert!(kept().contains(access.id.as_str()));
    stack.api.revoke(access.id).await;
    eventually("it is withdrawn", SOON, async || (!kept().contains(access.id.as_str())).then_some(())).await;
}

fn attempt(stack: &Stack, access: &Access) -> Verify {
    Verify {
        device: access.device.to_string(),
        source: std::net::Ipv4Addr::LOCALHOST.into(),
        port: access.exposed_port,
        key: Some(stack.key().public()),
        access: Some(access.id),
        public_port: None,
        at: None,
    }
}
