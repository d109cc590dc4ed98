//! `POST /v1/verify`: what would the relay do?

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::id::AccessId;

/// An attempt that nobody makes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Verify {
    /// The box, by id or name.
    pub device: String,
    /// Where the visitor would come from.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub source: IpAddr,
    /// The port of the box.
    pub port: u16,
    /// The key they would prove, as an OpenSSH line or RFC 4716; none for a web page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The public port of the relay that they would come to, which also names the access. No key is
    /// asked for there: it is proved to the box's own SSH server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_port: Option<u16>,
    /// The access they would name; left out, any access of the box may let them in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<AccessId>,
    /// When; left out, now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<DateTime<Utc>>,
}

/// What the relay would do.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VerifyAnswer {
    /// Whether they would get in.
    pub allowed: bool,
    /// `allowed`, or the stable code of the denial.
    pub code: String,
    /// The sentence a visitor who proved the key would read.
    pub reason: String,
    /// The access that lets them in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<AccessId>,
    /// Until when it would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
}
