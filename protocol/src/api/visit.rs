//! Visits: the audit of who came, allowed or refused.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::access::Door;
use crate::id::{AccessId, DeviceId, DeviceName, RelayId, VisitId};

/// One visit.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Visit {
    /// Its id.
    pub id: VisitId,
    /// The access that it named, if it exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<AccessId>,
    /// The box, if the access or the visitor named one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceId>,
    /// The box's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_name: Option<DeviceName>,
    /// The relay it came to.
    pub relay: RelayId,
    /// The door.
    pub entrance: Door,
    /// The visitor's address.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub source: IpAddr,
    /// The visitor's port.
    pub source_port: u16,
    /// The port of the box that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The fingerprint of the key that was proved; for a stranger, whose code is `unknown_access` or
    /// `wrong_key`, of the last one that was offered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// When it came.
    pub started_at: DateTime<Utc>,
    /// When it was over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<DateTime<Utc>>,
    /// What became of it.
    pub outcome: VisitOutcome,
    /// The stable code of why it was refused or ended: `ended`, or that of a refusal.
    pub code: String,
    /// Why, in words.
    pub reason: String,
    /// Bytes from the visitor to the box.
    pub bytes_up: u64,
    /// Bytes from the box to the visitor.
    pub bytes_down: u64,
}

/// What became of a visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum VisitOutcome {
    /// It goes on.
    Open,
    /// It was let in, and is over.
    Ended,
    /// It was not let in.
    Refused,
}
