//! `postern access`: who may come in, where, from where, until when.

use chrono::{DateTime, Utc};
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use postern_protocol::api::{Access, AccessStatus, Approver, EditAccess, Via};
use postern_protocol::connection::Form;
use postern_protocol::id::{AccessId, DeviceName};
use tokio::time::{Instant, sleep};

use crate::api::{Api, Query, Reply};
use crate::args::Session;
use crate::device::{MOST, known};
use crate::failure::{Answer, Failure, Outcome};
use crate::identity;
use crate::moments::{full, seen_from};
use crate::output::{Listed, details, note, print, table, tame};

mod add;
mod terms;
mod via;

pub(crate) use add::{Add, create, tell, warn};
pub(crate) use terms::Terms;
pub(crate) use via::via;

/// `postern access …`
#[derive(Debug, Subcommand)]
pub(crate) enum AccessCommand {
    /// Create an access, and print the command that uses it
    Add(Add),
    /// List the accesses that live
    List(List),
    /// Show an access, or print how to connect for one program
    Show(Show),
    /// Extend, shorten or change an access
    Edit(Edit),
    /// Let in whom somebody outside the account asks for, such as support; it takes the role owner
    Approve {
        /// Their ids, as 'access list --status pending_approval' shows them
        #[arg(required = true, value_name = "ID")]
        accesses: Vec<AccessId>,
    },
    /// Never let in whom somebody outside the account asks for; it takes the role owner
    Deny {
        /// Their ids
        #[arg(required = true, value_name = "ID")]
        accesses: Vec<AccessId>,
    },
    /// Delete accesses: they stop working at once, open connections included
    Rm {
        /// Their ids
        #[arg(required = true, value_name = "ID")]
        accesses: Vec<AccessId>,
    },
}

/// `postern access list`
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only those of this box, by name or id
    #[arg(long, value_name = "BOX")]
    device: Option<DeviceName>,
    /// Only those with this status
    #[arg(long, value_parser = ["pending_approval", "pending", "active", "expired", "revoked"])]
    status: Option<String>,
    /// Those that have ended, too
    #[arg(long, short, conflicts_with = "status")]
    all: bool,
}

/// `postern access show`
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Its id
    #[arg(value_name = "ID")]
    access: AccessId,
    /// Print only how to connect, for this program: openssh, config, known-hosts, putty, putty-unix,
    /// plink, dbclient, winscp, scp, sftp, rsync, ansible or vscode
    #[arg(long = "for", value_name = "PROGRAM")]
    form: Option<Form>,
}

/// `postern access edit`
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("change").required(true).multiple(true).args(Terms::ALL)))]
pub(crate) struct Edit {
    /// Its id
    #[arg(value_name = "ID")]
    access: AccessId,
    #[command(flatten)]
    terms: Terms,
}

/// How long a change may take to be in force where nothing is in its way.
const MOMENT: Duration = Duration::from_secs(1);

/// How often to look whether it is.
const LOOK: Duration = Duration::from_millis(25);

impl AccessCommand {
    /// Does it.
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self {
            Self::Add(add) => add.run(session).await,
            Self::List(list) => list.run(session).await,
            Self::Show(show) => show.run(session).await,
            Self::Edit(edit) => edit.run(session).await,
            Self::Approve { accesses } => decide(session, &accesses, "approve").await,
            Self::Deny { accesses } => decide(session, &accesses, "deny").await,
            Self::Rm { accesses } => remove(&session.api, &accesses).await,
        }
    }
}

impl List {
    async fn run(self, session: &Session) -> Outcome {
        let accesses = self.fetch(&session.api).await?;
        let empty = "no such accesses; create one with: postern access add BOX";
        session.output.list(&accesses, empty, |accesses| list(accesses, Utc::now()))?;
        Ok(Answer::Yes)
    }

    async fn fetch(&self, api: &Api) -> Result<Listed<Access>, Failure> {
        let statuses = match (&self.status, self.all) {
            (Some(status), _) => vec![Some(status.as_str())],
            (None, true) => vec![None],
            (None, false) => LIVE.map(Some).to_vec(),
        };
        let mut all = Listed::default();
        for status in statuses {
            let listed = fetch(api, self.device.as_ref(), status).await?;
            all.items.extend(listed.items);
            all.page.items.extend(listed.page.items);
            all.page.next = listed.page.next;
        }
        Ok(all)
    }
}

/// Decides on accesses that somebody outside asks for.
async fn decide(session: &Session, accesses: &[AccessId], verb: &str) -> Outcome {
    for access in accesses {
        let decided = session.api.ask::<Access>(&["accesses", access.as_str(), verb], &()).await?;
        session.output.reply(&decided, |access| {
            format!("{}: {}, {}", access.id, status(access), access.status_reason)
        })?;
    }
    Ok(Answer::Yes)
}

/// The status of accesses that may still let somebody in.
const LIVE: [&str; 3] = ["pending_approval", "active", "pending"];

/// The accesses with one status, the newest first; of one box or of all.
async fn fetch(
    api: &Api,
    device: Option<&DeviceName>,
    status: Option<&str>,
) -> Result<Listed<Access>, Failure> {
    let mut query = Query::new();
    query.extend(device.map(|device| ("device", device.to_string())));
    query.extend(status.map(|status| ("status", status.to_owned())));
    let listed = api.list(&["accesses"], &query, MOST).await;
    match device {
        Some(device) => known(api, device, listed).await,
        None => listed,
    }
}

/// The accesses that may let somebody in, those that work now first.
pub(crate) async fn live(api: &Api, device: Option<&DeviceName>) -> Result<Vec<Access>, Failure> {
    let mut all = Vec::new();
    for status in LIVE {
        all.extend(fetch(api, device, Some(status)).await?.items);
    }
    Ok(all)
}

impl Show {
    async fn run(self, session: &Session) -> Outcome {
        let id = self.access.to_string();
        let shown = session.api.show::<Access>(&["accesses", &id]).await?;
        match self.form {
            Some(form) => {
                print(rendered(&shown.value, form)?.trim_end_matches('\n'))?;
                form.note().into_iter().for_each(note);
            }
            None => session.output.reply(&shown, |access| describe(access, Utc::now()))?,
        }
        Ok(Answer::Yes)
    }
}

/// How one program connects: the API says it in every form, from one place in code.
fn rendered(access: &Access, form: Form) -> Result<&str, Failure> {
    let Some(connection) = &access.connection else { return Err(no_way(access)) };
    if connection.ssh_config.is_none() && !connection.forms.contains_key(form.as_str()) {
        let command = tame(&connection.command);
        let why = format!("access {} is not for {form}; it is used so: {command}", access.id);
        return Err(Failure::NotFound(why));
    }
    let text = connection.forms.get(form.as_str());
    text.map(String::as_str).ok_or_else(|| {
        Failure::Unreachable(format!("the control API does not know the form {form}; it may be older"))
    })
}

/// Why there is no command.
pub(crate) fn no_way(access: &Access) -> Failure {
    let why = match (access.via, access.public_port) {
        (Via::Port, None) => tame(&access.status_reason).into_owned(),
        _ => "no relay that leads there has started; see: postern relays".to_owned(),
    };
    Failure::NotFound(format!("access {} cannot be used: {why}", access.id))
}

impl Edit {
    async fn run(self, session: &Session) -> Outcome {
        let key = match &self.terms.key {
            Some(key) => Some(identity::named(key, &session.places).await?.line()),
            None => None,
        };
        let id = self.access.to_string();
        let Terms { lasts, until, from, allow_any, login, note, .. } = self.terms;
        let change = EditAccess {
            allowed_ips: (!from.is_empty()).then_some(from),
            allow_any,
            expires_at: until,
            expires_in: lasts,
            public_key: key,
            login,
            note,
        };
        session.api.change::<Access>(&["accesses", &id], &change).await?;
        let changed = in_force(&session.api, &id).await?;
        session.output.reply(&changed, |access| describe(access, Utc::now()))?;
        Ok(Answer::Yes)
    }
}

/// The access, once its change is in force or a moment has passed.
async fn in_force(api: &Api, access: &str) -> Result<Reply<Access>, Failure> {
    let deadline = Instant::now() + MOMENT;
    loop {
        let shown = api.show::<Access>(&["accesses", access]).await?;
        if shown.value.status != AccessStatus::Pending || Instant::now() >= deadline {
            return Ok(shown);
        }
        sleep(LOOK).await;
    }
}

/// Each is deleted, whatever becomes of the others; the first that fails is what the command comes to.
async fn remove(api: &Api, accesses: &[AccessId]) -> Outcome {
    let mut outcome = Ok(Answer::Yes);
    for access in accesses {
        let deleted =
            api.delete(&["accesses", access.as_str()]).await.map_err(|failure| match failure.code() {
                Some("access_not_found") => Failure::NotFound(format!("there is no access {access}")),
                _ => failure,
            });
        if deleted.is_ok() {
            note(&format!("{access} lets nobody in any more"));
        }
        outcome = outcome.and_then(|answer| deleted.map(|()| answer));
    }
    outcome
}

fn list(accesses: &[Access], now: DateTime<Utc>) -> String {
    let row = |access: &Access| {
        [
            access.id.to_string(),
            access.device_name.to_string(),
            access.exposed_port.to_string(),
            via::word(access),
            access.login.to_string(),
            access.allowed_ips.join(", "),
            status(access).to_owned(),
            seen_from(now, access.expires_at),
            access.note.clone(),
        ]
    };
    let rows: Vec<_> = accesses.iter().map(row).collect();
    table(["ID", "BOX", "PORT", "VIA", "LOGIN", "FROM", "STATUS", "ENDS", "NOTE"], &rows)
}

fn status(access: &Access) -> &'static str {
    match access.status {
        AccessStatus::Pending => "pending",
        AccessStatus::PendingApproval if access.approver == Some(Approver::Box) => "to approve on the box",
        AccessStatus::PendingApproval => "asked for",
        AccessStatus::Active => "active",
        AccessStatus::Expired => "expired",
        AccessStatus::Revoked => "revoked",
    }
}

fn describe(access: &Access, now: DateTime<Utc>) -> String {
    let key = access.public_key.as_ref();
    let connection = access.connection.as_ref();
    // Where the command is the link, once is enough.
    let link =
        connection.and_then(|connection| connection.url.as_ref().filter(|url| **url != connection.command));
    let fingerprints = |of_gate: bool| {
        let fingerprints = &connection?.fingerprints;
        let keys = if of_gate { &fingerprints.gate } else { &fingerprints.device };
        let keys: Vec<&str> = keys.iter().map(|key| key.fingerprint.as_str()).collect();
        (!keys.is_empty()).then(|| keys.join("\n"))
    };
    details(
        &format!("{}: {}, {}", access.id, status(access), access.status_reason),
        &[
            ("box", Some(format!("{}, port {}", access.device_name, access.exposed_port))),
            ("via", Some(via::word(access))),
            ("login", Some(access.login.to_string())),
            ("from", Some(access.allowed_ips.join("\n"))),
            ("ends", Some(format!("{} ({})", full(access.expires_at), seen_from(now, access.expires_at)))),
            (
                "key",
                key.map(|key| {
                    format!("{} {} {}", key.r#type, key.fingerprint, key.comment).trim_end().to_owned()
                }),
            ),
            ("key warning", key.and_then(|key| key.warning.clone())),
            ("asked by", access.asked_by.clone()),
            ("note", Some(access.note.clone()).filter(|note| !note.is_empty())),
            ("created", Some(full(access.created_at))),
            ("since", Some(full(access.status_since))),
            ("gate's keys", fingerprints(true)),
            ("box's keys", fingerprints(false)),
            ("certificate", connection.and_then(|connection| connection.fingerprints.certificate.clone())),
            ("warning", connection.and_then(|connection| connection.warning.clone())),
            ("command", connection.map(|connection| connection.command.clone())),
            ("link", link.cloned()),
        ],
    )
}

#[cfg(test)]
mod tests;
