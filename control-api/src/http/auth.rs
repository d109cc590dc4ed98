//! Who is asking. The extractor is the gate: a handler that names a caller runs for nobody else.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use postern_protocol::id::{RelayId, TokenId};
use postern_protocol::secret::Secret;
use tokio::time::Instant;

use super::Shared;
use super::address::{CallerAddress, peer};
use super::error::{ApiError, Code};
use crate::once::SealingKey;
use crate::store::Account;

/// What API tokens begin with.
pub(crate) const API_TOKEN: &str = "pst";

/// What relays' tokens begin with.
pub(crate) const RELAY_TOKEN: &str = "psr";

/// Wrong tokens that one source may bring in a [`WINDOW`] before it is no longer listened to.
const FAILURES: u32 = 20;

/// After this a source may try again.
const WINDOW: Duration = Duration::from_secs(60);

/// Sources that are remembered; the oldest makes room.
const SOURCES: usize = 4096;

/// Right tokens that are remembered; when full, all are forgotten and prove themselves again.
const PROVED: usize = 4096;

/// The longest token that is looked at.
const MAX_TOKEN: usize = 128;

/// Somebody with an API token.
pub(super) struct Caller {
    /// The rows that are theirs.
    pub(super) account: Account,
    /// The token.
    pub(super) token: TokenId,
    /// What only its holder can seal with.
    pub(super) sealing: SealingKey,
}

/// A relay.
pub(super) struct RelayCaller {
    /// Its id.
    pub(super) id: RelayId,
    /// Its name.
    pub(super) name: String,
}

impl FromRequestParts<Shared> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, ApiError> {
        let attempt = Attempt::of(parts, app).await;
        let secret = attempt.secret(app, API_TOKEN)?;
        match app.store.token_by_secret(&secret).await? {
            Some((account, token)) => {
                app.doorkeeper.lock().succeeded(&secret);
                Ok(Self { account: app.store.account(account), token, sealing: SealingKey::of(&secret) })
            }
            None => Err(attempt.failed(app)),
        }
    }
}

impl FromRequestParts<Shared> for RelayCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, ApiError> {
        let attempt = Attempt::of(parts, app).await;
        let secret = attempt.secret(app, RELAY_TOKEN)?;
        match app.store.relay_by_secret(&secret).await? {
            Some((id, name)) => {
                app.doorkeeper.lock().succeeded(&secret);
                Ok(Self { id, name })
            }
            None => Err(attempt.failed(app)),
        }
    }
}

/// Somebody at the door.
struct Attempt {
    source: IpAddr,
    token: Option<Secret>,
}

impl Attempt {
    async fn of(parts: &mut Parts, app: &Shared) -> Self {
        let Ok(CallerAddress(caller)) = CallerAddress::from_request_parts(parts, app).await;
        Self { source: caller.unwrap_or_else(|| peer(parts)), token: bearer(&parts.headers) }
    }

    /// The token, if it is of the right kind and this source is still listened to.
    fn secret(&self, app: &Shared, kind: &str) -> Result<Secret, ApiError> {
        let of_kind =
            |token: &&Secret| token.reveal().strip_prefix(kind).is_some_and(|rest| rest.starts_with('_'));
        let now = Instant::now();
        if let Some(wait) = app.doorkeeper.lock().turns_away(self.source, self.token.as_ref(), now) {
            let detail = "too many wrong tokens came from this address; wait, and check the token";
            return Err(ApiError::new(Code::TooManyFailures, detail).retry_after(wait.as_secs() + 1));
        }
        self.token.as_ref().filter(of_kind).cloned().ok_or_else(|| self.failed(app))
    }

    /// One answer for every way to fail, so that it says nothing of how near it came.
    fn failed(&self, app: &Shared) -> ApiError {
        app.doorkeeper.lock().failed(self.source, Instant::now());
        ApiError::new(Code::Unauthorized, "send a valid token: Authorization: Bearer …")
    }
}

fn bearer(headers: &HeaderMap) -> Option<Secret> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    let fits = scheme.eq_ignore_ascii_case("bearer") && token.len() <= MAX_TOKEN;
    fits.then(|| Secret::from_text(token))
}

/// Makes guessing slow: a source that brings too many wrong tokens is not listened to for a while,
/// except for tokens that were right before, so that a stranger cannot lock out their neighbours.
#[derive(Debug, Default)]
pub(crate) struct Doorkeeper(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    failures: HashMap<IpAddr, Failures>,
    proved: HashSet<[u8; 32]>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    since: Instant,
    count: u32,
}

impl Doorkeeper {
    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    /// How long this source must wait before this token is looked at.
    fn turns_away(&self, source: IpAddr, token: Option<&Secret>, now: Instant) -> Option<Duration> {
        let failures = self.failures.get(&block(source))?;
        let left = WINDOW.checked_sub(now.duration_since(failures.since))?;
        let known = token.is_some_and(|token| self.proved.contains(&token.hash()));
        (failures.count >= FAILURES && !known).then_some(left)
    }

    fn failed(&mut self, source: IpAddr, now: Instant) {
        if self.failures.len() >= SOURCES && !self.failures.contains_key(&block(source)) {
            self.make_room(now);
        }
        let failures = self.failures.entry(block(source)).or_insert(Failures { since: now, count: 0 });
        if now.duration_since(failures.since) >= WINDOW {
            *failures = Failures { since: now, count: 0 };
        }
        failures.count = failures.count.saturating_add(1);
    }

    fn succeeded(&mut self, token: &Secret) {
        if self.proved.len() >= PROVED {
            self.proved.clear();
        }
        self.proved.insert(token.hash());
    }

    fn make_room(&mut self, now: Instant) {
        self.failures.retain(|_, failures| now.duration_since(failures.since) < WINDOW);
        let oldest = self.failures.iter().min_by_key(|(_, failures)| failures.since);
        if let Some(source) = oldest.map(|(source, _)| *source)
            && self.failures.len() >= SOURCES
        {
            self.failures.remove(&source);
        }
    }
}

/// Whoever has one IPv6 address has its whole /64.
fn block(source: IpAddr) -> IpAddr {
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

    fn source(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    fn token(number: u8) -> Secret {
        Secret::from_entropy(API_TOKEN, [number; 32])
    }

    #[test]
    fn guessing_is_slow_and_neighbours_with_a_proved_token_do_not_suffer() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        memory.succeeded(&token(1));
        for _ in 0..FAILURES {
            assert_eq!(memory.turns_away(source(1), Some(&token(2)), now), None);
            memory.failed(source(1), now);
        }
        assert_eq!(memory.turns_away(source(1), Some(&token(2)), now), Some(WINDOW));
        assert_eq!(memory.turns_away(source(1), None, now), Some(WINDOW));
        assert_eq!(memory.turns_away(source(1), Some(&token(1)), now), None, "proved before");
        assert_eq!(memory.turns_away(source(2), Some(&token(2)), now), None, "from elsewhere");
        let later = now + WINDOW + Duration::from_secs(1);
        assert_eq!(memory.turns_away(source(1), Some(&token(2)), later), None);
        memory.failed(source(1), later);
        assert_eq!(memory.failures[&source(1)].count, 1, "a new window");
    }

    #[test]
    fn an_ipv6_source_is_its_whole_network() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        for number in 0..FAILURES {
            memory.failed(format!("2001:db8::{number:x}").parse().unwrap(), now);
        }
        assert!(memory.turns_away("2001:db8::ffff".parse().unwrap(), None, now).is_some());
        assert!(memory.turns_away("2001:db8:0:1::".parse().unwrap(), None, now).is_none());
    }

    #[test]
    fn the_tables_do_not_grow_beyond_their_limits() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        for number in 0..SOURCES as u32 + 10 {
            memory.failed(source(number), now + Duration::from_millis(number.into()));
        }
        assert_eq!(memory.failures.len(), SOURCES);
        assert!(!memory.failures.contains_key(&source(0)), "the oldest made room");
        for number in 0..PROVED as u32 + 10 {
            memory.succeeded(&Secret::from_text(number.to_string()));
        }
        assert!(memory.proved.len() <= PROVED);
    }
}
