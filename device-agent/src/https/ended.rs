//! For which visits the agent ends TLS, and under which certificate.

use std::convert::Infallible;
use std::sync::Arc;

use postern_protocol::Refusal;
use postern_protocol::access::Door;
use postern_protocol::wire::Open;

use super::certificate::Certificate;
use super::upstream::Upstream;
use super::{Https, Page, Standing, acme, file, look};
use crate::agent::Agent;
use crate::config::{CertificateSource, HttpsSettings, LocalService, Speaks};

/// Keeps the certificate.
pub(crate) async fn follow(agent: &Agent) -> Infallible {
    match &agent.config.https.certificate {
        CertificateSource::Pass => look::follow(agent).await,
        CertificateSource::File(files) => file::follow(agent, files).await,
        CertificateSource::Acme(settings) => acme::follow(agent, settings).await,
    }
}

impl Standing {
    /// The agent ends TLS with this certificate.
    pub(super) fn holding(certificate: Arc<Certificate>) -> Self {
        Self { shown: Some(certificate.shown.clone()), held: Some(certificate), ..Self::default() }
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
    pub(super) fn name(&self, agent: &Agent) -> Option<String> {
        let configured = agent.config.https.name.clone();
        configured.or_else(|| {
            let label = agent.grants().grants.as_ref()?.label.clone();
            Some(self.front.borrow().as_ref()?.host(label))
        })
    }
}
