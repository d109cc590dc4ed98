//! The control API, asked over HTTP.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use postern_protocol::api::{Page, Problem};
use postern_protocol::secret::Secret;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::failure::Failure;
use crate::output::{Listed, tame};
use crate::settings::{Settings, is_loopback};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How long an answer may take: longer than the API itself waits for a rule to be in force.
const ANSWER: Duration = Duration::from_secs(30);

/// The largest answer: a page of 200 accesses with every form of their commands is a tenth of it.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Items asked for at once; the API gives no more.
const PAGE: usize = 200;

/// The control API.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    http: Client,
    base: Url,
    /// The base, as people write it.
    name: String,
    token: Secret,
    origin: String,
}

/// An answer, understood, and as it came.
#[derive(Debug)]
pub(crate) struct Reply<T> {
    /// What it says.
    pub(crate) value: T,
    /// The JSON that said it.
    pub(crate) text: String,
}

/// What a request asks besides its path.
pub(crate) type Query = Vec<(&'static str, String)>;

impl Api {
    /// Ready to ask; nothing is sent yet.
    pub(crate) fn new(settings: Settings) -> Result<Self, Failure> {
        let mut client = Client::builder()
            .tls_backend_preconfigured(tls(&settings)?)
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("postern/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&settings.api) {
            client = client.no_proxy();
        }
        let http = client.build().context("preparing to ask the control API")?;
        let Settings { api: base, token, origin, .. } = settings;
        let name = base.as_str().trim_end_matches('/').to_owned();
        Ok(Self { http, base, name, token, origin })
    }

    /// Asks.
    pub(crate) async fn show<T: DeserializeOwned>(&self, path: &[&str]) -> Result<Reply<T>, Failure> {
        self.answer(self.request(Method::GET, path, &Query::new())).await
    }

    /// Asks with a body, and does not ask again if the answer gets lost.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<Reply<T>, Failure> {
        self.answer(self.request(Method::POST, path, &Query::new()).json(body)).await
    }

    /// Creates something. Asked twice if the answer got lost, it is created once.
    pub(crate) async fn create<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &Query,
        body: &impl Serialize,
    ) -> Result<Reply<T>, Failure> {
        let key = format!("{:032x}", rand::random::<u128>());
        let attempt =
            || self.request(Method::POST, path, query).header("Idempotency-Key", &key).json(body).send();
        let response = match attempt().await {
            Err(error) if !error.is_connect() && !error.is_timeout() => attempt().await,
            first => first,
        };
        self.read(response.map_err(|error| self.unreachable(&error))?).await
    }

    /// Changes something.
    pub(crate) async fn change<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<Reply<T>, Failure> {
        self.answer(self.request(Method::PATCH, path, &Query::new()).json(body)).await
    }

    /// Deletes something.
    pub(crate) async fn delete(&self, path: &[&str]) -> Result<(), Failure> {
        self.remove::<Option<serde::de::IgnoredAny>>(path).await.map(drop)
    }

    /// Deletes something, and listens to what is said of it.
    pub(crate) async fn remove<T: DeserializeOwned>(&self, path: &[&str]) -> Result<Reply<T>, Failure> {
        self.answer(self.request(Method::DELETE, path, &Query::new())).await
    }

    /// Lists up to so many, page by page.
    pub(crate) async fn list<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &Query,
        most: usize,
    ) -> Result<Listed<T>, Failure> {
        let mut listed = Listed::default();
        loop {
            let mut query = query.clone();
            query.push(("limit", (most - listed.items.len()).min(PAGE).to_string()));
            query.extend(listed.page.next.take().map(|next| ("cursor", next)));
            let page: Reply<Page<Box<RawValue>>> =
                self.answer(self.request(Method::GET, path, &query)).await?;
            let Page { items, next } = page.value;
            for item in &items {
                listed.items.push(serde_json::from_str(item.get()).map_err(|error| self.garbled(&error))?);
            }
            listed.page.items.extend(items);
            listed.page.next = next;
            if listed.page.next.is_none() || listed.items.len() >= most {
                return Ok(listed);
            }
        }
    }

    /// Lists everything from one short page.
    pub(crate) async fn list_whole<T: DeserializeOwned>(&self, path: &[&str]) -> Result<Listed<T>, Failure> {
        let page: Reply<Page<Box<RawValue>>> = self.show(path).await?;
        let items = page.value.items.iter().map(|item| serde_json::from_str(item.get()));
        let items = items.collect::<Result<_, _>>().map_err(|error| self.garbled(&error))?;
        Ok(Listed { items, page: page.value })
    }

    fn request(&self, method: Method, path: &[&str], query: &Query) -> RequestBuilder {
        let mut url = self.base.clone();
        url.path_segments_mut().expect("http has a path").pop_if_empty().push("v1").extend(path);
        self.http.request(method, url).query(query).bearer_auth(self.token.reveal())
    }

    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<Reply<T>, Failure> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        self.read(response).await
    }

    async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<Reply<T>, Failure> {
        let status = response.status();
        let text = self.text(response).await?;
        if !status.is_success() {
            return Err(self.refusal(status, &text));
        }
        let text = if text.is_empty() { "null".to_owned() } else { text };
        let value = serde_json::from_str(&text).map_err(|error| self.garbled(&error))?;
        Ok(Reply { value, text })
    }

    async fn text(&self, mut response: Response) -> Result<String, Failure> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_ANSWER {
                return Err(self.garbled(&"the answer is larger than any real one"));
            }
        }
        String::from_utf8(bytes).map_err(|error| self.garbled(&error))
    }

    fn refusal(&self, status: StatusCode, text: &str) -> Failure {
        let Ok(problem) = serde_json::from_str::<Problem>(text) else {
            return self.garbled(&format_args!("it answered {status}"));
        };
        match status {
            StatusCode::UNAUTHORIZED => Failure::Unauthorised(format!(
                "{} does not accept the token from {}; a new one is made where the API runs: \
                 postern-api token create --name me",
                self.name, self.origin
            )),
            _ => Failure::Refused(Box::new(problem)),
        }
    }

    fn garbled(&self, what: &dyn std::fmt::Display) -> Failure {
        let what = tame(&what.to_string()).into_owned();
        Failure::Unreachable(format!(
            "{} does not answer as a control API of this version does ({what}); check --api, and that both are up to date",
            self.name
        ))
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let why = match error.is_timeout() {
            true => "it does not answer in time".to_owned(),
            false => root_cause(error),
        };
        let advice = if why.contains("certificate") {
            "if its certificate comes from an authority of your own, name that: --ca FILE"
        } else if is_loopback(&self.base) {
            "is it running? start one with: postern up"
        } else {
            "check the address, and that this machine is online"
        };
        Failure::Unreachable(format!("cannot reach the control API at {}: {why}\n{advice}", self.name))
    }
}

/// What lies at the bottom of an error: the rest says only that a request failed.
fn root_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// TLS with ring. The system's authorities are read only where they are needed.
fn tls(settings: &Settings) -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .context("ring speaks TLS 1.2 and 1.3")?;
    if let Some(path) = &settings.ca {
        let what = || format!("reading the certificate authority {}", path.display());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(path).with_context(what)? {
            roots.add(certificate.with_context(what)?).with_context(what)?;
        }
        anyhow::ensure!(!roots.is_empty(), "{} holds no certificate in PEM", path.display());
        return Ok(builder.with_root_certificates(roots).with_no_client_auth());
    }
    if settings.api.scheme() == "http" {
        return Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth());
    }
    let verifier =
        rustls_platform_verifier::Verifier::new(provider).context("reading the system's authorities")?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

#[cfg(test)]
mod tests;
