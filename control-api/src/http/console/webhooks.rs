//! The account's webhooks, for its owners: whom the control API calls, and whether the calls arrive.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use postern_protocol::api::{
    CreateWebhook, Delivery, DeliveryStatus, NewWebhook, Webhook, WebhookEvent, WebhookStatus,
};
use serde::Deserialize;

use super::form::Form;
use super::live::{self, Pieces};
use super::page::{Page, Section};
use super::pieces::Bin;
use super::words::Words;
use super::{moments, pieces};
use crate::http::auth::Owner;
use crate::http::error::{ApiError, Code};
use crate::http::{Shared, webhooks};

/// Where the page is.
pub(super) const HERE: &str = "/console/webhooks";

/// The fields of a webhook: its address, and one for each event that is chosen.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Fields {
    pub(super) url: String,
    #[serde(flatten)]
    events: BTreeMap<String, String>,
}

impl Fields {
    /// As they are filled in to begin with.
    pub(super) fn new(url: &str, events: &[WebhookEvent]) -> Self {
        let events = events.iter().map(|event| (word(*event), String::new())).collect();
        Self { url: url.to_owned(), events }
    }

    /// Everything is chosen, until somebody takes away what they do not want.
    fn blank() -> Self {
        Self::new("", &WebhookEvent::ALL)
    }

    /// The events that are chosen.
    pub(super) fn chosen(&self) -> Vec<WebhookEvent> {
        WebhookEvent::ALL.into_iter().filter(|event| self.events.contains_key(&word(*event))).collect()
    }

    /// The fields, with what is wrong with one of them.
    pub(super) fn show(&self, wrong: Option<(&str, &str)>, words: &Words) -> Markup {
        let chosen = self.chosen();
        html! {
            label for="url" { (words.webhook_url) }
            input id="url" name="url" value=(self.url) required maxlength="2048" autocomplete="off"
                autocapitalize="none" spellcheck="false" inputmode="url" placeholder="https://example.com/hook"
                aria-invalid=[wrong.filter(|(of, _)| *of == "url").map(|_| "true")]
                aria-describedby="url-wrong";
            (pieces::complaint("url", wrong))
            fieldset aria-describedby="events-wrong" {
                legend { (words.events) }
                @for event in WebhookEvent::ALL {
                    label.check {
                        input type="checkbox" name=(word(event)) checked[chosen.contains(&event)];
                        " " code { (word(event)) }
                    }
                }
                (pieces::complaint("events", wrong))
            }
        }
    }
}

/// The webhooks.
pub(super) async fn list(page: Page<Owner>) -> Result<Markup, ApiError> {
    whole(&page, &Fields::blank(), None, None).await
}

/// The same as calls arrive or do not.
pub(super) async fn live(page: Page<Owner>, State(app): State<Shared>) -> Result<Response, ApiError> {
    live::stream(app, page, move |_: Shared, page: Arc<Page<Owner>>| async move { drawn(&page).await }).await
}

/// Adds a webhook, and shows its secret, which is shown this once.
pub(super) async fn add(
    page: Page<Owner>,
    State(app): State<Shared>,
    Form(form): Form<Fields>,
) -> Result<Response, ApiError> {
    let events = form.chosen();
    if events.is_empty() {
        let wrong = Some(("events", page.words.choose_events));
        let whole = whole(&page, &form, wrong, None).await?;
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, whole).into_response());
    }
    let request = CreateWebhook { url: form.url.trim().to_owned(), events: Some(events) };
    match webhooks::add(&app, &page.caller, request).await {
        Ok(made) => Ok(whole(&page, &Fields::blank(), None, Some(&made)).await?.into_response()),
        Err(problem) if matches!(problem.code(), Code::InvalidTarget | Code::TooManyWebhooks) => {
            let wrong = page.words.problem(&problem.problem());
            let whole = whole(&page, &form, Some(("url", &wrong)), None).await?;
            Ok((problem.code().status(), whole).into_response())
        }
        Err(problem) => Err(problem),
    }
}

async fn drawn(page: &Page<Owner>) -> Result<Pieces, ApiError> {
    let (words, account) = (page.words, &page.caller.account);
    let mut shown: Vec<(Webhook, Option<Delivery>)> = Vec::new();
    for webhook in account.webhooks().await? {
        let last = account.last_tried(webhook.id).await?;
        shown.push((webhook.into(), last));
    }
    let list = html! {
        div id="webhooks" {
            @if shown.is_empty() { p.card.empty { (words.no_webhooks) } }
            @else {
                ul.accesses { @for (webhook, last) in &shown { (item(webhook, last.as_ref(), words)) } }
            }
        }
    };
    Ok(vec![("webhooks".to_owned(), list)])
}

async fn whole(
    page: &Page<Owner>,
    form: &Fields,
    wrong: Option<(&str, &str)>,
    made: Option<&NewWebhook>,
) -> Result<Markup, ApiError> {
    let words = page.words;
    let pieces = drawn(page).await?;
    let content = html! {
        h1 { (words.webhooks) }
        p { (words.webhooks_what) }
        @if let Some(made) = made {
            section.card role="status" {
                h2 { (words.fill(words.webhook_secret, &[&made.about.url])) }
                (pieces::copy(words, "secret", made.secret.reveal()))
                p.hint { (words.webhook_secret_once) }
            }
        }
        div.beside {
            @for (_, piece) in &pieces { (piece) }
            section.card { h2 { (words.add_webhook) } (ask(form, wrong, words)) }
        }
    };
    Ok(page.show(words.webhooks, Section::Webhooks, Some("/console/webhooks/live"), &content))
}

fn ask(form: &Fields, wrong: Option<(&str, &str)>, words: &Words) -> Markup {
    html! {
        form method="post" action=(HERE) {
            (form.show(wrong, words))
            button { (words.add_webhook) }
        }
    }
}

fn item(webhook: &Webhook, last: Option<&Delivery>, words: &Words) -> Markup {
    html! {
        li.card id={ "webhook-" (webhook.id) } {
            div.head {
                h2 { a href={ (HERE) "/" (webhook.id) } { (webhook.url) } }
                p.status { (state(webhook, last, words)) }
            }
            (facts(webhook, last, words))
            (actions(webhook, words))
        }
    }
}

/// Whether a webhook is called, and its calls arrive.
pub(super) fn state(webhook: &Webhook, last: Option<&Delivery>, words: &Words) -> Markup {
    let retried = last.is_some_and(|last| last.status == DeliveryStatus::Pending);
    let (class, text) = match webhook.status {
        WebhookStatus::Disabled => ("idle", words.not_called),
        WebhookStatus::Failing => ("bad", words.calls_given_up),
        WebhookStatus::Active if retried => ("wait", words.calls_tried_again),
        WebhookStatus::Active => ("good", words.calls_arrive),
    };
    html! {
        span.state.(class) { (text) }
        @if let Some(since) = webhook.failing_since { " " small { (words.since) " " (moments::at(since)) } }
    }
}

/// What a webhook is called for, and what became of the last call.
pub(super) fn facts(webhook: &Webhook, last: Option<&Delivery>, words: &Words) -> Markup {
    html! {
        dl.facts {
            @if let Some(last) = last { div.wide { dt { (words.last_call) } dd { (became(last, words)) } } }
            div.wide { dt { (words.events) } dd {
                @for event in &webhook.events { code { (word(*event)) } " " }
            } }
            div { dt { (words.created) } dd { (moments::at(webhook.created_at)) } }
        }
    }
}

/// What can be done with a webhook besides editing it.
pub(super) fn actions(webhook: &Webhook, words: &Words) -> Markup {
    let paused = webhook.status == WebhookStatus::Disabled;
    let here = format!("{HERE}/{}", webhook.id);
    html! {
        div.actions {
            @if paused {
                (act(&format!("{here}/resume"), words.call_again, "", &webhook.url))
            } @else {
                (act(&format!("{here}/test"), words.send_a_test, "", &webhook.url))
                (act(&format!("{here}/pause"), words.pause_calls, words.pause_calls_why, &webhook.url))
            }
            (Bin {
                id: &format!("bin-{}", webhook.id), verb: words.delete, what: &webhook.url,
                to: &format!("{here}/delete"), why: words.delete_webhook_why,
            }.show(words))
        }
    }
}

fn act(to: &str, verb: &str, why: &str, what: &str) -> Markup {
    html! {
        form.inline method="post" action=(to) {
            button.quiet title=[Some(why).filter(|why| !why.is_empty())] { (verb) span.hidden { " " (what) } }
        }
    }
}

/// What became of a call, and why it did not arrive.
fn became(call: &Delivery, words: &Words) -> Markup {
    let (text, at) = match call.status {
        DeliveryStatus::Delivered => (words.call_arrived, call.settled_at),
        DeliveryStatus::Failed => (words.call_given_up, call.settled_at),
        DeliveryStatus::Pending => (words.call_next, call.next_attempt_at),
    };
    html! {
        code { (word(call.event)) } " " (text) @if let Some(at) = at { " " (moments::at(at)) }
        @if let Some(problem) = &call.problem { ": " span.wrong lang="en" { (problem) } }
    }
}

/// An event by the word that calls name it by, in every language.
pub(super) fn word(event: WebhookEvent) -> String {
    let word = serde_json::to_value(event).ok();
    word.as_ref().and_then(|word| word.as_str()).unwrap_or_default().to_owned()
}
