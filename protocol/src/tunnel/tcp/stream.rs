//! One stream over TCP, with an end that can be told from being broken off.
//!
//! ```text
//! direction = *(length bytes) [end]       length: two bytes, most significant first, 1 ..= FRAME
//! end       = two zero bytes              a direction that stops without it was broken off
//! ```
//!
//! What comes in is read by a task, so that a peer who has left is noticed even while nobody reads.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::TheEnd;
use crate::tunnel::stream::{CHUNK, ReadError, WriteError};

/// The most bytes of one piece; with its length, what yamux sends at once.
const FRAME: usize = 16 * 1024 - HEADER;

/// Bytes before a piece.
const HEADER: usize = 2;

/// Pieces that wait to be read; more wait in the stream's window.
const WAITING: usize = 2;

type Whole = Compat<yamux::Stream>;

/// Both directions of a stream.
pub(super) fn of(stream: yamux::Stream, end: Arc<TheEnd>) -> (Outgoing, Incoming) {
    let (from, to) = tokio::io::split(stream.compat());
    let (pieces, waiting) = mpsc::channel(WAITING);
    let (said_all, left) = (CancellationToken::new(), CancellationToken::new());
    tokio::spawn(read_on(from, pieces, said_all.clone(), left.clone()));
    let leaving = Leaving { left, end: end.clone() };
    let outgoing = Outgoing { to, unsent: BytesMut::new(), leaving, speaking: Some(said_all.drop_guard()) };
    (outgoing, Incoming { waiting, rest: Bytes::new(), ended: false, end })
}

/// A piece of what comes in.
#[derive(Debug)]
enum Piece {
    Bytes(Bytes),
    End,
}

/// Reads until the peer has left, or nobody here has anything more to say or to hear. The stream goes
/// with this and with [`Outgoing`], which is how the peer learns that this side has left.
async fn read_on(
    mut from: ReadHalf<Whole>,
    pieces: mpsc::Sender<Piece>,
    said_all: CancellationToken,
    left: CancellationToken,
) {
    let heard_all = CancellationToken::new();
    let over = async {
        said_all.cancelled().await;
        tokio::select! {
            () = heard_all.cancelled() => {}
            () = pieces.closed() => {}
        }
    };
    tokio::select! {
        // It ends with the stream, and whether all was heard by then shows in the pieces.
        _ended = pass_on(&mut from, &pieces, &heard_all) => left.cancel(),
        () = over => {}
    }
}

async fn pass_on(
    from: &mut ReadHalf<Whole>,
    pieces: &mpsc::Sender<Piece>,
    heard_all: &CancellationToken,
) -> io::Result<()> {
    loop {
        let length = usize::from(from.read_u16().await?);
        if length > FRAME {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if length == 0 {
            break;
        }
        let mut bytes = BytesMut::zeroed(length);
        from.read_exact(&mut bytes).await?;
        // What nobody wants is read all the same: whoever sends it need not wait for ever.
        let _wanted = pieces.send(Piece::Bytes(bytes.freeze())).await;
    }
    let _wanted = pieces.send(Piece::End).await;
    heard_all.cancel();
    from.read_u8().await.map(drop)
}

/// The direction away from here.
#[derive(Debug)]
pub struct Outgoing {
    to: WriteHalf<Whole>,
    /// The rest of a piece that was begun.
    unsent: BytesMut,
    leaving: Leaving,
    /// Falls when all is said, or the direction is broken off.
    speaking: Option<DropGuard>,
}

/// Whether the peer has left.
#[derive(Debug, Clone)]
pub struct Leaving {
    left: CancellationToken,
    end: Arc<TheEnd>,
}

impl Leaving {
    pub(crate) async fn wait(&self) -> WriteError {
        self.left.cancelled().await;
        self.why()
    }

    fn why(&self) -> WriteError {
        match self.end.come.is_cancelled() {
            true => WriteError::Lost,
            false => WriteError::Unwanted,
        }
    }
}

impl Outgoing {
    /// Sends bytes to the last: what waits for room here would wait until there is more to send.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let sent = async {
            self.write_all(bytes).await?;
            self.flush().await
        };
        sent.await.map_err(|_| self.why())
    }

    pub(crate) async fn finish(&mut self) {
        // Whoever has left needs no end.
        if self.flush().await.is_ok() && self.speaking.is_some() {
            self.unsent.put_u16(0);
            let _arrives = self.flush().await;
        }
        self.speaking = None;
    }

    pub(crate) fn break_off(&mut self) {
        self.unsent.clear();
        self.speaking = None;
    }

    pub(crate) fn leaving(&self) -> Leaving {
        self.leaving.clone()
    }

    fn why(&self) -> WriteError {
        self.leaving.why()
    }

    fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            match ready!(Pin::new(&mut self.to).poll_write(cx, &self.unsent))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.unsent.advance(sent),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Outgoing {
    /// Takes a piece as soon as the one before is on its way.
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.speaking.is_none() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        ready!(this.poll_unsent(cx))?;
        let taken = bytes.len().min(FRAME);
        if taken > 0 {
            this.unsent.put_u16(u16::try_from(taken).expect("a frame is shorter than 64 KiB"));
            this.unsent.put_slice(&bytes[..taken]);
        }
        match this.poll_unsent(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(taken)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_unsent(cx))?;
        Pin::new(&mut this.to).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_unsent(cx))?;
        if this.speaking.take().is_some() {
            this.unsent.put_u16(0);
        }
        ready!(this.poll_unsent(cx))?;
        Pin::new(&mut this.to).poll_flush(cx)
    }
}

/// The direction towards here.
#[derive(Debug)]
pub struct Incoming {
    waiting: mpsc::Receiver<Piece>,
    rest: Bytes,
    ended: bool,
    end: Arc<TheEnd>,
}

impl Incoming {
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        if !self.rest.is_empty() {
            return Ok(Some(self.rest.split_to(self.rest.len().min(CHUNK))));
        }
        if self.ended {
            return Ok(None);
        }
        match self.waiting.recv().await {
            Some(piece) => Ok(self.take(piece)),
            None => Err(self.why()),
        }
    }

    pub(crate) fn stop(&mut self) {
        self.waiting.close();
    }

    fn take(&mut self, piece: Piece) -> Option<Bytes> {
        match piece {
            Piece::Bytes(bytes) => Some(bytes),
            Piece::End => {
                self.ended = true;
                None
            }
        }
    }

    fn why(&self) -> ReadError {
        match self.end.come.is_cancelled() {
            true => ReadError::Lost,
            false => ReadError::BrokenOff,
        }
    }
}

impl AsyncRead for Incoming {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.rest.is_empty() && !this.ended {
            match ready!(this.waiting.poll_recv(cx)) {
                Some(piece) => this.rest = this.take(piece).unwrap_or_default(),
                None => return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, this.why()))),
            }
        }
        let count = this.rest.len().min(into.remaining());
        into.put_slice(&this.rest.split_to(count));
        Poll::Ready(Ok(()))
    }
}
