//! Audit records on disk, until the control API has them.
//!
//! One file of lines. A record is written before whoever asked for it goes on, so that killing the
//! relay loses none; it is synced, together with those that came meanwhile, before it is told. Once
//! most of the file was told, it is written anew with what was not and with the visits that still go
//! on, because those must be ended by the next life of this relay if this one is killed.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postern_protocol::api::{VisitEvent, VisitEvents, VisitOutcome};
use postern_protocol::id::{RelayId, VisitId};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::orphans;
use crate::api::Api;
use crate::backoff::Backoff;
use crate::files::{self, PRIVATE};
use crate::metrics::Metrics;

/// The file, in the state directory.
const FILE: &str = "audit.jsonl";

/// Records told at once.
const BATCH: usize = 256;

/// What was told may lie on disk up to this size, or that of what was not, whichever is more: so the
/// file is written anew rarely, and each time at least half of it goes.
const TOLD_BYTES: u64 = 256 * 1024;

/// A stopping relay tries this long to tell what is left; the rest waits on disk.
const LAST_TRY: Duration = Duration::from_secs(3);

/// Where records are written, and wait.
#[derive(Clone)]
pub(crate) struct Spool(Arc<Shared>);

struct Shared {
    shelf: Mutex<Shelf>,
    news: Notify,
}

/// The records that wait, in memory and on disk.
struct Shelf {
    path: PathBuf,
    file: File,
    /// Whether the file holds what may not have reached the disk.
    unsynced: bool,
    bytes: u64,
    told_bytes: u64,
    most: u64,
    waiting: VecDeque<Waiting>,
    open: HashMap<VisitId, VisitEvent>,
    metrics: Metrics,
}

/// A record, and how much of the file is its.
struct Waiting {
    event: VisitEvent,
    bytes: u64,
}

impl Spool {
    /// Takes up what a former life left, and ends the visits that it could not end.
    ///
    /// Records of another relay, whose state directory this was, are left out: the control API takes
    /// them from nobody else.
    pub(crate) fn open(state_dir: &Path, relay: RelayId, most: u64, metrics: Metrics) -> io::Result<Self> {
        let shelf = Mutex::new(Shelf::open(state_dir, relay, most, metrics)?);
        Ok(Self(Arc::new(Shared { shelf, news: Notify::new() })))
    }

    /// Writes a record. This is a short write to memory that the system owns, so it may be done
    /// anywhere; from then on the record survives this process.
    pub(crate) fn write(&self, event: VisitEvent) {
        self.shelf().append(event);
        self.0.news.notify_one();
    }

    /// Makes what was written survive the machine as well.
    async fn sync(&self) {
        let Some(file) = self.shelf().take_unsynced() else { return };
        let synced = tokio::task::spawn_blocking(move || file?.sync_data()).await;
        if let Err(error) = synced.map_err(io::Error::other).flatten() {
            tracing::warn!(%error, "audit records could not be synced");
            self.shelf().unsynced = true;
        }
    }

    /// So many of the oldest are told. They are forgotten at once, whatever becomes of the rest.
    async fn told(&self, count: usize) {
        if !self.shelf().told(count) {
            return;
        }
        let spool = self.clone();
        let rewritten = tokio::task::spawn_blocking(move || spool.shelf().rewrite()).await;
        if let Err(error) = rewritten.map_err(io::Error::other).flatten() {
            tracing::warn!(%error, "told audit records could not be removed; they may be told again");
        }
    }

    fn oldest(&self, most: usize) -> Vec<VisitEvent> {
        self.shelf().waiting.iter().take(most).map(|waiting| waiting.event.clone()).collect()
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.0.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn open(state_dir: &Path, relay: RelayId, most: u64, metrics: Metrics) -> io::Result<Self> {
        let path = state_dir.join(FILE);
        let mut events = parse(&files::read(&path)?.unwrap_or_default());
        events.retain(|event| event.0.relay == relay);
        events.extend(orphans(&events));
        let waiting = events.into_iter().map(|event| Waiting { bytes: length(&line(&event)), event });
        let mut shelf = Self {
            file: files::create_log(&path)?,
            path,
            unsynced: false,
            bytes: 0,
            told_bytes: 0,
            most,
            waiting: waiting.collect(),
            open: HashMap::new(),
            metrics,
        };
        shelf.rewrite()?;
        Ok(shelf)
    }

    /// Puts a record into the file. When there is no room or the disk fails, it is counted as lost
    /// rather than told without having been kept.
    fn append(&mut self, event: VisitEvent) {
        let line = line(&event);
        let bytes = length(&line);
        let written = match self.bytes + bytes <= self.most {
            true => self.file.write_all(&line),
            false => Err(io::Error::other("the limit for audit records on disk is reached")),
        };
        if let Err(error) = written {
            // A line that was written in part would spoil the next one.
            let _ = self.file.set_len(self.bytes);
            self.metrics.audit_dropped.inc();
            tracing::warn!(%error, "an audit record was lost");
            return;
        }
        self.unsynced = true;
        self.bytes += bytes;
        match event.0.outcome {
            VisitOutcome::Open => self.open.insert(event.0.id, event.clone()),
            VisitOutcome::Ended | VisitOutcome::Refused => self.open.remove(&event.0.id),
        };
        self.waiting.push_back(Waiting { event, bytes });
        self.metrics.audit_waiting_bytes.set(self.bytes - self.told_bytes);
    }

    /// Says whether it is time to write the file anew.
    fn told(&mut self, count: usize) -> bool {
        self.told_bytes += self.waiting.drain(..count).map(|told| told.bytes).sum::<u64>();
        self.metrics.audit_waiting_bytes.set(self.bytes - self.told_bytes);
        let tolerated = TOLD_BYTES.min(self.most / 2).max(self.bytes - self.told_bytes);
        self.told_bytes > tolerated
    }

    fn take_unsynced(&mut self) -> Option<io::Result<File>> {
        std::mem::take(&mut self.unsynced).then(|| self.file.try_clone())
    }

    /// Leaves only what matters on disk: what waits, and visits that still go on.
    fn rewrite(&mut self) -> io::Result<()> {
        let waiting = self.waiting.iter().map(|waiting| &waiting.event);
        let text: Vec<u8> = self.open.values().chain(waiting).flat_map(line).collect();
        files::replace(&self.path, PRIVATE, &text)?;
        self.file = files::create_log(&self.path)?;
        (self.bytes, self.told_bytes, self.unsynced) = (length(&text), 0, false);
        self.metrics.audit_waiting_bytes.set(self.bytes);
        Ok(())
    }
}

fn line(event: &VisitEvent) -> Vec<u8> {
    let mut line = serde_json::to_vec(event).expect("a record has no shape that JSON lacks");
    line.push(b'\n');
    line
}

fn length(text: &[u8]) -> u64 {
    u64::try_from(text.len()).expect("a length fits")
}

/// The records of a file. A last line that was cut off by a crash was never told to anybody.
fn parse(text: &[u8]) -> Vec<VisitEvent> {
    text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

/// Syncs and tells what is written down, until told to stop.
pub(crate) async fn run(spool: Spool, api: Api, stop: CancellationToken) {
    let mut teller = Teller { spool, api, backoff: Backoff::default(), batch: BATCH };
    tokio::select! {
        () = teller.tell_forever() => {}
        () = stop.cancelled() => {}
    }
    let _ = timeout(LAST_TRY, teller.tell_the_rest()).await;
    // What was told need not be told again by the next life.
    if let Err(error) = teller.spool.shelf().rewrite() {
        tracing::warn!(%error, "the audit could not be put in order");
    }
}

/// The one who tells the control API.
struct Teller {
    spool: Spool,
    api: Api,
    backoff: Backoff,
    /// How many records it tells at once now.
    batch: usize,
}

impl Teller {
    async fn tell_forever(&mut self) {
        loop {
            self.tell_the_rest().await;
            self.spool.0.news.notified().await;
        }
    }

    async fn tell_the_rest(&mut self) {
        loop {
            self.spool.sync().await;
            let events = self.spool.oldest(self.batch);
            if events.is_empty() {
                return;
            }
            self.tell(events).await;
        }
    }

    /// Tells records once, and waits a while if that was in vain.
    async fn tell(&mut self, events: Vec<VisitEvent>) {
        let count = events.len();
        match self.api.visits(&VisitEvents { events }).await {
            Ok(()) => {
                self.backoff.reset();
                self.batch = (self.batch * 2).min(BATCH);
                self.spool.told(count).await;
            }
            // One that the control API will never take must not take others along.
            Err(error) if error.is_final() && count > 1 => {
                tracing::debug!(error = &error as &dyn std::error::Error, count, "told one by one");
                self.batch = 1;
            }
            Err(error) if error.is_final() => {
                tracing::warn!(%error, "the control API does not take an audit record");
                self.spool.told(count).await;
            }
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, count, "audit records wait");
                self.pause().await;
            }
        }
    }

    /// What comes meanwhile is synced all the same.
    async fn pause(&mut self) {
        let mut pause = pin!(self.backoff.pause());
        loop {
            tokio::select! {
                () = &mut pause => return,
                () = self.spool.0.news.notified() => self.spool.sync().await,
            }
        }
    }
}

#[cfg(test)]
mod tests;
