//! How long to wait before trying again: longer each time, and never in step with others.

use std::time::Duration;

/// The first wait is at most this.
const FIRST: Duration = Duration::from_millis(200);

/// And no wait is ever longer.
const LONGEST: Duration = Duration::from_secs(10);

/// Waits, doubling, with full jitter.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next wait; `random` lies between 0 and 1.
    pub(crate) fn next(&mut self, random: f64) -> Duration {
        let ceiling = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures += 1;
        // Not from zero, or a lucky draw would hammer.
        ceiling.mul_f64(0.25 + 0.75 * random.clamp(0.0, 1.0))
    }

    /// It worked: the next failure is the first again.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Waits.
    pub(crate) async fn pause(&mut self) {
        tokio::time::sleep(self.next(rand::random())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_a_limit_and_start_anew() {
        let mut backoff = Backoff::default();
        let longest: Vec<Duration> = (0..8).map(|_| backoff.next(1.0)).collect();
        assert!(longest.is_sorted());
        assert_eq!((longest[0], longest[7]), (FIRST, LONGEST));
        backoff.reset();
        assert_eq!(backoff.next(1.0), FIRST);
    }

    #[test]
    fn no_wait_is_nothing() {
        let mut backoff = Backoff { failures: u32::MAX - 1 };
        assert_eq!(backoff.next(0.0), LONGEST / 4);
    }
}
