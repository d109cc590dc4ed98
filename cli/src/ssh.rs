//! `postern ssh`: finds or creates an access, and hands over to the system's ssh.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::str::FromStr;

use anyhow::anyhow;
use chrono::Utc;
use clap::Args;
use postern_protocol::api::{Access, AccessStatus, CreateAccess, Relay};
use postern_protocol::id::{DeviceName, Login};

use crate::access::{create, live, no_way, tell, warn};
use crate::args::Session;
use crate::failure::{Failure, Outcome};
use crate::identity::{self, At, Identity};
use crate::output::{note, tame};
use crate::way::{Block, Folder, Held, best, held, start};

/// How long an access lasts that is created on the way.
const LASTS: &str = "2h";

/// Locale variables go along, as most systems' own configuration has it.
const GO_ALONG: &str = "Host *\n    SendEnv LANG LC_*\n    ServerAliveInterval 30\n";

/// `postern ssh`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postern ssh box42
  postern ssh admin@box42 uname -a
  postern ssh box42 -- -L 8080:localhost:80
An access for one of your keys is taken if there is one; else one is created, for your own address.")]
pub(crate) struct Ssh {
    /// Where to: the box, by name, or LOGIN@BOX
    #[arg(value_name = "BOX")]
    target: Target,
    /// How long an access lasts that is created now
    #[arg(long = "for", value_name = "SPAN", default_value = LASTS)]
    lasts: String,
    /// Create an access even if there is one
    #[arg(long)]
    new: bool,
    /// What ssh is given: options after --, a command
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub(crate) rest: Vec<String>,
}

/// `box42` or `root@box42`
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    login: Option<Login>,
    device: DeviceName,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (login, device) = match text.split_once('@') {
            Some((login, device)) => (Some(login), device),
            None => (None, text),
        };
        let login = login
            .map(str::parse)
            .transpose()
            .map_err(|problem: postern_protocol::id::InvalidName| problem.to_string())?;
        Ok(Self {
            login,
            device: device
                .parse()
                .map_err(|problem: postern_protocol::id::InvalidName| problem.to_string())?,
        })
    }
}

impl Ssh {
    /// Becomes ssh; comes back only if that fails.
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let identities = identity::all(&session.places).await;
        let accesses = live(&session.api, Some(&self.target.device)).await?;
        let mine = held(&accesses, &identities, Utc::now());
        let found = best(&mine, self.target.login.as_ref()).filter(|_| !self.new);
        let created;
        let held = match found {
            Some(held) => {
                warn(held.access);
                held.clone()
            }
            None => {
                created = self.create(session, &identities).await?;
                Held { access: &created.0, identity: &created.1 }
            }
        };
        let ready = prepare(session, &held).await?;
        let name = held.access.device_name.to_string();
        Err(become_ssh(&ready, &name, &self.rest))
    }

    /// A new access for the usual key, and that key.
    async fn create(
        &self,
        session: &Session,
        identities: &[Identity],
    ) -> Result<(Access, Identity), Failure> {
        let identity = match identities.first() {
            Some(identity) => identity.clone(),
            None => {
                // It says how to make one.
                let usual = identity::usual(&session.places).await?;
                Identity { key: usual.pasted.key, comment: usual.pasted.comment, at: At::Agent }
            }
        };
        let request = CreateAccess {
            device: self.target.device.to_string(),
            exposed_port: 22,
            allowed_ips: None,
            allow_any: false,
            expires_at: None,
            expires_in: Some(self.lasts.clone()),
            public_key: Some(format!("{} {}", identity.key, identity.comment).trim_end().to_owned()),
            login: self.target.login.clone(),
            via: None,
            note: Some("postern ssh".to_owned()),
        };
        let created = create(&session.api, &self.target.device, &request, true).await?.value;
        tell(&created);
        Ok((created.access, identity))
    }
}

/// Writes configuration and known hosts for one access.
async fn prepare(session: &Session, held: &Held<'_>) -> Result<Folder, Failure> {
    let access = held.access;
    let relays = session.api.list_whole::<Relay>(&["relays"]).await?.items;
    let start = start(access, &relays).ok_or_else(|| no_way(access))?;
    let box_keys = access.connection.as_ref().map_or(0, |connection| connection.fingerprints.device.len());
    if box_keys == 0 {
        return Err(Failure::NotFound(format!(
            "{} has not told its SSH host keys yet, so nobody could know it is itself: {}",
            access.device_name,
            tame(&access.status_reason)
        )));
    }
    if access.status == AccessStatus::Pending {
        note(&format!("pending: {}", tame(&access.status_reason)));
    }
    // By box and user, so that old accesses leave no files behind.
    let name = format!("{}.{}", access.device_name, access.login);
    let folder = Folder::open(session.places.ways(), &name)?;
    let names = [access.device_name.to_string()];
    folder.write("", &[Block::new(held, start, &names, &folder)?], GO_ALONG)?;
    Ok(folder)
}

fn become_ssh(folder: &Folder, name: &str, rest: &[String]) -> Failure {
    let error = Command::new("ssh").arg("-F").arg(folder.config()).arg(name).args(rest).exec();
    Failure::Here(match error.kind() == std::io::ErrorKind::NotFound {
        true => anyhow!("there is no ssh on this machine; on Debian: apt-get install openssh-client"),
        false => anyhow::Error::new(error).context("running ssh"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_may_name_the_user() {
        let target = |text: &str| {
            text.parse::<Target>()
                .ok()
                .map(|target| (target.login.map(|l| l.to_string()), target.device.to_string()))
        };
        assert_eq!(target("box42"), Some((None, "box42".to_owned())));
        assert_eq!(target("ann@box42"), Some((Some("ann".to_owned()), "box42".to_owned())));
        for text in ["", "@box42", "-oProxyCommand=x", "ann@", "a b@box42", "ann@box42@x"] {
            assert_eq!(target(text), None, "{text:?}");
        }
    }
}
