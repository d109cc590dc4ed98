//! The terms of an access, as `add` takes them and `edit` changes them.

use chrono::{DateTime, Utc};
use clap::Args;
use postern_protocol::access::Networks;
use postern_protocol::id::Login;

use crate::moments::date;

/// Who, from where, until when.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Terms {
    /// The SSH public key: a file, `-` for stdin, or the line itself
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<String>,
    /// How long it lasts from now, such as 2h, 90m or 1d12h
    #[arg(long = "for", id = "for", value_name = "SPAN", conflicts_with = "until")]
    pub(crate) lasts: Option<String>,
    /// When it ends, such as 2026-11-21T18:00:00Z
    #[arg(long, value_name = "DATE", value_parser = date)]
    pub(crate) until: Option<DateTime<Utc>>,
    /// An address or block that may come in; may be repeated
    #[arg(long, value_name = "CIDR", value_delimiter = ',', value_parser = network)]
    pub(crate) from: Vec<String>,
    /// Let whole address families in: goes with --from 0.0.0.0/0 or ::/0
    #[arg(long)]
    pub(crate) allow_any: bool,
    /// The user on the box
    #[arg(long)]
    pub(crate) login: Option<Login>,
    /// A note for people
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<String>,
}

impl Terms {
    /// The names of the terms, of which an edit changes at least one.
    pub(crate) const ALL: [&str; 7] = ["key", "for", "until", "from", "allow_any", "login", "note"];
}

/// An address or block in its one form, so that a slip is found before anything is asked.
fn network(text: &str) -> Result<String, String> {
    Networks::parse(&[text]).map(|network| network.to_string()).map_err(|problem| problem.to_string())
}
