//! `postern user`: people of the account, who sign in with a browser.

use chrono::{DateTime, Utc};
use clap::{ArgGroup, Args, Subcommand};
use postern_protocol::api::{CreateUser, EditUser, Role, User, UserStatus};
use postern_protocol::id::UserName;

use crate::api::Reply;
use crate::args::Session;
use crate::confirm::confirmed;
use crate::failure::{Answer, Failure, Outcome};
use crate::moments::{full, seen_from};
use crate::output::{details, note, print, table};

/// `postern user …`. It takes the role owner. A user is named by their name or their id.
#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Add a user, and print the link by which they choose a password
    Add {
        /// What they sign in with, such as an e-mail address
        name: UserName,
        /// What they may do: viewer, operator or owner
        #[arg(long, default_value_t = Role::Viewer)]
        role: Role,
        /// They also look after the installation: its accounts and relays
        #[arg(long)]
        admin: bool,
    },
    /// List the users
    List,
    /// Show a user
    Show {
        /// Their name or id
        user: UserName,
    },
    /// Give a user another name or role, or keep them out
    Edit(Edit),
    /// Print a new link by which a user chooses a password, for a link or a password that was lost
    Invite {
        /// Their name or id
        user: UserName,
    },
    /// Sign a user out everywhere
    SignOut {
        /// Their name or id
        user: UserName,
    },
    /// Remove a user: they are signed out at once, and what they made stays
    Rm {
        /// Their name or id
        user: UserName,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// `postern user edit`
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("change").required(true).multiple(true)
    .args(["name", "role", "admin", "disable", "enable"])))]
pub(crate) struct Edit {
    /// Their name or id
    user: UserName,
    /// Another name
    #[arg(long)]
    name: Option<UserName>,
    /// Another role: viewer, operator or owner
    #[arg(long)]
    role: Option<Role>,
    /// Whether they also look after the installation: true or false
    #[arg(long, value_name = "BOOL")]
    admin: Option<bool>,
    /// Keep them out; their sessions end
    #[arg(long)]
    disable: bool,
    /// Let them in again
    #[arg(long, conflicts_with = "disable")]
    enable: bool,
}

impl UserCommand {
    /// Does it.
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let Session { api, output, .. } = session;
        match self {
            Self::Add { name, role, admin } => {
                let made = api.ask(&["users"], &CreateUser { name, role, admin }).await?;
                show_link(session, &made, |user: &User| Some(user))
            }
            Self::List => {
                let users = api.list_whole::<User>(&["users"]).await?;
                let empty = "no users yet; add one with: postern user add NAME";
                output.list(&users, empty, |users| list(users, Utc::now()))?;
                Ok(Answer::Yes)
            }
            Self::Show { user } => {
                let shown = api.show::<User>(&["users", user.as_str()]).await?;
                output.reply(&shown, |user| describe(user, Utc::now()))?;
                Ok(Answer::Yes)
            }
            Self::Edit(Edit { user, name, role, admin, disable, enable }) => {
                let disabled = (disable || enable).then_some(disable);
                let change = EditUser { name, role, admin, disabled };
                let edited = api.change::<User>(&["users", user.as_str()], &change).await?;
                output.reply(&edited, |user| describe(user, Utc::now()))?;
                Ok(Answer::Yes)
            }
            Self::Invite { user } => {
                let made = api.ask(&["users", user.as_str(), "invitation"], &()).await?;
                show_link(session, &made, |user: &User| Some(user))
            }
            Self::SignOut { user } => {
                api.delete(&["users", user.as_str(), "sessions"]).await?;
                note(&format!("{user} is signed out everywhere"));
                Ok(Answer::Yes)
            }
            Self::Rm { user, yes } => {
                if !confirmed(&format!("Remove {user}? They are signed out at once."), yes)? {
                    return Ok(Answer::No);
                }
                api.delete(&["users", user.as_str()]).await?;
                note(&format!("{user} is gone"));
                Ok(Answer::Yes)
            }
        }
    }
}

/// The link goes to stdout, alone, so that it can be piped to whoever needs it.
pub(crate) fn show_link<T>(
    session: &Session,
    made: &Reply<T>,
    of: impl Fn(&T) -> Option<&User>,
) -> Result<Answer, Failure> {
    if session.output.json {
        print(made.text.trim_end())?;
    } else if let Some((user, invitation)) =
        of(&made.value).and_then(|user| Some((user, user.invitation.as_ref()?)))
    {
        note(&format!(
            "{} ({}) chooses a password here; the link works once, until {}:",
            user.name,
            user.role,
            full(invitation.expires_at)
        ));
        print(invitation.link.reveal())?;
    }
    Ok(Answer::Yes)
}

fn list(users: &[User], now: DateTime<Utc>) -> String {
    let row = |user: &User| {
        [
            user.name.to_string(),
            rank(user),
            status(user.status).to_owned(),
            user.signed_in_at.map_or_else(String::new, |at| seen_from(now, at)),
            user.id.to_string(),
        ]
    };
    let rows: Vec<_> = users.iter().map(row).collect();
    table(["NAME", "ROLE", "STATUS", "SIGNED IN", "ID"], &rows)
}

fn describe(user: &User, now: DateTime<Utc>) -> String {
    let at = |at: DateTime<Utc>| format!("{} ({})", full(at), seen_from(now, at));
    details(
        &format!("{}: {}", user.name, status(user.status)),
        &[
            ("role", Some(rank(user))),
            ("signed in", user.signed_in_at.map(at)),
            ("added", Some(full(user.created_at))),
            ("id", Some(user.id.to_string())),
        ],
    )
}

fn rank(user: &User) -> String {
    format!("{}{}", user.role, if user.admin { ", admin" } else { "" })
}

fn status(status: UserStatus) -> &'static str {
    match status {
        UserStatus::Invited => "invited",
        UserStatus::Active => "active",
        UserStatus::Disabled => "kept out",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_shown_with_what_they_may_do() {
        let text = r#"{"id":"k7f2q5xwab","name":"ann@example.com","role":"owner","admin":true,
            "status":"active","created_at":"2023-11-14T22:00:00Z","signed_in_at":"2023-11-14T22:13:00Z"}"#;
        let user: User = serde_json::from_str(text).unwrap();
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let shown = list(std::slice::from_ref(&user), now);
        assert!(shown.contains("ann@example.com  owner, admin  active  20 s ago   k7f2q5xwab"), "{shown}");
        assert!(describe(&user, now).starts_with("ann@example.com: active\n  role       owner, admin\n"));
    }
}
