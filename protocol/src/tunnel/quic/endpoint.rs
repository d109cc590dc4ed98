//! A socket, and the connections over it.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::Waker;

use quinn_proto::{
    ClientConfig, ConnectError, ConnectionError, ConnectionHandle, EndpointConfig, EndpointEvent,
    ServerConfig, Transmit, VarInt,
};
use tokio::sync::Notify;

use super::connection::{Connection, Inner};
use super::driver::Driver;
use super::receiver::Receiver;
use super::socket::Socket;
use super::{lock, now};

/// A socket that connections go over, made there and accepted there. Cheap to clone; the socket closes when nobody
/// has it any more and all connections are over.
#[derive(Debug, Clone)]
pub struct Endpoint(Arc<Owner>);

/// Those who use an endpoint, together.
struct Owner(Arc<Shared>);

/// What users, the endpoint's task and the connections' tasks share.
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    /// Somebody wants a connection, or nobody may any more.
    arrivals: Notify,
    /// The last connection is over.
    emptied: Notify,
}

pub(super) struct State {
    pub(super) quic: quinn_proto::Endpoint,
    pub(super) socket: Arc<Socket>,
    /// Where the other side may still send to after a move.
    pub(super) former: Option<Arc<Socket>>,
    pub(super) connections: HashMap<ConnectionHandle, Arc<Inner>>,
    arrived: VecDeque<quinn_proto::Incoming>,
    receiver: Option<Waker>,
    closed: bool,
    abandoned: bool,
}

impl Endpoint {
    /// Connections over this socket. None is accepted before [`set_server_config`](Self::set_server_config).
    #[expect(clippy::disallowed_types, reason = "it opens none: it is given one that the caller opened")]
    pub fn new(config: EndpointConfig, socket: std::net::UdpSocket) -> io::Result<Self> {
        let socket = Socket::new(socket)?;
        let state = State {
            quic: quinn_proto::Endpoint::new(Arc::new(config), None, !socket.may_fragment(), None),
            socket,
            former: None,
            connections: HashMap::new(),
            arrived: VecDeque::new(),
            receiver: None,
            closed: false,
            abandoned: false,
        };
        let (arrivals, emptied) = (Notify::new(), Notify::new());
        let shared = Arc::new(Shared { state: Mutex::new(state), arrivals, emptied });
        tokio::spawn(Receiver::new(shared.clone()));
        Ok(Self(Arc::new(Owner(shared))))
    }

    /// How connections are accepted from now on.
    pub fn set_server_config(&self, config: ServerConfig) {
        lock(&self.0.0.state).quic.set_server_config(Some(Arc::new(config)));
    }

    /// Where the socket is.
    pub fn local_addr(&self) -> SocketAddr {
        lock(&self.0.0.state).socket.address()
    }

    /// The next who wants a connection; none once the endpoint is closed.
    pub async fn accept(&self) -> Option<Incoming> {
        let shared = &self.0.0;
        loop {
            let arrivals = shared.arrivals.notified();
            {
                let mut state = lock(&shared.state);
                if let Some(incoming) = state.arrived.pop_front() {
                    return Some(Incoming { incoming: Some(incoming), endpoint: shared.clone() });
                }
                if state.closed {
                    return None;
                }
            }
            arrivals.await;
        }
    }

    /// Begins a connection; the other side must have a certificate for that name.
    pub fn connect(
        &self,
        config: ClientConfig,
        to: SocketAddr,
        name: &str,
    ) -> Result<impl Future<Output = Result<Connection, ConnectionError>> + Send + use<>, ConnectError> {
        let shared = &self.0.0;
        let mut state = lock(&shared.state);
        if state.closed {
            return Err(ConnectError::EndpointStopping);
        }
        if state.socket.address().is_ipv4() != to.is_ipv4() {
            return Err(ConnectError::InvalidRemoteAddress(to));
        }
        let begun = state.quic.connect(now(), config, to, name)?;
        let begun = shared.enter(&mut state, begun);
        drop(state);
        Ok(begin(begun).established())
    }

    /// Goes on over another socket, with all connections.
    #[expect(clippy::disallowed_types, reason = "it opens none: it is given one that the caller opened")]
    pub fn rebind(&self, socket: std::net::UdpSocket) -> io::Result<()> {
        let socket = Socket::new(socket)?;
        let mut state = lock(&self.0.0.state);
        state.former = Some(std::mem::replace(&mut state.socket, socket.clone()));
        let (connections, receiver) = (state.everybody(), state.receiver.take());
        drop(state);
        connections.iter().for_each(|connection| connection.move_to(socket.clone()));
        receiver.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// Ends all connections, and accepts no more.
    pub fn close(&self, code: VarInt, words: &[u8]) {
        self.0.0.close(code, words);
    }

    /// Waits until all connections are over, and the other sides had time to notice.
    pub async fn wait_idle(&self) {
        let shared = &self.0.0;
        loop {
            let emptied = shared.emptied.notified();
            if lock(&shared.state).connections.is_empty() {
                return;
            }
            emptied.await;
        }
    }
}

impl State {
    fn everybody(&self) -> Vec<Arc<Inner>> {
        self.connections.values().cloned().collect()
    }

    /// The endpoint's task: it is woken when there is another socket, or nothing more to do.
    pub(super) fn wakes(&mut self, receiver: &Waker) {
        self.receiver = Some(receiver.clone());
    }

    /// Whether nobody needs the socket any more.
    pub(super) fn is_over(&self) -> bool {
        self.abandoned && self.connections.is_empty()
    }

    /// Nothing more will come over this socket.
    pub(super) fn let_go(&mut self, former: &Arc<Socket>) {
        self.former.take_if(|present| Arc::ptr_eq(present, former));
    }

    /// Takes no more connections, and says so to those who wait for one.
    fn close(&mut self) {
        self.closed = true;
        for incoming in std::mem::take(&mut self.arrived) {
            self.refuse(incoming, &mut Vec::new());
        }
    }

    fn refuse(&mut self, incoming: quinn_proto::Incoming, answer: &mut Vec<u8>) {
        let refusal = self.quic.refuse(incoming, answer);
        self.answer(&refusal, answer);
    }

    /// Answers a stranger, if there is room; they try again.
    pub(super) fn answer(&self, transmit: &Transmit, contents: &[u8]) {
        let _best_effort = self.socket.send(transmit, &contents[..transmit.size]);
    }
}

impl Shared {
    /// A new connection belongs to the endpoint from now on.
    fn enter(
        self: &Arc<Self>,
        state: &mut State,
        begun: (ConnectionHandle, quinn_proto::Connection),
    ) -> Arc<Inner> {
        let inner = Inner::new(begun, self.clone(), state.socket.clone());
        state.connections.insert(inner.handle, inner.clone());
        inner
    }

    /// Somebody wants a connection.
    pub(super) fn arrive(&self, state: &mut State, incoming: quinn_proto::Incoming, answer: &mut Vec<u8>) {
        if state.closed {
            state.refuse(incoming, answer);
        } else {
            state.arrived.push_back(incoming);
            self.arrivals.notify_waiters();
        }
    }

    /// Hears what a connection has to say: which ids it takes, and that it is over.
    pub(super) fn hear(&self, connection: &Inner, events: Vec<EndpointEvent>) {
        if events.is_empty() {
            return;
        }
        let mut state = lock(&self.state);
        let mut answers = Vec::new();
        for event in events {
            if event.is_drained() {
                state.connections.remove(&connection.handle);
            }
            answers.extend(state.quic.handle_event(connection.handle, event));
        }
        let receiver = if state.is_over() { state.receiver.take() } else { None };
        if state.connections.is_empty() {
            self.emptied.notify_waiters();
        }
        drop(state);
        if !answers.is_empty() {
            connection.inbox.put(answers);
        }
        receiver.into_iter().for_each(Waker::wake);
    }

    /// Ends all connections, and takes no more.
    pub(super) fn close(&self, code: VarInt, words: &[u8]) {
        let mut state = lock(&self.state);
        state.close();
        let connections = state.everybody();
        drop(state);
        connections.iter().for_each(|connection| connection.close(code, words));
        self.arrivals.notify_waiters();
    }
}

/// A connection begins to live. Not under the endpoint's lock: where the runtime has ended, so does the task, at once,
/// and that takes the lock.
fn begin(inner: Arc<Inner>) -> Connection {
    tokio::spawn(Driver::new(inner.clone()));
    Connection::of(inner)
}

impl Drop for Owner {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.abandoned = true;
        state.close();
        let receiver = state.receiver.take();
        drop(state);
        receiver.into_iter().for_each(Waker::wake);
    }
}

impl std::fmt::Debug for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Endpoint").field(&lock(&self.0.state).socket.address()).finish()
    }
}

/// Somebody who wants a connection. Dropped, they get no answer.
pub struct Incoming {
    /// Until it was decided what becomes of them.
    incoming: Option<quinn_proto::Incoming>,
    endpoint: Arc<Shared>,
}

impl Incoming {
    /// Where they are, or say that they are.
    pub fn remote_address(&self) -> SocketAddr {
        self.undecided().remote_address()
    }

    /// Whether they have shown that they are there.
    pub fn remote_address_validated(&self) -> bool {
        self.undecided().remote_address_validated()
    }

    /// Goes through the handshake with them.
    pub async fn accept(mut self) -> Result<Connection, ConnectionError> {
        let begun = self.enter()?;
        drop(self);
        begin(begun).established().await
    }

    fn enter(&mut self) -> Result<Arc<Inner>, ConnectionError> {
        let incoming = self.decide();
        let mut state = lock(&self.endpoint.state);
        let mut answer = Vec::new();
        if state.closed {
            state.refuse(incoming, &mut answer);
            return Err(ConnectionError::LocallyClosed);
        }
        match state.quic.accept(incoming, now(), &mut answer, None) {
            Ok(begun) => Ok(self.endpoint.enter(&mut state, begun)),
            Err(refused) => {
                if let Some(transmit) = refused.response {
                    state.answer(&transmit, &answer);
                }
                Err(refused.cause)
            }
        }
    }

    /// Asks them to show that they are there; they come again.
    pub fn retry(mut self) {
        let incoming = self.decide();
        let mut state = lock(&self.endpoint.state);
        let mut answer = Vec::new();
        match state.quic.retry(incoming, &mut answer) {
            Ok(transmit) => state.answer(&transmit, &answer),
            // They have shown it already.
            Err(shown) => state.quic.ignore(shown.into_incoming()),
        }
    }

    /// Tells them that there is no room.
    pub fn refuse(mut self) {
        let incoming = self.decide();
        let mut state = lock(&self.endpoint.state);
        let mut answer = Vec::new();
        state.refuse(incoming, &mut answer);
    }

    fn undecided(&self) -> &quinn_proto::Incoming {
        self.incoming.as_ref().expect("it is decided once, and then dropped")
    }

    fn decide(&mut self) -> quinn_proto::Incoming {
        self.incoming.take().expect("it is decided once, and then dropped")
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(incoming) = self.incoming.take() {
            lock(&self.endpoint.state).quic.ignore(incoming);
        }
    }
}
