//! Events: what happened in an account besides visits.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::id::EventId;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Event {
    /// Its id.
    pub id: EventId,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// Who did it: a user, a token, or `box` for the box itself.
    pub actor: String,
    /// What was done, as a stable word such as `host_keys_changed`.
    pub action: String,
    /// The id of what it was done to.
    pub subject: String,
    /// The rest, by name.
    pub detail: BTreeMap<String, String>,
}
