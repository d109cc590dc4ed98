//! QUIC: sockets, tasks and a clock around the library's own state machine.
//!
//! `quinn-proto` says what to send and what was received; it does no I/O. Its companion `quinn` does, for every
//! runtime and every use. Here there is one runtime and one use, and three things are worth doing differently:
//!
//! - *An idle connection costs little.* What arrives for a connection waits in a list that is not there while
//!   nothing waits, and what it sends goes through a buffer that all connections of a thread share.
//! - *Bulk goes in the largest pieces that the kernel takes*, many datagrams at once.
//! - *A path can be distrusted.* Packets are as large as the path takes, which is found out by trying. After an
//!   outage the path may be another that takes less; then we begin anew with packets that every path takes.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

mod connection;
mod driver;
mod endpoint;
mod inbox;
mod receiver;
mod socket;
mod streams;
#[cfg(test)]
mod tests;

pub use connection::Connection;
pub use endpoint::{Endpoint, Incoming};
pub use streams::{RecvStream, SendStream, Stop};

/// Nobody leaves anything half done under these locks: a panic there is a bug elsewhere.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The runtime's clock, which tests can turn.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
