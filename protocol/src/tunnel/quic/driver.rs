//! The task of one connection: it hears what has arrived, sends what may be sent, and minds the time.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use quinn_proto::{ConnectionError, EndpointEvent, Transmit};
use tokio::time::Sleep;

use super::connection::{Inner, State};
use super::lock;
use super::now;
use super::socket::Socket;
use crate::tunnel::{SEND_WINDOW, outage};

/// So much is sent before others have their turn, and what came meanwhile is heard.
const TURN: usize = 128_000;

/// A timer that fires too early by no more than this is not set anew: during bulk the next moment that matters
/// moves with every packet.
const EARLY: Duration = Duration::from_millis(100);

/// An acknowledgement waits so long for something to go with it: what QUIC has, as nobody says otherwise.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_millis(25);

thread_local! {
    /// Where packets are put together, for whichever connection has its turn.
    static PACKETS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What may be under way or wait to be, of all streams together: a path of ten gigabits full, and a little more. With
/// much more on a short path, bulk leaves the processor's caches before it leaves the box, and whoever types waits
/// behind it.
///
/// The shortest round trip was another path's if the connection has moved since; then the usual one is far longer.
fn room(shortest: Duration, usual: Duration) -> u64 {
    const A_LITTLE: u64 = 768 * 1024;
    const BYTES_IN_A_MICROSECOND: u64 = 1250;
    let round_trip = u64::try_from(shortest.max(usual / 8).as_micros()).unwrap_or(u64::MAX);
    round_trip.saturating_mul(BYTES_IN_A_MICROSECOND).saturating_add(A_LITTLE).min(SEND_WINDOW)
}

/// Drives a connection until it is over and the other side had time to notice.
pub(super) struct Driver {
    inner: Arc<Inner>,
    timer: Option<Pin<Box<Sleep>>>,
    /// What the kernel had no room for, and the wait for it.
    held_up: Option<Box<HeldUp>>,
    /// How many signs of life there were when that was last looked at.
    pings: u64,
    /// The endpoint knows that it is over.
    told: bool,
}

struct HeldUp {
    transmit: Transmit,
    contents: Vec<u8>,
    /// Where there is no room.
    socket: Arc<Socket>,
    room: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl HeldUp {
    fn at(socket: &Arc<Socket>, transmit: Transmit, contents: Vec<u8>) -> Self {
        let (socket, room) = (socket.clone(), Box::pin(socket.clone().has_room()));
        Self { transmit, contents, socket, room }
    }
}

impl Driver {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        Self { inner, timer: None, held_up: None, pings: 0, told: false }
    }

    /// Sends what may be sent; whether there may be more.
    fn send(&mut self, state: &mut State, cx: &mut Context<'_>) -> bool {
        if self.is_held_up(&state.socket, cx) {
            return false;
        }
        PACKETS.with_borrow_mut(|packets| {
            let mut sent = 0;
            while sent < TURN {
                packets.clear();
                let batch = state.socket.batch(state.quic.current_mtu());
                let Some(transmit) = state.quic.poll_transmit(now(), batch, packets) else { return false };
                let contents = &packets[..transmit.size];
                sent += contents.len();
                if state.socket.send(&transmit, contents).is_err() {
                    self.held_up = Some(Box::new(HeldUp::at(&state.socket, transmit, contents.to_vec())));
                    return !self.is_held_up(&state.socket, cx);
                }
            }
            true
        })
    }

    /// Sends what waits for room, if it can; whether it still waits.
    fn is_held_up(&mut self, socket: &Arc<Socket>, cx: &mut Context<'_>) -> bool {
        while let Some(mut held_up) = self.held_up.take() {
            // After a move it does not matter whether the former socket has room.
            if Arc::ptr_eq(&held_up.socket, socket) && held_up.room.as_mut().poll(cx).is_pending() {
                self.held_up = Some(held_up);
                return true;
            }
            if socket.send(&held_up.transmit, &held_up.contents).is_err() {
                self.held_up = Some(Box::new(HeldUp::at(socket, held_up.transmit, held_up.contents)));
            }
        }
        false
    }

    /// Acknowledges a sign of life at once, if nothing else goes on: whether there may be more to send.
    ///
    /// Nobody will answer that, so there is nothing that its acknowledgement could go with. And a relay is mostly busy
    /// with signs of life: each would wake it twice.
    fn acknowledge(&mut self, state: &mut State, cx: &mut Context<'_>) -> bool {
        let soon = now() + ACKNOWLEDGED_WITHIN;
        let quic = &mut state.quic;
        if quic.is_handshaking() || quic.is_closed() || quic.poll_timeout().is_none_or(|due| due > soon) {
            return false;
        }
        let pings = quic.stats().frame_rx.ping;
        if std::mem::replace(&mut self.pings, pings) == pings || !outage::is_at_rest(quic) {
            return false;
        }
        // What is due so soon at rest is the acknowledgement; whatever else it is may be early.
        quic.handle_timeout(soon);
        self.send(state, cx)
    }

    /// Minds the time; whether it had come for something.
    fn tick(&mut self, state: &mut State, cx: &mut Context<'_>) -> bool {
        let Some(due) = state.quic.poll_timeout() else {
            self.timer = None;
            return false;
        };
        loop {
            let now = now();
            if now >= due {
                state.quic.handle_timeout(now);
                return true;
            }
            if self.timer_for(due).as_mut().poll(cx).is_pending() {
                return false;
            }
            // It has fired: early, or between two looks at the clock.
            self.timer = None;
        }
    }

    fn timer_for(&mut self, due: Instant) -> &mut Pin<Box<Sleep>> {
        let due = tokio::time::Instant::from_std(due);
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        let set = timer.deadline();
        if set > due || set + EARLY < due {
            timer.as_mut().reset(due);
        }
        timer
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let inner = this.inner.clone();
        let arrived = inner.inbox.take(cx.waker());
        let has_heard = !arrived.is_empty();
        let mut state = lock(&inner.state);
        for event in arrived {
            state.quic.handle_event(event);
        }
        let room = room(state.quic.min_rtt(), state.quic.rtt());
        state.quic.set_send_window(room);
        if state.is_over() {
            // The library holds even a last word back while the window is full, and nothing empties that any more.
            outage::let_pass(&state.quic);
        }
        let mut again = this.send(&mut state, cx);
        if !inner.tell(&mut state) && has_heard {
            again |= this.acknowledge(&mut state, cx);
        }
        again |= this.tick(&mut state, cx);
        inner.tell(&mut state);
        let for_endpoint: Vec<_> = std::iter::from_fn(|| state.quic.poll_endpoint_events()).collect();
        let drained = state.quic.is_drained();
        drop(state);
        inner.endpoint.hear(&inner, for_endpoint);
        if drained {
            this.told = true;
            return Poll::Ready(());
        }
        if again {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Drop for Driver {
    /// After a panic, or with its runtime, it ends before the connection does. Nobody may wait for it then.
    fn drop(&mut self) {
        if self.told {
            return;
        }
        self.inner.end(&mut lock(&self.inner.state), ConnectionError::LocallyClosed);
        self.inner.endpoint.hear(&self.inner, vec![EndpointEvent::drained()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_is_given_all_there_is_and_a_short_one_what_it_needs() {
        let room = |shortest, usual| room(Duration::from_micros(shortest), Duration::from_micros(usual));
        assert!(room(100, 2_000) < 1_300_000, "a queue of our own making is no path");
        assert!(room(10_000, 10_000) > 12_500_000, "ten gigabits over ten milliseconds");
        assert_eq!(room(50_000, 50_000), SEND_WINDOW);
        assert!(room(100, 100_000) > 15_000_000, "it has moved from a short path to a long one");
    }
}
