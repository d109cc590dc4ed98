//! What forms send, read within limits.

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;

use super::HOME;
use crate::http::error::{ApiError, Code};
use crate::http::extract::{MAX_BODY, read};

/// The fields of a form.
#[derive(Debug)]
pub(super) struct Form<T>(pub(super) T);

impl<S, T> FromRequest<S> for Form<T>
where
    S: Send + Sync,
    T: DeserializeOwned,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (head, bytes) = read(request, MAX_BODY).await?;
        let request = Request::from_parts(head, Body::from(bytes));
        let form = axum::extract::Form::from_request(request, state).await;
        // What is wrong with it is not repeated: a form may hold a password.
        let unreadable = |_| ApiError::new(Code::InvalidRequest, "the form could not be read; send it again");
        form.map(|axum::extract::Form(fields)| Self(fields)).map_err(unreadable)
    }
}

/// The text of a field, if anything was written into it.
pub(super) fn written(field: &str) -> Option<&str> {
    Some(field.trim()).filter(|text| !text.is_empty())
}

/// A page of the console, if it is one: nobody is sent anywhere else by what stands in a link.
pub(super) fn local_path(path: &str) -> &str {
    let own = path == HOME || path.strip_prefix(HOME).is_some_and(|rest| rest.starts_with(['/', '?']));
    let entrance = path == "/setup" || path.starts_with("/console/sign-in");
    let plain = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if (own || entrance) && plain { path } else { HOME }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_elsewhere() {
        for path in ["/console", "/console/boxes/abc", "/console?cursor=x", "/setup"] {
            assert_eq!(local_path(path), path);
        }
        for path in [
            "",
            "/",
            "//evil.example",
            "/console//evil\\x\n",
            "https://evil.example/console",
            "/consolevil",
            "javascript:alert(1)",
            "/\\evil.example",
            "/v1/devices",
            "/console\r\nX: y",
        ] {
            assert_eq!(local_path(path), HOME, "{path:?}");
        }
    }
}
