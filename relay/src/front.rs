//! The TLS front: browsers name an access or a box, and are let through to its page.
//!
//! TLS runs end to end between the visitor and the box. Of the visitor's bytes the front reads the first
//! ones only, which say in the clear whom they want; these go to the box like all others.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use postern_protocol::access::{Door, Entrance};
use postern_protocol::id::{DeviceId, VisitId};
use postern_protocol::wire::Web;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::admission::{Pace, SourceNetwork};
use crate::agents::tcp::{TcpDoor, is_box};
use crate::config::Limits;
use crate::doorstep::{self, Arrival, Doorstep};
use crate::farewell::{self, Manner};
use crate::metrics::{self, Metrics};
use crate::rulebook::Target;
use crate::session::{Call, Reception};
use crate::tcp::Caller;

mod challenge;
pub(crate) mod hello;

use hello::{Alert, Hello, HelloReader};

/// What is read of a hello at once.
const PIECE: usize = 4 * 1024;

/// The door that browsers come to.
pub(crate) struct Front {
    reception: Reception,
    doorstep: Doorstep,
    metrics: Metrics,
    domain: String,
    hello_grace: Duration,
    patience: Option<Duration>,
    challenges: Mutex<Pace<(SourceNetwork, DeviceId)>>,
    boxes: TcpDoor,
}

/// What a client came for.
#[derive(Debug, PartialEq, Eq)]
enum Wish {
    /// The page behind a name.
    Visit(Target),
    /// To see who has the name of this box.
    Challenge { device: DeviceId, name: String },
    /// To come in as a box, whose network passes no UDP.
    Box,
    /// Nothing that is here.
    Nothing,
}

impl Front {
    pub(crate) fn new(
        reception: Reception,
        doorstep: Doorstep,
        metrics: Metrics,
        (web, boxes): (&Web, TcpDoor),
        limits: &Limits,
    ) -> Arc<Self> {
        Arc::new(Self {
            reception,
            doorstep,
            metrics,
            domain: web.domain.clone(),
            hello_grace: limits.hello_grace,
            patience: limits.front_idle(),
            challenges: Mutex::new(challenge::pace()),
            boxes,
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
        let Some(Arrival { mut stream, visitor, place: _place }) = self.doorstep.receive(stream).await else {
            return;
        };
        let heard = tokio::select! {
            heard = timeout(self.hello_grace, hear(&mut stream)) => heard,
            () = self.reception.leaving.cancelled() => return,
        };
        match heard {
            Ok(Ok(hello)) => self.receive(stream, visitor, hello).await,
            Ok(Err(what)) => {
                self.metrics.garbled.get_or_create(&metrics::Door { door: "front" }).inc();
                farewell::alert(stream, what).await;
            }
            Err(_) => _ = self.metrics.garbled.get_or_create(&metrics::Door { door: "front" }).inc(),
        }
    }

    /// One client, who said whom they want.
    async fn receive(&self, stream: TcpStream, visitor: SocketAddr, hello: Hello) {
        match self.wish(&hello) {
            Wish::Visit(target) => self.visit(stream, visitor, target, hello.bytes.into()).await,
            Wish::Challenge { device, name } => {
                self.challenge(stream, (visitor.ip(), device), name, hello.bytes.into()).await;
            }
            // Its tunnel is no visit: it takes no place here, and ends with the boxes.
            Wish::Box => self.boxes.take(stream, visitor, hello.bytes),
            Wish::Nothing => {
                self.reception.audit.stranger(Door::Front, visitor, None, None);
                farewell::alert(stream, Alert::UnrecognizedName).await;
            }
        }
    }

    fn wish(&self, hello: &Hello) -> Wish {
        if is_box(&hello.protocols) {
            return Wish::Box;
        }
        let Some(name) = &hello.name else { return Wish::Nothing };
        let Some(label) = name.strip_suffix(&self.domain).and_then(|name| name.strip_suffix('.')) else {
            return Wish::Nothing;
        };
        let rulebook = &self.reception.rulebook;
        let wish = match challenge::is_one(hello) {
            true => rulebook.labelled(label).map(|device| Wish::Challenge { device, name: name.clone() }),
            false => rulebook.behind_label(label).map(Wish::Visit),
        };
        wish.unwrap_or(Wish::Nothing)
    }

    async fn visit(&self, stream: TcpStream, visitor: SocketAddr, target: Target, said: Bytes) {
        let call = Call {
            id: VisitId::from_entropy(rand::random()),
            access: target.access,
            entrance: Entrance::Front,
            visitor,
            device: Some(target.device),
            port: target.port,
        };
        let caller = Caller::new(stream, said, Manner::Heard, self.patience);
        let span =
            tracing::info_span!("visit", id = %call.id, access = call.access.map(tracing::field::display));
        self.reception.visit(call, caller).instrument(span).await;
    }

    fn may_challenge(&self, source: IpAddr, device: DeviceId) -> bool {
        let mut challenges = self.challenges.lock().unwrap_or_else(PoisonError::into_inner);
        challenges.admit((source.into(), device), Instant::now())
    }
}

/// Reads a client's hello, and nothing that it would have to answer.
async fn hear(stream: &mut TcpStream) -> Result<Hello, Alert> {
    let (mut reader, mut piece) = (HelloReader::new(), [0; PIECE]);
    loop {
        let length = stream.read(&mut piece).await.map_err(|_| Alert::DecodeError)?;
        if length == 0 {
            return Err(Alert::DecodeError);
        }
        if let Some(hello) = reader.push(&piece[..length])? {
            return Ok(hello);
        }
    }
}
