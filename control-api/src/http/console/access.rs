//! One access: how to connect by it, and changing and deleting it.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{Redirect, Response};
use chrono::{DateTime, TimeDelta, Utc};
use maud::{Markup, html};
use postern_protocol::api::{Access, AccessStatus, Approver, Device, EditAccess, Role, VisitOutcome};
use serde::Deserialize;

use super::form::Form;
use super::live::{self, Pieces};
use super::page::{Page, Section};
use super::pieces::Bin;
use super::words::Words;
use super::{change, connect, moments, pieces, visits};
use crate::http::auth::{Operator, Owner};
use crate::http::error::{ApiError, Code};
use crate::http::extract::Path;
use crate::http::paging::Wanted;
use crate::http::{App, Shared, accesses, devices};
use crate::record::Seen;
use crate::store::VisitFilter;

/// By how much an access may be extended at once, to choose from: a word, and hours.
const EXTENSIONS: [(&str, i64); 2] = [("1h", 1), ("1d", 24)];

/// Visits shown of an access.
const VISITS: u32 = 20;

/// An access.
pub(super) async fn show(
    page: Page,
    State(app): State<Shared>,
    Path(access): Path<String>,
) -> Result<Markup, ApiError> {
    whole(&app, &page, &access, None).await
}

/// The whole page, with what is wrong with a change of it.
pub(super) async fn whole<G>(
    app: &App,
    page: &Page<G>,
    access: &str,
    wrong: Option<(&str, &str)>,
) -> Result<Markup, ApiError> {
    let words = page.words;
    let (shown, device) = look(app, page, access).await?;
    let pieces = drawn(app, page, access).await?;
    let content = html! {
        p.path {
            a href="/console" { (words.boxes) } " / "
            a href={ "/console/boxes/" (device.id) } { (device.name) } " / "
        }
        @for (_, piece) in pieces.iter().take(2) { (piece) }
        @if page.operates() && shown.status != AccessStatus::Revoked { (change::form(&shown, words, wrong)) }
        @for (_, piece) in pieces.iter().skip(2) { (piece) }
    };
    let live = format!("/console/accesses/{}/live", shown.id);
    Ok(page.show(
        &words.fill(words.access_to, &[device.name.as_str()]),
        Section::Boxes,
        Some(&live),
        &content,
    ))
}

/// The same as it changes.
pub(super) async fn live(
    page: Page,
    State(app): State<Shared>,
    Path(access): Path<String>,
) -> Result<Response, ApiError> {
    live::stream(app, page, move |app: Shared, page: Arc<Page>| {
        let access = access.clone();
        async move { drawn(&app, &page, &access).await }
    })
    .await
}

/// An access and its box, as the API shows them.
pub(super) async fn look<G>(app: &App, page: &Page<G>, access: &str) -> Result<(Access, Device), ApiError> {
    let (now, account) = (app.clock.now(), &page.caller.account);
    let id = accesses::known(access)?;
    let (record, device) = account.access(id, now).await?.ok_or_else(accesses::not_found)?;
    let shown = accesses::view(&record, &device, &app.store.relays().await?, now);
    Ok((shown, devices::view(&device, now)))
}

async fn drawn<G>(app: &App, page: &Page<G>, access: &str) -> Result<Pieces, ApiError> {
    let (now, words) = (app.clock.now(), page.words);
    let (access, device) = look(app, page, access).await?;
    let filter = VisitFilter { access: Some(access.id), ..VisitFilter::default() };
    let wanted = Wanted::new(Some(VISITS), None)?;
    let found = page.caller.account.visits(&filter, wanted.paging()).await?;
    let used = page.caller.account.last_uses(&[access.id]).await?.remove(&access.id);
    let (present, past): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|visit| visit.outcome == VisitOutcome::Open);
    Ok(vec![
        ("access".to_owned(), state(page, &access, &device, used, now)),
        ("connect".to_owned(), connect::forms(&access, words)),
        ("present".to_owned(), visits::present(&present, page.operates(), words, now)),
        (
            "history".to_owned(),
            html! {
                section id="history" {
                    h2 { (words.history) }
                    @if past.is_empty() { p.card.empty { (words.not_used_yet) } } @else { (visits::table(&past, words)) }
                }
            },
        ),
    ])
}

fn state<G>(
    page: &Page<G>,
    access: &Access,
    device: &Device,
    used: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Markup {
    let words = page.words;
    let lives = !matches!(access.status, AccessStatus::Expired | AccessStatus::Revoked);
    html! {
        section id="access" {
            div.head.title {
                h1 { (words.fill(words.access_to, &[device.name.as_str()])) }
                p.status { (pieces::access_state(access, words)) " " small { (words.why(access, device)) }
                    @if lives { " · " span.countdown { (moments::left(access.expires_at, now, words)) }
                        " " small { (words.left) } } }
            }
            (terms(access, device, used, words, now))
            (origin(access, words))
            (decision(page, access))
            @if page.operates() && access.status != AccessStatus::Revoked {
                div.actions { (extend_form(access, words)) (bin(access, words)) }
            }
        }
    }
}

/// What an access allows, and to whom.
pub(super) fn terms(
    access: &Access,
    device: &Device,
    used: Option<DateTime<Utc>>,
    words: &Words,
    now: DateTime<Utc>,
) -> Markup {
    html! {
        dl.facts {
            div { dt { (words.reaches) } dd { (port(access.exposed_port, device, words))
                @if access.public_key.is_some() { " " (words.as_user) " " (access.login) } } }
            div { dt { (words.from) } dd { (pieces::networks(&access.allowed_ips)) } }
            @if let Some(key) = &access.public_key {
                div { dt { (words.key) } dd title=(key.fingerprint) {
                    @if key.comment.is_empty() { code { (key.fingerprint) } }
                    @else { (key.comment) " " small { (key.r#type) } }
                } }
            }
            div { dt { (words.last_use) } dd {
                @match used { Some(used) => { (moments::ago(used, now, words)) } None => { (words.never) } }
            } }
            div { dt { (words.ends) } dd { (moments::at(access.expires_at)) } }
            @if let Some(name) = &access.asked_by { div { dt { (words.asked_by) } dd { (name) } } }
            @if !access.note.is_empty() { div.wide { dt { (words.note) } dd.free { (access.note) } } }
        }
    }
}

/// Where it comes from, and the whole of its key.
fn origin(access: &Access, words: &Words) -> Markup {
    html! {
        dl.facts {
            div { dt { (words.created) } dd { (moments::at(access.created_at))
                @if let Some(actor) = &access.created_by { " " small { (words.by) " " (actor.name) } } } }
            @if let Some(key) = &access.public_key {
                div { dt { (words.fingerprint) } dd {
                    code { (key.fingerprint) } " " small { (key.r#type) " · " (key.bits) " " (words.bits) }
                } }
            }
        }
    }
}

/// A port of a box, by what it is.
pub(super) fn port(port: u16, device: &Device, words: &Words) -> String {
    let mut services = device.facts.iter().flat_map(|facts| &facts.services);
    match (port, services.find(|service| service.port == port)) {
        (22, _) => "SSH".to_owned(),
        (443, None) => words.web_page.to_owned(),
        (port, Some(service)) => format!("{} ({port})", service.name),
        (port, None) => port.to_string(),
    }
}

/// What somebody outside asks for is for an owner to decide.
pub(super) fn decision<G>(page: &Page<G>, access: &Access) -> Markup {
    let words = page.words;
    let may = access.approver == Some(Approver::Account) && page.caller.role >= Role::Owner;
    html! {
        @if may {
            form.actions method="post" action={ "/console/accesses/" (access.id) "/decide" } {
                button name="answer" value="yes" { (words.approve) span.hidden { " " (access.id) } }
                button.quiet name="answer" value="no" { (words.deny) span.hidden { " " (access.id) } }
            }
        }
    }
}

/// Buttons that let an access last longer.
pub(super) fn extend_form(access: &Access, words: &Words) -> Markup {
    html! {
        form.inline method="post" action={ "/console/accesses/" (access.id) "/extend" } {
            @for (name, hours) in EXTENSIONS {
                @let text = if hours == 1 { words.hour_more } else { words.day_more };
                button.quiet name="by" value=(name) {
                    (text) span.hidden { " " (access.id) }
                }
            }
        }
    }
}

/// The bin, and what it means to use it.
pub(super) fn bin(access: &Access, words: &Words) -> Markup {
    let (id, to) = (format!("bin-{}", access.id), format!("/console/accesses/{}/delete", access.id));
    let what = access.id.as_str();
    Bin { id: &id, verb: words.delete, what, to: &to, why: words.delete_why }.show(words)
}

/// By how much to extend an access.
#[derive(Debug, Deserialize)]
pub(super) struct Extension {
    #[serde(default)]
    by: String,
}

/// Lets an access last longer: from its end, or from now if that is past.
pub(super) async fn extend(
    page: Page<Operator>,
    State(app): State<Shared>,
    Path(access): Path<String>,
    Form(extension): Form<Extension>,
) -> Result<Redirect, ApiError> {
    let (access, device) = look(&app, &page, &access).await?;
    let hours = EXTENSIONS.iter().find(|(name, _)| *name == extension.by).map(|(_, hours)| *hours);
    let hours = hours.ok_or_else(|| ApiError::new(Code::InvalidRequest, "extend it by 1h or 1d"))?;
    let end = access.expires_at.max(app.clock.now()) + TimeDelta::hours(hours);
    let change = EditAccess { expires_at: Some(end), ..EditAccess::default() };
    accesses::change(&app, &page.caller, access.id, change, &Seen::Any).await?;
    Ok(Redirect::to(&format!("/console/boxes/{}#access-{}", device.id, access.id)))
}

/// What an owner decides.
#[derive(Debug, Deserialize)]
pub(super) struct Decision {
    #[serde(default)]
    answer: String,
}

/// Approves what somebody outside asked for, or denies it.
pub(super) async fn decide(
    page: Page<Owner>,
    State(app): State<Shared>,
    Path(access): Path<String>,
    Form(decision): Form<Decision>,
) -> Result<Redirect, ApiError> {
    let decided = accesses::decide(&app, &page.caller, &access, decision.answer == "yes").await?.0;
    Ok(Redirect::to(&format!("/console/boxes/{}#accesses", decided.device)))
}

/// Deletes an access: nobody comes in by it, and who is in is out.
pub(super) async fn delete(
    page: Page<Operator>,
    State(app): State<Shared>,
    Path(access): Path<String>,
) -> Result<Redirect, ApiError> {
    let (access, device) = look(&app, &page, &access).await?;
    accesses::delete(Operator(page.caller), State(app), Path(access.id.to_string())).await?;
    Ok(Redirect::to(&format!("/console/boxes/{}#accesses", device.id)))
}
