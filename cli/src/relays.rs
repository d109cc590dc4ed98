//! `postern relays`: where visitors and boxes meet.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use postern_protocol::api::{CreateRelay, NewRelay, Relay};

use crate::account::segment;
use crate::args::Session;
use crate::confirm::confirmed;
use crate::failure::{Answer, Outcome};
use crate::moments::seen_from;
use crate::output::{note, print, table};

/// `postern relays`
#[derive(Debug, Args)]
pub(crate) struct RelaysCommand {
    #[command(subcommand)]
    verb: Option<Verb>,
}

/// What else can be done with relays. It takes an admin of the installation.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Register a relay, and print the token that it proves itself with; it is shown this once
    Add {
        /// What to call it
        name: String,
    },
    /// Forget a relay: its token stops working, and it gets no rules any more
    Rm {
        /// Its name or id
        #[arg(value_parser = segment)]
        relay: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

impl RelaysCommand {
    /// Lists them, or changes which there are.
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let Session { api, output, .. } = session;
        match self.verb {
            None => {
                let relays = api.list_whole::<Relay>(&["relays"]).await?;
                let empty = "no relays yet; register one with: postern relays add relay-1";
                output.list(&relays, empty, |relays| list(relays, Utc::now()))?;
            }
            Some(Verb::Add { name }) => {
                let added = api.ask::<NewRelay>(&["relays"], &CreateRelay { name }).await?;
                if output.json {
                    print(added.text.trim_end())?;
                } else {
                    note(&format!("relay {}; its token is shown this once:", added.value.relay));
                    print(added.value.token.reveal())?;
                }
            }
            Some(Verb::Rm { relay, yes }) => {
                let question =
                    format!("Forget {relay}? Its visits go on, but it hears of no change any more.");
                if !confirmed(&question, yes)? {
                    return Ok(Answer::No);
                }
                api.delete(&["relays", &relay]).await?;
                note(&format!("{relay} is forgotten"));
            }
        }
        Ok(Answer::Yes)
    }
}

fn list(relays: &[Relay], now: DateTime<Utc>) -> String {
    let row = |relay: &Relay| {
        [
            relay.name.clone(),
            standing(relay, now),
            relay.gate.as_ref().map_or_else(String::new, |gate| format!("{} port {}", gate.host, gate.port)),
            relay.web.as_ref().map_or_else(String::new, |web| format!("*.{} port {}", web.domain, web.port)),
            relay.ports.map_or_else(String::new, |ports| ports.to_string()),
            relay.boxes.to_string(),
            if relay.connected { rules(relay) } else { String::new() },
            relay.version.clone().unwrap_or_default(),
            relay.id.to_string(),
        ]
    };
    let rows: Vec<_> = relays.iter().map(row).collect();
    table(
        ["NAME", "STATUS", "SSH GATE", "TLS FRONT", "PUBLIC PORTS", "BOXES", "ENFORCES", "VERSION", "ID"],
        &rows,
    )
}

fn standing(relay: &Relay, now: DateTime<Utc>) -> String {
    match (relay.connected, relay.last_seen) {
        (true, _) => "connected".to_owned(),
        (false, Some(seen)) => format!("away, last seen {}", seen_from(now, seen)),
        (false, None) => "has never started".to_owned(),
    }
}

/// Revisions rise, but not by one; that one is newer is all they say.
fn rules(relay: &Relay) -> String {
    match relay.revision_in_force >= relay.revision {
        true => "the newest".to_owned(),
        false => "older ones".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_that_lags_or_is_away_is_seen_to() {
        let text = r#"{"id":"k7f2q5xwab","name":"relay-1","created_at":"2023-11-14T22:00:00Z","connected":true,
            "last_seen":"2023-11-14T22:13:00Z","revision_in_force":7,"revision":9,"boxes":2,
            "gate":{"host":"2001:db8::1","port":2222,"host_keys":[]},
            "web":{"domain":"relay.example.com","port":443},"ports":"40000-40999"}"#;
        let mut relay: Relay = serde_json::from_str(text).unwrap();
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let shown = list(std::slice::from_ref(&relay), now);
        for part in [
            "connected",
            "2001:db8::1 port 2222",
            "older ones",
            "*.relay.example.com port 443",
            "40000-40999",
        ] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
        relay.connected = false;
        assert!(list(&[relay], now).contains("away, last seen 20 s ago"));
    }
}
