//! How many requests somebody may make: so many a minute for each token or user, and for each address of
//! those who prove nothing. Beyond that the answer is 429, and says when to come back.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;

use super::auth::{Browsing, Source};
use super::error::{ApiError, Code};
use super::throttle::{REMEMBERED, network};
use super::{Shared, openapi};
use crate::config::RequestLimits;

/// What a rate is counted in. All of it may come at once.
const WINDOW: Duration = Duration::from_secs(60);

/// Who made how many requests lately.
#[derive(Debug)]
pub(crate) struct Rates {
    by_credential: Mutex<Buckets<String>>,
    by_address: Mutex<Buckets<IpAddr>>,
}

impl Rates {
    /// Nobody has asked for anything yet.
    pub(crate) fn new(limits: &RequestLimits) -> Self {
        Self {
            by_credential: Mutex::new(Buckets::new(limits.per_credential)),
            by_address: Mutex::new(Buckets::new(limits.per_address)),
        }
    }

    /// A request by somebody who has proved who they are.
    pub(super) fn known(&self, id: &str, tally: Option<&Tally>) -> Result<(), ApiError> {
        let mut buckets = self.by_credential.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = buckets.take(&id.to_owned(), Instant::now());
        Tally::note(tally, "credential", buckets.per_minute, &taken);
        taken.map(drop).map_err(too_many)
    }

    /// A request by somebody who has not.
    pub(super) fn stranger(&self, source: IpAddr, tally: Option<&Tally>) -> Result<(), ApiError> {
        let mut buckets = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = buckets.take(&network(source), Instant::now());
        Tally::note(tally, "address", buckets.per_minute, &taken);
        taken.map(drop).map_err(too_many)
    }
}

/// What an answer says of the limit that its request counted towards, as the IETF's HTTP API working group
/// drafts it (draft-ietf-httpapi-ratelimit-headers). It travels with the request, so that whoever counts can
/// note it down.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally(Arc<OnceLock<[HeaderValue; 2]>>);

impl Tally {
    fn note(this: Option<&Self>, policy: &str, quota: u32, taken: &Result<Left, Duration>) {
        let Some(Self(place)) = this.filter(|_| quota > 0) else { return };
        let (left, until) = match taken {
            Ok(left) => (left.requests, left.full_in),
            Err(wait) => (0, *wait),
        };
        let until = until.as_secs_f64().ceil();
        let said = [
            format!("\"{policy}\";q={quota};w={}", WINDOW.as_secs()),
            format!("\"{policy}\";r={left};t={until}"),
        ];
        let said = said.map(|text| HeaderValue::try_from(text).expect("these are letters and digits"));
        // Whoever counted first goes on counting.
        let _already = place.set(said);
    }

    fn tell(&self, mut answer: Response) -> Response {
        if let Some([policy, left]) = self.0.get() {
            answer.headers_mut().insert("ratelimit-policy", policy.clone());
            answer.headers_mut().insert("ratelimit", left.clone());
        }
        answer
    }
}

fn too_many(wait: Duration) -> ApiError {
    let detail = "this is more than so many requests a minute; come back when Retry-After says";
    ApiError::new(Code::TooManyRequests, detail).retry_after(wait.as_secs() + 1)
}

/// Counts requests to what is open to everybody, and to pages by whoever has no session. Everywhere else
/// somebody must prove who they are, and whoever fails to is counted where that is found out.
pub(super) async fn limit(State(app): State<Shared>, mut request: Request, next: Next) -> Response {
    let tally = Tally::default();
    if !is_for_strangers(&app, &request) {
        request.extensions_mut().insert(tally.clone());
        return tally.tell(next.run(request).await);
    }
    let (mut parts, body) = request.into_parts();
    let Source(source) = Source::of(&mut parts, &app).await;
    let answer = match app.rates.stranger(source, Some(&tally)) {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(problem) => problem.into_response(),
    };
    tally.tell(answer)
}

fn is_for_strangers(app: &Shared, request: &Request) -> bool {
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    match path.and_then(|path| openapi::guard(request.method().as_str(), path)) {
        Some(guard) => guard == "open",
        None => Browsing::of(&app.config, request.headers()).session(request.headers()).is_none(),
    }
}

/// One bucket for each, which fills again by itself. A bucket is kept as the time when it will be full: so
/// it is one number, and one that is full need not be kept.
#[derive(Debug)]
struct Buckets<K> {
    /// What a full one holds.
    per_minute: u32,
    /// What one request costs; nothing, if there is no limit.
    cost: Duration,
    full_at: HashMap<K, Instant>,
}

/// What is left in a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Left {
    requests: u32,
    full_in: Duration,
}

impl<K: Eq + Hash + Clone> Buckets<K> {
    fn new(per_minute: u32) -> Self {
        let cost = WINDOW.checked_div(per_minute).unwrap_or_default();
        Self { per_minute, cost, full_at: HashMap::new() }
    }

    /// Takes one request out of a bucket, or says how long until there is one in it.
    fn take(&mut self, who: &K, now: Instant) -> Result<Left, Duration> {
        if self.cost.is_zero() {
            return Ok(Left { requests: u32::MAX, full_in: Duration::ZERO });
        }
        if self.full_at.len() >= REMEMBERED && !self.full_at.contains_key(who) {
            self.make_room(now);
        }
        let full_at = self.full_at.entry(who.clone()).or_insert(now);
        let after = (*full_at).max(now) + self.cost;
        match after.duration_since(now).checked_sub(WINDOW) {
            Some(too_much) if !too_much.is_zero() => Err(too_much),
            Some(_) | None => {
                *full_at = after;
                let full_in = after.duration_since(now);
                let spent = full_in.as_nanos().div_ceil(self.cost.as_nanos());
                let spent = u32::try_from(spent).unwrap_or(u32::MAX);
                Ok(Left { requests: self.per_minute.saturating_sub(spent), full_in })
            }
        }
    }

    /// Forgets whoever's bucket is full, and if there is nobody, whoever's will be first.
    fn make_room(&mut self, now: Instant) {
        self.full_at.retain(|_, full_at| *full_at > now);
        let first = self.full_at.iter().min_by_key(|(_, full_at)| **full_at).map(|(who, _)| who.clone());
        if let Some(who) = first
            && self.full_at.len() >= REMEMBERED
        {
            self.full_at.remove(&who);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minutes_worth_may_come_at_once_and_then_one_after_the_other() {
        let (mut buckets, now) = (Buckets::new(60), Instant::now());
        for taken in 1..=60 {
            let left = Left { requests: 60 - taken, full_in: Duration::from_secs(taken.into()) };
            assert_eq!(buckets.take(&1, now), Ok(left));
        }
        assert_eq!(buckets.take(&1, now), Err(Duration::from_secs(1)));
        assert!(buckets.take(&2, now).is_ok(), "somebody else");
        let later = now + Duration::from_secs(1);
        assert_eq!(buckets.take(&1, later), Ok(Left { requests: 0, full_in: WINDOW }));
        assert_eq!(buckets.take(&1, later), Err(Duration::from_secs(1)));
        let much_later = now + Duration::from_secs(600);
        assert_eq!(
            (0..61).filter(|_| buckets.take(&1, much_later).is_ok()).count(),
            60,
            "no more is saved up"
        );
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        let mut buckets = Buckets::new(0);
        assert!((0..100_000).all(|_| buckets.take(&1, Instant::now()).is_ok()));
        assert!(buckets.full_at.is_empty());
    }

    #[test]
    fn only_so_many_are_remembered() {
        let (mut buckets, now) = (Buckets::new(60), Instant::now());
        for number in 0..REMEMBERED + 10 {
            buckets.take(&number, now + Duration::from_micros(number as u64)).unwrap();
        }
        assert_eq!(buckets.full_at.len(), REMEMBERED);
        buckets.take(&usize::MAX, now + WINDOW).unwrap();
        assert_eq!(buckets.full_at.len(), 1, "whoever has a full bucket need not be remembered");
    }
}
