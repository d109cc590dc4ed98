//! Visits: who came, allowed or refused.

use std::net::IpAddr;
use std::time::Duration;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use postern_protocol::api::{Page, Visit, VisitOutcome};
use postern_protocol::id::{AccessId, DeviceId};
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};
use tracing::info;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Caller, Operator, Viewer};
use super::error::{ApiError, Code};
use super::extract::{Path, Query};
use super::paging::{Cursor, Wanted};
use super::{App, Shared, devices};
use crate::store::VisitFilter;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show, cut))
}

/// Parameters of a list of visits.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListVisits {
    /// Only those to this box, by id or name; a deleted one by its id.
    device: Option<String>,
    /// Only those by this access.
    #[param(value_type = Option<String>)]
    access: Option<AccessId>,
    /// Only those that went this way.
    #[param(inline)]
    outcome: Option<VisitOutcome>,
    /// Only those from this address.
    #[param(value_type = Option<String>)]
    source: Option<IpAddr>,
    /// Only those that came at this time or later.
    since: Option<DateTime<Utc>>,
    /// Only those that came before this time.
    until: Option<DateTime<Utc>>,
    /// How many at most, 1 to 200; left out, 50.
    limit: Option<u32>,
    /// What `next` of the page before said.
    cursor: Option<String>,
}

/// Lists visits, the newest first.
#[utoipa::path(get, path = "/v1/visits", tag = "visits", params(ListVisits),
    responses((status = 200, description = "A page of visits", body = Page<Visit>)))]
async fn list(
    Viewer(caller): Viewer,
    State(app): State<Shared>,
    Query(list): Query<ListVisits>,
) -> Result<Answer<Page<Visit>>, ApiError> {
    let wanted = Wanted::new(list.limit, list.cursor.as_deref())?;
    let device = match &list.device {
        Some(device) => Some(device_id(&app, &caller, device).await?),
        None => None,
    };
    let filter = VisitFilter {
        device,
        access: list.access,
        outcome: list.outcome,
        source: list.source,
        since: list.since,
        until: list.until,
    };
    let visits = caller.account.visits(&filter, wanted.paging()).await?;
    Ok(Answer(wanted.page(visits, |visit| Cursor::new(visit.started_at, visit.id))))
}

/// Shows a visit.
#[utoipa::path(get, path = "/v1/visits/{visit}", tag = "visits",
    params(("visit" = String, Path, description = "Its id")),
    responses((status = 200, description = "The visit", body = Visit)))]
async fn show(
    Viewer(caller): Viewer,
    State(_): State<Shared>,
    Path(visit): Path<String>,
) -> Result<Answer<Visit>, ApiError> {
    let id = visit.parse().map_err(|_| not_found())?;
    Ok(Answer(caller.account.visit(id).await?.ok_or_else(not_found)?))
}

/// How long a cut waits for the relay to say that the visit is over.
const PATIENCE: Duration = Duration::from_secs(3);

/// Ends one visit; its access goes on. The answer comes when the relay has ended it, or after three
/// seconds: then the visit ends as soon as the relay hears of it.
#[utoipa::path(delete, path = "/v1/visits/{visit}", tag = "visits",
    params(("visit" = String, Path, description = "Its id")),
    responses((status = 204, description = "It is over"),
        (status = 202, description = "The relay has not answered yet; the visit as it is", body = Visit)))]
async fn cut(
    Operator(caller): Operator,
    State(app): State<Shared>,
    Path(visit): Path<String>,
) -> Result<Response, ApiError> {
    match cut_off(&app, &caller, &visit).await? {
        None => Ok(StatusCode::NO_CONTENT.into_response()),
        Some(visit) => Ok((StatusCode::ACCEPTED, Answer(visit)).into_response()),
    }
}

/// Ends a visit; itself, if it still goes on when patience ends.
pub(super) async fn cut_off(app: &App, caller: &Caller, visit: &str) -> Result<Option<Visit>, ApiError> {
    let id = visit.parse().map_err(|_| not_found())?;
    let (deadline, mut reports) = (Instant::now() + PATIENCE, app.store.visits_bell());
    match caller.account.cut_visit(id).await?.ok_or_else(not_found)? {
        true => info!(visit = %id, by = %caller.who, "visit cut"),
        false => return Ok(None),
    }
    loop {
        // Before looking, so that what rings meanwhile makes it look again.
        reports.mark_unchanged();
        let visit = caller.account.visit(id).await?.ok_or_else(not_found)?;
        if visit.outcome != VisitOutcome::Open {
            return Ok(None);
        }
        if Instant::now() >= deadline {
            return Ok(Some(visit));
        }
        tokio::select! {
            _ = reports.changed() => {}
            () = app.stop.cancelled() => return Ok(Some(visit)),
            // Looks again although no bell rang: the relay may report to another process.
            () = sleep_until(deadline.min(Instant::now() + LOOK_AGAIN)) => {}
        }
    }
}

/// How often to look whether a visit is over although no bell rang.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

pub(super) fn not_found() -> ApiError {
    ApiError::new(Code::VisitNotFound, "no visit has this id")
}

/// The audit outlives boxes, so an id is enough even if there is no such box any more.
async fn device_id(app: &App, caller: &Caller, device: &str) -> Result<DeviceId, ApiError> {
    match devices::find(app, &caller.account, device).await {
        Ok(found) => Ok(found.id),
        Err(problem) => device.parse().map_err(|_| problem),
    }
}
