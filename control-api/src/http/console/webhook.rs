//! One webhook: what it is called for, how to change that, and what became of each call.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use postern_protocol::api::{Delivery, DeliveryStatus, EditWebhook, Webhook};
use serde::Deserialize;

use super::form::Form;
use super::live::{self, Pieces};
use super::moments;
use super::page::{Page, Section};
use super::webhooks::{Fields, HERE, actions, facts, state, word};
use super::words::Words;
use crate::http::auth::Owner;
use crate::http::error::{ApiError, Code};
use crate::http::extract::{Path, Query};
use crate::http::paging::{Cursor, Wanted};
use crate::http::{Shared, webhooks};
use crate::record::Seen;

/// Where the list of calls goes on.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Place {
    cursor: Option<String>,
}

/// A webhook.
pub(super) async fn show(
    page: Page<Owner>,
    Path(webhook): Path<String>,
    Query(place): Query<Place>,
) -> Result<Markup, ApiError> {
    let shown = look(&page, &webhook).await?;
    whole(&page, &shown, place.cursor.as_deref(), &Fields::new(&shown.url, &shown.events), None).await
}

/// The same as calls arrive or do not.
pub(super) async fn live(
    page: Page<Owner>,
    State(app): State<Shared>,
    Path(webhook): Path<String>,
) -> Result<Response, ApiError> {
    live::stream(app, page, move |_: Shared, page: Arc<Page<Owner>>| {
        let webhook = webhook.clone();
        async move { drawn(&page, &look(&page, &webhook).await?, None).await }
    })
    .await
}

/// Changes the address and the events, or says what is wrong with them.
pub(super) async fn edit(
    page: Page<Owner>,
    State(app): State<Shared>,
    Path(webhook): Path<String>,
    Form(form): Form<Fields>,
) -> Result<Response, ApiError> {
    let shown = look(&page, &webhook).await?;
    let edited = match form.chosen() {
        none if none.is_empty() => {
            Err(ApiError::new(Code::InvalidRequest, page.words.choose_events).field("events"))
        }
        events => {
            let url = Some(form.url.trim()).filter(|url| *url != shown.url).map(str::to_owned);
            let change = EditWebhook { url, events: Some(events), enabled: None };
            webhooks::change(&app, &page.caller, &webhook, change, &Seen::Any).await
        }
    };
    match edited {
        Ok(_) => Ok(Redirect::to(&address(&shown)).into_response()),
        Err(problem) if problem.code() == Code::InvalidTarget => {
            let wrong = page.words.problem(&problem.problem());
            let whole = whole(&page, &shown, None, &form, Some(("url", &wrong))).await?;
            Ok((problem.code().status(), whole).into_response())
        }
        Err(problem) if problem.code() == Code::InvalidRequest => {
            let wrong = Some(("events", page.words.choose_events));
            let whole = whole(&page, &shown, None, &form, wrong).await?;
            Ok((problem.code().status(), whole).into_response())
        }
        Err(problem) => Err(problem),
    }
}

/// Calls it no more, until somebody resumes it.
pub(super) async fn pause(
    page: Page<Owner>,
    State(app): State<Shared>,
    Path(webhook): Path<String>,
) -> Result<Redirect, ApiError> {
    call(&page, &app, &webhook, false).await
}

/// Calls it again.
pub(super) async fn resume(
    page: Page<Owner>,
    State(app): State<Shared>,
    Path(webhook): Path<String>,
) -> Result<Redirect, ApiError> {
    call(&page, &app, &webhook, true).await
}

async fn call(page: &Page<Owner>, app: &Shared, webhook: &str, enabled: bool) -> Result<Redirect, ApiError> {
    let change = EditWebhook { enabled: Some(enabled), ..EditWebhook::default() };
    let changed = webhooks::change(app, &page.caller, webhook, change, &Seen::Any).await?;
    Ok(Redirect::to(&address(&changed.into())))
}

/// Calls it to try it; what becomes of that is shown as it does.
pub(super) async fn test(page: Page<Owner>, Path(webhook): Path<String>) -> Result<Redirect, ApiError> {
    let shown = look(&page, &webhook).await?;
    let _queued = webhooks::test(Owner(page.caller), Path(webhook)).await?;
    Ok(Redirect::to(&address(&shown)))
}

/// Removes it.
pub(super) async fn delete(page: Page<Owner>, Path(webhook): Path<String>) -> Result<Redirect, ApiError> {
    webhooks::delete(Owner(page.caller), Path(webhook)).await?;
    Ok(Redirect::to(HERE))
}

fn address(webhook: &Webhook) -> String {
    format!("{HERE}/{}", webhook.id)
}

async fn look(page: &Page<Owner>, webhook: &str) -> Result<Webhook, ApiError> {
    Ok(webhooks::find(&page.caller, webhooks::known(webhook)?).await?.into())
}

async fn drawn(page: &Page<Owner>, webhook: &Webhook, cursor: Option<&str>) -> Result<Pieces, ApiError> {
    let (words, account) = (page.words, &page.caller.account);
    let last = account.last_tried(webhook.id).await?;
    let wanted = Wanted::new(None, cursor)?;
    let found = account.deliveries(webhook.id, wanted.paging()).await?.ok_or_else(webhooks::not_found)?;
    let calls = wanted.page(found, |delivery| Cursor::new(delivery.occurred_at, delivery.id));
    let about = html! {
        section id="webhook" {
            div.head.title { h1 { (webhook.url) } p.status { (state(webhook, last.as_ref(), words)) } }
            (facts(webhook, last.as_ref(), words))
            (actions(webhook, words))
        }
    };
    let history = html! {
        section id="calls" {
            h2 { (words.calls) }
            @if calls.items.is_empty() { p.card.empty { (words.no_calls) } } @else { (table(&calls.items, words)) }
            @if let Some(next) = &calls.next {
                p.more { a.button href={ (address(webhook)) "?cursor=" (next) "#calls" } { (words.more) } }
            }
        }
    };
    Ok(vec![("webhook".to_owned(), about), ("calls".to_owned(), history)])
}

/// The whole page, with a form that may be filled in already. Further pages of calls stay as they are.
async fn whole(
    page: &Page<Owner>,
    webhook: &Webhook,
    cursor: Option<&str>,
    form: &Fields,
    wrong: Option<(&str, &str)>,
) -> Result<Markup, ApiError> {
    let words = page.words;
    let pieces = drawn(page, webhook, cursor).await?;
    let content = html! {
        p.path { a href=(HERE) { (words.webhooks) } " / " }
        @for (_, piece) in pieces.iter().take(1) { (piece) }
        details.card id="change" open[wrong.is_some()] {
            summary { (words.change) }
            form method="post" action=(address(webhook)) {
                (form.show(wrong, words))
                button { (words.save) }
            }
        }
        @for (_, piece) in pieces.iter().skip(1) { (piece) }
    };
    let live = format!("{}/live", address(webhook));
    Ok(page.show(&webhook.url, Section::Webhooks, cursor.is_none().then_some(&live), &content))
}

fn table(calls: &[Delivery], words: &Words) -> Markup {
    html! {
        div.scroll { table {
            caption.hidden { (words.calls) }
            thead { tr {
                th scope="col" { (words.when) } th scope="col" { (words.event) } th scope="col" { (words.what_became) }
                th.number scope="col" { (words.attempts) }
            } }
            tbody { @for call in calls { (row(call, words)) } }
        } }
    }
}

fn row(call: &Delivery, words: &Words) -> Markup {
    let (class, text) = match call.status {
        DeliveryStatus::Delivered => ("good", words.call_arrived),
        DeliveryStatus::Failed => ("bad", words.call_given_up),
        DeliveryStatus::Pending => ("wait", words.waits),
    };
    html! {
        tr {
            th scope="row" { (moments::at(call.occurred_at)) }
            td data-label=(words.event) { code { (word(call.event)) } }
            td data-label=(words.what_became) {
                span { span.state.(class) { (text) }
                    @if let Some(problem) = &call.problem { " " small lang="en" { (problem) } }
                    @if let Some(next) = call.next_attempt_at.filter(|_| call.attempts > 0) {
                        " " small { "· " (words.call_next) " " (moments::at(next)) }
                    }
                }
            }
            td.number data-label=(words.attempts) { (call.attempts) }
        }
    }
}
