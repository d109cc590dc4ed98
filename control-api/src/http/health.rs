//! Whether the API lives, whether it can serve, and what it counts.

use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::error::{ApiError, Code};

/// A database that takes longer is not one to send people to.
const READY_WITHIN: Duration = Duration::from_secs(2);

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(healthz)).routes(routes!(readyz)).routes(routes!(metrics))
}

/// Says that the process lives.
#[utoipa::path(get, path = "/healthz", tag = "open",
    responses((status = 200, description = "It lives", body = String, content_type = "text/plain")))]
async fn healthz() -> impl IntoResponse {
    (StatusCode::OK, "ok\n")
}

/// Says whether requests can be served: whether the database answers.
#[utoipa::path(get, path = "/readyz", tag = "open",
    responses((status = 200, description = "It can serve", body = String, content_type = "text/plain")))]
async fn readyz(State(app): State<Shared>) -> Result<&'static str, ApiError> {
    let not_ready = |why| ApiError::new(Code::NotReady, why).retry_after(1);
    if app.stop.is_cancelled() {
        return Err(not_ready("shutting down"));
    }
    match timeout(READY_WITHIN, app.store.revision()).await {
        Ok(Ok(_)) => Ok("ready\n"),
        Ok(Err(_)) | Err(_) => Err(not_ready("the database does not answer")),
    }
}

/// What the API counts, as Prometheus reads it.
#[utoipa::path(get, path = "/metrics", tag = "open",
    responses((status = 200, description = "The numbers", body = String, content_type = "text/plain")))]
async fn metrics(State(app): State<Shared>) -> Result<Response, ApiError> {
    let text = app.metrics.text(&app.store, app.clock.now()).await?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// Counts requests by route. What is no route, and what is no method, is one of each, so that nobody
/// can make new numbers by asking for nonsense.
pub(super) async fn count(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let known = [Method::GET, Method::HEAD, Method::POST, Method::PATCH, Method::PUT, Method::DELETE];
    let method =
        if known.contains(request.method()) { request.method().as_str() } else { "other" }.to_owned();
    let response = next.run(request).await;
    tracing::debug!(method, route, status = response.status().as_u16(), "request");
    app.metrics.answered(method, route, response.status().as_u16());
    response
}
