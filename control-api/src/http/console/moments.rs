//! Times and spans, as people read them. The script puts them into the reader's own time zone.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use maud::{Markup, html};

use super::words::Words;

/// A moment.
pub(super) fn at(moment: DateTime<Utc>) -> Markup {
    html! {
        time datetime=(moment.to_rfc3339_opts(SecondsFormat::Secs, true)) { (moment.format("%Y-%m-%d %H:%M UTC")) }
    }
}

/// How long ago something was.
pub(super) fn ago(moment: DateTime<Utc>, now: DateTime<Utc>, words: &Words) -> Markup {
    html! {
        time data-ago datetime=(moment.to_rfc3339_opts(SecondsFormat::Secs, true))
            title=(moment.format("%Y-%m-%d %H:%M:%S UTC")) { (words.fill(words.ago, &[&span(now - moment, words)])) }
    }
}

/// How much time is left.
pub(super) fn left(moment: DateTime<Utc>, now: DateTime<Utc>, words: &Words) -> Markup {
    html! {
        time data-left datetime=(moment.to_rfc3339_opts(SecondsFormat::Secs, true))
            title=(moment.format("%Y-%m-%d %H:%M:%S UTC")) { (countdown(moment - now, words)) }
    }
}

/// How long something has lasted until now.
pub(super) fn lasting(since: DateTime<Utc>, now: DateTime<Utc>, words: &Words) -> Markup {
    html! {
        time data-since datetime=(since.to_rfc3339_opts(SecondsFormat::Secs, true)) { (countdown(now - since, words)) }
    }
}

/// Days, and hours, minutes and seconds, as a clock shows them.
pub(super) fn countdown(span: TimeDelta, words: &Words) -> String {
    let seconds = span.num_seconds().max(0);
    let (days, clock) = (seconds / 86_400, seconds % 86_400);
    let clock = format!("{:02}:{:02}:{:02}", clock / 3600, clock / 60 % 60, clock % 60);
    if days > 0 { format!("{days} {} {clock}", words.unit_day) } else { clock }
}

/// A span in its largest unit.
fn span(span: TimeDelta, words: &Words) -> String {
    let seconds = span.num_seconds().max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} {}", seconds / 86_400, words.unit_day),
    }
}

/// Bytes, in a unit that suits them.
pub(super) fn bytes(count: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let mut whole = count;
    let mut unit = None;
    for name in units {
        if whole < 10_240 {
            break;
        }
        whole /= 1024;
        unit = Some(name);
    }
    match unit {
        None => format!("{count} B"),
        Some(unit) => format!("{whole} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::language::Language;
    use super::*;

    #[test]
    fn spans_and_sizes_read_well() {
        let words = Language::French.words();
        assert_eq!(countdown(TimeDelta::seconds(3 * 86_400 + 3661), words), "3 j 01:01:01");
        assert_eq!(countdown(TimeDelta::seconds(-5), words), "00:00:00");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(10_240), "10 KiB");
        assert_eq!(bytes(100 * 1024 * 1024), "100 MiB");
    }
}
