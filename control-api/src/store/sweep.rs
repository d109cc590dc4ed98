//! What happens by itself: accesses end, boxes come and go, relays fall silent. Webhooks are told once.

use chrono::{DateTime, Utc};
use postern_protocol::api::WebhookEvent;
use postern_protocol::id::{AccountId, DeviceId};
use serde_json::json;
use sqlx::Row as _;

use super::accesses::{access, access_columns};
use super::{Row, Store, StoreError, row};
use crate::record::PRESENCE_LEASE;

/// So many of each kind are told in one transaction, which others wait for.
const AT_ONCE: i64 = 500;

/// Whether some relay that still reports has a box.
const ONLINE: &str = "CASE WHEN EXISTS (SELECT 1 FROM presence p JOIN relays r ON r.id = p.relay
    WHERE p.device = d.id AND p.online = 1 AND r.last_seen > $1) THEN 1 ELSE 0 END";

impl Store {
    /// Tells of accesses whose time is over; says whether there may be more.
    pub(crate) async fn tell_expired(&self, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let select = concat!(
            "SELECT ",
            access_columns!(),
            ", a.account AS a_account FROM accesses a WHERE a.expiry_told = 0 AND a.expires_at <= $1 LIMIT $2"
        );
        let due = sqlx::query(select).bind(row::millis(now)).bind(AT_ONCE).fetch_all(&self.reader).await?;
        if due.is_empty() {
            return Ok(false);
        }
        let mut tx = self.write().await?;
        for found in &due {
            let (account, access): (AccountId, _) = (row::text(found, "a_account")?, access(found)?);
            let update = "UPDATE accesses SET expiry_told = 1
                          WHERE id = $1 AND expiry_told = 0 AND expires_at <= $2";
            let query = sqlx::query(update).bind(access.id.as_str()).bind(row::millis(now));
            let told = query.execute(tx.db()).await?.rows_affected() > 0;
            if told && access.revoked_at.is_none() && !access.awaits_approval() {
                tx.tell(account, WebhookEvent::AccessExpired, access.expires_at, now, access.told()).await?;
            }
        }
        tx.commit().await?;
        Ok(due.len() == usize::try_from(AT_ONCE).unwrap_or(usize::MAX))
    }

    /// Tells of boxes that have come, and of those that have gone if that can be known yet; says whether
    /// there may be more.
    pub(crate) async fn tell_presence(&self, now: DateTime<Utc>, gone_too: bool) -> Result<bool, StoreError> {
        let known_as = if gone_too { "(0, 1)" } else { "(0)" };
        let select = format!(
            "SELECT d.id, d.account, d.name, d.online_told FROM devices d WHERE d.deleted_at IS NULL
             AND d.online_told IN {known_as} AND d.online_told <> {ONLINE} LIMIT $2"
        );
        let heard = row::millis(now - PRESENCE_LEASE);
        let query = sqlx::query(sqlx::AssertSqlSafe(select)).bind(heard).bind(AT_ONCE);
        let due = query.fetch_all(&self.reader).await?;
        if due.is_empty() {
            return Ok(false);
        }
        let mut tx = self.write().await?;
        for found in &due {
            let (id, online) = (row::text::<DeviceId>(found, "id")?, !row::truth(found, "online_told")?);
            let update = format!(
                "UPDATE devices AS d SET online_told = $3 WHERE d.id = $2 AND d.online_told <> $3 AND $3 = {ONLINE}"
            );
            let query = sqlx::query(sqlx::AssertSqlSafe(update));
            let query = query.bind(heard).bind(id.as_str()).bind(i64::from(online));
            if query.execute(tx.db()).await?.rows_affected() > 0 {
                let event = if online { WebhookEvent::BoxOnline } else { WebhookEvent::BoxOffline };
                tx.tell(row::text(found, "account")?, event, now, now, told(id, found)?).await?;
            }
        }
        tx.commit().await?;
        Ok(due.len() == usize::try_from(AT_ONCE).unwrap_or(usize::MAX))
    }
}

fn told(id: DeviceId, found: &Row) -> Result<serde_json::Value, StoreError> {
    Ok(json!({ "device": id, "device_name": found.try_get::<String, _>("name")? }))
}
