//! Host keys that changed: somebody looks at them, and says that they are the box's.

use axum::Json as Answer;
use axum::extract::State;
use postern_protocol::api::{ConfirmHostKeys, Device};
use tracing::info;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{find, not_found, view};
use crate::http::Shared;
use crate::http::auth::Operator;
use crate::http::error::{ApiError, Code};
use crate::http::extract::{Json, Path};
use crate::store::ConfirmError;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(confirm))
}

/// Confirms the host keys that a box reports: connections expect them from now on. The fingerprints are
/// those that were looked at, so that keys which change meanwhile are not confirmed with them.
#[utoipa::path(post, path = "/v1/devices/{device}/host-keys/confirm", tag = "devices",
    params(("device" = String, Path, description = "Its id or its name")), request_body = ConfirmHostKeys,
    responses((status = 200, description = "The box", body = Device)))]
pub(in crate::http) async fn confirm(
    Operator(caller): Operator,
    State(app): State<Shared>,
    Path(device): Path<String>,
    Json(seen): Json<ConfirmHostKeys>,
) -> Result<Answer<Device>, ApiError> {
    let now = app.clock.now();
    let device = find(&app, &caller.account, &device).await?;
    let actor = caller.who.to_string();
    caller.account.confirm_host_keys(device.id, &seen.fingerprints, &actor, now).await?;
    info!(device = %device.id, by = actor, "host keys confirmed");
    let device = find(&app, &caller.account, device.id.as_str()).await?;
    Ok(Answer(view(&device, now)))
}

impl From<ConfirmError> for ApiError {
    fn from(problem: ConfirmError) -> Self {
        match problem {
            ConfirmError::Unknown => not_found(),
            ConfirmError::Others { reported } => {
                let reported = if reported.is_empty() { "none".to_owned() } else { reported.join(", ") };
                let detail = format!("the box reports other host keys than these; compare anew: {reported}");
                Self::new(Code::OtherHostKeys, detail).field("fingerprints")
            }
            ConfirmError::Store(problem) => problem.into(),
        }
    }
}
