//! What both ends of a tunnel have alike: a [`Connection`] and its streams, over QUIC or over TCP, and
//! settings by which it survives what happens to it.
//!
//! QUIC as it comes backs off after an outage: an outage of D seconds stalls for up to another D,
//! and one of 30 ends the connection. A visit is worth more than that. [`transport`] puts a
//! congestion controller of our own in place (`outage`), which knows an outage from congestion,
//! and lets a [`Probe`] through when everything else has to wait.

use std::sync::Arc;
use std::time::Duration;

use quinn_proto::{MtuDiscoveryConfig, TransportConfig, VarInt};

use crate::wire::MAX_VISITS;

mod connection;
mod ends_well;
mod outage;
mod probe;
pub mod quic;
mod starvation;
mod stream;
pub mod tcp;
#[cfg(test)]
mod tests;

use outage::OutageConfig;

pub use connection::{Connection, Lost};
pub use ends_well::EndsWell;
pub use probe::{End, Probe, TICK};
pub use starvation::Starvation;
pub use stream::{ReadError, RecvStream, SendStream, WriteError};

/// Without a word for so long, the other side is gone. A box whose cable was pulled is seen to be gone
/// within a minute; an outage of 30 s on top of a keep-alive's interval leaves the tunnel alive.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(55);

/// The same for a box for which every byte costs: two of its longest silences, and an outage.
pub const METERED_IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// How many tasks a program that carries bytes runs between two looks at its sockets. With Tokio's own 61, whoever
/// types waits for milliseconds behind those who copy files.
pub const EVENT_INTERVAL: u32 = 16;

/// One stream may have so much under way, as one channel at the SSH gate: 30 ms of half a gigabit, or
/// 100 ms of 160 Mbit/s. It is also what a visit that nobody reads makes the other side hold.
const STREAM_WINDOW: u32 = 2 * 1024 * 1024;

/// Room for every visit to stall and for the control stream to go on: credit for the connection is
/// given back only when bytes are taken, so with less, a few stalled visits would stop everything,
/// revocations included.
const CONNECTION_WINDOW: u32 = (MAX_VISITS + 1) * STREAM_WINDOW;

/// What was sent and not acknowledged, of all streams together: one long fat path full.
const SEND_WINDOW: u64 = 32 * 1024 * 1024;

/// What every path takes in a packet of QUIC. A tunnel begins with these, and begins anew with them after an outage.
pub const PACKET: u16 = 1200;

/// The most that is tried: what fits a jumbo frame. Few networks have them; where relay and boxes stand in one hall,
/// they halve what a byte costs.
pub const LARGEST_PACKET: u16 = 8952;

/// How long to wait before a path that did not take larger packets is tried again: so long that an idle box's signs of
/// life cost far more than these tries.
const NEXT_TRY: Duration = Duration::from_secs(24 * 3600);

/// The transport settings of both ends; the caller adds how many streams it lets the other open. The
/// shorter of both ends' idle time-outs counts: the relay grants the longest, and the box chooses. Packets grow up
/// to the largest that the path and both ends take.
pub fn transport(idle_timeout: Duration, largest: u16) -> TransportConfig {
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(largest.clamp(PACKET, LARGEST_PACKET)).interval(NEXT_TRY);
    let mut settings = TransportConfig::default();
    settings
        .max_idle_timeout(Some(idle_timeout.try_into().expect("the idle time-out fits QUIC's")))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None)
        .mtu_discovery_config(Some(discovery))
        .initial_mtu(PACKET)
        .min_mtu(PACKET)
        .congestion_controller_factory(Arc::new(OutageConfig::default()));
    settings
}
