//! Postern, end to end: the real programs, stock clients, a real sshd.

mod agent;
mod cli;
mod client;
mod connect;
mod deny;
mod drain;
mod faults;
mod forward;
mod hostile;
mod matrix;
mod people;
mod revoke;
mod stall;
mod stranger;
mod survive;
mod transfer;
mod up;
mod verify;
