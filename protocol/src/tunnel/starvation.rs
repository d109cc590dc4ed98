//! Whether a path starves whoever sends over it: it lets handshakes and single packets through, and hardly
//! anything else, as a network does that holds UDP down.
//!
//! What shows it is that packets are lost all the time and little is sent for all that. A path that loses
//! as many and still carries much is no reason to leave it, and neither is a sender with little to say.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How often a sender looks at its counters.
const LOOK: Duration = Duration::from_secs(1);

/// How many looks are judged together.
const LOOKS: usize = 8;

/// Of these, so many must have seen losses; in the others, a window may have been on its way.
const WITH_LOSSES: usize = 6;

/// What a path carries at least that is worth staying on: 1.6 Mbit/s.
const ENOUGH: u64 = 200_000;

/// One sender's counters, and what they were.
#[derive(Debug)]
pub struct Starvation {
    looked: Instant,
    sent: u64,
    lost: u64,
    looks: VecDeque<Look>,
}

#[derive(Debug, Clone, Copy)]
struct Look {
    sent: u64,
    lossy: bool,
}

impl Starvation {
    /// Begins to look.
    pub fn new(now: Instant) -> Self {
        Self { looked: now, sent: 0, lost: 0, looks: VecDeque::with_capacity(LOOKS) }
    }

    /// Whether the path starves its sender; `sent` counts bytes and `lost` packets since the connection
    /// began. Whoever is told begins anew.
    pub fn shows(&mut self, sent: u64, lost: u64, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.looked);
        if elapsed < LOOK {
            return false;
        }
        // Nobody looked for a while: nothing follows another.
        if elapsed > LOOK * 2 {
            self.looks.clear();
        } else {
            self.looks.truncate(LOOKS - 1);
            self.looks.push_front(Look { sent: sent - self.sent, lossy: lost > self.lost });
        }
        (self.looked, self.sent, self.lost) = (now, sent, lost);
        let starved = self.is_whole() && self.is_lossy() && !self.is_enough();
        if starved {
            self.looks.clear();
        }
        starved
    }

    fn is_whole(&self) -> bool {
        self.looks.len() == LOOKS
    }

    fn is_lossy(&self) -> bool {
        self.looks.iter().filter(|look| look.lossy).count() >= WITH_LOSSES
    }

    fn is_enough(&self) -> bool {
        self.looks.iter().map(|look| look.sent).sum::<u64>() >= ENOUGH * LOOKS as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a path shows itself within half a minute that carries so much in a second, with so many
    /// packets lost in each of them but every `spared`th.
    #[expect(clippy::disallowed_methods, reason = "an Instant has no other beginning")]
    fn shows(bytes: u64, lost: u64, spared: u64) -> Option<u64> {
        let start = Instant::now();
        let mut starvation = Starvation::new(start);
        let mut losses = 0;
        (1..=30).find(|second| {
            losses += if second % spared == 0 { 0 } else { lost };
            starvation.shows(second * bytes, losses, start + Duration::from_secs(*second))
        })
    }

    #[test]
    fn a_path_that_drops_much_and_carries_little_shows_itself_in_seconds() {
        assert_eq!(shows(125_000, 30, 100), Some(8));
        assert_eq!(shows(125_000, 1, 5), Some(8));
    }

    #[test]
    fn a_path_that_carries_enough_or_loses_little_is_none() {
        assert_eq!(shows(2_000_000, 100, 100), None, "much gets through");
        assert_eq!(shows(1_000, 0, 100), None, "somebody types");
        assert_eq!(shows(1_000, 1, 2), None, "somebody types on a path that loses a little");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an Instant has no other beginning")]
    fn what_lies_far_apart_is_not_judged_together() {
        let start = Instant::now();
        let mut starvation = Starvation::new(start);
        let shown = (1..60)
            .filter(|look| starvation.shows(look * 1000, look * 9, start + Duration::from_secs(look * 3)));
        assert_eq!(shown.count(), 0);
    }
}
