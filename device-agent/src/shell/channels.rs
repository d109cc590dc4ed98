//! The channels of one connection, each with a bounded queue of what the client sent on it.
//!
//! russh gives back a channel's window as soon as bytes arrive, not when they are taken, and has no
//! call to do so later. What it has is one number for the whole connection: how large a window the
//! next credit, on whichever channel, restores. So while some queue is too full that number is two
//! bytes: the full channel trickles, which keeps it alive until its reader moves on, and memory stays
//! bounded. Meanwhile other channels of the same connection receive slowly; what they send, and
//! keystrokes, go on at full speed. A client that ignores its window loses the connection.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use russh::server::{Handle, Msg};
use russh::{Channel, ChannelId, ChannelWriteHalf, Sig};
use tokio::time::timeout;

mod inbound;

pub(super) use inbound::Overrun;
use inbound::{Inbound, Piece};

/// A channel's window: 2 MiB carry 160 Mbit/s over a round trip of 100 ms, as OpenSSH's do.
pub(super) const WINDOW: u32 = 2 * 1024 * 1024;

/// Up to this much waiting, a channel gets its whole window back.
const EASY: u32 = WINDOW / 4;

/// Beyond this, it trickles: the next credit would be less than a packet or two.
const FULL: u32 = WINDOW - 64 * 1024;

/// The smallest window that russh can restore.
const TRICKLE: u32 = 2;

/// How long one trickling packet holds up the connection at most: 200 a second are few enough.
const NAP: Duration = Duration::from_millis(5);

/// Channels that one connection may have at the same time, of all kinds.
pub(super) const MAX_CHANNELS: usize = 64;

/// RFC 4254, section 5.2.
const STDERR: u32 = 1;

/// The channels of one connection.
#[derive(Default)]
pub(super) struct Channels {
    open: Mutex<HashMap<ChannelId, Arc<Inbound>>>,
}

impl Channels {
    /// Whether no more channels may be opened.
    pub(super) fn is_full(&self) -> bool {
        self.lock().len() >= MAX_CHANNELS
    }

    /// Whether a channel is in the hands of a task.
    pub(super) fn has(&self, id: ChannelId) -> bool {
        self.lock().contains_key(&id)
    }

    /// Takes a channel into the hands of a task. Call it before the channel is accepted.
    pub(super) fn enter(self: &Arc<Self>, channel: Channel<Msg>, handle: Handle) -> Line {
        // The session loop waits for a reader that is there but slow; without one it goes on.
        let (_, out) = channel.split();
        let inbound = self.expect(out.id());
        Line { out, handle, inbound, channels: Arc::clone(self) }
    }

    /// Makes the queue of a channel that the client has just confirmed, because its bytes can come
    /// before the task that opened it is told.
    pub(super) fn expect(&self, id: ChannelId) -> Arc<Inbound> {
        Arc::clone(self.lock().entry(id).or_default())
    }

    /// Takes what came. When the channel trickles, waits a moment: the credit for these very bytes
    /// is not sent before this returns, so waiting slows down the right client.
    pub(super) async fn data(&self, id: ChannelId, data: &[u8]) -> Result<(), Overrun> {
        let Some(inbound) = self.find(id) else { return Ok(()) };
        inbound.push(data)?;
        if data.len() <= TRICKLE as usize && inbound.waiting() > FULL as usize {
            let _ = timeout(NAP, inbound.taken.notified()).await;
        }
        Ok(())
    }

    /// The client sends no more on this channel.
    pub(super) fn eof(&self, id: ChannelId) {
        if let Some(inbound) = self.find(id) {
            inbound.end();
        }
    }

    /// The channel is closed in both directions.
    pub(super) fn closed(&self, id: ChannelId) {
        if let Some(inbound) = self.find(id) {
            inbound.end();
            inbound.closed.cancel();
        }
    }

    /// How large a window the next credit restores.
    pub(super) fn credit(&self) -> u32 {
        credit(self.lock().values().map(|inbound| inbound.waiting()).max().unwrap_or(0))
    }

    fn find(&self, id: ChannelId) -> Option<Arc<Inbound>> {
        self.lock().get(&id).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ChannelId, Arc<Inbound>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn credit(fullest: usize) -> u32 {
    match u32::try_from(fullest) {
        Ok(..=EASY) => WINDOW,
        Ok(waiting) if waiting <= FULL => WINDOW - waiting,
        Ok(_) | Err(_) => TRICKLE,
    }
}

/// One channel, in the hands of the task that serves it.
pub(super) struct Line {
    out: ChannelWriteHalf<Msg>,
    handle: Handle,
    inbound: Arc<Inbound>,
    channels: Arc<Channels>,
}

impl Line {
    /// What the client sent, piece by piece; nothing once it has ended.
    pub(super) async fn next(&self) -> Option<Piece> {
        self.inbound.next().await
    }

    /// From now on whatever the client sends is dropped: nobody reads it.
    pub(super) fn stop_reading(&self) {
        self.inbound.refuse();
    }

    /// Waits until the client has closed the channel.
    pub(super) async fn closed(&self) {
        self.inbound.closed.cancelled().await;
    }

    /// Sends, as fast as the client takes it.
    pub(super) async fn send(&self, bytes: Bytes) -> Result<(), russh::Error> {
        self.out.data_bytes(bytes).await
    }

    /// Sends as standard error.
    pub(super) async fn send_error(&self, bytes: Bytes) -> Result<(), russh::Error> {
        self.out.extended_data_bytes(STDERR, bytes).await
    }

    /// Says that no more will be sent.
    pub(super) async fn eof(&self) -> Result<(), russh::Error> {
        self.out.eof().await
    }

    /// Says how a program ended.
    pub(super) async fn exit_status(&self, status: u32) -> Result<(), russh::Error> {
        self.out.exit_status(status).await
    }

    /// Says which signal ended a program.
    pub(super) async fn exit_signal(&self, signal: Sig, core: bool) -> Result<(), russh::Error> {
        let said = self.handle.exit_signal_request(self.out.id(), signal, core, String::new(), String::new());
        said.await.map_err(|()| russh::Error::SendError)
    }

    /// Closes the channel.
    pub(super) async fn close(&self) -> Result<(), russh::Error> {
        self.out.close().await
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.channels.lock().remove(&self.out.id());
    }
}

#[cfg(test)]
mod tests;
