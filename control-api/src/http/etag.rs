//! Entity tags (RFC 9110): a change says which version it was made for, and a look which it has seen.
//!
//! A tag is the number of the version of what can be edited, a dot, and a hash of the whole answer:
//! `"7.9f86d081884c7d65"`. `If-Match` compares the number alone, because a box that went offline
//! meanwhile is no reason to refuse its new name; `If-None-Match` compares all of it.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use serde::Serialize;
use utoipa::IntoParams;

use super::error::{ApiError, Code};
use crate::ca::sha256;
use crate::record::Seen;
use crate::store::Stale;

/// The most tags that a header may list.
const MOST: usize = 16;

/// Which version a change was made for.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct IfMatch {
    /// The `ETag` of what was read. If it has been edited since, nothing changes, and the answer is 412.
    #[param(rename = "If-Match", required = false, value_type = Option<String>, example = "\"7.9f86d081884c7d65\"")]
    seen: Seen,
}

/// What a caller has already.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct IfNoneMatch {
    /// The `ETag` of an earlier answer. If this one would be the same, it is 304, without a body.
    #[param(rename = "If-None-Match", required = false, value_type = Option<String>, example = "\"7.9f86d081884c7d65\"")]
    tags: Vec<String>,
}

impl IfMatch {
    /// A change of whatever version there is.
    pub(super) fn any() -> Self {
        Self { seen: Seen::Any }
    }

    /// As the store reads it.
    pub(super) fn seen(self) -> Seen {
        self.seen
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let tags = tags(&parts.headers, &header::IF_MATCH)?;
        let seen = match tags {
            None => Seen::Any,
            Some(tags) if tags.iter().any(|tag| tag == "*") => Seen::Any,
            Some(tags) => Seen::These(tags.iter().filter_map(|tag| version(tag)).collect()),
        };
        Ok(Self { seen })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfNoneMatch {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(Self { tags: tags(&parts.headers, &header::IF_NONE_MATCH)?.unwrap_or_default() })
    }
}

/// The tags of a header; nothing if it is not there.
fn tags(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Vec<String>>, ApiError> {
    let mut tags = Vec::new();
    let mut lines = headers.get_all(name).into_iter().peekable();
    if lines.peek().is_none() {
        return Ok(None);
    }
    for line in lines {
        let text = line.to_str().unwrap_or("");
        tags.extend(text.split(',').map(|tag| tag.trim().to_owned()));
    }
    let fits =
        |tag: &String| tag == "*" || tag.trim_start_matches("W/").starts_with('"') && tag.ends_with('"');
    match tags.len() <= MOST && tags.iter().all(fits) {
        true => Ok(Some(tags)),
        false => {
            let detail =
                format!("{name} is '*', or up to {MOST} tags in quotation marks, as an ETag says them");
            Err(ApiError::new(Code::InvalidParameter, detail).field("If-Match"))
        }
    }
}

/// The version in a tag; a weak tag names none.
fn version(tag: &str) -> Option<u64> {
    tag.trim_matches('"').split_once('.')?.0.parse().ok()
}

/// An answer with its tag; without its body for whoever has it already.
pub(super) fn tagged<T: Serialize>(version: u64, answer: &T, known: &IfNoneMatch) -> Response {
    let body = serde_json::to_vec(answer).expect("answers have only JSON's shapes");
    let tag = format!("\"{version}.{}\"", HEXLOWER.encode(&sha256(&body)[..8]));
    let headers = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, "no-cache, private".to_owned())];
    // Compared weakly: a proxy may have weakened it.
    if known.tags.iter().any(|known| known == "*" || known.trim_start_matches("W/") == tag) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// The answer to a change, with the tag of what it led to.
pub(super) fn changed<T: Serialize>(version: u64, answer: &T) -> Response {
    tagged(version, answer, &IfNoneMatch { tags: Vec::new() })
}

impl From<Stale> for ApiError {
    fn from(_: Stale) -> Self {
        let detail = "somebody has edited this since you read it: read it again, and make your change to what it \
                      says now, with its new ETag";
        Self::new(Code::Stale, detail)
    }
}
