//! Bytes both ways between a visit's stream and a local service; each half ends by itself.

use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::BytesMut;
use quinn::{RecvStream, SendStream, VarInt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use crate::visits::Traffic;

/// The most that is taken from either side at once.
const CHUNK: usize = 32 * 1024;

/// Room below which a fresh buffer is taken: small pieces of an interactive session share one.
const LEAST_ROOM: usize = 4 * 1024;

/// The visitor takes no more of what the service says.
const DEAF: VarInt = VarInt::from_u32(0);

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
    while let Some(chunk) = from.read_chunk(CHUNK, true).await? {
        if to.write_all(&chunk.bytes).await.is_err() {
            // The service listens no more; what it still says is delivered all the same.
            let _already_ended = from.stop(DEAF);
            return Ok(());
        }
        count(total, chunk.bytes.len());
    }
    // A service that is gone already has ended this half itself.
    let _already_gone = to.shutdown().await;
    Ok(())
}

async fn outwards(mut from: ReadHalf<'_>, to: &mut SendStream, total: &AtomicU64) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    let mut unwanted = pin!(unwanted(to));
    loop {
        if buffer.capacity() < LEAST_ROOM {
            buffer.reserve(CHUNK);
        }
        let read = tokio::select! {
            read = from.read_buf(&mut buffer) => read?,
            // A service may be silent for long; a visitor who has left is not waited for.
            () = &mut unwanted => return Ok(()),
        };
        if read == 0 {
            break;
        }
        let chunk = buffer.split().freeze();
        let length = chunk.len();
        to.write_chunk(chunk).await?;
        count(total, length);
    }
    let _already_stopped = to.finish();
    Ok(())
}

/// Waits until the visitor takes no more.
fn unwanted(to: &SendStream) -> impl Future<Output = ()> + use<> {
    let stopped = to.stopped();
    async move {
        // That everything has arrived is no reason to stop.
        if let Ok(None) = stopped.await {
            std::future::pending().await
        }
    }
}

/// Adds to a count of bytes.
pub(crate) fn count(total: &AtomicU64, bytes: usize) {
    total.fetch_add(bytes as u64, Ordering::Relaxed);
}
