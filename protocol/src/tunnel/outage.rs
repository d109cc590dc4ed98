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
pub struct OutageConfig {
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
            sane_rtt: Duration::MAX,
            poisoned_at: None,
            unpaced: false,
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
    min_rtt: AtomicU64,
    hurry: AtomicBool,
}

impl Link {
    fn new(now: Instant) -> Self {
        Self {
            born: now,
            questions_left: AtomicU32::new(0),
            waiting_since: AtomicU64::new(0),
            min_rtt: AtomicU64::new(0),
            hurry: AtomicBool::new(false),
        }
    }

    /// The link of a connection, from a copy of its controller's state.
    pub fn of(state: Box<dyn Controller>) -> Option<Arc<Self>> {
        state.into_any().downcast::<Outage>().ok().map(|outage| outage.link)
    }

    /// Whether what was sent has waited for an acknowledgement for too long.
    pub fn is_stalled(&self, now: Instant) -> bool {
        self.waited(now).is_some_and(|waited| waited >= self.patience())
    }

    /// Whether one more probe is wanted at once; asking answers it.
    pub fn take_hurry(&self) -> bool {
        self.hurry.swap(false, Relaxed)
    }

    /// Lets the next probe pass, however full the window is.
    pub fn permit_probe(&self) {
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

/// Cubic, except around an outage.
struct Outage {
    inner: Box<dyn Controller>,
    fresh: Arc<CubicConfig>,
    link: Arc<Link>,
    mtu: u16,
    /// When the last outage ended; losses of what was sent before do not count.
    resumed_at: Instant,
    in_flight: u64,
    sane_rtt: Duration,
    /// When an acknowledgement last came so late that it spoilt the round-trip estimate.
    poisoned_at: Option<Instant>,
    unpaced: bool,
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
        self.link.min_rtt.store(u64::try_from(rtt.min().as_millis()).unwrap_or(u64::MAX), Relaxed);
        if now.saturating_duration_since(sent) >= self.link.patience() {
            self.poisoned_at = Some(now);
        } else if let Some(poisoned_at) = self.poisoned_at {
            let suspicious = self.sane_rtt.saturating_mul(POISONED_TIMES).saturating_add(POISONED_ABOVE);
            let young = now.saturating_duration_since(poisoned_at) < POISON_LASTS;
            self.unpaced = young && rtt.get() > suspicious;
            if !self.unpaced {
                self.poisoned_at = None;
            }
        } else {
            self.sane_rtt = rtt.get();
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
        let was_out = self.link.is_stalled(now);
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
