//! What a request brings, read within limits; whatever does not fit becomes a problem document.

use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;

use super::auth::Again;
use super::error::{ApiError, Code};

/// The largest request of a person's program: a key, thirty-two networks and a note are 20 KiB.
pub(super) const MAX_BODY: usize = 64 * 1024;

/// How long a request's body may take: the largest, from a relay, at a megabyte a second.
const BODY_TIME: Duration = Duration::from_secs(60);

/// A request's JSON, of at most so many bytes.
#[derive(Debug)]
pub(super) struct Json<T, const MOST: usize = MAX_BODY>(pub(super) T);

/// A request's JSON, and its bytes as they came.
#[derive(Debug)]
pub(super) struct RawJson<T> {
    pub(super) value: T,
    pub(super) bytes: Bytes,
}

/// The parts of a path.
#[derive(Debug, FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(ApiError))]
pub(super) struct Path<T>(pub(super) T);

/// The parameters of a query.
#[derive(Debug, FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(ApiError))]
pub(super) struct Query<T>(pub(super) T);

impl<S, T, const MOST: usize> FromRequest<S> for Json<T, MOST>
where
    S: Send + Sync,
    T: DeserializeOwned,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        parse(&whole_body(request, MOST).await?).map(Self)
    }
}

impl<S, T> FromRequest<S> for RawJson<T>
where
    S: Send + Sync,
    T: DeserializeOwned,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let bytes = whole_body(request, MAX_BODY).await?;
        parse(&bytes).map(|value| Self { value, bytes })
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => {
            ApiError::new(Code::InvalidRequest, format!("the request does not fit: {error}"))
        }
        serde_json::error::Category::Io
        | serde_json::error::Category::Syntax
        | serde_json::error::Category::Eof => {
            ApiError::new(Code::InvalidJson, format!("the request is not JSON: {error}"))
        }
    })
}

async fn whole_body(request: Request, most: usize) -> Result<Bytes, ApiError> {
    if !is_json(request.headers()) {
        let detail = "send JSON, and say so: Content-Type: application/json";
        return Err(ApiError::new(Code::UnsupportedMediaType, detail));
    }
    Ok(read(request, most).await?.1)
}

/// A request with a body of at most so many bytes, if all of it comes in time, and if whoever sends it may
/// still do so when it is there.
pub(super) async fn read(request: Request, most: usize) -> Result<(Parts, Bytes), ApiError> {
    let (head, body) = request.into_parts();
    let body = tokio::time::timeout(BODY_TIME, collect(body, most)).await;
    let body = body.map_err(|_| ApiError::new(Code::BodyTimeout, "the request's body stopped coming"))??;
    Again::ask(&head.extensions).await?;
    Ok((head, body))
}

async fn collect(body: Body, most: usize) -> Result<Bytes, ApiError> {
    let mut stream = body.into_data_stream();
    let mut whole = BytesMut::new();
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|_| ApiError::new(Code::InvalidJson, "the request's body broke off"))?;
        if whole.len() + piece.len() > most {
            return Err(ApiError::new(Code::BodyTooLarge, format!("at most {most} bytes are read here")));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = value.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> Self {
        Self::new(Code::InvalidParameter, format!("the path does not fit: {}", rejection.body_text()))
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(Code::InvalidParameter, rejection.body_text())
    }
}

/// Answers hold secrets and change from moment to moment: nobody keeps them unless they say so, nobody
/// guesses what they are.
pub(super) async fn harden(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use serde_json::Value;

    use super::*;

    fn request(kind: &str, body: Body) -> Request {
        Request::builder().header(header::CONTENT_TYPE, kind).body(body).unwrap()
    }

    async fn code(request: Request) -> Code {
        Json::<Value, 16>::from_request(request, &()).await.unwrap_err().told().0
    }

    #[tokio::test]
    async fn a_body_is_json_of_a_bounded_size() {
        let json = "application/json";
        let fits =
            Json::<Value, 16>::from_request(request(json, Body::from("\"12345678901234\"")), &()).await;
        assert!(fits.is_ok());
        assert_eq!(code(request(json, Body::from("\"123456789012345\""))).await, Code::BodyTooLarge);
        assert_eq!(code(request(json, Body::from("{"))).await, Code::InvalidJson);
        assert_eq!(code(request("text/json5", Body::from("1"))).await, Code::UnsupportedMediaType);
        assert_eq!(code(Request::new(Body::from("1"))).await, Code::UnsupportedMediaType);
        assert!(
            Json::<Value>::from_request(request("application/merge-patch+json", Body::from("1")), &())
                .await
                .is_ok()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_coming_is_not_waited_for() {
        let first = stream::iter([Ok::<_, Infallible>("{")]);
        let body = Body::from_stream(first.chain(stream::pending()));
        assert_eq!(code(request("application/json", body)).await, Code::BodyTimeout);
    }
}
