//! `postern device`: boxes.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use postern_protocol::api::{CreateDevice, Device, DeviceStatus, Join, RenameDevice};
use postern_protocol::id::DeviceName;
use postern_protocol::wire::{BoxFacts, SshServer, SshServerKind, Transport, WhyTcp};

use crate::api::{Api, Query, Reply};
use crate::args::Session;
use crate::confirm::confirmed;
use crate::failure::{Answer, Failure, Outcome};
use crate::moments::{full, seen_from};
use crate::nearest::nearest;
use crate::output::{details, note, table};

mod host_keys;

use host_keys::{ConfirmKeys, changed};

/// `postern device …`. A box is named by its name or its id; both have the form of a name.
#[derive(Debug, Subcommand)]
pub(crate) enum DeviceCommand {
    /// Add a box, and print the one line to run on it
    Add {
        /// Its name: lower-case letters, digits and hyphens
        name: DeviceName,
    },
    /// List the boxes
    List,
    /// Show a box: whether it is there, what it runs, its host keys
    Show {
        /// Its name or id
        device: DeviceName,
    },
    /// Give a box another name
    Rename {
        /// Its name or id
        device: DeviceName,
        /// The new name
        name: DeviceName,
    },
    /// Delete a box: its accesses, its tunnel and every connection to it end at once
    Rm(Rm),
    /// Confirm that the host keys which a box reports are its own, after they changed
    ConfirmHostKeys(ConfirmKeys),
    /// Print a new line to run on a box, for one that was lost or a box that was set up anew
    Join {
        /// Its name or id
        device: DeviceName,
    },
}

/// `postern device rm`
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Its name or id
    device: DeviceName,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// How many items a list shows at most; more is for programs, page by page.
pub(crate) const MOST: usize = 10_000;

impl DeviceCommand {
    /// Does it.
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let Session { api, output, .. } = session;
        match self {
            Self::Add { name } => {
                let made = api.create(&["devices"], &Query::new(), &CreateDevice { name }).await?;
                show_join(session, &made)
            }
            Self::List => {
                let devices = api.list::<Device>(&["devices"], &Query::new(), MOST).await?;
                let empty = "no boxes yet; add one with: postern device add NAME";
                output.list(&devices, empty, |devices| list(devices, Utc::now()))?;
                Ok(Answer::Yes)
            }
            Self::Show { device } => {
                let shown =
                    known(api, &device, api.show::<Device>(&["devices", device.as_str()]).await).await?;
                output.reply(&shown, |device| describe(device, Utc::now()))?;
                Ok(Answer::Yes)
            }
            Self::Rename { device, name } => {
                let body = RenameDevice { name: name.clone() };
                let renamed = api.change::<Device>(&["devices", device.as_str()], &body).await;
                let renamed = known(api, &device, renamed).await?;
                output.reply(&renamed, |now| {
                    format!("{device} is called {} now; its commands name it so", now.name)
                })?;
                Ok(Answer::Yes)
            }
            Self::Rm(rm) => rm.run(session).await,
            Self::ConfirmHostKeys(confirm) => confirm.run(session).await,
            Self::Join { device } => {
                let made = api.create(&["devices", device.as_str(), "join"], &Query::new(), &()).await;
                show_join(session, &known(api, &device, made).await?)
            }
        }
    }
}

impl Rm {
    async fn run(self, session: &Session) -> Outcome {
        let Self { device, yes } = self;
        let question = format!("Delete {device}? Its accesses and every connection to it end at once.");
        if !confirmed(&question, yes)? {
            return Ok(Answer::No);
        }
        known(&session.api, &device, session.api.delete(&["devices", device.as_str()]).await).await?;
        note(&format!("{device} is gone"));
        Ok(Answer::Yes)
    }
}

/// An unknown box is answered with the names that may have been meant.
pub(crate) async fn known<T>(
    api: &Api,
    device: &DeviceName,
    result: Result<T, Failure>,
) -> Result<T, Failure> {
    let failure = match result {
        Err(failure) if failure.code() == Some("device_not_found") => failure,
        other => return other,
    };
    // Without a list there are no names to offer, and the first failure is the one that matters.
    let Ok(devices) = api.list::<Device>(&["devices"], &Query::new(), MOST).await else {
        return Err(failure);
    };
    let names: Vec<&str> = devices.items.iter().map(|device| device.name.as_str()).collect();
    Err(Failure::NotFound(unknown(device.as_str(), &names)))
}

fn unknown(meant: &str, names: &[&str]) -> String {
    let advice = match (nearest(meant, names.iter().copied()).as_slice(), names) {
        ([], []) => "there are no boxes yet; add one with: postern device add NAME".to_owned(),
        ([], _) => "see them with: postern device list".to_owned(),
        (near, _) => format!("did you mean {}?", near.join(" or ")),
    };
    format!("there is no box '{meant}'; {advice}")
}

/// The line goes to stdout, alone, so that it can be piped to where it is needed.
fn show_join(session: &Session, made: &Reply<Device>) -> Outcome {
    let device = &made.value;
    let Some(Join { command, expires_at, .. }) = &device.join else {
        return Err(Failure::Unreachable(
            "the control API made no join string; is it of this version?".to_owned(),
        ));
    };
    if !session.output.json {
        let lasts = seen_from(Utc::now(), *expires_at);
        note(&format!("run this on {}, as root; it works once and ends {lasts}:", device.name));
    }
    session.output.reply(made, |_| command.clone())?;
    Ok(Answer::Yes)
}

fn list(devices: &[Device], now: DateTime<Utc>) -> String {
    let row = |device: &Device| {
        [
            device.name.to_string(),
            standing(device, now),
            device.relay.clone().unwrap_or_default(),
            device.address.clone().unwrap_or_default(),
            device.transport.map_or("", over).to_owned(),
            device.facts.as_ref().map_or_else(String::new, |facts| facts.platform.clone()),
            device.facts.as_ref().and_then(|facts| facts.ssh.as_ref()).map_or_else(String::new, server),
            device.id.to_string(),
        ]
    };
    let rows: Vec<_> = devices.iter().map(row).collect();
    table(["NAME", "STATUS", "RELAY", "ADDRESS", "OVER", "PLATFORM", "SSH SERVER", "ID"], &rows)
}

/// Whether a box is there, and since when.
pub(crate) fn standing(device: &Device, now: DateTime<Utc>) -> String {
    let since = seen_from(now, device.since);
    let asks = device.facts.as_ref().is_some_and(|facts| facts.consent.is_some());
    let paused = device.facts.as_ref().is_some_and(|facts| facts.paused);
    match device.status {
        DeviceStatus::WaitingToJoin => "waiting to join".to_owned(),
        DeviceStatus::Online if paused => "online, paused by its owner".to_owned(),
        DeviceStatus::Online if asks => format!("online, came {since}, approves each access itself"),
        DeviceStatus::Online => format!("online, came {since}"),
        DeviceStatus::Offline => {
            format!("offline, last seen {}", seen_from(now, device.last_seen.unwrap_or(device.since)))
        }
    }
}

/// What a tunnel goes over.
fn over(transport: Transport) -> &'static str {
    match transport {
        Transport::Quic => "QUIC",
        Transport::Tcp => "TCP",
    }
}

fn carried(transport: Transport, why_tcp: Option<WhyTcp>) -> String {
    let over = over(transport);
    why_tcp.map_or_else(|| over.to_owned(), |why| format!("{over}, because {why}"))
}

fn server(ssh: &SshServer) -> String {
    match ssh.kind {
        SshServerKind::System => format!("{}, port {}", ssh.version, ssh.port),
        SshServerKind::Builtin => format!("{}, built in", ssh.version),
    }
}

fn describe(device: &Device, now: DateTime<Utc>) -> String {
    let facts = device.facts.as_ref();
    let lines = |items: Vec<String>| (!items.is_empty()).then(|| items.join("\n"));
    let services = |facts: &BoxFacts| {
        lines(
            facts
                .services
                .iter()
                .map(|service| format!("{} (port {})", service.name, service.port))
                .collect(),
        )
    };
    let keys = device
        .host_keys
        .iter()
        .map(|key| format!("{} {}", key.fingerprint, key.key.split_whitespace().next().unwrap_or_default()));
    details(
        &format!("{}: {}", device.name, standing(device, now)),
        &[
            ("id", Some(device.id.to_string())),
            ("relay", device.relay.clone()),
            ("address", device.address.clone()),
            ("over", device.transport.map(|transport| carried(transport, device.why_tcp))),
            ("host name", facts.map(|facts| facts.hostname.clone())),
            ("agent", facts.map(|facts| format!("{} on {}", facts.agent_version, facts.platform))),
            ("ssh server", facts.and_then(|facts| facts.ssh.as_ref()).map(server)),
            ("services", facts.and_then(services)),
            ("login", facts.map(|facts| format!("{} unless an access says otherwise", facts.default_login))),
            ("host keys", lines(keys.collect())),
            ("warning", device.former_host_keys.as_ref().map(|former| changed(device, former))),
            ("since", Some(full(device.since))),
            ("created", Some(full(device.created_at))),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_is_answered_with_the_nearest() {
        assert_eq!(unknown("bxo42", &["box42", "demo"]), "there is no box 'bxo42'; did you mean box42?");
        assert!(unknown("zebra", &["box42"]).contains("postern device list"));
        assert!(unknown("zebra", &[]).contains("postern device add"));
    }

    #[test]
    fn a_box_is_shown_with_what_is_known_of_it() {
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let text = r#"{"id":"k7f2q5xwab","name":"box42","created_at":"2023-11-14T22:00:00Z","status":"online",
            "since":"2023-11-14T22:10:20Z","relay":"relay-1","address":"198.51.100.7","transport":"tcp","why_tcp":"udp_silent","host_keys":
            [{"key":"ssh-ed25519 AAAA","fingerprint":"SHA256:x"}],"facts":{"agent_version":"0.1.0",
            "hostname":"turris\u001b[31m","platform":"linux/aarch64","ssh":{"kind":"system","version":"OpenSSH_9.2p1",
            "port":22,"host_keys":[]},"services":[{"name":"https","port":443}],"default_login":"root","paused":false}}"#;
        let mut device: Device = serde_json::from_str(text).unwrap();
        let shown = describe(&device, now);
        for part in [
            "box42: online, came 3 min ago",
            "linux/aarch64",
            "TCP, because nobody answers over UDP",
            "OpenSSH_9.2p1, port 22",
            "SHA256:x ssh-ed25519",
            "turris\\u{1b}[31m",
        ] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
        device.status = DeviceStatus::Offline;
        device.last_seen = Some(now);
        assert_eq!(standing(&device, now), "offline, last seen just now");
        assert!(list(&[device], now).starts_with("NAME   STATUS"));
    }
}
