//! What is on the box: a service whose first byte from a client says what to do.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Whatever is sent comes back.
    Echo,
    /// Zeroes without end.
    Source,
    /// Everything is swallowed; the number of bytes is the answer once the client has ended.
    Sink,
}

impl Wish {
    /// The first byte.
    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Echo => b'e',
            Self::Source => b's',
            Self::Sink => b'k',
        }
    }
}

/// As much as is read or written at once.
pub(crate) const PIECE: usize = 128 * 1024;

/// Serves for as long as the runtime lives.
pub(crate) async fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that leaves in the middle is no trouble.
            tokio::spawn(async move { serve(stream).await.ok() });
        }
    });
    address
}

async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let wish = stream.read_u8().await?;
    let mut buffer = vec![0; PIECE];
    match wish {
        b'e' => loop {
            let read = stream.read(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            stream.write_all(&buffer[..read]).await?;
        },
        b's' => loop {
            stream.write_all(&buffer).await?;
        },
        b'k' => {
            let mut total = 0u64;
            loop {
                match stream.read(&mut buffer).await? {
                    0 => return stream.write_u64(total).await,
                    read => total += read as u64,
                }
            }
        }
        _ => Ok(()),
    }
}
