//! What went wrong, as a page: handlers answer as the API does, and here it is put into words.

use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use maud::html;
use postern_protocol::api::Problem;

use super::language::Language;
use super::{HOME, page};

/// The largest problem document.
const MAX_PROBLEM: usize = 64 * 1024;

/// Turns problem documents into pages; whoever must sign in is led to where they can.
pub(super) async fn in_words(request: Request, next: Next) -> Response {
    let language = Language::of(request.headers());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let is_page = shows_pages(request.headers());
    let response = next.run(request).await;
    let is_problem =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/problem+json");
    if !is_problem || !is_page {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let bytes = to_bytes(body, MAX_PROBLEM).await.unwrap_or_default();
    let Ok(problem) = serde_json::from_slice::<Problem>(&bytes) else { return parts.into_response() };
    if problem.code == "unauthorized" {
        let back = if method == Method::GET { path.as_str() } else { HOME };
        return Redirect::to(&format!("/console/sign-in?next={back}")).into_response();
    }
    parts.headers.remove(header::CONTENT_TYPE);
    parts.headers.remove(header::CONTENT_LENGTH);
    let words = language.words();
    let back = if path == HOME { "/console/sign-in" } else { HOME };
    let content = html! {
        section.card.narrow {
            h1 { (words.trouble) }
            p role="alert" { (words.problem(&problem)) }
            p { a href=(back) { (words.to_the_boxes) } }
        }
    };
    (parts.status, parts.headers, page::bare(words, words.trouble, HOME, &content)).into_response()
}

/// A stream and what a script asks for are no pages.
fn shows_pages(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-dest").is_none_or(|dest| dest == "document")
}
