//! One box: what it is, who may reach it, who is on it, and who was.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use postern_protocol::api::{Access, Device, RenameDevice, Visit, VisitOutcome};
use postern_protocol::id::AccessId;
use serde::Deserialize;

use super::form::{Form, written};
use super::grant::{Fields, Wrong};
use super::live::{self, Pieces};
use super::page::{Page, Section};
use super::words::Words;
use super::{access, boxes, connect, grant, host_keys, moments, pieces, visits};
use crate::http::auth::Operator;
use crate::http::error::{ApiError, Code};
use crate::http::extract::Path;
use crate::http::paging::{MOST, Wanted};
use crate::http::{App, Shared, accesses, devices};
use crate::record::Seen;
use crate::record::{DeviceRecord, RelayRecord};
use crate::store::{AccessFilter, DAYS, DeviceActivity, Phase, VisitFilter};

/// Visits shown of a box's history; the rest has a page of its own.
const HISTORY: u32 = 10;

/// Ended accesses shown.
const ENDED: usize = 20;

/// A box.
pub(super) async fn show(
    page: Page,
    State(app): State<Shared>,
    Path(device): Path<String>,
) -> Result<Markup, ApiError> {
    let found = devices::find(&app, &page.caller.account, &device).await?;
    let fields = Fields::usual(page.address);
    whole(&app, &page, &found, &fields, None).await
}

/// The same as it changes.
pub(super) async fn live(
    page: Page,
    State(app): State<Shared>,
    Path(device): Path<String>,
) -> Result<Response, ApiError> {
    live::stream(app, page, move |app: Shared, page: Arc<Page>| {
        let device = device.clone();
        async move {
            let found = devices::find(&app, &page.caller.account, &device).await?;
            let mut pieces = drawn(&app, &page, &found).await?;
            let now = app.clock.now();
            pieces
                .push(("joined".to_owned(), boxes::join_state(&devices::view(&found, now), page.words, now)));
            Ok(pieces)
        }
    })
    .await
}

/// The whole page, with a form that may be filled in already.
pub(super) async fn whole<G>(
    app: &App,
    page: &Page<G>,
    device: &DeviceRecord,
    fields: &Fields,
    wrong: Option<&Wrong>,
) -> Result<Markup, ApiError> {
    let words = page.words;
    let relays = app.store.relays().await?;
    let parts: HashMap<_, _> = drawn(app, page, device).await?.into_iter().collect();
    let part = |id: &str| parts.get(id).map(|part| part.0.as_str()).map(maud::PreEscaped);
    let shown = devices::view(device, app.clock.now());
    let content = html! {
        p.path { a href="/console" { (words.boxes) } " / " }
        @if let Some(part) = part("facts") { (part) }
        @if page.operates() { (grant::form(page, &shown, &relays, app, fields, wrong)) }
        @for id in ["accesses", "present", "history"] { @if let Some(part) = part(id) { (part) } }
        @if page.operates() { (upkeep(&shown, words)) }
    };
    let live = format!("/console/boxes/{}/live", device.id);
    Ok(page.show(device.name.as_str(), Section::Boxes, Some(&live), &content))
}

async fn drawn<G>(app: &App, page: &Page<G>, device: &DeviceRecord) -> Result<Pieces, ApiError> {
    let (now, words, account) = (app.clock.now(), page.words, &page.caller.account);
    let shown = devices::view(device, now);
    let of_device = |phase| AccessFilter { device: Some(device.id), phase };
    let all = |phase| async move {
        let wanted = Wanted::new(Some(MOST), None)?;
        Ok::<_, ApiError>(accesses::matching(app, account, of_device(phase), None, &wanted).await?.items)
    };
    let (mut alive, mut over) = (all(Some(Phase::Asked)).await?, all(None).await?);
    alive.extend(all(Some(Phase::Live)).await?);
    over.retain(|access| alive.iter().all(|living| living.id != access.id));
    over.truncate(ENDED);
    let alive_ids: Vec<_> = alive.iter().map(|access| access.id).collect();
    let uses = account.last_uses(&alive_ids).await?;
    let some = |outcome, limit| async move {
        let filter = VisitFilter { device: Some(device.id), outcome, ..VisitFilter::default() };
        let wanted = Wanted::new(Some(limit), None)?;
        let mut found = account.visits(&filter, wanted.paging()).await?;
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok::<_, ApiError>(found)
    };
    let present = some(Some(VisitOutcome::Open), MOST).await?;
    let history = some(None, HISTORY).await?;
    let activity = account.activity(&[device.id], now).await?.remove(&device.id).unwrap_or_default();
    Ok(vec![
        ("facts".to_owned(), facts(page, &shown, &activity, now)),
        ("accesses".to_owned(), list(page, &shown, (&alive, &over), &uses, now)),
        ("present".to_owned(), visits::present(&present, page.operates(), words, now)),
        ("history".to_owned(), past(&shown, &history, words)),
    ])
}

fn facts<G>(page: &Page<G>, device: &Device, activity: &DeviceActivity, now: DateTime<Utc>) -> Markup {
    let words = page.words;
    html! {
        section id="facts" {
            div.head.title { h1 { (device.name) } p.status { (pieces::device_state(device, now, words)) } }
            dl.facts {
                @if let Some(address) = &device.address { div { dt { (words.address) } dd { (address) } } }
                @if let Some(relay) = &device.relay { div { dt { (words.relay) } dd { (relay) } } }
                @if let Some(transport) = pieces::transport(device, words) {
                    div { dt { (words.transport) } dd { (transport) } }
                }
                @if let Some(facts) = &device.facts {
                    div { dt { (words.agent) } dd { (facts.agent_version) } }
                    div { dt { (words.hostname) } dd { (facts.hostname) } }
                    div { dt { (words.platform) } dd { (facts.platform) } }
                    div { dt { (words.ssh_server) } dd { (pieces::ssh_server(facts, words)) } }
                }
                div { dt { (words.fill(words.last_days, &[&DAYS.to_string()])) }
                    dd { (pieces::sparkline(&activity.days, words)) } }
            }
            @if device.facts.as_ref().is_some_and(|facts| facts.consent.is_some()) {
                p.note { (words.consent_why) }
            }
            (host_keys::panel(page, device))
            @if device.facts.as_ref().is_some_and(|facts| facts.paused) {
                p.note { (words.paused_why) }
            }
        }
    }
}

fn list<G>(
    page: &Page<G>,
    device: &Device,
    (alive, over): (&[Access], &[Access]),
    uses: &HashMap<AccessId, DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Markup {
    let words = page.words;
    html! {
        section id="accesses" {
            div.head {
                h2 { (words.remote_accesses) }
                a href={ "/console/boxes/" (device.id) "/verify" } { (words.would_this_get_in) }
            }
            @if alive.is_empty() { p.card.empty { (words.no_accesses) } }
            ul.accesses {
                @for access in alive { (item(page, device, access, uses.get(&access.id).copied(), now)) }
            }
            @if !over.is_empty() {
                details id="over" {
                    summary { (words.over) " (" (over.len()) ")" }
                    ul.accesses.over { @for access in over {
                        li.card {
                            (pieces::access_state(access, words)) " "
                            a href={ "/console/accesses/" (access.id) } { code { (access.id) } } " "
                            (access::port(access.exposed_port, device, words)) " · "
                            (pieces::networks(&access.allowed_ips)) " · " (moments::at(access.status_since))
                            @if !access.note.is_empty() { " · " (access.note) }
                        }
                    } }
                }
            }
        }
    }
}

fn item<G>(
    page: &Page<G>,
    device: &Device,
    access: &Access,
    used: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Markup {
    let words = page.words;
    html! {
        li.card id={ "access-" (access.id) } {
            div.head {
                p.status {
                    (pieces::access_state(access, words)) " "
                    small { (words.why(access, device)) }
                }
                p { span.countdown { (moments::left(access.expires_at, now, words)) } " " small { (words.left) } }
            }
            (connect::command(access, words))
            (access::terms(access, device, used, words, now))
            (access::decision(page, access))
            div.actions {
                a.button.quiet href={ "/console/accesses/" (access.id) } {
                    (words.all_forms) span.hidden { " " (access.id) }
                }
                @if page.operates() { (access::extend_form(access, words)) (access::bin(access, words)) }
            }
        }
    }
}

fn past(device: &Device, history: &[Visit], words: &Words) -> Markup {
    html! {
        section id="history" {
            h2 { (words.history) }
            @if history.is_empty() { p.card.empty { (words.no_history) } }
            @else {
                (visits::table(history, words))
                p.more { a href={ "/console/boxes/" (device.id) "/visits" } { (words.all_visits) } }
            }
        }
    }
}

/// Renaming, joining anew and deleting.
fn upkeep(device: &Device, words: &Words) -> Markup {
    let to = |what: &str| format!("/console/boxes/{}/{what}", device.id);
    html! {
        details.card id="upkeep" {
            summary { (words.upkeep) }
            form.inline method="post" action=(to("rename")) {
                label for="new-name" { (words.new_name) }
                input id="new-name" name="name" value=(device.name) required maxlength="63";
                button.quiet { (words.rename) }
            }
            form.inline method="post" action=(to("join")) {
                p { (words.join_anew_why) }
                button.quiet { (words.join_anew) }
            }
            form.inline method="post" action=(to("delete")) {
                p { (words.fill(words.delete_box_why, &[device.name.as_str()])) }
                label for="delete-name" { (words.delete_box_type) }
                input id="delete-name" name="name" required autocomplete="off";
                button.danger { (words.delete_box) }
            }
        }
    }
}

/// A box's name, for a change of it or as a confirmation.
#[derive(Debug, Deserialize)]
pub(super) struct Named {
    #[serde(default)]
    name: String,
}

/// Gives a box another name.
pub(super) async fn rename(
    page: Page<Operator>,
    State(app): State<Shared>,
    Path(device): Path<String>,
    Form(form): Form<Named>,
) -> Result<Redirect, ApiError> {
    let name = written(&form.name).unwrap_or("").parse();
    let name = name.map_err(|_| ApiError::new(Code::InvalidName, page.words.bad_box_name).field("name"))?;
    let device = devices::find(&app, &page.caller.account, &device).await?;
    let (id, change) = (device.id, RenameDevice { name });
    devices::rename(&app, &page.caller, id.as_str(), change, &Seen::Any).await?;
    Ok(Redirect::to(&format!("/console/boxes/{id}")))
}

/// Deletes a box, if its name was written as a confirmation.
pub(super) async fn delete(
    page: Page<Operator>,
    State(app): State<Shared>,
    Path(device): Path<String>,
    Form(form): Form<Named>,
) -> Result<Redirect, ApiError> {
    let found = devices::find(&app, &page.caller.account, &device).await?;
    if written(&form.name) != Some(found.name.as_str()) {
        return Err(ApiError::new(Code::InvalidName, page.words.delete_box_not).field("name"));
    }
    devices::delete(Operator(page.caller), State(app), Path(found.id.to_string())).await?;
    Ok(Redirect::to(super::HOME))
}

/// Makes a new join line.
pub(super) async fn join(
    page: Page<Operator>,
    State(app): State<Shared>,
    Path(device): Path<String>,
) -> Result<Response, ApiError> {
    let device = devices::offer_anew(&app, &page.caller, &device).await?;
    Ok(joining(&page, &device, app.clock.now()).into_response())
}

/// The line to run on a box; the page says by itself when that has happened.
pub(super) fn joining(page: &Page<Operator>, device: &Device, now: DateTime<Utc>) -> Markup {
    let words = page.words;
    let content = html! {
        p.path { a href="/console" { (words.boxes) } " / " }
        h1 { (device.name) }
        section.card {
            h2 { (words.run_this) }
            @if let Some(join) = &device.join {
                (pieces::copy(words, "join-line", &join.command))
                p.hint { (words.join_once) " " (moments::at(join.expires_at)) }
            }
            p { (words.agent_needed) }
        }
        (boxes::join_state(device, words, now))
    };
    let live = format!("/console/boxes/{}/live", device.id);
    page.show(device.name.as_str(), Section::Boxes, Some(&live), &content)
}

/// For the relay's gate, if it is known by an address: the family that visitors must have.
pub(super) fn gate_address(relays: &[RelayRecord]) -> Option<std::net::IpAddr> {
    relays.iter().filter_map(|relay| relay.gate.as_ref()).find_map(|gate| gate.host.parse().ok())
}
