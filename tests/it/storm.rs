//! All boxes return at once, because the relay was away.

use std::time::{Duration, Instant};

use postern_tests::fleet::Fleet;
use postern_tests::{Stack, eventually, within};

/// How many boxes; the bench has thousands.
const BOXES: usize = 200;

/// Longer than two processors need for everything, among other tests.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_box_returns_after_the_relay_was_killed_and_visitors_come_in_meanwhile() {
    let limits = "[limits]\nhandshakes = 64\nhandshakes_per_source = 64\njoins_per_minute = 1000000";
    let mut stack = Stack::with().relay(limits).start().await;
    let box42 = stack.add_box("box42").await;
    let access = stack.allow(&box42).await;
    let mut fleet = Fleet::join(&stack, BOXES).await;
    fleet.dial();
    all_up(&fleet).await;

    let killed = Instant::now();
    stack.relay.kill();
    stack.relay.restart().await;
    let ssh = stack.ssh(&access);
    let visits = async {
        eventually("the first visitor gets in", PATIENCE, async || {
            (ssh.run("true").await.code == 0).then_some(())
        })
        .await;
        // From here on the door is open, however many boxes are still on their way.
        while fleet.welcomes() < 2 * BOXES {
            assert_eq!(ssh.run("true").await.code, 0, "a visitor while boxes return");
        }
    };
    within("every box has been welcomed again", PATIENCE, visits).await;
    all_up(&fleet).await;
    let at_once = fleet.busiest(Duration::from_millis(100), killed);
    assert!(at_once < BOXES / 2, "{at_once} of them came within a tenth of a second");
    let counted = async || (stack.relay.metric("boxes ").await as usize == BOXES + 1).then_some(());
    eventually("the relay counts every one", PATIENCE, counted).await;
    assert!(stack.relay.metric("sessions_resumed_total").await > 0.0, "they show their tickets");
}

async fn all_up(fleet: &Fleet) {
    eventually("all boxes are there", PATIENCE, async || (fleet.up() == fleet.size()).then_some(())).await;
}
