//! Users: people of an account, who sign in.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Role;
use crate::id::{UserId, UserName};
use crate::secret::Secret;

/// `POST /v1/users`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateUser {
    /// What they sign in with, such as an e-mail address; unique in the installation.
    pub name: UserName,
    /// What they may do.
    pub role: Role,
    /// Whether they also look after the installation: its accounts and relays.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub admin: bool,
}

/// `PATCH /v1/users/{user}`: what is left out stays as it is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EditUser {
    /// Another name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<UserName>,
    /// Another role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Whether they also look after the installation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<bool>,
    /// Whether they are kept out; their sessions end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
}

/// A user.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct User {
    /// Their id.
    pub id: UserId,
    /// What they sign in with.
    pub name: UserName,
    /// What they may do.
    pub role: Role,
    /// Whether they also look after the installation.
    pub admin: bool,
    /// Whether they can sign in.
    pub status: UserStatus,
    /// When they were added.
    pub created_at: DateTime<Utc>,
    /// When they last signed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_in_at: Option<DateTime<Utc>>,
    /// How they choose a password; only in the answer that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invitation: Option<Invitation>,
}

/// Whether a user can sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum UserStatus {
    /// They have not chosen a password yet.
    Invited,
    /// They can.
    Active,
    /// They are kept out.
    Disabled,
}

/// A link with which somebody chooses their password. It works once.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Invitation {
    /// The link to open; what stands behind its `#` is the token.
    pub link: Secret,
    /// When it stops working.
    pub expires_at: DateTime<Utc>,
}
