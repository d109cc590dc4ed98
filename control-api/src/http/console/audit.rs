//! Who changed what in the account, from where, and how it was before; for its owners.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use axum::extract::State;
use maud::{Markup, html};
use postern_protocol::api::{Actor, ActorKind, AuditRecord, AuditSubject};

use super::moments;
use super::page::{Page, Section};
use super::words::Words;
use crate::http::auth::Owner;
use crate::http::error::ApiError;
use crate::http::extract::Query;
use crate::http::paging::{Cursor, Wanted};
use crate::http::{App, Shared};
use crate::store::{AuditFilter, Named};

mod wish;

use wish::{MACHINE, Wish, address};

/// The most characters of a value that are shown at once; the rest is in its title.
const SHOWN: usize = 52;

/// What records speak of, as far as it is still there, and whether the reader sees the installation.
struct Known {
    named: HashMap<String, Named>,
    admin: bool,
}

/// What was done, the newest first.
pub(super) async fn list(
    page: Page<Owner>,
    State(app): State<Shared>,
    Query(wish): Query<Wish>,
) -> Result<Markup, ApiError> {
    let (words, account) = (page.words, &page.caller.account);
    let wanted = Wanted::new(None, wish.cursor.as_deref())?;
    let filter = AuditFilter { for_admin: page.caller.admin, ..wish.filter() };
    let found = account.audit(&filter, wanted.paging().limit, wanted.after()).await?;
    let found = wanted.page(found, |record| Cursor::new(record.at, record.id));
    let ids: BTreeSet<&str> = found.items.iter().flat_map(ids).chain(filter.subject.as_deref()).collect();
    let known = Known { named: account.named(&ids).await?, admin: page.caller.admin };
    let content = html! {
        h1 { (words.audit) }
        p { (words.audit_what) " " code { "postern-api audit verify" } ". " (kept(app.config.retention.audit, words)) }
        (wish.form(&actors(&app, &page).await?, words))
        @if let Some(subject) = &filter.subject { p { (words.only_about) " " (known.thing(subject, words)) } }
        @if found.items.is_empty() { p.card.empty { (words.nothing_done) } }
        @else {
            div.scroll tabindex="0" role="region" aria-label=(words.audit) { table {
                thead { tr {
                    th scope="col" { (words.when) } th scope="col" { (words.who) } th scope="col" { (words.from) }
                    th scope="col" { (words.what_was_done) } th scope="col" { (words.to_what) }
                } }
                tbody { @for record in &found.items { (row(record, &known, words)) } }
            } }
        }
        @if let Some(next) = &found.next { p.more { a.button href=(wish.further(next)) { (words.more) } } }
    };
    Ok(page.show(words.audit, Section::Audit, None, &content))
}

/// How long records are kept.
fn kept(days: u16, words: &Words) -> String {
    match days {
        0 => words.kept_for_good.to_owned(),
        days => words.fill(words.kept_for, &[&days.to_string()]),
    }
}

/// Those who may have done something and are still there.
async fn actors(app: &App, page: &Page<Owner>) -> Result<[(&'static str, Vec<wish::Actor>); 3], ApiError> {
    let (words, account) = (page.words, &page.caller.account);
    let users = account.users().await?.into_iter().map(|user| (user.id.to_string(), user.name.to_string()));
    let tokens = account.tokens().await?.into_iter().map(|token| (token.id.to_string(), token.name));
    let relays = match page.caller.admin {
        true => app.store.relays().await?,
        false => Vec::new(),
    };
    let relays = relays.into_iter().map(|relay| (relay.id.to_string(), relay.name.to_string()));
    Ok([(words.users, users.collect()), (words.tokens, tokens.collect()), (words.relays, relays.collect())])
}

/// What a record speaks of.
fn ids(record: &AuditRecord) -> impl Iterator<Item = &str> {
    let facts = record.before.iter().chain(&record.after);
    let named = facts.filter(|(name, _)| leads_somewhere(name)).map(|(_, value)| value.as_str());
    named.chain([record.subject.as_str()])
}

/// Whether a fact of this name is an id.
fn leads_somewhere(name: &str) -> bool {
    matches!(name, "device" | "access")
}

fn row(record: &AuditRecord, known: &Known, words: &Words) -> Markup {
    html! {
        tr {
            th scope="row" { (moments::at(record.at)) }
            td data-label=(words.who) { (actor(&record.actor, words)) }
            td.none[record.address.is_none()] data-label=(words.from) {
                @match record.address { Some(address) => { (address) } None => { "–" } }
            }
            td data-label=(words.what_was_done) { (words.deed(record.action)) }
            td.tall data-label=(words.to_what) {
                div { (known.subject(record, words)) (changes(record, known)) }
            }
        }
    }
}

/// Whoever did it, and a way to everything that they did.
fn actor(actor: &Actor, words: &Words) -> Markup {
    let kind = match actor.kind {
        ActorKind::User => None,
        ActorKind::Token => Some(words.one(AuditSubject::Token)),
        ActorKind::Relay => Some(words.one(AuditSubject::Relay)),
        ActorKind::Machine => {
            let to = address(&[("who", MACHINE)]);
            return html! { a href=(to) title=(words.only_theirs) { (words.on_the_machine) } };
        }
    };
    let to = address(&[("who", actor.id.as_deref().unwrap_or(""))]);
    html! { span { a href=(to) title=(words.only_theirs) { (actor.name) } @if let Some(kind) = kind { " " small { (kind) } } } }
}

impl Known {
    /// What it was done to: the thing itself, and all that was done to it.
    fn subject(&self, record: &AuditRecord, words: &Words) -> Markup {
        let all = address(&[("subject", &record.subject)]);
        let elsewhere = match record.action.subject() {
            AuditSubject::Account if self.admin => Some("/console/accounts".to_owned()),
            AuditSubject::Relay if self.admin => Some(format!("/console/relays#relay-{}", record.subject)),
            AuditSubject::Account
            | AuditSubject::Relay
            | AuditSubject::Audit
            | AuditSubject::Device
            | AuditSubject::Access
            | AuditSubject::Visit
            | AuditSubject::User
            | AuditSubject::Token
            | AuditSubject::Webhook => None,
        };
        let place = self.place(&record.subject).or(elsewhere);
        let kind = words.one(record.action.subject());
        html! {
            @match place {
                Some(place) => { a href=(place) { (self.name(&record.subject).unwrap_or(kind)) } " " }
                None => { (kind) " " }
            }
            a.quietly href=(all) title=(words.only_this) { code { (record.subject) } }
        }
    }

    /// A thing by its name, if it is still there, and its id.
    fn thing(&self, id: &str, words: &Words) -> Markup {
        html! {
            @match self.place(id) {
                Some(place) => {
                    a href=(place) { (self.name(id).or(self.named.get(id).map(|named| words.one(named.kind))).unwrap_or(id)) }
                }
                None => {}
            }
            " " code { (id) }
        }
    }

    fn name(&self, id: &str) -> Option<&str> {
        self.named.get(id)?.name.as_deref()
    }

    /// The page of a thing that is still there.
    fn place(&self, id: &str) -> Option<String> {
        let named = self.named.get(id)?;
        match named.kind {
            AuditSubject::Device => Some(format!("/console/boxes/{id}")),
            AuditSubject::Access => Some(format!("/console/accesses/{id}")),
            AuditSubject::Visit => {
                named.device.as_ref().map(|device| format!("/console/boxes/{device}/visits"))
            }
            AuditSubject::User => Some(format!("/console/users#user-{id}")),
            AuditSubject::Token => Some(format!("/console/tokens#token-{id}")),
            AuditSubject::Webhook => Some(format!("/console/webhooks/{id}")),
            AuditSubject::Account | AuditSubject::Relay | AuditSubject::Audit => None,
        }
    }
}

/// What changed, by its name: the former value struck out, and the present one.
fn changes(record: &AuditRecord, known: &Known) -> Markup {
    let names: BTreeSet<_> = record.before.keys().chain(record.after.keys()).collect();
    let value = |facts: &BTreeMap<String, String>, name: &str| facts.get(name).cloned();
    html! {
        @if !names.is_empty() { div.changes { @for name in names {
            @let place = |value: &str| leads_somewhere(name).then(|| known.place(value)).flatten();
            span { (name) ": "
                @if let Some(value) = value(&record.before, name) { del { (shown(&value, place(&value))) } " " }
                @if let Some(value) = value(&record.after, name) { (shown(&value, place(&value))) }
            }
        } } }
    }
}

fn shown(value: &str, place: Option<String>) -> Markup {
    html! {
        @match place {
            Some(place) => { a href=(place) { (value) } }
            None => { span title=(value) { (short(value)) } }
        }
    }
}

fn short(value: &str) -> String {
    let mut letters = value.chars();
    let shown: String = letters.by_ref().take(SHOWN).collect();
    if letters.next().is_some() { format!("{shown}…") } else { shown }
}
