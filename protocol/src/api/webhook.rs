//! Webhooks: addresses that the control API calls when something happens in an account.
//!
//! A call is a POST as the Standard Webhooks specification has it: the header `webhook-id` names the
//! delivery, `webhook-timestamp` is the time in seconds since 1970, and `webhook-signature` is `v1,` and the
//! base64 of HMAC-SHA256 over `id.timestamp.body`. The key is what stands behind `whsec_` in the secret, in
//! base64. Whoever receives it checks the signature and the time, and answers with any 2xx.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::id::{DeliveryId, WebhookId};
use crate::secret::Secret;

/// `POST /v1/webhooks`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateWebhook {
    /// What is called: https, unless the installation's settings allow more.
    pub url: String,
    /// What it is called for; left out, everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<WebhookEvent>>,
}

/// `PATCH /v1/webhooks/{webhook}`: what is left out stays as it is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EditWebhook {
    /// Another address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Other events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<WebhookEvent>>,
    /// Whether it is called at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// A webhook, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// What is called.
    pub url: String,
    /// What it is called for.
    pub events: Vec<WebhookEvent>,
    /// Whether calls arrive.
    pub status: WebhookStatus,
    /// Since when a delivery had to be given up, if none has arrived since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<DateTime<Utc>>,
    /// When it was added.
    pub created_at: DateTime<Utc>,
}

/// A webhook, and its secret, which is shown this once.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewWebhook {
    /// The webhook.
    #[serde(flatten)]
    pub about: Webhook,
    /// What calls are signed with: `whsec_` and base64.
    pub secret: Secret,
}

/// Whether a webhook's calls arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum WebhookStatus {
    /// It is called.
    Active,
    /// It is called, but the last deliveries had to be given up.
    Failing,
    /// It is not called.
    Disabled,
}

/// What a webhook is called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum WebhookEvent {
    /// An access is a rule from now on: created, or approved by an owner.
    #[serde(rename = "access.created")]
    AccessCreated,
    /// An access's time is over.
    #[serde(rename = "access.expired")]
    AccessExpired,
    /// An access was deleted, alone or with its box.
    #[serde(rename = "access.revoked")]
    AccessRevoked,
    /// A box has a tunnel.
    #[serde(rename = "box.online")]
    BoxOnline,
    /// A box has no tunnel any more, or its relay is silent.
    #[serde(rename = "box.offline")]
    BoxOffline,
    /// Somebody was let in.
    #[serde(rename = "visit.started")]
    VisitStarted,
    /// Somebody who was let in has left.
    #[serde(rename = "visit.ended")]
    VisitEnded,
    /// Somebody was not let in.
    #[serde(rename = "visit.refused")]
    VisitRefused,
    /// Somebody tries the webhook. It is sent whatever the webhook is called for.
    #[serde(rename = "webhook.test")]
    Test,
}

impl WebhookEvent {
    /// Those that a webhook can be called for.
    pub const ALL: [Self; 8] = [
        Self::AccessCreated,
        Self::AccessExpired,
        Self::AccessRevoked,
        Self::BoxOnline,
        Self::BoxOffline,
        Self::VisitStarted,
        Self::VisitEnded,
        Self::VisitRefused,
    ];
}

/// The body of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WebhookCall<T> {
    /// What happened.
    pub r#type: WebhookEvent,
    /// When it happened.
    pub timestamp: DateTime<Utc>,
    /// What it happened to.
    pub data: T,
}

/// A call that is to arrive, or did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Delivery {
    /// Its id, which stands in `webhook-id`: the same at every attempt.
    pub id: DeliveryId,
    /// What happened.
    pub event: WebhookEvent,
    /// When it happened.
    pub occurred_at: DateTime<Utc>,
    /// What became of it.
    pub status: DeliveryStatus,
    /// How often it was tried.
    pub attempts: u64,
    /// When it is tried next, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// When it arrived, or was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_at: Option<DateTime<Utc>>,
    /// The HTTP status of the last answer, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// Why the last attempt failed, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum DeliveryStatus {
    /// It is tried, or will be.
    Pending,
    /// It arrived.
    Delivered,
    /// It was given up.
    Failed,
}
