//! One tunnel, from the first word to the last: what the box says, what it hears, who comes in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use chrono::{DateTime, TimeDelta, Utc};
use postern_protocol::id::RelayId;
use postern_protocol::wire::frame::LARGE;
use postern_protocol::wire::greeting::{Greeting, update_sentence};
use postern_protocol::wire::io::{receive, receive_first, send};
use postern_protocol::wire::{BoxFacts, Goodbye, ToAgent, ToRelay, VERSION};
use quinn::{Connection, ConnectionError, RecvStream, SendStream};
use sd_notify::NotifyState;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use super::path;
use super::{Dialled, Parted, Standing, dial};
use crate::agent::Agent;
use crate::serve::{Stream, serve};
use crate::{tell_service_manager, trust};

/// A relay that has accepted a connection says at once whether it knows the box.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);

/// How often to look whether the certificate is due for renewal.
const RENEWAL_CHECK: Duration = Duration::from_secs(60);

/// How long to wait for a renewed certificate before asking again.
const RENEWAL_RETRY: TimeDelta = TimeDelta::minutes(10);

/// Visits have been told to end; then the tunnel closes under them.
const FAREWELL: Duration = Duration::from_secs(2);

/// QUIC's codes for TLS alerts (RFC 9001, section 4.8).
const TLS_ALERTS: std::ops::Range<u64> = 0x100..0x200;

/// Holds a tunnel to this relay for as long as it lasts.
pub(super) async fn hold(agent: &Arc<Agent>, relay: &str) -> Parted {
    let dialled = tokio::select! {
        dialled = reach(agent, relay) => dialled,
        () = agent.stopping.cancelled() => return Parted::Stopping,
    };
    let dialled = match dialled {
        Ok(dialled) => dialled,
        Err(error) => return Parted::Unreachable(error),
    };
    let entered = tokio::select! {
        entered = enter(agent, &dialled.connection) => entered,
        () = agent.stopping.cancelled() => return Parted::Stopping,
    };
    let parted = match entered {
        Ok(Entered::Welcome(control)) => stay(agent, relay, &dialled, *control).await,
        Ok(Entered::Dismissed(goodbye)) => Parted::Dismissed(goodbye),
        Err(error) => Parted::Unreachable(explain(&dialled.connection, error)),
    };
    dialled.close().await;
    parted
}

/// TLS 1.3 lets the relay look at the box's certificate only after the box has begun to talk.
fn explain(connection: &Connection, error: anyhow::Error) -> anyhow::Error {
    match connection.close_reason() {
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
    let tls = trust::tunnel(&agent.member()).context("preparing TLS")?;
    Ok(dial(relay, tls, &agent.config.network.interfaces).await?)
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

async fn enter(agent: &Agent, connection: &Connection) -> anyhow::Result<Entered> {
    let (mut to, mut from) = connection.open_bi().await.context("opening the control stream")?;
    let facts = agent.facts();
    let hello = ToRelay::Hello { version: VERSION, facts: facts.clone() };
    send(&mut to, &hello).await.context("introducing the box")?;
    let answer = timeout(WELCOME_TIMEOUT, receive_first(&mut from, LARGE)).await;
    match answer.context("the relay says nothing")?.context("waiting for the relay's welcome")? {
        Greeting::Same(ToAgent::Welcome { relay, web, .. }) => {
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

/// Does all that is done over a tunnel, until it ends.
async fn stay(agent: &Arc<Agent>, relay: &str, dialled: &Dialled, control: Control) -> Parted {
    let (began, connection) = (Instant::now(), &dialled.connection);
    tracing::info!(relay, id = %control.relay, "connected");
    tell_service_manager(NotifyState::Status(&format!("connected to {relay}")));
    agent.standing.send_replace(Standing::Up {
        since: Utc::now(),
        address: relay.to_owned(),
        relay: control.relay,
        connection: connection.clone(),
        way: dialled.watch_way(),
    });
    let Control { send, mut recv, said, .. } = control;
    let visits = TaskTracker::new();
    // Side by side; whichever ends first ends the others.
    let ended = tokio::select! {
        ended = listen(agent, &mut recv) => ended,
        ended = speak(agent, send, said) => ended.map(|never| match never {}),
        ended = admit(agent, connection, &visits) => ended.map(|never| match never {}),
        never = path::keep(agent, dialled) => match never {},
        () = agent.stopping.cancelled() => {
            finish(&visits, FAREWELL).await;
            return Parted::Stopping;
        }
    };
    match ended {
        Ok(goodbye) => {
            if let Goodbye::Draining { within_seconds } = goodbye {
                drain(agent, &mut recv, &visits, Duration::from_secs(within_seconds.into())).await;
            }
            Parted::Dismissed(goodbye)
        }
        Err(why) => Parted::Lost { stood: began.elapsed(), why },
    }
}

/// Nobody new comes in; who is inside may finish, and the relay still says who may not.
async fn drain(agent: &Agent, from: &mut RecvStream, visits: &TaskTracker, window: Duration) {
    tokio::select! {
        () = finish(visits, window) => {}
        _ = listen(agent, from) => {}
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
async fn listen(agent: &Agent, from: &mut RecvStream) -> anyhow::Result<Goodbye> {
    loop {
        match receive(from, LARGE).await.context("the tunnel was lost")? {
            ToAgent::Grants(signed) => {
                if let Err(rejected) = agent.holder.accept(signed).await {
                    tracing::warn!("grants not taken: {rejected}");
                }
            }
            ToAgent::Certificate(issued) => match agent.renew(issued) {
                Ok(()) => tracing::info!("the box's certificate was renewed"),
                Err(error) => tracing::warn!(error = format!("{error:#}"), "a certificate was not taken"),
            },
            ToAgent::Goodbye(goodbye) => return Ok(goodbye),
            ToAgent::Welcome { .. } => bail!("the relay introduced itself twice"),
        }
    }
}

/// Tells the relay whatever changes: what the box is, what it enforces, that it needs a certificate.
async fn speak(agent: &Agent, mut to: SendStream, mut said: BoxFacts) -> Unending {
    let (mut handed, mut ssh) = (agent.handed.subscribe(), agent.ssh.subscribe());
    let (mut paused, mut https) = (agent.pause.watch(), agent.https.standing.subscribe());
    let mut held = 0;
    let mut asked = None;
    loop {
        ssh.mark_unchanged();
        paused.mark_unchanged();
        https.mark_unchanged();
        let revision = handed.borrow_and_update().revision;
        if revision > held {
            tell(&mut to, &ToRelay::Holding { revision }).await?;
            held = revision;
        }
        let facts = agent.facts();
        if facts != said {
            tell(&mut to, &ToRelay::Facts(facts.clone())).await?;
            said = facts;
        }
        if let Some(csr) = renewal(agent, asked, Utc::now())? {
            tell(&mut to, &ToRelay::Renew { csr }).await?;
            asked = Some(Utc::now());
        }
        // Their senders live in the agent and cannot go before this.
        tokio::select! {
            _ = handed.changed() => {}
            _ = ssh.changed() => {}
            _ = paused.changed() => {}
            _ = https.changed() => {}
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
        let accepted = connection.accept_bi().await;
        let (send, recv) = accepted.map_err(|error| anyhow!(error)).context("the tunnel was lost")?;
        visits.spawn(serve(agent.clone(), Stream { send, recv }));
    }
}
