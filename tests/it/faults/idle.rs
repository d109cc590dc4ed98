//! What it costs that a box is there, while nobody visits it.

use std::time::Duration;

use postern_tests::Uplink::{First, Second};
use postern_tests::World;
use postern_tests::busy::{Scale, note_text};
use postern_tests::world::in_the_wild_with;
use tokio::time::sleep;

/// How long it takes at most until the box knows how long it may be silent.
const LEARNING: Duration = Duration::from_secs(420);

/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(600);

#[test]
fn an_idle_box_takes_less_than_a_megabyte_a_day_and_a_metered_one_a_quarter() {
    // It takes as long as it takes: the full suite has the time.
    if !Scale::of_this_run().is_full() {
        return;
    }
    in_the_wild_with("", "", async |world| at_rest(world, "idle box", 1_000_000).await);
    let metered = "[network]\nmetered = true";
    in_the_wild_with("", metered, async |world| at_rest(world, "idle box, metered", 250_000).await);
}

async fn at_rest(world: &mut World, name: &str, most: u64) {
    world.unplug(Second);
    sleep(LEARNING).await;
    let before = world.traffic(First);
    sleep(WATCHED).await;
    let a_day = (world.traffic(First) - before) * 24 * 3600 / WATCHED.as_secs();
    note_text(&format!("{name:<58} {:>9} KB a day", a_day / 1000));
    assert!(a_day < most, "{name}: {a_day} bytes a day");
}
