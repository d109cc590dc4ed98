//! What would the relay do? The same decision on the same rules, made in advance.

use axum::Json as Answer;
use axum::extract::State;
use chrono::{DateTime, Utc};
use postern_protocol::access::{Attempt, Entrance, PublicPort, Rules, Verdict, decide};
use postern_protocol::api::{Verify, VerifyAnswer};
use postern_protocol::id::{AccessId, DeviceId, RelayId};
use postern_protocol::ssh_key::PublicKey;
use postern_protocol::wire::Consent;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Viewer;
use super::error::{ApiError, Code};
use super::extract::Json;
use super::{App, Shared, devices};
use crate::documents::document;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(verify))
}

/// Says whether somebody would get in, by which access, until when, or why not. It is the decision
/// about rules, and what the box's owner has decided about them: whether the box is online and what listens
/// on it is not looked at.
#[utoipa::path(post, path = "/v1/verify", tag = "verify", request_body = Verify,
    responses((status = 200, description = "The verdict", body = VerifyAnswer)))]
pub(super) async fn verify(
    Viewer(caller): Viewer,
    State(app): State<Shared>,
    Json(asked): Json<Verify>,
) -> Result<Answer<VerifyAnswer>, ApiError> {
    let now = app.clock.now();
    let found = devices::find(&app, &caller.account, &asked.device).await?;
    let device = found.id;
    let mut boxes = vec![device];
    if let Some(access) = asked.access {
        // An access of another box must be seen to be for another box; one of nobody's is unknown.
        boxes.extend(caller.account.access(access, now).await?.map(|(access, _)| access.device));
    }
    let rules = rules(&app, &boxes, now).await?;
    let leased = asked.public_port.map(|port| leased(&rules, device, port));
    let attempt = Attempt {
        access: asked.access.or(leased.map(|(_, access)| access)),
        entrance: match leased {
            Some((port, _)) => Entrance::Port(port),
            None => entrance(asked.key.as_deref())?,
        },
        source: asked.source,
        device,
        port: asked.port,
        at: asked.at.unwrap_or(now),
    };
    let consent = found.facts.as_ref().and_then(|facts| facts.consent.as_ref());
    Ok(Answer(answer(decide(&rules, &attempt), consent)))
}

/// The public port of this number that leads to the box, and the access that it leads to; or one that
/// leads nowhere.
fn leased(rules: &Rules, device: DeviceId, port: u16) -> (PublicPort, AccessId) {
    let of_box = rules.of_box(device).iter().filter_map(|rule| rule.leased);
    let found = of_box.filter(|leased| leased.port == port).find_map(|leased| rules.by_port(leased));
    let leads_to = found.and_then(|rule| Some((rule.leased?, rule.access)));
    leads_to.unwrap_or((PublicPort { relay: RelayId::FIRST, port }, AccessId::FIRST))
}

/// Whoever shows a key comes to the gate, whoever does not comes to the web page.
fn entrance(key: Option<&str>) -> Result<Entrance, ApiError> {
    let unusable = |problem: postern_protocol::ssh_key::Unusable| {
        ApiError::new(Code::UnusableKey, problem.to_string()).field("key")
    };
    let key = key.map(PublicKey::parse).transpose().map_err(unusable)?;
    Ok(key.map_or(Entrance::Front, |pasted| Entrance::Gate(pasted.key)))
}

/// The rules that relays have of these boxes, as if signed for good: signatures are renewed for as
/// long as an access lives, so that they end is no part of the answer.
async fn rules(app: &App, boxes: &[DeviceId], now: DateTime<Utc>) -> Result<Rules, ApiError> {
    let mut rules = Rules::default();
    for device in boxes {
        if let Some(found) = app.store.rules_of(*device, now).await? {
            let mut document = document(&found, now, app.config.lease);
            document.lease_until = DateTime::<Utc>::MAX_UTC;
            rules.replace(*device, document.rules());
        }
    }
    Ok(rules)
}

/// What the relay decides, and then the box, as far as it has told.
fn answer(verdict: Verdict, consent: Option<&Consent>) -> VerifyAnswer {
    let refused = |code: &str, reason: String| VerifyAnswer {
        allowed: false,
        code: code.to_owned(),
        reason,
        access: None,
        until: None,
    };
    let permit = match verdict {
        Verdict::Allow(permit) => permit,
        Verdict::Deny(denial) => return refused(denial.code(), denial.to_string()),
    };
    match consent.and_then(|consent| consent.objection(permit.access())) {
        Some(refusal) => {
            VerifyAnswer { access: Some(permit.access()), ..refused(refusal.code(), refusal.to_string()) }
        }
        None => VerifyAnswer {
            allowed: true,
            code: "allowed".to_owned(),
            reason: format!("allowed until {}", permit.until().format("%Y-%m-%d %H:%M:%S UTC")),
            access: Some(permit.access()),
            until: Some(permit.until()),
        },
    }
}
