//! Visits: the audit, one row each, written at the start and again at the end.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use postern_protocol::api::{Visit, VisitOutcome, WebhookEvent};
use postern_protocol::id::{AccessId, DeviceId, RelayId, VisitId};
use sqlx::Row as _;

use super::{Account, Paging, Query, Row, Store, StoreError, Tx, row};

/// The code and the reason of a visit's end that no relay told, because its relay was removed.
const RELAY_REMOVED: (&str, &str) = ("relay_removed", "its relay was removed");

/// Which visits to list.
#[derive(Debug, Clone, Default)]
pub(crate) struct VisitFilter {
    /// Those to one box.
    pub(crate) device: Option<DeviceId>,
    /// Those by one access.
    pub(crate) access: Option<AccessId>,
    /// Those that went one way.
    pub(crate) outcome: Option<VisitOutcome>,
    /// Those from one address.
    pub(crate) source: Option<IpAddr>,
    /// Those that came at this time or later.
    pub(crate) since: Option<DateTime<Utc>>,
    /// Those that came before this time.
    pub(crate) until: Option<DateTime<Utc>>,
}

impl Store {
    /// Writes down what a relay saw. An event that was written before changes nothing, and a start
    /// that comes after the end of its visit does not reopen it, nor takes bytes back that were told of
    /// meanwhile; nor can one relay touch what another wrote.
    pub(crate) async fn record_visits(&self, visits: &[Visit], now: DateTime<Utc>) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        for visit in visits {
            tx.record(visit, self.own_account.as_str(), now).await?;
        }
        tx.commit().await?;
        self.bells.visits.send_modify(|reports| *reports += 1);
        Ok(())
    }
}

impl Account {
    /// Visits, the newest first.
    pub(crate) async fn visits(
        &self,
        filter: &VisitFilter,
        page: Paging<'_>,
    ) -> Result<Vec<Visit>, StoreError> {
        let rows = self.visits_query(filter, page).build().fetch_all(&self.store.reader).await?;
        rows.iter().map(visit).collect()
    }

    /// How they are asked for.
    pub(super) fn visits_query(&self, filter: &VisitFilter, page: Paging<'_>) -> Query {
        let mut query = Query::new("SELECT * FROM visits WHERE account = ");
        query.push_bind(self.id.to_string());
        self.push_scope(&mut query, "device");
        filter.push_to(&mut query);
        page.push_to(&mut query, "started_at", "id");
        query
    }

    /// One visit.
    pub(crate) async fn visit(&self, id: VisitId) -> Result<Option<Visit>, StoreError> {
        let select = "SELECT * FROM visits WHERE account = $1 AND id = $2";
        let query = sqlx::query(select).bind(self.id.as_str()).bind(id.as_str());
        let found = query.fetch_optional(&self.store.reader).await?.as_ref().map(visit).transpose()?;
        let seen = |visit: &Visit| match visit.device {
            Some(device) => self.covers(device),
            None => self.boxes.is_none(),
        };
        Ok(found.filter(seen))
    }
}

impl Tx {
    /// A visit belongs to whoever owns the box or the access that it named; one that named neither
    /// is the operator's.
    async fn record(&mut self, visit: &Visit, operator: &str, now: DateTime<Utc>) -> Result<(), StoreError> {
        let select = "SELECT outcome FROM visits WHERE id = $1";
        let former: Option<String> =
            sqlx::query_scalar(select).bind(visit.id.as_str()).fetch_optional(self.db()).await?;
        let upsert = "INSERT INTO visits (id, account, access, device, device_name, relay, entrance, source,
                source_port, port, key, started_at, ended_at, outcome, code, reason, bytes_up, bytes_down)
            VALUES ($1, COALESCE((SELECT account FROM devices WHERE id = $4),
                (SELECT account FROM accesses WHERE id = $3), $2),
                $3, $4, COALESCE((SELECT name FROM devices WHERE id = $4), $5), $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
            ON CONFLICT (id) DO UPDATE SET ended_at = excluded.ended_at, outcome = excluded.outcome,
                code = excluded.code, reason = excluded.reason,
                bytes_up = CASE WHEN excluded.bytes_up > visits.bytes_up
                    THEN excluded.bytes_up ELSE visits.bytes_up END,
                bytes_down = CASE WHEN excluded.bytes_down > visits.bytes_down
                    THEN excluded.bytes_down ELSE visits.bytes_down END
            WHERE visits.outcome = 'open' AND visits.relay = excluded.relay RETURNING account, device_name";
        let written = sqlx::query(upsert)
            .bind(visit.id.as_str())
            .bind(operator)
            .bind(row::shown(visit.access.as_ref()))
            .bind(row::shown(visit.device.as_ref()))
            .bind(row::shown(visit.device_name.as_ref()))
            .bind(visit.relay.as_str())
            .bind(row::word(&visit.entrance))
            .bind(visit.source.to_canonical().to_string())
            .bind(i64::from(visit.source_port))
            .bind(visit.port.map(i64::from))
            .bind(visit.key.as_deref())
            .bind(row::millis(visit.started_at))
            .bind(visit.ended_at.map(row::millis))
            .bind(row::word(&visit.outcome))
            .bind(&visit.code)
            .bind(&visit.reason)
            .bind(row::signed(visit.bytes_up))
            .bind(row::signed(visit.bytes_down))
            .fetch_optional(self.db())
            .await?;
        let Some(written) = written else { return Ok(()) };
        if former.is_none() && visit.outcome != VisitOutcome::Refused {
            self.used(visit).await?;
        }
        if let Some((event, at)) = news(former.as_deref(), visit) {
            let told = Visit { device_name: row::maybe_text(&written, "device_name")?, ..visit.clone() };
            self.tell(row::text(&written, "account")?, event, at, now, told).await?;
        }
        match visit.outcome {
            VisitOutcome::Open => Ok(()),
            VisitOutcome::Ended | VisitOutcome::Refused => self.forget_cut(visit.id).await,
        }
    }
}

impl Tx {
    /// Somebody came in by an access, whose box is the one that they came to.
    async fn used(&mut self, visit: &Visit) -> Result<(), StoreError> {
        let update = "UPDATE accesses SET last_used_at = $3 WHERE id = $1 AND device = $2
                      AND (last_used_at IS NULL OR last_used_at < $3)";
        let query = sqlx::query(update)
            .bind(row::shown(visit.access.as_ref()))
            .bind(row::shown(visit.device.as_ref()))
            .bind(row::millis(visit.started_at));
        query.execute(self.db()).await?;
        Ok(())
    }

    /// The visits of a relay that is no more are over: nobody else tells their end.
    pub(super) async fn end_visits_at(
        &mut self,
        relay: RelayId,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let update = "UPDATE visits SET outcome = 'ended', ended_at = $2, code = $3, reason = $4
                      WHERE relay = $1 AND outcome = 'open' RETURNING *";
        let query = sqlx::query(update)
            .bind(relay.as_str())
            .bind(row::millis(now))
            .bind(RELAY_REMOVED.0)
            .bind(RELAY_REMOVED.1);
        for found in query.fetch_all(self.db()).await? {
            let account = row::text(&found, "account")?;
            self.tell(account, WebhookEvent::VisitEnded, now, now, visit(&found)?).await?;
        }
        sqlx::query("DELETE FROM cuts WHERE relay = $1").bind(relay.as_str()).execute(self.db()).await?;
        Ok(())
    }
}

/// What is new about a visit, to whoever knew it in a former state.
fn news(former: Option<&str>, visit: &Visit) -> Option<(WebhookEvent, DateTime<Utc>)> {
    let ended_at = visit.ended_at.unwrap_or(visit.started_at);
    match (former, visit.outcome) {
        (None, VisitOutcome::Open) => Some((WebhookEvent::VisitStarted, visit.started_at)),
        (None, VisitOutcome::Refused) => Some((WebhookEvent::VisitRefused, visit.started_at)),
        (_, VisitOutcome::Ended) => Some((WebhookEvent::VisitEnded, ended_at)),
        (Some(_), VisitOutcome::Open | VisitOutcome::Refused) => None,
    }
}

impl VisitFilter {
    fn push_to(&self, query: &mut Query) {
        if let Some(device) = self.device {
            query.push(" AND device = ").push_bind(device.to_string());
        }
        if let Some(access) = self.access {
            query.push(" AND access = ").push_bind(access.to_string());
        }
        match self.outcome {
            // In so many words, as the index of those that go on has it.
            Some(VisitOutcome::Open) => {
                query.push(" AND outcome = 'open'");
            }
            Some(outcome @ (VisitOutcome::Ended | VisitOutcome::Refused)) => {
                query.push(" AND outcome = ").push_bind(row::word(&outcome));
            }
            None => {}
        }
        if let Some(source) = self.source {
            query.push(" AND source = ").push_bind(source.to_canonical().to_string());
        }
        if let Some(since) = self.since {
            query.push(" AND started_at >= ").push_bind(row::millis(since));
        }
        if let Some(until) = self.until {
            query.push(" AND started_at < ").push_bind(row::millis(until));
        }
    }
}

fn visit(found: &Row) -> Result<Visit, StoreError> {
    Ok(Visit {
        id: row::text(found, "id")?,
        access: row::maybe_text(found, "access")?,
        device: row::maybe_text(found, "device")?,
        device_name: row::maybe_text(found, "device_name")?,
        relay: row::text(found, "relay")?,
        entrance: row::from_word(found, "entrance")?,
        source: row::text(found, "source")?,
        source_port: row::port(found, "source_port")?,
        port: row::maybe_port(found, "port")?,
        key: found.try_get("key")?,
        started_at: row::time(found, "started_at")?,
        ended_at: row::maybe_time(found, "ended_at")?,
        outcome: row::from_word(found, "outcome")?,
        code: found.try_get("code")?,
        reason: found.try_get("reason")?,
        bytes_up: row::count(found, "bytes_up")?,
        bytes_down: row::count(found, "bytes_down")?,
    })
}
