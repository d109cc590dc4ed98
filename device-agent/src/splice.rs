//! Bytes both ways between a visit's stream and a local service; each half ends by itself.

use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::BytesMut;
use postern_protocol::tunnel::{RecvStream, SendStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use crate::visits::Traffic;

/// The most that is taken from either side at once.
const CHUNK: usize = 32 * 1024;

/// Room below which a fresh buffer is taken: small pieces of an interactive session share one.
const LEAST_ROOM: usize = 4 * 1024;

/// Moves bytes until both sides have ended, or one of them has broken.
pub(crate) async fn splice(
    from_visitor: &mut RecvStream,
    to_visitor: &mut SendStream,
    mut service: TcpStream,
    traffic: &Traffic,
) -> io::Result<()> {
    let (from_service, to_service) = service.split();
    tokio::try_join!(
        inwards(from_visitor, to_service, &traffic.to_service),
        outwards(from_service, to_visitor, &traffic.to_visitor),
    )
    .map(drop)
}

async fn inwards(from: &mut RecvStream, mut to: WriteHalf<'_>, total: &AtomicU64) -> io::Result<()> {
    while let Some(bytes) = from.next().await.map_err(io::Error::other)? {
        if to.write_all(&bytes).await.is_err() {
            // The service listens no more; what it still says is delivered all the same.
            from.stop();
            return Ok(());
        }
        count(total, bytes.len());
    }
    // A service that is gone already has ended this half itself.
    let _already_gone = to.shutdown().await;
    Ok(())
}

async fn outwards(mut from: ReadHalf<'_>, to: &mut SendStream, total: &AtomicU64) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    let mut unwanted = pin!(to.unwanted());
    loop {
        if buffer.capacity() < LEAST_ROOM {
            buffer.reserve(CHUNK);
        }
        let read = tokio::select! {
            read = from.read_buf(&mut buffer) => read?,
            // A service may be silent for long; a visitor who has left is not waited for.
            _ = &mut unwanted => return Ok(()),
        };
        if read == 0 {
            break;
        }
        let chunk = buffer.split().freeze();
        let length = chunk.len();
        to.send(chunk).await.map_err(io::Error::other)?;
        count(total, length);
    }
    to.finish().await;
    Ok(())
}

/// Adds to a count of bytes.
pub(crate) fn count(total: &AtomicU64, bytes: usize) {
    total.fetch_add(bytes as u64, Ordering::Relaxed);
}
