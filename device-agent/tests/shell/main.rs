//! The built-in SSH server, met by the clients that people use.

mod accounts;
mod admission;
mod endings;
mod files;
mod forwarding;
mod programs;
mod terminals;
mod the_box;
