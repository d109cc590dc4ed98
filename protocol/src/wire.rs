//! What a box and a relay say to each other.
//!
//! ```text
//! joining: ALPN postern-join/1, the relay's certificate chain ends in the pinned authority
//!   agent ─ JoinRequest ──────────────▶ relay       one bidirectional stream, then closed
//!   agent ◀────────────── JoinAnswer ── relay
//!
//! the tunnel: ALPN postern/1, mutual TLS 1.3, kept for as long as it holds
//!   agent ─ Hello, Facts, Holding, Renew ────────────▶ relay     the first bidirectional stream,
//!   agent ◀── Welcome, Grants, Certificate, Goodbye ── relay     opened by the agent
//!
//! an errand: one bidirectional stream each, opened by the relay
//!   agent ◀─ Errand::Visit ────── relay
//!   agent ── Opening ───────────▶ relay     Opened, and from here on the bytes are the visitor's;
//!   agent ◀═ bytes both ways ═══▶ relay     or Refused, and the stream ends
//!
//!   agent ◀─ Errand::Challenge ── relay     a certificate authority wants to see that the name is
//!   agent ── Opening ───────────▶ relay     the box's; what follows is its TLS handshake, and never
//!   agent ◀═ bytes both ways ═══▶ relay     reaches a service
//! ```
//!
//! over TCP: ALPN postern-tcp-join/1 and postern-tcp/1, for boxes whose network passes no UDP; the same
//! TLS, the same messages, on streams of yamux (`tunnel::tcp`)
//!
//! Every message is a [`frame`]: four bytes of length, then the message. The first message of each
//! side carries its version, so that an older peer is answered with a sentence ([`greeting`]).
//!
//! Versions of the protocol:
//! - 1 (2026-11-21): the first.
//! - 2 (2026-11-21): the same over TCP; a box says why it comes that way, and may let its former tunnel
//!   end when its visits have; a relay tells a box whose path starves it.
//! - 3 (2026-11-21): a box may ask from where it is seen, and tells what its owner has approved, where
//!   accesses have to be.
//! - 4 (2026-11-21): a box says whether every byte costs it.

use std::net::SocketAddr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::access::Door;
use crate::grant::{GrantVerifier, MAX_GRANTS, SignedGrants};
use crate::id::{AccessId, DeviceId, DeviceName, Login, RelayId, VisitId};
use crate::refusal::Refusal;
use crate::secret::Secret;
use crate::ssh_key::PublicKey;

pub mod frame;
pub mod greeting;
#[cfg(feature = "io")]
pub mod io;
#[cfg(test)]
mod tests;

/// The version spoken here.
pub const VERSION: u16 = 4;

/// The protocol of a box that has no certificate yet (RFC 7301).
pub const JOIN_ALPN: &[u8] = b"postern-join/1";

/// The protocol of a box that has one.
pub const TUNNEL_ALPN: &[u8] = b"postern/1";

/// [`JOIN_ALPN`] over TCP.
pub const TCP_JOIN_ALPN: &[u8] = b"postern-tcp-join/1";

/// [`TUNNEL_ALPN`] over TCP.
pub const TCP_TUNNEL_ALPN: &[u8] = b"postern-tcp/1";

/// The most visits at once through one tunnel.
pub const MAX_VISITS: u32 = 256;

/// How a tunnel reaches its relay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Transport {
    /// QUIC, over UDP.
    #[default]
    Quic,
    /// TLS over TCP, because QUIC did not get through.
    Tcp,
}

/// Why a tunnel goes over TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum WhyTcp {
    /// Nobody answered over UDP.
    UdpSilent,
    /// Nothing came back over UDP any more.
    UdpLost,
    /// Little got through over UDP, and most of that more than once.
    UdpStarved,
}

impl WhyTcp {
    /// Its stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::UdpSilent => "udp_silent",
            Self::UdpLost => "udp_lost",
            Self::UdpStarved => "udp_starved",
        }
    }
}

impl std::fmt::Display for WhyTcp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::UdpSilent => "nobody answers over UDP",
            Self::UdpLost => "nothing came back over UDP any more",
            Self::UdpStarved => "too little got through over UDP",
        })
    }
}

/// The name in every relay's certificate; what is trusted is the pinned authority, not DNS.
pub const RELAY_NAME: &str = "relay.postern.internal";

/// In a device's certificate, the URI that names it is this and its id.
pub const DEVICE_URI: &str = "postern:device:";

/// In a relay's certificate, the URI that names it is this and its id.
pub const RELAY_URI: &str = "postern:relay:";

/// The first message of a box that joins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// The version the agent speaks.
    pub version: u16,
    /// The one-time token from the join string.
    pub token: Secret,
    /// A certificate signing request (DER) for the key made on the box.
    pub csr: Vec<u8>,
    /// What the box says of itself.
    pub facts: BoxFacts,
}

/// The answer to a box that joins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinAnswer {
    /// It belongs now.
    Welcome(Box<Membership>),
    /// It does not; the sentence is for the person at the box.
    Refused {
        /// What is wrong and what to do.
        sentence: String,
    },
}

/// What a box needs in order to belong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Membership {
    /// Its id.
    pub device: DeviceId,
    /// Its name.
    pub name: DeviceName,
    /// Its certificate and the authority's, and where it is.
    pub certificate: Certificate,
    /// The key that signs grants.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<u8>))]
    pub grant_key: GrantVerifier,
    /// Where to dial, `host:port`, in order of preference.
    pub relays: Vec<String>,
}

/// A certificate and the one that signed it (DER).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Certificate {
    /// The box's own.
    pub own: Vec<u8>,
    /// The authority's.
    pub authority: Vec<u8>,
}

/// From the agent, on the control stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToRelay {
    /// The first message.
    Hello {
        /// The version the agent speaks.
        version: u16,
        /// What the box says of itself.
        facts: BoxFacts,
        /// Why this tunnel goes over TCP, if it does.
        why_tcp: Option<WhyTcp>,
        /// The box's tunnel before this one still works: no visit begins there any more, and it ends
        /// when its visits have.
        beside: bool,
        /// Every byte costs the box: over TCP it is rarely asked whether it is still there, as over QUIC
        /// it is by its own choice of an idle time-out.
        metered: bool,
    },
    /// What the box says of itself has changed.
    Facts(BoxFacts),
    /// The box has verified and enforces its grants at this revision.
    Holding {
        /// The revision of the grants.
        revision: u64,
    },
    /// The box wants its certificate renewed for the same key.
    Renew {
        /// A certificate signing request (DER).
        csr: Vec<u8>,
    },
    /// From where does the relay see the box? Asked after a silence, to learn how long a NAT remembers.
    WhereAmI,
}

/// From the relay, on the control stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToAgent {
    /// The first message: the box is known here.
    Welcome {
        /// The version the relay speaks.
        version: u16,
        /// The relay.
        relay: RelayId,
        /// The relay's clock.
        #[serde(with = "chrono::serde::ts_seconds")]
        now: DateTime<Utc>,
        /// Where the relay's TLS front is, if it has one.
        web: Option<Web>,
    },
    /// The box's rules, now and whenever they change.
    Grants(SignedGrants),
    /// The renewed certificate.
    Certificate(Certificate),
    /// The relay is about to close this tunnel, and why.
    Goodbye(Goodbye),
    /// What the relay sends gets through in drops: another path may be better.
    Starved,
    /// From where the relay sees the box.
    Seen {
        /// The address, which is that of the outermost NAT.
        address: SocketAddr,
    },
}

/// Why a relay closes a tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Goodbye {
    /// The box was deleted, or joined again with another key.
    NotKnown,
    /// Another tunnel of the same box has taken this one's place.
    Displaced,
    /// The relay stops; come back after a random part of this window.
    Draining {
        /// The window, in seconds.
        within_seconds: u32,
    },
    /// The versions do not fit; the sentence says which side needs an update.
    Version {
        /// What to do.
        sentence: String,
    },
}

/// Where a relay's TLS front is found: `https://<label>.<domain>:<port>/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Web {
    /// Every name in this domain leads to the relay.
    pub domain: String,
    /// The port.
    pub port: u16,
}

impl Web {
    /// The host name with this first label.
    pub fn host(&self, label: impl std::fmt::Display) -> String {
        format!("{label}.{}", self.domain)
    }

    /// The link to the host with this first label.
    pub fn url(&self, label: impl std::fmt::Display) -> String {
        match self.port {
            443 => format!("https://{}/", self.host(label)),
            port => format!("https://{}:{port}/", self.host(label)),
        }
    }
}

/// The first message on a stream that the relay opens: what it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Errand {
    /// Somebody visits.
    Visit(Open),
    /// A certificate authority checks, by `acme-tls/1`, who has a name that the relay found to be
    /// this box's.
    Challenge {
        /// The name.
        name: String,
    },
}

/// A visit, as the relay let it in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// The visit, as it stands in the audit.
    pub visit: VisitId,
    /// The access that lets it in.
    pub access: AccessId,
    /// The port of the box.
    pub port: u16,
    /// The visitor's address.
    pub visitor: SocketAddr,
    /// The door that they came to.
    pub door: Door,
    /// The grants by which the relay decided; the box waits a moment for them if its own are older.
    pub revision: u64,
}

/// The agent's answer to an [`Errand`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Opening {
    /// Bytes follow.
    Opened,
    /// Nothing follows.
    Refused(Refusal),
}

/// What a box says of itself. Told by the box, so never trusted with more than being shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BoxFacts {
    /// The agent's version.
    pub agent_version: String,
    /// The box's own host name.
    pub hostname: String,
    /// Operating system and architecture, such as `linux/aarch64`.
    pub platform: String,
    /// The SSH server that visitors reach on port 22.
    pub ssh: Option<SshServer>,
    /// What else it offers.
    pub services: Vec<Service>,
    /// The certificate that browsers see, if the agent knows it.
    pub certificate: Option<WebCertificate>,
    /// Who visitors are unless their access says otherwise.
    pub default_login: Login,
    /// Whether the owner lets nobody in.
    pub paused: bool,
    /// What the owner has decided on, if accesses have to be approved on the box itself.
    #[serde(default)]
    pub consent: Option<Consent>,
}

/// What the owner of a box has decided about its accesses, as they are now. One that stands in neither list
/// waits for approval.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Consent {
    /// Those that may let in.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub approved: Vec<AccessId>,
    /// Those that may not.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub denied: Vec<AccessId>,
}

impl Consent {
    /// Why an access lets nobody in, if the owner has not approved it.
    pub fn objection(&self, access: AccessId) -> Option<Refusal> {
        if self.approved.contains(&access) {
            None
        } else if self.denied.contains(&access) {
            Some(Refusal::DeniedByOwner)
        } else {
            Some(Refusal::NotApproved { access })
        }
    }
}

/// The SSH server of a box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SshServer {
    /// Whose it is.
    pub kind: SshServerKind,
    /// How it introduces itself, such as `OpenSSH_9.2p1`.
    pub version: String,
    /// Where it listens on the box; zero for the agent's own, which listens nowhere.
    pub port: u16,
    /// Its host keys.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub host_keys: Vec<PublicKey>,
}

/// Whose SSH server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum SshServerKind {
    /// The system's own.
    System,
    /// The agent's.
    Builtin,
}

/// Something that a box offers besides SSH.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Service {
    /// What the box's owner calls it.
    pub name: String,
    /// The port by which accesses expose it.
    pub port: u16,
}

/// The certificate that browsers see on a box's own page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WebCertificate {
    /// Whose it is.
    pub kind: WebCertificateKind,
    /// The host names in it.
    pub names: Vec<String>,
    /// SHA-256 of it, hex: what a browser shows behind its warning.
    pub fingerprint: String,
    /// When it ends.
    #[serde(with = "chrono::serde::ts_seconds")]
    pub ends_at: DateTime<Utc>,
}

/// Whose certificate browsers see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum WebCertificateKind {
    /// The page's own, passed through.
    Service,
    /// One that the agent was given as a file.
    File,
    /// One that the agent obtained from a certificate authority.
    Acme,
}

/// What is wrong with facts that are too large to keep or not fit to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what the box says of itself cannot be kept: {0}")]
pub struct OversizedFacts(&'static str);

impl BoxFacts {
    /// The most bytes of any text in here.
    pub const MAX_TEXT: usize = 128;
    /// The most services a box may list.
    pub const MAX_SERVICES: usize = 32;
    /// The most host keys a box may report.
    pub const MAX_HOST_KEYS: usize = 8;
    /// The most names of a certificate that a box may report.
    pub const MAX_NAMES: usize = 8;

    /// Whether everything in here is of a size worth keeping, and nothing could play tricks on the
    /// terminal that shows it.
    pub fn check(&self) -> Result<(), OversizedFacts> {
        let ssh_version = self.ssh.as_ref().map_or("", |ssh| &ssh.version);
        let mut texts = vec![&*self.agent_version, &*self.hostname, &*self.platform, ssh_version];
        texts.extend(self.services.iter().map(|service| &*service.name));
        let names = self.certificate.as_ref().map_or(&[][..], |certificate| &certificate.names);
        texts.extend(names.iter().map(|name| &**name));
        texts.extend(self.certificate.as_ref().map(|certificate| &*certificate.fingerprint));
        let decided =
            self.consent.as_ref().map_or(0, |consent| consent.approved.len() + consent.denied.len());
        if texts.iter().any(|text| text.len() > Self::MAX_TEXT) {
            Err(OversizedFacts("a text is too long"))
        } else if texts.iter().any(|text| text.chars().any(char::is_control)) {
            Err(OversizedFacts("a text holds control characters"))
        } else if self.services.len() > Self::MAX_SERVICES {
            Err(OversizedFacts("there are too many services"))
        } else if names.len() > Self::MAX_NAMES {
            Err(OversizedFacts("a certificate has too many names"))
        } else if self.ssh.as_ref().is_some_and(|ssh| ssh.host_keys.len() > Self::MAX_HOST_KEYS) {
            Err(OversizedFacts("there are too many host keys"))
        } else if decided > MAX_GRANTS {
            Err(OversizedFacts("the owner has decided on more accesses than there can be"))
        } else {
            Ok(())
        }
    }
}
