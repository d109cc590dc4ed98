//! The problems that each operation of the description has.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::examples;
use crate::http::error::Code;

/// The problems that many operations have, under the names of their answers.
pub(super) const USUAL: [(&str, Code); 7] = [
    ("BadRequest", Code::InvalidParameter),
    ("Unauthorized", Code::Unauthorized),
    ("Forbidden", Code::Forbidden),
    ("NotFound", Code::DeviceNotFound),
    ("Stale", Code::Stale),
    ("Invalid", Code::InvalidRequest),
    ("TooManyRequests", Code::TooManyRequests),
];

/// Says which problems an operation has besides any other.
pub(super) fn declare(operation: &mut Value, method: &str, path: &str) {
    let guarded = operation["security"].as_array().is_some_and(|schemes| !schemes.is_empty());
    let names_something = path.contains('{');
    let with_body = operation.get("requestBody").is_some();
    let parameters = || operation["parameters"].as_array().into_iter().flatten();
    let with_query = parameters().any(|parameter| parameter["in"] == "query");
    let conditional = parameters().any(|parameter| parameter["name"] == "If-None-Match");
    let declared = [
        ("400", "BadRequest", with_body || with_query),
        ("401", "Unauthorized", guarded),
        ("403", "Forbidden", guarded),
        ("404", "NotFound", names_something),
        ("412", "Stale", method == "patch"),
        ("422", "Invalid", with_body),
        ("429", "TooManyRequests", true),
    ];
    for (status, name, _) in declared.into_iter().filter(|(_, _, has)| *has) {
        operation["responses"][status] = json!({ "$ref": format!("#/components/responses/{name}") });
    }
    if conditional {
        operation["responses"]["304"] = json!({ "description": "It is as it was when it had this `ETag`" });
    }
    let own = PARTICULAR.iter().find(|(name, _)| *name == format!("{} {path}", method.to_uppercase()));
    for (status, codes) in own.map(|(_, codes)| by_status(codes)).unwrap_or_default() {
        operation["responses"][status.to_string()] = problem(&codes, codes.first().copied());
    }
}

fn by_status(codes: &[Code]) -> BTreeMap<u16, Vec<Code>> {
    let mut statuses = BTreeMap::<u16, Vec<Code>>::new();
    for code in codes {
        statuses.entry(code.status().as_u16()).or_default().push(*code);
    }
    statuses
}

/// The problems that one operation has and others do not. The tests hold every refusal that they meet
/// against this.
const PARTICULAR: &[(&str, &[Code])] = &[
    (
        "POST /v1/accesses",
        &[Code::TooManyAccesses, Code::NoFront, Code::NoPorts, Code::PortsTaken, Code::DeviceNotFound],
    ),
    (
        "PATCH /v1/accesses/{access}",
        &[Code::AccessRevoked, Code::TooManyAccesses, Code::NoPorts, Code::PortsTaken],
    ),
    (
        "POST /v1/accesses/{access}/approve",
        &[Code::NothingToDecide, Code::TooManyAccesses, Code::NoPorts, Code::PortsTaken],
    ),
    ("POST /v1/accesses/{access}/deny", &[Code::NothingToDecide]),
    ("GET /v1/accesses", &[Code::DeviceNotFound]),
    (
        "POST /v1/accounts/{account}/accesses",
        &[Code::TooManyAccesses, Code::NoFront, Code::NoPorts, Code::PortsTaken, Code::InvalidIdempotencyKey],
    ),
    ("POST /v1/accounts", &[Code::NameTaken, Code::InvalidIdempotencyKey]),
    ("PATCH /v1/accounts/{account}", &[Code::NameTaken]),
    ("DELETE /v1/accounts/{account}", &[Code::OwnAccount]),
    ("POST /v1/devices", &[Code::NameTaken, Code::NoRelay]),
    ("PATCH /v1/devices/{device}", &[Code::NameTaken]),
    ("POST /v1/devices/{device}/join", &[Code::NoRelay]),
    ("POST /v1/devices/{device}/host-keys/confirm", &[Code::OtherHostKeys]),
    ("POST /v1/invitation", &[Code::InvitationRefused, Code::OtherPage]),
    ("POST /v1/relay/join", &[Code::JoinRefused]),
    ("POST /v1/relay/renew", &[Code::DeviceNotFound]),
    ("POST /v1/relay/certificate", &[Code::NoFront]),
    ("POST /v1/relays", &[Code::NameTaken, Code::InvalidIdempotencyKey]),
    ("POST /v1/session", &[Code::WrongCredentials, Code::OtherPage]),
    ("GET /v1/session/openid", &[Code::NoProvider, Code::ProviderFailed]),
    (
        "GET /v1/session/openid/callback",
        &[Code::StaleAttempt, Code::NotInvited, Code::NoProvider, Code::ProviderFailed],
    ),
    ("POST /v1/setup", &[Code::InvitationRefused, Code::NameTaken, Code::OtherPage]),
    ("POST /v1/tokens", &[Code::DeviceNotFound, Code::InvalidIdempotencyKey]),
    ("POST /v1/users", &[Code::NameTaken, Code::InvalidIdempotencyKey]),
    ("PATCH /v1/users/{user}", &[Code::LastOwner]),
    ("DELETE /v1/users/{user}", &[Code::LastOwner]),
    ("POST /v1/verify", &[Code::DeviceNotFound, Code::AccessNotFound]),
    ("GET /v1/visits", &[Code::DeviceNotFound]),
    ("POST /v1/webhooks", &[Code::TooManyWebhooks, Code::InvalidIdempotencyKey]),
    ("POST /v1/webhooks/{webhook}/test", &[Code::WebhookDisabled, Code::TooManyDeliveries]),
];

/// An answer that is a problem, one of these; with this one as the example.
pub(super) fn problem(codes: &[Code], example: Option<Code>) -> Value {
    let row = |code: &Code| format!("- `{}` ({}): {}", code.as_str(), code.status().as_u16(), code.title());
    let codes: Vec<String> = codes.iter().map(row).collect();
    let example = match example {
        Some(code) => json!({
            "type": format!("/problems/{}", code.as_str()), "title": code.title(),
            "status": code.status().as_u16(), "code": code.as_str(), "detail": "what is wrong, and what to do",
        }),
        None => examples::of("Problem").unwrap_or_default(),
    };
    let headers = match codes.iter().any(|code| code.contains("(429)")) {
        true => json!({ "Retry-After": {
            "description": "In how many seconds to try again; with 429 and 503", "schema": { "type": "integer" },
        } }),
        false => json!({}),
    };
    json!({
        "headers": headers,
        "description": format!("A problem (RFC 9457). Its `code` is stable, and one of:\n\n{}", codes.join("\n")),
        "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" }, "example": example } },
    })
}
