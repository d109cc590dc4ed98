//! What the installation is set to.

use axum::Json as Answer;
use axum::extract::State;
use postern_protocol::api::{Installation, RequestsPerMinute, RetentionDays};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Admin;
use super::{App, Shared};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(show))
}

/// Shows what the installation is set to: how long things are kept, and how many requests may be made.
#[utoipa::path(get, path = "/v1/installation", tag = "installation",
    responses((status = 200, description = "The settings in force", body = Installation)))]
async fn show(_: Admin, State(app): State<Shared>) -> Answer<Installation> {
    Answer(settings(&app))
}

/// The settings in force.
pub(super) fn settings(app: &App) -> Installation {
    let (keep, limits) = (&app.config.retention, &app.config.limits);
    Installation {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        retention: RetentionDays {
            visits: keep.visits,
            audit: keep.audit,
            events: keep.events,
            deliveries: keep.deliveries,
        },
        limits: RequestsPerMinute { per_credential: limits.per_credential, per_address: limits.per_address },
    }
}
