//! The demo box: an agent with its own SSH server, whose only user is whoever runs this.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use chrono::{DateTime, Utc};
use nix::unistd::{User, geteuid};
use postern_agent::{Config, SshChoice, SshSettings};
use postern_protocol::api::{CreateDevice, Device, DeviceStatus};
use postern_protocol::id::Login;
use postern_protocol::join::JoinString;
use tokio::time::{Instant, sleep};

use crate::api::{Api, Query, Reply};
use crate::failure::Failure;
use crate::file;

/// What it is called.
pub(super) const NAME: &str = "demo";

/// How long the parts may take to find each other: all of them are on this machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often to look whether they have.
const LOOK: Duration = Duration::from_millis(50);

/// The settings of its agent.
pub(super) fn config(dir: &Path) -> anyhow::Result<Config> {
    Ok(Config {
        state_dir: dir.join(NAME),
        default_login: own_login()?,
        ssh: SshSettings { server: SshChoice::Builtin, ..SshSettings::default() },
        ..Config::default()
    })
}

/// Who runs this: an agent that is not root lets visitors be nobody else.
fn own_login() -> anyhow::Result<Login> {
    let uid = geteuid();
    let user = User::from_uid(uid).context("looking up who you are")?;
    let user = user.with_context(|| {
        format!("user {uid} has no name on this machine; go on without the demo: --no-demo")
    })?;
    user.name
        .parse()
        .with_context(|| format!("nobody can log in as '{}'; go on without the demo: --no-demo", user.name))
}

/// Makes the box a member, unless it is one that the API still knows; answers its id.
pub(super) async fn join(api: &Api, dir: &Path, config: &Config) -> Result<String, Failure> {
    let memory = dir.join("demo.id");
    let before = file::read(&memory)?.and_then(|bytes| String::from_utf8(bytes).ok());
    if let Some(before) = before.map(|id| id.trim().to_owned()).filter(|id| !id.is_empty())
        && postern_agent::is_member(config).context("looking at the demo box")?
        && find(api, &before).await?.is_some()
    {
        return Ok(before);
    }
    let string = join_string(api).await?;
    let joined = postern_agent::join_anew(config, &string).await.context("joining the demo box")?;
    file::write(&memory, format!("{}\n", joined.device).as_bytes())?;
    Ok(joined.device.to_string())
}

/// The box of this id or name, if there is one.
async fn find(api: &Api, device: &str) -> Result<Option<Device>, Failure> {
    match api.show::<Device>(&["devices", device]).await {
        Ok(found) => Ok(Some(found.value)),
        Err(failure) if failure.code() == Some("device_not_found") => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// A new line for the box, as soon as there is a relay to join through.
async fn join_string(api: &Api) -> Result<JoinString, Failure> {
    let deadline = Instant::now() + PATIENCE;
    let made: Reply<Device> = loop {
        let made = match find(api, NAME).await? {
            Some(_) => api.create(&["devices", NAME, "join"], &Query::new(), &()).await,
            None => {
                let name = NAME.parse().expect("'demo' is a name");
                api.create(&["devices"], &Query::new(), &CreateDevice { name }).await
            }
        };
        match made {
            Err(failure) if failure.code() == Some("no_relay") && Instant::now() < deadline => {
                sleep(LOOK).await
            }
            made => break made?,
        }
    };
    let join = made.value.join.context("the control API made no join string")?;
    Ok(join.string.parse().context("reading the join string")?)
}

/// Waits until the box has dialled out to the relay. What the control API knows from before `start` does
/// not count: after a crash it takes the box for online until the relay says otherwise.
pub(super) async fn comes_online(api: &Api, device: &str, start: DateTime<Utc>) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    let is_here = |device: Device| device.status == DeviceStatus::Online && device.since >= start;
    while !find(api, device).await?.is_some_and(is_here) {
        if Instant::now() >= deadline {
            return Err(Failure::Here(anyhow!(
                "the demo box has not come online; RUST_LOG=info postern up shows what its agent does"
            )));
        }
        sleep(LOOK).await;
    }
    Ok(())
}
