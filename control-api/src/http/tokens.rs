//! API tokens: shown once, kept as hashes.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use postern_protocol::api::Page;
use postern_protocol::id::TokenId;
use postern_protocol::secret::Secret;
use serde::{Deserialize, Serialize};
use tracing::info;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::auth::{API_TOKEN, Caller};
use super::error::{ApiError, Code};
use super::extract::{Json, Path};
use super::text::checked_name;
use crate::entropy::{entropy, secret};
use crate::record::TokenRecord;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(delete))
}

/// `POST /v1/tokens`
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateToken {
    /// What it is for.
    name: String,
}

/// An API token, without its secret.
#[derive(Debug, Serialize, ToSchema)]
struct Token {
    /// Its id.
    id: TokenId,
    /// What it is for.
    name: String,
    /// When it was made.
    created_at: DateTime<Utc>,
}

/// An API token, and its secret, which is shown this once.
#[derive(Debug, Serialize, ToSchema)]
struct NewToken {
    /// Its id.
    id: TokenId,
    /// What it is for.
    name: String,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// The secret.
    token: Secret,
}

/// Lists the account's tokens, the newest first, on one page.
#[utoipa::path(get, path = "/v1/tokens", tag = "tokens",
    responses((status = 200, description = "Every token", body = Page<Token>)))]
async fn list(caller: Caller) -> Result<Answer<Page<Token>>, ApiError> {
    let view = |TokenRecord { id, name, created_at }| Token { id, name, created_at };
    let items = caller.account.tokens().await?.into_iter().map(view).collect();
    Ok(Answer(Page { items, next: None }))
}

/// Makes a token for the caller's account.
#[utoipa::path(post, path = "/v1/tokens", tag = "tokens", request_body = CreateToken,
    responses((status = 201, description = "The token", body = NewToken)))]
async fn create(
    caller: Caller,
    State(app): State<Shared>,
    Json(request): Json<CreateToken>,
) -> Result<(StatusCode, Answer<NewToken>), ApiError> {
    let name = checked_name(&request.name)?.to_owned();
    let (id, token, created_at) = (TokenId::from_entropy(entropy()), secret(API_TOKEN), app.clock.now());
    caller.account.add_token(id, &name, &token, created_at).await?;
    info!(token = %id, name, by = %caller.token, "token created");
    Ok((StatusCode::CREATED, Answer(NewToken { id, name, created_at, token })))
}

/// Removes a token: it stops working at once.
#[utoipa::path(delete, path = "/v1/tokens/{token}", tag = "tokens",
    params(("token" = String, Path, description = "Its id")),
    responses((status = 204, description = "It works no more")))]
async fn delete(caller: Caller, Path(token): Path<String>) -> Result<StatusCode, ApiError> {
    let not_found = || ApiError::new(Code::TokenNotFound, "no token has this id");
    let id = token.parse().map_err(|_| not_found())?;
    match caller.account.remove_token(id).await? {
        true => {
            info!(token = %id, by = %caller.token, "token removed");
            Ok(StatusCode::NO_CONTENT)
        }
        false => Err(not_found()),
    }
}
