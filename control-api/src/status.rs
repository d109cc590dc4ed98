//! Whether a box can be reached and an access works, from what is stored and what relays report.

use chrono::{DateTime, Utc};
use postern_protocol::Refusal;
use postern_protocol::access::PublicPort;
use postern_protocol::api::{AccessStatus, Approver, DeviceStatus, Via};

use crate::record::{AccessRecord, DeviceRecord, RelayRecord};

/// Where an access stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It works, through these relays.
    Active {
        /// The names of the relays that enforce it.
        relays: Vec<String>,
    },
    /// Somebody outside the account asked for it, and no owner has approved.
    Asked {
        /// Who.
        by: String,
    },
    /// It does not work yet, or not now.
    Pending(Obstacle),
    /// Its time is over.
    Expired,
    /// It was deleted, alone or with its box.
    Revoked {
        /// Whether the box is gone altogether.
        with_box: bool,
    },
    /// An owner denied it to whoever asked for it.
    Denied,
}

/// What an access waits for, until somebody does something or, for some, a moment has passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// Nobody has run the box's join command.
    NotJoined,
    /// The box has no tunnel.
    Offline,
    /// The box's owner lets nobody in.
    Paused,
    /// Nobody is there to enforce it.
    NoRelay,
    /// Some relays have not reported it in force.
    NotInForce {
        /// Their names.
        relays: Vec<String>,
    },
    /// The relay of its public port is gone, or does not offer the port any more.
    NoPort,
    /// The box has not said that it has the rule.
    NotHeld,
    /// The owner has not approved it on the box, or has denied it.
    Unapproved(Refusal),
}

impl Obstacle {
    /// Whether it passes without anybody's doing, so that it is worth waiting a moment.
    pub(crate) fn passes(&self) -> bool {
        match self {
            Self::NotInForce { .. } | Self::NotHeld => true,
            Self::NotJoined
            | Self::Offline
            | Self::Paused
            | Self::NoRelay
            | Self::NoPort
            | Self::Unapproved(_) => false,
        }
    }
}

impl Standing {
    /// Where this access stands now.
    pub(crate) fn of(
        access: &AccessRecord,
        device: &DeviceRecord,
        relays: &[RelayRecord],
        now: DateTime<Utc>,
    ) -> Self {
        if access.revoked_at.is_some() && access.awaits_approval() && device.deleted_at.is_none() {
            Self::Denied
        } else if access.revoked_at.is_some() {
            Self::Revoked { with_box: device.deleted_at.is_some() }
        } else if now >= access.expires_at {
            Self::Expired
        } else if let Some(by) = access.asked_by.clone().filter(|_| access.awaits_approval()) {
            Self::Asked { by }
        } else if let Some(obstacle) = obstacle(access, device, relays, now) {
            Self::Pending(obstacle)
        } else {
            let connected = relays.iter().filter(|relay| relay.is_connected(now));
            Self::Active { relays: connected.map(|relay| relay.name.clone()).collect() }
        }
    }

    /// The word for it.
    pub(crate) fn status(&self) -> AccessStatus {
        match self {
            Self::Active { .. } => AccessStatus::Active,
            Self::Pending(Obstacle::Unapproved(_)) => AccessStatus::PendingApproval,
            Self::Pending(_) => AccessStatus::Pending,
            Self::Expired => AccessStatus::Expired,
            Self::Asked { .. } => AccessStatus::PendingApproval,
            Self::Revoked { .. } | Self::Denied => AccessStatus::Revoked,
        }
    }

    /// Who has to approve it, if somebody has.
    pub(crate) fn approver(&self) -> Option<Approver> {
        match self {
            Self::Asked { .. } => Some(Approver::Account),
            Self::Pending(Obstacle::Unapproved(_)) => Some(Approver::Box),
            Self::Active { .. } | Self::Pending(_) | Self::Expired | Self::Revoked { .. } | Self::Denied => {
                None
            }
        }
    }

    /// Since when it is so.
    pub(crate) fn since(
        &self,
        access: &AccessRecord,
        device: &DeviceRecord,
        now: DateTime<Utc>,
    ) -> DateTime<Utc> {
        match self {
            Self::Active { .. } | Self::Pending(Obstacle::Offline | Obstacle::NotHeld) => {
                access.revised_at.max(device_status(device, now).1)
            }
            Self::Pending(_) | Self::Asked { .. } => access.revised_at,
            Self::Expired => access.expires_at,
            Self::Revoked { .. } | Self::Denied => access.revoked_at.unwrap_or(access.revised_at),
        }
    }

    /// Why it is so, in words.
    pub(crate) fn reason(&self, device: &DeviceRecord) -> String {
        let name = &device.name;
        match self {
            Self::Active { relays } => format!("in force on {} and on {name}", relays.join(", ")),
            Self::Pending(Obstacle::NotJoined) => {
                format!("{name} has not joined yet: run its join command on it")
            }
            Self::Pending(Obstacle::Offline) => format!("{name} is offline; it works when {name} is back"),
            Self::Pending(Obstacle::Paused) => format!("{name} is paused by its owner"),
            Self::Pending(Obstacle::NoRelay) => "no relay is connected to the control API".to_owned(),
            Self::Pending(Obstacle::NotInForce { relays }) => {
                format!("not yet in force on {}", relays.join(", "))
            }
            Self::Pending(Obstacle::NoPort) => {
                "its relay does not offer its public port any more; extend or edit it, \
                                                and it gets another"
                    .to_owned()
            }
            Self::Pending(Obstacle::NotHeld) => format!("{name} has not confirmed the rule yet"),
            Self::Pending(Obstacle::Unapproved(why)) => format!("on {name}: {why}"),
            Self::Asked { by } => format!("{by} asks for it from outside; an owner of the account decides"),
            Self::Denied => "it was asked for from outside and denied".to_owned(),
            Self::Expired => "its time is over".to_owned(),
            Self::Revoked { with_box: false } => "it was deleted".to_owned(),
            Self::Revoked { with_box: true } => format!("{name} was deleted"),
        }
    }
}

fn obstacle(
    access: &AccessRecord,
    device: &DeviceRecord,
    relays: &[RelayRecord],
    now: DateTime<Utc>,
) -> Option<Obstacle> {
    let connected: Vec<&RelayRecord> = relays.iter().filter(|relay| relay.is_connected(now)).collect();
    let behind = |relay: &&&RelayRecord| relay.in_force < access.revision;
    let behind: Vec<String> = connected.iter().filter(behind).map(|relay| relay.name.clone()).collect();
    let Some(presence) = device.online(now) else {
        return Some(if device.key.is_none() { Obstacle::NotJoined } else { Obstacle::Offline });
    };
    if device.facts.as_ref().is_some_and(|facts| facts.paused) {
        Some(Obstacle::Paused)
    } else if connected.is_empty() {
        Some(Obstacle::NoRelay)
    } else if access.via == Via::Port && !is_offered(access.leased, relays) {
        Some(Obstacle::NoPort)
    } else if !behind.is_empty() {
        Some(Obstacle::NotInForce { relays: behind })
    } else if presence.holding < access.revision {
        Some(Obstacle::NotHeld)
    } else {
        let consent = device.facts.as_ref().and_then(|facts| facts.consent.as_ref());
        consent.and_then(|consent| consent.objection(access.id)).map(Obstacle::Unapproved)
    }
}

fn is_offered(leased: Option<PublicPort>, relays: &[RelayRecord]) -> bool {
    let offers = |relay: &RelayRecord, port| relay.ports.is_some_and(|ports| ports.contains(port));
    leased.is_some_and(|leased| {
        relays.iter().any(|relay| relay.id == leased.relay && offers(relay, leased.port))
    })
}

/// Whether a box can be reached, and since when that is so.
pub(crate) fn device_status(device: &DeviceRecord, now: DateTime<Utc>) -> (DeviceStatus, DateTime<Utc>) {
    let joined = device.joined_at.unwrap_or(device.created_at);
    match (&device.key, &device.presence) {
        (None, _) => (DeviceStatus::WaitingToJoin, device.created_at),
        (Some(_), None) => (DeviceStatus::Offline, joined),
        (Some(_), Some(presence)) if presence.is_online(now) => (DeviceStatus::Online, presence.since),
        (Some(_), Some(presence)) => (DeviceStatus::Offline, presence.last_seen()),
    }
}

#[cfg(test)]
mod tests;
