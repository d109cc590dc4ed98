//! Answers to creations, kept so that the same request gets the same answer.

use chrono::{DateTime, Utc};
use sqlx::Row as _;

use super::{Account, StoreError, Tx, row};
use crate::once::{KEPT, Once};

/// What is known of a request.
pub(super) enum Recalled {
    /// It is new.
    New,
    /// It was answered.
    Answered(String),
    /// Its key was used for another request.
    Reused,
}

impl Account {
    /// Looks for an answer, in the transaction that would make a new one.
    pub(super) async fn recall(
        &self,
        tx: &mut Tx,
        once: Option<&Once>,
        now: DateTime<Utc>,
    ) -> Result<Recalled, StoreError> {
        let Some(once) = once else { return Ok(Recalled::New) };
        let old = row::millis(now - KEPT);
        sqlx::query("DELETE FROM kept_answers WHERE created_at <= $1").bind(old).execute(tx.db()).await?;
        let select =
            "SELECT request, answer FROM kept_answers WHERE account = $1 AND holder = $2 AND key = $3";
        let query = sqlx::query(select).bind(self.id.as_str()).bind(&once.holder).bind(&once.key);
        let Some(found) = query.fetch_optional(tx.db()).await? else { return Ok(Recalled::New) };
        if found.try_get::<&[u8], _>("request")? != once.request {
            return Ok(Recalled::Reused);
        }
        // An answer that does not open was sealed for another token or session: there is none for this one.
        Ok(once.open(found.try_get("answer")?).map_or(Recalled::Reused, Recalled::Answered))
    }

    /// Keeps an answer, in the transaction that made it true.
    pub(super) async fn remember(
        &self,
        tx: &mut Tx,
        once: Option<&Once>,
        answer: &str,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let Some(once) = once else { return Ok(()) };
        let insert = "INSERT INTO kept_answers (account, holder, key, request, answer, created_at)
                      VALUES ($1, $2, $3, $4, $5, $6)";
        sqlx::query(insert)
            .bind(self.id.as_str())
            .bind(&once.holder)
            .bind(&once.key)
            .bind(once.request.to_vec())
            .bind(once.seal(answer))
            .bind(row::millis(now))
            .execute(tx.db())
            .await?;
        Ok(())
    }

    /// Looks for an answer before anything else is looked at: what was true when the request first came
    /// may no longer be, and the answer is the same all the same.
    pub(crate) async fn answered(
        &self,
        once: &Once,
        now: DateTime<Utc>,
    ) -> Result<Option<String>, StoreError> {
        let mut tx = self.store.write().await?;
        let recalled = self.recall(&mut tx, Some(once), now).await?;
        tx.commit().await?;
        match recalled {
            Recalled::Answered(answer) => Ok(Some(answer)),
            Recalled::New | Recalled::Reused => Ok(None),
        }
    }

    /// Puts a later answer in place of the one kept, such as that of an access that became active.
    pub(crate) async fn amend(&self, once: &Once, answer: &str) -> Result<(), StoreError> {
        let update = "UPDATE kept_answers SET answer = $4 WHERE account = $1 AND holder = $2 AND key = $3";
        sqlx::query(update)
            .bind(self.id.as_str())
            .bind(&once.holder)
            .bind(&once.key)
            .bind(once.seal(answer))
            .execute(&self.store.writer)
            .await?;
        Ok(())
    }
}
