//! Forwarding: connections out of the box (-L, -D), and into the client's network from it (-R).

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use russh::server::{ChannelOpenHandle, Handle, Msg};
use russh::{Channel, ChannelOpenFailure};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::debug;

use super::account::Account;
use super::algorithms::PACKET;
use super::channels::Line;
use super::visit::{Visit, connect_failed};

/// How long a connection to somewhere behind the box may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a target may take the last bytes of a client that has closed the channel.
const LAST_BYTES: Duration = Duration::from_secs(10);

/// Ports that one connection may have the box listen on.
const MAX_LISTENERS: usize = 16;

/// Ports below this are root's.
const FIRST_FREE_PORT: u16 = 1024;

/// After a connection could not be accepted, usually for want of descriptors.
const BREATH: Duration = Duration::from_millis(100);

/// Connects to a place that the client names, and accepts the channel if that succeeds.
pub(super) fn connect(
    visit: &Arc<Visit>,
    channel: Channel<Msg>,
    handle: Handle,
    (host, port): (String, u32),
    reply: ChannelOpenHandle,
) {
    let line = visit.channels.enter(channel, handle);
    let (over, visit_) = (visit.over.clone(), Arc::clone(visit));
    visit.tasks.spawn(over.run_until_cancelled_owned(async move {
        match dial(&host, port).await {
            Ok(stream) => {
                reply.accept().await;
                join(line, stream).await;
            }
            Err(failure) => {
                debug!(access = %visit_.guest.access, host, port, reason = failure.description(), "not forwarded");
                reply.reject(failure).await;
            }
        }
    }));
}

async fn dial(host: &str, port: u32) -> Result<TcpStream, ChannelOpenFailure> {
    let port = u16::try_from(port).map_err(|_| connect_failed("there is no such port"))?;
    let connecting = timeout(CONNECT_TIMEOUT, TcpStream::connect((host, port))).await;
    let stream = connecting.map_err(|_| connect_failed("no answer"))?.map_err(connect_failed)?;
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// Copies both ways between a channel and a stream, each direction to its own end.
pub(super) async fn join<S: AsyncRead + AsyncWrite>(line: Line, stream: S) {
    let (read, write) = tokio::io::split(stream);
    let mut up = Box::pin(upward(&line, write));
    let mut down = Box::pin(downward(&line, read));
    let both = async { tokio::join!(&mut up, &mut down) };
    tokio::select! {
        _ = both => {}
        () = line.closed() => {
            let _ = timeout(LAST_BYTES, up).await;
        }
    }
    let _ = line.close().await;
}

/// What the client sends.
async fn upward(line: &Line, mut write: impl AsyncWrite + Unpin) {
    while let Some(piece) = line.next().await {
        if write.write_all(&piece).await.is_err() {
            break;
        }
    }
    line.stop_reading();
    let _ = write.shutdown().await;
}

/// What the client gets.
async fn downward(line: &Line, mut read: impl AsyncRead + Unpin) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(PACKET as usize);
        match read.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(_) if line.send(buffer.split().freeze()).await.is_err() => break,
            Ok(_) => {}
        }
    }
    let _ = line.eof().await;
}

/// The ports that the box listens on for one connection.
#[derive(Default)]
pub(super) struct Listeners {
    open: HashMap<(String, u32), DropGuard>,
}

impl Listeners {
    /// Listens on the box's loopback, whatever address the client names: those who reach the box
    /// need not reach its visitor. The port may be left to the system; it is returned.
    pub(super) async fn listen(
        &mut self,
        visit: &Arc<Visit>,
        handle: Handle,
        account: &Account,
        (address, port): (&str, u32),
    ) -> io::Result<u32> {
        let asked = u16::try_from(port).map_err(|_| io::ErrorKind::InvalidInput)?;
        let roots = (1..FIRST_FREE_PORT).contains(&asked);
        if self.open.len() >= MAX_LISTENERS {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        if roots && !account.is_root() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, asked)).await?;
        let port = u32::from(listener.local_addr()?.port());
        let stop = visit.over.child_token();
        let entrance = Entrance { visit: Arc::clone(visit), handle, address: address.to_owned(), port };
        visit.tasks.spawn(stop.clone().run_until_cancelled_owned(entrance.accept(listener)));
        self.open.insert((address.to_owned(), port), stop.drop_guard());
        Ok(port)
    }

    /// Stops listening; what is connected stays so.
    pub(super) fn cancel(&mut self, address: &str, port: u32) -> bool {
        self.open.remove(&(address.to_owned(), port)).is_some()
    }
}

/// One port that leads to the client.
struct Entrance {
    visit: Arc<Visit>,
    handle: Handle,
    /// As the client named it, by which it knows what is meant.
    address: String,
    port: u32,
}

impl Entrance {
    async fn accept(self, listener: TcpListener) {
        let this = Arc::new(self);
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => Arc::clone(&this).admit(stream, peer),
                Err(error) => {
                    debug!(%error, "a forwarded connection was not accepted");
                    sleep(BREATH).await;
                }
            }
        }
    }

    fn admit(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        if self.visit.admit_channel().is_err() {
            return;
        }
        let over: CancellationToken = self.visit.over.clone();
        let visit = Arc::clone(&self.visit);
        visit.tasks.spawn(over.run_until_cancelled_owned(async move { self.carry(stream, peer).await }));
    }

    async fn carry(&self, stream: TcpStream, peer: SocketAddr) {
        let _ = stream.set_nodelay(true);
        let (from, from_port) = (peer.ip().to_string(), u32::from(peer.port()));
        let opening =
            self.handle.channel_open_forwarded_tcpip(self.address.clone(), self.port, from, from_port);
        match opening.await {
            Ok(channel) => join(self.visit.channels.enter(channel, self.handle.clone()), stream).await,
            Err(error) => debug!(%error, "the client refused a forwarded connection"),
        }
    }
}
