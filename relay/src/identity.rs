//! Who this relay is: keys that it made itself, and what the control API said to them.
//!
//! Everything is kept in the state directory, so a relay that starts while the control API is away
//! is still the same one to visitors, who know its host key, and to boxes, who know its authority.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use postern_protocol::api::{HostKey, RelayHello, RelayWelcome};
use postern_protocol::id::{DeviceId, RelayId};
use postern_protocol::ssh_key::PublicKey;
use postern_protocol::wire::DEVICE_URI;
use rcgen::{CertificateParams, KeyPair};
use ring::digest::{SHA256, digest};
use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use crate::api::{Api, ApiError};
use crate::backoff::Backoff;
use crate::files::{self, PRIVATE};

/// A relay that knows who it is does not wait longer for the control API before it serves.
const START_PATIENCE: Duration = Duration::from_secs(3);

/// The keys that the relay made itself.
pub(crate) struct Keys {
    /// The gate's host key.
    pub(crate) host: PrivateKey,
    /// The key of the certificate that boxes check.
    certified: KeyPair,
    /// What connection ids and resets derive from, so that boxes notice a restart at once.
    pub(crate) quic: Zeroizing<[u8; 32]>,
}

impl Keys {
    /// Reads the keys, or makes those that are missing.
    pub(crate) fn load(state_dir: &Path) -> anyhow::Result<Self> {
        let host = load_or_make(&state_dir.join("gate_host_key"), || {
            let pair = Ed25519Keypair::from_seed(&rand::random());
            let text = PrivateKey::from(pair).to_openssh(LineEnding::LF).context("making a host key")?;
            Ok(Zeroizing::new(text.as_bytes().to_vec()))
        })?;
        let certified = load_or_make(&state_dir.join("relay.key"), || {
            let pair = KeyPair::generate().context("making a key")?;
            Ok(Zeroizing::new(pair.serialize_pem().into_bytes()))
        })?;
        let quic = load_or_make(&state_dir.join("quic.seed"), || {
            Ok(Zeroizing::new(rand::random::<[u8; 32]>().to_vec()))
        })?;
        let certified = std::str::from_utf8(&certified).context("relay.key is not a PEM file")?;
        let quic: [u8; 32] = quic.as_slice().try_into().context("quic.seed does not have 32 bytes")?;
        Ok(Self {
            host: PrivateKey::from_openssh(&*host).context("reading gate_host_key")?,
            certified: KeyPair::from_pem(certified).context("reading relay.key")?,
            quic: Zeroizing::new(quic),
        })
    }

    /// The gate's host key, as people check it.
    pub(crate) fn host_key(&self) -> anyhow::Result<HostKey> {
        let wire = self.host.public_key().to_bytes().context("encoding the host key")?;
        let key = PublicKey::from_wire(&wire)?;
        Ok(HostKey { key: key.to_openssh(), fingerprint: key.fingerprint() })
    }

    /// The key of the relay's certificate, for TLS.
    pub(crate) fn for_tls(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.certified.serialize_der()).into()
    }

    fn signing_request(&self) -> anyhow::Result<String> {
        let request = CertificateParams::default().serialize_request(&self.certified);
        request.and_then(|request| request.pem()).context("making a certificate signing request")
    }
}

fn load_or_make(
    path: &Path,
    make: impl FnOnce() -> anyhow::Result<Zeroizing<Vec<u8>>>,
) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let named = || format!("keeping {}", path.display());
    if let Some(content) = files::read(path).with_context(named)? {
        return Ok(Zeroizing::new(content));
    }
    let content = make()?;
    files::replace(path, PRIVATE, &content).with_context(named)?;
    Ok(content)
}

/// What the control API said to this relay.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Enrolment {
    /// Its name, the authority, and the key that signs grants.
    pub(crate) welcome: RelayWelcome,
    /// Its certificate, PEM.
    certificate: String,
}

impl Enrolment {
    /// The relay's id.
    pub(crate) fn relay(&self) -> RelayId {
        self.welcome.relay
    }

    /// The authority's certificate.
    pub(crate) fn authority(&self) -> anyhow::Result<CertificateDer<'static>> {
        CertificateDer::from_pem_slice(self.welcome.authority.as_bytes())
            .context("the authority's certificate")
    }

    /// The chain that boxes are shown: the authority comes last, for boxes that know only its hash.
    pub(crate) fn chain(&self) -> anyhow::Result<Vec<CertificateDer<'static>>> {
        let own =
            CertificateDer::from_pem_slice(self.certificate.as_bytes()).context("the relay's certificate")?;
        Ok(vec![own, self.authority()?])
    }

    /// Whether both come from the same control API.
    pub(crate) fn has_the_roots_of(&self, welcome: &RelayWelcome) -> bool {
        self.welcome.authority == welcome.authority
            && self.welcome.grant_key == welcome.grant_key
            && self.welcome.relay == welcome.relay
    }

    /// Two thirds into the certificate's life.
    pub(crate) fn renews_at(&self) -> anyhow::Result<DateTime<Utc>> {
        let chain = self.chain()?;
        let (_, certificate) = X509Certificate::from_der(&chain[0]).context("the relay's certificate")?;
        let (begin, end) =
            (certificate.validity().not_before.timestamp(), certificate.validity().not_after.timestamp());
        DateTime::from_timestamp(begin + (end - begin) / 3 * 2, 0)
            .context("the relay's certificate has no end")
    }
}

/// How a relay gets its [`Enrolment`], and keeps it.
pub(crate) struct Registrar {
    pub(crate) api: Api,
    pub(crate) hello: RelayHello,
    pub(crate) path: PathBuf,
}

impl Registrar {
    /// The enrolment to serve with: a fresh one if the control API answers, else the last one. Only
    /// on its very first start does a relay have to wait.
    ///
    /// Also says whether the control API has been told that this relay is here.
    pub(crate) async fn enrol(&self, keys: &Keys) -> anyhow::Result<(Enrolment, bool)> {
        let saved = self.saved()?;
        let mut backoff = Backoff::default();
        loop {
            let asked = tokio::time::timeout(START_PATIENCE, self.ask(keys, saved.as_ref())).await;
            let error = match asked {
                Ok(Ok(enrolment)) => return Ok((self.keep(enrolment)?, true)),
                Ok(Err(error)) => error,
                Err(_) => anyhow::anyhow!("the control API does not answer"),
            };
            if let Some(saved) = saved {
                tracing::warn!("serving from what was saved: {error:#}");
                return Ok((saved, false));
            }
            tracing::warn!("waiting for the control API, without which a new relay knows no box: {error:#}");
            backoff.pause().await;
        }
    }

    /// Says hello, and sees whether it is still the same control API that answers.
    pub(crate) async fn greet(&self, enrolled: &Enrolment) -> Result<(), GreetError> {
        let welcome = self.api.hello(&self.hello).await?;
        match enrolled.has_the_roots_of(&welcome) {
            true => Ok(()),
            false => Err(GreetError::Another),
        }
    }

    /// Renews the certificate.
    pub(crate) async fn renew(&self, keys: &Keys, current: &Enrolment) -> anyhow::Result<Enrolment> {
        let renewed = self.ask(keys, None).await?;
        anyhow::ensure!(current.has_the_roots_of(&renewed.welcome), GreetError::Another);
        self.keep(renewed)
    }

    async fn ask(&self, keys: &Keys, saved: Option<&Enrolment>) -> anyhow::Result<Enrolment> {
        let welcome = self.api.hello(&self.hello).await?;
        let still_good = |saved: &&Enrolment| {
            saved.has_the_roots_of(&welcome) && saved.renews_at().is_ok_and(|at| Utc::now() < at)
        };
        let certificate = match saved.filter(still_good) {
            Some(saved) => saved.certificate.clone(),
            None => self.api.certificate(keys.signing_request()?).await?.certificate,
        };
        Ok(Enrolment { welcome, certificate })
    }

    fn saved(&self) -> anyhow::Result<Option<Enrolment>> {
        let named = || format!("reading {}", self.path.display());
        let content = files::read(&self.path).with_context(named)?;
        content.map(|content| serde_json::from_slice(&content).with_context(named)).transpose()
    }

    fn keep(&self, enrolment: Enrolment) -> anyhow::Result<Enrolment> {
        let content = serde_json::to_vec_pretty(&enrolment).context("writing the enrolment as JSON")?;
        files::replace(&self.path, PRIVATE, &content)
            .with_context(|| format!("keeping {}", self.path.display()))?;
        Ok(enrolment)
    }
}

/// Why this relay does not follow the control API that answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GreetError {
    /// It did not answer well.
    #[error("saying hello")]
    Api(#[from] ApiError),
    /// It is not the one that this relay enrolled with.
    #[error(
        "another control API answers than the one this relay enrolled with; restart the relay to follow it"
    )]
    Another,
}

/// Who a box is by its certificate, which TLS has verified against the authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BoxIdentity {
    pub(crate) device: DeviceId,
    /// SHA-256 of its public key (SubjectPublicKeyInfo).
    pub(crate) key: [u8; 32],
    /// When the certificate ends. TLS has looked at that, but not when it resumed a session.
    pub(crate) ends_at: DateTime<Utc>,
}

impl BoxIdentity {
    /// Reads a box's certificate; none if it names no box.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let names = certificate.subject_alternative_name().ok()??;
        let device = names.value.general_names.iter().find_map(|name| {
            let GeneralName::URI(uri) = name else { return None };
            uri.strip_prefix(DEVICE_URI)?.parse().ok()
        })?;
        let key = digest(&SHA256, certificate.public_key().raw).as_ref().try_into().ok()?;
        let ends_at = DateTime::from_timestamp(certificate.validity().not_after.timestamp(), 0)?;
        Some(Self { device, key, ends_at })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rcgen::SanType;

    use super::*;

    #[test]
    fn keys_survive_a_restart_and_are_the_relays_alone() {
        let directory = tempfile::tempdir().unwrap();
        let keys = Keys::load(directory.path()).unwrap();
        let again = Keys::load(directory.path()).unwrap();
        assert_eq!(keys.host_key().unwrap(), again.host_key().unwrap());
        assert_eq!(keys.certified.serialize_der(), again.certified.serialize_der());
        assert_eq!(keys.quic, again.quic);
        for file in std::fs::read_dir(directory.path()).unwrap() {
            let mode = file.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, PRIVATE);
        }
    }

    fn certificate(uri: &str) -> (CertificateDer<'static>, [u8; 32]) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        let hash = digest(&SHA256, &rcgen::PublicKeyData::subject_public_key_info(&key));
        (params.self_signed(&key).unwrap().der().clone(), hash.as_ref().try_into().unwrap())
    }

    #[test]
    fn a_box_is_who_its_certificate_names_and_nobody_else_is_a_box() {
        let device = DeviceId::from_entropy([7; 10]);
        let (of_box, key) = certificate(&format!("{DEVICE_URI}{device}"));
        let identity = BoxIdentity::of(&of_box).expect("it names a box");
        assert_eq!((identity.device, identity.key), (device, key));
        for uri in
            [format!("postern:relay:{device}"), format!("{DEVICE_URI}{device}x"), DEVICE_URI.to_owned()]
        {
            assert_eq!(BoxIdentity::of(&certificate(&uri).0), None, "{uri}");
        }
        assert_eq!(BoxIdentity::of(&CertificateDer::from(vec![0x30, 0x03])), None);
    }
}
