//! The API over HTTP: one resource a file, and what they share.
//!
//! A handler's first argument says who may call it, such as [`auth::Operator`] or
//! [`auth::RelayCaller`]. A test prints every route with the guard it proved to have.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use postern_protocol::grant::GrantSigner;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use utoipa_axum::router::OpenApiRouter;

use crate::ca::Authority;
use crate::clock::Clock;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::oidc::OpenIdClient;
use crate::password::Passwords;
use crate::store::Store;
use crate::webhooks::WebhookKey;

mod accesses;
mod accounts;
mod address;
mod audit;
mod auth;
mod console;
mod devices;
mod error;
mod etag;
mod events;
mod extract;
mod health;
mod idempotency;
mod installation;
mod openapi;
mod openid;
mod paging;
mod rate;
mod relay;
mod relays;
mod session;
mod text;
mod throttle;
mod tokens;
mod users;
mod verify;
mod visits;
mod webhooks;

pub(crate) use address::Peer;
pub(crate) use auth::{API_TOKEN, Doorkeeper, RELAY_TOKEN};
pub(crate) use rate::Rates;
pub(crate) use text::{INVALID_NAME, name};
pub(crate) use throttle::network;
pub(crate) use users::{INVITATION, INVITATION_LASTS};

/// How long `?wait=active` waits at most.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How many pages may change at once while they are looked at.
pub(crate) const STREAMS: usize = console::STREAMS;

/// What handlers work with.
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    pub(crate) authority: Authority,
    pub(crate) signer: GrantSigner,
    pub(crate) doorkeeper: Doorkeeper,
    pub(crate) rates: Rates,
    pub(crate) passwords: Passwords,
    /// The OpenID provider that users may sign in with, if there is one.
    pub(crate) openid: Option<OpenIdClient>,
    /// Who calls webhooks.
    pub(crate) webhooks: crate::webhooks::Caller,
    /// What their secrets are made with.
    pub(crate) webhook_key: WebhookKey,
    pub(crate) metrics: Metrics,
    /// The newest revision that some feed has signed.
    pub(crate) signed: watch::Sender<u64>,
    pub(crate) patience: Duration,
    /// Places for pages that change while they are looked at.
    pub(crate) streams: Arc<Semaphore>,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Ends feeds and waits.
    pub(crate) stop: CancellationToken,
    /// What outlives its connection for a moment.
    pub(crate) tasks: TaskTracker,
}

/// The app, as every handler has it.
pub(crate) type Shared = Arc<App>;

/// Every route there is; nothing is served that does not stand here, and so in the document.
fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(openapi::preamble())
        .merge(devices::routes())
        .merge(accesses::routes())
        .merge(verify::routes())
        .merge(visits::routes())
        .merge(events::routes())
        .merge(audit::routes())
        .merge(webhooks::routes())
        .merge(relays::routes())
        .merge(session::routes())
        .merge(openid::routes())
        .merge(users::routes())
        .merge(tokens::routes())
        .merge(accounts::routes())
        .merge(installation::routes())
        .merge(relay::routes())
        .merge(health::routes())
        .merge(openapi::routes())
}

/// What the API says of itself.
#[cfg(test)]
pub(crate) fn description() -> serde_json::Value {
    openapi::Document::complete(routes().split_for_parts().1).json()
}

/// The whole API as a service.
pub(crate) fn router(app: Shared) -> Router {
    let (router, document) = routes().split_for_parts();
    let document = Arc::new(openapi::Document::complete(document));
    router
        .merge(console::routes())
        .fallback(error::no_such_route)
        .method_not_allowed_fallback(error::wrong_method)
        .layer(from_fn(idempotency::refuse_where_ignored))
        .layer(from_fn_with_state(document.clone(), openapi::refuse_unknown_parameters))
        .layer(from_fn_with_state(app.clone(), rate::limit))
        .layer(from_fn(error::catch_panics))
        .layer(from_fn(extract::harden))
        .layer(from_fn_with_state(app.clone(), health::count))
        .layer(axum::Extension(document))
        .with_state(app)
}
