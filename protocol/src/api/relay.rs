//! Relays: how people list them, and what they and the control API say to each other.
//!
//! A relay signs every request with its bearer token. It follows the feed (`GET /v1/relay/feed`, one
//! [`FeedLine`] a line), and reports what it has: the revision in force, who is connected, visits.

use std::net::SocketAddr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{HostKey, Visit};
use crate::grant::{GrantVerifier, SignedGrants};
use crate::id::{DeviceId, RelayId, VisitId};
use crate::secret::Secret;
use crate::wire::{BoxFacts, Transport, Web, WhyTcp};

/// `POST /v1/relays`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateRelay {
    /// What people call it.
    pub name: String,
}

/// The answer to [`CreateRelay`]; the token is shown this once.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewRelay {
    /// The relay.
    pub relay: RelayId,
    /// What it proves itself with.
    pub token: Secret,
}

/// A relay, as people see it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Relay {
    /// Its id.
    pub id: RelayId,
    /// Its name.
    pub name: String,
    /// When it was registered.
    pub created_at: DateTime<Utc>,
    /// Whether it follows the feed now.
    pub connected: bool,
    /// When it last reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<DateTime<Utc>>,
    /// The revision of the rules it enforces.
    pub revision_in_force: u64,
    /// The newest revision there is.
    pub revision: u64,
    /// How many of the caller's boxes are connected to it; for an admin, of everybody's.
    pub boxes: u64,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Where visitors find its SSH gate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
    /// Where browsers find its TLS front, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub web: Option<Web>,
    /// The public ports that accesses may lease, if it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<PortRange>,
}

/// Public ports, the first and the last among them, written `40000-40999`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// Two numbers that are no range of ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a range of ports is the first and the last, such as 40000-40999, neither of them 0")]
pub struct InvalidPortRange;

impl PortRange {
    /// The ports, in order.
    pub fn ports(self) -> std::ops::RangeInclusive<u16> {
        self.first..=self.last
    }

    /// Whether a port is among them.
    pub fn contains(self, port: u16) -> bool {
        self.ports().contains(&port)
    }
}

impl std::str::FromStr for PortRange {
    type Err = InvalidPortRange;

    fn from_str(text: &str) -> Result<Self, InvalidPortRange> {
        let (first, last) = text.split_once('-').ok_or(InvalidPortRange)?;
        let port = |text: &str| text.trim().parse::<u16>().map_err(|_| InvalidPortRange);
        let (first, last) = (port(first)?, port(last)?);
        match 0 < first && first <= last {
            true => Ok(Self { first, last }),
            false => Err(InvalidPortRange),
        }
    }
}

impl TryFrom<String> for PortRange {
    type Error = InvalidPortRange;

    fn try_from(text: String) -> Result<Self, InvalidPortRange> {
        text.parse()
    }
}

impl From<PortRange> for String {
    fn from(range: PortRange) -> Self {
        range.to_string()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for PortRange {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        String::schema()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for PortRange {}

impl std::fmt::Display for PortRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// Where visitors find a relay's SSH gate, and how they know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Gate {
    /// The host name or address that visitors use.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Its host keys.
    pub host_keys: Vec<HostKey>,
}

/// `POST /v1/relay/hello`: a relay has started.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RelayHello {
    /// Its version.
    pub version: String,
    /// Its SSH gate.
    pub gate: Gate,
    /// Where agents dial, `host:port`.
    pub agents: String,
    /// Its TLS front, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub web: Option<Web>,
    /// The public ports that accesses may lease, if it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<PortRange>,
}

/// The answer to [`RelayHello`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RelayWelcome {
    /// The relay's id.
    pub relay: RelayId,
    /// The relay's name.
    pub name: String,
    /// The authority's certificate, PEM.
    pub authority: String,
    /// The key that signs grants.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<u8>))]
    pub grant_key: GrantVerifier,
}

/// `POST /v1/relay/certificate`: a relay wants a certificate for its QUIC endpoint.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CertificateRequest {
    /// A certificate signing request, PEM.
    pub csr: String,
}

/// A certificate, issued.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CertificateAnswer {
    /// The certificate, PEM.
    pub certificate: String,
    /// The authority's, PEM.
    pub authority: String,
}

/// The header by which a relay that asks for the feed says which lines it understands beyond the first
/// ones, separated by commas: an older relay takes a line that it does not know for a broken feed.
pub const FEED_UNDERSTANDS: &str = "postern-feed-understands";

/// In [`FEED_UNDERSTANDS`]: [`FeedLine::Cut`].
pub const FEED_CUTS: &str = "cut";

/// One line of the feed. A relay applies lines as they come and calls them in force at `Commit`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum FeedLine {
    /// A whole picture follows: a box that is not in it by the next commit is not known.
    Snapshot,
    /// A box, new or changed.
    Box {
        /// The box.
        device: DeviceId,
        /// SHA-256 of its public key (SubjectPublicKeyInfo), hex; none before it has joined.
        key: Option<String>,
        /// Its rules, name and revision.
        grants: SignedGrants,
    },
    /// A box that was deleted.
    Gone {
        /// The box.
        device: DeviceId,
    },
    /// All lines so far are the state at this revision.
    Commit {
        /// The revision.
        revision: u64,
    },
    /// Nothing changed; the control API is alive.
    Heartbeat,
    /// A visit is to end now, though its access goes on. Said again until its end was told; only to a
    /// relay that understands it, by [`FEED_UNDERSTANDS`].
    Cut {
        /// The visit.
        visit: VisitId,
    },
}

/// `POST /v1/relay/presence`: what a relay enforces, and who is connected to it.
///
/// Sent at every change and every few seconds. Presence is a lease: a relay that stops reporting
/// takes its boxes offline with it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PresenceReport {
    /// The revision of the rules it enforces.
    pub in_force: u64,
    /// Whether `boxes` is all of them; otherwise only those that changed.
    pub complete: bool,
    /// The boxes.
    pub boxes: Vec<Presence>,
}

/// A box, as its relay sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Presence {
    /// The box.
    pub device: DeviceId,
    /// Whether it is connected.
    pub online: bool,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Where it dials from.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub address: SocketAddr,
    /// What its tunnel goes over.
    #[serde(default)]
    pub transport: Transport,
    /// Why, if that is TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_tcp: Option<WhyTcp>,
    /// What it says of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<BoxFacts>,
    /// The revision of the grants that the box itself enforces.
    pub holding: u64,
}

/// `POST /v1/relay/join`: a box joins through this relay.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JoinBox {
    /// The one-time token that the box brought.
    pub token: Secret,
    /// Its certificate signing request, base64 of DER.
    pub csr: String,
    /// What it says of itself.
    pub facts: BoxFacts,
}

/// `POST /v1/relay/renew`: a connected box wants its certificate renewed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RenewBox {
    /// The box.
    pub device: DeviceId,
    /// Its certificate signing request, base64 of DER, for the key that it has.
    pub csr: String,
}

/// `POST /v1/relay/visits`: what happened. Repeating an event changes nothing.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VisitEvents {
    /// The events, oldest first.
    pub events: Vec<VisitEvent>,
}

/// The state of a visit at its start, and again at its end; the later one replaces the earlier.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VisitEvent(pub Visit);
