//! What monitoring asks: `/healthz` and `/metrics`.

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// The version of the text that Prometheus reads.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers until told to stop.
pub(crate) async fn serve(listener: TcpListener, metrics: Metrics, stop: CancellationToken) {
    let served = axum::serve(listener, routes(metrics)).with_graceful_shutdown(stop.cancelled_owned());
    if let Err(error) = served.await {
        tracing::error!(%error, "the admin listener failed");
    }
}

fn routes(metrics: Metrics) -> Router {
    let health = metrics.clone();
    Router::new()
        .route("/healthz", get(async move || healthz(&health)))
        .route("/metrics", get(async move || ([(CONTENT_TYPE, OPENMETRICS)], metrics.render())))
}

/// A relay without its feed is healthy: it goes on enforcing the last good rules. It says so.
fn healthz(metrics: &Metrics) -> impl IntoResponse + use<> {
    let feed = if metrics.feed_connected.get() == 0 { "away" } else { "connected" };
    let (boxes, revision) = (metrics.boxes.get(), metrics.revision.get());
    (StatusCode::OK, format!("ok\nfeed {feed}\nrevision {revision}\nboxes {boxes}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_relay_whose_api_is_away_is_healthy_and_says_so() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/healthz", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, Metrics::default(), stop.clone()));
        let tls = crate::api::tls(None, false).unwrap();
        let client = reqwest::Client::builder().tls_backend_preconfigured(tls).build().unwrap();
        let answer = client.get(url).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.text().await.unwrap(), "ok\nfeed away\nrevision 0\nboxes 0\n");
        stop.cancel();
        serving.await.unwrap();
    }
}
