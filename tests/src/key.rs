//! SSH keys, made by ssh-keygen.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::finish;

/// A private key in a file, and its public half beside it.
#[derive(Debug, Clone)]
pub struct Key {
    path: PathBuf,
}

impl Key {
    /// Makes one of a type, such as `ed25519`.
    pub async fn generate(path: impl Into<PathBuf>, kind: &str) -> Self {
        let path = path.into();
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-t", kind, "-N", "", "-C", "visitor@test", "-f"]).arg(&path);
        finish(command).await.success();
        Self { path }
    }

    /// The private key's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The public key's line.
    pub fn public(&self) -> String {
        fs::read_to_string(self.path.with_added_extension("pub")).expect("ssh-keygen wrote the public key")
    }
}
