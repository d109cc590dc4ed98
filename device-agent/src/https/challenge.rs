//! Proving to a certificate authority that a name is this box's: TLS-ALPN-01 (RFC 8737).
//!
//! The relay hands the authority's connection through. It is answered with a handshake that shows a
//! certificate made for this one proof, to `acme-tls/1` alone and only while the proof is pending;
//! then it is closed, and never reaches a service.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use postern_protocol::tunnel::EndsWell;
use postern_protocol::wire::{Opening, io};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::{HANDSHAKE_TIMEOUT, Https, decline};
use crate::serve::Stream;
use crate::trust::provider;

/// The protocol of an authority that looks (RFC 8737, section 6.2).
const ACME_TLS: &[u8] = b"acme-tls/1";

/// What is shown for each name that is being proved.
#[derive(Debug, Default)]
pub(super) struct Proofs(Mutex<BTreeMap<String, Arc<Proof>>>);

/// A name that is being proved, for as long as this is held.
#[derive(Debug)]
pub(super) struct Pending<'a> {
    proofs: &'a Proofs,
    name: String,
}

/// A certificate that only proves.
#[derive(Debug)]
struct Proof {
    name: String,
    key: Arc<CertifiedKey>,
}

impl Proofs {
    /// Begins to prove a name by the digest that the authority expects.
    pub(super) fn begin(&self, name: &str, digest: &[u8]) -> anyhow::Result<Pending<'_>> {
        let name = name.to_ascii_lowercase();
        let proof = Proof { name: name.clone(), key: Arc::new(certificate(&name, digest)?) };
        self.pending().insert(name.clone(), Arc::new(proof));
        Ok(Pending { proofs: self, name })
    }

    fn of(&self, name: &str) -> Option<Arc<Proof>> {
        self.pending().get(&name.to_ascii_lowercase()).cloned()
    }

    fn pending(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Proof>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.proofs.pending().remove(&self.name);
    }
}

fn certificate(name: &str, digest: &[u8]) -> anyhow::Result<CertifiedKey> {
    let key = KeyPair::generate().context("making a key")?;
    let mut params = CertificateParams::new([name.to_owned()]).context("naming the proof")?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let own = params.self_signed(&key).context("signing the proof")?.der().clone();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    // Not read again: the extension that proves is critical, and made to be unknown to others.
    Ok(CertifiedKey::new(vec![own], provider().key_provider.load_private_key(key)?))
}

impl ResolvesServerCert for Proof {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().is_some_and(|name| name.eq_ignore_ascii_case(&self.name));
        let mut offered = hello.alpn().into_iter().flatten();
        (named && offered.any(|protocol| protocol == ACME_TLS)).then(|| self.key.clone())
    }
}

impl Https {
    /// Answers a relay that brings an authority who asks for a name.
    pub(crate) async fn answer_challenge(&self, name: &str, stream: Stream) {
        let Some(proof) = self.proofs.of(name) else { return decline(name, stream).await };
        match prove(proof, stream).await {
            Ok(()) => tracing::info!(name, "the certificate authority has seen whose the name is"),
            Err(error) => {
                tracing::info!(name, error = format!("{error:#}"), "the certificate authority saw no proof");
            }
        }
    }
}

async fn prove(proof: Arc<Proof>, mut stream: Stream) -> anyhow::Result<()> {
    io::send(&mut stream.send, &Opening::Opened).await.context("answering the relay")?;
    let mut tls = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(proof);
    tls.alpn_protocols = vec![ACME_TLS.to_vec()];
    let both = tokio::io::join(stream.recv, EndsWell::new(stream.send));
    let shaken = timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(Arc::new(tls)).accept(both)).await;
    let mut shaken = shaken.context("the authority says nothing")?.context("shaking hands")?;
    shaken.shutdown().await.context("closing")
}
