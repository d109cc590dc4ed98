//! `postern token`: API tokens, for programs and for this command elsewhere.

use chrono::{DateTime, Utc};
use clap::Subcommand;
use postern_protocol::api::{CreateToken, NewToken, Role, Token};
use postern_protocol::id::{DeviceName, TokenId};

use crate::args::Session;
use crate::failure::{Answer, Outcome};
use crate::moments::{full, seen_from};
use crate::output::{note, print, table};

/// `postern token …`. It takes the role owner.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token and print it; it is shown this once
    Add {
        /// What it is for
        name: String,
        /// What its holder may do: viewer, operator or owner [default: operator]
        #[arg(long, default_value_t = Role::Operator, hide_default_value = true)]
        role: Role,
        /// Its holder also looks after the installation: its accounts and relays
        #[arg(long)]
        admin: bool,
        /// How long it works, such as 90d; forever, if left out
        #[arg(long = "for", value_name = "TIME")]
        lasts: Option<String>,
        /// Only for this box, by name or id; may be repeated
        #[arg(long = "device", value_name = "BOX")]
        devices: Vec<DeviceName>,
    },
    /// List the tokens, without their secrets
    List,
    /// Remove tokens: they stop working at once
    Rm {
        /// Their ids
        #[arg(required = true, value_name = "ID")]
        tokens: Vec<TokenId>,
    },
}

impl TokenCommand {
    /// Does it.
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let Session { api, output, .. } = session;
        match self {
            Self::Add { name, role, admin, lasts, devices } => {
                let devices: Vec<String> = devices.iter().map(ToString::to_string).collect();
                let request = CreateToken {
                    name,
                    role: Some(role),
                    admin,
                    expires_at: None,
                    expires_in: lasts,
                    devices: (!devices.is_empty()).then_some(devices),
                };
                let made = api.ask::<NewToken>(&["tokens"], &request).await?;
                if output.json {
                    print(made.text.trim_end())?;
                } else {
                    note(&format!("{}; it is shown this once:", terms(&made.value.about, Utc::now())));
                    print(made.value.token.reveal())?;
                }
            }
            Self::List => {
                let tokens = api.list_whole::<Token>(&["tokens"]).await?;
                let empty = "no tokens; make one with: postern token add NAME";
                output.list(&tokens, empty, |tokens| list(tokens, Utc::now()))?;
            }
            Self::Rm { tokens } => {
                for token in tokens {
                    api.delete(&["tokens", token.as_str()]).await?;
                    note(&format!("{token} works no more"));
                }
            }
        }
        Ok(Answer::Yes)
    }
}

fn terms(token: &Token, now: DateTime<Utc>) -> String {
    let until = token
        .expires_at
        .map_or_else(|| "for good".to_owned(), |at| format!("until {} ({})", full(at), seen_from(now, at)));
    format!("token {} for {}, {until}", token.id, rank(token))
}

fn rank(token: &Token) -> String {
    let admin = if token.admin { ", admin" } else { "" };
    let boxes = token.devices.as_ref().map_or_else(String::new, |devices| match devices.len() {
        1 => ", one box".to_owned(),
        number => format!(", {number} boxes"),
    });
    format!("{}{admin}{boxes}", token.role)
}

fn list(tokens: &[Token], now: DateTime<Utc>) -> String {
    let row = |token: &Token| {
        [
            token.id.to_string(),
            token.name.clone(),
            rank(token),
            token.expires_at.map_or_else(|| "never".to_owned(), |at| seen_from(now, at)),
            full(token.created_at),
        ]
    };
    let rows: Vec<_> = tokens.iter().map(row).collect();
    table(["ID", "NAME", "ROLE", "ENDS", "MADE"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_shown_with_what_it_is_good_for() {
        let text = r#"{"id":"k7f2q5xwab","name":"ci","role":"operator","admin":false,"devices":["k7f2q5xwac"],
            "created_at":"2023-11-14T22:00:00Z","expires_at":"2023-11-14T23:13:20Z"}"#;
        let token: Token = serde_json::from_str(text).unwrap();
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let said = terms(&token, now);
        assert!(said.starts_with("token k7f2q5xwab for operator, one box, until 2023-11-14"), "{said}");
        assert!(list(&[token], now).contains("ci    operator, one box"));
    }
}
