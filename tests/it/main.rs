//! Postern, end to end: the real programs, stock clients, a real sshd.

mod agent;
mod balancer;
mod cli;
mod client;
mod connect;
mod console;
mod deny;
mod drain;
mod faults;
mod forward;
mod front;
mod hostile;
mod keys;
mod matrix;
mod openid;
mod people;
mod ports;
mod restrict;
mod revoke;
mod stall;
mod stranger;
mod survive;
mod terminal;
mod transfer;
mod up;
mod verify;
