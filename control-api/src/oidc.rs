//! Signing in with an OpenID provider: OpenID Connect Core 1.0, the authorization code flow with PKCE.
//!
//! ```text
//!   browser ──▶ begin ──303──▶ provider: who are you? ──303──▶ finish ──▶ a session
//!                 │ cookie: state, nonce, verifier                ▲ cookie, code, state
//!                 └───────────────────────────────────────────────┘
//!   finish ── code, verifier ──▶ provider ── ID token, signed ──▶ subject, address
//! ```
//!
//! What belongs to an attempt stays in the browser that makes it, in a cookie of ten minutes, so that any
//! process can finish what another began, and nothing is kept for strangers.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use data_encoding::BASE64URL_NOPAD;
use postern_protocol::id::UserName;
use postern_protocol::secret::Secret;
use reqwest::Url;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::ca::sha256;
use crate::config::OpenId;
use crate::entropy::entropy;

mod provider;
mod token;

pub(crate) use provider::tls;

use provider::Provider;
use token::Claims;

/// How long the provider may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// The largest answer of a provider: its keys, its description, a token.
const MAX_ANSWER: usize = 256 * 1024;

/// An OpenID provider that users may sign in with.
pub(crate) struct OpenIdClient {
    settings: OpenId,
    secret: Option<Secret>,
    http: reqwest::Client,
    known: tokio::sync::Mutex<Option<Arc<Provider>>>,
}

/// What an attempt to sign in must bring again, kept by the browser that makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// Ties the provider's answer to this browser.
    pub(crate) state: String,
    /// Ties the ID token to this attempt.
    nonce: String,
    /// Proves that whoever brings the code began the attempt (RFC 7636).
    verifier: String,
}

/// Who somebody is, by a provider's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The provider.
    pub(crate) issuer: String,
    /// What it calls them, for good.
    pub(crate) subject: String,
    /// The address that it vouches for, if it does.
    pub(crate) address: Option<UserName>,
}

impl OpenIdClient {
    /// Ready to ask; nothing is sent yet, so that the API starts while the provider is away.
    pub(crate) fn new(settings: &OpenId) -> anyhow::Result<Self> {
        settings.check()?;
        let secret = settings.client_secret_file.as_ref().map(|path| {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
            anyhow::Ok(Secret::from_text(text.trim()))
        });
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(provider::tls(settings.ca.as_deref())?)
            .timeout(ANSWER)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("postern-api/", env!("CARGO_PKG_VERSION")));
        let http = if settings.is_local() { http.no_proxy() } else { http };
        let http = http.build().context("preparing to ask the OpenID provider")?;
        Ok(Self { settings: settings.clone(), secret: secret.transpose()?, http, known: Default::default() })
    }

    /// What people call the provider.
    pub(crate) fn name(&self) -> &str {
        &self.settings.name
    }

    /// Where to send a browser, and what it must bring again.
    pub(crate) async fn begin(&self, back: &str) -> anyhow::Result<(Url, Attempt)> {
        let provider = self.provider().await?;
        let attempt = Attempt::new();
        let mut url = Url::parse(&provider.authorization_endpoint).context("authorization_endpoint")?;
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", back)
            .append_pair("scope", &self.settings.scopes.join(" "))
            .append_pair("state", &attempt.state)
            .append_pair("nonce", &attempt.nonce)
            .append_pair("code_challenge", &BASE64URL_NOPAD.encode(&sha256(attempt.verifier.as_bytes())))
            .append_pair("code_challenge_method", "S256");
        Ok((url, attempt))
    }

    /// Who it is that came back with this code.
    pub(crate) async fn finish(&self, attempt: &Attempt, code: &str, back: &str) -> anyhow::Result<Identity> {
        #[derive(Deserialize)]
        struct Tokens {
            id_token: String,
        }
        let provider = self.provider().await?;
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", back),
            ("code_verifier", &attempt.verifier),
            ("client_id", &self.settings.client_id),
        ];
        let mut request = self.http.post(&provider.token_endpoint);
        match &self.secret {
            Some(secret) if provider.wants_secret_in_form() => form.push(("client_secret", secret.reveal())),
            Some(secret) => request = request.basic_auth(&self.settings.client_id, Some(secret.reveal())),
            None => {}
        }
        let tokens: Tokens = answer(request.form(&form)).await.context("asking for the token")?;
        let claims = self.verified(&provider, &tokens.id_token).await?;
        anyhow::ensure!(claims.nonce.as_deref() == Some(&attempt.nonce), "the token is for another attempt");
        Ok(self.identity(claims))
    }

    /// The claims of a token, by a key that the provider publishes. One that is not known may be new.
    async fn verified(&self, provider: &Provider, token: &str) -> anyhow::Result<Claims> {
        let (issuer, client) = (&self.settings.issuer, &self.settings.client_id);
        match token::verify(token, &provider.keys, issuer, client) {
            Err(token::Invalid::UnknownKey) => {
                *self.known.lock().await = None;
                let provider = self.provider().await?;
                Ok(token::verify(token, &provider.keys, issuer, client)?)
            }
            verified => Ok(verified?),
        }
    }

    fn identity(&self, claims: Claims) -> Identity {
        let vouched = self.settings.addresses_are_verified || claims.email_is_verified();
        let address = claims.email.filter(|_| vouched).and_then(|address| address.parse().ok());
        Identity { issuer: self.settings.issuer.clone(), subject: claims.sub, address }
    }

    /// What the provider says of itself, asked for once an hour at most, by one at a time.
    async fn provider(&self) -> anyhow::Result<Arc<Provider>> {
        let mut known = self.known.lock().await;
        if let Some(provider) = known.as_ref().filter(|provider| provider.is_fresh()) {
            return Ok(provider.clone());
        }
        let provider = Arc::new(Provider::discover(&self.http, &self.settings).await?);
        *known = Some(provider.clone());
        Ok(provider)
    }
}

impl Attempt {
    fn new() -> Self {
        let random = || BASE64URL_NOPAD.encode(&entropy::<32>());
        Self { state: random(), nonce: random(), verifier: random() }
    }

    /// As it stands in a cookie.
    pub(crate) fn to_text(&self) -> String {
        format!("{}.{}.{}", self.state, self.nonce, self.verifier)
    }

    /// From a cookie.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(str::to_owned);
        let attempt = Self { state: parts.next()?, nonce: parts.next()?, verifier: parts.next()? };
        let whole = [&attempt.state, &attempt.nonce, &attempt.verifier].iter().all(|part| part.len() == 43);
        (whole && parts.next().is_none()).then_some(attempt)
    }
}

/// A provider's JSON, of a bounded size.
async fn answer<T: DeserializeOwned>(request: reqwest::RequestBuilder) -> anyhow::Result<T> {
    let mut response = request.send().await?;
    let (status, mut bytes) = (response.status(), Vec::new());
    while let Some(chunk) = response.chunk().await? {
        bytes.extend_from_slice(&chunk);
        anyhow::ensure!(bytes.len() <= MAX_ANSWER, "the answer is larger than any real one");
    }
    // What a refusal says may repeat the code or the secret, so only its kind is told.
    anyhow::ensure!(status.is_success(), "it answered {status}");
    serde_json::from_slice(&bytes).context("the answer does not fit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_survives_its_cookie_and_nothing_else_does() {
        let attempt = Attempt::new();
        assert_eq!(Attempt::from_text(&attempt.to_text()).as_ref(), Some(&attempt));
        for text in ["", "a.b.c", &format!("{}.x", attempt.to_text()), &attempt.to_text()[1..]] {
            assert_eq!(Attempt::from_text(text), None, "{text}");
        }
        assert_ne!(Attempt::new(), attempt);
    }
}
