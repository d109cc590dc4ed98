//! Counting failures, so that guessing is slow: pure, with the time passed in.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use tokio::time::Instant;

/// Who is remembered at once for failures of a kind; whoever has failed least, and longest ago, makes room.
pub(super) const REMEMBERED: usize = 4096;

/// How many failures somebody may have, and within what time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    /// After so many they wait.
    pub(super) failures: u32,
    /// Until the first of them is this old.
    pub(super) window: Duration,
}

/// Who failed how often lately.
#[derive(Debug)]
pub(super) struct Throttle<K> {
    limit: Limit,
    failures: HashMap<K, Failures>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    since: Instant,
    count: u32,
}

impl<K: Eq + Hash + Clone> Throttle<K> {
    /// Nobody has failed yet.
    pub(super) fn new(limit: Limit) -> Self {
        Self { limit, failures: HashMap::new() }
    }

    /// How long they must wait before they are listened to.
    pub(super) fn wait(&self, who: &K, now: Instant) -> Option<Duration> {
        let failures = self.failures.get(who)?;
        let left = self.limit.window.checked_sub(now.duration_since(failures.since))?;
        (failures.count >= self.limit.failures).then_some(left)
    }

    /// They failed.
    pub(super) fn failed(&mut self, who: &K, now: Instant) {
        if self.failures.len() >= REMEMBERED && !self.failures.contains_key(who) {
            self.make_room(now);
        }
        let failures = self.failures.entry(who.clone()).or_insert(Failures { since: now, count: 0 });
        if now.duration_since(failures.since) >= self.limit.window {
            *failures = Failures { since: now, count: 0 };
        }
        failures.count = failures.count.saturating_add(1);
    }

    /// What was taken for a failure before it was known was none.
    pub(super) fn forgive(&mut self, who: &K) {
        if let Some(failures) = self.failures.get_mut(who) {
            failures.count = failures.count.saturating_sub(1);
        }
    }

    /// Whoever failed often stays: else they would be forgotten for a few guesses under many other names.
    fn make_room(&mut self, now: Instant) {
        let window = self.limit.window;
        self.failures.retain(|_, failures| now.duration_since(failures.since) < window);
        let least = self.failures.iter().min_by_key(|(_, failures)| (failures.count, failures.since));
        if let Some(who) = least.map(|(who, _)| who.clone())
            && self.failures.len() >= REMEMBERED
        {
            self.failures.remove(&who);
        }
    }
}

/// Whoever has one IPv6 address has its whole /64.
pub(crate) fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit { failures: 3, window: Duration::from_secs(60) };

    #[test]
    fn whoever_failed_too_often_waits_until_the_first_failure_is_old() {
        let (mut throttle, now) = (Throttle::new(LIMIT), Instant::now());
        for _ in 0..3 {
            assert_eq!(throttle.wait(&1, now), None);
            throttle.failed(&1, now);
        }
        assert_eq!(throttle.wait(&1, now + Duration::from_secs(20)), Some(Duration::from_secs(40)));
        assert_eq!(throttle.wait(&2, now), None, "somebody else");
        let later = now + LIMIT.window + Duration::from_secs(1);
        assert_eq!(throttle.wait(&1, later), None);
        throttle.failed(&1, later);
        assert_eq!(throttle.wait(&1, later), None, "a new window");
    }

    #[test]
    fn what_was_no_failure_is_forgiven() {
        let (mut throttle, now) = (Throttle::new(LIMIT), Instant::now());
        for _ in 0..10 {
            throttle.failed(&1, now);
            throttle.forgive(&1);
        }
        assert_eq!(throttle.wait(&1, now), None);
        throttle.forgive(&2);
    }

    #[test]
    fn an_ipv6_source_is_its_whole_network() {
        let of = |address: &str| network(address.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[test]
    fn many_who_fail_once_do_not_make_one_forgotten_who_has_to_wait() {
        let (mut throttle, now) = (Throttle::new(LIMIT), Instant::now());
        for _ in 0..LIMIT.failures {
            throttle.failed(&0, now);
        }
        throttle.failed(&1, now);
        throttle.failed(&1, now);
        let later = now + Duration::from_secs(1);
        for number in 2..REMEMBERED + 20 {
            throttle.failed(&number, later);
        }
        assert!(throttle.wait(&0, later).is_some());
        throttle.failed(&1, later);
        assert!(throttle.wait(&1, later).is_some(), "nor one who is about to");
        assert_eq!(throttle.failures.len(), REMEMBERED);
    }

    #[test]
    fn only_so_many_are_remembered() {
        let (mut throttle, now) = (Throttle::new(LIMIT), Instant::now());
        for number in 0..REMEMBERED + 10 {
            throttle.failed(&number, now + Duration::from_millis(number as u64));
        }
        assert_eq!(throttle.failures.len(), REMEMBERED);
        assert!(!throttle.failures.contains_key(&0), "the oldest made room");
    }
}
