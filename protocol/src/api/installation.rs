//! The installation: what whoever runs it has set, for those who look after it.

use serde::{Deserialize, Serialize};

/// What an installation is set to. It is changed in `api.toml`, and in force when `postern-api` starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Installation {
    /// The version of the control API.
    pub version: String,
    /// For how many days things are kept; 0 is for good.
    pub retention: RetentionDays,
    /// Requests a minute; 0 is no limit.
    pub limits: RequestsPerMinute,
}

/// For how many days things are kept; 0 is for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RetentionDays {
    /// Visits that are over, and refusals.
    pub visits: u16,
    /// Records of the audit.
    pub audit: u16,
    /// Events.
    pub events: u16,
    /// Deliveries to webhooks that arrived or were given up.
    pub deliveries: u16,
}

/// How many requests may be made in a minute; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RequestsPerMinute {
    /// By each API token and each user.
    pub per_credential: u32,
    /// From each address, by those who prove nothing.
    pub per_address: u32,
}
