//! What a provider says of itself: OpenID Connect Discovery 1.0, and its keys.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use jsonwebtoken::jwk::Jwk;
use reqwest::Client;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use serde_json::Value;

use super::answer;
use crate::config::OpenId;

/// How long to believe it.
const FRESH: Duration = Duration::from_secs(60 * 60);

/// A provider, as it describes itself.
#[derive(Debug)]
pub(super) struct Provider {
    pub(super) authorization_endpoint: String,
    pub(super) token_endpoint: String,
    pub(super) keys: Vec<Jwk>,
    methods: Vec<String>,
    since: Instant,
}

#[derive(Deserialize)]
struct Description {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
}

#[derive(Deserialize)]
struct Keys {
    keys: Vec<Value>,
}

impl Provider {
    /// Asks it.
    pub(super) async fn discover(http: &Client, settings: &OpenId) -> anyhow::Result<Self> {
        let issuer = &settings.issuer;
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let found: Description = answer(http.get(&url)).await.with_context(|| format!("asking {url}"))?;
        anyhow::ensure!(found.issuer == *issuer, "{url} calls itself {}, not {issuer}", found.issuer);
        for endpoint in [&found.authorization_endpoint, &found.token_endpoint, &found.jwks_uri] {
            anyhow::ensure!(settings.may_be_asked(endpoint), "{endpoint} is not asked: it is not https");
        }
        let keys: Keys = answer(http.get(&found.jwks_uri)).await.context("asking for the keys")?;
        // A kind of key that is not known here is no reason to do without the others.
        let keys = keys.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok()).collect();
        Ok(Self {
            authorization_endpoint: found.authorization_endpoint,
            token_endpoint: found.token_endpoint,
            keys,
            methods: found.token_endpoint_auth_methods_supported,
            since: Instant::now(),
        })
    }

    pub(super) fn is_fresh(&self) -> bool {
        self.since.elapsed() < FRESH
    }

    /// Whether it takes the client's secret in the form only; the usual way is the header.
    pub(super) fn wants_secret_in_form(&self) -> bool {
        let takes = |method: &str| self.methods.iter().any(|known| known == method);
        takes("client_secret_post") && !takes("client_secret_basic")
    }
}

/// TLS with ring, and the system's authorities or the one that the settings name.
pub(crate) fn tls(ca: Option<&Path>) -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .context("ring speaks TLS 1.2 and 1.3")?;
    let Some(path) = ca else {
        let verifier =
            rustls_platform_verifier::Verifier::new(provider).context("reading the system's authorities")?;
        return Ok(builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth());
    };
    let reading = || format!("reading {}", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).with_context(reading)? {
        roots.add(certificate.with_context(reading)?).with_context(reading)?;
    }
    anyhow::ensure!(!roots.is_empty(), "{} holds no certificate in PEM", path.display());
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
