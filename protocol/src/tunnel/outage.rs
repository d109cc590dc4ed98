//! A congestion controller that knows an outage from congestion.
//!
//! It wraps Cubic and changes three things, all of them only around an outage:
//!
//! 1. *A gate for probes.* During an outage the window is full of packets that are lost but not yet
//!    known to be, so nothing new may go. A permit in [`Link`] opens the window for a datagram or
//!    two; the first that is acknowledged tells QUIC what was lost, and everything flows again.
//! 2. *A fresh start.* Losses from before the outage's end say nothing about the path after it, so
//!    they are not counted, and the window begins anew, as after a reconnect.
//! 3. *No pacing by poisoned measurements.* Packets that arrived before the outage are acknowledged
//!    after it, which looks like a round trip as long as the outage; until the estimate is sane again,
//!    the pacer is switched off (a window beyond `u32::MAX` does that) within the real window.
//!
//! It relies on two habits of quinn-proto 0.11: the window is asked once for the congestion check
//! and once by the pacer for each datagram, and the pacer rests above `u32::MAX`. The tests hold them.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerFactory, ControllerMetrics, CubicConfig};

use super::PACKET;

/// Nothing acknowledged for so long, on top of three round trips, is an outage and not congestion.
const SILENCE: Duration = Duration::from_millis(500);

/// Round trips added to [`SILENCE`].
const SILENCE_ROUND_TRIPS: u32 = 3;

/// What [`Controller::window`] is asked for one probe: twice for each of two datagrams.
const PROBE_QUESTIONS: u32 = 4;

/// A window that lets anything pass and puts the pacer to rest.
const WIDE_OPEN: u64 = 1 << 40;

/// An estimate of the round trip this many times the last sane one is poisoned …
const POISONED_TIMES: u32 = 2;

/// … if it is also this much above it …
const POISONED_ABOVE: Duration = Duration::from_millis(20);

/// … and is believed after all when it stays so.
const POISON_LASTS: Duration = Duration::from_secs(10);

/// Makes `Outage` controllers around Cubic.
#[derive(Debug, Default)]
pub(super) struct OutageConfig {
    inner: Arc<CubicConfig>,
}

impl ControllerFactory for OutageConfig {
    fn build(self: Arc<Self>, now: Instant, mtu: u16) -> Box<dyn Controller> {
        let fresh = self.inner.clone();
        Box::new(Outage {
            inner: fresh.clone().build(now, mtu),
            fresh,
            link: Arc::new(Link::new(now)),
            mtu,
            resumed_at: now,
            in_flight: 0,
            poisoned_at: None,
            unpaced: false,
            is_measured: false,
        })
    }
}

/// What the controller tells the prober, and the prober the controller.
#[derive(Debug)]
pub struct Link {
    born: Instant,
    questions_left: AtomicU32,
    /// Milliseconds since `born` plus one; zero when nothing waits for an acknowledgement.
    waiting_since: AtomicU64,
    /// Milliseconds.
    min_rtt: AtomicU64,
    /// Microseconds: the estimate before anything spoilt it.
    sane_rtt: AtomicU64,
    /// The path was given up for lost before this controller was there, and nothing was acknowledged since.
    lost_path: AtomicBool,
    /// The first thing that was acknowledged since was of long ago.
    spoilt: AtomicBool,
    hurry: AtomicBool,
}

impl Link {
    fn new(now: Instant) -> Self {
        Self {
            born: now,
            questions_left: AtomicU32::new(0),
            waiting_since: AtomicU64::new(0),
            min_rtt: AtomicU64::new(0),
            sane_rtt: AtomicU64::new(u64::MAX),
            lost_path: AtomicBool::new(false),
            spoilt: AtomicBool::new(false),
            hurry: AtomicBool::new(false),
        }
    }

    /// The link of a controller, if that is one of ours.
    pub(super) fn of(controller: &dyn Controller) -> Option<Arc<Self>> {
        controller.clone_box().into_any().downcast::<Outage>().ok().map(|outage| outage.link)
    }

    /// Takes over what another knew of the same connection, whose path is lost.
    fn succeed(&self, former: &Self) {
        self.min_rtt.store(former.min_rtt.load(Relaxed), Relaxed);
        self.sane_rtt.store(former.sane_rtt.load(Relaxed), Relaxed);
        self.lost_path.store(true, Relaxed);
    }

    /// Whether what was sent has waited for an acknowledgement for too long.
    pub fn is_stalled(&self, now: Instant) -> bool {
        self.lost_path.load(Relaxed) || self.waited(now).is_some_and(|waited| waited >= self.patience())
    }

    /// Whether one more probe is wanted at once; asking answers it.
    pub fn take_hurry(&self) -> bool {
        self.hurry.swap(false, Relaxed)
    }

    /// Lets the next probe pass, however full the window is.
    pub(super) fn permit_probe(&self) {
        self.questions_left.store(PROBE_QUESTIONS, Relaxed);
    }

    fn patience(&self) -> Duration {
        SILENCE + Duration::from_millis(self.min_rtt.load(Relaxed)) * SILENCE_ROUND_TRIPS
    }

    fn waited(&self, now: Instant) -> Option<Duration> {
        let since = self.waiting_since.load(Relaxed).checked_sub(1)?;
        Some(now.saturating_duration_since(self.born).saturating_sub(Duration::from_millis(since)))
    }

    fn wait_from(&self, now: Instant) {
        let since = now.saturating_duration_since(self.born).as_millis();
        self.waiting_since.store(u64::try_from(since).unwrap_or(u64::MAX - 1) + 1, Relaxed);
    }

    fn is_waiting(&self) -> bool {
        self.waiting_since.load(Relaxed) != 0
    }

    fn wait_for_nothing(&self) {
        self.waiting_since.store(0, Relaxed);
    }

    fn use_permit(&self) -> bool {
        self.questions_left.try_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

/// Whether nothing that was sent waits for an acknowledgement, as far as the controller hears of it: it does not of
/// packets that try out a larger size, and a path that was just begun anew counts from there.
pub(super) fn is_at_rest(quic: &quinn_proto::Connection) -> bool {
    Link::of(quic.congestion_state()).is_some_and(|link| !link.is_waiting())
}

/// Lets the next packet pass, however full the window is.
pub(super) fn let_pass(quic: &quinn_proto::Connection) {
    if let Some(link) = Link::of(quic.congestion_state()) {
        link.permit_probe();
    }
}

/// Sends what the other side acknowledges, however full the window is.
///
/// The packet is filled up with what else there is to send. Nothing has come back for a while, so the path may be
/// another by now, which takes less: we begin anew with packets that every path takes.
pub(super) fn probe(quic: &mut quinn_proto::Connection, now: Instant) {
    let Some(link) = Link::of(quic.congestion_state()) else { return };
    // An estimate that begins with a round trip as long as the outage would take minutes to mend.
    if link.spoilt.load(Relaxed) {
        begin_anew(quic, &link, now);
    } else if link.is_stalled(now) {
        distrust_path(quic, now);
    }
    let_pass(quic);
    quic.ping();
}

/// The path may be another than before, which takes less.
pub(super) fn distrust_path(quic: &mut quinn_proto::Connection, now: Instant) {
    if let Some(link) = Link::of(quic.congestion_state()).filter(|_| quic.current_mtu() > PACKET) {
        begin_anew(quic, &link, now);
    }
}

/// Forgets what is known of the path, except what an outage is measured by.
fn begin_anew(quic: &mut quinn_proto::Connection, former: &Link, now: Instant) {
    quic.path_changed(now);
    if let Some(link) = Link::of(quic.congestion_state()) {
        link.succeed(former);
    }
}

/// Cubic, except around an outage.
struct Outage {
    inner: Box<dyn Controller>,
    fresh: Arc<CubicConfig>,
    link: Arc<Link>,
    mtu: u16,
    /// When the last outage ended; losses of what was sent before do not count.
    resumed_at: Instant,
    in_flight: u64,
    /// When an acknowledgement last came so late that it spoilt the round-trip estimate.
    poisoned_at: Option<Instant>,
    unpaced: bool,
    /// Something was acknowledged, so that there is an estimate of the round trip.
    is_measured: bool,
}

impl Outage {
    /// The path is back: what was learnt before says nothing about it.
    fn resume(&mut self, now: Instant) {
        self.inner = self.fresh.clone().build(now, self.mtu);
        self.resumed_at = now;
        // The acknowledgement may have covered only packets from before the outage, and then nothing
        // is known to be lost yet: one more probe, at once.
        self.link.permit_probe();
        self.link.hurry.store(true, Relaxed);
    }

    /// Keeps an eye on the round-trip estimate, which is updated after this acknowledgement: a late
    /// one can only be seen to have spoilt it when the next one comes.
    fn watch_estimate(&mut self, now: Instant, sent: Instant, rtt: &RttEstimator) {
        let late = now.saturating_duration_since(sent) >= self.link.patience();
        let is_first = !std::mem::replace(&mut self.is_measured, true);
        if is_first {
            // There is no estimate yet; this will be it.
            self.link.spoilt.store(late && self.link.lost_path.load(Relaxed), Relaxed);
        }
        if is_first || self.link.spoilt.load(Relaxed) {
            return;
        }
        self.link.min_rtt.store(u64::try_from(rtt.min().as_millis()).unwrap_or(u64::MAX), Relaxed);
        if late {
            self.poisoned_at = Some(now);
        } else if let Some(poisoned_at) = self.poisoned_at {
            let sane = Duration::from_micros(self.link.sane_rtt.load(Relaxed));
            let suspicious = sane.saturating_mul(POISONED_TIMES).saturating_add(POISONED_ABOVE);
            let young = now.saturating_duration_since(poisoned_at) < POISON_LASTS;
            self.unpaced = young && rtt.get() > suspicious;
            if !self.unpaced {
                self.poisoned_at = None;
            }
        } else {
            let sane = u64::try_from(rtt.get().as_micros()).unwrap_or(u64::MAX);
            self.link.sane_rtt.store(sane, Relaxed);
        }
    }
}

impl Controller for Outage {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.link.questions_left.store(0, Relaxed);
        self.in_flight += bytes;
        if !self.link.is_waiting() {
            self.link.wait_from(now);
        }
        self.inner.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.watch_estimate(now, sent, rtt);
        self.inner.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest: Option<u64>) {
        let was_out = self.link.lost_path.swap(false, Relaxed) || self.link.is_stalled(now);
        match in_flight {
            0 => self.link.wait_for_nothing(),
            _ => self.link.wait_from(now),
        }
        self.in_flight = in_flight;
        match was_out {
            true => self.resume(now),
            false => self.inner.on_end_acks(now, in_flight, app_limited, largest),
        }
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, persistent: bool, lost_bytes: u64) {
        if sent > self.resumed_at {
            self.inner.on_congestion_event(now, sent, persistent, lost_bytes);
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.mtu = new_mtu;
        self.inner.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        if self.link.use_permit() {
            return WIDE_OPEN;
        }
        let window = self.inner.window();
        match self.unpaced && self.in_flight + u64::from(self.mtu) < window {
            true => WIDE_OPEN,
            false => window,
        }
    }

    fn metrics(&self) -> ControllerMetrics {
        self.inner.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self {
            inner: self.inner.clone_box(),
            fresh: self.fresh.clone(),
            link: self.link.clone(),
            ..*self
        })
    }

    fn initial_window(&self) -> u64 {
        self.inner.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
