//! A connection over TCP: yamux multiplexes streams over whatever is put below it, which is TLS.
//!
//! yamux does not tell a stream that has ended from one that was broken off, or from a connection that
//! was lost, so `stream` marks the end of a direction itself.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};
use tokio_util::sync::CancellationToken;

use super::{End, Lost};
use crate::wire::MAX_VISITS;

mod stream;

pub use stream::{Incoming, Leaving, Outgoing};

/// Every visit and the control stream, twice over: one stream too many ends a yamux connection with all its
/// visits, and those that are over here may not be over there yet.
const MAX_STREAMS: usize = 2 * (MAX_VISITS as usize + 1);

/// Every stream has yamux's first window; what is beyond grows where it is used, and is this at most.
const WINDOWS_BEYOND: usize = 32 * 1024 * 1024;

/// The last bytes leave at once; this is for a network that is gone.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection, cheap to clone; it ends when it is closed or the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Connection {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    remote: SocketAddr,
    wishes: mpsc::Sender<Wish>,
    arrivals: Mutex<mpsc::Receiver<yamux::Stream>>,
    closing: CancellationToken,
    end: Arc<TheEnd>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

/// Somebody wants a stream.
type Wish = oneshot::Sender<yamux::Stream>;

/// Whether and why the connection is over.
#[derive(Debug, Default)]
pub(crate) struct TheEnd {
    come: CancellationToken,
    why: OnceLock<String>,
}

impl Connection {
    /// A connection over a stream of bytes, to a peer at this address.
    pub fn over<S>(stream: S, end: End, remote: SocketAddr) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // A box opens one stream, for control; what more a stranger opens holds nothing here.
        let (mode, most_arrivals) = match end {
            End::Dialled => (yamux::Mode::Client, MAX_STREAMS),
            End::Listened => (yamux::Mode::Server, 1),
        };
        let below = yamux::Connection::new(stream.compat(), settings(), mode);
        let (wishes, wished) = mpsc::channel(1);
        let (arrived, arrivals) = mpsc::channel(most_arrivals);
        let (closing, the_end) = (CancellationToken::new(), Arc::new(TheEnd::default()));
        tokio::spawn(drive(below, wished, arrived, closing.clone(), the_end.clone()));
        let arrivals = Mutex::new(arrivals);
        Self { shared: Arc::new(Shared { remote, wishes, arrivals, closing, end: the_end }) }
    }

    pub(crate) async fn open(&self) -> Result<(Outgoing, Incoming), Lost> {
        let (wish, granted) = oneshot::channel();
        // Either fails only when nobody drives the connection any more; a wish that comes back must go.
        drop(self.shared.wishes.send(wish).await);
        let stream = granted.await.map_err(|_| self.lost())?;
        Ok(stream::of(stream, self.shared.end.clone()))
    }

    pub(crate) async fn accept(&self) -> Result<(Outgoing, Incoming), Lost> {
        let stream = self.shared.arrivals.lock().await.recv().await.ok_or_else(|| self.lost())?;
        Ok(stream::of(stream, self.shared.end.clone()))
    }

    pub(crate) fn close(&self) {
        self.shared.closing.cancel();
    }

    pub(crate) async fn closed(&self) {
        self.shared.end.come.cancelled().await;
    }

    pub(crate) fn remote_address(&self) -> SocketAddr {
        self.shared.remote
    }

    fn lost(&self) -> Lost {
        Lost::Tcp(self.shared.end.why.get().cloned().unwrap_or_else(|| "closed".to_owned()))
    }
}

fn settings() -> yamux::Config {
    let mut settings = yamux::Config::default();
    settings.set_max_num_streams(MAX_STREAMS).set_max_connection_receive_window(Some(
        MAX_STREAMS * yamux::DEFAULT_CREDIT as usize + WINDOWS_BEYOND,
    ));
    settings
}

/// What the driver has to deal with.
enum Event {
    Arrival(yamux::Stream),
    Granted(Wish, yamux::Stream),
    Closing,
    Over(String),
}

/// Moves the connection's bytes until it is over. yamux does nothing unless it is polled, so it is all
/// the time, whether or not anybody waits for a stream.
async fn drive<S>(
    mut below: yamux::Connection<Compat<S>>,
    mut wished: mpsc::Receiver<Wish>,
    arrived: mpsc::Sender<yamux::Stream>,
    closing: CancellationToken,
    end: Arc<TheEnd>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut waiting = None;
    let why = loop {
        match next(&mut below, &mut wished, &mut waiting, &closing).await {
            // One too many, or nobody who wants any: the stream is broken off.
            Event::Arrival(stream) => drop(arrived.try_send(stream)),
            Event::Granted(wish, stream) => drop(wish.send(stream)),
            Event::Closing => {
                let closed = timeout(CLOSE_TIMEOUT, poll_fn(|cx| below.poll_close(cx))).await;
                drop(closed);
                break "closed".to_owned();
            }
            Event::Over(why) => break why,
        }
    };
    // It is empty: there is one end.
    let _first = end.why.set(why);
    end.come.cancel();
}

async fn next<S>(
    below: &mut yamux::Connection<Compat<S>>,
    wished: &mut mpsc::Receiver<Wish>,
    waiting: &mut Option<Wish>,
    closing: &CancellationToken,
) -> Event
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut closing = pin!(closing.cancelled());
    poll_fn(|cx| {
        if closing.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Event::Closing);
        }
        if waiting.is_none()
            && let Poll::Ready(Some(wish)) = wished.poll_recv(cx)
        {
            *waiting = Some(wish);
        }
        if waiting.is_some()
            && let Poll::Ready(granted) = below.poll_new_outbound(cx)
        {
            return Poll::Ready(match (granted, waiting.take()) {
                (Ok(stream), Some(wish)) => Event::Granted(wish, stream),
                (Ok(_), None) => unreachable!("somebody waits"),
                (Err(error), _) => Event::Over(error.to_string()),
            });
        }
        below.poll_next_inbound(cx).map(|arrival| match arrival {
            Some(Ok(stream)) => Event::Arrival(stream),
            Some(Err(error)) => Event::Over(error.to_string()),
            None => Event::Over("the other side has closed the connection".to_owned()),
        })
    })
    .await
}

#[cfg(test)]
mod tests;
