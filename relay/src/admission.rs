//! How many strangers may be at the door: at once, and in a while; from one source, and in total.
//!
//! A source is an IPv4 address or an IPv6 /64, since whoever has one address of it has them all.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The bits of an IPv6 address that its owner was given rather than chose.
const NETWORK: u128 = u128::MAX << 64;

/// Who counts as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SourceNetwork(IpAddr);

impl From<IpAddr> for SourceNetwork {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & NETWORK)),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// A room with so many places, of which one source may take so many.
#[derive(Debug, Clone)]
pub(crate) struct Room(Arc<RoomInner>);

#[derive(Debug)]
struct RoomInner {
    total: usize,
    per_source: usize,
    guests: Mutex<Guests>,
}

#[derive(Debug, Default)]
struct Guests {
    total: usize,
    of_source: HashMap<SourceNetwork, usize>,
}

/// A place in a [`Room`], free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    room: Room,
    source: SourceNetwork,
}

impl Room {
    pub(crate) fn new(total: usize, per_source: usize) -> Self {
        Self(Arc::new(RoomInner { total, per_source, guests: Mutex::default() }))
    }

    /// A place, if there is one left for this source.
    pub(crate) fn enter(&self, source: impl Into<SourceNetwork>) -> Option<Place> {
        let source = source.into();
        let mut guests = self.guests();
        let taken = guests.of_source.get(&source).copied().unwrap_or_default();
        if guests.total >= self.0.total || taken >= self.0.per_source {
            return None;
        }
        guests.total += 1;
        guests.of_source.insert(source, taken + 1);
        Some(Place { room: self.clone(), source })
    }

    fn guests(&self) -> std::sync::MutexGuard<'_, Guests> {
        self.0.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut guests = self.room.guests();
        guests.total -= 1;
        if let Some(taken) = guests.of_source.get_mut(&self.source) {
            *taken -= 1;
            if *taken == 0 {
                guests.of_source.remove(&self.source);
            }
        }
    }
}

/// So many in a while from one source, or for one of whatever else, evenly after a first burst (the
/// generic cell rate algorithm).
#[derive(Debug)]
pub(crate) struct Pace<Of = SourceNetwork> {
    every: Duration,
    burst: u32,
    /// When each source will have spent what it took so far.
    spent_at: HashMap<Of, Instant>,
}

/// The most sources that a [`Pace`] remembers; beyond that, new ones have to wait.
const MAX_SOURCES: usize = 16 * 1024;

impl<Of: Copy + Eq + Hash> Pace<Of> {
    /// One `every` so often, and at first as many as `burst` at once.
    pub(crate) fn new(every: Duration, burst: u32) -> Self {
        Self { every, burst, spent_at: HashMap::new() }
    }

    /// Whether one more is in order now.
    pub(crate) fn admit(&mut self, source: impl Into<Of>, now: Instant) -> bool {
        let source = source.into();
        if self.spent_at.len() >= MAX_SOURCES {
            self.spent_at.retain(|_, spent_at| *spent_at > now);
        }
        if self.spent_at.len() >= MAX_SOURCES && !self.spent_at.contains_key(&source) {
            return false;
        }
        let spent_at = self.spent_at.entry(source).or_insert(now);
        let next = (*spent_at).max(now) + self.every;
        let admitted = next.saturating_duration_since(now) <= self.every * self.burst;
        if admitted {
            *spent_at = next;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_source_is_one_however_it_is_written_and_whichever_address_it_picks() {
        let source = |text| SourceNetwork::from(ip(text));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:ffff:ffff:ffff"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
    }

    #[test]
    fn a_room_has_so_many_places_for_one_and_so_many_for_all() {
        let room = Room::new(3, 2);
        let first = room.enter(ip("192.0.2.1")).expect("an empty room");
        let _second = room.enter(ip("192.0.2.1")).expect("two of a source");
        assert!(room.enter(ip("192.0.2.1")).is_none(), "a third of a source");
        let _other = room.enter(ip("192.0.2.2")).expect("another source");
        assert!(room.enter(ip("192.0.2.3")).is_none(), "the room is full");
        drop(first);
        assert!(room.enter(ip("192.0.2.3")).is_some(), "a place was left");
    }

    #[test]
    fn an_empty_room_remembers_nobody() {
        let room = Room::new(3, 2);
        drop(room.enter(ip("192.0.2.1")));
        assert!(room.guests().of_source.is_empty());
    }

    #[test]
    fn a_burst_is_followed_by_an_even_pace() {
        let (mut pace, start) = (Pace::<SourceNetwork>::new(Duration::from_secs(1), 3), Instant::now());
        let mut admitted =
            |milliseconds| pace.admit(ip("192.0.2.1"), start + Duration::from_millis(milliseconds));
        assert_eq!([0, 0, 0, 0].map(&mut admitted), [true, true, true, false]);
        assert_eq!([999, 1000, 1001, 2000].map(&mut admitted), [false, true, false, true]);
        assert!(pace.admit(ip("192.0.2.2"), start), "others keep their own pace");
    }

    #[test]
    fn the_memory_for_sources_is_bounded_and_recovers() {
        let (mut pace, start) = (Pace::<SourceNetwork>::new(Duration::from_secs(1), 1), Instant::now());
        let source = |n: usize| ip(&format!("10.{}.{}.{}", n >> 16, (n >> 8) & 255, n & 255));
        assert!((0..MAX_SOURCES).all(|n| pace.admit(source(n), start)));
        assert!(!pace.admit(source(MAX_SOURCES), start), "one too many");
        assert!(pace.admit(source(MAX_SOURCES), start + Duration::from_secs(2)));
    }
}
