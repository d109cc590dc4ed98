//! Datagrams leave in larger batches.
//!
//! The QUIC library hands the kernel ten datagrams at a time, and the kernel would take several times as
//! many for the same price: sending is the largest part of what bulk costs. So batches that are full, and
//! so probably not the last, wait for those that follow, until the batch is as large as the kernel takes
//! or nobody else has anything to do. What is not full leaves at once, and so does all that waits.
//!
//! A connection that may send ten datagrams at a time takes room for ten, and keeps it; the few datagrams of
//! a handshake are enough for that. Thousands of idle boxes would hold it for nothing, so the library is told
//! of batches only while there is bulk to send: see [`Heat`].
//!
//! What arrives in one batch is one piece of memory to the library, held until its last datagram was read.
//! Datagrams of visits that somebody reads, next to one of a visit that nobody reads, would be held with
//! it. So a batch is handed on in small groups.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};
use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};
use tokio::sync::Notify;

#[cfg(test)]
mod tests;

/// As many datagrams as the library hands over at once, unless it has fewer.
const FULL: usize = 10;

/// The most datagrams in a batch of ours: no kernel takes more than 64, nor more bytes than an IP packet
/// can have.
const MOST: usize = 5 * FULL;
const MOST_BYTES: usize = 65_000;

/// Tokio, with sockets that send in larger batches.
#[derive(Debug)]
pub struct Batching;

impl Runtime for Batching {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        TokioRuntime.spawn(future);
    }

    #[expect(clippy::disallowed_types, reason = "it opens none: it is given one that the caller opened")]
    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Ok(Batcher::start(TokioRuntime.wrap_udp_socket(socket)?))
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}

/// A socket, and the batch that waits in front of it.
#[derive(Debug)]
struct Batcher {
    socket: Arc<dyn AsyncUdpSocket>,
    heat: Heat,
    batch: Mutex<Batch>,
    /// Something waits, or the socket is no longer wanted.
    waits: Arc<Notify>,
}

impl Batcher {
    fn start(socket: Arc<dyn AsyncUdpSocket>) -> Arc<Self> {
        let waits = Arc::new(Notify::new());
        let (heat, batch) = (Heat::default(), Mutex::default());
        let batcher = Arc::new(Self { socket, heat, batch, waits: waits.clone() });
        tokio::spawn(send_left_overs(Arc::downgrade(&batcher), waits));
        batcher
    }

    fn batch(&self) -> MutexGuard<'_, Batch> {
        self.batch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what waits; it goes on waiting if the kernel has no room.
    fn flush(&self, batch: &mut Batch) -> io::Result<()> {
        match batch.transmit().map(|transmit| self.socket.try_send(&transmit)) {
            Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            // Whatever else is wrong with it, nobody tries again.
            sent => {
                batch.bytes.clear();
                sent.unwrap_or(Ok(()))
            }
        }
    }

    /// Sends what waits, if it can; whether it still waits.
    fn is_held_up(&self) -> bool {
        let mut batch = self.batch();
        let _or_later = self.flush(&mut batch);
        !batch.bytes.is_empty()
    }
}

/// Sends what nobody has completed, once everybody else has had their turn.
async fn send_left_overs(batcher: Weak<Batcher>, waits: Arc<Notify>) {
    loop {
        waits.notified().await;
        tokio::task::yield_now().await;
        let Some(batcher) = batcher.upgrade() else { return };
        let mut poller = batcher.socket.clone().create_io_poller();
        while batcher.is_held_up() {
            if std::future::poll_fn(|cx| poller.as_mut().poll_writable(cx)).await.is_err() {
                break;
            }
        }
    }
}

impl Drop for Batcher {
    fn drop(&mut self) {
        self.waits.notify_one();
    }
}

impl AsyncUdpSocket for Batcher {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.socket.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.heat.feel(transmit);
        let mut batch = self.batch();
        if !batch.takes(transmit, self.socket.max_transmit_segments()) {
            self.flush(&mut batch)?;
        }
        if batch.bytes.is_empty() && !is_full(transmit) {
            return self.socket.try_send(transmit);
        }
        batch.take(transmit);
        if !is_full(transmit) {
            // It is taken: if the kernel has no room now, it leaves with the left-overs.
            let _later = self.flush(&mut batch);
        }
        if !batch.bytes.is_empty() {
            self.waits.notify_one();
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context,
        buffers: &mut [io::IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        // One at a time: a second message's first group would overtake the rest of the first one, and
        // what is overtaken looks lost to whoever sent it.
        match ready!(self.socket.poll_recv(cx, &mut buffers[..1], &mut meta[..1]))? {
            0 => Poll::Ready(Ok(0)),
            _ => Poll::Ready(Ok(split(buffers, meta))),
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        if self.heat.is_bulk() { self.socket.max_transmit_segments() } else { 1 }
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}

/// Whether what is sent now is bulk: large datagrams one after the other, more than a handshake has.
#[derive(Debug, Default)]
struct Heat(AtomicU8);

impl Heat {
    const BULK: u8 = 8;
    const MOST: u8 = 32;

    fn feel(&self, transmit: &Transmit<'_>) {
        let heat = self.0.load(Relaxed);
        let after = match (transmit.segment_size, transmit.contents.len()) {
            (Some(_), _) => Self::MOST,
            (None, length) if length >= LARGE => heat.saturating_add(1).min(Self::MOST),
            (None, _) => heat.saturating_sub(2),
        };
        if after != heat {
            self.0.store(after, Relaxed);
        }
    }

    fn is_bulk(&self) -> bool {
        self.0.load(Relaxed) >= Self::BULK
    }
}

/// A datagram is large that is about as large as it can be.
const LARGE: usize = 1100;

/// Hands a part of a large message to each buffer after its own.
fn split(buffers: &mut [io::IoSliceMut<'_>], meta: &mut [RecvMeta]) -> usize {
    let RecvMeta { len, stride, .. } = meta[0];
    let datagrams = len.div_ceil(stride.max(1));
    let group = (datagrams.div_ceil(buffers.len()) * stride).clamp(1, len.max(1));
    let (message, free) = buffers.split_at_mut(1);
    let mut used = 1;
    for (part, buffer) in message[0][..len].chunks(group).skip(1).zip(free) {
        buffer[..part.len()].copy_from_slice(part);
        meta[used] = RecvMeta { len: part.len(), ..meta[0] };
        used += 1;
    }
    meta[0].len = group.min(len);
    used
}

/// Whether there may be more where this came from.
fn is_full(transmit: &Transmit<'_>) -> bool {
    transmit.segment_size.is_some_and(|size| transmit.contents.len() == size * FULL)
}

/// Datagrams of one size that go to one place; only the last may be smaller.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    size: usize,
    to: Option<Envelope>,
}

/// What datagrams that leave together have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Envelope {
    destination: SocketAddr,
    ecn: Option<EcnCodepoint>,
    source: Option<IpAddr>,
}

impl Envelope {
    fn of(transmit: &Transmit<'_>) -> Self {
        Self { destination: transmit.destination, ecn: transmit.ecn, source: transmit.src_ip }
    }
}

impl Batch {
    /// Whether these may leave together with those that wait, or none wait.
    fn takes(&self, transmit: &Transmit<'_>, most: usize) -> bool {
        if self.bytes.is_empty() {
            return true;
        }
        let size = transmit.segment_size.unwrap_or(transmit.contents.len());
        let together = self.bytes.len() + transmit.contents.len();
        let fits = together <= MOST_BYTES && together.div_ceil(self.size) <= most.min(MOST);
        let is_open = self.bytes.len().is_multiple_of(self.size);
        let is_alike = match transmit.segment_size {
            Some(size) => size == self.size,
            None => size <= self.size,
        };
        is_open && is_alike && fits && self.to == Some(Envelope::of(transmit))
    }

    fn take(&mut self, transmit: &Transmit<'_>) {
        if self.bytes.is_empty() {
            self.size = transmit.segment_size.unwrap_or(transmit.contents.len());
            self.to = Some(Envelope::of(transmit));
        }
        self.bytes.extend_from_slice(transmit.contents);
    }

    fn transmit(&self) -> Option<Transmit<'_>> {
        let Envelope { destination, ecn, source } = self.to.filter(|_| !self.bytes.is_empty())?;
        let segment_size = (self.bytes.len() > self.size).then_some(self.size);
        Some(Transmit { destination, ecn, contents: &self.bytes, segment_size, src_ip: source })
    }
}
