//! An agent that was built without the feature `shell`: the box's own SSH server is the only one.

use std::path::Path;
use std::sync::Arc;

use anyhow::bail;
use postern_protocol::ssh_key::PublicKey;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::config::SshSettings;

#[path = "guest.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "there is no server to look at a guest, nor anybody to name one"
)]
mod guest;

pub(crate) use guest::Guest;

/// What the owner would decide about a server of the agent's own.
pub(crate) struct Settings;

impl From<&SshSettings> for Settings {
    fn from(_: &SshSettings) -> Self {
        Self
    }
}

/// The agent's own SSH server, of which there is none.
pub(crate) enum Shell {}

impl Shell {
    /// Fails.
    pub(crate) fn open(_: Settings, _: &Path) -> anyhow::Result<Arc<Self>> {
        bail!("this agent was built without the feature shell")
    }

    /// Never happens.
    pub(crate) fn host_key(&self) -> PublicKey {
        match *self {}
    }

    /// Never happens.
    pub(crate) fn version(&self) -> &str {
        match *self {}
    }

    /// Never happens.
    #[expect(clippy::unused_async, reason = "it stands in for one that waits")]
    pub(crate) async fn serve(self: &Arc<Self>, _: impl AsyncRead + AsyncWrite, _: Guest) {
        match **self {}
    }
}
