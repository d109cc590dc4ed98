//! A direction that ends well when it is dropped, for those who hand it to others.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

use super::SendStream;

/// Finishes its stream when it is dropped, instead of breaking it off.
#[derive(Debug)]
pub struct EndsWell(Option<SendStream>);

impl EndsWell {
    /// Takes a stream.
    pub fn new(stream: SendStream) -> Self {
        Self(Some(stream))
    }

    /// Breaks the direction off after all.
    pub fn break_off(&mut self) {
        if let Some(stream) = &mut self.0 {
            stream.break_off();
        }
    }

    fn stream(self: Pin<&mut Self>) -> Pin<&mut SendStream> {
        Pin::new(self.get_mut().0.as_mut().expect("only dropping takes the stream"))
    }
}

impl Drop for EndsWell {
    fn drop(&mut self) {
        if let Some(mut stream) = self.0.take() {
            tokio::spawn(async move { stream.finish().await });
        }
    }
}

impl AsyncWrite for EndsWell {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream().poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }
}
