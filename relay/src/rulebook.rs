//! The rules in force.
//!
//! Only documents that the control API signed come in, the newest of each box stays, and whoever
//! decides reads them where they are. They outlive the control API's absence, in memory and on disk,
//! and nothing in here opens wider because something is away.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use chrono::{DateTime, Utc};
use postern_protocol::access::{Attempt, Denial, Entrance, Permit, PublicPort, Rule, Rules, Verdict, decide};
use postern_protocol::api::FeedLine;
use postern_protocol::grant::{GrantVerifier, Grants, SignedGrants};
use postern_protocol::id::{AccessId, DeviceId, DeviceName, Login, RelayId};
use tokio::sync::watch;

use crate::session::Call;

pub(crate) mod archive;
#[cfg(test)]
mod tests;

/// The port of a box's own page.
const WEB_PORT: u16 = 443;

/// The rules, shared by all that decide.
#[derive(Clone)]
pub(crate) struct Rulebook {
    verifier: GrantVerifier,
    book: Arc<RwLock<Book>>,
    changed: Arc<watch::Sender<u64>>,
    /// The revision that is in force and on disk.
    kept: Arc<watch::Sender<u64>>,
}

#[derive(Default)]
struct Book {
    rules: Rules,
    boxes: HashMap<DeviceId, Entry>,
    /// The box that each label in the domain of a TLS front names.
    labels: HashMap<DeviceName, DeviceId>,
    revision: u64,
    /// Boxes that changed since they were last kept, renewals of leases included.
    unkept: HashSet<DeviceId>,
    /// Whether something of this feed was not believed: then not everything is in force.
    rejected: bool,
    /// While a whole picture comes in: the boxes that are in it.
    snapshot: Option<HashSet<DeviceId>>,
}

/// What is known of a box.
#[derive(Clone)]
struct Entry {
    name: DeviceName,
    label: DeviceName,
    key: Option<String>,
    revision: u64,
    signed_at: DateTime<Utc>,
    document: SignedGrants,
}

/// What a public port or a host name leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    /// The access, unless any of the box's will do.
    pub(crate) access: Option<AccessId>,
    pub(crate) device: DeviceId,
    pub(crate) port: u16,
}

/// A reader's place: it decides, and waits for changes since it last did.
pub(crate) struct Reading {
    rulebook: Rulebook,
    changed: watch::Receiver<u64>,
}

/// A line that was not believed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Rejected {
    #[error("rules of a box that are not to be believed")]
    Untrusted(#[from] postern_protocol::grant::Untrusted),
    #[error("the rules of the box {0} under the name of another")]
    OtherBox(DeviceId),
}

impl Rulebook {
    /// An empty book, which lets nobody in.
    pub(crate) fn new(verifier: GrantVerifier) -> Self {
        let zero = || Arc::new(watch::Sender::new(0));
        Self { verifier, book: Arc::default(), changed: zero(), kept: zero() }
    }

    /// Begins to read.
    pub(crate) fn reading(&self) -> Reading {
        Reading { rulebook: self.clone(), changed: self.changed.subscribe() }
    }

    /// Applies one line of the feed; it is in force when this returns.
    pub(crate) fn apply(&self, line: FeedLine) -> Result<(), Rejected> {
        match line {
            FeedLine::Heartbeat | FeedLine::Cut { .. } => return Ok(()),
            FeedLine::Snapshot => {
                let mut book = self.write();
                book.snapshot = Some(HashSet::new());
                book.rejected = false;
                return Ok(());
            }
            // Readers are told at the commit, which follows at once.
            FeedLine::Box { device, key, grants } => {
                return self.learn(device, key, grants).inspect_err(|_| self.write().rejected = true);
            }
            FeedLine::Gone { device } => self.write().forget(device),
            FeedLine::Commit { revision } => self.write().commit(revision),
        }
        self.changed.send_modify(|changes| *changes += 1);
        Ok(())
    }

    fn learn(&self, device: DeviceId, key: Option<String>, document: SignedGrants) -> Result<(), Rejected> {
        // A box whose document cannot be believed is there all the same, and keeps its last good one.
        if let Some(seen) = &mut self.write().snapshot {
            seen.insert(device);
        }
        let grants = document.verify(&self.verifier)?;
        if grants.device != device {
            return Err(Rejected::OtherBox(grants.device));
        }
        let mut book = self.write();
        let held = book.boxes.get(&device);
        let is_newer =
            held.is_none_or(|held| (grants.revision, grants.signed_at) > (held.revision, held.signed_at));
        match book.boxes.get_mut(&device) {
            // The same document may come with another key: the box has joined since.
            Some(held) if !is_newer => {
                if grants.revision == held.revision && held.key != key {
                    held.key = key;
                    book.unkept.insert(device);
                }
            }
            _ => {
                book.unkept.insert(device);
                book.rules.replace(device, grants.rules());
                book.relabel(device, Some(grants.label.clone()));
                let Grants { name, label, revision, signed_at, .. } = grants;
                book.boxes.insert(device, Entry { name, label, key, revision, signed_at, document });
            }
        }
        Ok(())
    }

    /// The revision in force; none is zero.
    pub(crate) fn revision(&self) -> u64 {
        self.read().revision
    }

    /// The revision in force that will be so in the next life of this relay too: what may be promised.
    pub(crate) fn kept(&self) -> watch::Receiver<u64> {
        self.kept.subscribe()
    }

    /// The box that somebody with this access means by a host's name: its own, by name or by id.
    pub(crate) fn place(&self, access: AccessId, host: &str) -> Option<DeviceId> {
        let book = self.read();
        let device = book.rules.by_access(access)?.device;
        let name = &book.boxes.get(&device)?.name;
        (host.eq_ignore_ascii_case(name.as_str()) || host == device.as_str()).then_some(device)
    }

    /// The box, login and name behind an access, for telling its holder the right command.
    pub(crate) fn destination(&self, access: AccessId) -> Option<(Login, DeviceName)> {
        let book = self.read();
        let rule = book.rules.by_access(access)?;
        Some((rule.login.clone(), book.boxes.get(&rule.device)?.name.clone()))
    }

    /// What a public port leads to.
    pub(crate) fn behind_port(&self, port: PublicPort) -> Option<Target> {
        self.read().rules.by_port(port).map(Target::of)
    }

    /// The public ports of a relay that lead anywhere.
    pub(crate) fn ports_of(&self, relay: RelayId) -> BTreeSet<u16> {
        self.read().rules.ports_of(relay)
    }

    /// What a host's first label leads to: the access of that id, or else the page of the box.
    pub(crate) fn behind_label(&self, label: &str) -> Option<Target> {
        let book = self.read();
        let named = label.parse().ok().and_then(|access| book.rules.by_access(access));
        let page = |device| Target { access: None, device, port: WEB_PORT };
        named.map(Target::of).or_else(|| book.labelled(label).map(page))
    }

    /// The box that a label names.
    pub(crate) fn labelled(&self, label: &str) -> Option<DeviceId> {
        self.read().labelled(label)
    }

    /// Whether this proof is the one that the access asks for, whatever else stands against it.
    pub(crate) fn recognises(&self, access: AccessId, entrance: &Entrance) -> bool {
        self.read().rules.by_access(access).is_some_and(|rule| rule.accepts_proof(entrance))
    }

    /// Whether an access is known at all.
    pub(crate) fn knows(&self, access: AccessId) -> bool {
        self.read().rules.by_access(access).is_some()
    }

    /// Whether this is the key that the box enrolled with.
    pub(crate) fn is_enrolled(&self, device: DeviceId, key: &[u8; 32]) -> bool {
        let hex = data_encoding::HEXLOWER.encode(key);
        self.read().boxes.get(&device).and_then(|entry| entry.key.as_ref()).is_some_and(|known| *known == hex)
    }

    /// The document of a box, if it is another than the one with this place in their order.
    pub(crate) fn document(
        &self,
        device: DeviceId,
        than: Option<(u64, DateTime<Utc>)>,
    ) -> Option<(SignedGrants, (u64, DateTime<Utc>))> {
        let book = self.read();
        let entry = book.boxes.get(&device)?;
        let place = (entry.revision, entry.signed_at);
        (than != Some(place)).then(|| (entry.document.clone(), place))
    }

    /// The revision of a box's document.
    pub(crate) fn revision_of(&self, device: DeviceId) -> u64 {
        self.read().boxes.get(&device).map_or(0, |entry| entry.revision)
    }

    fn read(&self) -> RwLockReadGuard<'_, Book> {
        self.book.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Book> {
        self.book.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Target {
    fn of(rule: &Rule) -> Self {
        Self { access: Some(rule.access), device: rule.device, port: rule.port }
    }
}

impl Book {
    fn labelled(&self, label: &str) -> Option<DeviceId> {
        self.labels.get(&label.parse().ok()?).copied()
    }

    /// A box has this label from now on, and no other.
    fn relabel(&mut self, device: DeviceId, label: Option<DeviceName>) {
        // A label that another box has since brought is that box's now.
        if let Some(former) = self.boxes.get(&device).map(|entry| &entry.label)
            && self.labels.get(former) == Some(&device)
        {
            self.labels.remove(former);
        }
        // A box that is called by its id is not pushed aside by one that somebody has named like that.
        let is_id = |holder: &DeviceId| label.as_ref().is_some_and(|label| label.as_str() == holder.as_str());
        if label.as_ref().and_then(|label| self.labels.get(label)).is_some_and(is_id) {
            return;
        }
        if let Some(label) = label {
            self.labels.insert(label, device);
        }
    }

    fn forget(&mut self, device: DeviceId) {
        self.relabel(device, None);
        self.boxes.remove(&device);
        self.rules.remove(device);
        self.unkept.insert(device);
    }

    fn commit(&mut self, revision: u64) {
        if let Some(seen) = self.snapshot.take() {
            let gone: Vec<_> = self.boxes.keys().filter(|device| !seen.contains(device)).copied().collect();
            for device in gone {
                self.forget(device);
            }
        }
        if !self.rejected {
            self.revision = revision;
        }
    }
}

impl Reading {
    /// Waits for rules that were not read yet.
    pub(crate) async fn changed(&mut self) {
        if self.changed.changed().await.is_err() {
            // The book is held by this very reader, so it cannot be gone.
            std::future::pending().await
        }
    }

    /// Whatever is in the book now counts as read.
    pub(crate) fn mark_read(&mut self) {
        self.changed.mark_unchanged();
    }

    /// Decides a call by the rules of this moment.
    pub(crate) fn decide(&mut self, call: &Call, at: DateTime<Utc>) -> Result<Permit, Denial> {
        self.mark_read();
        // They proved their access and asked for a box that it does not speak of.
        let device = call.device.ok_or(Denial::WrongBox)?;
        let attempt = Attempt {
            access: call.access,
            entrance: call.entrance.clone(),
            source: call.visitor.ip(),
            device,
            port: call.port,
            at,
        };
        match decide(&self.rulebook.read().rules, &attempt) {
            Verdict::Allow(permit) => Ok(permit),
            Verdict::Deny(denial) => Err(denial),
        }
    }
}
