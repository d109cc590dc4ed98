//! `postern access add`: from a box and a key to a command that works.

use std::future::pending;
use std::time::Duration;

use chrono::Utc;
use clap::Args;
use postern_protocol::api::{Access, AccessStatus, CreateAccess, Created, Progress, Via};
use postern_protocol::id::DeviceName;

use super::{Terms, no_way, via};
use crate::account::segment;
use crate::api::{Api, Query, Reply};
use crate::args::Session;
use crate::device::known;
use crate::failure::{Answer, Failure, Outcome};
use crate::identity::{self, Given};
use crate::moments::seen_from;
use crate::output::{note, print, tame};

/// The port that is reached with a key.
pub(crate) const SSH: u16 = 22;

/// Waiting longer than this is explained while it lasts.
const PATIENCE: Duration = Duration::from_millis(700);

/// `postern access add`
#[derive(Debug, Args)]
#[command(after_help = "\
Left out: --key is your own key for port 22 and for the gate, --from is your own address as the control API sees it, and it lasts 24 hours.
The command goes to stdout, everything else to stderr, so that $(postern access add box42) can be run.")]
pub(crate) struct Add {
    /// The box, by name or id
    device: DeviceName,
    /// The port of the box: 22 for SSH, 443 for its web page, or that of a service it lists
    #[arg(long, default_value_t = SSH, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// How visitors come in; left out, through the gate with a key, and else by a name or a public port
    #[arg(long, value_parser = via())]
    via: Option<Via>,
    #[command(flatten)]
    terms: Terms,
    /// Do not wait until the rule is in force
    #[arg(long)]
    no_wait: bool,
    /// Ask for it in another account, as support does: it works once an owner of that account approves.
    /// It takes an admin of the installation
    #[arg(long, value_parser = segment)]
    account: Option<String>,
}

impl Add {
    /// Creates it, says how far its rule has come, and prints the command.
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let Self { device, port, via, terms, no_wait, account } = self;
        let key = key(&terms, port, via, session).await?;
        if let Some(key) = &key {
            announce(key, terms.key.is_none());
        }
        let request = CreateAccess { via, ..request(&device, port, terms, key.as_ref()) };
        if let Some(account) = account {
            return ask(session, &account, &request).await;
        }
        let created = create(&session.api, &device, &request, !no_wait).await?;
        tell(&created.value);
        if session.output.json {
            print(created.text.trim_end())?;
            return Ok(Answer::Yes);
        }
        match &created.value.access.connection {
            Some(connection) => print(&tame(&connection.command))?,
            None => note(&no_way(&created.value.access).to_string()),
        }
        if key.is_some_and(|key| !key.tried_by_ssh) {
            note(&format!(
                "ssh does not try this key by itself: put it into the ssh agent (ssh-add FILE), or go with: postern ssh {device}"
            ));
        }
        Ok(Answer::Yes)
    }
}

/// Asks for an access in another account.
async fn ask(session: &Session, account: &str, request: &CreateAccess) -> Outcome {
    let asked = session.api.ask::<Access>(&["accounts", account, "accesses"], request).await?;
    session.output.reply(&asked, |access| {
        format!(
            "{} is asked for; an owner of {account} decides: postern access approve {}",
            access.id, access.id
        )
    })?;
    Ok(Answer::Yes)
}

/// Creates an access, and waits until its rule is in force if asked to.
pub(crate) async fn create(
    api: &Api,
    device: &DeviceName,
    request: &CreateAccess,
    wait: bool,
) -> Result<Reply<Created>, Failure> {
    let query: Query = wait.then(|| ("wait", "active".to_owned())).into_iter().collect();
    let created = tokio::select! {
        created = api.create(&["accesses"], &query, request) => created,
        never = explain_waiting(device) => never,
    };
    known(api, device, created).await
}

/// After a while, says what takes so long.
async fn explain_waiting<T>(device: &DeviceName) -> T {
    tokio::time::sleep(PATIENCE).await;
    note(&format!("waiting until the relays enforce the rule and {device} has it …"));
    pending().await
}

/// The key that is named; for SSH and for the gate, one's own if none is.
async fn key(
    terms: &Terms,
    port: u16,
    via: Option<Via>,
    session: &Session,
) -> Result<Option<Given>, Failure> {
    match &terms.key {
        Some(name) => identity::named(name, &session.places).await.map(Some),
        None if port == SSH || via == Some(Via::Gate) => identity::usual(&session.places).await.map(Some),
        None => Ok(None),
    }
}

fn announce(key: &Given, chosen_here: bool) {
    if chosen_here {
        note(&format!("with your key from {}: {}", key.from, key.pasted.key.fingerprint()));
    }
    if let Some(warning) = &key.pasted.warning {
        note(&format!("warning: {warning}"));
    }
}

/// The request that these terms make.
pub(super) fn request(device: &DeviceName, port: u16, terms: Terms, key: Option<&Given>) -> CreateAccess {
    let Terms { lasts, until, from, allow_any, login, note, .. } = terms;
    CreateAccess {
        device: device.to_string(),
        exposed_port: port,
        allowed_ips: (!from.is_empty()).then_some(from),
        allow_any,
        expires_at: until,
        expires_in: lasts,
        public_key: key.map(Given::line),
        login,
        via: None,
        note,
    }
}

/// What the rule went through, or what it waits for, and what it lets in.
pub(crate) fn tell(created: &Created) {
    let Created { access, progress } = created;
    if !progress.is_empty() {
        note(&journey(progress));
    }
    if access.status == AccessStatus::Pending {
        note(&format!("pending: {}", tame(&access.status_reason)));
    }
    note(&terms_in_words(access));
    warn(access);
}

/// What is amiss although the command may work.
pub(crate) fn warn(access: &Access) {
    if let Some(warning) = access.connection.as_ref().and_then(|connection| connection.warning.as_ref()) {
        note(&format!("warning: {}", tame(warning)));
    }
}

/// `rule signed · in force on relay-1 after 12 ms · box42 has it after 31 ms`
pub(super) fn journey(progress: &[Progress]) -> String {
    let step = |(place, step): (usize, &Progress)| match place {
        // Signing is where the clock starts for whoever waits.
        0 => tame(&step.what).into_owned(),
        _ => format!("{} after {} ms", tame(&step.what), step.after_ms),
    };
    progress.iter().enumerate().map(step).collect::<Vec<_>>().join(" · ")
}

fn terms_in_words(access: &Access) -> String {
    let Access { id, device_name, exposed_port, login, allowed_ips, expires_at, .. } = access;
    let what = match *exposed_port {
        SSH => format!("{login} on {device_name}"),
        port => format!("port {port} of {device_name}"),
    };
    let from = allowed_ips.join(", ");
    let ends = seen_from(Utc::now(), *expires_at);
    tame(&format!("access {id}: {what}, from {from}, ends {ends}")).into_owned()
}
