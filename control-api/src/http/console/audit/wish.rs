//! Which records of the audit to show: by whom, what, to what, and when.

use chrono::{DateTime, Utc};
use maud::{Markup, html};
use postern_protocol::api::{ActorKind, AuditSubject};
use reqwest::Url;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::super::form::written;
use super::super::grant::{moment, zones};
use super::super::words::Words;
use crate::store::AuditFilter;

/// Where the page is.
const HERE: &str = "/console/audit";

/// Whoever has the machine in hand has no id; this stands for them.
pub(super) const MACHINE: &str = "machine";

/// What a reader asks for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct Wish {
    /// An actor's id.
    who: String,
    /// A kind of thing, or an action.
    what: String,
    /// The id of a thing.
    subject: String,
    since: String,
    until: String,
    zone: String,
    /// Where the list goes on.
    pub(super) cursor: Option<String>,
}

/// Somebody who may have done something: their id, and their name.
pub(super) type Actor = (String, String);

impl Wish {
    /// What the store is asked for. What cannot be meant is left out, and the form shows that it is.
    pub(super) fn filter(&self) -> AuditFilter {
        let who = written(&self.who);
        AuditFilter {
            action: word(&self.what),
            about: word(&self.what),
            subject: written(&self.subject).map(str::to_owned),
            actor: who.filter(|who| *who != MACHINE).map(str::to_owned),
            actor_kind: who.filter(|who| *who == MACHINE).map(|_| ActorKind::Machine),
            since: moment(&self.since, &self.zone),
            until: moment(&self.until, &self.zone),
            for_admin: false,
        }
    }

    /// Whether anything is left out.
    pub(super) fn asks(&self) -> bool {
        let filter = self.filter();
        let who = filter.actor.is_some() || filter.actor_kind.is_some();
        let what = filter.action.is_some() || filter.about.is_some() || filter.subject.is_some();
        who || what || filter.since.is_some() || filter.until.is_some()
    }

    /// Where the list goes on.
    pub(super) fn further(&self, cursor: &str) -> String {
        let fields = [
            ("who", &*self.who),
            ("what", &self.what),
            ("subject", &self.subject),
            ("since", &self.since),
            ("until", &self.until),
            ("zone", &self.zone),
            ("cursor", cursor),
        ];
        address(&fields)
    }

    /// The form that asks.
    pub(super) fn form(&self, actors: &[(&str, Vec<Actor>)], words: &Words) -> Markup {
        let filter = self.filter();
        let known = self.who.is_empty()
            || self.who == MACHINE
            || actors.iter().any(|(_, actors)| actors.iter().any(|(id, _)| *id == self.who));
        html! {
            form.card.filters action=(HERE) role="search" {
                div { label for="who" { (words.who) }
                    select id="who" name="who" {
                        option value="" { (words.anybody) }
                        @for (kind, actors) in actors.iter().filter(|(_, actors)| !actors.is_empty()) {
                            optgroup label=(kind) { @for (id, name) in actors {
                                option value=(id) selected[*id == self.who] { (name) }
                            } }
                        }
                        option value=(MACHINE) selected[self.who == MACHINE] { (words.on_the_machine) }
                        @if !known { option value=(self.who) selected { (words.other_actor) " (" (self.who) ")" } }
                    }
                }
                div { label for="what" { (words.what_was_done) } (self.actions(words)) }
                (time("since", words.not_before, &self.since, filter.since))
                (time("until", words.and_before, &self.until, filter.until))
                (zones(if self.zone.is_empty() { "0" } else { &self.zone }, words))
                @if let Some(subject) = &filter.subject { input type="hidden" name="subject" value=(subject); }
                button { (words.show) }
                @if self.asks() { a.button.quiet href=(HERE) { (words.show_all) } }
            }
        }
    }

    fn actions(&self, words: &Words) -> Markup {
        html! {
            select id="what" name="what" {
                option value="" { (words.anything) }
                @for subject in AuditSubject::ALL {
                    @let kind = words.kind(subject);
                    optgroup label=(kind) {
                        @if subject.actions().count() > 1 {
                            option value=(text(subject)) selected[self.what == text(subject)] {
                                (words.fill(words.everything_of, &[kind]))
                            }
                        }
                        @for action in subject.actions() {
                            option value=(text(action)) selected[self.what == text(action)] { (words.deed(action)) }
                        }
                    }
                }
            }
        }
    }
}

/// A field for a time; the script shows it in the reader's own zone.
fn time(name: &str, label: &str, given: &str, at: Option<DateTime<Utc>>) -> Markup {
    html! {
        div { label for=(name) { (label) }
            input id=(name) name=(name) type="datetime-local" value=[at.map(|_| given)]
                data-moment=[at.map(|at| at.to_rfc3339())];
        }
    }
}

/// The page, asked for these things.
pub(super) fn address(fields: &[(&str, &str)]) -> String {
    let mut url = Url::parse("http://here").expect("this is an address");
    url.query_pairs_mut().extend_pairs(fields.iter().filter(|(_, value)| !value.is_empty()));
    format!("{HERE}?{}", url.query().unwrap_or(""))
}

/// A closed word, if it is one.
fn word<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_value(text.into()).ok()
}

fn text(word: impl serde::Serialize) -> String {
    serde_json::to_value(word).ok().and_then(|word| Some(word.as_str()?.to_owned())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use postern_protocol::api::AuditAction;

    use super::*;

    #[test]
    fn a_word_is_a_kind_or_an_action_and_what_is_neither_is_left_out() {
        let of = |what: &str| Wish { what: what.into(), ..Wish::default() }.filter();
        assert_eq!(of("webhook").about, Some(AuditSubject::Webhook));
        assert_eq!(of("webhook_added").action, Some(AuditAction::WebhookAdded));
        assert!(of("eaten").action.is_none() && of("eaten").about.is_none());
        for action in AuditAction::ALL {
            assert!(word::<AuditSubject>(&text(action)).is_none(), "{action:?} is no kind of thing");
        }
    }

    #[test]
    fn the_next_page_asks_for_the_same_whatever_that_is() {
        let wish = Wish { who: "a&b=c".into(), subject: "é \"".into(), ..Wish::default() };
        let further = wish.further("x");
        assert_eq!(further, "/console/audit?who=a%26b%3Dc&subject=%C3%A9+%22&cursor=x");
    }
}
