//! One tunnel: its control stream, for as long as the box is known here.

use std::time::Duration;

use chrono::{DateTime, Utc};
use postern_protocol::tunnel::{Connection, End, Link, Probe, RecvStream, SendStream, Starvation, TICK};
use postern_protocol::wire::frame::SMALL;
use postern_protocol::wire::greeting::{Greeting, update_sentence};
use postern_protocol::wire::io::{receive, receive_first, send};
use postern_protocol::wire::{Certificate, Goodbye, ToAgent, ToRelay, VERSION};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::tcp::Line;
use super::{Agents, PATIENCE, REFUSED};
use crate::admission::Place;
use crate::api::ApiError;
use crate::identity::BoxIdentity;
use crate::registry::{Guest, Newcomer, Ticket};

/// How long a box has to take a last message.
const FAREWELL: Duration = Duration::from_secs(1);

/// Boxes come back within this after the relay said that it stops.
const RETURN_WITHIN: u32 = 10;

/// Messages of a box that wait to be looked at. They wait in boxes of their own: a channel has room for dozens
/// from the beginning, and an idle box sends none.
const INBOX: usize = 4;

/// The closing code after a goodbye.
const FAREWELL_SAID: u32 = 2;

/// Serves one tunnel from its first message to its last.
pub(super) async fn serve(
    agents: &Agents,
    connection: Connection,
    identity: BoxIdentity,
    (place, line): (Place, Option<Line>),
) {
    let greeted = timeout(PATIENCE, greet(agents, &connection, identity, line)).await;
    drop(place);
    let Ok(Some((mut to_box, from_box, newcomer))) = greeted else {
        connection.close(REFUSED, "no good hello");
        return;
    };
    let ticket = agents.registry.enter(newcomer);
    tracing::info!(device = %identity.device, over = ?connection.transport(), "a box is here");
    let (ended, starved) = (connection.clone(), Notify::new());
    let probing = probe(&ticket.guest, &starved);
    let farewell = tokio::select! {
        farewell = converse(agents, identity, &ticket, &starved, (&mut to_box, from_box)) => farewell,
        () = probing => None,
        () = ended.closed() => None,
    };
    drop(ticket);
    if let Some(goodbye) = &farewell {
        let _ = timeout(FAREWELL, say_goodbye(&mut to_box, goodbye)).await;
    }
    tracing::info!(device = %identity.device, ?farewell, "a box is gone");
    connection.close(FAREWELL_SAID, "");
}

/// The first messages: who the box is was proved by its certificate, so it is told what is wrong.
async fn greet(
    agents: &Agents,
    connection: &Connection,
    identity: BoxIdentity,
    line: Option<Line>,
) -> Option<(SendStream, RecvStream, Newcomer)> {
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
    Some((to_box, from_box, newcomer))
}

/// Talks until the box leaves, or there is a reason to say goodbye.
async fn converse(
    agents: &Agents,
    identity: BoxIdentity,
    ticket: &Ticket,
    starved: &Notify,
    (to_box, from_box): (&mut SendStream, RecvStream),
) -> Option<Goodbye> {
    let (inbox, mut messages) = mpsc::channel(INBOX);
    // Receiving a message is not cancel-safe, so it has a task of its own, which ends with the stream.
    let reading = tokio::spawn(read(from_box, inbox));
    let _reading = AbortOnDrop(reading);
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
            send_grants(agents, identity, to_box, &mut sent).await.ok()?;
        }
        tokio::select! {
            () = rules.changed() => {}
            message = messages.recv() => match *message? {
                ToRelay::WhereAmI => {
                    let address = ticket.guest.connection.remote_address();
                    tell(to_box, &ToAgent::Seen { address }).await.ok()?;
                }
                message @ (ToRelay::Hello { .. }
                | ToRelay::Facts(_)
                | ToRelay::Holding { .. }
                | ToRelay::Renew { .. }) => hear(agents, ticket, &mut renewals, message)?,
            },
            Some(renewed) = renewals.join_next() => hand_over(to_box, renewed.ok()?).await.ok()?,
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
    identity: BoxIdentity,
    to_box: &mut SendStream,
    sent: &mut Option<(u64, DateTime<Utc>)>,
) -> std::io::Result<()> {
    let Some((document, place)) = agents.rulebook.document(identity.device, *sent) else { return Ok(()) };
    *sent = Some(place);
    tell(to_box, &ToAgent::Grants(document)).await
}

async fn tell(to_box: &mut SendStream, message: &ToAgent) -> std::io::Result<()> {
    match timeout(PATIENCE, send(to_box, message)).await {
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

async fn read(mut from_box: RecvStream, inbox: mpsc::Sender<Box<ToRelay>>) {
    while let Ok(message) = receive(&mut from_box, SMALL).await {
        if inbox.send(Box::new(message)).await.is_err() {
            return;
        }
    }
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
        let now = std::time::Instant::now();
        let (mut probe, mut starvation) = (Probe::new(End::Listened, now), Starvation::new(now));
        while guest.has_visits() {
            tokio::time::sleep(TICK).await;
            let Some(link) = Link::of(connection.congestion_state()) else { continue };
            let (stats, now) = (connection.stats(), std::time::Instant::now());
            if starvation.shows(stats.udp_tx.bytes, stats.path.lost_packets, now) {
                starved.notify_one();
            }
            if probe.is_due(&link, stats.udp_rx.datagrams, now) {
                link.permit_probe();
                let _ = connection.send_datagram(bytes::Bytes::from_static(&[0]));
            }
        }
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
