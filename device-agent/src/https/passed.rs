//! An agent that was built without the feature `https`: TLS is the local page's own affair.

use std::convert::Infallible;

use postern_protocol::Refusal;
use postern_protocol::wire::Open;
use tokio_util::sync::CancellationToken;

use super::{Https, VisitStream, decline, look};
use crate::agent::Agent;
use crate::config::{HttpsSettings, LocalService};
use crate::serve::Stream;

/// A page that the agent shows, of which there is none.
pub(crate) enum Page {}

impl Page {
    /// Never happens.
    #[expect(clippy::unused_async, reason = "it stands in for one that waits")]
    pub(crate) async fn show(self, _: VisitStream, _: &CancellationToken) -> anyhow::Result<()> {
        match self {}
    }
}

/// Looks which certificate the local page shows.
pub(crate) async fn follow(agent: &Agent) -> Infallible {
    look::follow(agent).await
}

impl Https {
    /// Bytes are passed through.
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "it stands in for one that decides")]
    pub(crate) fn page(
        &self,
        _: &HttpsSettings,
        _: &Open,
        _: &LocalService,
    ) -> Result<Option<Page>, Refusal> {
        Ok(None)
    }

    /// No name is being proved.
    pub(crate) async fn answer_challenge(&self, name: &str, stream: Stream) {
        decline(name, stream).await;
    }
}
