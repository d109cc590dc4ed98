//! What relays report: the rules they enforce, and the boxes they see.

use std::net::SocketAddr;

use chrono::{DateTime, Utc};
use postern_protocol::api::HostKey;
use postern_protocol::id::{DeviceId, RelayId};
use postern_protocol::wire::{BoxFacts, Transport, WhyTcp};

use super::{Store, StoreError, Tx, row};

/// A box, as a relay sees it, with everything in it checked.
#[derive(Debug, Clone)]
pub(crate) struct Sighting {
    /// The box.
    pub(crate) device: DeviceId,
    /// Whether it is connected.
    pub(crate) online: bool,
    /// Since when.
    pub(crate) since: DateTime<Utc>,
    /// Where it dials from.
    pub(crate) address: SocketAddr,
    /// What its tunnel goes over.
    pub(crate) transport: Transport,
    /// Why that is TCP.
    pub(crate) why_tcp: Option<WhyTcp>,
    /// The revision of the grants that it enforces.
    pub(crate) holding: u64,
    /// What it says of itself.
    pub(crate) facts: Option<BoxFacts>,
}

impl Store {
    /// Takes a relay's report. With `complete`, whoever is not in it is not connected to this relay.
    pub(crate) async fn report(
        &self,
        relay: RelayId,
        in_force: u64,
        complete: bool,
        boxes: &[Sighting],
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let update = "UPDATE relays SET last_seen = $2, in_force = $3 WHERE id = $1";
        sqlx::query(update)
            .bind(relay.as_str())
            .bind(row::millis(now))
            .bind(row::signed(in_force))
            .execute(tx.db())
            .await?;
        if complete {
            tx.nobody_is_at(relay, now).await?;
        }
        for sighting in boxes {
            tx.see(relay, sighting, now).await?;
        }
        tx.reported = true;
        tx.commit().await
    }
}

impl Tx {
    /// Every box that was connected to this relay no longer is.
    pub(super) async fn nobody_is_at(
        &mut self,
        relay: RelayId,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let update = "UPDATE presence SET online = 0, since = $2 WHERE relay = $1 AND online = 1";
        sqlx::query(update).bind(relay.as_str()).bind(row::millis(now)).execute(self.db()).await?;
        Ok(())
    }

    async fn see(
        &mut self,
        relay: RelayId,
        sighting: &Sighting,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let upsert =
            "INSERT INTO presence (device, relay, online, since, address, holding, transport, why_tcp)
                      SELECT id, $2, $3, $4, $5, $6, $7, $8 FROM devices
                      WHERE id = $1 AND deleted_at IS NULL
                      ON CONFLICT (device, relay) DO UPDATE SET online = excluded.online,
                      since = excluded.since, address = excluded.address, holding = excluded.holding,
                      transport = excluded.transport, why_tcp = excluded.why_tcp";
        sqlx::query(upsert)
            .bind(sighting.device.as_str())
            .bind(relay.as_str())
            .bind(i64::from(sighting.online))
            .bind(row::millis(sighting.since.min(now)))
            .bind(sighting.address.to_string())
            .bind(row::signed(sighting.holding))
            .bind(row::word(&sighting.transport))
            .bind(sighting.why_tcp.as_ref().map(row::word))
            .execute(self.db())
            .await?;
        match &sighting.facts {
            Some(facts) => self.learn_facts(sighting.device, facts, now).await,
            None => Ok(()),
        }
    }

    /// Keeps what a box says of itself.
    pub(super) async fn learn_facts(
        &mut self,
        device: DeviceId,
        facts: &BoxFacts,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let keys = facts.ssh.iter().flat_map(|ssh| &ssh.host_keys);
        let keys: Vec<HostKey> = keys.map(HostKey::from).collect();
        self.learn_host_keys(device, &keys, now).await?;
        let update = "UPDATE devices SET facts = $2, paused = $3 WHERE id = $1 AND deleted_at IS NULL";
        sqlx::query(update)
            .bind(device.as_str())
            .bind(row::to_json(facts))
            .bind(i64::from(facts.paused))
            .execute(self.db())
            .await?;
        Ok(())
    }
}
