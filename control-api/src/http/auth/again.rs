//! A body may come long after its head. Whoever sent the head may have lost meanwhile what let them in, so
//! they are asked again when the body is there.

use axum::http::Extensions;
use axum::http::request::Parts;
use futures_util::future::BoxFuture;

use crate::http::Shared;
use crate::http::error::ApiError;

/// Whether the sender of this head may still ask for it.
type Guard = fn(Parts, Shared) -> BoxFuture<'static, Result<(), ApiError>>;

/// What the guard of a request has asked, and is to ask again.
#[derive(Clone)]
pub(crate) struct Again {
    head: Box<Parts>,
    app: Shared,
    guard: Guard,
}

impl Again {
    /// Leaves the question with the request, for whoever reads its body.
    pub(super) fn leave(parts: &mut Parts, app: &Shared, guard: Guard) {
        if !parts.method.is_safe() {
            let again = Self { head: Box::new(parts.clone()), app: app.clone(), guard };
            parts.extensions.insert(again);
        }
    }

    /// Asks again. Where there was no guard, nothing is asked.
    pub(crate) async fn ask(extensions: &Extensions) -> Result<(), ApiError> {
        match extensions.get::<Self>().cloned() {
            Some(Self { head, app, guard }) => guard(*head, app).await,
            None => Ok(()),
        }
    }
}
