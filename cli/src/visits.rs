//! `postern visits`: who came, allowed or refused; and cutting one off.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use postern_protocol::api::{Visit, VisitOutcome};
use postern_protocol::id::{AccessId, DeviceName, VisitId};

use crate::api::{Query, Reply};
use crate::args::Session;
use crate::device::known;
use crate::failure::{Answer, Outcome};
use crate::moments::{Moment, bytes, length};
use crate::output::{note, print, table};

/// `postern visits`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct VisitsCommand {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    filter: Filter,
}

/// What else can be done with visits.
#[derive(Debug, Subcommand)]
enum Verb {
    /// End visits that go on; their accesses stay
    Cut {
        /// Their ids, as `postern visits --outcome open` shows them
        #[arg(required = true, value_name = "ID")]
        visits: Vec<VisitId>,
    },
}

/// Which visits to list.
#[derive(Debug, Args)]
struct Filter {
    /// Only those to this box, by name or id
    #[arg(long, value_name = "BOX")]
    device: Option<DeviceName>,
    /// Only those by this access
    #[arg(long, value_name = "ID")]
    access: Option<AccessId>,
    /// Only those that went this way
    #[arg(long, value_parser = ["open", "ended", "refused"])]
    outcome: Option<String>,
    /// Only those from this address
    #[arg(long, value_name = "IP")]
    from: Option<IpAddr>,
    /// Only those that came since: a date, or how long ago, like 2h
    #[arg(long, value_name = "WHEN")]
    since: Option<Moment>,
    /// Only those that came before: a date, or how long ago
    #[arg(long, value_name = "WHEN")]
    until: Option<Moment>,
    /// How many at most, the newest first
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    limit: u16,
}

impl VisitsCommand {
    /// Lists them, or ends some.
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self.verb {
            Some(Verb::Cut { visits }) => cut(session, &visits).await,
            None => self.filter.list(session).await,
        }
    }
}

/// Ends visits, one after the other.
async fn cut(session: &Session, visits: &[VisitId]) -> Outcome {
    for visit in visits {
        let reply: Reply<Option<Visit>> = session.api.remove(&["visits", visit.as_str()]).await?;
        match (&reply.value, session.output.json) {
            (Some(_), true) => print(&reply.text)?,
            (None, true) => {}
            (Some(_), false) => note(&format!("{visit} ends as soon as its relay hears of it")),
            (None, false) => note(&format!("{visit} is over")),
        }
    }
    Ok(Answer::Yes)
}

impl Filter {
    /// Lists them.
    async fn list(self, session: &Session) -> Outcome {
        let listed = session.api.list::<Visit>(&["visits"], &self.query(Utc::now()), self.limit.into()).await;
        let visits = match &self.device {
            Some(device) => known(&session.api, device, listed).await?,
            None => listed?,
        };
        session.output.list(&visits, "no such visits", |visits| list(visits, Utc::now()))?;
        if visits.page.next.is_some() && !session.output.json {
            note(&format!("there are more; these are the newest {}, see --limit", visits.items.len()));
        }
        Ok(Answer::Yes)
    }

    fn query(&self, now: DateTime<Utc>) -> Query {
        let moment = |moment: Option<Moment>| moment.map(|moment| moment.text(now));
        let fields = [
            ("device", self.device.as_ref().map(DeviceName::to_string)),
            ("access", self.access.map(|access| access.to_string())),
            ("outcome", self.outcome.clone()),
            ("source", self.from.map(|from| from.to_string())),
            ("since", moment(self.since)),
            ("until", moment(self.until)),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

fn list(visits: &[Visit], now: DateTime<Utc>) -> String {
    let rows: Vec<_> = visits.iter().map(|visit| row(visit, now)).collect();
    table(["ID", "CAME", "BOX", "PORT", "FROM", "ACCESS", "OUTCOME", "LASTED", "UP", "DOWN", "WHY"], &rows)
}

fn row(visit: &Visit, now: DateTime<Utc>) -> [String; 11] {
    let (outcome, was_in) = match visit.outcome {
        VisitOutcome::Open => ("open", true),
        VisitOutcome::Ended => ("ended", true),
        VisitOutcome::Refused => ("refused", false),
    };
    let inside = |text: String| if was_in { text } else { String::new() };
    [
        visit.id.to_string(),
        visit.started_at.format("%Y-%m-%d %H:%M:%S").to_string(),
        device(visit),
        visit.port.map_or_else(String::new, |port| port.to_string()),
        visit.source.to_string(),
        visit.access.map_or_else(String::new, |access| access.to_string()),
        outcome.to_owned(),
        inside(length(visit.ended_at.unwrap_or(now) - visit.started_at)),
        inside(bytes(visit.bytes_up)),
        inside(bytes(visit.bytes_down)),
        visit.reason.clone(),
    ]
}

/// The box's name; its id where no name is known, and nothing where the visitor named no box.
fn device(visit: &Visit) -> String {
    let name = visit.device_name.as_ref().map(ToString::to_string);
    name.or_else(|| visit.device.map(|id| id.to_string())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_shows_its_reason_and_no_bytes() {
        let text = r#"{"id":"k7f2q5xwab","relay":"k7f2q5xwac","entrance":"gate","source":"198.51.100.7",
            "source_port":5,"started_at":"2026-11-21T18:00:00Z","outcome":"refused","code":"address_not_allowed",
            "reason":"address not allowed: 198.51.100.7","bytes_up":0,"bytes_down":0}"#;
        let visit: Visit = serde_json::from_str(text).unwrap();
        let [_, came, .., outcome, lasted, _, down, why] = row(&visit, visit.started_at);
        assert_eq!((&*came, &*outcome, &*lasted, &*down), ("2026-11-21 18:00:00", "refused", "", ""));
        assert!(why.starts_with("address not allowed"));
    }

    #[test]
    fn filters_are_asked_of_the_api() {
        use clap::Parser;
        #[derive(Parser)]
        struct Only {
            #[command(flatten)]
            visits: Filter,
        }
        let line = "x --device box42 --outcome refused --from 2001:db8::1 --since 2h";
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let query = Only::parse_from(line.split(' ')).visits.query(now);
        let expected = [
            ("device", "box42"),
            ("outcome", "refused"),
            ("source", "2001:db8::1"),
            ("since", "2023-11-14T20:13:20Z"),
        ];
        assert_eq!(query, expected.map(|(name, value)| (name, value.to_owned())));
    }
}
