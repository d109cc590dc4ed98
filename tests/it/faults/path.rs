//! The way between the box and the relay is bad.

use postern_tests::Uplink::First;
use postern_tests::busy::Scale;
use postern_tests::world::{in_the_wild, in_the_wild_with};
use tokio::time::sleep;

#[test]
fn a_router_that_forgets_its_mappings_ends_nothing() {
    in_the_wild(async |world| {
        world.survives("NAT mappings flushed", async |world| world.forget_mappings(First)).await;
    });
}

#[test]
fn a_mapping_that_leads_nowhere_any_more_is_replaced() {
    in_the_wild(async |world| {
        // As when a router with two uplinks keeps sending what it knows to the one that is dead.
        world
            .survives("NAT mapping dead for good", async |world| {
                world.spoil(First, "ct state new ct mark set 1\nct mark 0 drop");
            })
            .await;
    });
}

#[test]
fn lost_packets_lose_no_byte() {
    in_the_wild(async |world| {
        for percent in [3, 10] {
            let name = format!("{percent} % loss, both ways");
            world
                .survives(&name, async |world| {
                    world.spoil(First, &format!("numgen random mod 100 < {percent} drop"));
                })
                .await;
        }
    });
}

#[test]
fn packets_that_overtake_each_other_lose_no_byte() {
    in_the_wild_with("public_agents_port = 4434", "", async |world| {
        world.survives("every tenth packet 20 ms late", async |world| world.detour.delay(10)).await;
    });
}

#[test]
fn a_path_for_small_packets_only_that_says_nothing_ends_nothing() {
    in_the_wild(async |world| {
        world.survives("MTU 1280, ICMP dropped", async |world| world.narrow(First, 1280)).await;
    });
}

#[test]
fn a_path_of_a_megabit_for_udp_ends_nothing() {
    in_the_wild(async |world| {
        world
            .survives("UDP limited to 1 Mbit/s for a while", async |world| {
                world.spoil(First, "meta l4proto udp limit rate over 125 kbytes/second burst 16 kbytes drop");
                sleep(Scale::of_this_run().seconds(2, 20)).await;
                world.heal(First);
            })
            .await;
    });
}
