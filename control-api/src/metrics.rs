//! What the API counts, for Prometheus.

use std::fmt::Write;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::store::{Census, Store, StoreError};

/// Anybody may ask for the numbers, so the store is asked for them no more often than this.
const FRESH: Duration = Duration::from_secs(2);

/// The numbers.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    devices: Family<State, Gauge>,
    accesses: Family<State, Gauge>,
    relays: Family<State, Gauge>,
    deliveries_waiting: Gauge,
    webhooks_failing: Gauge,
    behind: Family<OfRelay, Gauge>,
    counted: Mutex<Option<Instant>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: String,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRelay {
    relay: String,
}

impl Metrics {
    /// Numbers that count nothing yet.
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("postern_api");
        let requests = Family::default();
        registry.register("requests", "Requests answered", requests.clone());
        let [devices, accesses, relays] = [
            ("devices", "Boxes, by whether they have a tunnel"),
            ("accesses", "Accesses, by status"),
            ("relays", "Relays, by whether they follow the feed"),
        ]
        .map(|(name, help)| {
            let family = Family::<State, Gauge>::default();
            registry.register(name, help, family.clone());
            family
        });
        let deliveries_waiting = Gauge::default();
        let help = "Calls of webhooks that have not arrived yet";
        registry.register("deliveries_waiting", help, deliveries_waiting.clone());
        let webhooks_failing = Gauge::default();
        let help = "Webhooks whose calls are given up";
        registry.register("webhooks_failing", help, webhooks_failing.clone());
        let behind = Family::default();
        let help = "Boxes whose newest rules the relay does not enforce yet";
        registry.register("relay_boxes_behind", help, behind.clone());
        Self {
            registry,
            requests,
            devices,
            accesses,
            relays,
            deliveries_waiting,
            webhooks_failing,
            behind,
            counted: Mutex::new(None),
        }
    }

    /// A request was answered.
    pub(crate) fn answered(&self, method: String, route: String, status: u16) {
        self.requests.get_or_create(&Request { method, route, status }).inc();
    }

    /// The numbers as Prometheus reads them.
    pub(crate) async fn text(
        &self,
        store: &Store,
        now: chrono::DateTime<chrono::Utc>,
    ) -> Result<String, StoreError> {
        let mut counted = self.counted.lock().await;
        if counted.is_none_or(|at| at.elapsed() >= FRESH) {
            self.take(&store.census(now).await?);
            *counted = Some(Instant::now());
        }
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            // Writing to a string does not fail; an encoder that does still leaves valid text.
            text.clear();
            let _ = text.write_str("# EOF\n");
        }
        Ok(text)
    }

    fn take(&self, census: &Census) {
        let connected = census.relays.iter().filter(|(_, connected, _)| *connected).count();
        let connected = i64::try_from(connected).unwrap_or(i64::MAX);
        let relays = i64::try_from(census.relays.len()).unwrap_or(i64::MAX);
        for (family, state, count) in [
            (&self.devices, "online", census.devices_online),
            (&self.devices, "offline", census.devices - census.devices_online),
            (&self.accesses, "active", census.active),
            (&self.accesses, "pending", census.pending),
            (&self.accesses, "pending_approval", census.pending_approval),
            (&self.accesses, "expired", census.expired),
            (&self.accesses, "revoked", census.revoked),
            (&self.relays, "connected", connected),
            (&self.relays, "away", relays - connected),
        ] {
            family.get_or_create(&State { state }).set(count);
        }
        self.deliveries_waiting.set(census.deliveries_waiting);
        self.webhooks_failing.set(census.webhooks_failing);
        self.behind.clear();
        for (relay, _, behind) in &census.relays {
            self.behind.get_or_create(&OfRelay { relay: relay.clone() }).set(*behind);
        }
    }
}
