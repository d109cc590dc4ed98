//! How a box joins: a token that works once.
//!
//! Once means for one key: whoever brings the token first with a key it has proved to own makes it
//! that key's. If the answer is lost on the way, the same box may ask again; nobody else can.

use chrono::{DateTime, Utc};
use postern_protocol::api::AuditAction;
use postern_protocol::id::{DeviceId, DeviceName};
use postern_protocol::secret::Secret;
use postern_protocol::wire::BoxFacts;
use sqlx::Row as _;

use crate::author::Author;

use super::audit::{Deed, fact};
use super::{Account, Row, Store, StoreError, Tx, row};

/// A join token, as it is kept.
#[derive(Debug, Clone)]
pub(crate) struct JoinToken {
    /// SHA-256 of the secret.
    pub(crate) hash: [u8; 32],
    /// When it stops working.
    pub(crate) expires_at: DateTime<Utc>,
}

/// A box that belongs now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Joined {
    /// Its id.
    pub(crate) device: DeviceId,
    /// Its name.
    pub(crate) name: DeviceName,
}

/// A box that was not let in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinError {
    /// The token is unknown, used with another key, or expired: whoever asks does not learn which.
    #[error("the join token does not work")]
    NotValid,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Account {
    /// Gives a box a new join token in place of any older one; says whether there is such a box.
    pub(crate) async fn renew_join(&self, device: DeviceId, token: &JoinToken) -> Result<bool, StoreError> {
        let mut tx = self.store.write().await?;
        if !self.covers(device) || self.device_name(&mut tx, device).await?.is_none() {
            return Ok(false);
        }
        tx.offer_join(device, token).await?;
        self.wrote(&mut tx, Deed::new(AuditAction::JoinStringMade, device)).await?;
        tx.commit().await?;
        Ok(true)
    }
}

impl Store {
    /// Uses a join token for a key; checked and used in one transaction, so that of two who bring it
    /// at the same time one is let in.
    pub(crate) async fn join(
        &self,
        token: &Secret,
        key: &str,
        facts: &BoxFacts,
        by: &Author,
    ) -> Result<Joined, JoinError> {
        let now = by.at();
        let mut tx = self.write().await?;
        let select = "SELECT j.used_by, j.expires_at, d.id, d.name, d.account FROM join_tokens j
                      JOIN devices d ON d.id = j.device WHERE j.hash = $1 AND d.deleted_at IS NULL";
        let query = sqlx::query(select).bind(token.hash().to_vec());
        let found = query.fetch_optional(tx.db()).await.map_err(StoreError::from)?;
        let found = found.ok_or(JoinError::NotValid)?;
        let used_by: Option<String> = found.try_get("used_by").map_err(StoreError::from)?;
        let expired = now >= row::time(&found, "expires_at")?;
        let joined = joined(&found)?;
        match used_by {
            _ if expired => Err(JoinError::NotValid),
            Some(other) if other != key => Err(JoinError::NotValid),
            Some(_) => Ok(joined),
            None => {
                tx.enrol(joined.device, key, now).await?;
                tx.learn_facts(joined.device, facts, now).await?;
                let deed = Deed::new(AuditAction::DeviceJoined, joined.device).became(fact("key", key));
                tx.write_down(row::text(&found, "account")?, by, deed).await?;
                tx.commit().await?;
                Ok(joined)
            }
        }
    }

    /// The key that a box enrolled with.
    pub(crate) async fn enrolled_key(&self, device: DeviceId) -> Result<Option<String>, StoreError> {
        let select = "SELECT key FROM devices WHERE id = $1 AND deleted_at IS NULL";
        let key = sqlx::query_scalar::<_, Option<String>>(select).bind(device.as_str());
        Ok(key.fetch_optional(&self.reader).await?.flatten())
    }
}

impl Tx {
    /// Lets a box join with this token, and with no older one.
    pub(super) async fn offer_join(&mut self, device: DeviceId, token: &JoinToken) -> Result<(), StoreError> {
        let insert = "INSERT INTO join_tokens (device, hash, expires_at, used_by) VALUES ($1, $2, $3, NULL)
                      ON CONFLICT (device) DO UPDATE
                      SET hash = excluded.hash, expires_at = excluded.expires_at, used_by = NULL";
        sqlx::query(insert)
            .bind(device.as_str())
            .bind(token.hash.to_vec())
            .bind(row::millis(token.expires_at))
            .execute(self.db())
            .await?;
        Ok(())
    }

    async fn enrol(&mut self, device: DeviceId, key: &str, now: DateTime<Utc>) -> Result<(), StoreError> {
        let revision = self.next_revision(now).await?;
        let used = "UPDATE join_tokens SET used_by = $2 WHERE device = $1";
        sqlx::query(used).bind(device.as_str()).bind(key).execute(self.db()).await?;
        let update = "UPDATE devices SET key = $2, joined_at = $3, revision = $4 WHERE id = $1";
        sqlx::query(update)
            .bind(device.as_str())
            .bind(key)
            .bind(row::millis(now))
            .bind(row::signed(revision))
            .execute(self.db())
            .await?;
        Ok(())
    }
}

fn joined(found: &Row) -> Result<Joined, StoreError> {
    Ok(Joined { device: row::text(found, "id")?, name: row::text(found, "name")? })
}
