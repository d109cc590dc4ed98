//! Who is on a box, and who was there or was refused.

use axum::extract::State;
use axum::response::Redirect;
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use postern_protocol::api::{Visit, VisitOutcome};
use serde::Deserialize;

use super::moments;
use super::page::{Page, Section};
use super::words::Words;
use crate::http::auth::Operator;
use crate::http::error::ApiError;
use crate::http::extract::{Path, Query};
use crate::http::paging::{Cursor, Wanted};
use crate::http::{Shared, devices, visits};
use crate::store::VisitFilter;

/// Visits that go on, and how to end them.
pub(super) fn present(visits: &[Visit], may_cut: bool, words: &Words, now: DateTime<Utc>) -> Markup {
    html! {
        section id="present" {
            h2 { (words.visits_now) " (" (visits.len()) ")" }
            @if visits.is_empty() { p.muted { (words.nobody_there) } }
            @else {
                ul.accesses { @for visit in visits { li.card.visit {
                    span { strong { (visit.source) } " → " (reached(visit)) }
                    span { (moments::lasting(visit.started_at, now, words)) }
                    span.moved {
                        span title=(words.bytes_up) { "↑ " span.hidden { (words.bytes_up) " " } (moments::bytes(visit.bytes_up)) } " "
                        span title=(words.bytes_down) { "↓ " span.hidden { (words.bytes_down) " " } (moments::bytes(visit.bytes_down)) }
                    }
                    @if let Some(access) = visit.access {
                        span { a href={ "/console/accesses/" (access) } { code { (access) } } }
                    }
                    @if may_cut { (cut(visit, words)) }
                } } }
            }
        }
    }
}

/// Ends one visit. Its access stays, so this takes no confirmation.
fn cut(visit: &Visit, words: &Words) -> Markup {
    html! {
        form.inline method="post" action={ "/console/visits/" (visit.id) "/cut" } {
            button.quiet title=(words.cut_why) { (words.cut) span.hidden { " " (visit.id) } }
        }
    }
}

/// Ends one visit, and shows its box again.
pub(super) async fn cut_off(
    page: Page<Operator>,
    State(app): State<Shared>,
    Path(visit): Path<String>,
) -> Result<Redirect, ApiError> {
    let found = page.caller.account.visit(visit.parse().map_err(|_| visits::not_found())?).await?;
    visits::cut_off(&app, &page.caller, &visit).await?;
    let device = found.and_then(|visit| visit.device);
    Ok(Redirect::to(&device.map_or(super::HOME.to_owned(), |id| format!("/console/boxes/{id}#present"))))
}

fn reached(visit: &Visit) -> String {
    match visit.port {
        Some(22) => "SSH".to_owned(),
        Some(port) => port.to_string(),
        None => "–".to_owned(),
    }
}

/// Visits that are over, and refusals with their reasons.
pub(super) fn table(visits: &[Visit], words: &Words) -> Markup {
    html! {
        div.scroll { table {
            caption.hidden { (words.history) }
            thead { tr {
                th scope="col" { (words.when) } th scope="col" { (words.from) } th scope="col" { (words.reaches) }
                th scope="col" { (words.access) } th scope="col" { (words.what_became) }
                th.number scope="col" { (words.bytes_up) } th.number scope="col" { (words.bytes_down) }
            } }
            tbody { @for visit in visits { (row(visit, words)) } }
        } }
    }
}

fn row(visit: &Visit, words: &Words) -> Markup {
    let (class, outcome) = match visit.outcome {
        VisitOutcome::Open => ("good", words.there_now),
        VisitOutcome::Ended => ("idle", words.visit_ended),
        VisitOutcome::Refused => ("bad", words.refused),
    };
    html! {
        tr {
            th scope="row" { (moments::at(visit.started_at)) }
            td data-label=(words.from) { (visit.source) }
            td data-label=(words.reaches) { (reached(visit)) }
            td data-label=(words.access) {
                @match visit.access {
                    Some(access) => { a href={ "/console/accesses/" (access) } { code { (access) } } }
                    None => { "–" }
                }
            }
            td data-label=(words.what_became) {
                span { span.state.(class) { (outcome) }
                " " small { (words.reason(&visit.code, &visit.reason)) } }
            }
            td.number.none[visit.outcome == VisitOutcome::Refused] data-label=(words.bytes_up) { (counted(visit, visit.bytes_up)) }
            td.number.none[visit.outcome == VisitOutcome::Refused] data-label=(words.bytes_down) { (counted(visit, visit.bytes_down)) }
        }
    }
}

/// Whoever was refused moved none.
fn counted(visit: &Visit, bytes: u64) -> String {
    match visit.outcome {
        VisitOutcome::Ended | VisitOutcome::Open => moments::bytes(bytes),
        VisitOutcome::Refused => "–".to_owned(),
    }
}

/// Which visits to show.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Wish {
    outcome: Option<String>,
    cursor: Option<String>,
}

/// All visits to a box, a page at a time.
pub(super) async fn list(
    page: Page,
    State(app): State<Shared>,
    Path(device): Path<String>,
    Query(wish): Query<Wish>,
) -> Result<Markup, ApiError> {
    let words = page.words;
    let device = devices::find(&app, &page.caller.account, &device).await?;
    let outcome = match wish.outcome.as_deref() {
        Some("open") => Some(VisitOutcome::Open),
        Some("ended") => Some(VisitOutcome::Ended),
        Some("refused") => Some(VisitOutcome::Refused),
        Some(_) | None => None,
    };
    let filter = VisitFilter { device: Some(device.id), outcome, ..VisitFilter::default() };
    let wanted = Wanted::new(None, wish.cursor.as_deref())?;
    let found = page.caller.account.visits(&filter, wanted.paging()).await?;
    let found = wanted.page(found, |visit| Cursor::new(visit.started_at, visit.id));
    let here = format!("/console/boxes/{}/visits", device.id);
    let choices = [
        (None, "", words.all),
        (Some(VisitOutcome::Open), "open", words.there_now),
        (Some(VisitOutcome::Ended), "ended", words.visit_ended),
        (Some(VisitOutcome::Refused), "refused", words.refused),
    ];
    let content = html! {
        p.path {
            a href="/console" { (words.boxes) } " / "
            a href={ "/console/boxes/" (device.id) } { (device.name) } " / "
        }
        h1 { (words.history) }
        nav.choices aria-label=(words.what_became) {
            @for (choice, name, text) in choices {
                a.button.quiet href={ (here) "?outcome=" (name) }
                    aria-current=[(choice == outcome).then_some("page")] { (text) }
            }
        }
        @if found.items.is_empty() { p.card.empty { (words.no_history) } } @else { (table(&found.items, words)) }
        @if let Some(next) = &found.next {
            @let name = wish.outcome.as_deref().unwrap_or("");
            p.more { a.button href={ (here) "?outcome=" (name) "&cursor=" (next) } { (words.more) } }
        }
    };
    Ok(page.show(words.history, Section::Boxes, None, &content))
}
