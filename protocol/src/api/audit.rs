//! The audit: who changed what, from where, and how it was before.

use std::collections::BTreeMap;
use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::id::AuditId;

/// One change, as it was written down together with it. It never changes, and each is chained to the
/// one before it by its hash, so that `postern-api audit verify` finds what was altered or taken out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditRecord {
    /// Its id.
    pub id: AuditId,
    /// When it was asked for.
    pub at: DateTime<Utc>,
    /// Who did it.
    pub actor: Actor,
    /// The address that it was asked from, if it came over the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub address: Option<IpAddr>,
    /// What was done.
    pub action: AuditAction,
    /// The id of what it was done to.
    pub subject: String,
    /// How it was before, by name; of a change, only what changed. Never a secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub before: BTreeMap<String, String>,
    /// How it is since then, by name; of a change, only what changed. Never a secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub after: BTreeMap<String, String>,
    /// SHA-256 of it and of the record before it, hex.
    pub hash: String,
}

/// Somebody who changes things.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Actor {
    /// What they are.
    pub kind: ActorKind,
    /// Their id, if they have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What they were called then.
    pub name: String,
}

/// Kinds of those who change things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ActorKind {
    /// Somebody who has signed in.
    User,
    /// Whoever bears an API token.
    Token,
    /// A relay.
    Relay,
    /// Whoever has the machine of the control API in hand, or the control API itself.
    Machine,
}

/// What can be done, as stable words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum AuditAction {
    /// A box was created.
    DeviceCreated,
    /// A box got another name.
    DeviceRenamed,
    /// A box was deleted, and its accesses revoked.
    DeviceDeleted,
    /// A box got a new join string.
    JoinStringMade,
    /// A box joined with its join string.
    DeviceJoined,
    /// Somebody confirmed that changed host keys are the box's.
    HostKeysConfirmed,
    /// An access was created.
    AccessCreated,
    /// An access was extended, shortened or edited.
    AccessEdited,
    /// An access was deleted.
    AccessDeleted,
    /// Somebody outside the account asked for an access.
    AccessAskedFor,
    /// An owner approved what was asked for.
    AccessApproved,
    /// An owner denied what was asked for.
    AccessDenied,
    /// Somebody ended one visit.
    VisitCut,
    /// A user was added.
    UserAdded,
    /// A user was edited.
    UserEdited,
    /// A user was removed.
    UserRemoved,
    /// A user got a new invitation.
    UserInvited,
    /// A user was signed out everywhere.
    UserSignedOut,
    /// A link was made by which somebody becomes an owner.
    OwnerInvited,
    /// Somebody chose a password by an invitation.
    InvitationAccepted,
    /// An OpenID provider named a user for the first time.
    IdentityLinked,
    /// A user signed in.
    SignedIn,
    /// A user signed out.
    SignedOut,
    /// A user changed their password.
    PasswordChanged,
    /// An API token was made.
    TokenCreated,
    /// An API token was removed.
    TokenRemoved,
    /// A webhook was added.
    WebhookAdded,
    /// A webhook was edited.
    WebhookEdited,
    /// A webhook was removed.
    WebhookRemoved,
    /// A webhook was sent an event to try it.
    WebhookTested,
    /// An account was opened.
    AccountOpened,
    /// An account got another name.
    AccountRenamed,
    /// An account was closed.
    AccountClosed,
    /// A relay was registered.
    RelayRegistered,
    /// A relay got another token.
    RelayTokenChanged,
    /// A relay was removed.
    RelayRemoved,
    /// A relay started, at another place or with another version than before.
    RelayChanged,
    /// The oldest records of the audit were removed, because their time was over.
    AuditPruned,
}

/// Kinds of what things are done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum AuditSubject {
    /// A box.
    Device,
    /// An access.
    Access,
    /// A visit.
    Visit,
    /// A user.
    User,
    /// An API token.
    Token,
    /// A webhook.
    Webhook,
    /// An account.
    Account,
    /// A relay.
    Relay,
    /// The audit itself.
    Audit,
}

impl AuditSubject {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Device,
        Self::Access,
        Self::Visit,
        Self::User,
        Self::Token,
        Self::Webhook,
        Self::Account,
        Self::Relay,
        Self::Audit,
    ];

    /// Everything that can be done to such a thing.
    pub fn actions(self) -> impl Iterator<Item = AuditAction> {
        AuditAction::ALL.into_iter().filter(move |action| action.subject() == self)
    }
}

impl AuditAction {
    /// Every action.
    pub const ALL: [Self; 38] = [
        Self::DeviceCreated,
        Self::DeviceRenamed,
        Self::DeviceDeleted,
        Self::JoinStringMade,
        Self::DeviceJoined,
        Self::HostKeysConfirmed,
        Self::AccessCreated,
        Self::AccessEdited,
        Self::AccessDeleted,
        Self::AccessAskedFor,
        Self::AccessApproved,
        Self::AccessDenied,
        Self::VisitCut,
        Self::UserAdded,
        Self::UserEdited,
        Self::UserRemoved,
        Self::UserInvited,
        Self::UserSignedOut,
        Self::OwnerInvited,
        Self::InvitationAccepted,
        Self::IdentityLinked,
        Self::SignedIn,
        Self::SignedOut,
        Self::PasswordChanged,
        Self::TokenCreated,
        Self::TokenRemoved,
        Self::WebhookAdded,
        Self::WebhookEdited,
        Self::WebhookRemoved,
        Self::WebhookTested,
        Self::AccountOpened,
        Self::AccountRenamed,
        Self::AccountClosed,
        Self::RelayRegistered,
        Self::RelayTokenChanged,
        Self::RelayRemoved,
        Self::RelayChanged,
        Self::AuditPruned,
    ];

    /// What it is done to.
    pub fn subject(self) -> AuditSubject {
        match self {
            Self::DeviceCreated
            | Self::DeviceRenamed
            | Self::DeviceDeleted
            | Self::JoinStringMade
            | Self::DeviceJoined
            | Self::HostKeysConfirmed => AuditSubject::Device,
            Self::AccessCreated
            | Self::AccessEdited
            | Self::AccessDeleted
            | Self::AccessAskedFor
            | Self::AccessApproved
            | Self::AccessDenied => AuditSubject::Access,
            Self::VisitCut => AuditSubject::Visit,
            Self::UserAdded
            | Self::UserEdited
            | Self::UserRemoved
            | Self::UserInvited
            | Self::UserSignedOut
            | Self::InvitationAccepted
            | Self::IdentityLinked
            | Self::SignedIn
            | Self::SignedOut
            | Self::PasswordChanged => AuditSubject::User,
            Self::TokenCreated | Self::TokenRemoved => AuditSubject::Token,
            Self::WebhookAdded | Self::WebhookEdited | Self::WebhookRemoved | Self::WebhookTested => {
                AuditSubject::Webhook
            }
            Self::OwnerInvited | Self::AccountOpened | Self::AccountRenamed | Self::AccountClosed => {
                AuditSubject::Account
            }
            Self::RelayRegistered | Self::RelayTokenChanged | Self::RelayRemoved | Self::RelayChanged => {
                AuditSubject::Relay
            }
            Self::AuditPruned => AuditSubject::Audit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_is_among_all() {
        let named = |words: &str| words.matches('`').count() / 2;
        let unknown = serde_json::from_str::<AuditAction>("\"eaten\"").unwrap_err().to_string();
        assert_eq!(named(&unknown), AuditAction::ALL.len() + 1, "{unknown}");
        let unknown = serde_json::from_str::<AuditSubject>("\"eaten\"").unwrap_err().to_string();
        assert_eq!(named(&unknown), AuditSubject::ALL.len() + 1, "{unknown}");
        let told: usize = AuditSubject::ALL.into_iter().map(|subject| subject.actions().count()).sum();
        assert_eq!(told, AuditAction::ALL.len());
    }
}
