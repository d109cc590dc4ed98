//! The relays of the installation, for its admins.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use postern_protocol::api::{CreateRelay, NewRelay, Relay};
use serde::Deserialize;

use super::form::Form;
use super::live::{self, Pieces};
use super::page::{Page, Section};
use super::pieces::Bin;
use super::words::Words;
use super::{moments, pieces};
use crate::http::auth::Admin;
use crate::http::error::{ApiError, Code};
use crate::http::extract::{Json, Path};
use crate::http::{App, Shared, relays};

/// The form for a new relay.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NewOne {
    name: String,
}

/// The relays.
pub(super) async fn list(page: Page<Admin>, State(app): State<Shared>) -> Result<Markup, ApiError> {
    whole(&app, &page, "", None, None).await
}

/// The same as it changes.
pub(super) async fn live(page: Page<Admin>, State(app): State<Shared>) -> Result<Response, ApiError> {
    live::stream(
        app,
        page,
        move |app: Shared, page: Arc<Page<Admin>>| async move { drawn(&app, &page).await },
    )
    .await
}

/// Registers a relay, and shows its token, which is shown this once.
pub(super) async fn add(
    page: Page<Admin>,
    State(app): State<Shared>,
    Form(form): Form<NewOne>,
) -> Result<Response, ApiError> {
    let name = form.name.trim().to_owned();
    let request = Json(CreateRelay { name: name.clone() });
    match relays::create(Admin(page.caller.clone()), State(app.clone()), request).await {
        Ok((_, made)) => Ok(whole(&app, &page, "", None, Some((&name, &made.0))).await?.into_response()),
        Err(problem) if matches!(problem.code(), Code::InvalidName | Code::NameTaken) => {
            let wrong = page.words.problem(&problem.problem());
            let whole = whole(&app, &page, &name, Some(&wrong), None).await?;
            Ok((problem.code().status(), whole).into_response())
        }
        Err(problem) => Err(problem),
    }
}

/// Forgets a relay.
pub(super) async fn delete(
    page: Page<Admin>,
    State(app): State<Shared>,
    Path(relay): Path<String>,
) -> Result<Redirect, ApiError> {
    relays::delete(Admin(page.caller), State(app), Path(relay)).await?;
    Ok(Redirect::to("/console/relays"))
}

async fn drawn(app: &App, page: &Page<Admin>) -> Result<Pieces, ApiError> {
    let (words, now) = (page.words, app.clock.now());
    let relays = relays::all(app, &page.caller).await?;
    let list = html! {
        div id="relays" {
            @if relays.is_empty() { p.card.empty { (words.no_relays) } }
            ul.accesses { @for relay in &relays { (item(relay, words, now)) } }
        }
    };
    Ok(vec![("relays".to_owned(), list)])
}

async fn whole(
    app: &App,
    page: &Page<Admin>,
    name: &str,
    wrong: Option<&str>,
    made: Option<(&str, &NewRelay)>,
) -> Result<Markup, ApiError> {
    let words = page.words;
    let pieces = drawn(app, page).await?;
    let content = html! {
        h1 { (words.relays) }
        p { (words.relays_what) }
        @if let Some((name, made)) = made {
            section.card role="status" {
                h2 { (words.fill(words.relay_token, &[name])) }
                (pieces::copy(words, "token", made.token.reveal()))
                p.hint { (words.relay_token_once) }
            }
        }
        div.beside {
            @for (_, piece) in &pieces { (piece) }
            section.card {
                h2 { (words.add_relay) }
                form method="post" action="/console/relays" {
                    label for="name" { (words.relay_name) }
                    input id="name" name="name" value=(name) required maxlength="63" autocomplete="off"
                        autocapitalize="none" spellcheck="false" aria-invalid=[wrong.map(|_| "true")]
                        aria-describedby="name-wrong";
                    (pieces::complaint("name", wrong.map(|wrong| ("name", wrong))))
                    button { (words.add_relay) }
                }
            }
        }
    };
    Ok(page.show(words.relays, Section::Relays, Some("/console/relays/live"), &content))
}

fn item(relay: &Relay, words: &Words, now: chrono::DateTime<chrono::Utc>) -> Markup {
    let (class, text) = match (relay.connected, relay.last_seen) {
        (true, _) => ("good", words.relay_up),
        (false, Some(_)) => ("bad", words.relay_down),
        (false, None) => ("wait", words.relay_never),
    };
    html! {
        li.card id={ "relay-" (relay.id) } {
            div.head {
                h2 { (relay.name) }
                p.status { span.state.(class) { (text) }
                    @if let Some(seen) = relay.last_seen.filter(|_| !relay.connected) {
                        " " small { (words.last_seen) " " (moments::ago(seen, now, words)) }
                    }
                }
            }
            dl.facts {
                div { dt { (words.boxes) } dd { (relay.boxes) } }
                div { dt { (words.rules_in_force) } dd {
                    @if relay.revision_in_force == relay.revision { (words.rules_all) }
                    @else { (words.fill(words.rules_behind, &[&relay.revision_in_force.to_string(), &relay.revision.to_string()])) }
                } }
                @if let Some(version) = &relay.version { div { dt { (words.version) } dd { (version) } } }
                @if let Some(gate) = &relay.gate {
                    div { dt { (words.gate) } dd { (gate.host) ":" (gate.port) } }
                }
                @if let Some(web) = &relay.web { div { dt { (words.links) } dd { (web.url("…")) } } }
                @if let Some(ports) = &relay.ports { div { dt { (words.public_ports) } dd { (ports) } } }
            }
            div.actions {
                (Bin {
                    id: &format!("bin-{}", relay.id), verb: words.delete, what: &relay.name,
                    to: &format!("/console/relays/{}/delete", relay.id), why: words.delete_relay_why,
                }.show(words))
            }
        }
    }
}
