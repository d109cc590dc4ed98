//! What the installation is set to, for its admins. It is set in a file, so the page says where.

use axum::extract::State;
use maud::{Markup, html};

use super::page::{Page, Section};
use super::words::Words;
use crate::http::auth::Admin;
use crate::http::{Shared, installation};

/// The settings in force.
pub(super) async fn show(page: Page<Admin>, State(app): State<Shared>) -> Markup {
    let words = page.words;
    let set = installation::settings(&app);
    let keep = set.retention;
    let kept = [
        (words.kept_visits, "visits", keep.visits),
        (words.kept_audit, "audit", keep.audit),
        (words.kept_events, "events", keep.events),
        (words.kept_calls, "deliveries", keep.deliveries),
    ];
    let limits = [
        (words.limit_of_each, "per_credential", set.limits.per_credential),
        (words.limit_of_strangers, "per_address", set.limits.per_address),
    ];
    let content = html! {
        h1 { (words.installation) }
        p { (words.installation_what) " " code { "api.toml" } ". Postern " (set.version) "." }
        div.columns {
            section {
                h2 { (words.retention) " " code { "[retention]" } }
                (table(words.retention, kept.map(|(text, key, days)| (text, key, days_of(days, words)))))
            }
            section {
                h2 { (words.limits) " " code { "[limits]" } }
                (table(words.limits, limits.map(|(text, key, most)| (text, key, requests_of(most, words)))))
            }
        }
    };
    page.show(words.installation, Section::Installation, None, &content)
}

fn table<const N: usize>(what: &str, rows: [(&str, &str, String); N]) -> Markup {
    html! {
        div.scroll { table {
            caption.hidden { (what) }
            tbody { @for (text, key, value) in &rows {
                tr { th scope="row" { (text) " " code.muted { (key) } } td.number { (value) } }
            } }
        } }
    }
}

fn days_of(days: u16, words: &Words) -> String {
    match days {
        0 => words.for_good.to_owned(),
        days => format!("{days} {}", words.days),
    }
}

fn requests_of(most: u32, words: &Words) -> String {
    match most {
        0 => words.unlimited.to_owned(),
        most => words.fill(words.a_minute, &[&most.to_string()]),
    }
}
