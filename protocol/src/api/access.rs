//! Accesses.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Actor, HostKey};
use crate::id::{AccessId, DeviceId, DeviceName, Login, RelayId};

/// `POST /v1/accesses`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateAccess {
    /// The box, by id or name.
    pub device: String,
    /// The port of the box: 22 for SSH, 443 for its web page, or one that the box lists as a service.
    pub exposed_port: u16,
    /// Addresses and blocks that may come in; left out, the caller's own address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_ips: Option<Vec<String>>,
    /// Must be true if `allowed_ips` admits a whole address family.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_any: bool,
    /// When it ends; this or `expires_in`, or neither for 24 hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    /// How long it lasts, such as `2h`, `90m` or `1d12h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<String>,
    /// The visitor's SSH public key; required for port 22.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// The user on the box; left out, the box's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
    /// The way in; left out, the SSH gate for what has a key, and for the rest a name of the relay's
    /// TLS front, or a public port where there is no front.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Via>,
    /// Free text for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// How visitors come in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Via {
    /// Through the relay's SSH gate, as a jump host: the relay checks the key.
    #[default]
    Gate,
    /// By a name of the relay's TLS front: a link.
    Name,
    /// By a public port of the relay that leads to this access alone.
    Port,
}

/// `PATCH /v1/accesses/{access}`: what is left out stays as it is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EditAccess {
    /// See [`CreateAccess::allowed_ips`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_ips: Option<Vec<String>>,
    /// See [`CreateAccess::allow_any`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_any: bool,
    /// A new end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    /// A new end, counted from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<String>,
    /// Another key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// Another user on the box.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
    /// Another note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// An access.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Access {
    /// Its id, and the user name at the relay's SSH gate.
    pub id: AccessId,
    /// The box.
    pub device: DeviceId,
    /// The box's name.
    pub device_name: DeviceName,
    /// The port of the box.
    pub exposed_port: u16,
    /// Who may come in, in canonical form.
    pub allowed_ips: Vec<String>,
    /// When it ends.
    pub expires_at: DateTime<Utc>,
    /// The visitor's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key: Option<KeyInfo>,
    /// The user on the box.
    pub login: Login,
    /// The way in.
    #[serde(default)]
    pub via: Via,
    /// The port of the relay that leads to it, if it has one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_port: Option<u16>,
    /// The relay that has this port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<RelayId>,
    /// Free text for people.
    pub note: String,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// Whether it works now.
    pub status: AccessStatus,
    /// Since when it has that status.
    pub status_since: DateTime<Utc>,
    /// Why it has that status, in words.
    pub status_reason: String,
    /// The rising revision of its rule.
    pub revision: u64,
    /// Who asked for it from outside the account, if it was not made from within.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_by: Option<String>,
    /// Who has to approve it while its status is `pending_approval`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approver: Option<Approver>,
    /// When an owner approved what was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_at: Option<DateTime<Utc>>,
    /// Who made it; unknown for those made before this was written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<Actor>,
    /// Everything needed to connect; absent while no relay is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<Connection>,
}

/// Whether an access works now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum AccessStatus {
    /// The box is offline, or the rule is not yet in force on every connected relay.
    Pending,
    /// It lets nobody in until it is approved: by an owner of the account if somebody outside asks for it,
    /// on the box itself if the box's owner wants that.
    PendingApproval,
    /// It works.
    Active,
    /// Its time is over.
    Expired,
    /// It was deleted.
    Revoked,
}

/// Who has to approve an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Approver {
    /// An owner of the account.
    Account,
    /// Somebody on the box: `postern-agent approve`.
    Box,
}

/// A key, as people compare it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeyInfo {
    /// The OpenSSH line, without a comment.
    pub openssh: String,
    /// The type, such as `ssh-ed25519`.
    pub r#type: String,
    /// The size in bits.
    pub bits: u32,
    /// The fingerprint, as `ssh-keygen -l` shows it.
    pub fingerprint: String,
    /// The comment that came with it.
    pub comment: String,
    /// A sentence worth showing although the key is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// Everything needed to connect without a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Connection {
    /// The command to run; for a web page, its link; for another service on a public port, its address.
    pub command: String,
    /// The link, for a web page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// A block for `~/.ssh/config`, with both hops.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_config: Option<String>,
    /// Lines for a known_hosts file, for both hops.
    pub known_hosts: Vec<String>,
    /// Fingerprints, for comparing by eye.
    pub fingerprints: Fingerprints,
    /// What is amiss although the command may work, such as host keys that changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// The same for each program by its name, such as `openssh`, `putty` or `ansible`: a command to
    /// run, or lines for a file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub forms: BTreeMap<String, String>,
}

/// The host keys of both hops, or the certificate of a page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Fingerprints {
    /// The relay's SSH gate.
    pub gate: Vec<HostKey>,
    /// The box.
    pub device: Vec<HostKey>,
    /// SHA-256 of the certificate that browsers see, hex, for a web page that has told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
}

/// The answer to a creation: the access, and how far its rule has come.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Created {
    /// The access.
    #[serde(flatten)]
    pub access: Access,
    /// Where the rule is in force, in order, with the time it took; only with `?wait=active`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub progress: Vec<Progress>,
}

/// A place that a rule has reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Progress {
    /// What happened: `in force on relay-1`, `box42 has it`.
    pub what: String,
    /// Milliseconds since the rule was written.
    pub after_ms: u64,
}
