//! The box's own ways out come and go.

use std::time::{Duration, Instant};

use postern_protocol::api::DeviceStatus;
use postern_tests::Uplink::{First, Second};
use postern_tests::busy::{Scale, note};
use postern_tests::world::{in_the_wild, in_the_wild_with};
use postern_tests::{RETURN, World, eventually};
use tokio::time::sleep;

/// What the status may lag behind the truth.
const MINUTE: Duration = Duration::from_secs(60);

/// Everything is dropped on the way, and nobody is told.
const DROP: &str = "drop";

#[test]
fn a_silent_outage_of_the_only_uplink_ends_nothing() {
    in_the_wild(async |world| {
        world.unplug(Second);
        let lengths: &[u64] = if Scale::of_this_run().is_full() { &[2, 10, 30] } else { &[2] };
        for &seconds in lengths {
            let name = format!("uplink silent for {seconds} s");
            world
                .survives(&name, async |world| {
                    world.spoil(First, DROP);
                    sleep(Duration::from_secs(seconds)).await;
                    world.heal(First);
                })
                .await;
        }
    });
}

#[test]
fn a_cable_that_is_pulled_and_put_back_ends_nothing() {
    in_the_wild(async |world| {
        world.unplug(Second);
        world
            .survives("only cable pulled and put back", async |world| {
                world.unplug(First);
                sleep(Scale::of_this_run().seconds(2, 10)).await;
                world.plug(First);
            })
            .await;
    });
}

#[test]
fn a_new_address_ends_nothing() {
    in_the_wild(async |world| {
        world.survives("new address on the uplink", async |world| world.renumber(First, 77)).await;
    });
}

#[test]
fn a_switch_to_the_second_uplink_and_back_ends_nothing() {
    in_the_wild(async |world| {
        world.survives("switch to the second uplink", async |world| world.unplug(First)).await;
        world.survives("and back", async |world| world.plug(First)).await;
        world
            .survives("and back for good", async |world| {
                sleep(Scale::of_this_run().seconds(1, 5)).await;
                world.unplug(Second);
            })
            .await;
    });
}

#[test]
fn a_box_without_visits_moves_at_once_and_can_be_visited() {
    in_the_wild(async |world| {
        world.unplug(First);
        note("switch of an idle box", None, world.next_login(Instant::now()).await);
    });
}

#[test]
fn a_box_whose_cable_is_pulled_is_offline_within_a_minute_and_back_at_once() {
    // It takes as long as it takes: the full suite has the time.
    if !Scale::of_this_run().is_full() {
        return;
    }
    in_the_wild(async |world| {
        let box42 = &world.box42;
        world.unplug(First);
        world.unplug(Second);
        let pulled = Instant::now();
        eventually("the box is offline", MINUTE, async || {
            (world.stack.api.device(box42.name()).await.status == DeviceStatus::Offline).then_some(())
        })
        .await;
        note("cable pulled until shown as offline", None, pulled.elapsed());
        world.plug(First);
        let plugged = Instant::now();
        box42.becomes(DeviceStatus::Online, &world.stack.api).await;
        note("cable put back until shown as online", None, plugged.elapsed());
    });
}

#[test]
fn the_listed_interfaces_are_taken_in_their_order() {
    let order = "[network]\ninterfaces = [\"wan1\", \"wan0\"]";
    in_the_wild_with("", order, async |world| {
        assert_eq!(interface(world).await, "wan1", "whatever the kernel's routes prefer");
        world.survives("preferred interface falls silent", async |world| world.spoil(Second, DROP)).await;
        assert_eq!(interface(world).await, "wan0");
        world.heal(Second);
        let back = async || (interface(world).await == "wan1").then_some(());
        eventually("the tunnel returns to the preferred interface", RETURN, back).await;
        world.survives("preferred interface unplugged", async |world| world.unplug(Second)).await;
    });
}

/// The interface that the tunnel is bound to.
async fn interface(world: &World) -> String {
    let status = world.box42.run(&["status", "--json"]).await.success();
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    status["member"]["tunnel"]["way"]["interface"].as_str().unwrap_or_default().to_owned()
}
