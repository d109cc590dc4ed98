//! Copies bytes both ways, and passes on each side's end by itself.
//!
//! Chunks are handed over, not copied. Each direction holds one chunk at a time, so whoever does not
//! take theirs makes the other side wait: what is buffered beyond that is bounded by the windows of
//! SSH and QUIC.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use postern_protocol::Refusal;

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
    /// Bytes from the visitor to the box.
    pub(crate) fn up(&self) -> u64 {
        self.up.load(Relaxed)
    }

    /// Bytes from the box to the visitor.
    pub(crate) fn down(&self) -> u64 {
        self.down.load(Relaxed)
    }
}

/// Copies both ways until both directions have ended, or one side has left.
pub(crate) async fn splice(
    visitor: (impl Source, impl Sink),
    tunnel: (impl Source, impl Sink),
    tally: &Tally,
) -> Result<(), Refusal> {
    let up = pour(visitor.0, tunnel.1, &tally.up);
    let down = pour(tunnel.0, visitor.1, &tally.down);
    match tokio::try_join!(up, down) {
        Ok(((), ())) | Err(Halt::Gone | Halt::Deaf) => Ok(()),
        Err(Halt::Refused(refusal)) => Err(refusal),
    }
}

/// One direction. A side that wants no more ends it as well as one that has no more.
async fn pour(from: impl Source, to: impl Sink, count: &AtomicU64) -> Result<(), Halt> {
    match copy(from, to, count).await {
        Ok(()) | Err(Halt::Deaf) => Ok(()),
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
        to.send(chunk).await?;
        count.fetch_add(u64::try_from(length).expect("a chunk is small"), Relaxed);
    }
}
