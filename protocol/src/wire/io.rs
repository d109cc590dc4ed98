//! Messages over anything that tokio can read and write.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::frame::{self, HEADER, Malformed};
use super::greeting::{self, First, Greeting};

/// A message that did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The other side ended between two messages.
    #[error("the other side ended")]
    Ended,
    /// The bytes stopped coming.
    #[error("reading a message")]
    Io(#[source] io::Error),
    /// The bytes are no message.
    #[error("reading a message")]
    Malformed(#[source] Malformed),
}

/// Sends one message.
pub async fn send<W, T>(to: &mut W, message: &T) -> io::Result<()>
where
    W: AsyncWrite + Unpin,
    T: Serialize,
{
    to.write_all(&frame::encode(message)).await?;
    to.flush().await
}

/// Receives one message whose body is at most `limit` bytes.
///
/// Not cancel-safe: what was read of an unfinished message is lost. Whoever waits for something
/// else besides keeps its future until it is done.
pub async fn receive<R, T>(from: &mut R, limit: usize) -> Result<T, ReceiveError>
where
    R: AsyncRead + Unpin,
    T: DeserializeOwned,
{
    let body = receive_body(from, limit).await?;
    frame::decode(&body).map_err(ReceiveError::Malformed)
}

/// Receives the first message of a peer, which may be of another version.
pub async fn receive_first<R, T>(from: &mut R, limit: usize) -> Result<Greeting<T>, ReceiveError>
where
    R: AsyncRead + Unpin,
    T: First,
{
    let body = receive_body(from, limit).await?;
    greeting::decode_first(&body).map_err(ReceiveError::Malformed)
}

async fn receive_body<R>(from: &mut R, limit: usize) -> Result<Vec<u8>, ReceiveError>
where
    R: AsyncRead + Unpin,
{
    let mut header = [0; HEADER];
    if from.read(&mut header[..1]).await.map_err(ReceiveError::Io)? == 0 {
        return Err(ReceiveError::Ended);
    }
    from.read_exact(&mut header[1..]).await.map_err(ReceiveError::Io)?;
    let length = frame::body_length(header, limit).map_err(ReceiveError::Malformed)?;
    let mut body = vec![0; length];
    from.read_exact(&mut body).await.map_err(ReceiveError::Io)?;
    Ok(body)
}
