//! May this attempt reach this box, now?
//!
//! [`decide`] is the only place where that is answered: at the relay for every connection, again
//! whenever the rules change or a permit runs out, at the box for its second check, and for
//! `POST /v1/verify`, which says in advance what the relay would do.
//!
//! The answers are ordered: every denial is less than any permit, denials by how near the attempt
//! came, permits by how long they last. So the decision is the greatest of what each rule says,
//! and nothing is allowed unless some rule says so.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::id::{AccessId, DeviceId, RelayId};
use crate::ssh_key::PublicKey;

mod network;
mod rule;
#[cfg(test)]
mod tests;

pub use network::{InvalidNetworks, MAX_NETWORKS, Networks};
pub use rule::{Rule, Rules};

/// Decides an attempt: the nearest any rule comes to letting it in, and a plain no without rules.
pub fn decide(rules: &Rules, attempt: &Attempt) -> Verdict {
    rules
        .concerning(attempt)
        .map(|rule| rule.judge(attempt))
        .max()
        .unwrap_or(Verdict::Deny(Denial::UnknownAccess))
}

/// Somebody at the door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The access that the visitor named; without one, any access of the box may let them in.
    pub access: Option<AccessId>,
    /// The door, and what was proved there.
    pub entrance: Entrance,
    /// The visitor's address.
    pub source: IpAddr,
    /// The box they want.
    pub device: DeviceId,
    /// The port of the box they want.
    pub port: u16,
    /// When they ask.
    pub at: DateTime<Utc>,
}

/// Where an attempt is made, and so what it has proved by then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entrance {
    /// The relay's SSH gate, where a signature by this key was verified, not merely offered.
    Gate(PublicKey),
    /// The relay's TLS front, where no key is asked for; only rules without one open there.
    Front,
    /// A public port, which is the proof of nothing but itself; only the rule that leases it opens
    /// there. For SSH, the key is proved to the box's own server, end to end.
    Port(PublicPort),
    /// The box's end of the tunnel: the key is proved to the box's own SSH server, end to end.
    Tunnel,
}

impl Entrance {
    /// The door, for records and for the box; the box's own end of the tunnel is none.
    pub fn door(&self) -> Option<Door> {
        match self {
            Self::Gate(_) => Some(Door::Gate),
            Self::Front => Some(Door::Front),
            Self::Port(_) => Some(Door::Port),
            Self::Tunnel => None,
        }
    }
}

/// A door of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Door {
    /// The SSH gate.
    Gate,
    /// The TLS front.
    Front,
    /// A public port of the access's own.
    Port,
}

/// A port of one relay that leads to one access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PublicPort {
    /// The relay that listens.
    pub relay: RelayId,
    /// Where it listens.
    pub port: u16,
}

/// The answer, in order: `Deny < Allow`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// No, and how near it came.
    Deny(Denial),
    /// Yes, until the permit ends.
    Allow(Permit),
}

/// Why not, ordered from the farthest miss to the nearest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, thiserror::Error)]
pub enum Denial {
    /// No rule speaks of this attempt.
    #[error("unknown access")]
    UnknownAccess,
    /// The rule names another key, or a key where none was proved.
    #[error("the access is for another key")]
    WrongKey,
    /// The rule is for another box.
    #[error("the access is for another box")]
    WrongBox,
    /// The rule exposes another port.
    #[error("port not exposed: {port}")]
    PortNotExposed {
        /// The port asked for.
        port: u16,
    },
    /// The visitor's address is outside every network of the rule.
    #[error("address not allowed: {address}")]
    AddressOutside {
        /// The visitor's address.
        address: IpAddr,
    },
    /// The rule was deleted.
    #[error("the access was revoked")]
    Revoked,
    /// The rule's time is over.
    #[error("the access expired at {}", at.format("%Y-%m-%d %H:%M:%S UTC"))]
    Expired {
        /// When it ended.
        at: DateTime<Utc>,
    },
    /// The rule lives, but the control API has not renewed its signature in time.
    #[error("the access could not be renewed since {}", at.format("%Y-%m-%d %H:%M:%S UTC"))]
    LeaseOver {
        /// When the signature ended.
        at: DateTime<Utc>,
    },
}

impl Denial {
    /// The stable code, for programs and for the audit.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownAccess => "unknown_access",
            Self::WrongKey => "wrong_key",
            Self::WrongBox => "wrong_box",
            Self::PortNotExposed { .. } => "port_not_exposed",
            Self::AddressOutside { .. } => "address_not_allowed",
            Self::Revoked => "revoked",
            Self::Expired { .. } => "expired",
            Self::LeaseOver { .. } => "lease_over",
        }
    }

    /// Whether the visitor has proved too little to be told more than a constant no.
    pub fn is_strangers(&self) -> bool {
        matches!(self, Self::UnknownAccess | Self::WrongKey)
    }
}

/// Leave to open one stream to one port of one box, for a while. Only [`decide`] makes one:
///
/// ```compile_fail,E0451
/// use postern_protocol::access::Permit;
/// fn forge(real: Permit) -> Permit {
///     Permit { port: 22, ..real }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permit {
    until: DateTime<Utc>,
    access: AccessId,
    device: DeviceId,
    port: u16,
}

impl Permit {
    /// The first moment at which this permit holds no longer; ask again then.
    pub fn until(&self) -> DateTime<Utc> {
        self.until
    }

    /// The access that gave it.
    pub fn access(&self) -> AccessId {
        self.access
    }

    /// The box it opens.
    pub fn device(&self) -> DeviceId {
        self.device
    }

    /// The port it opens.
    pub fn port(&self) -> u16 {
        self.port
    }
}
