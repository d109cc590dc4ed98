//! The kernel's word that links, addresses or routes have changed.

use std::io;
use std::time::Duration;

use tokio::time::sleep;

use crate::agent::Agent;

/// How often to look where the kernel does not tell.
const LOOK: Duration = Duration::from_secs(5);

/// Passes on each change until the agent ends. What exactly changed is not told, since whoever wants to
/// know asks for the way that they need.
pub(crate) async fn follow(agent: &Agent) {
    match Kernel::listen() {
        Ok(kernel) => loop {
            kernel.speaks().await;
            agent.network.send_replace(());
        },
        Err(error) => {
            tracing::warn!("the kernel does not tell of changes of the network: {error}");
            loop {
                sleep(LOOK).await;
                agent.network.send_replace(());
            }
        }
    }
}

/// A socket of rtnetlink(7). To tokio it is a datagram socket like any other: messages are received whole.
#[cfg(target_os = "linux")]
struct Kernel(tokio::net::UdpSocket);

#[cfg(target_os = "linux")]
impl Kernel {
    /// Links, and addresses and routes of both families.
    const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

    fn listen() -> io::Result<Self> {
        use nix::sys::socket::{AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, socket};
        use std::os::fd::AsRawFd;

        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, Self::GROUPS))?;
        tokio::net::UdpSocket::from_std(socket.into()).map(Self)
    }

    /// Waits for a message. That there were too many to keep is news like any other.
    async fn speaks(&self) {
        let _news = self.0.recv(&mut [0; 64]).await;
    }
}

#[cfg(not(target_os = "linux"))]
struct Kernel;

#[cfg(not(target_os = "linux"))]
impl Kernel {
    fn listen() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn speaks(&self) {
        std::future::pending().await
    }
}
