//! Events: what happened in an account.

use axum::Json as Answer;
use axum::extract::State;
use postern_protocol::api::{Event, Page};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::auth::Viewer;
use super::error::ApiError;
use super::extract::Query;
use super::paging::{Cursor, Wanted};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Parameters of a list of events.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListEvents {
    /// How many at most, 1 to 200; left out, 50.
    limit: Option<u32>,
    /// What `next` of the page before said.
    cursor: Option<String>,
}

/// Lists events, the newest first: such as a box that shows other host keys, and who confirmed them.
#[utoipa::path(get, path = "/v1/events", tag = "events", params(ListEvents),
    responses((status = 200, description = "A page of events", body = Page<Event>)))]
async fn list(
    Viewer(caller): Viewer,
    State(_): State<Shared>,
    Query(list): Query<ListEvents>,
) -> Result<Answer<Page<Event>>, ApiError> {
    let wanted = Wanted::new(list.limit, list.cursor.as_deref())?;
    let events = caller.account.events(wanted.paging()).await?;
    Ok(Answer(wanted.page(events, |event| Cursor::new(event.at, event.id))))
}
