//! `postern events`: what happened besides visits.

use clap::Args;
use postern_protocol::api::Event;

use crate::api::Query;
use crate::args::Session;
use crate::failure::{Answer, Outcome};
use crate::output::{note, table};

/// `postern events`
#[derive(Debug, Args)]
pub(crate) struct EventsCommand {
    /// How many at most, the newest first
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    limit: u16,
}

impl EventsCommand {
    /// Lists them.
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let events = session.api.list::<Event>(&["events"], &Query::new(), self.limit.into()).await?;
        session.output.list(&events, "nothing happened", list)?;
        if events.page.next.is_some() && !session.output.json {
            note(&format!("there are more; these are the newest {}, see --limit", events.items.len()));
        }
        Ok(Answer::Yes)
    }
}

fn list(events: &[Event]) -> String {
    let rows: Vec<_> = events.iter().map(row).collect();
    table(["WHEN", "WHAT", "OF", "BY", "MORE"], &rows)
}

fn row(event: &Event) -> [String; 5] {
    let name = event.detail.get("name").unwrap_or(&event.subject);
    let rest = event.detail.iter().filter(|(field, _)| *field != "name");
    [
        event.at.format("%Y-%m-%d %H:%M:%S").to_string(),
        event.action.clone(),
        name.clone(),
        event.actor.clone(),
        rest.map(|(field, value)| format!("{field}={value}")).collect::<Vec<_>>().join(" "),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_by_the_name_of_what_it_is_about() {
        let text = r#"{"id":"k7f2q5xwab","at":"2026-11-21T18:00:00Z","actor":"box","action":"host_keys_changed",
            "subject":"k7f2q5xwac","detail":{"name":"box42","expected":"a","reported":"b"}}"#;
        let event: Event = serde_json::from_str(text).unwrap();
        let line = row(&event).join(" | ");
        assert_eq!(line, "2026-11-21 18:00:00 | host_keys_changed | box42 | box | expected=a reported=b");
    }
}
