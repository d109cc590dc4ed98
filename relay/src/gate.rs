//! The SSH gate: visitors prove the key of an access, and are let through to its box.
//!
//! russh speaks SSH; the handler translates; the reception decides. Here stands what is around them:
//! who may connect at all, how long they may take, and what a visit looks like from this door.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use postern_protocol::Refusal;
use russh::keys::PrivateKey;
use russh::server::{self, ChannelOpenHandle, Msg};
use russh::{ChannelOpenFailure, ChannelWriteHalf, Disconnect, SshId};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::admission::Room;
use crate::audit::Audit;
use crate::config::Limits;
use crate::doorstep::{self, Arrival, Doorstep};
use crate::metrics::{Door, Metrics};
use crate::session::{Reception, Visitor};
use crate::splice::{Halt, Sink, Source};

mod algorithms;
mod handler;
mod inbound;
mod prompt;

use handler::Handler;
use inbound::{Broken, Reader, Seat};
use prompt::Prompt;

/// How long a visitor has to take the last words before the connection is closed.
const FAREWELL: Duration = Duration::from_secs(2);

/// The door that visitors come to with `ssh`.
pub(crate) struct Gate {
    pub(crate) reception: Reception,
    pub(crate) audit: Audit,
    pub(crate) metrics: Metrics,
    /// What visitors are told to type if they come without a box: host and port.
    pub(crate) address: (String, u16),
    config: Arc<server::Config>,
    doorstep: Doorstep,
    logins: Room,
    login_grace: Duration,
}

impl Gate {
    pub(crate) fn new(
        reception: Reception,
        doorstep: Doorstep,
        metrics: Metrics,
        address: (String, u16),
        host_key: PrivateKey,
        limits: &Limits,
    ) -> Arc<Self> {
        let id = concat!("SSH-2.0-Postern_", env!("CARGO_PKG_VERSION"));
        let config = server::Config {
            server_id: SshId::Standard(id.into()),
            keys: vec![host_key],
            ..algorithms::config()
        };
        Arc::new(Self {
            audit: reception.audit.clone(),
            reception,
            metrics,
            address,
            config: Arc::new(config),
            doorstep,
            logins: Room::new(limits.gate_logins, limits.gate_logins_per_source),
            login_grace: limits.login_grace,
        })
    }

    /// Takes connections until told to stop; each goes on in a task of its own.
    pub(crate) async fn accept(
        self: Arc<Self>,
        listener: TcpListener,
        stop: CancellationToken,
        tasks: TaskTracker,
    ) {
        doorstep::accept(listener, stop, tasks, move |stream| self.clone().attend(stream)).await;
    }

    /// One connection, if there is room for it.
    async fn attend(self: Arc<Self>, stream: TcpStream) {
        let Some(Arrival { stream, visitor, place: _place }) = self.doorstep.receive(stream).await else {
            return;
        };
        let Some(login) = self.logins.enter(visitor.ip()) else {
            self.metrics.turned_away.get_or_create(&Door { door: "gate" }).inc();
            return;
        };
        let Ok(_cut) = Cut::of(&stream) else { return };
        let proved = CancellationToken::new();
        let visits = TaskTracker::new();
        let handler = Handler::new(self.clone(), visitor, proved.clone(), visits.clone());
        let span = tracing::info_span!("gate", %visitor);
        if let Err(error) = self.converse(stream, handler, (proved, visits), login).instrument(span).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "the connection broke");
        }
    }

    async fn converse(
        &self,
        stream: TcpStream,
        handler: Handler,
        (proved, visits): (CancellationToken, TaskTracker),
        login: crate::admission::Place,
    ) -> Result<(), russh::Error> {
        let deadline = Instant::now() + self.login_grace;
        let begun =
            timeout(self.login_grace, server::run_stream(self.config.clone(), Prompt(stream), handler)).await;
        let mut running = begun.map_err(|_| russh::Error::ConnectionTimeout)??;
        tokio::select! {
            ended = &mut running => return ended,
            () = proved.cancelled() => drop(login),
            () = self.reception.leaving.cancelled() => return Ok(()),
            () = tokio::time::sleep_until(deadline.into()) => return Err(russh::Error::ConnectionTimeout),
        }
        tokio::select! {
            ended = &mut running => ended,
            () = self.leave(&visits) => {
                // The visits have said goodbye on their channels; the connection has nothing left to do.
                let handle = running.handle();
                let why = Refusal::ShuttingDown.to_string();
                let goodbye = handle.disconnect(Disconnect::ByApplication, why, String::new());
                let farewell = async { tokio::join!(goodbye, running).1 };
                timeout(FAREWELL, farewell).await.unwrap_or(Ok(()))
            }
        }
    }

    /// Returns once the relay stops and the visits of a connection are over.
    async fn leave(&self, visits: &TaskTracker) {
        self.reception.leaving.cancelled().await;
        visits.close();
        visits.wait().await;
    }
}

/// Ends a connection when it is dropped. russh goes on in a task of its own, which nobody can stop: but
/// without its socket it ends by itself, even if the client takes nothing.
struct Cut(socket2::Socket);

impl Cut {
    fn of(stream: &TcpStream) -> std::io::Result<Self> {
        socket2::SockRef::from(stream).try_clone().map(Self)
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        // One that is closed already cannot be shut down.
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }
}

/// A visitor at the gate, who asked for a box on a channel of their connection.
struct Knocking {
    line: Arc<ChannelWriteHalf<Msg>>,
    reply: Option<ChannelOpenHandle>,
    reader: Option<Reader>,
    seat: Seat,
}

impl Knocking {
    fn new(line: ChannelWriteHalf<Msg>, (reader, seat): (Reader, Seat), reply: ChannelOpenHandle) -> Self {
        Self { line: Arc::new(line), reply: Some(reply), reader: Some(reader), seat }
    }
}

impl Visitor for Knocking {
    type Source = FromVisitor;
    type Sink = ToVisitor;

    async fn welcome(&mut self) -> (FromVisitor, ToVisitor) {
        if let Some(reply) = self.reply.take() {
            reply.accept().await;
        }
        let reader = self.reader.take().expect("a visitor is welcomed once");
        let line = self.line.clone();
        (FromVisitor { reader, passed_on: 0 }, ToVisitor { line, closed: self.seat.closed.clone() })
    }

    async fn leave(self, outcome: Result<(), Refusal>) {
        match (self.reply, outcome) {
            (Some(reply), Err(refusal)) => reply.reject(prohibited(refusal.to_string())).await,
            // Nothing was opened and nothing went wrong: the visitor left before the answer.
            (Some(reply), Ok(())) => reply.reject(prohibited(String::new())).await,
            (None, _) => {
                // A client that takes nothing keeps nobody waiting.
                let _ = timeout(FAREWELL, self.line.close()).await;
            }
        }
    }
}

/// A refusal in words, which `ssh` shows (RFC 4254, section 5.1).
fn prohibited(reason: String) -> ChannelOpenFailure {
    const ADMINISTRATIVELY_PROHIBITED: u32 = 1;
    ChannelOpenFailure::Other { code: ADMINISTRATIVELY_PROHIBITED, reason }
}

/// What a visitor sends.
struct FromVisitor {
    reader: Reader,
    passed_on: usize,
}

impl Source for FromVisitor {
    async fn next(&mut self) -> Result<Option<Bytes>, Halt> {
        let passed_on = std::mem::take(&mut self.passed_on);
        let piece = self.reader.next(passed_on).await.map_err(|broken| match broken {
            Broken::Overrun => Halt::Refused(Refusal::Stalled),
            Broken::Abandoned => Halt::Gone,
        })?;
        self.passed_on = piece.as_ref().map_or(0, Bytes::len);
        Ok(piece)
    }
}

/// What a visitor gets.
struct ToVisitor {
    line: Arc<ChannelWriteHalf<Msg>>,
    closed: CancellationToken,
}

impl Sink for ToVisitor {
    async fn send(&mut self, chunk: Bytes) -> Result<(), Halt> {
        self.line.data_bytes(chunk).await.map_err(|_| Halt::Gone)
    }

    async fn finish(&mut self) -> Result<(), Halt> {
        self.line.eof().await.map_err(|_| Halt::Gone)
    }

    fn closed(&self) -> impl Future<Output = Halt> + Send + 'static {
        let closed = self.closed.clone();
        async move {
            // What was sent before the close may still arrive at the box.
            closed.cancelled().await;
            Halt::Deaf
        }
    }
}
