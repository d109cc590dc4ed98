//! A server of which one process serves one connection, as inetd started them.
//!
//! The test holds the listening socket. So the port is never guessed, and the server needs neither a
//! pid file nor the machine's configuration.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::process::Child;
use tokio::task::{JoinHandle, JoinSet};

use crate::namespace::Namespace;
use crate::scene::Scene;

/// A listening server, until it is dropped; its connections end with it.
#[derive(Debug)]
pub(crate) struct Inetd {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Inetd {
    /// Starts one whose log has this name and whose processes are made by `command`.
    pub(crate) fn start(
        listener: std::net::TcpListener,
        scene: &Arc<Scene>,
        name: &'static str,
        command: impl Fn() -> Command + Send + 'static,
    ) -> Self {
        listener.set_nonblocking(true).expect("a socket need not block");
        let listener = TcpListener::from_std(listener).expect("a listening socket");
        let address = listener.local_addr().expect("a bound address");
        let scene = scene.clone();
        let accepting = tokio::spawn(async move {
            let mut sessions = JoinSet::new();
            loop {
                let (visitor, _) = listener.accept().await.expect("a listening socket accepts");
                let mut session = serve(visitor, command(), scene.log(name).into());
                sessions.spawn(async move { session.wait().await });
                while sessions.try_join_next().is_some() {}
            }
        });
        Self { address, accepting }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Inetd {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Listens on a port of the loopback, in another network if one is given.
pub(crate) fn listen(place: Option<&Namespace>) -> std::net::TcpListener {
    let listen = || std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    place.map_or_else(listen, |place| place.enter(listen))
}

fn serve(visitor: TcpStream, command: Command, log: Stdio) -> Child {
    let visitor = visitor.into_std().expect("a socket of this runtime");
    visitor.set_nonblocking(false).expect("a socket can block");
    let visitor = OwnedFd::from(visitor);
    let mut command = tokio::process::Command::from(command);
    command.stdin(visitor.try_clone().expect("a socket can be shared")).stdout(visitor);
    command.stderr(log).kill_on_drop(true).spawn().expect("the server is installed")
}
