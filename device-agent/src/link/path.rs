//! Keeps the tunnel on a way out that works: moves it when the kernel's changes, gives up one on which
//! nothing comes back, goes back to the preferred one; and probes through an outage. What a way carries is
//! the same throughout: see `transport` for the other.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use postern_protocol::tunnel::quic::Connection;
use postern_protocol::tunnel::{End, Probe, Starvation, TICK};
use tokio::time::sleep;

use super::dial::{Dialled, answers};
use super::keep_alive::{KeepAlive, Sign};
use crate::agent::Agent;
use crate::network::{Way, ways};

/// Between two looks at a tunnel without visits.
const IDLE_TICK: Duration = Duration::from_secs(5);

/// Nothing heard for so long while somebody is inside, and probes being sent: the way is dead, or the
/// NAT's mapping is. A fresh socket gets a fresh mapping.
const DEAD: Duration = Duration::from_secs(4);

/// The same for a tunnel without visits, whose last sign of life should have been answered.
pub(super) fn idle_patience(agent: &Agent) -> Duration {
    patience(agent.config.network.longest_silence())
}

fn patience(longest_silence: Duration) -> Duration {
    longest_silence + IDLE_TICK
}

/// Each move that brings nothing doubles the time until the next, so many times.
const DOUBLINGS: u32 = 3;

/// How often to see whether a preferred interface works again.
const RETURN_LOOK: Duration = Duration::from_secs(15);

/// Keeps the tunnel alive, whatever becomes of the ways out; why it is lost, if it cannot.
pub(super) async fn keep(agent: &Agent, dialled: &Dialled) -> anyhow::Error {
    match dialled.connection.quic() {
        Some(quic) => tokio::select! {
            never = watch(agent, dialled, quic) => match never {},
            never = prefer(agent, dialled) => match never {},
        },
        None => notice_other_ways(agent, dialled).await,
    }
}

/// A tunnel over TCP cannot move: returns when its way is gone, and there is another.
async fn notice_other_ways(agent: &Agent, dialled: &Dialled) -> anyhow::Error {
    let mut network = agent.network.subscribe();
    // Its sender lives in the agent.
    while network.changed().await.is_ok() {
        let ways = ways(&agent.config.network.interfaces, dialled.relay);
        if !ways.is_empty() && !ways.contains(&dialled.way()) {
            break;
        }
    }
    anyhow!("the network has changed")
}

async fn watch(agent: &Agent, dialled: &Dialled, quic: &Connection) -> Infallible {
    let mut network = agent.network.subscribe();
    let (mut silence, mut starvation) = (Silence::new(Instant::now()), Starvation::new(Instant::now()));
    let mut probe = None;
    let longest = agent.config.network.longest_silence();
    let (mut way, mut quiet) = (dialled.way(), Quiet::new(longest, Instant::now()));
    let mut seen = dialled.seen.subscribe();
    loop {
        let busy = agent.visits.any();
        tokio::select! {
            _ = network.changed() => follow_kernel(agent, dialled),
            () = agent.visits.somebody(), if !busy => {}
            Ok(()) = seen.changed() => quiet.answer(*seen.borrow_and_update()),
            () = sleep(if busy { TICK } else { quiet.left(Instant::now()).min(IDLE_TICK) }) => {}
        }
        let (stats, now) = (quic.stats(), Instant::now());
        let received = stats.udp_rx.datagrams;
        if starvation.shows(stats.udp_tx.bytes, stats.path.lost_packets, now) {
            dialled.starved.notify_one();
        }
        match busy {
            true => {
                let probe = probe.get_or_insert_with(|| Probe::new(End::Dialled, now));
                quic.probe_if_due(probe, now);
            }
            false => probe = None,
        }
        if way != dialled.way() {
            (way, quiet) = (dialled.way(), Quiet::new(longest, now));
        }
        if let Some(sign) = quiet.sign(stats.udp_tx.datagrams, now) {
            give(sign, dialled, quic);
        }
        if silence.is_dead(received, if busy { DEAD } else { idle_patience(agent) }, now) {
            move_on(agent, dialled);
            (way, quiet) = (dialled.way(), Quiet::new(longest, now));
        }
    }
}

/// A tunnel on which nothing is said.
struct Quiet {
    keep_alive: KeepAlive,
    sent: u64,
    /// When that was looked up.
    looked: Instant,
    since: Instant,
    lasts: Duration,
}

impl Quiet {
    /// On a path of which nothing is known.
    fn new(longest: Duration, now: Instant) -> Self {
        let keep_alive = KeepAlive::new(longest);
        let lasts = keep_alive.silence(0);
        Self { keep_alive, sent: 0, looked: now, since: now, lasts }
    }

    /// How much longer it may last.
    fn left(&self, now: Instant) -> Duration {
        self.lasts.saturating_sub(now.saturating_duration_since(self.since))
    }

    /// What must be said now, so many packets having been sent so far.
    fn sign(&mut self, sent: u64, now: Instant) -> Option<Sign> {
        if sent != self.sent {
            // Some time since the last look. Taken for later than it was, it would let a silence outlast what
            // the NATs on the path, and the patience with it, allow.
            (self.sent, self.since) = (sent, self.looked);
        }
        self.looked = now;
        let sign = self.left(now).is_zero().then(|| self.keep_alive.sign());
        if sign.is_some() {
            (self.since, self.lasts) = (now, self.keep_alive.silence(rand::random()));
        }
        sign
    }

    /// The relay's answer to a question.
    fn answer(&mut self, seen: Option<SocketAddr>) {
        if let Some(address) = seen {
            self.keep_alive.seen(address);
            self.lasts = self.keep_alive.silence(rand::random());
        }
    }
}

fn give(sign: Sign, dialled: &Dialled, quic: &Connection) {
    match sign {
        Sign::Question => dialled.question.notify_one(),
        Sign::Life => quic.show_life(),
    }
}

/// Something has changed; if it is the present way, the tunnel takes the first that there is now.
fn follow_kernel(agent: &Agent, dialled: &Dialled) {
    let ways = ways(&agent.config.network.interfaces, dialled.relay);
    let present = dialled.way();
    let stays = ways.iter().find(|way| **way == present);
    match (stays, ways.first()) {
        (Some(_), _) if dialled.had_way() => {}
        (Some(way), _) | (None, Some(way)) => go(dialled, way, "the network has changed"),
        (None, None) => dialled.lose_way(),
    }
}

/// The present way is dead: the next one, or the same with a fresh socket.
fn move_on(agent: &Agent, dialled: &Dialled) {
    let ways = ways(&agent.config.network.interfaces, dialled.relay);
    let present = ways.iter().position(|way| *way == dialled.way());
    let next = present.map_or(0, |present| present + 1);
    if let Some(way) = ways.get(next).or(ways.first()) {
        go(dialled, way, "nothing is heard any more");
    }
}

fn go(dialled: &Dialled, way: &Way, why: &str) {
    match dialled.move_to(way) {
        Ok(()) => tracing::info!(%way, "the tunnel moves: {why}"),
        Err(error) => return tracing::warn!(%way, "the tunnel cannot move: {error}"),
    }
    let Some(quic) = dialled.connection.quic() else { return };
    quic.probe(Instant::now());
}

/// Goes back to an interface higher on the list as soon as the relay answers there.
async fn prefer(agent: &Agent, dialled: &Dialled) -> Infallible {
    let interfaces = &agent.config.network.interfaces;
    if interfaces.len() < 2 {
        return std::future::pending().await;
    }
    let mut network = agent.network.subscribe();
    loop {
        tokio::select! {
            () = sleep(RETURN_LOOK) => {}
            _ = network.changed() => {}
        }
        let rank = |way: &Way| interfaces.iter().position(|name| Some(name) == way.interface.as_ref());
        let present = rank(&dialled.way());
        let better = ways(interfaces, dialled.relay).into_iter().filter(|way| rank(way) < present);
        for way in better {
            let Ok(tls) = agent.tls() else { break };
            if answers(dialled.relay, tls, &agent.config.network, &way).await {
                go(dialled, &way, "a preferred interface works again");
                break;
            }
        }
    }
}

/// Whether a way is to be given up: decided with the time as an argument.
#[derive(Debug)]
struct Silence {
    received: u64,
    heard: Instant,
    moved: Instant,
    moves: u32,
}

impl Silence {
    fn new(now: Instant) -> Self {
        Self { received: 0, heard: now, moved: now, moves: 0 }
    }

    fn is_dead(&mut self, received: u64, patience: Duration, now: Instant) -> bool {
        if received != self.received {
            *self = Self { received, ..Self::new(now) };
            return false;
        }
        let pause = DEAD * (1 << self.moves.min(DOUBLINGS));
        let dead = now.saturating_duration_since(self.heard) >= patience
            && now.saturating_duration_since(self.moved) >= pause;
        if dead {
            self.moved = now;
            self.moves += 1;
        }
        dead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At which of so many seconds of silence the way is given up.
    fn given_up(patience: Duration, seconds: u64) -> Vec<u64> {
        let start = Instant::now();
        let mut silence = Silence::new(start);
        silence.is_dead(1, patience, start);
        let dead = |at: &u64| silence.is_dead(1, patience, start + Duration::from_secs(*at));
        (1..=seconds).filter(dead).collect()
    }

    #[test]
    fn a_way_is_given_up_within_seconds_when_there_is_something_to_lose() {
        assert_eq!(given_up(DEAD, 60), [4, 12, 28, 60]);
    }

    #[test]
    fn an_idle_tunnel_waits_for_the_answer_to_its_keep_alive() {
        assert_eq!(given_up(Duration::from_secs(25), 40), [25, 33]);
    }

    /// How often a way on which everything is answered is given up within an hour without visits.
    fn given_up_in_an_hour(longest: Duration) -> usize {
        let start = Instant::now();
        let (mut now, mut sent, mut received, mut given_up) = (start, 1, 1, 0);
        let (mut quiet, mut silence) = (Quiet::new(longest, now), Silence::new(now));
        let mut answered = false;
        while now < start + Duration::from_secs(3600) {
            now += match answered {
                // The answer wakes the box, and its own acknowledgement leaves after that.
                true => Duration::from_millis(50),
                false => quiet.left(now).min(IDLE_TICK),
            };
            let woken = std::mem::take(&mut answered);
            if woken {
                quiet.answer(Some(SocketAddr::from(([192, 0, 2, 1], 1000))));
            }
            let sign = quiet.sign(sent, now);
            given_up += usize::from(silence.is_dead(received, patience(longest), now));
            answered = sign == Some(Sign::Question);
            sent += u64::from(woken) + u64::from(sign.is_some());
            received += u64::from(sign.is_some());
        }
        given_up
    }

    #[test]
    fn a_way_on_which_everything_is_answered_is_not_given_up() {
        for longest in [25, 120] {
            assert_eq!(given_up_in_an_hour(Duration::from_secs(longest)), 0, "{longest} s");
        }
    }

    #[test]
    fn whatever_is_heard_begins_anew() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut silence = Silence::new(start);
        assert!(silence.is_dead(0, DEAD, at(4)));
        assert!(!silence.is_dead(1, DEAD, at(5)));
        assert!(!silence.is_dead(1, DEAD, at(8)));
        assert!(silence.is_dead(1, DEAD, at(9)));
    }
}
