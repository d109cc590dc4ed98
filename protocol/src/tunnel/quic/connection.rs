//! A connection, as those see it who use it.

use std::any::Any;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quinn_proto::{
    ConnectionError, ConnectionHandle, ConnectionStats, Dir, Event, StreamEvent, StreamId, VarInt,
};
use tokio::sync::Notify;

use super::endpoint::Shared;
use super::inbox::Inbox;
use super::socket::Socket;
use super::streams::{self, RecvStream, SendStream, Stopping};
use super::{lock, now};
use crate::tunnel::outage::{self, Link};
use crate::tunnel::probe::Probe;

/// A connection, cheap to clone. It closes when nobody has it any more, nor a stream of it.
#[derive(Debug, Clone)]
pub struct Connection(Arc<Owner>);

/// Those who use a connection, together.
pub(super) struct Owner(Arc<Inner>);

/// What users, the connection's task and the endpoint share.
pub(super) struct Inner {
    pub(super) handle: ConnectionHandle,
    pub(super) endpoint: Arc<Shared>,
    pub(super) inbox: Inbox,
    pub(super) state: Mutex<State>,
    /// The other side has opened a stream, or takes one more, or the connection is over.
    streams: Notify,
    /// The handshake is over, or the connection is.
    turned: Notify,
}

pub(super) struct State {
    pub(super) quic: quinn_proto::Connection,
    pub(super) socket: Arc<Socket>,
    pub(super) readers: BTreeMap<StreamId, Waker>,
    pub(super) writers: BTreeMap<StreamId, Waker>,
    pub(super) stopping: BTreeMap<StreamId, Arc<Stopping>>,
    stands: bool,
    over: Option<ConnectionError>,
}

impl State {
    pub(super) fn is_over(&self) -> bool {
        self.over.is_some()
    }

    fn wake_everybody(&mut self) {
        for waker in std::mem::take(&mut self.readers).into_values() {
            waker.wake();
        }
        for waker in std::mem::take(&mut self.writers).into_values() {
            waker.wake();
        }
        for stopping in std::mem::take(&mut self.stopping).into_values() {
            stopping.look_again();
        }
    }
}

impl Inner {
    pub(super) fn new(
        (handle, quic): (ConnectionHandle, quinn_proto::Connection),
        endpoint: Arc<Shared>,
        socket: Arc<Socket>,
    ) -> Arc<Self> {
        let state = State {
            quic,
            socket,
            readers: BTreeMap::new(),
            writers: BTreeMap::new(),
            stopping: BTreeMap::new(),
            stands: false,
            over: None,
        };
        let (streams, turned) = (Notify::new(), Notify::new());
        Arc::new(Self {
            handle,
            endpoint,
            inbox: Inbox::default(),
            state: Mutex::new(state),
            streams,
            turned,
        })
    }

    /// Passes on what the library has to say; whether any of it is about streams.
    pub(super) fn tell(&self, state: &mut State) -> bool {
        let mut of_streams = false;
        while let Some(event) = state.quic.poll() {
            of_streams |= matches!(event, Event::Stream(_));
            match event {
                Event::Connected => {
                    state.stands = true;
                    self.turned.notify_waiters();
                }
                Event::ConnectionLost { reason } => self.end(state, reason),
                Event::Stream(StreamEvent::Opened { .. } | StreamEvent::Available { .. }) => {
                    self.streams.notify_waiters();
                }
                Event::Stream(StreamEvent::Readable { id }) => {
                    state.readers.remove(&id).into_iter().for_each(Waker::wake);
                }
                Event::Stream(StreamEvent::Writable { id }) => {
                    state.writers.remove(&id).into_iter().for_each(Waker::wake);
                }
                Event::Stream(StreamEvent::Finished { id } | StreamEvent::Stopped { id, .. }) => {
                    state.stopping.remove(&id).iter().for_each(|stopping| stopping.look_again());
                    state.writers.remove(&id).into_iter().for_each(Waker::wake);
                }
                Event::HandshakeDataReady | Event::DatagramReceived | Event::DatagramsUnblocked => {}
            }
        }
        of_streams
    }

    /// From now on the connection is over, for this reason.
    pub(super) fn end(&self, state: &mut State, reason: ConnectionError) {
        state.over.get_or_insert(reason);
        state.wake_everybody();
        self.streams.notify_waiters();
        self.turned.notify_waiters();
    }

    pub(super) fn close(&self, code: VarInt, words: &[u8]) {
        let mut state = lock(&self.state);
        if !state.is_over() {
            state.quic.close(now(), code, Bytes::copy_from_slice(words));
            self.end(&mut state, ConnectionError::LocallyClosed);
            drop(state);
            self.inbox.wake();
        }
    }

    /// Goes on over another socket.
    pub(super) fn move_to(&self, socket: Arc<Socket>) {
        let mut state = lock(&self.state);
        state.socket = socket;
        state.quic.local_address_changed();
        outage::distrust_path(&mut state.quic, now());
        drop(state);
        self.inbox.wake();
    }

    /// Asks again, each time that something may have changed, until there is an answer.
    async fn ask<T>(&self, changes: &Notify, mut question: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            let changed = changes.notified();
            if let Some(answer) = question(&mut lock(&self.state)) {
                return answer;
            }
            changed.await;
        }
    }
}

impl Connection {
    pub(super) fn of(inner: Arc<Inner>) -> Self {
        Self(Arc::new(Owner(inner)))
    }

    /// Waits until the handshake is over.
    pub(super) async fn established(self) -> Result<Self, ConnectionError> {
        let inner = self.0.inner();
        let outcome = inner.ask(&inner.turned, |state| match state.stands {
            true => Some(Ok(())),
            false => state.over.clone().map(Err),
        });
        outcome.await.map(|()| self)
    }

    /// Opens a stream; the other side learns of it by what is first sent.
    pub async fn open(&self) -> Result<(SendStream, RecvStream), ConnectionError> {
        let inner = self.0.inner();
        let opened = inner.ask(&inner.streams, |state| match &state.over {
            Some(reason) => Some(Err(reason.clone())),
            None => state.quic.streams().open(Dir::Bi).map(Ok),
        });
        Ok(streams::pair(&self.0, opened.await?))
    }

    /// Takes the next stream that the other side opens.
    pub async fn accept(&self) -> Result<(SendStream, RecvStream), ConnectionError> {
        let inner = self.0.inner();
        let accepted = inner.ask(&inner.streams, |state| {
            let over = state.over.clone();
            state.quic.streams().accept(Dir::Bi).map(Ok).or_else(|| over.map(Err))
        });
        let pair = streams::pair(&self.0, accepted.await?);
        // The other side may have to be told that it can open one more.
        inner.inbox.wake();
        Ok(pair)
    }

    /// Ends the connection. The code and the words are for the other side's log, if it gets them.
    pub fn close(&self, code: VarInt, words: &[u8]) {
        self.0.inner().close(code, words);
    }

    /// Waits until the connection is over.
    pub async fn closed(&self) -> ConnectionError {
        let inner = self.0.inner();
        inner.ask(&inner.turned, |state| state.over.clone()).await
    }

    /// Why the connection is over, if it is.
    pub fn close_reason(&self) -> Option<ConnectionError> {
        lock(&self.0.inner().state).over.clone()
    }

    /// Where the other side is.
    pub fn remote_address(&self) -> SocketAddr {
        lock(&self.0.inner().state).quic.remote_address()
    }

    /// How long it takes there and back.
    pub fn rtt(&self) -> Duration {
        lock(&self.0.inner().state).quic.rtt()
    }

    /// What was counted so far.
    pub fn stats(&self) -> ConnectionStats {
        lock(&self.0.inner().state).quic.stats()
    }

    /// Who the other side is, as the TLS in use has it.
    pub fn peer_identity(&self) -> Option<Box<dyn Any>> {
        lock(&self.0.inner().state).quic.crypto_session().peer_identity()
    }

    /// Sends what the other side acknowledges, when there is room.
    pub fn show_life(&self) {
        let inner = self.0.inner();
        lock(&inner.state).quic.ping();
        inner.inbox.wake();
    }

    /// The same, however full the window is: the first that is acknowledged after an outage ends it.
    pub fn probe(&self, now: Instant) {
        let inner = self.0.inner();
        outage::probe(&mut lock(&inner.state).quic, now);
        inner.inbox.wake();
    }

    /// Sends a probe if it is time for one. A change of path brings a new controller, so it is asked for each time.
    pub fn probe_if_due(&self, probe: &mut Probe, now: Instant) {
        let inner = self.0.inner();
        let link = Link::of(lock(&inner.state).quic.congestion_state());
        if link.is_some_and(|link| probe.is_due(&link, self.stats().udp_rx.datagrams, now)) {
            self.probe(now);
        }
    }
}

impl Owner {
    pub(super) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.close(VarInt::from_u32(0), b"");
    }
}

impl std::fmt::Debug for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Connection").field(&self.0.handle.0).finish()
    }
}
