//! Relays: registered by an operator, known by their token.

use chrono::{DateTime, Utc};
use postern_protocol::api::{AuditAction, Gate, PortRange};
use postern_protocol::id::RelayId;
use postern_protocol::secret::Secret;
use postern_protocol::wire::Web;
use sqlx::Row as _;

use super::audit::{Deed, Facts, changed, fact};
use super::devices::is_taken;
use super::{Row, Store, StoreError, row};
use crate::author::Author;
use crate::record::RelayRecord;

/// A relay that was not registered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AddRelayError {
    /// Another relay has its name.
    #[error("a relay has this name")]
    NameTaken,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where a relay is found, with everything in it checked.
#[derive(Debug, Clone)]
pub(crate) struct Whereabouts {
    /// Its SSH gate.
    pub(crate) gate: Gate,
    /// Where boxes dial.
    pub(crate) agents: String,
    /// Its TLS front, if it has one.
    pub(crate) web: Option<Web>,
    /// The public ports that accesses may lease.
    pub(crate) ports: Option<PortRange>,
}

const SELECT: &str =
    "SELECT id, name, created_at, feed, last_seen, in_force, version, gate, agents, web, ports,
                      (SELECT COUNT(*) FROM presence WHERE relay = relays.id AND online = 1) AS boxes
                      FROM relays ORDER BY created_at DESC, id DESC";

impl Store {
    /// Registers a relay.
    pub(crate) async fn add_relay(
        &self,
        id: RelayId,
        name: &str,
        token: &Secret,
        by: &Author,
    ) -> Result<(), AddRelayError> {
        let mut tx = self.write().await?;
        let insert = "INSERT INTO relays (id, name, token_hash, created_at) VALUES ($1, $2, $3, $4)";
        let query = sqlx::query(insert)
            .bind(id.as_str())
            .bind(name)
            .bind(token.hash().to_vec())
            .bind(row::millis(by.at()));
        query.execute(tx.db()).await.map_err(|error| {
            if is_taken(&error) { AddRelayError::NameTaken } else { StoreError::from(error).into() }
        })?;
        let deed = Deed::new(AuditAction::RelayRegistered, id).became(fact("name", name));
        tx.write_down(self.own_account, by, deed).await?;
        Ok(tx.commit().await?)
    }

    /// Gives a relay another token in place of the one it has; none by that name, no relay.
    ///
    /// Like a removal it takes a revision, so that an open feed of the old token ends at once.
    pub(crate) async fn rotate_relay_token(
        &self,
        name: &str,
        token: &Secret,
        by: &Author,
    ) -> Result<Option<RelayId>, StoreError> {
        let mut tx = self.write().await?;
        let update = "UPDATE relays SET token_hash = $2, feed = NULL WHERE name = $1 RETURNING id";
        let query = sqlx::query(update).bind(name).bind(token.hash().to_vec());
        let Some(found) = query.fetch_optional(tx.db()).await? else { return Ok(None) };
        tx.next_revision(by.at()).await?;
        let id: RelayId = row::text(&found, "id")?;
        let deed = Deed::new(AuditAction::RelayTokenChanged, id).became(fact("name", name));
        tx.write_down(self.own_account, by, deed).await?;
        tx.commit().await?;
        Ok(Some(id))
    }

    /// Forgets a relay, whose visits are over with it, and says whether there was one.
    pub(crate) async fn remove_relay(&self, id: RelayId, by: &Author) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        let delete = "DELETE FROM relays WHERE id = $1 RETURNING name";
        let name: Option<String> =
            sqlx::query_scalar(delete).bind(id.as_str()).fetch_optional(tx.db()).await?;
        let Some(name) = name else { return Ok(false) };
        // Its ports went with it; whoever edits such an access gets another.
        let update = "UPDATE accesses SET leased_from = NULL, leased_port = NULL WHERE leased_from = $1";
        sqlx::query(update).bind(id.as_str()).execute(tx.db()).await?;
        tx.end_visits_at(id, by.at()).await?;
        tx.next_revision(by.at()).await?;
        let deed = Deed::new(AuditAction::RelayRemoved, id).was(fact("name", name));
        tx.write_down(self.own_account, by, deed).await?;
        tx.reported = true;
        tx.commit().await?;
        self.bells.visits.send_modify(|reports| *reports += 1);
        Ok(true)
    }

    /// Every relay, the newest first.
    pub(crate) async fn relays(&self) -> Result<Vec<RelayRecord>, StoreError> {
        let rows = sqlx::query(SELECT).fetch_all(&self.reader).await?;
        rows.iter().map(relay).collect()
    }

    /// The relay that a secret stands for.
    pub(crate) async fn relay_by_secret(
        &self,
        secret: &Secret,
    ) -> Result<Option<(RelayId, String)>, StoreError> {
        let select = "SELECT id, name FROM relays WHERE token_hash = $1";
        let found = sqlx::query(select).bind(secret.hash().to_vec()).fetch_optional(&self.reader).await?;
        found.map(|found| Ok((row::text(&found, "id")?, found.try_get("name")?))).transpose()
    }

    /// A relay has started, and says where it is found. What it enforces and who is there it has yet to
    /// say: the tunnels of its former life are gone.
    pub(crate) async fn relay_started(
        &self,
        id: RelayId,
        version: &str,
        at: &Whereabouts,
        by: &Author,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let select = "SELECT version, gate, agents, web, ports FROM relays WHERE id = $1";
        let former = sqlx::query(select).bind(id.as_str()).fetch_optional(tx.db()).await?;
        let former = former.as_ref().map(told).transpose()?.unwrap_or_default();
        let now = by.at();
        let update = "UPDATE relays SET version = $2, gate = $3, agents = $4, web = $5, ports = $6,
                      last_seen = $7, in_force = 0 WHERE id = $1";
        sqlx::query(update)
            .bind(id.as_str())
            .bind(version)
            .bind(row::to_json(&at.gate))
            .bind(&at.agents)
            .bind(at.web.as_ref().map(row::to_json))
            .bind(row::shown(at.ports.as_ref()))
            .bind(row::millis(now))
            .execute(tx.db())
            .await?;
        tx.nobody_is_at(id, now).await?;
        // A relay says hello whenever it has lost the API; only what is new is worth a record.
        let (was, became) = changed(&former, &at.facts(version));
        if was != became {
            let deed = Deed::new(AuditAction::RelayChanged, id).was(was).became(became);
            tx.write_down(self.own_account, by, deed).await?;
        }
        tx.reported = true;
        tx.commit().await
    }

    /// A relay follows the feed, by this name for it.
    pub(crate) async fn feed_opened(
        &self,
        id: RelayId,
        feed: &str,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let update = "UPDATE relays SET feed = $2, last_seen = $3 WHERE id = $1";
        sqlx::query(update).bind(id.as_str()).bind(feed).bind(row::millis(now)).execute(tx.db()).await?;
        tx.reported = true;
        tx.commit().await
    }

    /// That feed has ended; a newer one goes on.
    pub(crate) async fn feed_closed(&self, id: RelayId, feed: &str) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let update = "UPDATE relays SET feed = NULL WHERE id = $1 AND feed = $2";
        sqlx::query(update).bind(id.as_str()).bind(feed).execute(tx.db()).await?;
        tx.reported = true;
        tx.commit().await
    }
}

impl Whereabouts {
    fn facts(&self, version: &str) -> Facts {
        let gate = format!("{}:{}", self.gate.host, self.gate.port);
        let keys = self.gate.host_keys.iter().map(|key| key.fingerprint.as_str()).collect::<Vec<_>>();
        let web = self.web.as_ref().map(|web| format!("{}:{}", web.domain, web.port));
        [
            ("version", Some(version.to_owned())),
            ("gate", Some(gate)),
            ("host_keys", Some(keys.join(" "))),
            ("agents", Some(self.agents.clone())),
            ("web", web),
            ("ports", row::shown(self.ports.as_ref())),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
    }
}

/// What a relay said when it started before.
fn told(found: &Row) -> Result<Facts, StoreError> {
    let Some(gate) = row::maybe_json(found, "gate")? else { return Ok(Facts::new()) };
    let at = Whereabouts {
        gate,
        agents: found.try_get::<Option<_>, _>("agents")?.unwrap_or_default(),
        web: row::maybe_json(found, "web")?,
        ports: row::maybe_text(found, "ports")?,
    };
    Ok(at.facts(found.try_get::<Option<_>, _>("version")?.unwrap_or_default()))
}

fn relay(found: &Row) -> Result<RelayRecord, StoreError> {
    Ok(RelayRecord {
        id: row::text(found, "id")?,
        name: found.try_get("name")?,
        created_at: row::time(found, "created_at")?,
        following: found.try_get::<Option<&str>, _>("feed")?.is_some(),
        last_seen: row::maybe_time(found, "last_seen")?,
        in_force: row::count(found, "in_force")?,
        version: found.try_get("version")?,
        gate: row::maybe_json(found, "gate")?,
        web: row::maybe_json(found, "web")?,
        ports: row::maybe_text(found, "ports")?,
        agents: found.try_get("agents")?,
        boxes: row::count(found, "boxes")?,
    })
}
