//! One's own password, and another in its place.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use postern_protocol::api::ChangePassword;
use postern_protocol::secret::Secret;
use serde::Deserialize;

use super::form::Form;
use super::page::{Page, Section};
use super::{pieces, sign_in};
use crate::http::Shared;
use crate::http::error::{ApiError, Code};
use crate::http::extract::Query;
use crate::http::session::{self, Visitor};
use crate::password::LENGTH;

/// Where this page is.
pub(super) const HERE: &str = "/console/password";

/// Where it says that it is done.
const DONE: &str = "/console/password?changed=yes";

/// The present password and the next.
#[derive(Deserialize)]
#[serde(default)]
pub(super) struct Passwords {
    current: Secret,
    new: Secret,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { current: Secret::from_text(""), new: Secret::from_text("") }
    }
}

/// Whether it was changed a moment ago.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Outcome {
    changed: Option<String>,
}

/// Asks for both.
pub(super) async fn ask(page: Page, Query(outcome): Query<Outcome>) -> Markup {
    whole(&page, outcome.changed.is_some(), None)
}

/// Puts the new one in place. Every other session of theirs ends.
pub(super) async fn replace(
    page: Page,
    visitor: Visitor,
    State(app): State<Shared>,
    Form(form): Form<Passwords>,
) -> Result<Response, ApiError> {
    let request = ChangePassword { current: form.current, new: form.new };
    match session::replace_password(&app, &visitor, &page.caller, request).await {
        Ok(begun) => Ok(([begun.cookie], Redirect::to(DONE)).into_response()),
        Err(problem) if sign_in::is_wrong(&problem) => {
            let told = page.words.problem(&problem.problem());
            let wrong = if problem.code() == Code::WrongCredentials {
                ("current", page.words.not_your_password)
            } else if problem.code() == Code::InvalidPassword {
                ("new", told.as_str())
            } else {
                ("current", told.as_str())
            };
            Ok(problem.told_on(whole(&page, false, Some(wrong)).into_response()))
        }
        Err(problem) => Err(problem),
    }
}

fn whole(page: &Page, changed: bool, wrong: Option<(&str, &str)>) -> Markup {
    let words = page.words;
    let content = html! {
        section.card.narrow {
            h1 { (words.your_password) }
            @if changed { p.note role="status" { (words.password_changed) } }
            form method="post" action=(HERE) {
                label for="current" { (words.present_password) }
                input id="current" name="current" type="password" required autocomplete="current-password"
                    aria-describedby="current-wrong";
                (pieces::complaint("current", wrong))
                label for="new" { (words.new_password) }
                input id="new" name="new" type="password" required autocomplete="new-password"
                    minlength=(LENGTH.start()) aria-describedby="new-hint new-wrong";
                p.hint id="new-hint" {
                    (words.fill(words.password_hint, &[&LENGTH.start().to_string(), &LENGTH.end().to_string()]))
                }
                (pieces::complaint("new", wrong))
                p.hint { (words.change_password_hint) }
                button { (words.change_password) }
            }
        }
    };
    page.show(words.your_password, Section::Password, None, &content)
}
