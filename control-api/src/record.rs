//! What the store keeps, as the rest of the program reads it: no database, no JSON, no HTTP.

use std::net::SocketAddr;

use chrono::{DateTime, TimeDelta, Utc};
use postern_protocol::access::{Networks, PublicPort};
use postern_protocol::api::{Actor, Gate, HostKey, PortRange, Role, Via, WebhookEvent};
use postern_protocol::id::{
    AccessId, AccountId, DeviceId, DeviceName, Login, RelayId, TokenId, UserId, UserName, WebhookId,
};
use postern_protocol::ssh_key::PublicKey;
use postern_protocol::wire::{BoxFacts, Transport, Web, WhyTcp};

use crate::store::Stale;

/// How long a relay may be silent before it, and its boxes with it, count as gone: two of its
/// reports may be lost.
pub(crate) const PRESENCE_LEASE: TimeDelta = TimeDelta::seconds(15);

/// What somebody has seen of what they want to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// They do not say: whatever there is.
    Any,
    /// One of these versions.
    These(Vec<u64>),
}

impl Seen {
    /// Whether they have seen this version; without it, their change would undo one that they have not.
    pub(crate) fn check(&self, version: u64) -> Result<(), Stale> {
        match self {
            Self::These(versions) if !versions.contains(&version) => Err(Stale),
            Self::These(_) | Self::Any => Ok(()),
        }
    }
}

/// A box.
#[derive(Debug, Clone)]
pub(crate) struct DeviceRecord {
    pub(crate) id: DeviceId,
    pub(crate) name: DeviceName,
    /// The first label of its host name at the TLS fronts.
    pub(crate) label: DeviceName,
    pub(crate) created_at: DateTime<Utc>,
    /// SHA-256 of the key that it enrolled with, hex.
    pub(crate) key: Option<String>,
    pub(crate) joined_at: Option<DateTime<Utc>>,
    pub(crate) facts: Option<BoxFacts>,
    /// Those that visitors are told to expect.
    pub(crate) host_keys: Vec<HostKey>,
    pub(crate) changed_keys: Option<ChangedKeys>,
    pub(crate) deleted_at: Option<DateTime<Utc>>,
    /// Counts its edits.
    pub(crate) version: u64,
    /// What the relay that saw it last says.
    pub(crate) presence: Option<PresenceRecord>,
}

/// Other host keys than those, which nobody has confirmed.
#[derive(Debug, Clone)]
pub(crate) struct ChangedKeys {
    /// Those that the box reports.
    pub(crate) reported: Vec<HostKey>,
    /// When it first reported others than the expected.
    pub(crate) since: DateTime<Utc>,
}

/// A box, as its relay sees it.
#[derive(Debug, Clone)]
pub(crate) struct PresenceRecord {
    pub(crate) relay: RelayId,
    pub(crate) relay_name: String,
    /// When that relay last reported anything at all.
    pub(crate) relay_seen: DateTime<Utc>,
    pub(crate) online: bool,
    pub(crate) since: DateTime<Utc>,
    pub(crate) address: SocketAddr,
    pub(crate) transport: Transport,
    pub(crate) why_tcp: Option<WhyTcp>,
    pub(crate) holding: u64,
}

impl PresenceRecord {
    /// Whether the box has a tunnel, by the word of a relay that still reports.
    pub(crate) fn is_online(&self, now: DateTime<Utc>) -> bool {
        self.online && self.relay_seen + PRESENCE_LEASE > now
    }

    /// When the box was last known to be there.
    pub(crate) fn last_seen(&self) -> DateTime<Utc> {
        match self.online {
            true => self.relay_seen,
            false => self.since,
        }
    }
}

impl DeviceRecord {
    /// What its relay says, while it has a tunnel.
    pub(crate) fn online(&self, now: DateTime<Utc>) -> Option<&PresenceRecord> {
        self.presence.as_ref().filter(|presence| presence.is_online(now))
    }

    /// Who visitors are on it unless their access says otherwise.
    pub(crate) fn default_login(&self) -> Login {
        let root = || "root".parse().expect("'root' is a login");
        self.facts.as_ref().map_or_else(root, |facts| facts.default_login.clone())
    }
}

/// An access.
#[derive(Debug, Clone)]
pub(crate) struct AccessRecord {
    pub(crate) id: AccessId,
    pub(crate) device: DeviceId,
    pub(crate) port: u16,
    pub(crate) allowed: Networks,
    pub(crate) key: Option<PublicKey>,
    pub(crate) key_comment: String,
    pub(crate) login: Login,
    pub(crate) via: Via,
    /// The public port of its own; one that has ended may have lost it to another.
    pub(crate) leased: Option<PublicPort>,
    pub(crate) note: String,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) expires_at: DateTime<Utc>,
    pub(crate) revoked_at: Option<DateTime<Utc>>,
    /// When its rule last changed.
    pub(crate) revised_at: DateTime<Utc>,
    pub(crate) revision: u64,
    /// Who asked for it from outside the account, if it was not made from within.
    pub(crate) asked_by: Option<String>,
    /// When an owner approved what was asked for.
    pub(crate) approved_at: Option<DateTime<Utc>>,
    /// Who made it, if that was written down.
    pub(crate) created_by: Option<Actor>,
    /// Counts its edits.
    pub(crate) version: u64,
}

impl AccessRecord {
    /// Whether it is no rule, because no owner has approved what somebody outside asked for.
    pub(crate) fn awaits_approval(&self) -> bool {
        self.asked_by.is_some() && self.approved_at.is_none()
    }

    /// Whether it may still let somebody in.
    pub(crate) fn is_live(&self, now: DateTime<Utc>) -> bool {
        self.revoked_at.is_none() && now < self.expires_at
    }

    /// When it ended or will.
    pub(crate) fn ends_at(&self) -> DateTime<Utc> {
        self.revoked_at.map_or(self.expires_at, |revoked| revoked.min(self.expires_at))
    }
}

/// A box and its rules, as the feed carries them.
#[derive(Debug, Clone)]
pub(crate) struct BoxRules {
    pub(crate) device: DeviceId,
    pub(crate) name: DeviceName,
    pub(crate) label: DeviceName,
    pub(crate) revision: u64,
    pub(crate) key: Option<String>,
    pub(crate) deleted: bool,
    pub(crate) accesses: Vec<AccessRecord>,
}

/// A relay.
#[derive(Debug, Clone)]
pub(crate) struct RelayRecord {
    pub(crate) id: RelayId,
    pub(crate) name: String,
    pub(crate) created_at: DateTime<Utc>,
    /// Whether a feed of it is open.
    pub(crate) following: bool,
    pub(crate) last_seen: Option<DateTime<Utc>>,
    pub(crate) in_force: u64,
    pub(crate) version: Option<String>,
    pub(crate) gate: Option<Gate>,
    pub(crate) web: Option<Web>,
    pub(crate) ports: Option<PortRange>,
    pub(crate) agents: Option<String>,
    /// How many boxes it says are connected to it.
    pub(crate) boxes: u64,
}

impl RelayRecord {
    /// Whether it follows the feed and goes on reporting.
    pub(crate) fn is_connected(&self, now: DateTime<Utc>) -> bool {
        self.following && self.is_reporting(now)
    }

    /// Whether it goes on reporting.
    pub(crate) fn is_reporting(&self, now: DateTime<Utc>) -> bool {
        self.last_seen.is_some_and(|seen| seen + PRESENCE_LEASE > now)
    }
}

/// An API token, without its secret.
#[derive(Debug, Clone)]
pub(crate) struct TokenRecord {
    pub(crate) id: TokenId,
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) admin: bool,
    /// The boxes that it is for; none means all of the account's.
    pub(crate) devices: Option<Vec<DeviceId>>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) expires_at: Option<DateTime<Utc>>,
}

/// A webhook. Its secret follows from its id and the salt.
#[derive(Debug, Clone)]
pub(crate) struct WebhookRecord {
    pub(crate) id: WebhookId,
    pub(crate) url: String,
    pub(crate) events: Vec<WebhookEvent>,
    pub(crate) enabled: bool,
    pub(crate) salt: [u8; 16],
    pub(crate) created_at: DateTime<Utc>,
    /// Since when its deliveries are given up.
    pub(crate) failing_since: Option<DateTime<Utc>>,
    /// Attempts in a row that failed.
    pub(crate) failures: u64,
    /// Counts its edits.
    pub(crate) version: u64,
}

#[cfg(test)]
impl WebhookRecord {
    /// One, for tests.
    pub(crate) fn example() -> Self {
        Self {
            id: WebhookId::from_entropy([1; 10]),
            url: "https://example.com/hook".to_owned(),
            events: WebhookEvent::ALL.to_vec(),
            enabled: true,
            salt: [3; 16],
            created_at: DateTime::UNIX_EPOCH,
            failing_since: None,
            failures: 0,
            version: 1,
        }
    }
}

/// An account, from outside.
#[derive(Debug, Clone)]
pub(crate) struct AccountRecord {
    pub(crate) id: AccountId,
    pub(crate) name: String,
    pub(crate) created_at: DateTime<Utc>,
    /// Whether it is the installation's own.
    pub(crate) own: bool,
    pub(crate) users: u64,
    pub(crate) devices: u64,
    /// Counts its edits.
    pub(crate) version: u64,
}

/// A user, without their password.
#[derive(Debug, Clone)]
pub(crate) struct UserRecord {
    pub(crate) id: UserId,
    pub(crate) name: UserName,
    pub(crate) role: Role,
    pub(crate) admin: bool,
    /// Whether they have chosen a password, or an OpenID provider has named them.
    pub(crate) can_sign_in: bool,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) signed_in_at: Option<DateTime<Utc>>,
    pub(crate) disabled_at: Option<DateTime<Utc>>,
    /// Counts their edits.
    pub(crate) version: u64,
}

impl UserRecord {
    /// Whether they can sign in and decide about their account.
    pub(crate) fn is_owner(&self) -> bool {
        self.role == Role::Owner && self.can_sign_in && self.disabled_at.is_none()
    }
}

/// An invitation, as it is kept.
#[derive(Debug, Clone)]
pub(crate) struct InvitationRecord {
    /// SHA-256 of the secret.
    pub(crate) hash: [u8; 32],
    /// When it stops working.
    pub(crate) expires_at: DateTime<Utc>,
}
