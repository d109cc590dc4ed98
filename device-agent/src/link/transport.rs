//! When the tunnel had better go over the other transport: over TCP when UDP passes nothing any more, or
//! next to nothing; over QUIC again as soon as that gets through.
//!
//! Visits stay on the tunnel that they came by, and new ones take the new one, so nobody need wait for a
//! moment in which nobody is inside.

use std::time::{Duration, Instant};

use postern_protocol::wire::WhyTcp;
use quinn::Connection;
use tokio::time::sleep;

use super::dial::{Dialled, over_quic};
use super::over_tcp::over_tcp;
use super::path::idle_patience;
use crate::agent::Agent;

/// Between two looks at what has come in.
const LOOK: Duration = Duration::from_secs(5);

/// So long without a word while somebody is inside, TCP is tried; most outages are over sooner, and a moved
/// QUIC connection goes on where it stopped.
const DESPAIR: Duration = Duration::from_secs(20);

/// When TCP does not get through either, what is wrong is not UDP.
const AGAIN: Duration = Duration::from_secs(20);

/// How often to see whether QUIC gets through again: at first …
const RETURN_SOON: Duration = Duration::from_secs(15);

/// … and where it has not for long. In between, a quarter of the time that has passed.
const RETURN_LATE: Duration = Duration::from_secs(600);

/// Waits until the other transport gets through, and is the better one.
pub(super) async fn better(agent: &Agent, relay: &str, present: &Dialled) -> Dialled {
    match present.connection.quic() {
        Some(quic) => leave_quic(agent, relay, present, quic).await,
        None => return_to_quic(agent, relay, present).await,
    }
}

async fn leave_quic(agent: &Agent, relay: &str, present: &Dialled, quic: &Connection) -> Dialled {
    loop {
        let why = tokio::select! {
            () = silence(agent, quic) => WhyTcp::UdpLost,
            () = present.starved.notified() => WhyTcp::UdpStarved,
        };
        if let Ok(tls) = agent.tls() {
            match over_tcp(relay, tls, &agent.config.network, why).await {
                Ok(dialled) => return dialled,
                Err(error) => tracing::debug!("{why}, and not over TCP either: {error}"),
            }
        }
        sleep(AGAIN).await;
    }
}

/// Returns when nothing has come back for long.
async fn silence(agent: &Agent, quic: &Connection) {
    let (mut received, mut heard) = (quic.stats().udp_rx.datagrams, Instant::now());
    loop {
        sleep(LOOK).await;
        let now = quic.stats().udp_rx.datagrams;
        if now != received {
            (received, heard) = (now, Instant::now());
        }
        let patience = if agent.visits.any() { DESPAIR } else { idle_patience(agent) };
        if heard.elapsed() >= patience {
            return;
        }
    }
}

async fn return_to_quic(agent: &Agent, relay: &str, present: &Dialled) -> Dialled {
    let mut network = agent.network.subscribe();
    let began = Instant::now();
    loop {
        tokio::select! {
            () = sleep(pause(present.why_tcp(), began.elapsed())) => {}
            _ = network.changed() => {}
        }
        let Ok(tls) = agent.tls() else { continue };
        match over_quic(relay, tls, &agent.config.network).await {
            Ok(dialled) => return dialled,
            Err(error) => tracing::debug!("still over TCP: {error}"),
        }
    }
}

/// How long to wait before the next look. Where UDP is held down, a handshake says nothing: it got through
/// before.
fn pause(why: Option<WhyTcp>, elapsed: Duration) -> Duration {
    match why {
        Some(WhyTcp::UdpStarved) => RETURN_LATE,
        Some(WhyTcp::UdpSilent | WhyTcp::UdpLost) | None => (elapsed / 4).clamp(RETURN_SOON, RETURN_LATE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quic_is_tried_soon_at_first_and_rarely_where_it_is_blocked_for_good() {
        let after = |seconds| pause(Some(WhyTcp::UdpSilent), Duration::from_secs(seconds)).as_secs();
        assert_eq!([0, 60, 400, 4000].map(after), [15, 15, 100, 600]);
    }

    #[test]
    fn a_path_that_starves_is_left_alone_for_a_while() {
        assert_eq!(pause(Some(WhyTcp::UdpStarved), Duration::ZERO), RETURN_LATE);
    }
}
