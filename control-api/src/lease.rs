//! When each box's signature must be renewed.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use postern_protocol::id::DeviceId;

use crate::span::Span;

/// The signatures that one relay was given, by the time of their renewal.
#[derive(Debug)]
pub(crate) struct Leases {
    half: chrono::TimeDelta,
    by_time: BTreeSet<(DateTime<Utc>, DeviceId)>,
    of_box: HashMap<DeviceId, DateTime<Utc>>,
}

impl Leases {
    /// No signatures yet; those to come hold this long.
    pub(crate) fn new(lease: Span) -> Self {
        Self { half: lease.delta() / 2, by_time: BTreeSet::new(), of_box: HashMap::new() }
    }

    /// A box's rules were signed now; renew them when half of the lease is over.
    pub(crate) fn signed(&mut self, device: DeviceId, now: DateTime<Utc>) {
        self.forget(device);
        self.by_time.insert((now + self.half, device));
        self.of_box.insert(device, now + self.half);
    }

    /// A box is gone.
    pub(crate) fn forget(&mut self, device: DeviceId) {
        if let Some(at) = self.of_box.remove(&device) {
            self.by_time.remove(&(at, device));
        }
    }

    /// The boxes whose lease is half over, the longest waiting first, so many at most.
    pub(crate) fn due(&self, now: DateTime<Utc>, most: usize) -> Vec<DeviceId> {
        let due = self.by_time.iter().take_while(|(at, _)| *at <= now);
        due.take(most).map(|(_, device)| *device).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + chrono::TimeDelta::hours(hours)
    }

    fn device(number: u8) -> DeviceId {
        DeviceId::from_entropy([number; 10])
    }

    #[test]
    fn a_lease_is_due_when_it_is_half_over() {
        let mut leases = Leases::new(Span::hours(12));
        leases.signed(device(1), at(0));
        leases.signed(device(2), at(1));
        assert_eq!(leases.due(at(5), 10), []);
        assert_eq!(leases.due(at(6), 10), [device(1)]);
        assert_eq!(leases.due(at(7), 10), [device(1), device(2)]);
        assert_eq!(leases.due(at(7), 1), [device(1)]);
    }

    #[test]
    fn a_change_renews_and_a_deletion_forgets() {
        let mut leases = Leases::new(Span::hours(12));
        leases.signed(device(1), at(0));
        leases.signed(device(1), at(3));
        leases.signed(device(2), at(0));
        leases.forget(device(2));
        leases.forget(device(3));
        assert_eq!(leases.due(at(8), 10), []);
        assert_eq!(leases.due(at(9), 10), [device(1)]);
        assert_eq!(leases.by_time.len(), leases.of_box.len());
    }
}
