//! `postern audit`: who changed what, from where.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use postern_protocol::api::{Actor, ActorKind, AuditAction, AuditRecord, AuditSubject};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::Query;
use crate::args::Session;
use crate::failure::{Answer, Outcome};
use crate::moments::Moment;
use crate::output::{note, table};

/// `postern audit …`. It takes the role owner.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// List what was done in the account, the newest first
    ///
    /// That nothing was altered in it, or taken out, is checked where the API runs: postern-api audit verify
    List(List),
}

/// `postern audit list`
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only what was done in this way, such as access_created
    #[arg(long, value_name = "ACTION", value_parser = parsed::<AuditAction>)]
    action: Option<AuditAction>,
    /// Only what was done to things of this kind: device, access, visit, user, token, webhook, account, relay, audit
    #[arg(long, value_name = "KIND", value_parser = parsed::<AuditSubject>, conflicts_with = "action")]
    about: Option<AuditSubject>,
    /// Only what was done to this, by its id
    #[arg(long, value_name = "ID")]
    subject: Option<String>,
    /// Only what this user, token or relay did, by its id
    #[arg(long, value_name = "ID")]
    actor: Option<String>,
    /// Only what such actors did: user, token, relay, machine
    #[arg(long, value_name = "KIND", value_parser = parsed::<ActorKind>)]
    actor_kind: Option<ActorKind>,
    /// Only what was done since: a date, or how long ago, like 2h
    #[arg(long, value_name = "WHEN")]
    since: Option<Moment>,
    /// Only what was done before: a date, or how long ago
    #[arg(long, value_name = "WHEN")]
    until: Option<Moment>,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    limit: u16,
}

impl AuditCommand {
    /// Does it.
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let Self::List(list) = self;
        let query = list.query(Utc::now());
        let records = session.api.list::<AuditRecord>(&["audit"], &query, list.limit.into()).await?;
        session.output.list(&records, "nothing was done", shown)?;
        if records.page.next.is_some() && !session.output.json {
            note(&format!("there are more; these are the newest {}, see --limit", records.items.len()));
        }
        Ok(Answer::Yes)
    }
}

impl List {
    fn query(&self, now: DateTime<Utc>) -> Query {
        let fields = [
            ("action", self.action.map(word)),
            ("about", self.about.map(word)),
            ("subject", self.subject.clone()),
            ("actor", self.actor.clone()),
            ("actor_kind", self.actor_kind.map(word)),
            ("since", self.since.map(|moment| moment.text(now))),
            ("until", self.until.map(|moment| moment.text(now))),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

fn parsed<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
}

fn word<T: Serialize>(of: T) -> String {
    serde_json::to_value(of).ok().and_then(|word| Some(word.as_str()?.to_owned())).unwrap_or_default()
}

fn shown(records: &[AuditRecord]) -> String {
    let rows: Vec<_> = records.iter().map(row).collect();
    table(["WHEN", "WHO", "FROM", "ACTION", "OF", "BEFORE", "AFTER"], &rows)
}

fn row(record: &AuditRecord) -> [String; 7] {
    let facts = |facts: &std::collections::BTreeMap<String, String>| {
        facts.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    };
    [
        record.at.format("%Y-%m-%d %H:%M:%S").to_string(),
        who(&record.actor),
        record.address.map_or_else(String::new, |address| address.to_string()),
        word(record.action),
        record.subject.clone(),
        facts(&record.before),
        facts(&record.after),
    ]
}

fn who(actor: &Actor) -> String {
    let kind = match actor.kind {
        ActorKind::User => return actor.name.clone(),
        ActorKind::Token => "token",
        ActorKind::Relay => "relay",
        ActorKind::Machine => return "on the machine".to_owned(),
    };
    format!("{kind} {}", actor.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_one_of_those_there_are() {
        assert_eq!(parsed::<AuditAction>("access_created").map(word), Ok("access_created".to_owned()));
        let unknown = parsed::<AuditAction>("access_eaten").unwrap_err();
        assert!(unknown.contains("expected one of `device_created`"));
        assert_eq!(parsed("machine"), Ok(ActorKind::Machine));
        assert_eq!(parsed("webhook"), Ok(AuditSubject::Webhook));
    }

    #[test]
    fn a_record_is_one_line() {
        let text = r#"{"id":"k7f2q5xwab","at":"2026-11-21T18:00:00Z","actor":{"kind":"token","id":"k7f2q5xwac",
            "name":"ci"},"address":"198.51.100.7","action":"access_edited","subject":"k7f2q5xwad",
            "before":{"note":"a"},"after":{"note":"b"},"hash":"00"}"#;
        let record: AuditRecord = serde_json::from_str(text).unwrap();
        let line = row(&record).join(" | ");
        let expected =
            "2026-11-21 18:00:00 | token ci | 198.51.100.7 | access_edited | k7f2q5xwad | note=a | note=b";
        assert_eq!(line, expected);
    }
}
