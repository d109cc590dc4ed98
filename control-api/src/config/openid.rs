//! The OpenID provider that users may sign in with.

use std::path::PathBuf;

use axum::http::Uri;
use serde::Deserialize;

/// An OpenID provider, found by discovery.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenId {
    /// What people call it.
    pub name: String,
    /// Its issuer, exactly as it calls itself, such as `https://login.example.com/realms/staff`.
    pub issuer: String,
    /// What it knows this installation as.
    pub client_id: String,
    /// A file that holds the client's secret, if it has one.
    #[serde(default)]
    pub client_secret_file: Option<PathBuf>,
    /// What to ask for.
    #[serde(default = "scopes")]
    pub scopes: Vec<String>,
    /// Whether every address that it hands out is known to be its user's own, though it does not say
    /// `email_verified`: true for a company's own provider, never for one where people sign up.
    #[serde(default)]
    pub addresses_are_verified: bool,
    /// The authority that signs its certificate, PEM; left out, the system's.
    #[serde(default)]
    pub ca: Option<PathBuf>,
}

fn scopes() -> Vec<String> {
    vec!["openid".to_owned(), "email".to_owned()]
}

impl OpenId {
    /// Whether these settings can be meant.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(self.may_be_asked(&self.issuer), "issuer = \"{}\": https://, please", self.issuer);
        anyhow::ensure!(self.scopes.iter().any(|scope| scope == "openid"), "scopes: 'openid' is one of them");
        Ok(())
    }

    /// Whether the provider is on this very machine.
    pub(crate) fn is_local(&self) -> bool {
        is_loopback(&self.issuer)
    }

    /// Whether an address of the provider's may be asked: by https, unless it is this very machine.
    pub(crate) fn may_be_asked(&self, url: &str) -> bool {
        url.starts_with("https://") || (url.starts_with("http://") && is_loopback(url) && self.is_local())
    }
}

fn is_loopback(url: &str) -> bool {
    let host = url.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned)).unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_asked_by_https_unless_it_is_this_machine() {
        let of = |issuer: &str, scopes: &str| {
            let text = format!("name = \"x\"\nissuer = \"{issuer}\"\nclient_id = \"c\"\n{scopes}");
            toml::from_str::<OpenId>(&text).unwrap()
        };
        assert!(of("https://login.example.com", "").check().is_ok());
        assert!(of("http://127.0.0.1:4593/api/oidc", "").check().is_ok());
        assert!(of("http://login.example.com", "").check().is_err());
        assert!(of("http://127.0.0.1.example.com", "").check().is_err());
        assert!(of("https://a", "scopes = [\"email\"]").check().is_err());
        assert!(!of("https://login.example.com", "").may_be_asked("http://127.0.0.1/keys"));
    }
}
