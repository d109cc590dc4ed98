//! What the relay counts, for a monitoring system.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// A gauge of something that is never negative.
pub(crate) type Level = Gauge<u64, AtomicU64>;

/// All counters and gauges; cheap to clone, shared by whoever has something to count.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    pub(crate) visits: Family<Code, Counter>,
    pub(crate) visits_open: Gauge,
    pub(crate) bytes_up: Counter,
    pub(crate) bytes_down: Counter,
    pub(crate) boxes: Gauge,
    pub(crate) boxes_displaced: Counter,
    pub(crate) tunnels: Family<Over, Gauge>,
    pub(crate) sessions_resumed: Counter,
    pub(crate) joins: Family<Code, Counter>,
    pub(crate) connections: Family<Door, Gauge>,
    pub(crate) turned_away: Family<Door, Counter>,
    pub(crate) garbled: Family<Door, Counter>,
    pub(crate) strangers: Family<Code, Counter>,
    pub(crate) challenges: Family<Code, Counter>,
    pub(crate) ports_open: Gauge,
    pub(crate) ports_blocked: Gauge,
    pub(crate) revision: Level,
    pub(crate) feed_connected: Gauge,
    pub(crate) rules_rejected: Counter,
    pub(crate) audit_waiting_bytes: Level,
    pub(crate) audit_dropped: Counter,
}

/// A stable code: `ended`, or that of a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Code {
    pub(crate) code: &'static str,
}

/// Where somebody stood when there was no room for them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Door {
    pub(crate) door: &'static str,
}

/// What a tunnel goes over.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Over {
    pub(crate) transport: &'static str,
    pub(crate) why: &'static str,
}

impl Metrics {
    /// Everything, in the text form that Prometheus reads.
    pub(crate) fn render(&self) -> String {
        let mut registry = Registry::with_prefix("postern_relay");
        registry.register("visits", "Visits that are over, by how they ended", self.visits.clone());
        registry.register("visits_open", "Visits going on", self.visits_open.clone());
        registry.register(
            "bytes_up",
            "Bytes from visitors to boxes, of visits that are over",
            self.bytes_up.clone(),
        );
        registry.register(
            "bytes_down",
            "Bytes from boxes to visitors, of visits that are over",
            self.bytes_down.clone(),
        );
        registry.register("boxes", "Boxes with a tunnel", self.boxes.clone());
        registry.register(
            "boxes_displaced",
            "Tunnels that gave way to a newer one",
            self.boxes_displaced.clone(),
        );
        registry.register("tunnels", "Tunnels of boxes, by what they go over and why", self.tunnels.clone());
        registry.register(
            "sessions_resumed",
            "Handshakes of boxes that had been here before",
            self.sessions_resumed.clone(),
        );
        registry.register("joins", "Boxes that asked to join, by the answer", self.joins.clone());
        registry.register("connections", "Connections of visitors, by door", self.connections.clone());
        registry.register(
            "turned_away",
            "Connections refused for want of room, by door",
            self.turned_away.clone(),
        );
        registry.register(
            "garbled",
            "Connections that did not say in time, or in no way known, whom they wanted, by door",
            self.garbled.clone(),
        );
        registry.register("strangers", "Connections that found or proved no access", self.strangers.clone());
        registry.register(
            "challenges",
            "Checks by certificate authorities of who has a box's name, by how they went",
            self.challenges.clone(),
        );
        registry.register("ports_open", "Public ports that lead to an access", self.ports_open.clone());
        registry.register(
            "ports_blocked",
            "Public ports that an access has and that could not be opened",
            self.ports_blocked.clone(),
        );
        registry.register("rules_revision", "The revision of the rules in force", self.revision.clone());
        registry.register(
            "feed_connected",
            "Whether the feed of rules is connected",
            self.feed_connected.clone(),
        );
        registry.register(
            "rules_rejected",
            "Documents of rules that were not believed",
            self.rules_rejected.clone(),
        );
        registry.register(
            "audit_waiting_bytes",
            "Audit records not yet delivered",
            self.audit_waiting_bytes.clone(),
        );
        registry.register(
            "audit_dropped",
            "Audit records lost to a full or failing disk",
            self.audit_dropped.clone(),
        );
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)
            .expect("writing to a string cannot fail");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_rendered() {
        let metrics = Metrics::default();
        metrics.visits.get_or_create(&Code { code: "expired" }).inc();
        metrics.revision.set(7);
        let text = metrics.render();
        assert!(text.contains("postern_relay_visits_total{code=\"expired\"} 1"), "{text}");
        assert!(text.contains("postern_relay_rules_revision 7"), "{text}");
    }
}
