//! Follows the control API's feed of rules, and never gives up.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use postern_protocol::api::FeedLine;
use postern_protocol::grant::MAX_BODY;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::audit::ongoing::Ongoing;
use crate::backoff::Backoff;
use crate::identity::{Enrolment, Registrar};
use crate::metrics::Metrics;
use crate::rulebook::Rulebook;

/// The feed beats every five seconds; without a beat for so long, it is dead.
const SILENCE: Duration = Duration::from_secs(15);

/// The longest line: a full document in base64, and what stands around it.
const MAX_LINE: usize = MAX_BODY / 3 * 4 + 4 * 1024;

/// What following the feed takes.
pub(crate) struct Feed {
    pub(crate) registrar: Arc<Registrar>,
    pub(crate) enrolment: Enrolment,
    /// Whether the control API has been told that this relay is here, since it was last reached.
    pub(crate) greeted: bool,
    pub(crate) rulebook: Rulebook,
    /// The visits that may have to end.
    pub(crate) ongoing: Ongoing,
    pub(crate) metrics: Metrics,
}

impl Feed {
    /// Follows until told to stop. While the feed is away, the last good rules stay in force.
    pub(crate) async fn follow(mut self, stop: CancellationToken) {
        let mut backoff = Backoff::default();
        loop {
            let followed = tokio::select! {
                followed = self.follow_once(&mut backoff) => followed,
                () = stop.cancelled() => return,
            };
            self.metrics.feed_connected.set(0);
            if let Err(error) = followed {
                tracing::warn!("the feed of rules is away, the last good ones stay in force: {error:#}");
            }
            tokio::select! {
                () = backoff.pause() => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn follow_once(&mut self, backoff: &mut Backoff) -> anyhow::Result<()> {
        if !std::mem::take(&mut self.greeted) {
            self.registrar.greet(&self.enrolment).await?;
        }
        let mut feed = self.registrar.api.feed().await?;
        tracing::info!("following the feed of rules");
        self.metrics.feed_connected.set(1);
        let mut unread = Vec::new();
        loop {
            let chunk = timeout(SILENCE, feed.chunk()).await.context("the feed went silent")??;
            let Some(chunk) = chunk else { bail!("the feed ended") };
            unread.extend_from_slice(&chunk);
            let whole = unread.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            for line in unread[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                self.take(line)?;
                backoff.reset();
            }
            unread.drain(..whole);
            ensure!(unread.len() <= MAX_LINE, "a line of the feed has no end");
        }
    }

    /// A line that cannot be read ends the connection, since what follows may rest on it; a document
    /// that is not to be believed is left aside, and the box keeps its last good one.
    fn take(&self, line: &[u8]) -> anyhow::Result<()> {
        let line: FeedLine = serde_json::from_slice(line).context("a line of the feed")?;
        if let FeedLine::Cut { visit } = line {
            self.ongoing.cut(visit);
            return Ok(());
        }
        if let Err(error) = self.rulebook.apply(line) {
            self.metrics.rules_rejected.inc();
            tracing::warn!(error = &error as &dyn std::error::Error, "rules were not taken");
        }
        self.metrics.revision.set(self.rulebook.revision());
        Ok(())
    }
}
