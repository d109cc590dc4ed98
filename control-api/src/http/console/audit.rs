//! Who changed what in the account, from where, and how it was before; for its owners.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};
use postern_protocol::api::AuditRecord;
use serde::Deserialize;

use super::moments;
use super::page::{Page, Section};
use super::words::Words;
use crate::http::auth::Owner;
use crate::http::error::ApiError;
use crate::http::extract::Query;
use crate::http::paging::{Cursor, Wanted};
use crate::store::AuditFilter;

/// The most characters of a value that are shown at once; the rest is in its title.
const SHOWN: usize = 80;

/// Where the list goes on.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Place {
    cursor: Option<String>,
}

/// What was done, the newest first.
pub(super) async fn list(page: Page<Owner>, Query(place): Query<Place>) -> Result<Markup, ApiError> {
    let words = page.words;
    let wanted = Wanted::new(None, place.cursor.as_deref())?;
    let filter = AuditFilter::default();
    let found = page.caller.account.audit(&filter, wanted.paging().limit, wanted.after()).await?;
    let found = wanted.page(found, |record| Cursor::new(record.at, record.id));
    let content = html! {
        h1 { (words.audit) }
        p { (words.audit_what) " " code { "postern-api audit verify" } }
        div.scroll tabindex="0" role="region" aria-label=(words.audit) { table {
            thead { tr {
                th scope="col" { (words.when) } th scope="col" { (words.who) } th scope="col" { (words.from) }
                th scope="col" { (words.what_was_done) } th scope="col" { (words.to_what) }
            } }
            tbody { @for record in &found.items { (row(record, words)) } }
        } }
        @if let Some(next) = &found.next {
            p.more { a.button href={ "/console/audit?cursor=" (next) } { (words.more) } }
        }
    };
    Ok(page.show(words.audit, Section::Audit, None, &content))
}

fn row(record: &AuditRecord, words: &Words) -> Markup {
    html! {
        tr {
            th scope="row" { (moments::at(record.at)) }
            td data-label=(words.who) { (record.actor.name) }
            td.none[record.address.is_none()] data-label=(words.from) {
                @match record.address { Some(address) => { (address) } None => { "–" } }
            }
            td data-label=(words.what_was_done) { (words.deed(record.action)) }
            td data-label=(words.to_what) {
                div { code { (record.subject) } (changes(&record.before, &record.after)) }
            }
        }
    }
}

/// What changed, by its name: the former value struck out, and the present one.
fn changes(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Markup {
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    html! {
        @for name in names {
            div { small { (name) ": "
                @if let Some(value) = before.get(name) { del title=(value) { (short(value)) } " " }
                @if let Some(value) = after.get(name) { span title=(value) { (short(value)) } }
            } }
        }
    }
}

fn short(value: &str) -> String {
    let mut letters = value.chars();
    let shown: String = letters.by_ref().take(SHOWN).collect();
    if letters.next().is_some() { format!("{shown}…") } else { shown }
}
