//! Tickets by which boxes resume (RFC 8446, section 2.2): what a returning box costs the relay is then no
//! signature and no chain of certificates.
//!
//! The relay keeps nothing: a ticket is the session, sealed under a key of the day that derives from a seed
//! on disk, so a relay that was killed can read the tickets of its former life, which is when all boxes
//! return at once. Keys are agreed upon afresh in every session (`psk_dhe_ke`), and nobody is let in by a
//! ticket alone: whether the box still belongs is asked of the rulebook each time. Data before the end of
//! a handshake (0-RTT) is not taken.

use std::fmt;
use std::sync::Arc;

use chrono::Utc;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use rustls::server::ProducesTickets;

use crate::metrics::Metrics;

/// A ticket may be used for as long as the day after its own has not ended.
const LIFETIME_SECONDS: u32 = 24 * 3600;

/// The day of a ticket stands before it, and tells its key.
const DAY: usize = size_of::<u32>();

/// Seals and opens tickets.
pub(crate) struct Tickets {
    key: hmac::Key,
    metrics: Metrics,
}

impl Tickets {
    /// Tickets under the keys that derive from this one.
    pub(crate) fn new(key: hmac::Key, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self { key, metrics })
    }

    fn key_of(&self, day: u32) -> LessSafeKey {
        let tag = hmac::sign(&self.key, &day.to_be_bytes());
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, tag.as_ref()).expect("HMAC-SHA256 has 32 bytes"))
    }

    fn seal(&self, session: &[u8], day: u32) -> Option<Vec<u8>> {
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut sealed = session.to_vec();
        let place = day.to_be_bytes();
        let tag = self.key_of(day).seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(place),
            &mut sealed,
        );
        Some([&place[..], &nonce, &sealed, tag.ok()?.as_ref()].concat())
    }

    fn open(&self, ticket: &[u8], today: u32) -> Option<Vec<u8>> {
        let (place, rest) = ticket.split_first_chunk::<DAY>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let day = u32::from_be_bytes(*place);
        if day > today || day + 1 < today {
            return None;
        }
        let (nonce, mut sealed) = (Nonce::assume_unique_for_key(*nonce), sealed.to_vec());
        let session = self.key_of(day).open_in_place(nonce, Aad::from(*place), &mut sealed).ok()?;
        Some(session.to_vec())
    }
}

fn today() -> u32 {
    u32::try_from(Utc::now().timestamp() / i64::from(LIFETIME_SECONDS)).unwrap_or_default()
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME_SECONDS
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        self.seal(session, today())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let session = self.open(ticket, today());
        if session.is_some() {
            self.metrics.sessions_resumed.inc();
        }
        session
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tickets(seed: u8) -> Arc<Tickets> {
        Tickets::new(hmac::Key::new(hmac::HMAC_SHA256, &[seed; 32]), Metrics::default())
    }

    #[test]
    fn a_relay_reads_the_tickets_of_its_former_life_for_two_days_at_most() {
        let ticket = tickets(1).seal(b"a session", 100).unwrap();
        for (today, read) in [(99, false), (100, true), (101, true), (102, false)] {
            assert_eq!(tickets(1).open(&ticket, today).is_some(), read, "on day {today}");
        }
        assert_eq!(tickets(1).open(&ticket, 100).as_deref(), Some(&b"a session"[..]));
    }

    #[test]
    fn what_another_sealed_or_somebody_changed_is_no_ticket() {
        let ticket = tickets(1).seal(b"a session", 100).unwrap();
        assert_eq!(tickets(2).open(&ticket, 100), None);
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(tickets(1).open(&changed, 101), None, "at {at}");
            assert_eq!(tickets(1).open(&ticket[..at], 100), None, "cut at {at}");
        }
    }
}
