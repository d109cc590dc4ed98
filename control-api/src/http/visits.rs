//! Visits: who came, allowed or refused.

use std::net::IpAddr;

use axum::Json as Answer;
use axum::extract::State;
use chrono::{DateTime, Utc};
use postern_protocol::api::{Page, Visit, VisitOutcome};
use postern_protocol::id::{AccessId, DeviceId};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Caller, Viewer};
use super::error::{ApiError, Code};
use super::extract::{Path, Query};
use super::paging::{Cursor, Wanted};
use super::{Shared, devices};
use crate::store::VisitFilter;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show))
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
    let not_found = || ApiError::new(Code::VisitNotFound, "no visit has this id");
    let id = visit.parse().map_err(|_| not_found())?;
    Ok(Answer(caller.account.visit(id).await?.ok_or_else(not_found)?))
}

/// The audit outlives boxes, so an id is enough even if there is no such box any more.
async fn device_id(app: &super::App, caller: &Caller, device: &str) -> Result<DeviceId, ApiError> {
    match devices::find(app, &caller.account, device).await {
        Ok(found) => Ok(found.id),
        Err(problem) => device.parse().map_err(|_| problem),
    }
}
