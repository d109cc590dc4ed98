//! `postern verify`: would they get in?

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use clap::Args;
use postern_protocol::api::{Verify, VerifyAnswer};
use postern_protocol::id::{AccessId, DeviceName};

use crate::args::Session;
use crate::device::known;
use crate::failure::{Answer, Failure, Outcome};
use crate::moments::{date, full};
use crate::{identity, output};

/// `postern verify`
#[derive(Debug, Args)]
pub(crate) struct VerifyCommand {
    /// The box, by name or id
    device: DeviceName,
    /// Where they would come from
    #[arg(long, value_name = "IP")]
    from: IpAddr,
    /// The port of the box
    #[arg(long, default_value_t = 22, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// The key they would prove: a file, or `-` for stdin; none for a web page or a public port
    #[arg(long, value_name = "FILE")]
    key: Option<String>,
    /// The public port of the relay that they would come to
    #[arg(long, value_name = "PORT", conflicts_with = "key", value_parser = clap::value_parser!(u16).range(1..))]
    public_port: Option<u16>,
    /// The access they would name; left out, any access of the box may let them in
    #[arg(long)]
    access: Option<AccessId>,
    /// When, such as 2026-11-21T18:00:00Z; left out, now
    #[arg(long, value_name = "DATE", value_parser = date)]
    at: Option<DateTime<Utc>>,
}

impl VerifyCommand {
    /// Asks, and answers with the exit status too.
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        if self.port == 22 && self.key.is_none() && self.public_port.is_none() {
            let advice = "port 22 is reached with --key FILE through the gate, or by a --public-port";
            return Err(Failure::Usage(advice.to_owned()));
        }
        let key = match &self.key {
            Some(key) => Some(identity::named(key, &session.places).await?.line()),
            None => None,
        };
        let Self { device, from: source, port, public_port, access, at, .. } = self;
        let attempt = Verify { device: device.to_string(), source, port, key, public_port, access, at };
        let asked = session.api.ask::<VerifyAnswer>(&["verify"], &attempt).await;
        let answer = known(&session.api, &device, asked).await?;
        session.output.reply(&answer, words)?;
        Ok(if answer.value.allowed { Answer::Yes } else { Answer::No })
    }
}

fn words(answer: &VerifyAnswer) -> String {
    let verdict = if answer.allowed { "allow" } else { "deny" };
    let reason = match (answer.allowed, answer.until) {
        (true, Some(until)) => format!("until {}", full(until)),
        _ => format!("{} ({})", answer.reason, answer.code),
    };
    let rule = answer.access.map_or_else(String::new, |access| format!(", by access {access}"));
    output::tame(&format!("{verdict}: {reason}{rule}")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_stands_first() {
        let denial =
            r#"{"allowed":false,"code":"address_not_allowed","reason":"address not allowed: 198.51.100.7"}"#;
        assert_eq!(
            words(&serde_json::from_str(denial).unwrap()),
            "deny: address not allowed: 198.51.100.7 (address_not_allowed)"
        );
        let permit = r#"{"allowed":true,"code":"allowed","reason":"allowed until …","access":"k7f2q5xwab","until":"2026-11-21T18:00:00Z"}"#;
        assert_eq!(
            words(&serde_json::from_str(permit).unwrap()),
            "allow: until 2026-11-21 18:00:00 UTC, by access k7f2q5xwab"
        );
    }
}
