//! Streams: the same words for both transports.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::quic::{self, Stop};
use super::tcp::{Incoming, Leaving, Outgoing};

/// About what one packet of QUIC carries.
const PACKET: usize = 1200;

/// The most bytes that [`RecvStream::next`] puts together: what fits an SSH packet.
pub(crate) const CHUNK: usize = 32 * 1024;

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

impl From<ReadError> for io::Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::BrokenOff => Self::new(io::ErrorKind::ConnectionReset, error),
            ReadError::Lost => Self::new(io::ErrorKind::NotConnected, error),
        }
    }
}

impl From<WriteError> for io::Error {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Unwanted => Self::new(io::ErrorKind::ConnectionReset, error),
            WriteError::Lost => Self::new(io::ErrorKind::NotConnected, error),
        }
    }
}

/// The direction away from here. Dropped before it is finished, it is broken off.
#[derive(Debug)]
pub enum SendStream {
    /// Over QUIC.
    Quic(quic::SendStream),
    /// Over TCP.
    Tcp(Outgoing),
}

/// The direction towards here. Dropped before its end, it asks the other side to stop.
#[derive(Debug)]
pub enum RecvStream {
    /// Over QUIC.
    Quic(quic::RecvStream),
    /// Over TCP.
    Tcp(Incoming),
}

pub(crate) fn of_quic((send, recv): (quic::SendStream, quic::RecvStream)) -> (SendStream, RecvStream) {
    (SendStream::Quic(send), RecvStream::Quic(recv))
}

pub(crate) fn of_tcp((send, recv): (Outgoing, Incoming)) -> (SendStream, RecvStream) {
    (SendStream::Tcp(send), RecvStream::Tcp(recv))
}

impl SendStream {
    /// Sends bytes; waits while there is no room.
    pub async fn send(&mut self, bytes: Bytes) -> Result<(), WriteError> {
        match self {
            Self::Quic(quic) => quic.write(bytes).await,
            Self::Tcp(tcp) => tcp.send(&bytes).await,
        }
    }

    /// Says that no more will come. What was sent before still arrives.
    pub async fn finish(&mut self) {
        match self {
            Self::Quic(quic) => quic.finish(),
            Self::Tcp(tcp) => tcp.finish().await,
        }
    }

    /// Breaks this direction off: what has not arrived yet need not.
    pub fn break_off(&mut self) {
        match self {
            Self::Quic(quic) => quic.break_off(),
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
            Self::Quic(quic) => Of::Quic(quic.stopped()),
            Self::Tcp(tcp) => Of::Tcp(tcp.leaving()),
        };
        async move {
            match of {
                Of::Quic(stopped) => match stopped.await {
                    Stop::Unwanted => WriteError::Unwanted,
                    Stop::Delivered => std::future::pending().await,
                    Stop::Lost => WriteError::Lost,
                },
                Of::Tcp(leaving) => leaving.wait().await,
            }
        }
    }

    /// Waits until all that was sent before a [`finish`](Self::finish) has arrived, or cannot any more.
    pub async fn delivered(&mut self) {
        match self {
            Self::Quic(quic) => _ = quic.stopped().await,
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
                let count = quic.read(&mut pieces, CHUNK).await?;
                // A packet of SSH is as large as many of QUIC, and each costs its encryption.
                Ok(match &mut pieces[..count] {
                    [] => None,
                    [piece] => Some(std::mem::take(piece)),
                    pieces => Some(Bytes::from(pieces.concat())),
                })
            }
            Self::Tcp(tcp) => tcp.next().await,
        }
    }

    /// Wants no more.
    pub fn stop(&mut self) {
        match self {
            Self::Quic(quic) => quic.stop(),
            Self::Tcp(tcp) => tcp.stop(),
        }
    }
}

impl AsyncWrite for SendStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Quic(quic) => quic.poll_write(cx, bytes).map_err(Into::into),
            Self::Tcp(tcp) => Pin::new(tcp).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Quic(_) => Poll::Ready(Ok(())),
            Self::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Quic(quic) => {
                quic.finish();
                Poll::Ready(Ok(()))
            }
            Self::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for RecvStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Quic(quic) => quic.poll_read(cx, into).map_err(Into::into),
            Self::Tcp(tcp) => Pin::new(tcp).poll_read(cx, into),
        }
    }
}
