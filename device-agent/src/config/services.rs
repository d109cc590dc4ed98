//! What the box offers besides SSH: its own web page, and whatever its owner lists.
//!
//! ```toml
//! [services]
//! camera = "192.168.8.20:554"                # bytes, whatever they mean
//! router-ui = "http://192.168.8.1"           # a page that speaks HTTP
//! nas = { address = "https://192.168.8.2:5001", proxy_protocol = true, verify = "sha256:…" }
//! page = { address = "http://127.0.0.1:8080", port = 443 }
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use postern_protocol::wire::{BoxFacts, Service};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{SSH_PORT, WEB_PORT};

/// The box's own web page, offered without being listed.
const WEB: &str = "https";

/// How a pinned certificate is written: this, and 64 hexadecimal digits.
const PIN: &str = "sha256:";

/// Services by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "BTreeMap<String, LocalService>")]
pub struct Services(BTreeMap<String, LocalService>);

/// Something that listens on the box or next to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalService {
    /// The port by which accesses expose it.
    pub port: u16,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it is known to speak.
    pub speaks: Speaks,
    /// Whether it wants to be told the visitor's address first, by the PROXY protocol.
    pub proxy_protocol: bool,
    /// How its certificate is checked where the agent speaks TLS to it.
    pub verify: Option<Verify>,
}

/// What a service speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// The agent need not know.
    Anything,
    /// HTTP, in the clear.
    Http,
    /// HTTP under TLS of its own.
    Https,
}

/// How the certificate of a local page is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verify {
    /// Not at all: the way to it is trusted.
    Nothing,
    /// It is the one with this SHA-256.
    Pin([u8; 32]),
    /// It names the page's address, and one of the authorities in this file (PEM) signed it.
    Authority(PathBuf),
}

/// Services that cannot be offered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidServices {
    /// More than a box may report.
    #[error("at most {} services may be listed", BoxFacts::MAX_SERVICES - 1)]
    TooMany,
    /// A name that is empty or longer than a box may report.
    #[error("the name of a service has 1 to {} characters", BoxFacts::MAX_TEXT)]
    Name,
    /// A port that nothing listens on.
    #[error("the service '{0}' has no port")]
    NoPort(String),
    /// Port 22 belongs to the SSH server.
    #[error("the service '{0}' is on port 22, which is for SSH: set ssh.address instead")]
    Ssh(String),
    /// Two services would be exposed as the same port.
    #[error("two services are on port {0}; accesses could not tell them apart")]
    SamePort(u16),
    /// It is not where anything can listen.
    #[error(
        "'{0}' is no address of a service: write 192.168.8.1:554, http://192.168.8.1 or https://192.168.8.1:5001"
    )]
    Address(String),
    /// It does not say how to check a certificate.
    #[error(
        "'{0}' does not say how to verify: write none, sha256:<fingerprint> or the path of an authority's certificate"
    )]
    Verify(String),
}

impl Services {
    /// The service behind a port: a listed one, or the box's own web page.
    pub fn at(&self, port: u16) -> Option<LocalService> {
        let own_page = (port == WEB_PORT).then(own_page);
        self.0.values().find(|service| service.port == port).cloned().or(own_page)
    }

    /// What the box says it offers besides SSH.
    pub fn offered(&self) -> Vec<Service> {
        let listed = self.0.iter().map(|(name, service)| (name.clone(), service.port));
        let page = self.0.values().all(|service| service.port != WEB_PORT);
        let page = page.then(|| (WEB.to_owned(), WEB_PORT));
        listed.chain(page).map(|(name, port)| Service { name, port }).collect()
    }

    /// Those that the owner lists, by name.
    pub fn listed(&self) -> impl Iterator<Item = (&str, &LocalService)> {
        self.0.iter().map(|(name, service)| (&**name, service))
    }
}

/// What listens on the box's port 443.
fn own_page() -> LocalService {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), WEB_PORT).into()
}

impl TryFrom<BTreeMap<String, LocalService>> for Services {
    type Error = InvalidServices;

    fn try_from(listed: BTreeMap<String, LocalService>) -> Result<Self, InvalidServices> {
        // One place is kept for the box's own page.
        if listed.len() >= BoxFacts::MAX_SERVICES {
            return Err(InvalidServices::TooMany);
        }
        let mut ports = BTreeSet::new();
        for (name, service) in &listed {
            match service.port {
                _ if !(1..=BoxFacts::MAX_TEXT).contains(&name.len()) => return Err(InvalidServices::Name),
                _ if service.address.port() == 0 => return Err(InvalidServices::NoPort(name.clone())),
                0 => return Err(InvalidServices::NoPort(name.clone())),
                SSH_PORT => return Err(InvalidServices::Ssh(name.clone())),
                port if !ports.insert(port) => return Err(InvalidServices::SamePort(port)),
                _ => {}
            }
        }
        Ok(Self(listed))
    }
}

impl LocalService {
    /// What the agent takes it to speak: on port 443 there are pages under TLS.
    pub fn speaks(&self) -> Speaks {
        match (self.speaks, self.port) {
            (Speaks::Anything, WEB_PORT) => Speaks::Https,
            (speaks, _) => speaks,
        }
    }
}

/// Exposed as its own port, and speaking anything.
impl From<SocketAddr> for LocalService {
    fn from(address: SocketAddr) -> Self {
        let port = address.port();
        Self { port, address, speaks: Speaks::Anything, proxy_protocol: false, verify: None }
    }
}

impl FromStr for LocalService {
    type Err = InvalidServices;

    fn from_str(text: &str) -> Result<Self, InvalidServices> {
        let (speaks, rest, usual) = match text.split_once("://") {
            Some(("http", rest)) => (Speaks::Http, rest.trim_end_matches('/'), Some(80)),
            Some(("https", rest)) => (Speaks::Https, rest.trim_end_matches('/'), Some(443)),
            Some(_) => return Err(InvalidServices::Address(text.to_owned())),
            None => (Speaks::Anything, text, None),
        };
        let bare = || Some(SocketAddr::new(rest.trim_matches(['[', ']']).parse().ok()?, usual?));
        let address = rest.parse().ok().or_else(bare);
        let address = address.ok_or_else(|| InvalidServices::Address(text.to_owned()))?;
        Ok(Self { speaks, ..address.into() })
    }
}

impl FromStr for Verify {
    type Err = InvalidServices;

    fn from_str(text: &str) -> Result<Self, InvalidServices> {
        let invalid = || InvalidServices::Verify(text.to_owned());
        if text == "none" {
            Ok(Self::Nothing)
        } else if let Some(digits) = text.strip_prefix(PIN) {
            // As openssl and browsers print it: with colons between the bytes.
            let digits = digits.replace(':', "");
            let hash = base16ct::mixed::decode_vec(digits).map_err(|_| invalid())?;
            hash.try_into().map(Self::Pin).map_err(|_| invalid())
        } else if text.starts_with('/') {
            Ok(Self::Authority(text.into()))
        } else {
            Err(invalid())
        }
    }
}

/// A service in its long form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Long {
    address: String,
    port: Option<u16>,
    #[serde(default)]
    proxy_protocol: bool,
    verify: Option<String>,
}

impl TryFrom<Long> for LocalService {
    type Error = InvalidServices;

    fn try_from(long: Long) -> Result<Self, InvalidServices> {
        let short: Self = long.address.parse()?;
        Ok(Self {
            port: long.port.unwrap_or(short.port),
            proxy_protocol: long.proxy_protocol,
            verify: long.verify.as_deref().map(str::parse).transpose()?,
            ..short
        })
    }
}

/// A text or a table; told apart by hand, because only so a misspelt key is refused by name.
impl<'de> Deserialize<'de> for LocalService {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = LocalService;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the address of a service, or a table with its address")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<LocalService, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<LocalService, A::Error> {
                let long = Long::deserialize(MapAccessDeserializer::new(map))?;
                long.try_into().map_err(A::Error::custom)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn services(text: &str) -> Result<Services, toml::de::Error> {
        toml::from_str::<Config>(&format!("[services]\n{text}")).map(|config| config.services)
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_boxs_own_page_is_offered_unless_something_else_is_there() {
        let own = Services::default().at(443).unwrap();
        assert_eq!((own.address, own.speaks()), (address("127.0.0.1:443"), Speaks::Https));
        assert_eq!(Services::default().at(80), None);
        let other = services("nas = '192.168.8.2:443'").unwrap();
        assert_eq!(other.at(443).unwrap().address, address("192.168.8.2:443"));
        assert_eq!(other.offered(), [Service { name: "nas".into(), port: 443 }]);
        let elsewhere = services("page = { address = 'http://127.0.0.1:8080', port = 443 }").unwrap();
        let page = elsewhere.at(443).unwrap();
        assert_eq!((page.address, page.speaks()), (address("127.0.0.1:8080"), Speaks::Http));
        assert_eq!(elsewhere.at(8080), None);
    }

    #[test]
    fn a_service_is_written_short_or_long() {
        let listed = services(
            "bytes = '10.0.0.1:554'\n\
             page = 'http://10.0.0.1'\n\
             six = 'https://[fd00::1]:8443/'\n\
             [services.nas]\n\
             address = 'https://10.0.0.2:5001'\n\
             proxy_protocol = true\n\
             verify = 'none'",
        )
        .unwrap();
        let at = |port| listed.at(port).unwrap();
        assert_eq!(at(554), address("10.0.0.1:554").into());
        assert_eq!((at(80).address, at(80).speaks()), (address("10.0.0.1:80"), Speaks::Http));
        assert_eq!((at(8443).address, at(8443).speaks()), (address("[fd00::1]:8443"), Speaks::Https));
        assert_eq!((at(5001).proxy_protocol, at(5001).verify), (true, Some(Verify::Nothing)));
    }

    #[test]
    fn a_certificate_is_pinned_as_browsers_and_openssl_print_it() {
        let hash = "ab".repeat(32);
        assert_eq!(format!("sha256:{hash}").parse(), Ok(Verify::Pin([0xab; 32])));
        let colons = vec!["AB"; 32].join(":");
        assert_eq!(format!("sha256:{colons}").parse(), Ok(Verify::Pin([0xab; 32])));
        assert_eq!("/etc/ca.pem".parse(), Ok(Verify::Authority("/etc/ca.pem".into())));
        for nonsense in ["", "yes", "sha256:ab", "sha1:ab"] {
            assert!(nonsense.parse::<Verify>().is_err(), "{nonsense}");
        }
    }

    #[test]
    fn services_that_cannot_be_told_apart_are_refused() {
        for (text, sentence) in [
            ("a = '10.0.0.1:80'\nb = '10.0.0.2:80'", "two services are on port 80"),
            (
                "a = 'http://10.0.0.1'\nb = { address = '10.0.0.2:81', port = 80 }",
                "two services are on port 80",
            ),
            ("a = '10.0.0.1:22'", "set ssh.address instead"),
            ("a = '10.0.0.1:0'", "has no port"),
            ("'' = '10.0.0.1:80'", "1 to 128 characters"),
            ("a = 'nas:80'", "'nas:80' is no address"),
            ("a = 'ftp://10.0.0.1'", "is no address"),
            ("a = '10.0.0.1'", "is no address"),
            ("a = { address = '10.0.0.1:80', verfy = 'none' }", "verfy"),
            ("a = 80", "the address of a service"),
        ] {
            let refusal = services(text).unwrap_err().to_string();
            assert!(refusal.contains(sentence), "{refusal}");
        }
    }

    #[test]
    fn the_limit_of_services_is_what_a_box_may_report() {
        let listed = |count: usize| -> BTreeMap<String, LocalService> {
            (0..count)
                .map(|n| (format!("s{n}"), SocketAddr::from(([10, 0, 0, 1], 1000 + n as u16)).into()))
                .collect()
        };
        let most = Services::try_from(listed(BoxFacts::MAX_SERVICES - 1)).unwrap();
        assert_eq!(most.offered().len(), BoxFacts::MAX_SERVICES);
        assert_eq!(Services::try_from(listed(BoxFacts::MAX_SERVICES)), Err(InvalidServices::TooMany));
    }
}
