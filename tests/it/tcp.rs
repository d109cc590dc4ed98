//! Boxes whose network passes no UDP come over TCP, by the port that browsers come by.

use std::net::Ipv4Addr;

use postern_protocol::wire::{Transport, WhyTcp};
use postern_tests::{AT_ONCE, Machine, SOON, Stack, eventually};

use crate::stall::stalled_downloads;

/// What a stalled download has taken at least when the window of its stream is full.
const FULL: u64 = 200_000;

/// A relay that sends its boxes to its TLS front, where nothing listens over UDP; and such a box.
async fn over_tcp() -> (Stack, Machine) {
    let host = Ipv4Addr::from(0x7f00_0000 | (rand::random::<u32>() & 0x00ff_ffff).max(2));
    let front = std::net::TcpListener::bind((host, 0)).and_then(|free| free.local_addr());
    let front = front.expect("a free port");
    let stack = Stack::with().relay(&format!(
        "gate = '{host}:0'\nagents = '{host}:0'\nhttps = '{front}'\npublic_host = '{host}'\n\
         public_agents_port = {}",
        front.port()
    ));
    let stack = stack.start().await;
    let box42 = stack.add_box("box42").await;
    (stack, box42)
}

#[tokio::test]
async fn a_box_that_is_reached_by_tcp_only_joins_is_visited_and_is_shown_as_what_it_is() {
    let (stack, box42) = over_tcp().await;
    let shown = stack.api.device("box42").await;
    assert_eq!((shown.transport, shown.why_tcp), (Some(Transport::Tcp), Some(WhyTcp::UdpSilent)));
    assert!(box42.run(&["status"]).await.success().contains("TCP, because nobody answers over UDP"));
    let tunnels = "tunnels{transport=\"tcp\",why=\"udp_silent\"}";
    assert_eq!(stack.relay.metric(tunnels).await, 1.0);

    let access = stack.allow(&box42).await;
    let mut session = stack.ssh(&access).open().await;
    session.echo("over TCP").await;
    stack.api.revoke(access.id).await;
    session.cut(AT_ONCE).await;
}

#[tokio::test]
async fn downloads_that_nobody_reads_stop_no_other_over_tcp_either() {
    let (stack, box42) = over_tcp().await;
    let (stalled, other) = (stack.allow(&box42).await, stack.allow(&box42).await);
    let _downloads = stalled_downloads(&stack, &box42, &stalled, FULL).await;

    let mut session = stack.ssh(&other).open().await;
    session.echo("not stopped").await;
    let copied = stack.ssh(&other).run("head -c 3000000 /dev/zero").await;
    assert_eq!((copied.code, copied.stdout.len()), (0, 3_000_000));
    stack.api.revoke(other.id).await;
    session.cut(AT_ONCE).await;
    eventually("the box hears of the revocation", SOON, async || {
        (!box42.keys().contains(other.id.as_str())).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_box_comes_back_over_tcp_after_its_relay_was_killed() {
    let (mut stack, box42) = over_tcp().await;
    let access = stack.allow(&box42).await;
    stack.relay.kill();
    stack.relay.restart().await;
    eventually("somebody gets in", SOON, async || {
        (stack.ssh(&access).run("true").await.code == 0).then_some(())
    })
    .await;
}
