//! A box need not trust its relay: what a hostile one can do is what the signed grants allow.

use std::time::Duration;

use chrono::Utc;
use postern_protocol::access::{Denial, Networks};
use postern_protocol::grant::{Grant, GrantSigner, Grants};
use postern_protocol::id::AccessId;
use postern_protocol::refusal::Refusal;
use postern_protocol::wire::{Open, Opening};
use postern_tests::hostile::{HostileRelay, Loot, Tunnel, open};
use postern_tests::identity::Identity;
use postern_tests::{AT_ONCE, Machine, SOON, Stack, within};

#[tokio::test]
async fn it_may_open_what_is_granted_and_nothing_else() {
    let (mut stack, mut box42) = stack_with_a_box().await;
    let box43 = stack.add_box("box43").await;
    let revoked = stack.allow(&box42).await;
    stack.api.revoke(revoked.id).await;
    // The box has said that it holds these, and so the revocation before them.
    let (access, of_box43) = (stack.allow(&box42).await, stack.allow(&box43).await);
    drop(box43);
    let tunnel = take_over(&mut stack, &mut box42).await;

    let (answer, _to_box, mut from_box) = tunnel.open(open(access.id)).await;
    assert_eq!(answer, Opening::Opened, "this visit is granted");
    let mut banner = [0; 8];
    within("a banner", SOON, from_box.read_exact(&mut banner)).await.expect("the box's sshd speaks");
    assert_eq!(&banner, b"SSH-2.0-");

    let nobody = "aaaaaaaaaa".parse().expect("an id");
    let outside = "192.0.2.1:40000".parse().expect("an address");
    let attempts = [
        (open(nobody), Denial::UnknownAccess),
        (open(of_box43.id), Denial::UnknownAccess),
        (open(revoked.id), Denial::Revoked),
        (Open { port: 443, ..open(access.id) }, Denial::PortNotExposed { port: 443 }),
        (Open { visitor: outside, ..open(access.id) }, Denial::AddressOutside { address: outside.ip() }),
    ];
    for (attempt, denial) in attempts {
        assert_denied(&tunnel, attempt, &denial).await;
    }
    assert_refusals_are_shown(&box42).await;
}

#[tokio::test]
async fn grants_of_another_box_or_of_another_signer_are_not_believed() {
    let (mut stack, mut box42) = stack_with_a_box().await;
    let mut box43 = stack.add_box("box43").await;
    let of_box43 = stack.allow(&box43).await;
    let loot = Loot::of(&stack).await;
    let of_all = loot.grants().await;
    box43.kill();
    let (_relay, mut tunnel) = take_over_with(&mut stack, &mut box42, &loot).await;

    tunnel.give(&of_all[&box43.id()]).await;
    assert_denied(&tunnel, open(of_box43.id), &Denial::UnknownAccess).await;

    let invented = "bbbbbbbbbb".parse().expect("an id");
    let forged = grants(&box42, invented, Duration::from_secs(3600));
    tunnel.give(&GrantSigner::from_seed(&[7; 32]).sign(&forged)).await;
    assert_denied(&tunnel, open(invented), &Denial::UnknownAccess).await;
}

#[tokio::test]
async fn old_grants_do_not_undo_a_revocation() {
    let (mut stack, mut box42) = stack_with_a_box().await;
    let access = stack.allow(&box42).await;
    let loot = Loot::of(&stack).await;
    let old = loot.grants().await[&box42.id()].clone();
    stack.api.revoke(access.id).await;
    let new = loot.grants().await[&box42.id()].clone();
    assert_ne!(old, new);

    let (_relay, mut tunnel) = take_over_with(&mut stack, &mut box42, &loot).await;
    tunnel.give(&new).await;
    assert_denied(&tunnel, open(access.id), &Denial::Revoked).await;
    tunnel.give(&old).await;
    assert_denied(&tunnel, open(access.id), &Denial::Revoked).await;
}

#[tokio::test]
async fn old_grants_do_not_undo_a_revocation_after_a_restart_of_the_box() {
    let (mut stack, mut box42) = stack_with_a_box().await;
    let access = stack.allow(&box42).await;
    let loot = Loot::of(&stack).await;
    let old = loot.grants().await[&box42.id()].clone();
    stack.api.revoke(access.id).await;
    let new = loot.grants().await[&box42.id()].clone();

    let (relay, mut tunnel) = take_over_with(&mut stack, &mut box42, &loot).await;
    let before = tunnel.holding().await;
    tunnel.give(&new).await;
    while tunnel.holding().await == before {}
    assert_denied(&tunnel, open(access.id), &Denial::Revoked).await;

    redial(&mut box42);
    let mut tunnel = relay.tunnel().await;
    tunnel.give(&old).await;
    assert_denied(&tunnel, open(access.id), &Denial::Revoked).await;
}

#[tokio::test]
async fn it_cannot_prolong_an_access() {
    let (mut stack, mut box42) = stack_with_a_box().await;
    let access = stack.allow_for(&box42, "6s").await;
    let tunnel = take_over(&mut stack, &mut box42).await;

    let (answer, _to_box, mut from_box) = tunnel.open(open(access.id)).await;
    assert_eq!(answer, Opening::Opened);
    // The box ends the visit by itself: this relay would have kept it.
    within("the visit ends", SOON, from_box.read_to_end(usize::MAX)).await.ok();
    let late = Utc::now() - access.expires_at;
    assert!(
        late >= chrono::Duration::zero() && late < chrono::Duration::from_std(AT_ONCE).expect("short"),
        "{late}"
    );
    assert_denied(&tunnel, open(access.id), &Denial::Expired { at: whole_second(access.expires_at) }).await;
}

#[tokio::test]
async fn it_cannot_hold_back_a_revocation_for_longer_than_the_lease() {
    let (mut stack, mut box42) = stack_with_a_box().await;
    let access = "bbbbbbbbbb".parse().expect("an id");
    let mut tunnel = take_over(&mut stack, &mut box42).await;
    // Signed by the API itself, with a lease shorter than any that a configuration may ask for.
    let grants = grants(&box42, access, Duration::from_secs(4));
    tunnel.give(&stack.control.grant_signer().sign(&grants)).await;
    while tunnel.holding().await != grants.revision {}

    let (answer, _to_box, mut from_box) = tunnel.open(open(access)).await;
    assert_eq!(answer, Opening::Opened, "the lease still runs");
    within("the visit ends with the lease", SOON, from_box.read_to_end(usize::MAX)).await.ok();
    let late = Utc::now() - grants.lease_until;
    assert!(late < chrono::Duration::from_std(AT_ONCE).expect("short"), "{late}");
    assert_denied(&tunnel, open(access), &Denial::LeaseOver { at: whole_second(grants.lease_until) }).await;
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_not_answered() {
    let (mut stack, mut box42) = stack_with_a_box().await;
    let loot = Loot::of(&stack).await;
    let agents = stack.relay.listening().agents;
    stack.relay.kill();
    let impostor = loot.impersonate_as(agents, &Identity::self_made());
    redial(&mut box42);
    let why = impostor.is_rejected().await;
    assert!(why.contains("aborted by peer"), "{why}");
}

#[tokio::test]
async fn a_boxs_certificate_does_not_make_it_a_relay() {
    let (mut stack, mut box42) = stack_with_a_box().await;
    let box43 = stack.add_box("box43").await;
    let loot = Loot::of(&stack).await;
    let agents = stack.relay.listening().agents;
    let impostor = Identity::of_a_box(&box43);
    stack.relay.kill();
    drop(box43);
    let impostor = loot.impersonate_as(agents, &impostor);
    redial(&mut box42);
    let why = impostor.is_rejected().await;
    assert!(why.contains("aborted by peer"), "{why}");
}

async fn stack_with_a_box() -> (Stack, Machine) {
    let stack = Stack::start().await;
    let box42 = stack.add_box("box42").await;
    (stack, box42)
}

/// A document newer than any real one, with one access for an hour and a lease of this length.
fn grants(machine: &Machine, access: AccessId, lease: Duration) -> Grants {
    let now = Utc::now();
    let grant = Grant {
        access,
        port: 22,
        login: "root".parse().expect("a login"),
        key: None,
        allowed: Networks::only("127.0.0.1".parse().expect("an address")),
        leased: None,
        expires_at: now + Duration::from_secs(3600),
        revoked: false,
    };
    Grants {
        device: machine.id(),
        name: machine.name().parse().expect("a box's name"),
        label: machine.name().parse().expect("a box's name"),
        revision: 1 << 60,
        signed_at: now,
        lease_until: now + lease,
        grants: vec![grant],
    }
}

/// The relay's machine is in other hands now, with all that was on it, and the box dials it.
async fn take_over(stack: &mut Stack, machine: &mut Machine) -> Tunnel {
    let loot = Loot::of(stack).await;
    take_over_with(stack, machine, &loot).await.1
}

async fn take_over_with(stack: &mut Stack, machine: &mut Machine, loot: &Loot) -> (HostileRelay, Tunnel) {
    let agents = stack.relay.listening().agents;
    stack.relay.kill();
    let relay = loot.impersonate(agents);
    redial(machine);
    let tunnel = relay.tunnel().await;
    (relay, tunnel)
}

/// An agent that has just started dials at once; one whose relay is gone would wait to be sure of it.
fn redial(machine: &mut Machine) {
    machine.kill();
    machine.start();
}

async fn assert_denied(tunnel: &Tunnel, attempt: Open, denial: &Denial) {
    let (answer, ..) = tunnel.open(attempt.clone()).await;
    let Opening::Refused(Refusal::DeniedByBox(by_box)) = answer else { panic!("{attempt:?}: {answer:?}") };
    assert_eq!(&by_box, denial, "{attempt:?}");
}

async fn assert_refusals_are_shown(box42: &Machine) {
    let status = box42.run(&["status"]).await.success();
    assert!(status.contains("address not allowed: 192.0.2.1"), "{status}");
}

/// Grants count in whole seconds.
fn whole_second(at: chrono::DateTime<Utc>) -> chrono::DateTime<Utc> {
    chrono::DateTime::from_timestamp(at.timestamp(), 0).expect("a time of today")
}
