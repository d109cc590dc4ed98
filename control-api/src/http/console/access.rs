//! One access: how to connect by it, and changing and deleting it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use chrono::{DateTime, TimeDelta, Utc};
use maud::{Markup, html};
use postern_protocol::api::{Access, AccessStatus, Device, EditAccess, Role, VisitOutcome};
use serde::Deserialize;

use super::form::{Form, written};
use super::grant::{moment, networks, zones};
use super::live::{self, Pieces};
use super::page::{Page, Section};
use super::words::Words;
use super::{connect, moments, pieces, visits};
use crate::http::auth::{Operator, Owner};
use crate::http::error::{ApiError, Code};
use crate::http::extract::Path;
use crate::http::paging::Wanted;
use crate::http::{App, Shared, accesses, devices};
use crate::store::VisitFilter;

/// By how much an access may be extended at once, to choose from: a word, and hours.
const EXTENSIONS: [(&str, i64); 2] = [("1h", 1), ("1d", 24)];

/// Visits shown of an access.
const VISITS: u32 = 20;

/// What is changed about an access.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Change {
    from: String,
    any: String,
    until: String,
    zone: String,
    key: String,
    login: String,
    note: String,
}

/// An access.
pub(super) async fn show(
    page: Page,
    State(app): State<Shared>,
    Path(access): Path<String>,
) -> Result<Markup, ApiError> {
    whole(&app, &page, &access, None).await
}

async fn whole<G>(
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
        @for (_, piece) in pieces.iter().take(1) { (piece) }
        @if let Some(connection) = &shown.connection {
            section { h2 { (words.how_to_connect) } (connect::forms(connection, words)) }
        }
        @if page.operates() && shown.status != AccessStatus::Revoked { (change_form(&shown, words, wrong)) }
        @for (_, piece) in pieces.iter().skip(1) { (piece) }
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

async fn look<G>(app: &App, page: &Page<G>, access: &str) -> Result<(Access, Device), ApiError> {
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
    let used =
        found.iter().find(|visit| visit.outcome != VisitOutcome::Refused).map(|visit| visit.started_at);
    let (present, past): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|visit| visit.outcome == VisitOutcome::Open);
    Ok(vec![
        ("access".to_owned(), state(page, &access, &device, used, now)),
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
            div.head {
                h1 { (words.fill(words.access_to, &[device.name.as_str()])) }
                p.status { (pieces::access_state(access.status, words)) " " small { (words.why(access, device)) } }
            }
            @if lives {
                p.countdown { (words.time_left) " " (moments::left(access.expires_at, now, words)) }
                (connect::command(access, words))
            }
            (terms(access, device, used, words, now))
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
                    @else { (key.comment) " " small { (key.r#type) " " (key.bits) } }
                } }
            }
            div { dt { (words.ends) } dd { (moments::at(access.expires_at)) } }
            div { dt { (words.created) } dd { (moments::at(access.created_at)) } }
            @if let Some(name) = &access.asked_by { div { dt { (words.asked_by) } dd { (name) } } }
            div { dt { (words.last_use) } dd {
                @match used { Some(used) => { (moments::ago(used, now, words)) } None => { (words.never) } }
            } }
            @if !access.note.is_empty() { div { dt { (words.note) } dd.free { (access.note) } } }
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
    let may = access.status == AccessStatus::PendingApproval && page.caller.role >= Role::Owner;
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
    html! {
        details.bin id={ "bin-" (access.id) } {
            summary { (words.delete) span.hidden { " " (access.id) } }
            form method="post" action={ "/console/accesses/" (access.id) "/delete" } {
                p { (words.delete_why) }
                button.danger { (words.delete_now) }
            }
        }
    }
}

fn change_form(access: &Access, words: &Words, wrong: Option<(&str, &str)>) -> Markup {
    let complains = |field| wrong.filter(|(of, _)| *of == field).map(|_| "true");
    let until = access.expires_at.format("%Y-%m-%dT%H:%M");
    html! {
        details.card id="change" open[wrong.is_some()] {
            summary { (words.change) }
            form method="post" action={ "/console/accesses/" (access.id) } {
                label for="from" { (words.allowed_addresses) }
                input id="from" name="from" value=(pieces::networks(&access.allowed_ips)) required spellcheck="false"
                    aria-invalid=[complains("allowed_ips")] aria-describedby="allowed_ips-wrong";
                (pieces::complaint("allowed_ips", wrong))
                label.check { input type="checkbox" name="any" value="yes"; " " (words.allow_any) }
                div.exact {
                    label for="until" { (words.ends_at) }
                    input id="until" name="until" type="datetime-local" value=(until)
                        data-moment=(access.expires_at.to_rfc3339()) aria-describedby="expires_at-wrong";
                    (zones("0", words))
                }
                (pieces::complaint("expires_at", wrong))
                @if access.public_key.is_some() {
                    label for="key" { (words.another_key) " " small { (words.optional) } }
                    textarea id="key" name="key" rows="3" spellcheck="false" data-key="/console/key"
                        aria-invalid=[complains("public_key")] aria-describedby="key-said public_key-wrong" {}
                    p id="key-said" aria-live="polite" {}
                    (pieces::complaint("public_key", wrong))
                    label for="login" { (words.login) }
                    input id="login" name="login" value=(access.login) maxlength="32" autocapitalize="none"
                        spellcheck="false" aria-invalid=[complains("login")] aria-describedby="login-wrong";
                    (pieces::complaint("login", wrong))
                }
                label for="note" { (words.note) " " small { (words.optional) } }
                input id="note" name="note" value=(access.note) maxlength="500"
                    aria-invalid=[complains("note")] aria-describedby="note-wrong";
                (pieces::complaint("note", wrong))
                button { (words.save) }
            }
        }
    }
}

/// Changes an access, or says what is wrong with the change.
pub(super) async fn edit(
    page: Page<Operator>,
    State(app): State<Shared>,
    Path(access): Path<String>,
    Form(change): Form<Change>,
) -> Result<Response, ApiError> {
    let (shown, _) = look(&app, &page, &access).await?;
    let edited = match change.request(&shown) {
        Ok(request) => accesses::change(&app, &page.caller, shown.id, request).await,
        Err(problem) => Err(problem),
    };
    match edited {
        Ok(()) => Ok(Redirect::to(&format!("/console/accesses/{}", shown.id)).into_response()),
        Err(problem) if problem.code().status() == StatusCode::UNPROCESSABLE_ENTITY => {
            let document = problem.problem();
            let field = document.field.as_deref().unwrap_or("note");
            let field = if field == "expires_in" { "expires_at" } else { field };
            let text = page.words.problem(&document);
            let whole = whole(&app, &page, &access, Some((field, &text))).await?;
            Ok((problem.code().status(), whole).into_response())
        }
        Err(problem) => Err(problem),
    }
}

impl Change {
    /// What the API is asked to change; what is as it was is left out.
    fn request(&self, access: &Access) -> Result<EditAccess, ApiError> {
        let invalid = |field, why| ApiError::new(Code::InvalidRequest, why).field(field);
        let end = moment(&self.until, &self.zone);
        let end = end.ok_or_else(|| invalid("expires_at", "write the date and the time at which it ends"))?;
        let same_end = end.timestamp() / 60 == access.expires_at.timestamp() / 60;
        let allowed = networks(&self.from);
        let login = written(&self.login).map(str::parse).transpose();
        let note = self.note.replace("\r\n", "\n");
        Ok(EditAccess {
            allowed_ips: (pieces::networks(&allowed) != pieces::networks(&access.allowed_ips))
                .then_some(allowed),
            allow_any: !self.any.is_empty(),
            expires_at: (!same_end).then_some(end),
            public_key: written(&self.key).map(str::to_owned),
            login: login.map_err(|_| invalid("login", "this is no user name"))?,
            note: (note != access.note).then_some(note),
            ..EditAccess::default()
        })
    }
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
    accesses::change(&app, &page.caller, access.id, change).await?;
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
