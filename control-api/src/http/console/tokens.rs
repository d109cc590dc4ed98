//! The account's API tokens, for its owners.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use postern_protocol::api::{CreateToken, NewToken, Token};
use serde::Deserialize;

use super::form::{Form, written};
use super::grant::networks as list_of;
use super::page::{Page, Section};
use super::people::{role, roles};
use super::pieces::Bin;
use super::words::Words;
use super::{moments, pieces};
use crate::http::auth::Owner;
use crate::http::error::{ApiError, Code};
use crate::http::extract::{Json, Path};
use crate::http::{Shared, tokens};

/// How long a token works, to choose from; the last for ever.
const LASTS: [&str; 4] = ["30d", "90d", "365d", ""];

/// The form for a new token.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NewOne {
    name: String,
    role: String,
    ends: String,
    boxes: String,
}

/// The tokens.
pub(super) async fn list(page: Page<Owner>) -> Result<Markup, ApiError> {
    whole(&page, &NewOne::default(), None, None).await
}

/// Makes a token, and shows its secret, which is shown this once.
pub(super) async fn add(
    page: Page<Owner>,
    State(app): State<Shared>,
    Form(form): Form<NewOne>,
) -> Result<Response, ApiError> {
    let boxes = list_of(&form.boxes);
    let request = CreateToken {
        name: form.name.trim().to_owned(),
        role: Some(role(&form.role)?),
        admin: false,
        expires_at: None,
        expires_in: written(&form.ends).map(str::to_owned),
        devices: (!boxes.is_empty()).then_some(boxes),
    };
    match tokens::create(Owner(page.caller.clone()), State(app), Json(request)).await {
        Ok((_, made)) => Ok(whole(&page, &NewOne::default(), None, Some(&made.0)).await?.into_response()),
        Err(problem)
            if matches!(problem.code(), Code::InvalidName | Code::InvalidRole | Code::DeviceNotFound) =>
        {
            let wrong = page.words.problem(&problem.problem());
            Ok((problem.code().status(), whole(&page, &form, Some(&wrong), None).await?).into_response())
        }
        Err(problem) => Err(problem),
    }
}

/// Removes a token.
pub(super) async fn delete(page: Page<Owner>, Path(token): Path<String>) -> Result<Redirect, ApiError> {
    tokens::delete(Owner(page.caller), Path(token)).await?;
    Ok(Redirect::to("/console/tokens"))
}

async fn whole(
    page: &Page<Owner>,
    form: &NewOne,
    wrong: Option<&str>,
    made: Option<&NewToken>,
) -> Result<Markup, ApiError> {
    let words = page.words;
    let tokens: Vec<Token> = page.caller.account.tokens().await?.into_iter().map(Token::from).collect();
    let content = html! {
        h1 { (words.tokens) }
        p { (words.tokens_what) }
        @if let Some(made) = made {
            section.card role="status" {
                h2 { (words.fill(words.token_made, &[&made.about.name])) }
                (pieces::copy(words, "token", made.token.reveal()))
                p.hint { (words.token_once) }
            }
        }
        div.beside {
            @if tokens.is_empty() { p.card.empty { (words.no_tokens) } }
            @else { ul.accesses { @for token in &tokens { (item(token, words)) } } }
            section.card {
                h2 { (words.add_token) }
                form method="post" action="/console/tokens" {
                    @if let Some(wrong) = wrong { p.wrong id="wrong" role="alert" { (wrong) } }
                    label for="name" { (words.token_name) }
                    input id="name" name="name" value=(form.name) required maxlength="63" autocomplete="off"
                        autocapitalize="none" spellcheck="false" aria-describedby=[wrong.map(|_| "wrong")];
                    label for="role" { (words.role) }
                    (roles("role", &form.role, words))
                    label for="ends" { (words.ends) }
                    select id="ends" name="ends" {
                        @for choice in LASTS {
                            option value=(choice) selected[form.ends == choice] {
                                @match choice.strip_suffix('d') {
                                    Some(days) => { (days) " " (words.days) } None => { (words.never) }
                                }
                            }
                        }
                    }
                    label for="boxes" { (words.only_these_boxes) " " small { (words.optional) } }
                    input id="boxes" name="boxes" value=(form.boxes) autocapitalize="none" spellcheck="false";
                    button { (words.add_token) }
                }
            }
        }
    };
    Ok(page.show(words.tokens, Section::Tokens, None, &content))
}

fn item(token: &Token, words: &Words) -> Markup {
    html! {
        li.card id={ "token-" (token.id) } {
            div.head { h2 { (token.name) } p.status { span.state.idle { (words.role_short(token.role)) } } }
            dl.facts {
                div { dt { (words.created) } dd { (moments::at(token.created_at)) } }
                div { dt { (words.ends) } dd {
                    @match token.expires_at { Some(end) => { (moments::at(end)) } None => { (words.never) } }
                } }
                @if let Some(devices) = &token.devices { div { dt { (words.boxes) } dd { (devices.len()) } } }
            }
            div.actions {
                (Bin {
                    id: &format!("bin-{}", token.id), verb: words.delete, what: &token.name,
                    to: &format!("/console/tokens/{}/delete", token.id), why: words.delete_token_why,
                }.show(words))
            }
        }
    }
}
