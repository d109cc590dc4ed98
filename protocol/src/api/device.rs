//! Boxes.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::id::{DeviceId, DeviceName};
use crate::ssh_key::PublicKey;
use crate::wire::{BoxFacts, Transport, WhyTcp};

/// `POST /v1/devices`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateDevice {
    /// The name, one DNS label; unique among the account's boxes.
    pub name: DeviceName,
}

/// `PATCH /v1/devices/{device}`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RenameDevice {
    /// The new name.
    pub name: DeviceName,
}

/// A box.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Device {
    /// Its id.
    pub id: DeviceId,
    /// Its name.
    pub name: DeviceName,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// Whether it can be reached.
    pub status: DeviceStatus,
    /// Since when it has that status.
    pub since: DateTime<Utc>,
    /// When a relay last saw it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<DateTime<Utc>>,
    /// The address it dials from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The name of the relay it is connected to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relay: Option<String>,
    /// What its tunnel goes over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
    /// Why, if that is TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_tcp: Option<WhyTcp>,
    /// What it says of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub facts: Option<BoxFacts>,
    /// The host keys of its SSH server.
    pub host_keys: Vec<HostKey>,
    /// The ones before them, if they have changed and nobody has confirmed that yet. Until then
    /// these are what connections are told to expect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former_host_keys: Option<FormerHostKeys>,
    /// How to join it; only in the answer that made the join string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join: Option<Join>,
}

/// Whether a box can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum DeviceStatus {
    /// Nobody has run its join command yet.
    WaitingToJoin,
    /// It has a tunnel to a relay.
    Online,
    /// It has joined and has no tunnel now.
    Offline,
}

/// A host key of a box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HostKey {
    /// The key, as in a known_hosts file.
    pub key: String,
    /// Its fingerprint, as `ssh` shows it.
    pub fingerprint: String,
}

/// `POST /v1/devices/{device}/host-keys/confirm`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConfirmHostKeys {
    /// The fingerprints of the keys that were looked at: all of the box's [`Device::host_keys`].
    #[cfg_attr(feature = "openapi", schema(example = json!(["SHA256:baqJQcVDEweKmw1OiZxGooCG2MGxYtwsQQzzOstxmiA"])))]
    pub fingerprints: Vec<String>,
}

/// Host keys that a box no longer has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FormerHostKeys {
    /// The keys.
    pub host_keys: Vec<HostKey>,
    /// When the box first reported others.
    pub changed_at: DateTime<Utc>,
}

impl From<&PublicKey> for HostKey {
    fn from(key: &PublicKey) -> Self {
        Self { key: key.to_openssh(), fingerprint: key.fingerprint() }
    }
}

/// The one line to run on a new box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Join {
    /// The command, ready to paste.
    pub command: String,
    /// The join string alone.
    pub string: String,
    /// When it stops working; it works once.
    pub expires_at: DateTime<Utc>,
}
