//! Host keys that changed: both sides by their fingerprints, and the word that they are the box's own.

use axum::extract::State;
use axum::response::Redirect;
use maud::{Markup, html};
use postern_protocol::api::{ConfirmHostKeys, Device, HostKey};
use serde::Deserialize;

use super::form::Form;
use super::moments;
use super::page::Page;
use crate::http::Shared;
use crate::http::auth::Operator;
use crate::http::devices::host_keys;
use crate::http::error::ApiError;
use crate::http::extract::{Json, Path};

/// The keys that were known and those that the box shows now, if somebody has to compare them.
pub(super) fn panel<G>(page: &Page<G>, device: &Device) -> Markup {
    let words = page.words;
    html! {
        @if let Some(former) = &device.former_host_keys {
            section.card.alarm id="host-keys" aria-labelledby="host-keys-changed" {
                h2 id="host-keys-changed" { (words.host_keys_changed) }
                p { (words.host_keys_why) }
                dl.columns {
                    div { dt { (words.known_keys) } (fingerprints(&former.host_keys)) }
                    div { dt { (words.shown_keys) " " (moments::at(former.changed_at)) } (fingerprints(&device.host_keys)) }
                }
                @if page.operates() {
                    form method="post" action={ "/console/boxes/" (device.id) "/host-keys" } {
                        input type="hidden" name="seen" value=(seen(&device.host_keys));
                        button.danger { (words.confirm_keys) }
                    }
                }
            }
        }
    }
}

fn fingerprints(keys: &[HostKey]) -> Markup {
    html! {
        @for key in keys {
            dd { code { (key.key.split(' ').next().unwrap_or_default()) " " (key.fingerprint) } }
        }
    }
}

/// What the reader looked at goes with the form, so that keys which change meanwhile are not confirmed.
fn seen(keys: &[HostKey]) -> String {
    keys.iter().map(|key| key.fingerprint.as_str()).collect::<Vec<_>>().join(" ")
}

/// Fingerprints, apart by spaces.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Seen {
    seen: String,
}

/// Confirms the host keys that were on the page.
pub(super) async fn confirm(
    page: Page<Operator>,
    State(app): State<Shared>,
    Path(device): Path<String>,
    Form(form): Form<Seen>,
) -> Result<Redirect, ApiError> {
    let seen = ConfirmHostKeys { fingerprints: form.seen.split_whitespace().map(str::to_owned).collect() };
    let device = host_keys::confirm(Operator(page.caller), State(app), Path(device), Json(seen)).await?.0;
    Ok(Redirect::to(&format!("/console/boxes/{}", device.id)))
}
