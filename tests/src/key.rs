//! SSH keys, made by ssh-keygen or by puttygen.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::finish;
use crate::ssh::feed;

/// How PuTTY's key files end.
const PUTTY: &str = "ppk";

/// A private key in a file, and its public half beside it.
#[derive(Debug, Clone)]
pub struct Key {
    path: PathBuf,
}

impl Key {
    /// Makes one of a type, such as `ed25519`.
    pub async fn generate(path: impl Into<PathBuf>, kind: &str) -> Self {
        Self::by_ssh_keygen(path, &[kind]).await
    }

    /// Makes one of a type, perhaps followed by more options, such as `-b 384`.
    pub async fn by_ssh_keygen(path: impl Into<PathBuf>, kind: &[&str]) -> Self {
        let path = path.into();
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-N", "", "-C", "visitor@test", "-f"]).arg(&path).arg("-t").args(kind);
        // It may look for primes for long.
        feed(command, b"").await.success();
        Self { path }
    }

    /// The same by PuTTY: a `.ppk` file, and beside it the public half as `puttygen -L` writes it.
    pub async fn by_puttygen(path: impl Into<PathBuf>, kind: &[&str]) -> Self {
        let path = path.into().with_extension(PUTTY);
        let mut command = Command::new("puttygen");
        // /dev/random is waited for where it is slow.
        command.args(["--random-device", "/dev/urandom", "-q", "-C", "visitor@test", "--new-passphrase"]);
        command.arg("/dev/null").arg("-o").arg(&path).arg("-t").args(kind);
        feed(command, b"").await.success();
        let key = Self { path };
        fs::write(key.public_file(), key.puttygen(&["-L"]).await).expect("a place beside the key");
        key
    }

    /// The private key's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The public key's line.
    pub fn public(&self) -> String {
        fs::read_to_string(self.public_file()).expect("it was written with the key")
    }

    /// What puttygen makes of the key with these options, such as `-p`.
    pub async fn puttygen(&self, options: &[&str]) -> String {
        let mut command = Command::new("puttygen");
        command.arg(&self.path).args(options).args(["--old-passphrase", "/dev/null"]);
        command.args(["--new-passphrase", "/dev/null", "-o", "/dev/stdout"]);
        finish(command).await.success()
    }

    /// The key as PuTTY reads it: itself, or a copy in that folder.
    pub(crate) async fn to_putty(&self, dir: &Path) -> PathBuf {
        if self.path.extension().is_some_and(|ending| ending == PUTTY) {
            return self.path.clone();
        }
        let copy = dir.join("key").with_extension(PUTTY);
        let mut command = Command::new("puttygen");
        command.arg(&self.path).args(["-O", "private", "-o"]).arg(&copy);
        finish(command).await.success();
        copy
    }

    fn public_file(&self) -> PathBuf {
        self.path.with_added_extension("pub")
    }
}
