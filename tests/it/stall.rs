//! Visits that nobody reads: they hold a bounded amount, stop nobody else, and end when they are left.

use postern_protocol::api::{Access, VisitOutcome};
use postern_tests::{AT_ONCE, Machine, SOON, Session, Stack, eventually};
use serde_json::Value;

/// More than a tunnel's credit would bear if visits shared it.
const STALLED: usize = 12;

/// What a stalled download has taken by the time that its windows are full, or nearly.
const FULL: u64 = 1024 * 1024;

#[tokio::test]
async fn a_dozen_downloads_that_nobody_reads_stop_neither_others_nor_a_revocation() {
    let stack = Stack::start().await;
    let box42 = stack.add_box("box42").await;
    let (stalled, other) = (stack.allow(&box42).await, stack.allow(&box42).await);
    let _downloads = stalled_downloads(&stack, &box42, &stalled, FULL).await;

    let mut session = stack.ssh(&other).open().await;
    session.echo("not stopped").await;
    stack.api.revoke(other.id).await;
    session.cut(AT_ONCE).await;
    eventually("the box hears of the revocation", SOON, async || {
        (!box42.keys().contains(other.id.as_str())).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_visitor_who_leaves_in_the_middle_of_a_download_leaves_nothing_behind() {
    let stack = Stack::start().await;
    let box42 = stack.add_box("box42").await;
    let access = stack.allow(&box42).await;
    let downloads = stalled_downloads(&stack, &box42, &access, FULL).await;

    drop(downloads);
    for visit in stack.visits(access.id, STALLED).await {
        assert_eq!(visit.outcome, VisitOutcome::Ended, "{visit:?}");
    }
    eventually("the box has no visit left", SOON, async || moved(&box42).await.is_empty().then_some(()))
        .await;
}

/// Downloads without an end, whose output nobody takes, when each has taken more than so many bytes.
pub(crate) async fn stalled_downloads(
    stack: &Stack,
    machine: &Machine,
    access: &Access,
    full: u64,
) -> Vec<Session> {
    let ssh = stack.ssh(access);
    let download = || {
        let mut command = ssh.program("ssh");
        command.args([ssh.host(), "cat /dev/zero"]);
        Session::start(command)
    };
    let downloads: Vec<Session> = (0..STALLED).map(|_| download()).collect();
    eventually("all downloads are under way", SOON * 2, async || {
        let moved = moved(machine).await;
        (moved.len() == STALLED && moved.iter().all(|bytes| *bytes > full)).then_some(())
    })
    .await;
    downloads
}

/// What each open visit has brought its visitor, as the box counts it.
async fn moved(machine: &Machine) -> Vec<u64> {
    let status = machine.run(&["status", "--json"]).await.success();
    let status: Value = serde_json::from_str(&status).expect("the status is JSON");
    let visits = status.pointer("/member/visits").and_then(Value::as_array).expect("the visits are listed");
    visits.iter().filter_map(|visit| visit["bytes_to_visitor"].as_u64()).collect()
}
