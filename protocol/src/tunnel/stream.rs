//! Streams: the same words for both transports.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use quinn::VarInt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::tcp::{Incoming, Leaving, Outgoing};

/// About what one packet of QUIC carries.
const PACKET: usize = 1200;

/// The most bytes that [`RecvStream::next`] puts together: what fits an SSH packet.
pub(crate) const CHUNK: usize = 32 * 1024;

/// What a direction that was broken off is given as a code; the reason is told otherwise.
const BROKEN_OFF: VarInt = VarInt::from_u32(1);

/// Why nothing more can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The other side broke the stream off.
    #[error("the stream was broken off")]
    BrokenOff,
    /// The connection is over.
    #[error("the connection was lost")]
    Lost,
}

/// Why nothing more can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The other side takes no more.
    #[error("the other side takes no more")]
    Unwanted,
    /// The connection is over.
    #[error("the connection was lost")]
    Lost,
}

/// The direction away from here. Dropped before it is finished, it is broken off.
#[derive(Debug)]
pub enum SendStream {
    /// Over QUIC.
    Quic(Quic),
    /// Over TCP.
    Tcp(Outgoing),
}

/// QUIC's own direction away from here, which would end well when it is dropped.
#[derive(Debug)]
pub struct Quic {
    stream: quinn::SendStream,
    finished: bool,
}

impl Drop for Quic {
    fn drop(&mut self) {
        // After an end, a reset would take back what is still on its way.
        if !self.finished {
            let _already_ended = self.stream.reset(BROKEN_OFF);
        }
    }
}

/// The direction towards here. Dropped before its end, it asks the other side to stop.
#[derive(Debug)]
pub enum RecvStream {
    /// Over QUIC.
    Quic(quinn::RecvStream),
    /// Over TCP.
    Tcp(Incoming),
}

pub(crate) fn of_quic((send, recv): (quinn::SendStream, quinn::RecvStream)) -> (SendStream, RecvStream) {
    (SendStream::Quic(Quic { stream: send, finished: false }), RecvStream::Quic(recv))
}

pub(crate) fn of_tcp((send, recv): (Outgoing, Incoming)) -> (SendStream, RecvStream) {
    (SendStream::Tcp(send), RecvStream::Tcp(recv))
}

impl SendStream {
    /// Sends bytes; waits while there is no room.
    pub async fn send(&mut self, bytes: Bytes) -> Result<(), WriteError> {
        match self {
            Self::Quic(quic) => quic.stream.write_chunk(bytes).await.map_err(|error| match error {
                quinn::WriteError::Stopped(_) => WriteError::Unwanted,
                quinn::WriteError::ConnectionLost(_)
                | quinn::WriteError::ClosedStream
                | quinn::WriteError::ZeroRttRejected => WriteError::Lost,
            }),
            Self::Tcp(tcp) => tcp.send(&bytes).await,
        }
    }

    /// Says that no more will come. What was sent before still arrives.
    pub async fn finish(&mut self) {
        match self {
            // One that was stopped or finished already needs no end.
            Self::Quic(quic) => {
                drop(quic.stream.finish());
                quic.finished = true;
            }
            Self::Tcp(tcp) => tcp.finish().await,
        }
    }

    /// Breaks this direction off: what has not arrived yet need not.
    pub fn break_off(&mut self) {
        match self {
            Self::Quic(quic) => drop(quic.stream.reset(BROKEN_OFF)),
            Self::Tcp(tcp) => tcp.break_off(),
        }
    }

    /// Waits until the other side takes no more, or the connection is over; not for what was sent to
    /// arrive, which is no reason to stop.
    pub fn unwanted(&self) -> impl Future<Output = WriteError> + Send + use<> {
        enum Of<Q> {
            Quic(Q),
            Tcp(Leaving),
        }
        let of = match self {
            Self::Quic(quic) => Of::Quic(quic.stream.stopped()),
            Self::Tcp(tcp) => Of::Tcp(tcp.leaving()),
        };
        async move {
            match of {
                Of::Quic(stopped) => match stopped.await {
                    Ok(Some(_)) => WriteError::Unwanted,
                    Ok(None) => std::future::pending().await,
                    Err(_) => WriteError::Lost,
                },
                Of::Tcp(leaving) => leaving.wait().await,
            }
        }
    }

    /// Waits until all that was sent before a [`finish`](Self::finish) has arrived, or cannot any more.
    pub async fn delivered(&mut self) {
        match self {
            Self::Quic(quic) => drop(quic.stream.stopped().await),
            // TCP delivers before it closes.
            Self::Tcp(_) => {}
        }
    }
}

impl RecvStream {
    /// The next bytes, as many as are there up to [`CHUNK`]; none at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        match self {
            Self::Quic(quic) => {
                let mut pieces = [const { Bytes::new() }; CHUNK / PACKET];
                let count = quic.read_chunks(&mut pieces).await.map_err(|error| match error {
                    quinn::ReadError::ConnectionLost(_) => ReadError::Lost,
                    quinn::ReadError::Reset(_)
                    | quinn::ReadError::ClosedStream
                    | quinn::ReadError::IllegalOrderedRead
                    | quinn::ReadError::ZeroRttRejected => ReadError::BrokenOff,
                })?;
                // A packet of SSH is as large as many of QUIC, and each costs its encryption.
                Ok(count.map(|count| match &pieces[..count] {
                    [piece] => piece.clone(),
                    pieces => Bytes::from(pieces.concat()),
                }))
            }
            Self::Tcp(tcp) => tcp.next().await,
        }
    }

    /// Wants no more.
    pub fn stop(&mut self) {
        match self {
            Self::Quic(quic) => drop(quic.stop(VarInt::from_u32(0))),
            Self::Tcp(tcp) => tcp.stop(),
        }
    }
}

impl AsyncWrite for SendStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Quic(quic) => AsyncWrite::poll_write(Pin::new(&mut quic.stream), cx, bytes),
            Self::Tcp(tcp) => Pin::new(tcp).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Quic(quic) => Pin::new(&mut quic.stream).poll_flush(cx),
            Self::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Quic(quic) => {
                quic.finished = true;
                Pin::new(&mut quic.stream).poll_shutdown(cx)
            }
            Self::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for RecvStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Quic(quic) => Pin::new(quic).poll_read(cx, into),
            Self::Tcp(tcp) => Pin::new(tcp).poll_read(cx, into),
        }
    }
}
