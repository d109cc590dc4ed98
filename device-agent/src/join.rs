//! Join: one line from the operator makes this box a member of an installation.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use postern_protocol::id::{DeviceId, DeviceName};
use postern_protocol::join::JoinString;
use postern_protocol::tunnel::Connection;
use postern_protocol::wire::frame::SMALL;
use postern_protocol::wire::io::{receive, send};
use postern_protocol::wire::{BoxFacts, Consent, JoinAnswer, JoinRequest, Membership, VERSION};
use tokio::time::timeout;

use crate::clock::Clock;
use crate::config::Config;
use crate::control::{self, Request};
use crate::facts::facts;
use crate::identity::{BoxKey, Member, Validity};
use crate::link::{DialError, Dialled, dial};
use crate::ssh::{Lookout, Server};
use crate::state::State;
use crate::trust;

/// The relay asks the control API, which may be far away.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Who the box is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Its id.
    pub device: DeviceId,
    /// Its name.
    pub name: DeviceName,
}

/// Why the box has not joined.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// It is a member already.
    #[error("this box has already joined, as '{0}'; to make it leave that and join anew, add --force")]
    AlreadyMember(DeviceName),
    /// It is a member of another installation.
    #[error(
        "this box has already joined another installation, as '{0}'; \
         to make it leave that and join this one, run 'postern-agent join --force' once"
    )]
    OtherInstallation(DeviceName),
    /// The join string names no relay.
    #[error("the join string names no relay: start a relay, then make a new one with 'postern device join'")]
    NoRelay,
    /// No relay was reached.
    #[error("no relay could be reached:{}", .0.iter().map(|why| format!("\n  {why}")).collect::<String>())]
    Unreachable(Vec<String>),
    /// The control API does not want it.
    #[error("{0}")]
    Refused(String),
    /// The relay was reached, and something else went wrong.
    #[error("joining through {relay}")]
    Failed {
        /// The relay.
        relay: String,
        /// What went wrong.
        #[source]
        source: anyhow::Error,
    },
    /// The box's own state directory.
    #[error(transparent)]
    State(anyhow::Error),
}

/// Whether the box is a member of an installation.
pub fn is_member(config: &Config) -> anyhow::Result<bool> {
    Ok(Member::load(&State::at(&config.state_dir))?.is_some())
}

/// Joins. A box that is a member already stays what it is.
pub async fn join(config: &Config, string: &JoinString) -> Result<Joined, JoinError> {
    let state = State::open(&config.state_dir).map_err(JoinError::State)?;
    match Member::load(&state).map_err(JoinError::State)? {
        Some(member) => Err(JoinError::AlreadyMember(member.name)),
        None => enrol(config, &state, string).await,
    }
}

/// Joins, and leaves whatever the box was a member of.
pub async fn join_anew(config: &Config, string: &JoinString) -> Result<Joined, JoinError> {
    let state = State::open(&config.state_dir).map_err(JoinError::State)?;
    enrol(config, &state, string).await
}

/// Joins unless the box is a member of that installation already, as a container does at each start
/// with the same string.
pub async fn join_once(config: &Config, string: &JoinString) -> Result<Joined, JoinError> {
    let state = State::open(&config.state_dir).map_err(JoinError::State)?;
    match Member::load(&state).map_err(JoinError::State)? {
        None => enrol(config, &state, string).await,
        Some(member) if trust::fingerprint(&member.authority) == string.authority => {
            Ok(Joined { device: member.device, name: member.name })
        }
        Some(member) => Err(JoinError::OtherInstallation(member.name)),
    }
}

async fn enrol(config: &Config, state: &State, string: &JoinString) -> Result<Joined, JoinError> {
    let key = BoxKey::make().map_err(JoinError::State)?;
    let clock = Arc::new(Clock::load(state));
    let ssh = Lookout::new(&config.ssh, &config.state_dir).look(Server::Nothing).await;
    let facts = facts(config, ssh.describe(), None, false, config.require_approval.then(Consent::default));
    let mut unreached = Vec::new();
    for relay in &string.relays {
        match reach(config, relay, string, &clock).await {
            Ok(connection) => {
                let member = through(&connection.connection, string, (&key, &clock), &facts).await;
                connection.close().await;
                return keep(config, state, member.map_err(|why| why.at(relay))?).await;
            }
            Err(why) => unreached.push(format!("{:#}", anyhow::Error::from(why))),
        }
    }
    match unreached.is_empty() {
        true => Err(JoinError::NoRelay),
        false => Err(JoinError::Unreachable(unreached)),
    }
}

async fn reach(
    config: &Config,
    relay: &str,
    string: &JoinString,
    clock: &Arc<Clock>,
) -> Result<Dialled, DialError> {
    let failed = |error: rustls::Error| DialError::Failed { relay: relay.to_owned(), source: error.into() };
    let tls = trust::joining(string.authority, clock.clone()).map_err(failed)?;
    dial(relay, tls, &config.network).await
}

/// Why a relay that was reached made no member of the box.
enum Declined {
    Refused(String),
    Failed(anyhow::Error),
}

impl Declined {
    fn at(self, relay: &str) -> JoinError {
        match self {
            Self::Refused(sentence) => JoinError::Refused(sentence),
            Self::Failed(source) => JoinError::Failed { relay: relay.to_owned(), source },
        }
    }
}

impl From<anyhow::Error> for Declined {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

async fn through(
    connection: &Connection,
    string: &JoinString,
    (key, clock): (&BoxKey, &Clock),
    facts: &BoxFacts,
) -> Result<Member, Declined> {
    let csr = key.signing_request()?;
    let request = JoinRequest { version: VERSION, token: string.token.clone(), csr, facts: facts.clone() };
    match timeout(ANSWER_TIMEOUT, ask(connection, &request)).await {
        Ok(Ok(JoinAnswer::Welcome(membership))) => Ok(member(*membership, string, key, clock)?),
        Ok(Ok(JoinAnswer::Refused { sentence })) => Err(Declined::Refused(sentence)),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(anyhow!("no answer in {} s", ANSWER_TIMEOUT.as_secs()).into()),
    }
}

async fn ask(connection: &Connection, request: &JoinRequest) -> anyhow::Result<JoinAnswer> {
    let (mut to, mut from) = connection.open().await.context("asking to join")?;
    send(&mut to, request).await.context("asking to join")?;
    to.finish().await;
    receive(&mut from, SMALL).await.context("waiting for the answer")
}

/// Believes an answer only as far as the pinned authority vouches for it.
fn member(
    membership: Membership,
    string: &JoinString,
    key: &BoxKey,
    clock: &Clock,
) -> anyhow::Result<Member> {
    let Membership { device, name, certificate, grant_key, relays } = membership;
    // The relay will say what time it is when the box comes as a member.
    let now = clock.now_within(Validity::of(&certificate.own)?);
    trust::check_issued(&certificate, string.authority, key, device, now)?;
    anyhow::ensure!(!relays.is_empty(), "the answer names no relay");
    anyhow::ensure!(grant_key == string.grants, "the relay names another key for rules than the join string");
    Ok(Member {
        device,
        name,
        relays,
        grant_key,
        authority: certificate.authority,
        certificate: certificate.own,
        key: key.clone(),
    })
}

async fn keep(config: &Config, state: &State, member: Member) -> Result<Joined, JoinError> {
    member.save(state).map_err(JoinError::State)?;
    // An agent that runs already need not be restarted; if none runs, nobody need be told.
    if let Err(error) = control::ask(config, Request::Joined).await {
        tracing::debug!(%error, "no running agent was told");
    }
    Ok(Joined { device: member.device, name: member.name })
}

#[cfg(test)]
mod tests;
