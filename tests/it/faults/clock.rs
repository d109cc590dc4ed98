//! The box's clock jumps.

use std::time::Instant;

use postern_tests::Faketime;
use postern_tests::world::in_the_wild;

#[test]
fn a_clock_that_jumps_ends_nothing() {
    in_the_wild(async |world| {
        world.box42.stop().await;
        let clock = Faketime::of(&world.stack, &mut world.box42, "+0");
        world.box42.start();
        world.next_login(Instant::now()).await;
        world.survives("box's clock ten years ahead", async |_| clock.turn("+3650d")).await;
        world.survives("box's clock ten years behind", async |_| clock.turn("-3650d")).await;
        world.survives("box's clock right again", async |_| clock.turn("+0")).await;
    });
}
