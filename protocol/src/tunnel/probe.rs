//! When to send a probe: a decision of its own, with the time as an argument.

use std::time::{Duration, Instant};

use super::outage::Link;

/// How often to ask [`Probe::is_due`] while there is something to lose.
pub const TICK: Duration = Duration::from_millis(125);

/// At most one probe in this time, unless one is wanted at once.
const PAUSE: Duration = Duration::from_millis(500);

/// Nothing received for so long makes the dialling side probe, since only it can repair a NAT's
/// mapping …
const SILENCE: Duration = Duration::from_secs(1);

/// … and after a minute of it, rarely.
const LONG_SILENCE: Duration = Duration::from_secs(60);
const LONG_SILENCE_PAUSE: Duration = Duration::from_secs(5);

/// Which end of a connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The one that dialled: the box.
    Dialled,
    /// The one that listened: the relay.
    Listened,
}

/// One connection's probing.
#[derive(Debug)]
pub struct Probe {
    end: End,
    last_probe: Instant,
    last_received: Instant,
    received: u64,
}

impl Probe {
    /// Begins to watch.
    pub fn new(end: End, now: Instant) -> Self {
        Self { end, last_probe: now, last_received: now, received: 0 }
    }

    /// Whether to send a probe now; `received` counts the datagrams that have come so far.
    pub fn is_due(&mut self, link: &Link, received: u64, now: Instant) -> bool {
        if received != self.received {
            self.received = received;
            self.last_received = now;
        }
        let waited = now.saturating_duration_since(self.last_probe);
        let due =
            link.take_hurry() || (waited >= PAUSE && link.is_stalled(now)) || self.is_silent(waited, now);
        if due {
            self.last_probe = now;
        }
        due
    }

    fn is_silent(&self, waited: Duration, now: Instant) -> bool {
        let silence = now.saturating_duration_since(self.last_received);
        let pause = if silence >= LONG_SILENCE { LONG_SILENCE_PAUSE } else { PAUSE };
        self.end == End::Dialled && silence >= SILENCE && waited >= pause
    }
}
