//! An outage, seen by the clock that the tests turn.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn_proto::congestion::{Controller, ControllerFactory};

use super::outage::{Link, OutageConfig};
use super::{End, Probe};

const MTU: u64 = 1200;

/// A controller, its link, and a clock.
struct Path {
    controller: Box<dyn Controller>,
    link: Arc<Link>,
    now: Instant,
}

impl Path {
    #[expect(clippy::disallowed_methods, reason = "an Instant has no other beginning")]
    fn new() -> Self {
        let now = Instant::now();
        let controller = Arc::new(OutageConfig::default()).build(now, 1200);
        let link = Link::of(controller.as_ref()).unwrap();
        Self { controller, link, now }
    }

    fn pass(&mut self, milliseconds: u64) {
        self.now += Duration::from_millis(milliseconds);
    }

    fn send(&mut self) {
        self.controller.on_sent(self.now, MTU, 1);
    }

    fn acknowledge_all(&mut self) {
        self.controller.on_end_acks(self.now, 0, false, Some(1));
    }
}

#[test]
fn waiting_half_a_second_for_an_acknowledgement_is_an_outage() {
    let mut path = Path::new();
    path.pass(5_000);
    path.send();
    path.pass(499);
    assert!(!path.link.is_stalled(path.now));
    path.pass(1);
    assert!(path.link.is_stalled(path.now));
    path.acknowledge_all();
    assert!(!path.link.is_stalled(path.now));
}

#[test]
fn silence_without_anything_under_way_is_no_outage() {
    let mut path = Path::new();
    path.send();
    path.acknowledge_all();
    path.pass(60_000);
    assert!(!path.link.is_stalled(path.now));
}

#[test]
fn a_permit_opens_the_window_for_two_datagrams_and_sending_closes_it() {
    let mut path = Path::new();
    let usual = path.controller.window();
    path.link.permit_probe();
    for _ in 0..4 {
        assert!(path.controller.window() > u64::from(u32::MAX));
    }
    assert_eq!(path.controller.window(), usual);
    path.link.permit_probe();
    path.send();
    assert_eq!(path.controller.window(), usual);
}

#[test]
fn the_end_of_an_outage_is_a_fresh_start_and_its_losses_do_not_count() {
    let mut path = Path::new();
    let fresh = path.controller.window();
    path.send();
    let sent = path.now;
    path.controller.on_congestion_event(path.now + Duration::from_millis(1), path.now, false, MTU);
    path.pass(20_000);
    path.controller.on_end_acks(path.now, MTU, false, Some(1));
    assert!(path.link.take_hurry());
    while path.controller.window() > u64::from(u32::MAX) {}
    assert_eq!(path.controller.window(), fresh);
    path.controller.on_congestion_event(path.now, sent, true, MTU);
    assert_eq!(path.controller.window(), fresh);
    let after = path.now + Duration::from_millis(10);
    path.controller.on_congestion_event(after + Duration::from_millis(10), after, false, MTU);
    assert!(path.controller.window() < fresh);
}

#[test]
fn a_stalled_side_probes_twice_a_second_and_a_quiet_relay_never() {
    let mut path = Path::new();
    let mut relay = Probe::new(End::Listened, path.now);
    path.pass(10_000);
    assert!(!relay.is_due(&path.link, 0, path.now));
    path.send();
    path.pass(10_000);
    let probes = (0..16).filter(|_| {
        path.pass(125);
        relay.is_due(&path.link, 0, path.now)
    });
    assert_eq!(probes.count(), 4);
}

#[test]
fn a_quiet_box_probes_its_own_mapping_and_gives_up_hurrying_after_a_minute() {
    let mut path = Path::new();
    let mut dialled = Probe::new(End::Dialled, path.now);
    let mut probes_in = |seconds: u64| {
        let ticks = 0..seconds * 8;
        ticks
            .filter(|_| {
                path.pass(125);
                dialled.is_due(&path.link, 0, path.now)
            })
            .count()
    };
    assert_eq!(probes_in(2), 3);
    probes_in(60);
    assert_eq!(probes_in(50), 10);
}
