//! *Would this get in?*: what the relay would do, and by which rule.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use postern_protocol::api::{Verify, VerifyAnswer};
use serde::Deserialize;

use super::form::{Form, written};
use super::page::{Page, Section};
use super::words::Words;
use super::{moments, pieces};
use crate::http::auth::Viewer;
use crate::http::error::{ApiError, Code};
use crate::http::extract::{Json, Path};
use crate::http::{Shared, devices, verify};
use crate::record::DeviceRecord;

/// An attempt that nobody makes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Attempt {
    source: String,
    port: String,
    key: String,
    access: String,
}

/// Asks for an attempt.
pub(super) async fn ask(
    page: Page,
    State(app): State<Shared>,
    Path(device): Path<String>,
) -> Result<Markup, ApiError> {
    let device = devices::find(&app, &page.caller.account, &device).await?;
    let source = page.address.map(|address| address.to_string()).unwrap_or_default();
    let attempt = Attempt { source, port: "22".into(), ..Attempt::default() };
    Ok(asking(&page, &device, &attempt, None, html! {}))
}

/// Says what would become of it.
pub(super) async fn answer(
    page: Page,
    State(app): State<Shared>,
    Path(device): Path<String>,
    Form(mut attempt): Form<Attempt>,
) -> Result<Response, ApiError> {
    let device = devices::find(&app, &page.caller.account, &device).await?;
    let answered = match attempt.request(device.id.as_str()) {
        Ok(request) => verify::verify(Viewer(page.caller.clone()), State(app), Json(request)).await,
        Err(problem) => Err(problem),
    };
    match answered {
        Ok(verdict) => {
            let verdict = said(&verdict.0, page.words);
            Ok(asking(&page, &device, &attempt, None, verdict).into_response())
        }
        Err(problem) => {
            let document = problem.problem();
            let text = page.words.problem(&document);
            if document.field.as_deref() == Some("key") {
                attempt.key.clear();
            }
            let wrong = Some((document.field.as_deref().unwrap_or("source"), text.as_str()));
            let asking = asking(&page, &device, &attempt, wrong, html! {});
            Ok((problem.code().status(), asking).into_response())
        }
    }
}

impl Attempt {
    fn request(&self, device: &str) -> Result<Verify, ApiError> {
        let invalid = |field, why| ApiError::new(Code::InvalidRequest, why).field(field);
        let access = written(&self.access).map(str::parse).transpose();
        Ok(Verify {
            device: device.to_owned(),
            source: self.source.trim().parse().map_err(|_| invalid("source", "write one IP address"))?,
            port: self.port.trim().parse().map_err(|_| invalid("port", "write a port, such as 22"))?,
            key: written(&self.key).map(str::to_owned),
            public_port: None,
            access: access.map_err(|_| invalid("access", "this is no access; leave it out for any"))?,
            at: None,
        })
    }
}

fn said(verdict: &VerifyAnswer, words: &Words) -> Markup {
    html! {
        section.card.verdict id="verdict" role="status" {
            @if verdict.allowed { p { span.state.good { (words.would_get_in) } } }
            @else { p { span.state.bad { (words.would_not_get_in) } " " (words.reason(&verdict.code, &verdict.reason)) } }
            @if let Some(access) = verdict.access {
                p { (words.by_access) " " a href={ "/console/accesses/" (access) } { code { (access) } } }
            }
            @if let Some(until) = verdict.until { p { (words.until) " " (moments::at(until)) } }
        }
    }
}

fn asking(
    page: &Page,
    device: &DeviceRecord,
    attempt: &Attempt,
    wrong: Option<(&str, &str)>,
    verdict: Markup,
) -> Markup {
    let words = page.words;
    let complains = |field: &str| wrong.filter(|(of, _)| *of == field).map(|_| "true");
    let field = |name: &str, label: &str, value: &str, hint: &str| {
        html! {
            label for=(name) { (label) }
            input id=(name) name=(name) value=(value) spellcheck="false" autocomplete="off"
                aria-invalid=[complains(name)] aria-describedby={ (name) "-hint " (name) "-wrong" };
            p.hint id={ (name) "-hint" } { (hint) }
            (pieces::complaint(name, wrong))
        }
    };
    let content = html! {
        section.narrow {
            p.path {
                a href="/console" { (words.boxes) } " / "
                a href={ "/console/boxes/" (device.id) } { (device.name) } " / "
            }
            h1 { (words.would_this_get_in) }
            p { (words.verify_what) }
            (verdict)
            form.card method="post" action={ "/console/boxes/" (device.id) "/verify" } {
                (field("source", words.from, &attempt.source, words.source_hint))
                (field("port", words.port, &attempt.port, words.port_hint))
                label for="key" { (words.public_key) " " small { (words.optional) } }
                textarea id="key" name="key" rows="3" spellcheck="false" data-key="/console/key"
                    aria-invalid=[complains("key")] aria-describedby="key-said key-wrong" { (attempt.key) }
                p id="key-said" aria-live="polite" {}
                (pieces::complaint("key", wrong))
                (field("access", words.access, &attempt.access, words.access_hint))
                button { (words.ask) }
            }
        }
    };
    page.show(words.would_this_get_in, Section::Boxes, None, &content)
}
