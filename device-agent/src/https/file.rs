//! A certificate that the owner puts into place, and renews there.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use postern_protocol::wire::WebCertificateKind;
use tokio::time::sleep;

use super::Standing;
use super::certificate::Certificate;
use crate::agent::Agent;
use crate::config::CertificateFiles;

/// How often to look whether there is another one.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Follows the files. What cannot be used does not replace what is in use.
pub(super) async fn follow(agent: &Agent, files: &CertificateFiles) -> Infallible {
    loop {
        let standing = match load(files).await {
            Ok(certificate) => Standing::holding(Arc::new(certificate)),
            Err(error) => {
                let present = agent.https.standing.borrow().clone();
                Standing { trouble: Some(format!("{error:#}")), ..present }
            }
        };
        agent.https.stand(standing);
        sleep(LOOK_AGAIN).await;
    }
}

async fn load(files: &CertificateFiles) -> anyhow::Result<Certificate> {
    let read = async |path: &std::path::Path| {
        tokio::fs::read(path).await.with_context(|| format!("reading {}", path.display()))
    };
    Certificate::from_pem(&read(&files.chain).await?, &read(&files.key).await?, WebCertificateKind::File)
}
