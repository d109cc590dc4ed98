//! What goes on at an account's boxes, in numbers: for whoever looks at a list of them.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use postern_protocol::id::{AccessId, DeviceId};

use super::{Account, Query, Row, StoreError, row};

/// The days of [`DeviceActivity::days`].
pub(crate) const DAYS: usize = 14;

/// What goes on at a box.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct DeviceActivity {
    /// Visits that go on.
    pub(crate) open: u64,
    /// Visits that were let in, by the day, the last one today's.
    pub(crate) days: [u64; DAYS],
}

impl Account {
    /// What goes on at these boxes; nothing of the quiet ones.
    pub(crate) async fn activity(
        &self,
        devices: &[DeviceId],
        now: DateTime<Utc>,
    ) -> Result<HashMap<DeviceId, DeviceActivity>, StoreError> {
        let mut activity = HashMap::<DeviceId, DeviceActivity>::new();
        if devices.is_empty() {
            return Ok(activity);
        }
        for found in self.open_visits(devices).await? {
            activity.entry(row::text(&found, "device")?).or_default().open = row::count(&found, "visits")?;
        }
        for found in self.daily_visits(devices, first_day(now)).await? {
            let day = usize::try_from(row::count(&found, "day")?).unwrap_or(usize::MAX);
            if let Some(visits) = activity.entry(row::text(&found, "device")?).or_default().days.get_mut(day)
            {
                *visits = row::count(&found, "visits")?;
            }
        }
        Ok(activity)
    }

    /// When somebody last came in by each of these accesses that was ever used.
    pub(crate) async fn last_uses(
        &self,
        accesses: &[AccessId],
    ) -> Result<HashMap<AccessId, DateTime<Utc>>, StoreError> {
        if accesses.is_empty() {
            return Ok(HashMap::new());
        }
        let mut query =
            Query::new("SELECT id, last_used_at FROM accesses WHERE last_used_at IS NOT NULL AND account = ");
        query.push_bind(self.id.to_string());
        self.push_scope(&mut query, "device");
        query.push(" AND id IN (");
        let mut ids = query.separated(", ");
        for access in accesses {
            ids.push_bind(access.to_string());
        }
        query.push(")");
        let found = query.build().fetch_all(&self.store.reader).await?;
        found.iter().map(|found| Ok((row::text(found, "id")?, row::time(found, "last_used_at")?))).collect()
    }

    async fn open_visits(&self, devices: &[DeviceId]) -> Result<Vec<Row>, StoreError> {
        Ok(self.open_visits_query(devices).build().fetch_all(&self.store.reader).await?)
    }

    fn open_visits_query(&self, devices: &[DeviceId]) -> Query {
        let mut query = Query::new("SELECT device, COUNT(*) AS visits FROM visits WHERE account = ");
        query.push_bind(self.id.to_string()).push(" AND outcome = 'open'");
        self.push_devices(&mut query, devices);
        query.push(" GROUP BY device");
        query
    }

    async fn daily_visits(&self, devices: &[DeviceId], since: DateTime<Utc>) -> Result<Vec<Row>, StoreError> {
        let since = row::millis(since);
        let mut query = Query::new("SELECT device, COUNT(*) AS visits, (started_at - ");
        query.push_bind(since).push(") / ").push_bind(TimeDelta::days(1).num_milliseconds());
        query.push(" AS day FROM visits WHERE account = ").push_bind(self.id.to_string());
        query.push(" AND outcome <> 'refused' AND started_at >= ").push_bind(since);
        self.push_devices(&mut query, devices);
        query.push(" GROUP BY device, day");
        Ok(query.build().fetch_all(&self.store.reader).await?)
    }

    fn push_devices(&self, query: &mut Query, devices: &[DeviceId]) {
        self.push_scope(query, "device");
        query.push(" AND device IN (");
        let mut ids = query.separated(", ");
        for device in devices {
            ids.push_bind(device.to_string());
        }
        query.push(")");
    }
}

/// The day that the count begins with, in UTC.
fn first_day(now: DateTime<Utc>) -> DateTime<Utc> {
    let today = now.date_naive().and_hms_opt(0, 0, 0).unwrap_or(now.naive_utc()).and_utc();
    let days = i64::try_from(DAYS).unwrap_or(i64::MAX);
    today - TimeDelta::days(days - 1)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use postern_protocol::api::VisitOutcome;

    use super::*;
    use crate::author::Author;
    use crate::store::{Engine, Paging, Store, VisitFilter};

    /// How the database goes about a query.
    async fn plan(store: &Store, query: &sqlx::QueryBuilder<Engine>) -> String {
        let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", query.sql().as_str()));
        let steps = sqlx::raw_sql(explain).fetch_all(&store.reader).await.unwrap();
        steps.iter().map(detail).collect::<Vec<_>>().join("; ")
    }

    fn detail(step: &Row) -> String {
        sqlx::Row::get(step, "detail")
    }

    #[tokio::test]
    async fn what_is_redrawn_with_every_report_reads_no_history() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(&temp.path().join("db"), DateTime::UNIX_EPOCH).await.unwrap();
        let account = store.own_account(Author::machine(DateTime::UNIX_EPOCH));
        let device = DeviceId::FIRST;
        let counted = plan(&store, &account.open_visits_query(&[device, device])).await;
        assert!(counted.contains("visits_open"), "{counted}");
        let outcome = Some(VisitOutcome::Open);
        let filter = VisitFilter { device: Some(device), outcome, ..VisitFilter::default() };
        let listed = plan(&store, &account.visits_query(&filter, Paging { limit: 50, after: None })).await;
        assert!(listed.contains("visits_open") && !listed.contains("TEMP B-TREE"), "{listed}");
        for (table, asked) in account.named_queries(&["a"; 200].into()) {
            let named = plan(&store, &asked).await;
            let by_id = format!("INDEX sqlite_autoindex_{table}_1 (id=?)");
            assert!(named.contains(&by_id), "{named}");
        }
    }
}
