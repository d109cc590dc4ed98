//! Why a visit did not happen, or ended: one list for the visitor, the audit and the API.

use serde::{Deserialize, Serialize};

use crate::access::Denial;
use crate::id::AccessId;

#[cfg(test)]
mod tests;

/// A reason to refuse a visit or to end one. Codes are stable; sentences are for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The relay's decision.
    #[error("{0}")]
    Denied(Denial),
    /// The box's own decision, by the signed grants that it holds.
    #[error("the box refused: {0}")]
    DeniedByBox(Denial),
    /// The box has no tunnel to this relay.
    #[error("the box is offline")]
    BoxOffline,
    /// The box's owner lets nobody in.
    #[error("the box is paused by its owner")]
    BoxPaused,
    /// The box does not offer what the access exposes.
    #[error("the box offers nothing on port {port}")]
    NotOffered {
        /// The port asked for.
        port: u16,
    },
    /// The box's local service does not answer.
    #[error("the service on the box does not answer")]
    ServiceDown,
    /// The box did not answer in time.
    #[error("the box did not answer in time")]
    BoxSilent,
    /// A limit on simultaneous visits is reached.
    #[error("too many visits at once")]
    TooMany,
    /// The relay or the agent is stopping.
    #[error("shutting down")]
    ShuttingDown,
    /// The tunnel to the box was lost during the visit.
    #[error("the connection to the box was lost")]
    TunnelLost,
    /// The relay stopped without being able to say how the visit ended.
    #[error("the relay was restarted")]
    RelayRestarted,
    /// Nothing took bytes off the visit's hands for too long.
    #[error("the visit stalled")]
    Stalled,
    /// The box ended the visit, by its own decision or because its service broke off.
    #[error("the box ended the visit")]
    EndedByBox,
    /// Nothing moved for longer than the relay's settings allow at this door.
    #[error("nothing was said for too long")]
    Idle,
    /// Somebody who looks after the box ended this one visit.
    #[error("the visit was cut off by an operator")]
    Cut,
    /// The box's owner asks to approve accesses on the box, and has not approved this one as it is now.
    #[error("this access waits for approval on the box: postern-agent approve {access}")]
    NotApproved {
        /// The access.
        access: AccessId,
    },
    /// The box's owner has denied the access.
    #[error("the owner of the box has denied this access")]
    DeniedByOwner,
}

impl Refusal {
    /// The stable code, for programs and for the audit.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Denied(denial) => denial.code(),
            Self::DeniedByBox(_) => "denied_by_box",
            Self::BoxOffline => "box_offline",
            Self::BoxPaused => "box_paused",
            Self::NotOffered { .. } => "not_offered",
            Self::ServiceDown => "service_down",
            Self::BoxSilent => "box_silent",
            Self::TooMany => "too_many_visits",
            Self::ShuttingDown => "shutting_down",
            Self::TunnelLost => "tunnel_lost",
            Self::RelayRestarted => "relay_restarted",
            Self::Stalled => "stalled",
            Self::EndedByBox => "ended_by_box",
            Self::Idle => "idle",
            Self::Cut => "cut",
            Self::NotApproved { .. } => "not_approved",
            Self::DeniedByOwner => "denied_by_owner",
        }
    }
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}
