//! Probes through an outage, as long as there is a visit that could lose something.

use std::convert::Infallible;
use std::time::Instant;

use bytes::Bytes;
use postern_protocol::tunnel::{End, Link, Probe, TICK};
use quinn::Connection;
use tokio::time::sleep;

use crate::agent::Agent;

/// Sends probes when they are due; a box without visits sends none.
pub(super) async fn keep_probing(agent: &Agent, connection: &Connection) -> Infallible {
    loop {
        agent.visits.somebody().await;
        let mut probe = Probe::new(End::Dialled, Instant::now());
        while agent.visits.any() {
            sleep(TICK).await;
            send_if_due(connection, &mut probe);
        }
    }
}

fn send_if_due(connection: &Connection, probe: &mut Probe) {
    // A change of address brings a new controller, so it is asked for each time.
    let Some(link) = Link::of(connection.congestion_state()) else { return };
    let received = connection.stats().udp_rx.datagrams;
    if probe.is_due(&link, received, Instant::now()) {
        link.permit_probe();
        // A connection that takes no probe is about to end by itself.
        let _best_effort = connection.send_datagram(Bytes::from_static(&[0]));
    }
}
