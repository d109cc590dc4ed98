//! What visitors sent and boxes have not taken yet: one bounded queue a channel.
//!
//! russh gives back a channel's window as soon as bytes arrive, not when they are taken, and has no
//! call to do so later. What it has is one number for the whole connection: how large a window the
//! next credit, on whichever channel, restores. So while some queue is too full that number is two
//! bytes: the full channel trickles, which keeps it alive until its box moves on, and memory stays
//! bounded. A client that ignores its window loses the channel.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// A channel's window: 2 MiB carry 160 Mbit/s over a round trip of 100 ms, as OpenSSH's do.
pub(super) const WINDOW: u32 = 2 * 1024 * 1024;

/// Up to this much waiting, a channel gets its whole window back.
const EASY: u32 = WINDOW / 4;

/// Beyond this, it trickles: the next credit would be less than a packet or two.
const FULL: u32 = WINDOW - 64 * 1024;

/// The smallest window that russh can restore.
const TRICKLE: u32 = 2;

/// Credits take effect one late, so about twice the window can come; twice that is a client's fault.
const MOST: usize = 4 * WINDOW as usize;

/// Pieces below this size are gathered, so that a trickle of bytes does not cost an allocation each.
const SMALL: usize = 4 * 1024;

/// How large gathered pieces become.
const GATHERED: usize = 16 * 1024;

/// How long one trickling packet holds up the connection at most: 200 a second are few enough.
const NAP: Duration = Duration::from_millis(5);

/// The queues of one connection's channels, by the channels' numbers.
#[derive(Clone, Default)]
pub(super) struct Queues(Arc<Mutex<HashMap<u32, Arc<Inbound>>>>);

/// A client that sent more than its window.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Overrun;

impl Queues {
    /// How many channels there are.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Makes a channel's queue; call it before the channel is accepted.
    pub(super) fn enter(&self, channel: u32) -> (Reader, Seat) {
        let inbound = Arc::<Inbound>::default();
        self.lock().insert(channel, inbound.clone());
        let seat = Seat { queues: self.clone(), channel, closed: inbound.closed.clone() };
        (Reader { inbound }, seat)
    }

    /// Takes what came. When the channel trickles, waits a moment: the credit for these very bytes
    /// is not sent before this returns, so waiting slows down the right client.
    pub(super) async fn push(&self, channel: u32, data: &[u8]) -> Result<(), Overrun> {
        let Some(inbound) = self.find(channel) else { return Ok(()) };
        inbound.push(data)?;
        if data.len() <= TRICKLE as usize && inbound.lock().waiting > FULL as usize {
            let _ = timeout(NAP, inbound.taken.notified()).await;
        }
        Ok(())
    }

    /// The client sends no more on this channel.
    pub(super) fn end(&self, channel: u32) {
        if let Some(inbound) = self.find(channel) {
            inbound.lock().ended = true;
            inbound.arrived.notify_one();
        }
    }

    /// The client has closed the channel.
    pub(super) fn close(&self, channel: u32) {
        self.end(channel);
        if let Some(inbound) = self.find(channel) {
            inbound.closed.cancel();
        }
    }

    /// The client is gone, with all its channels, and did not say that it was done.
    pub(super) fn abandon(&self) {
        for inbound in self.lock().values() {
            inbound.lock().abandoned = true;
            inbound.arrived.notify_one();
            inbound.closed.cancel();
        }
    }

    /// How large a window the next credit restores.
    pub(super) fn credit(&self) -> u32 {
        credit(self.lock().values().map(|inbound| inbound.lock().waiting).max().unwrap_or(0))
    }

    fn find(&self, channel: u32) -> Option<Arc<Inbound>> {
        self.lock().get(&channel).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Arc<Inbound>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn credit(fullest: usize) -> u32 {
    match u32::try_from(fullest) {
        Ok(..=EASY) => WINDOW,
        Ok(waiting) if waiting <= FULL => WINDOW - waiting,
        Ok(_) | Err(_) => TRICKLE,
    }
}

/// One channel's queue.
#[derive(Default)]
struct Inbound {
    queue: Mutex<Queue>,
    arrived: Notify,
    taken: Notify,
    closed: CancellationToken,
}

#[derive(Default)]
struct Queue {
    pieces: VecDeque<BytesMut>,
    /// Bytes in the pieces and in the hands of the reader.
    waiting: usize,
    ended: bool,
    overrun: bool,
    abandoned: bool,
    /// Nobody takes anything any more.
    unread: bool,
}

/// Why there is no more to read, although the client did not say that it was done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// It sent more than its window.
    Overrun,
    /// It is gone.
    Abandoned,
}

impl Inbound {
    fn push(&self, data: &[u8]) -> Result<(), Overrun> {
        let mut queue = self.lock();
        if queue.unread {
            return Ok(());
        }
        if queue.overrun || queue.waiting + data.len() > MOST {
            queue.overrun = true;
            drop(queue);
            self.arrived.notify_one();
            return Err(Overrun);
        }
        queue.waiting += data.len();
        match queue.pieces.back_mut() {
            Some(last) if data.len() < SMALL && last.len() + data.len() <= GATHERED => {
                last.extend_from_slice(data)
            }
            _ => queue.pieces.push_back(BytesMut::from(data)),
        }
        drop(queue);
        self.arrived.notify_one();
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one who takes a channel's bytes to the box.
pub(super) struct Reader {
    inbound: Arc<Inbound>,
}

/// A channel's place among those of its connection, for as long as its visit lasts.
pub(super) struct Seat {
    queues: Queues,
    channel: u32,
    /// Falls when the client closes the channel or leaves.
    pub(super) closed: CancellationToken,
}

impl Reader {
    /// The next bytes, or none at the end. Asking for more says that the last ones were passed on.
    pub(super) async fn next(&mut self, passed_on: usize) -> Result<Option<Bytes>, Broken> {
        self.inbound.lock().waiting -= passed_on;
        if passed_on > 0 {
            self.inbound.taken.notify_one();
        }
        loop {
            let arrived = self.inbound.arrived.notified();
            {
                let mut queue = self.inbound.lock();
                match queue.pieces.pop_front() {
                    _ if queue.overrun => return Err(Broken::Overrun),
                    _ if queue.abandoned => return Err(Broken::Abandoned),
                    Some(piece) => return Ok(Some(piece.freeze())),
                    None if queue.ended => return Ok(None),
                    None => {}
                }
            }
            arrived.await;
        }
    }
}

/// The box wants no more: what comes all the same is dropped, and holds up no other channel.
impl Drop for Reader {
    fn drop(&mut self) {
        let mut queue = self.inbound.lock();
        (queue.unread, queue.waiting) = (true, 0);
        queue.pieces.clear();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.queues.lock().remove(&self.channel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNEL: u32 = 2;

    #[test]
    fn the_fuller_the_queue_the_smaller_the_credit_and_never_nothing() {
        let credits: Vec<u32> =
            [0, EASY, EASY + 1, FULL, FULL + 1, u32::MAX].map(|waiting| credit(waiting as usize)).into();
        assert_eq!(credits, [WINDOW, WINDOW, WINDOW - EASY - 1, WINDOW - FULL, TRICKLE, TRICKLE]);
    }

    #[tokio::test]
    async fn bytes_count_until_they_are_passed_on_and_the_end_comes_last() {
        let queues = Queues::default();
        let (mut reader, _seat) = queues.enter(CHANNEL);
        queues.push(CHANNEL, &vec![7; FULL as usize + 1]).await.unwrap();
        queues.end(CHANNEL);
        assert_eq!(queues.credit(), TRICKLE);
        let piece = reader.next(0).await.unwrap().unwrap();
        assert_eq!(queues.credit(), TRICKLE);
        assert_eq!(reader.next(piece.len()).await, Ok(None));
        assert_eq!(queues.credit(), WINDOW);
    }

    #[tokio::test]
    async fn a_client_that_ignores_its_window_is_noticed() {
        let queues = Queues::default();
        let _open = queues.enter(CHANNEL);
        let piece = vec![0; 1024 * 1024];
        for _ in 0..MOST / piece.len() {
            queues.push(CHANNEL, &piece).await.unwrap();
        }
        assert_eq!(queues.push(CHANNEL, &[1]).await, Err(Overrun));
    }

    #[tokio::test]
    async fn a_client_that_vanishes_was_not_done() {
        let queues = Queues::default();
        let (mut reader, seat) = queues.enter(CHANNEL);
        queues.push(CHANNEL, b"half a").await.unwrap();
        queues.abandon();
        assert_eq!(reader.next(0).await, Err(Broken::Abandoned));
        assert!(seat.closed.is_cancelled());
    }

    #[tokio::test]
    async fn a_channel_keeps_its_seat_after_its_client_has_said_everything() {
        let queues = Queues::default();
        let (reader, seat) = queues.enter(CHANNEL);
        drop(reader);
        assert_eq!(queues.len(), 1);
        queues.close(CHANNEL);
        assert!(seat.closed.is_cancelled());
    }

    #[tokio::test]
    async fn a_box_that_wants_no_more_holds_up_no_other_channel() {
        let queues = Queues::default();
        let (reader, _seat) = queues.enter(CHANNEL);
        queues.push(CHANNEL, &vec![0; FULL as usize + 1]).await.unwrap();
        drop(reader);
        let piece = vec![0; 1024 * 1024];
        for _ in 0..=MOST / piece.len() {
            queues.push(CHANNEL, &piece).await.unwrap();
        }
        assert_eq!(queues.credit(), WINDOW);
    }

    #[tokio::test]
    async fn a_channel_that_nobody_serves_holds_nothing() {
        let queues = Queues::default();
        drop(queues.enter(CHANNEL));
        queues.push(CHANNEL, &[0; 1024]).await.unwrap();
        assert_eq!(queues.len(), 0);
    }
}
