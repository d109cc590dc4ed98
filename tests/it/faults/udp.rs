//! The network passes no UDP, or not always, or little of it: the tunnel goes over TCP, and back when it
//! can.

use std::time::Instant;

use postern_tests::Uplink::{First, Second};
use postern_tests::busy::{Scale, note};
use postern_tests::tinyproxy::PASSWORD;
use postern_tests::world::{AGENTS, RELAY, in_the_wild};
use postern_tests::{RETURN, Tinyproxy, World, eventually};
use tokio::time::sleep;

const NO_UDP: &str = "meta l4proto udp drop";

const LITTLE_UDP: &str = "meta l4proto udp limit rate over 125 kbytes/second burst 16 kbytes drop";

#[test]
fn a_box_whose_network_passes_no_udp_comes_over_tcp_and_returns_to_quic_when_it_can() {
    in_the_wild(async |world| {
        world.unplug(Second);
        world.box42.kill();
        world.spoil(First, NO_UDP);
        world.box42.start();
        becomes(world, "tcp").await;
        world.survives("UDP blocked: over TCP", async |_| ()).await;
        world
            .survives("over TCP, uplink silent for a while", async |world| {
                world.spoil(First, "drop");
                sleep(Scale::of_this_run().seconds(2, 10)).await;
                world.spoil(First, NO_UDP);
            })
            .await;
        let restored = Instant::now();
        world
            .survives("UDP passes again: new visits over QUIC", async |world| {
                world.heal(First);
                becomes(world, "quic").await;
            })
            .await;
        note("UDP passes again until it is used", None, restored.elapsed());
        world.survives("and everything goes on over QUIC", async |_| ()).await;
    });
}

#[test]
fn a_tunnel_whose_network_stops_passing_udp_is_replaced_and_outlives_it() {
    // It takes as long as it takes: the full suite has the time.
    if !Scale::of_this_run().is_full() {
        return;
    }
    in_the_wild(async |world| {
        world.unplug(Second);
        world
            .survives("UDP blocked later, and restored after 30 s", async |world| {
                world.spoil(First, NO_UDP);
                let blocked = Instant::now();
                note("UDP blocked later, until TCP is used", None, world.next_login(blocked).await);
                becomes(world, "tcp").await;
                world.heal(First);
            })
            .await;
        world.recovers("UDP blocked later, for good", async |world| world.spoil(First, NO_UDP)).await;
        becomes(world, "tcp").await;
    });
}

#[test]
fn a_path_that_holds_udp_down_is_left_to_those_who_are_on_it() {
    in_the_wild(async |world| {
        world.unplug(Second);
        let busy = world.busy().await;
        world.spoil(First, LITTLE_UDP);
        let held_down = Instant::now();
        becomes(world, "tcp").await;
        note("UDP held down to 1 Mbit/s until TCP is used", None, held_down.elapsed());
        let login = world.next_login(Instant::now()).await;
        note("and for the next visitor", None, login);
        world.heal(First);
        busy.ends_well().await;
    });
}

#[test]
fn a_box_behind_a_proxy_comes_through_it() {
    in_the_wild(async |world| {
        world.unplug(Second);
        let proxy = Tinyproxy::start(&world.stack, RELAY, AGENTS).await;
        world.box42.kill();
        let port = proxy.address().port();
        world.spoil(First, &format!("tcp dport {port} accept\ntcp sport {port} accept\ndrop"));
        world.box42.set_variable("https_proxy", proxy.url().as_ref());
        world.box42.start();
        becomes(world, "tcp").await;
        assert!(world.box42.run(&["status"]).await.success().contains("through the proxy"));
        world.survives("through an HTTP proxy", async |_| ()).await;
        assert!(!world.stack.scene().said("box42").contains(PASSWORD));
    });
}

/// Waits until the tunnel goes over this.
async fn becomes(world: &World, transport: &str) {
    let what = format!("the tunnel goes over {transport}");
    eventually(&what, RETURN, async || {
        let status = world.box42.run(&["status", "--json"]).await;
        let status: serde_json::Value = serde_json::from_str(&status.stdout).ok()?;
        (status["member"]["tunnel"]["transport"] == transport).then_some(())
    })
    .await;
}
