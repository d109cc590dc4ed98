//! Bad networks: what happens to a visit in progress, and how long until the next one.
//!
//! Short faults and small files by default; `tests/faults` runs them at full size and prints what it
//! measured. Nothing here asserts a speed, except that waits have an end.

mod clock;
mod idle;
mod path;
mod relay;
mod udp;
mod uplink;
