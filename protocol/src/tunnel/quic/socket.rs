//! A socket that takes and gives many datagrams at once.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use quinn_proto::Transmit;
use quinn_udp::{EcnCodepoint, RecvMeta, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// No kernel takes more bytes at once than an IP packet can have.
const MOST_BYTES: usize = 65_000;

#[derive(Debug)]
pub(super) struct Socket {
    io: UdpSocket,
    offload: UdpSocketState,
    address: SocketAddr,
}

impl Socket {
    #[expect(clippy::disallowed_types, reason = "it opens none: it is given one that the caller opened")]
    pub(super) fn new(socket: std::net::UdpSocket) -> io::Result<Arc<Self>> {
        let (offload, address) = (UdpSocketState::new((&socket).into())?, socket.local_addr()?);
        Ok(Arc::new(Self { io: UdpSocket::from_std(socket)?, offload, address }))
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether the system breaks up datagrams that are too large, so that none can be found to be.
    pub(super) fn may_fragment(&self) -> bool {
        self.offload.may_fragment()
    }

    /// How many datagrams of this size can be sent at once.
    pub(super) fn batch(&self, size: u16) -> usize {
        (MOST_BYTES / usize::from(size)).clamp(1, self.offload.max_gso_segments())
    }

    /// Sends, or fails because there is no room now. Whatever else goes wrong is as if it were lost on the way.
    pub(super) fn send(&self, transmit: &Transmit, contents: &[u8]) -> io::Result<()> {
        let transmit = quinn_udp::Transmit {
            destination: transmit.destination,
            ecn: transmit.ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn as u8)),
            contents,
            segment_size: transmit.segment_size,
            src_ip: transmit.src_ip,
        };
        self.io.try_io(Interest::WRITABLE, || self.offload.send((&self.io).into(), &transmit))
    }

    /// Waits until there may be room.
    pub(super) async fn has_room(self: Arc<Self>) {
        let _or_will_be_seen = self.io.writable().await;
    }

    /// Receives messages, each of one datagram or of several of one size. One task may wait for them.
    pub(super) fn poll_receive(
        &self,
        cx: &mut Context<'_>,
        into: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let most = into.len().min(quinn_udp::BATCH_SIZE);
        loop {
            ready!(self.io.poll_recv_ready(cx))?;
            let mut received = 0;
            let receive = || {
                received = self.offload.recv((&self.io).into(), into, meta)?;
                // There was no more (what is received here is all that the kernel gave): a call that only says so is
                // spared.
                if received < most { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
            };
            match self.io.try_io(Interest::READABLE, receive) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Poll::Ready(Err(error)),
                _ if received > 0 => return Poll::Ready(Ok(received)),
                _ => {}
            }
        }
    }
}
