//! `postern webhook`: addresses that are called when something happens.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use postern_protocol::api::{
    CreateWebhook, Delivery, DeliveryStatus, EditWebhook, NewWebhook, Webhook, WebhookEvent, WebhookStatus,
};
use postern_protocol::id::WebhookId;

use crate::api::Query;
use crate::args::Session;
use crate::failure::{Answer, Failure, Outcome};
use crate::moments::seen_from;
use crate::output::{note, print, table};

/// `postern webhook …`. It takes the role owner.
#[derive(Debug, Subcommand)]
pub(crate) enum WebhookCommand {
    /// Add a webhook, and print the secret that its calls are signed with; it is shown this once
    Add {
        /// What to call, such as https://example.com/hook
        url: String,
        /// Only for this, such as visit.refused; may be repeated. Left out, for everything
        #[arg(long = "event", value_name = "EVENT", value_parser = event)]
        events: Vec<WebhookEvent>,
    },
    /// List the webhooks, and whether their calls arrive
    List,
    /// Change a webhook; what waits for it is tried again at once
    Edit(Edit),
    /// Remove webhooks
    #[command(alias = "rm")]
    Remove {
        /// Their ids
        #[arg(required = true, value_name = "ID")]
        webhooks: Vec<WebhookId>,
    },
    /// What was delivered to a webhook or is to be, and what became of it
    Deliveries {
        /// Its id
        webhook: WebhookId,
        /// How many at most, the newest first
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
        limit: u16,
    },
    /// Call a webhook to try it
    Test {
        /// Its id
        webhook: WebhookId,
    },
}

/// `postern webhook edit`
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(true).args(["url", "events", "enable", "disable"])))]
pub(crate) struct Edit {
    /// Its id
    webhook: WebhookId,
    /// Another address
    #[arg(long)]
    url: Option<String>,
    /// Only for this from now on; may be repeated
    #[arg(long = "event", value_name = "EVENT", value_parser = event)]
    events: Vec<WebhookEvent>,
    /// Call it again
    #[arg(long, conflicts_with = "disable")]
    enable: bool,
    /// Call it no more until it is enabled
    #[arg(long)]
    disable: bool,
}

impl WebhookCommand {
    /// Does it.
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let Session { api, output, .. } = session;
        match self {
            Self::Add { url, events } => add(session, url, events).await?,
            Self::List => {
                let webhooks = api.list_whole::<Webhook>(&["webhooks"]).await?;
                output.list(&webhooks, "no webhooks; add one with: postern webhook add URL", list)?;
            }
            Self::Edit(edit) => {
                let enabled = edit.enable.then_some(true).or(edit.disable.then_some(false));
                let events = (!edit.events.is_empty()).then_some(edit.events);
                let change = EditWebhook { url: edit.url, events, enabled };
                let changed = api.change::<Webhook>(&["webhooks", edit.webhook.as_str()], &change).await?;
                output.reply(&changed, |webhook| list(std::slice::from_ref(webhook)))?;
            }
            Self::Remove { webhooks } => {
                for webhook in webhooks {
                    api.delete(&["webhooks", webhook.as_str()]).await?;
                    note(&format!("{webhook} is called no more"));
                }
            }
            Self::Deliveries { webhook, limit } => {
                let path = ["webhooks", webhook.as_str(), "deliveries"];
                let found = api.list::<Delivery>(&path, &Query::new(), limit.into()).await?;
                output.list(&found, "nothing was delivered yet", |found| deliveries(found, Utc::now()))?;
            }
            Self::Test { webhook } => {
                let path = ["webhooks", webhook.as_str(), "test"];
                let sent = api.ask::<Delivery>(&path, &serde_json::json!({})).await?;
                let see = |sent: &Delivery| {
                    format!("{} is under way; see: postern webhook deliveries {webhook}", sent.id)
                };
                output.reply(&sent, see)?;
            }
        }
        Ok(Answer::Yes)
    }
}

async fn add(session: &Session, url: String, events: Vec<WebhookEvent>) -> Result<(), Failure> {
    let request = CreateWebhook { url, events: (!events.is_empty()).then_some(events) };
    let added = session.api.ask::<NewWebhook>(&["webhooks"], &request).await?;
    if session.output.json {
        return print(added.text.trim_end());
    }
    note(&format!("webhook {}; its secret is shown this once:", added.value.about.id));
    print(added.value.secret.reveal())
}

fn event(text: &str) -> Result<WebhookEvent, String> {
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
}

fn word(event: WebhookEvent) -> String {
    serde_json::to_value(event).ok().and_then(|word| Some(word.as_str()?.to_owned())).unwrap_or_default()
}

fn list(webhooks: &[Webhook]) -> String {
    let rows: Vec<_> = webhooks.iter().map(row).collect();
    table(["ID", "STATUS", "URL", "EVENTS"], &rows)
}

fn row(webhook: &Webhook) -> [String; 4] {
    let status = match webhook.status {
        WebhookStatus::Active => "active",
        WebhookStatus::Failing => "failing",
        WebhookStatus::Disabled => "disabled",
    };
    let events = match webhook.events.len() == WebhookEvent::ALL.len() {
        true => "all".to_owned(),
        false => webhook.events.iter().copied().map(word).collect::<Vec<_>>().join(" "),
    };
    [webhook.id.to_string(), status.to_owned(), webhook.url.clone(), events]
}

fn deliveries(found: &[Delivery], now: DateTime<Utc>) -> String {
    let row = |delivery: &Delivery| {
        let status = match delivery.status {
            DeliveryStatus::Pending => "pending",
            DeliveryStatus::Delivered => "delivered",
            DeliveryStatus::Failed => "failed",
        };
        let next = delivery.next_attempt_at.map(|at| format!("next {}", seen_from(now, at)));
        let why = [delivery.problem.clone(), next].into_iter().flatten().collect::<Vec<_>>().join("; ");
        [
            delivery.occurred_at.format("%Y-%m-%d %H:%M:%S").to_string(),
            word(delivery.event),
            status.to_owned(),
            delivery.attempts.to_string(),
            why,
        ]
    };
    let rows: Vec<_> = found.iter().map(row).collect();
    table(["WHEN", "EVENT", "STATUS", "TRIED", "WHY"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_of_those_there_are() {
        for known in WebhookEvent::ALL {
            assert_eq!(event(&word(known)), Ok(known));
        }
        assert!(event("box.eaten").unwrap_err().contains("`visit.refused`"));
    }

    #[test]
    fn a_delivery_that_waits_says_why_and_until_when() {
        let text = r#"{"id":"k7f2q5xwab","event":"box.offline","occurred_at":"2026-11-21T18:00:00Z","status":"pending",
            "attempts":2,"next_attempt_at":"2026-11-21T18:10:00Z","http_status":500,"problem":"it answered 500"}"#;
        let delivery: Delivery = serde_json::from_str(text).unwrap();
        let now = delivery.occurred_at;
        let shown = deliveries(&[delivery], now);
        assert!(shown.contains("pending") && shown.contains("it answered 500; next in 10"), "{shown}");
    }
}
