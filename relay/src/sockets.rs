//! Sockets: those that the service manager opened before it started the relay, and those opened here.
//!
//! With sockets of the service manager, visitors and boxes that come while the relay restarts wait a
//! moment instead of being refused.

use std::net::{SocketAddr, TcpListener, UdpSocket};

use anyhow::Context;
use listenfd::ListenFd;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Room for the packets of thousands of boxes that return at once.
const DATAGRAM_BUFFER: usize = 4 * 1024 * 1024;

/// Connections that wait to be accepted, which the kernel may limit further.
const BACKLOG: i32 = 1024;

/// Sockets that were handed over at the start, until somebody asks for them.
pub(crate) struct Inherited {
    streams: Vec<TcpListener>,
    datagrams: Vec<UdpSocket>,
}

impl Inherited {
    /// Takes what the service manager has handed over (sd_listen_fds(3)), if it has.
    pub(crate) fn take() -> Self {
        let mut handed = ListenFd::from_env();
        let all = 0..handed.len();
        // Of the wrong kind is not an error here: each is one of the two.
        let streams = all.clone().filter_map(|at| handed.take_tcp_listener(at).ok().flatten()).collect();
        let datagrams = all.filter_map(|at| handed.take_udp_socket(at).ok().flatten()).collect();
        Self { streams, datagrams }
    }

    /// The listener for an address: the one that was handed over for its port, or a new one.
    pub(crate) fn listen(&mut self, name: &str, at: SocketAddr) -> anyhow::Result<tokio::net::TcpListener> {
        let of_port = |socket: &TcpListener| has_port(socket.local_addr(), at);
        let listener = match self.streams.iter().position(of_port) {
            Some(place) => Ok(self.streams.swap_remove(place)),
            None => new_listener(at),
        };
        let listener = listener.with_context(|| format!("{name} = \"{at}\""))?;
        listener.set_nonblocking(true)?;
        Ok(tokio::net::TcpListener::from_std(listener)?)
    }

    /// The same for datagrams.
    pub(crate) fn datagrams(&mut self, name: &str, at: SocketAddr) -> anyhow::Result<UdpSocket> {
        let of_port = |socket: &UdpSocket| has_port(socket.local_addr(), at);
        let socket = match self.datagrams.iter().position(of_port) {
            Some(place) => Ok(self.datagrams.swap_remove(place)),
            None => new_datagram_socket(at),
        };
        let socket = socket.with_context(|| format!("{name} = \"{at}\""))?;
        socket.set_nonblocking(true)?;
        enlarge_buffers(&SockRef::from(&socket));
        Ok(socket)
    }

    /// Says which sockets nobody asked for: the unit and the settings differ.
    pub(crate) fn report_rest(&self) {
        let streams = self.streams.iter().map(TcpListener::local_addr);
        for address in streams.chain(self.datagrams.iter().map(UdpSocket::local_addr)).flatten() {
            tracing::warn!(%address, "the service manager opened a socket that no setting names");
        }
    }
}

fn has_port(bound: std::io::Result<SocketAddr>, asked: SocketAddr) -> bool {
    bound.is_ok_and(|bound| bound.port() == asked.port())
}

fn new_listener(at: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = socket(at, Type::STREAM, Protocol::TCP)?;
    // A relay that restarts finds its port although connections of its former life linger.
    socket.set_reuse_address(true)?;
    socket.bind(&at.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn new_datagram_socket(at: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = socket(at, Type::DGRAM, Protocol::UDP)?;
    socket.bind(&at.into())?;
    Ok(socket.into())
}

/// An address of all of IPv6 is one of all of IPv4, too.
fn socket(at: SocketAddr, kind: Type, protocol: Protocol) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), kind, Some(protocol))?;
    if at.is_ipv6() {
        socket.set_only_v6(!at.ip().is_unspecified())?;
    }
    Ok(socket)
}

fn enlarge_buffers(socket: &SockRef<'_>) {
    // The kernel doubles what it grants and does not say when it grants less.
    let _ = socket.set_recv_buffer_size(DATAGRAM_BUFFER);
    let _ = socket.set_send_buffer_size(DATAGRAM_BUFFER);
    for (granted, name) in
        [(socket.recv_buffer_size(), "net.core.rmem_max"), (socket.send_buffer_size(), "net.core.wmem_max")]
    {
        let granted = granted.unwrap_or_default();
        if granted < DATAGRAM_BUFFER {
            tracing::warn!(
                "the UDP buffer has {granted} bytes of the {DATAGRAM_BUFFER} asked for, so packets may be \
                 lost when many boxes return at once: sysctl -w {name}={DATAGRAM_BUFFER}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_that_was_handed_over_is_taken_for_its_port_and_for_no_other() {
        let handed = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = handed.local_addr().unwrap();
        let mut inherited = Inherited { streams: vec![handed], datagrams: Vec::new() };
        let another = inherited.listen("admin", "127.0.0.1:0".parse().unwrap()).unwrap();
        assert_ne!(another.local_addr().unwrap(), address);
        let listener = inherited.listen("gate", address).unwrap();
        assert_eq!(listener.local_addr().unwrap(), address);
        assert!(inherited.streams.is_empty());
    }

    #[tokio::test]
    async fn sockets_are_opened_on_any_free_port_of_either_family() {
        let mut inherited = Inherited { streams: Vec::new(), datagrams: Vec::new() };
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let socket = inherited.datagrams("agents", at.parse().unwrap()).unwrap();
            assert_ne!(socket.local_addr().unwrap().port(), 0);
            assert!(inherited.listen("gate", at.parse().unwrap()).is_ok());
        }
    }
}
