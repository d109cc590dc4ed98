//! Boxes.

use chrono::{DateTime, Utc};
use postern_protocol::api::{AuditAction, WebhookEvent};
use postern_protocol::id::{DeviceId, DeviceName};
use sqlx::Row as _;

use super::accesses::{access, access_columns};
use super::accounts::open_account;
use super::audit::{Deed, fact};
use super::idempotency::Recalled;
use super::joins::JoinToken;
use super::{Account, Paging, Query, Row, Stale, StoreError, Tx, row};
use crate::label::label;
use crate::once::Once;
use crate::record::{ChangedKeys, DeviceRecord, PRESENCE_LEASE, PresenceRecord, Seen};

/// The columns of a box, and of what relays say of it.
macro_rules! device_columns {
    () => {
        "d.id AS d_id, d.name AS d_name, d.created_at AS d_created_at, d.key AS d_key,
         d.joined_at AS d_joined_at, d.facts AS d_facts, d.host_keys AS d_host_keys,
         d.reported_keys AS d_reported_keys, d.keys_changed_at AS d_keys_changed_at,
         d.deleted_at AS d_deleted_at, d.version AS d_version,
         (SELECT name FROM accounts WHERE id = d.account AND own = 0) AS d_account, p.relay AS p_relay, p.online AS p_online, p.since AS p_since,
         p.address AS p_address, p.holding AS p_holding,
         p.transport AS p_transport, p.why_tcp AS p_why_tcp, r.name AS r_name, r.last_seen AS r_last_seen"
    };
}

/// Joins a box with what counts among the words of several relays: one that reports it online and was
/// heard of after the time that fills the gap, or else the latest.
macro_rules! presence_before {
    () => {
        " LEFT JOIN presence p ON p.device = d.id AND p.relay = (
              SELECT q.relay FROM presence q JOIN relays s ON s.id = q.relay WHERE q.device = d.id
              ORDER BY CASE WHEN q.online = 1 AND s.last_seen > "
    };
}
macro_rules! presence_after {
    () => {
        " THEN 0 ELSE 1 END, q.since DESC LIMIT 1)
          LEFT JOIN relays r ON r.id = p.relay "
    };
}
pub(super) use {device_columns, presence_after, presence_before};

/// A box that was not created.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CreateDeviceError {
    /// Another box of the account has its name.
    #[error("a box has this name")]
    NameTaken,
    /// The idempotency key stands for another request.
    #[error("the idempotency key was used")]
    KeyReused,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A box that was not renamed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RenameError {
    /// There is none.
    #[error("there is no such box")]
    Unknown,
    /// It was edited meanwhile.
    #[error(transparent)]
    Stale(#[from] Stale),
    /// Another box of the account has the name.
    #[error("a box has this name")]
    NameTaken,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Account {
    /// Creates a box that may join with this token, and keeps the answer that it makes.
    pub(crate) async fn create_device(
        &self,
        device: &DeviceRecord,
        token: &JoinToken,
        once: Option<&Once>,
        answer: &str,
    ) -> Result<Option<String>, CreateDeviceError> {
        let now = device.created_at;
        let mut tx = self.store.write().await?;
        match self.recall(&mut tx, once, now).await? {
            Recalled::New => {}
            Recalled::Answered(answer) => return Ok(Some(answer)),
            Recalled::Reused => return Err(CreateDeviceError::KeyReused),
        }
        let revision = tx.next_revision(now).await?;
        let insert = concat!(
            "INSERT INTO devices (id, account, name, created_at, revision) VALUES ($1, ",
            open_account!("$2"),
            ", $3, $4, $5)"
        );
        sqlx::query(insert)
            .bind(device.id.as_str())
            .bind(self.id.as_str())
            .bind(device.name.as_str())
            .bind(row::millis(now))
            .bind(row::signed(revision))
            .execute(tx.db())
            .await
            .map_err(|error| {
                if is_taken(&error) { CreateDeviceError::NameTaken } else { StoreError::from(error).into() }
            })?;
        tx.offer_join(device.id, token).await?;
        let deed = Deed::new(AuditAction::DeviceCreated, device.id).became(fact("name", &device.name));
        self.wrote(&mut tx, deed).await?;
        self.remember(&mut tx, once, answer, now).await?;
        tx.commit().await?;
        Ok(None)
    }

    /// Boxes, the newest first.
    pub(crate) async fn devices(
        &self,
        page: Paging<'_>,
        now: DateTime<Utc>,
    ) -> Result<Vec<DeviceRecord>, StoreError> {
        let mut query =
            Query::new(concat!("SELECT ", device_columns!(), " FROM devices d", presence_before!()));
        query.push_bind(row::millis(now - PRESENCE_LEASE)).push(presence_after!());
        query.push("WHERE d.deleted_at IS NULL AND d.account = ").push_bind(self.id.to_string());
        self.push_scope(&mut query, "d.id");
        page.push_to(&mut query, "d.created_at", "d.id");
        let rows = query.build().fetch_all(&self.store.reader).await?;
        rows.iter().map(device).collect()
    }

    /// A box by its id or its name; if a name looks like another box's id, the id wins.
    pub(crate) async fn device(
        &self,
        id_or_name: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<DeviceRecord>, StoreError> {
        let select = concat!(
            "SELECT ",
            device_columns!(),
            " FROM devices d",
            presence_before!(),
            "$1",
            presence_after!(),
            "WHERE d.account = $2 AND d.deleted_at IS NULL AND (d.id = $3 OR d.name = $3)
             ORDER BY CASE WHEN d.id = $3 THEN 0 ELSE 1 END LIMIT 1"
        );
        let query = sqlx::query(select)
            .bind(row::millis(now - PRESENCE_LEASE))
            .bind(self.id.as_str())
            .bind(id_or_name);
        let found = query.fetch_optional(&self.store.reader).await?.as_ref().map(device).transpose()?;
        Ok(found.filter(|found| self.covers(found.id)))
    }

    /// Gives a box another name.
    pub(crate) async fn rename_device(
        &self,
        id: DeviceId,
        name: &DeviceName,
        seen: &Seen,
        now: DateTime<Utc>,
    ) -> Result<(), RenameError> {
        if !self.covers(id) {
            return Err(RenameError::Unknown);
        }
        let mut tx = self.store.write().await?;
        let former = self.device_name(&mut tx, id).await?.ok_or(RenameError::Unknown)?;
        seen.check(tx.device_version(id).await?)?;
        let revision = tx.next_revision(now).await?;
        let update = "UPDATE devices SET name = $1, revision = $2, version = version + 1
                      WHERE account = $3 AND id = $4 AND deleted_at IS NULL";
        sqlx::query(update)
            .bind(name.as_str())
            .bind(row::signed(revision))
            .bind(self.id.as_str())
            .bind(id.as_str())
            .execute(tx.db())
            .await
            .map_err(|error| {
                if is_taken(&error) { RenameError::NameTaken } else { StoreError::from(error).into() }
            })?;
        let deed = Deed::new(AuditAction::DeviceRenamed, id).was(fact("name", former));
        self.wrote(&mut tx, deed.became(fact("name", name))).await?;
        Ok(tx.commit().await?)
    }

    /// Deletes a box and revokes its accesses; says whether there was one, deleted before or now.
    pub(crate) async fn delete_device(&self, id: DeviceId, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let mut tx = self.store.write().await?;
        let select = "SELECT deleted_at FROM devices WHERE account = $1 AND id = $2";
        let query = sqlx::query_scalar::<_, Option<i64>>(select).bind(self.id.as_str()).bind(id.as_str());
        match query.fetch_optional(tx.db()).await?.filter(|_| self.covers(id)) {
            None => return Ok(false),
            Some(Some(_)) => return Ok(true),
            Some(None) => {}
        }
        let name = self.device_name(&mut tx, id).await?.unwrap_or_default();
        let revision = tx.next_revision(now).await?;
        tx.bury(id, revision, now).await?;
        self.wrote(&mut tx, Deed::new(AuditAction::DeviceDeleted, id).was(fact("name", name))).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// What a box of the account is called, in the transaction that changes something about it.
    pub(super) async fn device_name(&self, tx: &mut Tx, id: DeviceId) -> Result<Option<String>, StoreError> {
        let select = "SELECT name FROM devices WHERE account = $1 AND id = $2 AND deleted_at IS NULL";
        let query = sqlx::query_scalar(select).bind(self.id.as_str()).bind(id.as_str());
        Ok(query.fetch_optional(tx.db()).await?)
    }
}

impl Tx {
    async fn device_version(&mut self, id: DeviceId) -> Result<u64, StoreError> {
        let select = "SELECT version FROM devices WHERE id = $1";
        Ok(row::unsigned(sqlx::query_scalar(select).bind(id.as_str()).fetch_one(self.db()).await?))
    }

    pub(super) async fn bury(
        &mut self,
        id: DeviceId,
        revision: u64,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        self.tell_of_revoked(id, now).await?;
        for change in [
            "UPDATE devices SET deleted_at = $2, revision = $3, key = NULL WHERE id = $1",
            "UPDATE accesses SET revoked_at = $2, revised_at = $2, revision = $3
             WHERE device = $1 AND revoked_at IS NULL AND expires_at > $2",
        ] {
            let query =
                sqlx::query(change).bind(id.as_str()).bind(row::millis(now)).bind(row::signed(revision));
            query.execute(self.db()).await?;
        }
        for forget in ["DELETE FROM join_tokens WHERE device = $1", "DELETE FROM presence WHERE device = $1"]
        {
            sqlx::query(forget).bind(id.as_str()).execute(self.db()).await?;
        }
        Ok(())
    }
}

impl Tx {
    /// Tells of the accesses that a box takes along.
    async fn tell_of_revoked(&mut self, id: DeviceId, now: DateTime<Utc>) -> Result<(), StoreError> {
        let select = concat!(
            "SELECT ",
            access_columns!(),
            ", a.account AS a_account FROM accesses a
             WHERE a.device = $1 AND a.revoked_at IS NULL AND a.expires_at > $2"
        );
        let query = sqlx::query(select).bind(id.as_str()).bind(row::millis(now));
        for found in &query.fetch_all(self.db()).await? {
            let access = access(found)?;
            if !access.awaits_approval() {
                let account = row::text(found, "a_account")?;
                self.tell(account, WebhookEvent::AccessRevoked, now, now, access.told()).await?;
            }
        }
        Ok(())
    }
}

impl Paging<'_> {
    /// Adds the conditions, the order and the limit of a page to a query that has a WHERE.
    pub(super) fn push_to(&self, query: &mut Query, time: &'static str, id: &'static str) {
        if let Some((at, last)) = self.after {
            query.push(" AND (").push(time).push(", ").push(id).push(") < (");
            query.push_bind(row::millis(at)).push(", ").push_bind(last.to_owned()).push(")");
        }
        query.push(" ORDER BY ").push(time).push(" DESC, ").push(id).push(" DESC LIMIT ");
        query.push_bind(i64::from(self.limit));
    }
}

/// A box from a row with [`device_columns`].
pub(super) fn device(found: &Row) -> Result<DeviceRecord, StoreError> {
    let (id, name) = (row::text(found, "d_id")?, row::text(found, "d_name")?);
    Ok(DeviceRecord {
        label: label(&name, found.try_get("d_account")?, id),
        id,
        name,
        created_at: row::time(found, "d_created_at")?,
        key: found.try_get("d_key")?,
        joined_at: row::maybe_time(found, "d_joined_at")?,
        facts: row::maybe_json(found, "d_facts")?,
        host_keys: row::json(found, "d_host_keys")?,
        changed_keys: changed_keys(found)?,
        deleted_at: row::maybe_time(found, "d_deleted_at")?,
        version: row::count(found, "d_version")?,
        presence: presence(found)?,
    })
}

fn changed_keys(found: &Row) -> Result<Option<ChangedKeys>, StoreError> {
    let reported = row::maybe_json(found, "d_reported_keys")?;
    let since = row::maybe_time(found, "d_keys_changed_at")?;
    Ok(reported.zip(since).map(|(reported, since)| ChangedKeys { reported, since }))
}

fn presence(found: &Row) -> Result<Option<PresenceRecord>, StoreError> {
    let Some(relay) = row::maybe_text(found, "p_relay")? else { return Ok(None) };
    Ok(Some(PresenceRecord {
        relay,
        relay_name: found.try_get("r_name")?,
        relay_seen: row::maybe_time(found, "r_last_seen")?.unwrap_or(DateTime::UNIX_EPOCH),
        online: found.try_get::<i64, _>("p_online")? == 1,
        since: row::time(found, "p_since")?,
        address: row::text(found, "p_address")?,
        holding: row::count(found, "p_holding")?,
        transport: row::from_word(found, "p_transport")?,
        why_tcp: row::maybe_word(found, "p_why_tcp")?,
    }))
}

/// Whether a change failed because something else has the name.
pub(super) fn is_taken(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.is_unique_violation())
}
