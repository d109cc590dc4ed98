//! The relay goes away, one way or another.

use postern_tests::world::in_the_wild;

#[test]
fn a_box_returns_to_a_relay_that_was_killed() {
    in_the_wild(async |world| {
        world
            .recovers("relay killed and restarted", async |world| {
                world.stack.relay.kill();
                world.stack.relay.restart().await;
            })
            .await;
    });
}

#[test]
fn a_box_returns_to_a_relay_that_was_stopped() {
    in_the_wild(async |world| {
        world
            .recovers("relay drained and restarted", async |world| {
                world.stack.relay.stop().await;
                world.stack.relay.restart().await;
            })
            .await;
    });
}
