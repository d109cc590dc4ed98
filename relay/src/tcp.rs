//! A visitor whose TCP connection is the visit: their bytes are the box's, with nothing around them.

use std::io::ErrorKind::WouldBlock;
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use postern_protocol::Refusal;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::farewell::Manner;
use crate::session::Visitor;
use crate::splice::{CHUNK, Halt, Sink, Source};

/// A visitor who was silent for this long is asked whether they are there, this often, so many times:
/// what remains of one who vanished is gone after two minutes.
const SILENCE: Duration = Duration::from_secs(60);
const ASK_EVERY: Duration = Duration::from_secs(15);
const ASK_TIMES: u32 = 4;

/// How long a visitor may take for the last bytes, and how much of theirs is thrown away meanwhile.
const LINGER: Duration = Duration::from_secs(2);
const LEFTOVERS: u64 = 1024 * 1024;

/// Room below which a fresh buffer is taken: small pieces of an interactive session share one.
const LEAST_ROOM: usize = 4 * 1024;

/// A visitor on a TCP connection of their own.
pub(crate) struct Caller {
    /// Shared with both directions of the visit, once there is one.
    line: Arc<TcpStream>,
    /// What they said before it was known where they want to go.
    said: Bytes,
    manner: Manner,
    patience: Option<Duration>,
    is_inside: bool,
}

impl Caller {
    /// A visitor who has said this much, is told no in this manner, and may be silent for this long.
    pub(crate) fn new(stream: TcpStream, said: Bytes, manner: Manner, patience: Option<Duration>) -> Self {
        let alive = TcpKeepalive::new().with_time(SILENCE).with_interval(ASK_EVERY).with_retries(ASK_TIMES);
        let _ = SockRef::from(&stream).set_tcp_keepalive(&alive);
        Self { line: Arc::new(stream), said, manner, patience, is_inside: false }
    }
}

impl Visitor for Caller {
    type Source = FromCaller;
    type Sink = ToCaller;

    fn patience(&self) -> Option<Duration> {
        self.patience
    }

    async fn welcome(&mut self) -> (FromCaller, ToCaller) {
        self.is_inside = true;
        let (said, buffer) = (std::mem::take(&mut self.said), BytesMut::new());
        (FromCaller { line: self.line.clone(), said, buffer }, ToCaller { line: self.line.clone() })
    }

    async fn leave(self, outcome: Result<(), Refusal>) {
        // Nobody else holds the line any more: the directions went with the visit.
        let Ok(line) = Arc::try_unwrap(self.line) else { return };
        match outcome {
            Err(refusal) if !self.is_inside => self.manner.refuse(line, &refusal).await,
            Err(_) => cut(&line),
            Ok(()) => part(line).await,
        }
    }
}

/// Ends a connection in the middle: what is on its way is thrown away, and what breaks off does not look
/// finished.
fn cut(line: &TcpStream) {
    let _ = SockRef::from(line).set_linger(Some(Duration::ZERO));
}

/// Ends a connection after the last bytes to the visitor. Closing while theirs wait unread would reset it,
/// and take back what is on its way to them.
pub(crate) async fn part(mut line: TcpStream) {
    let parting = async {
        line.shutdown().await?;
        tokio::io::copy(&mut (&mut line).take(LEFTOVERS), &mut tokio::io::sink()).await
    };
    let _ = timeout(LINGER, parting).await;
}

/// Pieces below this size are acknowledged at once.
const SMALL: usize = 4 * 1024;

/// Acknowledges a small piece: the next may wait for that at its sender. Bulk is acknowledged as the kernel likes.
pub(crate) fn acknowledge(line: &TcpStream, read: usize) {
    if read < SMALL {
        let _ = line.set_quickack(true);
    }
}

/// What a visitor sends.
pub(crate) struct FromCaller {
    line: Arc<TcpStream>,
    said: Bytes,
    buffer: BytesMut,
}

impl Source for FromCaller {
    async fn next(&mut self) -> Result<Option<Bytes>, Halt> {
        if !self.said.is_empty() {
            return Ok(Some(std::mem::take(&mut self.said)));
        }
        loop {
            if self.buffer.capacity() < LEAST_ROOM {
                self.buffer.reserve(CHUNK);
            }
            match self.line.try_read_buf(&mut self.buffer) {
                Ok(0) => return Ok(None),
                Ok(read) => {
                    acknowledge(&self.line, read);
                    return Ok(Some(self.buffer.split().freeze()));
                }
                Err(error) if error.kind() == WouldBlock => {}
                Err(_) => return Err(Halt::Gone),
            }
            // A visitor who is silent holds no memory.
            self.buffer = BytesMut::new();
            self.line.readable().await.map_err(|_| Halt::Gone)?;
        }
    }
}

/// What a visitor gets.
pub(crate) struct ToCaller {
    line: Arc<TcpStream>,
}

impl Sink for ToCaller {
    async fn send(&mut self, mut chunk: Bytes) -> Result<(), Halt> {
        while !chunk.is_empty() {
            match self.line.try_write(&chunk) {
                Ok(written) => drop(chunk.split_to(written)),
                Err(error) if error.kind() == WouldBlock => {
                    self.line.writable().await.map_err(|_| Halt::Gone)?;
                }
                Err(_) => return Err(Halt::Gone),
            }
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), Halt> {
        // One that is closed already cannot be shut down.
        let _ = SockRef::from(&*self.line).shutdown(Shutdown::Write);
        Ok(())
    }

    fn closed(&self) -> impl Future<Output = Halt> + Send + 'static {
        let line = self.line.clone();
        async move {
            // A visitor who says no more may still listen; one whose connection broke does not.
            let _ = line.ready(Interest::ERROR).await;
            Halt::Gone
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A visitor's end, and the relay's.
    async fn line() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    fn caller(stream: TcpStream, said: &'static [u8]) -> Caller {
        Caller::new(stream, Bytes::from_static(said), Manner::Heard, None)
    }

    #[tokio::test]
    async fn what_was_said_at_the_door_comes_first_and_an_end_is_passed_on() {
        let (mut client, stream) = line().await;
        let (mut from, mut to) = caller(stream, b"first ").welcome().await;
        client.write_all(b"then").await.unwrap();
        client.shutdown().await.unwrap();
        let mut heard = Vec::new();
        while let Some(piece) = from.next().await.unwrap() {
            heard.extend_from_slice(&piece);
        }
        assert_eq!(heard, b"first then");
        to.send(Bytes::from_static(b"answer")).await.unwrap();
        to.finish().await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"answer");
    }

    #[tokio::test]
    async fn a_visit_that_is_cut_does_not_look_finished() {
        let (mut client, stream) = line().await;
        let mut visitor = caller(stream, b"");
        drop(visitor.welcome().await);
        visitor.leave(Err(Refusal::TunnelLost)).await;
        let error = client.read(&mut [0]).await.expect_err("a reset");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn the_last_bytes_arrive_although_the_visitor_still_speaks() {
        let (mut client, stream) = line().await;
        let mut visitor = caller(stream, b"");
        let (from, mut to) = visitor.welcome().await;
        client.write_all(&[0; 100_000]).await.unwrap();
        to.send(Bytes::from_static(b"no more of this")).await.unwrap();
        drop((from, to));
        let leaving = tokio::spawn(visitor.leave(Ok(())));
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"no more of this");
        drop(client);
        leaving.await.unwrap();
    }

    #[tokio::test]
    async fn a_visitor_whose_connection_breaks_after_the_end_of_theirs_is_noticed() {
        let (mut client, stream) = line().await;
        let (mut from, to) = caller(stream, b"").welcome().await;
        client.shutdown().await.unwrap();
        assert_eq!(from.next().await, Ok(None));
        let closed = to.closed();
        cut(&client);
        drop(client);
        assert_eq!(closed.await, Halt::Gone);
    }
}
