//! Dial out, stay connected: one tunnel at a time, to the first relay that answers.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use postern_protocol::id::RelayId;
use postern_protocol::tunnel::Connection;
use postern_protocol::wire::Goodbye;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::agent::Agent;
use crate::backoff::{Backoff, SILENT, SLOW, USUAL, share};
use crate::network::{Way, outlook};

mod dial;
mod keep_alive;
mod over_tcp;
mod path;
mod proxy;
mod race;
mod transport;
mod tunnel;

pub(crate) use dial::{DialError, Dialled, dial};

/// A tunnel that held so long was a success.
const HELD: Duration = Duration::from_secs(10);

/// The longest window over which a stopping relay may spread its boxes' return.
const LONGEST_WINDOW: Duration = Duration::from_secs(600);

/// The longest wait before going from a stopping relay to another.
const ELSEWHERE: Duration = Duration::from_secs(2);

/// Two copies of one box would take the tunnel from each other for ever; each waits at least this.
const DISPLACED: Duration = Duration::from_secs(60);

/// How the tunnel stands, for the owner.
#[derive(Debug, Clone)]
pub(crate) enum Standing {
    /// There is none; somebody is being dialled, or will be.
    Down {
        /// Since when.
        since: DateTime<Utc>,
        /// Why the last one ended or did not begin.
        why: String,
        /// When the relays are dialled again.
        next: DateTime<Utc>,
    },
    /// It stands.
    Up {
        /// Since when.
        since: DateTime<Utc>,
        /// Where it was dialled.
        address: String,
        /// Which relay answered.
        relay: RelayId,
        /// The connection itself, which knows its round trip.
        connection: Connection,
        /// Why it goes over TCP, if it does.
        why_tcp: Option<String>,
        /// The way out that it takes.
        way: watch::Receiver<Way>,
    },
}

impl Standing {
    /// How it stands before the first attempt.
    pub(crate) fn starting(now: DateTime<Utc>) -> Self {
        Self::Down { since: now, why: "the agent has just started".into(), next: now }
    }
}

/// How a tunnel ended.
#[derive(Debug)]
pub(crate) enum Parted {
    /// It never stood.
    Unreachable(anyhow::Error),
    /// It stood for a while.
    Lost { stood: Duration, why: anyhow::Error },
    /// The relay closed it and said why.
    Dismissed(Goodbye),
    /// The agent stops.
    Stopping,
}

/// Keeps a tunnel up until the agent stops.
pub(crate) async fn stay(agent: &Arc<Agent>) {
    let mut backoff = Backoff::default();
    let mut leaving = None;
    loop {
        let (relay, parted) = try_each(agent, leaving.take()).await;
        if matches!(parted, Parted::Stopping) {
            return;
        }
        let mut wait = wait_after(&parted, &mut backoff, rand::random());
        if matches!(parted, Parted::Dismissed(Goodbye::Draining { .. })) && agent.member().relays.len() > 1 {
            // The others are not restarting.
            wait = wait.min(share(ELSEWHERE, rand::random()));
            leaving = relay;
        }
        note(agent, &parted, wait);
        tokio::select! {
            () = sleep(wait) => {}
            () = another_outlook(agent), if parted.is_of_the_network() => {}
            () = agent.stopping.cancelled() => return,
        }
    }
}

/// Returns when the box can get elsewhere than now, or by another way.
async fn another_outlook(agent: &Agent) {
    let mut network = agent.network.subscribe();
    let interfaces = &agent.config.network.interfaces;
    let before = outlook(interfaces);
    // Its sender lives in the agent. Networks that have nothing to do with the relay come and go, too.
    while network.changed().await.is_ok() {
        if outlook(interfaces) != before {
            return;
        }
    }
}

/// Holds a tunnel to the first relay that answers, trying one that is being left last.
async fn try_each(agent: &Arc<Agent>, leaving: Option<String>) -> (Option<String>, Parted) {
    let mut parted = Parted::Unreachable(anyhow::anyhow!("the membership names no relay"));
    let mut relays = agent.member().relays;
    relays.sort_by_key(|relay| Some(relay) == leaving.as_ref());
    for relay in relays {
        parted = tunnel::hold(agent, &relay).await;
        if !matches!(parted, Parted::Unreachable(_)) {
            return (Some(relay), parted);
        }
        tracing::debug!(relay, parted = parted.to_string(), "not this relay");
    }
    (None, parted)
}

/// How long to wait before dialling again.
fn wait_after(parted: &Parted, backoff: &mut Backoff, entropy: u32) -> Duration {
    match parted {
        Parted::Unreachable(why) if is_silence(why) => backoff.next(SILENT, entropy),
        Parted::Unreachable(_) | Parted::Stopping => backoff.next(USUAL, entropy),
        Parted::Lost { stood, .. } => {
            if *stood >= HELD {
                backoff.reset()
            } else {
                backoff.ease()
            }
            backoff.next(USUAL, entropy)
        }
        Parted::Dismissed(Goodbye::Draining { within_seconds }) => {
            backoff.reset();
            share(Duration::from_secs((*within_seconds).into()).min(LONGEST_WINDOW), entropy)
        }
        Parted::Dismissed(Goodbye::Displaced) => DISPLACED + share(SLOW - DISPLACED, entropy),
        // Quickly at first: a relay may learn of a box that has just joined a moment after the box.
        Parted::Dismissed(Goodbye::NotKnown | Goodbye::Version { .. }) => backoff.next(SLOW, entropy),
    }
}

/// Whether nothing came back at all: then the way is more likely at fault than the relay, and trying
/// often costs nobody anything.
fn is_silence(why: &anyhow::Error) -> bool {
    why.downcast_ref().is_some_and(DialError::is_silence)
}

fn note(agent: &Agent, parted: &Parted, wait: Duration) {
    let now = agent.clock.now();
    let next = now + wait;
    let why = parted.to_string();
    tracing::info!(wait_seconds = wait.as_secs(), "not connected: {why}");
    agent.standing.send_modify(|standing| {
        let since = match standing {
            Standing::Down { since, .. } => *since,
            Standing::Up { .. } => now,
        };
        *standing = Standing::Down { since, why, next };
    });
}

impl Parted {
    /// Whether another network could make a difference; a relay's word stands in any.
    fn is_of_the_network(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Lost { .. })
    }
}

impl std::fmt::Display for Parted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable(why) | Self::Lost { why, .. } => write!(f, "{why:#}"),
            Self::Dismissed(goodbye) => f.write_str(&sentence(goodbye)),
            Self::Stopping => f.write_str("the agent stops"),
        }
    }
}

fn sentence(goodbye: &Goodbye) -> String {
    match goodbye {
        Goodbye::NotKnown => {
            "the relay does not know this box: it was deleted, or joined again from elsewhere; \
             if that was not meant, add it again and run: postern-agent join --force …"
        }
        Goodbye::Displaced => "another copy of this box runs and has taken the tunnel: stop one of them",
        Goodbye::Draining { .. } => "the relay is being restarted",
        Goodbye::Version { sentence } => sentence,
    }
    .to_owned()
}

#[cfg(test)]
mod tests;
