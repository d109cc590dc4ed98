//! API tokens: shown once, kept as hashes.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, SecondsFormat, Utc};
use postern_protocol::api::{CreateToken, NewToken, Page, Role, Token};
use postern_protocol::id::{DeviceId, TokenId};
use tracing::info;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{API_TOKEN, Caller, Owner, Who, forbidden};
use super::error::{ApiError, Code};
use super::extract::{Json, Path};
use super::text::checked_name;
use super::users::admins_only;
use super::{App, Shared, devices};
use crate::entropy::{entropy, secret};
use crate::record::TokenRecord;
use crate::span::Span;

/// The most boxes that a token may be restricted to.
const MAX_DEVICES: usize = 100;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(delete))
}

/// Lists the account's tokens, the newest first, on one page.
#[utoipa::path(get, path = "/v1/tokens", tag = "tokens",
    responses((status = 200, description = "Every token", body = Page<Token>)))]
async fn list(Owner(caller): Owner) -> Result<Answer<Page<Token>>, ApiError> {
    let items = caller.account.tokens().await?.into_iter().map(Token::from).collect();
    Ok(Answer(Page { items, next: None }))
}

/// Makes a token for the caller's account. Its secret is shown this once.
#[utoipa::path(post, path = "/v1/tokens", tag = "tokens", request_body = CreateToken,
    responses((status = 201, description = "The token", body = NewToken)))]
pub(super) async fn create(
    Owner(caller): Owner,
    State(app): State<Shared>,
    Json(request): Json<CreateToken>,
) -> Result<(StatusCode, Answer<NewToken>), ApiError> {
    if request.admin && !caller.admin {
        return Err(forbidden("only an admin of the installation makes a token for one"));
    }
    let token = record(&app, &caller, request).await?;
    let secret = secret(API_TOKEN);
    caller.account.add_token(&token, &secret).await?;
    info!(token = %token.id, name = token.name, role = %token.role, by = %caller.who, "token created");
    Ok((StatusCode::CREATED, Answer(NewToken { about: token.into(), token: secret })))
}

/// Removes a token: it stops working at once.
#[utoipa::path(delete, path = "/v1/tokens/{token}", tag = "tokens",
    params(("token" = String, Path, description = "Its id")),
    responses((status = 204, description = "It works no more")))]
pub(super) async fn delete(Owner(caller): Owner, Path(token): Path<String>) -> Result<StatusCode, ApiError> {
    let not_found = || ApiError::new(Code::TokenNotFound, "no token has this id");
    let id = token.parse().map_err(|_| not_found())?;
    if !caller.admin && caller.account.tokens().await?.iter().any(|token| token.id == id && token.admin) {
        return Err(admins_only());
    }
    match caller.account.remove_token(id).await? {
        true => {
            info!(token = %id, by = %caller.who, "token removed");
            Ok(StatusCode::NO_CONTENT)
        }
        false => Err(not_found()),
    }
}

async fn record(app: &App, caller: &Caller, request: CreateToken) -> Result<TokenRecord, ApiError> {
    let now = app.clock.now();
    let devices = match &request.devices {
        Some(devices) => Some(boxes(app, caller, devices).await?),
        None => None,
    };
    let usual = if devices.is_some() { Role::Operator } else { caller.role };
    let role = request.role.unwrap_or(usual);
    if devices.is_some() && (role == Role::Owner || request.admin) {
        let detail = "a token for some boxes is for a viewer or an operator: an owner decides about all";
        return Err(ApiError::new(Code::InvalidRole, detail).field("role"));
    }
    Ok(TokenRecord {
        id: TokenId::from_entropy(entropy()),
        name: checked_name(&request.name)?.to_owned(),
        role,
        admin: request.admin,
        devices,
        created_at: now,
        expires_at: outlived(caller, expiry(request.expires_at, request.expires_in.as_deref(), now)?)?,
    })
}

async fn boxes(app: &App, caller: &Caller, devices: &[String]) -> Result<Vec<DeviceId>, ApiError> {
    if devices.is_empty() || devices.len() > MAX_DEVICES {
        let detail = format!("name 1 to {MAX_DEVICES} boxes, or leave this out for all of them");
        return Err(ApiError::new(Code::InvalidRequest, detail).field("devices"));
    }
    let mut ids = Vec::new();
    for device in devices {
        ids.push(devices::find(app, &caller.account, device).await?.id);
    }
    ids.sort();
    ids.dedup();
    Ok(ids)
}

/// When a token ends.
fn expiry(
    at: Option<DateTime<Utc>>,
    after: Option<&str>,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, ApiError> {
    let invalid = |field, detail: String| ApiError::new(Code::InvalidExpiry, detail).field(field);
    match (at, after) {
        (Some(_), Some(_)) => {
            Err(invalid("expires_in", "give expires_at or expires_in, not both".to_owned()))
        }
        (Some(at), None) if at <= now => Err(invalid("expires_at", "this is in the past".to_owned())),
        (at, None) => Ok(at),
        (None, Some(after)) => {
            let span: Span = after.parse().map_err(|problem| invalid("expires_in", format!("{problem}")))?;
            Ok(Some(now + span.delta()))
        }
    }
}

/// A token makes none that outlives it: else whoever found one that soon ends would have one for good. A
/// session ends by itself, but stands for a user, who can sign in again.
fn outlived(caller: &Caller, wanted: Option<DateTime<Utc>>) -> Result<Option<DateTime<Utc>>, ApiError> {
    let Some(own) = caller.until.filter(|_| matches!(caller.who, Who::Token(_))) else { return Ok(wanted) };
    if wanted.is_none_or(|wanted| wanted > own) {
        let detail = format!(
            "your own token ends at {}, and makes none that outlives it; give expires_at or expires_in",
            own.to_rfc3339_opts(SecondsFormat::Secs, true)
        );
        return Err(ApiError::new(Code::InvalidExpiry, detail).field("expires_at"));
    }
    Ok(wanted)
}

impl From<TokenRecord> for Token {
    fn from(token: TokenRecord) -> Self {
        let TokenRecord { id, name, role, admin, devices, created_at, expires_at } = token;
        Self { id, name, role, admin, devices, created_at, expires_at }
    }
}
