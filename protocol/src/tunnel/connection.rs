//! A connection, whichever way it came about: QUIC, or TLS over TCP where UDP does not get through. Both
//! carry the same messages over the same kind of streams: each direction of a stream ends by itself, can
//! be broken off, and is held back by a reader who does not read, without holding up its neighbours.

use std::net::SocketAddr;
use std::time::Duration;

use quinn_proto::{ConnectionError, VarInt};

use super::stream::{self, RecvStream, SendStream};
use super::{quic, tcp};
use crate::wire::Transport;

/// A connection, cheap to clone.
#[derive(Debug, Clone)]
pub enum Connection {
    /// Over UDP.
    Quic(quic::Connection),
    /// Over TCP.
    Tcp(tcp::Connection),
}

/// The connection is over.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Lost {
    /// How QUIC has it.
    #[error(transparent)]
    Quic(#[from] ConnectionError),
    /// How TCP has it.
    #[error("{0}")]
    Tcp(String),
}

impl Connection {
    /// Opens a stream; the other side learns of it by what is first sent.
    pub async fn open(&self) -> Result<(SendStream, RecvStream), Lost> {
        match self {
            Self::Quic(quic) => Ok(stream::of_quic(quic.open().await?)),
            Self::Tcp(tcp) => Ok(stream::of_tcp(tcp.open().await?)),
        }
    }

    /// Takes the next stream that the other side opens.
    pub async fn accept(&self) -> Result<(SendStream, RecvStream), Lost> {
        match self {
            Self::Quic(quic) => Ok(stream::of_quic(quic.accept().await?)),
            Self::Tcp(tcp) => Ok(stream::of_tcp(tcp.accept().await?)),
        }
    }

    /// Ends the connection. The code and the words are for the other side's log, if it gets them.
    pub fn close(&self, code: u32, words: &str) {
        match self {
            Self::Quic(quic) => quic.close(VarInt::from_u32(code), words.as_bytes()),
            Self::Tcp(tcp) => tcp.close(),
        }
    }

    /// Waits until the connection is over.
    pub async fn closed(&self) {
        match self {
            Self::Quic(quic) => drop(quic.closed().await),
            Self::Tcp(tcp) => tcp.closed().await,
        }
    }

    /// Where the other side is.
    pub fn remote_address(&self) -> SocketAddr {
        match self {
            Self::Quic(quic) => quic.remote_address(),
            Self::Tcp(tcp) => tcp.remote_address(),
        }
    }

    /// How it came about.
    pub fn transport(&self) -> Transport {
        match self {
            Self::Quic(_) => Transport::Quic,
            Self::Tcp(_) => Transport::Tcp,
        }
    }

    /// The round trip, if it is known.
    pub fn rtt(&self) -> Option<Duration> {
        self.quic().map(quic::Connection::rtt)
    }

    /// The connection as QUIC has it, if it is one.
    pub fn quic(&self) -> Option<&quic::Connection> {
        match self {
            Self::Quic(quic) => Some(quic),
            Self::Tcp(_) => None,
        }
    }
}
