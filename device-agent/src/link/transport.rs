//! When the tunnel had better go over the other transport: over TCP when UDP passes nothing any more, or
//! next to nothing; over QUIC again as soon as that gets through.
//!
//! Visits stay on the tunnel that they came by, and new ones take the new one, so nobody need wait for a
//! moment in which nobody is inside.

use std::time::{Duration, Instant};

use postern_protocol::tunnel::quic::Connection;
use postern_protocol::wire::WhyTcp;
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

/// … and where it has not for long. In between, a quarter of the time that has passed. An attempt in vain
/// takes three packets of 1.2 kilobytes, which makes a quarter of a megabyte a day.
const RETURN_LATE: Duration = Duration::from_secs(1200);

/// The same where every byte costs.
const RETURN_LATE_METERED: Duration = Duration::from_secs(3600);

/// How long UDP is left alone where it has starved for the first time.
const REST: Duration = Duration::from_secs(600);

/// What starves again within this did not recover in between.
const RELAPSE: Duration = Duration::from_secs(3600);

/// The longest that UDP is left alone.
const LONGEST_REST: Duration = Duration::from_secs(6 * 3600);

/// How long UDP is left alone because it starved: where it starves again soon after, twice as long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rest {
    lasts: Duration,
    /// When it began; or, once QUIC is used again, when it was over.
    since: Instant,
}

impl Rest {
    /// The one that begins now, after the one before.
    fn after(before: Option<Self>, now: Instant) -> Self {
        let relapse = before.filter(|before| now.saturating_duration_since(before.since) < RELAPSE);
        let lasts = relapse.map_or(REST, |before| (before.lasts * 2).min(LONGEST_REST));
        Self { lasts, since: now }
    }

    fn over(self, now: Instant) -> Self {
        Self { since: now, ..self }
    }
}

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
                Ok(dialled) => {
                    let starved = why == WhyTcp::UdpStarved;
                    return dialled.resting(starved.then(|| Rest::after(present.rest, Instant::now())));
                }
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
    let (began, late) = (Instant::now(), late(agent.config.network.metered));
    let mut rest = present.rest;
    loop {
        tokio::select! {
            () = sleep(pause(rest, began.elapsed(), late)) => {}
            // Another network need not have the former's faults.
            () = super::another_outlook(agent) => rest = None,
        }
        let Ok(tls) = agent.tls() else { continue };
        match over_quic(relay, tls, &agent.config.network).await {
            Ok(dialled) => return dialled.resting(rest.map(|rest| rest.over(Instant::now()))),
            Err(error) => tracing::debug!("still over TCP: {error}"),
        }
    }
}

fn late(metered: bool) -> Duration {
    if metered { RETURN_LATE_METERED } else { RETURN_LATE }
}

/// How long to wait before the next look. Where UDP is held down, a handshake says nothing: it got through
/// before.
fn pause(rest: Option<Rest>, elapsed: Duration, late: Duration) -> Duration {
    rest.map_or_else(|| (elapsed / 4).clamp(RETURN_SOON, late), |rest| rest.lasts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quic_is_tried_soon_at_first_and_rarely_where_it_is_blocked_for_good() {
        let after = |seconds, metered| pause(None, Duration::from_secs(seconds), late(metered)).as_secs();
        assert_eq!([0, 60, 400, 40_000].map(|seconds| after(seconds, false)), [15, 15, 100, 1200]);
        assert_eq!([0, 60, 400, 40_000].map(|seconds| after(seconds, true)), [15, 15, 100, 3600]);
    }

    /// How long UDP is left alone, if it has starved each time so long after it was used again.
    fn rests(starves_after: Duration) -> Vec<u64> {
        let (mut now, mut rest) = (Instant::now(), None);
        let mut rested = || {
            let next = Rest::after(rest, now);
            let lasted = pause(Some(next), Duration::ZERO, RETURN_LATE);
            now += lasted;
            rest = Some(next.over(now));
            now += starves_after;
            lasted.as_secs() / 60
        };
        (0..8).map(|_| rested()).collect()
    }

    #[test]
    fn a_path_that_starves_again_and_again_is_left_alone_for_longer_and_longer() {
        assert_eq!(rests(Duration::from_secs(30)), [10, 20, 40, 80, 160, 320, 360, 360]);
    }

    #[test]
    fn a_path_that_did_well_in_between_is_tried_again_as_soon_as_at_first() {
        assert_eq!(rests(RELAPSE), [10; 8]);
    }
}
