//! How often an idle tunnel must be used so that the NATs along its path do not forget it: learnt, path by
//! path, with the time and what was seen as arguments.
//!
//! A NAT forgets in silence, and the next packet gets another mapping, with another port: so the box asks
//! the relay after a silence from where it is seen. The same address as before means that a silence of
//! this length is safe, and the next may be longer; another means that it was too long.

use std::net::SocketAddr;
use std::time::Duration;

use crate::backoff::share;

/// Most NATs remember for longer than this (RFC 4787, section 4.3, asks for two minutes).
pub(super) const SHORTEST: Duration = Duration::from_secs(15);

/// What is tried first.
const FIRST: Duration = Duration::from_secs(20);

/// What is between a silence that was safe and one that was not is searched no further than this.
const CLOSE: Duration = Duration::from_secs(5);

/// So many silences in a row pass without a question; then one more is asked after, for paths change.
const TRUST: u32 = 60;

/// What to do after a silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// A packet, no matter which.
    Life,
    /// The question from where the relay sees the box.
    Question,
}

/// What is known of one path.
#[derive(Debug)]
pub(super) struct KeepAlive {
    longest: Duration,
    /// The longest silence that was survived.
    safe: Duration,
    /// The shortest that was not.
    unsafe_: Option<Duration>,
    /// The silence that is tried now.
    present: Duration,
    seen: Option<SocketAddr>,
    unasked: u32,
}

impl KeepAlive {
    /// Nothing is known yet; silences may last so long at most.
    pub(super) fn new(longest: Duration) -> Self {
        Self { longest, safe: SHORTEST, unsafe_: None, present: FIRST, seen: None, unasked: 0 }
    }

    /// How long silence may last now. Once that is settled, a random share of a tenth less: boxes that
    /// came at the same moment must not go on in step.
    pub(super) fn silence(&self, entropy: u32) -> Duration {
        let less = if self.is_settled() { share(self.present / 10, entropy) } else { Duration::ZERO };
        self.present - less
    }

    /// That silence is over: what to send.
    pub(super) fn sign(&mut self) -> Sign {
        self.unasked = if self.is_settled() && self.unasked < TRUST { self.unasked + 1 } else { 0 };
        if self.unasked > 0 { Sign::Life } else { Sign::Question }
    }

    /// The relay sees the box there, after a silence of the present length.
    pub(super) fn seen(&mut self, address: SocketAddr) {
        match self.seen.replace(address) {
            // The first answer is what later ones are compared with.
            None => return,
            Some(before) if before == address => self.safe = self.safe.max(self.present),
            Some(_) => self.lost(),
        }
        self.present = self.next();
    }

    fn is_settled(&self) -> bool {
        self.present == self.safe && self.seen.is_some()
    }

    fn lost(&mut self) {
        self.unsafe_ = Some(self.present);
        // What was safe once is not now: another NAT, or the same with less room.
        if self.safe >= self.present {
            self.safe = SHORTEST;
        }
    }

    fn next(&self) -> Duration {
        let further = match self.unsafe_ {
            None => self.safe * 3 / 2,
            Some(unsafe_) if unsafe_ > self.safe + CLOSE => self.safe + (unsafe_ - self.safe) / 2,
            Some(_) => self.safe,
        };
        further.min(self.longest).max(SHORTEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is learnt of a NAT that forgets after so many seconds, and how often it forgot.
    fn learnt(forgets_after: u64, longest: u64) -> (u64, u32) {
        let mut keep_alive = KeepAlive::new(Duration::from_secs(longest));
        let (mut port, mut forgotten) = (1000, 0);
        for _ in 0..200 {
            if keep_alive.silence(0) >= Duration::from_secs(forgets_after) {
                (port, forgotten) = (port + 1, forgotten + 1);
            }
            if keep_alive.sign() == Sign::Question {
                keep_alive.seen(SocketAddr::from(([192, 0, 2, 1], port)));
            }
        }
        (keep_alive.silence(0).as_secs(), forgotten)
    }

    #[test]
    fn a_nat_is_used_just_before_it_forgets() {
        for forgets_after in [18, 30, 45, 60, 90, 119] {
            let (silence, forgotten) = learnt(forgets_after, 120);
            assert!(silence < forgets_after, "{silence} s of {forgets_after}");
            assert!(silence + 5 >= forgets_after || silence == 15, "{silence} s of {forgets_after}");
            assert!(forgotten < 12, "{forgotten} times at {forgets_after} s");
        }
    }

    #[test]
    fn silences_are_bounded() {
        assert_eq!(learnt(3600, 120), (120, 0));
        assert_eq!(learnt(3600, 25), (25, 0));
        assert_eq!(learnt(5, 120).0, 15);
    }

    #[test]
    fn what_is_known_is_asked_after_rarely() {
        let mut keep_alive = KeepAlive::new(Duration::from_secs(25));
        let mut questions = 0;
        for _ in 0..TRUST * 10 {
            if keep_alive.sign() == Sign::Question {
                questions += 1;
                keep_alive.seen(SocketAddr::from(([192, 0, 2, 1], 1000)));
            }
        }
        assert!((10..20).contains(&questions), "{questions}");
    }
}
