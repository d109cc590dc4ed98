//! The console: what people see of Postern in a browser.
//!
//! Pages are written on the server and work without a script: forms post, and the answer is another
//! page. A small script adds what a page cannot do by itself: copying, counting down, and swapping
//! pieces as they change ([`live`]). What a page shows and changes goes through the API's own handlers,
//! so the console can do nothing that the API would refuse.
//!
//! Pages are [`maud`] templates: part of the program, checked by the compiler, and they escape whatever
//! is put into them.

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{Next, from_fn};
use axum::response::{Redirect, Response};
use axum::routing::{get, post};

use super::Shared;

mod access;
mod accounts;
mod assets;
mod audit;
mod boxes;
mod change;
mod connect;
mod device;
mod form;
mod grant;
mod host_keys;
mod installation;
mod key;
mod language;
mod live;
mod moments;
mod page;
mod password;
mod people;
mod pieces;
mod relays;
mod sign_in;
mod tokens;
mod trouble;
mod verify;
mod visits;
mod webhook;
mod webhooks;
mod words;

pub(super) use live::STREAMS;

/// Where the console begins.
pub(super) const HOME: &str = "/console";

/// What a page may load and where it may send: the console's own, and nothing else. It stands in nobody's
/// frame, and no script or style within a page counts.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Every page, and what pages are made of.
pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/", get(async || Redirect::to(HOME)))
        .route("/setup", get(sign_in::invitation).post(sign_in::set_up))
        .route("/console/sign-in", get(sign_in::ask).post(sign_in::sign_in))
        .route("/console/sign-out", post(sign_in::sign_out))
        .route("/console/language", post(language::choose))
        .route("/console", get(boxes::list))
        .route("/console/live", get(boxes::live))
        .route("/console/boxes", post(boxes::add))
        .route("/console/boxes/new", get(boxes::ask))
        .route("/console/boxes/{device}", get(device::show))
        .route("/console/boxes/{device}/live", get(device::live))
        .route("/console/boxes/{device}/accesses", post(grant::create))
        .route("/console/boxes/{device}/rename", post(device::rename))
        .route("/console/boxes/{device}/join", post(device::join))
        .route("/console/boxes/{device}/host-keys", post(host_keys::confirm))
        .route("/console/boxes/{device}/delete", post(device::delete))
        .route("/console/boxes/{device}/visits", get(visits::list))
        .route("/console/boxes/{device}/verify", get(verify::ask).post(verify::answer))
        .route("/console/accesses/{access}", get(access::show).post(change::edit))
        .route("/console/accesses/{access}/live", get(access::live))
        .route("/console/accesses/{access}/extend", post(access::extend))
        .route("/console/accesses/{access}/delete", post(access::delete))
        .route("/console/accesses/{access}/decide", post(access::decide))
        .route("/console/key", post(key::check))
        .route("/console/users", get(people::list).post(people::add))
        .route("/console/users/{user}", post(people::edit))
        .route("/console/users/{user}/invite", post(people::invite))
        .route("/console/users/{user}/delete", post(people::delete))
        .route("/console/tokens", get(tokens::list).post(tokens::add))
        .route("/console/tokens/{token}/delete", post(tokens::delete))
        .route("/console/visits/{visit}/cut", post(visits::cut_off))
        .route("/console/webhooks", get(webhooks::list).post(webhooks::add))
        .route("/console/webhooks/live", get(webhooks::live))
        .route("/console/webhooks/{webhook}", get(webhook::show).post(webhook::edit))
        .route("/console/webhooks/{webhook}/live", get(webhook::live))
        .route("/console/webhooks/{webhook}/pause", post(webhook::pause))
        .route("/console/webhooks/{webhook}/resume", post(webhook::resume))
        .route("/console/webhooks/{webhook}/test", post(webhook::test))
        .route("/console/webhooks/{webhook}/delete", post(webhook::delete))
        .route("/console/audit", get(audit::list))
        .route("/console/accounts", get(accounts::list).post(accounts::add))
        .route("/console/accounts/{account}", post(accounts::rename))
        .route("/console/accounts/{account}/close", post(accounts::close))
        .route("/console/relays", get(relays::list).post(relays::add))
        .route("/console/relays/live", get(relays::live))
        .route("/console/relays/{relay}/delete", post(relays::delete))
        .route("/console/installation", get(installation::show))
        .route(password::HERE, get(password::ask).post(password::replace))
        .route("/console/assets/{name}", get(assets::serve))
        .layer(from_fn(trouble::in_words))
        .layer(from_fn(harden))
}

/// What browsers are told about every page.
async fn harden(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    let opener = HeaderName::from_static("cross-origin-opener-policy");
    headers.insert(opener, HeaderValue::from_static("same-origin"));
    response
}
