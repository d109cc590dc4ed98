//! Which SSH server visitors reach on port 22: the system's, or the agent's own.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postern_protocol::wire::{SshServer, SshServerKind};
use tokio::time::sleep;

use crate::agent::Agent;
use crate::config::{SshChoice, SshSettings};
use crate::shell::{Settings, Shell};
use crate::sshd::{self, Found, Traces};

/// How often the system's server is looked for again: it may have been installed, moved or removed.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// How often while there is none, as when the box has just booted.
const LOOK_SOON: Duration = Duration::from_secs(3);

/// A look may cost the server a few connections, and it minds many.
const LOOK_RARELY: Duration = Duration::from_secs(10);

/// How long a server is believed to be what it was because everything about it looks the same. Asking costs
/// it lines in its log, and a small box time.
const BELIEVE: Duration = Duration::from_secs(3600);

/// How often the system's server may be missed in a row before the agent's own takes its place. A
/// restarted server is not gone, and visitors would meet another host key.
const MISSES: u32 = 3;

/// The SSH server that visitors reach.
#[derive(Clone)]
pub(crate) enum Server {
    /// None: there is no server, and the settings allow no other.
    Nothing,
    /// The system's.
    System(Found),
    /// The agent's own.
    Builtin(Arc<Shell>),
}

impl Server {
    /// What people are told where there is none.
    pub(crate) const NOTHING: &str = match cfg!(feature = "shell") {
        true => "none found",
        false => "none found, and this agent was built without one of its own",
    };

    /// How it is shown to relays and people.
    pub(crate) fn describe(&self) -> Option<SshServer> {
        match self {
            Self::Nothing => None,
            Self::System(found) => Some(SshServer {
                kind: SshServerKind::System,
                version: found.version.clone(),
                port: found.address.port(),
                host_keys: found.host_keys.clone(),
            }),
            Self::Builtin(shell) => Some(SshServer {
                kind: SshServerKind::Builtin,
                version: shell.version().to_owned(),
                port: 0,
                host_keys: vec![shell.host_key()],
            }),
        }
    }
}

/// Looks for the SSH server.
#[derive(Debug)]
pub(crate) struct Lookout<'a> {
    settings: &'a SshSettings,
    state_dir: &'a Path,
    misses: u32,
    settled: Option<Settled>,
}

/// A server that was asked again and is what it was.
#[derive(Debug)]
struct Settled {
    /// What was to be seen of it before it was asked.
    traces: Traces,
    since: Instant,
}

impl<'a> Lookout<'a> {
    /// A lookout that has not looked yet.
    pub(crate) fn new(settings: &'a SshSettings, state_dir: &'a Path) -> Self {
        Self { settings, state_dir, misses: 0, settled: None }
    }

    /// The server that visitors should reach from now on, given the one that they reach.
    ///
    /// Nobody is asked while there is nothing to see that has changed.
    pub(crate) async fn look(&mut self, present: Server) -> Server {
        let traces = Traces::seen(self.settings).await;
        if self.is_settled(&present, &traces) {
            return present;
        }
        let found = sshd::find(self.settings).await;
        self.settled = settled(&present, found.as_ref(), traces);
        self.misses = if found.is_some() { 0 } else { self.misses.saturating_add(1) };
        match (choose(self.settings.server, found.is_some(), &present, self.misses), found) {
            (Choice::Found, Some(found)) => Server::System(found),
            (Choice::Builtin, _) => self.builtin(present),
            (Choice::Nothing, _) => Server::Nothing,
            (Choice::Present | Choice::Found, _) => present,
        }
    }

    fn is_settled(&self, present: &Server, traces: &Traces) -> bool {
        let (Some(settled), Server::System(server)) = (&self.settled, present) else { return false };
        let same = traces.clone().of(server.address).is_some_and(|traces| traces == settled.traces);
        same && settled.since.elapsed() < BELIEVE
    }

    fn builtin(&self, present: Server) -> Server {
        if let Server::Builtin(_) = present {
            return present;
        }
        Shell::open(Settings::from(self.settings), self.state_dir).map_or_else(
            |error| {
                tracing::warn!(error = format!("{error:#}"), "the agent's own SSH server cannot start");
                Server::Nothing
            },
            Server::Builtin,
        )
    }
}

/// One look is not enough: a server that is just starting may not tell all of its keys.
fn settled(present: &Server, found: Option<&Found>, traces: Traces) -> Option<Settled> {
    match (present, found) {
        (Server::System(before), Some(found)) if before == found => {
            traces.of(found.address).map(|traces| Settled { traces, since: Instant::now() })
        }
        _ => None,
    }
}

/// Which server to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    /// The system's, just found.
    Found,
    /// The agent's own.
    Builtin,
    /// The one that there was: a visit to it is told if it is down.
    Present,
    /// None.
    Nothing,
}

/// Chooses a server by the settings, by whether the system's was found now, and by how often in a
/// row it was not.
fn choose(settings: SshChoice, found: bool, present: &Server, misses: u32) -> Choice {
    let restarting = matches!(present, Server::System(_)) && misses < MISSES;
    let alone = settings == SshChoice::Auto && cfg!(not(feature = "shell"));
    let settings = if alone { SshChoice::System } else { settings };
    match (settings, found) {
        (SshChoice::Builtin, _) => Choice::Builtin,
        (SshChoice::Auto | SshChoice::System, true) => Choice::Found,
        (SshChoice::Auto, false) if restarting => Choice::Present,
        (SshChoice::Auto, false) => Choice::Builtin,
        (SshChoice::System, false) if matches!(present, Server::System(_)) => Choice::Present,
        (SshChoice::System, false) => Choice::Nothing,
    }
}

/// Looks for the SSH server before anybody is told of it.
pub(crate) async fn first_look(agent: &Agent) {
    let server = Lookout::new(&agent.config.ssh, &agent.config.state_dir).look(Server::Nothing).await;
    if matches!(server, Server::System(_)) && agent.config.keys.files.is_empty() {
        tracing::info!(
            "the settings name no keys file: unless sshd asks 'postern-agent authorized-keys', \
             visitors need a key that it knows already"
        );
    }
    if matches!(server, Server::Nothing) {
        tracing::info!("ssh server: {}", Server::NOTHING);
    }
    adopt(agent, server);
}

/// Keeps the agent's idea of its SSH server true.
pub(crate) async fn follow(agent: &Agent) {
    let mut lookout = Lookout::new(&agent.config.ssh, &agent.config.state_dir);
    let mut changes = agent.changes();
    loop {
        let pause = if let Server::Nothing = agent.ssh() { LOOK_SOON } else { LOOK_AGAIN };
        let changed = async {
            sleep(LOOK_RARELY).await;
            changes.next().await;
        };
        // Before somebody comes in by a new access is a good moment, too.
        tokio::select! {
            () = sleep(pause) => {}
            () = changed => {}
        }
        changes.mark_seen();
        adopt(agent, lookout.look(agent.ssh()).await);
    }
}

/// Puts a server in place; one that is the same is no change.
fn adopt(agent: &Agent, server: Server) {
    agent.ssh.send_if_modified(|present| {
        let (before, after) = (present.describe(), server.describe());
        let changed = before != after;
        *present = server;
        if changed && let Some(ssh) = after {
            tracing::info!(kind = ?ssh.kind, version = ssh.version, port = ssh.port, "ssh server");
        }
        changed
    });
}

#[cfg(test)]
mod tests;
