//! Delivers what the outbox holds, until it has arrived or its time is over.
//!
//! Whatever happens is written into the outbox in the transaction that makes it happen, so a delivery is
//! made at least once, whoever is killed when. Of one webhook one delivery is under way at a time, the
//! oldest first; after a failure it is tried again later and later, and given up after a day.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use data_encoding::BASE64;
use postern_protocol::secret::Secret;
use reqwest::Url;
use ring::hmac;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use crate::config::Webhooks;
use crate::entropy::entropy;
use crate::http::App;
use crate::record::WebhookRecord;
use crate::store::{Attempted, Errand, StoreError, Then};

mod target;

pub(crate) use target::{Target, Untouchable};

/// Deliveries under way at once.
const AT_ONCE: usize = 16;

/// How long an attempt may take, from looking the host up to the answer's head.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long an attempt is its taker's: longer than it can take.
const TAKEN: TimeDelta = TimeDelta::seconds(30);

/// How often to look for what is due although no bell rang: retries, and what other processes wrote.
const LOOK: Duration = Duration::from_secs(1);

/// How long a delivery is tried. It is then given up, and its webhook counts as failing.
pub(crate) const GIVEN_UP_AFTER: TimeDelta = TimeDelta::hours(24);

/// The pause after the first failure; each further one doubles it.
const FIRST_PAUSE: TimeDelta = TimeDelta::seconds(5);

/// The longest pause between two attempts of a delivery.
const LONGEST_PAUSE: TimeDelta = TimeDelta::hours(1);

/// The longest that a webhook is left alone because of a delivery: another one may be better received.
const LONGEST_SILENCE: TimeDelta = TimeDelta::minutes(5);

/// Keeps these keys apart from any other use of the seed.
const PURPOSE: &[u8] = b"postern webhook secrets 1\0";

/// What the secrets of webhooks are made with. None of them is kept.
#[derive(Clone)]
pub(crate) struct WebhookKey(hmac::Key);

impl WebhookKey {
    /// The key that follows from the installation's seed.
    pub(crate) fn from_seed(seed: &[u8; 32]) -> Self {
        let key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, seed), PURPOSE);
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()))
    }

    /// What a webhook's calls are signed with.
    fn bytes(&self, webhook: &WebhookRecord) -> hmac::Tag {
        hmac::sign(&self.0, &[webhook.id.as_str().as_bytes(), b"\0", &webhook.salt].concat())
    }

    /// The same, as it is shown once.
    pub(crate) fn secret(&self, webhook: &WebhookRecord) -> Secret {
        Secret::from_text(format!("whsec_{}", BASE64.encode(self.bytes(webhook).as_ref())))
    }

    /// The signature of a call, by the Standard Webhooks specification.
    fn sign(&self, webhook: &WebhookRecord, id: &str, timestamp: i64, body: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.bytes(webhook).as_ref());
        let signature = hmac::sign(&key, format!("{id}.{timestamp}.{body}").as_bytes());
        format!("v1,{}", BASE64.encode(signature.as_ref()))
    }
}

/// Who makes the calls.
pub(crate) struct Caller {
    http: reqwest::Client,
    settings: Webhooks,
}

impl Caller {
    /// Ready to call; nothing is sent yet.
    pub(crate) fn new(settings: &Webhooks) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(crate::oidc::tls(None)?)
            .dns_resolver(Arc::new(target::Careful::new(settings)))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(PATIENCE)
            .pool_max_idle_per_host(0)
            .user_agent(concat!("postern-api/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { http, settings: settings.clone() })
    }

    /// Makes one call; any answer but a 2xx is a failure.
    async fn call(&self, errand: &Errand, key: &WebhookKey, timestamp: i64) -> Attempted {
        let failed = |problem: String| Attempted { http_status: None, problem: Some(problem) };
        let url = match Target::parse(&errand.webhook.url, &self.settings) {
            Ok(target) => target.url(),
            Err(problem) => return failed(problem.to_string()),
        };
        let signature = key.sign(&errand.webhook, errand.id.as_str(), timestamp, &errand.body);
        let request = self
            .http
            .post(url)
            .header("content-type", "application/json")
            .header("webhook-id", errand.id.as_str())
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(errand.body.clone());
        match request.send().await {
            Ok(answer) if answer.status().is_success() => {
                Attempted { http_status: Some(answer.status().as_u16()), problem: None }
            }
            Ok(answer) => {
                let status = answer.status();
                let more = if status.is_redirection() { "; redirects are not followed" } else { "" };
                let problem = Some(format!("it answered {status}{more}"));
                Attempted { http_status: Some(status.as_u16()), problem }
            }
            Err(error) => failed(why(&error)),
        }
    }
}

/// What lies at the bottom of an error: the rest says only that a request failed.
fn why(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let text = if error.is_timeout() { "it did not answer in time".to_owned() } else { cause.to_string() };
    text.chars().take(200).collect()
}

/// Delivers until the API stops. What is under way then is left, and taken up again later.
pub(crate) async fn deliver(app: Arc<App>) {
    let mut bell = app.store.outbox_bell();
    let mut under_way = JoinSet::new();
    loop {
        bell.mark_unchanged();
        if under_way.len() < AT_ONCE {
            match take(&app, AT_ONCE - under_way.len()).await {
                Ok(errands) => errands.into_iter().for_each(|errand| {
                    under_way.spawn(attempt(app.clone(), errand));
                }),
                Err(error) => warn!(error = &error as &dyn std::error::Error, "taking deliveries"),
            }
        }
        tokio::select! {
            _ = bell.changed(), if under_way.len() < AT_ONCE => {}
            Some(_) = under_way.join_next(), if !under_way.is_empty() => {}
            () = sleep_until(Instant::now() + LOOK) => {}
            () = app.stop.cancelled() => return,
        }
    }
}

async fn take(app: &App, most: usize) -> Result<Vec<Errand>, StoreError> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    app.store.take_deliveries(most, TAKEN, app.clock.now()).await
}

/// Tries once, and writes down what became of it.
async fn attempt(app: Arc<App>, errand: Errand) {
    let attempted = app.webhooks.call(&errand, &app.webhook_key, app.clock.now().timestamp()).await;
    let now = app.clock.now();
    let written = match &attempted.problem {
        None => {
            debug!(webhook = %errand.webhook.id, delivery = %errand.id, "delivered");
            app.store.delivered(&errand, &attempted, now).await
        }
        Some(problem) => {
            let then = then(&errand, now, u64::from_ne_bytes(entropy()));
            let given_up = matches!(then, Then::Never);
            info!(webhook = %errand.webhook.id, delivery = %errand.id, problem, given_up, "not delivered");
            app.store.not_delivered(&errand, &attempted, then, now).await
        }
    };
    if let Err(error) = written {
        warn!(error = &error as &dyn std::error::Error, "writing down what became of a delivery");
    }
}

/// When a delivery that failed is tried again, if ever.
fn then(errand: &Errand, now: chrono::DateTime<chrono::Utc>, random: u64) -> Then {
    if now - errand.queued_at >= GIVEN_UP_AFTER {
        return Then::Never;
    }
    let silence = pause(errand.webhook.failures, random).min(LONGEST_SILENCE);
    Then::Again { at: now + pause(errand.attempts, random), paused_until: now + silence }
}

/// A pause that doubles with every failure, shortened by up to half by lot, so that what failed together
/// does not come back together.
fn pause(failures: u64, random: u64) -> TimeDelta {
    let doubled = 1i32.checked_shl(u32::try_from(failures).unwrap_or(u32::MAX)).filter(|factor| *factor > 0);
    let whole = doubled
        .and_then(|factor| FIRST_PAUSE.checked_mul(factor))
        .map_or(LONGEST_PAUSE, |pause| pause.min(LONGEST_PAUSE));
    let half = whole.num_milliseconds() / 2;
    let lot = i64::try_from(random % u64::try_from(half).unwrap_or(1).max(1)).unwrap_or(0);
    TimeDelta::milliseconds(half + lot)
}

/// Where a webhook may lead, by the settings of the installation.
pub(crate) fn check(url: &str, settings: &Webhooks) -> Result<Url, Untouchable> {
    Target::parse(url, settings).map(Target::url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_an_hour_and_are_drawn_by_lot() {
        let seconds = |failures, random| pause(failures, random).num_milliseconds() / 100;
        assert_eq!([0, 1, 2].map(|failures| seconds(failures, 0)), [25, 50, 100]);
        assert!((25..50).contains(&seconds(0, u64::MAX)));
        for failures in [10, 30, 31, 32, 64, u64::MAX] {
            assert_eq!(seconds(failures, 0), 18_000, "{failures}");
        }
    }

    #[test]
    fn a_signature_is_the_one_that_other_libraries_compute() {
        // HMAC-SHA256 with the key as its secret says it, over id.timestamp.body, computed here by itself.
        let webhook = WebhookRecord::example();
        let key = WebhookKey::from_seed(&[7; 32]);
        let secret = key.secret(&webhook);
        let bytes = BASE64.decode(secret.reveal().strip_prefix("whsec_").unwrap().as_bytes()).unwrap();
        assert_eq!(bytes.len(), 32);
        let own = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &bytes), b"aaaaaaaaaa.1700000000.{}");
        let signature = key.sign(&webhook, "aaaaaaaaaa", 1_700_000_000, "{}");
        assert_eq!(signature, format!("v1,{}", BASE64.encode(own.as_ref())));
        let other = WebhookRecord { salt: [9; 16], ..webhook };
        assert_ne!(key.secret(&other), secret);
        assert_ne!(WebhookKey::from_seed(&[8; 32]).secret(&other), key.secret(&other));
    }
}
