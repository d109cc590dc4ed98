//! The ways out of this box: which there are, and when to look again.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

mod kernel;

pub(crate) use kernel::follow;

/// What to ask the kernel for, so that a burst at full speed is not dropped.
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;

/// What most networks take in a frame.
const ETHERNET: usize = 1500;

/// A way from this box to a relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// The interface that it is bound to, if the settings list any.
    pub interface: Option<String>,
    /// The box's own address on it.
    pub source: IpAddr,
}

impl Way {
    /// The way that the kernel would take now, through this interface if one is named.
    pub(crate) fn look(interface: Option<&str>, relay: SocketAddr) -> io::Result<Self> {
        if interface.is_some_and(has_no_carrier) {
            return Err(io::ErrorKind::NetworkDown.into());
        }
        let socket = open(interface, relay)?;
        // Nothing is sent: connecting a datagram socket asks for the route.
        socket.connect(relay)?;
        Ok(Self { interface: interface.map(str::to_owned), source: socket.local_addr()?.ip() })
    }

    /// A fresh socket for this way, and so a fresh mapping in the NAT before the box.
    pub(crate) fn socket(&self, relay: SocketAddr) -> io::Result<UdpSocket> {
        open(self.interface.as_deref(), relay)
    }

    /// The largest packet that this way takes, as far as the kernel knows; beyond the next router there may be less.
    pub(crate) fn largest_packet(&self, relay: SocketAddr) -> u16 {
        let frame = self.frame(relay).unwrap_or(ETHERNET);
        let headers = if relay.is_ipv4() { 20 + 8 } else { 40 + 8 };
        u16::try_from(frame.saturating_sub(headers)).unwrap_or(u16::MAX)
    }

    #[cfg(target_os = "linux")]
    fn frame(&self, relay: SocketAddr) -> io::Result<usize> {
        use nix::sys::socket::{getsockopt, sockopt::IpMtu};

        let socket = open(self.interface.as_deref(), relay)?;
        socket.connect(relay)?;
        Ok(usize::try_from(getsockopt(&socket, IpMtu)?).unwrap_or(ETHERNET))
    }

    #[cfg(not(target_os = "linux"))]
    fn frame(&self, _: SocketAddr) -> io::Result<usize> {
        Ok(ETHERNET)
    }
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.interface {
            Some(interface) => write!(f, "{interface} ({})", self.source),
            None => write!(f, "{}", self.source),
        }
    }
}

/// The ways to a relay that can be tried now, the preferred one first: through the listed interfaces
/// in their order, or else as the kernel routes.
pub(crate) fn ways(interfaces: &[String], relay: SocketAddr) -> Vec<Way> {
    ranks(interfaces).into_iter().filter_map(|interface| Way::look(interface, relay).ok()).collect()
}

/// The interfaces to bind to, the preferred one first; none, where the kernel routes.
pub(crate) fn ranks(interfaces: &[String]) -> Vec<Option<&str>> {
    match interfaces {
        [] => vec![None],
        listed => listed.iter().map(|name| Some(name.as_str())).collect(),
    }
}

/// How far the box could get at all, for telling whether that has changed. Addresses for documentation
/// (RFC 5737, RFC 3849) stand for the internet.
pub(crate) fn outlook(interfaces: &[String]) -> Vec<Way> {
    let far: [IpAddr; 2] =
        [Ipv4Addr::new(192, 0, 2, 1).into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()];
    far.into_iter().flat_map(|far| ways(interfaces, SocketAddr::new(far, 1))).collect()
}

fn open(interface: Option<&str>, towards: SocketAddr) -> io::Result<UdpSocket> {
    let any = match towards {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = Socket::new(Domain::for_address(towards), Type::DGRAM, Some(Protocol::UDP))?;
    if let Some(interface) = interface {
        bind_to(&socket, interface)?;
    }
    socket.bind(&SocketAddr::new(any, 0).into())?;
    // The kernel gives what its limits allow; a box does well with less.
    let _as_allowed =
        (socket.set_recv_buffer_size(SOCKET_BUFFER), socket.set_send_buffer_size(SOCKET_BUFFER));
    Ok(socket.into())
}

#[cfg(target_os = "linux")]
pub(crate) fn bind_to(socket: &Socket, interface: &str) -> io::Result<()> {
    socket.bind_device(Some(interface.as_bytes()))
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn bind_to(_: &Socket, _: &str) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A pulled cable leaves its routes in place, so the kernel would go on using it.
fn has_no_carrier(interface: &str) -> bool {
    let state = std::fs::read_to_string(format!("/sys/class/net/{interface}/operstate"));
    state.is_ok_and(|state| matches!(state.trim(), "down" | "lowerlayerdown"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "127.0.0.1:4433";

    #[test]
    fn without_a_list_the_kernel_chooses() {
        let way = Way { interface: None, source: [127, 0, 0, 1].into() };
        assert_eq!(ways(&[], HERE.parse().unwrap()), [way]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn listed_interfaces_are_taken_in_their_order_if_they_are_there() {
        let found = ways(&["wan-of-nobody".into(), "lo".into()], HERE.parse().unwrap());
        let way = Way { interface: Some("lo".into()), source: [127, 0, 0, 1].into() };
        assert_eq!(found, [way]);
        assert_eq!(found[0].to_string(), "lo (127.0.0.1)");
    }
}
