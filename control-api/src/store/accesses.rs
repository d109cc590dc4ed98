//! Accesses.

use chrono::{DateTime, Utc};
use postern_protocol::access::Networks;
use postern_protocol::api::Via;
use postern_protocol::grant::MAX_GRANTS;
use postern_protocol::id::{AccessId, DeviceId, Login};
use postern_protocol::ssh_key::PublicKey;

use postern_protocol::api::{AuditAction, WebhookEvent};

use super::audit::{Deed, changed};
use super::devices::{device, device_columns, presence_after, presence_before};
use super::idempotency::Recalled;
use super::leases::LeaseError;
use super::{Account, Paging, Query, Stale, StoreError, Tx, row};
use crate::once::Once;
use crate::record::{AccessRecord, DeviceRecord, PRESENCE_LEASE, Seen};

mod consent;
mod rows;

pub(crate) use consent::DecideError;
pub(super) use rows::{access, access_columns};

/// Which accesses to list.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct AccessFilter {
    /// Those of one box.
    pub(crate) device: Option<DeviceId>,
    /// Those at one time of their life.
    pub(crate) phase: Option<Phase>,
}

/// The times of an access's life that time and deletion alone decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Neither expired nor revoked.
    Live,
    /// The same, but nobody has approved what somebody outside asked for.
    Asked,
    /// Its time is over.
    Expired,
    /// It was deleted before its time was over.
    Revoked,
}

/// What changes in an access; the rest stays.
#[derive(Debug, Clone, Default)]
pub(crate) struct Edits {
    /// Who may come in.
    pub(crate) allowed: Option<Networks>,
    /// When it ends.
    pub(crate) expires_at: Option<DateTime<Utc>>,
    /// The key, and the comment that came with it.
    pub(crate) key: Option<(PublicKey, String)>,
    /// The user on the box.
    pub(crate) login: Option<Login>,
    /// Free text.
    pub(crate) note: Option<String>,
}

/// An access that was not created.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CreateAccessError {
    /// The box was deleted a moment ago.
    #[error("there is no such box")]
    NoDevice,
    /// The box has as many live accesses as its document holds.
    #[error("the box has {MAX_GRANTS} live accesses")]
    TooMany,
    /// The idempotency key stands for another request.
    #[error("the idempotency key was used")]
    KeyReused,
    /// There is no public port for it.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An access that was not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EditAccessError {
    /// There is none.
    #[error("there is no such access")]
    Unknown,
    /// It was deleted.
    #[error("the access was deleted")]
    Revoked,
    /// It was edited meanwhile.
    #[error(transparent)]
    Stale(#[from] Stale),
    /// It is to have a key, and nobody would ask for it.
    #[error("nobody asks for a key there")]
    NoKeyThere,
    /// There is no public port for it any more.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// It was over, and the box has no room for one more that lives.
    #[error("the box has {MAX_GRANTS} live accesses")]
    TooMany,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The outcome of a creation.
pub(crate) enum Creation {
    /// It happened, and this is its answer.
    New {
        /// The access, with its revision.
        access: Box<AccessRecord>,
        /// What was answered and kept.
        answer: String,
    },
    /// It had happened before, with this answer.
    Repeated {
        /// What was answered then.
        answer: String,
    },
}

impl Account {
    /// Creates an access, and keeps the answer that is made of it.
    pub(crate) async fn create_access(
        &self,
        mut access: AccessRecord,
        once: Option<&Once>,
        answer: impl FnOnce(&AccessRecord) -> String + Send,
    ) -> Result<Creation, CreateAccessError> {
        let now = access.created_at;
        let mut tx = self.store.write().await?;
        match self.recall(&mut tx, once, now).await? {
            Recalled::New => {}
            Recalled::Answered(answer) => return Ok(Creation::Repeated { answer }),
            Recalled::Reused => return Err(CreateAccessError::KeyReused),
        }
        match self.live_accesses(&mut tx, access.device, now).await? {
            None => return Err(CreateAccessError::NoDevice),
            Some(live) if live >= MAX_GRANTS => return Err(CreateAccessError::TooMany),
            Some(_) => {}
        }
        tx.lease(&mut access, now).await?;
        access.revision = tx.revise(access.device, now).await?;
        self.insert_access(&mut tx, &access).await?;
        self.wrote(&mut tx, Deed::new(AuditAction::AccessCreated, access.id).became(access.facts())).await?;
        tx.tell(self.id, WebhookEvent::AccessCreated, now, now, access.told()).await?;
        let answer = answer(&access);
        self.remember(&mut tx, once, &answer, now).await?;
        tx.commit().await?;
        Ok(Creation::New { access: Box::new(access), answer })
    }

    /// An access and its box, which may be deleted.
    pub(crate) async fn access(
        &self,
        id: AccessId,
        now: DateTime<Utc>,
    ) -> Result<Option<(AccessRecord, DeviceRecord)>, StoreError> {
        let select = concat!(
            "SELECT ",
            access_columns!(),
            ", ",
            device_columns!(),
            " FROM accesses a JOIN devices d ON d.id = a.device",
            presence_before!(),
            "$1",
            presence_after!(),
            "WHERE a.account = $2 AND a.id = $3"
        );
        let query = sqlx::query(select)
            .bind(row::millis(now - PRESENCE_LEASE))
            .bind(self.id.as_str())
            .bind(id.as_str());
        let found = query.fetch_optional(&self.store.reader).await?;
        let Some(found) = found else { return Ok(None) };
        let (access, device) = (access(&found)?, device(&found)?);
        Ok(self.covers(device.id).then_some((access, device)))
    }

    /// Accesses and their boxes, the newest first.
    pub(crate) async fn accesses(
        &self,
        filter: AccessFilter,
        page: Paging<'_>,
        now: DateTime<Utc>,
    ) -> Result<Vec<(AccessRecord, DeviceRecord)>, StoreError> {
        let mut query = Query::new(concat!(
            "SELECT ",
            access_columns!(),
            ", ",
            device_columns!(),
            " FROM accesses a JOIN devices d ON d.id = a.device",
            presence_before!()
        ));
        query.push_bind(row::millis(now - PRESENCE_LEASE)).push(presence_after!());
        query.push("WHERE a.account = ").push_bind(self.id.to_string());
        self.push_scope(&mut query, "a.device");
        filter.push_to(&mut query, now);
        page.push_to(&mut query, "a.created_at", "a.id");
        let rows = query.build().fetch_all(&self.store.reader).await?;
        rows.iter().map(|found| Ok((access(found)?, device(found)?))).collect()
    }

    /// Changes an access; with nothing to change, nothing happens.
    pub(crate) async fn edit_access(
        &self,
        id: AccessId,
        edits: Edits,
        seen: &Seen,
        now: DateTime<Utc>,
    ) -> Result<(), EditAccessError> {
        let mut tx = self.store.write().await?;
        let found = self.access_within(&mut tx, id).await?.ok_or(EditAccessError::Unknown)?;
        if found.revoked_at.is_some() {
            return Err(EditAccessError::Revoked);
        }
        seen.check(found.version)?;
        if edits.key.is_some() && !found.asks_for_a_key() {
            return Err(EditAccessError::NoKeyThere);
        }
        let mut edited = edits.applied_to(found.clone());
        if !found.is_live(now) && edited.is_live(now) {
            // Accesses of a box that was deleted do not come back.
            let live =
                self.live_accesses(&mut tx, found.device, now).await?.ok_or(EditAccessError::Revoked)?;
            if live >= MAX_GRANTS {
                return Err(EditAccessError::TooMany);
            }
        }
        if !edited.says_the_same_as(&found) {
            if edited.is_live(now) && !edited.awaits_approval() {
                tx.lease(&mut edited, now).await?;
            }
            edited.revision = tx.revise(found.device, now).await?;
            edited.revised_at = now;
        }
        let (was, became) = changed(&found.facts(), &edited.facts());
        if was != became || edited.key_comment != found.key_comment {
            self.update_access(&mut tx, &edited).await?;
            self.wrote(&mut tx, Deed::new(AuditAction::AccessEdited, id).was(was).became(became)).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Revokes an access that still lives; says whether there is such an access, alive or not.
    pub(crate) async fn revoke_access(&self, id: AccessId, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let mut tx = self.store.write().await?;
        let Some(mut access) = self.access_within(&mut tx, id).await? else { return Ok(false) };
        if access.is_live(now) {
            access.revoked_at = Some(now);
            access.revised_at = now;
            access.revision = tx.revise(access.device, now).await?;
            self.update_access(&mut tx, &access).await?;
            self.wrote(&mut tx, Deed::new(AuditAction::AccessDeleted, id).was(access.facts())).await?;
            if !access.awaits_approval() {
                tx.tell(self.id, WebhookEvent::AccessRevoked, now, now, access.told()).await?;
            }
            tx.commit().await?;
        }
        Ok(true)
    }

    async fn access_within(&self, tx: &mut Tx, id: AccessId) -> Result<Option<AccessRecord>, StoreError> {
        let select =
            concat!("SELECT ", access_columns!(), " FROM accesses a WHERE a.account = $1 AND a.id = $2");
        let query = sqlx::query(select).bind(self.id.as_str()).bind(id.as_str());
        let found = query.fetch_optional(tx.db()).await?.as_ref().map(access).transpose()?;
        Ok(found.filter(|found| self.covers(found.device)))
    }

    /// How many accesses of a box live, without those that nobody has approved; nothing if there is no such box.
    async fn live_accesses(
        &self,
        tx: &mut Tx,
        device: DeviceId,
        now: DateTime<Utc>,
    ) -> Result<Option<usize>, StoreError> {
        let select = "SELECT (SELECT COUNT(*) FROM accesses WHERE device = d.id AND revoked_at IS NULL
                      AND expires_at > $3 AND (asked_by IS NULL OR approved_at IS NOT NULL)) FROM devices d
                      WHERE d.account = $1 AND d.id = $2 AND d.deleted_at IS NULL";
        let query = sqlx::query_scalar::<_, i64>(select)
            .bind(self.id.as_str())
            .bind(device.as_str())
            .bind(row::millis(now));
        let live = query.fetch_optional(tx.db()).await?.filter(|_| self.covers(device));
        Ok(live.map(|live| usize::try_from(live).unwrap_or(usize::MAX)))
    }
}

impl Tx {
    /// The next revision, stamped on the box whose rules change.
    pub(super) async fn revise(&mut self, device: DeviceId, now: DateTime<Utc>) -> Result<u64, StoreError> {
        let revision = self.next_revision(now).await?;
        let update = "UPDATE devices SET revision = $2 WHERE id = $1";
        sqlx::query(update).bind(device.as_str()).bind(row::signed(revision)).execute(self.db()).await?;
        Ok(revision)
    }
}

impl AccessFilter {
    fn push_to(self, query: &mut Query, now: DateTime<Utc>) {
        if let Some(device) = self.device {
            query.push(" AND a.device = ").push_bind(device.to_string());
        }
        match self.phase {
            None => {}
            Some(Phase::Revoked) => {
                query.push(" AND a.revoked_at IS NOT NULL");
            }
            Some(Phase::Expired) => {
                query.push(" AND a.revoked_at IS NULL AND a.expires_at <= ").push_bind(row::millis(now));
            }
            Some(Phase::Live) => {
                query.push(" AND a.revoked_at IS NULL AND a.expires_at > ").push_bind(row::millis(now));
                query.push(" AND (a.asked_by IS NULL OR a.approved_at IS NOT NULL)");
            }
            Some(Phase::Asked) => {
                query.push(" AND a.revoked_at IS NULL AND a.expires_at > ").push_bind(row::millis(now));
                query.push(" AND a.asked_by IS NOT NULL AND a.approved_at IS NULL");
            }
        }
    }
}

impl Edits {
    fn applied_to(self, mut access: AccessRecord) -> AccessRecord {
        if let Some((key, comment)) = self.key {
            access.key = Some(key);
            access.key_comment = comment;
        }
        access.allowed = self.allowed.unwrap_or(access.allowed);
        access.expires_at = self.expires_at.unwrap_or(access.expires_at);
        access.login = self.login.unwrap_or(access.login);
        access.note = self.note.unwrap_or(access.note);
        access
    }
}

impl AccessRecord {
    /// Whether a key is asked for on the way: by the gate, or by the box's SSH server behind a port.
    fn asks_for_a_key(&self) -> bool {
        self.via == Via::Gate || self.key.is_some()
    }

    /// Whether relays and boxes would see no difference; a note is for people only.
    fn says_the_same_as(&self, other: &Self) -> bool {
        self.allowed == other.allowed
            && self.expires_at == other.expires_at
            && self.key == other.key
            && self.login == other.login
    }
}
