//! The command people type: a client of the API, and everything in one process for a start.
//!
//! One file per noun. Each says what its verbs take, asks the API, and shows the answer; what is
//! shared is at the end of the list.

use std::process::ExitCode;

use clap::Parser;

mod access;
mod account;
mod args;
mod audit;
mod completions;
mod device;
mod events;
mod relays;
mod ssh;
mod ssh_config;
mod token;
mod up;
mod user;
mod verify;
mod visits;
mod webhook;

mod api;
mod confirm;
mod failure;
mod file;
mod identity;
mod installation;
mod moments;
mod nearest;
mod output;
mod places;
mod settings;
mod way;

#[tokio::main]
async fn main() -> ExitCode {
    match args::Cli::parse().run().await {
        Ok(answer) => answer.into(),
        Err(failure) => failure.tell(),
    }
}
