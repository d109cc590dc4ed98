//! Tells the control API which rules are in force here, and who is here.

use std::time::Duration;

use postern_protocol::api::PresenceReport;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::backoff::Backoff;
use crate::registry::Registry;
use crate::rulebook::Rulebook;

/// Presence is a lease of fifteen seconds, renewed three times as often.
const EVERY: Duration = Duration::from_secs(5);

/// Reports at every change and every few seconds, until told to stop.
pub(crate) async fn run(api: Api, rulebook: Rulebook, registry: Registry, stop: CancellationToken) {
    let mut in_force = rulebook.kept();
    let mut backoff = Backoff::default();
    // After a failure nobody knows what arrived, so the next report is complete.
    let mut complete = true;
    loop {
        let boxes = if complete { registry.everybody() } else { registry.take_changes() };
        let report = PresenceReport { in_force: *in_force.borrow_and_update(), complete, boxes };
        let sent = tokio::select! {
            sent = api.presence(&report) => sent,
            () = stop.cancelled() => return,
        };
        let pause = match sent {
            Ok(()) => {
                backoff.reset();
                complete = false;
                EVERY
            }
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "nobody heard who is here");
                complete = true;
                backoff.next(rand::random())
            }
        };
        tokio::select! {
            () = sleep(pause) => {}
            Ok(()) = in_force.changed(), if !complete => {}
            () = registry.changed(), if !complete => {}
            () = stop.cancelled() => return,
        }
    }
}
