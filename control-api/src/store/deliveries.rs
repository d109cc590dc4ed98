//! The outbox of webhooks: written together with what it tells of, and worked off by whichever process
//! takes a delivery first.

use chrono::{DateTime, TimeDelta, Utc};
use postern_protocol::api::{AuditAction, Delivery, DeliveryStatus, WebhookCall, WebhookEvent};
use postern_protocol::id::{AccountId, DeliveryId, WebhookId};
use serde::Serialize;
use sqlx::Row as _;
use tokio::sync::watch;

use super::audit::Deed;
use super::webhooks::webhook;
use super::{Account, Paging, Query, Row, Store, StoreError, Tx, row};
use crate::entropy::entropy;
use crate::record::WebhookRecord;

/// Deliveries of one webhook that may wait; what comes then is not written down for it.
const MOST_WAITING: i64 = 1000;

/// Deliveries of one account that are under way at once, whatever its webhooks: others want to be called too.
const MOST_OF_ACCOUNT: i64 = 4;

/// A webhook that was not tried.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TestWebhookError {
    /// There is none.
    #[error("there is no such webhook")]
    Unknown,
    /// It is not called at all.
    #[error("the webhook is disabled")]
    Disabled,
    /// As many deliveries wait for it as may.
    #[error("{MOST_WAITING} deliveries wait for the webhook")]
    TooManyWaiting,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A delivery that somebody has taken upon themselves.
#[derive(Debug, Clone)]
pub(crate) struct Errand {
    pub(crate) id: DeliveryId,
    pub(crate) webhook: WebhookRecord,
    pub(crate) body: String,
    /// Since when it waits.
    pub(crate) queued_at: DateTime<Utc>,
    /// Attempts before this one.
    pub(crate) attempts: u64,
}

/// How an attempt ended.
#[derive(Debug, Clone)]
pub(crate) struct Attempted {
    /// The status of the answer, if there was one.
    pub(crate) http_status: Option<u16>,
    /// Why it failed, if it did.
    pub(crate) problem: Option<String>,
}

/// What becomes of a delivery that failed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Then {
    /// It is tried again.
    Again {
        /// When.
        at: DateTime<Utc>,
        /// Until when the webhook is left alone.
        paused_until: DateTime<Utc>,
    },
    /// It is given up.
    Never,
}

impl Account {
    /// What was delivered to a webhook or is to be, the newest first; nothing if there is no such webhook.
    pub(crate) async fn deliveries(
        &self,
        id: WebhookId,
        page: Paging<'_>,
    ) -> Result<Option<Vec<Delivery>>, StoreError> {
        if self.webhook(id).await?.is_none() {
            return Ok(None);
        }
        let mut query = Query::new("SELECT * FROM deliveries WHERE webhook = ");
        query.push_bind(id.to_string());
        page.push_to(&mut query, "occurred_at", "id");
        let rows = query.build().fetch_all(&self.store.reader).await?;
        rows.iter().map(delivery).collect::<Result<_, _>>().map(Some)
    }

    /// The newest delivery to a webhook that was tried at least once.
    pub(crate) async fn last_tried(&self, id: WebhookId) -> Result<Option<Delivery>, StoreError> {
        let select = "SELECT d.* FROM deliveries d JOIN webhooks w ON w.id = d.webhook
                      WHERE w.account = $1 AND w.id = $2 AND d.attempts > 0
                      ORDER BY d.occurred_at DESC, d.id DESC LIMIT 1";
        let query = sqlx::query(select).bind(self.id.as_str()).bind(id.as_str());
        query.fetch_optional(&self.store.reader).await?.as_ref().map(delivery).transpose()
    }

    /// Sends a webhook something to try it, although it may be left alone at this moment.
    pub(crate) async fn test_webhook(&self, id: WebhookId) -> Result<Delivery, TestWebhookError> {
        let mut tx = self.store.write().await?;
        let webhook = self.webhook_within(&mut tx, id).await?.ok_or(TestWebhookError::Unknown)?;
        if !webhook.enabled {
            return Err(TestWebhookError::Disabled);
        }
        if tx.waiting(id).await? >= MOST_WAITING {
            return Err(TestWebhookError::TooManyWaiting);
        }
        let now = self.by.at();
        let call = WebhookCall {
            r#type: WebhookEvent::Test,
            timestamp: now,
            data: serde_json::json!({ "webhook": id }),
        };
        let delivery = tx.post(id, &call, now).await?;
        let update = "UPDATE webhooks SET paused_until = 0 WHERE id = $1";
        sqlx::query(update).bind(id.as_str()).execute(tx.db()).await.map_err(StoreError::from)?;
        self.wrote(&mut tx, Deed::new(AuditAction::WebhookTested, id)).await?;
        let select = "SELECT * FROM deliveries WHERE id = $1";
        let query = sqlx::query(select).bind(delivery.as_str());
        let posted = query.fetch_one(tx.db()).await.map_err(StoreError::from)?;
        tx.commit().await?;
        Ok(self::delivery(&posted)?)
    }
}

impl Tx {
    /// Tells the account's webhooks of something, if any of them wants to know.
    pub(super) async fn tell<T: Serialize>(
        &mut self,
        account: AccountId,
        event: WebhookEvent,
        at: DateTime<Utc>,
        now: DateTime<Utc>,
        data: T,
    ) -> Result<(), StoreError> {
        let select = "SELECT id, events FROM webhooks w WHERE account = $1 AND enabled = 1 AND $2 >
                      (SELECT COUNT(*) FROM deliveries WHERE webhook = w.id AND status = 'pending')";
        let query = sqlx::query(select).bind(account.as_str()).bind(MOST_WAITING);
        let found = query.fetch_all(self.db()).await?;
        let call = WebhookCall { r#type: event, timestamp: at, data };
        for found in &found {
            if row::json::<Vec<WebhookEvent>>(found, "events")?.contains(&event) {
                self.post(row::text(found, "id")?, &call, now).await?;
            }
        }
        Ok(())
    }

    async fn waiting(&mut self, webhook: WebhookId) -> Result<i64, StoreError> {
        let select = "SELECT COUNT(*) FROM deliveries WHERE webhook = $1 AND status = 'pending'";
        Ok(sqlx::query_scalar(select).bind(webhook.as_str()).fetch_one(self.db()).await?)
    }

    /// Gives up what waits for a webhook that is not called any more.
    pub(super) async fn give_up_waiting(
        &mut self,
        webhook: WebhookId,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let update = "UPDATE deliveries SET status = 'failed', settled_at = $2, claimed_until = 0,
                      problem = 'the webhook was disabled' WHERE webhook = $1 AND status = 'pending'";
        let query = sqlx::query(update).bind(webhook.as_str()).bind(row::millis(now));
        query.execute(self.db()).await?;
        Ok(())
    }

    async fn post<T: Serialize>(
        &mut self,
        webhook: WebhookId,
        call: &WebhookCall<T>,
        now: DateTime<Utc>,
    ) -> Result<DeliveryId, StoreError> {
        let id = DeliveryId::from_entropy(entropy());
        let insert =
            "INSERT INTO deliveries (id, webhook, event, body, occurred_at, status, queued_at, due_at)
                      VALUES ($1, $2, $3, $4, $5, 'pending', $6, $6)";
        sqlx::query(insert)
            .bind(id.as_str())
            .bind(webhook.as_str())
            .bind(row::word(&call.r#type))
            .bind(row::to_json(call))
            .bind(row::millis(call.timestamp))
            .bind(row::millis(now))
            .execute(self.db())
            .await?;
        self.posted = true;
        Ok(id)
    }
}

impl Store {
    /// A bell that rings when something is to be delivered.
    pub(crate) fn outbox_bell(&self) -> watch::Receiver<u64> {
        self.bells.outbox.subscribe()
    }

    /// Takes so many deliveries that are due, one of each webhook, for so long: whoever takes one and dies
    /// leaves it to another. The account with the fewest under way has the next one, and none has more than
    /// its share: a webhook may be as slow as it likes and never fail.
    pub(crate) async fn take_deliveries(
        &self,
        most: i64,
        lasts: TimeDelta,
        now: DateTime<Utc>,
    ) -> Result<Vec<Errand>, StoreError> {
        let due = "SELECT 1 FROM deliveries d JOIN webhooks w ON w.id = d.webhook WHERE d.status = 'pending'
                   AND d.due_at <= $1 AND d.claimed_until <= $1 AND w.enabled = 1 AND w.paused_until <= $1 LIMIT 1";
        if sqlx::query(due).bind(row::millis(now)).fetch_optional(&self.reader).await?.is_none() {
            return Ok(Vec::new());
        }
        let mut tx = self.write().await?;
        let select = "SELECT * FROM (
                SELECT w.*, d.id AS d_id, d.body, d.queued_at, d.attempts, d.due_at,
                    ROW_NUMBER() OVER (PARTITION BY w.account ORDER BY d.due_at, d.id) +
                        (SELECT COUNT(*) FROM webhooks o JOIN deliveries u ON u.webhook = o.id
                         WHERE o.account = w.account AND u.status = 'pending' AND u.claimed_until > $1) AS place
                FROM webhooks w JOIN deliveries d ON d.id =
                    (SELECT id FROM deliveries WHERE webhook = w.id AND status = 'pending'
                     AND due_at <= $1 ORDER BY queued_at, occurred_at, id LIMIT 1)
                WHERE w.enabled = 1 AND w.paused_until <= $1 AND NOT EXISTS
                    (SELECT 1 FROM deliveries WHERE webhook = w.id AND status = 'pending' AND claimed_until > $1)
            ) AS due WHERE place <= $3 ORDER BY place, due_at LIMIT $2";
        let query = sqlx::query(select).bind(row::millis(now)).bind(most).bind(MOST_OF_ACCOUNT);
        let found = query.fetch_all(tx.db()).await?;
        let errands = found.iter().map(errand).collect::<Result<Vec<_>, _>>()?;
        for errand in &errands {
            let update = "UPDATE deliveries SET claimed_until = $2 WHERE id = $1";
            let query = sqlx::query(update).bind(errand.id.as_str()).bind(row::millis(now + lasts));
            query.execute(tx.db()).await?;
        }
        tx.commit().await?;
        Ok(errands)
    }

    /// A delivery arrived.
    pub(crate) async fn delivered(
        &self,
        errand: &Errand,
        attempted: &Attempted,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        tx.settle(errand, attempted, DeliveryStatus::Delivered, Some(now), now).await?;
        let update = "UPDATE webhooks SET failures = 0, paused_until = 0, failing_since = NULL WHERE id = $1";
        sqlx::query(update).bind(errand.webhook.id.as_str()).execute(tx.db()).await?;
        // The next one of the same webhook may go at once.
        tx.posted = true;
        tx.commit().await
    }

    /// A delivery did not arrive.
    pub(crate) async fn not_delivered(
        &self,
        errand: &Errand,
        attempted: &Attempted,
        then: Then,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let (status, settled, due, paused, failing) = match then {
            Then::Again { at, paused_until } => (DeliveryStatus::Pending, None, at, paused_until, None),
            Then::Never => (DeliveryStatus::Failed, Some(now), now, now, Some(now)),
        };
        tx.settle(errand, attempted, status, settled, due).await?;
        let update = "UPDATE webhooks SET failures = failures + 1, paused_until = $2,
                      failing_since = COALESCE(failing_since, $3) WHERE id = $1";
        sqlx::query(update)
            .bind(errand.webhook.id.as_str())
            .bind(row::millis(paused))
            .bind(failing.map(row::millis))
            .execute(tx.db())
            .await?;
        tx.commit().await
    }
}

impl Tx {
    async fn settle(
        &mut self,
        errand: &Errand,
        attempted: &Attempted,
        status: DeliveryStatus,
        settled: Option<DateTime<Utc>>,
        due: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let update =
            "UPDATE deliveries SET status = $2, attempts = attempts + 1, due_at = $3, claimed_until = 0,
                      settled_at = $4, http_status = $5, problem = $6 WHERE id = $1";
        sqlx::query(update)
            .bind(errand.id.as_str())
            .bind(row::word(&status))
            .bind(row::millis(due))
            .bind(settled.map(row::millis))
            .bind(attempted.http_status.map(i64::from))
            .bind(attempted.problem.as_deref())
            .execute(self.db())
            .await?;
        Ok(())
    }
}

fn errand(found: &Row) -> Result<Errand, StoreError> {
    Ok(Errand {
        id: row::text(found, "d_id")?,
        webhook: webhook(found)?,
        body: found.try_get("body")?,
        queued_at: row::time(found, "queued_at")?,
        attempts: row::count(found, "attempts")?,
    })
}

fn delivery(found: &Row) -> Result<Delivery, StoreError> {
    let status = row::from_word(found, "status")?;
    let due = row::time(found, "due_at")?;
    Ok(Delivery {
        id: row::text(found, "id")?,
        event: row::from_word(found, "event")?,
        occurred_at: row::time(found, "occurred_at")?,
        status,
        attempts: row::count(found, "attempts")?,
        next_attempt_at: (status == DeliveryStatus::Pending).then_some(due),
        settled_at: row::maybe_time(found, "settled_at")?,
        http_status: row::maybe_port(found, "http_status")?,
        problem: found.try_get("problem")?,
    })
}
