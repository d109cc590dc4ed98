//! Lengths of time, as people write them: `2h`, `90m`, `1d12h`.

use std::fmt;
use std::str::FromStr;

use chrono::TimeDelta;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Units in the order in which they may stand, with their seconds.
const UNITS: [(char, i64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// The longest span: ten years, far beyond any access and far from where arithmetic on dates fails.
const MAX_SECONDS: i64 = 10 * 365 * 86_400;

/// A length of time, in whole seconds, longer than nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    seconds: i64,
}

/// A text that is not a length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a length of time is written like 2h, 90m or 1d12h, and is at most ten years")]
pub struct InvalidSpan;

impl Span {
    /// So many minutes.
    pub const fn minutes(minutes: u16) -> Self {
        Self { seconds: minutes as i64 * 60 }
    }

    /// So many hours.
    pub const fn hours(hours: u16) -> Self {
        Self { seconds: hours as i64 * 3_600 }
    }

    /// So many days.
    pub const fn days(days: u16) -> Self {
        Self { seconds: days as i64 * 86_400 }
    }

    /// As a difference of times.
    pub fn delta(self) -> TimeDelta {
        TimeDelta::seconds(self.seconds)
    }
}

impl FromStr for Span {
    type Err = InvalidSpan;

    fn from_str(text: &str) -> Result<Self, InvalidSpan> {
        let mut rest = text.trim();
        let mut seconds: i64 = 0;
        for (unit, worth) in UNITS {
            let Some((number, after)) = rest.split_once(unit) else { continue };
            if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(InvalidSpan);
            }
            let number: i64 = number.parse().map_err(|_| InvalidSpan)?;
            let part = number.checked_mul(worth).ok_or(InvalidSpan)?;
            seconds = seconds.checked_add(part).ok_or(InvalidSpan)?;
            rest = after;
        }
        match rest.is_empty() && (1..=MAX_SECONDS).contains(&seconds) {
            true => Ok(Self { seconds }),
            false => Err(InvalidSpan),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.seconds;
        for (unit, worth) in UNITS {
            let count = rest / worth;
            rest %= worth;
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Option<i64> {
        text.parse::<Span>().ok().map(|span| span.seconds)
    }

    #[test]
    fn spans_are_read_as_people_write_them() {
        assert_eq!(seconds("2h"), Some(7_200));
        assert_eq!(seconds("90m"), Some(5_400));
        assert_eq!(seconds(" 1d12h "), Some(129_600));
        assert_eq!(seconds("1d2h3m4s"), Some(93_784));
    }

    #[test]
    fn nonsense_nothing_and_forever_are_refused() {
        let texts = [
            "",
            "0s",
            "2",
            "h",
            "-2h",
            "+2h",
            "2h1d",
            "2h2h",
            "1.5h",
            "2 h",
            "11000d",
            "99999999999999999999d",
        ];
        for text in texts {
            assert_eq!(seconds(text), None, "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_span_survives_printing(seconds in 1..=MAX_SECONDS) {
            let span = Span { seconds };
            proptest::prop_assert_eq!(span.to_string().parse(), Ok(span));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            let _ = text.parse::<Span>();
        }
    }
}
