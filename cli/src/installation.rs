//! `postern installation`: what whoever runs it has set.

use clap::Args;
use postern_protocol::api::Installation;

use crate::args::Session;
use crate::failure::{Answer, Outcome};
use crate::output::details;

/// `postern installation`
#[derive(Debug, Args)]
pub(crate) struct InstallationCommand {}

impl InstallationCommand {
    /// Shows it.
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let found = session.api.show::<Installation>(&["installation"]).await?;
        session.output.reply(&found, shown)?;
        Ok(Answer::Yes)
    }
}

fn shown(set: &Installation) -> String {
    let days = |days: u16| Some(if days == 0 { "for good".to_owned() } else { format!("{days} days") });
    let rate = |most: u32| Some(if most == 0 { "no limit".to_owned() } else { format!("{most} a minute") });
    details(
        &format!("control API {}", set.version),
        &[
            ("visits are kept", days(set.retention.visits)),
            ("the audit is kept", days(set.retention.audit)),
            ("events are kept", days(set.retention.events)),
            ("deliveries are kept", days(set.retention.deliveries)),
            ("requests of a token or user", rate(set.limits.per_credential)),
            ("requests from an address", rate(set.limits.per_address)),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_stands_for_no_end_and_no_limit() {
        let text = r#"{"version":"0.1.0","retention":{"visits":30,"audit":0,"events":30,"deliveries":7},
            "limits":{"per_credential":0,"per_address":300}}"#;
        let text = shown(&serde_json::from_str(text).unwrap());
        for part in ["30 days", "for good", "no limit", "300 a minute"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
