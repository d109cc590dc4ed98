//! Relays, as operators see them.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use postern_protocol::api::{CreateRelay, NewRelay, Page, Relay};
use postern_protocol::id::RelayId;
use tracing::info;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Admin, Caller, RELAY_TOKEN, Viewer};
use super::error::{ApiError, Code};
use super::extract::{Json, Path};
use super::text::checked_name;
use super::{App, Shared};
use crate::entropy::{entropy, secret};
use crate::record::RelayRecord;
use crate::store::AddRelayError;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(show, delete))
}

/// Lists relays, the newest first. There are few: the list is one page.
#[utoipa::path(get, path = "/v1/relays", tag = "relays",
    responses((status = 200, description = "Every relay", body = Page<Relay>)))]
async fn list(Viewer(caller): Viewer, State(app): State<Shared>) -> Result<Answer<Page<Relay>>, ApiError> {
    Ok(Answer(Page { items: all(&app, &caller).await?, next: None }))
}

/// Registers a relay. Its token is shown this once.
#[utoipa::path(post, path = "/v1/relays", tag = "relays", request_body = CreateRelay,
    responses((status = 201, description = "The relay, and what it proves itself with", body = NewRelay)))]
pub(super) async fn create(
    Admin(caller): Admin,
    State(app): State<Shared>,
    Json(request): Json<CreateRelay>,
) -> Result<(StatusCode, Answer<NewRelay>), ApiError> {
    let name = checked_name(&request.name)?;
    let (relay, token) = (RelayId::from_entropy(entropy()), secret(RELAY_TOKEN));
    app.store.add_relay(relay, name, &token, caller.account.author()).await?;
    info!(%relay, name, by = %caller.who, "relay registered");
    Ok((StatusCode::CREATED, Answer(NewRelay { relay, token })))
}

/// Shows a relay.
#[utoipa::path(get, path = "/v1/relays/{relay}", tag = "relays",
    params(("relay" = String, Path, description = "Its id or its name")),
    responses((status = 200, description = "The relay", body = Relay)))]
async fn show(
    Viewer(caller): Viewer,
    State(app): State<Shared>,
    Path(relay): Path<String>,
) -> Result<Answer<Relay>, ApiError> {
    Ok(Answer(find(&app, &caller, &relay).await?))
}

/// Forgets a relay: its token stops working, its feed ends at once, and its visits are over.
#[utoipa::path(delete, path = "/v1/relays/{relay}", tag = "relays",
    params(("relay" = String, Path, description = "Its id or its name")),
    responses((status = 204, description = "It is not known any more")))]
pub(super) async fn delete(
    Admin(caller): Admin,
    State(app): State<Shared>,
    Path(relay): Path<String>,
) -> Result<StatusCode, ApiError> {
    let relay = find(&app, &caller, &relay).await?;
    app.store.remove_relay(relay.id, caller.account.author()).await?;
    info!(relay = %relay.id, name = relay.name, by = %caller.who, "relay removed");
    Ok(StatusCode::NO_CONTENT)
}

async fn find(app: &App, caller: &Caller, id_or_name: &str) -> Result<Relay, ApiError> {
    let relays = all(app, caller).await?;
    let by_id = relays.iter().position(|relay| relay.id.as_str() == id_or_name);
    let place = by_id.or_else(|| relays.iter().position(|relay| relay.name == id_or_name));
    let not_found = || ApiError::new(Code::RelayNotFound, "no relay has this id or name");
    place.map(|place| relays[place].clone()).ok_or_else(not_found)
}

/// Every relay. How many boxes each has is counted for whoever asks: for an admin all of them, for others
/// those they can see.
pub(super) async fn all(app: &App, caller: &Caller) -> Result<Vec<Relay>, ApiError> {
    let (revision, now) = (app.store.revision().await?, app.clock.now());
    let own = if caller.admin { None } else { Some(caller.account.boxes_by_relay().await?) };
    let boxes = |relay: &RelayRecord| match &own {
        None => relay.boxes,
        Some(own) => own.get(&relay.id).copied().unwrap_or(0),
    };
    let view = |relay: RelayRecord| Relay {
        connected: relay.is_connected(now),
        boxes: boxes(&relay),
        id: relay.id,
        name: relay.name,
        created_at: relay.created_at,
        last_seen: relay.last_seen,
        revision_in_force: relay.in_force,
        revision,
        version: relay.version,
        gate: relay.gate,
        web: relay.web,
        ports: relay.ports,
    };
    Ok(app.store.relays().await?.into_iter().map(view).collect())
}

impl From<AddRelayError> for ApiError {
    fn from(problem: AddRelayError) -> Self {
        match problem {
            AddRelayError::NameTaken => {
                Self::new(Code::NameTaken, "another relay has this name; choose another, or remove that one")
                    .field("name")
            }
            AddRelayError::Store(problem) => problem.into(),
        }
    }
}
