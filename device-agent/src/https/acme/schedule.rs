//! When to ask an authority: for the next certificate, and again after it said no.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::backoff::share;
use crate::identity::Validity;

/// The renewals of many boxes that began together are spread over this part of a certificate's life.
const SPREAD: i32 = 12;

/// An authority that is not there may be back any moment.
const FIRST_UNREACHABLE: Duration = Duration::from_secs(10);

/// Each refusal counts against a limit, of five per name and hour at the largest authority.
const FIRST_REFUSED: Duration = Duration::from_secs(15 * 60);

/// Limits are counted per hour at the least.
const FIRST_LIMITED: Duration = Duration::from_secs(3600);

/// A third of a certificate's life is left for trying, so there is never reason to wait longer.
const LONGEST: Duration = Duration::from_secs(12 * 3600);

/// The longest that an authority may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(7 * 24 * 3600);

/// Why there is no certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The authority did not answer, or could not.
    Unreachable,
    /// It said no.
    Refused,
    /// It has been asked too often.
    Limited,
}

/// When the next certificate is wanted: after two thirds of this one's life, and a share of a
/// twelfth.
pub(super) fn renewal(validity: Validity, entropy: u32) -> DateTime<Utc> {
    let spread = ((validity.until - validity.from) / SPREAD).to_std().unwrap_or_default();
    validity.renewal() + share(spread, entropy)
}

/// How long to wait after so many failures in a row: doubling, spread over the second half, and
/// never shorter than the authority asks.
pub(super) fn retry(kind: Kind, failures: u32, asked: Option<Duration>, entropy: u32) -> Duration {
    let first = match kind {
        Kind::Unreachable => FIRST_UNREACHABLE,
        Kind::Refused => FIRST_REFUSED,
        Kind::Limited => FIRST_LIMITED,
    };
    let doublings = failures.saturating_sub(1).min(20);
    let bound = first.saturating_mul(1 << doublings).min(LONGEST);
    let own = bound / 2 + share(bound / 2, entropy);
    own.max(asked.unwrap_or_default().min(LONGEST_ASKED))
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::testing::now;

    #[test]
    fn a_certificate_is_renewed_after_two_thirds_of_its_life_and_not_by_all_at_once() {
        let validity = Validity { from: now(), until: now() + TimeDelta::days(90) };
        assert_eq!(renewal(validity, 0), now() + TimeDelta::days(60));
        assert_eq!(renewal(validity, u32::MAX), now() + TimeDelta::minutes(67 * 24 * 60 + 12 * 60));
    }

    #[test]
    fn waits_double_and_an_authority_that_asks_for_more_gets_it() {
        let seconds = |kind, failures, asked: Option<u64>, entropy| {
            retry(kind, failures, asked.map(Duration::from_secs), entropy).as_secs()
        };
        assert_eq!(seconds(Kind::Unreachable, 1, None, u32::MAX), 10);
        assert_eq!(seconds(Kind::Unreachable, 1, None, 0), 5);
        assert_eq!(seconds(Kind::Unreachable, 4, None, u32::MAX), 80);
        assert_eq!(seconds(Kind::Unreachable, 99, None, u32::MAX), LONGEST.as_secs());
        assert_eq!(seconds(Kind::Refused, 1, None, u32::MAX), 900);
        assert_eq!(seconds(Kind::Limited, 1, None, 0), 1800);
        assert_eq!(seconds(Kind::Limited, 1, Some(7200), 0), 7200);
        assert_eq!(seconds(Kind::Limited, 1, Some(60), 0), 1800);
        assert_eq!(seconds(Kind::Refused, 1, Some(u64::MAX), 0), LONGEST_ASKED.as_secs());
    }

    #[test]
    fn five_refusals_take_longer_than_the_hour_in_which_an_authority_allows_them() {
        let waited: Duration = (1..5).map(|failures| retry(Kind::Refused, failures, None, 0)).sum();
        assert!(waited > Duration::from_secs(3600), "{waited:?}");
    }
}
