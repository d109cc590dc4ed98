//! API tokens: stored as hashes of random secrets, found by them.
//!
//! Looking a hash up is all the comparison there is: what a stranger can learn from its timing is
//! about a SHA-256 of what they sent, and leads back to no secret.

use chrono::{DateTime, Utc};
use postern_protocol::api::AuditAction;
use postern_protocol::id::{AccountId, TokenId};
use postern_protocol::secret::Secret;
use sqlx::Row as _;

use super::accounts::open_account;
use super::audit::Deed;
use super::{Account, Row, Store, StoreError, row};
use crate::record::TokenRecord;

/// The columns of a token.
macro_rules! token_columns {
    () => {
        "id, name, role, admin, devices, created_at, expires_at"
    };
}

impl Store {
    /// The account and the token that a secret stands for, if it works now.
    pub(crate) async fn token_by_secret(
        &self,
        secret: &Secret,
        now: DateTime<Utc>,
    ) -> Result<Option<(AccountId, TokenRecord)>, StoreError> {
        let select = concat!(
            "SELECT account, ",
            token_columns!(),
            " FROM tokens WHERE hash = $1 AND (expires_at IS NULL OR expires_at > $2)"
        );
        let query = sqlx::query(select).bind(secret.hash().to_vec()).bind(row::millis(now));
        let found = query.fetch_optional(&self.reader).await?;
        found.map(|found| Ok((row::text(&found, "account")?, token(&found)?))).transpose()
    }
}

impl Account {
    /// Keeps a new token.
    pub(crate) async fn add_token(&self, token: &TokenRecord, secret: &Secret) -> Result<(), StoreError> {
        let insert = concat!(
            "INSERT INTO tokens (id, account, name, hash, role, admin, devices, created_at, expires_at) VALUES ($1, ",
            open_account!("$2"),
            ", $3, $4, $5, $6, $7, $8, $9)"
        );
        let mut tx = self.store.write().await?;
        sqlx::query(insert)
            .bind(token.id.as_str())
            .bind(self.id.as_str())
            .bind(&token.name)
            .bind(secret.hash().to_vec())
            .bind(token.role.as_str())
            .bind(i64::from(token.admin))
            .bind(token.devices.as_ref().map(row::to_json))
            .bind(row::millis(token.created_at))
            .bind(token.expires_at.map(row::millis))
            .execute(tx.db())
            .await?;
        self.wrote(&mut tx, Deed::new(AuditAction::TokenCreated, token.id).became(token.facts())).await?;
        tx.commit().await
    }

    /// Every token of the account, the newest first, those that have expired included.
    pub(crate) async fn tokens(&self) -> Result<Vec<TokenRecord>, StoreError> {
        let select = concat!(
            "SELECT ",
            token_columns!(),
            " FROM tokens WHERE account = $1 ORDER BY created_at DESC, id DESC"
        );
        let rows = sqlx::query(select).bind(self.id.as_str()).fetch_all(&self.store.reader).await?;
        rows.iter().map(token).collect()
    }

    /// Forgets a token, and says whether there was one.
    pub(crate) async fn remove_token(&self, id: TokenId) -> Result<bool, StoreError> {
        let mut tx = self.store.write().await?;
        let delete =
            concat!("DELETE FROM tokens WHERE account = $1 AND id = $2 RETURNING ", token_columns!());
        let query = sqlx::query(delete).bind(self.id.as_str()).bind(id.as_str());
        let Some(removed) = query.fetch_optional(tx.db()).await? else { return Ok(false) };
        let deed = Deed::new(AuditAction::TokenRemoved, id).was(token(&removed)?.facts());
        self.wrote(&mut tx, deed).await?;
        tx.commit().await?;
        Ok(true)
    }
}

fn token(found: &Row) -> Result<TokenRecord, StoreError> {
    Ok(TokenRecord {
        id: row::text(found, "id")?,
        name: found.try_get("name")?,
        role: row::text(found, "role")?,
        admin: row::truth(found, "admin")?,
        devices: row::maybe_json(found, "devices")?,
        created_at: row::time(found, "created_at")?,
        expires_at: row::maybe_time(found, "expires_at")?,
    })
}
