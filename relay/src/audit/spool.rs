//! Audit records on disk, until the control API has them.
//!
//! One file of lines. A record is appended and synced before it is told; once everything was told,
//! the file is written anew with only the visits that still go on, because those must be ended by the
//! next life of this relay if this one is killed.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use postern_protocol::api::{VisitEvent, VisitEvents, VisitOutcome};
use postern_protocol::id::{RelayId, VisitId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::orphans;
use crate::api::{Api, ApiError};
use crate::backoff::Backoff;
use crate::files::{self, PRIVATE};
use crate::metrics::Metrics;

/// The file, in the state directory.
const FILE: &str = "audit.jsonl";

/// Records told at once.
const BATCH: usize = 256;

/// A stopping relay tries this long to tell what is left; the rest waits on disk.
const LAST_TRY: Duration = Duration::from_secs(3);

/// The records that wait, in memory and on disk.
pub(crate) struct Spool {
    path: PathBuf,
    file: File,
    bytes: u64,
    most: u64,
    waiting: VecDeque<VisitEvent>,
    open: HashMap<VisitId, VisitEvent>,
    metrics: Metrics,
}

impl Spool {
    /// Takes up what a former life left, and ends the visits that it could not end.
    ///
    /// Records of another relay, whose state directory this was, are left out: the control API takes
    /// them from nobody else, and they would stop all that come after them.
    pub(crate) fn open(state_dir: &Path, relay: RelayId, most: u64, metrics: Metrics) -> io::Result<Self> {
        let path = state_dir.join(FILE);
        let mut waiting = parse(&files::read(&path)?.unwrap_or_default());
        waiting.retain(|event| event.0.relay == relay);
        let orphans = orphans(waiting.make_contiguous());
        waiting.extend(orphans);
        let mut spool = Self {
            file: files::create_log(&path)?,
            path,
            bytes: 0,
            most,
            waiting,
            open: HashMap::new(),
            metrics,
        };
        spool.rewrite()?;
        Ok(spool)
    }

    /// Puts records on disk. When there is no room or the disk fails, they are counted as lost rather
    /// than told without having been kept.
    fn append(&mut self, events: Vec<VisitEvent>) {
        let text = lines(events.iter());
        let fits = self.bytes + text.len() as u64 <= self.most;
        let written = match fits {
            true => self.file.write_all(&text).and_then(|()| self.file.sync_data()),
            false => Err(io::Error::other("the limit for audit records on disk is reached")),
        };
        if let Err(error) = written {
            // A line that was written in part would spoil the next one.
            let _ = self.file.set_len(self.bytes);
            self.metrics.audit_dropped.inc_by(events.len() as u64);
            tracing::warn!(%error, records = events.len(), "audit records were lost");
            return;
        }
        self.bytes += text.len() as u64;
        self.metrics.audit_waiting_bytes.set(self.bytes);
        for event in events {
            match event.0.outcome {
                VisitOutcome::Open => self.open.insert(event.0.id, event.clone()),
                VisitOutcome::Ended | VisitOutcome::Refused => self.open.remove(&event.0.id),
            };
            self.waiting.push_back(event);
        }
    }

    /// The oldest records, to be told.
    fn batch(&self) -> Vec<VisitEvent> {
        self.waiting.iter().take(BATCH).cloned().collect()
    }

    /// So many of the oldest are told.
    fn told(&mut self, count: usize) {
        self.waiting.drain(..count);
        let worth_it = self.waiting.is_empty() || self.bytes > self.most / 2;
        if worth_it && let Err(error) = self.rewrite() {
            tracing::warn!(%error, "told audit records could not be removed; they will be told again");
        }
    }

    /// Leaves only what matters on disk: what waits, and visits that still go on.
    fn rewrite(&mut self) -> io::Result<()> {
        let text = lines(self.open.values().chain(&self.waiting));
        files::replace(&self.path, PRIVATE, &text)?;
        self.file = files::create_log(&self.path)?;
        self.bytes = text.len() as u64;
        self.metrics.audit_waiting_bytes.set(self.bytes);
        Ok(())
    }
}

fn lines<'a>(events: impl Iterator<Item = &'a VisitEvent>) -> Vec<u8> {
    let mut text = Vec::new();
    for event in events {
        serde_json::to_writer(&mut text, event).expect("a record has no shape that JSON lacks");
        text.push(b'\n');
    }
    text
}

/// The records of a file. A last line that was cut off by a crash was never told to anybody.
fn parse(text: &[u8]) -> VecDeque<VisitEvent> {
    text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

/// Keeps what is written down and tells it, until nobody writes any more.
pub(crate) async fn run(
    mut spool: Spool,
    mut records: mpsc::Receiver<VisitEvent>,
    api: Api,
    stop: CancellationToken,
) {
    let mut fresh = Vec::new();
    let mut telling = None;
    loop {
        // One batch is told at a time, and goes on being told while more is written down.
        if telling.is_none() && !spool.waiting.is_empty() {
            telling = Some(Box::pin(tell(api.clone(), spool.batch())));
        }
        tokio::select! {
            count = records.recv_many(&mut fresh, BATCH) => match count {
                0 => break,
                _ => spool = append(spool, std::mem::take(&mut fresh)).await,
            },
            told = async { telling.as_mut().expect("checked before").await }, if telling.is_some() => {
                spool = forget(spool, told).await;
                telling = None;
            }
        }
        if stop.is_cancelled() && records.is_closed() {
            break;
        }
    }
    drop(telling);
    while !spool.waiting.is_empty() {
        match tokio::time::timeout(LAST_TRY, api.visits(&VisitEvents { events: spool.batch() })).await {
            Ok(Ok(())) => spool.told(spool.batch().len()),
            _ => break,
        }
    }
}

/// Appending waits for the disk, so it is done where waiting is allowed.
async fn append(mut spool: Spool, events: Vec<VisitEvent>) -> Spool {
    let appended = tokio::task::spawn_blocking(move || {
        spool.append(events);
        spool
    });
    appended.await.expect("appending does not panic")
}

async fn forget(mut spool: Spool, told: usize) -> Spool {
    let forgotten = tokio::task::spawn_blocking(move || {
        spool.told(told);
        spool
    });
    forgotten.await.expect("forgetting does not panic")
}

/// Tells a batch, however long it takes, and says how many need not be told again.
async fn tell(api: Api, events: Vec<VisitEvent>) -> usize {
    let count = events.len();
    let mut backoff = Backoff::default();
    loop {
        match api.visits(&VisitEvents { events: events.clone() }).await {
            Ok(()) => return count,
            Err(error @ ApiError::Refused { .. }) if error.is_final() => {
                tracing::warn!(%error, count, "the control API does not take these audit records");
                return count;
            }
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, count, "audit records wait");
                backoff.pause().await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
