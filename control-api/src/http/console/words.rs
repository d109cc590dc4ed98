//! Every text of the console, in every language: the tables are in [`words/texts.rs`](texts), what needs
//! more than a table is here.

use std::borrow::Cow;

use postern_protocol::api::{Access, AccessStatus, Approver, Device, DeviceStatus, Problem, Role};
use postern_protocol::connection::Form;
use postern_protocol::ssh_key::Unusable;

use super::language::Language;

mod deeds;
mod french;
mod texts;

pub(super) use texts::{ENGLISH, FRENCH, Words};

impl Words {
    /// A text with what belongs into its gaps, in order.
    pub(super) fn fill(&self, text: &str, gaps: &[&str]) -> String {
        let mut parts = text.split("{}");
        let mut filled = parts.next().unwrap_or("").to_owned();
        for (gap, part) in gaps.iter().zip(parts) {
            filled.push_str(gap);
            filled.push_str(part);
        }
        filled
    }

    /// What is wrong, and what to do.
    pub(super) fn problem(&self, problem: &Problem) -> String {
        match self.language {
            Language::English => sentence(&problem.detail),
            Language::French => french::problem(problem).into_owned(),
        }
    }

    /// Why a pasted text is no key for an access.
    pub(super) fn unusable(&self, problem: &Unusable) -> String {
        match self.language {
            Language::English => sentence(&problem.to_string()),
            Language::French => french::unusable(problem).into_owned(),
        }
    }

    /// Why somebody was refused, or why a visit ended.
    pub(super) fn reason<'a>(&self, code: &str, reason: &'a str) -> Cow<'a, str> {
        match self.language {
            Language::English => reason.into(),
            Language::French => french::reason(code, reason),
        }
    }

    /// Why an access works or does not.
    pub(super) fn why<'a>(&self, access: &'a Access, device: &Device) -> Cow<'a, str> {
        match self.language {
            Language::English => access.status_reason.as_str().into(),
            Language::French => self.why_in_french(access, device).into(),
        }
    }

    fn why_in_french<'a>(&self, access: &Access, device: &Device) -> &'a str {
        let paused = device.facts.as_ref().is_some_and(|facts| facts.paused);
        match (access.status, device.status) {
            (AccessStatus::Active, _) => "en vigueur au relais et sur la box",
            (AccessStatus::Expired, _) => "sa durée est écoulée",
            (AccessStatus::Revoked, _) => "il a été supprimé",
            (AccessStatus::PendingApproval, _) if access.approver == Some(Approver::Box) => {
                let denied = device.facts.iter().flat_map(|facts| &facts.consent);
                match denied.flat_map(|consent| &consent.denied).any(|denied| *denied == access.id) {
                    true => "le propriétaire de la box l'a refusé",
                    false => "cet accès attend d'être approuvé sur la box : postern-agent approve",
                }
            }
            (AccessStatus::PendingApproval, _) => {
                "quelqu'un d'extérieur le demande, et un propriétaire décide"
            }
            (AccessStatus::Pending, DeviceStatus::WaitingToJoin) => {
                "la box n'est pas encore raccordée : exécutez-y sa commande de raccordement"
            }
            (AccessStatus::Pending, DeviceStatus::Offline) => {
                "la box est hors ligne ; il fonctionnera à son retour"
            }
            (AccessStatus::Pending, DeviceStatus::Online) if paused => {
                "la box est mise en pause par son propriétaire"
            }
            (AccessStatus::Pending, DeviceStatus::Online) => "la règle n'est pas encore confirmée partout",
        }
    }

    /// What a role is called, in a word.
    pub(super) fn role_short(&self, role: Role) -> &'static str {
        let name = self.role_name(role);
        name.split(':').next().unwrap_or(name).trim()
    }

    /// What is worth knowing of a key although it is accepted; there is one such thing.
    pub(super) fn key_warning(&self, warning: &'static str) -> &'static str {
        match self.language {
            Language::English => warning,
            Language::French => french::KEY_WARNING,
        }
    }

    /// What a form of the command takes for granted.
    pub(super) fn note_of(&self, form: Form, note: &'static str) -> &'static str {
        match self.language {
            Language::English => note,
            Language::French => french::note(form),
        }
    }

    /// What a role is called, and what it may do.
    pub(super) fn role_name(&self, role: Role) -> &'static str {
        match role {
            Role::Viewer => self.viewer,
            Role::Operator => self.operator,
            Role::Owner => self.owner,
        }
    }
}

/// A sentence of the API as the beginning of a paragraph.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_there_in_both_languages_with_the_same_gaps() {
        for ((name, english), (_, french)) in ENGLISH.all().into_iter().zip(FRENCH.all()) {
            for text in [english, french] {
                assert!(!text.trim().is_empty(), "{name}");
                assert!(!text.contains('<') && !text.contains('&'), "{name} is text, no markup");
            }
            assert_eq!(english.matches("{}").count(), french.matches("{}").count(), "{name}");
        }
    }

    #[test]
    fn gaps_are_filled_in_order_and_what_is_put_in_makes_no_gaps() {
        assert_eq!(ENGLISH.fill("{} of {}", &["{}", "b"]), "{} of b");
    }

    #[test]
    fn sentences_begin_with_a_capital() {
        assert_eq!(sentence("a name"), "A name");
        assert_eq!(sentence("Ed448 keys"), "Ed448 keys");
    }
}
