//! The feed that a relay follows: the whole picture first, then every change within milliseconds.
//!
//! Nothing is queued for a slow relay. What it has not taken yet is looked up when it takes it, so a
//! relay that stalls costs a place in a list, and gets the newest state when it goes on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use postern_protocol::api::FeedLine;
use postern_protocol::id::{DeviceId, RelayId, VisitId};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::{Instrument, debug, info, info_span, warn};

use crate::documents::document;
use crate::entropy::entropy;
use crate::http::App;
use crate::lease::Leases;
use crate::record::BoxRules;
use crate::store::StoreError;

/// A relay that hears nothing for a few of these connects anew.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Boxes that are signed and sent in one piece; between pieces others get their turn.
const PIECE: usize = 64;

/// Signatures renewed at one heartbeat: twenty thousand boxes take half an hour of a lease of hours.
const RENEWED_AT_ONCE: usize = 64;

/// One relay's feed.
pub(crate) struct Feed {
    app: Arc<App>,
    relay: RelayId,
    /// Which feed of the relay this is, so that a newer one takes its place.
    name: String,
    rules: watch::Receiver<u64>,
    /// Rings when a visit is to end; none for a relay that does not understand it.
    cuts: Option<watch::Receiver<u64>>,
    heartbeat: Interval,
    /// The revision up to which the relay has been told everything.
    told: Option<u64>,
    leases: Leases,
    outbox: VecDeque<Outgoing>,
    span: tracing::Span,
}

/// What is to be sent, in the order of the feed.
enum Outgoing {
    Snapshot,
    Box(Box<BoxRules>),
    Commit(u64),
    Cut(VisitId),
    Heartbeat,
}

impl Feed {
    /// Begins a feed, in place of any older one of the same relay.
    pub(crate) async fn open(
        app: Arc<App>,
        relay: RelayId,
        relay_name: &str,
        understands_cuts: bool,
    ) -> Result<Self, StoreError> {
        let name = data_encoding::HEXLOWER.encode(&entropy::<8>());
        app.store.feed_opened(relay, &name, app.clock.now()).await?;
        let span = info_span!("feed", relay = relay_name);
        info!(parent: &span, "relay connected");
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeat.reset();
        Ok(Self {
            rules: app.store.rules_bell(),
            cuts: understands_cuts.then(|| app.store.cuts_bell()),
            leases: Leases::new(app.config.lease),
            told: None,
            outbox: VecDeque::new(),
            app,
            relay,
            name,
            heartbeat,
            span,
        })
    }

    /// The next piece, when there is something to say; nothing when the feed is over.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        let span = self.span.clone();
        let piece = async {
            while self.outbox.is_empty() {
                if !self.await_news().await? {
                    return Ok(None);
                }
            }
            Ok(Some(self.piece()))
        };
        let piece: Result<_, StoreError> = piece.instrument(span).await;
        piece.unwrap_or_else(|error| {
            warn!(parent: &self.span, error = &error as &dyn std::error::Error, "the feed broke off");
            None
        })
    }

    /// Waits for something to say and puts it into the outbox; false when the feed is over.
    async fn await_news(&mut self) -> Result<bool, StoreError> {
        if self.told.is_none() {
            self.collect_changes().await?;
            self.collect_cuts().await?;
            return Ok(true);
        }
        tokio::select! {
            () = self.app.stop.cancelled() => return Ok(false),
            changed = self.rules.changed() => {
                if changed.is_err() || !self.is_current().await? {
                    return Ok(false);
                }
                self.collect_changes().await?;
            }
            () = rings(&mut self.cuts) => self.collect_cuts().await?,
            _ = self.heartbeat.tick() => {
                if !self.is_current().await? {
                    return Ok(false);
                }
                self.collect_renewals().await?;
                // Somebody may have asked another process, and what was said may have been lost.
                self.collect_cuts().await?;
                self.outbox.push_back(Outgoing::Heartbeat);
            }
        }
        Ok(true)
    }

    async fn is_current(&self) -> Result<bool, StoreError> {
        let current = self.app.store.feed_is_current(self.relay, &self.name).await?;
        if !current {
            info!(
                "the feed ends: the relay follows a newer one, or its token was changed, or it was removed"
            );
        }
        Ok(current)
    }

    /// Everything since the revision that the relay knows; to begin with, everything.
    async fn collect_changes(&mut self) -> Result<(), StoreError> {
        self.rules.mark_unchanged();
        let changes = self.app.store.changes(self.told, self.app.clock.now()).await?;
        if self.told.is_none() {
            self.outbox.push_back(Outgoing::Snapshot);
        }
        debug!(revision = changes.revision, boxes = changes.boxes.len(), "telling");
        self.outbox.extend(changes.boxes.into_iter().map(|rules| Outgoing::Box(Box::new(rules))));
        self.outbox.push_back(Outgoing::Commit(changes.revision));
        self.told = Some(changes.revision);
        Ok(())
    }

    /// Fresh signatures for boxes whose lease is half over.
    async fn collect_renewals(&mut self) -> Result<(), StoreError> {
        let now = self.app.clock.now();
        let due = self.leases.due(now, RENEWED_AT_ONCE);
        for device in &due {
            match self.app.store.rules_of(*device, now).await? {
                Some(rules) => self.outbox.push_back(Outgoing::Box(Box::new(rules))),
                None => self.leases.forget(*device),
            }
        }
        if let (Some(told), false) = (self.told, due.is_empty()) {
            self.outbox.push_back(Outgoing::Commit(told));
        }
        Ok(())
    }

    /// Visits that are to end, until the relay has told their end.
    async fn collect_cuts(&mut self) -> Result<(), StoreError> {
        if self.cuts.is_some() {
            let cuts = self.app.store.pending_cuts(self.relay).await?;
            self.outbox.extend(cuts.into_iter().map(Outgoing::Cut));
        }
        Ok(())
    }

    /// Signs and writes down as much of the outbox as goes in one piece.
    fn piece(&mut self) -> Bytes {
        let now = self.app.clock.now();
        let most = PIECE.min(self.outbox.len());
        let outgoing: Vec<Outgoing> = self.outbox.drain(..most).collect();
        let mut piece = Vec::new();
        for outgoing in outgoing {
            let line = self.line(outgoing, now);
            serde_json::to_writer(&mut piece, &line).expect("lines of the feed have only JSON's shapes");
            piece.push(b'\n');
        }
        piece.into()
    }

    fn line(&mut self, outgoing: Outgoing, now: DateTime<Utc>) -> FeedLine {
        match outgoing {
            Outgoing::Snapshot => FeedLine::Snapshot,
            Outgoing::Heartbeat => FeedLine::Heartbeat,
            Outgoing::Cut(visit) => FeedLine::Cut { visit },
            Outgoing::Box(rules) if rules.deleted => self.gone(rules.device),
            Outgoing::Box(rules) => {
                self.leases.signed(rules.device, now);
                let grants = self.app.signer.sign(&document(&rules, now, self.app.config.lease));
                FeedLine::Box { device: rules.device, key: rules.key, grants }
            }
            Outgoing::Commit(revision) => {
                self.app.signed.send_if_modified(|signed| {
                    let newer = revision > *signed;
                    *signed = revision.max(*signed);
                    newer
                });
                FeedLine::Commit { revision }
            }
        }
    }

    fn gone(&mut self, device: DeviceId) -> FeedLine {
        self.leases.forget(device);
        FeedLine::Gone { device }
    }
}

async fn rings(bell: &mut Option<watch::Receiver<u64>>) {
    let rang = match bell {
        Some(bell) => bell.changed().await.is_ok(),
        None => false,
    };
    if !rang {
        std::future::pending::<()>().await;
    }
}

/// However a feed ends, the relay does not follow it any more.
impl Drop for Feed {
    fn drop(&mut self) {
        info!(parent: &self.span, "relay disconnected");
        let (app, relay, name) = (self.app.clone(), self.relay, std::mem::take(&mut self.name));
        let tracker = app.tasks.clone();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        tracker.spawn_on(
            async move {
                if let Err(error) = app.store.feed_closed(relay, &name).await {
                    warn!(error = &error as &dyn std::error::Error, "noting that a relay is gone");
                }
            },
            &runtime,
        );
    }
}
