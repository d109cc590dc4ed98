//! Changing an access: another end, other addresses, another key.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use postern_protocol::api::{Access, EditAccess};
use serde::Deserialize;

use super::access::{look, whole};
use super::form::{Form, written};
use super::grant::{moment, networks, zones};
use super::page::Page;
use super::pieces;
use super::words::Words;
use crate::http::auth::Operator;
use crate::http::error::{ApiError, Code};
use crate::http::extract::Path;
use crate::http::{Shared, accesses};
use crate::record::Seen;

/// What is changed about an access. What the form showed comes back with it: only what differs from that was
/// changed by its reader, and what somebody else has changed meanwhile stays.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Change {
    from: String,
    any: String,
    until: String,
    zone: String,
    key: String,
    login: String,
    note: String,
    was_from: Option<String>,
    was_until: Option<String>,
    was_login: Option<String>,
    was_note: Option<String>,
}

/// The form.
pub(super) fn form(access: &Access, words: &Words, wrong: Option<(&str, &str)>) -> Markup {
    let complains = |field| wrong.filter(|(of, _)| *of == field).map(|_| "true");
    let until = access.expires_at.format("%Y-%m-%dT%H:%M");
    html! {
        details.card id="change" open[wrong.is_some()] {
            summary { (words.change) }
            form method="post" action={ "/console/accesses/" (access.id) } {
                input type="hidden" name="was_from" value=(pieces::networks(&access.allowed_ips));
                input type="hidden" name="was_until" value=(until);
                input type="hidden" name="was_login" value=(access.login);
                input type="hidden" name="was_note" value=(access.note);
                label for="from" { (words.allowed_addresses) }
                input id="from" name="from" value=(pieces::networks(&access.allowed_ips)) required spellcheck="false"
                    aria-invalid=[complains("allowed_ips")] aria-describedby="allowed_ips-wrong";
                (pieces::complaint("allowed_ips", wrong))
                label.check { input type="checkbox" name="any" value="yes"; " " (words.allow_any) }
                div.exact {
                    label for="until" { (words.ends_at) }
                    input id="until" name="until" type="datetime-local" value=(until)
                        data-moment=(access.expires_at.to_rfc3339()) aria-describedby="expires_at-wrong";
                    (zones("0", words))
                }
                (pieces::complaint("expires_at", wrong))
                @if access.public_key.is_some() {
                    label for="key" { (words.another_key) " " small { (words.optional) } }
                    textarea id="key" name="key" rows="3" spellcheck="false" data-key="/console/key"
                        aria-invalid=[complains("public_key")] aria-describedby="key-said public_key-wrong" {}
                    p id="key-said" aria-live="polite" {}
                    (pieces::complaint("public_key", wrong))
                    label for="login" { (words.login) }
                    input id="login" name="login" value=(access.login) maxlength="32" autocapitalize="none"
                        spellcheck="false" aria-invalid=[complains("login")] aria-describedby="login-wrong";
                    (pieces::complaint("login", wrong))
                }
                label for="note" { (words.note) " " small { (words.optional) } }
                input id="note" name="note" value=(access.note) maxlength="500"
                    aria-invalid=[complains("note")] aria-describedby="note-wrong";
                (pieces::complaint("note", wrong))
                button { (words.save) }
            }
        }
    }
}

/// Changes an access, or says what is wrong with the change.
pub(super) async fn edit(
    page: Page<Operator>,
    State(app): State<Shared>,
    Path(access): Path<String>,
    Form(change): Form<Change>,
) -> Result<Response, ApiError> {
    let (shown, _) = look(&app, &page, &access).await?;
    let edited = match change.request(&shown) {
        Ok(request) => accesses::change(&app, &page.caller, shown.id, request, &Seen::Any).await,
        Err(problem) => Err(problem),
    };
    match edited {
        Ok(()) => Ok(Redirect::to(&format!("/console/accesses/{}", shown.id)).into_response()),
        Err(problem) if problem.code().status() == StatusCode::UNPROCESSABLE_ENTITY => {
            let document = problem.problem();
            let field = document.field.as_deref().unwrap_or("note");
            let field = if field == "expires_in" { "expires_at" } else { field };
            let text = page.words.problem(&document);
            let whole = whole(&app, &page, &access, Some((field, &text))).await?;
            Ok((problem.code().status(), whole).into_response())
        }
        Err(problem) => Err(problem),
    }
}

impl Change {
    /// What the API is asked to change; what is as it was is left out.
    fn request(&self, access: &Access) -> Result<EditAccess, ApiError> {
        let invalid = |field, why| ApiError::new(Code::InvalidRequest, why).field(field);
        let end = moment(&self.until, &self.zone);
        let end = end.ok_or_else(|| invalid("expires_at", "write the date and the time at which it ends"))?;
        let shown_end = self.was_until.as_deref().and_then(|until| moment(until, "0"));
        let same_end = end.timestamp() / 60 == shown_end.unwrap_or(access.expires_at).timestamp() / 60;
        let allowed = networks(&self.from);
        let shown_from = self.was_from.clone().unwrap_or_else(|| pieces::networks(&access.allowed_ips));
        let login = written(&self.login).filter(|login| self.was_login.as_deref() != Some(login));
        let login = login.map(str::parse).transpose();
        let note = self.note.replace("\r\n", "\n");
        let shown_note =
            self.was_note.as_ref().map_or_else(|| access.note.clone(), |was| was.replace("\r\n", "\n"));
        Ok(EditAccess {
            allowed_ips: (pieces::networks(&allowed) != shown_from).then_some(allowed),
            allow_any: !self.any.is_empty(),
            expires_at: (!same_end).then_some(end),
            public_key: written(&self.key).map(str::to_owned),
            login: login.map_err(|_| invalid("login", "this is no user name"))?,
            note: (note != shown_note).then_some(note),
            ..EditAccess::default()
        })
    }
}
