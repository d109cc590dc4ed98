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

/// The settings of a box that pays for every byte.
const METERED: &str = "[network]\nmetered = true";

/// A network that passes no UDP.
const NO_UDP: &str = "meta l4proto udp drop";

#[test]
fn an_idle_box_takes_less_than_a_megabyte_a_day() {
    at_rest("idle box", "", "", 1_000_000);
}

#[test]
fn an_idle_box_that_pays_for_every_byte_takes_less_than_a_quarter() {
    at_rest("idle box, metered", METERED, "", 250_000);
}

#[test]
fn an_idle_box_whose_network_passes_no_udp_takes_less_than_a_megabyte_a_day_too() {
    at_rest("idle box over TCP", "", NO_UDP, 1_000_000);
}

#[test]
fn and_less_than_a_quarter_if_it_pays_for_every_byte() {
    at_rest("idle box over TCP, metered", METERED, NO_UDP, 250_000);
}

fn at_rest(name: &'static str, settings: &'static str, fault: &'static str, most: u64) {
    // It takes as long as it takes: the full suite has the time.
    if Scale::of_this_run().is_full() {
        in_the_wild_with("", settings, async move |world| watched(world, name, fault, most).await);
    }
}

async fn watched(world: &mut World, name: &str, fault: &str, most: u64) {
    world.unplug(Second);
    world.box42.kill();
    world.spoil(First, fault);
    world.box42.start();
    sleep(LEARNING).await;
    let before = world.traffic(First);
    sleep(WATCHED).await;
    let a_day = (world.traffic(First) - before) * 24 * 3600 / WATCHED.as_secs();
    note_text(&format!("{name:<58} {:>9} KB a day", a_day / 1000));
    assert!(a_day < most, "{name}: {a_day} bytes a day");
}
