//! Accesses that somebody outside the account asks for: no rule until an owner approves.

use chrono::{DateTime, Utc};
use postern_protocol::api::{AuditAction, WebhookEvent};
use postern_protocol::grant::MAX_GRANTS;
use postern_protocol::id::AccessId;

use super::super::audit::Deed;
use super::super::leases::LeaseError;
use super::super::{Account, StoreError, Tx, row};
use super::CreateAccessError;
use crate::record::AccessRecord;

/// The most accesses of one box that wait for approval: enough to decide on at once.
const MAX_ASKED: i64 = 8;

/// An access that was not decided on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecideError {
    /// There is none.
    #[error("there is no such access")]
    Unknown,
    /// It waits for no decision: it came from within, was decided on, or is over.
    #[error("the access waits for no decision")]
    NotAsked,
    /// There is no public port for it.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The box has no room for one more that lives.
    #[error("the box has {MAX_GRANTS} live accesses")]
    TooMany,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Account {
    /// Writes down that somebody outside asks for an access.
    pub(crate) async fn ask_for_access(&self, access: &AccessRecord) -> Result<(), CreateAccessError> {
        let mut tx = self.store.write().await?;
        if self.live_accesses(&mut tx, access.device, access.created_at).await?.is_none() {
            return Err(CreateAccessError::NoDevice);
        }
        if tx.asked_accesses(access).await? >= MAX_ASKED {
            return Err(CreateAccessError::TooMany);
        }
        self.insert_access(&mut tx, access).await?;
        self.wrote(&mut tx, Deed::new(AuditAction::AccessAskedFor, access.id).became(access.facts())).await?;
        Ok(tx.commit().await?)
    }

    /// Makes a rule of what somebody outside asked for, or never.
    pub(crate) async fn decide_on_access(
        &self,
        id: AccessId,
        approve: bool,
        now: DateTime<Utc>,
    ) -> Result<(), DecideError> {
        let mut tx = self.store.write().await?;
        let mut access = self.access_within(&mut tx, id).await?.ok_or(DecideError::Unknown)?;
        if !access.awaits_approval() || !access.is_live(now) {
            return Err(DecideError::NotAsked);
        }
        access.revised_at = now;
        match approve {
            true => {
                let live = self.live_accesses(&mut tx, access.device, now).await?.unwrap_or(MAX_GRANTS);
                if live >= MAX_GRANTS {
                    return Err(DecideError::TooMany);
                }
                access.approved_at = Some(now);
                tx.lease(&mut access, now).await?;
                access.revision = tx.revise(access.device, now).await?;
            }
            false => access.revoked_at = Some(now),
        }
        self.update_access(&mut tx, &access).await?;
        let action = if approve { AuditAction::AccessApproved } else { AuditAction::AccessDenied };
        self.wrote(&mut tx, Deed::new(action, id).became(access.facts())).await?;
        if approve {
            tx.tell(self.id, WebhookEvent::AccessCreated, now, now, access.told()).await?;
        }
        Ok(tx.commit().await?)
    }
}

impl Tx {
    /// How many accesses of the same box wait for a decision.
    async fn asked_accesses(&mut self, access: &AccessRecord) -> Result<i64, StoreError> {
        let select = "SELECT COUNT(*) FROM accesses WHERE device = $1 AND revoked_at IS NULL
                      AND expires_at > $2 AND asked_by IS NOT NULL AND approved_at IS NULL";
        let query =
            sqlx::query_scalar(select).bind(access.device.as_str()).bind(row::millis(access.created_at));
        Ok(query.fetch_one(self.db()).await?)
    }
}
