//! How long to wait before dialling again: exponential, bounded, and with full jitter, so that a
//! thousand boxes that lost the same relay do not come back in lock-step.

use std::time::Duration;

/// The longest first wait.
const FIRST: Duration = Duration::from_millis(500);

/// The longest wait before dialling a relay that may be back any moment.
pub(crate) const USUAL: Duration = Duration::from_secs(30);

/// The longest wait before dialling again when nothing came back, so that a box whose network healed
/// out of its sight is soon back.
pub(crate) const SILENT: Duration = Duration::from_secs(5);

/// The longest wait before asking a relay again that has said no.
pub(crate) const SLOW: Duration = Duration::from_secs(300);

/// How many failures are remembered after a tunnel that did not last: waits go on from 4 s.
const REMEMBERED: u32 = 3;

/// Failures so far.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after one more failure: any share of a bound that doubles each time up to the most.
    /// The share is the caller's entropy.
    pub(crate) fn next(&mut self, most: Duration, entropy: u32) -> Duration {
        let bound = FIRST.saturating_mul(1 << self.failures.min(20)).min(most);
        self.failures = self.failures.saturating_add(1);
        share(bound, entropy)
    }

    /// A tunnel stood long enough to call it a success.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// A tunnel stood, but not for long: the relay is there, and must not be hammered.
    pub(crate) fn ease(&mut self) {
        self.failures = self.failures.min(REMEMBERED);
    }
}

/// A random share of a duration.
pub(crate) fn share(of: Duration, entropy: u32) -> Duration {
    of.mul_f64(f64::from(entropy) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn longest_waits(backoff: &mut Backoff, count: usize) -> Vec<u64> {
        (0..count).map(|_| backoff.next(USUAL, u32::MAX).as_millis() as u64).collect()
    }

    #[test]
    fn waits_double_up_to_the_bound() {
        let waits = longest_waits(&mut Backoff::default(), 9);
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
    }

    #[test]
    fn a_success_starts_anew_and_a_short_one_almost() {
        let mut backoff = Backoff::default();
        longest_waits(&mut backoff, 40);
        backoff.ease();
        assert_eq!(longest_waits(&mut backoff, 1), [4000]);
        backoff.reset();
        assert_eq!(longest_waits(&mut backoff, 1), [500]);
        backoff.ease();
        assert_eq!(longest_waits(&mut backoff, 1), [1000]);
    }

    proptest! {
        #[test]
        fn no_wait_exceeds_its_bound(failures: u32, entropy: u32) {
            let mut backoff = Backoff { failures };
            prop_assert!(backoff.next(SLOW, entropy) <= SLOW);
        }

        #[test]
        fn jitter_is_full(entropy: u32) {
            let wait = Backoff { failures: 9 }.next(USUAL, entropy).as_secs_f64();
            prop_assert!((wait - 30.0 * f64::from(entropy) / f64::from(u32::MAX)).abs() < 0.001);
        }
    }
}
