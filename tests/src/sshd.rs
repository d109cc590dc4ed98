//! A real sshd of the test's own.
//!
//! The test holds the listening socket and starts one `sshd -i` for each connection, as inetd did.
//! So the port is never guessed, and sshd needs neither a pid file nor the machine's configuration.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::{JoinHandle, JoinSet};

use crate::key::Key;
use crate::namespace::Namespace;
use crate::scene::Scene;

/// sshd wants to be called by its whole path, and Debian keeps it out of people's PATH.
const SSHD: &str = "/usr/sbin/sshd";

/// An sshd, until it is dropped.
#[derive(Debug)]
pub struct Sshd {
    address: SocketAddr,
    dir: PathBuf,
    accepting: JoinHandle<()>,
}

impl Sshd {
    /// Starts one that believes the keys in that file, in another network if one is given.
    pub(crate) async fn start(scene: &Arc<Scene>, keys_file: &Path, place: Option<&Namespace>) -> Self {
        let listen = || std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let listener = place.map_or_else(listen, |place| place.enter(listen));
        Self::on(listener, scene, &format!("AuthorizedKeysFile {}", keys_file.display())).await
    }

    /// Starts one that learns whose keys to believe from these lines of configuration.
    pub async fn with(scene: &Arc<Scene>, keys: &str) -> Self {
        Self::on(std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port"), scene, keys).await
    }

    async fn on(listener: std::net::TcpListener, scene: &Arc<Scene>, keys: &str) -> Self {
        let dir = scene.new_dir("sshd");
        Key::generate(dir.join("ssh_host_ed25519_key"), "ed25519").await;
        Key::generate(dir.join("ssh_host_ecdsa_key"), "ecdsa").await;
        // A root sshd needs it for privilege separation; Debian makes it at boot.
        fs::create_dir_all("/run/sshd").ok();
        fs::write(dir.join("sshd_config"), configuration(&dir, keys)).expect("the configuration is written");
        listener.set_nonblocking(true).expect("a socket need not block");
        let listener = TcpListener::from_std(listener).expect("a listening socket");
        let address = listener.local_addr().expect("a bound address");
        let accepting = tokio::spawn(accept(listener, dir.join("sshd_config"), scene.clone()));
        Self { address, dir, accepting }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its host keys are.
    pub fn host_keys_dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.accepting.abort();
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

async fn accept(listener: TcpListener, config: PathBuf, scene: Arc<Scene>) {
    let mut sessions = JoinSet::new();
    loop {
        let (visitor, _) = listener.accept().await.expect("a listening socket accepts");
        let mut session = serve(visitor, &config, &scene);
        sessions.spawn(async move { session.wait().await });
        while sessions.try_join_next().is_some() {}
    }
}

fn serve(visitor: TcpStream, config: &Path, scene: &Scene) -> Child {
    let visitor = visitor.into_std().expect("a socket of this runtime");
    visitor.set_nonblocking(false).expect("a socket can block");
    let visitor = OwnedFd::from(visitor);
    let mut command = Command::new(SSHD);
    command.args(["-i", "-e", "-f"]).arg(config).kill_on_drop(true);
    command.stdin(visitor.try_clone().expect("a socket can be shared")).stdout(visitor);
    command.stderr(Stdio::from(scene.log("sshd")));
    command.spawn().expect("openssh-server is installed")
}
