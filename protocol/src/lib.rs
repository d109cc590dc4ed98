//! What all of Postern's programs must agree on.
//!
//! Everything here is pure: no socket, no clock, no randomness. Whoever needs the time or entropy
//! passes it in, so every decision can be replayed and tested by table.
//!
//! Read in this order: [`access`] decides who may reach which box, [`grant`] carries those
//! decisions' rules to relays and boxes under one signature, [`wire`] is what a box and a relay say
//! to each other, and [`api`] is what the control API says to everybody.

pub mod access;
pub mod api;
pub mod connection;
pub mod grant;
pub mod id;
pub mod join;
pub mod refusal;
pub mod secret;
pub mod ssh_key;
#[cfg(feature = "tunnel")]
pub mod tunnel;
pub mod wire;

#[cfg(test)]
mod examples;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod tidy;

pub use refusal::Refusal;
