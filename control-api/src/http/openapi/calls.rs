//! What webhooks are called with, for whoever receives the calls.

use postern_protocol::api::WebhookEvent;
use serde_json::{Map, Value, json};

use super::examples;

/// How the calls are signed and taken.
const ABOUT: &str = "A call to the webhooks that are for this event. It is signed as the Standard Webhooks \
    specification has it: `webhook-signature` holds `v1,` and the base64 of HMAC-SHA256 over \
    `webhook-id.webhook-timestamp.body`, with the bytes that the secret holds in base64 behind `whsec_`. \
    A call may come twice, with the same `webhook-id`.";

/// A call for each event, by its name.
pub(super) fn all() -> Value {
    let all = WebhookEvent::ALL.into_iter().chain([WebhookEvent::Test]);
    all.map(|event| (word(event), json!({ "post": call(event) }))).collect::<Map<_, _>>().into()
}

fn call(event: WebhookEvent) -> Value {
    let (schema, example) = data(event);
    let header = |name: &str, what: &str| {
        let schema = json!({ "type": "string" });
        json!({ "name": name, "in": "header", "required": true, "description": what, "schema": schema })
    };
    json!({
        "summary": when(event),
        "description": ABOUT,
        "tags": ["webhooks"],
        "security": [],
        "parameters": [
            header("webhook-id", "The delivery: the same at every attempt"),
            header("webhook-timestamp", "When this attempt was made, in seconds since 1970"),
            header("webhook-signature", "What proves that the call is this control API's"),
        ],
        "requestBody": { "required": true, "content": { "application/json": {
            "schema": {
                "type": "object",
                "required": ["type", "timestamp", "data"],
                "properties": {
                    "type": { "const": word(event), "description": "What happened" },
                    "timestamp": { "type": "string", "format": "date-time", "description": "When it happened" },
                    "data": schema,
                },
            },
            "example": { "type": word(event), "timestamp": "2026-11-21T18:00:00Z", "data": example },
        } } },
        "responses": {
            "2XX": { "description": "The call has arrived" },
            "default": { "description": "It has not, like no answer within ten seconds: it is made again, for a day" },
        },
    })
}

/// What has happened to what, and an example of it.
fn data(event: WebhookEvent) -> (Value, Value) {
    let texts = json!({ "type": "object", "additionalProperties": { "type": "string" } });
    match event {
        WebhookEvent::AccessCreated | WebhookEvent::AccessExpired | WebhookEvent::AccessRevoked => {
            let example = json!({
                "access": "k7f2q5xwab", "device": "d3vq5xw7ab", "exposed_port": "22", "login": "root",
                "allowed_ips": "198.51.100.7/32", "expires_at": "2026-11-21T20:00:00.000Z", "via": "gate",
            });
            (texts, example)
        }
        WebhookEvent::BoxOnline | WebhookEvent::BoxOffline => {
            (texts, json!({ "device": "d3vq5xw7ab", "device_name": "box42" }))
        }
        WebhookEvent::VisitStarted | WebhookEvent::VisitEnded | WebhookEvent::VisitRefused => {
            let example = examples::of("Visit").unwrap_or_default();
            (json!({ "$ref": "#/components/schemas/Visit" }), example)
        }
        WebhookEvent::Test => (texts, json!({ "webhook": "w5xq7k2fab" })),
    }
}

fn when(event: WebhookEvent) -> &'static str {
    match event {
        WebhookEvent::AccessCreated => "An access is a rule from now on.",
        WebhookEvent::AccessExpired => "An access's time is over.",
        WebhookEvent::AccessRevoked => "An access was deleted, alone or with its box.",
        WebhookEvent::BoxOnline => "A box has a tunnel.",
        WebhookEvent::BoxOffline => "A box has no tunnel any more, or its relay is silent.",
        WebhookEvent::VisitStarted => "Somebody was let in.",
        WebhookEvent::VisitEnded => "Somebody who was let in has left.",
        WebhookEvent::VisitRefused => "Somebody was not let in.",
        WebhookEvent::Test => "Somebody tries the webhook.",
    }
}

fn word(event: WebhookEvent) -> String {
    let word = serde_json::to_value(event).ok();
    word.as_ref().and_then(|word| word.as_str()).unwrap_or_default().to_owned()
}
