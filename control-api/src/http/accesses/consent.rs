//! Accesses that somebody outside the account asks for, such as support: an owner decides.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use postern_protocol::api::{Access, CreateAccess};
use tracing::info;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::request::{self, Circumstances, Doors};
use super::view::view;
use super::{known, look, not_found, wait};
use crate::http::address::CallerAddress;
use crate::http::auth::{Admin, Caller, Owner, Who};
use crate::http::error::{ApiError, Code};
use crate::http::extract::{Json, Path};
use crate::http::{App, Shared, accounts, devices};
use crate::record::AccessRecord;
use crate::store::DecideError;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(ask))
        .routes(routes!(asked))
        .routes(routes!(approve))
        .routes(routes!(deny))
}

/// Asks for an access to another account's box. It is `pending_approval`, and no rule anywhere, until an
/// owner of that account approves it.
#[utoipa::path(post, path = "/v1/accounts/{account}/accesses", tag = "accounts",
    params(("account" = String, Path, description = "The account's id or its name")),
    request_body = CreateAccess,
    responses((status = 201, description = "The access, which lets nobody in yet", body = Access,
        headers(("Location" = String, description = "Where to see what becomes of it")))))]
async fn ask(
    Admin(caller): Admin,
    State(app): State<Shared>,
    Path(account): Path<String>,
    CallerAddress(from): CallerAddress,
    Json(request): Json<CreateAccess>,
) -> Result<Response, ApiError> {
    let now = app.clock.now();
    let theirs = app.store.account(accounts::find(&app, &account).await?.id, caller.account.author().clone());
    let device = devices::find(&app, &theirs, &request.device).await?;
    let relays = app.store.relays().await?;
    let circumstances = Circumstances {
        device: &device,
        doors: Doors::of(&relays),
        caller: from,
        now,
        longest: app.config.max_duration,
    };
    let access = AccessRecord {
        asked_by: Some(name(&caller)),
        created_by: Some(caller.account.author().actor().clone()),
        ..request::access(request, &circumstances)?
    };
    theirs.ask_for_access(&access).await?;
    info!(access = %access.id, device = %device.id, account = %theirs.id(), by = %caller.who, "access asked for");
    let location = [(header::LOCATION, format!("/v1/accounts/{}/accesses/{}", theirs.id(), access.id))];
    let answer = view(&access, &device, &relays, now);
    Ok((StatusCode::CREATED, location, Answer(answer)).into_response())
}

/// Shows what became of an access that was asked for from outside.
#[utoipa::path(get, path = "/v1/accounts/{account}/accesses/{access}", tag = "accounts",
    params(("account" = String, Path, description = "The account's id or its name"),
        ("access" = String, Path, description = "The access's id")),
    responses((status = 200, description = "The access", body = Access)))]
async fn asked(
    Admin(caller): Admin,
    State(app): State<Shared>,
    Path((account, access)): Path<(String, String)>,
) -> Result<Answer<Access>, ApiError> {
    let theirs = app.store.account(accounts::find(&app, &account).await?.id, caller.account.author().clone());
    let (_, access) = look(&app, &theirs, known(&access)?).await?;
    match access.asked_by {
        Some(_) => Ok(Answer(access)),
        None => Err(not_found()),
    }
}

/// Approves an access that somebody outside asked for: it is a rule from now on.
#[utoipa::path(post, path = "/v1/accesses/{access}/approve", tag = "accesses",
    params(("access" = String, Path, description = "Its id")),
    responses((status = 200, description = "The access", body = Access)))]
async fn approve(
    Owner(caller): Owner,
    State(app): State<Shared>,
    Path(access): Path<String>,
) -> Result<Answer<Access>, ApiError> {
    decide(&app, &caller, &access, true).await
}

/// Denies an access that somebody outside asked for: it is revoked without ever having been a rule.
#[utoipa::path(post, path = "/v1/accesses/{access}/deny", tag = "accesses",
    params(("access" = String, Path, description = "Its id")),
    responses((status = 200, description = "The access", body = Access)))]
async fn deny(
    Owner(caller): Owner,
    State(app): State<Shared>,
    Path(access): Path<String>,
) -> Result<Answer<Access>, ApiError> {
    decide(&app, &caller, &access, false).await
}

/// Approves or denies what somebody outside asked for.
pub(in crate::http) async fn decide(
    app: &App,
    caller: &Caller,
    access: &str,
    yes: bool,
) -> Result<Answer<Access>, ApiError> {
    let id = known(access)?;
    caller.account.decide_on_access(id, yes, app.clock.now()).await?;
    info!(access = %id, by = %caller.who, "access {}", if yes { "approved" } else { "denied" });
    wait::until_enforced(app).await?;
    Ok(Answer(look(app, &caller.account, id).await?.1))
}

/// Who asks, as the account's owner reads it.
fn name(caller: &Caller) -> String {
    match &caller.who {
        Who::User { name, .. } => name.to_string(),
        Who::Token(_) => caller.who.to_string(),
    }
}

impl From<DecideError> for ApiError {
    fn from(problem: DecideError) -> Self {
        match problem {
            DecideError::Unknown => not_found(),
            DecideError::NotAsked => {
                Self::new(Code::NothingToDecide, "this access waits for no decision here: look at its status")
            }
            DecideError::TooMany => super::too_many(),
            DecideError::Lease(problem) => problem.into(),
            DecideError::Store(problem) => problem.into(),
        }
    }
}
