//! Pages under TLS: which certificate browsers see, and for which visits the box ends TLS itself.
//!
//! Unless its settings say otherwise the agent passes bytes through, and looks only which certificate
//! the local page shows, so that people can compare it with what their browser warns of. With a
//! certificate of its own (`certificate`), given as a file or obtained from an authority (`acme`, which
//! proves the name by `challenge`), it ends TLS and speaks HTTP to the local page (`ended`, then `page`,
//! `headers`, `upstream`). An agent that was built without the feature `https` cannot (`passed`).

use std::time::Duration;

use chrono::{DateTime, Utc};
use postern_protocol::Refusal;
use postern_protocol::wire::{Opening, Web, WebCertificate, io};
use tokio::sync::watch;

use crate::config::WEB_PORT;
use crate::serve::Stream;

#[cfg(feature = "https")]
mod acme;
#[cfg(feature = "https")]
mod authority;
#[cfg(feature = "https")]
mod certificate;
#[cfg(feature = "https")]
mod challenge;
#[cfg(feature = "https")]
mod ended;
#[cfg(feature = "https")]
mod file;
#[cfg(feature = "https")]
mod headers;
mod look;
#[cfg(feature = "https")]
mod page;
#[cfg(not(feature = "https"))]
mod passed;
mod shown;
mod stream;
#[cfg(test)]
#[cfg(feature = "https")]
mod tests;
mod upstream;

#[cfg(feature = "https")]
pub(crate) use ended::follow;
#[cfg(feature = "https")]
pub(crate) use page::Page;
#[cfg(not(feature = "https"))]
pub(crate) use passed::{Page, follow};
pub(crate) use stream::VisitStream;
pub(crate) use upstream::proxy_header;

/// What the agent knows of TLS on this box.
#[derive(Debug, Default)]
pub(crate) struct Https {
    /// The TLS front of the relay, as the relay last introduced itself.
    pub(crate) front: watch::Sender<Option<Web>>,
    /// Which certificate browsers see.
    pub(crate) standing: watch::Sender<Standing>,
    /// What is shown to a certificate authority that asks whose a name is.
    #[cfg(feature = "https")]
    proofs: challenge::Proofs,
}

/// How the certificate stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Standing {
    /// The one with which the agent ends TLS.
    #[cfg(feature = "https")]
    held: Option<std::sync::Arc<certificate::Certificate>>,
    /// The one that browsers see.
    pub(crate) shown: Option<WebCertificate>,
    /// Why there is none, or no newer one.
    pub(crate) trouble: Option<String>,
    /// When the next one will be asked for.
    pub(crate) next_attempt: Option<DateTime<Utc>>,
}

impl Https {
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

/// No certificate is being obtained for this name.
async fn decline(name: &str, mut stream: Stream) {
    tracing::info!(name, "a certificate authority asked for a name that is not being proved");
    let refused = Opening::Refused(Refusal::NotOffered { port: WEB_PORT });
    if io::send(&mut stream.send, &refused).await.is_ok() {
        stream.send.finish().await;
    }
}
