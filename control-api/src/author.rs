//! On whose behalf something is changed: who asked, from where, and when.

use std::net::IpAddr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use postern_protocol::api::{Actor, ActorKind};

/// Who asks for a change. Whoever reaches rows has one, so that no change is without.
#[derive(Debug, Clone)]
pub(crate) struct Author {
    actor: Arc<Actor>,
    from: Option<IpAddr>,
    at: DateTime<Utc>,
}

impl Author {
    /// Somebody, by what they proved.
    pub(crate) fn new(
        kind: ActorKind,
        id: &str,
        name: &str,
        from: Option<IpAddr>,
        at: DateTime<Utc>,
    ) -> Self {
        let actor = Actor { kind, id: Some(id.to_owned()), name: name.to_owned() };
        Self { actor: Arc::new(actor), from, at }
    }

    /// Whoever has the machine in hand, or this program by itself.
    pub(crate) fn machine(at: DateTime<Utc>) -> Self {
        let actor = Actor { kind: ActorKind::Machine, id: None, name: "postern-api".to_owned() };
        Self { actor: Arc::new(actor), from: None, at }
    }

    /// Who it is.
    pub(crate) fn actor(&self) -> &Actor {
        &self.actor
    }

    /// Where they are.
    pub(crate) fn from(&self) -> Option<IpAddr> {
        self.from
    }

    /// When they asked.
    pub(crate) fn at(&self) -> DateTime<Utc> {
        self.at
    }
}
