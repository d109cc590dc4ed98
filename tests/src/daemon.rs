//! A program with a configuration and a state directory, which can be killed and started again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use toml::Table;

use crate::namespace::Namespace;
use crate::program::{self, Output, Program};
use crate::scene::Scene;

/// A program, running or not, and everything it needs to run.
#[derive(Debug)]
pub(crate) struct Daemon {
    name: String,
    binary: &'static str,
    arguments: &'static [&'static str],
    dir: PathBuf,
    config: Table,
    process: Option<Program>,
    place: Option<Arc<Namespace>>,
    variables: Vec<(String, PathBuf)>,
    scene: Arc<Scene>,
}

impl Daemon {
    pub(crate) fn new(
        scene: &Arc<Scene>,
        binary: &'static str,
        arguments: &'static [&'static str],
        config: Table,
    ) -> Self {
        Self::named(scene, binary, binary, arguments, config)
    }

    /// One of several of the same program.
    pub(crate) fn named(
        scene: &Arc<Scene>,
        name: &str,
        binary: &'static str,
        arguments: &'static [&'static str],
        mut config: Table,
    ) -> Self {
        let dir = scene.path(name);
        fs::create_dir(&dir).expect("each program has its own name");
        config
            .insert("state_dir".into(), dir.join("state").to_str().expect("temporary paths are text").into());
        let (name, scene) = (name.into(), scene.clone());
        let daemon = Self {
            name,
            binary,
            arguments,
            dir,
            config,
            process: None,
            place: None,
            variables: Vec::new(),
            scene,
        };
        daemon.write_config();
        daemon
    }

    /// Puts it into another network, from the next start.
    pub(crate) fn move_to(&mut self, place: Arc<Namespace>) {
        self.place = Some(place);
    }

    /// Sets a variable of its environment, from the next start, and for its subcommands.
    pub(crate) fn set_variable(&mut self, name: &str, value: &Path) {
        self.variables.push((name.into(), value.into()));
    }

    /// Starts it behind another command, and does not wait.
    pub(crate) fn spawn_through(&mut self, mut command: Command) {
        command
            .arg(program::binary(self.binary))
            .arg("--config")
            .arg(self.config_path())
            .args(self.arguments);
        self.process = Some(Program::start(&self.scene, &self.name, command));
    }

    /// Its directory, which holds its state and its configuration.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// Changes its configuration, for the next start.
    pub(crate) fn set(&mut self, key: &str, value: impl Into<toml::Value>) {
        self.config.insert(key.into(), value.into());
        self.write_config();
    }

    /// Starts it, and waits until it says where it listens.
    pub(crate) async fn start<T: DeserializeOwned>(&mut self) -> T {
        let listening = self.state_dir().join("listening.json");
        // A killed program leaves its last one behind.
        fs::remove_file(&listening).ok();
        self.spawn();
        self.process().serving(&listening).await
    }

    /// Starts it, and does not wait.
    pub(crate) fn spawn(&mut self) {
        assert!(self.process.is_none(), "{} runs already", self.name);
        let mut command = program::command_in(self.place.as_deref(), self.binary);
        command.arg("--config").arg(self.config_path()).args(self.arguments);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        self.process = Some(Program::start(&self.scene, &self.name, command));
    }

    /// Runs the same program with another subcommand and the same configuration.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = program::command_in(self.place.as_deref(), self.binary);
        command.arg("--config").arg(self.config_path()).args(arguments);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        program::finish(command).await
    }

    pub(crate) fn process(&mut self) -> &mut Program {
        self.process.as_mut().unwrap_or_else(|| panic!("{} does not run", self.name))
    }

    pub(crate) fn kill(&mut self) {
        self.take().kill();
    }

    pub(crate) async fn stop(&mut self) {
        self.take().stop().await;
    }

    fn take(&mut self) -> Program {
        self.process.take().unwrap_or_else(|| panic!("{} does not run", self.name))
    }

    fn config_path(&self) -> PathBuf {
        self.dir.join("config.toml")
    }

    fn write_config(&self) {
        let text = toml::to_string(&self.config).expect("a table is TOML");
        fs::write(self.config_path(), text).expect("the configuration is written");
    }
}
