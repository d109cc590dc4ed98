//! Which SSH server visitors reach on port 22: the system's, or the agent's own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use postern_protocol::wire::{SshServer, SshServerKind};
use tokio::time::sleep;

use crate::agent::Agent;
use crate::config::{SshChoice, SshSettings};
use crate::shell::{Settings, Shell};
use crate::sshd::{self, Found};

/// How often the system's server is looked for again: it may have been installed, moved or removed.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// How often while there is none, as when the box has just booted.
const LOOK_SOON: Duration = Duration::from_secs(3);

/// Each look costs the server a few connections, and it minds many.
const LOOK_RARELY: Duration = Duration::from_secs(10);

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
}

impl<'a> Lookout<'a> {
    /// A lookout that has not looked yet.
    pub(crate) fn new(settings: &'a SshSettings, state_dir: &'a Path) -> Self {
        Self { settings, state_dir, misses: 0 }
    }

    /// The server that visitors should reach from now on, given the one that they reach.
    pub(crate) async fn look(&mut self, present: Server) -> Server {
        let found = sshd::find(self.settings).await;
        self.misses = if found.is_some() { 0 } else { self.misses.saturating_add(1) };
        match (choose(self.settings.server, found.is_some(), &present, self.misses), found) {
            (Choice::Found, Some(found)) => Server::System(found),
            (Choice::Builtin, _) => self.builtin(present),
            (Choice::Nothing, _) => Server::Nothing,
            (Choice::Present | Choice::Found, _) => present,
        }
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
mod tests {
    use super::*;

    fn system() -> Server {
        let address = "127.0.0.1:22".parse().unwrap();
        Server::System(Found { address, version: "OpenSSH_9.2p1".into(), host_keys: Vec::new() })
    }

    #[test]
    fn the_system_has_precedence_and_is_not_given_up_at_once() {
        let cases = [
            (SshChoice::Auto, true, Server::Nothing, 0, Choice::Found),
            (SshChoice::Auto, false, Server::Nothing, 1, Choice::Builtin),
            (SshChoice::Auto, false, system(), MISSES - 1, Choice::Present),
            (SshChoice::Auto, false, system(), MISSES, Choice::Builtin),
            (SshChoice::System, true, Server::Nothing, 0, Choice::Found),
            (SshChoice::System, false, Server::Nothing, 9, Choice::Nothing),
            (SshChoice::System, false, system(), 9, Choice::Present),
            (SshChoice::Builtin, true, Server::Nothing, 0, Choice::Builtin),
        ];
        for (settings, found, present, misses, choice) in cases {
            assert_eq!(choose(settings, found, &present, misses), choice, "{settings:?} {found} {misses}");
        }
    }
}
