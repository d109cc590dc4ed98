//! Real SSH servers, one process a connection, each on a port of its own.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use postern_protocol::ssh_key::PublicKey;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::config::SshSettings;

/// Nobody else listens at this address of the loopback, so a port of it can be had again.
const ADDRESS: &str = "127.0.0.2:0";

/// A server that is started anew for every connection.
pub(crate) struct Sshd {
    address: SocketAddr,
    accepting: JoinHandle<()>,
    asked: Arc<AtomicUsize>,
}

impl Sshd {
    /// Starts one that is this program.
    pub(crate) async fn start(program: &'static str, arguments: Vec<String>) -> Self {
        Self::at(ADDRESS.parse().unwrap(), program, arguments).await
    }

    async fn at(address: SocketAddr, program: &'static str, arguments: Vec<String>) -> Self {
        let listener = listen(address).await;
        let (address, asked) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let counted = asked.clone();
        let accepting = tokio::spawn(async move {
            let mut children = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Relaxed);
                let stream = stream.into_std().unwrap();
                stream.set_nonblocking(false).unwrap();
                let socket = || Stdio::from(OwnedFd::from(stream.try_clone().unwrap()));
                let mut command = tokio::process::Command::new(program);
                command.args(&arguments).stdin(socket()).stdout(socket()).stderr(Stdio::null());
                children.push(command.kill_on_drop(true).spawn().unwrap());
            }
        });
        Self { address, accepting, asked }
    }

    /// Starts an OpenSSH server with these host keys.
    pub(crate) async fn openssh(keys: &[PathBuf]) -> Self {
        Self::openssh_with(&[], keys).await
    }

    /// Starts one with these options, too.
    pub(crate) async fn openssh_with(options: &[String], keys: &[PathBuf]) -> Self {
        Self::openssh_at(ADDRESS.parse().unwrap(), options, keys).await
    }

    async fn openssh_at(address: SocketAddr, options: &[String], keys: &[PathBuf]) -> Self {
        std::fs::create_dir_all("/run/sshd").unwrap();
        let keys = keys.iter().flat_map(|key| ["-h".to_owned(), key.display().to_string()]);
        let arguments = ["-i", "-e", "-f", "/dev/null"]
            .map(str::to_owned)
            .into_iter()
            .chain(keys)
            .chain(options.iter().cloned());
        Self::at(address, "/usr/sbin/sshd", arguments.collect()).await
    }

    /// Stops it, and starts one with these host keys in its place.
    pub(crate) async fn restarted(self, keys: &[PathBuf]) -> Self {
        let address = self.address;
        self.stop().await;
        Self::openssh_at(address, &[], keys).await
    }

    /// Stops it; nobody listens there when this returns.
    pub(crate) async fn stop(mut self) {
        self.accepting.abort();
        let _aborted = (&mut self.accepting).await;
        drop(listen(self.address).await);
    }

    /// The settings by which an agent finds it.
    pub(crate) fn settings(&self) -> SshSettings {
        SshSettings { address: Some(self.address), ..SshSettings::default() }
    }

    /// How many connections it has taken.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Relaxed)
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Listens as soon as nobody else does: a child that is just being started holds a copy of every socket.
async fn listen(address: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Makes a host key.
pub(crate) fn host_key(home: &TempDir, kind: &str) -> PathBuf {
    let path = home.path().join(kind);
    let made = Command::new("ssh-keygen").args(["-q", "-N", "", "-t", kind, "-f"]).arg(&path).status();
    assert!(made.unwrap().success());
    path
}

/// Its public half.
pub(crate) fn public(private: &Path) -> PublicKey {
    let text = std::fs::read_to_string(private.with_extension("pub")).unwrap();
    PublicKey::parse(&text).unwrap().key
}
