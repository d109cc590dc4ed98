//! Which certificate the local page shows, where the agent passes its TLS through.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::Context;
use postern_protocol::wire::{WebCertificate, WebCertificateKind};
use tokio::time::{sleep, timeout};

use super::shown::describe;
use super::upstream::Upstream;
use super::{HANDSHAKE_TIMEOUT, Standing};
use crate::agent::Agent;
use crate::config::{LocalService, Speaks, Verify, WEB_PORT};

/// How often to look again. Each look costs the page one handshake.
const LOOK_AGAIN: Duration = Duration::from_secs(600);

/// How often while there is none, as when the box has just booted.
const LOOK_SOON: Duration = Duration::from_secs(30);

/// Follows the page on port 443.
pub(super) async fn follow(agent: &Agent) -> Infallible {
    loop {
        let page = agent.config.services.at(WEB_PORT).filter(|page| page.speaks() == Speaks::Https);
        let shown = match page {
            Some(page) => look(page).await.map_err(|error| {
                tracing::debug!(error = format!("{error:#}"), "no certificate on the local page");
            }),
            None => Err(()),
        };
        let pause = if shown.is_ok() { LOOK_AGAIN } else { LOOK_SOON };
        agent.https.stand(Standing { shown: shown.ok(), ..Standing::default() });
        sleep(pause).await;
    }
}

/// The certificate that a page shows whoever asks.
pub(super) async fn look(page: LocalService) -> anyhow::Result<WebCertificate> {
    let unchecked = LocalService { verify: Some(Verify::Nothing), ..page };
    let upstream = Upstream::new(&unchecked, unchecked.address)?;
    let chain = timeout(HANDSHAKE_TIMEOUT, upstream.chain()).await.context("the page is silent")??;
    describe(chain.first().context("the page shows no certificate")?, WebCertificateKind::Service)
}
