//! The ways to the same service: directly, and through each product.
//!
//! Every route ends in an address on this machine that a plain TCP client connects to, and knows which
//! processes do its work on the public side and on the box's.

use std::net::SocketAddr;

use nix::unistd::Pid;
use postern_tests::Scene;
use postern_tests::program::Program;

pub(crate) mod bore;
pub(crate) mod openssh;
pub(crate) mod postern;
pub(crate) mod rathole;

/// A way to the service.
pub(crate) struct Route {
    /// What it is called in tables.
    pub(crate) name: &'static str,
    /// Where clients connect.
    pub(crate) address: SocketAddr,
    /// What `ssh` is given to reach the service by a login of its own, where that is a way.
    pub(crate) login: Vec<String>,
    /// Where a stranger could connect and say nothing.
    pub(crate) doors: Vec<SocketAddr>,
    /// What runs where the public comes in.
    pub(crate) relay: Vec<Pid>,
    /// What runs on the box.
    pub(crate) agent: Vec<Pid>,
    /// Kept alive for as long as the route is used.
    pub(crate) _keep: Vec<Box<dyn std::any::Any>>,
}

impl Route {
    /// No way at all: the service itself.
    pub(crate) fn direct(service: SocketAddr) -> Self {
        Self {
            name: "direct",
            address: service,
            login: vec![],
            doors: vec![service],
            relay: vec![],
            agent: vec![],
            _keep: vec![],
        }
    }
}

/// Whether a program can be run here.
pub(crate) fn is_installed(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|dir| dir.join(program).is_file())
}

/// Says that a peer is not measured, and how it would be.
pub(crate) fn skip(name: &str, how: &str) {
    eprintln!("{name} is not installed and is left out; {how}");
}

/// Waits until somebody answers there.
pub(crate) async fn answers(address: SocketAddr) {
    postern_tests::eventually(&format!("{address} answers"), postern_tests::SOON, async || {
        crate::load::first_byte(address, 1).await.ok()
    })
    .await;
}

/// Waits until somebody listens there.
pub(crate) async fn listens(address: SocketAddr) {
    postern_tests::eventually(&format!("{address} listens"), postern_tests::SOON, async || {
        tokio::net::TcpStream::connect(address).await.ok()
    })
    .await;
}

/// A running program of a peer.
pub(crate) fn run(scene: &std::sync::Arc<Scene>, name: &str, program: &str, arguments: &[&str]) -> Program {
    let mut command = std::process::Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", program]).args(arguments);
    // A peer that loses its server at the end is no error of ours.
    command.env("RUST_LOG", "off");
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    Program::start(scene, name, command)
}
