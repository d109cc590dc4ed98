//! The control API, as a relay uses it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use data_encoding::BASE64;
use postern_protocol::api::{
    CertificateAnswer, CertificateRequest, FEED_CUTS, FEED_UNDERSTANDS, JoinBox, PresenceReport, Problem,
    RelayHello, RelayWelcome, RenewBox, VisitEvents,
};
use postern_protocol::id::DeviceId;
use postern_protocol::secret::Secret;
use postern_protocol::wire::{Certificate, JoinRequest, Membership};
use reqwest::{Client, RequestBuilder, Response, Url};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::Config;

/// A connection that is not there by then never comes.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// No answer takes longer, but the feed, which has no end.
const PATIENCE: Duration = Duration::from_secs(15);

/// The most of an error's body that is looked at.
const MAX_PROBLEM: usize = 16 * 1024;

/// The control API.
#[derive(Clone)]
pub(crate) struct Api {
    client: Client,
    base: Url,
    token: Secret,
}

/// Why the control API did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// It did not answer.
    #[error("the control API cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    /// It answered that it will not.
    #[error("the control API answered {status}: {sentence}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What is wrong, in words.
        sentence: String,
    },
    /// It answered something else.
    #[error("the control API's answer cannot be read; one side needs an update")]
    Unreadable(#[source] reqwest::Error),
}

impl ApiError {
    /// Whether the request itself is at fault, so that repeating it is of no use.
    pub(crate) fn is_final(&self) -> bool {
        // 401, 403 and 404 are cured by an operator, 408 and 429 by waiting.
        matches!(self, Self::Refused { status: 400 | 409 | 410 | 413 | 422, .. })
    }
}

impl Api {
    /// The API that these settings name.
    pub(crate) fn new(config: &Config) -> anyhow::Result<Self> {
        let mut base: Url = config.api.parse().with_context(|| format!("api = \"{}\"", config.api))?;
        anyhow::ensure!(matches!(base.scheme(), "http" | "https"), "api = \"{base}\": http or https, please");
        base.path_segments_mut()
            .map_err(|()| anyhow::anyhow!("api = \"{}\" has no path", config.api))?
            .pop_if_empty();
        let client = Client::builder()
            .tls_backend_preconfigured(tls(config.api_ca.as_deref(), base.scheme() == "https")?)
            .user_agent(concat!("postern-relay/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_PATIENCE)
            .tcp_nodelay(true)
            .build()
            .context("preparing to speak to the control API")?;
        Ok(Self { client, base, token: config.read_token()? })
    }

    /// Says that this relay is here.
    pub(crate) async fn hello(&self, hello: &RelayHello) -> Result<RelayWelcome, ApiError> {
        self.post("hello", hello).await
    }

    /// Asks for a certificate for the relay's own key.
    pub(crate) async fn certificate(&self, csr: String) -> Result<CertificateAnswer, ApiError> {
        self.post("certificate", &CertificateRequest { csr }).await
    }

    /// Opens the feed.
    pub(crate) async fn feed(&self) -> Result<Response, ApiError> {
        // Only the head is awaited for so long, and an error's body; the feed itself goes on.
        let answer = async {
            checked(
                self.authorized(self.client.get(self.url("feed")).header(FEED_UNDERSTANDS, FEED_CUTS))
                    .send()
                    .await,
            )
            .await
        };
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(ApiError::Refused { status: 408, sentence: "no answer in time".to_owned() }),
        }
    }

    /// Reports who is here.
    pub(crate) async fn presence(&self, report: &PresenceReport) -> Result<(), ApiError> {
        self.send("presence", report).await.map(drop)
    }

    /// Delivers audit records.
    pub(crate) async fn visits(&self, events: &VisitEvents) -> Result<(), ApiError> {
        self.send("visits", events).await.map(drop)
    }

    /// Passes on a box that wants to join.
    pub(crate) async fn join(&self, request: JoinRequest) -> Result<Membership, ApiError> {
        let JoinRequest { token, csr, facts, .. } = request;
        self.post("join", &JoinBox { token, csr: BASE64.encode(&csr), facts }).await
    }

    /// Passes on a box that wants its certificate renewed.
    pub(crate) async fn renew(&self, device: DeviceId, csr: &[u8]) -> Result<Certificate, ApiError> {
        self.post("renew", &RenewBox { device, csr: BASE64.encode(csr) }).await
    }

    async fn post<T: DeserializeOwned>(&self, what: &str, body: &impl Serialize) -> Result<T, ApiError> {
        self.send(what, body).await?.json().await.map_err(ApiError::Unreadable)
    }

    async fn send(&self, what: &str, body: &impl Serialize) -> Result<Response, ApiError> {
        let request = self.client.post(self.url(what)).timeout(PATIENCE).json(body);
        checked(self.authorized(request).send().await).await
    }

    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        request.bearer_auth(self.token.reveal())
    }

    fn url(&self, what: &str) -> Url {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .expect("the base has a path: it was checked when it was read")
            .extend(["v1", "relay", what]);
        url
    }
}

/// The answer, if it is a good one.
async fn checked(answer: reqwest::Result<Response>) -> Result<Response, ApiError> {
    let mut answer = answer.map_err(ApiError::Unreachable)?;
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_PROBLEM {
            break;
        }
    }
    let sentence = match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) => problem.detail,
        Err(_) => status.canonical_reason().unwrap_or("no reason given").to_owned(),
    };
    Err(ApiError::Refused { status: status.as_u16(), sentence })
}

/// TLS towards the API: the given roots and no others, or the system's, which a machine that has none
/// is only asked for if they are needed.
pub(crate) fn tls(roots: Option<&Path>, needed: bool) -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .context("TLS 1.2 and 1.3")?;
    let builder = match roots {
        Some(path) => builder.with_root_certificates(read_roots(path)?),
        None if !needed => builder.with_root_certificates(RootCertStore::empty()),
        None => {
            let system =
                rustls_platform_verifier::Verifier::new(provider).context("the system's certificates")?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(system))
        }
    };
    Ok(builder.with_no_client_auth())
}

fn read_roots(path: &Path) -> anyhow::Result<RootCertStore> {
    let named = || format!("api_ca = \"{}\"", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).with_context(named)? {
        roots.add(certificate.with_context(named)?).with_context(named)?;
    }
    anyhow::ensure!(!roots.is_empty(), "{}: no certificate in it", named());
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(base: &str) -> anyhow::Result<Api> {
        let token = Some(Secret::from_text("psr_test"));
        Api::new(&Config { api: base.to_owned(), token, ..Config::default() })
    }

    #[test]
    fn a_base_with_a_path_keeps_it() {
        for base in ["https://example.com/postern", "https://example.com/postern/"] {
            assert_eq!(api(base).unwrap().url("feed").as_str(), "https://example.com/postern/v1/relay/feed");
        }
        assert_eq!(
            api("http://127.0.0.1:1").unwrap().url("hello").as_str(),
            "http://127.0.0.1:1/v1/relay/hello"
        );
    }

    #[test]
    fn what_is_no_http_address_is_refused() {
        for base in ["", "example.com", "ftp://example.com", "mailto:a@b"] {
            assert!(api(base).is_err(), "{base}");
        }
    }

    #[test]
    fn an_empty_file_of_roots_trusts_nobody_and_says_so() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = tls(Some(file.path()), true).expect_err("no roots").to_string();
        assert!(error.contains("no certificate"), "{error}");
    }
}
