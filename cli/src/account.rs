//! `postern account`: accounts of the installation, and who one is oneself.

use clap::{Args, Subcommand};
use postern_protocol::api::{Account, CreateAccount, RenameAccount, Session as Me};
use postern_protocol::id::UserName;

use crate::args::Session;
use crate::confirm::confirmed;
use crate::failure::{Answer, Failure, Outcome};
use crate::moments::full;
use crate::output::{details, note, table};
use crate::user::show_link;

/// `postern account …`. It takes an admin of the installation, who sees accounts from outside.
#[derive(Debug, Subcommand)]
pub(crate) enum AccountCommand {
    /// Open an account, and print the link by which its first owner chooses a password
    Add {
        /// Its name
        #[arg(value_parser = segment)]
        name: String,
        /// What its first owner signs in with, such as an e-mail address
        #[arg(long)]
        owner: UserName,
    },
    /// List the accounts
    List,
    /// Show an account
    Show {
        /// Its name or id
        #[arg(value_parser = segment)]
        account: String,
    },
    /// Give an account another name
    Rename {
        /// Its name or id
        #[arg(value_parser = segment)]
        account: String,
        /// The new name
        name: String,
    },
    /// Close an account for good: its boxes, accesses, users and tokens
    Rm {
        /// Its name or id
        #[arg(value_parser = segment)]
        account: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// A name that stands in a path: whatever else it is, it is no way up.
pub(crate) fn segment(text: &str) -> Result<String, String> {
    match text.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        true => Ok(text.to_owned()),
        false => Err("it begins with a letter or a digit".to_owned()),
    }
}

impl AccountCommand {
    /// Does it.
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let Session { api, output, .. } = session;
        match self {
            Self::Add { name, owner } => {
                let made = api.ask(&["accounts"], &CreateAccount { name, owner }).await?;
                return show_link(session, &made, |account: &Account| account.owner.as_ref());
            }
            Self::List => {
                let accounts = api.list_whole::<Account>(&["accounts"]).await?;
                output.list(&accounts, "no accounts", list)?;
            }
            Self::Show { account } => {
                let shown = api.show::<Account>(&["accounts", &account]).await?;
                output.reply(&shown, describe)?;
            }
            Self::Rename { account, name } => {
                let renamed = api.change::<Account>(&["accounts", &account], &RenameAccount { name }).await?;
                output.reply(&renamed, |now| format!("{account} is called {} now", now.name))?;
            }
            Self::Rm { account, yes } => {
                let question =
                    format!("Close {account}? Its boxes, accesses, users and tokens are gone for good.");
                if !confirmed(&question, yes)? {
                    return Ok(Answer::No);
                }
                api.delete(&["accounts", &account]).await?;
                note(&format!("{account} is closed"));
            }
        }
        Ok(Answer::Yes)
    }
}

/// `postern whoami`
#[derive(Debug, Args)]
pub(crate) struct Whoami {}

impl Whoami {
    /// Shows it.
    pub(crate) async fn run(self, session: &Session) -> Result<Answer, Failure> {
        let me = session.api.show::<Me>(&["session"]).await?;
        session.output.reply(&me, introduce)?;
        Ok(Answer::Yes)
    }
}

fn introduce(me: &Me) -> String {
    let token = me.token.map(|token| format!("token {token}"));
    let who = me.user_name.as_ref().map(ToString::to_string).or(token).unwrap_or_default();
    let boxes = me
        .devices
        .as_ref()
        .map(|devices| devices.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    details(
        &who,
        &[
            ("account", Some(format!("{} ({})", me.account_name, me.account))),
            (
                "role",
                Some(format!("{}{}", me.role, if me.admin { ", admin of the installation" } else { "" })),
            ),
            ("only boxes", boxes),
            ("until", me.expires_at.map(full)),
        ],
    )
}

fn list(accounts: &[Account]) -> String {
    let row = |account: &Account| {
        [
            account.name.clone(),
            account.users.to_string(),
            account.devices.to_string(),
            full(account.created_at),
            account.id.to_string(),
        ]
    };
    let rows: Vec<_> = accounts.iter().map(row).collect();
    table(["NAME", "USERS", "BOXES", "OPENED", "ID"], &rows)
}

fn describe(account: &Account) -> String {
    details(
        &format!("{}{}", account.name, if account.own { ", the installation's own" } else { "" }),
        &[
            ("users", Some(account.users.to_string())),
            ("boxes", Some(account.devices.to_string())),
            ("opened", Some(full(account.created_at))),
            ("id", Some(account.id.to_string())),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_is_told_who_they_are() {
        let text = r#"{"account":"k7f2q5xwab","account_name":"default","role":"operator","admin":false,
            "devices":["k7f2q5xwac"],"token":"k7f2q5xwad"}"#;
        let said = introduce(&serde_json::from_str(text).unwrap());
        assert!(said.starts_with("token k7f2q5xwad\n  account     default (k7f2q5xwab)\n"), "{said}");
        assert!(said.ends_with("only boxes  k7f2q5xwac"), "{said}");
    }

    #[test]
    fn an_account_is_no_way_up_a_path() {
        assert!(segment("acme-2").is_ok());
        assert!(segment("..").is_err() && segment("").is_err());
    }
}
