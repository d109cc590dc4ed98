//! What an operator may set: one TOML file, every key with a default.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context;
use ipnet::IpNet;
use serde::Deserialize;

use crate::span::Span;

mod openid;

pub use openid::OpenId;

/// The settings of a control API.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where keys and the database live.
    pub state_dir: PathBuf,
    /// The address to serve on; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Where people reach the API with a browser, such as `https://postern.example.com`; left out, where
    /// it listens.
    pub public_url: Option<PublicUrl>,
    /// Whether tokens may travel in the clear beyond this machine.
    pub insecure_http: bool,
    /// Reverse proxies whose word on a caller's address is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The one header in which those proxies give it. Only one is ever read: a proxy that sets one
    /// passes the other on as its client wrote it.
    pub forwarded_header: ForwardedHeader,
    /// The longest an access may last from the moment it is created or extended.
    pub max_duration: Span,
    /// How long a signature under a box's rules holds before it must be renewed.
    pub lease: Span,
    /// An OpenID provider that users may sign in with.
    pub openid: Option<OpenId>,
    /// What webhooks may call besides the public internet.
    pub webhooks: Webhooks,
    /// How many requests somebody may make.
    pub limits: RequestLimits,
    /// How long things are kept.
    pub retention: Retention,
    /// A certificate to serve with; without one the API speaks plain HTTP, on loopback.
    pub tls: Option<Tls>,
}

/// Requests a minute, all of which may come at once; 0 is no limit.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RequestLimits {
    /// Of each API token and each user.
    pub per_credential: u32,
    /// From each address, of those who prove nothing; an IPv6 address counts with its /64.
    pub per_address: u32,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self { per_credential: 3000, per_address: 300 }
    }
}

/// For how many days things are kept; 0 is for good.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Visits that are over.
    pub visits: u16,
    /// Records of the audit.
    pub audit: u16,
    /// Events.
    pub events: u16,
    /// Deliveries to webhooks that arrived or were given up.
    pub deliveries: u16,
}

impl Default for Retention {
    fn default() -> Self {
        Self { visits: 365, audit: 730, events: 365, deliveries: 30 }
    }
}

/// Where webhooks may lead.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Webhooks {
    /// Networks that are not public and may be called all the same.
    pub allow: Vec<IpNet>,
    /// Whether this machine itself may be called, in the clear: for development.
    pub insecure_loopback: bool,
}

/// The certificate that the API serves with.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The chain, PEM, the API's own first.
    pub certificate: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
}

/// How a reverse proxy says for whom it asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`, what most proxies append to.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// An address for browsers: scheme and host, perhaps a port.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PublicUrl(String);

impl PublicUrl {
    /// The address, without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether browsers come over TLS.
    pub(crate) fn is_https(&self) -> bool {
        self.0.starts_with("https://")
    }
}

impl TryFrom<String> for PublicUrl {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let wrong =
            "public_url is a scheme and a host, such as https://postern.example.com, and nothing after them";
        let url: axum::http::Uri = text.parse().map_err(|_| wrong)?;
        let host = url.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        let nothing_after = url.path() == "/" && url.query().is_none() && !text.contains('#');
        match matches!(url.scheme_str(), Some("http" | "https")) && host && nothing_after {
            true => Ok(Self(text.trim_end_matches('/').to_ascii_lowercase())),
            false => Err(wrong),
        }
    }
}

/// Settings that cannot be served with.
#[derive(Debug, thiserror::Error)]
pub enum InvalidConfig {
    /// Tokens would travel in the clear.
    #[error(
        "refusing plain HTTP on {0}: tokens would travel in the clear; \
         give a certificate under [tls], or listen on 127.0.0.1 behind a proxy that has one, \
         or set insecure_http = true if this network is yours alone"
    )]
    PlainHttp(SocketAddr),
    /// The lease is too short to be renewed in time, or longer than a revocation may be held back.
    #[error("lease = \"{0}\": between 1m and 7d, please")]
    Lease(Span),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state_dir: PathBuf::from("/var/lib/postern-api"),
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080),
            public_url: None,
            insecure_http: false,
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::XForwardedFor,
            max_duration: Span::days(30),
            lease: Span::hours(12),
            openid: None,
            webhooks: Webhooks::default(),
            limits: RequestLimits::default(),
            retention: Retention::default(),
            tls: None,
        }
    }
}

impl Config {
    /// Reads settings; a key that does not exist is an error that names it.
    pub fn from_toml(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// Reads a file of settings.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        Self::from_toml(&text).with_context(|| format!("in {}", path.display()))
    }

    /// Whether it is safe to serve with these settings.
    pub fn check(&self) -> Result<(), InvalidConfig> {
        let leases = Span::minutes(1)..=Span::days(7);
        if self.tls.is_none() && !self.insecure_http && !self.listen.ip().to_canonical().is_loopback() {
            Err(InvalidConfig::PlainHttp(self.listen))
        } else if !leases.contains(&self.lease) {
            Err(InvalidConfig::Lease(self.lease))
        } else {
            Ok(())
        }
    }

    /// Whether the word of this peer on its client's address is believed.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(&peer.to_canonical()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_refused_by_its_name() {
        let error = Config::from_toml("lissten = \"0.0.0.0:80\"").unwrap_err().to_string();
        assert!(error.contains("lissten"), "{error}");
        let error = Config::from_toml("[tls]\ncertificate = \"a\"\nkey = \"b\"\nca = \"c\"").unwrap_err();
        assert!(error.to_string().contains("`ca`"), "{error}");
    }

    #[test]
    fn every_documented_key_is_read() {
        let text = r#"
            state_dir = "/s"
            listen = "[::1]:1"
            public_url = "https://Postern.example.com/"
            insecure_http = true
            trusted_proxies = ["10.0.0.0/8", "fd00::/8"]
            forwarded_header = "forwarded"
            max_duration = "7d"
            lease = "1h"
            [openid]
            name = "Example"
            issuer = "https://login.example.com"
            client_id = "postern"
            client_secret_file = "secret"
            scopes = ["openid", "email"]
            addresses_are_verified = true
            ca = "ca.pem"
            [limits]
            per_credential = 600
            per_address = 60
            [retention]
            visits = 90
            audit = 0
            events = 90
            deliveries = 7
            [webhooks]
            allow = ["10.0.0.0/8"]
            insecure_loopback = true
            [tls]
            certificate = "c"
            key = "k"
        "#;
        let config = Config::from_toml(text).unwrap();
        assert_eq!(config.max_duration, Span::days(7));
        assert_eq!(config.public_url.as_ref().unwrap().as_str(), "https://postern.example.com");
        assert_eq!(config.forwarded_header, ForwardedHeader::Forwarded);
        assert!(config.trusts("::ffff:10.1.2.3".parse().unwrap()));
        assert!(config.check().is_ok());
    }

    #[test]
    fn an_address_for_browsers_is_a_scheme_and_a_host() {
        for url in
            ["postern.example.com", "ftp://a", "https://a/b", "https://a?b", "https://a#b", "https://me@a"]
        {
            let error = Config::from_toml(&format!("public_url = \"{url}\"")).unwrap_err().to_string();
            assert!(error.contains("public_url is"), "{url}: {error}");
        }
        assert!(Config::from_toml("public_url = \"http://[::1]:8080\"").is_ok());
    }

    #[test]
    fn plain_http_beyond_loopback_is_refused_with_a_way_out() {
        let config = |listen: &str| Config { listen: listen.parse().unwrap(), ..Config::default() };
        for listen in ["0.0.0.0:8080", "[::]:8080", "192.0.2.1:80", "[::ffff:192.0.2.1]:80"] {
            let error = config(listen).check().unwrap_err().to_string();
            assert!(error.contains("insecure_http") && error.contains("[tls]"), "{error}");
        }
        for listen in ["127.0.0.1:8080", "127.9.9.9:1", "[::1]:8080"] {
            assert!(config(listen).check().is_ok(), "{listen}");
        }
        assert!(Config { insecure_http: true, ..config("0.0.0.0:8080") }.check().is_ok());
    }

    #[test]
    fn a_lease_stays_within_reason() {
        for lease in ["59s", "8d"] {
            let config = Config { lease: lease.parse().unwrap(), ..Config::default() };
            assert!(matches!(config.check(), Err(InvalidConfig::Lease(_))), "{lease}");
        }
    }
}
