//! What the audit says of a thing: names and texts, and never a secret.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};

use super::super::row;
use crate::record::{AccessRecord, TokenRecord, UserRecord};

/// What is said of a thing, by name; in the order of the names, so that its JSON is always the same.
pub(in crate::store) type Facts = BTreeMap<String, String>;

/// What differs between two states of a thing: how it was, and how it is.
pub(in crate::store) fn changed(was: &Facts, became: &Facts) -> (Facts, Facts) {
    let only = |of: &Facts, other: &Facts| {
        let differs = |(name, value): &(&String, &String)| other.get(*name) != Some(*value);
        of.iter().filter(differs).map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    (only(was, became), only(became, was))
}

/// One fact.
pub(in crate::store) fn fact(name: &str, value: impl ToString) -> Facts {
    Facts::from([(name.to_owned(), value.to_string())])
}

fn facts<const N: usize>(facts: [(&str, Option<String>); N]) -> Facts {
    let known = facts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    known.filter(|(_, value)| !value.is_empty()).collect()
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

impl AccessRecord {
    pub(in crate::store) fn facts(&self) -> Facts {
        facts([
            ("device", Some(self.device.to_string())),
            ("exposed_port", Some(self.port.to_string())),
            ("allowed_ips", Some(self.allowed.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))),
            ("expires_at", Some(time(self.expires_at))),
            ("key", self.key.as_ref().map(postern_protocol::ssh_key::PublicKey::fingerprint)),
            ("login", Some(self.login.to_string())),
            ("via", Some(row::word(&self.via))),
            ("public_port", self.leased.map(|leased| leased.port.to_string())),
            ("note", Some(self.note.clone())),
            ("asked_by", self.asked_by.clone()),
        ])
    }
}

impl AccessRecord {
    /// What webhooks are told of it.
    pub(in crate::store) fn told(&self) -> Facts {
        Facts::from_iter(self.facts().into_iter().chain(fact("access", self.id)))
    }
}

impl UserRecord {
    pub(in crate::store) fn facts(&self) -> Facts {
        facts([
            ("name", Some(self.name.to_string())),
            ("role", Some(self.role.to_string())),
            ("admin", Some(self.admin.to_string())),
            ("disabled", Some(self.disabled_at.is_some().to_string())),
        ])
    }
}

impl TokenRecord {
    pub(in crate::store) fn facts(&self) -> Facts {
        let boxes = |devices: &Vec<postern_protocol::id::DeviceId>| {
            devices.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        facts([
            ("name", Some(self.name.clone())),
            ("role", Some(self.role.to_string())),
            ("admin", Some(self.admin.to_string())),
            ("devices", self.devices.as_ref().map(boxes)),
            ("expires_at", self.expires_at.map(time)),
        ])
    }
}
