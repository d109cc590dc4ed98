//! Removing what is older than anybody wants to keep, a little at a time.

use chrono::{DateTime, Utc};
use data_encoding::HEXLOWER;
use postern_protocol::api::AuditAction;
use sqlx::Row as _;

use super::audit::{Deed, Facts, HASH, THROUGH};
use super::{Store, StoreError, row};
use crate::author::Author;

/// Rows that go in one transaction, which others wait for.
const AT_ONCE: i64 = 1000;

/// What is removed by its age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aging {
    /// Visits that are over.
    Visits,
    /// Events.
    Events,
    /// Deliveries that arrived, were given up, or would go to a webhook that is disabled.
    Deliveries,
}

impl Store {
    /// Removes some of what is older; says whether there is more.
    pub(crate) async fn prune(&self, what: Aging, before: DateTime<Utc>) -> Result<bool, StoreError> {
        let delete = match what {
            Aging::Visits => {
                "DELETE FROM visits WHERE id IN (SELECT id FROM visits
                 WHERE started_at < $1 AND outcome <> 'open' ORDER BY started_at LIMIT $2)"
            }
            Aging::Events => {
                "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE at < $1 ORDER BY at LIMIT $2)"
            }
            Aging::Deliveries => {
                "DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries
                 WHERE queued_at < $1 AND (status <> 'pending' OR webhook IN
                     (SELECT id FROM webhooks WHERE enabled = 0)) ORDER BY queued_at LIMIT $2)"
            }
        };
        let query = sqlx::query(delete).bind(row::millis(before)).bind(AT_ONCE);
        let removed = query.execute(&self.writer).await?.rows_affected();
        Ok(row::signed(removed) == AT_ONCE)
    }

    /// Removes some of the oldest audit records, and writes down which: the chain goes on from there. Says
    /// whether there is more.
    pub(crate) async fn prune_audit(
        &self,
        before: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        // Only from the beginning, however the clock was set when they were written.
        let select = "SELECT seq, hash FROM audit WHERE seq < COALESCE(
                          (SELECT MIN(seq) FROM audit WHERE at >= $1),
                          (SELECT MAX(seq) + 1 FROM audit))
                      AND seq < (SELECT MIN(seq) FROM audit) + $2 ORDER BY seq DESC LIMIT 1";
        let query = sqlx::query(select).bind(row::millis(before)).bind(AT_ONCE);
        let Some(last) = query.fetch_optional(tx.db()).await? else { return Ok(false) };
        let (through, hash): (i64, Vec<u8>) = (last.try_get("seq")?, last.try_get("hash")?);
        let delete = "DELETE FROM audit WHERE seq <= $1";
        let removed = sqlx::query(delete).bind(through).execute(tx.db()).await?.rows_affected();
        let said = [(THROUGH, through.to_string()), (HASH, HEXLOWER.encode(&hash))];
        let said: Facts = said.map(|(name, value)| (name.to_owned(), value)).into_iter().collect();
        let deed = Deed::new(AuditAction::AuditPruned, self.own_account).became(said);
        tx.write_down(self.own_account, &Author::machine(now), deed).await?;
        tx.commit().await?;
        Ok(row::signed(removed) == AT_ONCE)
    }
}
