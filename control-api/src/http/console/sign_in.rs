//! Coming in: with a password, or by a link that lets one choose it; and going out.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use postern_protocol::api::SetUp;
use postern_protocol::secret::Secret;
use serde::Deserialize;

use super::form::{Form, local_path, written};
use super::language::Language;
use super::page::{Page, bare};
use super::{HOME, pieces};
use crate::author::Author;
use crate::http::error::{ApiError, Code};
use crate::http::extract::Query;
use crate::http::session::{self, Visitor};
use crate::http::{App, Shared};
use crate::password::LENGTH;

/// Where to go afterwards.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Next {
    next: Option<String>,
}

/// A name and a password.
#[derive(Deserialize)]
#[serde(default)]
pub(super) struct Credentials {
    name: String,
    password: Secret,
    next: String,
}

impl Default for Credentials {
    fn default() -> Self {
        Self { name: String::new(), password: Secret::from_text(""), next: String::new() }
    }
}

/// Asks who somebody is.
pub(super) async fn ask(
    page: Result<Page, ApiError>,
    language: Language,
    State(app): State<Shared>,
    Query(next): Query<Next>,
) -> Result<Response, ApiError> {
    let next = next.next.unwrap_or_default();
    if page.is_ok() {
        return Ok(Redirect::to(local_path(&next)).into_response());
    }
    let nobody_yet = !app.store.own_account(Author::machine(app.clock.now())).has_owner().await?;
    Ok(asking(&app, language, "", &next, None, nobody_yet).into_response())
}

/// Signs somebody in, or says that it did not work.
pub(super) async fn sign_in(
    visitor: Visitor,
    language: Language,
    State(app): State<Shared>,
    Form(form): Form<Credentials>,
) -> Result<Response, ApiError> {
    match session::sign_in(&app, &visitor, form.name.trim(), &form.password).await {
        Ok(begun) => Ok(([begun.cookie], Redirect::to(local_path(&form.next))).into_response()),
        Err(problem) if is_wrong(&problem) => {
            let why = language.words().problem(&problem.problem());
            let page = asking(&app, language, &form.name, &form.next, Some(&why), false);
            Ok(problem.told_on(page.into_response()))
        }
        Err(problem) => Err(problem),
    }
}

/// What the one who tries can do something about.
pub(super) fn is_wrong(problem: &ApiError) -> bool {
    let codes = [
        Code::WrongCredentials,
        Code::TooManyFailures,
        Code::Busy,
        Code::InvitationRefused,
        Code::InvalidName,
        Code::InvalidPassword,
        Code::NameTaken,
    ];
    codes.contains(&problem.code())
}

fn asking(
    app: &App,
    language: Language,
    name: &str,
    next: &str,
    wrong: Option<&str>,
    nobody_yet: bool,
) -> Markup {
    let words = language.words();
    let content = html! {
        section.card.narrow {
            h1 { (words.sign_in) }
            @if nobody_yet { p.note { (words.nobody_yet) " " code { "postern-api setup" } } }
            @if let Some(wrong) = wrong { p.wrong id="wrong" role="alert" { (wrong) } }
            form method="post" action="/console/sign-in" {
                input type="hidden" name="next" value=(local_path(next));
                label for="name" { (words.user_name) }
                input id="name" name="name" value=(name) required autocomplete="username" autocapitalize="none"
                    spellcheck="false" autofocus aria-describedby=[wrong.map(|_| "wrong")];
                label for="password" { (words.password) }
                input id="password" name="password" type="password" required autocomplete="current-password"
                    aria-describedby=[wrong.map(|_| "wrong")];
                button { (words.sign_in) }
            }
            @if let Some(provider) = &app.openid {
                p { a href="/v1/session/openid" { (words.sign_in_with) " " (provider.name()) } }
            }
        }
    };
    bare(words, words.sign_in, "/console/sign-in", &content)
}

/// Signs out.
pub(super) async fn sign_out(
    page: Page,
    State(app): State<Shared>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let cookie = session::sign_out(&app, &page.caller, &headers).await?;
    Ok(([cookie], Redirect::to("/console/sign-in")).into_response())
}

/// An invitation, accepted.
#[derive(Deserialize)]
#[serde(default)]
pub(super) struct Accepted {
    token: Secret,
    name: String,
    password: Secret,
}

impl Default for Accepted {
    fn default() -> Self {
        Self { token: Secret::from_text(""), name: String::new(), password: Secret::from_text("") }
    }
}

/// Asks whoever has a link to choose a password. What stands behind the link's `#` reaches no server by
/// itself: the script puts it into the form, or the reader does.
pub(super) async fn invitation(language: Language) -> Markup {
    choosing(language, "", None)
}

/// Accepts an invitation, and signs in.
pub(super) async fn set_up(
    visitor: Visitor,
    language: Language,
    State(app): State<Shared>,
    Form(form): Form<Accepted>,
) -> Result<Response, ApiError> {
    let words = language.words();
    let token = form.token.reveal();
    let token = Secret::from_text(token.rsplit('#').next().unwrap_or(token).trim());
    let name = match written(&form.name).map(str::parse).transpose() {
        Ok(name) => name,
        Err(_) => {
            let problem = ApiError::new(Code::InvalidName, words.bad_user_name).field("name");
            let page = choosing(language, &form.name, Some(&problem));
            return Ok(problem.told_on(page.into_response()));
        }
    };
    match session::accept(&app, &visitor, SetUp { token, name, password: form.password }).await {
        Ok(begun) => Ok(([begun.cookie], Redirect::to(HOME)).into_response()),
        Err(problem) if is_wrong(&problem) => {
            let page = choosing(language, &form.name, Some(&problem));
            Ok(problem.told_on(page.into_response()))
        }
        Err(problem) => Err(problem),
    }
}

fn choosing(language: Language, name: &str, problem: Option<&ApiError>) -> Markup {
    let words = language.words();
    let problem = problem.map(ApiError::problem);
    let text = problem.as_ref().map(|problem| words.problem(problem));
    let field = problem.as_ref().and_then(|problem| problem.field.as_deref()).unwrap_or("token");
    let wrong = text.as_deref().map(|text| (field, text));
    let content = html! {
        section.card.narrow {
            h1 { (words.welcome) }
            p { (words.welcome_what) }
            form method="post" action="/setup" data-invitation="/v1/invitation" {
                p id="invited" aria-live="polite" data-for=(words.invited_as) {}
                div id="token-field" {
                    label for="token" { (words.link) }
                    input id="token" name="token" required autocomplete="off" spellcheck="false"
                        aria-describedby="token-hint token-wrong";
                    p.hint id="token-hint" { (words.link_hint) }
                }
                (pieces::complaint("token", wrong))
                div id="name-field" {
                    label for="name" { (words.user_name) }
                    input id="name" name="name" value=(name) autocomplete="username" autocapitalize="none"
                        spellcheck="false" maxlength="64" aria-describedby="name-hint name-wrong";
                    p.hint id="name-hint" { (words.user_name_hint) }
                }
                (pieces::complaint("name", wrong))
                label for="password" { (words.password) }
                input id="password" name="password" type="password" required autocomplete="new-password"
                    minlength=(LENGTH.start()) aria-describedby="password-hint password-wrong";
                p.hint id="password-hint" {
                    (words.fill(words.password_hint, &[&LENGTH.start().to_string(), &LENGTH.end().to_string()]))
                }
                (pieces::complaint("password", wrong))
                button { (words.begin) }
            }
        }
    };
    bare(words, words.welcome, "/setup", &content)
}
