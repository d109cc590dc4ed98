//! Errors, as RFC 9457 writes them: a stable code, a status, and a sentence that says what to do.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;

use axum::Json;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use postern_protocol::api::Problem;
use tracing::error;

use crate::store::StoreError;

/// The most characters of a sentence: it may repeat a piece of the request.
const MAX_DETAIL: usize = 400;

macro_rules! codes {
    ($($name:ident = $status:ident, $code:literal, $title:literal;)*) => {
        /// What can go wrong, as programs tell it apart.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Code { $($name),* }

        impl Code {
            /// Every code there is.
            pub(super) const ALL: &[Self] = &[$(Self::$name),*];

            /// The code as text.
            pub(super) fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code),* }
            }

            /// The HTTP status it goes with.
            pub(super) fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status),* }
            }

            /// The kind of problem, in words.
            pub(super) fn title(self) -> &'static str {
                match self { $(Self::$name => $title),* }
            }
        }
    };
}

codes! {
    Unauthorized = UNAUTHORIZED, "unauthorized", "A valid token is needed";
    TooManyFailures = TOO_MANY_REQUESTS, "too_many_failures", "Too many failed attempts";
    TooManyRequests = TOO_MANY_REQUESTS, "too_many_requests", "Too many requests";
    ForeignVisit = FORBIDDEN, "foreign_visit", "Not this relay's visit";
    Forbidden = FORBIDDEN, "forbidden", "Not with this role";
    OtherPage = FORBIDDEN, "other_page", "Another site's page asked for this";
    WrongCredentials = UNAUTHORIZED, "wrong_credentials", "The name or the password is wrong";
    InvitationRefused = GONE, "invitation_refused", "The link does not work";
    NotInvited = FORBIDDEN, "not_invited", "Nobody was invited by this name";
    StaleAttempt = BAD_REQUEST, "stale_attempt", "The attempt to sign in is over";
    NoProvider = NOT_FOUND, "no_provider", "There is no OpenID provider";
    ProviderFailed = BAD_GATEWAY, "provider_failed", "The OpenID provider does not answer as it should";
    Busy = SERVICE_UNAVAILABLE, "busy", "Too many at once";
    OtherKey = FORBIDDEN, "other_key", "Not the key that the box enrolled with";

    RouteNotFound = NOT_FOUND, "route_not_found", "No such path";
    MethodNotAllowed = METHOD_NOT_ALLOWED, "method_not_allowed", "No such method here";
    DeviceNotFound = NOT_FOUND, "device_not_found", "No such box";
    AccessNotFound = NOT_FOUND, "access_not_found", "No such access";
    VisitNotFound = NOT_FOUND, "visit_not_found", "No such visit";
    RelayNotFound = NOT_FOUND, "relay_not_found", "No such relay";
    TokenNotFound = NOT_FOUND, "token_not_found", "No such token";
    WebhookNotFound = NOT_FOUND, "webhook_not_found", "No such webhook";
    AccountNotFound = NOT_FOUND, "account_not_found", "No such account";
    UserNotFound = NOT_FOUND, "user_not_found", "No such user";

    UnsupportedMediaType = UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "JSON is needed";
    BodyTooLarge = PAYLOAD_TOO_LARGE, "body_too_large", "The request is too large";
    BodyTimeout = REQUEST_TIMEOUT, "body_timeout", "The request did not arrive in time";
    InvalidJson = BAD_REQUEST, "invalid_json", "This is not JSON";
    InvalidRequest = UNPROCESSABLE_ENTITY, "invalid_request", "The request does not fit";
    InvalidParameter = BAD_REQUEST, "invalid_parameter", "A parameter does not fit";
    UnknownParameter = BAD_REQUEST, "unknown_parameter", "There is no such parameter";
    InvalidCursor = BAD_REQUEST, "invalid_cursor", "This is not a cursor of this list";
    InvalidIdempotencyKey = BAD_REQUEST, "invalid_idempotency_key", "This is not an idempotency key";
    IdempotencyKeyReused = UNPROCESSABLE_ENTITY, "idempotency_key_reused", "The idempotency key stands for another request";

    Stale = PRECONDITION_FAILED, "stale", "It has been edited since it was read";
    NameTaken = CONFLICT, "name_taken", "The name is taken";
    OwnAccount = CONFLICT, "own_account", "The installation's own account stays";
    LastOwner = CONFLICT, "last_owner", "The account would have no owner";
    NoRelay = CONFLICT, "no_relay", "No relay has started yet";
    OtherHostKeys = CONFLICT, "other_host_keys", "The box reports other host keys";
    NoFront = CONFLICT, "no_front", "No relay has a TLS front";
    NoPorts = CONFLICT, "no_ports", "No relay has public ports";
    PortsTaken = CONFLICT, "ports_taken", "All public ports are leased";
    TooManyAccesses = CONFLICT, "too_many_accesses", "The box has too many live accesses";
    TooManyWebhooks = CONFLICT, "too_many_webhooks", "The account has too many webhooks";
    WebhookDisabled = CONFLICT, "webhook_disabled", "The webhook is disabled";
    TooManyDeliveries = CONFLICT, "too_many_deliveries", "Too many deliveries wait for the webhook";
    NothingToDecide = CONFLICT, "nothing_to_decide", "The access waits for no decision";
    AccessRevoked = CONFLICT, "access_revoked", "The access was deleted";
    InvalidTarget = UNPROCESSABLE_ENTITY, "invalid_target", "This address is not called";
    InvalidRole = UNPROCESSABLE_ENTITY, "invalid_role", "This role does not fit";
    InvalidPassword = UNPROCESSABLE_ENTITY, "invalid_password", "This cannot be a password";
    InvalidName = UNPROCESSABLE_ENTITY, "invalid_name", "This cannot be a name";
    InvalidNote = UNPROCESSABLE_ENTITY, "invalid_note", "This cannot be a note";
    InvalidAllowedIps = UNPROCESSABLE_ENTITY, "invalid_allowed_ips", "These cannot be the allowed addresses";
    AnyAddress = UNPROCESSABLE_ENTITY, "any_address", "Everybody would be allowed";
    AddressUnknown = UNPROCESSABLE_ENTITY, "address_unknown", "The caller's address is not known";
    InvalidExpiry = UNPROCESSABLE_ENTITY, "invalid_expiry", "The access cannot end then";
    KeyRequired = UNPROCESSABLE_ENTITY, "key_required", "A public key is needed";
    ImpossibleVia = UNPROCESSABLE_ENTITY, "impossible_via", "Nobody can come in that way";
    PrivateKey = UNPROCESSABLE_ENTITY, "private_key", "This is a private key";
    UnusableKey = UNPROCESSABLE_ENTITY, "unusable_key", "This key cannot be used";
    PortNotOffered = UNPROCESSABLE_ENTITY, "port_not_offered", "The box does not offer this port";
    InvalidSigningRequest = UNPROCESSABLE_ENTITY, "invalid_signing_request", "No certificate can be made of this";
    JoinRefused = GONE, "join_refused", "The join string does not work";
    InvalidGate = UNPROCESSABLE_ENTITY, "invalid_gate", "Visitors could not use this gate";

    NotReady = SERVICE_UNAVAILABLE, "not_ready", "Not ready";
    Internal = INTERNAL_SERVER_ERROR, "internal", "Something is wrong here";
}

/// An error, on its way to becoming a problem document.
#[derive(Debug)]
pub(crate) struct ApiError {
    code: Code,
    detail: Cow<'static, str>,
    field: Option<&'static str>,
    retry_after: Option<u64>,
}

impl ApiError {
    /// A problem, and what is wrong with this request.
    pub(super) fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), field: None, retry_after: None }
    }

    /// The field of the request that is wrong.
    pub(super) fn field(self, field: &'static str) -> Self {
        Self { field: Some(field), ..self }
    }

    /// In how many seconds it may be tried again.
    pub(super) fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// What it says, for tests of what makes it.
    #[cfg(test)]
    pub(super) fn told(&self) -> (Code, Option<&'static str>, String) {
        (self.code, self.field, self.detail.to_string())
    }

    /// What programs tell it apart by.
    pub(super) fn code(&self) -> Code {
        self.code
    }

    /// The same told on another page than its own: with the status, and when to try again.
    pub(super) fn told_on(self, page: Response) -> Response {
        let mut response = (self.code.status(), page).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }

    /// It as a document.
    pub(super) fn problem(&self) -> Problem {
        Problem {
            r#type: format!("/problems/{}", self.code.as_str()),
            title: self.code.title().to_owned(),
            status: self.code.status().as_u16(),
            code: self.code.as_str().to_owned(),
            detail: self.detail.chars().take(MAX_DETAIL).collect(),
            field: self.field.map(str::to_owned),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.code.status(), Json(self.problem())).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.code.status() == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"postern\""));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// The caller learns nothing of it but that it is not their fault; the log has it all.
impl From<StoreError> for ApiError {
    fn from(problem: StoreError) -> Self {
        error!(error = &problem as &dyn std::error::Error, "a request failed");
        internal()
    }
}

fn internal() -> ApiError {
    ApiError::new(
        Code::Internal,
        "the request failed for no fault of yours; try again, and tell the operator if it goes on",
    )
}

/// The answer where no route is.
pub(super) async fn no_such_route(uri: Uri) -> ApiError {
    ApiError::new(
        Code::RouteNotFound,
        format!("there is nothing at {}; /openapi.json lists what there is", uri.path()),
    )
}

/// The answer where a route has no such method.
pub(super) async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    ApiError::new(
        Code::MethodNotAllowed,
        format!("{} cannot be asked with {method}; /openapi.json lists what can", uri.path()),
    )
}

/// A panic ends one request, with the answer that any fault of ours has.
pub(super) async fn catch_panics(request: Request, next: Next) -> Response {
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => {
            error!("a handler panicked");
            internal().into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_panic_ends_one_request_with_an_answer_that_says_nothing_of_it() {
        async fn broken() -> &'static str {
            panic!("a secret")
        }
        let router: Router = Router::new().route("/", get(broken)).layer(from_fn(catch_panics));
        for _ in 0..2 {
            let response = router.clone().oneshot(Request::new(Body::empty())).await.unwrap();
            assert_eq!(response.status(), 500);
            let body = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
            let problem: Problem = serde_json::from_slice(&body).unwrap();
            assert_eq!(problem.code, "internal");
            assert!(!problem.detail.contains("secret"));
        }
    }

    #[test]
    fn codes_are_unique_and_a_sentence_is_bounded() {
        let codes: std::collections::HashSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(codes.len(), Code::ALL.len());
        let problem = ApiError::new(Code::InvalidRequest, "é".repeat(MAX_DETAIL + 1)).problem();
        assert_eq!(problem.detail.chars().count(), MAX_DETAIL);
    }
}
