//! The rules on disk, so that a relay enforces them whether or not the control API answers.
//!
//! The file is a feed: every box as it was once, and behind it every change since, each on disk before
//! it is reported. So a revocation that somebody was told of stays one, whatever is killed. Reading it
//! back is following it, with every signature checked; once the changes outweigh the rest, the file is
//! written anew.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use postern_protocol::api::FeedLine;
use postern_protocol::id::DeviceId;
use tokio_util::sync::CancellationToken;

use super::{Book, Rulebook};
use crate::files::{self, PRIVATE};

/// The file, in the state directory.
pub(super) const FILE: &str = "rules.jsonl";

/// Changes of fewer bytes are not worth writing everything anew.
const FEW: u64 = 1024 * 1024;

impl Rulebook {
    /// Takes up what was kept, if the control API signed it.
    pub(crate) fn load(&self, state_dir: &Path) -> anyhow::Result<()> {
        let path = state_dir.join(FILE);
        let named = || format!("reading {}", path.display());
        let kept = files::read(&path).with_context(named)?.unwrap_or_default();
        for line in kept.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let line = serde_json::from_slice::<FeedLine>(line).map_err(anyhow::Error::from);
            if let Err(error) = line.and_then(|line| Ok(self.apply(line)?)) {
                tracing::warn!("a kept rule is not believed: {error:#}");
            }
        }
        Ok(())
    }

    /// Every box as a line of a feed, and what that is; from here on, it counts as kept.
    fn take_everything(&self) -> Lines {
        let mut book = self.write();
        book.unkept.clear();
        book.lines(book.boxes.keys().copied())
    }

    /// The same of the boxes that changed.
    fn take_changes(&self) -> Lines {
        let mut book = self.write();
        let changed = std::mem::take(&mut book.unkept);
        book.lines(changed)
    }
}

impl Book {
    fn lines(&self, boxes: impl IntoIterator<Item = DeviceId>) -> Lines {
        let line = |device| match self.boxes.get(&device) {
            None => FeedLine::Gone { device },
            Some(entry) => FeedLine::Box { device, key: entry.key.clone(), grants: entry.document.clone() },
        };
        let commit = FeedLine::Commit { revision: self.revision };
        Lines { revision: self.revision, lines: boxes.into_iter().map(line).chain([commit]).collect() }
    }
}

/// A part of a feed that ends in a commit, and its revision.
struct Lines {
    revision: u64,
    lines: Vec<FeedLine>,
}

impl Lines {
    fn text(&self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        for line in &self.lines {
            serde_json::to_writer(&mut text, line)?;
            text.push(b'\n');
        }
        Ok(text)
    }
}

/// The file of one life of a relay.
pub(super) struct Archive {
    path: PathBuf,
    /// None before this life has written anything, and after a failure.
    file: Option<File>,
    whole: u64,
    changes: u64,
}

impl Archive {
    pub(super) fn new(state_dir: &Path) -> Self {
        Self { path: state_dir.join(FILE), file: None, whole: 0, changes: 0 }
    }

    /// Brings the file up to date, and says to which revision.
    pub(super) fn update(&mut self, rulebook: &Rulebook) -> io::Result<u64> {
        match self.file.take() {
            Some(file) if self.changes <= self.whole.max(FEW) => self.append(file, rulebook.take_changes()),
            _ => self.rewrite(&rulebook.take_everything()),
        }
    }

    fn append(&mut self, mut file: File, changes: Lines) -> io::Result<u64> {
        let text = changes.text()?;
        file.write_all(&text)?;
        file.sync_data()?;
        self.changes += text.len() as u64;
        self.file = Some(file);
        Ok(changes.revision)
    }

    fn rewrite(&mut self, everything: &Lines) -> io::Result<u64> {
        let text = everything.text()?;
        files::replace(&self.path, PRIVATE, &text)?;
        self.file = Some(files::create_log(&self.path)?);
        (self.whole, self.changes) = (text.len() as u64, 0);
        Ok(everything.revision)
    }
}

/// Keeps the rules on disk as they change, as often as the disk keeps up.
pub(crate) async fn keep(rulebook: Rulebook, state_dir: PathBuf, stop: CancellationToken) {
    let mut reading = rulebook.reading();
    let mut archive = Archive::new(&state_dir);
    loop {
        // At first everything, since the feed may already have been heard.
        reading.mark_read();
        archive = update(archive, &rulebook).await;
        tokio::select! {
            () = reading.changed() => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Writing waits for the disk, so it is done where waiting is allowed.
async fn update(mut archive: Archive, rulebook: &Rulebook) -> Archive {
    let book = rulebook.clone();
    let updated = tokio::task::spawn_blocking(move || {
        let updated = archive.update(&book);
        (archive, updated)
    });
    let (archive, updated) = updated.await.expect("writing rules down does not panic");
    let revision = updated.unwrap_or_else(|error| {
        // They are in force all the same; a full disk must not look like a relay that enforces nothing.
        tracing::warn!(%error, "the rules are in force but could not be kept");
        rulebook.revision()
    });
    rulebook.kept.send_replace(revision);
    archive
}
