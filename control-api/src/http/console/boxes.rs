//! The boxes, and adding one.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use postern_protocol::api::{CreateDevice, Device, DeviceStatus, Page as List};
use serde::Deserialize;

use super::form::{Form, written};
use super::live::{self, Pieces};
use super::page::{Page, Section};
use super::words::Words;
use super::{device, moments, pieces};
use crate::http::auth::Operator;
use crate::http::devices;
use crate::http::error::{ApiError, Code};
use crate::http::extract::Query;
use crate::http::paging::{Cursor, Wanted};
use crate::http::{App, Shared};
use crate::store::{DAYS, DeviceActivity};

/// Boxes on a page.
const AT_ONCE: u32 = 100;

/// Where a list goes on.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Place {
    cursor: Option<String>,
}

/// The boxes, the newest first.
pub(super) async fn list(
    page: Page,
    State(app): State<Shared>,
    Query(place): Query<Place>,
) -> Result<Markup, ApiError> {
    let words = page.words;
    let pieces = drawn(&app, &page, &place).await?;
    let live = match &place.cursor {
        Some(cursor) => format!("/console/live?cursor={cursor}"),
        None => "/console/live".to_owned(),
    };
    let content = html! {
        div.head.title {
            h1 { (words.boxes) }
            @if page.operates() { a.button href="/console/boxes/new" { (words.add_a_box) } }
        }
        @for (_, piece) in &pieces { (piece) }
    };
    Ok(page.show(words.boxes, Section::Boxes, Some(&live), &content))
}

/// The same as it changes.
pub(super) async fn live(
    page: Page,
    State(app): State<Shared>,
    Query(place): Query<Place>,
) -> Result<Response, ApiError> {
    live::stream(app, page, move |app: Shared, page: Arc<Page>| {
        let place = place.clone();
        async move { drawn(&app, &page, &place).await }
    })
    .await
}

async fn drawn(app: &App, page: &Page, place: &Place) -> Result<Pieces, ApiError> {
    let now = app.clock.now();
    let account = &page.caller.account;
    let wanted = Wanted::new(Some(AT_ONCE), place.cursor.as_deref())?;
    let found = account.devices(wanted.paging(), now).await?;
    let found = wanted.page(found, |device| Cursor::new(device.created_at, device.id));
    let ids: Vec<_> = found.items.iter().map(|device| device.id).collect();
    let activity = account.activity(&ids, now).await?;
    let rows = found
        .items
        .iter()
        .map(|device| (devices::view(device, now), activity.get(&device.id).copied().unwrap_or_default()));
    let list = List { items: rows.collect(), next: found.next };
    Ok(vec![("boxes".to_owned(), table(&list, place, page, now))])
}

fn table(list: &List<(Device, DeviceActivity)>, place: &Place, page: &Page, now: DateTime<Utc>) -> Markup {
    let words = page.words;
    html! {
        div id="boxes" {
            @if list.items.is_empty() && place.cursor.is_none() {
                (nothing_yet(page))
            } @else {
                div.scroll { table {
                    caption.hidden { (words.boxes) }
                    thead { tr {
                        th scope="col" { (words.name) } th scope="col" { (words.state) }
                        th scope="col" { (words.address) } th scope="col" { (words.agent) }
                        th scope="col" { (words.ssh_server) } th.number scope="col" { (words.visits_now) }
                        th scope="col" { (words.fill(words.last_days, &[&DAYS.to_string()])) }
                    } }
                    tbody { @for (device, activity) in &list.items { (row(device, activity, words, now)) } }
                } }
                @if let Some(next) = &list.next {
                    p.more { a.button href={ "/console?cursor=" (next) } { (words.more) } }
                }
            }
        }
    }
}

fn row(device: &Device, activity: &DeviceActivity, words: &Words, now: DateTime<Utc>) -> Markup {
    let facts = device.facts.as_ref();
    html! {
        tr {
            th scope="row" { a href={ "/console/boxes/" (device.id) } { (device.name) } }
            td data-label=(words.state) { span { (pieces::device_state(device, now, words)) } }
            td.none[device.address.is_none()] data-label=(words.address) { (device.address.as_deref().unwrap_or("–")) }
            td.none[facts.is_none()] data-label=(words.agent) { (facts.map_or("–", |facts| &facts.agent_version)) }
            td.none[facts.is_none()] data-label=(words.ssh_server) {
                (facts.map_or_else(|| "–".to_owned(), |facts| pieces::ssh_server(facts, words)))
            }
            td.number.none[activity.open == 0] data-label=(words.visits_now) { (activity.open) }
            td data-label=(words.fill(words.last_days, &[&DAYS.to_string()])) {
                (pieces::sparkline(&activity.days, words))
            }
        }
    }
}

fn nothing_yet(page: &Page) -> Markup {
    let words = page.words;
    html! {
        section.card.empty {
            h2 { (words.no_boxes) }
            p { (words.no_boxes_why) }
            @if page.operates() { a.button href="/console/boxes/new" { (words.add_a_box) } }
            @else { p.muted { (words.ask_an_operator) } }
        }
    }
}

/// What a new box is to be called.
#[derive(Debug, Deserialize)]
pub(super) struct NewBox {
    #[serde(default)]
    name: String,
}

/// Asks for a box's name.
pub(super) async fn ask(page: Page<Operator>) -> Markup {
    naming(&page, "", None)
}

/// Adds a box, and shows the line to run on it, which is shown this once.
pub(super) async fn add(
    page: Page<Operator>,
    State(app): State<Shared>,
    Form(form): Form<NewBox>,
) -> Result<Response, ApiError> {
    let words = page.words;
    let name = match written(&form.name).unwrap_or("").parse() {
        Ok(name) => name,
        Err(_) => {
            let page = naming(&page, &form.name, Some(words.bad_box_name));
            return Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response());
        }
    };
    match devices::add(&app, &page.caller, CreateDevice { name }).await {
        Ok(device) => Ok(device::joining(&page, &device, app.clock.now()).into_response()),
        Err(problem) if problem.code() == Code::NameTaken || problem.code() == Code::NoRelay => {
            let wrong = words.problem(&problem.problem());
            Ok((problem.code().status(), naming(&page, &form.name, Some(&wrong))).into_response())
        }
        Err(problem) => Err(problem),
    }
}

fn naming(page: &Page<Operator>, name: &str, wrong: Option<&str>) -> Markup {
    let words = page.words;
    let content = html! {
        section.card.narrow {
            h1 { (words.add_a_box) }
            p { (words.add_a_box_how) }
            form method="post" action="/console/boxes" {
                label for="name" { (words.box_name) }
                input id="name" name="name" value=(name) required autofocus autocomplete="off"
                    autocapitalize="none" spellcheck="false" maxlength="63"
                    aria-invalid=[wrong.map(|_| "true")] aria-describedby="name-hint name-wrong";
                p.hint id="name-hint" { (words.box_name_hint) }
                (pieces::complaint("name", wrong.map(|wrong| ("name", wrong))))
                button { (words.add_a_box) }
            }
        }
    };
    page.show(words.add_a_box, Section::Boxes, None, &content)
}

/// The line to run on a box, and whether that has happened.
pub(super) fn join_state(device: &Device, words: &Words, now: DateTime<Utc>) -> Markup {
    html! {
        section.card id="joined" aria-live="polite" {
            @if device.status == DeviceStatus::Online {
                p { span.state.good { (words.connected) } " "
                    (words.fill(words.box_is_connected, &[device.name.as_str()])) }
                p { a.button href={ "/console/boxes/" (device.id) } { (words.go_to_the_box) } }
            } @else if device.status == DeviceStatus::WaitingToJoin {
                p { span.state.wait { (words.waiting_to_join) } " " (words.waiting_for_line) }
            } @else {
                p { span.state.bad { (words.offline) } " " (moments::ago(device.since, now, words)) }
            }
        }
    }
}
