//! What came on one channel, in order, until somebody takes it.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::WINDOW;

/// Credits take effect one late, so about twice the window can come; twice that is a client's fault.
const MOST: usize = 4 * WINDOW as usize;

/// Pieces below this size are gathered, so that a trickle of bytes does not cost an allocation each.
const SMALL: usize = 4 * 1024;

/// How large gathered pieces become.
const GATHERED: usize = 16 * 1024;

/// A client that sent more than its window.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::shell) struct Overrun;

/// What came on one channel and has not been taken.
#[derive(Default)]
pub(in crate::shell) struct Inbound {
    queue: Mutex<Queue>,
    arrived: Notify,
    /// Told whenever some of it was taken.
    pub(super) taken: Notify,
    /// Cancelled when the channel is closed in both directions.
    pub(super) closed: CancellationToken,
}

#[derive(Default)]
struct Queue {
    pieces: VecDeque<BytesMut>,
    /// Bytes in the pieces and in the hands of the reader.
    waiting: usize,
    ended: bool,
    unwanted: bool,
}

impl Inbound {
    pub(super) fn push(&self, data: &[u8]) -> Result<(), Overrun> {
        let mut queue = self.lock();
        if queue.unwanted {
            return Ok(());
        }
        if queue.waiting + data.len() > MOST {
            return Err(Overrun);
        }
        queue.waiting += data.len();
        match queue.pieces.back_mut() {
            Some(last) if data.len() < SMALL && last.len() + data.len() <= GATHERED => {
                last.extend_from_slice(data);
            }
            _ => queue.pieces.push_back(BytesMut::from(data)),
        }
        drop(queue);
        self.arrived.notify_one();
        Ok(())
    }

    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.arrived.notify_one();
    }

    pub(super) fn refuse(&self) {
        let mut queue = self.lock();
        let dropped: usize = queue.pieces.drain(..).map(|piece| piece.len()).sum();
        queue.waiting -= dropped;
        queue.unwanted = true;
        drop(queue);
        self.taken.notify_one();
    }

    pub(super) async fn next(self: &Arc<Self>) -> Option<Piece> {
        loop {
            match self.pop() {
                Popped::Piece(bytes) => return Some(Piece { bytes, of: Arc::clone(self) }),
                Popped::Ended => return None,
                Popped::NothingYet => self.arrived.notified().await,
            }
        }
    }

    fn pop(&self) -> Popped {
        let mut queue = self.lock();
        match queue.pieces.pop_front() {
            Some(bytes) => Popped::Piece(bytes),
            None if queue.ended => Popped::Ended,
            None => Popped::NothingYet,
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Popped {
    Piece(BytesMut),
    Ended,
    NothingYet,
}

/// Some of what came; it counts as waiting until it is dropped, so drop it when it is written.
pub(in crate::shell) struct Piece {
    bytes: BytesMut,
    of: Arc<Inbound>,
}

impl Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.of.lock().waiting -= self.bytes.len();
        self.of.taken.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_come_out_as_they_went_in_and_then_the_end() {
        let inbound = Arc::new(Inbound::default());
        let sent: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
        for part in sent.chunks(977).chain(sent.chunks(31_000)) {
            inbound.push(part).unwrap();
        }
        inbound.end();
        let mut came = Vec::new();
        while let Some(piece) = inbound.next().await {
            came.extend_from_slice(&piece);
        }
        assert_eq!(came, [sent.clone(), sent].concat());
        assert_eq!(inbound.waiting(), 0);
    }

    #[tokio::test]
    async fn a_piece_counts_as_waiting_until_it_is_written() {
        let inbound = Arc::new(Inbound::default());
        inbound.push(&[0; 10_000]).unwrap();
        let piece = inbound.next().await.unwrap();
        assert_eq!(inbound.waiting(), 10_000);
        drop(piece);
        assert_eq!(inbound.waiting(), 0);
    }

    #[test]
    fn a_trickle_of_bytes_is_gathered() {
        let inbound = Inbound::default();
        for _ in 0..GATHERED {
            inbound.push(&[0]).unwrap();
        }
        assert_eq!(inbound.lock().pieces.len(), 1);
    }

    #[test]
    fn a_client_that_ignores_its_window_is_told_from_one_that_does_not() {
        let inbound = Inbound::default();
        for _ in 0..MOST / 32_768 {
            inbound.push(&[0; 32_768]).unwrap();
        }
        assert_eq!(inbound.push(&[0]), Err(Overrun));
    }

    #[test]
    fn what_nobody_reads_is_dropped_and_does_not_wait() {
        let inbound = Inbound::default();
        inbound.push(&[0; 1000]).unwrap();
        inbound.refuse();
        inbound.push(&[0; 1000]).unwrap();
        assert_eq!(inbound.waiting(), 0);
    }
}
