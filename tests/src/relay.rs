//! The relay: the process, and where it listens.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use toml::Table;

use crate::api::{ApiProcess, http_client};
use crate::daemon::Daemon;
use crate::program::Program;
use crate::scene::Scene;

/// `postern-relay`.
#[derive(Debug)]
pub struct Relay {
    daemon: Daemon,
    listening: Listening,
    token_file: PathBuf,
}

/// Where a relay listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Listening {
    /// Visitors with `ssh`, over TCP.
    pub gate: SocketAddr,
    /// Agents, over UDP.
    pub agents: SocketAddr,
    /// Browsers, over TLS.
    pub https: SocketAddr,
    /// The administrator, over HTTP.
    pub admin: SocketAddr,
}

impl Relay {
    pub(crate) async fn start(scene: &Arc<Scene>, api: &ApiProcess, url: String, settings: Table) -> Self {
        let token_file = api.add_relay("relay-1").await;
        let own = || format!("{}:0", scene.address());
        let mut config = Table::new();
        config.insert("api".into(), url.into());
        config.insert("token_file".into(), token_file.to_str().expect("temporary paths are text").into());
        config.insert("gate".into(), own().into());
        config.insert("agents".into(), own().into());
        config.insert("https".into(), own().into());
        config.insert("domain".into(), "localhost".into());
        config.insert("admin".into(), own().into());
        config.insert("public_host".into(), scene.address().to_string().into());
        config.extend(settings);
        let mut daemon = Daemon::new(scene, "postern-relay", &[], config);
        let listening: Listening = daemon.start().await;
        daemon.set("gate", listening.gate.to_string());
        daemon.set("agents", listening.agents.to_string());
        daemon.set("https", listening.https.to_string());
        daemon.set("admin", listening.admin.to_string());
        Self { daemon, listening, token_file }
    }

    /// Where it listens.
    pub fn listening(&self) -> Listening {
        self.listening
    }

    /// What it counts under a name, all labels together.
    pub async fn metric(&self, name: &str) -> f64 {
        let url = format!("http://{}/metrics", self.listening.admin);
        let answer = http_client().get(url).send().await.expect("the relay counts");
        let text = answer.text().await.expect("a text");
        let lines = text.lines().filter(|line| line.starts_with(&format!("postern_relay_{name}")));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// The file with what it proves itself with to the API.
    pub fn token_file(&self) -> &Path {
        &self.token_file
    }

    /// Its state directory.
    pub fn state_dir(&self) -> PathBuf {
        self.daemon.state_dir()
    }

    /// Kills it without a word.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }

    /// Stops it as a service manager does.
    pub async fn stop(&mut self) {
        self.daemon.stop().await;
    }

    /// Starts it again where it was.
    pub async fn restart(&mut self) {
        let listening: Listening = self.daemon.start().await;
        assert_eq!(listening, self.listening, "a restarted relay is found where it was");
    }

    /// Sets a variable of its environment, from the next start.
    pub fn set_variable(&mut self, name: &str, value: &Path) {
        self.daemon.set_variable(name, value);
    }

    /// Starts it behind another command, and does not wait.
    pub fn run_through(&mut self, command: std::process::Command) {
        self.daemon.spawn_through(command);
    }

    /// The running process.
    pub fn process(&mut self) -> &mut Program {
        self.daemon.process()
    }
}
