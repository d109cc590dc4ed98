//! The agent: runs on the box, dials out, and serves each visit by connecting to a local service.
//!
//! It listens on nothing but a local socket for its owner, and writes nothing but its state
//! directory and the keys files that its configuration names.

mod config;

pub use config::{
    Config, InvalidConfig, InvalidServices, KeysSettings, KeysStyle, Services, SshChoice, SshSettings,
};
