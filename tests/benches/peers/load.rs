//! The loads: what a client does to an address, and what comes of it.

use std::io;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::service::{PIECE, Wish};

/// No peer may take longer than this to answer at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which way bulk flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the client to the box.
    Up,
    /// From the box to the client.
    Down,
}

async fn connect(to: SocketAddr, wish: Wish) -> io::Result<TcpStream> {
    let connecting = async {
        let mut stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        stream.write_all(&[wish.byte()]).await?;
        Ok(stream)
    };
    tokio::time::timeout(PATIENCE, connecting).await?
}

/// Bytes that arrive within a while over some connections at once, in bytes a second.
pub(crate) async fn bulk(to: SocketAddr, way: Way, connections: usize, time: Duration) -> io::Result<Bulk> {
    let total = Arc::new(AtomicU64::new(0));
    let mut flows = JoinSet::new();
    for _ in 0..connections {
        let stream = match way {
            Way::Up => connect(to, Wish::Sink).await?,
            Way::Down => connect(to, Wish::Source).await?,
        };
        flows.spawn(flow(stream, way, total.clone()));
    }
    // The first moments fill windows and buffers, which is another thing than to carry bytes.
    tokio::time::sleep(time / 5).await;
    let (before, began) = (total.load(Relaxed), Instant::now());
    tokio::time::sleep(time).await;
    let (bytes, seconds) = (total.load(Relaxed) - before, began.elapsed().as_secs_f64());
    flows.shutdown().await;
    Ok(Bulk { bytes, seconds })
}

/// What was carried.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bulk {
    /// Bytes that arrived, or on the way up that were taken.
    pub(crate) bytes: u64,
    /// In so long.
    pub(crate) seconds: f64,
}

async fn flow(mut stream: TcpStream, way: Way, total: Arc<AtomicU64>) {
    let mut buffer = vec![0; PIECE];
    loop {
        let moved = match way {
            Way::Up => stream.write(&buffer).await,
            Way::Down => stream.read(&mut buffer).await,
        };
        match moved {
            Ok(0) | Err(_) => return,
            Ok(moved) => total.fetch_add(moved as u64, Relaxed),
        };
    }
}

/// From the beginning of a connection to its first echoed byte.
pub(crate) async fn first_byte(to: SocketAddr, times: usize) -> io::Result<Vec<Duration>> {
    let mut all = Vec::with_capacity(times);
    for _ in 0..times {
        let began = Instant::now();
        let mut stream = connect(to, Wish::Echo).await?;
        stream.write_all(b"x").await?;
        tokio::time::timeout(PATIENCE, stream.read_u8()).await??;
        all.push(began.elapsed());
    }
    Ok(all)
}

/// From the start of `ssh` to the first byte that the service echoes through it.
pub(crate) async fn login(arguments: &[String], times: usize) -> io::Result<Vec<Duration>> {
    let mut all = Vec::with_capacity(times);
    for _ in 0..times {
        let began = Instant::now();
        let mut ssh = Command::new("ssh");
        ssh.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut ssh = ssh.kill_on_drop(true).spawn()?;
        let (mut to, mut from) = ssh.stdin.take().zip(ssh.stdout.take()).expect("both are piped");
        to.write_all(&[Wish::Echo.byte(), b'x']).await?;
        tokio::time::timeout(PATIENCE, from.read_u8()).await??;
        all.push(began.elapsed());
    }
    Ok(all)
}

/// There and back on an open connection.
pub(crate) async fn echo(to: SocketAddr, times: usize) -> io::Result<Vec<Duration>> {
    let mut stream = connect(to, Wish::Echo).await?;
    let mut all = Vec::with_capacity(times);
    for _ in 0..times {
        let began = Instant::now();
        stream.write_all(b"x").await?;
        tokio::time::timeout(PATIENCE, stream.read_u8()).await??;
        all.push(began.elapsed());
    }
    Ok(all)
}

/// The same while another connection carries bulk down.
pub(crate) async fn echo_under_load(to: SocketAddr, times: usize) -> io::Result<Vec<Duration>> {
    let mut flows = JoinSet::new();
    flows.spawn(flow(connect(to, Wish::Source).await?, Way::Down, Arc::default()));
    let measured = echo(to, times).await;
    flows.shutdown().await;
    measured
}

/// Connections a second, each from its beginning to its first echoed byte, a few at a time.
pub(crate) async fn connections(to: SocketAddr, at_once: usize, time: Duration) -> io::Result<(u64, f64)> {
    let done = Arc::new(AtomicU64::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..at_once {
        let done = done.clone();
        workers.spawn(async move {
            while first_byte(to, 1).await.is_ok() {
                done.fetch_add(1, Relaxed);
            }
        });
    }
    tokio::time::sleep(time / 5).await;
    let (before, began) = (done.load(Relaxed), Instant::now());
    tokio::time::sleep(time).await;
    let result = (done.load(Relaxed) - before, began.elapsed().as_secs_f64());
    workers.shutdown().await;
    match result.0 {
        0 => Err(io::Error::other("no connection was made")),
        _ => Ok(result),
    }
}

/// The same as [`first_byte`] while so many strangers hold connections on which they say nothing. One time-out is
/// an answer too: then so long is all there is.
pub(crate) async fn first_byte_among_strangers(
    to: SocketAddr,
    doors: &[SocketAddr],
    strangers: usize,
    times: usize,
) -> io::Result<Vec<Duration>> {
    let mut held = Vec::new();
    for door in doors {
        for _ in 0..strangers {
            held.push(TcpStream::connect(door).await?);
        }
    }
    match first_byte(to, times).await {
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(vec![PATIENCE]),
        measured => measured,
    }
}
