//! One tunnel, from the first word to the last: what the box says, what it hears, who comes in.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use chrono::{DateTime, TimeDelta, Utc};
use postern_protocol::id::RelayId;
use postern_protocol::tunnel::{Connection, RecvStream, SendStream, quic};
use postern_protocol::wire::frame::LARGE;
use postern_protocol::wire::greeting::{Greeting, update_sentence};
use postern_protocol::wire::io::{receive, receive_first, send};
use postern_protocol::wire::{BoxFacts, Goodbye, ToAgent, ToRelay, VERSION};
use quinn_proto::ConnectionError;
use sd_notify::NotifyState;
use tokio::sync::{Notify, oneshot};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use super::{Dialled, Parted, Standing, dial, path, transport};
use crate::agent::Agent;
use crate::grants::Rejected;
use crate::serve::{Stream, serve};
use crate::tell_service_manager;

/// A relay that has accepted a connection says at once whether it knows the box.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);

/// How often to look whether the certificate is due for renewal.
const RENEWAL_CHECK: Duration = Duration::from_secs(60);

/// How long to wait for a renewed certificate before asking again.
const RENEWAL_RETRY: TimeDelta = TimeDelta::minutes(10);

/// After the relay has not welcomed a tunnel over another transport.
const NEXT_SUCCESSOR: Duration = Duration::from_secs(60);

/// Visits have been told to end; then the tunnel closes under them.
const FAREWELL: Duration = Duration::from_secs(2);

/// QUIC's codes for TLS alerts (RFC 9001, section 4.8).
const TLS_ALERTS: std::ops::Range<u64> = 0x100..0x200;

/// Holds a tunnel to this relay for as long as it lasts; when another takes its place, that one.
pub(super) async fn hold(agent: &Arc<Agent>, relay: &str) -> Parted {
    let established = tokio::select! {
        established = establish(agent, relay) => established,
        () = agent.stopping.cancelled() => return Parted::Stopping,
    };
    let mut tunnel = match established {
        Ok(tunnel) => tunnel,
        Err(parted) => return parted,
    };
    loop {
        let (hand_over, mut successor) = oneshot::channel();
        // A task of its own: it lives on with its visits when another has taken its place.
        let mut staying = tokio::spawn(stay(agent.clone(), relay.to_owned(), tunnel, hand_over));
        tokio::select! {
            // When both are there, this one was first.
            biased;
            Ok(next) = &mut successor => tunnel = next,
            parted = &mut staying => {
                return parted.unwrap_or_else(|panic| Parted::Unreachable(anyhow::Error::new(panic)));
            }
        }
    }
}

/// A connection on which both sides have introduced themselves.
struct Tunnel {
    dialled: Dialled,
    control: Control,
}

async fn establish(agent: &Agent, relay: &str) -> Result<Tunnel, Parted> {
    let dialled = reach(agent, relay).await.map_err(Parted::Unreachable)?;
    let parted = match enter(agent, &dialled, false).await {
        Ok(Entered::Welcome(control)) => return Ok(Tunnel { dialled, control: *control }),
        Ok(Entered::Dismissed(goodbye)) => Parted::Dismissed(goodbye),
        Err(error) => Parted::Unreachable(explain(&dialled.connection, error)),
    };
    dialled.close().await;
    Err(parted)
}

/// Waits until another transport is better, and the relay welcomes the box there as well.
async fn establish_beside(agent: &Agent, relay: &str, present: &Dialled) -> Tunnel {
    loop {
        let dialled = transport::better(agent, relay, present).await;
        match enter(agent, &dialled, true).await {
            Ok(Entered::Welcome(control)) => return Tunnel { dialled, control: *control },
            Ok(Entered::Dismissed(goodbye)) => tracing::debug!(?goodbye, "not over another transport"),
            Err(error) => tracing::debug!("not over another transport: {error:#}"),
        }
        dialled.close().await;
        sleep(NEXT_SUCCESSOR).await;
    }
}

/// TLS 1.3 lets the relay look at the box's certificate only after the box has begun to talk.
fn explain(connection: &Connection, error: anyhow::Error) -> anyhow::Error {
    match connection.quic().and_then(quic::Connection::close_reason) {
        Some(ConnectionError::ConnectionClosed(close)) if TLS_ALERTS.contains(&close.error_code.into()) => {
            anyhow!(
                "the relay does not accept this box's certificate ({}); if it has expired or the box was \
                 deleted, make the box join again: postern-agent join --force …",
                close.error_code
            )
        }
        _ => error,
    }
}

async fn reach(agent: &Agent, relay: &str) -> anyhow::Result<Dialled> {
    let tls = agent.tls().context("preparing TLS")?;
    Ok(dial(relay, tls, &agent.config.network).await?)
}

/// The relay's first word.
enum Entered {
    Welcome(Box<Control>),
    Dismissed(Goodbye),
}

/// The control stream, once both sides have introduced themselves.
struct Control {
    relay: RelayId,
    send: SendStream,
    recv: RecvStream,
    said: BoxFacts,
}

async fn enter(agent: &Agent, dialled: &Dialled, beside: bool) -> anyhow::Result<Entered> {
    let (mut to, mut from) = dialled.connection.open().await.context("opening the control stream")?;
    let facts = agent.facts();
    let (why_tcp, metered) = (dialled.why_tcp(), agent.config.network.metered);
    let hello = ToRelay::Hello { version: VERSION, facts: facts.clone(), why_tcp, beside, metered };
    send(&mut to, &hello).await.context("introducing the box")?;
    let answer = timeout(WELCOME_TIMEOUT, receive_first(&mut from, LARGE)).await;
    match answer.context("the relay says nothing")?.context("waiting for the relay's welcome")? {
        Greeting::Same(ToAgent::Welcome { relay, now, web, .. }) => {
            agent.clock.believe(now, dialled.shown)?;
            agent.https.front.send_replace(web);
            Ok(Entered::Welcome(Box::new(Control { relay, send: to, recv: from, said: facts })))
        }
        Greeting::Same(ToAgent::Goodbye(goodbye)) => Ok(Entered::Dismissed(goodbye)),
        Greeting::Same(_) => bail!("the relay did not introduce itself"),
        Greeting::Foreign { version } => {
            Ok(Entered::Dismissed(Goodbye::Version { sentence: update_sentence(VERSION, version) }))
        }
    }
}

/// Does all that is done over a tunnel, until it ends; and hands over to another that has taken its place.
async fn stay(
    agent: Arc<Agent>,
    relay: String,
    tunnel: Tunnel,
    hand_over: oneshot::Sender<Tunnel>,
) -> Parted {
    let Tunnel { dialled, control } = tunnel;
    announce(&agent, &relay, &dialled, control.relay);
    let succeeding = establish_beside(&agent, &relay, &dialled);
    let parted = until_the_end(work(&agent, &dialled, control), succeeding, |successor: Tunnel| {
        tracing::info!(over = ?successor.dialled.connection.transport(), "another tunnel takes over");
        // Nobody waits for it when the agent stops.
        drop(hand_over.send(successor));
    })
    .await;
    dialled.close().await;
    parted
}

/// Lets a tunnel work until it ends, and hands over to its successor as soon as that stands.
async fn until_the_end<T>(
    working: impl Future<Output = Parted>,
    succeeding: impl Future<Output = T>,
    hand_over: impl FnOnce(T),
) -> Parted {
    let (mut working, mut succeeding) = (pin!(working), pin!(succeeding));
    tokio::select! {
        parted = &mut working => {
            // The relay welcomes the successor and says goodbye here over different connections: the goodbye
            // may be the first to arrive, and would be taken for that of another copy of this box.
            if let Parted::Dismissed(Goodbye::Displaced) = parted
                && let Ok(successor) = timeout(WELCOME_TIMEOUT, succeeding).await
            {
                hand_over(successor);
            }
            parted
        }
        successor = &mut succeeding => {
            hand_over(successor);
            working.await
        }
    }
}

fn announce(agent: &Agent, relay: &str, dialled: &Dialled, id: RelayId) {
    tracing::info!(relay, %id, over = ?dialled.connection.transport(), why = dialled.story(), "connected");
    tell_service_manager(NotifyState::Status(&format!("connected to {relay}")));
    agent.standing.send_replace(Standing::Up {
        since: agent.clock.now(),
        address: relay.to_owned(),
        relay: id,
        connection: dialled.connection.clone(),
        why_tcp: dialled.story().map(str::to_owned),
        way: dialled.watch_way(),
    });
}

async fn work(agent: &Arc<Agent>, dialled: &Dialled, control: Control) -> Parted {
    let began = Instant::now();
    let Control { send, mut recv, said, .. } = control;
    let visits = TaskTracker::new();
    // Side by side; whichever ends first ends the others.
    let ended = tokio::select! {
        ended = listen(agent, &mut recv, dialled) => ended,
        ended = speak(agent, send, said, &dialled.question) => ended.map(|never| match never {}),
        ended = admit(agent, &dialled.connection, &visits) => ended.map(|never| match never {}),
        why = path::keep(agent, dialled) => Err(why),
        () = agent.stopping.cancelled() => {
            finish(&visits, FAREWELL).await;
            return Parted::Stopping;
        }
    };
    match ended {
        Ok(goodbye) => {
            if let Goodbye::Draining { within_seconds } = goodbye {
                let window = Duration::from_secs(within_seconds.into());
                drain(agent, &mut recv, dialled, (&visits, window)).await;
            }
            Parted::Dismissed(goodbye)
        }
        Err(why) => Parted::Lost { stood: began.elapsed(), why },
    }
}

/// Nobody new comes in; who is inside may finish, and the relay still says who may not.
async fn drain(
    agent: &Agent,
    from: &mut RecvStream,
    dialled: &Dialled,
    (visits, window): (&TaskTracker, Duration),
) {
    tokio::select! {
        () = finish(visits, window) => {}
        _ = listen(agent, from, dialled) => {}
        () = agent.stopping.cancelled() => {}
    }
}

async fn finish(visits: &TaskTracker, patience: Duration) {
    visits.close();
    let _in_time = timeout(patience, visits.wait()).await;
}

/// What can only end in an error.
type Unending = anyhow::Result<std::convert::Infallible>;

/// Hears the relay out, until it says goodbye.
async fn listen(agent: &Agent, from: &mut RecvStream, dialled: &Dialled) -> anyhow::Result<Goodbye> {
    loop {
        match receive(from, LARGE).await.context("the tunnel was lost")? {
            ToAgent::Grants(signed) => match agent.accept(signed).await {
                Ok(()) => {}
                // Every new tunnel begins with the document that the relay has.
                Err(known @ Rejected::NotNewer(_)) => tracing::debug!("grants not taken: {known}"),
                Err(rejected) => tracing::warn!("grants not taken: {rejected}"),
            },
            ToAgent::Certificate(issued) => match agent.renew(issued) {
                Ok(()) => tracing::info!("the box's certificate was renewed"),
                Err(error) => tracing::warn!(error = format!("{error:#}"), "a certificate was not taken"),
            },
            ToAgent::Starved => dialled.starved.notify_one(),
            ToAgent::Seen { address } => _ = dialled.seen.send_replace(Some(address)),
            ToAgent::Goodbye(goodbye) => return Ok(goodbye),
            ToAgent::Welcome { .. } => bail!("the relay introduced itself twice"),
        }
    }
}

/// Tells the relay whatever changes: what the box is, what it enforces, that it needs a certificate.
async fn speak(agent: &Agent, mut to: SendStream, mut said: BoxFacts, question: &Notify) -> Unending {
    let (mut handed, mut ssh) = (agent.handed.subscribe(), agent.ssh.subscribe());
    let (mut paused, mut https) = (agent.pause.watch(), agent.https.standing.subscribe());
    let mut decisions = agent.approvals.watch();
    let mut held = 0;
    let mut asked = None;
    loop {
        ssh.mark_unchanged();
        paused.mark_unchanged();
        https.mark_unchanged();
        decisions.mark_unchanged();
        let revision = handed.borrow_and_update().revision;
        // First what the owner says of the accesses, then that they are there: an access that waits for
        // approval is at no moment taken for one that works.
        let facts = agent.facts();
        if facts != said {
            tell(&mut to, &ToRelay::Facts(facts.clone())).await?;
            said = facts;
        }
        if revision > held {
            tell(&mut to, &ToRelay::Holding { revision }).await?;
            held = revision;
        }
        if let Some(csr) = renewal(agent, asked, agent.clock.now())? {
            tell(&mut to, &ToRelay::Renew { csr }).await?;
            asked = Some(agent.clock.now());
        }
        // Their senders live in the agent and cannot go before this.
        tokio::select! {
            _ = handed.changed() => {}
            _ = ssh.changed() => {}
            _ = paused.changed() => {}
            _ = https.changed() => {}
            () = question.notified() => tell(&mut to, &ToRelay::WhereAmI).await?,
            _ = decisions.changed() => {}
            () = sleep(RENEWAL_CHECK) => {}
        }
    }
}

async fn tell(to: &mut SendStream, message: &ToRelay) -> anyhow::Result<()> {
    send(to, message).await.context("the tunnel was lost")
}

/// The request for a certificate, if one is due and was not asked for lately.
fn renewal(
    agent: &Agent,
    asked: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> anyhow::Result<Option<Vec<u8>>> {
    let member = agent.member();
    let due = member.validity()?.renewal() <= now;
    // A clock that was turned back counts as a long time.
    let lately = asked.is_some_and(|asked| (TimeDelta::zero()..RENEWAL_RETRY).contains(&(now - asked)));
    (due && !lately).then(|| member.key.signing_request()).transpose()
}

/// Lets visits in; how many at once, the connection's settings bound.
async fn admit(agent: &Arc<Agent>, connection: &Connection, visits: &TaskTracker) -> Unending {
    loop {
        let (send, recv) = connection.accept().await.context("the tunnel was lost")?;
        visits.spawn(serve(agent.clone(), Stream { send, recv }));
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::task::yield_now;

    use super::*;

    /// Whether a tunnel that ends like this hands over to a successor that stands a moment later.
    async fn hands_over(parted: Parted) -> bool {
        let mut handed_over = false;
        until_the_end(ready(parted), yield_now(), |()| handed_over = true).await;
        handed_over
    }

    #[tokio::test]
    async fn a_goodbye_that_overtakes_the_successors_welcome_is_no_displacement() {
        assert!(hands_over(Parted::Dismissed(Goodbye::Displaced)).await);
    }

    #[tokio::test]
    async fn whoever_is_dismissed_for_another_reason_waits_for_no_successor() {
        for parted in [Parted::Stopping, Parted::Dismissed(Goodbye::NotKnown)] {
            assert!(!hands_over(parted).await);
        }
    }

    #[tokio::test]
    async fn a_tunnel_works_on_beside_its_successor() {
        let mut handed_over = false;
        let ended = until_the_end(pending(), ready(()), |()| handed_over = true);
        assert!(timeout(Duration::from_millis(10), ended).await.is_err());
        assert!(handed_over);
    }
}
