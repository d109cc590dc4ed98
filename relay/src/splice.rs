//! Copies bytes both ways, and passes on each side's end by itself.
//!
//! Chunks are handed over, not copied. Each direction holds one chunk at a time, so whoever does not
//! take theirs makes the other side wait: what is buffered beyond that is bounded by the windows of
//! SSH and QUIC.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use postern_protocol::Refusal;
use tokio::time::timeout;

#[cfg(test)]
mod tests;

/// The most bytes of one chunk: what fits an SSH packet.
pub(crate) const CHUNK: usize = 32 * 1024;

/// Where bytes come from.
pub(crate) trait Source: Send {
    /// The next bytes, or none once the other side has said that it is done.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, Halt>> + Send;
}

/// Where bytes go.
pub(crate) trait Sink: Send {
    /// Passes bytes on; waits while there is no room.
    fn send(&mut self, chunk: Bytes) -> impl Future<Output = Result<(), Halt>> + Send;

    /// Says that no more will come.
    fn finish(&mut self) -> impl Future<Output = Result<(), Halt>> + Send;

    /// Waits until the other side wants no more.
    fn closed(&self) -> impl Future<Output = Halt> + Send + 'static;
}

/// Why a direction stops before its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Halt {
    /// Nobody listens any more, although they may still speak.
    Deaf,
    /// One side has left; there is nothing to do for the other.
    Gone,
    /// One side has left for a reason worth telling.
    Refused(Refusal),
}

/// How many bytes went each way.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    up: AtomicU64,
    down: AtomicU64,
}

impl Tally {
    #[cfg(test)]
    pub(crate) fn add_up(&self, bytes: u64) {
        self.up.fetch_add(bytes, Relaxed);
    }

    /// Bytes from the visitor to the box.
    pub(crate) fn up(&self) -> u64 {
        self.up.load(Relaxed)
    }

    /// Bytes from the box to the visitor.
    pub(crate) fn down(&self) -> u64 {
        self.down.load(Relaxed)
    }
}

/// A visitor who wants no more has as good as left; the box may take what they sent before, for so long.
const LAST_BYTES: Duration = Duration::from_secs(30);

/// How a direction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Everything was said.
    Said,
    /// Nobody wanted to hear the rest.
    Unheard,
}

/// Copies both ways until both directions have ended, or one side has left.
pub(crate) async fn splice(
    visitor: (impl Source, impl Sink),
    tunnel: (impl Source, impl Sink),
    tally: &Tally,
) -> Result<(), Refusal> {
    let up = pin!(pour(visitor.0, tunnel.1, &tally.up));
    let down = pin!(pour(tunnel.0, visitor.1, &tally.down));
    let ended = match select(up, down).await {
        Either::Left((Ok(_), down)) => down.await,
        Either::Right((Ok(End::Said), up)) => up.await,
        Either::Right((Ok(End::Unheard), up)) => timeout(LAST_BYTES, up).await.unwrap_or(Err(Halt::Gone)),
        Either::Left((Err(halt), _)) | Either::Right((Err(halt), _)) => Err(halt),
    };
    match ended {
        Ok(_) | Err(Halt::Gone | Halt::Deaf) => Ok(()),
        Err(Halt::Refused(refusal)) => Err(refusal),
    }
}

/// One direction. A side that wants no more ends it as well as one that has no more.
async fn pour(from: impl Source, to: impl Sink, count: &AtomicU64) -> Result<End, Halt> {
    match copy(from, to, count).await {
        Ok(()) => Ok(End::Said),
        Err(Halt::Deaf) => Ok(End::Unheard),
        Err(halt) => Err(halt),
    }
}

async fn copy(mut from: impl Source, mut to: impl Sink, count: &AtomicU64) -> Result<(), Halt> {
    let mut closed = pin!(to.closed());
    loop {
        let chunk = tokio::select! {
            chunk = from.next() => chunk?,
            halt = &mut closed => return Err(halt),
        };
        let Some(chunk) = chunk else { return to.finish().await };
        let length = chunk.len();
        tokio::select! {
            sent = to.send(chunk) => sent?,
            halt = &mut closed => return Err(halt),
        }
        count.fetch_add(u64::try_from(length).expect("a chunk is small"), Relaxed);
    }
}
