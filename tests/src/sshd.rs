//! A real sshd of the test's own.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crate::inetd::{Inetd, listen};
use crate::key::Key;
use crate::namespace::Namespace;
use crate::scene::Scene;

/// sshd wants to be called by its whole path, and Debian keeps it out of people's PATH.
const SSHD: &str = "/usr/sbin/sshd";

/// An sshd, until it is dropped.
#[derive(Debug)]
pub struct Sshd {
    server: Inetd,
    dir: PathBuf,
}

impl Sshd {
    /// Starts one that believes the keys in the file of that folder that is named like the login, in
    /// another network if one is given.
    pub(crate) async fn start(scene: &Arc<Scene>, keys: &Path, place: Option<&Namespace>) -> Self {
        Self::on(listen(place), scene, &format!("AuthorizedKeysFile {}/%u", keys.display())).await
    }

    /// Starts one that learns whose keys to believe from these lines of configuration.
    pub async fn with(scene: &Arc<Scene>, keys: &str) -> Self {
        Self::on(listen(None), scene, keys).await
    }

    async fn on(listener: TcpListener, scene: &Arc<Scene>, keys: &str) -> Self {
        let dir = scene.new_dir("sshd");
        Key::generate(dir.join("ssh_host_ed25519_key"), "ed25519").await;
        Key::generate(dir.join("ssh_host_ecdsa_key"), "ecdsa").await;
        // A root sshd needs it for privilege separation; Debian makes it at boot.
        fs::create_dir_all("/run/sshd").ok();
        let config = dir.join("sshd_config");
        fs::write(&config, configuration(&dir, keys)).expect("the configuration is written");
        let command = move || {
            let mut sshd = Command::new(SSHD);
            sshd.args(["-i", "-e", "-f"]).arg(&config);
            sshd
        };
        Self { server: Inetd::start(listener, scene, "sshd", command), dir }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Where its host keys are.
    pub fn host_keys_dir(&self) -> &Path {
        &self.dir
    }
}

fn configuration(dir: &Path, keys: &str) -> String {
    let dir = dir.display();
    format!(
        "HostKey {dir}/ssh_host_ed25519_key\n\
         HostKey {dir}/ssh_host_ecdsa_key\n\
         {keys}\n\
         PidFile none\n\
         UsePAM no\n\
         StrictModes no\n\
         PasswordAuthentication no\n\
         KbdInteractiveAuthentication no\n\
         PermitRootLogin prohibit-password\n\
         PrintMotd no\n\
         PrintLastLog no\n\
         UseDNS no\n\
         LogLevel VERBOSE\n\
         Subsystem sftp internal-sftp\n"
    )
}
