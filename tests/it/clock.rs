//! Boxes whose clock is wrong: without a battery it is 1970, with a spoilt one 2040, and somebody may turn it.

use std::time::Duration;

use postern_protocol::api::DeviceStatus;
use postern_tests::{Faketime, SOON, Stack, eventually};

/// A box connects within this, whatever its clock says.
const CONNECTS: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_box_in_1970_or_2040_joins_connects_and_is_visited() {
    let stack = Stack::start().await;
    for (name, clock) in [("box1970", "@1970-01-02 00:00:00"), ("box2040", "@2040-01-02 00:00:00")] {
        let (mut machine, join) = stack.add_box_offline(name).await;
        let _clock = Faketime::of(&stack, &mut machine, clock);
        machine.join(&join).await.success();
        machine.start();
        eventually("it is online", CONNECTS, async || {
            (stack.api.device(name).await.status == DeviceStatus::Online).then_some(())
        })
        .await;
        let access = stack.allow(&machine).await;
        assert_eq!(stack.ssh(&access).run("true").await.code, 0, "{name}");
    }
}

#[tokio::test]
async fn turning_the_clock_back_prolongs_no_access() {
    let mut stack = Stack::start().await;
    let mut box42 = stack.add_box("box42").await;
    box42.stop().await;
    let clock = Faketime::of(&stack, &mut box42, "+0");
    box42.start();
    box42.becomes(DeviceStatus::Online, &stack.api).await;
    let access = stack.allow(&box42).await;
    let has_key = |keys: String| keys.contains(access.id.as_str());
    eventually("the box hands out the key", SOON, async || has_key(box42.keys()).then_some(())).await;
    stack.end_in(&box42, &access, "3s").await;
    // Nobody can tell the box anything any more.
    stack.relay.kill();
    clock.turn("-2d");
    eventually("the access ends all the same", SOON, async || (!has_key(box42.keys())).then_some(())).await;

    box42.stop().await;
    box42.start();
    eventually("the agent runs again", SOON, async || {
        box42.run(&["status"]).await.stdout.contains("accesses     0 in force").then_some(())
    })
    .await;
    assert!(!has_key(box42.keys()), "after a restart");
}
