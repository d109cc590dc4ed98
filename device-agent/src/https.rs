//! Pages under TLS: which certificate browsers see, and for which visits the box ends TLS itself.
//!
//! Unless its settings say otherwise the agent passes bytes through, and looks only which certificate
//! the local page shows, so that people can compare it with what their browser warns of. With a
//! certificate of its own (`certificate`), given as a file or obtained from an authority (`acme`, which
//! proves the name by `challenge`), it ends TLS and speaks HTTP to the local page (`page`, `headers`,
//! `upstream`).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use postern_protocol::Refusal;
use postern_protocol::access::Door;
use postern_protocol::wire::{Open, Web, WebCertificate};
use tokio::sync::watch;

use crate::agent::Agent;
use crate::config::{CertificateSource, HttpsSettings, LocalService, Speaks};

mod acme;
mod authority;
mod certificate;
mod challenge;
mod file;
mod headers;
mod look;
mod page;
mod stream;
#[cfg(test)]
mod tests;
mod upstream;

pub(crate) use page::Page;
pub(crate) use stream::VisitStream;
pub(crate) use upstream::proxy_header;

use certificate::Certificate;
use challenge::Proofs;
use upstream::Upstream;

/// What the agent knows of TLS on this box.
#[derive(Debug, Default)]
pub(crate) struct Https {
    /// The TLS front of the relay, as the relay last introduced itself.
    pub(crate) front: watch::Sender<Option<Web>>,
    /// Which certificate browsers see.
    pub(crate) standing: watch::Sender<Standing>,
    /// What is shown to a certificate authority that asks whose a name is.
    proofs: Proofs,
}

/// How the certificate stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Standing {
    /// The one with which the agent ends TLS.
    held: Option<Arc<Certificate>>,
    /// The one that browsers see.
    pub(crate) shown: Option<WebCertificate>,
    /// Why there is none, or no newer one.
    pub(crate) trouble: Option<String>,
    /// When the next one will be asked for.
    pub(crate) next_attempt: Option<DateTime<Utc>>,
}

impl Standing {
    /// The agent ends TLS with this certificate.
    fn holding(certificate: Arc<Certificate>) -> Self {
        Self { shown: Some(certificate.shown.clone()), held: Some(certificate), ..Self::default() }
    }
}

/// Keeps the certificate.
pub(crate) async fn follow(agent: &Agent) -> Infallible {
    match &agent.config.https.certificate {
        CertificateSource::Pass => look::follow(agent).await,
        CertificateSource::File(files) => file::follow(agent, files).await,
        CertificateSource::Acme(settings) => acme::follow(agent, settings).await,
    }
}

impl Https {
    /// The page that the agent shows this visit, if it is the agent who ends its TLS.
    pub(crate) fn page(
        &self,
        settings: &HttpsSettings,
        open: &Open,
        service: &LocalService,
    ) -> Result<Option<Page>, Refusal> {
        let passed = open.door == Door::Gate || settings.certificate == CertificateSource::Pass;
        if passed || service.speaks() == Speaks::Anything {
            return Ok(None);
        }
        match self.standing.borrow().held.clone() {
            Some(certificate) => match Upstream::new(service, open.visitor) {
                Ok(upstream) => Ok(Some(Page::new(certificate.tls.clone(), upstream, settings.idle))),
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "the page's certificate cannot be checked");
                    Err(Refusal::ServiceDown)
                }
            },
            // Until there is a certificate, a page shows its own.
            None if service.speaks() == Speaks::Https => Ok(None),
            None => {
                tracing::warn!("there is no certificate yet, and the page has no TLS of its own");
                Err(Refusal::ServiceDown)
            }
        }
    }

    /// The name that the certificate must be for: the configured one, or the box's under the relay's
    /// domain.
    fn name(&self, agent: &Agent) -> Option<String> {
        let configured = agent.config.https.name.clone();
        configured.or_else(|| {
            let label = agent.grants().grants.as_ref()?.label.clone();
            Some(self.front.borrow().as_ref()?.host(label))
        })
    }

    /// Puts a standing in place; one that is the same is no change.
    fn stand(&self, standing: Standing) {
        self.standing.send_if_modified(|present| {
            let changed = *present != standing;
            if changed {
                standing.log(present);
                *present = standing;
            }
            changed
        });
    }
}

impl Standing {
    /// Says what a person would care about.
    fn log(&self, before: &Self) {
        if let Some(shown) = self.shown.as_ref().filter(|_| self.shown != before.shown) {
            let (kind, names, fingerprint) = (shown.kind, shown.names.join(" "), &shown.fingerprint);
            tracing::info!(?kind, names, fingerprint, until = %shown.ends_at, "the certificate of the page");
        }
        if let Some(trouble) = self.trouble.as_ref().filter(|_| self.trouble != before.trouble) {
            let next = self.next_attempt.map(|next| next.to_rfc3339());
            tracing::warn!(next, "no new certificate for the page: {trouble}");
        }
    }
}

/// How long to wait for each step of a handshake with something that should answer.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
