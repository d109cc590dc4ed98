//! A certificate that browsers see, and the key to it where the box has that.

use std::sync::Arc;

use anyhow::Context;
use postern_protocol::wire::{WebCertificate, WebCertificateKind};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::shown::describe;
use crate::identity::Validity;
use crate::trust::provider;

/// What browsers may choose from.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A certificate with which the agent ends TLS.
#[derive(Debug)]
pub(super) struct Certificate {
    /// TLS with it.
    pub(super) tls: Arc<ServerConfig>,
    /// What people are shown of it.
    pub(super) shown: WebCertificate,
    /// How long it is valid.
    pub(super) validity: Validity,
}

/// Two are the same if they show the same certificate.
impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.shown == other.shown
    }
}

impl Certificate {
    /// The certificate in these files' contents (PEM), which may be one and the same.
    pub(super) fn from_pem(chain: &[u8], key: &[u8], kind: WebCertificateKind) -> anyhow::Result<Self> {
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .context("reading the certificate")?;
        let key = PrivateKeyDer::from_pem_slice(key).context("reading the key")?;
        let own = chain.first().context("there is no certificate in the file")?;
        let (shown, validity) = (describe(own, kind)?, Validity::of(own)?);
        let mut tls = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .context("the certificate and the key do not fit")?;
        tls.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
        Ok(Self { tls: Arc::new(tls), shown, validity })
    }

    /// Whether it is for this host name.
    pub(super) fn is_for(&self, name: &str) -> bool {
        self.shown.names.iter().any(|own| own.eq_ignore_ascii_case(name))
    }
}
