//! One tunnel: its control stream, for as long as the box is known here.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::stream::{Stream, StreamExt, unfold};
use postern_protocol::tunnel::{Connection, End, Probe, RecvStream, SendStream, Starvation, TICK, quic};
use postern_protocol::wire::frame::SMALL;
use postern_protocol::wire::greeting::{Greeting, update_sentence};
use postern_protocol::wire::io::{receive, receive_first, send};
use postern_protocol::wire::{Certificate, Goodbye, ToAgent, ToRelay, VERSION};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::tcp::Line;
use super::{Agents, PATIENCE, REFUSED};
use crate::api::ApiError;
use crate::identity::BoxIdentity;
use crate::registry::{Guest, Newcomer, Ticket};

/// How long a box has to take a last message.
const FAREWELL: Duration = Duration::from_secs(1);

/// Boxes come back within this after the relay said that it stops.
const RETURN_WITHIN: u32 = 10;

/// The closing code after a goodbye.
const FAREWELL_SAID: u32 = 2;

/// A box that was welcomed, and what to talk to it by.
pub(super) struct Welcomed {
    identity: BoxIdentity,
    ticket: Ticket,
    to_box: SendStream,
    from_box: RecvStream,
}

/// Goes through the first messages; whoever has no good ones is sent away.
pub(super) async fn welcome(
    agents: &Agents,
    connection: Connection,
    identity: BoxIdentity,
    line: Option<Line>,
) -> Option<Welcomed> {
    let greeted = timeout(PATIENCE, greet(agents, &connection, identity, line)).await.ok().flatten();
    if greeted.is_none() {
        connection.close(REFUSED, "no good hello");
    }
    greeted
}

impl Welcomed {
    /// Serves the tunnel to its last message. There are thousands of these that wait, so what they rarely do is in
    /// boxes, which take no room until then, and what they keep stays where it is.
    #[expect(clippy::manual_async_fn, reason = "an async fn would have room for what it is given twice")]
    pub(super) fn serve(mut self, agents: Arc<Agents>) -> impl Future<Output = ()> {
        async move {
            let Self { identity, ticket, to_box, from_box } = &mut self;
            let (device, guest) = (identity.device, &ticket.guest);
            tracing::info!(%device, over = ?guest.connection.transport(), "a box is here");
            let starved = Notify::new();
            let farewell = tokio::select! {
                farewell = converse(&agents, identity, ticket, &starved, (to_box, from_box)) => farewell,
                () = probe(guest, &starved) => None,
                () = guest.connection.closed() => None,
            };
            let connection = guest.connection.clone();
            drop(self.ticket);
            if let Some(goodbye) = &farewell {
                let _ = Box::pin(timeout(FAREWELL, say_goodbye(&mut self.to_box, goodbye))).await;
            }
            tracing::info!(%device, ?farewell, "a box is gone");
            connection.close(FAREWELL_SAID, "");
        }
    }
}

/// The first messages: who the box is was proved by its certificate, so it is told what is wrong.
async fn greet(
    agents: &Agents,
    connection: &Connection,
    identity: BoxIdentity,
    line: Option<Line>,
) -> Option<Welcomed> {
    let (mut to_box, mut from_box) = connection.accept().await.ok()?;
    let newcomer = match receive_first::<_, ToRelay>(&mut from_box, SMALL).await.ok()? {
        Greeting::Same(ToRelay::Hello { facts, why_tcp, beside, metered, .. }) => {
            if let Some(line) = line.filter(|_| metered) {
                line.spare();
            }
            Newcomer { device: identity.device, connection: connection.clone(), facts, why_tcp, beside }
        }
        Greeting::Same(_) => return None,
        Greeting::Foreign { version } => {
            let sentence = update_sentence(version, VERSION);
            let _ = say_goodbye(&mut to_box, &Goodbye::Version { sentence }).await;
            return None;
        }
    };
    if !agents.rulebook.is_enrolled(identity.device, &identity.key) {
        let _ = say_goodbye(&mut to_box, &Goodbye::NotKnown).await;
        return None;
    }
    newcomer.facts.check().ok()?;
    let (relay, web) = (agents.relay, agents.web.clone());
    let welcome = ToAgent::Welcome { version: VERSION, relay, now: Utc::now(), web };
    send(&mut to_box, &welcome).await.ok()?;
    Some(Welcomed { identity, ticket: agents.registry.enter(newcomer), to_box, from_box })
}

/// Talks until the box leaves, or there is a reason to say goodbye.
async fn converse(
    agents: &Agents,
    identity: &BoxIdentity,
    ticket: &Ticket,
    starved: &Notify,
    (to_box, from_box): (&mut SendStream, &mut RecvStream),
) -> Option<Goodbye> {
    let mut messages = pin!(messages(from_box));
    let mut rules = agents.rulebook.reading();
    let mut renewals = JoinSet::new();
    let mut sent = None;
    loop {
        rules.mark_read();
        if !agents.rulebook.is_enrolled(identity.device, &identity.key) {
            return Some(Goodbye::NotKnown);
        }
        // A tunnel that was succeeded is heard no more.
        if !ticket.guest.is_succeeded() {
            Box::pin(send_grants(agents, identity, to_box, &mut sent)).await.ok()?;
        }
        tokio::select! {
            () = rules.changed() => {}
            message = messages.next() => match *message? {
                ToRelay::WhereAmI => {
                    let address = ticket.guest.connection.remote_address();
                    tell(to_box, &ToAgent::Seen { address }).await.ok()?;
                }
                message @ (ToRelay::Hello { .. }
                | ToRelay::Facts(_)
                | ToRelay::Holding { .. }
                | ToRelay::Renew { .. }) => hear(agents, ticket, &mut renewals, message)?,
            },
            Some(renewed) = renewals.join_next() => Box::pin(hand_over(to_box, renewed.ok()?)).await.ok()?,
            () = starved.notified() => tell(to_box, &ToAgent::Starved).await.ok()?,
            () = ticket.guest.gave_way() => return Some(Goodbye::Displaced),
            () = left_empty(agents, &ticket.guest) => {
                return Some(Goodbye::Draining { within_seconds: RETURN_WITHIN });
            }
        }
    }
}

/// Returns once the relay stops and nobody is inside the box any more.
async fn left_empty(agents: &Agents, guest: &Guest) {
    agents.closing.cancelled().await;
    guest.empty().await;
}

/// Sends the box its document, unless it was sent already.
async fn send_grants(
    agents: &Agents,
    identity: &BoxIdentity,
    to_box: &mut SendStream,
    sent: &mut Option<(u64, DateTime<Utc>)>,
) -> std::io::Result<()> {
    let Some((document, place)) = agents.rulebook.document(identity.device, *sent) else { return Ok(()) };
    *sent = Some(place);
    tell(to_box, &ToAgent::Grants(document)).await
}

async fn tell(to_box: &mut SendStream, message: &ToAgent) -> std::io::Result<()> {
    match Box::pin(timeout(PATIENCE, send(to_box, message))).await {
        Ok(sent) => sent,
        Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
    }
}

/// What a box says; none if it makes no sense, which ends the tunnel.
fn hear(agents: &Agents, ticket: &Ticket, renewals: &mut Renewals, message: ToRelay) -> Option<()> {
    match message {
        ToRelay::Hello { .. } | ToRelay::WhereAmI => return None,
        ToRelay::Facts(facts) => {
            facts.check().ok()?;
            ticket.learn(facts);
        }
        ToRelay::Holding { revision } => ticket.holds(revision),
        // One at a time, and beside everything else: a slow API must not hold up the box's rules.
        ToRelay::Renew { csr } if renewals.is_empty() => {
            let (api, device) = (agents.api.clone(), ticket.guest.device);
            renewals.spawn(async move { api.renew(device, &csr).await });
        }
        ToRelay::Renew { .. } => {}
    }
    Some(())
}

/// The certificate that a box asked for, on its way.
type Renewals = JoinSet<Result<Certificate, ApiError>>;

async fn hand_over(to_box: &mut SendStream, renewed: Result<Certificate, ApiError>) -> std::io::Result<()> {
    match renewed {
        Ok(certificate) => tell(to_box, &ToAgent::Certificate(certificate)).await,
        // The box asks again; it has weeks.
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "a certificate was not renewed");
            Ok(())
        }
    }
}

/// What a box says, until it says no more. To receive a message is not cancel-safe, to wait for the next here is.
fn messages(from_box: &mut RecvStream) -> impl Stream<Item = Box<ToRelay>> {
    unfold(from_box, async |from_box| {
        let message = receive(from_box, SMALL).await.ok()?;
        Some((Box::new(message), from_box))
    })
}

async fn say_goodbye(to_box: &mut SendStream, goodbye: &Goodbye) -> std::io::Result<()> {
    send(to_box, &ToAgent::Goodbye(goodbye.clone())).await?;
    to_box.finish().await;
    // Closing now would take back what is on its way.
    to_box.delivered().await;
    Ok(())
}

/// While visits are open, makes sure that an outage is over as soon as it is over, and notices a path that
/// carries next to nothing.
async fn probe(guest: &Guest, starved: &Notify) {
    // TCP has its own ways.
    let Some(connection) = guest.connection.quic() else { return std::future::pending().await };
    loop {
        guest.visited().await;
        Box::pin(probe_while_visited(guest, connection, starved)).await;
    }
}

async fn probe_while_visited(guest: &Guest, connection: &quic::Connection, starved: &Notify) {
    let now = std::time::Instant::now();
    let (mut probe, mut starvation) = (Probe::new(End::Listened, now), Starvation::new(now));
    while guest.has_visits() {
        tokio::time::sleep(TICK).await;
        let (stats, now) = (connection.stats(), std::time::Instant::now());
        if starvation.shows(stats.udp_tx.bytes, stats.path.lost_packets, now) {
            starved.notify_one();
        }
        connection.probe_if_due(&mut probe, now);
    }
}
