//! Visits that somebody wants to end: a relay is told until it has told their end.

use postern_protocol::api::{AuditAction, VisitOutcome};
use postern_protocol::id::{RelayId, VisitId};

use super::audit::{Deed, fact};
use super::{Account, Store, StoreError, Tx, row};

/// The most visits that a relay is told to end at once; the others have their turn when these are over.
const AT_ONCE: i64 = 256;

impl Account {
    /// Wants a visit to end; nothing if there is no such visit, and else whether it still goes on.
    pub(crate) async fn cut_visit(&self, id: VisitId) -> Result<Option<bool>, StoreError> {
        let Some(visit) = self.visit(id).await? else { return Ok(None) };
        let mut tx = self.store.write().await?;
        // Its end may have been told since it was looked at.
        let insert = "INSERT INTO cuts (visit, relay, asked_at)
                      SELECT id, relay, $3 FROM visits WHERE account = $1 AND id = $2 AND outcome = $4
                      ON CONFLICT (visit) DO UPDATE SET asked_at = cuts.asked_at RETURNING asked_at";
        let query = sqlx::query_scalar::<_, i64>(insert)
            .bind(self.id.as_str())
            .bind(id.as_str())
            .bind(row::millis(self.by.at()))
            .bind(row::word(&VisitOutcome::Open));
        let Some(asked_at) = query.fetch_optional(tx.db()).await? else { return Ok(Some(false)) };
        if asked_at == row::millis(self.by.at()) {
            let mut was = fact("source", visit.source);
            was.extend(visit.access.map(|access| ("access".to_owned(), access.to_string())));
            was.extend(visit.device.map(|device| ("device".to_owned(), device.to_string())));
            self.wrote(&mut tx, Deed::new(AuditAction::VisitCut, id).was(was)).await?;
        }
        tx.commit().await?;
        self.store.bells.cuts.send_modify(|cuts| *cuts += 1);
        Ok(Some(true))
    }
}

impl Store {
    /// The visits at a relay that are to end.
    pub(crate) async fn pending_cuts(&self, relay: RelayId) -> Result<Vec<VisitId>, StoreError> {
        let select = "SELECT visit FROM cuts WHERE relay = $1 ORDER BY asked_at LIMIT $2";
        let query = sqlx::query(select).bind(relay.as_str()).bind(AT_ONCE);
        query.fetch_all(&self.reader).await?.iter().map(|found| row::text(found, "visit")).collect()
    }
}

impl Tx {
    /// A visit is over, so nobody need be told to end it.
    pub(super) async fn forget_cut(&mut self, visit: VisitId) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM cuts WHERE visit = $1").bind(visit.as_str()).execute(self.db()).await?;
        Ok(())
    }
}
