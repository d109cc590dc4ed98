//! API tokens: stored as hashes of random secrets, found by them.
//!
//! Looking a hash up is all the comparison there is: what a stranger can learn from its timing is
//! about a SHA-256 of what they sent, and leads back to no secret.

use chrono::{DateTime, Utc};
use postern_protocol::id::{AccountId, TokenId};
use postern_protocol::secret::Secret;
use sqlx::Row as _;

use super::{Account, Row, Store, StoreError, row};
use crate::record::TokenRecord;

impl Store {
    /// The account and the token that a secret stands for.
    pub(crate) async fn token_by_secret(
        &self,
        secret: &Secret,
    ) -> Result<Option<(AccountId, TokenId)>, StoreError> {
        let select = "SELECT account, id FROM tokens WHERE hash = $1";
        let found = sqlx::query(select).bind(secret.hash().to_vec()).fetch_optional(&self.reader).await?;
        found.map(|found| Ok((row::text(&found, "account")?, row::text(&found, "id")?))).transpose()
    }
}

impl Account {
    /// Keeps a new token.
    pub(crate) async fn add_token(
        &self,
        id: TokenId,
        name: &str,
        secret: &Secret,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let insert = "INSERT INTO tokens (id, account, name, hash, created_at) VALUES ($1, $2, $3, $4, $5)";
        sqlx::query(insert)
            .bind(id.as_str())
            .bind(self.id.as_str())
            .bind(name)
            .bind(secret.hash().to_vec())
            .bind(row::millis(now))
            .execute(&self.store.writer)
            .await?;
        Ok(())
    }

    /// Every token of the account, the newest first.
    pub(crate) async fn tokens(&self) -> Result<Vec<TokenRecord>, StoreError> {
        let select = "SELECT id, name, created_at FROM tokens WHERE account = $1
                      ORDER BY created_at DESC, id DESC";
        let rows = sqlx::query(select).bind(self.id.as_str()).fetch_all(&self.store.reader).await?;
        rows.iter().map(token).collect()
    }

    /// Forgets a token, and says whether there was one.
    pub(crate) async fn remove_token(&self, id: TokenId) -> Result<bool, StoreError> {
        let delete = "DELETE FROM tokens WHERE account = $1 AND id = $2";
        let query = sqlx::query(delete).bind(self.id.as_str()).bind(id.as_str());
        Ok(query.execute(&self.store.writer).await?.rows_affected() > 0)
    }
}

fn token(found: &Row) -> Result<TokenRecord, StoreError> {
    Ok(TokenRecord {
        id: row::text(found, "id")?,
        name: found.try_get("name")?,
        created_at: row::time(found, "created_at")?,
    })
}
