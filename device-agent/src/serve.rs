//! One visit: decide → connect → splice; decide again when anything changes or the permit ends.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use postern_protocol::Refusal;
use postern_protocol::access::{Denial, Permit};
use postern_protocol::tunnel::{EndsWell, RecvStream, SendStream};
use postern_protocol::wire::frame::SMALL;
use postern_protocol::wire::{Errand, Open, Opening, io};
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::io::{InspectReader, InspectWriter};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::agent::{Agent, Visitor};
use crate::config::{LocalService, SSH_PORT};
use crate::https::{Page, VisitStream, proxy_header};
use crate::shell::{Guest, Shell};
use crate::splice::{count, splice};
use crate::ssh::Server;
use crate::visits::Traffic;

/// The relay has the first message ready when it opens a stream.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a visit waits for the grants by which the relay decided.
const GRANTS_TIMEOUT: Duration = Duration::from_secs(2);

/// A service on the box or next to it answers in milliseconds or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The wall clock may jump and the clock that sleeps do not follow it, so sleeps are short.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// How long the agent's own server may take to end a visit that has lost its permit.
const FAREWELL: Duration = Duration::from_secs(1);

/// A visit's stream.
pub(crate) struct Stream {
    pub(crate) send: SendStream,
    pub(crate) recv: RecvStream,
}

/// A visit that may come in: whom it was let in as, and to what.
struct Admitted {
    visitor: Option<Visitor>,
    service: Service,
}

/// What a visit is connected to.
enum Service {
    Local(TcpStream),
    Page(Page),
    Shell(Arc<Shell>, Guest),
}

/// Serves one stream that the relay has opened.
pub(crate) async fn serve(agent: Arc<Agent>, mut stream: Stream) {
    let open = match hear(&mut stream.recv).await {
        Some(Errand::Visit(open)) => open,
        Some(Errand::Challenge { name }) => return agent.https.answer_challenge(&name, stream).await,
        None => return,
    };
    let span = tracing::info_span!("visit", id = %open.visit, access = %open.access, visitor = %open.visitor);
    visit(&agent, &open, stream).instrument(span).await;
}

async fn hear(from: &mut (impl AsyncRead + Unpin)) -> Option<Errand> {
    match timeout(OPEN_TIMEOUT, io::receive(from, SMALL)).await {
        Ok(Ok(errand)) => return Some(errand),
        Ok(Err(error)) => tracing::debug!(%error, "a stream without an errand"),
        Err(_) => tracing::debug!("a stream on which nothing was said"),
    }
    None
}

async fn visit(agent: &Arc<Agent>, open: &Open, mut stream: Stream) {
    let result = match admit(agent, open).await {
        Ok(admitted) => attend(agent, open, stream, admitted).await,
        Err(refusal) => turn_away(agent, open, &mut stream.send, refusal).await,
    };
    if let Err(error) = result {
        tracing::debug!(error = format!("{error:#}"), "the visit broke off");
    }
}

/// Decides, then connects; in this order, because only a permit opens a service.
async fn admit(agent: &Arc<Agent>, open: &Open) -> Result<Admitted, Refusal> {
    agent.consult_owner(open.port)?;
    agent.catch_up(open.revision, GRANTS_TIMEOUT).await;
    let visitor = agent.visitor(open.access);
    let permit = agent.judge(open, visitor.as_ref(), agent.clock.now())?;
    let service = connect(agent, open, visitor.as_ref(), &permit).await?;
    Ok(Admitted { visitor, service })
}

async fn connect(
    agent: &Arc<Agent>,
    open: &Open,
    visitor: Option<&Visitor>,
    permit: &Permit,
) -> Result<Service, Refusal> {
    let service = match (permit.port(), agent.ssh()) {
        (SSH_PORT, Server::Builtin(shell)) => {
            // Without a key there is nobody whom the agent's own server could believe.
            let visitor = visitor.ok_or(Refusal::DeniedByBox(Denial::WrongKey))?;
            return Ok(Service::Shell(shell, guest(agent, open, visitor)));
        }
        (SSH_PORT, Server::System(found)) => found.address.into(),
        (SSH_PORT, Server::Nothing) => return Err(Refusal::ServiceDown),
        (port, _) => agent.config.services.at(port).ok_or(Refusal::NotOffered { port })?,
    };
    if let Some(page) = agent.https.page(&agent.config.https, open, &service)? {
        return Ok(Service::Page(page));
    }
    dial(open, &service).await.map(Service::Local).map_err(|error| {
        tracing::debug!(address = %service.address, %error, "the service does not answer");
        Refusal::ServiceDown
    })
}

/// Connects to a service, and tells it who visits if it wants to know.
async fn dial(open: &Open, service: &LocalService) -> std::io::Result<TcpStream> {
    let mut connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(service.address)).await??;
    connected.set_nodelay(true)?;
    if service.proxy_protocol {
        connected.write_all(&proxy_header(open.visitor, service.address)).await?;
    }
    Ok(connected)
}

/// What the agent's own server must know of a visitor: whom to believe, and whether still.
fn guest(agent: &Arc<Agent>, open: &Open, visitor: &Visitor) -> Guest {
    let (of, asked, whom) = (agent.clone(), open.clone(), visitor.clone());
    let allowed = move || match of.judge(&asked, Some(&whom), of.clock.now()) {
        Ok(_) => Ok(()),
        Err(Refusal::DeniedByBox(denial)) => Err(denial),
        // The visit is about to be ended for another reason; until then nothing new begins.
        Err(_) => Err(Denial::UnknownAccess),
    };
    Guest {
        access: open.access,
        login: visitor.login.clone(),
        key: visitor.key.clone(),
        visitor: open.visitor,
        allowed: Arc::new(allowed),
        ended: agent.stopping.child_token(),
    }
}

/// Lets the visit in and watches over it until it ends or must end.
async fn attend(agent: &Agent, open: &Open, mut stream: Stream, admitted: Admitted) -> anyhow::Result<()> {
    io::send(&mut stream.send, &Opening::Opened).await.context("answering the relay")?;
    let ticket = agent.visits.enter(open, agent.clock.now());
    tracing::info!(port = open.port, "visit");
    let withdrawn = withdrawn(agent, open, admitted.visitor.as_ref());
    let sent_away = match admitted.service {
        Service::Local(service) => local(stream, service, &ticket.traffic, withdrawn).await?,
        Service::Page(page) => shown(stream, page, &ticket.traffic, withdrawn).await?,
        Service::Shell(shell, guest) => session(stream, &shell, guest, &ticket.traffic, withdrawn).await,
    };
    if let Some(refusal) = sent_away {
        tracing::info!(code = refusal.code(), "visit ended: {refusal}");
        agent.visits.refuse(open, &refusal, agent.clock.now());
    }
    Ok(())
}

/// A visit to a service on the box or next to it; why it was ended, unless it ended by itself.
async fn local(
    Stream { mut send, mut recv }: Stream,
    service: TcpStream,
    traffic: &Traffic,
    withdrawn: impl Future<Output = Refusal>,
) -> anyhow::Result<Option<Refusal>> {
    let refusal = tokio::select! {
        moved = splice(&mut recv, &mut send, service, traffic) => {
            if moved.is_err() {
                // What broke off must not look like what has said everything.
                send.break_off();
                recv.stop();
            }
            return moved.map(|()| None).context("moving bytes");
        }
        refusal = withdrawn => refusal,
    };
    send.break_off();
    recv.stop();
    Ok(Some(refusal))
}

/// A visit to a page whose TLS the agent ends; why it was ended, unless it ended by itself.
async fn shown(
    stream: Stream,
    page: Page,
    traffic: &Arc<Traffic>,
    withdrawn: impl Future<Output = Refusal>,
) -> anyhow::Result<Option<Refusal>> {
    let ended = CancellationToken::new();
    let _whatever_it_began = ended.clone().drop_guard();
    let stream = VisitStream::new(stream, traffic.clone(), ended.clone());
    let mut showing = pin!(page.show(stream, &ended));
    let refusal = tokio::select! {
        shown = &mut showing => return shown.map(|()| None),
        refusal = withdrawn => refusal,
    };
    // Before the stream goes, which looks for this to know how.
    ended.cancel();
    Ok(Some(refusal))
}

/// A visit to the agent's own SSH server; why it was ended, unless it ended by itself.
async fn session(
    Stream { send, recv }: Stream,
    shell: &Arc<Shell>,
    guest: Guest,
    traffic: &Arc<Traffic>,
    withdrawn: impl Future<Output = Refusal>,
) -> Option<Refusal> {
    let (inwards, outwards) = (traffic.clone(), traffic.clone());
    let recv = InspectReader::new(recv, move |bytes| count(&inwards.to_service, bytes.len()));
    let send = InspectWriter::new(EndsWell::new(send), move |bytes| count(&outwards.to_visitor, bytes.len()));
    let ended = guest.ended.clone();
    let session = shell.serve(tokio::io::join(recv, send), guest);
    tokio::pin!(session);
    let refusal = tokio::select! {
        () = &mut session => return None,
        refusal = withdrawn => refusal,
    };
    ended.cancel();
    let _gone_or_late = timeout(FAREWELL, session).await;
    Some(refusal)
}

/// Returns once the visit may not go on, and why.
async fn withdrawn(agent: &Agent, open: &Open, visitor: Option<&Visitor>) -> Refusal {
    let mut changes = agent.changes();
    loop {
        changes.mark_seen();
        let now = agent.clock.now();
        let permit = match agent.judge(open, visitor, now) {
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

async fn turn_away(agent: &Agent, open: &Open, to: &mut SendStream, refusal: Refusal) -> anyhow::Result<()> {
    tracing::info!(code = refusal.code(), port = open.port, "visit refused: {refusal}");
    agent.visits.refuse(open, &refusal, agent.clock.now());
    io::send(to, &Opening::Refused(refusal)).await.context("answering the relay")?;
    to.finish().await;
    Ok(())
}

#[cfg(test)]
mod tests;
