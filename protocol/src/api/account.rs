//! Accounts: whoever owns boxes, accesses, users and API tokens. Nothing crosses them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::User;
use crate::id::{AccountId, UserName};

/// `POST /v1/accounts`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateAccount {
    /// What it is called; unique in the installation.
    pub name: String,
    /// The name of its first owner, who is invited.
    pub owner: UserName,
}

/// `PATCH /v1/accounts/{account}`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RenameAccount {
    /// The new name.
    pub name: String,
}

/// An account, as an admin of the installation sees it: from outside.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// What it is called.
    pub name: String,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// Whether it is the installation's own, which cannot be closed.
    pub own: bool,
    /// How many users it has.
    pub users: u64,
    /// How many boxes it has.
    pub devices: u64,
    /// Its first owner, with their invitation; only in the answer that created it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<User>,
}
