//! Sessions: signing in, and who one is.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Role;
use crate::id::{AccountId, DeviceId, TokenId, UserId, UserName};
use crate::secret::Secret;

/// `POST /v1/session`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignIn {
    /// The user's name.
    pub name: String,
    /// The user's password.
    pub password: Secret,
}

/// `POST /v1/session/password`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChangePassword {
    /// The present password.
    pub current: Secret,
    /// The new one, 10 to 256 characters.
    pub new: Secret,
}

/// `POST /v1/invitation`: for whom is it?
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReadInvitation {
    /// What stands behind the `#` of the link.
    pub token: Secret,
}

/// For whom an invitation is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Invited {
    /// The account's name.
    pub account_name: String,
    /// The user; absent if whoever accepts it becomes a new owner and chooses a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<UserName>,
    /// When it stops working.
    pub expires_at: DateTime<Utc>,
}

/// `POST /v1/setup`: accepts an invitation.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SetUp {
    /// What stands behind the `#` of the link.
    pub token: Secret,
    /// The name to sign in with, for a new owner; an invited user has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<UserName>,
    /// The password, 10 to 256 characters.
    pub password: Secret,
}

/// Who asks, and what they may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Session {
    /// Their account.
    pub account: AccountId,
    /// Their account's name.
    pub account_name: String,
    /// What they may do in it.
    pub role: Role,
    /// Whether they also look after the installation: its accounts and relays.
    pub admin: bool,
    /// The boxes that they may see; absent, all of the account's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devices: Option<Vec<DeviceId>>,
    /// The user, if one has signed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// That user's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_name: Option<UserName>,
    /// The API token, if the request bears one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenId>,
    /// When the session or the token ends at the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
}
