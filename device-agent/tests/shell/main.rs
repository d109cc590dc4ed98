//! The built-in SSH server, met by the clients that people use.
#![expect(clippy::unwrap_used, reason = "a panic here is a failed claim, with its line")]

mod accounts;
mod admission;
mod endings;
mod files;
mod forwarding;
mod programs;
mod terminals;
mod the_box;
