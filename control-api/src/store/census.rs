//! Counts, for whoever watches over the installation.

use chrono::{DateTime, Utc};
use sqlx::Row as _;

use super::{Store, StoreError, row};
use crate::record::PRESENCE_LEASE;

/// How many there are of everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Census {
    pub(crate) devices: i64,
    pub(crate) devices_online: i64,
    /// By the status that the API would give them; a test holds the two together.
    pub(crate) active: i64,
    pub(crate) pending: i64,
    pub(crate) pending_approval: i64,
    pub(crate) expired: i64,
    pub(crate) revoked: i64,
    /// What webhooks are still to be told, and webhooks whose deliveries are given up.
    pub(crate) deliveries_waiting: i64,
    pub(crate) webhooks_failing: i64,
    /// Each relay's name, whether it is connected, and how many boxes have changed since the revision
    /// that it enforces.
    pub(crate) relays: Vec<(String, bool, i64)>,
}

impl Store {
    /// Counts everything.
    pub(crate) async fn census(&self, now: DateTime<Utc>) -> Result<Census, StoreError> {
        let mut census = Census::default();
        let relays = self.relays().await?;
        for relay in &relays {
            let select = "SELECT COUNT(*) FROM devices WHERE revision > $1";
            let behind =
                sqlx::query_scalar(select).bind(row::signed(relay.in_force)).fetch_one(&self.reader).await?;
            census.relays.push((relay.name.clone(), relay.is_connected(now), behind));
        }
        let in_force =
            relays.iter().filter(|relay| relay.is_connected(now)).map(|relay| relay.in_force).min();
        let fresh = row::millis(now - PRESENCE_LEASE);
        let select = "SELECT COUNT(*) AS total, COALESCE(SUM(online), 0) AS online FROM (
                          SELECT CASE WHEN EXISTS (SELECT 1 FROM presence p JOIN relays r ON r.id = p.relay
                              WHERE p.device = d.id AND p.online = 1 AND r.last_seen > $1)
                          THEN 1 ELSE 0 END AS online FROM devices d WHERE d.deleted_at IS NULL) AS seen";
        let devices = sqlx::query(select).bind(fresh).fetch_one(&self.reader).await?;
        census.devices = devices.try_get("total")?;
        census.devices_online = devices.try_get("online")?;
        let select = "SELECT (SELECT COUNT(*) FROM deliveries WHERE status = 'pending'),
                      (SELECT COUNT(*) FROM webhooks WHERE enabled = 1 AND failing_since IS NOT NULL)";
        (census.deliveries_waiting, census.webhooks_failing) =
            sqlx::query_as(select).fetch_one(&self.reader).await?;
        let select = "SELECT status, COUNT(*) AS total FROM (SELECT CASE
                          WHEN a.revoked_at IS NOT NULL THEN 'revoked'
                          WHEN a.expires_at <= $2 THEN 'expired'
                          WHEN a.asked_by IS NOT NULL AND a.approved_at IS NULL THEN 'pending_approval'
                          WHEN d.paused = 0 AND a.revision <= $3 AND EXISTS (
                              SELECT 1 FROM presence p JOIN relays r ON r.id = p.relay WHERE p.device = d.id
                              AND p.online = 1 AND r.last_seen > $1 AND p.holding >= a.revision) THEN 'active'
                          ELSE 'pending' END AS status
                      FROM accesses a JOIN devices d ON d.id = a.device) AS judged GROUP BY status";
        let query =
            sqlx::query(select).bind(fresh).bind(row::millis(now)).bind(in_force.map_or(-1, row::signed));
        for found in query.fetch_all(&self.reader).await? {
            let total = found.try_get("total")?;
            match found.try_get("status")? {
                "revoked" => census.revoked = total,
                "expired" => census.expired = total,
                "pending_approval" => census.pending_approval = total,
                "active" => census.active = total,
                _ => census.pending = total,
            }
        }
        Ok(census)
    }
}
