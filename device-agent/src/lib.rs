//! The agent: runs on the box, dials out, and serves each visit by connecting to a local service.
//!
//! It listens on nothing but a local socket for its owner, and writes nothing but its state
//! directory and the keys files that its configuration names.
//!
//! Read on with [`run`], then `link` (dial out, stay connected) and `serve` (each visit); what may
//! come in is decided in `policy`, by the documents that `grants` holds.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use sd_notify::NotifyState;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

mod agent;
mod approvals;
mod aside;
mod backoff;
mod clock;
mod config;
mod control;
mod facts;
mod grants;
mod https;
mod identity;
mod join;
mod keys;
mod link;
mod network;
mod pause;
mod policy;
mod serve;
#[cfg(feature = "shell")]
pub mod shell;
#[cfg(not(feature = "shell"))]
#[path = "shell/left_out.rs"]
mod shell;
mod splice;
mod ssh;
mod sshd;
mod state;
mod status;
mod trust;
mod visits;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use approvals::Approval;
pub use config::{
    AcmeSettings, CertificateFiles, CertificateSource, Config, HttpsSettings, InvalidConfig, InvalidHttps,
    InvalidServices, KeysSettings, KeysStyle, LocalService, NetworkSettings, Services, Speaks, SshChoice,
    SshSettings, Verify,
};
pub use control::{ControlError, approve, deny, pause, resume, status};
pub use join::{JoinError, Joined, is_member, join, join_anew, join_once};
pub use keys::authorized_keys;
pub use network::Way;
pub use status::{
    AccessInForce, HttpsStatus, KeysFile, LastRefusal, MemberStatus, OpenVisit, Status, TunnelStatus,
};

use agent::Agent;
use control::{Control, Desk};
use identity::Member;
use pause::Pause;
use state::State;

/// How long a stopping agent may take to end its visits, clean its keys files and say goodbye.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// Runs until `shutdown`. A box that has not joined waits for that, and then needs no restart.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    let state = State::open(&config.state_dir)?;
    let _claim = state.claim()?;
    let control = Control::bind(&state)?;
    let pause = Arc::new(Pause::load(&state));
    tell_service_manager(NotifyState::Ready);
    tokio::pin!(shutdown);
    loop {
        let agent = Member::load(&state)?
            .map(|member| Arc::new(Agent::new(config.clone(), state.clone(), member, pause.clone())));
        let desk = Arc::new(Desk { pause: pause.clone(), agent: agent.clone(), joined: Notify::new() });
        let mut life = begin(agent.clone(), config.clone(), state.clone());
        let joined = tokio::select! {
            ended = &mut life => return ended.context("the agent broke down"),
            () = control.serve(desk.clone()) => true,
            () = desk.joined.notified() => true,
            () = &mut shutdown => false,
        };
        if !joined {
            tell_service_manager(NotifyState::Stopping);
        }
        end(agent, life).await;
        if !joined {
            return Ok(());
        }
    }
}

/// Tells whoever started this program how it is, if they asked to be told (sd_notify(3)).
pub(crate) fn tell_service_manager(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(%error, "the service manager was not told");
    }
}

/// Begins to live as a member, or to wait for becoming one.
fn begin(agent: Option<Arc<Agent>>, config: Config, state: State) -> JoinHandle<()> {
    tokio::spawn(async move {
        match agent {
            Some(agent) => live(&agent).await,
            None => {
                tracing::info!("this box has not joined: run the line that 'postern device add' printed");
                keys::sweep(&config, &state).await;
                std::future::pending().await
            }
        }
    })
}

async fn live(agent: &Arc<Agent>) {
    let member = agent.member();
    tracing::info!(device = %member.device, name = %member.name, "agent");
    // Relays and keys files are told which SSH server there is, so it is found first.
    tokio::select! {
        () = ssh::first_look(agent) => {}
        () = agent.stopping.cancelled() => {}
    }
    let follow_ssh = async {
        tokio::select! {
            () = ssh::follow(agent) => {}
            () = agent.stopping.cancelled() => {}
        }
    };
    let follow_network = async {
        tokio::select! {
            () = network::follow(agent) => {}
            () = agent.stopping.cancelled() => {}
        }
    };
    let follow_https = async {
        tokio::select! {
            never = https::follow(agent) => match never {},
            () = agent.stopping.cancelled() => {}
        }
    };
    tokio::join!(
        keys::keep(agent),
        link::stay(agent),
        clock::keep(agent),
        follow_ssh,
        follow_network,
        follow_https
    );
}

async fn end(agent: Option<Arc<Agent>>, mut life: JoinHandle<()>) {
    if let Some(agent) = agent {
        agent.stopping.cancel();
        if timeout(STOP_DEADLINE, &mut life).await.is_ok() {
            return;
        }
        tracing::warn!("not everything ended in time");
    }
    life.abort();
}
