//! Creations that may be asked for again: the `Idempotency-Key` header.

use axum::extract::{FromRequestParts, MatchedPath, Request};
use axum::http::request::Parts;
use axum::http::{HeaderName, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::IntoParams;

use super::App;
use super::auth::Caller;
use super::error::{ApiError, Code};
use crate::ca::sha256;
use crate::once::Once;

/// Creations that would happen twice whatever key they carry, and whose answers hold secrets: whoever sends a
/// key there relies on what it does not do.
const WITHOUT: [&str; 6] = [
    "/v1/tokens",
    "/v1/users",
    "/v1/webhooks",
    "/v1/relays",
    "/v1/accounts",
    "/v1/accounts/{account}/accesses",
];

/// The longest key.
const MAX_KEY: usize = 255;

const HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// The key of a creation, if it has one.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct IdempotencyKey {
    /// Up to 255 visible characters. The same key with the same request gets the same answer for a
    /// day; with another request it is refused.
    #[param(rename = "Idempotency-Key", required = false)]
    key: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let mut values = parts.headers.get_all(HEADER).into_iter();
        let Some(value) = values.next() else { return Ok(Self { key: None }) };
        let text = value.to_str().unwrap_or("");
        let fits = (1..=MAX_KEY).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        match fits && values.next().is_none() {
            true => Ok(Self { key: Some(text.to_owned()) }),
            false => Err(ApiError::new(
                Code::InvalidIdempotencyKey,
                "an Idempotency-Key is 1 to 255 visible ASCII characters, given once",
            )),
        }
    }
}

/// Refuses a key where it would do nothing.
pub(super) async fn refuse_where_ignored(request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    if request.method() == Method::POST && request.headers().contains_key(HEADER) && WITHOUT.contains(&path) {
        let detail = "nothing is created once by a key here: leave the Idempotency-Key out, and when no answer came, \
                      look whether it was created before you ask again";
        return ApiError::new(Code::InvalidIdempotencyKey, detail).into_response();
    }
    next.run(request).await
}

impl IdempotencyKey {
    /// The creation that is to happen once, if the caller asked for that.
    pub(super) fn once(self, caller: &Caller, route: &str, body: &[u8]) -> Option<Once> {
        let request = sha256(&[route.as_bytes(), b"\0", body].concat());
        self.key.map(|key| Once::new(caller.who.id().to_owned(), key, request, caller.sealing.clone()))
    }
}

/// The answer that the same request got before, if it did.
pub(super) async fn answered(
    app: &App,
    caller: &Caller,
    once: Option<&Once>,
) -> Result<Option<String>, ApiError> {
    match once {
        Some(once) => Ok(caller.account.answered(once, app.clock.now()).await?),
        None => Ok(None),
    }
}

/// The problem with a key that stands for another request.
pub(super) fn reused() -> ApiError {
    let detail = "this Idempotency-Key was used for another request; take a new key for a new request";
    ApiError::new(Code::IdempotencyKeyReused, detail)
}

/// An answer's text, made once so that it can be kept and sent alike.
pub(super) fn json<T: Serialize>(answer: &T) -> String {
    serde_json::to_string(answer).expect("answers have only JSON's shapes")
}

/// The answer to a creation, made now or earlier.
pub(super) fn created(collection: &str, answer: String) -> Response {
    let id = serde_json::from_str::<serde_json::Value>(&answer).ok();
    let id = id.as_ref().and_then(|answer| answer.get("id")).and_then(|id| id.as_str()).unwrap_or("");
    let headers = [
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::LOCATION, format!("{collection}/{id}")),
    ];
    (StatusCode::CREATED, headers, answer).into_response()
}
