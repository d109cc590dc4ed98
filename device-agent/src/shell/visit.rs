//! One connection, as all its tasks see it.

use std::sync::Arc;

use postern_protocol::access::Denial;
use russh::ChannelOpenFailure;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::account::{self, Account, Barred};
use super::channels::Channels;
use super::{Guest, Settings, Shell};

/// One connection.
pub(super) struct Visit {
    pub(super) guest: Guest,
    /// Who the guest is on this box, or why they cannot be.
    pub(super) account: Result<Account, Barred>,
    pub(super) channels: Arc<Channels>,
    /// Everything that the visit does; none of it outlives the visit.
    pub(super) tasks: TaskTracker,
    /// Cancelled once the key is proved.
    pub(super) logged_in: CancellationToken,
    /// Cancelled when the connection is gone.
    pub(super) over: CancellationToken,
    shell: Arc<Shell>,
}

/// SSH's code for an open that policy forbids (RFC 4254, section 5.1).
const PROHIBITED: u32 = 1;

/// SSH's code for an open that failed on the way.
const CONNECT_FAILED: u32 = 2;

impl Visit {
    pub(super) async fn new(shell: &Arc<Shell>, guest: Guest) -> Arc<Self> {
        let account = account::look_up(&guest.login, &shell.settings.system_accounts).await;
        Arc::new(Self {
            guest,
            account,
            channels: Arc::default(),
            tasks: TaskTracker::new(),
            logged_in: CancellationToken::new(),
            over: CancellationToken::new(),
            shell: Arc::clone(shell),
        })
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.shell.settings
    }

    /// Asks once more whether the access lets the guest in.
    pub(super) fn allowed(&self) -> Result<(), Denial> {
        (self.guest.allowed)()
    }

    /// What the client is told when the visit is ended from outside.
    pub(super) fn why_it_ended(&self) -> String {
        match self.allowed() {
            Err(denial) => denial.to_string(),
            Ok(()) => "the visit was ended".to_owned(),
        }
    }

    /// Whether a channel may be opened now.
    pub(super) fn admit_channel(&self) -> Result<(), ChannelOpenFailure> {
        self.allowed().map_err(prohibited)?;
        match self.channels.is_full() {
            true => Err(ChannelOpenFailure::ResourceShortage),
            false => Ok(()),
        }
    }

    /// Whether a channel that leaves the box may be opened now; only real accounts forward.
    pub(super) fn admit_forwarding(&self) -> Result<&Account, ChannelOpenFailure> {
        self.admit_channel()?;
        self.account.as_ref().map_err(prohibited)
    }
}

/// A refusal by policy, in words that the client shows.
pub(super) fn prohibited(reason: impl ToString) -> ChannelOpenFailure {
    ChannelOpenFailure::Other { code: PROHIBITED, reason: reason.to_string() }
}

/// A failure on the way, in words that the client shows.
pub(super) fn connect_failed(reason: impl ToString) -> ChannelOpenFailure {
    ChannelOpenFailure::Other { code: CONNECT_FAILED, reason: reason.to_string() }
}
