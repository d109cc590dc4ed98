//! One visit: decide → connect → splice; decide again when anything changes or the permit ends.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use postern_protocol::Refusal;
use postern_protocol::access::{Denial, Permit};
use postern_protocol::wire::frame::SMALL;
use postern_protocol::wire::{Open, Opening, io};
use quinn::{RecvStream, SendStream, VarInt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tracing::Instrument;

use crate::agent::Agent;
use crate::config::SSH_PORT;
use crate::shell::{Guest, Shell};
use crate::splice::splice;
use crate::ssh::Server;

/// The relay has the first message ready when it opens a stream.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a visit waits for the grants by which the relay decided.
const GRANTS_TIMEOUT: Duration = Duration::from_secs(2);

/// A service on the box or next to it answers in milliseconds or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The wall clock may jump and the clock that sleeps do not follow it, so sleeps are short.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// How long the built-in server may take to end a visit that has lost its permit.
const FAREWELL: Duration = Duration::from_secs(1);

/// A stream that ends with this code was ended by the box.
const ENDED_BY_BOX: VarInt = VarInt::from_u32(1);

/// A visit's stream.
pub(crate) struct Stream {
    pub(crate) send: SendStream,
    pub(crate) recv: RecvStream,
}

/// What a visit is connected to.
enum Service {
    Local(TcpStream),
    Shell(Arc<Shell>, Guest),
}

/// Serves one stream that the relay has opened.
pub(crate) async fn serve(agent: Arc<Agent>, mut stream: Stream) {
    let open = match timeout(OPEN_TIMEOUT, io::receive::<_, Open>(&mut stream.recv, SMALL)).await {
        Ok(Ok(open)) => open,
        Ok(Err(error)) => return tracing::debug!(%error, "a stream without a visit"),
        Err(_) => return tracing::debug!("a stream on which nothing was said"),
    };
    let span = tracing::info_span!("visit", id = %open.visit, access = %open.access, visitor = %open.visitor);
    visit(agent, open, stream).instrument(span).await;
}

async fn visit(agent: Arc<Agent>, open: Open, stream: Stream) {
    let result = match admit(&agent, &open).await {
        Ok(service) => attend(&agent, &open, stream, service).await,
        Err(refusal) => turn_away(&agent, &open, stream, refusal).await,
    };
    if let Err(error) = result {
        tracing::debug!(error = format!("{error:#}"), "the visit broke off");
    }
}

/// Decides, then connects; in this order, because only a permit opens a service.
async fn admit(agent: &Arc<Agent>, open: &Open) -> Result<Service, Refusal> {
    agent.consult_owner(open.port)?;
    agent.catch_up(open.revision, GRANTS_TIMEOUT).await;
    let permit = agent.judge(open, Utc::now())?;
    connect(agent, open, &permit).await
}

async fn connect(agent: &Arc<Agent>, open: &Open, permit: &Permit) -> Result<Service, Refusal> {
    let address = match (permit.port(), agent.ssh()) {
        (SSH_PORT, Server::Builtin(shell)) => return Ok(Service::Shell(shell, guest(agent, open)?)),
        (SSH_PORT, Server::System(found)) => found.address,
        (SSH_PORT, Server::Nothing) => return Err(Refusal::ServiceDown),
        (port, _) => agent.config.services.address(port).ok_or(Refusal::NotOffered { port })?,
    };
    let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
    let service = connected.map_err(|_| Refusal::ServiceDown)?.map_err(|error| {
        tracing::debug!(%address, %error, "the service does not answer");
        Refusal::ServiceDown
    })?;
    service.set_nodelay(true).map_err(|_| Refusal::ServiceDown)?;
    Ok(Service::Local(service))
}

/// What the built-in server must know of a visitor: whom to believe, and whether still.
fn guest(agent: &Arc<Agent>, open: &Open) -> Result<Guest, Refusal> {
    let (login, key) = agent.visitor(open.access).ok_or(Refusal::DeniedByBox(Denial::WrongKey))?;
    let (asked, of) = (open.clone(), agent.clone());
    let allowed = move || match of.judge(&asked, Utc::now()) {
        Ok(_) => Ok(()),
        Err(Refusal::DeniedByBox(denial)) => Err(denial),
        // The visit is about to be ended for another reason; until then nothing new begins.
        Err(_) => Err(Denial::UnknownAccess),
    };
    let ended = agent.stopping.child_token();
    Ok(Guest { access: open.access, login, key, visitor: open.visitor, allowed: Arc::new(allowed), ended })
}

/// Lets the visit in and watches over it until it ends or must end.
async fn attend(agent: &Agent, open: &Open, mut stream: Stream, service: Service) -> anyhow::Result<()> {
    io::send(&mut stream.send, &Opening::Opened).await.context("answering the relay")?;
    let ticket = agent.visits.enter(open, Utc::now());
    tracing::info!(port = open.port, "visit");
    match service {
        Service::Local(service) => {
            let Stream { send, recv } = &mut stream;
            let refusal = tokio::select! {
                moved = splice(recv, send, service, &ticket.traffic) => return moved.context("moving bytes"),
                refusal = withdrawn(agent, open) => refusal,
            };
            // Both may have ended by themselves in the same moment.
            let _already_ended = (stream.send.reset(ENDED_BY_BOX), stream.recv.stop(ENDED_BY_BOX));
            send_away(agent, open, &refusal);
        }
        Service::Shell(shell, guest) => {
            let ended = guest.ended.clone();
            let session = shell.serve(tokio::io::join(stream.recv, stream.send), guest);
            tokio::pin!(session);
            let refusal = tokio::select! {
                () = &mut session => return Ok(()),
                refusal = withdrawn(agent, open) => refusal,
            };
            ended.cancel();
            send_away(agent, open, &refusal);
            let _gone_or_late = timeout(FAREWELL, session).await;
        }
    }
    Ok(())
}

/// Returns once the visit may not go on, and why.
async fn withdrawn(agent: &Agent, open: &Open) -> Refusal {
    let mut changes = agent.changes();
    loop {
        changes.mark_seen();
        let now = Utc::now();
        let permit = match agent.judge(open, now) {
            Ok(permit) => permit,
            Err(refusal) => return refusal,
        };
        tokio::select! {
            () = changes.next() => {}
            () = sleep(until(permit.until(), now)) => {}
            () = agent.stopping.cancelled() => return Refusal::ShuttingDown,
        }
    }
}

/// How long to sleep before looking at the clock again.
pub(crate) fn until(moment: DateTime<Utc>, now: DateTime<Utc>) -> Duration {
    (moment - now).to_std().unwrap_or_default().min(LONGEST_SLEEP)
}

fn send_away(agent: &Agent, open: &Open, refusal: &Refusal) {
    tracing::info!(code = refusal.code(), "visit ended: {refusal}");
    agent.visits.refuse(open, refusal, Utc::now());
}

async fn turn_away(agent: &Agent, open: &Open, mut stream: Stream, refusal: Refusal) -> anyhow::Result<()> {
    tracing::info!(code = refusal.code(), port = open.port, "visit refused: {refusal}");
    agent.visits.refuse(open, &refusal, Utc::now());
    let answer = Opening::Refused(refusal);
    io::send(&mut stream.send, &answer).await.context("answering the relay")?;
    stream.send.finish().context("ending the stream")
}

#[cfg(test)]
mod tests;
