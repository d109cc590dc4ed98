//! The two directions of a stream, as QUIC has them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};

use bytes::Bytes;
use quinn_proto::{Chunk, FinishError, ReadError as Unreadable, StreamId, VarInt, WriteError as Unwritable};
use tokio::sync::Notify;

use super::connection::{Inner, Owner};
use super::lock;
use crate::tunnel::{ReadError, WriteError};

/// What a direction that was broken off is given as a code; the reason is told otherwise.
const BROKEN_OFF: VarInt = VarInt::from_u32(1);

/// What a direction that nobody wants is given as a code.
const UNWANTED: VarInt = VarInt::from_u32(0);

/// The direction away from here. Dropped before it is finished, it is broken off.
#[derive(Debug)]
pub struct SendStream {
    connection: Arc<Owner>,
    id: StreamId,
    /// Nothing more will be sent.
    ended: bool,
    /// What was sent need not arrive.
    broken: bool,
}

/// The direction towards here. Dropped before its end, it asks the other side to stop.
#[derive(Debug)]
pub struct RecvStream {
    connection: Arc<Owner>,
    id: StreamId,
    /// Nothing more will come: the other side is done, or has broken it off.
    ended: Option<Result<(), ReadError>>,
}

pub(super) fn pair(connection: &Arc<Owner>, id: StreamId) -> (SendStream, RecvStream) {
    (
        SendStream { connection: connection.clone(), id, ended: false, broken: false },
        RecvStream { connection: connection.clone(), id, ended: None },
    )
}

impl SendStream {
    /// Hands over all of these bytes; waits while there is no room.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), WriteError> {
        let mut bytes = [bytes];
        while !bytes[0].is_empty() {
            std::future::poll_fn(|cx| self.poll(cx, |stream| stream.write_chunks(&mut bytes))).await?;
        }
        Ok(())
    }

    /// Copies some of these bytes; waits while there is no room.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, WriteError>> {
        self.poll(cx, |stream| stream.write(bytes))
    }

    fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(&mut quinn_proto::SendStream<'_>) -> Result<T, Unwritable>,
    ) -> Poll<Result<T, WriteError>> {
        let inner = self.connection.inner();
        let mut state = lock(&inner.state);
        if state.is_over() {
            return Poll::Ready(Err(WriteError::Lost));
        }
        let written = match write(&mut state.quic.send_stream(self.id)) {
            Ok(written) => Ok(written),
            Err(Unwritable::Blocked) => {
                state.writers.insert(self.id, cx.waker().clone());
                return Poll::Pending;
            }
            Err(Unwritable::Stopped(_)) => Err(WriteError::Unwanted),
            Err(Unwritable::ClosedStream) => Err(WriteError::Lost),
        };
        drop(state);
        inner.inbox.wake();
        Poll::Ready(written)
    }

    /// Says that no more will come. What was sent before still arrives.
    pub fn finish(&mut self) {
        let wanted = self.change(|stream| match stream.finish() {
            Err(FinishError::Stopped(reason)) => {
                // Nobody wants it, but that it is over must be said.
                drop(stream.reset(reason));
                false
            }
            Ok(()) | Err(FinishError::ClosedStream) => true,
        });
        self.ended = true;
        self.broken |= !wanted;
    }

    /// Breaks this direction off: what has not arrived yet need not.
    pub fn break_off(&mut self) {
        self.change(|stream| drop(stream.reset(BROKEN_OFF)));
        (self.ended, self.broken) = (true, true);
        self.tell_waiters();
    }

    fn change<T>(&self, change: impl FnOnce(&mut quinn_proto::SendStream<'_>) -> T) -> T {
        let inner = self.connection.inner();
        let changed = change(&mut lock(&inner.state).quic.send_stream(self.id));
        inner.inbox.wake();
        changed
    }

    /// The library does not tell that a reset has arrived.
    fn tell_waiters(&self) {
        if let Some(stopping) = lock(&self.connection.inner().state).stopping.remove(&self.id) {
            stopping.broken.store(true, Relaxed);
            stopping.look_again();
        }
    }

    /// Waits until the other side wants no more, which it says, or has got everything that was sent before
    /// the end, or the connection is over.
    pub fn stopped(&self) -> impl Future<Output = Stop> + Send + use<> {
        let (inner, id, broken) = (self.connection.inner().clone(), self.id, self.broken);
        async move {
            if broken {
                return Stop::Delivered;
            }
            loop {
                let stopping = match inner.stop_of(id) {
                    Ok(stop) => return stop,
                    Err(stopping) => stopping,
                };
                let changed = stopping.changed.notified();
                if stopping.broken.load(Relaxed) {
                    return Stop::Delivered;
                }
                // It may have come in between.
                if let Ok(stop) = inner.stop_of(id) {
                    return stop;
                }
                changed.await;
            }
        }
    }
}

/// What those look at who wait for a direction to come to rest.
#[derive(Default)]
pub(super) struct Stopping {
    changed: Notify,
    /// It was broken off from here.
    broken: AtomicBool,
}

impl Stopping {
    pub(super) fn look_again(&self) {
        self.changed.notify_waiters();
    }
}

/// Why a direction away from here came to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The other side wants no more.
    Unwanted,
    /// It has got everything, or nobody waits for that any more.
    Delivered,
    /// The connection is over.
    Lost,
}

impl Inner {
    fn stop_of(&self, id: StreamId) -> Result<Stop, Arc<Stopping>> {
        let mut state = lock(&self.state);
        match state.quic.send_stream(id).stopped() {
            Err(_closed) => Ok(Stop::Delivered),
            Ok(Some(_)) => Ok(Stop::Unwanted),
            Ok(None) if state.is_over() => Ok(Stop::Lost),
            Ok(None) => Err(state.stopping.entry(id).or_default().clone()),
        }
    }
}

impl Drop for SendStream {
    fn drop(&mut self) {
        lock(&self.connection.inner().state).writers.remove(&self.id);
        // After an end, a reset would take back what is still on its way.
        if !self.ended {
            self.break_off();
        }
    }
}

impl RecvStream {
    /// The next pieces, as many as are there and have room, of at most so many bytes; none at the end.
    pub async fn read(&mut self, into: &mut [Bytes], most: usize) -> Result<usize, ReadError> {
        std::future::poll_fn(|cx| {
            let (mut count, mut room) = (0, most);
            self.poll(cx, most, |chunk| {
                room -= chunk.bytes.len();
                into[count] = chunk.bytes;
                count += 1;
                Some(room).filter(|room| *room > 0 && count < into.len())
            })
            .map(|read| read.map(|()| count))
        })
        .await
    }

    /// Copies what is there; nothing at the end.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<Result<(), ReadError>> {
        let room = into.remaining();
        if room == 0 {
            return Poll::Ready(Ok(()));
        }
        self.poll(cx, room, |chunk| {
            into.put_slice(&chunk.bytes);
            Some(into.remaining()).filter(|room| *room > 0)
        })
    }

    /// Hands over pieces for as long as they are wanted, each of at most so many bytes as were asked for with the
    /// last one. Waits for the first.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut most: usize,
        mut take: impl FnMut(Chunk) -> Option<usize>,
    ) -> Poll<Result<(), ReadError>> {
        if let Some(ended) = self.ended {
            return Poll::Ready(ended);
        }
        let inner = self.connection.inner();
        let mut state = lock(&inner.state);
        let mut stream = state.quic.recv_stream(self.id);
        let Ok(mut chunks) = stream.read(true) else { return Poll::Ready(Err(ReadError::BrokenOff)) };
        let mut any = false;
        let found = loop {
            match chunks.next(most) {
                Ok(Some(chunk)) => {
                    any = true;
                    match take(chunk) {
                        Some(next) => most = next,
                        None => break None,
                    }
                }
                Ok(None) => break Some(Ok(())),
                Err(Unreadable::Reset(_)) => break Some(Err(ReadError::BrokenOff)),
                Err(Unreadable::Blocked) => break None,
            }
        };
        let credit = chunks.finalize().should_transmit();
        // What came before the end is handed over first; whoever comes again hears of the end.
        self.ended = found;
        let polled = match found {
            _ if any => Poll::Ready(Ok(())),
            Some(ended) => Poll::Ready(ended),
            None if state.is_over() => Poll::Ready(Err(ReadError::Lost)),
            None => {
                state.readers.insert(self.id, cx.waker().clone());
                Poll::Pending
            }
        };
        drop(state);
        if credit {
            inner.inbox.wake();
        }
        polled
    }

    /// Wants no more.
    pub fn stop(&mut self) {
        let inner = self.connection.inner();
        let mut state = lock(&inner.state);
        state.readers.remove(&self.id);
        if self.ended.is_none() && !state.is_over() {
            let _already_ended = state.quic.recv_stream(self.id).stop(UNWANTED);
            drop(state);
            inner.inbox.wake();
        }
        self.ended.get_or_insert(Err(ReadError::BrokenOff));
    }
}

impl Drop for RecvStream {
    fn drop(&mut self) {
        self.stop();
    }
}
