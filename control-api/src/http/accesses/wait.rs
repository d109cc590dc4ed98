//! Waiting for a rule to be in force, and saying how far it has come.

use chrono::{DateTime, Utc};
use postern_protocol::api::{Created, Progress};
use postern_protocol::id::AccessId;
use tokio::time::{Duration, Instant, sleep_until};

use super::{not_found, view};
use crate::http::App;
use crate::http::error::ApiError;
use crate::record::{AccessRecord, DeviceRecord, RelayRecord};
use crate::status::Standing;
use crate::store::Account;

/// Looks again after this long although no bell rang: relays may report to another process.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The longest that a change waits for relays. It is on disk by then, and holds whatever they do; but
/// whoever reads the answer may believe that it is in force.
const ENFORCED_WITHIN: Duration = Duration::from_secs(1);

/// Waits until every connected relay enforces what was just changed, or until patience ends.
pub(in crate::http) async fn until_enforced(app: &App) -> Result<(), ApiError> {
    let deadline = Instant::now() + ENFORCED_WITHIN;
    let revision = app.store.revision().await?;
    let mut presence = app.store.presence_bell();
    loop {
        presence.mark_unchanged();
        let now = app.clock.now();
        let relays = app.store.relays().await?;
        let mut connected = relays.iter().filter(|relay| relay.is_connected(now));
        if connected.all(|relay| relay.in_force >= revision) || Instant::now() >= deadline {
            return Ok(());
        }
        tokio::select! {
            _ = presence.changed() => {}
            () = app.stop.cancelled() => return Ok(()),
            () = sleep_until(deadline) => {}
        }
    }
}

/// Answers once the access works, once it is plain that waiting will not help, or when patience ends.
pub(super) async fn until_active(
    app: &App,
    account: &Account,
    id: AccessId,
    started: Instant,
) -> Result<Created, ApiError> {
    let deadline = Instant::now() + app.patience;
    let (mut presence, mut signed) = (app.store.presence_bell(), app.signed.subscribe());
    let mut journey = Journey { started, progress: Vec::new() };
    loop {
        // Before looking, so that what rings meanwhile makes it look again.
        presence.mark_unchanged();
        signed.mark_unchanged();
        let now = app.clock.now();
        let (access, device) = account.access(id, now).await?.ok_or_else(not_found)?;
        let relays = app.store.relays().await?;
        journey.note(&access, &device, &relays, *signed.borrow(), now);
        let standing = Standing::of(&access, &device, &relays, now);
        let worth_waiting = matches!(standing, Standing::Pending(obstacle) if obstacle.passes());
        if !worth_waiting || Instant::now() >= deadline || app.stop.is_cancelled() {
            let access = view(&access, &device, &relays, now);
            return Ok(Created { access, progress: journey.progress });
        }
        tokio::select! {
            _ = presence.changed() => {}
            _ = signed.changed() => {}
            () = app.stop.cancelled() => {}
            () = sleep_until(deadline.min(Instant::now() + LOOK_AGAIN)) => {}
        }
    }
}

/// The places that a rule has reached, in order.
struct Journey {
    started: Instant,
    progress: Vec<Progress>,
}

impl Journey {
    fn note(
        &mut self,
        access: &AccessRecord,
        device: &DeviceRecord,
        relays: &[RelayRecord],
        signed: u64,
        now: DateTime<Utc>,
    ) {
        let enforcing =
            relays.iter().filter(|relay| relay.is_connected(now) && relay.in_force >= access.revision);
        let enforcing: Vec<String> = enforcing.map(|relay| format!("in force on {}", relay.name)).collect();
        if signed >= access.revision || !enforcing.is_empty() {
            self.reached("rule signed".to_owned());
        }
        enforcing.into_iter().for_each(|place| self.reached(place));
        if device.online(now).is_some_and(|presence| presence.holding >= access.revision) {
            self.reached(format!("{} has it", device.name));
        }
    }

    fn reached(&mut self, what: String) {
        if self.progress.iter().all(|place| place.what != what) {
            let after_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.progress.push(Progress { what, after_ms });
        }
    }
}
