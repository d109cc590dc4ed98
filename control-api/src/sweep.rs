//! Looks for what happens by itself, and has webhooks told of it.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::sleep;
use tracing::warn;

use crate::http::App;
use crate::record::PRESENCE_LEASE;
use crate::store::StoreError;

/// How often to look although no relay reported: time passes by itself.
const LOOK: Duration = Duration::from_secs(5);

/// How long to rest after a look: relays report every few seconds each, and there may be many.
const REST: Duration = Duration::from_secs(1);

/// Looks until the API stops.
pub(crate) async fn run(app: Arc<App>) {
    let (since, mut reports) = (app.clock.now(), app.store.presence_bell());
    loop {
        reports.mark_unchanged();
        if let Err(error) = look(&app, since).await {
            warn!(error = &error as &dyn std::error::Error, "looking for what happens by itself");
        }
        tokio::select! {
            () = sleep(REST) => {}
            () = app.stop.cancelled() => return,
        }
        tokio::select! {
            _ = reports.changed() => {}
            () = sleep(LOOK) => {}
            () = app.stop.cancelled() => return,
        }
    }
}

/// Relays could not report while the API was away, so until each has had its time nobody counts as gone.
async fn look(app: &App, since: DateTime<Utc>) -> Result<(), StoreError> {
    while app.store.tell_expired(app.clock.now()).await? {}
    let now = app.clock.now();
    while app.store.tell_presence(now, since + PRESENCE_LEASE <= now).await? {}
    Ok(())
}
