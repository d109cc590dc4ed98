//! Times and spans, as people read and write them.

use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use postern_api::Span;

/// Units by size, with their seconds.
const UNITS: [(&str, i64); 4] = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)];

/// A moment that somebody named: `2026-11-21T18:00:00Z`, or `2h` for two hours ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// By date.
    At(DateTime<Utc>),
    /// By how long ago.
    Ago(Span),
}

impl Moment {
    /// As a date.
    pub(crate) fn at(self, now: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::At(at) => at,
            Self::Ago(span) => now - span.delta(),
        }
    }

    /// As the API reads it.
    pub(crate) fn text(self, now: DateTime<Utc>) -> String {
        self.at(now).to_rfc3339_opts(SecondsFormat::AutoSi, true)
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let by_date = || date(text).map(Self::At);
        text.parse().map(Self::Ago).or_else(|_| by_date()).map_err(|_| {
            "write a date like 2026-11-21T18:00:00Z, or how long ago, like 2h, 90m or 1d12h".to_owned()
        })
    }
}

/// A date with its time zone (RFC 3339).
pub(crate) fn date(text: &str) -> Result<DateTime<Utc>, String> {
    let date = DateTime::parse_from_rfc3339(text.trim());
    date.map(|date| date.to_utc())
        .map_err(|_| "write a date like 2026-11-21T18:00:00Z or 2026-11-21T19:00:00+01:00".to_owned())
}

/// A date, for people.
pub(crate) fn full(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// A length of time in its two largest units: `1 h 59 min`.
pub(crate) fn length(span: TimeDelta) -> String {
    let mut rest = span.num_seconds().max(0);
    let mut parts = Vec::new();
    for (unit, worth) in UNITS {
        let count = rest / worth;
        rest %= worth;
        match (count, parts.is_empty()) {
            (0, true) => {}
            (0, false) => break,
            (count, _) => parts.push(format!("{count} {unit}")),
        }
        if parts.len() == 2 {
            break;
        }
    }
    match parts.is_empty() {
        true => "0 s".to_owned(),
        false => parts.join(" "),
    }
}

/// A moment, seen from now: `in 2 h`, `3 min ago`.
pub(crate) fn seen_from(now: DateTime<Utc>, at: DateTime<Utc>) -> String {
    match at - now {
        ahead if ahead > TimeDelta::zero() => format!("in {}", length(ahead + TimeDelta::milliseconds(500))),
        behind if behind > TimeDelta::seconds(-1) => "just now".to_owned(),
        behind => format!("{} ago", length(-behind)),
    }
}

/// A number of bytes: `12.3 MB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if count < 1000 {
        return format!("{count} B");
    }
    // Tenths of the unit, in whole numbers all the way.
    let (mut tenths, mut unit) = (count / 100, 0);
    while tenths >= 10_000 && unit + 1 < UNITS.len() {
        tenths /= 1000;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
    }

    #[test]
    fn lengths_take_two_units_at_most() {
        let table = [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (7_199, "1 h 59 min"),
            (86_400 + 60, "1 d"),
            (90_061, "1 d 1 h"),
        ];
        for (seconds, text) in table {
            assert_eq!(length(TimeDelta::seconds(seconds)), text);
        }
        assert_eq!(length(TimeDelta::seconds(-5)), "0 s");
    }

    #[test]
    fn moments_are_seen_from_now() {
        assert_eq!(seen_from(at(0), at(7_200)), "in 2 h");
        assert_eq!(seen_from(at(180), at(0)), "3 min ago");
        assert_eq!(seen_from(at(0), at(0)), "just now");
    }

    #[test]
    fn moments_are_named_by_date_or_by_how_long_ago() {
        assert_eq!("2h".parse::<Moment>().unwrap().at(at(7_200)), at(0));
        assert_eq!("2023-11-14T23:13:20+01:00".parse::<Moment>().unwrap().at(at(9)), at(0));
        for text in ["", "yesterday", "2023-11-14", "2023-11-14T22:13:20"] {
            assert!(text.parse::<Moment>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn bytes_have_a_unit() {
        let table = [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (12_345_678, "12.3 MB"),
            (u64::MAX, "18446.7 PB"),
        ];
        for (count, text) in table {
            assert_eq!(bytes(count), text);
        }
    }
}
