//! A visit's stream as one thing to read from and write to, counted.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use postern_protocol::tunnel::{EndsWell, RecvStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use crate::serve::Stream;
use crate::splice::count;
use crate::visits::Traffic;

/// The visitor's end of a visit.
pub(crate) struct VisitStream {
    send: EndsWell,
    recv: RecvStream,
    traffic: Arc<Traffic>,
    ended: CancellationToken,
}

impl VisitStream {
    /// A stream whose bytes are counted; whoever ends the visit cancels the token first.
    pub(crate) fn new(stream: Stream, traffic: Arc<Traffic>, ended: CancellationToken) -> Self {
        let Stream { send, recv } = stream;
        Self { send: EndsWell::new(send), recv, traffic, ended }
    }
}

/// What was ended must not look like what has said everything.
impl Drop for VisitStream {
    fn drop(&mut self) {
        if self.ended.is_cancelled() {
            self.send.break_off();
            self.recv.stop();
        }
    }
}

impl AsyncRead for VisitStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(AsyncRead::poll_read(Pin::new(&mut self.recv), cx, buffer))?;
        count(&self.traffic.to_service, buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for VisitStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(AsyncWrite::poll_write(Pin::new(&mut self.send), cx, bytes))?;
        count(&self.traffic.to_visitor, written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.send), cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(Pin::new(&mut self.send), cx)
    }
}
