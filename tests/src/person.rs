//! Somebody at a terminal, with a home, an SSH key and the `postern` command.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::key::Key;
use crate::program::{Output, command, finish};
use crate::scene::Scene;

/// A person. Nothing of whoever runs the tests shines through: not their home, not their agent.
#[derive(Debug)]
pub struct Person {
    home: PathBuf,
    key: Key,
}

impl Person {
    /// Somebody who has never used Postern, with an Ed25519 key where ssh looks for it.
    pub async fn new(scene: &Scene) -> Self {
        let home = scene.new_dir("person");
        let dot_ssh = home.join(".ssh");
        fs::DirBuilder::new().mode(0o700).create(&dot_ssh).expect("a new home is empty");
        let key = Key::generate(dot_ssh.join("id_ed25519"), "ed25519").await;
        Self { home, key }
    }

    /// Their home.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Their key.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Writes their settings, as the manual says: where the API is, and the token.
    pub fn configure(&self, text: &str, mode: u32) {
        use std::os::unix::fs::OpenOptionsExt;
        let dir = self.home.join(".config/postern");
        fs::create_dir_all(&dir).expect("a home can be written");
        let mut file = fs::File::options();
        let file = file.write(true).create(true).truncate(true).mode(mode).open(dir.join("config.toml"));
        std::io::Write::write_all(&mut file.expect("a settings file"), text.as_bytes())
            .expect("it is written");
    }

    /// Puts any command into their hands.
    pub fn equip(&self, command: &mut Command) {
        command.env_clear().env("HOME", &self.home).env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("USER", crate::machine::own_login()).current_dir(&self.home);
    }

    /// The `postern` command with some words.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut postern = command("postern");
        self.equip(&mut postern);
        postern.args(words);
        postern
    }

    /// Types `postern` and some words.
    pub async fn postern(&self, words: &[&str]) -> Output {
        finish(self.command(words)).await
    }
}
