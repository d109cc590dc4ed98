//! Keeping a certificate from an authority: obtained once, renewed in time, never given up for
//! nothing.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use postern_protocol::wire::WebCertificateKind;
use tokio::sync::watch;
use tokio::time::sleep;

use super::Standing;
use super::certificate::Certificate;
use crate::agent::Agent;
use crate::config::AcmeSettings;
use crate::link;
use crate::state::State;

mod order;
mod schedule;

use order::Failure;
use schedule::{renewal, retry};

/// The file in the state directory: the certificate, those between it and its authority, its key.
const FILE: &str = "https-certificate.pem";

/// The wall clock may jump and the clock that sleeps do not follow it, so sleeps are short.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// Keeps a certificate for the box's name.
pub(super) async fn follow(agent: &Agent, settings: &AcmeSettings) -> Infallible {
    let mut keeper = Keeper::load(agent, settings);
    let mut changes = Changes::of(agent);
    loop {
        changes.mark_seen();
        let due = keeper.due();
        if due.is_some_and(|due| due <= Utc::now()) {
            keeper.attempt().await;
            continue;
        }
        keeper.publish();
        let wait = due.and_then(|due| (due - Utc::now()).to_std().ok()).unwrap_or(LONGEST_SLEEP);
        tokio::select! {
            () = sleep(wait.min(LONGEST_SLEEP)) => {}
            () = changes.next() => {}
        }
    }
}

/// Whatever decides whether a certificate is wanted now, besides the clock.
struct Changes {
    front: watch::Receiver<Option<postern_protocol::wire::Web>>,
    grants: watch::Receiver<Arc<crate::grants::InForce>>,
    tunnel: watch::Receiver<link::Standing>,
}

impl Changes {
    fn of(agent: &Agent) -> Self {
        let (front, tunnel) = (agent.https.front.subscribe(), agent.standing.subscribe());
        Self { front, grants: agent.holder.watch(), tunnel }
    }

    fn mark_seen(&mut self) {
        self.front.mark_unchanged();
        self.grants.mark_unchanged();
        self.tunnel.mark_unchanged();
    }

    /// Their senders live in the agent and cannot go before this.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.front.changed() => {}
            _ = self.grants.changed() => {}
            _ = self.tunnel.changed() => {}
        }
    }
}

struct Keeper<'a> {
    agent: &'a Agent,
    settings: &'a AcmeSettings,
    held: Option<Held>,
    failed: Option<Failed>,
}

/// A certificate, and when the next one is wanted.
struct Held {
    certificate: Arc<Certificate>,
    renewal: DateTime<Utc>,
}

/// The last attempts failed.
struct Failed {
    why: String,
    name: String,
    times: u32,
    next: DateTime<Utc>,
}

impl Held {
    fn new(certificate: Certificate) -> Self {
        let renewal = renewal(certificate.validity, rand::random());
        Self { certificate: Arc::new(certificate), renewal }
    }
}

impl<'a> Keeper<'a> {
    fn load(agent: &'a Agent, settings: &'a AcmeSettings) -> Self {
        let held = kept(&agent.state).map(Held::new);
        Self { agent, settings, held, failed: None }
    }

    /// When to ask for a certificate; never while nobody could come and look whose the name is.
    fn due(&self) -> Option<DateTime<Utc>> {
        let name = self.agent.https.name(self.agent)?;
        let link::Standing::Up { .. } = *self.agent.standing.borrow() else { return None };
        let held = self.held.as_ref().filter(|held| held.certificate.is_for(&name));
        let wanted = held.map_or(DateTime::UNIX_EPOCH, |held| held.renewal);
        let failed = self.failed.as_ref().filter(|failed| failed.name == name);
        Some(failed.map_or(wanted, |failed| failed.next.max(wanted)))
    }

    async fn attempt(&mut self) {
        let Some(name) = self.agent.https.name(self.agent) else { return };
        tracing::info!(name, directory = self.settings.directory, "asking for a certificate");
        let obtained = order::obtain(self.agent, self.settings, &name).await;
        match obtained.and_then(|pem| self.take(&name, &pem).map_err(Failure::from)) {
            Ok(held) => (self.held, self.failed) = (Some(held), None),
            Err(failure) => {
                let times = self.failed.as_ref().filter(|failed| failed.name == name);
                let times = times.map_or(1, |failed| failed.times.saturating_add(1));
                let next = Utc::now() + retry(failure.kind, times, failure.retry_after, rand::random());
                let why = format!("{:#}", failure.why);
                self.failed = Some(Failed { why, name, times, next });
            }
        }
    }

    /// Takes a certificate that was obtained: it is in use at once. A full disk means that a new one
    /// is obtained after a restart.
    fn take(&self, name: &str, pem: &str) -> anyhow::Result<Held> {
        let certificate = Certificate::from_pem(pem.as_bytes(), pem.as_bytes(), WebCertificateKind::Acme)?;
        anyhow::ensure!(certificate.is_for(name), "the authority sent a certificate for another name");
        if let Err(error) = self.agent.state.write(FILE, pem.as_bytes()) {
            tracing::warn!(%error, "the certificate is in use but could not be kept");
        }
        Ok(Held::new(certificate))
    }

    /// Says how it stands.
    fn publish(&self) {
        let held = self.held.as_ref().map(|held| Standing::holding(held.certificate.clone()));
        let https = &self.agent.https;
        let trouble = match (&self.failed, https.name(self.agent)) {
            (Some(failed), Some(_)) => Some(failed.why.clone()),
            (_, None) if self.agent.grants().grants.is_some() && self.connected() => {
                Some("the relay has no TLS front, and https.name is not set".to_owned())
            }
            _ => None,
        };
        https.stand(Standing { trouble, next_attempt: self.due(), ..held.unwrap_or_default() });
    }

    fn connected(&self) -> bool {
        matches!(*self.agent.standing.borrow(), link::Standing::Up { .. })
    }
}

/// The certificate that was kept, if it is still of use.
fn kept(state: &State) -> Option<Certificate> {
    let pem = state.read(FILE).unwrap_or_else(|error| {
        tracing::warn!(%error, "the kept certificate cannot be read");
        None
    })?;
    match Certificate::from_pem(&pem, &pem, WebCertificateKind::Acme) {
        Ok(certificate) => Some(certificate),
        Err(error) => {
            tracing::warn!(error = format!("{error:#}"), "the kept certificate is of no use");
            None
        }
    }
}
