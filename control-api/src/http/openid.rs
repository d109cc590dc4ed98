//! Signing in with an OpenID provider: a browser is sent there, and comes back.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tracing::{info, warn};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Browsing;
use super::error::{ApiError, Code};
use super::extract::Query;
use super::session::{Visitor, admit, enter};
use super::{App, Shared};
use crate::ca::sha256;
use crate::oidc::{Attempt, OpenIdClient};
use crate::setup;

/// Where the provider sends browsers back to. It adds parameters of its own.
pub(super) const BACK: &str = "/v1/session/openid/callback";

/// Where a browser goes that has signed in.
const HOME: &str = "/";

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(leave)).routes(routes!(come_back))
}

/// Sends the browser to the OpenID provider that the settings name.
#[utoipa::path(get, path = "/v1/session/openid", tag = "session",
    responses((status = 303, description = "Off to the provider",
        headers(("Location" = String, description = "Where to sign in")))))]
async fn leave(visitor: Visitor, State(app): State<Shared>) -> Result<Response, ApiError> {
    let provider = provider(&app)?;
    let (url, attempt) = provider.begin(&back(&app)).await.map_err(|error| failed(provider, &error))?;
    let to = [(header::LOCATION, url.to_string()), (header::REFERRER_POLICY, "no-referrer".to_owned())];
    let cookie = [(header::SET_COOKIE, visitor.browsing().remember(&attempt.to_text()))];
    Ok((StatusCode::SEE_OTHER, to, cookie).into_response())
}

/// What a provider sends a browser back with.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Callback {
    /// Proves to the provider that it sent this browser.
    code: Option<String>,
    /// Which attempt it is about.
    state: Option<String>,
    /// Why there is no code.
    error: Option<String>,
}

/// Takes the provider's word on who it is, and signs them in: a user whom it has named before, or whom
/// an owner has invited by the address that it vouches for.
#[utoipa::path(get, path = "/v1/session/openid/callback", tag = "session", params(Callback),
    responses((status = 303, description = "Signed in",
        headers(("Set-Cookie" = String, description = "The session's cookie")))))]
async fn come_back(
    visitor: Visitor,
    State(app): State<Shared>,
    headers: HeaderMap,
    Query(callback): Query<Callback>,
) -> Result<Response, ApiError> {
    let provider = provider(&app)?;
    let attempt = visitor.browsing().remembered(&headers).as_deref().and_then(Attempt::from_text);
    let attempt =
        attempt.filter(|attempt| callback.state.as_ref() == Some(&attempt.state)).ok_or_else(stale)?;
    if let Some(why) = callback.error {
        info!(%why, "the OpenID provider refused");
        return Err(ApiError::new(Code::NotInvited, format!("{} did not sign you in", provider.name())));
    }
    let code = callback.code.ok_or_else(stale)?;
    // Each attempt makes the provider work, so a stranger's attempts are counted like passwords.
    let key = sha256(attempt.state.as_bytes());
    admit(&app, &visitor, key)?;
    let identity = provider.finish(&attempt, &code, &back(&app)).await;
    let identity = identity.map_err(|error| failed(provider, &error))?;
    let (from, now) = (Some(visitor.source()), app.clock.now());
    let address = identity.address.as_ref();
    let found = app.store.user_by_identity(&identity.issuer, &identity.subject, address, from, now);
    let user = found.await?.ok_or_else(|| not_invited(provider, identity.address.is_some()))?;
    let begun = enter(&app, &visitor, user, None).await?;
    app.doorkeeper.signed_in(visitor.source(), key);
    info!(%user, source = %visitor.source(), "signed in by the OpenID provider");
    let mut response = (StatusCode::SEE_OTHER, [(header::LOCATION, HOME)]).into_response();
    response.headers_mut().append(begun.cookie.0, begun.cookie.1);
    response.headers_mut().append(header::SET_COOKIE, forget(&app, &headers));
    Ok(response)
}

fn forget(app: &App, headers: &HeaderMap) -> HeaderValue {
    Browsing::of(&app.config, headers).forget()
}

fn back(app: &App) -> String {
    format!("{}{BACK}", setup::base(&app.config, app.address))
}

fn provider(app: &App) -> Result<&OpenIdClient, ApiError> {
    let none = || ApiError::new(Code::NoProvider, "the API's settings name no OpenID provider");
    app.openid.as_ref().ok_or_else(none)
}

fn failed(provider: &OpenIdClient, error: &anyhow::Error) -> ApiError {
    warn!(error = format!("{error:#}"), "the OpenID provider's word cannot be taken");
    let detail = format!(
        "{} does not answer as it should; try again, and tell the operator if it goes on",
        provider.name()
    );
    ApiError::new(Code::ProviderFailed, detail)
}

fn stale() -> ApiError {
    ApiError::new(
        Code::StaleAttempt,
        "this attempt to sign in is over, or began in another browser; begin again",
    )
}

fn not_invited(provider: &OpenIdClient, has_address: bool) -> ApiError {
    let why =
        if has_address { "nobody was invited by your address" } else { "it does not vouch for your address" };
    ApiError::new(
        Code::NotInvited,
        format!("{} knows you, but {why}; ask an owner of your account", provider.name()),
    )
}
