//! The grants that this box holds: believed only under the pinned key, kept over restarts, and
//! never exchanged for older ones.

use std::sync::Arc;

use postern_protocol::access::Rules;
use postern_protocol::grant::{GrantVerifier, Grants, SignedGrants, Untrusted};
use postern_protocol::id::DeviceId;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use crate::identity::Member;
use crate::state::State;

/// The file in the state directory: the document as it was signed.
const FILE: &str = "grants.json";

/// The grants in force.
#[derive(Debug, Default)]
pub(crate) struct InForce {
    /// The document, if the box has ever had one.
    pub(crate) grants: Option<Grants>,
    /// Its rules, as the decision reads them.
    pub(crate) rules: Rules,
}

impl InForce {
    /// The revision; none is zero.
    pub(crate) fn revision(&self) -> u64 {
        self.grants.as_ref().map_or(0, |grants| grants.revision)
    }
}

impl From<Grants> for InForce {
    fn from(grants: Grants) -> Self {
        Self { rules: grants.rules().into_iter().collect(), grants: Some(grants) }
    }
}

/// Why a document is not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Rejected {
    /// It is not the control API's.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// It is another box's.
    #[error("the grants are for the box {0}")]
    OtherBox(DeviceId),
    /// The box holds one that is newer, or this very one.
    #[error("the box already holds grants as new as revision {0}")]
    NotNewer(u64),
}

/// Whose grants are believed.
#[derive(Debug, Clone, Copy)]
struct Pinned {
    device: DeviceId,
    key: GrantVerifier,
}

impl Pinned {
    fn verify(&self, signed: &SignedGrants) -> Result<Grants, Rejected> {
        let grants = signed.verify(&self.key)?;
        match grants.device == self.device {
            true => Ok(grants),
            false => Err(Rejected::OtherBox(grants.device)),
        }
    }
}

/// Holds the grants of one member.
#[derive(Debug)]
pub(crate) struct Holder {
    pinned: Pinned,
    state: State,
    in_force: watch::Sender<Arc<InForce>>,
}

impl Holder {
    /// Begins with what was kept, so that expiry is enforced before any relay is reached.
    pub(crate) fn load(member: &Member, state: &State) -> Self {
        let pinned = Pinned { device: member.device, key: member.grant_key };
        let in_force = kept(&pinned, state).map(InForce::from).unwrap_or_default();
        Self { pinned, state: state.clone(), in_force: watch::Sender::new(Arc::new(in_force)) }
    }

    /// The box whose grants these are.
    pub(crate) fn device(&self) -> DeviceId {
        self.pinned.device
    }

    /// The grants in force, now and whenever they change.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<InForce>> {
        self.in_force.subscribe()
    }

    /// Takes a newer document: it is in force at once, and kept when this returns. A full disk
    /// delays no revocation.
    pub(crate) async fn accept(&self, signed: SignedGrants) -> Result<(), Rejected> {
        let grants = self.pinned.verify(&signed)?;
        let held = self.in_force.borrow().clone();
        if held.grants.as_ref().is_some_and(|held| !grants.supersedes(held)) {
            return Err(Rejected::NotNewer(held.revision()));
        }
        tracing::debug!(revision = grants.revision, accesses = grants.grants.len(), "grants in force");
        self.in_force.send_replace(Arc::new(grants.into()));
        let state = self.state.clone();
        let kept = spawn_blocking(move || keep(&signed, &state)).await;
        if let Err(error) = kept.map_err(std::io::Error::other).flatten() {
            tracing::warn!(%error, "the grants are in force but could not be kept");
        }
        Ok(())
    }
}

/// The document kept in the state directory, if it is a member's own and was not tampered with.
pub(crate) fn kept_by(member: &Member, state: &State) -> Option<Grants> {
    kept(&Pinned { device: member.device, key: member.grant_key }, state)
}

fn kept(pinned: &Pinned, state: &State) -> Option<Grants> {
    let text = state.read(FILE).unwrap_or_else(|error| {
        tracing::warn!(%error, "the kept grants cannot be read");
        None
    })?;
    let signed = serde_json::from_slice::<SignedGrants>(&text).map_err(anyhow::Error::from);
    match signed.and_then(|signed| Ok(pinned.verify(&signed)?)) {
        Ok(grants) => Some(grants),
        Err(error) => {
            tracing::warn!(%error, "the kept grants are not believed");
            None
        }
    }
}

fn keep(signed: &SignedGrants, state: &State) -> std::io::Result<()> {
    state.write(FILE, &serde_json::to_vec(signed)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Installation, grant};

    struct Fixture {
        _home: tempfile::TempDir,
        state: State,
        ours: Installation,
        holder: Holder,
    }

    impl Fixture {
        fn new() -> Self {
            let home = tempfile::tempdir().unwrap();
            let state = State::open(home.path()).unwrap();
            let ours = Installation::new();
            let holder = Holder::load(&ours.member("192.0.2.1:1"), &state);
            Self { _home: home, state, ours, holder }
        }

        fn revision(&self) -> u64 {
            self.holder.watch().borrow().revision()
        }

        fn restarted(&self) -> u64 {
            Holder::load(&self.ours.member("192.0.2.1:1"), &self.state).watch().borrow().revision()
        }
    }

    #[tokio::test]
    async fn newer_grants_are_enforced_and_survive_a_restart() {
        let fixture = Fixture::new();
        fixture.holder.accept(fixture.ours.signed(7, vec![grant(22)])).await.unwrap();
        assert_eq!((fixture.revision(), fixture.restarted()), (7, 7));
        assert_eq!(fixture.holder.watch().borrow().rules.iter().count(), 1);
    }

    #[tokio::test]
    async fn the_box_never_goes_back() {
        let fixture = Fixture::new();
        fixture.holder.accept(fixture.ours.signed(7, vec![])).await.unwrap();
        for revision in [6, 7] {
            let older = fixture.ours.signed(revision, vec![grant(22)]);
            assert_eq!(fixture.holder.accept(older).await, Err(Rejected::NotNewer(7)));
        }
        assert_eq!((fixture.revision(), fixture.restarted()), (7, 7));
        assert_eq!(fixture.holder.watch().borrow().rules.iter().count(), 0);
    }

    #[tokio::test]
    async fn a_renewed_lease_of_the_same_revision_is_taken() {
        let fixture = Fixture::new();
        fixture.holder.accept(fixture.ours.signed(7, vec![])).await.unwrap();
        let mut renewed = fixture.ours.grants(7, vec![grant(22)]);
        renewed.signed_at += chrono::TimeDelta::seconds(1);
        fixture.holder.accept(fixture.ours.sign(&renewed)).await.unwrap();
        assert_eq!(fixture.holder.watch().borrow().rules.iter().count(), 1);
    }

    #[tokio::test]
    async fn grants_of_another_box_or_another_signer_are_not_believed() {
        let fixture = Fixture::new();
        let mut other_box = fixture.ours.grants(7, vec![]);
        other_box.device = Installation::new().device;
        let refusal = fixture.holder.accept(fixture.ours.sign(&other_box)).await;
        assert_eq!(refusal, Err(Rejected::OtherBox(other_box.device)));

        let forged = Installation::new().sign(&fixture.ours.grants(7, vec![]));
        let refusal = fixture.holder.accept(forged).await;
        assert_eq!(refusal, Err(Rejected::Untrusted(Untrusted::BadSignature)));
        assert_eq!((fixture.revision(), fixture.restarted()), (0, 0));
    }

    #[tokio::test]
    async fn what_somebody_wrote_into_the_state_directory_is_not_believed() {
        let fixture = Fixture::new();
        fixture.holder.accept(fixture.ours.signed(7, vec![])).await.unwrap();
        keep(&Installation::new().signed(8, vec![grant(22)]), &fixture.state).unwrap();
        assert_eq!(fixture.restarted(), 0);
        fixture.state.write(FILE, b"{}").unwrap();
        assert_eq!(fixture.restarted(), 0);
    }

    #[tokio::test]
    async fn a_full_disk_delays_no_revocation() {
        let fixture = Fixture::new();
        fixture.holder.accept(fixture.ours.signed(7, vec![grant(22)])).await.unwrap();
        drop(fixture._home);
        fixture.holder.accept(fixture.ours.signed(8, vec![])).await.unwrap();
        assert_eq!(fixture.holder.watch().borrow().rules.iter().count(), 0);
    }
}
