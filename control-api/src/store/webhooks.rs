//! Webhooks: whom to call for what.

use postern_protocol::api::{AuditAction, WebhookEvent};
use postern_protocol::id::WebhookId;
use reqwest::Url;
use sqlx::Row as _;

use super::accounts::open_account;
use super::audit::{Deed, Facts, changed};
use super::{Account, Row, Stale, StoreError, Tx, row};
use crate::record::{Seen, WebhookRecord};

/// Webhooks of an account at most.
pub(crate) const MOST: i64 = 20;

/// What changes in a webhook; the rest stays.
#[derive(Debug, Clone, Default)]
pub(crate) struct WebhookEdits {
    /// What is called.
    pub(crate) url: Option<String>,
    /// What it is called for.
    pub(crate) events: Option<Vec<WebhookEvent>>,
    /// Whether it is called at all.
    pub(crate) enabled: Option<bool>,
}

/// A webhook that was not added.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AddWebhookError {
    /// The account has as many as it may.
    #[error("the account has {MOST} webhooks")]
    TooMany,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A webhook that was not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EditWebhookError {
    /// There is none.
    #[error("there is no such webhook")]
    Unknown,
    /// It was edited meanwhile.
    #[error(transparent)]
    Stale(#[from] Stale),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Account {
    /// Adds a webhook.
    pub(crate) async fn add_webhook(&self, webhook: &WebhookRecord) -> Result<(), AddWebhookError> {
        let mut tx = self.store.write().await?;
        if self.count_webhooks(&mut tx).await? >= MOST {
            return Err(AddWebhookError::TooMany);
        }
        let insert = concat!(
            "INSERT INTO webhooks (id, account, url, events, enabled, salt, created_at) VALUES ($1, ",
            open_account!("$2"),
            ", $3, $4, $5, $6, $7)"
        );
        let query = sqlx::query(insert)
            .bind(webhook.id.as_str())
            .bind(self.id.as_str())
            .bind(&webhook.url)
            .bind(row::to_json(&webhook.events))
            .bind(i64::from(webhook.enabled))
            .bind(webhook.salt.to_vec())
            .bind(row::millis(webhook.created_at));
        query.execute(tx.db()).await.map_err(StoreError::from)?;
        self.wrote(&mut tx, Deed::new(AuditAction::WebhookAdded, webhook.id).became(webhook.facts())).await?;
        Ok(tx.commit().await?)
    }

    /// Every webhook of the account, the newest first.
    pub(crate) async fn webhooks(&self) -> Result<Vec<WebhookRecord>, StoreError> {
        let select = "SELECT * FROM webhooks WHERE account = $1 ORDER BY created_at DESC, id DESC";
        let query = sqlx::query(select).bind(self.id.as_str());
        query.fetch_all(&self.store.reader).await?.iter().map(webhook).collect()
    }

    /// One webhook.
    pub(crate) async fn webhook(&self, id: WebhookId) -> Result<Option<WebhookRecord>, StoreError> {
        let select = "SELECT * FROM webhooks WHERE account = $1 AND id = $2";
        let query = sqlx::query(select).bind(self.id.as_str()).bind(id.as_str());
        query.fetch_optional(&self.store.reader).await?.as_ref().map(webhook).transpose()
    }

    /// Changes a webhook. Whoever changes it wants it to be tried again at once; whoever disables it wants
    /// nothing of what waits to arrive later.
    pub(crate) async fn edit_webhook(
        &self,
        id: WebhookId,
        edits: WebhookEdits,
        seen: &Seen,
    ) -> Result<(), EditWebhookError> {
        let mut tx = self.store.write().await?;
        let before = self.webhook_within(&mut tx, id).await?.ok_or(EditWebhookError::Unknown)?;
        seen.check(before.version)?;
        let after = edits.applied_to(before.clone());
        let update = "UPDATE webhooks SET url = $3, events = $4, enabled = $5, version = version + 1,
                      failures = 0, paused_until = 0 WHERE account = $1 AND id = $2";
        let query = sqlx::query(update)
            .bind(self.id.as_str())
            .bind(id.as_str())
            .bind(&after.url)
            .bind(row::to_json(&after.events))
            .bind(i64::from(after.enabled));
        query.execute(tx.db()).await.map_err(StoreError::from)?;
        if !after.enabled {
            tx.give_up_waiting(id, self.by.at()).await?;
        }
        let (was, became) = changed(&before.facts(), &after.facts());
        if was != became {
            self.wrote(&mut tx, Deed::new(AuditAction::WebhookEdited, id).was(was).became(became)).await?;
        }
        tx.posted = true;
        Ok(tx.commit().await?)
    }

    /// Forgets a webhook and what was to be delivered to it; says whether there was one.
    pub(crate) async fn remove_webhook(&self, id: WebhookId) -> Result<bool, StoreError> {
        let mut tx = self.store.write().await?;
        let Some(webhook) = self.webhook_within(&mut tx, id).await? else { return Ok(false) };
        let delete = "DELETE FROM webhooks WHERE account = $1 AND id = $2";
        sqlx::query(delete).bind(self.id.as_str()).bind(id.as_str()).execute(tx.db()).await?;
        self.wrote(&mut tx, Deed::new(AuditAction::WebhookRemoved, id).was(webhook.facts())).await?;
        tx.commit().await?;
        Ok(true)
    }

    pub(super) async fn webhook_within(
        &self,
        tx: &mut Tx,
        id: WebhookId,
    ) -> Result<Option<WebhookRecord>, StoreError> {
        let select = "SELECT * FROM webhooks WHERE account = $1 AND id = $2";
        let query = sqlx::query(select).bind(self.id.as_str()).bind(id.as_str());
        query.fetch_optional(tx.db()).await?.as_ref().map(webhook).transpose()
    }

    async fn count_webhooks(&self, tx: &mut Tx) -> Result<i64, StoreError> {
        let select = "SELECT COUNT(*) FROM webhooks WHERE account = $1";
        Ok(sqlx::query_scalar(select).bind(self.id.as_str()).fetch_one(tx.db()).await?)
    }
}

impl WebhookEdits {
    fn applied_to(self, mut webhook: WebhookRecord) -> WebhookRecord {
        webhook.url = self.url.unwrap_or(webhook.url);
        webhook.events = self.events.unwrap_or(webhook.events);
        webhook.enabled = self.enabled.unwrap_or(webhook.enabled);
        webhook
    }
}

impl WebhookRecord {
    /// Without the path of its address: people put secrets there.
    fn facts(&self) -> Facts {
        let host = Url::parse(&self.url).ok().map(|url| url.origin().ascii_serialization());
        let events = self.events.iter().map(row::word).collect::<Vec<_>>().join(" ");
        let address = row::digest(self.url.as_bytes());
        [
            ("host", host.unwrap_or_default()),
            ("url_sha256", address),
            ("events", events),
            ("enabled", self.enabled.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .collect()
    }
}

pub(super) fn webhook(found: &Row) -> Result<WebhookRecord, StoreError> {
    let salt: &[u8] = found.try_get("salt")?;
    Ok(WebhookRecord {
        id: row::text(found, "id")?,
        url: found.try_get("url")?,
        events: row::json(found, "events")?,
        enabled: row::truth(found, "enabled")?,
        salt: salt.try_into().unwrap_or_default(),
        created_at: row::time(found, "created_at")?,
        failing_since: row::maybe_time(found, "failing_since")?,
        failures: row::count(found, "failures")?,
        version: row::count(found, "version")?,
    })
}
