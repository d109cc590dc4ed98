//! Removes, once an hour, what is older than the settings want it kept.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use crate::http::App;
use crate::store::{Aging, StoreError};

/// How often to look for what is too old.
const LOOK: Duration = Duration::from_secs(3600);

/// A rest between two transactions, so that whoever else writes has their turn.
const REST: Duration = Duration::from_millis(50);

/// Looks until the API stops.
pub(crate) async fn run(app: Arc<App>) {
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = look.tick() => {}
            () = app.stop.cancelled() => return,
        }
        if let Some(Err(error)) = app.stop.run_until_cancelled(prune(&app)).await {
            warn!(error = &error as &dyn std::error::Error, "removing what is too old");
        }
    }
}

/// Removes everything that is too old now.
pub(crate) async fn prune(app: &App) -> Result<(), StoreError> {
    let (now, keep) = (app.clock.now(), &app.config.retention);
    for (what, days) in
        [(Aging::Visits, keep.visits), (Aging::Events, keep.events), (Aging::Deliveries, keep.deliveries)]
    {
        let Some(before) = before(days, now) else { continue };
        while app.store.prune(what, before).await? {
            tokio::time::sleep(REST).await;
        }
    }
    if let Some(before) = before(keep.audit, now) {
        while app.store.prune_audit(before, now).await? {
            tokio::time::sleep(REST).await;
        }
    }
    Ok(())
}

/// What is kept for so many days is older than this when it goes; what is kept for good never is.
fn before(days: u16, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    (days > 0).then(|| now - TimeDelta::days(days.into()))
}
